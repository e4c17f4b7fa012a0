//! Figures as tables for people, in Markdown.

use super::{Both, Figures, Quality};

/// Two tables for networks of one size: look-ups with memory and maintenance, and searches.
pub fn table(figures: &[Figures]) -> String {
    let mut look_ups = vec![row([
        "look-ups",
        "memory",
        "most",
        "hops",
        "95 %",
        "ms",
        "95 %",
        "messages",
        "right",
        "with churn: right",
        "hops",
        "ms",
        "95 %",
        "messages",
        "time-outs",
        "upkeep",
        "with churn",
    ])];
    let mut searches = vec![row([
        "searches",
        "found",
        "messages",
        "sent",
        "first hit, ms",
        "95 %",
        "with churn: found",
        "messages",
        "sent",
        "first hit, ms",
        "95 %",
    ])];
    for system in figures {
        if let Some(Both { quiet, churn }) = &system.look_up {
            look_ups.push(look_up_row(system, quiet, churn));
        }
        if let Some(Both { quiet, churn }) = &system.search {
            let part = |quality: &Quality| {
                [
                    percent(quality.success),
                    count(quality.messages),
                    bytes(quality.bytes),
                    count(quality.milliseconds_median),
                    count(quality.milliseconds_p95),
                ]
            };
            let cells = [vec![system.system.clone()], part(quiet).into(), part(churn).into()];
            searches.push(cells.concat());
        }
    }
    // A table without a system says nothing.
    let tables = [look_ups, searches].into_iter().filter(|rows| rows.len() > 1);
    tables.map(|rows| align(&rows)).collect::<Vec<_>>().join("\n")
}

fn look_up_row(system: &Figures, quiet: &Quality, churn: &Quality) -> Vec<String> {
    vec![
        system.system.clone(),
        bytes(system.memory_mean),
        bytes(system.memory_most),
        format!("{:.1}", quiet.hops_mean),
        count(quiet.hops_p95),
        count(quiet.milliseconds_median),
        count(quiet.milliseconds_p95),
        count(quiet.messages),
        percent(quiet.success),
        percent(churn.success),
        format!("{:.1}", churn.hops_mean),
        count(churn.milliseconds_median),
        count(churn.milliseconds_p95),
        count(churn.messages),
        format!("{:.2}", churn.timeouts),
        format!("{}/s", bytes(system.maintenance.quiet)),
        format!("{}/s", bytes(system.maintenance.churn)),
    ]
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Markdown, with columns of one width: the first to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or_default()).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                text += &format!("| {cell:<width$} |");
            } else {
                text += &format!(" {cell:>width$} |");
            }
        }
        text.push('\n');
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width.saturating_sub(1));
                text += &if column == 0 { format!("|:{rule}- |") } else { format!(" {rule}-:|") };
            }
            text.push('\n');
        }
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Three digits are enough to compare.
fn count(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v < 10.0 => format!("{v:.1}"),
        v if v < 10_000.0 => format!("{v:.0}"),
        v if v < 1e6 => format!("{:.0} k", v / 1e3),
        v => format!("{:.1} M", v / 1e6),
    }
}

fn bytes(value: f64) -> String {
    match value {
        v if v < 1_000.0 => format!("{v:.0} B"),
        v if v < 1e6 => format!("{:.1} kB", v / 1e3),
        v => format!("{:.1} MB", v / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_system_that_can_do_it() {
        let quality = Quality { success: 0.995, hops_mean: 3.25, ..Quality::default() };
        let both = Both { quiet: quality.clone(), churn: quality };
        let exact = Figures {
            system: "Ring".to_owned(),
            nodes: 10,
            memory_mean: 1_234.0,
            look_up: Some(both.clone()),
            ..Figures::default()
        };
        let words = Figures { system: "Flood".to_owned(), search: Some(both), ..exact.clone() };
        assert_eq!(table(std::slice::from_ref(&exact)).matches("look-ups").count(), 1);
        assert!(!table(std::slice::from_ref(&exact)).contains("searches"));
        let text = table(&[exact, words]);
        assert_eq!(text.matches("Ring").count(), 1);
        assert_eq!(text.matches("Flood").count(), 2);
        assert!(text.contains("1.2 kB") && text.contains("99.5 %"), "{text}");
        let widths: Vec<usize> = text.lines().take(4).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }
}
