//! Plots of what a run has found, as SVG.

use super::Report;
use crate::scenario::Sample;
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Width and height of a plot.
const SIZE: (u32, u32) = (900, 480);

const COLOURS: [RGBColor; 3] =
    [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x27, 0x28), RGBColor(0x2c, 0xa0, 0x2c)];

/// One line of a plot: how it is called, and its value in each sample.
type Curve = (&'static str, fn(&Sample) -> f64);

/// Writes all plots of a run into a folder, and names the files.
///
/// # Errors
/// The folder cannot be made, or a file not written.
pub fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let path = |what: &str| folder.join(format!("{}-{what}.svg", report.name));
    let mut written = Vec::new();
    let curves: [(&str, &str, &[Curve]); 5] = [
        (
            "nodes",
            "nodes",
            &[
                ("there", |sample| f64::from(sample.alive)),
                ("can be found", |sample| f64::from(sample.searchable)),
            ],
        ),
        ("supernodes", "supernodes", &[("supernodes", |sample| f64::from(sample.supernodes))]),
        (
            "children",
            "children of a supernode",
            &[
                ("on average", |sample| sample.children_mean),
                ("of the fullest", |sample| f64::from(sample.children_most)),
            ],
        ),
        (
            "load",
            "messages a second of a supernode",
            &[
                ("on average", |sample| sample.busy_mean),
                ("of the busiest", |sample| sample.busiest),
            ],
        ),
        ("recall", "recall in %", &[("recall", |sample| sample.recall.unwrap_or(0.0) * 100.0)]),
    ];
    for (name, unit, curves) in curves {
        let file = path(name);
        over_time(report, &file, unit, curves)?;
        written.push(file);
    }
    let recalls: Vec<(String, f64)> = report
        .by_copies
        .iter()
        .map(|recall| (format!("{}+", recall.from), recall.found * 100.0))
        .collect();
    let messages = |value: fn(&(u64, u64)) -> u64| -> Vec<(String, f64)> {
        let mut kinds: Vec<(String, f64)> =
            report.kinds.iter().map(|(kind, sent)| (kind.clone(), value(sent) as f64)).collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        kinds.truncate(12);
        kinds
    };
    for (name, unit, bars) in [
        ("copies", "% found, by copies", recalls),
        ("messages", "messages by kind", messages(|sent| sent.0)),
        ("bytes", "bytes by kind", messages(|sent| sent.1)),
    ] {
        let file = path(name);
        bar_chart(&file, unit, &bars)?;
        written.push(file);
    }
    Ok(written)
}

fn over_time(
    report: &Report,
    file: &Path,
    unit: &str,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let end = report.virtual_seconds.max(1.0) / 60.0;
    let values = curves.iter().flat_map(|(_, value)| report.samples.iter().map(value));
    let most = values.fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(unit, ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    chart.configure_mesh().x_desc("minutes").light_line_style(WHITE).draw()?;
    for ((name, value), colour) in curves.iter().zip(COLOURS) {
        let points = report.samples.iter().map(|sample| (sample.at / 60.0, value(sample)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    for (at, _) in &report.events {
        let line = [(at / 60.0, 0.0), (at / 60.0, most)];
        chart.draw_series(LineSeries::new(line, BLACK.mix(0.3)))?;
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}

fn bar_chart(file: &Path, unit: &str, bars: &[(String, f64)]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let most = bars.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(unit, ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(120)
        .build_cartesian_2d(0.0..most, (0..bars.len().max(1)).into_segmented())?;
    let label = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(at) => bars.get(*at).map(|(name, _)| name.clone()),
        _ => None,
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .y_labels(bars.len() + 1)
        .y_label_formatter(&|place| label(place).unwrap_or_default())
        .draw()?;
    let series = Histogram::horizontal(&chart)
        .style(COLOURS[0].filled())
        .margin(6)
        .data(bars.iter().enumerate().map(|(at, (_, value))| (at, *value)));
    chart.draw_series(series)?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn plots_are_written_even_of_a_run_that_found_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let report = Report { name: "empty".to_owned(), ..Report::default() };
        let files = write(&report, folder.path()).unwrap();
        assert_eq!(files.len(), 8);
        for file in files {
            assert!(std::fs::read_to_string(file).unwrap().contains("<svg"));
        }
    }
}
