//! Numbers to test with, and the levels to test on.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::Write;
use std::sync::Once;

use fastrand::Rng;
use fathom_simd::{Acts, F32Acts, Format, Kernels, Level, Pick, Q8Acts, Rows};

/// The levels of this machine. The others are named on standard error as SKIPPED, and those that
/// `FATHOM_REQUIRE_LEVELS` lists (with commas) fail the test if they are missing. `FATHOM_ONLY_LEVELS` lists the only ones
/// to test, where the machine is emulated and its time is dear.
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
    for level in listed("FATHOM_REQUIRE_LEVELS") {
        assert!(present.contains(&level), "FATHOM_REQUIRE_LEVELS wants {level}, which is missing here");
    }
    let only = listed("FATHOM_ONLY_LEVELS");
    Kernels::available().filter(|kernels| only.is_empty() || only.contains(&kernels.level())).collect()
}

/// The levels that a variable lists.
fn listed(variable: &str) -> Vec<Level> {
    let words = std::env::var(variable).unwrap_or_default();
    let words = words.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().unwrap_or_else(|_| panic!("{variable}: {word:?} is no level"))).collect()
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
        if format.weights_only() {
            row = blocks(random, format, n_cols / format.block_len(), kind == 0);
        } else if kind == 0 {
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

/// Where in a block of a format of weights only its scales lie.
pub fn scales_at(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8K => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
        _ => panic!("{} has no blocks of this kind", format.name()),
    }
}

/// Blocks of a format of weights only: random quants with ordinary scales, or else every bit at random, and quants and
/// scales at the edges of what they can be.
pub fn blocks(random: &mut Rng, format: Format, n: usize, wild: bool) -> Vec<u8> {
    let mut bytes = vec![0; n * format.block_bytes()];
    bytes.fill_with(|| random.u8(..));
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let mut d = half::f16::from_f32(0.01 * (0.5 + random.f32()));
        if wild {
            match random.u32(0..8) {
                0 => block.fill(0),
                1 => block.fill(0xff),
                2 => block.fill(0x80),
                3 => block.fill(0x7f),
                _ => {}
            }
            d = match random.u32(0..11) {
                6 => half::f16::INFINITY,
                7 => half::f16::NEG_INFINITY,
                8 => half::f16::NAN,
                0 => half::f16::ZERO,
                1 => half::f16::NEG_ZERO,
                2 => half::f16::MAX,
                3 => -d,
                4 => half::f16::from_bits(random.u16(1..0x400)),
                5 => half::f16::from_bits(random.u16(..)),
                _ => d,
            };
        }
        for &at in scales_at(format) {
            if !wild || random.u32(0..3) > 0 {
                match format {
                    Format::Q8K => block[at..at + 4].copy_from_slice(&d.to_f32().to_le_bytes()),
                    _ => block[at..at + 2].copy_from_slice(&d.to_le_bytes()),
                }
            }
        }
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
    pub sums: Vec<[i16; 2]>,
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
            tokens.sums = vec![[0; 2]; n / 32];
            let scalar = Kernels::at(Level::Scalar).unwrap();
            scalar.encode_q8(&tokens.values, &mut tokens.quants, &mut tokens.scales, &mut tokens.sums);
            for (block, quants) in tokens.quants.chunks_exact_mut(32).enumerate() {
                match random.u32(0..8) {
                    0 if extreme => quants.fill(127),
                    1 if extreme => quants.fill(-127),
                    2 if extreme => quants.fill_with(|| if random.bool() { 127 } else { -127 }),
                    _ => {}
                }
                let (low, high) = quants.split_at(16);
                tokens.sums[block] = [low, high].map(|half| half.iter().map(|&q| i16::from(q)).sum());
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

/// The formats that caches may have.
pub fn caches() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|format| !format.weights_only())
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
    } else if format.block_len() == 256 {
        (1..=7).cycle().take(19).chain([9, 12, 28]).map(|blocks| blocks * 256).collect()
    } else {
        (1..=20).chain([33, 48]).map(|blocks| blocks * format.block_len()).collect()
    }
}
