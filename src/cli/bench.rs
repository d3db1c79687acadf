//! `fathom bench`: how fast a model runs here, and what holds it back.

use super::bench_table::{Format as Table, Model, Record, Writer};
use super::flags::{index_type, latent_type, thread_count, token_count, tokens_or_none};
use super::loading::map;
use super::model::Which;
use super::{Failure, print, signals};
use clap::ValueEnum;
use fathom_arch::config::{Config, Overrides};
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::fit::{Plan, Setting, USUAL_BATCH, WeightBytes};
use fathom_engine::inventory::Inventory;
use fathom_engine::machine::Machine;
use fathom_engine::mmap::Mapping;
use fathom_engine::session::Session;
use fathom_engine::threads::{Seats, default_threads};
use fathom_gguf::TensorType;
use fathom_measure::bench::{Fill, Kind, Room, RoomOptions, Test};
use fathom_simd::{Format, Kernels};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Measure how fast a model runs on this machine, with the tests of llama-bench.
///
/// Test ppN processes a prompt of N tokens, tgN generates N tokens one after another; @ dN says that N positions were in
/// the cache before. Columns: t/s is the median of the repetitions and their standard deviation, after one run that is not
/// timed. GB/s counts the bytes of weights and cache read in a second; bandwidth is their share of the read bandwidth
/// measured over the same file, int peak the share of the peak rate of the integer units, both measured between the
/// repetitions with the same threads. rows are the latent rows that a token attends to in each layer, resident is the
/// memory of the process.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Prompt lengths in tokens; 0 skips this test.
    #[arg(short = 'p', long, value_name = "N,..", default_value = "512", value_delimiter = ',', value_parser = tokens_or_none)]
    n_prompt: Vec<usize>,
    /// Numbers of tokens to generate; 0 skips this test.
    #[arg(short = 'n', long, value_name = "N,..", default_value = "128", value_delimiter = ',', value_parser = tokens_or_none)]
    n_gen: Vec<usize>,
    /// Positions that are in the cache before a test starts [default: 0; with --sweep 0, 2048, 4096 and so on to 32768].
    #[arg(short = 'd', long, value_name = "N,..", value_delimiter = ',', value_parser = tokens_or_none)]
    n_depth: Vec<usize>,
    /// Numbers of threads [default: one for each physical core that this process may use].
    #[arg(short, long, value_name = "N,..", value_delimiter = ',', allow_negative_numbers = true, value_parser = thread_count)]
    threads: Vec<usize>,
    /// Maximum number of tokens in one forward call.
    #[arg(short, long = "batch-size", alias = "batch", value_name = "N", default_value_t = USUAL_BATCH, value_parser = token_count)]
    batch: usize,
    /// Number of timed runs of each test.
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", value_enum, ignore_case = true, default_value_t = Table::Table)]
    output: Table,
    /// Compute logits for the last token of a prompt only, as llama-bench does, instead of for all tokens.
    #[arg(long)]
    last_logits: bool,
    /// How the cache is filled before a test: with random rows, or by processing a text of random tokens.
    #[arg(long, value_name = "HOW", value_enum, ignore_case = true, default_value_t = FillBy::Random)]
    fill: FillBy,
    /// Go through the depths in ascending order in one session, each filled up from the one before.
    #[arg(long)]
    sweep: bool,
    /// Format of the cached latent rows.
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = latent_type())]
    cache_type: Format,
    /// Format of the cached index keys.
    #[arg(long, value_name = "TYPE", default_value = "q8", value_parser = index_type())]
    index_cache: IndexType,
    /// Seed of the random tokens and rows.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum FillBy {
    Random,
    Text,
}

/// Depths of a sweep that names none.
const SWEEP: [usize; 6] = [0, 2048, 4096, 8192, 16384, 32768];

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded, depths that do not fit in memory, numbers that go bad.
pub fn run(args: Args) -> Result<(), Failure> {
    let tests = tests(&args)?;
    let kernels = Kernels::from_env().map_err(Failure::usage)?;
    let (mapping, name) = map(args.which.path())?;
    let threads = if args.threads.is_empty() { vec![default_threads()] } else { args.threads.clone() };
    let most_threads = threads.iter().copied().max().unwrap_or(1);
    let model = describe(&args, (&mapping, &name), &tests, most_threads)?;
    // Ctrl-C is heard between runs; a second one does not wait for the end of this one.
    let signals = signals::listen_once()?;
    let mut out = args.output.writer();
    if !print::piece(&out.begin(&model))? {
        return Ok(());
    }
    drop(mapping);
    let done = measure_all(&args, (&tests, &threads), (kernels, &model), &mut out, signals.flag());
    // Whatever ended it: what was measured before is a whole answer.
    match done {
        Ok(ControlFlow::Break(())) => Ok(()),
        done => print::piece(&out.end()).and(done.map(|_| ())),
    }
}

/// Breaks if nobody reads the answer any more.
fn measure_all(
    args: &Args,
    (tests, threads): (&[(usize, Vec<Test>)], &[usize]),
    (kernels, model): (&'static Kernels, &Model),
    out: &mut Writer,
    stop: &AtomicBool,
) -> Result<ControlFlow<()>, Failure> {
    for &n_threads in threads {
        let seats = Seats::of(n_threads);
        let (mapping, _) = map(args.which.path())?;
        let loaded = fathom_engine::Model::of(mapping, &Overrides::default(), kernels, &seats);
        let loaded = Arc::new(loaded.map_err(|error| named(&model.filename, error))?);
        let bytes = loaded.mapping().shards().into_iter().map(|(_, bytes)| bytes);
        let mut room = Room::new(&loaded, bytes, options(args));
        let mut session: Option<Session> = None;
        for (depth, tests) in tests {
            if session.is_none() || !args.sweep {
                // The old one's memory goes first.
                drop(session.take());
                session = Some(room.session(n_ctx(args, *depth))?);
            }
            let session = session.as_mut().expect("made above");
            room.fill(session, *depth)?;
            for test in tests {
                let Some(found) = room.measure(session, *test, args.repetitions as usize, stop)? else {
                    return Err(Failure::interrupted(match out.has_rows() {
                        true => "stopped; what is above was measured before",
                        false => "stopped before the end of the first test: nothing was measured",
                    }));
                };
                let record = Record { model, options: options(args), n_threads, kernels, found: &found };
                if !print::piece(&out.row(&record))? {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The tests by depth, in llama-bench's order: prompts before generation.
fn tests(args: &Args) -> Result<Vec<(usize, Vec<Test>)>, Failure> {
    let mut depths = match (&args.n_depth[..], args.sweep) {
        ([], true) => SWEEP.to_vec(),
        ([], false) => vec![0],
        (named, _) => named.to_vec(),
    };
    if args.sweep {
        depths.sort_unstable();
        depths.dedup();
    }
    let kinds = [(Kind::Prompt, &args.n_prompt), (Kind::Generation, &args.n_gen)];
    let at = |depth: usize| -> Vec<Test> {
        let all = kinds.iter().flat_map(|(kind, ns)| ns.iter().map(|&n| Test { kind: *kind, n, depth }));
        all.filter(|test| test.n > 0).collect()
    };
    if at(0).is_empty() {
        return Err(Failure::usage(
            "expected a test, found -p 0 and -n 0; at least one of them must be above 0",
        ));
    }
    Ok(depths.into_iter().map(|depth| (depth, at(depth))).collect())
}

fn options(args: &Args) -> RoomOptions {
    RoomOptions {
        batch: args.batch,
        cache: CacheTypes { latent: args.cache_type, index: args.index_cache },
        last_logits: args.last_logits,
        fill: match args.fill {
            FillBy::Random => Fill::Random,
            FillBy::Text => Fill::Text,
        },
        seed: args.seed,
    }
}

/// Tokens that a session at `depth` must hold; in a sweep one session holds them all.
fn n_ctx(args: &Args, depth: usize) -> usize {
    let deepest = args.n_depth.iter().copied().max().unwrap_or(SWEEP[SWEEP.len() - 1]);
    let longest = args.n_prompt.iter().chain(&args.n_gen).copied().max().unwrap_or(0);
    longest + if args.sweep { deepest } else { depth }
}

/// Reads the header; refuses what would push the machine into swapping, before anything is measured.
fn describe(
    args: &Args,
    (mapping, name): (&Mapping, &str),
    tests: &[(usize, Vec<Test>)],
    n_threads: usize,
) -> Result<Model, Failure> {
    let gguf = mapping.gguf().map_err(Failure::invalid)?;
    let config = Config::from_gguf(gguf.metadata(), &Overrides::default()).map_err(|e| named(name, e))?;
    let weights = WeightBytes::of(&gguf, &config).map_err(|e| named(name, e))?;
    let deepest = tests.iter().map(|(depth, _)| *depth).max().unwrap_or(0);
    let RoomOptions { batch, cache, .. } = options(args);
    if let Some(why) = cache.refusal(&config) {
        return Err(Failure::usage(why));
    }
    let plan = Plan { config: &config, weights, n_threads, mtp: false, in_memory: false };
    let own = plan.own(Setting { n_ctx: n_ctx(args, deepest), batch, cache });
    match Machine::read().memory.usable() {
        Some(usable) if own > usable => {
            let (own, usable) = (print::bytes(own), print::bytes(usable));
            return Err(Failure::memory(format!(
                "depth {deepest}: cache and scratch need {own}, {usable} available; measure a smaller depth or a \
                 smaller batch (-b)"
            )));
        }
        _ => {}
    }
    let inventory = Inventory::take(&gguf);
    let arch = gguf.metadata().str("general.architecture").ok().flatten().unwrap_or_default();
    Ok(Model {
        filename: name.to_owned(),
        kind: format!("{arch} {}", most_common_type(&inventory).to_uppercase()),
        size: inventory.total.n_bytes,
        n_params: inventory.total.n_weights,
    })
}

/// The type of most weights.
fn most_common_type(inventory: &Inventory) -> &'static str {
    let mut types: BTreeMap<TensorType, u64> = BTreeMap::new();
    for ((_, ty), share) in &inventory.kinds {
        *types.entry(*ty).or_default() += share.n_weights;
    }
    types.into_iter().max_by_key(|(_, n)| *n).map_or("", |(ty, _)| ty.name())
}

fn named(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::invalid(format!("{name}: {error}"))
}
