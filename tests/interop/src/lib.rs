//! llama.cpp as an oracle for Fathom: the same GGUF, the same tokens, its logits.
//!
//! Everything here runs llama.cpp the exact way: f32 caches, flash attention off, the logits of every token.

#![deny(unsafe_code)]

pub mod compare;
#[expect(unsafe_code, reason = "the draft head is out of the safe API's reach")]
pub mod draft;
pub mod rows;
pub mod run;
pub mod tokens;
pub mod trunk;

pub use rows::Rows;
pub use run::{Override, Run, RunError};
