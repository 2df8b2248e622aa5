//! The picture beside the report: bytes and seconds over what changed, both axes logarithmic, as SVG.
//!
//! Texts are left to the viewer's sans-serif font; nothing is looked up on this machine.

mod bars;
pub(super) mod labels;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::{Results, grouped};
use super::row::{Method, Row};
use labels::{axis_bytes, decades, plain, seconds};

const SIZE: (u32, u32) = (1280, 1010);
const HEAD_HEIGHT: i32 = 106;
const FONT: &str = "sans-serif";
pub(super) const TEXT: RGBColor = RGBColor(40, 40, 40);
pub(super) const GRID: RGBColor = RGBColor(226, 226, 226);
const REPLAY: [(u32, &str, RGBColor); 2] = [
    (1, "log replay, distinct keys", RGBColor(44, 140, 60)),
    (4, "log replay, 4 overwrites", RGBColor(148, 60, 170)),
];
const FULL_COPY: &str = "full copy";

/// How a delta is drawn.
struct Line {
    method: Method,
    zstd: bool,
    name: &'static str,
    colour: RGBColor,
    /// Where lines lie on each other, the thinner one is drawn over the wider one.
    width: u32,
}

const LINES: [Line; 4] = [
    Line {
        method: Method::Walk,
        zstd: false,
        name: "delta, unknown lineage",
        colour: RGBColor(31, 119, 180),
        width: 6,
    },
    Line {
        method: Method::Walk,
        zstd: true,
        name: "delta, unknown lineage, zstd",
        colour: RGBColor(140, 188, 222),
        width: 6,
    },
    Line {
        method: Method::Lineage,
        zstd: false,
        name: "delta, known lineage",
        colour: RGBColor(214, 99, 20),
        width: 2,
    },
    Line {
        method: Method::Lineage,
        zstd: true,
        name: "delta, known lineage, zstd",
        colour: RGBColor(250, 178, 110),
        width: 2,
    },
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// What a panel shows over the share of changed records.
struct Panel {
    title: &'static str,
    value: fn(&Row) -> Option<f64>,
    label: fn(f64) -> String,
    /// Whether full copy and log replay are shown, too.
    others: bool,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "bytes on the wire, both ways",
        value: |row| Some(row.wire() as f64),
        label: axis_bytes,
        others: true,
    },
    Panel {
        title: "seconds",
        value: |row| Some(row.account.seconds),
        label: seconds,
        others: true,
    },
    Panel {
        title: "bytes on the wire / bytes of the changed records",
        value: Row::ratio,
        label: plain,
        others: false,
    },
];

/// Draws the picture.
pub(super) fn svg(results: &Results) -> anyhow::Result<String> {
    let mut text = String::new();
    draw(&mut text, results).map_err(|e| anyhow::anyhow!("the plot cannot be drawn: {e}"))?;
    Ok(text)
}

fn draw(text: &mut String, results: &Results) -> Drawn {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD_HEIGHT);
    let title = format!(
        "Catching up: {} points x {}, {}",
        grouped(results.points),
        results.dimension,
        results.origin.data.split(',').next().unwrap_or_default()
    );
    head.draw(&Text::new(title, (24, 14), style(22)))?;
    legend(&head)?;
    let own = results.rows.iter();
    let own: Vec<&Row> = own.filter(|r| r.task.points == results.points).collect();
    let areas = body.split_evenly((2, 2));
    for (area, panel) in areas.iter().zip(&PANELS) {
        curves(area, &own, panel)?;
    }
    if let Some(area) = areas.last() {
        bars::draw(area, &own)?;
    }
    root.present()
}

pub(super) fn style(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&TEXT)
}

/// A little more than whole decades, so that the outermost ones get their labels.
fn widened(range: &Range<f64>) -> Range<f64> {
    range.start * 0.99..range.end * 1.01
}

/// Once for all panels.
fn legend(area: &Area<'_>) -> Drawn {
    const COLUMN: i32 = 270;
    const PER_ROW: i32 = 4;
    let place = |number: i32| (24 + number % PER_ROW * COLUMN, 58 + number / PER_ROW * 26);
    let mut number = 0;
    let mut entry = |name: &str| {
        let (x, y) = place(number);
        number += 1;
        area.draw(&Text::new(name.to_owned(), (x + 42, y - 7), style(15)))?;
        Ok::<_, DrawingAreaErrorKind<std::io::Error>>((x, y))
    };
    for line in &LINES {
        let (x, y) = entry(line.name)?;
        let stroke = line.colour.stroke_width(line.width);
        area.draw(&PathElement::new([(x, y), (x + 32, y)], stroke))?;
    }
    let (x, y) = entry(FULL_COPY)?;
    area.draw(&PathElement::new(
        [(x, y), (x + 32, y)],
        BLACK.stroke_width(2),
    ))?;
    for (_, name, colour) in REPLAY {
        let (x, y) = entry(name)?;
        area.draw(&TriangleMarker::new((x + 16, y), 8, colour.filled()))?;
    }
    Ok(())
}

/// Over what changed: the deltas as lines, the others as they were measured.
fn curves(area: &Area<'_>, own: &[&Row], panel: &Panel) -> Drawn {
    let at = |row: &Row| {
        let percent = row.task.changed as f64 * 100.0 / row.task.points as f64;
        let value = (panel.value)(row)?;
        (percent > 0.0 && value > 0.0).then_some((percent, value))
    };
    let delta = |row: &Row| matches!(row.task.method, Method::Walk | Method::Lineage);
    let shown = own.iter().filter(|row| panel.others || delta(row));
    let shown: Vec<_> = shown.filter_map(|row| at(row)).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let (xs, ys) = (
        decades(shown.iter().map(|(x, _)| *x)),
        decades(shown.iter().map(|(_, y)| *y)),
    );
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, style(18))
        .margin(14)
        .margin_right(30)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d(widened(&xs).log_scale(), widened(&ys).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(style(15))
        .x_desc("records changed, %")
        .x_label_formatter(&|v| plain(*v))
        .y_label_formatter(&|v| (panel.label)(*v))
        .draw()?;
    if panel.others {
        let full = |row: &&&Row| row.task.method == Method::FullCopy && !row.task.zstd;
        if let Some((_, y)) = own.iter().find(full).and_then(|row| at(row)) {
            let ends = [(xs.start, y), (xs.end, y)];
            chart.draw_series(LineSeries::new(ends, BLACK.stroke_width(2)))?;
        }
    }
    for line in &LINES {
        let of_line = own.iter().filter(|row| {
            let task = &row.task;
            (task.method, task.zstd, task.times) == (line.method, line.zstd, 1)
        });
        let mut points: Vec<_> = of_line.filter_map(|row| at(row)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let stroke = line.colour.stroke_width(line.width);
        let dots = points.clone().into_iter();
        chart.draw_series(LineSeries::new(points, stroke))?;
        chart.draw_series(dots.map(|at| Circle::new(at, 4, line.colour.filled())))?;
    }
    for (times, _, colour) in REPLAY.into_iter().filter(|_| panel.others) {
        let of_kind = |row: &&&Row| (row.task.method, row.task.times) == (Method::Replay, times);
        let points = own.iter().filter(of_kind).filter_map(|row| at(row));
        chart.draw_series(points.map(|at| TriangleMarker::new(at, 8, colour.filled())))?;
    }
    Ok(())
}
