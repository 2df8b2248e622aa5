//! Where the vectors themselves are, once the index keeps less of them.

use std::collections::BTreeMap;

use pando_model::{InvalidInput, PointId, Stamp, VectorName};

use crate::distance::score_rows;
use crate::exact::Points;

/// One version of a point, as the index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointVersion {
    /// The point.
    pub id: PointId,
    /// Its version.
    pub version: Stamp,
    /// A number that nothing else has that was written to an index of this process: what was found for it once is right
    /// for as long as it is asked for.
    pub number: u64,
}

/// The vectors as they were given to the index: whoever owns the index has them stored.
///
/// What it gives must be of the very version that the index has, to the last bit: scores are computed from it, and what
/// the index keeps is only good for deciding which ones are needed.
pub trait Originals: Sync {
    /// Calls `use_it` with a point's vector; says whether there was one. It may be called by many threads at once.
    ///
    /// # Errors
    /// When the vector cannot be had.
    fn with(
        &self,
        point: PointVersion,
        name: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable>;

    /// Whether the answer is still waited for. Scans ask now and then, from many threads; after a no, which stays one, the
    /// search ends with [`SearchError::GivenUp`].
    fn is_waited_for(&self) -> bool {
        true
    }
}

/// A stored vector cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// For an index that has no graphs, and so keeps its vectors whole. It is an error to ask it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOriginals;

impl Originals for NoOriginals {
    fn with(
        &self,
        _: PointVersion,
        _: &VectorName,
        _: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        Ok(false)
    }
}

/// Vectors kept in memory, for examples and tests.
impl Originals for BTreeMap<PointId, BTreeMap<VectorName, Vec<f32>>> {
    fn with(
        &self,
        PointVersion { id, .. }: PointVersion,
        name: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        let vector = self.get(&id).and_then(|vectors| vectors.get(name));
        Ok(vector.inspect(|vector| use_it(vector)).is_some())
    }
}

/// The same for points that are numbered by their places in a list, all of one vector.
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'a>(pub &'a [Vec<f32>]);

impl Originals for Numbered<'_> {
    fn with(
        &self,
        PointVersion { id, .. }: PointVersion,
        _: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        let place = match id {
            PointId::Num(n) => usize::try_from(n).ok(),
            PointId::Uuid(_) => None,
        };
        let vector = place.and_then(|place| self.0.get(place));
        Ok(vector.inspect(|vector| use_it(vector)).is_some())
    }
}

/// Why a search came to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SearchError {
    /// A query does not fit the schema.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// Nobody waits for the answer any more.
    #[error("the search was given up: nobody waits for it any more")]
    GivenUp,
    /// A vector was needed that cannot be had.
    #[error("vector {name} of point {id} is needed for its score and cannot be had: {why}")]
    Original {
        /// The point.
        id: PointId,
        /// Which of its vectors.
        name: VectorName,
        /// What is wrong.
        why: Unavailable,
    },
}

/// Ends a search that nobody waits for: it may have left out rows.
pub(crate) fn check(originals: &dyn Originals) -> Result<(), SearchError> {
    (originals.is_waited_for())
        .then_some(())
        .ok_or(SearchError::GivenUp)
}

/// The score of the vector itself of a slot's point.
pub(crate) fn score(points: Points<'_>, query: &[f32], slot: usize) -> Result<f32, SearchError> {
    let mut score = [0.0];
    let mut fits = true;
    let mut use_it = |vector: &[f32]| {
        fits = vector.len() == query.len();
        if fits {
            score_rows(points.metric, query, vector, &mut score);
        }
    };
    let point = PointVersion {
        id: points.ids[slot],
        version: points.versions[slot],
        number: points.numbers[slot],
    };
    let found = points.originals.with(point, points.name, &mut use_it);
    let why = match found {
        Ok(true) if fits => return Ok(score[0]),
        Ok(true) => Unavailable("it is of another dimension".to_owned()),
        Ok(false) => Unavailable("there is none".to_owned()),
        Err(why) => why,
    };
    Err(SearchError::Original {
        id: point.id,
        name: points.name.clone(),
        why,
    })
}
