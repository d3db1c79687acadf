//! Every kernel of every level of this machine against the scalar level, which is the definition.
//!
//! The test walks the table's own ids: a kernel exists when it is checked here, and an id without a check fails.
//! Bits are compared. The law asks for less (bounds, `tests/bounds.rs`), but integer parts are exact, the ops are
//! written once over words that every level keeps exactly, and an unexplained bit is a bug until proven otherwise.

mod support;

use fastrand::Rng;
use fathom_simd::fit::{Lanes, Lines, NearestLine, NearestScale, Range, Residuals, Totals};
use fathom_simd::{Attend, Format, IndexScores, Kernels, Level, Pick, Q8IndexScores, Q8Keys, Rows};
use support::{Tokens, bits, columns, levels, product, tame, weights, wild};

/// (kernels to be judged, the scalar kernels, format of the id, random numbers).
type Check = fn(&Kernels, &Kernels, Format, &mut Rng);

const FORMAT_CHECKS: &[(&str, Check)] = &[
    ("product", check_product),
    ("encode_row", check_encode_row),
    ("decode_row", check_decode_row),
    ("index_scores", check_index_scores),
    ("attend", check_attend),
];

const CHECKS: &[(&str, Check)] = &[
    ("encode_q8", check_encode_q8),
    ("rms_norm", check_rms_norm),
    ("layer_norm", check_layer_norm),
    ("softmax", check_softmax),
    ("sigmoid", check_sigmoid),
    ("swiglu", check_swiglu),
    ("add", check_add),
    ("axpy", check_axpy),
    ("rope_pairs", check_rope_pairs),
    ("rope_halves", check_rope_halves),
    ("hadamard", check_hadamard),
    ("index_query", check_index_query),
    ("store_index_key", check_store_index_key),
    ("index_scores_q8", check_index_scores_q8),
    ("attend_fold", check_attend_fold),
    ("attend_end", check_attend_end),
    ("int_peak", check_int_peak),
    ("decode_e4m3", check_decode_e4m3),
    ("to_lanes", check_to_lanes),
    ("fit_totals", check_fit_totals),
    ("fit_scale", check_fit_scale),
    ("fit_line", check_fit_line),
    ("fit_error", check_fit_error),
    ("fit_quants", check_fit_quants),
    ("nearest_scale", check_nearest_scale),
    ("nearest_line", check_nearest_line),
];

#[test]
fn every_kernel_of_every_level_has_the_bits_of_the_scalar_one() {
    let scalar = Kernels::at(Level::Scalar).unwrap();
    for kernels in levels() {
        let ids: Vec<String> = kernels.ids().collect();
        let weights_only = Format::ALL.into_iter().filter(|format| format.weights_only()).count();
        let n = FORMAT_CHECKS.len() * (Format::ALL.len() - weights_only) + 2 * weights_only;
        assert_eq!(ids.len(), n + CHECKS.len(), "{ids:?}");
        for id in ids {
            let stem = id.strip_suffix(&format!("-{}", kernels.level())).expect("an id ends with its level");
            let (op, format) = stem.split_once('-').unwrap_or((stem, "f32"));
            let format = Format::from_name(format).unwrap_or_else(|| panic!("{id}: unknown format"));
            let checks = if stem.contains('-') { FORMAT_CHECKS } else { CHECKS };
            let check = checks.iter().find(|(name, _)| *name == op);
            let (_, check) = check.unwrap_or_else(|| panic!("{id}: no parity check"));
            check(kernels, scalar, format, &mut Rng::with_seed(17));
        }
    }
}

/// How many rounds of random cases; the scalar level against itself needs few.
fn rounds(kernels: &Kernels, n: usize) -> usize {
    if kernels.level() == Level::Scalar { n.div_ceil(20) } else { n }
}

fn check_product(kernels: &Kernels, scalar: &Kernels, format: Format, random: &mut Rng) {
    let mut shapes = Vec::new();
    for n_cols in columns(format) {
        shapes.push((random.usize(1..=40), n_cols, random.usize(1..=20)));
        shapes.push((random.usize(1..=40), n_cols, random.usize(1..=3)));
    }
    // Rows longer than usual for a single token, with and without a rest, and (81 blocks) too long to be read whole.
    if format.block_len() == 256 {
        shapes.extend([33, 64, 81].map(|blocks| (random.usize(1..=20), blocks * 256, 1)));
    }
    let some_columns = columns(format);
    for n_rows in 1..=40 {
        shapes.push((n_rows, some_columns[random.usize(0..some_columns.len())], random.usize(1..=20)));
        shapes.push((n_rows, some_columns[random.usize(0..20)], 1));
    }
    for n_tokens in (1..=20).chain([33, 67]) {
        shapes.push((random.usize(1..=40), some_columns[random.usize(0..20)], n_tokens));
    }
    for (n_rows, n_cols, n_tokens) in shapes.into_iter().take(rounds(kernels, 1000)) {
        let bytes = weights(random, format, n_rows, n_cols);
        let stride = (n_cols + random.usize(0..40)).next_multiple_of(format.block_len());
        let values = if random.bool() {
            tame(random, n_tokens * stride)
        } else {
            wild(random, n_tokens * stride, n_tokens % 5 == 0)
        };
        let tokens = Tokens::new(random, values, n_cols, stride, true);
        let w = Rows::new(format, &bytes, n_rows, n_cols);
        let x = tokens.for_format(format);
        let expected = product(scalar, w, x, Pick::First(n_tokens));
        let found = product(kernels, w, x, Pick::First(n_tokens));
        assert_eq!(
            bits(&found),
            bits(&expected),
            "{} {kernels:?} {n_rows} {n_cols} {n_tokens}",
            format.name()
        );
    }
}

fn check_encode_row(kernels: &Kernels, scalar: &Kernels, format: Format, random: &mut Rng) {
    for n in columns(format).into_iter().cycle().take(rounds(kernels, 2000)) {
        let faults = random.u32(0..4) == 0;
        let mut x = wild(random, n, faults);
        if random.bool() {
            x.fill_with(|| f32::from_bits(random.u32(..)));
        }
        let (mut expected, mut found) = (vec![0; format.row_bytes(n)], vec![1; format.row_bytes(n)]);
        scalar.encode_row(format, &x, &mut expected);
        kernels.encode_row(format, &x, &mut found);
        assert_eq!(found, expected, "{} {kernels:?} {x:?}", format.name());
        if format.block_len() == 1 {
            kernels.encode_cache(format, &x, &mut found);
            assert_eq!(found, expected);
            let reference = reference_encode(format, &x);
            assert_eq!(found, reference, "{} {kernels:?} {x:?}", format.name());
        }
    }
}

fn reference_encode(format: Format, x: &[f32]) -> Vec<u8> {
    use fathom_simd::format::{bf16, f16};
    match format {
        Format::F16 => x.iter().flat_map(|&x| f16::encode(x).to_le_bytes()).collect(),
        Format::BF16 => x.iter().flat_map(|&x| bf16::encode(x).to_le_bytes()).collect(),
        _ => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn check_decode_row(kernels: &Kernels, _: &Kernels, format: Format, random: &mut Rng) {
    for n in columns(format).into_iter().cycle().take(rounds(kernels, 1000)) {
        let bytes = weights(random, format, 1, n);
        let (mut expected, mut found) = (vec![0.0; n], vec![1.0; n]);
        format.decode(&bytes, &mut expected);
        kernels.decode_row(format, &bytes, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{} {kernels:?} {n}", format.name());
    }
}

fn check_index_scores(kernels: &Kernels, scalar: &Kernels, format: Format, random: &mut Rng) {
    let dims = [columns(format), vec![128, 64, 160, 256]].concat();
    for dim in dims.into_iter().cycle().take(rounds(kernels, 150)) {
        let (n_keys, n_heads) = (random.usize(0..80), random.usize(1..20));
        let keys = weights(random, format, n_keys, dim);
        let q = wild(random, n_heads * dim, false);
        let head_weights = tame(random, n_heads);
        let s = IndexScores { q: &q, weights: &head_weights, keys: Rows::new(format, &keys, n_keys, dim) };
        let (mut expected, mut found) = (vec![0.0; n_keys], vec![1.0; n_keys]);
        scalar.index_scores(s, &mut expected);
        kernels.index_scores(s, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{} {kernels:?} {n_keys} {n_heads} {dim}", format.name());
    }
}

fn check_index_query(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for round in 0..rounds(kernels, 2000) {
        let n = random.usize(1..200);
        let x = if round % 2 == 0 { tame(random, n) } else { wild(random, n, round % 5 == 0) };
        let (mut expected, mut found) = (vec![0; n.next_multiple_of(4)], vec![1; n.next_multiple_of(4)]);
        let (row, same) = (scalar.index_query(&x, &mut expected), kernels.index_query(&x, &mut found));
        assert_eq!((found, same.sum), (expected, row.sum), "{kernels:?} {x:?}");
        assert_eq!(bits(&[same.scale]), bits(&[row.scale]), "{kernels:?} {x:?}");
    }
}

fn check_store_index_key(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for round in 0..rounds(kernels, 2000) {
        let n = random.usize(1..200);
        let x = if round % 2 == 0 { tame(random, n) } else { wild(random, n, round % 5 == 0) };
        // The other lanes stay as they are.
        let mut expected: Vec<u8> = (0..Q8Keys::block_bytes(n)).map(|_| random.u8(..)).collect();
        let (mut found, lane) = (expected.clone(), random.usize(0..Q8Keys::PER_BLOCK));
        scalar.store_index_key(&x, lane, &mut expected);
        kernels.store_index_key(&x, lane, &mut found);
        assert_eq!(found, expected, "{kernels:?} {lane} {x:?}");
    }
}

fn check_index_scores_q8(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for round in 0..rounds(kernels, 300) {
        let (n_heads, n_keys) = (random.usize(1..40), random.usize(0..70));
        let dim = if round % 2 == 0 { 128 } else { random.usize(1..150) };
        let padded = dim.next_multiple_of(4);
        // Any bytes, of keys also -128.
        let q: Vec<i8> = (0..n_heads * padded).map(|_| random.i8(-127..=127)).collect();
        let sums: Vec<i32> = q.chunks_exact(padded).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
        let n_blocks = n_keys.div_ceil(Q8Keys::PER_BLOCK);
        let mut bytes: Vec<u8> = (0..n_blocks * Q8Keys::block_bytes(dim)).map(|_| random.u8(..)).collect();
        for block in bytes.chunks_exact_mut(Q8Keys::block_bytes(dim)) {
            for scale in block[Q8Keys::PER_BLOCK * padded..].chunks_exact_mut(4) {
                scale.copy_from_slice(&random.f32().to_le_bytes());
            }
        }
        let weights =
            if random.bool() { tame(random, n_heads) } else { wild(random, n_heads, round % 5 == 0) };
        let keys = Q8Keys { bytes: &bytes, n_keys, dim };
        let s = Q8IndexScores { q: &q, sums: &sums, weights: &weights, keys };
        let (mut expected, mut found) = (vec![0.0; n_keys], vec![1.0; n_keys]);
        scalar.index_scores_q8(s, &mut expected);
        kernels.index_scores_q8(s, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{kernels:?} {n_heads} heads of {dim}, {n_keys} keys");
    }
}

fn check_attend(kernels: &Kernels, scalar: &Kernels, format: Format, random: &mut Rng) {
    let dims = [columns(format), vec![576]].concat();
    for dim in dims.into_iter().cycle().take(rounds(kernels, 200)) {
        let (n_rows, n_heads, v_dim) = (random.usize(1..700), random.usize(1..14), random.usize(1..=dim));
        let cache = weights(random, format, n_rows, dim);
        let q = tame(random, n_heads * dim);
        let mut rows: Vec<u32> = (0..n_rows as u32).filter(|_| random.bool()).collect();
        rows.push(n_rows as u32 - 1);
        let pick = if random.bool() { Pick::Rows(&rows) } else { Pick::First(n_rows) };
        let scale = if random.u32(0..5) == 0 { -3.0 } else { 0.5 };
        let a = Attend { q: &q, rows: Rows::new(format, &cache, n_rows, dim), pick, scale, v_dim };
        let mut scratch = vec![f32::NAN; Attend::scratch_len(n_heads, dim)];
        let (mut expected, mut found) = (vec![0.0; n_heads * v_dim], vec![1.0; n_heads * v_dim]);
        scalar.attend(a, &mut scratch, &mut expected);
        kernels.attend(a, &mut scratch, &mut found);
        let case =
            format!("{} {kernels:?} {} of {n_rows}, {n_heads} {dim} {v_dim}", format.name(), pick.len());
        // Products of BF16 may take subnormal numbers for zero, once for each row (`op/attend/mod.rs`).
        let vanishing = if format == Format::BF16 { pick.len() as f32 * f32::MIN_POSITIVE } else { 0.0 };
        for (found, expected) in found.iter_mut().zip(&expected) {
            if (*found - expected).abs() <= vanishing {
                *found = *expected;
            }
        }
        assert_eq!(bits(&found), bits(&expected), "{case}");
    }
}

/// Parts of `n_heads` by `v_dim` as segments leave them: any values, a maximum that may be -inf, a sum.
fn parts(random: &mut Rng, n_heads: usize, v_dim: usize) -> Vec<f32> {
    let mut parts = tame(random, n_heads * Attend::part_len(v_dim));
    for part in parts.chunks_exact_mut(Attend::part_len(v_dim)) {
        let m = v_dim.next_multiple_of(16);
        part[m] = if random.u32(0..5) == 0 { f32::NEG_INFINITY } else { 30.0 * part[m] };
        part[m + 1] = part[m + 1].abs() + 1.0;
    }
    parts
}

fn check_attend_fold(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for v_dim in (1..70).cycle().take(rounds(kernels, 500)) {
        let n_heads = random.usize(0..5);
        let (part, mut expected) = (parts(random, n_heads, v_dim), parts(random, n_heads, v_dim));
        let mut found = expected.clone();
        scalar.attend_fold(v_dim, &part, &mut expected);
        kernels.attend_fold(v_dim, &part, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{kernels:?} {n_heads} {v_dim}");
    }
}

fn check_attend_end(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for v_dim in (1..70).cycle().take(rounds(kernels, 500)) {
        let n_heads = random.usize(0..5);
        let total = parts(random, n_heads, v_dim);
        let (mut expected, mut found) = (vec![0.0; n_heads * v_dim], vec![1.0; n_heads * v_dim]);
        scalar.attend_end(v_dim, &total, &mut expected);
        kernels.attend_end(v_dim, &total, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{kernels:?} {n_heads} {v_dim}");
    }
}

fn check_encode_q8(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    for blocks in (0..20).cycle().take(rounds(kernels, 2000)) {
        let faults = random.u32(0..4) == 0;
        let mut x = wild(random, blocks * 32, faults);
        let scale = 10.0_f32.powi(random.i32(-42..38));
        match random.u32(0..3) {
            0 => x.fill_with(|| (random.f32() - 0.5) * scale),
            1 => x.fill_with(|| f32::from_bits(random.u32(..))),
            _ => {}
        }
        let encode = |kernels: &Kernels| {
            let (mut values, mut scales) = (vec![1_i8; x.len()], vec![1.0_f32; blocks]);
            let mut sums = vec![[1_i16; 2]; blocks];
            kernels.encode_q8(&x, &mut values, &mut scales, &mut sums);
            (values, bits(&scales), sums)
        };
        let found = encode(kernels);
        assert_eq!(found, encode(scalar), "{kernels:?} {x:?}");
        assert!(found.0.iter().all(|&q| q != i8::MIN));
    }
}

/// Runs an op of one slice on every length, with tame, wild and faulty numbers.
fn check_in_place(kernels: &Kernels, scalar: &Kernels, random: &mut Rng, op: fn(&Kernels, &mut [f32])) {
    for n in (0..=70).chain([128, 1000]).cycle().take(rounds(kernels, 700)) {
        let x = match random.u32(0..3) {
            0 => tame(random, n),
            faults => wild(random, n, faults == 2),
        };
        let (mut expected, mut found) = (x.clone(), x.clone());
        op(scalar, &mut expected);
        op(kernels, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{kernels:?} {x:?}");
    }
}

fn check_rms_norm(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| {
        let weight: Vec<f32> = (0..x.len()).map(|at| at as f32 * 0.1 - 2.0).collect();
        let mut out = vec![0.0; x.len()];
        kernels.rms_norm(x, &weight, 1e-6, &mut out);
        x.copy_from_slice(&out);
    });
}

fn check_layer_norm(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| {
        let weight: Vec<f32> = (0..x.len()).map(|at| at as f32 * 0.1 - 2.0).collect();
        let bias: Vec<f32> = weight.iter().map(|w| 1.0 - w).collect();
        let mut out = vec![0.0; x.len()];
        kernels.layer_norm(x, &weight, &bias, 1e-6, &mut out);
        x.copy_from_slice(&out);
    });
}

fn check_softmax(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| kernels.softmax(x));
}

fn check_sigmoid(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| kernels.sigmoid(x));
    let x: Vec<f32> = (0..20_000).map(|_| f32::from_bits(random.u32(..))).collect();
    let (mut expected, mut found) = (x.clone(), x);
    scalar.sigmoid(&mut expected);
    kernels.sigmoid(&mut found);
    assert_eq!(bits(&found), bits(&expected));
}

fn check_swiglu(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| {
        let up: Vec<f32> = x.iter().rev().copied().collect();
        let mut out = vec![0.0; x.len()];
        kernels.swiglu(x, &up, &mut out);
        x.copy_from_slice(&out);
    });
}

fn check_add(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| {
        let y: Vec<f32> = x.iter().rev().copied().collect();
        kernels.add(x, &y);
    });
}

fn check_axpy(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| {
        let y: Vec<f32> = x.iter().rev().copied().collect();
        kernels.axpy(0.3, &y, x);
    });
}

fn rotate(kernels: &Kernels, x: &mut [f32], pairs: bool) {
    let n = x.len() / 2;
    let (sin, cos): (Vec<f32>, Vec<f32>) = (0..n).map(|at| (at as f32 * 0.7).sin_cos()).unzip();
    let x = &mut x[..2 * n];
    if pairs { kernels.rope_pairs(x, &cos, &sin) } else { kernels.rope_halves(x, &cos, &sin) }
}

fn check_rope_pairs(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| rotate(kernels, x, true));
}

fn check_rope_halves(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| rotate(kernels, x, false));
}

fn check_hadamard(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_in_place(kernels, scalar, random, |kernels, x| kernels.hadamard(x));
}

fn check_int_peak(kernels: &Kernels, scalar: &Kernels, _: Format, _: &mut Rng) {
    for rounds in [0, 1, 2, 1000] {
        let (mut expected, mut found) = ([0; 16], [1; 16]);
        scalar.int_peak(rounds, &mut expected);
        kernels.int_peak(rounds, &mut found);
        assert_eq!(found, expected, "{kernels:?} {rounds}");
    }
}

fn check_decode_e4m3(kernels: &Kernels, _: &Kernels, _: Format, random: &mut Rng) {
    for n in (0..=70).chain([128, 300]).cycle().take(rounds(kernels, 700)) {
        let codes: Vec<u8> = (0..n).map(|_| random.u8(..)).collect();
        let scale = f32::from_bits(random.u32(..));
        let expected: Vec<f32> =
            codes.iter().map(|&code| fathom_simd::fp8_e4m3::decode(code) * scale).collect();
        let mut found = vec![1.0; n as usize];
        kernels.decode_e4m3(&codes, scale, &mut found);
        assert_eq!(bits(&found), bits(&expected), "{kernels:?} {scale} {codes:?}");
    }
}

/// 16 sub-blocks of 16 or 32 values, of all kinds that encoders meet, and their weights; turned round by hand.
struct Group {
    rows: Vec<f32>,
    x: Vec<[f32; 16]>,
    w: Vec<[f32; 16]>,
}

impl Group {
    fn random(random: &mut Rng) -> Self {
        let n = if random.bool() { 16 } else { 32 };
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..16 {
            let size = 10_f32.powi(random.i32(-44..9));
            let kind = random.u32(0..8);
            rows.extend((0..n).map(|at| match kind {
                0 => 0.0,
                1 => size,
                2 => size * random.f32(),
                3 if at != 5 => -0.0,
                4 => size * f32::from(random.i8(-3..3)),
                5 => size * (1.0 + 1e-6 * random.f32()),
                _ => size * (random.f32() - 0.5),
            }));
            let equal = random.bool();
            weights.extend((0..n).map(|_| if equal { 1.0 } else { random.f32().powi(4) + 1e-6 }));
        }
        let turned = |rows: &[f32]| {
            let column = |k| std::array::from_fn(|sub| rows[sub * n + k]);
            (0..n).map(column).collect()
        };
        Self { x: turned(&rows), w: turned(&weights), rows }
    }

    fn lanes(&self) -> Lanes<'_> {
        Lanes { x: &self.x, w: &self.w }
    }
}

/// Some formats' quants.
fn some_range(random: &mut Rng) -> Range {
    let high = [1.0, 3.0, 7.0, 15.0, 31.0][random.usize(0..5)];
    Range { low: if random.bool() { 0.0 } else { -high - 1.0 }, high }
}

/// Lines that nearly fit, and some that do not at all.
fn some_lines(random: &mut Rng, group: &Group) -> Lines {
    let mut lines = Lines::default();
    for sub in 0..16 {
        let span = group.x.iter().fold(0.0_f32, |span, x| span.max(x[sub].abs()));
        lines.scale[sub] = span * [0.1, -0.13, 0.03, 0.0, 1e-20][random.usize(0..5)];
        lines.offset[sub] = span * [0.0, -1.0, 0.5][random.usize(0..3)];
    }
    lines
}

/// Runs an op on random groups on both levels and compares what it returns, bit by bit.
fn check_fit(
    kernels: &Kernels,
    scalar: &Kernels,
    random: &mut Rng,
    op: impl Fn(&Kernels, &Group, &mut Rng) -> Vec<f32>,
) {
    for round in 0..rounds(kernels, 2000) {
        let group = Group::random(random);
        let seed = random.u64(..);
        let run = |kernels: &Kernels| bits(&op(kernels, &group, &mut Rng::with_seed(seed)));
        assert_eq!(run(kernels), run(scalar), "{kernels:?}, round {round}: {:?}", group.rows);
    }
}

fn flat(lines: &Lines, residuals: &Residuals) -> Vec<f32> {
    let Residuals { error, l, ll, xl } = residuals;
    [lines.scale, lines.offset, *error, *l, *ll, *xl].concat()
}

fn check_to_lanes(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, _| {
        let mut out = vec![[1.0; 16]; group.x.len()];
        kernels.to_lanes(&group.rows, &mut out);
        assert_eq!(bits(out.as_flattened()), bits(group.x.as_flattened()));
        out.concat()
    });
}

fn check_fit_totals(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, _| {
        let mut out = Totals::default();
        kernels.fit_totals(group.lanes(), &mut out);
        [out.weight, out.weighted].concat()
    });
}

fn check_fit_scale(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let mut range = some_range(random);
        range.low = -range.high - 1.0;
        let reaches = [range.low * 1.1, range.low, range.high, range.high * 0.9];
        let mut out = [1.0; 16];
        kernels.fit_scale(group.lanes(), range, &reaches[random.usize(0..4)..], &mut out);
        out.to_vec()
    });
}

fn check_fit_line(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let top = some_range(random).high;
        let reaches = [top - 0.5, top, top + 0.4, top * 1.2];
        let mut out = Lines::default();
        let reaches = &reaches[random.usize(0..4)..];
        kernels.fit_line(group.lanes(), top, random.bool(), reaches, &mut out);
        flat(&out, &Residuals::default())
    });
}

fn check_fit_error(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let lines = some_lines(random, group);
        let mut out = Residuals::default();
        kernels.fit_error(group.lanes(), &lines, some_range(random), &mut out);
        flat(&lines, &out)
    });
}

fn check_fit_quants(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let (lines, range) = (some_lines(random, group), some_range(random));
        let mut out = vec![99; group.rows.len()];
        kernels.fit_quants(group.lanes(), &lines, range, &mut out);
        let quants: Vec<f32> = out.into_iter().map(f32::from).collect();
        assert!(quants.iter().all(|q| (range.low..=range.high).contains(q)));
        quants
    });
}

fn check_nearest_scale(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let high = some_range(random).high;
        let range = Range { low: -high - 1.0, high };
        let ideal = some_lines(random, group);
        let unit = ideal.scale.map(|scale| scale / [7.3, -3.9, 1.0, 900.0][random.usize(0..4)]);
        let near = NearestScale {
            ideal: &ideal.scale,
            unit: &unit,
            quants: range,
            scales: Range { low: -32.0, high: 31.0 },
        };
        let (mut out, mut residuals) = ([1.0; 16], Residuals::default());
        kernels.nearest_scale(group.lanes(), near, &mut out, &mut residuals);
        assert!(out.iter().all(|scale| (-32.0..=31.0).contains(scale) && scale.fract() == 0.0));
        flat(&Lines { scale: out, offset: unit }, &residuals)
    });
}

fn check_nearest_line(kernels: &Kernels, scalar: &Kernels, _: Format, random: &mut Rng) {
    check_fit(kernels, scalar, random, |kernels, group, random| {
        let mut ideal = some_lines(random, group);
        ideal.scale = ideal.scale.map(f32::abs);
        ideal.offset = ideal.offset.map(|offset| -offset.abs());
        let by = [20.7, 1.0, 70.0][random.usize(0..3)];
        let unit = Lines {
            scale: ideal.scale.map(|scale| scale / by),
            offset: ideal.offset.map(|offset| -offset / by),
        };
        let mut totals = Totals::default();
        scalar.fit_totals(group.lanes(), &mut totals);
        let near = NearestLine {
            ideal: &ideal,
            unit: &unit,
            totals: &totals,
            top: some_range(random).high,
            most: 63.0,
        };
        let (mut out, mut residuals) = (Lines::default(), Residuals::default());
        kernels.nearest_line(group.lanes(), near, &mut out, &mut residuals);
        flat(&out, &residuals)
    });
}
