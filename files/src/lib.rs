//! Files that people name: read without waiting for anybody and never without end ([`input`], [`json`]), written under their
//! names only when they are whole ([`output`]), so that a test can let any one step fail ([`writing`]), and what the standard library leaves to the platform: of disks ([`disk`]) and of the own
//! process ([`process`]).
//!
//! Converter, engine and program all read and write so; none of them has to know another for it.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod disk;
pub mod input;
pub mod json;
pub mod output;
pub mod part;
pub mod process;
pub mod writing;
