//! The scrubber: reads everything stored again at a bounded rate, and mends what is damaged from other members.
//!
//! Owns the clock and the tasks of it; what a step does is the replica's. One step is under way at a time, on a blocking
//! thread. A pass begins somewhere, drawn at random, so that a node that is often restarted reads all of it in the end.
//! After the store was rebuilt around what could not be read, a pass goes at full speed: rows are missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pando_merkle::{Digest, Key};
use pando_model::{NodeId, Row, TreeId};
use pando_replica::{Mended, Replica, ReplicaError, ScrubCursor, ScrubStep, WantedRow};
use pando_storage::RowAddress;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::NodeAddress;
use crate::clock::Clock;
use crate::error::{PeerError, chain};
use crate::options::NodeOptions;
use crate::status::ScrubStatus;
use crate::transport::{PeerRpc, RefusalCode, Transport, TransportError};
use crate::types::Raft;
use crate::wire::{self, WireError};

/// Bytes read in one step.
const STEP_BYTES: u64 = 256 << 10;
/// A small state is read once in a while, not around the clock: a pass takes so long at least.
const PASS_MIN: Duration = Duration::from_secs(1);
/// A step is followed by a pause so many times as long as it took, up to [`PASS_MIN`]: many small rows take a tenth of a
/// core.
const PAUSE_PER_STEP: u32 = 9;
/// How often it is looked whether there is something to mend.
const TICK: Duration = Duration::from_millis(50);
/// Most rows asked for in one call.
const ROWS_PER_CALL_MAX: usize = 256;
/// An answer ends behind the row that takes it over so many bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Pause before a row that nobody had is asked for again; doubled each time, ..
const RETRY_MIN: Duration = Duration::from_millis(200);
/// .. up to this.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Pause after the replica could not be read at all.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Body of [`PeerRpc::Rows`]: tree, key and digest of each row wanted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RowsRequest {
    rows: Vec<(TreeId, [u8; 16], [u8; 32])>,
}

/// Answer to [`PeerRpc::Rows`]: in the order of the request, `None` for what is not here or did not fit.
pub(crate) type RowsReply = Vec<Option<Row>>;

/// What the scrubber has done since the node started.
#[derive(Debug, Default)]
pub(crate) struct ScrubFigures {
    rows: AtomicU64,
    bytes: AtomicU64,
    passes: AtomicU64,
    last_pass_ms: AtomicU64,
    permille: AtomicU64,
}

impl ScrubFigures {
    /// The figures, with what the replica knows of its damage.
    pub(crate) fn status(&self, replica: &Replica) -> ScrubStatus {
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let damage = replica.damage();
        ScrubStatus {
            rows: get(&self.rows),
            bytes: get(&self.bytes),
            passes: get(&self.passes),
            last_pass_ms: Some(get(&self.last_pass_ms)).filter(|at| *at > 0),
            permille: get(&self.permille),
            damaged: damage.rows,
            found: damage.found,
            mended: damage.mended,
            rebuilds: damage.rebuilds,
            rebuilding: damage.rebuilding,
        }
    }
}

/// Why no row was got from a member.
#[derive(Debug, thiserror::Error)]
enum MendError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("the answer holds {found} rows for {expected}")]
    Count { found: usize, expected: usize },
    #[error("a thread was lost")]
    Lost,
}

/// The scrubber of one node.
pub(crate) struct Scrubber {
    pub(crate) replica: Arc<Replica>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) raft: Raft,
    pub(crate) options: NodeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) figures: Arc<ScrubFigures>,
}

/// How far a pass is.
struct Pass {
    cursor: ScrubCursor,
    /// At full speed, from the beginning to the end.
    hurried: bool,
    begun: Instant,
}

/// What asking all members once has come to.
#[derive(Default)]
struct Round {
    mended: u64,
    /// Rows that no member gave, ..
    vain: u64,
    /// .. and the last of them.
    last: Option<RowAddress>,
}

/// Which rows are asked for next, and when: all have their turn, also behind rows that nobody gives.
struct Rounds {
    /// The next round goes on behind this one.
    after: Option<RowAddress>,
    /// Rows asked for in vain since one was mended.
    vain: u64,
    retry: Duration,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            after: None,
            vain: 0,
            retry: RETRY_MIN,
        }
    }
}

impl Rounds {
    /// Notes a round; returns the pause before the next, with so many rows damaged now.
    fn note(&mut self, round: &Round, damaged: u64) -> Duration {
        self.after = round.last;
        if round.mended > 0 {
            (self.vain, self.retry) = (0, RETRY_MIN);
        }
        self.vain += round.vain;
        let nothing = round.mended + round.vain == 0;
        // There are some that were not asked for since: it is their turn.
        if self.vain < damaged && !nothing {
            return Duration::ZERO;
        }
        self.vain = 0;
        if round.mended == 0 {
            self.retry = (self.retry * 2).min(RETRY_MAX);
        }
        self.retry
    }
}

/// The pause after a step that read so many bytes, at a rate in bytes per second.
fn pause(bytes: u64, rate: u64, took: Duration) -> Duration {
    let by_rate = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate.max(1));
    by_rate.max((took * PAUSE_PER_STEP).min(PASS_MIN))
}

impl Scrubber {
    /// Scrubs and mends until the node stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut pass = Pass {
            cursor: self.replica.scrub_from(anywhere(self.clock.now_ms())),
            hurried: false,
            begun: Instant::now(),
        };
        let (mut step_at, mut mend_at) = (Instant::now(), Instant::now());
        let mut rounds = Rounds::default();
        loop {
            let wake = step_at.min(Instant::now() + TICK);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = stopping.cancelled() => return,
            }
            if self.replica.damage().rows > 0 && mend_at <= Instant::now() {
                let round = self.mend(rounds.after).await;
                let pause = rounds.note(&round, self.replica.damage().rows);
                mend_at = Instant::now() + pause;
            }
            if step_at > Instant::now() || self.replica.is_installing() {
                continue;
            }
            match self.step(&mut pass).await {
                Ok(pause) => step_at = Instant::now() + pause,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the stored state cannot be read again");
                    step_at = Instant::now() + FAILURE_PAUSE;
                }
            }
        }
    }

    /// One step, if one is due; returns when the next one is.
    async fn step(&self, pass: &mut Pass) -> Result<Duration, MendError> {
        if self.blocking(|replica| replica.follow_rebuild()).await? {
            tracing::warn!("the store was rebuilt: all of it is read again");
            *pass = Pass {
                cursor: ScrubCursor::default(),
                hurried: true,
                begun: Instant::now(),
            };
        }
        let rate = self.options.scrub_bytes_per_second;
        if rate == 0 && !pass.hurried {
            return Ok(TICK);
        }
        let (cursor, begun) = (pass.cursor, Instant::now());
        let step: ScrubStep = self
            .blocking(move |replica| replica.scrub_step(cursor, STEP_BYTES))
            .await?;
        let figures = &self.figures;
        figures.rows.fetch_add(step.rows, Ordering::Relaxed);
        figures.bytes.fetch_add(step.bytes, Ordering::Relaxed);
        pass.cursor = step.cursor;
        let share = self.replica.scrubbed_share(&step.cursor);
        (figures.permille).store(permille(share), Ordering::Relaxed);
        // Nothing is read where too much is damaged: others have to give it first.
        let stands = step.rows == 0 && !step.wrapped;
        let mut wait = if stands {
            TICK
        } else if pass.hurried {
            Duration::ZERO
        } else {
            pause(step.bytes, rate, begun.elapsed())
        };
        if step.wrapped {
            figures.passes.fetch_add(1, Ordering::Relaxed);
            (figures.last_pass_ms).store(self.clock.now_ms(), Ordering::Relaxed);
            wait = wait.max(PASS_MIN.saturating_sub(pass.begun.elapsed()));
            pass.hurried = false;
            pass.begun = Instant::now() + wait;
        }
        Ok(wait)
    }

    /// Asks the members, one after the other, for damaged rows, the first behind an address.
    async fn mend(&self, after: Option<RowAddress>) -> Round {
        match self.mend_round(after).await {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "damaged rows are not mended yet");
                Round::default()
            }
        }
    }

    async fn mend_round(&self, after: Option<RowAddress>) -> Result<Round, MendError> {
        let mut mended = 0;
        let mut wanted = self
            .blocking(move |replica| replica.wanted_rows(after, ROWS_PER_CALL_MAX))
            .await?;
        for (peer, address) in self.peers() {
            if wanted.is_empty() {
                break;
            }
            match self.mend_from(peer, &address, wanted.clone()).await {
                Ok(rows) => mended += rows,
                Err(error) => {
                    tracing::debug!(peer, error = %chain(&error), "no rows from this member");
                    continue;
                }
            }
            wanted = self
                .blocking(move |replica| replica.wanted_rows(after, ROWS_PER_CALL_MAX))
                .await?;
        }
        if mended > 0 {
            self.blocking(Replica::make_durable).await?;
            tracing::info!(mended, "damaged rows were mended from other members");
        }
        if !wanted.is_empty() {
            let rows = wanted.len();
            tracing::warn!(rows, "damaged rows that no member has given yet");
        }
        Ok(Round {
            mended,
            vain: wanted.len() as u64,
            last: wanted.last().map(|wanted| wanted.at),
        })
    }

    /// The other members, the leader first: it has applied the most.
    fn peers(&self) -> Vec<(NodeId, NodeAddress)> {
        let metrics = self.raft.metrics().borrow().clone();
        let mut peers: Vec<_> = metrics
            .membership_config
            .nodes()
            .filter(|(id, _)| **id != self.options.id)
            .map(|(id, address)| (*id, address.clone()))
            .collect();
        peers.sort_by_key(|(id, _)| Some(*id) != metrics.current_leader);
        peers
    }

    async fn mend_from(
        &self,
        peer: NodeId,
        address: &NodeAddress,
        wanted: Vec<WantedRow>,
    ) -> Result<u64, MendError> {
        let rows = wanted.iter().map(|wanted| {
            let RowAddress { tree, key } = wanted.at;
            (tree, *key.as_bytes(), wanted.digest.0)
        });
        let body = wire::encode(&RowsRequest {
            rows: rows.collect(),
        })?;
        let timeout = self.options.call_timeout;
        let answer = self
            .transport
            .call(peer, address, PeerRpc::Rows, body, timeout)
            .await?;
        let rows: RowsReply = wire::decode(&answer)?;
        if rows.len() != wanted.len() {
            return Err(MendError::Count {
                found: rows.len(),
                expected: wanted.len(),
            });
        }
        self.blocking(move |replica| {
            let mut mended = 0;
            for (wanted, row) in wanted.into_iter().zip(rows) {
                let Some(row) = row else { continue };
                match replica.mend(wanted, &row)? {
                    Mended::Written => mended += 1,
                    Mended::NotNeeded => {}
                    Mended::Wrong => {
                        tracing::error!(peer, key = ?wanted.at.key, "a member gave another row than was asked for");
                    }
                }
            }
            Ok(mended)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Replica) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, MendError> {
        let replica = Arc::clone(&self.replica);
        let done = tokio::task::spawn_blocking(move || work(&replica)).await;
        Ok(done.map_err(|_| MendError::Lost)??)
    }
}

/// Answers a member that wants rows.
pub(crate) async fn answer_rows(
    replica: &Arc<Replica>,
    request: RowsRequest,
) -> Result<RowsReply, PeerError> {
    if request.rows.len() > ROWS_PER_CALL_MAX {
        let reason = format!(
            "{} rows are wanted at once, the limit is {ROWS_PER_CALL_MAX}",
            request.rows.len()
        );
        return Err(PeerError::new(RefusalCode::Malformed, reason));
    }
    let wanted = request
        .rows
        .into_iter()
        .map(|(tree, key, digest)| WantedRow {
            at: RowAddress::new(tree, Key::from_bytes(key)),
            digest: Digest(digest),
        });
    let (replica, wanted) = (Arc::clone(replica), wanted.collect::<Vec<_>>());
    let rows = tokio::task::spawn_blocking(move || replica.rows_of(&wanted, ANSWER_BYTES_MAX));
    let rows = rows
        .await
        .map_err(|_| PeerError::new(RefusalCode::Failed, "the thread was lost"))?;
    rows.map_err(|error| PeerError::caused(RefusalCode::Failed, &error))
}

/// A share that differs from start to start.
fn anywhere(now_ms: u64) -> f64 {
    let [high, ..] = now_ms.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    f64::from(high) / f64::from(u8::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is 0 to 1"
)]
fn permille(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_damaged_rows_are_asked_for_before_any_is_again() {
        let mut rounds = Rounds::default();
        let row = |n: u8| Some(RowAddress::new(TreeId(2), Key::from_bytes([n; 16])));
        let mut note = |mended, vain, n, damaged| {
            let last = row(n);
            let round = Round { mended, vain, last };
            let pause = rounds.note(&round, damaged);
            assert_eq!(rounds.after, last);
            pause
        };
        for n in 0..3 {
            assert_eq!(note(0, 256, n, 1_000), Duration::ZERO, "the next ones");
        }
        assert_eq!(note(0, 256, 3, 1_000), RETRY_MIN * 2, "all were asked for");
        assert_eq!(note(0, 256, 4, 1_000), Duration::ZERO, "and again");
        assert_eq!(note(200, 56, 5, 800), Duration::ZERO, "some were given");
        assert_eq!(note(1, 255, 6, 255), RETRY_MIN, "the rest is nobody's");
        // No round could be made at all.
        assert_eq!(rounds.note(&Round::default(), 255), RETRY_MIN * 2);
    }

    #[test]
    fn neither_the_disk_nor_a_core_is_kept_busy() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(8 << 20, 8 << 20, Duration::ZERO), second);
        assert_eq!(pause(1 << 10, 8 << 20, second / 100), second * 9 / 100);
        assert_eq!(pause(1 << 10, 8 << 20, 60 * second), PASS_MIN);
    }
}
