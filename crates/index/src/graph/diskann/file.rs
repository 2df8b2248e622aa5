//! A segment in a file: which row every node shows, and its edges. Vectors are not in it.
//!
//! ```text
//! mark (8) | version u32 | dimension u32 | metric and coding u8 | capacity u32 | nodes u32
//! start vector: f16 x dimension       edges of the start point
//! node: row u64 | edges               edges: count u8 | node u32 each; node number `nodes` is the start point
//! CRC-32 of all before it, u32        all little-endian
//! ```
//!
use std::io::{Read, Write};

use half::f16;

use crate::checked::Checked;
use crate::graph::kind_tag;

use super::nodes::{self, small};
use super::{
    DEGREE_MAX, Graph as _, GraphError, GraphParams, LoadError, Ordering, Segment, VectorOf,
};

const MARK: &[u8; 8] = b"PANDOGRF";
const VERSION: u32 = 1;

impl Checked<&mut dyn Write> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), GraphError> {
        self.write_all(bytes).map_err(GraphError::Write)
    }

    fn edges(&mut self, edges: &[u32]) -> Result<(), GraphError> {
        let count = u8::try_from(edges.len()).unwrap_or(u8::MAX);
        let edges = edges.iter().take(count.into());
        let mut bytes = vec![count];
        bytes.extend(edges.flat_map(|edge| edge.to_le_bytes()));
        self.put(&bytes)
    }
}

impl Checked<&mut dyn Read> {
    fn get<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], within: &'static str) -> Result<(), LoadError> {
        self.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => LoadError::Torn { within },
            _ => LoadError::Read(e),
        })
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
        let mut bytes = [0; DEGREE_MAX * size_of::<u32>()];
        let bytes = &mut bytes[..usize::from(count) * size_of::<u32>()];
        self.fill(bytes, "edges")?;
        let edges = bytes.as_chunks().0.iter();
        let edges = edges.map(|edge| match u32::from_le_bytes(*edge) {
            edge if edge > nodes => Err(damaged("an edge leads to a node that does not exist")),
            edge => Ok(edge),
        });
        edges.collect()
    }
}

pub(super) fn save(segment: &Segment, to: &mut dyn Write) -> Result<(), GraphError> {
    let params = &segment.params;
    let mut to = Checked::new(to);
    let (nodes, capacity) = (small(segment.len())?, small(params.capacity)?);
    to.put(MARK)?;
    to.put(&VERSION.to_le_bytes())?;
    to.put(&small(params.dimension)?.to_le_bytes())?;
    to.put(&[kind_tag(params.metric, params.coding)])?;
    to.put(&capacity.to_le_bytes())?;
    to.put(&nodes.to_le_bytes())?;
    for value in params.start.iter() {
        to.put(&value.to_le_bytes())?;
    }
    let mut edges = nodes::edges_in(segment)?;
    for node in std::iter::once(nodes).chain(0..nodes) {
        if node != nodes {
            let row = segment.rows[node as usize].load(Ordering::Acquire);
            to.put(&row.to_le_bytes())?;
        }
        to.edges(&edges(node)?)?;
    }
    let sum = to.sum();
    to.put(&sum.to_le_bytes())
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
    let mut from = Checked::new(from);
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
    let kind = kind_tag(expected.metric, expected.coding);
    must_be("metric or coding", metric.into(), kind.into())?;
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
    let sum = from.sum();
    if from.u32("checksum")? != sum {
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
    let params = GraphParams {
        capacity: saved.capacity,
        start: saved.start.into(),
        ..expected.clone()
    };
    let mut edges = |node: u32| Ok(saved.edges[node as usize].clone());
    Ok(nodes::segment(&params, &saved.rows, &mut edges, vectors)?)
}
