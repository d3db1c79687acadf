//! DeepSeek-V3.2 as data: what the converter that writes its files and the engine that runs them must agree on.
//!
//! A [`config::Config`] is every number of a model, from `config.json` or from GGUF metadata. The table in [`names`] says
//! which tensors such a model has, what they are called in a checkpoint and in GGUF, which shape each has and which
//! [`role::Role`]. [`names::plan`] makes of both the list of tensors that a file holds ([`plan::TensorPlan`]).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod config;
pub mod names;
pub mod plan;
pub mod role;
