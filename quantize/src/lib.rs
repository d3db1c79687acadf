//! From a checkpoint to GGUF.
//!
//! ```text
//! Checkpoint | Synthetic  --Source-->  rows of bytes  --dequant-->  f32  --encode-->  blocks  --pipeline-->  file
//! ```
//! A [`source::Source`] is named arrays of rows as they are stored. A plan (from `fathom-arch`'s table of names) says
//! which arrays make which GGUF tensor, a [`recipe::Recipe`] says in which type, and [`pipeline::Job`] does it with all
//! cores, a few megabytes per thread, and no file unless it is whole. The tokenizer travels inside the file.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod checkpoint_writer;
pub mod cost;
pub mod dequant;
pub mod encode;
mod error;
pub mod hub;
pub mod importance;
pub mod metadata;
mod nearest;
pub mod pipeline;
pub mod recipe;
mod slabs;
mod small_file;
pub mod source;
pub mod synth;
pub mod tokenizer;

pub use error::Error;
pub use nearest::nearest_type;

#[cfg(test)]
use fathom_arch::plan::{Origin, TensorPlan};
#[cfg(test)]
use fathom_arch::role::Role;

/// A tensor that is stored as it is, for tests.
#[cfg(test)]
pub(crate) fn stored(name: &str, role: Role, shape: &[usize]) -> TensorPlan {
    let origin = Origin::Tensor(name.to_owned());
    TensorPlan { name: name.to_owned(), shape: shape.to_vec(), role, origin }
}

/// A folder in memory where there is one: a test that writes hundreds of files does not wait for a disk.
#[cfg(test)]
pub(crate) fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
