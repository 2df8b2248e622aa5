//! What a session costs in bytes.

use pando_sync::{FollowerOptions, Leader, LeaderOptions};

use crate::world::{View, assert_verified, base, drive, row, state};

#[test]
fn one_percent_of_twenty_thousand_rows_costs_little_more_than_those_rows() {
    // About a 384-dimensional vector of 32-bit floats.
    let content = |id: u64, version: u64| format!("{id}:{version}:{}", "v".repeat(1_536));
    let old = state((0..20_000).map(|id| row(id, &content(id, 0))));
    let new = state((0..20_000).map(|id| row(id, &content(id, u64::from(id % 100 == 0)))));
    let leader = Leader::new(View::of(&new, 2), LeaderOptions::default());
    let ended = drive(&leader, base(&old), FollowerOptions::default(), 1, None);
    assert_verified(&ended, &new);
    let stats = &ended.stats;
    let per_row = stats.metadata_bytes as f64 / stats.rows_put as f64;
    println!(
        "20,000 rows, 200 changed: {} metadata bytes for {} row bytes ({:.1} %), {per_row:.0} per changed row; \
         {} requests, {} round trips, {} nodes, {} leaf pairs",
        stats.metadata_bytes,
        stats.row_bytes,
        100.0 * stats.metadata_bytes as f64 / stats.row_bytes as f64,
        stats.requests,
        stats.round_trips,
        stats.nodes,
        stats.leaf_pairs,
    );
    assert_eq!((stats.rows_put, stats.rows_deleted), (200, 0));
    assert!(
        stats.metadata_bytes <= 300 * stats.rows_put,
        "{per_row:.0} bytes per changed row"
    );
    assert!(stats.round_trips <= 5, "{} round trips", stats.round_trips);
}
