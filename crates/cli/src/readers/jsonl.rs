//! JSON lines: one payload, or one whole point, per line.
//!
//! A point is `{"id": 7, "vector": [..], "payload": {..}}`, or with `"vectors": {"name": [..]}`; a sparse vector is
//! `{"indices": [..], "values": [..]}` in place of the list. `id` is an
//! integer or a UUID and may be left out. `version` is what an export adds; an import ignores it. [`crate::point_json`] writes what [`points`] reads.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::path::Path;

use pando_model::{Payload, Point, PointId, Stamp, VectorName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BadInput, Defaults, Points, Result, open, show};
use crate::vector_json::VectorJson;

/// Longest line. A point at every limit takes about 6 MiB as text.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Lines of a file, each read into a `T`; empty ones are skipped.
pub(crate) struct Lines<T> {
    source: Box<dyn BufRead + Send>,
    name: String,
    line: u64,
    ended: bool,
    read: fn(&[u8]) -> std::result::Result<T, String>,
}

impl<T> Lines<T> {
    fn open(path: &Path, read: fn(&[u8]) -> std::result::Result<T, String>) -> Result<Self> {
        Ok(Self {
            source: open(path)?,
            name: show(path),
            line: 0,
            ended: false,
            read,
        })
    }

    fn bad(&self, reason: impl std::fmt::Display) -> BadInput {
        BadInput(format!("{}: line {}: {reason}", self.name, self.line))
    }

    fn read(&mut self) -> Result<Option<T>> {
        loop {
            self.line += 1;
            let mut text = Vec::new();
            let mut limited = self.source.by_ref().take(LINE_BYTES_MAX + 1);
            let bytes = limited
                .read_until(b'\n', &mut text)
                .map_err(|e| self.bad(e))?;
            if bytes == 0 {
                return Ok(None);
            }
            if text.len() as u64 > LINE_BYTES_MAX {
                return Err(self.bad(format!("it is over the limit of {LINE_BYTES_MAX} bytes")));
            }
            if !text.trim_ascii().is_empty() {
                return (self.read)(&text)
                    .map(Some)
                    .map_err(|reason| self.bad(reason));
            }
        }
    }
}

impl<T> Iterator for Lines<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// Opens a file of payloads.
pub(super) fn payloads(path: &Path) -> Result<Lines<Payload>> {
    Lines::open(path, |text| {
        Payload::from_json(parse(text)?).map_err(|e| e.to_string())
    })
}

/// Opens a file of any JSON.
pub(crate) fn values<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>> {
    Lines::open(path, parse)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPoint {
    id: Option<JsonId>,
    vector: Option<VectorJson>,
    #[serde(default)]
    vectors: BTreeMap<VectorName, VectorJson>,
    #[serde(default)]
    payload: Value,
    /// Says when the exported point was written: a point that is imported is written anew.
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "bad point id, expected an unsigned 64-bit integer or a UUID"
)]
enum JsonId {
    Num(u64),
    Text(String),
}

/// Opens a file of points. Lines without an id are numbered by their position, from the first id on.
pub(super) fn points(path: &Path, defaults: Defaults) -> Result<Points> {
    let name = show(path);
    let lines = Lines::open(path, parse::<JsonPoint>)?;
    let points = lines.enumerate().map(move |(row, line)| {
        point(line?, row as u64, &defaults)
            .map_err(|reason| BadInput(format!("{name}: point {row}: {reason}")))
    });
    Ok(Points {
        total: None,
        points: Box::new(points),
    })
}

/// Opens a file that `export` wrote: its points with their versions; a file of an older release has none.
pub(crate) fn exported(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(Point, Option<Stamp>)>> + use<>> {
    let name = show(path);
    let lines = Lines::open(path, parse::<JsonPoint>)?;
    Ok(lines.enumerate().map(move |(row, line)| {
        let read = |mut json: JsonPoint| {
            if json.id.is_none() {
                return Err("it has no id, so nothing can be compared with it".to_owned());
            }
            let version = json.version.take().map(|text| text.parse::<Stamp>());
            let version = version.transpose().map_err(|e| e.to_string())?;
            Ok((point(json, 0, &Defaults::default())?, version))
        };
        read(line?).map_err(|reason| BadInput(format!("{name}: point {row}: {reason}")))
    }))
}

fn point(json: JsonPoint, row: u64, defaults: &Defaults) -> std::result::Result<Point, String> {
    let id = match json.id {
        Some(JsonId::Num(n)) => PointId::Num(n),
        Some(JsonId::Text(text)) => text.parse().map_err(|e| format!("{e}"))?,
        None => PointId::Num(
            defaults
                .first_id
                .checked_add(row)
                .ok_or("its number does not fit 64 bits")?,
        ),
    };
    let mut all = json.vectors;
    if let Some(vector) = json.vector {
        let name = defaults.vector_name.clone();
        if all.insert(name.clone(), vector).is_some() {
            return Err(format!(
                "vector {name} is given twice, as `vector` and in `vectors`"
            ));
        }
    }
    if all.is_empty() {
        return Err("it has no vector".to_owned());
    }
    let (mut vectors, mut sparse_vectors) = (BTreeMap::new(), BTreeMap::new());
    for (name, vector) in all {
        match vector {
            VectorJson::Dense(values) => {
                vectors.insert(name, values);
            }
            VectorJson::Sparse(vector) => {
                sparse_vectors.insert(name, vector);
            }
        }
    }
    let payload = Payload::from_json(json.payload).map_err(|e| e.to_string())?;
    Ok(Point {
        id,
        vectors,
        sparse_vectors,
        payload,
    })
}
