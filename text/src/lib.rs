//! Text and tokens: what a person and a model say to each other, on both sides of the numbers.
//!
//! A [`tokenizer::Tokenizer`] is the vocabulary inside a model file. [`chat`] makes messages into a prompt, and takes an answer
//! apart while it arrives. A [`sampler::Sampler`] draws a token from logits, and [`answer`] makes drawn tokens into an answer.
//! Where logits come from is not known here: nothing of this needs an engine.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod answer;
#[cfg(test)]
mod builtin;
pub mod chat;
mod contained;
#[cfg(test)]
mod fuzz;
pub mod sampler;
pub mod tokenizer;
