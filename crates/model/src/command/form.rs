//! Commands as they are stored and sent, in the log and between nodes.
//!
//! The codec tells a variant by its number and fields by their place, so neither ever changes: what a command could not
//! say before comes as a further variant, and what it could is written as it always was. Which of two variants is
//! written follows from the command, so equal commands have equal bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Command, Point, Selector};
use crate::ids::NodeId;
use crate::name::{CollectionName, VectorName};
use crate::payload::Payload;
use crate::point_id::PointId;
use crate::quantization::Quantization;
use crate::row::TreeId;
use crate::schema::{CollectionSchema, Metric, VectorParams};
use crate::sparse::SparseVector;

/// In this order for ever; new ones at the end.
#[derive(Serialize, Deserialize)]
enum Form<'a> {
    CreateCollection {
        name: Cow<'a, CollectionName>,
        vectors: BTreeMap<Cow<'a, VectorName>, Params>,
        salt: [u8; 16],
    },
    DropCollection {
        name: Cow<'a, CollectionName>,
    },
    SetAlias {
        alias: Cow<'a, CollectionName>,
        collection: Cow<'a, CollectionName>,
    },
    DropAlias {
        alias: Cow<'a, CollectionName>,
    },
    Upsert {
        tree: TreeId,
        points: Vec<DensePoint<'a>>,
    },
    Delete {
        tree: TreeId,
        selector: Cow<'a, Selector>,
    },
    SetPayload {
        tree: TreeId,
        selector: Cow<'a, Selector>,
        payload: Cow<'a, Payload>,
    },
    ClearPayload {
        tree: TreeId,
        selector: Cow<'a, Selector>,
        keys: Cow<'a, BTreeSet<String>>,
    },
    RegisterNode {
        id: NodeId,
        instance: Uuid,
    },
    ConsistencyCheck,
    /// Where there are sparse vectors.
    CreateSparseCollection {
        name: Cow<'a, CollectionName>,
        vectors: BTreeMap<Cow<'a, VectorName>, Params>,
        sparse_vectors: Cow<'a, BTreeSet<VectorName>>,
        salt: [u8; 16],
    },
    /// Where a point has sparse vectors.
    UpsertSparse {
        tree: TreeId,
        points: Vec<SparsePoint<'a>>,
    },
    /// Where a vector is quantized other than by default.
    CreateQuantizedCollection {
        name: Cow<'a, CollectionName>,
        vectors: BTreeMap<Cow<'a, VectorName>, QuantizedParams>,
        sparse_vectors: Cow<'a, BTreeSet<VectorName>>,
        salt: [u8; 16],
    },
    Quantize {
        tree: TreeId,
        vectors: Cow<'a, BTreeMap<VectorName, Quantization>>,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Params {
    dimension: u32,
    metric: Metric,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct QuantizedParams {
    dimension: u32,
    metric: Metric,
    quantization: Quantization,
}

#[derive(Serialize, Deserialize)]
struct DensePoint<'a> {
    id: PointId,
    vectors: Cow<'a, BTreeMap<VectorName, Vec<f32>>>,
    payload: Cow<'a, Payload>,
}

#[derive(Serialize, Deserialize)]
struct SparsePoint<'a> {
    id: PointId,
    vectors: Cow<'a, BTreeMap<VectorName, Vec<f32>>>,
    sparse_vectors: Cow<'a, BTreeMap<VectorName, SparseVector>>,
    payload: Cow<'a, Payload>,
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Form::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Form::deserialize(deserializer).map(Into::into)
    }
}

impl<'a> From<&'a Command> for Form<'a> {
    fn from(command: &'a Command) -> Self {
        match command {
            Command::CreateCollection { name, schema, salt } => create(name, schema, *salt),
            Command::DropCollection { name } => Self::DropCollection {
                name: Cow::Borrowed(name),
            },
            Command::SetAlias { alias, collection } => Self::SetAlias {
                alias: Cow::Borrowed(alias),
                collection: Cow::Borrowed(collection),
            },
            Command::DropAlias { alias } => Self::DropAlias {
                alias: Cow::Borrowed(alias),
            },
            Command::Upsert { tree, points } => upsert(*tree, points),
            Command::Delete { tree, selector } => Self::Delete {
                tree: *tree,
                selector: Cow::Borrowed(selector),
            },
            Command::SetPayload {
                tree,
                selector,
                payload,
            } => Self::SetPayload {
                tree: *tree,
                selector: Cow::Borrowed(selector),
                payload: Cow::Borrowed(payload),
            },
            Command::ClearPayload {
                tree,
                selector,
                keys,
            } => Self::ClearPayload {
                tree: *tree,
                selector: Cow::Borrowed(selector),
                keys: Cow::Borrowed(keys),
            },
            Command::RegisterNode { id, instance } => Self::RegisterNode {
                id: *id,
                instance: *instance,
            },
            Command::ConsistencyCheck => Self::ConsistencyCheck,
            Command::Quantize { tree, vectors } => Self::Quantize {
                tree: *tree,
                vectors: Cow::Borrowed(vectors),
            },
        }
    }
}

fn create<'a>(name: &'a CollectionName, schema: &'a CollectionSchema, salt: [u8; 16]) -> Form<'a> {
    let name = Cow::Borrowed(name);
    let sparse_vectors = Cow::Borrowed(&schema.sparse_vectors);
    let mut params = schema.vectors.values();
    if params.any(|params| params.quantization != Quantization::default()) {
        return Form::CreateQuantizedCollection {
            name,
            vectors: each(&schema.vectors),
            sparse_vectors,
            salt,
        };
    }
    let vectors = each(&schema.vectors);
    if schema.sparse_vectors.is_empty() {
        return Form::CreateCollection {
            name,
            vectors,
            salt,
        };
    }
    Form::CreateSparseCollection {
        name,
        vectors,
        sparse_vectors,
        salt,
    }
}

fn each<P: From<VectorParams>>(
    vectors: &BTreeMap<VectorName, VectorParams>,
) -> BTreeMap<Cow<'_, VectorName>, P> {
    let each = vectors.iter();
    each.map(|(name, params)| (Cow::Borrowed(name), (*params).into()))
        .collect()
}

impl From<VectorParams> for Params {
    /// Without quantization: of vectors that have the default.
    fn from(params: VectorParams) -> Self {
        Self {
            dimension: params.dimension,
            metric: params.metric,
        }
    }
}

impl From<Params> for VectorParams {
    fn from(params: Params) -> Self {
        Self::new(params.dimension, params.metric)
    }
}

impl From<VectorParams> for QuantizedParams {
    fn from(params: VectorParams) -> Self {
        Self {
            dimension: params.dimension,
            metric: params.metric,
            quantization: params.quantization,
        }
    }
}

impl From<QuantizedParams> for VectorParams {
    fn from(params: QuantizedParams) -> Self {
        Self {
            dimension: params.dimension,
            metric: params.metric,
            quantization: params.quantization,
        }
    }
}

fn upsert(tree: TreeId, points: &[Point]) -> Form<'_> {
    if points.iter().all(|point| point.sparse_vectors.is_empty()) {
        let points = points.iter().map(Into::into).collect();
        return Form::Upsert { tree, points };
    }
    let points = points.iter().map(Into::into).collect();
    Form::UpsertSparse { tree, points }
}

impl<'a> From<&'a Point> for DensePoint<'a> {
    /// Without sparse vectors: of a point that has none.
    fn from(point: &'a Point) -> Self {
        Self {
            id: point.id,
            vectors: Cow::Borrowed(&point.vectors),
            payload: Cow::Borrowed(&point.payload),
        }
    }
}

impl<'a> From<&'a Point> for SparsePoint<'a> {
    fn from(point: &'a Point) -> Self {
        Self {
            id: point.id,
            vectors: Cow::Borrowed(&point.vectors),
            sparse_vectors: Cow::Borrowed(&point.sparse_vectors),
            payload: Cow::Borrowed(&point.payload),
        }
    }
}

impl From<Form<'_>> for Command {
    fn from(form: Form<'_>) -> Self {
        match form {
            Form::CreateCollection {
                name,
                vectors,
                salt,
            } => created(name, vectors, BTreeSet::new(), salt),
            Form::CreateSparseCollection {
                name,
                vectors,
                sparse_vectors,
                salt,
            } => created(name, vectors, sparse_vectors.into_owned(), salt),
            Form::CreateQuantizedCollection {
                name,
                vectors,
                sparse_vectors,
                salt,
            } => created(name, vectors, sparse_vectors.into_owned(), salt),
            Form::DropCollection { name } => Self::DropCollection {
                name: name.into_owned(),
            },
            Form::SetAlias { alias, collection } => Self::SetAlias {
                alias: alias.into_owned(),
                collection: collection.into_owned(),
            },
            Form::DropAlias { alias } => Self::DropAlias {
                alias: alias.into_owned(),
            },
            Form::Upsert { tree, points } => Self::Upsert {
                tree,
                points: points.into_iter().map(Into::into).collect(),
            },
            Form::UpsertSparse { tree, points } => Self::Upsert {
                tree,
                points: points.into_iter().map(Into::into).collect(),
            },
            Form::Delete { tree, selector } => Self::Delete {
                tree,
                selector: selector.into_owned(),
            },
            Form::SetPayload {
                tree,
                selector,
                payload,
            } => Self::SetPayload {
                tree,
                selector: selector.into_owned(),
                payload: payload.into_owned(),
            },
            Form::ClearPayload {
                tree,
                selector,
                keys,
            } => Self::ClearPayload {
                tree,
                selector: selector.into_owned(),
                keys: keys.into_owned(),
            },
            Form::RegisterNode { id, instance } => Self::RegisterNode { id, instance },
            Form::ConsistencyCheck => Self::ConsistencyCheck,
            Form::Quantize { tree, vectors } => Self::Quantize {
                tree,
                vectors: vectors.into_owned(),
            },
        }
    }
}

fn created<P: Into<VectorParams>>(
    name: Cow<'_, CollectionName>,
    vectors: BTreeMap<Cow<'_, VectorName>, P>,
    sparse_vectors: BTreeSet<VectorName>,
    salt: [u8; 16],
) -> Command {
    let vectors = vectors.into_iter();
    Command::CreateCollection {
        name: name.into_owned(),
        schema: CollectionSchema {
            vectors: (vectors.map(|(name, params)| (name.into_owned(), params.into()))).collect(),
            sparse_vectors,
        },
        salt,
    }
}

impl From<DensePoint<'_>> for Point {
    fn from(point: DensePoint<'_>) -> Self {
        Self {
            id: point.id,
            vectors: point.vectors.into_owned(),
            sparse_vectors: BTreeMap::new(),
            payload: point.payload.into_owned(),
        }
    }
}

impl From<SparsePoint<'_>> for Point {
    fn from(point: SparsePoint<'_>) -> Self {
        Self {
            id: point.id,
            vectors: point.vectors.into_owned(),
            sparse_vectors: point.sparse_vectors.into_owned(),
            payload: point.payload.into_owned(),
        }
    }
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
