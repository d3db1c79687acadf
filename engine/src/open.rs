//! From a model's files to a loaded model, in two steps that print nothing.
//!
//! [`Files::look`] reads the header and decides how the weights and a session find room; [`Files::load`] brings the weights
//! in and binds the tensors. Between the two a caller may look at what the files hold and at the
//! [`Note`]s. [`Model::open`] is both at once.

use crate::fit::{Asked, Misfit, Plan, Room, Tight, WeightBytes};
use crate::loaded::{Bound, LoadError, Model};
use crate::machine::Memory;
use crate::mmap::{MapError, Mapping, Watch};
use crate::placement::Placement;
use crate::session::SessionOptions;
use crate::threads::{Seats, default_threads};
use crate::unread;
use fathom_arch::config::{Config, Overrides};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How weights come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residence {
    /// The files are mapped, and read through once before the first token.
    #[default]
    Warm,
    /// The files are mapped; what tokens need is read when they need it.
    Mapped,
    /// The files are read into memory of the process's own.
    Memory,
}

/// How a model is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Metadata that replaces the file's.
    pub overrides: Overrides,
    /// Kernels of this machine, or of a lower level.
    pub kernels: &'static Kernels,
    /// Threads that work on a token.
    pub n_threads: usize,
    /// How the weights come into memory.
    pub residence: Residence,
    /// The context and the batch that are wanted; what is not named may give way where memory is short.
    pub asked: Asked,
    /// The rest of what sessions are to be; context and batch are decided by `asked`.
    pub session: SessionOptions,
    /// What to do where memory is short all the same.
    pub tight: Tight,
}

impl OpenOptions {
    /// The usual ones, with these kernels.
    pub fn new(kernels: &'static Kernels) -> OpenOptions {
        OpenOptions {
            overrides: Overrides::default(),
            kernels,
            n_threads: default_threads(),
            residence: Residence::default(),
            asked: Asked::default(),
            session: SessionOptions::default(),
            tight: Tight::Refuse,
        }
    }
}

/// What a caller may want to tell of a model that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// An override without effect, and the keys that have one.
    IdleOverride {
        /// The key.
        key: String,
        /// Keys that would be read.
        known: BTreeSet<String>,
    },
    /// Something in the files that is not read.
    Unread(String),
    /// The weights find no room in memory: they are read from the disk, again and again.
    FromDisk,
    /// The context is shorter than usual, because memory has no room for more.
    ShorterContext {
        /// Its tokens.
        n_ctx: usize,
    },
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file that cannot be mapped or read; the caller's wish.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What the files hold is not a model that runs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Cache types that the model cannot have.
    #[error("{0}")]
    Cache(String),
    /// No room in memory.
    #[error(transparent)]
    Misfit(#[from] Box<Misfit>),
}

/// A model's files, looked through; nothing of the weights has been read.
pub struct Files {
    bound: Bound,
    kernels: &'static Kernels,
    overrides: Overrides,
    residence: Residence,
    placement: Placement,
    options: SessionOptions,
    room: Room,
    notes: Vec<Note>,
}

impl Files {
    /// Reads the header and decides how weights and session find room.
    ///
    /// # Errors
    /// Files that are no model that runs, options that it cannot have, no room in memory.
    pub fn look(mapping: Mapping, options: OpenOptions) -> Result<Files, OpenError> {
        let OpenOptions { overrides, kernels, n_threads, residence, asked, session, tight } = options;
        let overrides = overrides.dense(session.dense);
        let bound = Bound::header(mapping, &overrides)?;
        let (gguf, config) = (bound.gguf(), bound.config());
        let (idle, known) = overrides.without_effect(gguf.metadata());
        let idle =
            idle.into_iter().map(|key| Note::IdleOverride { key: key.to_owned(), known: known.clone() });
        let unread = unread::notes(gguf, config, session.dense).into_iter().map(Note::Unread);
        let mut notes: Vec<Note> = idle.chain(unread).collect();
        let weights = WeightBytes::of(gguf, config).map_err(LoadError::Bind)?;
        if let Some(why) = session.cache.refusal(config) {
            return Err(OpenError::Cache(why));
        }
        let in_memory = residence == Residence::Memory;
        let plan = Plan { config, weights, n_threads, mtp: session.mtp, in_memory };
        let usable = Memory::read(Path::new("/")).usable();
        let settled = plan.settle(asked, session.cache, tight, usable)?;
        if settled.room == Room::OnDisk && tight == Tight::FromDisk {
            notes.push(Note::FromDisk);
        }
        if settled.is_shorter {
            notes.push(Note::ShorterContext { n_ctx: settled.setting.n_ctx });
        }
        let placement = bound.mapping().placement(gguf, &Seats::of(n_threads));
        let options = settled.setting.of(session);
        Ok(Files { kernels, overrides, residence, placement, options, room: settled.room, notes, bound })
    }
}

impl Files {
    /// What there may be to tell.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What the files hold.
    pub fn gguf(&self) -> &Gguf<'_> {
        self.bound.gguf()
    }

    /// The model's numbers.
    pub fn config(&self) -> &Config {
        self.bound.config()
    }

    /// The files themselves.
    pub fn mapping(&self) -> &Mapping {
        self.bound.mapping()
    }

    /// The session that was asked for, its context and batch decided.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// Where the weights find room.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Where the threads belong.
    pub fn seats(&self) -> &Seats {
        self.placement.seats()
    }

    /// What [`Files::load`] will do before the model can be used: how, and how many bytes of the files.
    pub fn to_bring_in(&self) -> (Residence, u64) {
        let n_bytes = if self.mapping().mapped_bytes() > 0 { self.placement.n_bytes() } else { 0 };
        match self.residence {
            // What has no room is not read before it is needed.
            Residence::Warm if self.room == Room::OnDisk => (Residence::Mapped, 0),
            Residence::Mapped => (Residence::Mapped, 0),
            residence => (residence, n_bytes),
        }
    }

    /// Brings the weights into memory and binds the tensors. `watch` hears of the bytes of [`Files::to_bring_in`].
    ///
    /// # Errors
    /// Files that cannot be read to their end, no memory, no threads, or the caller's wish.
    pub fn load(self, watch: Watch<'_>) -> Result<Model, OpenError> {
        let (residence, n_bytes) = self.to_bring_in();
        let Files { mut bound, kernels, overrides, placement, .. } = self;
        // A model that is a part of the program is in memory whatever was asked for.
        let is_mapped = bound.mapping().mapped_bytes() > 0;
        match residence {
            Residence::Memory if n_bytes > 0 => {
                let mapping = bound.into_mapping().into_memory(&placement, watch)?;
                bound = Bound::header(mapping, &overrides)?;
            }
            Residence::Warm if n_bytes > 0 => bound.mapping().warm(&placement, watch)?,
            _ => {}
        }
        bound.bind().map_err(LoadError::Bind)?;
        let in_memory = !is_mapped || residence != Residence::Mapped;
        Ok(Model::with(bound, kernels, placement.seats(), in_memory))
    }
}

impl Model {
    /// Opens the model at `path`, a file, any shard of a split one or a folder that holds one, and brings it into memory.
    /// Gives the set-up of a session, too: its context and batch are as large as was asked for, or as memory has room for.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<(Arc<Model>, SessionOptions), OpenError> {
        let files = Files::look(Mapping::open(path)?, options)?;
        let session = files.options();
        let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
        Ok((Arc::new(files.load(watch)?), session))
    }
}
