//! NumPy's `.npy`: two-dimensional float16 and float32 as vectors, int32 as whole numbers.

use std::io;
use std::path::Path;

use half::f16;
use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};
use pando_model::limits::DIMENSION_MAX;

use super::{BadInput, Result, Vectors, bad, open, show};

type Source = Box<dyn io::BufRead + Send>;

/// Opens a 2-d array of float16 or float32.
pub(super) fn vectors(path: &Path) -> Result<Vectors> {
    let (file, rows, dimension) = matrix(path)?;
    let header = file.header().clone();
    let name = show(path);
    let rows: Box<dyn Iterator<Item = Result<Vec<f32>>> + Send> = match kind(&header) {
        Some((TypeChar::Float, 2)) => {
            let values = file.data::<f16>().map_err(|e| bad(path, e))?;
            let values = values.map(|v| v.map(f16::to_f32));
            Box::new(Chunks {
                values,
                rows,
                dimension,
                name,
                row: 0,
            })
        }
        Some((TypeChar::Float, 4)) => {
            let values = file.data::<f32>().map_err(|e| bad(path, e))?;
            Box::new(Chunks {
                values,
                rows,
                dimension,
                name,
                row: 0,
            })
        }
        _ => {
            return Err(bad(
                path,
                format!(
                    "its type is {}; use float16 or float32",
                    header.dtype().descr()
                ),
            ));
        }
    };
    let total = Some(header.shape()[0]);
    Ok(Vectors { total, rows })
}

/// Reads a whole int32 array, of one dimension or two; rows are of the returned width.
pub(crate) fn integers(path: &Path) -> Result<(Vec<i32>, usize)> {
    let file = NpyFile::new(open(path)?).map_err(|e| bad(path, e))?;
    let width = match *file.shape() {
        [_] => 1,
        [_, width] => usize::try_from(width).unwrap_or(usize::MAX),
        _ => return Err(bad(path, "it is neither one- nor two-dimensional")),
    };
    if kind(file.header()) != Some((TypeChar::Int, 4)) || file.order() != Order::C {
        return Err(bad(path, "it is not an int32 array in C order"));
    }
    let values = file.data::<i32>().map_err(|e| bad(path, e))?;
    // Collected item by item: a header may lie about how many there are.
    let values = values
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| bad(path, e))?;
    Ok((values, width))
}

fn kind(header: &NpyHeader) -> Option<(TypeChar, u64)> {
    match header.dtype() {
        DType::Plain(t) => Some((t.type_char(), t.size_field())),
        _ => None,
    }
}

fn matrix(path: &Path) -> Result<(NpyFile<Source>, u64, usize)> {
    let file = NpyFile::new(open(path)?).map_err(|e| bad(path, e))?;
    let [rows, dimension] = *file.shape() else {
        let dimensions = file.shape().len();
        return Err(bad(
            path,
            format!("it has {dimensions} dimensions; use 2, one row per vector"),
        ));
    };
    if file.order() != Order::C {
        return Err(bad(path, "it is in Fortran order; save it in C order"));
    }
    match usize::try_from(dimension) {
        Ok(dimension @ 1..=DIMENSION_MAX) => Ok((file, rows, dimension)),
        _ => Err(bad(
            path,
            format!("its rows have {dimension} values; use 1 to {DIMENSION_MAX}"),
        )),
    }
}

/// Values in rows.
struct Chunks<I> {
    values: I,
    rows: u64,
    dimension: usize,
    name: String,
    row: u64,
}

impl<I: Iterator<Item = io::Result<f32>>> Iterator for Chunks<I> {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.row == self.rows {
            return None;
        }
        let at = self.row;
        self.row += 1;
        let mut vector = Vec::with_capacity(self.dimension);
        for value in self.values.by_ref().take(self.dimension) {
            match value {
                Ok(value) => vector.push(value),
                Err(e) => {
                    self.row = self.rows;
                    let name = &self.name;
                    return Some(Err(BadInput(format!(
                        "{name}: it ends within row {at}: {e}"
                    ))));
                }
            }
        }
        Some(Ok(vector))
    }
}
