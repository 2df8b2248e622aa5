//! Payloads and their values.

use std::collections::BTreeMap;

use pando_model::{InvalidInput, Payload, Value, limits};

use super::all;
use crate::error::DecodeError;
use crate::v1::{self, value::Kind};

impl From<Value> for v1::Value {
    fn from(value: Value) -> Self {
        let kind = match value {
            Value::Null => Kind::NullValue(v1::NullValue::NullValue.into()),
            Value::Bool(b) => Kind::BoolValue(b),
            Value::Int(i) => Kind::IntValue(i),
            Value::Float(f) => Kind::DoubleValue(f),
            Value::Str(s) => Kind::StringValue(s),
            Value::List(items) => Kind::ListValue(v1::ListValue {
                values: items.into_iter().map(Into::into).collect(),
            }),
            Value::Map(fields) => Kind::StructValue(encode_fields(fields)),
        };
        Self { kind: Some(kind) }
    }
}

fn encode_fields(fields: BTreeMap<String, Value>) -> v1::Struct {
    v1::Struct {
        fields: fields.into_iter().map(|(k, v)| (k, v.into())).collect(),
    }
}

impl TryFrom<v1::Value> for Value {
    type Error = DecodeError;

    fn try_from(wire: v1::Value) -> Result<Self, Self::Error> {
        decode_value(wire, 0)
    }
}

fn decode_value(wire: v1::Value, depth: usize) -> Result<Value, DecodeError> {
    if depth > limits::NESTING_MAX {
        let max = limits::NESTING_MAX;
        return Err(DecodeError::refused("value")(
            InvalidInput::PayloadTooDeep { max },
        ));
    }
    Ok(match wire.kind {
        None => return Err(DecodeError::missing("kind")),
        Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::IntValue(i)) => Value::Int(i),
        Some(Kind::DoubleValue(f)) if f.is_finite() => Value::Float(f),
        Some(Kind::DoubleValue(f)) => {
            let number = f.to_string();
            let error = InvalidInput::NumberOutOfRange { number };
            return Err(DecodeError::refused("double_value")(error));
        }
        Some(Kind::StringValue(s)) => Value::Str(s),
        Some(Kind::ListValue(list)) => {
            Value::List(all("values", list.values, |v| decode_value(v, depth + 1))?)
        }
        Some(Kind::StructValue(fields)) => Value::Map(decode_fields(fields, depth)?),
    })
}

fn decode_fields(wire: v1::Struct, depth: usize) -> Result<BTreeMap<String, Value>, DecodeError> {
    wire.fields
        .into_iter()
        .map(|(key, value)| match decode_value(value, depth + 1) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(DecodeError::within(format!("fields[{key:?}]"))(error)),
        })
        .collect()
}

impl From<Payload> for v1::Struct {
    fn from(payload: Payload) -> Self {
        encode_fields(payload.0)
    }
}

impl TryFrom<v1::Struct> for Payload {
    type Error = DecodeError;

    fn try_from(wire: v1::Struct) -> Result<Self, Self::Error> {
        decode_fields(wire, 0).map(Self)
    }
}

/// A payload; absent means empty.
pub fn decode_payload(wire: Option<v1::Struct>) -> Result<Payload, DecodeError> {
    wire.map_or_else(|| Ok(Payload::default()), Payload::try_from)
        .map_err(DecodeError::within("payload"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::strategies::payloads;
    use super::*;

    proptest! {
        #[test]
        fn payloads_round_trip_through_bytes(payload in payloads()) {
            let bytes = v1::Struct::from(payload.clone()).encode_to_vec();
            let wire = v1::Struct::decode(bytes.as_slice()).expect("own bytes");
            prop_assert_eq!(Payload::try_from(wire).expect("own message"), payload);
        }
    }

    #[test]
    fn integers_and_floats_stay_apart() {
        for value in [Value::Int(3), Value::Float(3.0), Value::Int(i64::MIN)] {
            let back = Value::try_from(v1::Value::from(value.clone())).expect("own message");
            assert_eq!(back, value);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let nan = v1::Value::from(Value::Float(f64::NAN));
        assert!(Value::try_from(nan).is_err());
        let mut deep = Value::Null;
        for _ in 0..=limits::NESTING_MAX {
            deep = Value::List(vec![deep]);
        }
        let error = Value::try_from(v1::Value::from(deep)).expect_err("too deep");
        assert!(matches!(
            InvalidInput::from(error),
            InvalidInput::PayloadTooDeep { .. }
        ));
        let hollow = v1::ListValue {
            values: vec![v1::Value::default()],
        };
        let payload = v1::Struct {
            fields: [(
                "a".to_owned(),
                v1::Value {
                    kind: Some(Kind::ListValue(hollow)),
                },
            )]
            .into(),
        };
        let error = decode_payload(Some(payload)).expect_err("no kind");
        assert_eq!(error.field(), "payload.fields[\"a\"].values[0].kind");
    }
}
