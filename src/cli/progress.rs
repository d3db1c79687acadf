//! How far a prompt is, for people who wait longer than a second.

use super::print;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shorter work shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// A bar on stderr, if that is a terminal, from the first second on until it is dropped.
pub(crate) struct PromptProgress {
    bar: ProgressBar,
    /// Dropped to end the waiting.
    alive: Option<Sender<()>>,
    waiter: Option<JoinHandle<()>>,
}

impl PromptProgress {
    pub(crate) fn new() -> PromptProgress {
        let style = ProgressStyle::with_template("prompt {bar:30} {pos} of {len} tokens, {rate}, {eta} left")
            .expect("the template is well formed")
            .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.1} tokens/s", state.per_sec());
            });
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style);
        let (alive, ended) = channel();
        let shown = bar.clone();
        // A forward call may take longer than the person's patience, so the bar does not wait for its end.
        let wait = move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) && !print::is_quiet() {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    shown.tick();
                }
            }
        };
        // A system that gives no thread gives no bar.
        let waiter = fathom_files::process::spawn("fathom-progress", wait).ok();
        PromptProgress { bar, alive: Some(alive), waiter }
    }

    /// So many tokens are done. What a session held already does not count as speed.
    pub(crate) fn at(&self, done: usize, total: usize) {
        if self.bar.length().is_none() {
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
            self.bar.reset_eta();
            self.bar.reset_elapsed();
        } else {
            self.bar.set_position(done as u64);
        }
    }
}

impl Drop for PromptProgress {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(waiter) = self.waiter.take() {
            // It only waits and draws; there is nothing to learn from its end.
            let _ = waiter.join();
        }
        self.bar.finish_and_clear();
    }
}
