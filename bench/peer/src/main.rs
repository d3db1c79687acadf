//! `fathom-bench-peer MODEL`: Fathom and llama.cpp on the same file, in turns.
//!
//! First every mode of llama.cpp is tried on every test; then, test by test, the best one and Fathom run alternately,
//! with the read bandwidth measured before each run. Both get the same tokens, give the logits of every token, and start
//! from the same rows in the cache. Every figure is measured in the run that prints it.

#![deny(unsafe_code)]

mod named;
mod parity;
mod report;
mod rival;
mod state;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use fathom_arch::config::Overrides;
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::mmap::Mapping;
use fathom_engine::threads::{Seats, default_threads};
use fathom_interop::raw::{self, CacheType, Loading, Model, Threads};
use fathom_measure::bench::{Fill, Room, RoomOptions, Test};
use fathom_simd::{Format, Kernels};

use named::Named;
use parity::Parity;
use report::{Comparison, Report};
use rival::{Mode, Rival, Start};

/// Measures Fathom against llama.cpp's best mode on one file.
#[derive(Parser)]
struct Args {
    /// The GGUF file; of a split model the first one.
    model: PathBuf,
    /// What to measure: ppN or tgN, and @DEPTH for what lies in the cache before.
    #[arg(
        long,
        value_name = "TEST,..",
        value_delimiter = ',',
        default_value = "tg64,pp512,tg32@4096,tg16@32768"
    )]
    tests: Vec<Named>,
    /// Threads of both [default: physical cores this process may use].
    #[arg(short, long)]
    threads: Option<usize>,
    /// Pairs of runs for each test.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// Random tokens whose logits are compared; at a depth, an eighth of them.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=2048))]
    parity: u32,
    /// Fail if the mean divergence of the logits is above this, at any depth.
    #[arg(long, value_name = "NATS")]
    max_kl: Option<f64>,
    /// Most tokens in one forward call of Fathom.
    #[arg(short, long, default_value_t = 2048)]
    batch: usize,
    /// Seed of tokens and rows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write everything that was measured as JSON, too.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the JSON says about the source that was measured.
    #[arg(long, value_name = "TEXT", default_value = "unknown")]
    commit: String,
    /// What the JSON says about the day.
    #[arg(long, value_name = "TEXT", default_value = "unknown")]
    date: String,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Fathom in its default.
const CACHE: CacheTypes = CacheTypes { latent: Format::BF16, index: IndexType::Q8 };

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    raw::hush();
    let mapping = Mapping::open(&args.model)?;
    let n_threads = args.threads.unwrap_or_else(default_threads);
    let kernels = Kernels::from_env()?;
    let seats = Seats::of(n_threads);
    let loaded = fathom_engine::Model::of(mapping, &Overrides::default(), kernels, &seats)?;
    let engine = Arc::new(loaded);
    let options = RoomOptions {
        batch: args.batch,
        cache: CACHE,
        last_logits: false,
        fill: Fill::Random,
        seed: args.seed,
    };
    let bytes = engine.mapping().shards().into_iter().map(|(_, bytes)| bytes);
    let room = Room::new(&engine, bytes, options);
    let threads = Threads::new(i32::try_from(n_threads)?)?;
    threads.pause();
    let start = Start { engine: &engine, seed: args.seed, cache: CacheType::F16 };
    let mut lab = Lab { args, room, threads: &threads, start };

    let tests: Vec<Test> = args.tests.iter().map(|named| named.0).collect();
    let mut report = Report::begin(args, &engine, engine.mapping().n_bytes(), CACHE);
    // One model at a time: a repacked one is a second copy of most weights in memory.
    let plain = Model::load(&args.model, Loading::default())?;
    report.parity = lab.parity(&plain, &tests)?;
    let mut scans = lab.scan(&plain, false, &tests)?;
    drop(plain);
    let repacked = Model::load(&args.model, Loading { repack: true, ..Loading::default() })?;
    for (scan, more) in scans.iter_mut().zip(lab.scan(&repacked, true, &tests)?) {
        scan.extend(more);
    }
    let compared = lab.compare(&repacked, true, &tests, &scans)?;
    drop(repacked);
    let plain = Model::load(&args.model, Loading::default())?;
    let compared = [compared, lab.compare(&plain, false, &tests, &scans)?].concat();
    drop(plain);
    // In the order they were asked for.
    report.comparisons =
        tests.iter().filter_map(|test| compared.iter().find(|c| c.measured.test == *test)).cloned().collect();

    std::io::stdout().write_all(report.table().as_bytes())?;
    if let Some(path) = &args.output {
        std::fs::write(path, report.json()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let worst = report.parity.iter().map(|parity| parity.distance.mean_kl).fold(0.0, f64::max);
    match args.max_kl {
        Some(most) if worst > most => {
            Err(format!("the logits' mean divergence is {worst:.2e}; expected at most {most:.2e}").into())
        }
        _ => Ok(()),
    }
}

/// Everything that both sides need.
struct Lab<'a> {
    args: &'a Args,
    room: Room<'a>,
    threads: &'a Threads,
    start: Start<'a>,
}

/// Rates of the modes that were tried on one test, tokens a second.
type Scan = Vec<(Mode, f64)>;

/// A generation as long as this tells modes apart.
const SCANNED: usize = 16;

impl Lab<'_> {
    fn tokens(&self, n: usize) -> Vec<u32> {
        self.room.tokens(n, self.args.seed)
    }

    /// Tries the modes of a loaded model on every test, once each after a short warm-up.
    fn scan(&self, model: &Model, repack: bool, tests: &[Test]) -> Result<Vec<Scan>, Box<dyn Error>> {
        let mut scans = Vec::new();
        for &test in tests {
            let tokens = self.tokens(test.n);
            let n = match test.kind {
                fathom_measure::bench::Kind::Prompt => test.n,
                fathom_measure::bench::Kind::Generation => test.n.min(SCANNED),
            };
            let mut scan = Scan::new();
            for mode in Mode::all(repack, test) {
                let mut rival = Rival::new(model, self.threads, self.start, test, mode)?;
                rival.run(&tokens, n.min(SCANNED).div_ceil(4))?;
                let rate = n as f64 / rival.run(&tokens, n)?;
                eprintln!("{test}: llama.cpp {mode}: {rate:.2} t/s");
                scan.push((mode, rate));
            }
            scans.push(scan);
        }
        Ok(scans)
    }

    /// Runs the tests whose best mode this model is loaded for: Fathom, llama.cpp, Fathom, llama.cpp.
    fn compare(
        &mut self,
        model: &Model,
        repack: bool,
        tests: &[Test],
        scans: &[Scan],
    ) -> Result<Vec<Comparison>, Box<dyn Error>> {
        let mut comparisons = Vec::new();
        for (&test, scan) in tests.iter().zip(scans) {
            let best = scan.iter().max_by(|a, b| a.1.total_cmp(&b.1)).ok_or("no mode was tried")?.0;
            if best.repack == repack {
                comparisons.push(self.alternate(model, test, best, scan)?);
            }
        }
        Ok(comparisons)
    }

    fn alternate(
        &mut self,
        model: &Model,
        test: Test,
        mode: Mode,
        scan: &Scan,
    ) -> Result<Comparison, Box<dyn Error>> {
        let tokens = self.tokens(test.n);
        let mut rival = Rival::new(model, self.threads, self.start, test, mode)?;
        let mut session = self.room.session(test.depth + test.n)?;
        self.room.fill(&mut session, test.depth)?;
        rival.run(&tokens, test.n)?;
        // Ctrl-C ends this program where it is.
        let never = AtomicBool::new(false);
        let measured =
            self.room.measure(&mut session, test, 0, &never)?.ok_or("the measurement was stopped")?;
        let mut comparison = Comparison { measured, modes: scan.clone(), best: mode, theirs: Vec::new() };
        for _ in 0..self.args.repetitions {
            comparison.measured.seconds.push(self.room.run(&mut session, test)?);
            comparison.measured.read_bandwidth.push(self.room.read_bandwidth(&mut session));
            comparison.measured.int_peak.push(self.room.int_peak(&mut session));
            comparison.theirs.push(rival.run(&tokens, test.n)?);
            comparison.measured.read_bandwidth.push(self.room.read_bandwidth(&mut session));
        }
        eprintln!("{}", comparison.line());
        Ok(comparison)
    }

    /// Compares logits at every depth of the tests, computed the exact way: caches of f32, flash attention off.
    fn parity(&self, model: &Model, tests: &[Test]) -> Result<Vec<Parity>, Box<dyn Error>> {
        let mut depths: Vec<usize> = std::iter::once(0).chain(tests.iter().map(|test| test.depth)).collect();
        depths.sort_unstable();
        depths.dedup();
        let mut found = Vec::new();
        for depth in depths {
            let n = self.args.parity as usize / if depth == 0 { 1 } else { 8 };
            let parity = parity::measure(self.start, model, self.threads, depth, &self.tokens(n))?;
            eprintln!("{parity}");
            found.push(parity);
        }
        Ok(found)
    }
}
