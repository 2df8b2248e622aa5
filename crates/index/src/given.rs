//! The vectors of a point as it is put into the index.

use std::collections::BTreeMap;

use pando_model::{SparseVector, VectorName};

type Dense = BTreeMap<VectorName, Vec<f32>>;
type Sparse = BTreeMap<VectorName, SparseVector>;

/// A point's vectors by name: dense ones, or both kinds.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub(crate) dense: &'a Dense,
    sparse: Option<&'a Sparse>,
}

impl<'a> Given<'a> {
    /// The sparse vector of a name.
    pub(crate) fn sparse(&self, name: &VectorName) -> Option<&'a SparseVector> {
        self.sparse?.get(name)
    }

    /// The names of the sparse vectors.
    pub(crate) fn sparse_names(&self) -> impl Iterator<Item = &'a VectorName> + use<'a> {
        self.sparse.into_iter().flat_map(Sparse::keys)
    }
}

impl<'a> From<&'a Dense> for Given<'a> {
    fn from(dense: &'a Dense) -> Self {
        Self {
            dense,
            sparse: None,
        }
    }
}

impl<'a> From<(&'a Dense, &'a Sparse)> for Given<'a> {
    fn from((dense, sparse): (&'a Dense, &'a Sparse)) -> Self {
        Self {
            dense,
            sparse: Some(sparse),
        }
    }
}
