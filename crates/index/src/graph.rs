//! What this crate asks of a graph library: one segment of fixed capacity, and how to open or load one.
//!
//! Nothing outside of [`diskann`] names the library. A segment knows rows, not points: a row number stands for one
//! stored version of one vector, and is never used for another. Vectors are given at half precision and kept so or in
//! less; whoever wants exact scores computes them from the originals.
//!
//! Within a segment, rows are only added. Removing a row hides it, and its node goes on as a way to others; memory comes
//! back when a copy without it takes the segment's place, or when the visible rows were moved into another one. Taking
//! nodes out of a graph in place is what such libraries do worst: it costs as much as an insertion, and it is where
//! they lose points.

mod coding;
pub mod diskann;
pub(crate) mod live;
pub(crate) mod restore;
mod segments;

pub use coding::Coding;
pub(crate) use coding::{CODINGS_FROM, kind_tag};
pub use live::GraphWork;
pub use restore::{Restored, WhenRestored};
pub(crate) use segments::Sizes;

use std::io::{Read, Write};
use std::sync::Arc;

use half::f16;
use pando_model::Metric;

/// What a segment is opened with.
#[derive(Clone, Debug)]
pub struct GraphParams {
    /// Values of one vector.
    pub dimension: usize,
    /// How vectors are compared. Under cosine they are of length 1.
    pub metric: Metric,
    /// How rows are kept.
    pub coding: Coding,
    /// Most rows, hidden ones included.
    pub capacity: usize,
    /// Where every search begins: a vector amid those to come.
    pub start: Arc<[f16]>,
}

/// One segment.
///
/// Searches may run at any time, any number of them, beside one insertion and any removals.
pub trait Graph: Send + Sync {
    /// Rows inserted so far, hidden ones and failed attempts included.
    fn len(&self) -> usize;

    /// Whether nothing was inserted yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most rows there will ever be.
    fn capacity(&self) -> usize;

    /// Visible rows.
    fn visible(&self) -> usize;

    /// Whether the row is here and visible.
    fn contains(&self, row: u64) -> bool;

    /// The visible rows.
    fn rows(&self) -> Vec<u64>;

    /// A visible row's vector, as it was inserted, or what may be inserted in its place.
    fn vector(&self, row: u64) -> Option<Box<[f16]>>;

    /// Inserts a row that was never here before. It is found when this has returned, at the latest; after an error it is
    /// not visible. Insertions wait for each other.
    ///
    /// # Errors
    /// When the segment is full, the vector does not fit, or the library fails.
    fn insert(&self, row: u64, vector: &[f16]) -> Result<(), GraphError>;

    /// Hides a row; says whether it was visible. A filtered search that begins afterwards does not return it.
    fn remove(&self, row: u64) -> bool;

    /// The nearest rows, up to about `ef` of them, nearest first. With `accept`, only rows it takes, and then also those
    /// that lie beyond the `ef` nearest; without, hidden rows may be among them: whoever asks looks each row up anyway.
    ///
    /// # Errors
    /// When the query does not fit or the library fails.
    fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<Found>, GraphError>;

    /// A copy with room for `capacity` rows, of those visible when it began. Those removed meanwhile may be visible in it.
    /// Insertions wait.
    ///
    /// # Errors
    /// When there are more rows, or the library fails.
    fn resized(&self, capacity: usize) -> Result<Arc<dyn Graph>, GraphError>;

    /// Bytes allocated.
    fn memory_bytes(&self) -> usize;

    /// Writes everything but the vectors. Not to be called while a row is being inserted.
    ///
    /// # Errors
    /// When the writer fails.
    fn save(&self, to: &mut dyn Write) -> Result<(), GraphError>;
}

/// A row that a search came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The row.
    pub row: u64,
    /// How far what is kept of it is from the query's half form, about: one less the product under cosine, the negative
    /// product under dot, squared under euclidean.
    pub distance: f32,
}

/// Whether there are graphs for a metric. The library compares by products and squares only.
pub(crate) fn knows(metric: Metric) -> bool {
    match metric {
        Metric::Cosine | Metric::Dot | Metric::Euclidean => true,
        Metric::Manhattan | Metric::Poincare => false,
    }
}

/// Which rows a filtered search may return.
pub type Accept<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Gives a row's vector when a segment is loaded; `None` for rows that are no more.
pub type VectorOf<'a> = dyn FnMut(u64) -> Option<Box<[f16]>> + 'a;

/// A graph library.
pub trait Library: Send + Sync {
    /// Bytes that a segment allocates for each row of its capacity.
    fn row_bytes(&self, dimension: usize, coding: Coding) -> usize;

    /// An empty segment.
    ///
    /// # Errors
    /// When the library refuses the parameters.
    fn open(&self, params: &GraphParams) -> Result<Arc<dyn Graph>, GraphError>;

    /// A segment that was saved, less the rows that are no more. `expected` says what it must be of; its capacity is
    /// the most it may have.
    ///
    /// # Errors
    /// When it is of something else, torn or damaged.
    fn load(
        &self,
        expected: &GraphParams,
        from: &mut dyn Read,
        vectors: &mut VectorOf<'_>,
    ) -> Result<Arc<dyn Graph>, LoadError>;
}

/// A graph refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// There is no room for another row.
    #[error("the graph segment is full: it has all its {capacity} rows; open another one")]
    Full {
        /// Its capacity.
        capacity: usize,
    },
    /// A vector is of another dimension.
    #[error("the vector has {found} values where the graph segment takes {expected}")]
    Dimension {
        /// What the segment takes.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The library failed.
    #[error("the graph library failed to {action}: {detail}")]
    Library {
        /// At what.
        action: &'static str,
        /// In its words.
        detail: String,
    },
    /// A segment could not be written.
    #[error("the graph segment could not be written")]
    Write(#[source] std::io::Error),
}

/// A saved segment cannot be loaded. It can be built anew from the vectors.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("the graph segment could not be read")]
    Read(#[source] std::io::Error),
    /// It ends too early.
    #[error("the graph segment is torn: it ends within its {within}; build it anew")]
    Torn {
        /// Where.
        within: &'static str,
    },
    /// It is something else altogether.
    #[error("this is no graph segment: it does not begin with the mark of one")]
    Foreign,
    /// It is of a version this program does not know.
    #[error(
        "the graph segment is of version {found}, and this program reads version {known}; build it anew"
    )]
    Version {
        /// What it says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// It belongs to other vectors.
    #[error("the graph segment has {what} {found} where {expected} is expected; build it anew")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What it should say.
        expected: u64,
    },
    /// Its content contradicts itself.
    #[error("the graph segment is damaged: {what}; build it anew")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The library does not take it.
    #[error("the graph segment could not be rebuilt from what was saved")]
    Graph(#[from] GraphError),
}
