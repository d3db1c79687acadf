//! Fathom: DeepSeek-V3.2 on a workstation's CPU.
#![deny(unsafe_code)]

pub mod threads;
pub mod config;
pub mod mmap;
pub mod names;
