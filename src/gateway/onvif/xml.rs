//! XML as cameras answer with it, read into a small tree. Pure.
//!
//! Prefixes are dropped: each camera has its own, and no two elements that are
//! looked for differ in them alone. Document types are refused and no entity but
//! XML's own five is known, so nothing in a document grows when it is read.

use quick_xml::Reader;
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesStart, Event};

/// Deepest nesting that is read; ONVIF's own answers stay under ten.
const DEPTH_LIMIT: usize = 32;
/// Most elements of one document.
const ELEMENTS_LIMIT: usize = 16_384;

/// Why a document was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It breaks XML's rules, or is cut short.
    #[error("it is no XML: {0}")]
    NotXml(String),
    /// It has a document type, which SOAP forbids.
    #[error("it has a document type")]
    DocumentType,
    /// It is nested too deep or has too many elements.
    #[error("it has too many elements")]
    TooLarge,
}

/// An element with what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its name without prefix.
    pub(super) name: String,
    /// Its text, without the space around it.
    pub(super) text: String,
    /// The attribute `token`, ONVIF's name of a thing.
    pub(super) token: Option<String>,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Follows a path of children.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |from, name| from.child(name))
    }

    /// The first element of this name, at any depth, this one included.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }
}

/// Reads a whole document.
pub(super) fn read(document: &[u8]) -> Result<Element, Malformed> {
    let not_xml = |error: &dyn std::fmt::Display| Malformed::NotXml(error.to_string());
    let text = std::str::from_utf8(document).map_err(|error| not_xml(&error))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    // The last is the innermost open element; the first is the document's.
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|error| not_xml(&error))?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if elements > ELEMENTS_LIMIT || open.len() > DEPTH_LIMIT {
                    return Err(Malformed::TooLarge);
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > ELEMENTS_LIMIT {
                    return Err(Malformed::TooLarge);
                }
                let element = element(&start)?;
                if let Some(parent) = open.last_mut() {
                    parent.children.push(element);
                }
            }
            Event::End(_) => close(&mut open)?,
            Event::Text(text) => append(&mut open, &text.xml10_content()),
            Event::CData(data) => append(&mut open, &data),
            Event::GeneralRef(reference) => {
                let character = reference
                    .resolve_char_ref()
                    .map_err(|error| not_xml(&error))?;
                match (character, resolve_xml_entity(&reference)) {
                    (Some(character), _) => append(&mut open, character.encode_utf8(&mut [0; 4])),
                    (None, Some(text)) => append(&mut open, text),
                    (None, None) => return Err(not_xml(&"it names an unknown entity")),
                }
            }
            Event::DocType(_) => return Err(Malformed::DocumentType),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let (Some(mut document), true) = (open.pop(), open.is_empty()) else {
        return Err(not_xml(&"it ends in the middle"));
    };
    match document.children.pop() {
        Some(root) if document.children.is_empty() => Ok(root),
        _ => Err(not_xml(&"it does not have one root")),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, Malformed> {
    let mut element = Element {
        name: start.local_name().into_inner().to_owned(),
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| Malformed::NotXml(error.to_string()))?;
        if attribute.key.local_name().into_inner() == "token" {
            let value = unescape(&attribute.value);
            let value = value.map_err(|error| Malformed::NotXml(error.to_string()))?;
            element.token = Some(value.into_owned());
        }
    }
    Ok(element)
}

/// The innermost element is complete.
fn close(open: &mut Vec<Element>) -> Result<(), Malformed> {
    let done = open.pop();
    match (done, open.last_mut()) {
        (Some(mut done), Some(parent)) => {
            done.text = done.text.trim().to_owned();
            parent.children.push(done);
            Ok(())
        }
        _ => Err(Malformed::NotXml("an end without a start".to_owned())),
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(innermost) = open.last_mut() {
        innermost.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_space_references_and_sections_are_read() {
        let read = read(
            b"\xef\xbb\xbf<?xml version='1.0'?><!-- c --><s:a><b:c ter:token='p&amp;1'> x&#65;&lt;\n</b:c>\
              <d><![CDATA[<&]]></d><e token='2'/></s:a>",
        )
        .unwrap();
        assert_eq!(read.name, "a");
        let c = read.child("c").unwrap();
        assert_eq!((c.text.as_str(), c.token.as_deref()), ("xA<", Some("p&1")));
        assert_eq!(read.at(&["d"]).unwrap().text, "<&");
        assert_eq!(read.find("e").unwrap().token.as_deref(), Some("2"));
        assert_eq!(read.find("f"), None);
    }

    #[test]
    fn what_could_grow_or_never_end_is_refused() {
        let doctype = b"<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>";
        assert_eq!(read(doctype), Err(Malformed::DocumentType));
        let deep = "<a>".repeat(1_000) + &"</a>".repeat(1_000);
        assert_eq!(read(deep.as_bytes()), Err(Malformed::TooLarge));
        let wide = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_LIMIT));
        assert_eq!(read(wide.as_bytes()), Err(Malformed::TooLarge));
        for bad in ["<a>&b;</a>", "<a><b></a>", "<a/><a/>", "", "text", "</a>"] {
            assert!(
                matches!(read(bad.as_bytes()), Err(Malformed::NotXml(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn every_part_of_a_document_is_refused_without_a_panic() {
        let whole = "<s:Envelope><s:Body><t:GetX token='é'>a&amp;<![CDATA[b]]></t:GetX></s:Body></s:Envelope>";
        for end in 0..whole.len() {
            assert!(read(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        let mut bytes = whole.as_bytes().to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = read(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
