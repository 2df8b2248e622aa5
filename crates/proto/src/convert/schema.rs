//! Collections: schemas, metrics, descriptions.

use std::collections::BTreeMap;

use pando_model::{
    CollectionInfo, CollectionName, CollectionSchema, Definition, Metric, Quantization, TreeId,
    VectorName, VectorParams,
};

use super::{decode_collection, fixed};
use crate::error::DecodeError;
use crate::v1;

impl From<Metric> for v1::Metric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Cosine => Self::Cosine,
            Metric::Dot => Self::Dot,
            Metric::Euclidean => Self::Euclidean,
            Metric::Manhattan => Self::Manhattan,
            Metric::Poincare => Self::Poincare,
        }
    }
}

fn decode_metric(wire: i32) -> Result<Metric, DecodeError> {
    match v1::Metric::try_from(wire) {
        Ok(v1::Metric::Cosine) => Ok(Metric::Cosine),
        Ok(v1::Metric::Dot) => Ok(Metric::Dot),
        Ok(v1::Metric::Euclidean) => Ok(Metric::Euclidean),
        Ok(v1::Metric::Manhattan) => Ok(Metric::Manhattan),
        Ok(v1::Metric::Poincare) => Ok(Metric::Poincare),
        Ok(v1::Metric::Unspecified) => Err(DecodeError::missing("metric")),
        Err(_) => {
            let reason = format!(
                "{wire} is none of COSINE (1), DOT (2), EUCLIDEAN (3), MANHATTAN (4), POINCARE (5)"
            );
            Err(DecodeError::malformed("metric", reason))
        }
    }
}

impl From<Quantization> for v1::Quantization {
    fn from(quantization: Quantization) -> Self {
        match quantization {
            Quantization::F16 => Self::F16,
            Quantization::Int8 => Self::Int8,
            Quantization::Binary => Self::Binary,
        }
    }
}

/// `None` where it is not said.
fn decode_quantization(wire: i32) -> Result<Option<Quantization>, DecodeError> {
    match v1::Quantization::try_from(wire) {
        Ok(v1::Quantization::Unspecified) => Ok(None),
        Ok(v1::Quantization::F16) => Ok(Some(Quantization::F16)),
        Ok(v1::Quantization::Int8) => Ok(Some(Quantization::Int8)),
        Ok(v1::Quantization::Binary) => Ok(Some(Quantization::Binary)),
        Err(_) => {
            let reason = format!("{wire} is none of F16 (1), INT8 (2), BINARY (3)");
            Err(DecodeError::malformed("quantization", reason))
        }
    }
}

/// How vectors are to be quantized, by their names.
pub fn decode_quantizations(
    wire: BTreeMap<String, i32>,
) -> Result<BTreeMap<VectorName, Quantization>, DecodeError> {
    let each = wire.into_iter().map(|(name, quantization)| {
        let field = format!("quantization[{name:?}]");
        let name = VectorName::parse(&name).map_err(DecodeError::refused(&field))?;
        let quantization = decode_quantization(quantization)
            .and_then(|it| it.ok_or_else(|| DecodeError::missing("quantization")))
            .map_err(DecodeError::within(field))?;
        Ok((name, quantization))
    });
    each.collect()
}

/// The same on the wire.
#[must_use]
pub fn encode_quantizations(vectors: &BTreeMap<VectorName, Quantization>) -> BTreeMap<String, i32> {
    let each = vectors.iter();
    each.map(|(name, it)| (name.as_str().to_owned(), v1::Quantization::from(*it).into()))
        .collect()
}

impl From<CollectionSchema> for v1::CollectionSchema {
    fn from(schema: CollectionSchema) -> Self {
        let params = |p: VectorParams| v1::VectorParams {
            dimension: p.dimension,
            metric: v1::Metric::from(p.metric).into(),
            quantization: v1::Quantization::from(p.quantization).into(),
        };
        Self {
            vectors: schema
                .vectors
                .into_iter()
                .map(|(name, p)| (name.into(), params(p)))
                .collect(),
            sparse_vectors: (schema.sparse_vectors.into_iter())
                .map(|name| (name.into(), v1::SparseVectorParams {}))
                .collect(),
        }
    }
}

impl TryFrom<v1::CollectionSchema> for CollectionSchema {
    type Error = DecodeError;

    fn try_from(wire: v1::CollectionSchema) -> Result<Self, Self::Error> {
        let vectors = wire
            .vectors
            .into_iter()
            .map(|(name, params)| {
                let field = format!("vectors[{name:?}]");
                let name = VectorName::parse(&name).map_err(DecodeError::refused(&field))?;
                let within = DecodeError::within(field);
                let decoded = decode_metric(params.metric).and_then(|metric| {
                    Ok(VectorParams {
                        dimension: params.dimension,
                        metric,
                        quantization: decode_quantization(params.quantization)?.unwrap_or_default(),
                    })
                });
                Ok((name, decoded.map_err(within)?))
            })
            .collect::<Result<_, DecodeError>>()?;
        let sparse_vectors = (wire.sparse_vectors.into_keys())
            .map(|name| {
                let field = format!("sparse_vectors[{name:?}]");
                VectorName::parse(&name).map_err(DecodeError::refused(&field))
            })
            .collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            vectors,
            sparse_vectors,
        })
    }
}

/// A schema, which must be there.
pub fn decode_schema(wire: Option<v1::CollectionSchema>) -> Result<CollectionSchema, DecodeError> {
    wire.ok_or_else(|| DecodeError::missing("schema"))?
        .try_into()
        .map_err(DecodeError::within("schema"))
}

impl From<CollectionInfo> for v1::CollectionInfo {
    fn from(info: CollectionInfo) -> Self {
        Self {
            name: info.definition.name.into(),
            schema: Some(info.definition.schema.into()),
            aliases: info.aliases.into_iter().map(Into::into).collect(),
            created: Some(info.definition.created.into()),
            points: info.points,
            bytes: info.bytes,
            root: info.root.to_vec(),
            tree_id: info.definition.tree.0,
            salt: info.definition.salt.to_vec(),
        }
    }
}

impl TryFrom<v1::CollectionInfo> for CollectionInfo {
    type Error = DecodeError;

    fn try_from(wire: v1::CollectionInfo) -> Result<Self, Self::Error> {
        let created = wire
            .created
            .ok_or_else(|| DecodeError::missing("created"))?;
        Ok(Self {
            definition: Definition {
                name: decode_collection("name", &wire.name)?,
                tree: TreeId(wire.tree_id),
                salt: fixed("salt", &wire.salt)?,
                created: created.into(),
                schema: decode_schema(wire.schema)?,
            },
            aliases: wire
                .aliases
                .iter()
                .map(|alias| decode_collection("aliases", alias))
                .collect::<Result<Vec<CollectionName>, _>>()?,
            points: wire.points,
            bytes: wire.bytes,
            root: fixed("root", &wire.root)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pando_model::Stamp;
    use proptest::prelude::*;

    use super::*;

    fn metrics() -> impl Strategy<Value = Metric> {
        prop::sample::select(Metric::ALL.to_vec())
    }

    fn quantizations() -> impl Strategy<Value = Quantization> {
        prop::sample::select(Quantization::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn descriptions_round_trip(
            vectors in prop::collection::btree_map(
                "[a-z]{0,4}", (any::<u32>(), metrics(), quantizations()), 0..4,
            ),
            (tree, points, bytes, wall_ms) in any::<(u32, u64, u64, u64)>(),
            (root, salt) in any::<([u8; 32], [u8; 16])>(),
            aliases in prop::collection::vec("[a-z]{1,4}", 0..3),
            sparse in prop::collection::btree_set("[a-z]{0,4}", 0..3),
        ) {
            let name = |s: &str| CollectionName::parse(s).expect("name");
            let vectors: BTreeMap<_, _> = vectors
                .into_iter()
                .map(|(n, (dimension, metric, quantization))| {
                    let params = VectorParams { dimension, metric, quantization };
                    (VectorName::parse(&n).expect("name"), params)
                })
                .collect();
            let info = CollectionInfo {
                definition: Definition {
                    name: name("words"),
                    tree: TreeId(tree),
                    salt,
                    created: Stamp::at(wall_ms),
                    schema: CollectionSchema {
                        vectors,
                        sparse_vectors: (sparse.iter())
                            .map(|n| VectorName::parse(n).expect("name"))
                            .collect(),
                    },
                },
                aliases: aliases.iter().map(|a| name(a)).collect(),
                points,
                bytes,
                root,
            };
            let wire = v1::CollectionInfo::from(info.clone());
            prop_assert_eq!(CollectionInfo::try_from(wire.clone()).expect("own message"), info);
            let short = v1::CollectionInfo { root: root[..31].to_vec(), ..wire };
            let error = CollectionInfo::try_from(short).expect_err("short");
            prop_assert_eq!(error.field(), "root");
        }
    }

    #[test]
    fn a_metric_must_be_said() {
        let schema = |metric| {
            let params = v1::VectorParams {
                dimension: 4,
                metric,
                quantization: 0,
            };
            decode_schema(Some(v1::CollectionSchema {
                vectors: [(String::new(), params)].into(),
                ..v1::CollectionSchema::default()
            }))
        };
        assert!(schema(1).is_ok());
        assert_eq!(
            schema(0),
            Err(DecodeError::missing("schema.vectors[\"\"].metric"))
        );
        assert!(matches!(schema(9), Err(DecodeError::Malformed { .. })));
        assert_eq!(decode_schema(None), Err(DecodeError::missing("schema")));
    }

    #[test]
    fn quantization_need_not_be_said_and_is_refused_if_unknown() {
        let schema = |quantization| {
            let params = v1::VectorParams {
                dimension: 4,
                metric: 1,
                quantization,
            };
            let schema = decode_schema(Some(v1::CollectionSchema {
                vectors: [(String::new(), params)].into(),
                ..v1::CollectionSchema::default()
            }))?;
            Ok::<_, DecodeError>(schema.vectors[&VectorName::default()].quantization)
        };
        assert_eq!(schema(0), Ok(Quantization::F16));
        assert_eq!(schema(2), Ok(Quantization::Int8));
        let error = schema(9).expect_err("unknown");
        assert_eq!(error.field(), "schema.vectors[\"\"].quantization");
        let changes = BTreeMap::from([(VectorName::default(), Quantization::Int8)]);
        let wire = encode_quantizations(&changes);
        assert_eq!(decode_quantizations(wire), Ok(changes));
        for unsaid in [0, 9] {
            let error = decode_quantizations([(String::new(), unsaid)].into()).expect_err("unsaid");
            assert!(error.field().starts_with("quantization[\"\"]"), "{error}");
        }
    }
}
