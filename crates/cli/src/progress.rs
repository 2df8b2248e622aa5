//! Progress bars: on stderr, and only where somebody is looking.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAWS_PER_SECOND: u8 = 10;

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A bar over `total` items, or a running count where the total is not known.
pub(crate) fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    let (template, bar) = match total {
        Some(total) => (
            "  {msg} [{bar:32}] {human_pos}/{human_len} {per_sec} eta {eta}",
            ProgressBar::with_draw_target(Some(total), target()),
        ),
        None => (
            "  {msg} {spinner} {human_pos} {per_sec}",
            ProgressBar::with_draw_target(None, target()),
        ),
    };
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    bar.with_style(style.progress_chars("=> "))
        .with_message(what.to_owned())
}

/// A spinner for a wait without a known length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
        .expect("the template above is valid");
    let bar = ProgressBar::with_draw_target(None, target());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.with_style(style).with_message(what.to_owned())
}
