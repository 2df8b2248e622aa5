//! Points out of files: npy, fvecs and JSON lines, read row by row in constant memory.
//!
//! Everything a file says about itself is checked before it is believed; every error names the file and the
//! row or line ([`BadInput`]). Knows nothing of the cluster.

mod fvecs;
mod jsonl;
mod npy;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use pando_model::{Payload, Point, PointId, VectorName};

pub(crate) use jsonl::{exported, values};
pub(crate) use npy::integers;

use crate::exit::BadInput;

type Result<T> = std::result::Result<T, BadInput>;

/// Rows of a file, one vector each.
pub(crate) struct Vectors {
    /// How many there are, where the file says.
    pub(crate) total: Option<u64>,
    rows: Box<dyn Iterator<Item = Result<Vec<f32>>> + Send>,
}

impl Iterator for Vectors {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
    }
}

/// Points of a file, in its order.
pub(crate) struct Points {
    /// How many there are, where the file says.
    pub(crate) total: Option<u64>,
    points: Box<dyn Iterator<Item = Result<Point>> + Send>,
}

impl Iterator for Points {
    type Item = Result<Point>;

    fn next(&mut self) -> Option<Self::Item> {
        self.points.next()
    }
}

/// What a point gets that its file does not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    /// Id of the first row; the others count on from there.
    pub(crate) first_id: u64,
    /// Which vector a file with one vector per row holds.
    pub(crate) vector_name: VectorName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Fvecs,
    Jsonl,
}

fn format_of(path: &Path) -> Result<Format> {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("npy") => Ok(Format::Npy),
        Some("fvecs") => Ok(Format::Fvecs),
        Some("jsonl" | "ndjson") => Ok(Format::Jsonl),
        _ => Err(bad(
            path,
            "its format is told by its name: use .npy, .fvecs or .jsonl, each with or without .gz",
        )),
    }
}

/// Opens a file of points. With `payloads`, a JSON lines file, line n is the payload of row n; both must be of
/// one length.
pub(crate) fn points(
    vectors: &Path,
    payloads: Option<&Path>,
    defaults: Defaults,
) -> Result<Points> {
    if format_of(vectors)? == Format::Jsonl {
        if payloads.is_some() {
            return Err(bad(
                vectors,
                "its lines hold their own payloads: leave --payloads out",
            ));
        }
        return jsonl::points(vectors, defaults);
    }
    let rows = self::vectors(vectors)?;
    let total = rows.total;
    let payloads = payloads.map(jsonl::payloads).transpose()?;
    let zipped = Zipped {
        rows,
        payloads,
        vectors_file: show(vectors),
        next: 0,
        ended: false,
    };
    let points = zipped.enumerate().map(move |(row, item)| {
        let (vector, payload) = item?;
        let id = defaults.first_id.checked_add(row as u64).ok_or_else(|| {
            BadInput(format!(
                "row {row}: ids from {} on do not fit 64 bits",
                defaults.first_id
            ))
        })?;
        let vectors = [(defaults.vector_name.clone(), vector)].into();
        Ok(Point {
            id: PointId::Num(id),
            vectors,
            sparse_vectors: [].into(),
            payload,
        })
    });
    Ok(Points {
        total,
        points: Box::new(points),
    })
}

/// Opens a file of vectors, one per row, without ids.
pub(crate) fn vectors(path: &Path) -> Result<Vectors> {
    match format_of(path)? {
        Format::Npy => npy::vectors(path),
        Format::Fvecs => fvecs::vectors(path),
        Format::Jsonl => Err(bad(path, "vectors are read from .npy or .fvecs here")),
    }
}

/// One vector of a file.
pub(crate) fn vector_at(path: &Path, row: u64) -> Result<Vec<f32>> {
    let mut rows = vectors(path)?;
    let mut seen = 0;
    for vector in rows.by_ref() {
        let vector = vector?;
        if seen == row {
            return Ok(vector);
        }
        seen += 1;
    }
    Err(bad(
        path,
        format!("there is no row {row}; it has {seen}, counted from 0"),
    ))
}

/// Rows and their payloads, until both end; ending apart is an error.
struct Zipped {
    rows: Vectors,
    payloads: Option<jsonl::Lines<Payload>>,
    vectors_file: String,
    next: u64,
    ended: bool,
}

impl Iterator for Zipped {
    type Item = Result<(Vec<f32>, Payload)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.rows.next();
        let Some(payloads) = &mut self.payloads else {
            return Some(row?.map(|vector| (vector, Payload::default())));
        };
        let item = match (row, payloads.next()) {
            (None, None) => return None,
            (Some(Err(e)), _) | (_, Some(Err(e))) => Err(e),
            (Some(Ok(vector)), Some(Ok(payload))) => {
                self.next += 1;
                return Some(Ok((vector, payload)));
            }
            (Some(_), None) => Err(BadInput(format!(
                "{} has more rows than there are payloads ({})",
                self.vectors_file, self.next
            ))),
            (None, Some(_)) => Err(BadInput(format!(
                "{} has {} rows, there are more payloads",
                self.vectors_file, self.next
            ))),
        };
        self.ended = true;
        Some(item)
    }
}

/// Opens a file; decompresses it if its name ends in `.gz`.
fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|e| bad(path, e))?;
    let file = BufReader::with_capacity(1 << 16, file);
    if path.extension().is_some_and(|e| e == "gz") {
        Ok(Box::new(BufReader::with_capacity(
            1 << 16,
            MultiGzDecoder::new(file),
        )))
    } else {
        Ok(Box::new(file))
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn bad(path: &Path, reason: impl std::fmt::Display) -> BadInput {
    BadInput(format!("{}: {reason}", path.display()))
}

#[cfg(test)]
#[path = "readers/tests.rs"]
mod tests;
