//! `fathom doctor --predict`: how fast the whole model would be here, from slices of it.

use super::flags::tokens_or_none;
use super::synth::{self, Types};
use super::{Failure, print, signals};
use fathom_arch::config::Overrides;
use fathom_engine::Model;
use fathom_engine::cache::CacheTypes;
use fathom_engine::machine::Machine;
use fathom_engine::mmap::{Mapping, Watch};
use fathom_engine::session::{SessionMemory, SessionOptions};
use fathom_engine::threads::Seats;
use fathom_measure::bench::{Fill, Kind, LayerTimes, Room, RoomOptions, Shape, Stats, Test};
use fathom_simd::Kernels;
use serde_json::{Value as Json, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is predicted.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct PredictArgs {
    /// Predict how fast the whole model would be on this machine. For each type, a file with one layer of each kind is made
    /// (2.5 to 14 GB), measured and deleted.
    #[arg(long, conflicts_with = "Examined")]
    pub predict: bool,
    /// Types to predict, as for `fathom quantize --type`.
    #[arg(
        long = "type",
        value_name = "TYPE,..",
        value_delimiter = ',',
        default_value = "q4_k_m,q2_k",
        id = "types",
        value_parser = synth::types(),
        hide_possible_values = true,
        requires = "predict"
    )]
    types: Vec<Types>,
    /// Positions that are in the cache before each measurement.
    #[arg(short = 'd', long, value_name = "N,..", value_delimiter = ',', default_value = "0,4096,32768", value_parser = tokens_or_none, requires = "predict")]
    n_depth: Vec<usize>,
    /// Number of runs of each; the table shows the median, the slowest and the fastest.
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100), requires = "predict")]
    repetitions: u32,
    /// Folder for these files [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR", requires = "predict")]
    tmp_dir: Option<PathBuf>,
}

/// Tokens of a prompt, and of an answer.
const N_PROMPT: usize = 512;
const N_GEN: usize = 32;

/// Tokens a second of the whole model: median, least, greatest.
#[derive(Clone, Copy, Debug)]
struct Rate {
    median: f64,
    least: f64,
    most: f64,
}

/// One line of the answer.
struct Row {
    name: String,
    whole_bytes: u64,
    depth: usize,
    prefill: Rate,
    decode: Rate,
}

/// Runs the slices and prints the table, or an array in JSON.
///
/// # Errors
/// No room in memory or on the disk, Ctrl-C, a kernel level that does not exist.
pub(super) fn run(
    args: &PredictArgs,
    threads: Option<usize>,
    machine: &Machine,
    json: bool,
) -> Result<(), Failure> {
    let kernels = Kernels::from_env().map_err(Failure::usage)?;
    let n_threads = threads.unwrap_or_else(|| machine.cores.default_threads());
    let usable = machine.memory.usable();
    let deepest = args.n_depth.iter().copied().max().unwrap_or(0);
    for types in &args.types {
        check_room(types, deepest, n_threads, usable)?;
    }
    let folder = match &args.tmp_dir {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder =
        folder.map_err(|e| Failure::runtime(format!("no folder for the slices (--tmp-dir): {e}")))?;
    let mut rows = Vec::new();
    for types in &args.types {
        let path = folder.path().join("slice.gguf");
        synth::write_smallest_slice(types, path.clone(), NonZeroUsize::new(n_threads))?;
        rows.extend(measure(args, types, &path, (kernels, n_threads))?);
        std::fs::remove_file(&path).map_err(|e| Failure::runtime(format!("{}: {e}", path.display())))?;
    }
    if json {
        return print::json(&rows.iter().map(|row| row.to_json(n_threads, usable)).collect());
    }
    print::answer(&table(&rows, n_threads, usable))
}

/// Refuses a slice that would be read from the disk while it is measured.
fn check_room(types: &Types, deepest: usize, n_threads: usize, usable: Option<u64>) -> Result<(), Failure> {
    let (config, bytes) = synth::smallest_slice(types)?;
    let SessionMemory { cache, scratch } =
        SessionMemory::estimate(&config, session_options(deepest), n_threads);
    let needed = bytes + cache as u64 + scratch as u64;
    match usable {
        Some(usable) if needed > usable => Err(Failure::memory(format!(
            "the slice of {types} needs {}, {} available; leave it out (--type), or take smaller depths (-d)",
            print::bytes(needed),
            print::bytes(usable)
        ))),
        _ => Ok(()),
    }
}

fn session_options(depth: usize) -> SessionOptions {
    let cache = CacheTypes::USUAL;
    SessionOptions { n_ctx: depth + N_PROMPT, batch: N_PROMPT, cache, ..SessionOptions::default() }
}

/// Everything about one slice.
fn measure(
    args: &PredictArgs,
    types: &Types,
    path: &Path,
    (kernels, n_threads): (&'static Kernels, usize),
) -> Result<Vec<Row>, Failure> {
    // Ctrl-C is heard between runs.
    let signals = signals::listen()?;
    let mapping = Mapping::open(path).map_err(Failure::invalid)?;
    let seats = Seats::of(n_threads);
    let gguf = mapping.gguf().map_err(Failure::invalid)?;
    let placement = mapping.placement(&gguf, &seats);
    mapping
        .warm(&placement, Watch { stop: signals.flag(), progress: &|_| {} })
        .map_err(Failure::interrupted)?;
    drop(gguf);
    let model = Model::of(mapping, &Overrides::default(), kernels, &seats).map_err(Failure::runtime)?;
    let model = Arc::new(model);
    let mut rows = Vec::new();
    for &depth in &args.n_depth {
        print::figures(format_args!("running a slice of {types} at depth {depth}"));
        let SessionOptions { batch, cache, .. } = session_options(depth);
        let options = RoomOptions { batch, cache, last_logits: false, fill: Fill::Random, seed: 1 };
        let bytes = model.mapping().shards().into_iter().map(|(_, bytes)| bytes);
        let room = Room::new(&model, bytes, options);
        let mut session = room.session(depth + N_PROMPT)?;
        room.fill(&mut session, depth)?;
        let mut times = |kind, n| -> Result<Vec<LayerTimes>, Failure> {
            let test = Test { kind, n, depth };
            // The first run is not counted: it brings weights and buffers into caches.
            let mut times = Vec::new();
            for run in 0..=args.repetitions {
                let found = room.layer_times(&mut session, test)?;
                go_on(signals.flag())?;
                times.extend((run > 0).then_some(found));
            }
            Ok(times)
        };
        let generation = times(Kind::Generation, N_GEN)?;
        let prompt = times(Kind::Prompt, N_PROMPT)?;
        rows.push(Row {
            name: types.to_string(),
            whole_bytes: synth::whole_bytes(types)?,
            depth,
            prefill: rate(&prompt, N_PROMPT),
            decode: rate(&generation, 1),
        });
    }
    Ok(rows)
}

fn go_on(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) { Err(Failure::interrupted("interrupted")) } else { Ok(()) }
}

/// Tokens a second of the whole model, calls being of `n` tokens.
fn rate(times: &[LayerTimes], n: usize) -> Rate {
    let rates: Vec<f64> = times.iter().map(|times| n as f64 / times.call(Shape::V32)).collect();
    let Stats { median, min, max, .. } = Stats::of(&rates);
    Rate { median, least: min, most: max }
}

impl Rate {
    fn to_json(self) -> Json {
        json!({ "median": self.median, "min": self.least, "max": self.most })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.2} ({:.2} to {:.2})", self.median, self.least, self.most))
    }
}

impl Row {
    fn fits(&self, usable: Option<u64>) -> Option<bool> {
        usable.map(|usable| self.whole_bytes <= usable)
    }

    fn to_json(&self, n_threads: usize, usable: Option<u64>) -> Json {
        json!({
            "type": self.name,
            "model_bytes": self.whole_bytes,
            "fits": self.fits(usable),
            "threads": n_threads,
            "depth": self.depth,
            "prefill_tokens": N_PROMPT,
            "prefill_tokens_per_second": self.prefill.to_json(),
            "decode_tokens_per_second": self.decode.to_json(),
        })
    }
}

fn table(rows: &[Row], n_threads: usize, usable: Option<u64>) -> String {
    let mut text = format!(
        "{:<8} {:>9} {:>7} {:>24} {:>24}\n",
        "type",
        "GiB",
        "depth",
        format!("prefill t/s (pp{N_PROMPT})"),
        "decode t/s"
    );
    for row in rows {
        text += &format!(
            "{:<8} {:>9} {:>7} {:>24} {:>24}\n",
            row.name,
            print::gib(row.whole_bytes),
            row.depth,
            row.prefill,
            row.decode
        );
    }
    text += &format!(
        "for all 61 layers on {n_threads} threads, as if the whole model were in this machine's memory; in brackets the \
         slowest and the fastest run\n"
    );
    let lacking = rows.iter().any(|row| row.fits(usable) == Some(false));
    if let (true, Some(usable)) = (lacking, usable) {
        text += &format!(
            "this machine has {} available: larger models would be read from disk, which is far slower\n",
            print::bytes(usable)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_all_layers() {
        let times = |moe| LayerTimes { dense: 0.01, moe, head_row: 0.4 / 129_280.0 };
        let rate = rate(&[times(0.01), times(0.02), times(0.03)], 10);
        let expected = |moe: f64| 10.0 / (0.03 + 58.0 * moe + 0.4);
        for (found, moe) in [(rate.median, 0.02), (rate.least, 0.03), (rate.most, 0.01)] {
            assert!((found - expected(moe)).abs() < 1e-9, "{found} {moe}");
        }
    }

    #[test]
    fn the_table_says_what_does_not_fit() {
        let rate = Rate { median: 5.0, least: 4.5, most: 5.25 };
        let row =
            |whole_bytes| Row { name: "q2_k".into(), whole_bytes, depth: 4096, prefill: rate, decode: rate };
        let text = table(&[row(200 << 30)], 8, Some(100 << 30));
        for words in ["q2_k", "200.000", "4096", "5.00 (4.50 to 5.25)", "8 threads", "100.00 GiB available"] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
        assert!(!table(&[row(1 << 30)], 8, Some(100 << 30)).contains("available"));
    }
}
