//! Weight formats: how bytes become numbers. One file per format; a format exists when it has a row in `table.rs`.
//!
//! `decode` is the definition of a format. Every kernel that reads the format is judged by it.

// The modules are named after the formats, so `f32` means a module here and nowhere else.
pub mod bf16;
pub mod f16;
mod f32;
pub mod fp8_e4m3;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_k;
mod quants;
mod table;

pub(crate) use bf16::BF16;
pub(crate) use f16::F16;
pub(crate) use f32::F32;
pub(crate) use q2_k::Q2K;
pub(crate) use q3_k::Q3K;
pub(crate) use q4_0::Q4_0;
pub(crate) use q4_1::Q4_1;
pub(crate) use q4_k::Q4K;
pub(crate) use q5_0::Q5_0;
pub(crate) use q5_1::Q5_1;
pub(crate) use q5_k::Q5K;
pub(crate) use q6_k::Q6K;
pub(crate) use q8_0::{BlockQ8_0, Q8_0};
pub(crate) use q8_k::Q8K;
pub(crate) use quants::{QuantFormat, RowParts, Tile};
pub use table::{ActKind, Format};
pub(crate) use table::{BlockFormat, per_format};
