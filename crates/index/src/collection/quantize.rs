//! Quantizing vectors otherwise: graphs made anew from what whoever stores the vectors gives again.

use pando_model::{CollectionSchema, PointId, Stamp, VectorName};

use super::CollectionIndex;
use crate::rows::Rows;
use crate::vectors::Vectors;

/// Graphs that were replaced. Freeing one takes a while, and need not be waited for.
#[derive(Default)]
pub struct Replaced(Vec<Rows>);

impl Replaced {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl CollectionIndex {
    /// Vectors are to be kept as this schema says. It has the same names, dimensions and metrics as the one before.
    ///
    /// Where that takes another graph, searches are answered by the old one until the vectors were given again
    /// ([`Self::wanted`], [`Self::give`]) and the new one takes over ([`Self::take_over`]).
    pub fn quantize(&mut self, schema: &CollectionSchema) {
        for (name, params) in &schema.vectors {
            if let Some(vectors) = self.vectors.get_mut(name) {
                vectors.quantize(*params);
            }
        }
        self.schema = schema.clone();
    }

    /// Whether a graph is made anew.
    #[must_use]
    pub fn is_quantizing(&self) -> bool {
        self.vectors.values().any(Vectors::is_quantizing)
    }

    /// Points whose vectors of a name are to be given again, no more than `most` of each: as many as there is room for
    /// until some of those given before are indexed.
    #[must_use]
    pub fn wanted(&self, most: usize) -> Vec<(VectorName, Vec<PointId>)> {
        let wanted = self.vectors.iter().map(|(name, vectors)| {
            let slots = vectors.wanted(most).into_iter();
            let ids = slots.map(|slot| self.ids[slot]).collect::<Vec<_>>();
            (name.clone(), ids)
        });
        wanted.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// Gives the vector of a point again, as it is stored at a version. Nothing happens if the point has another one by
    /// now.
    pub fn give(&mut self, id: PointId, version: Stamp, name: &VectorName, vector: &[f32]) {
        let Some(slot) = self.slots.get(&id).copied() else {
            return;
        };
        if self.versions[slot] == version
            && let Some(vectors) = self.vectors.get_mut(name)
        {
            vectors.give(slot, vector);
        }
    }

    /// Lets graphs that were made anew take over where they are ready.
    pub fn take_over(&mut self) -> Replaced {
        let ready = self.vectors.values_mut().filter_map(Vectors::take_over);
        let replaced = Replaced(ready.collect());
        // What was saved is of the old ones.
        self.changes += (self.ids.len() * replaced.len()) as u64;
        replaced
    }
}
