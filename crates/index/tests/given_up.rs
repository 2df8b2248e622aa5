//! A scan that nobody waits for any more ends soon, with an error and not with what it has found so far.

use std::sync::atomic::{AtomicUsize, Ordering};

use pando_index::{
    CollectionIndex, NoOriginals, Originals, PointVersion, SearchError, Unavailable,
};
use pando_model::{
    CollectionSchema, EncodedPayload, Metric, Payload, PointId, SearchQuery, Stamp, VectorName,
};

/// Waits until it was asked so many times.
struct Impatient {
    asked: AtomicUsize,
    enough: usize,
}

impl Originals for Impatient {
    fn with(
        &self,
        point: PointVersion,
        name: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        NoOriginals.with(point, name, use_it)
    }

    fn is_waited_for(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) < self.enough
    }
}

#[test]
fn a_scan_ends_between_its_chunks_when_nobody_waits() {
    const DIMENSION: u16 = 512;
    let schema = CollectionSchema::single(DIMENSION.into(), Metric::Dot);
    let name = VectorName::default();
    let mut index = CollectionIndex::new(&schema);
    // Some ten chunks of a mebibyte, so that the scan is shared out among threads.
    for n in 0..5_000_u16 {
        let vector: Vec<f32> = (0..DIMENSION).map(|i| f32::from(n ^ i)).collect();
        let payload: EncodedPayload = Payload::default().encode();
        index.upsert(
            PointId::Num(n.into()),
            Stamp::at(1),
            &[(name.clone(), vector)].into(),
            payload,
        );
    }
    let query = SearchQuery::new(vec![1.0; DIMENSION.into()], 10);
    let all = index.search(std::slice::from_ref(&query), &NoOriginals);
    let asks = |enough| {
        let originals = Impatient {
            asked: AtomicUsize::new(0),
            enough,
        };
        let found = index.search(std::slice::from_ref(&query), &originals);
        (found, originals.asked.into_inner())
    };
    let (found, times) = asks(usize::MAX);
    assert_eq!(found, all);
    assert!(
        (10..=20).contains(&times),
        "it asks for each chunk: {times}"
    );
    for enough in 0..times {
        assert_eq!(asks(enough).0, Err(SearchError::GivenUp), "{enough}");
    }
}
