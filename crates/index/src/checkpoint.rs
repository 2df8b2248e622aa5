//! A graph in a file, and which stored vectors it is of.
//!
//! ```text
//! mark (8) | version u32 | owner: length u32, bytes | dimension u32 | metric and coding u8 | scale of the half form f32
//! start vector: f16 x dimension | end of the rows u64 | segments u32 | rows u64
//! row: number u64 | fingerprint (16)
//! CRC-32 of all before it, u32        all little-endian
//! the segments, each with a checksum of its own
//! ```
//!
//! A vector that is loaded later takes the row whose fingerprint it has, and with it the row's place in the segments.
//! All others are new. So a checkpoint need not be of the present: what was changed since has other fingerprints, and
//! what is gone is asked for by nobody. It may not be trusted either: numbers are checked before they are used, and
//! memory grows with what is there to be read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use half::f16;
use pando_model::{PointId, VectorParams};

use crate::checked::Checked;
use crate::graph::restore::SavedSegments;
use crate::graph::{CODINGS_FROM, Coding, Graph, GraphError, WhenRestored, kind_tag};
use crate::half_form::HalfForm;
use crate::rows::Rows;

const MARK: &[u8; 8] = b"PANDOGCK";
const VERSION: u32 = 1;
/// More than any graph has.
const SEGMENTS_MAX: u32 = 1 << 12;
/// More rows than are ever written.
const ROWS_END_MAX: u64 = 1 << 60;

/// Stands for one stored version of one point: equal fingerprints, equal vectors. Whoever makes two versions meet in
/// one makes the graph find less, and nothing else: scores come from the vectors themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// A graph as it is now, to be written down beside searches and writes.
pub struct Saving {
    params: VectorParams,
    coding: Coding,
    form: HalfForm,
    start: Arc<[f16]>,
    rows_end: u64,
    rows: Vec<(u64, PointId)>,
    segments: Vec<Arc<dyn Graph>>,
}

impl Saving {
    pub(crate) fn new(params: VectorParams, rows: &Rows, ids: &[PointId]) -> Self {
        Self {
            params,
            coding: rows.graph.params().coding,
            form: rows.form,
            start: Arc::clone(&rows.graph.params().start),
            rows_end: rows.end(),
            rows: (rows.placed())
                .map(|(slot, row)| (row, ids[slot]))
                .collect(),
            segments: rows.graph.all_segments(),
        }
    }

    /// How many vectors it is of, those included that no segment holds yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it is of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it down. `owner` says of what, to be asked for when it is read; `fingerprint_of` tells the version that a
    /// point had when this was taken. Insertions into a segment wait while that segment is written.
    ///
    /// # Errors
    /// When the writer or the graph library fails.
    pub fn write(
        &self,
        owner: &[u8],
        fingerprint_of: impl Fn(PointId) -> Option<Fingerprint>,
        to: &mut dyn Write,
    ) -> Result<(), GraphError> {
        let rows: Vec<(u64, Fingerprint)> = (self.rows.iter())
            .filter_map(|(row, id)| Some((*row, fingerprint_of(*id)?)))
            .collect();
        self.write_head(owner, &rows, to)
            .map_err(GraphError::Write)?;
        for segment in &self.segments {
            segment.save(to)?;
        }
        Ok(())
    }

    fn write_head(
        &self,
        owner: &[u8],
        rows: &[(u64, Fingerprint)],
        to: &mut dyn Write,
    ) -> std::io::Result<()> {
        let mut to = Checked::new(to);
        to.write_all(MARK)?;
        to.write_all(&VERSION.to_le_bytes())?;
        to.write_all(&small(owner.len())?.to_le_bytes())?;
        to.write_all(owner)?;
        to.write_all(&self.params.dimension.to_le_bytes())?;
        to.write_all(&[kind_tag(self.params.metric, self.coding)])?;
        to.write_all(&self.form.scale().to_le_bytes())?;
        for value in self.start.iter() {
            to.write_all(&value.to_le_bytes())?;
        }
        to.write_all(&self.rows_end.to_le_bytes())?;
        to.write_all(&small(self.segments.len())?.to_le_bytes())?;
        to.write_all(&(rows.len() as u64).to_le_bytes())?;
        for (row, fingerprint) in rows {
            to.write_all(&row.to_le_bytes())?;
            to.write_all(&fingerprint.0)?;
        }
        let sum = to.sum();
        to.write_all(&sum.to_le_bytes())
    }
}

fn small(length: usize) -> std::io::Result<u32> {
    u32::try_from(length).map_err(std::io::Error::other)
}

/// A checkpoint that is of the right vectors. Its segments are read when they are taken up.
pub struct Checkpoint {
    pub(crate) form: HalfForm,
    pub(crate) start: Arc<[f16]>,
    pub(crate) rows_end: u64,
    pub(crate) known: HashMap<Fingerprint, u64>,
    segments: u32,
    from: Box<dyn Read + Send>,
}

impl Checkpoint {
    /// Reads what [`Saving::write`] wrote for this owner, up to the segments. Buffering is the caller's.
    ///
    /// # Errors
    /// When it is of something else, torn or damaged.
    pub fn read(
        params: VectorParams,
        owner: &[u8],
        mut from: Box<dyn Read + Send>,
    ) -> Result<Self, CheckpointError> {
        let mut head = Head(Checked::new(&mut *from));
        head.check(params, owner)?;
        let scale = f32::from_le_bytes(head.get("header")?);
        let form = HalfForm::of_scale(scale);
        let form = form.ok_or(damaged("its scale is none"))?;
        let start = (0..params.dimension).map(|_| head.get("start vector").map(f16::from_le_bytes));
        let start = start.collect::<Result<Arc<[f16]>, _>>()?;
        let rows_end = head.u64("header")?;
        let segments = head.u32("header")?;
        if rows_end > ROWS_END_MAX || segments > SEGMENTS_MAX {
            return Err(damaged("a number in its header is too large"));
        }
        let known = head.rows(rows_end)?;
        let sum = head.0.sum();
        if head.u32("checksum")? != sum {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(Self {
            form,
            start,
            rows_end,
            known,
            segments,
            from,
        })
    }

    /// How many vectors it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Its parts: the segments, and which row has which fingerprint.
    pub(crate) fn into_segments(
        self,
        when_restored: WhenRestored,
    ) -> (SavedSegments, HashMap<Fingerprint, u64>) {
        let saved = SavedSegments {
            from: self.from,
            left: self.segments,
            rows_end: self.rows_end,
            reused: 0,
            when_restored,
        };
        (saved, self.known)
    }
}

fn damaged(what: &'static str) -> CheckpointError {
    CheckpointError::Damaged { what }
}

struct Head<'a>(Checked<&'a mut (dyn Read + Send)>);

impl Head<'_> {
    fn fill(&mut self, bytes: &mut [u8], within: &'static str) -> Result<(), CheckpointError> {
        self.0.read_exact(bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => CheckpointError::Torn { within },
            _ => CheckpointError::Read(e),
        })
    }

    fn get<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    fn u32(&mut self, within: &'static str) -> Result<u32, CheckpointError> {
        self.get(within).map(u32::from_le_bytes)
    }

    fn u64(&mut self, within: &'static str) -> Result<u64, CheckpointError> {
        self.get(within).map(u64::from_le_bytes)
    }

    /// That it is a checkpoint, of a version that is known, and of these vectors.
    fn check(&mut self, params: VectorParams, owner: &[u8]) -> Result<(), CheckpointError> {
        if self.get::<8>("mark")? != *MARK {
            return Err(CheckpointError::Foreign);
        }
        let found = self.u32("header")?;
        if found != VERSION {
            let known = VERSION;
            return Err(CheckpointError::Version { found, known });
        }
        // Not longer than it should be, and so no reason to ask for more memory.
        let length = self.u32("header")? as usize;
        let mut found = vec![0; if length == owner.len() { length } else { 0 }];
        self.fill(&mut found, "owner")?;
        if found != owner {
            return Err(CheckpointError::Others { what: "collection" });
        }
        if self.u32("header")? != params.dimension {
            return Err(CheckpointError::Others { what: "dimension" });
        }
        let expected = kind_tag(params.metric, Coding::of(params));
        let [kind] = self.get("header")?;
        if kind != expected {
            let what = match kind % CODINGS_FROM == expected % CODINGS_FROM {
                true => "quantization",
                false => "metric",
            };
            return Err(CheckpointError::Others { what });
        }
        Ok(())
    }

    fn rows(&mut self, rows_end: u64) -> Result<HashMap<Fingerprint, u64>, CheckpointError> {
        let count = self.u64("header")?;
        let mut known = HashMap::new();
        for _ in 0..count {
            let row = self.u64("rows")?;
            let fingerprint = Fingerprint(self.get("rows")?);
            match known.entry(fingerprint) {
                Entry::Vacant(place) if row < rows_end => place.insert(row),
                Entry::Vacant(_) => return Err(damaged("a row has a number past the end")),
                Entry::Occupied(_) => return Err(damaged("two rows have one fingerprint")),
            };
        }
        Ok(known)
    }
}

/// A checkpoint cannot be used. The graph can be built anew from the vectors.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It could not be read.
    #[error("the index checkpoint could not be read: {0}")]
    Read(#[source] std::io::Error),
    /// It ends too early.
    #[error("the index checkpoint is torn: it ends within its {within}")]
    Torn {
        /// Where.
        within: &'static str,
    },
    /// It is something else altogether.
    #[error("this is no index checkpoint: it does not begin with the mark of one")]
    Foreign,
    /// It is of a version this program does not know.
    #[error("the index checkpoint is of version {found}, and this program reads version {known}")]
    Version {
        /// What it says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// It belongs to other vectors.
    #[error("the index checkpoint is of another {what}")]
    Others {
        /// What differs.
        what: &'static str,
    },
    /// Its content contradicts itself.
    #[error("the index checkpoint is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
}
