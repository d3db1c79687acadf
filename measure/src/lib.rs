//! How fast a model runs ([`mod@bench`]), and how well it predicts ([`perplexity`]).
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod bench;
pub mod perplexity;
