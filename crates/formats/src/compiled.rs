//! What is compiled from schemas, kept for the next record of the same schema. All that is kept in the process has one bound in
//! bytes: anybody who may produce can bring new schemas without end.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_api::registry::SchemaKind;
use lru::LruCache;

/// What all of it may take in the process. Beyond that only the one used last is kept by whoever asks for room.
pub(crate) const KEPT_BYTES_MAX: usize = 48 << 20;
/// What anything takes that is kept, beside what it was compiled from.
const ENTRY_BYTES: usize = 512;

static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted(usize);

impl Counted {
    /// For something that takes about so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        KEPT_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }

    /// How many.
    pub(crate) fn bytes(&self) -> usize {
        self.0
    }

    /// For what is compiled from a text of this language: so many times its bytes, as measured of schemas that are nothing but
    /// fields. Protocol Buffers keep the descriptors of the whole file.
    pub(crate) fn compiled(kind: SchemaKind, text_bytes: usize) -> Self {
        let times = match kind {
            SchemaKind::Protobuf => 100,
            SchemaKind::Avro | SchemaKind::Json => 30,
        };
        Self::new(text_bytes.saturating_mul(times))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        KEPT_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Whether the process keeps more than it may.
pub(crate) fn is_over() -> bool {
    KEPT_BYTES.load(Ordering::Relaxed) > KEPT_BYTES_MAX
}

/// Compiled schemas by what names them; the ones used last stay.
#[derive(Debug)]
pub(crate) struct Compiled<K: Hash + Eq, V>(LruCache<K, (V, Counted)>);

impl<K: Hash + Eq, V> Default for Compiled<K, V> {
    fn default() -> Self {
        // With a bound it would take the memory of all entries at once.
        Self(LruCache::unbounded())
    }
}

impl<K: Hash + Eq, V> Compiled<K, V> {
    /// What is kept under this key, which counts as a use.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|(value, _)| value)
    }

    /// The same, and no use.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.0.peek(key).map(|(value, _)| value)
    }

    /// Takes it out, to be kept again later.
    pub(crate) fn take(&mut self, key: &K) -> Option<(V, Counted)> {
        self.0.pop(key)
    }

    /// Keeps it; what was not used for the longest goes when all that is kept is too much.
    pub(crate) fn keep(&mut self, key: K, value: V, counted: Counted) {
        self.0.put(key, (value, counted));
        while self.0.len() > 1 && is_over() {
            self.0.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_have_one_bound_and_the_last_of_each_stays() {
        let (mut one, mut other) = (Compiled::default(), Compiled::default());
        let mib = 1 << 20;
        for key in 0..100 {
            one.keep(key, (), Counted::new(mib));
        }
        assert!(one.0.len() <= 48 && one.0.len() > 24, "{}", one.0.len());
        assert!(one.peek(&99).is_some() && one.peek(&0).is_none());
        for key in 0..10 {
            other.keep(key, (), Counted::new(8 * mib));
        }
        assert_eq!(other.0.len(), 1, "there is no room for more");
        assert!(other.get(&9).is_some());
        // One that takes more than all may have is kept until the next.
        one.keep(200, (), Counted::new(10 * KEPT_BYTES_MAX));
        assert_eq!(one.0.len(), 1);
        drop(one);
        for key in 0..3 {
            other.keep(key, (), Counted::new(8 * mib));
        }
        assert!(other.0.len() >= 3 && other.take(&2).is_some() && other.take(&2).is_none());
    }
}
