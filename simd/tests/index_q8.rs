//! Index keys and queries of 8 bits: their error, their faults, and the selection they lead to.

mod support;

use fastrand::Rng;
use fathom_simd::{Format, IndexScores, Kernels, Q8IndexScores, Q8Keys, Rows, top_k};
use support::levels;

/// Nearly normal values of variance one: sums of twelve uniform ones.
fn normal(random: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| (0..12).map(|_| random.f32()).sum::<f32>() - 6.0).collect()
}

/// Keys in blocks.
fn stored(kernels: &Kernels, keys: &[f32], dim: usize) -> Vec<u8> {
    let block_bytes = Q8Keys::block_bytes(dim);
    let n_blocks = (keys.len() / dim).div_ceil(Q8Keys::PER_BLOCK);
    let mut bytes = vec![0; n_blocks * block_bytes];
    for (at, key) in keys.chunks_exact(dim).enumerate() {
        let block = &mut bytes[at / Q8Keys::PER_BLOCK * block_bytes..][..block_bytes];
        kernels.store_index_key(key, at % Q8Keys::PER_BLOCK, block);
    }
    bytes
}

/// Scores of 8 bits; the weights take in the queries' scales.
fn scores(kernels: &Kernels, (q, weights): (&[f32], &[f32]), keys: &[f32], dim: usize) -> Vec<f32> {
    let padded = dim.next_multiple_of(4);
    let (mut integers, mut sums) = (vec![0; weights.len() * padded], Vec::new());
    let mut scaled = weights.to_vec();
    for ((q, out), weight) in q.chunks_exact(dim).zip(integers.chunks_exact_mut(padded)).zip(&mut scaled) {
        let row = kernels.index_query(q, out);
        *weight *= row.scale;
        sums.push(row.sum);
    }
    let bytes = stored(kernels, keys, dim);
    let keys = Q8Keys { bytes: &bytes, n_keys: keys.len() / dim, dim };
    let mut out = vec![0.0; keys.n_keys];
    kernels.index_scores_q8(Q8IndexScores { q: &integers, sums: &sums, weights: &scaled, keys }, &mut out);
    out
}

fn exact(kernels: &Kernels, (q, weights): (&[f32], &[f32]), keys: &[f32], dim: usize) -> Vec<f32> {
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let keys = Rows::new(Format::F32, &bytes, keys.len() / dim, dim);
    let mut out = vec![0.0; keys.n_rows];
    kernels.index_scores(IndexScores { q, weights, keys }, &mut out);
    out
}

/// The shape of DeepSeek-V3.2 (64 heads of 128) on independent normal values, which spread scores as evenly as can be.
#[test]
fn a_selection_by_8_bits_is_99_percent_that_of_floats() {
    let (n_heads, dim, n_keys, k) = (64, 128, 8192, 2048);
    let mut random = Rng::with_seed(5);
    let kernels = Kernels::best();
    let keys = normal(&mut random, n_keys * dim);
    let (mut kept, mut all) = (0, 0);
    for _ in 0..4 {
        let (q, weights) = (normal(&mut random, n_heads * dim), normal(&mut random, n_heads));
        let [mut found, mut wanted] = [vec![0; k], vec![0; k]];
        top_k(&scores(kernels, (&q, &weights), &keys, dim), k, &mut found).unwrap();
        top_k(&exact(kernels, (&q, &weights), &keys, dim), k, &mut wanted).unwrap();
        kept += found.iter().filter(|key| wanted.binary_search(key).is_ok()).count();
        all += k;
    }
    let recall = kept as f64 / all as f64;
    println!("recall {recall:.4}");
    assert!(recall >= 0.99, "{recall}");
}

/// A score is off by what the integers are off, and no more.
#[test]
fn scores_are_within_the_error_of_the_integers() {
    let mut random = Rng::with_seed(6);
    for kernels in levels() {
        for (n_heads, dim, n_keys) in [(1, 1, 1), (3, 7, 17), (16, 32, 40), (64, 128, 33)] {
            let keys = normal(&mut random, n_keys * dim);
            let (q, weights) = (normal(&mut random, n_heads * dim), normal(&mut random, n_heads));
            let found = scores(kernels, (&q, &weights), &keys, dim);
            let wanted = exact(kernels, (&q, &weights), &keys, dim);
            let amax = |x: &[f32]| x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for ((key, found), wanted) in keys.chunks_exact(dim).zip(found).zip(wanted) {
                let mut bound = 0.0;
                for (q, weight) in q.chunks_exact(dim).zip(&weights) {
                    let (q_off, k_off) = (amax(q) / 254.0, amax(key) / 254.0);
                    let sizes =
                        q.iter().zip(key).map(|(q, k)| q.abs() * k_off + k.abs() * q_off + q_off * k_off);
                    bound += weight.abs() * sizes.sum::<f32>();
                }
                let off = (found - wanted).abs();
                assert!(off <= 1.01 * bound + 1e-6, "{kernels:?} {n_heads} {dim}: {off} of {bound}");
            }
        }
    }
}

#[test]
fn faults_reach_the_score_and_zeros_are_zero() {
    for kernels in levels() {
        let ones = [1.0; 8];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = ones;
            row[5] = bad;
            let keys = [ones, row].concat();
            let found = scores(kernels, (&ones, &[1.0]), &keys, 8);
            assert!((found[0] - 8.0).abs() < 1e-5 && found[1].is_nan(), "{found:?}");
            assert!(scores(kernels, (&row, &[1.0]), &ones, 8)[0].is_nan());
        }
        for tiny in [0.0, f32::MIN_POSITIVE] {
            assert_eq!(scores(kernels, (&[tiny; 8], &[1.0]), &ones, 8), [0.0]);
            assert_eq!(scores(kernels, (&ones, &[1.0]), &[tiny; 8], 8), [0.0]);
        }
    }
}
