//! A segment in a file: which row every node shows, and its edges. Vectors are not in it.
//!
//! ```text
//! mark (8) | version u32 | dimension u32 | metric u8 | capacity u32 | nodes u32
//! start vector: f16 x dimension       edges of the start point
//! node: row u64 | edges               edges: count u8 | node u32 each; node number `nodes` is the start point
//! CRC-32 of all before it, u32        all little-endian
//! ```
//!
//! Nodes without a vector, since they are hidden or their rows are no more, are left out when the file is loaded;
//! who had an edge to such a node gets edges to its neighbours instead, so that ways through it stay open.

use std::io::{Read, Write};

use diskann::graph::AdjacencyList;
use diskann::graph::glue::{PruneAccessor as _, PruneStrategy as _};
use diskann::provider::{Guard as _, NeighborAccessor as _, NeighborAccessorMut as _, SetElement};
use half::f16;

use super::{
    Context, DEGREE_MAX, Graph as _, GraphError, GraphParams, HIDDEN, LoadError, Metric, Ordering,
    Segment, Strategy, VectorOf, now,
};

const MARK: &[u8; 8] = b"PANDOGRF";
const VERSION: u32 = 1;

struct Checked<T> {
    inner: T,
    crc: crc32fast::Hasher,
}

impl Checked<&mut dyn Write> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), GraphError> {
        self.crc.update(bytes);
        self.inner.write_all(bytes).map_err(GraphError::Write)
    }

    fn edges(&mut self, edges: &[u32]) -> Result<(), GraphError> {
        let count = u8::try_from(edges.len()).unwrap_or(u8::MAX);
        self.put(&[count])?;
        for edge in edges.iter().take(count.into()) {
            self.put(&edge.to_le_bytes())?;
        }
        Ok(())
    }
}

impl Checked<&mut dyn Read> {
    fn get<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.inner
            .read_exact(&mut bytes)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => LoadError::Torn { within },
                _ => LoadError::Read(e),
            })?;
        self.crc.update(&bytes);
        Ok(bytes)
    }

    fn u32(&mut self, within: &'static str) -> Result<u32, LoadError> {
        self.get(within).map(u32::from_le_bytes)
    }

    fn edges(&mut self, nodes: u32) -> Result<Vec<u32>, LoadError> {
        let damaged = |what| LoadError::Damaged { what };
        let [count] = self.get("edges")?;
        if usize::from(count) > DEGREE_MAX {
            return Err(damaged("a node has too many edges"));
        }
        let edges = (0..count).map(|_| match self.u32("edges")? {
            edge if edge > nodes => Err(damaged("an edge leads to a node that does not exist")),
            edge => Ok(edge),
        });
        edges.collect()
    }
}

fn metric_tag(metric: Metric) -> u8 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::Euclidean => 3,
    }
}

fn small(value: usize) -> Result<u32, GraphError> {
    u32::try_from(value).map_err(|e| super::failed("save a segment", &e))
}

pub(super) fn save(segment: &Segment, to: &mut dyn Write) -> Result<(), GraphError> {
    let params = &segment.params;
    let mut to = Checked {
        inner: to,
        crc: crc32fast::Hasher::new(),
    };
    let (nodes, capacity) = (small(segment.len())?, small(params.capacity)?);
    to.put(MARK)?;
    to.put(&VERSION.to_le_bytes())?;
    to.put(&small(params.dimension)?.to_le_bytes())?;
    to.put(&[metric_tag(params.metric)])?;
    to.put(&capacity.to_le_bytes())?;
    to.put(&nodes.to_le_bytes())?;
    for value in params.start.iter() {
        to.put(&value.to_le_bytes())?;
    }
    let mut accessor = Strategy
        .prune_accessor(segment.index.provider(), &Context, 0)
        .map_err(|e| super::failed("save a segment", &e))?;
    let mut list = AdjacencyList::with_capacity(DEGREE_MAX);
    for slot in std::iter::once(capacity).chain(0..nodes) {
        if slot != capacity {
            let row = segment.rows[slot as usize].load(Ordering::Acquire);
            to.put(&row.to_le_bytes())?;
        }
        now(
            "save a segment",
            accessor.neighbors().get_neighbors(slot, &mut list),
        )?;
        // The start point's slot depends on the capacity; in the file it comes after the nodes.
        let edges: Vec<u32> = (list.iter())
            .map(|edge| if *edge == capacity { nodes } else { *edge })
            .filter(|edge| *edge <= nodes)
            .collect();
        to.edges(&edges)?;
    }
    let crc = to.crc.clone().finalize();
    to.inner
        .write_all(&crc.to_le_bytes())
        .map_err(GraphError::Write)
}

/// What a file says.
struct Saved {
    start: Vec<f16>,
    capacity: usize,
    rows: Vec<u64>,
    /// By node, that of the start point last.
    edges: Vec<Vec<u32>>,
}

fn read(expected: &GraphParams, from: &mut dyn Read) -> Result<Saved, LoadError> {
    let mut from = Checked {
        inner: from,
        crc: crc32fast::Hasher::new(),
    };
    if &from.get("mark")? != MARK {
        return Err(LoadError::Foreign);
    }
    let found = from.u32("header")?;
    if found != VERSION {
        let known = VERSION;
        return Err(LoadError::Version { found, known });
    }
    let must_be = |what, found: u64, expected: u64| match found == expected {
        true => Ok(()),
        false => Err(LoadError::Mismatch {
            what,
            found,
            expected,
        }),
    };
    let dimension = from.u32("header")?;
    must_be("dimension", dimension.into(), expected.dimension as u64)?;
    let [metric] = from.get("header")?;
    must_be("metric", metric.into(), metric_tag(expected.metric).into())?;
    let (capacity, nodes) = (from.u32("header")?, from.u32("header")?);
    // Before anything is allocated: a damaged number must not cost the machine's memory.
    if capacity as usize > expected.capacity {
        let (found, expected) = (capacity.into(), expected.capacity as u64);
        must_be("capacity", found, expected)?;
    }
    if nodes > capacity {
        let what = "it has more nodes than it has room for";
        return Err(LoadError::Damaged { what });
    }
    let start = (0..dimension).map(|_| from.get("start point").map(f16::from_le_bytes));
    let start = start.collect::<Result<Vec<_>, _>>()?;
    let start_edges = from.edges(nodes)?;
    let (mut rows, mut edges) = (Vec::new(), Vec::new());
    for _ in 0..nodes {
        rows.push(u64::from_le_bytes(from.get("nodes")?));
        edges.push(from.edges(nodes)?);
    }
    edges.push(start_edges);
    let crc = from.crc.clone().finalize();
    if from.u32("checksum")? != crc {
        let what = "its checksum is wrong";
        return Err(LoadError::Damaged { what });
    }
    Ok(Saved {
        start,
        capacity: capacity as usize,
        rows,
        edges,
    })
}

pub(super) fn load(
    expected: &GraphParams,
    from: &mut dyn Read,
    vectors: &mut VectorOf<'_>,
) -> Result<Segment, LoadError> {
    let saved = read(expected, from)?;
    let segment = Segment::new(&GraphParams {
        capacity: saved.capacity,
        start: saved.start.clone().into(),
        ..expected.clone()
    })?;
    let mut slots: Vec<Option<u32>> = Vec::with_capacity(saved.rows.len() + 1);
    for row in &saved.rows {
        let vector = (*row != HIDDEN).then(|| vectors(*row)).flatten();
        let slot = vector.map(|vector| {
            segment.check(&vector)?;
            let provider = segment.index.provider();
            let guard = provider.set_element(&Context, row, &vector[..]);
            now("load a row", guard).map(|guard| guard.id())
        });
        slots.push(slot.transpose()?);
    }
    slots.push(u32::try_from(saved.capacity).ok());
    let kept = slots.iter().flatten().count() - 1;
    segment.used.store(kept, Ordering::Relaxed);
    let provider = segment.index.provider();
    let mut accessor = Strategy
        .prune_accessor(provider, &Context, 0)
        .map_err(|e| super::failed("load a segment", &e))?;
    for (node, slot) in slots.iter().enumerate() {
        let Some(slot) = slot else { continue };
        let edges = edges_of(node, &saved.edges, &slots);
        now(
            "load edges",
            accessor.neighbors().set_neighbors(*slot, &edges),
        )?;
    }
    drop(accessor);
    // Rows are shown last: until then nobody finds half a graph.
    for (row, slot) in saved.rows.iter().zip(&slots) {
        if slot.is_some() {
            segment.show(*row)?;
        }
    }
    Ok(segment)
}

/// The slots a node leads to, where one that was left out is replaced by those it led to.
fn edges_of(node: usize, edges: &[Vec<u32>], slots: &[Option<u32>]) -> Vec<u32> {
    let own = slots[node];
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
    let gone: Vec<u32> = (edges[node].iter().copied())
        .filter(|edge| !add(*edge))
        .collect();
    for beyond in gone.iter().flat_map(|gone| &edges[*gone as usize]) {
        add(*beyond);
    }
    list
}
