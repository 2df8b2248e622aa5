//! Waiting for facts: a probe is asked until it answers, or a deadline passes; then it is said what was waited for
//! and what was seen last. Nothing in the tests waits for time to pass.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(40);

/// Asks until the probe has an answer. Its error says what is seen instead.
///
/// # Errors
/// After the deadline, with what was waited for and what was seen last.
pub async fn eventually<T>(
    what: impl AsRef<str>,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let seen = match probe().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= end {
            bail!(
                "waited {deadline:?} until {}; last seen: {seen:#}",
                what.as_ref()
            );
        }
        sleep(PAUSE).await;
    }
}
