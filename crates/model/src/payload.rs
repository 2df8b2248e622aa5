//! Payloads: the JSON object that goes along with a point, decoded and in canonical bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{DecodeError, Reader, Writer};
use crate::error::InvalidInput;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::value::{Value, read_fields, write_fields};

/// A JSON object with typed values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payload(pub BTreeMap<String, Value>);

/// A payload's canonical bytes: compact enough to keep in memory, and searchable without decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPayload(Box<[u8]>);

impl Default for EncodedPayload {
    fn default() -> Self {
        Payload::default().encode()
    }
}

impl Payload {
    /// Takes a JSON object.
    pub fn from_json(json: serde_json::Value) -> Result<Self, InvalidInput> {
        match Value::from_json(json)? {
            Value::Map(fields) => Ok(Self(fields)),
            Value::Null => Ok(Self::default()),
            _ => Err(InvalidInput::PayloadNotObject),
        }
    }

    /// The JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(
            self.0
                .iter()
                .map(|(k, v)| (k.clone(), v.to_json()))
                .collect(),
        )
    }

    /// Refuses values JSON cannot carry and payloads over the size limit.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        self.0.values().try_for_each(|v| v.validate_at(1))?;
        let bytes = self.encode().as_bytes().len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(InvalidInput::PayloadTooLarge {
                bytes,
                max: PAYLOAD_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> EncodedPayload {
        let mut w = Writer::new();
        write_fields(&self.0, &mut w);
        EncodedPayload(w.finish().into())
    }
}

impl EncodedPayload {
    /// Takes canonical bytes after checking that they are.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let encoded = Self(bytes.into());
        encoded.decode()?;
        Ok(encoded)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The decoded payload.
    pub fn decode(&self) -> Result<Payload, DecodeError> {
        let mut r = Reader::new("payload", &self.0);
        let fields = read_fields(&mut r, 0)?;
        r.finish()?;
        Ok(Payload(fields))
    }

    /// The value at a dotted path (`a.b.c`), decoding nothing else. `None` where there is no such field.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Value> {
        let mut r = Reader::new("payload", &self.0);
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            let fields = r.count().ok()?;
            let found = (0..fields).find_map(|_| {
                let key = r.bytes().ok()?;
                if key == step.as_bytes() {
                    return Some(());
                }
                Value::skip(&mut r, 1).ok()?;
                None
            });
            found?;
            if steps.peek().is_some() && !Value::enter_map(&mut r) {
                return None;
            }
        }
        Value::read(&mut r, 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite())
                .prop_map(Value::Float),
            ".{0,8}".prop_map(Value::Str),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_bytes_round_trip(
            fields in prop::collection::btree_map("[a-c]{1,2}", values(), 0..5),
        ) {
            let payload = Payload(fields);
            let encoded = payload.encode();
            prop_assert_eq!(&encoded.decode().expect("own bytes"), &payload);
            for (key, value) in &payload.0 {
                prop_assert_eq!(encoded.find(key), Some(value.clone()));
                if let Value::Map(inner) = value {
                    for (k, v) in inner {
                        prop_assert_eq!(encoded.find(&format!("{key}.{k}")), Some(v.clone()));
                    }
                }
            }
            prop_assert_eq!(Payload::from_json(payload.to_json()).expect("own JSON"), payload);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(encoded) = EncodedPayload::from_bytes(&bytes) {
                prop_assert_eq!(encoded.decode().expect("checked").encode(), encoded);
            }
        }
    }

    #[test]
    fn only_objects_of_bounded_size_and_depth_are_payloads() {
        assert_eq!(
            Payload::from_json(json!([1])),
            Err(InvalidInput::PayloadNotObject)
        );
        let big = Payload::from_json(json!({ "a": "x".repeat(PAYLOAD_BYTES_MAX) })).expect("JSON");
        assert!(matches!(
            big.validate(),
            Err(InvalidInput::PayloadTooLarge { .. })
        ));
        let mut deep = json!(1);
        for _ in 0..20 {
            deep = json!({ "a": deep });
        }
        assert!(matches!(
            Payload::from_json(deep),
            Err(InvalidInput::PayloadTooDeep { .. })
        ));
        let huge = serde_json::from_str("{\"a\": 18446744073709551615}").expect("JSON");
        assert!(matches!(
            Payload::from_json(huge),
            Err(InvalidInput::NumberOutOfRange { .. })
        ));
    }
}
