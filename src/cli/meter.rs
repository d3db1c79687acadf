//! Progress of work that takes a while, on stderr.

use super::print;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A bar on a terminal; elsewhere a line for each tenth, so that a log of some hours shows life.
pub(super) struct Meter {
    bar: ProgressBar,
    /// What is being done, for the plain lines.
    doing: &'static str,
    total: u64,
    done: AtomicU64,
    start: Instant,
    /// Shorter work needs no lines in a log.
    quiet: Duration,
    plain: bool,
    shown: AtomicBool,
}

/// Work that is over sooner shows no bar, which would only flicker.
const UNSEEN: Duration = Duration::from_millis(200);

impl Meter {
    /// `total` bytes are to be done. Plain lines begin after `quiet`.
    pub(super) fn new(doing: &'static str, total: u64, quiet: Duration) -> Meter {
        let template =
            "{prefix} {bar:30} {percent:>3} % {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        Meter {
            bar: bar.with_style(style).with_prefix(doing),
            doing,
            total,
            done: AtomicU64::new(0),
            start: Instant::now(),
            quiet,
            plain: !stderr().is_terminal(),
            shown: AtomicBool::new(false),
        }
    }

    /// `bytes` more are done; `true` once all are.
    pub(super) fn advance(&self, bytes: u64) -> bool {
        let elapsed = self.start.elapsed();
        if elapsed >= UNSEEN && !print::is_quiet() && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let done = before + bytes;
        let tenth = |done: u64| (u128::from(done) * 10 / u128::from(self.total.max(1))) as u64;
        if self.plain && !print::is_quiet() && tenth(before) != tenth(done) && elapsed > self.quiet {
            let seconds = elapsed.as_secs_f64();
            let left = seconds * self.total.saturating_sub(done) as f64 / done as f64;
            let (doing, rate) = (self.doing, done as f64 / 1e9 / seconds);
            let (percent, total) = (tenth(done) * 10, self.total);
            tell!("{doing}: {percent} % of {total} bytes, {rate:.2} GB/s, {left:.0} s left");
        }
        done >= self.total
    }

    /// What goes on after the last byte.
    pub(super) fn ending(&self, text: &'static str) {
        self.bar.set_message(text);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
