//! Plots of what a run has found, as SVG.

use super::Report;
use crate::scenario::{Recall, Sample};
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Width and height of a plot.
const SIZE: (u32, u32) = (900, 480);

const COLOURS: [RGBColor; 3] =
    [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x27, 0x28), RGBColor(0x2c, 0xa0, 0x2c)];

/// Seconds over which the recall is averaged at least: fewer searches than those of a minute say
/// little.
const RECALL_OVER: f64 = 60.0;

/// What can be drawn of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// Nodes that run, and those that can be found, over time.
    Nodes,
    /// Supernodes over time, and as many as there should be.
    Supernodes,
    /// Children of supernodes over time.
    Children,
    /// Messages of supernodes over time.
    Load,
    /// Recall over the time at which was asked.
    Recall,
    /// What was found, by the number of copies.
    Copies,
    /// The messages of which there were most.
    Messages,
    /// The messages that took most bytes.
    Bytes,
}

impl Plot {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Nodes,
        Self::Supernodes,
        Self::Children,
        Self::Load,
        Self::Recall,
        Self::Copies,
        Self::Messages,
        Self::Bytes,
    ];

    /// Its part of a file's name.
    fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Supernodes => "supernodes",
            Self::Children => "children",
            Self::Load => "load",
            Self::Recall => "recall",
            Self::Copies => "copies",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
        }
    }

    fn draw(self, report: &Report, file: &Path) -> Result<(), Box<dyn Error>> {
        let curve = |name, value: &dyn Fn(&Sample) -> f64| Curve {
            name,
            points: report.samples.iter().map(|sample| (sample.at, value(sample))).collect(),
        };
        let kinds = |value: fn(&(u64, u64)) -> u64| {
            let sent = report.kinds.iter();
            let mut kinds: Vec<(String, f64)> =
                sent.map(|(kind, sent)| (kind.clone(), value(sent) as f64)).collect();
            kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
            kinds.truncate(12);
            kinds
        };
        let (unit, curves) = match self {
            Self::Copies => {
                let found = |recall: &Recall| (format!("{}+", recall.from), recall.found * 100.0);
                let shares: Vec<_> = report.by_copies.iter().map(found).collect();
                return bar_chart(file, "% found, by copies", &shares);
            }
            Self::Messages => {
                return bar_chart(file, "messages by kind", &kinds(|sent| sent.0));
            }
            Self::Bytes => return bar_chart(file, "bytes by kind", &kinds(|sent| sent.1)),
            Self::Nodes => (
                "nodes",
                vec![
                    curve("there", &|sample| f64::from(sample.alive)),
                    curve("can be found", &|sample| f64::from(sample.searchable)),
                ],
            ),
            Self::Supernodes => (
                "supernodes",
                vec![
                    curve("there", &|sample| f64::from(sample.supernodes)),
                    curve("the optimum", &|sample| report.optimum(sample)),
                ],
            ),
            Self::Children => (
                "children of a supernode",
                vec![
                    curve("on average", &|sample| sample.children_mean),
                    curve("of the fullest", &|sample| f64::from(sample.children_most)),
                ],
            ),
            Self::Load => (
                "messages a second of a supernode",
                vec![
                    curve("on average", &|sample| sample.busy_mean),
                    curve("of the busiest", &|sample| sample.busiest),
                ],
            ),
            Self::Recall => {
                let points = recall_over_time(&report.samples);
                ("recall in %", vec![Curve { name: "recall", points }])
            }
        };
        over_time(report, file, unit, &curves)
    }
}

/// One line of a plot: how it is called, and its values at some seconds.
struct Curve {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Writes plots of a run into a folder, and names the files.
///
/// # Errors
/// The folder cannot be made, or a file not written.
pub fn write(
    report: &Report,
    folder: &Path,
    plots: &[Plot],
) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    for plot in plots {
        let file = folder.join(format!("{}-{}.svg", report.name, plot.name()));
        plot.draw(report, &file)?;
        written.push(file);
    }
    Ok(written)
}

/// The mean recall of each minute in which something was asked, in percent, at the middle of it.
fn recall_over_time(samples: &[Sample]) -> Vec<(f64, f64)> {
    let window = |sample: &Sample| (sample.at / RECALL_OVER).ceil();
    let windows = samples.chunk_by(|a, b| window(a) == window(b));
    let points = windows.filter_map(|samples| {
        let searches: u32 = samples.iter().map(|sample| sample.searches).sum();
        let found = samples.iter().map(|s| s.recall.unwrap_or_default() * f64::from(s.searches));
        let (first, last) = (samples.first()?, samples.last()?);
        let middle = f64::midpoint(first.at, last.at);
        (searches > 0).then(|| (middle, found.sum::<f64>() / f64::from(searches) * 100.0))
    });
    points.collect()
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
    let values = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let most = values.fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(unit, ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    chart.configure_mesh().x_desc("minutes").light_line_style(WHITE).draw()?;
    for (Curve { name, points }, colour) in curves.iter().zip(COLOURS) {
        let points = points.iter().map(|(at, value)| (at / 60.0, *value));
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
        let files = write(&report, folder.path(), &Plot::ALL).unwrap();
        assert_eq!(files.len(), 8);
        for file in files {
            assert!(std::fs::read_to_string(file).unwrap().contains("<svg"));
        }
    }

    #[test]
    fn recall_is_that_of_a_minute_and_none_where_nobody_asked() {
        let sample = |at, searches, recall| Sample { at, searches, recall, ..Sample::default() };
        let samples = [
            sample(0.0, 0, None),
            sample(30.0, 1, Some(1.0)),
            sample(60.0, 3, Some(0.5)),
            sample(90.0, 0, None),
            sample(150.0, 2, Some(1.0)),
        ];
        assert_eq!(recall_over_time(&samples), [(45.0, 62.5), (150.0, 100.0)]);
    }
}
