//! The index of a field's places: places in the order of a grid's cells, row by row.

use std::collections::BTreeMap;

use pando_model::{GeoBox, GeoPoint, Value};

use super::known::Known;
use super::values::items;

/// Cells of one degree: a cell is 7 km high.
const CELLS_PER_DEGREE: f64 = 16.0;

/// A cell: its row from the south, then its column from the west.
type Cell = (u16, u16);

/// One field's places. A slot may have several, which are numbered.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<(Cell, u32, usize), GeoPoint>);

fn places(value: &Value) -> impl Iterator<Item = GeoPoint> + '_ {
    items(value).iter().filter_map(GeoPoint::of)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "degrees are in range, so there are fewer than 5,761 rows and columns"
)]
fn line(degrees: f64) -> u16 {
    (degrees * CELLS_PER_DEGREE) as u16
}

fn row(lat: f64) -> u16 {
    line(lat + 90.0)
}

fn column(lon: f64) -> u16 {
    line(lon + 180.0)
}

/// The 180th meridian has two longitudes and one column.
fn cell(place: GeoPoint) -> Cell {
    let lon = if place.lon >= 180.0 {
        -180.0
    } else {
        place.lon
    };
    (row(place.lat), column(lon))
}

/// The columns between two longitudes.
fn columns(area: &GeoBox) -> Vec<(u16, u16)> {
    let (west, east) = (column(area.west), column(area.east));
    let mut columns = match area.west <= area.east {
        true => vec![(west, east)],
        false => vec![(west, column(180.0)), (0, east)],
    };
    if area.east >= 180.0 {
        columns.push((0, 0));
    }
    columns
}

impl Places {
    pub(super) fn insert(&mut self, slot: u32, value: &Value) {
        for (n, place) in places(value).enumerate() {
            self.0.insert((cell(place), slot, n), place);
        }
    }

    pub(super) fn remove(&mut self, slot: u32, value: &Value) {
        for (n, place) in places(value).enumerate() {
            self.0.remove(&(cell(place), slot, n));
        }
    }

    /// The slots with a place that passes; `area` contains all places that do.
    pub(super) fn within(&self, area: &GeoBox, passes: impl Fn(GeoPoint) -> bool) -> Known {
        let columns = columns(area);
        let mut slots = Vec::new();
        for row in row(area.south)..=row(area.north) {
            for (west, east) in &columns {
                let first = ((row, *west), 0, 0);
                let last = ((row, *east), u32::MAX, usize::MAX);
                let places = self.0.range(first..=last);
                slots.extend(
                    places
                        .filter(|(_, place)| passes(**place))
                        .map(|((_, slot, _), _)| *slot),
                );
            }
        }
        slots.sort_unstable();
        Known::exactly(slots.into_iter().collect())
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        self.0.len() * size_of::<((Cell, u32, usize), GeoPoint)>() * 3 / 2
    }
}
