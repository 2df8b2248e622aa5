//! `.fvecs`: each row is its dimension as a little-endian int32, then as many little-endian float32.

use std::io::{BufRead, ErrorKind, Read as _};
use std::path::Path;

use pando_model::limits::DIMENSION_MAX;

use super::{BadInput, Result, Vectors, open, show};

/// Opens a file of vectors; all must be of one dimension.
pub(super) fn vectors(path: &Path) -> Result<Vectors> {
    let rows = Rows {
        source: open(path)?,
        name: show(path),
        dimension: None,
        row: 0,
        ended: false,
    };
    Ok(Vectors {
        total: None,
        rows: Box::new(rows),
    })
}

struct Rows {
    source: Box<dyn BufRead + Send>,
    name: String,
    dimension: Option<usize>,
    row: u64,
    ended: bool,
}

impl Rows {
    fn bad(&self, reason: impl std::fmt::Display) -> BadInput {
        BadInput(format!("{}: row {}: {reason}", self.name, self.row))
    }

    fn read(&mut self) -> Result<Option<Vec<f32>>> {
        let at_end = self.source.fill_buf().map(<[u8]>::is_empty);
        if at_end.map_err(|e| self.bad(e))? {
            return Ok(None);
        }
        let mut head = [0; 4];
        self.source.read_exact(&mut head).map_err(|e| self.bad(e))?;
        let head = i32::from_le_bytes(head);
        let Ok(dimension @ 1..=DIMENSION_MAX) = usize::try_from(head) else {
            return Err(self.bad(format!("its dimension is {head}; use 1 to {DIMENSION_MAX}")));
        };
        let expected = *self.dimension.get_or_insert(dimension);
        if dimension != expected {
            return Err(self.bad(format!(
                "its dimension is {dimension}, the first row's is {expected}"
            )));
        }
        let mut bytes = vec![0; dimension * 4];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(self.bad("the file ends within it"));
            }
            Err(e) => return Err(self.bad(e)),
        }
        let (values, _) = bytes.as_chunks::<4>();
        self.row += 1;
        Ok(Some(
            values.iter().map(|v| f32::from_le_bytes(*v)).collect(),
        ))
    }
}

impl Iterator for Rows {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
