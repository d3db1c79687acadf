//! A loaded model: numbers, tensors, kernels and threads. It does not change; timelines are [`crate::Session`]s.

use crate::model::rope::Rotary;
use crate::threads::{Seats, Team, ThreadError};
use crate::weights::{BindError, Weights};
use fathom_arch::config::{Config, ConfigError, Overrides};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A loaded model.
pub struct Engine<'m> {
    /// Its numbers.
    pub config: Config,
    /// Its tensors.
    pub weights: Weights<'m>,
    /// Kernels of this machine, or of the level that was asked for.
    pub kernels: &'static Kernels,
    pub(crate) rotary: Rotary,
    team: Mutex<Team>,
    n_threads: usize,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The container is damaged.
    #[error(transparent)]
    Gguf(#[from] fathom_gguf::Error),
    /// The metadata is not this model's.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tensors are not this model's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
}

impl<'m> Engine<'m> {
    /// Loads a model from mapped files; `seats` are the threads that work on a token.
    ///
    /// # Errors
    /// A damaged container, metadata of another model, tensors that do not fit the metadata, or too many threads.
    pub fn load(
        shards: Vec<(String, &'m [u8])>,
        overrides: &Overrides,
        kernels: &'static Kernels,
        seats: &Seats,
    ) -> Result<Engine<'m>, LoadError> {
        Engine::of(&Gguf::from_shards(shards)?, overrides, kernels, seats)
    }

    /// The same from what the files hold.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn of(
        gguf: &Gguf<'m>,
        overrides: &Overrides,
        kernels: &'static Kernels,
        seats: &Seats,
    ) -> Result<Engine<'m>, LoadError> {
        let config = Config::of(gguf, overrides)?;
        let weights = Weights::bind(gguf, &config)?;
        let rotary = Rotary::new(&config);
        let team = Mutex::new(Team::new(seats)?);
        Ok(Engine { config, weights, kernels, rotary, team, n_threads: seats.n_threads() })
    }

    /// Its threads, which work for one caller at a time: sessions wait while this is held.
    pub fn team(&self) -> MutexGuard<'_, Team> {
        self.team.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Threads that work on a token.
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }
}
