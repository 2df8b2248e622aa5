//! What commands print: tables for people, one JSON document for scripts. The only place that writes to stdout
//! or stderr.
//!
//! Results go to stdout, everything else (errors, progress, logs) to stderr, so that stdout can be piped.

use std::fmt::Display;
use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences, for people.
    #[default]
    Table,
    /// One JSON document, for scripts.
    Json,
}

impl Format {
    /// Prints a result in this form.
    pub(crate) fn show<J: Serialize, T: Display>(
        self,
        json: impl FnOnce() -> J,
        text: impl FnOnce() -> T,
    ) -> io::Result<()> {
        match self {
            Self::Json => line(serde_json::to_string(&json()).map_err(io::Error::other)?),
            Self::Table => line(text()),
        }
    }
}

/// A line on stdout.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    // Whoever waits for this line must not wait for the next one.
    out.flush()
}

/// A line on stderr. If even that cannot be written there is nobody left to tell.
pub(crate) fn complain(text: impl Display) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// An empty table with a header, as wide as the terminal at most.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Bytes in a unit people read, to three digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A text cut to `width` characters, the last three of them dots if something was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// All 64 digits of a root.
pub(crate) fn hex(root: &[u8; 32]) -> String {
    root.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 8 digits of a root.
pub(crate) fn short(root: &[u8; 32]) -> String {
    hex(root)[..8].to_owned()
}

/// `1 point`, `2 points`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1536, "1.50 KiB"),
            (15 << 20, "15.0 MiB"),
            (300 << 30, "300 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("a long text", 8), "a lon...");
        assert_eq!(cut("a b c d e f", 5), "a...");
        assert_eq!(cut("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", 4), "\u{e9}...");
    }

    #[test]
    fn roots_are_shortened_from_the_left() {
        let mut root = [0; 32];
        root[0] = 0xab;
        root[31] = 1;
        assert_eq!(short(&root), "ab000000");
        assert!(hex(&root).ends_with("0001") && hex(&root).len() == 64);
    }
}
