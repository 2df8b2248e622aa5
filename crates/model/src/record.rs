//! Records: the canonical content of a point, which is what is hashed, stored and synced.

use std::collections::BTreeMap;

use crate::canonical::{DecodeError, Reader, Writer};
use crate::name::VectorName;
use crate::payload::EncodedPayload;

/// A point's content: every named vector and the payload. The id and the version are the row's.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Vectors by name, in stored form.
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
    /// The payload.
    pub payload: EncodedPayload,
}

const FORMAT: u8 = 1;

impl Record {
    /// Canonical bytes: a format byte, the vectors by name (values as little-endian `f32`), the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT).count(self.vectors.len());
        for (name, values) in &self.vectors {
            w.bytes(name.as_str().as_bytes()).count(values.len());
            for v in values {
                w.raw(&v.to_le_bytes());
            }
        }
        w.raw(self.payload.as_bytes());
        w.finish()
    }

    /// Reads canonical bytes back; refuses anything [`Record::encode`] would not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("record", bytes);
        let bad = r.malformed();
        if r.u8()? != FORMAT {
            return Err(bad);
        }
        let mut vectors = BTreeMap::new();
        for _ in 0..r.count()? {
            let name = VectorName::parse(r.str()?).map_err(|_| bad.clone())?;
            if vectors
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return Err(bad);
            }
            let n = r.count()?;
            let raw = r.take(n * size_of::<f32>())?;
            let (values, _) = raw.as_chunks::<4>();
            vectors.insert(
                name,
                values.iter().map(|v| f32::from_le_bytes(*v)).collect(),
            );
        }
        let payload = EncodedPayload::from_bytes(r.rest())?;
        Ok(Self { vectors, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload::Payload;

    proptest! {
        #[test]
        fn records_round_trip(values in prop::collection::vec(any::<f32>(), 0..20), n in any::<i64>()) {
            let payload = Payload::from_json(serde_json::json!({ "n": n })).expect("JSON").encode();
            let name = |s| VectorName::parse(s).expect("name");
            let vectors = BTreeMap::from([(name(""), values.clone()), (name("b"), values)]);
            let bytes = Record { vectors, payload }.encode();
            prop_assert_eq!(Record::decode(&bytes).expect("own bytes").encode(), bytes);
        }

        #[test]
        fn any_bytes_are_canonical_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
