//! The k largest scores: exact, without allocation, in linear time.
//!
//! Scores become 32-bit keys in their order (-0 as +0). Counting by digits (11, 11, 10 bits, highest first) finds the
//! k-th largest key: the first digit over all scores, the others over the few that share it. A last pass writes, in
//! ascending position, every position with a larger key and the first ones with an equal key. Rejected: a heap
//! (n log k, and k is 2048 here), and quickselect (needs a copy).

use thiserror::Error;

/// A NaN among scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("score {position} is not a number")]
pub struct NanAt {
    /// Where the first one stands.
    pub position: usize,
}

/// Order-preserving: a larger score has a larger key. Both zeros have one key; NaNs lie beyond both infinities.
#[inline(always)]
fn key(score: f32) -> u32 {
    // Adding +0 turns -0 into +0 and changes nothing else.
    let bits = (score + 0.0).to_bits().cast_signed();
    // All bits of a negative number are flipped, the sign of the others.
    (bits ^ (bits >> 31 | i32::MIN)).cast_unsigned()
}

const KEY_OF_INFINITY: u32 = 0xff80_0000;
const KEY_OF_NEG_INFINITY: u32 = 0x007f_ffff;

/// Writes the positions of the `k` largest scores to `out`, ascending, and returns how many: `min(k, scores.len())`.
///
/// Order: larger score first, -0 equal to +0, lower position first. Infinities are legal scores; a NaN is an error.
/// Positions fit in `u32`; `out` holds at least as many as are returned (a panic otherwise: caller's bug).
pub fn top_k(scores: &[f32], k: usize, out: &mut [u32]) -> Result<usize, NanAt> {
    assert!(u32::try_from(scores.len()).is_ok(), "{} scores are too many for 32-bit positions", scores.len());
    let k = k.min(scores.len());
    assert!(out.len() >= k, "room for {} positions, {k} wanted", out.len());
    let counts = count_highest(scores);
    // Infinities share their bins with NaNs: look closer only then. There is no short cut for k = 0 or k = n:
    // whether a NaN is reported must not depend on k.
    let suspects = counts[..=bin(KEY_OF_NEG_INFINITY)].iter().chain(&counts[bin(KEY_OF_INFINITY)..]);
    if suspects.sum::<u32>() > 0
        && let Some(position) = scores.iter().position(|score| score.is_nan())
    {
        return Err(NanAt { position });
    }
    if k == scores.len() {
        for (position, out) in (0..).zip(&mut out[..k]) {
            *out = position;
        }
    } else if k > 0 {
        write(scores, kth(scores, &counts, k), &mut out[..k]);
    }
    Ok(k)
}

/// Bits of the first digit, and of the second; the last has the remaining 10.
const WIDTH: u32 = 11;

/// The first digit of a key.
#[inline(always)]
fn bin(key: u32) -> usize {
    (key >> (32 - WIDTH)) as usize
}

/// How many keys have each first digit. Two tables, because a run of scores in one bin would otherwise wait for its
/// own counter each time.
fn count_highest(scores: &[f32]) -> [u32; 1 << WIDTH] {
    let mut counts = [[0; 1 << WIDTH]; 2];
    let (pairs, rest) = scores.as_chunks::<2>();
    for pair in pairs {
        counts[0][bin(key(pair[0]))] += 1;
        counts[1][bin(key(pair[1]))] += 1;
    }
    for &score in rest {
        counts[0][bin(key(score))] += 1;
    }
    let [mut sums, others] = counts;
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
    sums
}

/// The highest digit such that at least `wanted` keys have it or a higher one, and how many of them are still wanted
/// among those that have it.
fn digit_of(counts: &[u32], mut wanted: usize) -> (usize, usize) {
    let mut digit = counts.len() - 1;
    while (counts[digit] as usize) < wanted {
        wanted -= counts[digit] as usize;
        digit -= 1;
    }
    (digit, wanted)
}

/// Candidates that are copied aside; more (ties abound) are found again among the scores.
const CANDIDATES: usize = 16_384;

/// The k-th largest key, and how many of the equal ones belong to the k largest.
fn kth(scores: &[f32], counts: &[u32; 1 << WIDTH], k: usize) -> (u32, usize) {
    let (digit, wanted) = digit_of(counts, k);
    let n = counts[digit] as usize;
    if n > CANDIDATES {
        return refine(scores.iter().map(|&score| key(score)), digit as u32, wanted);
    }
    let mut candidates = [0; CANDIDATES + 1];
    let mut end = 0;
    for &score in scores {
        // Written always, kept if it is one: cheaper than a branch that cannot be foretold.
        candidates[end] = key(score);
        end += usize::from(bin(key(score)) == digit);
    }
    refine(candidates[..n].iter().copied(), digit as u32, wanted)
}

/// The two lower digits, from keys among which are all that begin with the first digit.
fn refine(keys: impl Iterator<Item = u32> + Clone, first: u32, mut wanted: usize) -> (u32, usize) {
    let mut known = first; // the highest bits, found so far
    for (shift, width) in [(10, WIDTH), (0, 10)] {
        let mut counts = [0_u32; 1 << WIDTH];
        let mask = (1 << width) - 1;
        for key in keys.clone().filter(|key| key >> shift >> width == known) {
            counts[(key >> shift) as usize & mask] += 1;
        }
        let digit;
        (digit, wanted) = digit_of(&counts[..=mask], wanted);
        known = known << width | digit as u32;
    }
    (known, wanted)
}

/// Positions of keys above the threshold, and of the first `equals` keys at it.
fn write(scores: &[f32], (threshold, mut equals): (u32, usize), out: &mut [u32]) {
    let mut places = out.iter_mut();
    for (position, &score) in (0..).zip(scores) {
        let key = key(score);
        if key < threshold {
            continue;
        }
        if key == threshold {
            if equals == 0 {
                continue;
            }
            equals -= 1;
        }
        match places.next() {
            Some(place) => *place = position,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference_top_k(scores: &[f32], k: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        // Stable, so equal scores keep ascending positions; partial_cmp has -0 == +0.
        order.sort_by(|&a, &b| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap());
        order.truncate(k);
        order.sort_unstable();
        order
    }

    fn check(scores: &[f32], k: usize) {
        let mut out = vec![u32::MAX; k.min(scores.len())];
        assert_eq!(top_k(scores, k, &mut out), Ok(out.len()));
        assert_eq!(out, reference_top_k(scores, k), "k {k} of {scores:?}");
    }

    #[test]
    fn agrees_with_a_sort_also_where_ties_abound() {
        let mut random = fastrand::Rng::with_seed(11);
        for case in 0..3000 {
            let n = random.usize(0..200);
            let kinds = random.i32(1..20);
            let mut scores: Vec<f32> = (0..n)
                .map(|_| match case % 3 {
                    0 => random.i32(-kinds..kinds) as f32 * 0.5,
                    1 => random.f32() - 0.5,
                    _ => f32::from_bits(random.u32(..)),
                })
                .map(|score| if score.is_nan() { 0.0 } else { score })
                .collect();
            for score in &mut scores {
                match random.u32(0..12) {
                    0 => *score = -0.0,
                    1 => *score = f32::NEG_INFINITY,
                    2 => *score = 0.0,
                    3 if case % 7 == 0 => *score = f32::INFINITY,
                    _ => {}
                }
            }
            check(&scores, random.usize(0..n + 2));
        }
    }

    #[test]
    fn long_lists_agree_too() {
        let mut random = fastrand::Rng::with_seed(12);
        let scores: Vec<f32> = (0..50_000).map(|_| (random.f32() * 1000.0).round() / 8.0).collect();
        for k in [1, 2048, 49_999] {
            check(&scores, k);
        }
    }

    #[test]
    fn both_zeros_tie_and_the_lower_position_wins() {
        let mut out = [9; 2];
        assert_eq!(top_k(&[-1.0, -0.0, 0.0, 0.0], 2, &mut out), Ok(2));
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn a_nan_of_either_sign_is_reported_whatever_k_is() {
        for nan in [f32::NAN, -f32::NAN] {
            for k in [0, 1, 3, 5] {
                let error = top_k(&[1.0, f32::INFINITY, nan, nan], k, &mut [0; 4]);
                assert_eq!(error, Err(NanAt { position: 2 }));
            }
        }
    }
}
