//! `fathom doctor`: what this machine is, and whether a model fits.

use super::Failure;
use super::flags::{LATENT_TYPES, index_type, latent_type, thread_count, token_count, tokens_or_none};
use super::loading::map_files;
use super::predict::{self, PredictArgs};
use super::print::{self, Sheet, bytes};
use super::room::{self, Quantized};
use fathom_arch::config::{Config, Overrides};
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::fit::{Plan, Setting, USUAL_BATCH, USUAL_CTX, WeightBytes};
use fathom_engine::machine::Machine;
use fathom_engine::mmap::Mapping;
use fathom_engine::session::SessionMemory;
use fathom_simd::{Format, Kernels};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// Report on this machine, and whether a model fits in its memory.
///
/// A model fits if its weights, the cache and the scratch memory together are no larger than the available memory
/// (MemAvailable, and the limit of the control group). The exit code is 0 if the model fits and 4 if it does not. Nothing
/// is loaded.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    examined: Examined,
    /// Context size in tokens; 0: the model's maximum [default: 32768, or less if the model's maximum is smaller].
    #[arg(short, long, value_name = "N", value_parser = tokens_or_none, requires = "Examined")]
    ctx_size: Option<usize>,
    /// Maximum number of tokens in one forward call [default: 2048, or less if memory has no room for it].
    #[arg(
        short,
        long = "batch-size",
        alias = "batch",
        value_name = "N",
        value_parser = token_count,
        requires = "Examined"
    )]
    batch: Option<usize>,
    /// Number of threads; -1: one for each physical core that this process may use, which is the default.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = thread_count)]
    threads: Option<usize>,
    /// Format of the cached latent rows.
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = latent_type(), requires = "Examined")]
    cache_type: Format,
    /// Format of the cached index keys.
    #[arg(long, value_name = "TYPE", default_value = "q8", value_parser = index_type(), requires = "Examined")]
    index_cache: IndexType,
    #[command(flatten)]
    predict: PredictArgs,
    /// List the compute kernels of this processor, too.
    #[arg(long)]
    kernels: bool,
    /// Print one JSON object; with --predict a JSON array.
    #[arg(long)]
    json: bool,
}

/// The model that is looked at.
#[derive(clap::Args, Debug)]
struct Examined {
    /// GGUF file, any shard of a split one, a folder with one model in it, or an alias. Without a MODEL the report
    /// is about the machine, and which quantization of DeepSeek-V3.2 fits it.
    model: Option<PathBuf>,
    /// The same as MODEL, as a flag.
    #[arg(id = "model_flag", short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    flag: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// A file that is no model Fathom runs, or one that does not fit.
pub fn run(args: Args) -> Result<(), Failure> {
    let kernels = Kernels::from_env().map_err(Failure::usage)?;
    let machine = Machine::read();
    if args.predict.predict {
        return predict::run(&args.predict, args.threads, &machine, args.json);
    }
    let fit = match args.examined.flag.as_ref().or(args.examined.model.as_ref()) {
        Some(path) => {
            let mapping = map_files(path)?;
            Some(examine(path, &mapping, &args, &machine)?)
        }
        None => None,
    };
    if args.json {
        let mut report = json!({ "machine": machine_json(&machine), "simd": simd_json(kernels) });
        match &fit {
            Some(fit) => report["model"] = fit.to_json(),
            None => report["deepseek_v3_2"] = quantizations_json(&args, &machine),
        }
        print::json(&report)?;
    } else {
        let mut sheet = Sheet::new();
        machine_text(&machine, &mut sheet);
        simd_text(kernels, args.kernels, &mut sheet);
        match &fit {
            Some(fit) => fit.to_text(&mut sheet),
            None => quantizations_text(&args, &machine, &mut sheet),
        }
        print::answer(sheet.text())?;
    }
    match fit {
        Some(fit) if fit.fits() == Some(false) => Err(Failure::memory(fit.verdict())),
        _ => Ok(()),
    }
}

/// What DeepSeek-V3.2 would need here.
fn quantizations(args: &Args, machine: &Machine) -> Vec<Quantized> {
    let n_threads = args.threads.unwrap_or_else(|| machine.cores.default_threads());
    room::quantized(USUAL_CTX, n_threads, machine.memory.usable())
}

fn quantizations_text(args: &Args, machine: &Machine, sheet: &mut Sheet) {
    let all = quantizations(args, machine);
    sheet.heading(&format!(
        "DeepSeek-V3.2 in the available memory, with a context of {USUAL_CTX} tokens (computed)"
    ));
    sheet.row("largest that fits", room::best_quantization(&all, machine.memory.usable()));
}

fn quantizations_json(args: &Args, machine: &Machine) -> Json {
    let one =
        |one: &Quantized| json!({ "type": one.preset.name(), "needed_bytes": one.needed, "fits": one.fits });
    json!({ "ctx_size": USUAL_CTX, "types": quantizations(args, machine).iter().map(one).collect::<Vec<_>>() })
}

/// A model on this machine.
struct Fit {
    mapped: u64,
    n_ctx_made_for: usize,
    weights: WeightBytes,
    n_threads: usize,
    wanted: Setting,
    session: SessionMemory,
    own: u64,
    /// Bytes of 1024 tokens in each cache type.
    latent_rows: Vec<(&'static str, usize)>,
    index_rows: Vec<(&'static str, usize)>,
    usable: Option<u64>,
    /// Why it does not fit, if so.
    refusal: Option<String>,
}

fn examine(path: &Path, mapping: &Mapping, args: &Args, machine: &Machine) -> Result<Fit, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::invalid(format!("{}: {error}", path.display()));
    let gguf = mapping.gguf().map_err(Failure::invalid)?;
    let config = Config::from_gguf(gguf.metadata(), &Overrides::default()).map_err(|e| named(&e))?;
    let weights = WeightBytes::of(&gguf, &config).map_err(|e| named(&e))?;
    let n_threads = args.threads.unwrap_or_else(|| machine.cores.default_threads());
    let plan = Plan { config: &config, weights, n_threads, mtp: false, in_memory: false };
    let n_ctx_made_for = config.max_position_embeddings;
    let mut wanted = Setting {
        n_ctx: match args.ctx_size {
            None => USUAL_CTX.min(n_ctx_made_for),
            Some(0) => n_ctx_made_for,
            Some(n_ctx) => n_ctx,
        },
        batch: args.batch.unwrap_or(USUAL_BATCH),
        cache: CacheTypes { latent: args.cache_type, index: args.index_cache },
    };
    let usable = machine.memory.usable();
    if let Some(why) = wanted.cache.refusal(&config) {
        return Err(Failure::usage(why));
    }
    if let (None, Some(usable)) = (args.batch, usable) {
        wanted = plan.with_batch_that_fits(wanted, usable).unwrap_or(wanted);
    }
    let short = usable.filter(|&usable| plan.needed(wanted) > usable);
    let per_1024 = |bytes: usize| 1024 * config.num_hidden_layers * bytes;
    let row = |latent, index| CacheTypes { latent, index }.row_bytes(&config);
    let index = wanted.cache.index;
    let latent_types =
        LATENT_TYPES.into_iter().filter(|&latent| CacheTypes { latent, index }.refusal(&config).is_none());
    Ok(Fit {
        mapped: mapping.n_bytes(),
        n_ctx_made_for,
        weights,
        n_threads,
        wanted,
        session: plan.session(wanted),
        own: plan.own(wanted),
        latent_rows: latent_types.map(|ty| (ty.name(), per_1024(row(ty, IndexType::F16).0))).collect(),
        index_rows: IndexType::ALL.map(|ty| (ty.name(), per_1024(row(Format::F16, ty).1))).to_vec(),
        usable,
        refusal: short.map(|usable| room::refusal(&plan, wanted, usable)),
    })
}

impl Fit {
    fn needed(&self) -> u64 {
        self.own + self.weights.needed()
    }

    /// `None` where the system does not tell its memory.
    fn fits(&self) -> Option<bool> {
        self.usable.map(|usable| self.needed() <= usable)
    }

    fn verdict(&self) -> String {
        let Some(usable) = self.usable else {
            return format!("the memory of this system is not known; needed: {}", bytes(self.needed()));
        };
        match &self.refusal {
            None => format!("fits: {} needed, {} available", bytes(self.needed()), bytes(usable)),
            Some(refusal) => refusal.clone(),
        }
    }

    fn to_json(&self) -> Json {
        let named = |rows: &[(&str, usize)]| -> Json {
            rows.iter().map(|&(ty, n)| (ty.to_owned(), Json::from(n))).collect()
        };
        let weights = &self.weights;
        json!({
            "mapped_bytes": self.mapped,
            "weights": {
                "routed_bytes": weights.routed,
                "non_routed_bytes": weights.non_routed,
                "mtp_bytes": weights.mtp,
                "copied_bytes": weights.copied,
                "read_per_token_bytes": weights.per_token,
            },
            "cache_bytes_per_1024_tokens": {
                "latent": named(&self.latent_rows),
                "index": named(&self.index_rows),
            },
            "setting": {
                "ctx_size": self.wanted.n_ctx,
                "batch": self.wanted.batch,
                "threads": self.n_threads,
                "cache_type": self.wanted.cache.latent.name(),
                "index_cache": self.wanted.cache.index.name(),
            },
            "cache_bytes": self.session.cache,
            "scratch_bytes": self.session.scratch,
            "own_bytes": self.own,
            "needed_bytes": self.needed(),
            "available_bytes": self.usable,
            "fits": self.fits(),
            "verdict": self.verdict(),
        })
    }

    fn to_text(&self, sheet: &mut Sheet) {
        let weights = &self.weights;
        sheet.heading("model");
        sheet.row("mapped", bytes(self.mapped));
        sheet.row("routed experts", bytes(weights.routed));
        sheet.row("other weights", bytes(weights.non_routed));
        sheet.row("MTP layer", format_args!("{}, not used and not counted below", bytes(weights.mtp)));
        sheet.row("weights read for a token", bytes(weights.per_token));
        sheet.heading("cache for 1024 tokens");
        for (kind, rows) in [("latent", &self.latent_rows), ("index keys", &self.index_rows)] {
            let cells: Vec<_> = rows.iter().map(|(ty, n)| format!("{ty} {}", bytes(*n as u64))).collect();
            sheet.row(kind, cells.join(", "));
        }
        let Setting { n_ctx, batch, cache } = self.wanted;
        let (latent, index, threads) = (cache.latent.name(), cache.index.name(), self.n_threads);
        sheet.heading(&format!("needed with -c {n_ctx} -b {batch} -t {threads}"));
        sheet.row("cache", format_args!("{}, {latent} and {index}", bytes(self.session.cache as u64)));
        sheet.row("scratch", bytes(self.session.scratch as u64));
        sheet.row("copied when loading", bytes(weights.copied));
        sheet.row("weights", bytes(weights.needed()));
        sheet.row("total", bytes(self.needed()));
        sheet.row("available", told(self.usable.map(bytes)));
        let word = match self.fits() {
            Some(true) => "fits",
            Some(false) => "does not fit",
            None => "unknown",
        };
        sheet.row("verdict", word);
        if n_ctx > self.n_ctx_made_for {
            sheet.row("note", format_args!("the model was made for {} tokens", self.n_ctx_made_for));
        }
    }
}

fn told(value: Option<String>) -> String {
    value.unwrap_or_else(|| "unknown".to_owned())
}

fn machine_json(machine: &Machine) -> Json {
    let Machine { cores, memory, .. } = machine;
    let limit = memory.limit.map(
        |limit| json!({ "version": limit.version.number(), "bytes": limit.bytes, "free_bytes": limit.free }),
    );
    let node = |node: &fathom_engine::machine::NumaNode| json!({ "node": node.node, "cpus": node.cpus, "memory_bytes": node.memory });
    json!({
        "cpu": machine.cpu,
        "architecture": std::env::consts::ARCH,
        "cores": {
            "physical": cores.physical,
            "logical": cores.logical,
            "allowed_physical": cores.allowed_physical,
            "allowed_logical": cores.allowed_logical,
            "quota": cores.quota,
            "default_threads": cores.default_threads(),
        },
        "memory": {
            "total_bytes": memory.total,
            "available_bytes": memory.available,
            "cgroup_limit": limit,
            "usable_bytes": memory.usable(),
        },
        "numa_nodes": machine.numa_nodes.iter().map(node).collect::<Vec<_>>(),
        "transparent_huge_pages": machine.transparent_huge_pages,
    })
}

fn machine_text(machine: &Machine, sheet: &mut Sheet) {
    let Machine { cores, memory, .. } = machine;
    sheet.heading("machine");
    sheet.row("processor", machine.cpu.as_deref().unwrap_or(std::env::consts::ARCH));
    sheet.row("cores", format_args!("{} physical, {} logical", cores.physical, cores.logical));
    let (physical, logical) = (cores.allowed_physical, cores.allowed_logical);
    sheet.row("this process may use", format_args!("{physical} physical, {logical} logical"));
    sheet.row("control group's quota", cores.quota.map_or("none".to_owned(), |n| format!("{n} processors")));
    sheet.row("threads by default", cores.default_threads());
    let total = told(memory.total.map(bytes));
    sheet.row("memory", format_args!("{total}, {} available", told(memory.available.map(bytes))));
    let limit = memory.limit.map(|l| {
        format!("{} (version {}), {} of it free", bytes(l.bytes), l.version.number(), bytes(l.free))
    });
    sheet.row("control group's limit", limit.unwrap_or_else(|| "none".to_owned()));
    for node in &machine.numa_nodes {
        let name = format!("NUMA node {}", node.node);
        sheet.row(&name, format_args!("processors {}, {}", node.cpus, told(node.memory.map(bytes))));
    }
    sheet.row("transparent huge pages", told(machine.transparent_huge_pages.clone()));
}

fn simd_json(kernels: &'static Kernels) -> Json {
    json!({
        "detected": Kernels::best().level().name(),
        "in_use": kernels.level().name(),
        "kernels": kernels.ids().collect::<Vec<_>>(),
    })
}

fn simd_text(kernels: &'static Kernels, listed: bool, sheet: &mut Sheet) {
    let (used, best) = (kernels.level(), Kernels::best().level());
    let capped =
        if used == best { String::new() } else { format!(" (FATHOM_SIMD; the processor has {best})") };
    sheet.row("instruction set", format_args!("{used}{capped}"));
    if listed {
        sheet.heading("kernels");
        for id in kernels.ids() {
            sheet.line(id);
        }
    }
}
