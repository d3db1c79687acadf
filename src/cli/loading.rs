//! From a path to a loaded model, for every verb that computes.

use super::flags::thread_count;
use super::meter::Meter;
use super::settings::is_builtin;
use super::{Failure, print, room, signals};
use crate::builtin;
use crate::closest::closest;
use fathom_arch::config::{Config, Overrides};
use fathom_engine::fit::{Asked, Room, Tight};
use fathom_engine::machine::lock_limit;
use fathom_engine::mmap::{MapError, Mapping, Watch};
use fathom_engine::open::{Note, Residence};
use fathom_engine::prompt_cache::{Fingerprint, Folder, Known, Search, UnknownModel};
use fathom_engine::threads::default_threads;
use fathom_engine::{Files, LoadError, Model, OpenError, OpenOptions, SessionError, SessionOptions};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Likeness of metadata keys that can be meant: all have a beginning in common.
const CLOSE: f64 = 0.9;

/// The session a verb wants.
#[derive(Clone, Copy)]
pub(super) struct WantedSession {
    /// Context and batch, as far as they are named.
    pub asked: Asked,
    /// Everything else.
    pub session: SessionOptions,
    /// Mapped weights that have no room in memory may stay on the disk: nobody waits for each token.
    pub from_disk: bool,
}

/// A model's files, looked through; nothing of the weights has been read.
pub(super) struct Opened {
    files: Files,
    name: String,
    is_builtin: bool,
}

impl LoadArgs {
    /// Maps a model's files, or the built-in one's bytes, reads their header and decides whether they fit in memory.
    pub(super) fn open(&self, model: Option<&Path>, wanted: WantedSession) -> Result<Opened, Failure> {
        let options = OpenOptions {
            overrides: Overrides::parse(&self.override_kv).map_err(Failure::usage)?,
            n_threads: self.threads.unwrap_or_else(default_threads),
            residence: match (self.no_mmap, self.no_warmup) {
                (true, _) => Residence::Memory,
                (_, true) => Residence::Mapped,
                _ => Residence::Warm,
            },
            asked: wanted.asked,
            session: wanted.session,
            tight: match (self.force, wanted.from_disk) {
                (true, _) => Tight::Force,
                (_, true) => Tight::FromDisk,
                _ => Tight::Refuse,
            },
            ..OpenOptions::new(Kernels::from_env().map_err(Failure::usage)?)
        };
        let model = model.filter(|path| !is_builtin(path));
        let (mapping, name) = map(model)?;
        let files = Files::look(mapping, options).map_err(|error| failure(error, &name))?;
        files.notes().iter().for_each(|note| tell_note(note, &name));
        Ok(Opened { files, name, is_builtin: model.is_none() })
    }

    /// Brings the weights into memory in the way that was asked for, and binds the tensors.
    pub(super) fn load(&self, opened: Opened) -> Result<Arc<Model>, Failure> {
        let Opened { files, name, .. } = opened;
        let is_mapped = files.mapping().mapped_bytes() > 0;
        if let Some(note) = nodes_note(files.seats().threads_of_nodes()).filter(|_| is_mapped) {
            tell!("{note}");
        }
        let (residence, total) = files.to_bring_in();
        if is_mapped && files.room() == Room::OnDisk && !files.notes().contains(&Note::FromDisk) {
            tell!("note: the weights do not fit in memory: they are read from disk as tokens need them");
        }
        let (loaded, stopped) = match total {
            0 => (files.load(Watch { stop: &AtomicBool::new(false), progress: &|_| {} }), false),
            _ => {
                let is_read = residence == Residence::Memory;
                let doing = if is_read { "reading the weights" } else { "warming up" };
                in_view(doing, total, |watch| files.load(watch))?
            }
        };
        // A wish that comes with the last bytes is no less meant.
        let loaded = if stopped { loaded.and(Err(MapError::Stopped.into())) } else { loaded };
        let model = loaded.map_err(|error| failure(error, &name))?;
        if self.mlock
            && let Err(error) = model.mapping().lock()
        {
            tell!("{}", lock_warning(&error, lock_limit(Path::new("/"))));
        }
        Ok(Arc::new(model))
    }
}

/// What the person is told of a model that can be used.
fn tell_note(note: &Note, name: &str) {
    match note {
        Note::IdleOverride { key, known } => {
            let meant = closest(key, known.iter().map(String::as_str), CLOSE);
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            tell!("warning: --override-kv: {} has no effect{meant}", print::plain(key));
        }
        Note::Unread(note) => tell!("note: {}", print::plain(&format!("{name}: {note}"))),
        Note::FromDisk => {
            tell!("note: the weights do not fit in memory; every forward call reads them from disk");
        }
        Note::ShorterContext { n_ctx } => {
            tell!("note: the context is {n_ctx} tokens, the maximum that memory has room for (-c)");
        }
        _ => {}
    }
}

/// Why the model of this name was not opened, and the exit code.
fn failure(error: OpenError, name: &str) -> Failure {
    match error {
        OpenError::Map(error) => map_failure(error),
        OpenError::Load(LoadError::Gguf(error)) => Failure::invalid(error),
        OpenError::Load(LoadError::Overrides(problems)) => Failure::usage(format!(
            "--override-kv: {name} has numbers that fit together, these do not: {}",
            problems.join("; ")
        )),
        OpenError::Cache(why) => Failure::usage(why),
        OpenError::Misfit(misfit) => {
            let why = room::refusal(&misfit.plan(), misfit.wanted, misfit.usable);
            Failure::memory(format!("{name} {why}; --force loads it anyway"))
        }
        error => Failure::invalid(format!("{name}: {error}")),
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

/// Does work on `total` bytes of files in view of the person, who may end it; also gives whether they wanted to.
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

    pub(super) fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// Where the model's files are; none of the one that is a part of the program.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.mapping().paths()
    }

    /// What the files hold.
    pub(super) fn gguf(&self) -> &Gguf<'_> {
        self.files.gguf()
    }

    /// The model's numbers.
    pub(super) fn config(&self) -> &Config {
        self.files.config()
    }

    /// The session that was asked for, its context decided.
    pub(super) fn options(&self) -> SessionOptions {
        self.files.options()
    }

    /// An error in the files, under the model's name.
    pub(super) fn invalid(&self, error: impl Display) -> Failure {
        Failure::invalid(format!("{}: {error}", self.name))
    }
}

/// What tells a model from others, and what is to be written down of it in its part of `folder`. Reads all its weights where
/// nothing of the kind was written down.
pub(super) fn fingerprint(model: &Model, folder: &Folder) -> Result<(Fingerprint, Option<Known>), Failure> {
    let search = Search {
        mapping: model.mapping(),
        gguf: model.gguf(),
        seats: model.seats(),
        in_memory: model.is_in_memory(),
        small: Search::SMALL,
        now: SystemTime::now(),
    };
    let doing = "reading the weights' checksum";
    let (found, _) = in_view(doing, model.mapping().n_bytes(), |watch| search.run(folder, watch))?;
    found.map_err(|error| match error {
        UnknownModel::Read(error) => map_failure(error),
        UnknownModel::Young | UnknownModel::Untold => Failure::runtime(error),
    })
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
            SessionError::Threads(_) => Failure::runtime(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
