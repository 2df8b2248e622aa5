//! The table in `docs/metrics.md` is what a node tells: every metric, its labels, its unit and its meaning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pando_proto::NodeState;
use tonic::Code;

use super::Metrics;
use crate::http::tests::figures;
use crate::traffic::Traffic;

const DOCS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/metrics.md"
));

/// A node's metrics, each with a value.
fn rendered() -> String {
    let metrics = Metrics::new(Arc::new(Traffic::default()));
    let requests = metrics.requests();
    requests.answered("Upsert", Code::Ok, Duration::from_millis(1));
    let figures = figures(NodeState::Serving, Some(2));
    metrics.render(&figures).expect("text")
}

fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    for (ending, unit) in [
        ("_bytes", "bytes"),
        ("_seconds", "seconds"),
        ("_permille", "permille"),
    ] {
        if name.ends_with(ending) {
            return unit;
        }
    }
    ""
}

/// The names of a sample's labels, but not the bounds of buckets.
fn labels(sample: &str) -> String {
    let Some((_, inner)) = sample.split_once('{') else {
        return String::new();
    };
    let inner = inner.split_once('}').map_or("", |(inner, _)| inner);
    let names = inner
        .split("\",")
        .filter_map(|label| label.split('=').next());
    let names = names.filter(|name| *name != "le");
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The rows of the table, by name.
fn table(text: &str) -> Vec<String> {
    let mut rows = BTreeMap::new();
    let mut lines = text.lines().peekable();
    let (mut meaning, mut kind) = (String::new(), String::new());
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (_, told) = help.split_once(' ').expect("a meaning");
            told.trim_end_matches('.').clone_into(&mut meaning);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, told) = typed.split_once(' ').expect("a type");
            told.clone_into(&mut kind);
            let sample = lines.peek().copied().unwrap_or_default();
            let ending = match told {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let name = format!("{name}{ending}");
            let (labels, unit) = (labels(sample), unit(&name));
            let row = format!("| `{name}` | {kind} | {labels} | {unit} | {meaning} |");
            rows.insert(name, row);
        }
    }
    rows.into_values().collect()
}

#[test]
fn the_documentation_tells_every_metric_and_no_other() {
    let told: Vec<&str> = DOCS
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let table = table(&rendered());
    assert!(
        told == table,
        "the table in docs/metrics.md should be:\n{}",
        table.join("\n")
    );
}

#[test]
fn a_row_tells_name_type_labels_unit_and_meaning() {
    let text = "# HELP pando_x Bytes of x.\n# TYPE pando_x counter\npando_x_total{a=\"1,2\",b=\"}\"} 7\n\
                # HELP pando_t_seconds Time.\n# TYPE pando_t_seconds histogram\npando_t_seconds_bucket{le=\"1\"} 0\n";
    assert_eq!(
        table(text),
        [
            "| `pando_t_seconds` | histogram |  | seconds | Time |",
            "| `pando_x_total` | counter | `a`, `b` |  | Bytes of x |",
        ]
    );
}
