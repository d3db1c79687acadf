//! SIMD levels, block formats and kernels, for Fathom.
//!
//! Three vocabularies, each written once:
//!
//! - a *level* ([`Level`]): what instructions a machine has. One file each in `isa/`;
//! - a *format* ([`Format`]): how bytes become weights. One file each in `format/`;
//! - an *op*: what is computed. One file each in `op/`, over a vocabulary of 16-lane vectors.
//!
//! The compiler makes their product: a static table per level ([`Kernels`]), whose methods are all that callers use.
//! The scalar level is the definition of every kernel. A level's results depend on nothing but the values that go
//! into each output, so batches, slices and thread counts never change a bit.
//!
//! ```
//! use fathom_simd::{Acts, F32Acts, Format, Kernels, Pick, Rows};
//!
//! let weights: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let w = Rows::new(Format::F32, &weights, 2, 2);
//! let x = Acts::F32(F32Acts { values: &[10.0, 1.0], stride: 2 });
//! let mut out = [0.0; 2];
//! Kernels::best().product(w, x, Pick::First(1), &mut out);
//! assert_eq!(out, [12.0, 34.0]);
//! ```
//!
//! Nothing here allocates, locks, reads the environment (but for [`Kernels::from_env`]) or returns an error inside
//! a token. Lengths that disagree are the caller's bug and panic with both numbers; bytes were checked when the file
//! was loaded. NaNs travel through every kernel; [`top_k()`] reports them.

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

pub mod fit;
pub mod format;
mod isa;
#[allow(unsafe_code, reason = "calls through the kernel table; the argument is at the head of the file")]
mod kernels;
mod level;
mod op;
mod top_k;
mod view;

pub use format::{ActKind, Format, fp8_e4m3};
pub use kernels::Kernels;
pub use level::{Level, LevelError};
pub use top_k::{NanAt, top_k};
pub use view::{Acts, Attend, F32Acts, IndexScores, Pick, Q8Acts, Q8IndexScores, Q8Keys, Q8Row, Rows};
