//! Rows as a block: all heads first, then all contents, so that what is alike lies together.
//!
//! The contents lie one after the other, or in four **planes** when the frame is to be compressed: plane p holds the
//! bytes at offsets p, p + 4, p + 8, .. of every row's content. In a 32-bit float the sign and the exponent are one
//! byte, and a vector's exponents are alike: side by side they compress, scattered among mantissas they do not.

use pando_model::Row;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Blob, Bounded, Slice};
use crate::limits::ROWS_PER_FRAME_MAX;

/// Bytes of a float, and so the number of planes.
const PLANES: usize = 4;

/// The rows of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBlock {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether the contents are sent in planes. A matter of the encoding only.
    pub planes: bool,
}

impl From<Vec<Row>> for RowBlock {
    fn from(rows: Vec<Row>) -> Self {
        let planes = false;
        Self { rows, planes }
    }
}

/// What goes before the contents.
#[derive(Deserialize)]
struct Head {
    id: Blob,
    version: [u8; 16],
    content_bytes: u32,
}

impl Serialize for RowBlock {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let heads: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                // A longer one fits no frame.
                let bytes = u32::try_from(row.content.len()).unwrap_or(u32::MAX);
                (Slice(&row.id), row.version, bytes)
            })
            .collect();
        let contents = if self.planes {
            into_planes(&self.rows)
        } else {
            self.rows
                .iter()
                .map(|row| row.content.as_slice())
                .collect::<Vec<_>>()
                .concat()
        };
        (heads, self.planes, Slice(&contents)).serialize(to)
    }
}

struct Heads(Vec<Head>);

impl<'de> Deserialize<'de> for Heads {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Bounded::<ROWS_PER_FRAME_MAX>::deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for RowBlock {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (heads, planes, contents) = <(Heads, bool, &'de [u8])>::deserialize(from)?;
        let claimed: u64 = heads
            .0
            .iter()
            .map(|head| u64::from(head.content_bytes))
            .sum();
        // Before anything is made of that length.
        if claimed != contents.len() as u64 {
            return Err(D::Error::custom(format_args!(
                "the rows claim {claimed} bytes of content, but there are {}",
                contents.len()
            )));
        }
        let lengths: Vec<usize> = heads
            .0
            .iter()
            .map(|head| head.content_bytes as usize)
            .collect();
        let contents = if planes {
            out_of_planes(contents, &lengths)
        } else {
            in_turn(contents, &lengths)
        };
        let rows = heads
            .0
            .into_iter()
            .zip(contents)
            .map(|(head, content)| Row {
                id: head.id.0,
                version: head.version,
                content,
            });
        Ok(Self {
            rows: rows.collect(),
            planes,
        })
    }
}

/// How many bytes of a content of this length are in a plane.
fn in_plane(length: usize, plane: usize) -> usize {
    (length + PLANES - 1 - plane) / PLANES
}

fn into_planes(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.iter().map(|row| row.content.len()).sum());
    for plane in 0..PLANES {
        for row in rows {
            let whole = row.content.chunks_exact(PLANES);
            let rest = whole.remainder().get(plane).copied();
            out.extend(whole.filter_map(|bytes| bytes.get(plane).copied()));
            out.extend(rest);
        }
    }
    out
}

/// `bytes` are as many as the lengths say together.
fn in_turn(mut bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let cut = |length: &usize| {
        let (content, rest) = bytes.split_at_checked(*length).unwrap_or((bytes, &[]));
        bytes = rest;
        content.to_vec()
    };
    lengths.iter().map(cut).collect()
}

/// `bytes` are as many as the lengths say together.
fn out_of_planes(mut bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut contents: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
    for plane in 0..PLANES {
        for content in &mut contents {
            let count = in_plane(content.len(), plane);
            let (part, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            bytes = rest;
            let slots = content.iter_mut().skip(plane).step_by(PLANES);
            for (slot, byte) in slots.zip(part) {
                *slot = *byte;
            }
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(content: &[u8]) -> Row {
        Row {
            id: vec![1],
            version: [2; 16],
            content: content.to_vec(),
        }
    }

    #[test]
    fn planes_put_equal_offsets_side_by_side() {
        let rows = [
            row(&[0, 1, 2, 3, 10, 11, 12, 13]),
            row(&[20, 21, 22, 23, 30]),
            row(&[]),
        ];
        let planes = into_planes(&rows);
        assert_eq!(planes, [0, 10, 20, 30, 1, 11, 21, 2, 12, 22, 3, 13, 23]);
        let contents: Vec<Vec<u8>> = rows.iter().map(|row| row.content.clone()).collect();
        assert_eq!(out_of_planes(&planes, &[8, 5, 0]), contents);
    }

    #[test]
    fn contents_of_any_length_come_back() {
        for length in 0..40 {
            let content: Vec<u8> = (0..length).collect();
            let rows = [row(&content), row(&content[..content.len() / 2])];
            let lengths = [rows[0].content.len(), rows[1].content.len()];
            let back = out_of_planes(&into_planes(&rows), &lengths);
            assert_eq!(back, [rows[0].content.clone(), rows[1].content.clone()]);
        }
    }
}
