//! Every kernel of every level of this machine against the scalar level, which is the definition.
//!
//! The test walks the table's own ids: a kernel exists when it is checked here, and an id without a check fails.
//! Bits are compared. The law asks for less (bounds, `tests/bounds.rs`), but integer parts are exact, the ops are
//! written once over words that every level keeps exactly, and an unexplained bit is a bug until proven otherwise.

mod support;

use fastrand::Rng;
use fathom_simd::{Attend, Format, IndexScores, Kernels, Level, Pick, Rows};
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
    ("int_peak", check_int_peak),
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

fn check_attend(kernels: &Kernels, scalar: &Kernels, format: Format, random: &mut Rng) {
    let dims = [columns(format), vec![576]].concat();
    for dim in dims.into_iter().cycle().take(rounds(kernels, 200)) {
        let (n_rows, n_heads, v_dim) = (random.usize(1..200), random.usize(1..14), random.usize(1..=dim));
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
        assert_eq!(bits(&found), bits(&expected), "{case}");
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
