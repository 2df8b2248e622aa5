//! Vectors that searches read from storage a moment ago.
//!
//! They are known by their leaf digests, which cover id, version and content: what is under a digest never changes, so
//! nothing has to be forgotten when a point is written. Which digest a point has, the tree says. What goes in was
//! checked against its digest, and what nobody asks for gives way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pando_merkle::Digest;
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
    kept: Option<Cache<Digest, Vectors, ByBytes>>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Digest, Vectors> for ByBytes {
    fn weight(&self, _: &Digest, vectors: &Vectors) -> u64 {
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

    /// The vectors of the row with this leaf digest, if they are here.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Vectors> {
        self.kept.as_ref()?.get(digest)
    }

    /// Keeps the vectors of the row with this leaf digest.
    pub(crate) fn put(&self, digest: Digest, vectors: Vectors) {
        if let Some(kept) = &self.kept {
            kept.insert(digest, vectors);
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
            cache.put(Digest([n; 32]), vectors(n));
            for other in [n, 0] {
                if let Some(kept) = cache.get(&Digest([other; 32])) {
                    assert_eq!(kept, vectors(other));
                }
            }
        }
        assert!(cache.bytes() > 1 << 18, "{}", cache.bytes());
        for n in 0..10_000_u16 {
            let [a, b] = n.to_le_bytes();
            let mut digest = [7; 32];
            (digest[0], digest[1]) = (a, b);
            cache.put(Digest(digest), vectors(a));
            assert!(cache.bytes() <= 1 << 20);
        }
    }

    #[test]
    fn without_room_it_keeps_nothing() {
        let cache = VectorCache::new(0);
        cache.put(Digest([1; 32]), vectors(1));
        assert!(cache.get(&Digest([1; 32])).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
