//! From a path to a loaded model, for every verb that computes.

use super::flags::thread_count;
use super::meter::Meter;
use super::room::{self, Named};
use super::settings::is_builtin;
use super::{Failure, print, signals};
use crate::builtin;
use crate::closest::closest;
use fathom_arch::config::{Config, ConfigError, Overrides};
use fathom_engine::fit::{Plan, Setting, USUAL_BATCH, WeightBytes};
use fathom_engine::machine::{Memory, lock_limit};
use fathom_engine::mmap::{Guard, MapError, Mapping, Watch};
use fathom_engine::placement::Placement;
use fathom_engine::prompt_cache::{Fingerprint, Folder, Known, Search, UnknownModel};
use fathom_engine::threads::{Seats, default_threads};
use fathom_engine::{Engine, LoadError, SessionError, SessionOptions, unread};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// How a model is loaded.
#[derive(clap::Args, Clone, Debug)]
pub struct LoadArgs {
    /// Number of threads; -1: one for each physical core that this process may use, which is the default. The result does
    /// not depend on it.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = thread_count)]
    threads: Option<usize>,
    /// Override a metadata value. TYPE is int, float, bool or str. Can be repeated.
    #[arg(long, value_name = "KEY=TYPE:VALUE")]
    override_kv: Vec<String>,
    /// Do not read the mapped weights in advance: the first tokens come sooner, but slowly.
    #[arg(long, conflicts_with = "no_mmap")]
    no_warmup: bool,
    /// Lock the weights in memory, so that the system cannot evict them.
    #[arg(long)]
    mlock: bool,
    /// Read the weights into memory instead of mapping the file; with huge pages (2 MiB) where the system has them.
    #[arg(long)]
    no_mmap: bool,
    /// Load the model even if it does not fit in memory.
    #[arg(long)]
    force: bool,
}

/// Tokens of context when none are named, in models made for more.
pub(super) const DEFAULT_CTX: usize = 32768;

/// Likeness of metadata keys that can be meant: all have a beginning in common.
const CLOSE: f64 = 0.9;

/// The session a verb wants.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Tokens of context; `None`: as many as are usual and fit.
    pub n_ctx: Option<usize>,
    /// Most tokens in one forward call; `None`: as many as are usual and fit.
    pub batch: Option<usize>,
    /// Everything else.
    pub session: SessionOptions,
    /// Mapped weights that have no room in memory may stay on the disk: nobody waits for each token.
    pub from_disk: bool,
}

/// A model's files, looked through; nothing of the weights has been read.
pub(super) struct Opened {
    mapping: Mapping,
    name: String,
    builtin: bool,
    overrides: Overrides,
    config: Config,
    kernels: &'static Kernels,
    placement: Placement,
    options: SessionOptions,
    /// Whether weights and session find room together.
    fits: bool,
    /// Whether the weights were brought into memory.
    in_memory: bool,
}

impl LoadArgs {
    /// Maps a model's files, or the built-in one's bytes, reads their header and decides whether they fit in memory.
    pub(super) fn open(&self, model: Option<&Path>, asked: Asked) -> Result<Opened, Failure> {
        let overrides =
            Overrides::parse(&self.override_kv).map_err(Failure::usage)?.dense(asked.session.dense);
        let kernels = Kernels::from_env().map_err(Failure::usage)?;
        let model = model.filter(|path| !is_builtin(path));
        let (mapping, name) = map(model)?;
        let invalid = |error: &dyn Display| Failure::invalid(format!("{name}: {error}"));
        let gguf = mapping.gguf().map_err(Failure::invalid)?;
        // The file's own numbers are not to blame for those that replace them.
        let alone = || Config::of(&gguf, &overrides.without_values()).is_ok();
        let config = Config::of(&gguf, &overrides).map_err(|error| match error {
            ConfigError::Invalid(problems) if !overrides.is_empty() && alone() => Failure::usage(format!(
                "--override-kv: {name} has numbers that fit together, these do not: {}",
                problems.join("; ")
            )),
            error => invalid(&error),
        })?;
        let (idle, known) = overrides.without_effect(gguf.metadata());
        for key in idle {
            let meant = closest(key, known.iter().map(String::as_str), CLOSE);
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            tell!("warning: --override-kv: {} has no effect{meant}", print::plain(key));
        }
        let weights = WeightBytes::of(&gguf, &config).map_err(|e| invalid(&e))?;
        for note in unread::notes(&gguf, &config, asked.session.dense) {
            tell!("note: {}", print::plain(&format!("{name}: {note}")));
        }
        if let Some(why) = asked.session.cache.refusal(&config) {
            return Err(Failure::usage(why));
        }
        let n_threads = self.threads.unwrap_or_else(default_threads);
        let plan =
            Plan { config: &config, weights, n_threads, mtp: asked.session.mtp, in_memory: self.no_mmap };
        let usable = Memory::read(Path::new("/")).usable();
        let (setting, fits) = self
            .settle(&plan, asked, usable)
            .map_err(|why| Failure { message: format!("{name} {}", why.message), ..why })?;
        let Setting { n_ctx, batch, cache } = setting;
        let placement = mapping.placement(&gguf, &Seats::of(n_threads));
        Ok(Opened {
            name,
            builtin: model.is_none(),
            overrides,
            kernels,
            placement,
            options: SessionOptions { n_ctx, batch, cache, ..asked.session },
            fits,
            in_memory: false,
            mapping,
            config,
        })
    }

    /// The setting to load with, and whether it fits.
    fn settle(&self, plan: &Plan<'_>, asked: Asked, usable: Option<u64>) -> Result<(Setting, bool), Failure> {
        let made_for = plan.config.max_position_embeddings;
        // 0 is all that the model was made for, as in llama.cpp.
        let named = asked.n_ctx.filter(|&n_ctx| n_ctx > 0);
        let n_ctx = named.unwrap_or(if asked.n_ctx.is_some() { made_for } else { DEFAULT_CTX.min(made_for) });
        let batch = asked.batch.unwrap_or(USUAL_BATCH);
        let wanted = Setting { n_ctx, batch, cache: asked.session.cache };
        let fits = usable.is_none_or(|usable| plan.needed(wanted) <= usable);
        if fits || self.force {
            return Ok((wanted, fits));
        }
        if asked.from_disk && !plan.in_memory && usable.is_none_or(|usable| plan.own(wanted) <= usable) {
            tell!("note: the weights do not fit in memory; every forward call reads them from disk");
            return Ok((wanted, fits));
        }
        let named = Named { ctx: named.is_some(), batch: asked.batch.is_some() };
        let setting = room::settle(plan, wanted, named, usable)?;
        if setting.n_ctx < n_ctx {
            tell!("note: the context is {} tokens, the maximum that memory has room for (-c)", setting.n_ctx);
        }
        Ok((setting, true))
    }

    /// Brings the weights into memory in the way that was asked for.
    pub(super) fn bring_in(&self, mut opened: Opened) -> Result<Opened, Failure> {
        let placement = &opened.placement;
        let total = if opened.mapping.mapped_bytes() > 0 { placement.n_bytes() } else { 0 };
        if let Some(note) = nodes_note(placement.seats().threads_of_nodes()).filter(|_| total > 0) {
            tell!("{note}");
        }
        if total == 0 {
            // The built-in model came with the program.
        } else if self.no_mmap {
            let mapping = opened.mapping;
            opened.mapping =
                watched("reading the weights", total, |watch| mapping.into_memory(placement, watch))?;
        } else if !opened.fits {
            tell!("note: the weights do not fit in memory: they are read from disk as tokens need them");
        } else if !self.no_warmup {
            watched("warming up", total, |watch| opened.mapping.warm(placement, watch))?;
        }
        opened.in_memory = total == 0 || self.no_mmap || (opened.fits && !self.no_warmup);
        if self.mlock
            && let Err(error) = opened.mapping.lock()
        {
            tell!("{}", lock_warning(&error, lock_limit(Path::new("/"))));
        }
        Ok(opened)
    }
}

impl LoadArgs {
    /// Whether everything is to be done that is refused otherwise.
    pub(super) fn is_forced(&self) -> bool {
        self.force
    }
}

/// Shorter loading needs no lines in a log.
const QUIET: Duration = Duration::from_secs(2);

/// Does work on `total` bytes of files in view of the person, who may end it.
fn watched<T>(
    doing: &'static str,
    total: u64,
    work: impl FnOnce(Watch<'_>) -> Result<T, MapError>,
) -> Result<T, Failure> {
    let (done, stopped) = in_view(doing, total, work)?;
    // A wish that comes with the last bytes is no less meant.
    let done = if stopped { done.and(Err(MapError::Stopped)) } else { done };
    done.map_err(map_failure)
}

/// The same for work with errors of its own; also gives whether the person wanted to end it.
fn in_view<T>(
    doing: &'static str,
    total: u64,
    work: impl FnOnce(Watch<'_>) -> T,
) -> Result<(T, bool), Failure> {
    let signals = signals::listen()?;
    let meter = Meter::new(doing, total, QUIET);
    let progress = |bytes| {
        meter.advance(bytes);
    };
    let watch = Watch { stop: signals.flag(), progress: &progress };
    let done = work(watch);
    meter.finish();
    Ok((done, signals.flag().load(Ordering::Relaxed)))
}

fn map_failure(error: MapError) -> Failure {
    match error {
        MapError::Stopped => Failure::interrupted(error),
        MapError::NoMemory { .. } => Failure::memory(error),
        MapError::Threads(_) => Failure::runtime(error),
        error => Failure::invalid(error),
    }
}

/// What is said where the machine has several memory nodes.
fn nodes_note(threads_of_nodes: impl Iterator<Item = (usize, usize)>) -> Option<String> {
    let nodes: Vec<String> =
        threads_of_nodes.map(|(node, threads)| format!("{threads} on node {node}")).collect();
    (nodes.len() > 1).then(|| {
        format!("note: threads and weight rows are shared out over the memory nodes: {}", nodes.join(", "))
    })
}

/// Locking is a wish: without it everything works until memory is short.
fn lock_warning(error: &std::io::Error, limit: Option<u64>) -> String {
    let limit = limit.map_or(String::new(), |n| format!("; this process may lock {}", print::bytes(n)));
    format!(
        "warning: --mlock: cannot lock the weights in memory: {error}{limit}. Raise the limit (ulimit -l \
         unlimited, or LimitMEMLOCK=infinity of a service); continuing without"
    )
}

/// The files of a model that was named. The model inside the program has a name, too; a file of that name goes before it.
pub(super) fn map_files(path: &Path) -> Result<Mapping, Failure> {
    match builtin::file() {
        Some(file) if is_builtin(path) => Ok(Mapping::of_bytes(builtin::NAME, file)),
        _ => Mapping::open(path).map_err(Failure::invalid),
    }
}

/// The files of a model, or the built-in one, and what to call it.
pub(super) fn map(model: Option<&Path>) -> Result<(Mapping, String), Failure> {
    match (model, builtin::file()) {
        (Some(path), _) => Ok((map_files(path)?, path.display().to_string())),
        (None, Some(file)) => Ok((Mapping::of_bytes(builtin::NAME, file), builtin::NAME.to_owned())),
        (None, None) => Err(Failure::usage(
            "no MODEL is named, and this program was built without its built-in one; name a GGUF file, or build it \
             with the feature builtin-model",
        )),
    }
}

impl Opened {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The model's files; none of the one that is a part of the program.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.mapping.paths()
    }

    pub(super) fn is_builtin(&self) -> bool {
        self.builtin
    }

    /// The model's numbers.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The session that was asked for, its context decided.
    pub(super) fn options(&self) -> SessionOptions {
        self.options
    }

    pub(super) fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    pub(super) fn n_threads(&self) -> usize {
        self.placement.seats().n_threads()
    }

    /// What the files hold.
    pub(super) fn gguf(&self) -> Result<Gguf<'_>, Failure> {
        self.mapping.gguf().map_err(Failure::invalid)
    }

    /// What tells the model from others, and what is to be written down of it in the model's part of `folder`.
    pub(super) fn fingerprint(&self, folder: &Folder) -> Result<(Fingerprint, Option<Known>), Failure> {
        let search = Search {
            mapping: &self.mapping,
            gguf: &self.gguf()?,
            seats: self.placement.seats(),
            in_memory: self.in_memory,
            small: Search::SMALL,
            now: SystemTime::now(),
        };
        let doing = "reading the weights' checksum";
        let (found, _) = in_view(doing, self.mapping.n_bytes(), |watch| search.run(folder, watch))?;
        found.map_err(|error| match error {
            UnknownModel::Read(error) => map_failure(error),
            UnknownModel::Young | UnknownModel::Untold => Failure::runtime(error),
        })
    }

    /// Tells from now on whether the model's files are as they were when they were opened.
    pub(super) fn guard(&self) -> std::io::Result<Guard> {
        self.mapping.guard()
    }

    /// An error in the files, under the model's name.
    pub(super) fn invalid(&self, error: impl Display) -> Failure {
        Failure::invalid(format!("{}: {error}", self.name))
    }

    /// Binds the tensors and starts the threads.
    pub(super) fn engine(&self) -> Result<Engine<'_>, Failure> {
        let engine = Engine::of(&self.gguf()?, &self.overrides, self.kernels, self.placement.seats());
        engine.map_err(|error| match error {
            LoadError::Threads(error) => Failure::runtime(error),
            error => self.invalid(error),
        })
    }
}

/// The exit code of what ends a session.
impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        match error {
            SessionError::Token { .. } | SessionError::ContextFull { .. } => Failure::usage(error),
            SessionError::NotANumber { .. } | SessionError::Flat { .. } | SessionError::NoMtp { .. } => {
                Failure::invalid(error)
            }
            SessionError::Memory { .. } => Failure::memory(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(force: bool) -> LoadArgs {
        LoadArgs {
            threads: None,
            override_kv: Vec::new(),
            no_warmup: false,
            mlock: false,
            no_mmap: false,
            force,
        }
    }

    #[test]
    fn force_takes_what_does_not_fit() {
        let config = Config::tiny();
        let weights = WeightBytes::default();
        let plan = Plan { config: &config, weights, n_threads: 1, mtp: false, in_memory: false };
        let asked =
            Asked { n_ctx: Some(4096), batch: None, session: SessionOptions::default(), from_disk: false };
        let (setting, fits) = args(true).settle(&plan, asked, Some(1)).unwrap();
        assert_eq!((setting.n_ctx, fits), (4096, false));
        assert_eq!(args(false).settle(&plan, asked, Some(1)).unwrap_err().code, 4);
        assert!(args(false).settle(&plan, asked, None).unwrap().1);
    }

    #[test]
    fn mapped_weights_may_stay_on_the_disk_where_nobody_waits() {
        let args = args(false);
        let config = Config::tiny();
        let weights = WeightBytes { routed: 1 << 40, ..WeightBytes::default() };
        let plan = |in_memory| Plan { config: &config, weights, n_threads: 1, mtp: false, in_memory };
        let session = SessionOptions::default();
        let asked = |from_disk| Asked { n_ctx: Some(64), batch: None, session, from_disk };
        let usable = Some(1 << 30);
        assert!(!args.settle(&plan(false), asked(true), usable).unwrap().1, "no warm-up");
        for (in_memory, from_disk) in [(true, true), (false, false)] {
            assert_eq!(args.settle(&plan(in_memory), asked(from_disk), usable).unwrap_err().code, 4);
        }
        assert_eq!(
            args.settle(&plan(false), asked(true), Some(1)).unwrap_err().code,
            4,
            "no room for a session"
        );
    }

    #[test]
    fn several_memory_nodes_are_told() {
        assert_eq!(nodes_note([(0, 6)].into_iter()), None);
        let note = nodes_note([(0, 3), (1, 3)].into_iter()).unwrap();
        assert!(note.ends_with("memory nodes: 3 on node 0, 3 on node 1"), "{note}");
    }

    #[test]
    fn a_refused_lock_is_told_with_its_limit_and_what_to_do() {
        let error = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let text = lock_warning(&error, Some(8 << 20));
        for words in ["may lock 8.00 MiB", "ulimit -l", "continuing"] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
        assert!(!lock_warning(&error, None).contains("may lock"));
    }
}
