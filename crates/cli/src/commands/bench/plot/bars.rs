//! What one percent costs each way, as a part of a full copy.

use plotters::prelude::*;

use super::labels::{plain, seconds};
use super::{Area, Drawn, FULL_COPY, Method, REPLAY, Row, style};
use crate::commands::bench::plan::COMPARED_PERCENT;
use crate::commands::bench::plan::records;
use crate::output::bytes;

/// Where a bar begins; shorter ones cannot be seen.
const LEAST_PERCENT: f64 = 0.1;
const NAME_WIDTH: i32 = 210;
const LABEL_WIDTH: i32 = 150;
const TOP: i32 = 62;
const ROW_HEIGHT: i32 = 76;
const BAR_HEIGHT: i32 = 20;
const BYTES: RGBColor = RGBColor(90, 90, 98);
const SECONDS: RGBColor = RGBColor(176, 176, 184);

/// One bar, and the text behind it.
struct Bar {
    percent: f64,
    text: String,
    colour: RGBColor,
}

pub(super) fn draw(area: &Area<'_>, own: &[&Row]) -> Drawn {
    let row = |method, times| {
        own.iter().copied().find(|row| {
            let (task, full) = (&row.task, method == Method::FullCopy);
            let compared = task.changed == records(task.points, COMPARED_PERCENT).max(1);
            (task.method, task.times, task.zstd) == (method, times, false) && (compared || full)
        })
    };
    let Some(full) = row(Method::FullCopy, 1) else {
        return Ok(());
    };
    let [(once, distinct, _), (often, overwritten, _)] = REPLAY;
    let ways = [
        (FULL_COPY, Some(full)),
        (overwritten, row(Method::Replay, often)),
        (distinct, row(Method::Replay, once)),
        ("delta, unknown lineage", row(Method::Walk, 1)),
        ("delta, known lineage", row(Method::Lineage, 1)),
    ];
    let title = "1 % changed, no compression; full copy = 100 %, log scale";
    area.draw(&Text::new(title, (110, 14), style(18)))?;
    for (x, name, colour) in [
        (NAME_WIDTH, "bytes", BYTES),
        (NAME_WIDTH + 90, "seconds", SECONDS),
    ] {
        area.draw(&Rectangle::new([(x, 42), (x + 12, 54)], colour.filled()))?;
        area.draw(&Text::new(name, (x + 18, 41), style(14)))?;
    }
    let shown = ways
        .into_iter()
        .filter_map(|(name, row)| Some((name, row?)));
    for (number, (name, row)) in (0i32..).zip(shown) {
        let top = TOP + number * ROW_HEIGHT;
        area.draw(&Text::new(name, (20, top + BAR_HEIGHT - 6), style(15)))?;
        for (which, bar) in (0i32..).zip(pair(row, full)) {
            draw_bar(area, &bar, top + which * (BAR_HEIGHT + 4))?;
        }
    }
    Ok(())
}

fn pair(row: &Row, full: &Row) -> [Bar; 2] {
    let bar = |part: f64, whole: f64, text: String, colour| {
        let percent = part / whole * 100.0;
        let text = format!("{text} ({} %)", plain(percent));
        Bar {
            percent,
            text,
            colour,
        }
    };
    let (took, longest) = (row.account.seconds, full.account.seconds);
    let (wire, most) = (row.wire(), full.wire());
    [
        bar(wire as f64, most as f64, bytes(wire), BYTES),
        bar(took, longest, seconds(took), SECONDS),
    ]
}

fn draw_bar(area: &Area<'_>, bar: &Bar, y: i32) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let width = f64::from(width) - f64::from(NAME_WIDTH + LABEL_WIDTH);
    let decades = (100.0 / LEAST_PERCENT).log10();
    let part = (bar.percent.max(LEAST_PERCENT) / LEAST_PERCENT).log10() / decades;
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred pixels")]
    let length = (part * width).max(2.0) as i32;
    let corners = [(NAME_WIDTH, y), (NAME_WIDTH + length, y + BAR_HEIGHT)];
    area.draw(&Rectangle::new(corners, bar.colour.filled()))?;
    let text = (NAME_WIDTH + length + 8, y + 3);
    area.draw(&Text::new(bar.text.clone(), text, style(14)))
}
