//! On one level a value depends on its own inputs only: batches, slices, picks and splits change no bit.

mod support;

use fastrand::Rng;
use fathom_simd::{Attend, Format, IndexScores, Kernels, Pick, Rows};
use support::{Tokens, bits, caches, columns, levels, product, tame, weights};

/// Shapes that cross every tile border of the products.
fn shapes(kernels: &Kernels, format: Format, random: &mut Rng) -> Vec<(usize, usize, usize)> {
    let few = if kernels.level() == fathom_simd::Level::Scalar { 6 } else { 60 };
    let columns = columns(format);
    let mut shapes = Vec::new();
    for at in 0..few {
        let n_cols = columns[(at * 7 + random.usize(0..7)) % columns.len()];
        shapes.push((random.usize(1..=70), n_cols, random.usize(1..=40)));
    }
    shapes
}

#[test]
fn a_token_in_a_batch_has_the_bits_it_has_alone() {
    let random = &mut Rng::with_seed(1);
    for kernels in levels() {
        for format in Format::ALL {
            for (n_rows, n_cols, n_tokens) in shapes(kernels, format, random) {
                let bytes = weights(random, format, n_rows, n_cols);
                let values = tame(random, n_tokens * n_cols);
                let tokens = Tokens::new(random, values, n_cols, n_cols, false);
                let (w, x) = (Rows::new(format, &bytes, n_rows, n_cols), tokens.for_format(format));
                let batch = product(kernels, w, x, Pick::First(n_tokens));
                for (token, batch) in (0..).zip(batch.chunks_exact(n_rows)) {
                    let alone = product(kernels, w, x, Pick::Rows(&[token]));
                    assert_eq!(
                        bits(&alone),
                        bits(batch),
                        "{format:?} {kernels:?} {n_rows} {n_cols} {n_tokens}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_in_a_slice_has_the_bits_it_has_in_the_whole() {
    let random = &mut Rng::with_seed(2);
    for kernels in levels() {
        for format in Format::ALL {
            for (n_rows, n_cols, n_tokens) in shapes(kernels, format, random) {
                let bytes = weights(random, format, n_rows, n_cols);
                let values = tame(random, n_tokens * n_cols);
                let tokens = Tokens::new(random, values, n_cols, n_cols, false);
                let (w, x) = (Rows::new(format, &bytes, n_rows, n_cols), tokens.for_format(format));
                let whole = product(kernels, w, x, Pick::First(n_tokens));
                let first = random.usize(0..n_rows);
                let range = first..random.usize(first..=n_rows);
                let slice = product(kernels, w.slice(range.clone()), x, Pick::First(n_tokens));
                for token in 0..n_tokens {
                    let expected = &whole[token * n_rows..][range.clone()];
                    let found = &slice[token * range.len()..][..range.len()];
                    assert_eq!(bits(found), bits(expected), "{format:?} {kernels:?} rows {range:?}");
                }
            }
        }
    }
}

#[test]
fn a_pick_takes_its_tokens_in_its_order_and_may_repeat_them() {
    let random = &mut Rng::with_seed(3);
    for kernels in levels() {
        for format in Format::ALL {
            for (n_rows, n_cols, n_tokens) in shapes(kernels, format, random) {
                let bytes = weights(random, format, n_rows, n_cols);
                let values = tame(random, n_tokens * n_cols);
                let tokens = Tokens::new(random, values, n_cols, n_cols, false);
                let (w, x) = (Rows::new(format, &bytes, n_rows, n_cols), tokens.for_format(format));
                let all = product(kernels, w, x, Pick::First(n_tokens));
                let pick: Vec<u32> =
                    (0..random.usize(0..30)).map(|_| random.u32(0..n_tokens as u32)).collect();
                let picked = product(kernels, w, x, Pick::Rows(&pick));
                for (&token, found) in pick.iter().zip(picked.chunks_exact(n_rows)) {
                    let expected = &all[token as usize * n_rows..][..n_rows];
                    assert_eq!(bits(found), bits(expected), "{format:?} {kernels:?} token {token}");
                }
            }
        }
    }
}

#[test]
fn index_scores_of_a_key_range_are_those_of_the_whole() {
    let random = &mut Rng::with_seed(4);
    for kernels in levels() {
        for format in caches() {
            for _ in 0..10 {
                let (n_keys, n_heads, dim) = (random.usize(1..120), random.usize(1..12), 96);
                let bytes = weights(random, format, n_keys, dim);
                let (q, head_weights) = (tame(random, n_heads * dim), tame(random, n_heads));
                let keys = Rows::new(format, &bytes, n_keys, dim);
                let scores = |keys: Rows<'_>| {
                    let mut out = vec![0.0; keys.n_rows];
                    kernels.index_scores(IndexScores { q: &q, weights: &head_weights, keys }, &mut out);
                    bits(&out)
                };
                let first = random.usize(0..n_keys);
                let range = first..random.usize(first..=n_keys);
                assert_eq!(scores(keys.slice(range.clone())), scores(keys)[range]);
            }
        }
    }
}

#[test]
fn a_head_alone_attends_as_it_does_among_others() {
    let random = &mut Rng::with_seed(5);
    for kernels in levels() {
        for format in caches() {
            for _ in 0..10 {
                let (n_rows, n_heads, dim) = (random.usize(1..150), random.usize(1..11), 96);
                let v_dim = random.usize(1..=dim);
                let bytes = weights(random, format, n_rows, dim);
                let q = tame(random, n_heads * dim);
                let rows = Rows::new(format, &bytes, n_rows, dim);
                let pick: Vec<u32> = (0..n_rows as u32).filter(|row| row % 3 != 1).collect();
                let attend = |q: &[f32]| {
                    let n_heads = q.len() / dim;
                    let mut out = vec![0.0; n_heads * v_dim];
                    let mut scratch = vec![f32::NAN; Attend::scratch_len(n_heads, dim)];
                    let a = Attend { q, rows, pick: Pick::Rows(&pick), scale: 0.2, v_dim };
                    kernels.attend(a, &mut scratch, &mut out);
                    bits(&out)
                };
                let together = attend(&q);
                for (q, expected) in q.chunks_exact(dim).zip(together.chunks_exact(v_dim)) {
                    assert_eq!(attend(q), expected, "{format:?} {kernels:?} {n_rows} {n_heads} {v_dim}");
                }
            }
        }
    }
}

#[test]
fn segments_make_the_whole_whoever_has_them() {
    let random = &mut Rng::with_seed(8);
    for kernels in levels() {
        let sizes = [(256, 1), (257, 2), (1000, 4), (4200, 14)];
        for (format, (n_rows, n_segments)) in caches().flat_map(|format| sizes.map(|size| (format, size))) {
            let (n_heads, dim, v_dim) = (5, 96, random.usize(1..=96));
            let bytes = weights(random, format, n_rows, dim);
            let q = tame(random, n_heads * dim);
            let rows = Rows::new(format, &bytes, n_rows, dim);
            let a = Attend { q: &q, rows, pick: Pick::First(n_rows), scale: 0.2, v_dim };
            let mut scratch = vec![f32::NAN; Attend::scratch_len(n_heads, dim)];
            let mut expected = vec![0.0; n_heads * v_dim];
            kernels.attend(a, &mut scratch, &mut expected);
            assert_eq!(a.n_segments(), n_segments);

            // Heads 0 and 1 together, the others together; then each head's segments on their own.
            let len = Attend::part_len(v_dim);
            let mut parts = vec![vec![f32::NAN; n_heads * len]; a.n_segments()];
            for (segment, parts) in parts.iter_mut().enumerate().rev() {
                for heads in [0..2, 2..5] {
                    let q = &q[heads.start * dim..heads.end * dim];
                    let part = &mut parts[heads.start * len..heads.end * len];
                    kernels.attend_segment(Attend { q, ..a }, segment, &mut scratch, part);
                }
            }
            let mut found = vec![0.0; n_heads * v_dim];
            for (head, out) in found.chunks_exact_mut(v_dim).enumerate() {
                let mut of_head = parts.iter().map(|parts| &parts[head * len..(head + 1) * len]);
                let mut total = of_head.next().unwrap().to_vec();
                of_head.for_each(|part| kernels.attend_fold(v_dim, part, &mut total));
                kernels.attend_end(v_dim, &total, out);
            }
            assert_eq!(bits(&found), bits(&expected), "{format:?} {kernels:?} {n_rows} {v_dim}");
        }
    }
}

#[test]
fn rows_of_no_columns_and_no_rows_and_no_tokens_are_harmless() {
    for kernels in levels() {
        for format in Format::ALL {
            let n = format.block_len().max(32);
            let tokens = Tokens::new(&mut Rng::with_seed(6), vec![1.0; n * 9], n, n, false);
            let x = tokens.for_format(format);
            assert_eq!(product(kernels, Rows::new(format, &[], 2, 0), x, Pick::First(9)), [0.0; 18]);
            assert_eq!(product(kernels, Rows::new(format, &[], 0, n), x, Pick::First(9)), [0.0; 0]);
            let bytes = weights(&mut Rng::with_seed(7), format, 3, n);
            assert_eq!(product(kernels, Rows::new(format, &bytes, 3, n), x, Pick::Rows(&[])), [0.0; 0]);
        }
    }
}
