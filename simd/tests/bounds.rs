//! Float results against f64, within the bounds that are derived in the ops' files (u = 2^-24, to first order; the
//! factor 1.01 covers the higher orders at these sizes).

mod support;

use fastrand::Rng;
use fathom_simd::{ActKind, Attend, Format, IndexScores, Pick, Rows};
use support::{Tokens, blocks, caches, columns, levels, product, tame};

const U: f64 = 1.0 / 16_777_216.0;
const SLACK: f64 = 1.01;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Tame rows, and what they mean.
fn rows(random: &mut Rng, format: Format, n_rows: usize, n_cols: usize) -> (Vec<u8>, Vec<f64>) {
    let scalar = fathom_simd::Kernels::at(fathom_simd::Level::Scalar).unwrap();
    let mut bytes = vec![0; n_rows * format.row_bytes(n_cols)];
    let mut decoded = vec![0.0; n_rows * n_cols];
    let each = bytes.chunks_exact_mut(format.row_bytes(n_cols)).zip(decoded.chunks_exact_mut(n_cols));
    for (bytes, decoded) in each {
        if format.weights_only() {
            bytes.copy_from_slice(&blocks(random, format, n_cols / format.block_len(), false));
        } else {
            scalar.encode_row(format, &tame(random, n_cols), bytes);
        }
        format.decode(bytes, decoded);
    }
    (bytes, wide(&decoded))
}

/// Sum of products and of their magnitudes.
fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}

fn assert_near(found: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(found) - exact).abs();
    assert!(error <= SLACK * bound, "{what}: {found} for {exact}, wrong by {error:e}, allowed {bound:e}");
}

#[test]
fn products_are_within_their_bounds() {
    let random = &mut Rng::with_seed(21);
    for kernels in levels() {
        for format in Format::ALL {
            for n_cols in columns(format) {
                let (n_rows, n_tokens) = (random.usize(1..20), random.usize(1..7));
                let (bytes, w) = rows(random, format, n_rows, n_cols);
                let values = tame(random, n_tokens * n_cols);
                let tokens = Tokens::new(random, values, n_cols, n_cols, false);
                let roundings = match format {
                    // An added rounding for the product of the scales.
                    Format::Q8_0 => n_cols / 32 + 1,
                    // The scales' own roundings are those of decoding.
                    _ if format.weights_only() => n_cols / 32 + 4,
                    _ => n_cols.div_ceil(16) + 4,
                };
                let meant: Vec<f64> = if format.acts() == ActKind::Q8 {
                    let scaled = |(at, &q): (usize, &i8)| f64::from(q) * f64::from(tokens.scales[at / 32]);
                    tokens.quants.iter().enumerate().map(scaled).collect()
                } else {
                    wide(&tokens.values)
                };
                let span = w.iter().fold(0.0_f64, |span, w| span.max(w.abs()));
                let x = tokens.for_format(format);
                let w_rows = Rows::new(format, &bytes, n_rows, n_cols);
                let found = product(kernels, w_rows, x, Pick::First(n_tokens));
                for (x, found) in meant.chunks_exact(n_cols).zip(found.chunks_exact(n_rows)) {
                    for (w, &found) in w.chunks_exact(n_cols).zip(found) {
                        let (exact, mut size) = dot(w, x);
                        if format.weights_only() {
                            // Scale times quant and minimum, which may cancel in a weight, are both at most as large
                            // as the block's largest weights apart.
                            size = 2.0 * span * x.iter().map(|x| x.abs()).sum::<f64>();
                        }
                        // Decoding to f32 rounds once per weight, thrice with minimums; the kernel does not do it.
                        let decoding = match format.acts() {
                            ActKind::Q8 => 3.0 * U * size,
                            ActKind::F32 => 0.0,
                        };
                        assert_near(found, exact, roundings as f64 * U * size + decoding, format.name());
                    }
                }
            }
        }
    }
}

/// Activation blocks: half a step of 127 to the largest value, at any size that a float has; never -128; sums that are
/// the quants'.
#[test]
fn activations_are_within_their_bound() {
    let random = &mut Rng::with_seed(27);
    for kernels in levels() {
        for exponent in -110..127 {
            let size = 2_f32.powi(exponent);
            let mut x: Vec<f32> = tame(random, 8 * 32).into_iter().map(|x| x * size).collect();
            // One value above all others, at either end of the range.
            (x[37], x[70], x[100]) = (size, -size, f32::MIN_POSITIVE);
            let (mut values, mut scales) = (vec![0; x.len()], vec![0.0; x.len() / 32]);
            let mut sums = vec![[0; 2]; x.len() / 32];
            kernels.encode_q8(&x, &mut values, &mut scales, &mut sums);
            for (block, (x, q)) in x.chunks_exact(32).zip(values.chunks_exact(32)).enumerate() {
                let amax = f64::from(x.iter().fold(0.0_f32, |amax, x| amax.max(x.abs())));
                assert!(scales[block].is_normal(), "{kernels:?}: scale {} of {amax}", scales[block]);
                for (x, &q) in x.iter().zip(q) {
                    assert!(q != i8::MIN);
                    let found = f64::from(q) * f64::from(scales[block]);
                    let error = (found - f64::from(*x)).abs();
                    assert!(error <= amax / 254.0 + 3.0 * U * amax, "{kernels:?}: {x} is {found}");
                }
                for (half, sum) in q.chunks_exact(16).zip(sums[block]) {
                    assert_eq!(half.iter().map(|&q| i32::from(q)).sum::<i32>(), i32::from(sum));
                }
            }
        }
    }
}

/// The figure in `op/q8.rs`.
#[test]
fn normal_activations_lose_half_a_percent() {
    let random = &mut Rng::with_seed(28);
    let normal = |random: &mut Rng| {
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * random.f64()).cos()) as f32
    };
    let x: Vec<f32> = (0..32_768).map(|_| normal(random)).collect();
    let (mut values, mut scales, mut sums) = (vec![0; x.len()], vec![0.0; 1024], vec![[0; 2]; 1024]);
    fathom_simd::Kernels::best().encode_q8(&x, &mut values, &mut scales, &mut sums);
    let miss = |at: usize| f64::from(x[at]) - f64::from(values[at]) * f64::from(scales[at / 32]);
    let missed: f64 = (0..x.len()).map(|at| miss(at).powi(2)).sum();
    let share = (missed / x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()).sqrt();
    assert!((0.0050..0.0056).contains(&share), "{share}");
}

#[test]
fn norms_are_within_their_bounds() {
    let random = &mut Rng::with_seed(22);
    for kernels in levels() {
        for n in (1..70).chain([1000, 7168]) {
            let (x, w, b) = (tame(random, n), tame(random, n), tame(random, n));
            let (wx, count, eps) = (wide(&x), n as f64, f64::from(1e-6_f32));
            let steps = n.div_ceil(16) as f64 + 4.0;
            let mut out = vec![0.0; n];

            kernels.rms_norm(&x, &w, 1e-6, &mut out);
            let inverse = 1.0 / (wx.iter().map(|x| x * x).sum::<f64>() / count + eps).sqrt();
            for at in 0..n {
                let exact = f64::from(w[at]) * wx[at] * inverse;
                // Half of the sum's error survives the root; five more operations round.
                assert_near(out[at], exact, (steps / 2.0 + 5.0) * U * exact.abs(), "rms_norm");
            }

            kernels.layer_norm(&x, &w, &b, 1e-6, &mut out);
            let mean = wx.iter().sum::<f64>() / count;
            let size = wx.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            let variance = wx.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            let inverse = 1.0 / (variance + eps).sqrt();
            // The mean's error shifts every difference (size is at least every |x|); it enters the variance too.
            let shift = (steps + 2.0) * U * size;
            let scale = (steps / 2.0 + 5.0) * U + shift * inverse;
            for at in 0..n {
                let normed = (wx[at] - mean) * inverse;
                let exact = normed * f64::from(w[at]) + f64::from(b[at]);
                let bound =
                    f64::from(w[at]).abs() * (shift * inverse + normed.abs() * scale) + U * exact.abs();
                assert_near(out[at], exact, bound, "layer_norm");
            }
        }
    }
}

#[test]
fn softmax_sigmoid_and_swiglu_are_within_their_bounds() {
    let random = &mut Rng::with_seed(23);
    for kernels in levels() {
        for n in (1..70).chain([1000, 7168]) {
            let x: Vec<f32> = (0..n).map(|_| 40.0 * random.f32() - 20.0).collect();
            let (wx, up) = (wide(&x), tame(random, n));
            let mut out = x.clone();
            kernels.softmax(&mut out);
            let max = wx.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(x));
            let sum: f64 = wx.iter().map(|x| (x - max).exp()).sum();
            for at in 0..n {
                let exact = (wx[at] - max).exp() / sum;
                // Each exp: the difference's rounding and two ulp, 4 u; in the sum too; the additions; the quotient.
                let roundings = 2.0 * (40.0 + 4.0) + n.div_ceil(16) as f64 + 4.0 + 1.0;
                assert_near(out[at], exact, roundings * U * exact, "softmax");
            }

            out.copy_from_slice(&x);
            kernels.sigmoid(&mut out);
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            for at in 0..n {
                let exact = sigmoid(wx[at]);
                // e appears above and below the line: 4 u each at most; sum and quotient.
                assert_near(out[at], exact, 10.0 * U * exact, "sigmoid");
            }

            kernels.swiglu(&x, &up, &mut out);
            for at in 0..n {
                let exact = wx[at] * sigmoid(wx[at]) * f64::from(up[at]);
                assert_near(out[at], exact, 12.0 * U * exact.abs(), "swiglu");
            }
        }
    }
}

#[test]
fn rotations_and_transforms_are_within_their_bounds() {
    let random = &mut Rng::with_seed(24);
    for kernels in levels() {
        for n in [1, 5, 16, 31, 32, 64] {
            let x = tame(random, 2 * n);
            let (sin, cos): (Vec<f32>, Vec<f32>) = (0..n).map(|at| (at as f32 * 0.3 - 1.0).sin_cos()).unzip();
            for pairs in [true, false] {
                let mut out = x.clone();
                if pairs {
                    kernels.rope_pairs(&mut out, &cos, &sin)
                } else {
                    kernels.rope_halves(&mut out, &cos, &sin)
                }
                for at in 0..n {
                    let (low, high) = if pairs { (2 * at, 2 * at + 1) } else { (at, at + n) };
                    let (x0, x1) = (f64::from(x[low]), f64::from(x[high]));
                    let (c, s) = (f64::from(cos[at]), f64::from(sin[at]));
                    let bound = |a: f64, b: f64| 2.0 * U * (a.abs() + b.abs());
                    assert_near(out[low], x0 * c - x1 * s, bound(x0 * c, x1 * s), "rope");
                    assert_near(out[high], x0 * s + x1 * c, bound(x0 * s, x1 * c), "rope");
                }
            }
        }
        for (len, block) in
            [(1, 1), (2, 2), (12, 4), (8, 8), (16, 16), (48, 16), (64, 64), (128, 128), (384, 128)]
        {
            let x = tame(random, len);
            let mut out = x.clone();
            kernels.hadamard(&mut out);
            for (x, out) in wide(&x).chunks_exact(block).zip(out.chunks_exact(block)) {
                let scale = 1.0 / (block as f64).sqrt();
                for (row, &found) in out.iter().enumerate() {
                    // Sylvester: the sign is the parity of the bits that row and column share.
                    let sign = |column: usize| {
                        if (row & column).count_ones().is_multiple_of(2) { scale } else { -scale }
                    };
                    let signs: Vec<f64> = (0..block).map(sign).collect();
                    let (exact, size) = dot(x, &signs);
                    let stages = f64::from(block.trailing_zeros());
                    assert_near(found, exact, (stages + 2.0) * U * size, "hadamard");
                }
            }
        }
    }
}

#[test]
fn index_scores_are_within_their_bound() {
    let random = &mut Rng::with_seed(25);
    for kernels in levels() {
        for format in caches() {
            for (n_heads, dim, n_keys) in [(1, 32, 5), (7, 64, 40), (64, 128, 50), (9, 160, 33)] {
                let (bytes, keys) = rows(random, format, n_keys, dim);
                let (q, weights) = (tame(random, n_heads * dim), tame(random, n_heads));
                let mut out = vec![0.0; n_keys];
                let s =
                    IndexScores { q: &q, weights: &weights, keys: Rows::new(format, &bytes, n_keys, dim) };
                kernels.index_scores(s, &mut out);
                let q = wide(&q);
                for (key, &found) in keys.chunks_exact(dim).zip(&out) {
                    let (mut exact, mut size) = (0.0, 0.0);
                    for (q, &w) in q.chunks_exact(dim).zip(&weights) {
                        let (sum, magnitude) = dot(q, key);
                        exact += f64::from(w) * sum.max(0.0);
                        size += f64::from(w).abs() * magnitude;
                    }
                    assert_near(found, exact, (dim + n_heads) as f64 * U * size, format.name());
                }
            }
        }
    }
}

#[test]
fn attention_is_within_its_bound() {
    let random = &mut Rng::with_seed(26);
    for kernels in levels() {
        for format in caches() {
            for (n_heads, dim, v_dim, n_rows) in
                [(1, 32, 32, 1), (3, 64, 33, 40), (5, 576, 512, 100), (2, 96, 80, 700)]
            {
                let (bytes, cache) = rows(random, format, n_rows, dim);
                let q = tame(random, n_heads * dim);
                let pick: Vec<u32> = (0..n_rows as u32).filter(|row| row % 4 != 2).collect();
                let scale = 0.1352338_f32;
                let mut out = vec![0.0; n_heads * v_dim];
                let mut scratch = vec![0.0; Attend::scratch_len(n_heads, dim)];
                let rows = Rows::new(format, &bytes, n_rows, dim);
                let a = Attend { q: &q, rows, pick: Pick::Rows(&pick), scale, v_dim };
                kernels.attend(a, &mut scratch, &mut out);
                for (q, out) in wide(&q).chunks_exact(dim).zip(out.chunks_exact(v_dim)) {
                    // What rounding to BF16 moves a query, and a weight; see `op/attend/mod.rs`.
                    let rounding = if format == Format::BF16 { (-8_f64).exp2() } else { 0.0 };
                    check_head(q, out, &cache, &pick, (f64::from(scale), rounding));
                }
            }
        }
    }
}

/// One head against the exact sums, within the bound at the head of `op/attend/mod.rs`.
fn check_head(q: &[f64], out: &[f32], cache: &[f64], pick: &[u32], (scale, rounding): (f64, f64)) {
    let dim = q.len();
    let picked: Vec<&[f64]> = pick.iter().map(|&row| &cache[row as usize * dim..][..dim]).collect();
    let dots: Vec<(f64, f64)> = picked.iter().map(|row| dot(q, row)).collect();
    let scores: Vec<f64> = dots.iter().map(|(dot, _)| scale * dot).collect();
    let (low, high) = scores.iter().fold((f64::MAX, f64::MIN), |(l, h), &s| (l.min(s), h.max(s)));
    let size = dots.iter().fold(0.0_f64, |size, (_, magnitude)| size.max(scale * magnitude));
    let total: f64 = scores.iter().map(|s| (s - high).exp()).sum();
    let (n, blocks) = (pick.len() as f64, (pick.len().div_ceil(64) + pick.len().div_ceil(256)) as f64);
    let steps = 64.0 + dim.div_ceil(64) as f64;
    let e = (steps + 1.0) * size + 2.0 * (high - low) + 4.0 * (blocks + 1.0) + (size + 1.0) * rounding / U;
    for (v, &found) in out.iter().enumerate() {
        let exact: f64 = scores.iter().zip(&picked).map(|(s, row)| (s - high).exp() / total * row[v]).sum();
        let largest = picked.iter().fold(0.0_f64, |largest, row| largest.max(row[v].abs()));
        assert_near(found, exact, (2.0 * e + n + 2.0 * blocks + 8.0) * U * largest, "attend");
    }
}
