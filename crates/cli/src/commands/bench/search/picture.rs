//! The picture beside the report: queries per second over recall, a line for each number of clients.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::prelude::*;

use super::measure::Row;
use super::page::Results;
use crate::commands::bench::plot::labels::{decades, plain};
use crate::commands::bench::plot::{Drawn, GRID, TEXT, style};
use crate::commands::bench::report::grouped;

const SIZE: (u32, u32) = (900, 560);
const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 99, 20),
    RGBColor(44, 140, 60),
    RGBColor(148, 60, 170),
    RGBColor(120, 120, 128),
];
/// The axis of recall begins this much below the least, in parts of what is missing to 1.
const MARGIN: f64 = 0.1;
/// The least stretch of the axis, so that a line of perfect recalls can be seen.
const STRETCH_MIN: f64 = 0.01;

/// Draws the picture.
pub(super) fn svg(results: &Results) -> anyhow::Result<String> {
    let mut text = String::new();
    draw(&mut text, results).map_err(|e| anyhow::anyhow!("the plot cannot be drawn: {e}"))?;
    Ok(text)
}

/// The rounds with a list of their own, by clients and queries of a request, in order of recall.
fn lines(rows: &[Row]) -> BTreeMap<(u32, u32), Vec<(f64, f64)>> {
    let mut lines: BTreeMap<(u32, u32), Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.ef.parse::<u32>().is_ok()) {
        let line = lines.entry((row.clients, row.batch)).or_default();
        line.push((row.recall, row.queries_per_second));
    }
    for line in lines.values_mut() {
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn recalls(rows: &[Row]) -> Range<f64> {
    let least = rows.iter().map(|row| row.recall).fold(1.0, f64::min);
    let missing = (1.0 - least).max(STRETCH_MIN);
    1.0 - missing * (1.0 + MARGIN)..1.0 + missing * MARGIN
}

fn draw(text: &mut String, results: &Results) -> Drawn {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!(
        "Searching {} points x {}, {}: recall@{} and queries/s",
        grouped(results.points),
        results.dimension,
        results.metric,
        results.limit
    );
    let speeds = results.rows.iter().map(|row| row.queries_per_second);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, style(20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d(recalls(&results.rows), decades(speeds).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(style(15))
        .x_desc("recall")
        .y_desc("queries per second")
        .x_label_formatter(&|v| format!("{v:.3}"))
        .y_label_formatter(&|v| plain(*v))
        .draw()?;
    for (((clients, batch), line), colour) in
        lines(&results.rows).into_iter().zip(COLOURS.iter().cycle())
    {
        let dots = line.clone().into_iter();
        let name = match batch {
            1 => format!("{clients} at a time"),
            _ => format!("{clients} at a time, {batch} a request"),
        };
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(dots.map(|at| Circle::new(at, 4, colour.filled())))?;
    }
    let exact = (results.rows.iter()).filter(|row| row.ef == "exact");
    let exact = exact.map(|row| (row.recall, row.queries_per_second));
    chart
        .draw_series(exact.map(|at| TriangleMarker::new(at, 8, BLACK.filled())))?
        .label("exact scan")
        .legend(|(x, y)| TriangleMarker::new((x + 12, y), 8, BLACK.filled()));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .label_font(style(15))
        .background_style(WHITE.mix(0.8))
        .border_style(GRID)
        .draw()?;
    root.present()
}
