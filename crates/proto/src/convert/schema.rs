//! Collections: schemas, metrics, descriptions.

use pando_model::{
    CollectionInfo, CollectionName, CollectionSchema, Definition, Metric, TreeId, VectorName,
    VectorParams,
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
        }
    }
}

fn decode_metric(wire: i32) -> Result<Metric, DecodeError> {
    match v1::Metric::try_from(wire) {
        Ok(v1::Metric::Cosine) => Ok(Metric::Cosine),
        Ok(v1::Metric::Dot) => Ok(Metric::Dot),
        Ok(v1::Metric::Euclidean) => Ok(Metric::Euclidean),
        Ok(v1::Metric::Unspecified) => Err(DecodeError::missing("metric")),
        Err(_) => {
            let reason = format!("{wire} is none of COSINE (1), DOT (2), EUCLIDEAN (3)");
            Err(DecodeError::malformed("metric", reason))
        }
    }
}

impl From<CollectionSchema> for v1::CollectionSchema {
    fn from(schema: CollectionSchema) -> Self {
        let params = |p: VectorParams| v1::VectorParams {
            dimension: p.dimension,
            metric: v1::Metric::from(p.metric).into(),
        };
        Self {
            vectors: schema
                .vectors
                .into_iter()
                .map(|(name, p)| (name.into(), params(p)))
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
                let metric = decode_metric(params.metric).map_err(DecodeError::within(field))?;
                let dimension = params.dimension;
                Ok((name, VectorParams { dimension, metric }))
            })
            .collect::<Result<_, DecodeError>>()?;
        Ok(Self { vectors })
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
        prop::sample::select(vec![Metric::Cosine, Metric::Dot, Metric::Euclidean])
    }

    proptest! {
        #[test]
        fn descriptions_round_trip(
            vectors in prop::collection::btree_map("[a-z]{0,4}", (any::<u32>(), metrics()), 0..4),
            (tree, points, bytes, wall_ms) in any::<(u32, u64, u64, u64)>(),
            (root, salt) in any::<([u8; 32], [u8; 16])>(),
            aliases in prop::collection::vec("[a-z]{1,4}", 0..3),
        ) {
            let name = |s: &str| CollectionName::parse(s).expect("name");
            let vectors: BTreeMap<_, _> = vectors
                .into_iter()
                .map(|(n, (dimension, metric))| {
                    (VectorName::parse(&n).expect("name"), VectorParams { dimension, metric })
                })
                .collect();
            let info = CollectionInfo {
                definition: Definition {
                    name: name("words"),
                    tree: TreeId(tree),
                    salt,
                    created: Stamp::at(wall_ms),
                    schema: CollectionSchema { vectors },
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
            };
            decode_schema(Some(v1::CollectionSchema {
                vectors: [(String::new(), params)].into(),
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
}
