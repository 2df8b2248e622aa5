//! The report: tables for a terminal, Markdown for the web, JSON for scripts.

use std::fmt::{self, Display, Write as _};

use serde::Serialize;

use super::measure::Row;
use super::own::Account;
use crate::commands::bench::report::{self, Origin, grouped};
use crate::output::{self, bytes};

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) origin: Origin,
    pub(super) points: u64,
    pub(super) dimension: u32,
    pub(super) metric: &'static str,
    pub(super) queries: usize,
    /// Hits per query.
    pub(super) limit: usize,
    pub(super) filtered: bool,
    /// Of a node that was started for this.
    pub(super) own: Option<Account>,
    /// The exact scan first, then in the order in which they were measured.
    pub(super) rows: Vec<Row>,
}

const COLUMNS: [&str; 7] = [
    "ef",
    "clients",
    "batch",
    "recall",
    "queries/s",
    "p50 ms",
    "p99 ms",
];

fn cells(row: &Row) -> [String; 7] {
    [
        row.ef.clone(),
        row.clients.to_string(),
        row.batch.to_string(),
        format!("{:.4}", row.recall),
        format!("{:.0}", row.queries_per_second),
        format!("{:.2}", row.p50_ms),
        format!("{:.2}", row.p99_ms),
    ]
}

fn facts(results: &Results) -> Vec<[String; 2]> {
    let origin = &results.origin;
    let filtered = if results.filtered { ", filtered" } else { "" };
    let mut facts = vec![
        ["machine", &origin.machine].map(str::to_owned),
        [
            "version".to_owned(),
            format!("{}, commit {}", origin.version, origin.commit),
        ],
        ["date", &origin.date].map(str::to_owned),
        ["command".to_owned(), format!("`{}`", origin.command)],
        [
            "data".to_owned(),
            format!(
                "{}: {} x {}, {}",
                origin.data,
                grouped(results.points),
                results.dimension,
                results.metric
            ),
        ],
        [
            "queries".to_owned(),
            format!("{}, {} hits each{filtered}", results.queries, results.limit),
        ],
    ];
    if let Some(own) = &results.own {
        let raw = results.points * u64::from(results.dimension) * size_of::<f32>() as u64;
        let times = own.resident_bytes as f64 / raw.max(1) as f64;
        facts.extend([
            [
                "loaded, indexed".to_owned(),
                format!(
                    "after {:.1} s, {:.1} s",
                    own.load_seconds, own.indexed_seconds
                ),
            ],
            [
                "memory of the node".to_owned(),
                format!(
                    "{}, {times:.2} x the vectors' {}",
                    bytes(own.resident_bytes),
                    bytes(raw)
                ),
            ],
        ]);
    }
    facts
}

/// For a terminal.
pub(super) fn tables(results: &Results) -> impl Display {
    let mut about = output::table(["", ""]);
    about.add_rows(facts(results));
    let mut rows = output::table(COLUMNS);
    rows.add_rows(results.rows.iter().map(cells));
    format!("{about}\n{rows}")
}

/// The whole page; `plot` is the name of the picture beside it.
pub(super) fn markdown(results: &Results, plot: &str) -> Result<String, fmt::Error> {
    let mut page = String::new();
    let Results {
        points, dimension, ..
    } = results;
    writeln!(page, "# Searching, {} x {dimension}\n", grouped(*points))?;
    let facts: Vec<_> = facts(results).into_iter().map(Vec::from).collect();
    report::table(&mut page, &["", ""], &facts)?;
    writeln!(page, "\n![recall and queries per second]({plot})\n")?;
    let rows: Vec<_> = results.rows.iter().map(|row| cells(row).to_vec()).collect();
    report::table(&mut page, &COLUMNS, &rows)?;
    writeln!(
        page,
        "\nThrough the public API, clients and node on one machine. Recall is against the exact scan (`ef` exact) of the \
         same node: a hit counts if it is one of the true ones or as near as the last of them. `default` is what a search \
         gets that names no `ef`; `batch` is how many queries a request has, and times are those of requests."
    )?;
    Ok(page)
}
