//! Clustered vectors from a seed, and small sizes, so that what needs many points in earnest happens with few.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use half::f16;
use half::slice::HalfFloatSliceExt;
use pando_index::{
    CollectionIndex, Fingerprint, IndexOptions, Originals, PointVersion, Unavailable,
};
use pando_model::{
    CollectionSchema, EncodedPayload, Filter, Metric, Payload, PointId, Quantization, Stamp,
    VectorName,
};
use serde_json::json;

/// Far longer than it takes on any machine; a test that waits this long has found a defect.
const DEADLINE: Duration = Duration::from_secs(120);

/// Small sizes: a graph from 200 points, segments of 256 rows and up.
pub(crate) fn small() -> IndexOptions {
    IndexOptions {
        graph_rows_min: 200,
        segment_rows_min: 256,
        ..IndexOptions::default()
    }
}

pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Roughly normal.
    pub(crate) fn normal(&mut self) -> f32 {
        let sum: u64 = (0..8).map(|_| self.next() >> 48).sum();
        (sum as f32 / 65_536.0 - 4.0) * 1.22
    }
}

/// A vector near one of 16 centres.
pub(crate) fn vector(numbers: &mut Numbers, dimension: usize, scale: f32) -> Vec<f32> {
    let mut centre = Numbers::new(1000 + numbers.below(16));
    (0..dimension)
        .map(|_| (centre.normal() + 0.7 * numbers.normal()) * scale)
        .collect()
}

pub(crate) fn stored(schema: &CollectionSchema, mut vector: Vec<f32>) -> Vec<f32> {
    (schema.normalise(&VectorName::default(), &mut vector)).expect("not zero");
    vector
}

pub(crate) fn half(vector: &[f32]) -> Box<[f16]> {
    let mut half = vec![f16::ZERO; vector.len()];
    half.convert_from_f32_slice(vector);
    half.into()
}

pub(crate) fn schema(dimension: usize, metric: Metric) -> CollectionSchema {
    CollectionSchema::single(u32::try_from(dimension).expect("small"), metric)
}

/// With the default vector quantized like this.
pub(crate) fn quantized(schema: CollectionSchema, quantization: Quantization) -> CollectionSchema {
    let changes = BTreeMap::from([(VectorName::default(), quantization)]);
    schema.quantized(&changes).expect("there is one")
}

pub(crate) fn payload(n: u64) -> EncodedPayload {
    let json = json!({ "half": n % 2, "tenth": n % 10, "hundredth": n % 100 });
    Payload::from_json(json).expect("an object").encode()
}

pub(crate) fn filter(key: &str) -> Filter {
    let json = json!({ "must": [{ "key": key, "match": { "value": 0 } }] });
    Filter::from_json(&json.to_string()).expect("a filter")
}

pub(crate) fn upsert(index: &mut CollectionIndex, n: u64, vector: &[f32]) {
    let vectors = BTreeMap::from([(VectorName::default(), vector.to_vec())]);
    index.upsert(PointId::Num(n), Stamp::at(1), &vectors, payload(n));
}

/// Of a version of a point.
pub(crate) fn fingerprint(n: u64, version: u64) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes[8..].copy_from_slice(&version.to_le_bytes());
    Fingerprint(bytes)
}

/// The vectors themselves, by the numbers of their points.
pub(crate) struct By<F>(pub(crate) F);

impl<F: Fn(u64) -> Option<Vec<f32>> + Sync> Originals for By<F> {
    fn with(
        &self,
        PointVersion { id, .. }: PointVersion,
        _: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        let PointId::Num(n) = id else {
            unreachable!("all ids are numbers")
        };
        Ok((self.0)(n).inspect(|vector| use_it(vector)).is_some())
    }
}

/// The same, where each has a version, too.
pub(crate) fn versioned(model: &BTreeMap<u64, (u64, Vec<f32>)>) -> impl Originals + '_ {
    By(|n: u64| model.get(&n).map(|(_, vector)| vector.clone()))
}

/// Waits until the background threads have nothing to do.
pub(crate) fn settle(index: &CollectionIndex) {
    let since = Instant::now();
    while index.is_indexing() {
        assert!(
            since.elapsed() < DEADLINE,
            "{} rows are left",
            index.backlog()
        );
        std::thread::yield_now();
    }
}

pub(crate) const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclidean];
