//! Layouts and errors of every encoder. The oracle that judges them too is in `tests/ggml.rs`.

use super::*;
use half::bf16;
use proptest::prelude::*;

/// On the best level, as users do.
fn encode(encoding: Encoding, values: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
    encoding.encode(Kernels::best(), values, out)
}

proptest! {
    #[test]
    fn halves_round_to_nearest_even(bits in proptest::collection::vec(any::<u32>(), 0..600)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|v| v.is_finite()).collect();
        let small: Vec<f32> = values.iter().map(|v| v % 60000.0).collect();
        let mut out = Vec::new();
        encode(Encoding::F16, &small, &mut out).unwrap();
        for (bytes, value) in out.as_chunks::<2>().0.iter().zip(&small) {
            prop_assert_eq!(f16::from_le_bytes(*bytes), f16::from_f32_const(*value));
        }
        let small: Vec<f32> = values.iter().map(|v| v % 1e38).collect();
        encode(Encoding::BF16, &small, &mut out).unwrap();
        for (bytes, value) in out.as_chunks::<2>().0.iter().zip(&small) {
            prop_assert_eq!(bf16::from_le_bytes(*bytes), bf16::from_f32_const(*value));
        }
        encode(Encoding::F32, &values, &mut out).unwrap();
        for (bytes, value) in out.as_chunks::<4>().0.iter().zip(&values) {
            prop_assert_eq!(f32::from_le_bytes(*bytes).to_bits(), value.to_bits());
        }
    }
}

/// ggml's `quantize_row_q8_0_ref` in our words, the obvious way: d is the largest magnitude divided by 127, and values
/// are divided by the *unrounded* d and rounded half away from zero.
fn reference_q8_0(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let quants = values.iter().map(|value| (value * inverse).round() as i8 as u8);
    f16::from_f32_const(d).to_le_bytes().into_iter().chain(quants).collect()
}

proptest! {
    #[test]
    fn q8_0_is_the_references(
        seeds in proptest::collection::vec(-1f32..1.0, 32),
        exponent in -10i32..15,
        ties in any::<bool>(),
    ) {
        let mut values: Vec<f32> = seeds.iter().map(|v| v * 2f32.powi(exponent)).collect();
        if ties {
            // Largest 127 makes d = 1: every half is a tie.
            values = seeds.iter().map(|v| (v * 250.0).round() / 2.0).collect();
            values[7] = -127.0;
        }
        let mut out = Vec::new();
        encode(Encoding::Q8_0, &values, &mut out).unwrap();
        prop_assert_eq!(&out, &reference_q8_0(&values));
        prop_assert!(out[2..].iter().all(|&b| b != 0x80));
    }
}

#[test]
fn q8_0_of_almost_nothing_is_zero_bytes() {
    let mut out = Vec::new();
    for tiny in [-0.0, 1e-40] {
        encode(Encoding::Q8_0, &[tiny; 32], &mut out).unwrap();
        assert_eq!(out, [0; 34]);
    }
}

#[test]
fn values_beyond_the_type_are_named() {
    let mut values = vec![0.5; 64];
    values[40] = 65520.0;
    let mut out = Vec::new();
    assert_eq!(encode(Encoding::F16, &values, &mut out), Err(65520.0));
    assert_eq!(encode(Encoding::BF16, &values, &mut out), Ok(()));
    values[40] = -f32::MAX;
    assert_eq!(encode(Encoding::BF16, &values, &mut out), Err(-f32::MAX));
    assert_eq!(encode(Encoding::Q8_0, &values, &mut out), Err(-f32::MAX));
    assert_eq!(encode(Encoding::F32, &values, &mut out), Ok(()));
}

/// Container and kernels agree on sizes, and what is written here is read there as the nearest representable value.
#[test]
fn kernels_read_what_is_written() {
    let mut rng = fastrand::Rng::with_seed(1);
    let values: Vec<f32> = (0..4096).map(|_| rng.f32() * 2.0 - 1.0).collect();
    for encoding in Encoding::ALL {
        // Formats without kernels yet have only the decoders below.
        let Some(format) = Format::from_name(encoding.name()) else { continue };
        let ty = encoding.tensor_type();
        assert_eq!(
            (format.block_len(), format.block_bytes()),
            (ty.block_len(), ty.block_bytes()),
            "{encoding}"
        );
        let mut bytes = Vec::new();
        encode(encoding, &values, &mut bytes).unwrap();
        let mut read = vec![0.0; values.len()];
        format.decode(&bytes, &mut read);
        let bound = match encoding {
            Encoding::F32 => 0.0,
            Encoding::F16 => 2f32.powi(-12),
            Encoding::BF16 => 2f32.powi(-9),
            // Half a step of the largest value in a block; a half's own rounding of the scale, times 127 steps.
            Encoding::Q8_0 => 0.5 / 127.0 + 2f32.powi(-11),
            _ => {
                assert_eq!(read, decode(encoding, &bytes), "{encoding}");
                continue;
            }
        };
        for (value, read) in values.iter().zip(&read) {
            assert!((value - read).abs() <= bound, "{encoding}: {value} read as {read}");
        }
    }
}

#[test]
fn names_are_the_containers() {
    for encoding in Encoding::ALL {
        assert_eq!(Encoding::from_name(&encoding.name().to_uppercase()), Some(encoding));
    }
    assert_eq!(Encoding::from_name("q8_1"), None);
}

#[test]
fn rows_that_blocks_do_not_divide_get_smaller_blocks_or_halves() {
    use Encoding::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Q8K};
    for (asked, at_128, at_48) in [
        (Q8K, Q8_0, F16),
        (Q6K, Q8_0, F16),
        (Q5K, Q5_1, F16),
        (Q4K, Q5_0, F16),
        (Q3K, Q4_0, F16),
        (Q2K, Q4_0, F16),
        (Q8_0, Q8_0, F16),
        (F32, F32, F32),
        (BF16, BF16, BF16),
    ] {
        assert_eq!([256, 128, 48].map(|n| asked.that_divides(n)), [asked, at_128, at_48]);
    }
}

/// Every block format that is searched for, with an upper bound for the root of the error's share of bell-shaped values.
const SEARCHED: [(Encoding, f64); 10] = [
    (Encoding::Q8K, 0.0075),
    (Encoding::Q6K, 0.018),
    (Encoding::Q5_1, 0.036),
    (Encoding::Q5_0, 0.042),
    (Encoding::Q5K, 0.036),
    (Encoding::Q4_1, 0.075),
    (Encoding::Q4_0, 0.086),
    (Encoding::Q4K, 0.074),
    (Encoding::Q3K, 0.145),
    (Encoding::Q2K, 0.275),
];

/// The layouts once more, one weight at a time and in other words.
fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
    let ty = encoding.tensor_type();
    let blocks = bytes.chunks_exact(ty.block_bytes());
    blocks.flat_map(|block| (0..ty.block_len()).map(|at| weight(encoding, block, at))).collect()
}

fn weight(encoding: Encoding, block: &[u8], at: usize) -> f32 {
    let half = |byte: usize| f16::from_le_bytes([block[byte], block[byte + 1]]).to_f32();
    let bit = |byte: usize, bit: usize| i32::from(block[byte] >> bit & 1);
    let two = |byte: usize, bit: usize| i32::from(block[byte] >> bit & 3);
    let four = |byte: usize, high: bool| i32::from(if high { block[byte] >> 4 } else { block[byte] & 15 });
    let small = |first: usize| four(first + at % 16, at >= 16);
    // Pairs of 32 weights, 128 to each 32 bytes.
    let paired = |first: usize| two(first + at / 128 * 32 + at % 32, at % 128 / 32 * 2);
    let halved = |first: usize| four(first + at / 64 * 32 + at % 32, at % 64 >= 32);
    let six_bits = |first: usize| {
        let sub = at / 32;
        let get = |low: usize, is_min: bool| {
            i32::from(if sub < 4 {
                block[first + low + sub] & 63
            } else {
                let nibbles = block[first + 8 + sub - 4];
                let nibble = if is_min { nibbles >> 4 } else { nibbles & 15 };
                nibble | block[first + low + sub - 4] >> 6 << 4
            })
        };
        (get(0, false) as f32, get(4, true) as f32)
    };
    match encoding {
        Encoding::Q4_0 => half(0) * (small(2) - 8) as f32,
        Encoding::Q4_1 => half(0) * small(4) as f32 + half(2),
        Encoding::Q5_0 => half(0) * (small(6) + 16 * bit(2 + at / 8, at % 8) - 16) as f32,
        Encoding::Q5_1 => half(0) * (small(8) + 16 * bit(4 + at / 8, at % 8)) as f32 + half(2),
        Encoding::Q2K => {
            let (scale, min) = (four(at / 16, false) as f32, four(at / 16, true) as f32);
            half(80) * scale * paired(16) as f32 - half(82) * min
        }
        Encoding::Q3K => {
            let sub = at / 16;
            let scale = four(96 + sub % 8, sub >= 8) + 16 * two(104 + sub % 4, sub / 4 * 2) - 32;
            half(108) * scale as f32 * (paired(32) + 4 * bit(at % 32, at / 32) - 4) as f32
        }
        Encoding::Q4K => {
            let (scale, min) = six_bits(4);
            half(0) * scale * halved(16) as f32 - half(2) * min
        }
        Encoding::Q5K => {
            let (scale, min) = six_bits(4);
            half(0) * scale * (halved(48) + 16 * bit(16 + at % 32, at / 32)) as f32 - half(2) * min
        }
        Encoding::Q6K => {
            let low = four(at / 128 * 64 + at % 64, at % 128 >= 64);
            let scale = f32::from(block[192 + at / 16] as i8);
            half(208) * scale * (low + 16 * paired(128) - 32) as f32
        }
        Encoding::Q8K => {
            let d = f32::from_le_bytes(*block.first_chunk().unwrap());
            d * f32::from(block[4 + at] as i8)
        }
        Encoding::F32 | Encoding::F16 | Encoding::BF16 | Encoding::Q8_0 => unreachable!("no search"),
    }
}

fn error(values: &[f32], decoded: &[f32], importance: &[f32]) -> f64 {
    let weights = importance.iter().cycle();
    let miss = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    values.iter().zip(decoded).zip(weights).map(|(pair, w)| f64::from(*w) * miss(pair)).sum()
}

/// Sums of six uniform numbers: near enough to a bell of deviation 0.7.
fn bell(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| (0..6).map(|_| rng.f32() - 0.5).sum()).collect()
}

fn round_trip(encoding: Encoding, values: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut bytes = Vec::new();
    encoding.encode_rows(Kernels::best(), values, importance, &mut bytes).unwrap();
    decode(encoding, &bytes)
}

#[test]
fn errors_of_bell_shaped_values_are_within_bounds() {
    let values = bell(1, 16384);
    for (encoding, bound) in SEARCHED {
        let share = error(&values, &round_trip(encoding, &values, None), &[1.0])
            / error(&values, &vec![0.0; values.len()], &[1.0]);
        assert!(share.sqrt() < bound, "{encoding}: {}", share.sqrt());
    }
}

/// The same rows by themselves or together, with or without a meaningless importance: the same bytes.
#[test]
fn bytes_depend_on_the_block_alone() {
    let values = bell(2, 2048);
    for (encoding, _) in SEARCHED {
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        encode(encoding, &values, &mut whole).unwrap();
        let parts: Vec<u8> = values
            .chunks(256)
            .flat_map(|values| {
                encode(encoding, values, &mut part).unwrap();
                part.clone()
            })
            .collect();
        assert!(whole == parts, "{encoding}");
        for constant in [0.0, 1e-30, 1.0, 1e30] {
            encoding.encode_rows(Kernels::best(), &values, Some(&[constant; 512]), &mut part).unwrap();
            assert!(whole == part, "{encoding}, importance {constant}");
        }
    }
}

#[test]
fn important_columns_get_the_smaller_errors() {
    let values = bell(3, 8192);
    let importance: Vec<f32> = (0..1024).map(|col| if col % 7 == 0 { 30.0 } else { 0.0 }).collect();
    for (encoding, _) in SEARCHED {
        let with = error(&values, &round_trip(encoding, &values, Some(&importance)), &importance);
        let without = error(&values, &round_trip(encoding, &values, None), &importance);
        assert!(with < without, "{encoding}: {with} {without}");
    }
}

/// Sums of 16 behind the quants, as ggml's products with such blocks want them, and no -128.
#[test]
fn q8_k_has_its_sums_and_no_quant_of_minus_128() {
    let values = all_kinds(4);
    let mut bytes = Vec::new();
    encode(Encoding::Q8K, &values, &mut bytes).unwrap();
    let mut largest = 0;
    for block in bytes.as_chunks::<292>().0 {
        let (quants, sums) = block[4..].split_at(256);
        for (quants, sum) in quants.as_chunks::<16>().0.iter().zip(sums.as_chunks::<2>().0) {
            let quants = quants.map(|q| i16::from(q as i8));
            assert_eq!(quants.iter().sum::<i16>(), i16::from_le_bytes(*sum));
            assert!(quants.iter().all(|q| q.abs() <= 127), "{quants:?}");
            largest = quants.into_iter().map(i16::abs).fold(largest, i16::max);
        }
    }
    assert_eq!(largest, 127);
}

/// From where a scale has a reciprocal on, to the largest value that is taken.
#[test]
fn q8_k_holds_what_no_half_can() {
    for size in [1e-45, -1e-39, 1e-35, -1e-30, 1e-12, 1e9] {
        let read = round_trip(Encoding::Q8K, &[size; 256], None);
        let bound = if size.abs() < 1e-36 { size.abs() } else { size.abs() * 1e-6 };
        assert!(read.iter().all(|y| (y - size).abs() <= bound), "{size}: {}", read[0]);
    }
}

/// What a value that sets a scale may lose when the scale is rounded; halves below 2^-14 have fewer digits.
fn rounding(value: f32) -> f32 {
    value.abs() * if value.abs() < 1e-2 { 1e-2 } else { 2e-3 }
}

#[test]
fn zeros_and_what_is_next_to_them_stay_zero() {
    for (encoding, _) in SEARCHED {
        for tiny in [0.0, -0.0, 1e-45, -1e-30, 1e-12] {
            if encoding == Encoding::Q8K && tiny != 0.0 {
                // No half sets a limit: see `q8_k_holds_what_no_half_can`.
                continue;
            }
            assert_eq!(round_trip(encoding, &[tiny; 256], None), [0.0; 256], "{encoding} {tiny}");
        }
        // One value among zeros, of either sign.
        for alone in [1.0, -1.0, 1e-3, -6e4] {
            let mut values = [0.0; 256];
            values[77] = alone;
            let read = round_trip(encoding, &values, None);
            let bound = rounding(alone);
            assert!((read[77] - alone).abs() <= bound, "{encoding} {alone}: {}", read[77]);
            assert!(
                read.iter().enumerate().all(|(at, y)| at == 77 || y.abs() <= bound),
                "{encoding} {alone}"
            );
        }
    }
}

#[test]
fn a_constant_is_kept() {
    for (encoding, _) in SEARCHED {
        for constant in [0.37f32, -0.37, 123.0, -5e-4] {
            let read = round_trip(encoding, &[constant; 256], None);
            let bound = rounding(constant);
            assert!(read.iter().all(|y| (y - constant).abs() <= bound), "{encoding} {constant}: {}", read[0]);
        }
    }
}

#[test]
fn what_no_block_can_hold_is_named() {
    let mut out = Vec::new();
    for (encoding, _) in SEARCHED {
        for wrong in [1e9, -3e9, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            if encoding == Encoding::Q8K && wrong == 1e9 {
                continue;
            }
            let mut values = [0.5; 512];
            values[300] = wrong;
            let found = encode(encoding, &values, &mut out).unwrap_err();
            assert_eq!(found.to_bits(), wrong.to_bits(), "{encoding}");
        }
    }
}

/// The squares of what 256 weights may lose because the smallest half above zero is 6e-8: where a scale of half of that
/// is rounded to zero, all differences within its 31 steps go. Scales of scales are searched and keep more.
fn lost(encoding: Encoding) -> f64 {
    match encoding {
        Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 => {
            256.0 * (31.0 * 2f64.powi(-25)).powi(2)
        }
        _ => 1e-12,
    }
}

proptest! {
    /// Whatever the values: finite again, never worse than zeros, and what was read is nearly kept when written again.
    #[test]
    fn any_finite_block_is_held(
        values in proptest::collection::vec(-1f32..1.0, 256),
        exponents in proptest::collection::vec(-12i32..1, 256),
        exponent in -20i32..15,
        importance in proptest::collection::vec(0f32..1.0, 256),
    ) {
        let values: Vec<f32> =
            values.iter().zip(&exponents).map(|(v, e)| v * 2f32.powi(e + exponent)).collect();
        for (encoding, _) in SEARCHED {
            for importance in [None, Some(importance.as_slice())] {
                let read = round_trip(encoding, &values, importance);
                prop_assert!(read.iter().all(|y| y.is_finite()));
                let weights = importance.unwrap_or(&[1.0]);
                let (ours, zeros) =
                    (error(&values, &read, weights), error(&values, &vec![0.0; 256], weights));
                prop_assert!(ours <= zeros * 0.6 + lost(encoding), "{encoding}: {ours} {zeros}");
            }
        }
    }
}

/// Blocks of every kind that is special somewhere, after enough ordinary ones: bells of all sizes, heavy tails, one
/// sign only, few distinct values, zeros, one value alone, and the edges of halves and singles.
fn all_kinds(seed: u64) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut values = bell(seed, 64 * 256);
    for (at, block) in values.as_chunks_mut::<256>().0.iter_mut().enumerate().skip(16) {
        let size = 2f32.powi(rng.i32(-40..14));
        for (col, value) in block.iter_mut().enumerate() {
            *value = match at % 12 {
                0 => *value * size,
                1 => *value * *value * *value * size,
                2 => value.abs() * size + size,
                3 => -value.abs(),
                4 => (*value * 3.0).round() * size,
                5 if col / 16 % 3 == 0 => 0.0,
                6 if col != 100 => 0.0,
                7 => 2f32.powi(rng.i32(-20..1)).copysign(*value),
                8 => *value * 2f32.powi(-130),
                9 => *value * 2f32.powi(-18),
                10 if col / 32 % 2 == 0 => size,
                11 => *value * 20_000.0,
                _ => *value,
            };
        }
    }
    values
}

/// The bytes of every encoder are fixed: a faster one writes the same file. (A better one changes these numbers.)
#[test]
fn bytes_are_those_of_every_version() {
    let importance: Vec<f32> = bell(9, 512).into_iter().map(|v| (3.0 * v).exp2()).collect();
    for (encoding, plain, weighted) in GOLDEN {
        let hash = |importance: Option<&[f32]>| {
            let mut bytes = Vec::new();
            encoding.encode_rows(Kernels::best(), &all_kinds(5), importance, &mut bytes).unwrap();
            // FNV-1a.
            bytes
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
        };
        let found = (hash(None), hash(Some(&importance)));
        assert_eq!(found, (plain, weighted), "{encoding}: {:#x}, {:#x}", found.0, found.1);
    }
}

const GOLDEN: [(Encoding, u64, u64); 11] = [
    (Encoding::Q8K, 0x1680_451d_cdd0_54ab, 0xd15a_c0da_4717_53fa),
    (Encoding::Q8_0, 0xa30b_a477_ddbc_8ede, 0xa30b_a477_ddbc_8ede),
    (Encoding::Q6K, 0xbdf1_d4d6_87d3_a8e7, 0xe25d_83b6_1725_85e2),
    (Encoding::Q5_1, 0x2144_e821_cb2e_f336, 0x1191_cce2_d4ef_864e),
    (Encoding::Q5_0, 0x17eb_ffc6_95ab_f22f, 0x273d_435e_5d8e_09e0),
    (Encoding::Q5K, 0xccc9_171a_1e55_e481, 0xcbf1_3f26_7fb7_ee77),
    (Encoding::Q4_1, 0x2fec_dc50_fe15_b840, 0xe31b_6ba0_15c0_2028),
    (Encoding::Q4_0, 0xceb8_3d94_82ff_547b, 0x0c4f_6495_aba2_382b),
    (Encoding::Q4K, 0x1db1_6064_21d8_0c31, 0x99f4_e14a_4c6e_b705),
    (Encoding::Q3K, 0x1797_3b3d_302a_64c5, 0x32e6_b81f_9f0a_0aa7),
    (Encoding::Q2K, 0xbc19_4e6e_07f1_96bb, 0x27dd_caef_494b_1869),
];
