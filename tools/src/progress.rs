//! Progress of long work, on stderr and only where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for work of known length in bytes.
pub(crate) fn bytes(len: u64, what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(Some(len), target()),
        "{msg} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        what,
    )
}

/// A bar for a known number of steps.
pub(crate) fn steps(len: u64, what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(Some(len), target()),
        "{msg} [{bar:32}] {human_pos} of {human_len}, {eta} left",
        what,
    )
}

/// A running count for work of unknown length.
pub(crate) fn counter(what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(None, target()),
        "{spinner} {msg} {human_pos}, {per_sec}",
        what,
    )
}

/// A sign of life for work that cannot say how far it is.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    let bar =
        styled(ProgressBar::with_draw_target(None, target()), "{spinner} {msg} {elapsed}", what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
    }
    bar
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn styled(bar: ProgressBar, template: &str, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    bar.with_style(style).with_message(what)
}
