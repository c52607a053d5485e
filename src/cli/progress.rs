//! Progress bars on a terminal: one a folder, with files, bytes, rate and the time that is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::summary::bytes;
use crate::agent::Watched;
use crate::sync::report::Report;

/// Often enough to look alive, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// Bars that follow the reports of running passes.
pub struct Bars {
    stop: CancellationToken,
    drawing: Option<JoinHandle<()>>,
}

/// Starts the bars on standard error, if it is a terminal that is wanted for them.
pub fn start(watched: &[Watched], visible: bool) -> Bars {
    let stop = CancellationToken::new();
    let drawing = visible.then(|| {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bars: Vec<(ProgressBar, Arc<Report>)> = watched
            .iter()
            .map(|watched| {
                let bar = screen.add(ProgressBar::new(0).with_style(style()).with_prefix(watched.folder.name.clone()));
                (bar, Arc::clone(&watched.report))
            })
            .collect();
        let stop = stop.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            while tokio::time::timeout(TICK, stop.cancelled()).await.is_err() {
                for (bar, report) in &bars {
                    show(bar, report, began.elapsed());
                }
            }
            for (bar, _) in &bars {
                bar.finish_and_clear();
            }
        })
    });
    Bars { stop, drawing }
}

impl Bars {
    /// Takes the bars away, so that what is printed next has a clean line.
    pub async fn finish(self) {
        self.stop.cancel();
        if let Some(drawing) = self.drawing {
            // A panic while drawing costs the bars, not the summary.
            let _ = drawing.await;
        }
    }
}

fn show(bar: &ProgressBar, report: &Report, elapsed: Duration) {
    let sent = report.bytes_sent.load(Ordering::Relaxed);
    let expected = report.bytes_expected.load(Ordering::Relaxed).max(sent);
    let rate = (sent as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    bar.set_length(report.nominated.load(Ordering::Relaxed));
    bar.set_position(report.settled.load(Ordering::Relaxed));
    // A restore checks nothing beforehand.
    let checked = match report.checked.load(Ordering::Relaxed) {
        0 => String::new(),
        checked => format!("{checked} checked, "),
    };
    bar.set_message(format!("{checked}{} of {}, {}/s", bytes(sent), bytes(expected), bytes(rate)));
}

fn style() -> ProgressStyle {
    // The template is a constant, and the default style does as well should it ever be wrong.
    ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} files, {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
