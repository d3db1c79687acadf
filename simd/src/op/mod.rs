//! The ops, each written once over `I: Isa`. They name neither an instruction set nor, but for Q8_0's 8-bit blocks,
//! a format.
//!
//! **Same bits.** Every output value is computed by a sequence of roundings that depends on that output's own
//! inputs only: never on how many rows, tokens, heads or keys the call covers. Register tiles only decide how many
//! outputs are under way at once.

mod attend;
pub(crate) mod blocks;
mod e4m3;
mod exp;
mod fit;
pub(crate) mod float;
mod hadamard;
pub(crate) mod index_q8;
mod index_scores;
mod int_peak;
mod map;
mod norm;
pub(crate) mod q8;
mod rope;
mod rows;
mod softmax;

pub(crate) use attend::{
    MOST_SEGMENTS, attend, attend_end, attend_fold, attend_pairs, float_pairs, n_segments,
    part_len as attend_part_len, scratch_len as attend_scratch_len, to_line,
};
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) use attend::{PairDots, pair_segment};
pub(crate) use e4m3::decode as decode_e4m3;
pub(crate) use fit::{
    fit_error, fit_line, fit_quants, fit_scale, fit_totals, nearest_line, nearest_scale, to_lanes,
};
pub(crate) use hadamard::hadamard;
pub(crate) use index_q8::{index_query, index_scores_q8, store_index_key};
pub(crate) use index_scores::index_scores;
pub(crate) use int_peak::{MACS_PER_ROUND, int_peak};
pub(crate) use map::{add, axpy, sigmoid, swiglu};
pub(crate) use norm::{layer_norm, rms_norm};
pub(crate) use q8::encode as encode_q8;
pub(crate) use rope::{rope_halves, rope_pairs};
pub(crate) use softmax::softmax;
