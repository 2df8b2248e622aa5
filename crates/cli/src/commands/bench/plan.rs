//! What a run does, decided before it begins: how many records change in each round, and what it takes.

use super::change::Mix;
use super::usage::Needs;

/// The round that log replay takes part in, in percent.
pub(super) const COMPARED_PERCENT: f64 = 1.0;
/// How often each key is written in the round that shows what replay pays for overwrites.
pub(super) const OVERWRITES: u32 = 4;
/// A few records of many: the round that shows what finding them costs.
pub(super) const FEW: u64 = 10;

/// Followers that take part in every round, one for each kind of delta; and the one that replays.
pub(super) const DELTA_FOLLOWERS: u64 = 4;
const NODES_ON_DISK: u64 = DELTA_FOLLOWERS + 2;
/// The leader and one follower run at a time.
const NODES_IN_MEMORY: u64 = 2;
/// Memory and disk of a node: so many percent of its vectors, so much per point, so much in any case.
const MEMORY_PERCENT: u64 = 170;
const MEMORY_PER_POINT: u64 = 300;
const MEMORY_MIN: u64 = 256 << 20;
const DISK_PERCENT: u64 = 200;
const DISK_MIN: u64 = 128 << 20;

/// A change of the data, and who catches up with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Round {
    pub(super) changed: u64,
    pub(super) mix: Mix,
    /// Whether log replay is measured, too.
    pub(super) replay: bool,
}

/// The rounds of a run over `points`, and the percentages that come to less than one record.
pub(super) fn rounds(points: u64, percents: &[f64]) -> (Vec<Round>, Vec<f64>) {
    let compared = records(points, COMPARED_PERCENT).max(1);
    let mut rounds = vec![
        Round {
            changed: compared,
            mix: Mix::Mixed,
            replay: true,
        },
        Round {
            changed: compared,
            mix: Mix::Overwrites(OVERWRITES),
            replay: true,
        },
    ];
    let (mut counts, mut left_out) = (Vec::new(), Vec::new());
    for percent in percents {
        match records(points, *percent) {
            0 if *percent > 0.0 => left_out.push(*percent),
            count => counts.push(count),
        }
    }
    if !percents.is_empty() {
        counts.push(FEW.min(points));
    }
    counts.sort_unstable();
    counts.dedup();
    let others = counts.into_iter().filter(|count| *count != compared);
    rounds.extend(others.map(|changed| Round {
        changed,
        mix: Mix::Mixed,
        replay: false,
    }));
    (rounds, left_out)
}

/// So many percent of `points`.
pub(super) fn records(points: u64, percent: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below 2^53"
    )]
    let records = (points as f64 * percent / 100.0 + 1e-6) as u64;
    records
}

/// Bytes of log that the rounds with replay write.
pub(super) fn log_bytes(points: u64, dimension: usize) -> u64 {
    let compared = records(points, COMPARED_PERCENT).max(1);
    2 * compared * u64::from(OVERWRITES) * vector_bytes(dimension)
}

fn vector_bytes(dimension: usize) -> u64 {
    dimension as u64 * 4
}

/// Memory and disk that a run takes, about.
pub(super) fn needs(points: u64, dimension: usize) -> Needs {
    let raw = points * vector_bytes(dimension);
    let memory = raw * MEMORY_PERCENT / 100 + points * MEMORY_PER_POINT + MEMORY_MIN;
    let disk = raw * DISK_PERCENT / 100 + DISK_MIN;
    Needs {
        memory: memory * NODES_IN_MEMORY,
        disk: disk * NODES_ON_DISK + log_bytes(points, dimension),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_cover_the_percentages_and_what_comes_to_nothing_is_told() {
        let (all, left_out) = rounds(10_000, &[0.0, 0.001, 0.01, 0.1, 1.0, 100.0]);
        let changed: Vec<u64> = all.iter().map(|round| round.changed).collect();
        assert_eq!(changed, [100, 100, 0, 1, 10, 10_000]);
        assert_eq!(left_out, [0.001]);
        assert!(all[0].replay && all[1].replay && !all[2].replay);
        assert_eq!(all[1].mix, Mix::Overwrites(4));
        // Without percentages, only the comparison; with any, the round of few records.
        assert_eq!(rounds(10_000, &[]).0.len(), 2);
        assert_eq!(rounds(10_000, &[50.0]).0.len(), 4);
    }

    #[test]
    fn a_million_fits_a_machine_of_24_gib() {
        let Needs { memory, disk } = needs(1_000_000, 1024);
        assert!((12 << 30..20 << 30).contains(&memory), "{memory}");
        assert!((30 << 30..60 << 30).contains(&disk), "{disk}");
    }
}
