//! Fathom: DeepSeek-V3.2 on a workstation's CPU.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod mmap;
pub mod names;
pub mod threads;
