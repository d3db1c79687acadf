//! DeepSeek-V3.2 from a mapped file to logits.
//!
//! A path becomes a [`mmap::Mapping`], the mapping an [`Engine`] (a loaded model), the engine any number of
//! [`Session`]s (timelines). `Session::sync` takes the whole list of tokens and reuses what it already computed.
//!
//! ```no_run
//! use fathom_engine::{Engine, Session, SessionOptions, cache::{CacheTypes, IndexType}, mmap::Mapping};
//! use fathom_engine::threads::{Seats, default_threads};
//! use fathom_arch::config::Overrides;
//! use fathom_simd::{Format, Kernels};
//!
//! let mapping = Mapping::open("model.gguf".as_ref())?;
//! let kernels = Kernels::from_env()?;
//! let engine = Engine::load(mapping.shards(), &Overrides::default(), kernels, &Seats::of(default_threads()))?;
//! let cache = CacheTypes { latent: Format::BF16, index: IndexType::Q8 };
//! let options = SessionOptions { n_ctx: 4096, batch: 512, cache, ..SessionOptions::default() };
//! let mut session = Session::new(&engine, options)?;
//! let logits = session.sync(&[0, 5, 7])?;
//! println!("{} logits", logits.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod cache;
pub mod counted;
pub mod engine;
pub mod fit;
pub mod inventory;
pub mod machine;
pub mod mmap;
pub mod model;
pub mod placement;
pub mod probe;
pub mod prompt_cache;
pub mod scratch;
pub mod session;
pub mod threads;
pub mod unread;
pub mod weights;

pub use engine::{Engine, LoadError};
pub use session::{Session, SessionError, SessionMemory, SessionOptions, Wanted};
