//! Progress bars: on stderr, and only where somebody is looking.

use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAWS_PER_SECOND: u8 = 10;
const TICK: Duration = Duration::from_millis(100);

/// All bars there are, a line each.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| {
    MultiProgress::with_draw_target(if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    })
});

fn add(total: Option<u64>, style: ProgressStyle, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    let bar = bar.with_style(style).with_message(what.to_owned());
    BARS.add(bar)
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates here are valid");
    style.progress_chars("=> ")
}

/// A bar over `total` items, or a running count where the total is not known.
pub(crate) fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "  {msg} [{bar:32}] {human_pos}/{human_len} {per_sec} eta {eta}",
        None => "  {msg} {spinner} {human_pos} {per_sec}",
    };
    add(total, style(template), what)
}

/// A bar over the steps of long work, each of some minutes.
pub(crate) fn steps(total: u64) -> ProgressBar {
    let template = "  step {pos}/{len} [{bar:32}] {elapsed} eta {eta}: {msg}";
    let bar = add(Some(total), style(template), "");
    bar.enable_steady_tick(TICK);
    bar
}

/// A spinner for a wait without a known length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let bar = add(None, style("  {spinner} {msg} {elapsed}"), what);
    bar.enable_steady_tick(TICK);
    bar
}
