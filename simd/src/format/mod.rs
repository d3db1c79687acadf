//! Weight formats: how bytes become numbers. One file per format; a format exists when it has a row in `table.rs`.
//!
//! `decode` is the definition of a format. Every kernel that reads the format is judged by it.

// The modules are named after the formats, so `f32` means a module here and nowhere else.
pub mod bf16;
pub mod f16;
mod f32;
pub mod fp8_e4m3;
mod q8_0;
mod table;

pub(crate) use bf16::BF16;
pub(crate) use f16::F16;
pub(crate) use f32::F32;
pub(crate) use q8_0::{BlockQ8_0, Q8_0};
pub use table::{ActKind, Format};
pub(crate) use table::{BlockFormat, per_format};
