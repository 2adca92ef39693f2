//! Finds ONVIF devices on the local network (WS-Discovery, as the ONVIF Core Specification
//! profiles it) and asks each where its streams are.
//!
//! | what comes | bound |
//! |---|---|
//! | one answer | 64 KiB |
//! | devices | [`DEVICES_LIMIT`] |
//! | profiles of a device | 256 |
//!
//! An answer counts for the address that it came from, whatever address it names: nobody else is
//! asked, and nobody else is told a password's digest.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::message::{self, Ask};
use super::xml::Element;
use super::{Device, Devices, Error, Refused};
use crate::clock::Clock;
use crate::config::settings::Credential;

/// Where devices listen: IPv4's group for WS-Discovery, and its port.
pub const GROUP: SocketAddr = SocketAddr::new(
    IpAddr::V4(std::net::Ipv4Addr::new(239, 255, 255, 250)),
    3_702,
);
/// Most devices that are taken.
const DEVICES_LIMIT: usize = 1_024;
/// Longest answer.
const ANSWER_LIMIT: usize = 64 * 1_024;
/// The question is asked this often: datagrams get lost.
const QUESTIONS: u32 = 2;

/// A device that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its device service, at the address that it answered from.
    pub service: Url,
    /// What it calls itself; empty: nothing.
    pub name: String,
}

/// Asks at `to` (the group, or one device) and waits for answers. One for each device.
///
/// # Errors
/// The system gives no socket, or sends nothing.
pub async fn search(to: SocketAddr, wait: Duration) -> io::Result<Vec<Found>> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    let question = question();
    let mut found: BTreeMap<Url, Found> = BTreeMap::new();
    let mut answer = vec![0; ANSWER_LIMIT];
    for _ in 0..QUESTIONS {
        socket.send_to(question.as_bytes(), to).await?;
        let until = Instant::now() + wait / QUESTIONS;
        // Over the deadline: nobody else answers.
        while let Ok(received) = timeout_at(until, socket.recv_from(&mut answer)).await {
            // An error is a device's that does not listen.
            let Ok((length, from)) = received else {
                continue;
            };
            for one in matched(&answer[..length], from.ip()) {
                if found.len() < DEVICES_LIMIT {
                    found.entry(one.service.clone()).or_insert(one);
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Where the streams of each of its video sources are, the main one first. Addresses are the
/// device's own, and without passwords. A password is tried once.
///
/// # Errors
/// Why it does not tell, with the remedy.
pub async fn sources(
    found: &Found,
    credential: Option<&Credential>,
    clock: &Clock,
) -> Result<Vec<Vec<Url>>, Error> {
    let devices = Devices::new(clock.clone(), CancellationToken::new());
    devices.at(&found.service, credential).sources().await
}

impl Device {
    async fn sources(&self) -> Result<Vec<Vec<Url>>, Error> {
        let asked = async {
            let mut known = self.known.lock().await;
            let (media, service) = self.find_media(&mut known).await?;
            let answer = self
                .call(&mut known, &service, Ask::Profiles(media))
                .await?;
            let mut sources: Vec<(String, Vec<Url>)> = Vec::new();
            for Profile { token, source, .. } in profiles(&answer) {
                let ask = Ask::StreamUri(media, &token);
                let uri = match self.call(&mut known, &service, ask).await {
                    Ok(answer) => message::stream_uri(&answer),
                    // Some profiles have no stream.
                    Err(Refused::ProfileGone | Refused::Error(Error::Fault { .. })) => None,
                    Err(Refused::Error(error)) => return Err(error),
                };
                let Some(uri) = uri.and_then(|uri| own(uri, &self.url)) else {
                    continue;
                };
                match sources.iter_mut().find(|(of, _)| *of == source) {
                    Some((_, streams)) if streams.contains(&uri) => {}
                    Some((_, streams)) => streams.push(uri),
                    None => sources.push((source, vec![uri])),
                }
            }
            Ok(sources.into_iter().map(|(_, streams)| streams).collect())
        };
        self.bounded(asked).await
    }
}

/// A profile: a stream of a video source.
#[derive(Debug, PartialEq, Eq)]
struct Profile {
    token: String,
    source: String,
    pixels: u64,
}

/// The profiles, those with the largest pictures first; else in the device's order.
fn profiles(answer: &Element) -> Vec<Profile> {
    let tokens = message::profiles(answer).into_iter();
    let described = tokens.map(|token| {
        let is_it = |child: &&Element| child.token.as_ref() == Some(&token);
        let profile = answer.children.iter().find(is_it);
        let source = profile.and_then(|profile| profile.find("SourceToken"));
        let size = profile.and_then(|profile| profile.find("Resolution"));
        let side = |name| size?.child(name)?.text.parse::<u64>().ok();
        Profile {
            source: source.map(|source| source.text.clone()).unwrap_or_default(),
            pixels: side("Width")
                .unwrap_or(0)
                .saturating_mul(side("Height").unwrap_or(0)),
            token,
        }
    });
    let mut all: Vec<Profile> = described.collect();
    all.sort_by_key(|profile| std::cmp::Reverse(profile.pixels));
    all
}

/// A stream's URL at the device's own address, without a password.
fn own(mut uri: Url, device: &Url) -> Option<Url> {
    if uri.scheme() != "rtsp" {
        return None;
    }
    uri.set_host(device.host_str()).ok()?;
    uri.set_username("").ok()?;
    uri.set_password(None).ok()?;
    Some(uri)
}

/// The devices of an answer that came from this address.
fn matched(document: &[u8], from: IpAddr) -> Vec<Found> {
    let Ok(answer) = message::answer(document) else {
        return Vec::new();
    };
    let matches = answer
        .children
        .iter()
        .filter(|one| one.name == "ProbeMatch");
    let devices = matches.filter_map(|one| {
        let addresses = one.child("XAddrs")?.text.split_whitespace();
        let urls = addresses.filter_map(|address| Url::parse(address).ok());
        let mut service = urls.into_iter().find(|url| url.scheme() == "http")?;
        service.set_ip_host(from.to_canonical()).ok()?;
        service.set_username("").ok()?;
        service.set_password(None).ok()?;
        let scopes = one.child("Scopes").map(|scopes| scopes.text.as_str());
        Some(Found {
            service,
            name: name(scopes.unwrap_or_default()),
        })
    });
    devices.take(DEVICES_LIMIT).collect()
}

/// The name among a device's scopes, fit to be shown.
fn name(scopes: &str) -> String {
    const NAME: &str = "onvif://www.onvif.org/name/";
    let name = scopes
        .split_whitespace()
        .find_map(|scope| scope.strip_prefix(NAME));
    let name = percent_encoding::percent_decode_str(name.unwrap_or_default());
    crate::format::text::shown(&name.decode_utf8_lossy(), 64)
}

fn question() -> String {
    let id = uuid::Uuid::now_v7();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:w=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" xmlns:n=\"http://www.onvif.org/ver10/network/wsdl\"><e:Header><w:MessageID>uuid:{id}</w:MessageID><w:To e:mustUnderstand=\"true\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To><w:Action e:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header><e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_the_address_it_came_from() {
        let answer = |addresses: &str, scopes: &str| {
            format!(
                "<s:Envelope xmlns:s=\"a\"><s:Header/><s:Body><d:ProbeMatches xmlns:d=\"b\"><d:ProbeMatch><d:Scopes>{scopes}</d:Scopes><d:XAddrs>{addresses}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
            )
        };
        let from: IpAddr = "10.0.0.11".parse().unwrap();
        let text = answer(
            "https://10.0.0.11/onvif http://u:p@10.9.9.9:8080/onvif/device_service",
            "onvif://www.onvif.org/type/ptz onvif://www.onvif.org/name/Quai%20Nord%0A",
        );
        let found = matched(text.as_bytes(), from);
        assert_eq!(
            found[0].service.as_str(),
            "http://10.0.0.11:8080/onvif/device_service"
        );
        assert_eq!(found[0].name, "Quai Nord\u{fffd}");
        for none in [
            answer("", ""),
            answer("ftp://x/", ""),
            "<x/>".to_owned(),
            "\0".to_owned(),
        ] {
            assert_eq!(matched(none.as_bytes(), from), []);
        }
    }

    #[test]
    fn the_largest_picture_of_a_source_is_its_main_stream() {
        let profile = |token: &str, source: &str, width: &str| {
            format!(
                "<Profiles token=\"{token}\"><VideoSourceConfiguration><SourceToken>{source}</SourceToken></VideoSourceConfiguration><VideoEncoderConfiguration><Resolution><Width>{width}</Width><Height>1</Height></Resolution></VideoEncoderConfiguration></Profiles>"
            )
        };
        let all = [("a", "1", "640"), ("b", "1", "1920"), ("c", "2", "x")];
        let all: String = all
            .iter()
            .map(|(token, source, width)| profile(token, source, width))
            .collect();
        let text = format!(
            "<Envelope><Body><GetProfilesResponse>{all}</GetProfilesResponse></Body></Envelope>"
        );
        let answer = message::answer(text.as_bytes()).unwrap();
        let tokens: Vec<String> = profiles(&answer)
            .into_iter()
            .map(|one| one.token + &one.source)
            .collect();
        assert_eq!(tokens, ["b1", "a1", "c2"]);
        let device = Url::parse("http://10.0.0.11:8080/onvif").unwrap();
        let uri = |text: &str| own(Url::parse(text).unwrap(), &device);
        assert_eq!(
            uri("rtsp://u:p@192.168.1.1:554/main?x=1").unwrap().as_str(),
            "rtsp://10.0.0.11:554/main?x=1"
        );
        assert_eq!(uri("http://10.0.0.11/main"), None);
    }
}
