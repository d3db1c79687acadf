//! A loaded model: files, numbers, tensors and kernels in one, owned and shared by [`Arc`](std::sync::Arc). It does not change:
//! a [`crate::Worker`] computes with it, and what was computed is a [`crate::Timeline`]'s.

use crate::mmap::Mapping;
use crate::model::rope::Rotary;
use crate::threads::Seats;
use crate::weights::{BindError, Weights};
use fathom_arch::config::{Config, ConfigError, Overrides};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use self_cell::self_cell;

self_cell!(
    /// Files, and what points into them.
    pub(crate) struct Bound {
        owner: Mapping,
        #[covariant]
        dependent: Contents,
    }
);

/// What a model's files hold.
struct Contents<'m> {
    gguf: Gguf<'m>,
    config: Config,
    /// Bound when the model is loaded.
    weights: Option<Weights<'m>>,
}

impl Bound {
    /// Reads the header.
    pub(crate) fn header(mapping: Mapping, overrides: &Overrides) -> Result<Bound, LoadError> {
        Bound::try_new(mapping, |mapping| {
            let gguf = mapping.gguf()?;
            // The file's own numbers are not to blame for those that replace them.
            let alone = || Config::of(&gguf, &overrides.without_values()).is_ok();
            let config = Config::of(&gguf, overrides).map_err(|error| match error {
                ConfigError::Invalid(problems) if !overrides.is_empty() && alone() => {
                    LoadError::Overrides(problems)
                }
                error => error.into(),
            })?;
            Ok(Contents { gguf, config, weights: None })
        })
    }

    /// Binds the tensors.
    pub(crate) fn bind(&mut self) -> Result<(), BindError> {
        self.with_dependent_mut(|_, contents| {
            contents.weights = Some(Weights::bind(&contents.gguf, &contents.config)?);
            Ok(())
        })
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        self.borrow_owner()
    }

    pub(crate) fn into_mapping(self) -> Mapping {
        self.into_owner()
    }

    pub(crate) fn gguf(&self) -> &Gguf<'_> {
        &self.borrow_dependent().gguf
    }

    pub(crate) fn config(&self) -> &Config {
        &self.borrow_dependent().config
    }
}

/// A loaded model.
pub struct Model {
    bound: Bound,
    /// Its numbers.
    pub config: Config,
    /// Kernels of this machine, or of the level that was asked for.
    pub kernels: &'static Kernels,
    pub(crate) rotary: Rotary,
    seats: Seats,
    in_memory: bool,
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
    /// The file's own numbers fit together, and the overrides break them.
    #[error("the file's numbers fit together, the overrides do not: {}", .0.join("; "))]
    Overrides(Vec<String>),
    /// The tensors are not this model's.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Model {
    /// Loads a model from its files as they are; `seats` are the threads that work on a token.
    ///
    /// # Errors
    /// A damaged container, metadata of another model, tensors that do not fit the metadata.
    pub fn of(
        mapping: Mapping,
        overrides: &Overrides,
        kernels: &'static Kernels,
        seats: &Seats,
    ) -> Result<Model, LoadError> {
        let mut bound = Bound::header(mapping, overrides)?;
        bound.bind()?;
        Ok(Model::with(bound, kernels, seats, false))
    }

    /// Of files whose tensors are bound.
    pub(crate) fn with(bound: Bound, kernels: &'static Kernels, seats: &Seats, in_memory: bool) -> Model {
        let config = bound.config().clone();
        let rotary = Rotary::new(&config);
        Model { bound, config, kernels, rotary, seats: seats.clone(), in_memory }
    }

    /// Its tensors.
    pub fn weights(&self) -> &Weights<'_> {
        self.bound.borrow_dependent().weights.as_ref().expect("a loaded model's tensors are bound")
    }

    /// What its files hold.
    pub fn gguf(&self) -> &Gguf<'_> {
        self.bound.gguf()
    }

    /// Its files.
    pub fn mapping(&self) -> &Mapping {
        self.bound.mapping()
    }

    /// Whether its weights were brought into memory when it was opened.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// The seats of those who compute with it: its bytes lie by them.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Threads that work on a token.
    pub fn n_threads(&self) -> usize {
        self.seats.n_threads()
    }
}
