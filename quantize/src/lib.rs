//! From a checkpoint to GGUF.
#![forbid(unsafe_code)]

pub mod plan;
