//! Vectors that searches read from storage a moment ago.
//!
//! They are known by the numbers that the index gives to all that is written to it: what is under a number never changes,
//! so nothing has to be forgotten when a point is written again. What goes in was checked against the digest that the
//! tree named when the index had this number, and what nobody asks for gives way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pando_model::VectorName;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// The vectors of one stored version of a point.
pub(crate) type Vectors = Arc<BTreeMap<VectorName, Vec<f32>>>;

/// About what an entry is expected to take; the cache plans its tables by it.
const ENTRY_BYTES: u64 = 2048;
/// What an entry takes beside its values, and a vector beside its own, about.
const ENTRY_BESIDE_BYTES: usize = 128;
const VECTOR_BESIDE_BYTES: usize = 64;

/// A bounded cache of stored vectors.
pub(crate) struct VectorCache {
    /// `None`: nothing is kept.
    kept: Option<Cache<u64, Vectors, ByBytes>>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u64, Vectors> for ByBytes {
    fn weight(&self, _: &u64, vectors: &Vectors) -> u64 {
        let of = |values: &Vec<f32>| VECTOR_BESIDE_BYTES + size_of_val(values.as_slice());
        let bytes = ENTRY_BESIDE_BYTES + vectors.values().map(of).sum::<usize>();
        bytes as u64
    }
}

impl VectorCache {
    /// One that takes so many bytes at most; 0: it keeps nothing.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / ENTRY_BYTES).unwrap_or(usize::MAX);
        Self {
            kept: (bytes_max > 0).then(|| Cache::with_weighter(entries, bytes_max, ByBytes)),
        }
    }

    /// The vectors of the point version with this number, if they are here.
    pub(crate) fn get(&self, number: u64) -> Option<Vectors> {
        self.kept.as_ref()?.get(&number)
    }

    /// Keeps the vectors of the point version with this number.
    pub(crate) fn put(&self, number: u64, vectors: Vectors) {
        if let Some(kept) = &self.kept {
            kept.insert(number, vectors);
        }
    }

    /// Bytes kept, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.as_ref().map_or(0, Cache::weight)
    }
}

impl fmt::Debug for VectorCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VectorCache({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(n: u8) -> Vectors {
        Arc::new([(VectorName::default(), vec![n.into(); 1000])].into())
    }

    #[test]
    fn it_keeps_what_it_was_given_and_no_more_than_it_may() {
        let cache = VectorCache::new(1 << 20);
        for n in 0..=255_u8 {
            cache.put(n.into(), vectors(n));
            for other in [n, 0] {
                if let Some(kept) = cache.get(other.into()) {
                    assert_eq!(kept, vectors(other));
                }
            }
        }
        assert!(cache.bytes() > 1 << 18, "{}", cache.bytes());
        for n in 0..10_000_u64 {
            cache.put(n, vectors(7));
            assert!(cache.bytes() <= 1 << 20);
        }
    }

    #[test]
    fn without_room_it_keeps_nothing() {
        let cache = VectorCache::new(0);
        cache.put(1, vectors(1));
        assert!(cache.get(1).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
