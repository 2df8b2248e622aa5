//! What can be wrong with input, with a write when it is applied, and with a read.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{CollectionName, VectorName};
use crate::point_id::PointId;
use crate::sparse::SparseError;

/// Input refused before anything is done with it.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum InvalidInput {
    /// A name with other characters, or of the wrong length.
    #[error(
        "bad name {name:?}: use 1 to 128 bytes of letters, digits, '_', '-' and '.', starting with a letter or digit"
    )]
    BadName {
        /// The name as given, cut at the limit.
        name: String,
    },
    /// Neither an unsigned integer nor a UUID.
    #[error("bad point id {id:?}: use an unsigned 64-bit integer or a UUID")]
    BadId {
        /// The id as given, cut.
        id: String,
    },
    /// A schema without vectors.
    #[error("a collection needs at least one vector and at most {max}; got {count}")]
    VectorCount {
        /// How many were given.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A dimension of zero or beyond the limit.
    #[error("vector {vector} has dimension {dimension}: use 1 to {max}")]
    BadDimension {
        /// Which vector.
        vector: VectorName,
        /// The dimension given.
        dimension: u64,
        /// The limit.
        max: usize,
    },
    /// A vector of another length than its schema says.
    #[error("vector {vector} has {actual} dimensions, the collection expects {expected}")]
    DimensionMismatch {
        /// Which vector.
        vector: VectorName,
        /// What the schema says.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// NaN or infinity.
    #[error(
        "vector {vector} holds NaN or infinity at position {position}: all values must be finite"
    )]
    NotFinite {
        /// Which vector.
        vector: VectorName,
        /// Where in the vector.
        position: usize,
    },
    /// A vector without direction.
    #[error("vector {vector} is zero (or too small or large to normalise), which has no cosine")]
    ZeroVector {
        /// Which vector.
        vector: VectorName,
    },
    /// A vector the collection does not have.
    #[error("the collection has no vector {vector}; it has: {known}")]
    UnknownVector {
        /// The name given.
        vector: VectorName,
        /// The names there are.
        known: String,
    },
    /// A point without any vector.
    #[error("point {id} has no vector: give at least one")]
    NoVector {
        /// Which point.
        id: PointId,
    },
    /// A payload that is not a JSON object.
    #[error("a payload must be a JSON object")]
    PayloadNotObject,
    /// A payload beyond the limit.
    #[error("payload of {bytes} bytes is over the limit of {max} bytes")]
    PayloadTooLarge {
        /// Its canonical size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nesting beyond the limit.
    #[error("nested deeper than the limit of {max} levels")]
    PayloadTooDeep {
        /// The limit.
        max: usize,
    },
    /// A number JSON or the canonical form cannot carry.
    #[error("number {number} is out of range: use a signed 64-bit integer or a finite float")]
    NumberOutOfRange {
        /// The number as given.
        number: String,
    },
    /// A write of nothing.
    #[error("empty {what}: give at least one")]
    Empty {
        /// What is empty.
        what: String,
    },
    /// Too many of something.
    #[error("{count} {what} are over the limit of {max}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many were given.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A write that does not fit a Raft entry.
    #[error(
        "write of {bytes} bytes is over the limit of {max} bytes: split it into smaller batches"
    )]
    WriteTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The same id twice in one write.
    #[error("point {id} appears twice in one write")]
    DuplicateId {
        /// Which.
        id: PointId,
    },
    /// A filter that cannot mean anything.
    #[error("malformed filter: {reason}")]
    BadFilter {
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A request field that is missing or has no meaning.
    #[error("bad {field}: {reason}")]
    BadField {
        /// Which field.
        field: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// An example that lacks the vector that is searched by.
    #[error("point {id} has no vector {vector}: search by another one, or leave the point out")]
    ExampleWithoutVector {
        /// Which point.
        id: PointId,
        /// Which vector.
        vector: VectorName,
    },
    /// A vector that is no point of the unit ball.
    #[error(
        "vector {vector} has a norm of 1 or more, and poincare needs one below 1: scale the vectors down"
    )]
    OutsideBall {
        /// Which vector.
        vector: VectorName,
    },
    /// Indices and values that are no sparse vector.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// Numbers for every dimension, where the collection has a sparse vector.
    #[error("vector {vector} is sparse: give indices and values, not a value for every dimension")]
    IsSparse {
        /// Which vector.
        vector: VectorName,
    },
    /// Indices and values, where the collection has a dense vector.
    #[error("vector {vector} is dense: give all of its {dimension} values, not indices and values")]
    IsDense {
        /// Which vector.
        vector: VectorName,
        /// How many values it has.
        dimension: u32,
    },
    /// One name for a dense and a sparse vector.
    #[error("vector {vector} cannot be both dense and sparse: give one of the two another name")]
    NameTwice {
        /// The name.
        vector: VectorName,
    },
    /// Examples that make no sparse query.
    #[error(
        "vector {vector} is sparse, and vectors like that are not averaged: search by one id, or by indices and values"
    )]
    SparseExamples {
        /// Which vector.
        vector: VectorName,
    },
}

/// A write refused when it was applied; every replica refuses it alike and nothing changes.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum WriteError {
    /// No such collection (any more).
    #[error("collection {name} does not exist")]
    CollectionNotFound {
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("collection {name} exists already")]
    CollectionExists {
        /// Its name.
        name: CollectionName,
    },
    /// The name is an alias.
    #[error("{name} is an alias: drop the alias first")]
    NameIsAlias {
        /// The name.
        name: CollectionName,
    },
    /// No such alias.
    #[error("alias {name} does not exist")]
    AliasNotFound {
        /// Its name.
        name: CollectionName,
    },
    /// The catalogue is full.
    #[error("there are {max} {what} already, which is the limit: drop some")]
    CatalogueFull {
        /// Collections or aliases.
        what: String,
        /// The limit.
        max: usize,
    },
    /// The node id belongs to another data directory.
    #[error("node id {id} was given to another data directory: start the node with a new id")]
    NodeIdUsed {
        /// The id.
        id: u64,
    },
    /// The input does not fit the collection as it is now.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
}

/// A read that cannot be answered.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ReadError {
    /// No such collection.
    #[error("collection {name} does not exist")]
    CollectionNotFound {
        /// Its name.
        name: CollectionName,
    },
    /// The request does not fit the collection.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// A point that is given as an example is not there.
    #[error("there is no point {id}: give ids of points that exist")]
    PointNotFound {
        /// Its id.
        id: PointId,
    },
    /// Whoever asked does not wait any more.
    #[error("not finished in time; allow more time, or ask for less at once")]
    OutOfTime,
    /// The replica could not read its own storage.
    #[error("storage failed: {detail}")]
    Storage {
        /// What storage said.
        detail: String,
    },
    /// The replica serves nothing at the moment.
    #[error("this replica is not serving: {reason}")]
    NotServing {
        /// Why.
        reason: String,
    },
}
