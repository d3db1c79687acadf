//! DeepSeek-V3.2 from a mapped file to logits.
//!
//! A path becomes a [`Model`], which owns its files and is shared. A [`Worker`] is what computes, one for a machine: threads and
//! scratch. What was computed is a [`Timeline`]'s, of which there may be many; a [`Session`] is a worker with one timeline.
//! `sync` takes the whole list of tokens and reuses what is there already. Nothing here prints.
//!
//! ```no_run
//! use fathom_engine::{Model, OpenOptions, Session};
//! use fathom_simd::Kernels;
//!
//! let (model, options) = Model::open("model.gguf".as_ref(), OpenOptions::new(Kernels::from_env()?))?;
//! let mut session = Session::new(&model, options)?;
//! let logits = session.sync(&[0, 5, 7])?;
//! println!("{} logits", logits.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod cache;
pub mod counted;
pub mod fit;
pub mod inventory;
pub mod loaded;
pub mod machine;
pub mod mmap;
pub mod model;
pub mod open;
pub mod placement;
pub mod probe;
pub mod prompt_cache;
pub mod scratch;
pub mod session;
pub mod threads;
pub mod timeline;
pub mod unread;
pub mod weights;
pub mod worker;

pub use loaded::{LoadError, Model};
pub use open::{Files, OpenError, OpenOptions};
pub use session::{Session, SessionError, SessionMemory, SessionOptions, Wanted};
pub use timeline::Timeline;
pub use worker::Worker;
