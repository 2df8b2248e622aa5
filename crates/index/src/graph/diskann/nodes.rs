//! The nodes of a segment, taken out of one and put into another.
//!
//! A node has the number of its slot; the start point, whose slot depends on the capacity, comes after all of them.
//!
//! Nodes without a vector, since they are hidden or their rows are no more, are left out of the new segment; who had
//! an edge to such a node gets edges to its neighbours instead, so that ways through it stay open.

use diskann::graph::AdjacencyList;
use diskann::graph::glue::PruneAccessor as _;
use diskann::provider::{NeighborAccessor as _, NeighborAccessorMut as _};

use super::{
    DEGREE_MAX, Graph as _, GraphError, GraphParams, HIDDEN, Ordering, Segment, VectorOf, failed,
    now,
};

/// Where the edges of a node lead.
type EdgesOf<'a> = dyn FnMut(u32) -> Result<Vec<u32>, GraphError> + 'a;

pub(super) fn small(value: usize) -> Result<u32, GraphError> {
    u32::try_from(value).map_err(|e| failed("number a node", &e))
}

/// The edges there are in a segment into which nothing is inserted meanwhile.
pub(super) fn edges_in(
    segment: &Segment,
) -> Result<impl FnMut(u32) -> Result<Vec<u32>, GraphError> + '_, GraphError> {
    let (nodes, start) = (small(segment.len())?, small(segment.params.capacity)?);
    let mut accessor = segment.index.edges("read edges")?;
    let mut list = AdjacencyList::with_capacity(DEGREE_MAX);
    Ok(move |node| {
        let slot = if node == nodes { start } else { node };
        let mut lists = accessor.neighbors();
        now("read edges", lists.get_neighbors(slot, &mut list))?;
        let edges = (list.iter()).map(|edge| if *edge == start { nodes } else { *edge });
        Ok(edges.filter(|edge| *edge <= nodes).collect())
    })
}

/// A segment of nodes that show these rows.
pub(super) fn segment(
    params: &GraphParams,
    rows: &[u64],
    edges: &mut EdgesOf<'_>,
    vectors: &mut VectorOf<'_>,
) -> Result<Segment, GraphError> {
    let segment = Segment::new(params)?;
    let mut slots: Vec<Option<u32>> = Vec::with_capacity(rows.len() + 1);
    for row in rows {
        let vector = (*row != HIDDEN).then(|| vectors(*row)).flatten();
        let slot = vector.map(|vector| {
            segment.check(&vector)?;
            segment.index.set(*row, &vector)
        });
        slots.push(slot.transpose()?);
    }
    slots.push(Some(small(params.capacity)?));
    let kept = slots.iter().flatten().count() - 1;
    segment.used.store(kept, Ordering::Relaxed);
    let mut accessor = segment.index.edges("put edges")?;
    for (node, slot) in (0..).zip(&slots) {
        let Some(slot) = slot else { continue };
        let edges = edges_of(node, edges, &slots)?;
        let mut lists = accessor.neighbors();
        now("put edges", lists.set_neighbors(*slot, &edges))?;
    }
    drop(accessor);
    // Rows are shown last: until then nobody finds half a graph.
    for (row, slot) in rows.iter().zip(&slots) {
        if slot.is_some() {
            segment.show(*row)?;
        }
    }
    Ok(segment)
}

/// The slots a node leads to, where one that was left out is replaced by those it led to.
fn edges_of(
    node: u32,
    edges: &mut EdgesOf<'_>,
    slots: &[Option<u32>],
) -> Result<Vec<u32>, GraphError> {
    let own = slots[node as usize];
    let mut list: Vec<u32> = Vec::with_capacity(DEGREE_MAX);
    let mut add = |edge: u32| {
        let slot = slots[edge as usize];
        if let Some(slot) = slot
            && Some(slot) != own
            && list.len() < DEGREE_MAX
            && !list.contains(&slot)
        {
            list.push(slot);
        }
        slot.is_some()
    };
    let mut gone = edges(node)?;
    gone.retain(|edge| !add(*edge));
    for node in gone {
        for beyond in edges(node)? {
            add(beyond);
        }
    }
    Ok(list)
}
