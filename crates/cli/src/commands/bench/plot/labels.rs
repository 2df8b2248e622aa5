//! Numbers as they stand on axes and bars.

use std::ops::Range;

/// Whole decades around values.
pub(in crate::commands::bench) fn decades(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    let low = 10f64.powf(least.log10().floor());
    let high = 10f64.powf(most.log10().ceil());
    if low < high {
        low..high
    } else {
        low..low * 10.0
    }
}

/// Bytes in decimal units: axes have whole decades.
pub(in crate::commands::bench) fn axis_bytes(value: f64) -> String {
    let (scale, unit) = match value {
        v if v >= 1e9 => (1e9, "GB"),
        v if v >= 1e6 => (1e6, "MB"),
        v if v >= 1e3 => (1e3, "kB"),
        _ => (1.0, "B"),
    };
    format!("{} {unit}", plain(value / scale))
}

/// Seconds, or milliseconds below one.
pub(in crate::commands::bench) fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{} ms", plain(value * 1000.0))
    } else {
        format!("{} s", plain(value))
    }
}

/// As many digits as matter.
pub(in crate::commands::bench) fn plain(value: f64) -> String {
    let digits = match value {
        v if v >= 100.0 => return format!("{v:.0}"),
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_whole_decades() {
        assert_eq!(decades([0.002, 30.0].into_iter()), 0.001..100.0);
        assert_eq!(decades([1.0].into_iter()), 1.0..10.0);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(
            [0.001, 1.0, 10.0, 100.0, 1.05].map(plain),
            ["0.001", "1", "10", "100", "1.05"]
        );
        assert_eq!([0.05, 2.5].map(seconds), ["50 ms", "2.5 s"]);
        assert_eq!(
            [10.0, 1e4, 1e6, 1e10].map(axis_bytes),
            ["10 B", "10 kB", "1 MB", "10 GB"]
        );
    }
}
