//! Figures over the size of the network, as SVG.

use super::Figures;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
/// Room for the axes' labels, and to the right for the names of the systems.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Colours that can be told apart by the colour-blind (Okabe and Ito, 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00"];

/// What a chart shows: its file, its title, and a value of each system's figures.
type Chart = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const CHARTS: [Chart; 6] = [
    ("memory", "Memory of a node, bytes", |f| Some(f.memory_mean)),
    ("hops", "Hops of a look-up, mean", |f| Some(f.look_up.as_ref()?.quiet.hops_mean)),
    ("latency", "Median time of a look-up, ms", |f| {
        Some(f.look_up.as_ref()?.quiet.milliseconds_median)
    }),
    ("messages", "Messages of a look-up", |f| Some(f.look_up.as_ref()?.quiet.messages)),
    ("search-messages", "Messages of a keyword search", |f| {
        Some(f.search.as_ref()?.quiet.messages)
    }),
    ("upkeep", "Maintenance with churn, bytes a second and node", |f| Some(f.maintenance.churn)),
];

/// Writes a chart for each figure into a folder, which is made; answers the files.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_plots(figures: &[Figures], folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    CHARTS
        .iter()
        .map(|(name, title, value)| {
            let file = folder.join(format!("compare-{name}.svg"));
            std::fs::write(&file, chart(title, &lines(figures, *value)))?;
            Ok(file)
        })
        .collect()
}

/// For each system, in the order of the figures, its values over the number of nodes.
fn lines(
    figures: &[Figures],
    value: fn(&Figures) -> Option<f64>,
) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for figures in figures {
        // The axes are logarithmic.
        let Some(value) = value(figures).filter(|value| *value > 0.0) else { continue };
        let point = (f64::from(figures.nodes), value);
        match lines.iter_mut().find(|(system, _)| *system == figures.system) {
            Some((_, points)) => points.push(point),
            None => lines.push((figures.system.clone(), vec![point])),
        }
    }
    lines
}

/// A logarithmic axis over whole decades.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value.log10().floor());
            high = high.max(value.log10().ceil());
        }
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

fn chart(title: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Axis::new(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\">{title}</text>\n"
    );
    let mut add = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    for value in x.decades() {
        let at = x.place(value);
        let (bottom, label) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM + 20.0);
        add(format!("<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>"));
        add(format!(
            "<text x=\"{at:.1}\" y=\"{label}\" text-anchor=\"middle\">{}</text>",
            number(value)
        ));
    }
    for value in y.decades() {
        let at = y.place(value);
        let (right, label, base) = (WIDTH - RIGHT, LEFT - 8.0, at + 4.0);
        add(format!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        add(format!(
            "<text x=\"{label}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>",
            number(value)
        ));
    }
    let (middle, foot) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0);
    add(format!("<text x=\"{middle}\" y=\"{foot}\" text-anchor=\"middle\">nodes</text>"));
    for (index, (system, points)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut path = String::new();
        for (step, point) in points.iter().enumerate() {
            let (px, py) = (x.place(point.0), y.place(point.1));
            let verb = if step == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(path, "{verb}{px:.1} {py:.1}");
            add(format!("<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\" fill=\"{colour}\"/>"));
        }
        add(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        let (left, text, at) =
            (WIDTH - RIGHT + 14.0, WIDTH - RIGHT + 30.0, TOP + 20.0 * index as f64);
        let base = at + 9.0;
        add(format!(
            "<rect x=\"{left}\" y=\"{at}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        ));
        add(format!("<text x=\"{text}\" y=\"{base}\">{system}</text>"));
    }
    svg + "</svg>\n"
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.0} G", v / 1e9),
        v if v >= 1e6 => format!("{:.0} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_chart_has_a_line_for_each_system_within_its_frame() {
        let figures: Vec<Figures> = [("A", 100, 10.0), ("A", 1_000, 300.0), ("B", 100, 7.0)]
            .map(|(system, nodes, memory_mean)| Figures {
                system: system.to_owned(),
                nodes,
                memory_mean,
                ..Figures::default()
            })
            .into();
        let folder = tempfile::tempdir().unwrap();
        let files = write_plots(&figures, folder.path()).unwrap();
        assert_eq!(files.len(), CHARTS.len());
        let svg = std::fs::read_to_string(&files[0]).unwrap();
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.ends_with("</svg>\n"));
        let y = Axis::new([7.0, 300.0].into_iter(), HEIGHT - BOTTOM, TOP);
        assert_eq!(y.place(1.0), HEIGHT - BOTTOM);
        assert_eq!(y.place(1_000.0), TOP);
    }
}
