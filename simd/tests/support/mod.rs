//! Numbers to test with, and the levels to test on.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::Write;
use std::sync::Once;

use fastrand::Rng;
use fathom_simd::{Acts, F32Acts, Format, Kernels, Level, Pick, Q8Acts, Rows};

/// The levels of this machine. The others are named on standard error as SKIPPED, and those that
/// `FATHOM_REQUIRE_LEVELS` lists (with commas) fail the test if they are missing.
pub fn levels() -> Vec<&'static Kernels> {
    static SAID: Once = Once::new();
    let (present, missing): (Vec<Level>, Vec<Level>) =
        Level::ALL.into_iter().partition(|&level| Kernels::at(level).is_some());
    SAID.call_once(|| {
        for level in &missing {
            // Not eprintln: the test harness would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED {level}");
        }
    });
    let required = std::env::var("FATHOM_REQUIRE_LEVELS").unwrap_or_default();
    for word in required.split(',').filter(|word| !word.is_empty()) {
        let level: Level = word.parse().expect("FATHOM_REQUIRE_LEVELS");
        assert!(present.contains(&level), "FATHOM_REQUIRE_LEVELS wants {level}, which is missing here");
    }
    Kernels::available().collect()
}

/// Bits that can be compared: all NaNs are one.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Around -1..1.
pub fn tame(random: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Anything a float can be. `faults` allows infinities and NaNs.
pub fn wild(random: &mut Rng, n: usize, faults: bool) -> Vec<f32> {
    let mut one = |_| match random.u32(0..40) {
        0 => 0.0,
        1 => -0.0,
        2 => f32::from_bits(random.u32(1..0x80_0000)),
        3 => f32::MIN_POSITIVE,
        4 => 3.0e38 * (random.f32() - 0.5),
        5 => 1e-30 * (random.f32() - 0.5),
        6 if faults => f32::INFINITY,
        7 if faults => f32::NEG_INFINITY,
        8 if faults => f32::NAN,
        9 => 200.0 * (random.f32() - 0.5),
        _ => random.f32() * 2.0 - 1.0,
    };
    (0..n).map(&mut one).collect()
}

/// Bytes of rows. Every third time tame ones, else everything the format can hold: zero, largest, subnormal,
/// infinite scales, quants of -128, NaNs.
pub fn weights(random: &mut Rng, format: Format, n_rows: usize, n_cols: usize) -> Vec<u8> {
    let scalar = Kernels::at(Level::Scalar).unwrap();
    let kind = random.u32(0..3);
    let mut bytes = Vec::new();
    for _ in 0..n_rows {
        let mut row = vec![0; format.row_bytes(n_cols)];
        if kind == 0 {
            row.fill_with(|| random.u8(..));
        } else {
            let x = if kind == 1 { tame(random, n_cols) } else { wild(random, n_cols, false) };
            scalar.encode_row(format, &x, &mut row);
        }
        if format == Format::Q8_0 {
            for block in row.chunks_exact_mut(format.block_bytes()) {
                match random.u32(0..12) {
                    0 => block[2..].fill(0x80),
                    1 => block[2..].fill(0x7f),
                    2 => block[..2].fill(0),
                    3 => block[..2].copy_from_slice(&[random.u8(..), 0]),
                    4 => block[2 + random.usize(0..32)] = 0x80,
                    _ => {}
                }
            }
        }
        bytes.extend(row);
    }
    bytes
}

/// Activations in both kinds, with room between tokens.
pub struct Tokens {
    pub n_cols: usize,
    pub stride: usize,
    pub values: Vec<f32>,
    pub quants: Vec<i8>,
    pub scales: Vec<f32>,
    pub sums: Vec<i32>,
}

impl Tokens {
    /// From values of `[n, stride]`; blocks only if the stride allows them. Where `extreme`, some blocks are
    /// overwritten with quants at the edge of their range.
    pub fn new(random: &mut Rng, values: Vec<f32>, n_cols: usize, stride: usize, extreme: bool) -> Self {
        let mut tokens =
            Self { n_cols, stride, values, quants: Vec::new(), scales: Vec::new(), sums: Vec::new() };
        if stride.is_multiple_of(32) {
            let n = tokens.values.len();
            (tokens.quants, tokens.scales) = (vec![0; n], vec![0.0; n / 32]);
            tokens.sums = vec![0; n / 32];
            let scalar = Kernels::at(Level::Scalar).unwrap();
            scalar.encode_q8(&tokens.values, &mut tokens.quants, &mut tokens.scales, &mut tokens.sums);
            for (block, quants) in tokens.quants.chunks_exact_mut(32).enumerate() {
                match random.u32(0..8) {
                    0 if extreme => quants.fill(127),
                    1 if extreme => quants.fill(-127),
                    2 if extreme => quants.fill_with(|| if random.bool() { 127 } else { -127 }),
                    _ => {}
                }
                tokens.sums[block] = quants.iter().map(|&q| i32::from(q)).sum();
            }
        }
        tokens
    }

    pub fn for_format(&self, format: Format) -> Acts<'_> {
        match format.acts() {
            fathom_simd::ActKind::F32 => Acts::F32(F32Acts { values: &self.values, stride: self.stride }),
            fathom_simd::ActKind::Q8 => Acts::Q8(Q8Acts {
                values: &self.quants,
                scales: &self.scales,
                sums: &self.sums,
                stride: self.stride,
            }),
        }
    }
}

/// A product, into a fresh vector that was not zero.
pub fn product(kernels: &Kernels, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; pick.len() * w.n_rows];
    kernels.product(w, x, pick, &mut out);
    out
}

/// Column counts worth trying: every tail for the float formats, and beyond what is tiled at a time.
pub fn columns(format: Format) -> Vec<usize> {
    if format.block_len() == 1 {
        (1..=70).chain([511, 512, 513, 1100]).collect()
    } else {
        (1..=20).chain([33, 48]).map(|blocks| blocks * format.block_len()).collect()
    }
}
