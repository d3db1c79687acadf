//! The most that the integer units can do: products of bytes from register to register, and nothing else. Benchmarks
//! hold products against it.

use crate::isa::Isa;

/// Sums under way. Products of narrow registers keep half of them in the registers at a time.
const CHAINS: usize = 12;
/// Steps of a run, as in products of quants up to 31: levels that sum pairs in 16 bits widen them once a run.
const RUN: usize = 4;
/// Multiplications, each with its addition, in one round.
pub(crate) const MACS_PER_ROUND: usize = CHAINS * RUN * 64;

/// Weights: bytes up to 31, so that a run fits; others in each step, so that no step can be taken from another.
const WEIGHTS: [[u8; 64]; RUN] = {
    let mut weights = [[0; 64]; RUN];
    let mut at = 0;
    while at < RUN * 64 {
        weights[at / 64][at % 64] = (37 * at + at / 64 + 11) as u8 & 31;
        at += 1;
    }
    weights
};

/// `rounds` times, each of [`CHAINS`] sums s: s += dots of [`RUN`] sets of weights with the bytes of s, in fours. `out`: the
/// sums of all chains. A sum takes part in its own product, so that no product can be computed ahead or left out.
#[inline(always)]
pub(crate) fn int_peak<I: Isa>(isa: I, rounds: usize, out: &mut [i32; 16]) {
    // A register of 32 would hold the weights and 12 sums; one of 16 does so with 6, which are two vectors each.
    let total = if I::WIDE {
        chains::<I, CHAINS>(isa, rounds, 0)
    } else {
        let first = chains::<I, { CHAINS / 2 }>(isa, rounds, 0);
        isa.add_i32(first, chains::<I, { CHAINS / 2 }>(isa, rounds, CHAINS / 2))
    };
    let mut bits = [0.0; 16];
    isa.store(isa.with_bits(total), &mut bits);
    *out = bits.map(|bits| bits.to_bits().cast_signed());
}

/// The chains `first .. first + N`, added up.
#[inline(always)]
fn chains<I: Isa, const N: usize>(isa: I, rounds: usize, first: usize) -> I::I32 {
    let mut sums = [isa.splat_i32(0); N];
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum = isa.splat_i32(0x0103_0507 * (first + at + 1) as i32);
    }
    for _ in 0..rounds {
        for sum in &mut sums {
            let mut run = isa.begin_fours(*sum);
            for weights in &WEIGHTS {
                run = isa.dot_fours(run, weights, *sum);
            }
            *sum = isa.end_fours(*sum, run);
        }
    }
    let mut total = isa.splat_i32(0);
    for sum in sums {
        total = isa.add_i32(total, sum);
    }
    total
}
