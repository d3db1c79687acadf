//! What was measured, as a table for people and as JSON for `bench/results`.

use std::fmt::Write as _;

use fathom_engine::Model;
use fathom_engine::cache::CacheTypes;
use fathom_engine::machine::Machine;
use fathom_interop::raw;
use fathom_measure::bench::{Measured, Stats};
use serde_json::{Value as Json, json};

use crate::Args;
use crate::parity::Parity;
use crate::rival::Mode;

/// One test on both sides.
#[derive(Clone)]
pub struct Comparison {
    /// Fathom's runs, and the machine's limits between all runs.
    pub measured: Measured,
    /// Every mode of llama.cpp that was tried, and its tokens a second.
    pub modes: Vec<(Mode, f64)>,
    /// The best of them, which was run in turns.
    pub best: Mode,
    /// Seconds of llama.cpp's runs; run i came right after Fathom's run i.
    pub theirs: Vec<f64>,
}

impl Comparison {
    /// How many times as fast as llama.cpp Fathom was, pair by pair.
    fn ratios(&self) -> Vec<f64> {
        self.theirs.iter().zip(&self.measured.seconds).map(|(theirs, ours)| theirs / ours).collect()
    }

    fn their_rates(&self) -> Vec<f64> {
        self.theirs.iter().map(|seconds| self.measured.test.n as f64 / seconds).collect()
    }

    /// A row of the table.
    pub fn line(&self) -> String {
        let rate = |samples: &[f64]| {
            let stats = Stats::of(samples);
            format!("{:.2} ± {:.2}", stats.median, stats.stddev)
        };
        let ratio = Stats::of(&self.ratios());
        let read = Stats::of(&self.measured.read_bandwidth);
        format!(
            "| {:>15} | {:>16} | {:>16} | {:>22} | {:>14} | {:>9} | {:>8} | {} |",
            self.measured.test,
            rate(&self.measured.tokens_per_second()),
            rate(&self.their_rates()),
            format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max),
            format!("{:.1} ± {:.1}", read.median / 1e9, read.stddev / 1e9),
            format!("{:.1} %", 100.0 * self.measured.of_read_bandwidth()),
            format!("{:.1} %", 100.0 * self.measured.of_int_peak()),
            self.best,
        )
    }

    fn to_json(&self) -> Json {
        let Comparison { measured, modes, best, theirs } = self;
        let stats = |samples: &[f64]| {
            let Stats { median, mean, stddev, min, max } = Stats::of(samples);
            json!({ "median": median, "mean": mean, "stddev": stddev, "min": min, "max": max, "samples": samples })
        };
        let mode = |mode: &Mode| {
            json!({
                "flash_attention": mode.flash_attention,
                "repack": mode.repack,
                "n_ubatch": mode.n_ubatch,
            })
        };
        let tried = modes.iter().map(|(tried, rate)| {
            let mut tried = mode(tried);
            tried["tokens_per_second"] = (*rate).into();
            tried
        });
        let per_token = |n: u64| n as f64 / measured.work.n_tokens as f64;
        json!({
            "test": measured.test.to_string(),
            "ratio": stats(&self.ratios()),
            "fathom": {
                "tokens_per_second": stats(&measured.tokens_per_second()),
                "seconds": measured.seconds,
                "weight_bytes_per_token": per_token(measured.work.weight_bytes),
                "cache_bytes_per_token": per_token(measured.work.cache_bytes),
                "bytes_per_second": measured.bytes_per_second(),
                "of_read_bandwidth": measured.of_read_bandwidth(),
                "int_macs_per_token": per_token(measured.work.int_macs),
                "of_int_peak": measured.of_int_peak(),
                "latent_rows_per_token": measured.work.latent_rows,
            },
            "llama_cpp": {
                "tokens_per_second": stats(&self.their_rates()),
                "seconds": theirs,
                "mode": mode(best),
                "modes_tried": tried.collect::<Vec<_>>(),
            },
            "read_bandwidth": stats(&measured.read_bandwidth),
            "int_peak_macs_per_second": stats(&measured.int_peak),
        })
    }
}

/// Everything about one run of the program.
pub struct Report {
    head: Json,
    title: String,
    /// Logits, by depth.
    pub parity: Vec<Parity>,
    /// Speeds, by test.
    pub comparisons: Vec<Comparison>,
}

impl Report {
    /// What is known before anything is measured.
    pub fn begin(args: &Args, engine: &Model, n_bytes: u64, cache: CacheTypes) -> Report {
        let machine = Machine::read();
        let cpu = machine.cpu.as_deref().unwrap_or(std::env::consts::ARCH).to_owned();
        let (n_threads, level) = (engine.n_threads(), engine.kernels.level().name());
        let llama = raw::system_info();
        let name = args.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = format!(
            "{cpu}, {n_threads} threads, {name}\nFathom {}: {level}\nllama.cpp: {}\n",
            args.commit,
            llama.trim()
        );
        let head = json!({
            "machine": {
                "cpu": cpu,
                "cores": machine.cores.allowed_physical,
                "memory_bytes": machine.memory.total,
                "transparent_huge_pages": machine.transparent_huge_pages,
            },
            "date": args.date,
            "commit": args.commit,
            "file": name,
            "file_bytes": n_bytes,
            "threads": n_threads,
            "level": level,
            "batch": args.batch,
            "cache": { "fathom": [cache.latent.name(), cache.index.name()], "llama_cpp": "f16" },
            "llama_cpp": { "crate": "llama-cpp-sys-2 0.1.160", "system_info": llama.trim() },
            "logits": "all",
            "fill": "random rows, the same on both sides",
            "seed": args.seed,
        });
        Report { head, title, parity: Vec::new(), comparisons: Vec::new() }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for parity in &self.parity {
            writeln!(text, "{parity}").expect("a string takes any text");
        }
        text += "\nllama.cpp's modes, tokens a second (fa: flash attention, ub: micro-batch)\n\n| test | mode | t/s |\n| --- | --- | ---: |\n";
        for comparison in &self.comparisons {
            for (mode, rate) in &comparison.modes {
                let mark = if *mode == comparison.best { ", best" } else { "" };
                writeln!(text, "| {} | {mode}{mark} | {rate:.2} |", comparison.measured.test)
                    .expect("a string takes any text");
            }
        }
        text += "\nIn turns; logits of every token; t/s: median and standard deviation; ratio: median and range of the pairs; \
                 bandwidth and int peak: Fathom's share\n\n";
        text += &format!(
            "| {:>15} | {:>16} | {:>16} | {:>22} | {:>14} | {:>9} | {:>8} | llama.cpp's mode |\n",
            "test", "Fathom t/s", "llama.cpp t/s", "ratio", "read GB/s", "bandwidth", "int peak"
        );
        text += "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n";
        for comparison in &self.comparisons {
            text += &comparison.line();
            text.push('\n');
        }
        text
    }

    /// For `bench/results`.
    pub fn json(&self) -> String {
        let mut all = self.head.clone();
        let parity = |parity: &Parity| {
            json!({
                "depth": parity.depth,
                "tokens": parity.n_tokens,
                "mean_kl": parity.distance.mean_kl,
                "same_best_token": parity.same_best(),
                "max_rel": parity.distance.max_rel,
            })
        };
        all["parity"] = self.parity.iter().map(parity).collect();
        all["comparisons"] = self.comparisons.iter().map(Comparison::to_json).collect();
        format!("{all:#}\n")
    }
}
