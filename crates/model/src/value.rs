//! Payload values: JSON with integers and floats kept apart, and their canonical bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{DecodeError, Reader, Writer};
use crate::error::InvalidInput;
use crate::limits::NESTING_MAX;

/// One payload value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent that fits 64 signed bits.
    Int(i64),
    /// Any other number; always finite.
    Float(f64),
    /// A string.
    Str(String),
    /// An array.
    List(Vec<Value>),
    /// An object, keys in byte order.
    Map(BTreeMap<String, Value>),
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STR: u8 = 5;
const LIST: u8 = 6;
const MAP: u8 = 7;

impl Value {
    /// Takes a JSON value; refuses integers beyond 64 signed bits and nesting beyond the limit.
    pub fn from_json(json: serde_json::Value) -> Result<Self, InvalidInput> {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: serde_json::Value, depth: usize) -> Result<Self, InvalidInput> {
        use serde_json::Value as Json;
        if depth > NESTING_MAX {
            return Err(InvalidInput::PayloadTooDeep { max: NESTING_MAX });
        }
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(b),
            Json::Number(n) => match (n.as_i64(), n.is_u64(), n.as_f64()) {
                (Some(i), _, _) => Self::Int(i),
                (None, false, Some(f)) if f.is_finite() => Self::Float(f),
                _ => {
                    return Err(InvalidInput::NumberOutOfRange {
                        number: n.to_string(),
                    });
                }
            },
            Json::String(s) => Self::Str(s),
            Json::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(|v| Self::from_json_at(v, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(fields) => Self::Map(
                fields
                    .into_iter()
                    .map(|(k, v)| Ok((k, Self::from_json_at(v, depth + 1)?)))
                    .collect::<Result<_, InvalidInput>>()?,
            ),
        })
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Float(f) => Json::from(*f),
            Self::Str(s) => Json::from(s.as_str()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(k, v)| (k.clone(), v.to_json()))
                    .collect(),
            ),
        }
    }

    /// Refuses what JSON cannot carry: a float that is not finite, nesting beyond the limit.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        self.validate_at(0)
    }

    pub(crate) fn validate_at(&self, depth: usize) -> Result<(), InvalidInput> {
        if depth > NESTING_MAX {
            return Err(InvalidInput::PayloadTooDeep { max: NESTING_MAX });
        }
        match self {
            Self::Float(f) if !f.is_finite() => Err(InvalidInput::NumberOutOfRange {
                number: f.to_string(),
            }),
            Self::List(items) => items.iter().try_for_each(|v| v.validate_at(depth + 1)),
            Self::Map(fields) => fields.values().try_for_each(|v| v.validate_at(depth + 1)),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Str(_) => Ok(()),
        }
    }

    /// The number, if it is one. Integers beyond 2^53 lose their last bits, as in JSON itself.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Null | Self::Bool(_) | Self::Str(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Equality as a user sees it: `3` equals `3.0`.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(i), Self::Float(f)) | (Self::Float(f), Self::Int(i)) => *i as f64 == *f,
            _ => self == other,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Null => w.u8(NULL),
            Self::Bool(false) => w.u8(FALSE),
            Self::Bool(true) => w.u8(TRUE),
            Self::Int(i) => w.u8(INT).raw(&i.to_be_bytes()),
            Self::Float(f) => w.u8(FLOAT).raw(&f.to_bits().to_be_bytes()),
            Self::Str(s) => w.u8(STR).bytes(s.as_bytes()),
            Self::List(items) => {
                w.u8(LIST).count(items.len());
                items.iter().for_each(|v| v.write(w));
                w
            }
            Self::Map(fields) => {
                w.u8(MAP);
                write_fields(fields, w);
                w
            }
        };
    }

    pub(crate) fn read(r: &mut Reader<'_>, depth: usize) -> Result<Self, DecodeError> {
        if depth > NESTING_MAX {
            return Err(r.malformed());
        }
        Ok(match r.u8()? {
            NULL => Self::Null,
            FALSE => Self::Bool(false),
            TRUE => Self::Bool(true),
            INT => Self::Int(r.u64()?.cast_signed()),
            FLOAT => {
                let f = f64::from_bits(r.u64()?);
                if !f.is_finite() {
                    return Err(r.malformed());
                }
                Self::Float(f)
            }
            STR => Self::Str(r.str()?.to_owned()),
            LIST => {
                let n = r.count()?;
                Self::List(
                    (0..n)
                        .map(|_| Self::read(r, depth + 1))
                        .collect::<Result<_, _>>()?,
                )
            }
            MAP => Self::Map(read_fields(r, depth)?),
            _ => return Err(r.malformed()),
        })
    }

    /// Moves past one encoded value without building it.
    pub(crate) fn skip(r: &mut Reader<'_>, depth: usize) -> Result<(), DecodeError> {
        if depth > NESTING_MAX {
            return Err(r.malformed());
        }
        match r.u8()? {
            NULL | FALSE | TRUE => {}
            INT | FLOAT => {
                r.take(8)?;
            }
            STR => {
                r.bytes()?;
            }
            LIST => {
                for _ in 0..r.count()? {
                    Self::skip(r, depth + 1)?;
                }
            }
            MAP => {
                for _ in 0..r.count()? {
                    r.bytes()?;
                    Self::skip(r, depth + 1)?;
                }
            }
            _ => return Err(r.malformed()),
        }
        Ok(())
    }

    /// Whether the next encoded value is an object; if so, moves to its field count.
    pub(crate) fn enter_map(r: &mut Reader<'_>) -> bool {
        if r.rest().first() == Some(&MAP) {
            return r.u8().is_ok();
        }
        false
    }
}

pub(crate) fn write_fields(fields: &BTreeMap<String, Value>, w: &mut Writer) {
    w.count(fields.len());
    for (key, value) in fields {
        w.bytes(key.as_bytes());
        value.write(w);
    }
}

pub(crate) fn read_fields(
    r: &mut Reader<'_>,
    depth: usize,
) -> Result<BTreeMap<String, Value>, DecodeError> {
    let n = r.count()?;
    let mut fields = BTreeMap::new();
    for _ in 0..n {
        let key = r.str()?.to_owned();
        // Canonical means one encoding: keys rise strictly.
        if fields
            .last_key_value()
            .is_some_and(|(last, _)| *last >= key)
        {
            return Err(r.malformed());
        }
        let value = Value::read(r, depth + 1)?;
        fields.insert(key, value);
    }
    Ok(fields)
}
