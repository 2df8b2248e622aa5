//! The report: what was measured, as Markdown for people and as JSON for scripts.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::change::record_bytes;
use super::load::Latency;
use super::pressure::Writes;
use super::row::{Method, Row};
use super::startup::Start;
use super::targets::Target;
use super::vectors::Source;
use crate::output::bytes;

/// Where, when and with what a run was made.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Origin {
    pub(super) machine: String,
    pub(super) version: &'static str,
    pub(super) commit: String,
    pub(super) date: String,
    pub(super) command: String,
    pub(super) data: String,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) origin: Origin,
    /// Points of the main run.
    pub(super) points: u64,
    pub(super) dimension: usize,
    /// Bytes of one record.
    pub(super) record_bytes: u64,
    /// Points written per second by the first load, into one node.
    pub(super) load_per_second: f64,
    /// Of the main run first, then of other sizes.
    pub(super) rows: Vec<Row>,
    pub(super) start: Start,
    pub(super) writes: Option<Writes>,
    /// The leader's time in applying writes, by part.
    pub(super) apply_seconds: BTreeMap<String, f64>,
    /// Bytes on the leader's disk at the end, its log included; `None`: it runs elsewhere.
    pub(super) leader_disk_bytes: Option<u64>,
    pub(super) notes: Vec<String>,
    /// What could not be measured, and why.
    pub(super) unmeasured: Option<String>,
    pub(super) targets: Vec<Target>,
}

impl Results {
    /// Of a run that measured catch-ups and a start, and nothing else.
    pub(super) fn new(
        origin: Origin,
        source: &Source,
        points: u64,
        load: Duration,
        rows: Vec<Row>,
        start: Start,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            origin,
            points,
            dimension: source.dimension(),
            record_bytes: record_bytes(source, source.point(0, 0))?,
            load_per_second: points as f64 / load.as_secs_f64(),
            rows,
            start,
            writes: None,
            apply_seconds: BTreeMap::new(),
            leader_disk_bytes: None,
            notes: Vec::new(),
            unmeasured: None,
            targets: Vec::new(),
        })
    }
}

/// The whole page; `plot` is the name of the picture beside it.
pub(super) fn markdown(results: &Results, plot: &str) -> Result<String, fmt::Error> {
    let mut page = String::new();
    let Results {
        origin,
        points,
        dimension,
        ..
    } = results;
    writeln!(page, "# Catching up, {} x {dimension}\n", grouped(*points))?;
    writeln!(
        page,
        "Real `pando` processes over loopback TCP: one leader, and one follower at a time. Every row was executed in \
         one run, and proved by the follower's own counters and by equal roots.\n"
    )?;
    let facts = [
        ("machine", origin.machine.clone()),
        (
            "version",
            format!("{}, commit {}", origin.version, origin.commit),
        ),
        ("date", origin.date.clone()),
        ("command", format!("`{}`", origin.command)),
        ("data", origin.data.clone()),
        ("bytes of a record", results.record_bytes.to_string()),
        (
            "load into one node",
            format!("{:.0} points/s", results.load_per_second),
        ),
        (
            "leader's disk at the end",
            or_dash(results.leader_disk_bytes.map(bytes)),
        ),
    ];
    let facts = facts.map(|(what, fact)| vec![what.to_owned(), fact]);
    table(&mut page, &["", ""], &facts)?;

    writeln!(page, "\n## Targets\n")?;
    let targets: Vec<_> = results.targets.iter().map(target_cells).collect();
    table(&mut page, &["what", "target", "this run", "met"], &targets)?;

    writeln!(page, "\n![bytes and seconds]({plot})\n")?;
    let (own, others): (Vec<&Row>, Vec<&Row>) = results
        .rows
        .iter()
        .partition(|row| row.task.points == *points);
    writeln!(page, "## Every catch-up\n")?;
    rows(&mut page, &own)?;
    if !others.is_empty() {
        writeln!(page, "\n## Other sizes, 1 % changed\n")?;
        rows(&mut page, &others)?;
    }
    if let Some(writes) = &results.writes {
        latencies(&mut page, writes)?;
    }
    node(&mut page, results)?;
    reading(&mut page, results)?;
    Ok(page)
}

fn target_cells(target: &Target) -> Vec<String> {
    let met = match target.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "-",
    };
    [&target.what, &target.target, &target.figure]
        .map(String::clone)
        .into_iter()
        .chain([met.to_owned()])
        .collect()
}

const COLUMNS: [&str; 18] = [
    "points",
    "changed",
    "method",
    "zstd",
    "path taken",
    "bytes in",
    "bytes out",
    "metadata",
    "records",
    "wire / changed",
    "seconds",
    "install ms",
    "records/s",
    "CPU s leader",
    "CPU s follower",
    "extra MiB leader",
    "extra MiB follower",
    "round trips",
];

fn rows(page: &mut String, rows: &[&Row]) -> fmt::Result {
    let cells: Vec<_> = rows.iter().map(|row| row_cells(row)).collect();
    table(page, &COLUMNS, &cells)
}

fn row_cells(row: &Row) -> Vec<String> {
    let (task, account) = (&row.task, &row.account);
    let replay = task.method == Method::Replay;
    let times = if task.times > 1 {
        format!(" x {} writes", task.times)
    } else {
        String::new()
    };
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    vec![
        grouped(task.points),
        format!("{}{times}", grouped(task.changed)),
        task.method.name().to_owned(),
        if replay {
            "none"
        } else {
            ["no", "yes"][usize::from(task.zstd)]
        }
        .to_owned(),
        account.path.clone(),
        grouped(row.bytes_in),
        grouped(row.bytes_out),
        if replay {
            "-".to_owned()
        } else {
            grouped(account.metadata_bytes)
        },
        if replay {
            "-".to_owned()
        } else {
            grouped(account.row_bytes)
        },
        or_dash(row.ratio().map(|ratio| format!("{ratio:.3}"))),
        format!("{:.3}", account.seconds),
        if replay {
            "-".to_owned()
        } else {
            format!("{:.0}", account.install_seconds * 1000.0)
        },
        or_dash(row.records_per_second().map(|rate| format!("{rate:.0}"))),
        or_dash(row.leader.map(|used| format!("{:.2}", used.cpu_seconds))),
        format!("{:.2}", row.follower.cpu_seconds),
        or_dash(row.leader.map(|used| mib(used.peak_extra_bytes))),
        mib(row.follower.peak_extra_bytes),
        if replay {
            "-".to_owned()
        } else {
            account.round_trips.to_string()
        },
    ]
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn latencies(page: &mut String, writes: &Writes) -> fmt::Result {
    let rate = writes.rate;
    writeln!(page, "\n## What writers feel\n")?;
    writeln!(
        page,
        "{} upserts/s, {} per write, timed from the moment each was due; the leader alone, with a follower in step, \
         while a follower {} records behind catches up by delta, and while an empty one is filled.\n",
        rate.points_per_second,
        rate.points_per_write,
        grouped(writes.behind)
    )?;
    let all = [
        ("leader alone", Some(writes.alone)),
        ("follower in step", Some(writes.in_step)),
        ("during the delta", writes.delta),
        ("during the full copy", writes.full_copy),
    ];
    let cells = all.map(|(when, latency)| {
        let ms =
            |of: fn(&Latency) -> f64| or_dash(latency.as_ref().map(|l| format!("{:.1}", of(l))));
        vec![
            when.to_owned(),
            grouped(latency.map_or(0, |l| l.writes)),
            ms(|l| l.p50_ms),
            ms(|l| l.p99_ms),
            ms(|l| l.max_ms),
        ]
    });
    table(page, &["", "writes", "p50 ms", "p99 ms", "max ms"], &cells)?;
    if writes.is_saturated() {
        writeln!(
            page,
            "\nThis is more than the machine can take even without a sync: writes queue up, and the times are those \
             of the queue."
        )?;
    }
    Ok(())
}

fn node(page: &mut String, results: &Results) -> fmt::Result {
    writeln!(page, "\n## The node itself\n")?;
    let Start {
        ready_seconds,
        phases,
        idle_bytes_per_second,
    } = &results.start;
    let mut cells = vec![
        vec![
            "start to `/readyz`".to_owned(),
            format!("{ready_seconds:.2} s"),
        ],
        vec![
            "leader and a follower in step, idle".to_owned(),
            format!("{idle_bytes_per_second:.0} bytes/s"),
        ],
    ];
    for (phase, seconds) in phases {
        cells.push(vec![format!("start, {phase}"), format!("{seconds:.2} s")]);
    }
    for (part, seconds) in &results.apply_seconds {
        cells.push(vec![
            format!("leader's apply, {part}, while it was loaded"),
            format!("{seconds:.2} s"),
        ]);
    }
    table(page, &["", ""], &cells)
}

fn reading(page: &mut String, results: &Results) -> fmt::Result {
    writeln!(page, "\n## Reading it\n")?;
    let notes = [
        "Bytes in and out are those of the follower's node API at the socket, from before the leader may speak until \
         the follower serves its state: TCP payload with HTTP/2, the offer and heartbeats. Nothing is subtracted.",
        "`metadata` and `records` are the follower's count of what the session's frames held, before compression.",
        "`wire / changed` is both directions over the changed records' canonical bytes (id, version, content; of a \
         deleted one the id). A full copy counts all records as changed.",
        "Seconds are the follower's own, from the first message to the new state being served; starting the process \
         is over by then, for the leader is held meanwhile.",
        "Log replay is never compressed. Its followers apply the same entries as everybody; the other rows' leaders \
         had dropped their log first.",
        "CPU is user and system time of the whole process over the same stretch (ticks of 10 ms). Extra memory is the \
         peak of resident memory over what was resident before; what an allocator had kept free hides in it.",
        "Changes are 80 % updates, 10 % new points, 10 % deleted ones, each key once, if not said otherwise.",
    ];
    for note in notes
        .iter()
        .map(ToString::to_string)
        .chain(results.notes.clone())
    {
        writeln!(page, "- {note}")?;
    }
    Ok(())
}

/// A table with a header, as Markdown.
pub(super) fn table(page: &mut String, header: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    writeln!(page, "| {} |", header.join(" | "))?;
    writeln!(page, "|{}", "---|".repeat(header.len()))?;
    for row in rows {
        writeln!(page, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

/// Digits in groups of three.
pub(super) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
