//! Pando's index in this process, beside one segment of the graph library alone: recall, queries per second, memory,
//! the cost of updates, and filters. `compare.py` calls it and others for the same data.
//!
//! ```text
//! pando-compare BASE.npy QUERIES.npy TRUTH.npy K THREADS
//! ```
//!
//! Base and queries are f32, of length 1; the truth has the rows nearest by cosine, as i32. Prints JSON.

mod data;
mod measure;
mod pando;
mod segment;

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::json;

use data::Data;

/// Lists that are searched with.
const EFS: [u32; 7] = [10, 16, 24, 32, 64, 128, 256];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, truth, limit, threads] = &args[..] else {
        anyhow::bail!("usage: pando-compare BASE.npy QUERIES.npy TRUTH.npy K THREADS");
    };
    let limit = limit.parse().context("K")?;
    let data = Data::read(base, queries, truth, limit)?;
    let threads: usize = threads.parse().context("THREADS")?;
    let pando = pando::run(&data, threads)?;
    let segment = segment::run(&data, threads)?;
    let all = json!({
        "engines": [pando.engine, segment],
        "updates": pando.updates,
        "filtered": pando.filtered,
    });
    writeln!(std::io::stdout(), "{all}")?;
    Ok(())
}
