//! How what a peer says is decoded: no text, list or number of a control message is
//! longer or larger than the interface allows, whatever came. Texts and lists are cut, and
//! what is cut off is read over without being kept.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::format::ids::{CameraId, CommuneId};
use crate::format::statement::STATEMENT_LIMIT;
use crate::format::text;

/// Longest agreement, validity or duration that is believed, in seconds: 100 years.
const SECONDS_LIMIT: u64 = 100 * 366 * 86_400;

/// A text for people, of at most `N` characters.
pub(super) fn shown<'de, D, const N: usize>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    Ok(text::shown(&text, N))
}

/// The same, where there is one.
pub(super) fn shown_option<'de, D, const N: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| text::shown(&text, N)))
}

/// At most `N` texts of at most [`text::TEXT_LIMIT`] characters.
pub(super) fn shown_list<'de, D, const N: usize>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let texts = list::<D, String, N>(deserializer)?.into_iter();
    Ok(texts
        .map(|text| text::shown(&text, text::TEXT_LIMIT))
        .collect())
}

/// At most `N` texts of at most `BYTES` bytes; longer ones, which can't be right, are cut.
pub(super) fn texts<'de, D, const N: usize, const BYTES: usize>(
    deserializer: D,
) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let mut texts = list::<D, String, N>(deserializer)?;
    texts.iter_mut().for_each(|text| cut(text, BYTES));
    Ok(texts)
}

/// A signed statement. One over its limit is cut one byte past it: it stays too long.
pub(super) fn statement<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let mut text = String::deserialize(deserializer)?;
    cut(&mut text, STATEMENT_LIMIT + 1);
    Ok(text)
}

/// The same, where there is one.
pub(super) fn statement_option<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let mut text = Option::<String>::deserialize(deserializer)?;
    if let Some(text) = &mut text {
        cut(text, STATEMENT_LIMIT + 1);
    }
    Ok(text)
}

/// A secret; one that is too long to be a password is none.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::format::control::PASSWORD_LIMIT;
    use crate::secret::Secret;

    pub(in crate::format) fn serialize<S: Serializer>(
        secret: &Secret,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_password = text.len() <= PASSWORD_LIMIT
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_password {
            Ok(Secret::new(text))
        } else {
            Err(serde::de::Error::custom("no password"))
        }
    }
}

/// The same, where there is one.
pub(super) mod secret_option {
    use serde::{Deserializer, Serializer};

    use crate::secret::Secret;

    // Serde gives the field as it is.
    #[allow(clippy::ref_option)]
    pub(in crate::format) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => super::secret::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        super::secret::deserialize(deserializer).map(Some)
    }
}

/// Shortens a text to so many bytes, or a few fewer, between two characters.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let mut ends = (0..=bytes).rev();
        let end = ends.find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.shrink_to_fit();
    }
}

/// The first `N` of a list.
pub(super) fn list<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct First<T, const N: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for First<T, N> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<T>, A::Error> {
            let mut first = Vec::new();
            while first.len() < N {
                match all.next_element()? {
                    Some(item) => first.push(item),
                    None => return Ok(first),
                }
            }
            while all.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }

    deserializer.deserialize_seq(First::<T, N>(PhantomData))
}

/// The first `N` of a map.
pub(super) fn map<'de, D, K, V, const N: usize>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct First<K, V, const N: usize>(PhantomData<(K, V)>);

    impl<'de, K, V, const N: usize> Visitor<'de> for First<K, V, N>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<BTreeMap<K, V>, A::Error> {
            let mut first = BTreeMap::new();
            while first.len() < N {
                match all.next_entry()? {
                    Some((key, value)) => drop(first.insert(key, value)),
                    None => return Ok(first),
                }
            }
            while all.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }

    deserializer.deserialize_map(First::<K, V, N>(PhantomData))
}

/// Seconds that can be calculated with.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(u64::deserialize(deserializer)?.min(SECONDS_LIMIT))
}

/// Minutes of a day, at most `N`.
pub(super) fn minutes<'de, D, const N: u16>(deserializer: D) -> Result<u16, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(u16::deserialize(deserializer)?.min(N))
}

/// A place on Earth; another one is none.
pub(super) fn position<'de, D>(deserializer: D) -> Result<Option<[f64; 2]>, D::Error>
where
    D: Deserializer<'de>,
{
    let position = Option::<[f64; 2]>::deserialize(deserializer)?;
    Ok(position.filter(|[latitude, longitude]| latitude.abs() <= 90.0 && longitude.abs() <= 180.0))
}

/// An angle of 0 to 360 degrees; another one is none.
pub(super) fn degrees<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let degrees = Option::<f64>::deserialize(deserializer)?;
    Ok(degrees.filter(|degrees| (0.0..=360.0).contains(degrees)))
}

/// At most `N` names of cameras, `camera` or `commune/camera`; what is none is left out.
pub(super) fn neighbours<'de, D, const N: usize>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let is_camera = |name: &String| match name.split_once('/') {
        Some((commune, camera)) => CommuneId::new(commune).is_ok() && CameraId::new(camera).is_ok(),
        None => CameraId::new(name.as_str()).is_ok(),
    };
    let mut names = list::<D, String, N>(deserializer)?;
    names.retain(is_camera);
    Ok(names)
}
