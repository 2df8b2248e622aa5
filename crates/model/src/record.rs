//! Records: the canonical content of a point, which is what is hashed, stored and synced.

use std::collections::BTreeMap;

use crate::canonical::{DecodeError, Reader, Writer};
use crate::command::Point;
use crate::name::VectorName;
use crate::payload::EncodedPayload;
use crate::sparse::SparseVector;

/// A point's content: every named vector and the payload. The id and the version are the row's.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Vectors by name, in stored form.
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
    /// Sparse vectors by name; no name is in both.
    pub sparse_vectors: BTreeMap<VectorName, SparseVector>,
    /// The payload.
    pub payload: EncodedPayload,
}

impl From<Point> for Record {
    /// Of a point whose vectors are in stored form.
    fn from(point: Point) -> Self {
        Self {
            vectors: point.vectors,
            sparse_vectors: point.sparse_vectors,
            payload: point.payload.encode(),
        }
    }
}

/// Of records without sparse vectors. They keep the bytes, and so the digests, that they have always had.
const DENSE: u8 = 1;
/// Of records with sparse vectors, which follow the others.
const SPARSE: u8 = 2;

impl Record {
    /// Canonical bytes: a format byte, the vectors by name (values as little-endian `f32`), if there are any the sparse
    /// ones by name (their indices, then their values), the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let format = match self.sparse_vectors.is_empty() {
            true => DENSE,
            false => SPARSE,
        };
        w.u8(format).count(self.vectors.len());
        for (name, values) in &self.vectors {
            w.bytes(name.as_str().as_bytes()).count(values.len());
            write_values(&mut w, values);
        }
        if format == SPARSE {
            w.count(self.sparse_vectors.len());
            for (name, vector) in &self.sparse_vectors {
                let indices = vector.indices();
                w.bytes(name.as_str().as_bytes()).count(indices.len());
                for index in indices {
                    w.u32(*index);
                }
                write_values(&mut w, vector.values());
            }
        }
        w.raw(self.payload.as_bytes());
        w.finish()
    }

    /// Reads canonical bytes back; refuses anything [`Record::encode`] would not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("record", bytes);
        let format = r.u8()?;
        if format != DENSE && format != SPARSE {
            return Err(r.malformed());
        }
        let vectors = by_name(&mut r, |r| {
            let n = r.count()?;
            read_values(r, n)
        })?;
        let mut sparse_vectors = BTreeMap::new();
        if format == SPARSE {
            sparse_vectors = by_name(&mut r, read_sparse)?;
            let twice = |name| vectors.contains_key(name);
            if sparse_vectors.is_empty() || sparse_vectors.keys().any(twice) {
                return Err(r.malformed());
            }
        }
        let payload = EncodedPayload::from_bytes(r.rest())?;
        Ok(Self {
            vectors,
            sparse_vectors,
            payload,
        })
    }
}

fn write_values(w: &mut Writer, values: &[f32]) {
    for value in values {
        w.raw(&value.to_le_bytes());
    }
}

fn read_values(r: &mut Reader<'_>, n: usize) -> Result<Vec<f32>, DecodeError> {
    let (values, _) = r.take(n * size_of::<f32>())?.as_chunks::<4>();
    Ok(values.iter().map(|v| f32::from_le_bytes(*v)).collect())
}

fn read_sparse(r: &mut Reader<'_>) -> Result<SparseVector, DecodeError> {
    let n = r.count()?;
    let (indices, _) = r.take(n * size_of::<u32>())?.as_chunks::<4>();
    let indices = indices.iter().map(|i| u32::from_be_bytes(*i)).collect();
    let values = read_values(r, n)?;
    SparseVector::new(indices, values).map_err(|_| r.malformed())
}

/// So many named items, in the order of their names.
fn by_name<T>(
    r: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<BTreeMap<VectorName, T>, DecodeError> {
    let mut items = BTreeMap::new();
    for _ in 0..r.count()? {
        let name = VectorName::parse(r.str()?).map_err(|_| r.malformed())?;
        if items
            .last_key_value()
            .is_some_and(|(last, _)| *last >= name)
        {
            return Err(r.malformed());
        }
        let item = read(r)?;
        items.insert(name, item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload::Payload;

    fn name(text: &str) -> VectorName {
        VectorName::parse(text).expect("name")
    }

    fn sparse() -> impl Strategy<Value = SparseVector> {
        let weight = any::<f32>().prop_filter("finite, not zero", |v| v.is_finite() && *v != 0.0);
        prop::collection::btree_map(any::<u32>(), weight, 1..20)
            .prop_map(|pairs| SparseVector::from_pairs(pairs).expect("fine"))
    }

    /// With one dense and one sparse vector of a single entry each, to be damaged.
    fn small() -> Record {
        Record {
            vectors: BTreeMap::from([(name("a"), vec![1.0])]),
            sparse_vectors: [("s", 5), ("t", 6)]
                .map(|(text, index)| {
                    let pairs = [(index, 1.0), (index + 1, 2.0)];
                    (name(text), SparseVector::from_pairs(pairs).expect("fine"))
                })
                .into(),
            payload: Payload::default().encode(),
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(
            values in prop::collection::vec(any::<f32>(), 0..20),
            n in any::<i64>(),
            sparse in prop::collection::vec(sparse(), 0..3),
        ) {
            let payload = Payload::from_json(serde_json::json!({ "n": n })).expect("JSON").encode();
            let vectors = BTreeMap::from([(name(""), values.clone()), (name("b"), values)]);
            let sparse_vectors = ["a", "s", "t"].map(name).into_iter().zip(sparse).collect();
            let record = Record { vectors, sparse_vectors, payload };
            let bytes = record.encode();
            let read = Record::decode(&bytes).expect("own bytes");
            prop_assert_eq!(&read.sparse_vectors, &record.sparse_vectors);
            prop_assert_eq!(read.encode(), bytes);
        }

        #[test]
        fn any_bytes_are_canonical_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }

        #[test]
        fn damaged_bytes_are_canonical_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = small().encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }

    #[test]
    fn records_without_sparse_vectors_keep_their_bytes() {
        let record = Record {
            sparse_vectors: BTreeMap::new(),
            ..small()
        };
        let expected = [&[
            1, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0x80, 0x3f,
        ][..]]
        .concat();
        let bytes = record.encode();
        assert_eq!(bytes[..expected.len()], expected);
        assert_eq!(bytes[expected.len()..], *record.payload.as_bytes());
    }

    #[test]
    fn sparse_vectors_have_one_form() {
        let bytes = small().encode();
        assert_eq!(bytes[0], 2);
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let place = |pattern: &[u8]| {
            let found = bytes.windows(pattern.len()).position(|w| w == pattern);
            found.expect("it is there")
        };
        let changed = |at: usize, to: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to);
            Record::decode(&bytes)
        };
        let indices = place(&[0, 0, 0, 5, 0, 0, 0, 6]);
        assert!(changed(indices, &[0, 0, 0, 4]).is_ok());
        assert!(changed(indices, &[0, 0, 0, 6]).is_err(), "twice");
        assert!(changed(indices, &[0, 0, 0, 7]).is_err(), "unsorted");
        let values = indices + 8;
        assert!(changed(values, &0.0_f32.to_le_bytes()).is_err(), "zero");
        let nan = f32::NAN.to_le_bytes();
        assert!(changed(values, &nan).is_err(), "not a number");
        let first = place(&[0, 0, 0, 1, b's']);
        assert!(changed(first + 4, b"t").is_err(), "a name twice");
        assert!(changed(first + 4, b"u").is_err(), "names in another order");
        assert!(changed(first + 4, b"a").is_err(), "dense and sparse");
        // The second form is only for what the first cannot say.
        let mut none = Record {
            sparse_vectors: BTreeMap::new(),
            ..small()
        }
        .encode();
        none[0] = 2;
        let end = none.len() - small().payload.as_bytes().len();
        none.splice(end..end, [0, 0, 0, 0]);
        assert!(Record::decode(&none).is_err());
    }
}
