//! llama.cpp as an oracle for Fathom: the same GGUF, the same tokens, its logits.
//!
//! Logits are computed the exact way: f32 caches, flash attention off, the logits of every token. The comparison of
//! speeds (`bench/peer`) uses the same model and context ([`raw`]) in every way there is.

#![deny(unsafe_code)]

pub mod compare;
#[expect(unsafe_code, reason = "the draft head is out of the safe API's reach")]
pub mod draft;
pub mod greedy;
#[expect(unsafe_code, reason = "the C API itself")]
pub mod raw;
pub mod rows;
pub mod run;
pub mod tokens;
pub mod trunk;

pub use rows::Rows;
pub use run::{Override, Run, RunError};
