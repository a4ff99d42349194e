//! A record as it travels: its parts, and where it came from.

use std::sync::Arc;

use bytes::Bytes;

use crate::value::Typed;

/// One record on its way from a source to a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The stream it belongs to: a Kafka topic, a table, the name of a file.
    pub topic: Arc<str>,
    /// Where the source read it.
    pub origin: Origin,
    /// What decides its order and its place: records of one key stay in order (invariant 7).
    pub key: Payload,
    /// What it says. [`Payload::Absent`] is a tombstone.
    pub value: Payload,
    /// Names and values that travel beside the value.
    pub headers: Headers,
    /// Event time in microseconds since 1970-01-01T00:00:00Z.
    pub timestamp_us: Option<i64>,
}

impl Record {
    /// What a record holds besides its payloads and headers, roughly.
    pub(crate) const FIXED_BYTES: usize = 128;

    /// Bytes it holds in memory, roughly: the payloads and headers and a fixed part for the rest.
    pub fn memory_bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.headers.memory_bytes() + Self::FIXED_BYTES
    }
}

/// The coordinates of a record at its source, for file names, dead letters and messages to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The partition, counted from 0.
    pub partition: i32,
    /// The offset inside the partition; it only ever grows there.
    pub offset: i64,
}

/// A key or a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// No key, or a tombstone.
    #[default]
    Absent,
    /// As the source read it, or as the sink is to write it; nobody has looked inside.
    Raw(Bytes),
    /// With its structure, between the stations that decode and encode. No sink is ever given one.
    Typed(Typed),
}

impl Payload {
    /// The bytes, or `None` where the payload is absent or has its structure.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Payload::Absent | Payload::Typed(_) => None,
            Payload::Raw(bytes) => Some(bytes),
        }
    }

    /// The value with its structure.
    pub fn typed(&self) -> Option<&Typed> {
        match self {
            Payload::Typed(typed) => Some(typed),
            Payload::Absent | Payload::Raw(_) => None,
        }
    }

    /// Length in bytes, of a structure in memory; an absent payload has none.
    pub fn len(&self) -> usize {
        match self {
            Payload::Absent => 0,
            Payload::Raw(bytes) => bytes.len(),
            Payload::Typed(typed) => typed.memory_bytes(),
        }
    }

    /// Absent or of no length.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Payload::Raw(bytes.into())
    }
}

/// One header: Kafka allows a name to repeat and a value to be null.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name.
    pub name: Arc<str>,
    /// Its value, never guessed at.
    pub value: Option<Bytes>,
}

/// Headers in their order. Most records have none, so an empty list is one null pointer.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::box_collection, reason = "one word in every record instead of three")]
pub struct Headers(Option<Box<Vec<Header>>>);

impl Headers {
    /// Adds one at the end.
    pub fn push(&mut self, name: impl Into<Arc<str>>, value: Option<Bytes>) {
        self.0.get_or_insert_default().push(Header { name: name.into(), value });
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.as_deref().map_or(&[][..], Vec::as_slice).iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the last header of that name, as Kafka's `lastHeader`.
    pub fn last(&self, name: &str) -> Option<&Header> {
        self.iter().rev().find(|header| &*header.name == name)
    }

    /// Keeps those that `keep` says yes to.
    pub fn retain(&mut self, keep: impl FnMut(&Header) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(keep);
        }
    }

    /// All of them, in order, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Header> {
        self.0.as_deref_mut().map_or(&mut [][..], Vec::as_mut_slice).iter_mut()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len) + 64).sum()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        let list: Vec<Header> = headers.into_iter().collect();
        Headers(if list.is_empty() { None } else { Some(Box::new(list)) })
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_small() {
        // It is copied through five stations; 160 bytes are two and a half cache lines.
        assert!(size_of::<Record>() <= 144, "{}", size_of::<Record>());
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let mut headers = Headers::default();
        assert!(headers.is_empty() && headers.last("a").is_none());
        headers.push("a", Some(Bytes::from_static(b"1")));
        headers.push("a", None);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.last("a").and_then(|header| header.value.clone()), None);
    }
}
