//! A collection as the catalogue holds it: the canonical form of its name, its place and its vectors.

use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::{DecodeError, Reader, Writer};
use crate::name::{CollectionName, VectorName};
use crate::quantization::Quantization;
use crate::row::TreeId;
use crate::schema::{CollectionSchema, Metric, VectorParams};
use crate::stamp::Stamp;

/// A collection as the catalogue holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: CollectionName,
    /// The tree that holds its rows.
    pub tree: TreeId,
    /// Salts the keys of its tree.
    pub salt: [u8; 16],
    /// When it was created.
    pub created: Stamp,
    /// Its vectors.
    pub schema: CollectionSchema,
}

/// Of collections without sparse vectors, none quantized other than by default. They keep the bytes, and so the root,
/// that they have always had.
const DENSE: u8 = 1;
/// Of the same with sparse vectors, whose names follow the others.
const SPARSE: u8 = 2;
/// Of collections in which a vector is quantized other than by default: each says how, and sparse ones may follow.
const QUANTIZED: u8 = 3;

impl Definition {
    /// Canonical bytes: hashed into the collection root and stored in the system tree.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let format = match (
            is_quantized(&self.schema.vectors),
            &self.schema.sparse_vectors,
        ) {
            (true, _) => QUANTIZED,
            (false, sparse) if sparse.is_empty() => DENSE,
            (false, _) => SPARSE,
        };
        w.u8(format)
            .bytes(self.name.as_str().as_bytes())
            .u32(self.tree.0)
            .raw(&self.salt);
        w.raw(&self.created.to_bytes())
            .count(self.schema.vectors.len());
        for (name, params) in &self.schema.vectors {
            let metric = match params.metric {
                Metric::Cosine => 1,
                Metric::Dot => 2,
                Metric::Euclidean => 3,
                Metric::Manhattan => 4,
                Metric::Poincare => 5,
            };
            w.bytes(name.as_str().as_bytes())
                .u32(params.dimension)
                .u8(metric);
            if format == QUANTIZED {
                w.u8(params.quantization.tag());
            }
        }
        if format != DENSE {
            w.count(self.schema.sparse_vectors.len());
            for name in &self.schema.sparse_vectors {
                w.bytes(name.as_str().as_bytes());
            }
        }
        w.finish()
    }

    /// Reads canonical bytes back.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("collection definition", bytes);
        let bad = r.malformed();
        let format = r.u8()?;
        if ![DENSE, SPARSE, QUANTIZED].contains(&format) {
            return Err(bad);
        }
        let name = CollectionName::parse(r.str()?).map_err(|_| bad.clone())?;
        let tree = TreeId(r.u32()?);
        let mut salt = [0; 16];
        salt.copy_from_slice(r.take(16)?);
        let mut created = [0; 16];
        created.copy_from_slice(r.take(16)?);
        let mut vectors = BTreeMap::new();
        for _ in 0..r.count()? {
            let vector = VectorName::parse(r.str()?).map_err(|_| bad.clone())?;
            let dimension = r.u32()?;
            let metric = match r.u8()? {
                1 => Metric::Cosine,
                2 => Metric::Dot,
                3 => Metric::Euclidean,
                4 => Metric::Manhattan,
                5 => Metric::Poincare,
                _ => return Err(bad),
            };
            let quantization = match format {
                QUANTIZED => Quantization::of_tag(r.u8()?).ok_or(bad.clone())?,
                _ => Quantization::default(),
            };
            let params = VectorParams {
                dimension,
                metric,
                quantization,
            };
            vectors.insert(vector, params);
        }
        // One form for one definition.
        if format == QUANTIZED && !is_quantized(&vectors) {
            return Err(bad);
        }
        let sparse_vectors = match format {
            DENSE => BTreeSet::new(),
            _ => sparse_names(&mut r, &vectors)?,
        };
        if format == SPARSE && sparse_vectors.is_empty() {
            return Err(bad);
        }
        r.finish()?;
        let schema = CollectionSchema {
            vectors,
            sparse_vectors,
        };
        Ok(Self {
            name,
            tree,
            salt,
            created: Stamp::from_bytes(created),
            schema,
        })
    }
}

fn is_quantized(vectors: &BTreeMap<VectorName, VectorParams>) -> bool {
    let default = Quantization::default();
    (vectors.values()).any(|params| params.quantization != default)
}

/// Names in order, none of them a dense vector's.
fn sparse_names(
    r: &mut Reader<'_>,
    dense: &BTreeMap<VectorName, VectorParams>,
) -> Result<BTreeSet<VectorName>, DecodeError> {
    let mut names = BTreeSet::new();
    for _ in 0..r.count()? {
        let name = VectorName::parse(r.str()?).map_err(|_| r.malformed())?;
        let in_order = names.last().is_none_or(|last| *last < name);
        if !in_order || dense.contains_key(&name) {
            return Err(r.malformed());
        }
        names.insert(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> CollectionSchema {
        let name = |name| VectorName::parse(name).expect("name");
        let schema = CollectionSchema::single(2, Metric::Dot);
        schema.with_sparse(name("tags")).with_sparse(name("terms"))
    }

    fn definition(schema: CollectionSchema) -> Definition {
        Definition {
            name: CollectionName::parse("words").expect("name"),
            tree: TreeId(7),
            salt: [9; 16],
            created: Stamp::at(5),
            schema,
        }
    }

    #[test]
    fn definitions_with_sparse_vectors_have_one_form() {
        let dense = definition(CollectionSchema::single(2, Metric::Dot)).encode();
        assert_eq!(dense[0], 1, "what was there before keeps its bytes");
        let bytes = definition(mixed()).encode();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[1..dense.len()], dense[1..]);
        let read = Definition::decode(&bytes).expect("own bytes");
        assert_eq!(read, definition(mixed()));
        for cut in 0..bytes.len() {
            assert!(Definition::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let none = [&[2], &dense[1..], &[0; 4]].concat();
        assert!(Definition::decode(&none).is_err(), "no sparse vectors");
        let with = |names: &[&str]| {
            let mut w = Writer::new();
            w.raw(&[2]).raw(&dense[1..]).count(names.len());
            for name in names {
                w.bytes(name.as_bytes());
            }
            Definition::decode(&w.finish())
        };
        assert!(with(&["tags", "terms"]).is_ok());
        assert!(with(&["terms", "tags"]).is_err(), "another order");
        assert!(with(&["tags", "tags"]).is_err(), "twice");
        assert!(with(&["", "tags"]).is_err(), "dense and sparse");
    }

    #[test]
    fn definitions_round_trip() {
        let mut schema = CollectionSchema::single(384, Metric::Cosine);
        for metric in Metric::ALL {
            let params = VectorParams::new(8, metric);
            let name = VectorName::parse(metric.name()).expect("name");
            schema.vectors.insert(name, params);
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        let definition = definition(schema);
        let bytes = definition.encode();
        assert_eq!(Definition::decode(&bytes).expect("own bytes"), definition);
        for cut in 0..bytes.len() {
            assert!(Definition::decode(&bytes[..cut]).is_err());
        }
    }

    /// The bytes of what could be said before there was quantization, as they were then.
    #[test]
    fn what_is_quantized_by_default_keeps_its_bytes() {
        let bytes = definition(CollectionSchema::single(384, Metric::Cosine)).encode();
        let golden = [
            &[1, 0, 0, 0, 5][..],
            b"words",
            &[0, 0, 0, 7],
            &[9; 16],
            &Stamp::at(5).to_bytes(),
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 128, 1],
        ];
        assert_eq!(bytes, golden.concat());
    }

    #[test]
    fn definitions_with_quantized_vectors_have_one_form() {
        let dense = definition(CollectionSchema::single(2, Metric::Dot)).encode();
        for (schema, sparse) in [
            (CollectionSchema::single(2, Metric::Dot), false),
            (mixed(), true),
        ] {
            let changes = BTreeMap::from([(VectorName::default(), Quantization::Int8)]);
            let is = definition(schema.quantized(&changes).expect("known"));
            let bytes = is.encode();
            assert_eq!(bytes[0], 3);
            assert_eq!(bytes[1..dense.len()], dense[1..]);
            assert_eq!(bytes[dense.len()], 2, "as int8");
            assert_eq!(bytes.len() == dense.len() + 5, !sparse);
            assert_eq!(Definition::decode(&bytes).expect("own bytes"), is);
            for cut in 0..bytes.len() {
                assert!(Definition::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            for unknown in [0, 9] {
                let mut bytes = bytes.clone();
                bytes[dense.len()] = unknown;
                assert!(Definition::decode(&bytes).is_err(), "as {unknown}");
            }
            let mut default = bytes;
            default[dense.len()] = 1;
            assert!(Definition::decode(&default).is_err(), "another form has it");
        }
    }
}
