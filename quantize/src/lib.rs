//! From a checkpoint to GGUF.
//!
//! ```text
//! Checkpoint | Synthetic  --Source-->  rows of bytes  --dequant-->  f32  --encode-->  blocks  --pipeline-->  file
//! ```
//! A [`source::Source`] is named arrays of rows as they are stored. A plan (from the root crate's table of names) says
//! which arrays make which GGUF tensor, a [`recipe::Recipe`] says in which type, and [`pipeline::Job`] does it with all
//! cores, a few megabytes per thread, and no file unless it is whole. The tokenizer travels inside the file.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod checkpoint_writer;
pub mod cost;
pub mod dequant;
mod disk;
pub mod encode;
mod error;
pub mod hub;
pub mod input;
pub mod metadata;
pub mod output;
mod part;
pub mod pipeline;
pub mod plan;
pub mod recipe;
mod slabs;
mod small_file;
pub mod source;
pub mod synth;
pub mod tokenizer;
pub mod writing;

pub use error::Error;
