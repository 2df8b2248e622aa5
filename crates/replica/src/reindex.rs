//! Indexing anew: when vectors are to be quantized otherwise, their graph is made anew from the stored records.
//!
//! What the index keeps of them is not them, so the records are read again, and checked like those that a search needs.
//! Searches are answered by the old graph meanwhile. A restart in between begins with the new form at once.

use pando_model::{PointId, Record, Stamp, TreeId, VectorName};

use crate::reads::named;
use crate::replica::Replica;

/// Records read at once, while writers wait.
const PAGE: usize = 128;

/// A vector's record as it was read.
type Given = (PointId, Stamp, VectorName, Record);

impl Replica {
    /// Goes on with making graphs anew, as far as there is room for: what was read before has to be indexed first. To be
    /// called now and then, by one; says how many vectors were given.
    pub fn reindex(&self) -> u64 {
        let mut given = 0;
        loop {
            let pages = self.wanted();
            let mut read = 0;
            for (tree, points) in pages {
                read += points.len() as u64;
                let mut state = self.state.write();
                if let Some(collection) = state.collections.get_mut(&tree) {
                    for (id, version, name, record) in points {
                        if let Some(vector) = record.vectors.get(&name) {
                            (collection.index).give(id, version, &name, vector);
                        }
                    }
                }
            }
            given += read;
            if read == 0 {
                break;
            }
        }
        let mut replaced = Vec::new();
        if self.is_reindexing() {
            let mut state = self.state.write();
            let indexes = state.collections.values_mut().map(|c| &mut c.index);
            replaced.extend(indexes.map(pando_index::CollectionIndex::take_over));
        }
        // Dropped here, when nobody waits for the lock.
        let done: usize = replaced.iter().map(pando_index::Replaced::len).sum();
        if done > 0 {
            tracing::info!(graphs = done, "vectors are quantized otherwise");
        }
        given
    }

    fn is_reindexing(&self) -> bool {
        let state = self.state.read();
        (state.collections.values()).any(|c| c.index.is_quantizing())
    }

    /// A page of what each collection wants. What cannot be read is left for later: a row that is damaged is mended
    /// meanwhile, and one that a commit has just replaced has another version.
    fn wanted(&self) -> Vec<(TreeId, Vec<Given>)> {
        let Ok(state) = self.readable() else {
            return Vec::new();
        };
        let mut pages = Vec::new();
        for (tree, collection) in &state.collections {
            let mut page = Vec::new();
            for (name, ids) in collection.index.wanted(PAGE) {
                for id in ids {
                    let Some((version, _)) = collection.index.stored(id) else {
                        continue;
                    };
                    let read = named(collection, id)
                        .and_then(|(at, leaf)| self.record(at, leaf, id, version));
                    if let Ok(record) = read {
                        page.push((id, version, name.clone(), record));
                    }
                }
            }
            pages.push((*tree, page));
        }
        pages
    }
}
