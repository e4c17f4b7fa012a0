//! Bars and spinners on standard error; on anything but a terminal they do not show.

use super::Ui;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A spinner turns ten times a second: less looks stuck, more costs for nothing.
const TICK: Duration = Duration::from_millis(100);

/// A spinner with a message, for what takes a time that nobody knows.
pub fn spinner(ui: &Ui, message: impl Into<String>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(ui));
    bar.set_style(style(if ui.err.is_on() { "{spinner:.cyan} {msg}" } else { "{spinner} {msg}" }));
    bar.set_message(message.into());
    if ui.is_animated() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

/// A bar for a download: how far, how fast, how long still; the message says from how many.
pub fn download_bar(ui: &Ui, size: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(size, target(ui));
    bar.set_style(download_style(ui.err.is_on()).progress_chars("━╸─"));
    if ui.is_animated() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

/// A bar for things that are counted, with a message.
pub fn count_bar(ui: &Ui, length: u64, message: impl Into<String>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), target(ui));
    let template = if ui.err.is_on() {
        "{spinner:.cyan} {msg} {bar:24.cyan/dim} {pos}/{len}"
    } else {
        "{spinner} {msg} {bar:24} {pos}/{len}"
    };
    bar.set_style(style(template).progress_chars("━╸─"));
    bar.set_message(message.into());
    if ui.is_animated() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

fn target(ui: &Ui) -> ProgressDrawTarget {
    if ui.is_animated() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn download_style(color: bool) -> ProgressStyle {
    style(if color {
        "{bar:30.cyan/dim} {percent:>3} %  {bytes}/{total_bytes}  {msg}"
    } else {
        "{bar:30} {percent:>3} %  {bytes}/{total_bytes}  {msg}"
    })
}

/// The templates are constants of this file, and a test parses them all; should one be wrong, the
/// bar falls back to indicatif's own.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
