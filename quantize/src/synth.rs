//! A model of any size, made up: for benchmarks and for tests of scale.
//!
//! Every value is a function of seed, name and position, so any thread may make any row at any time and the bytes are the
//! same on every machine. Arrays are *stored* as a published checkpoint stores them (FP8 codes with power-of-two scales,
//! BF16, F32), and GGUF files are made from that stored form: a synthetic GGUF equals the conversion of the synthetic
//! checkpoint, byte for byte.
//!
//! Magnitudes keep activations and routing alive: a product with a matrix keeps its input's size (entries of
//! standard deviation 1/sqrt(columns)), norms are near one, the router's rows are independent of each other and its
//! bias is small against the spread of its scores.

use crate::error::Error;
use crate::source::{Dtype, Found, Source, Stored, scale_name, scale_shape};
use fathom_arch::plan::TensorPlan;
use fathom_arch::role::Role;
use fathom_simd::fp8_e4m3;
use half::bf16;
use std::collections::HashMap;
use std::ops::Range;

const SCALE_BLOCK: [usize; 2] = [128, 128];
/// Spread of norm weights around one.
const NORM_SPREAD: f32 = 0.1;
/// Spread of biases around zero. A router's score is a sigmoid of something with spread one: its own spread is 0.2.
const BIAS_SPREAD: f32 = 0.02;
/// Mean and spread of the sum of eight random bytes.
const BYTES_MEAN: f64 = 1020.0;
const BYTES_SPREAD: f64 = 209.022_327_961_781_2;
/// Blocks are scaled by 1/2, 1, 1 or 2: a root mean square of 5/4.
const BLOCK_SPREAD: f64 = 1.25;

/// A made-up model as a [`Source`].
pub struct Synthetic {
    arrays: HashMap<String, Array>,
    order: Vec<String>,
}

struct Array {
    stored: Stored,
    key: u64,
    kind: Kind,
}

enum Kind {
    /// FP8 codes, one for each random byte.
    Codes(Box<[u8; 256]>),
    /// Powers of two around this one.
    Scales(i32),
    /// Normal values of this mean and spread.
    Normal { mean: f32, spread: f32 },
}

impl Synthetic {
    /// Makes up every array that `plan` reads, stored as DeepSeek's checkpoint stores it.
    pub fn new(plan: &[TensorPlan], seed: u64) -> Synthetic {
        let quantiles = normal_quantiles();
        let mut model = Synthetic { arrays: HashMap::new(), order: Vec::new() };
        for tensor in plan {
            for (name, shape) in tensor.origin.sources(&tensor.shape) {
                // Both halves of kv_b_proj read one array.
                if !model.arrays.contains_key(name) {
                    model.add(name, shape, tensor.role, seed, &quantiles);
                }
            }
        }
        model
    }

    /// Every array's name, in the order of the plan, scales behind their matrices.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    fn add(&mut self, name: &str, shape: Vec<usize>, role: Role, seed: u64, quantiles: &[f64; 256]) {
        let n_cols = *shape.last().expect("planned arrays have dimensions");
        let fan_in = 1.0 / (n_cols as f64).sqrt();
        let normal = |mean, spread| Kind::Normal { mean, spread };
        let (dtype, kind) = match role {
            Role::Exact if shape.len() == 1 && name.ends_with("bias") => {
                (Dtype::F32, normal(0.0, BIAS_SPREAD))
            }
            Role::Exact if shape.len() == 1 => (Dtype::F32, normal(1.0, NORM_SPREAD)),
            Role::Embed => (Dtype::BF16, normal(0.0, 1.0)),
            // The router, the index heads' weights, and what DeepSeek leaves in BF16.
            Role::Exact | Role::Head | Role::Mtp => (Dtype::BF16, normal(0.0, fan_in as f32)),
            _ => {
                let (codes, exponent) = codes(quantiles, fan_in);
                let scales = Stored { dtype: Dtype::F32, shape: scale_shape(&shape, SCALE_BLOCK) };
                self.insert(name, Stored { dtype: Dtype::F8E4M3, shape }, Kind::Codes(codes), seed);
                self.insert(&scale_name(name), scales, Kind::Scales(exponent), seed);
                return;
            }
        };
        self.insert(name, Stored { dtype, shape }, kind, seed);
    }

    fn insert(&mut self, name: &str, stored: Stored, kind: Kind, seed: u64) {
        // FNV-1a, then mixed: names that differ in a digit are far apart.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let key = mixed(mixed(hash).wrapping_add(seed));
        self.arrays.insert(name.to_owned(), Array { stored, key, kind });
        self.order.push(name.to_owned());
    }
}

impl Source for Synthetic {
    fn find(&self, name: &str) -> Found<'_> {
        self.arrays.get(name).map_or(Found::Absent, |array| Found::Here(&array.stored))
    }

    fn read(&self, name: &str, rows: Range<usize>, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let array = &self.arrays[name];
        let n_cols = array.stored.n_cols();
        let row_bytes = array.stored.row_bytes().expect("synthetic arrays have known types");
        bytes.resize(rows.len() * row_bytes, 0);
        for (row, out) in rows.zip(bytes.chunks_mut(row_bytes.max(1))) {
            match &array.kind {
                Kind::Codes(codes) => {
                    let first = (row * n_cols.div_ceil(8)) as u64;
                    for (at, out) in (first..).zip(out.chunks_mut(8)) {
                        for (byte, out) in word(array.key, at).to_le_bytes().into_iter().zip(out) {
                            *out = codes[usize::from(byte)];
                        }
                    }
                }
                Kind::Scales(exponent) => {
                    let first = (row * n_cols) as u64;
                    for (at, out) in (first..).zip(out.chunks_mut(4)) {
                        let shift = [-1, 0, 0, 1][(word(array.key, at) & 3) as usize];
                        out.copy_from_slice(&(power_of_two(exponent + shift) as f32).to_le_bytes());
                    }
                }
                Kind::Normal { mean, spread } => {
                    let size = row_bytes / n_cols;
                    let first = (row * n_cols) as u64;
                    for (at, out) in (first..).zip(out.chunks_mut(size)) {
                        let value = mean + spread * standard_normal(word(array.key, at));
                        match array.stored.dtype {
                            Dtype::BF16 => out.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
                            _ => out.copy_from_slice(&value.to_le_bytes()),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn scale_block(&self) -> [usize; 2] {
        SCALE_BLOCK
    }
}

/// The `at`th random word of a stream: Steele, Lea and Flood's SplitMix64, which can start anywhere.
fn word(key: u64, at: u64) -> u64 {
    mixed(key.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The sum of eight bytes is as normal as weights need to be, and cuts the tails at five.
fn standard_normal(word: u64) -> f32 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (word & EVEN) + (word >> 8 & EVEN);
    let sum = pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48;
    ((sum as f64 - BYTES_MEAN) / BYTES_SPREAD) as f32
}

/// The 256 values that cut a normal distribution into equal parts, by exact counting: no function of the platform's
/// mathematical library, so that bytes are the same everywhere.
fn normal_quantiles() -> [f64; 256] {
    // ways[s]: in how many ways eight bytes sum to s. The total is 2^64.
    let mut ways = vec![1u128];
    for _ in 0..8 {
        let mut next = vec![0u128; ways.len() + 255];
        for (sum, n) in ways.iter().enumerate() {
            next[sum..sum + 256].iter_mut().for_each(|w| *w += n);
        }
        ways = next;
    }
    let mut quantiles = [0.0; 256];
    let (mut sum, mut below) = (0, 0);
    for (index, quantile) in quantiles.iter_mut().enumerate() {
        // The middle of the index-th part.
        let middle = (2 * index as u128 + 1) << 55;
        while below + ways[sum] <= middle {
            below += ways[sum];
            sum += 1;
        }
        *quantile = (sum as f64 - BYTES_MEAN) / BYTES_SPREAD;
    }
    quantiles
}

/// Codes for the quantiles, and the exponent of the scale at which their values have standard deviation `target`
/// over all blocks. The largest code is in the upper half of the format's range, as in a real checkpoint.
fn codes(quantiles: &[f64; 256], target: f64) -> (Box<[u8; 256]>, i32) {
    let square = quantiles.iter().map(|q| q * q).sum::<f64>() / 256.0;
    let largest = quantiles.iter().fold(0.0, |m: f64, q| m.max(q.abs()));
    let unit = target / BLOCK_SPREAD / square.sqrt();
    let mut exponent = 0;
    while unit * largest / power_of_two(exponent) > 448.0 {
        exponent += 1;
    }
    while unit * largest / power_of_two(exponent) <= 224.0 {
        exponent -= 1;
    }
    (Box::new(quantiles.map(|q| fp8_e4m3::encode((q * unit / power_of_two(exponent)) as f32))), exponent)
}

/// Exact, for exponents that occur here.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dequant::{Buffers, read_rows};
    use crate::stored;
    use fathom_simd::Kernels;

    fn values(model: &Synthetic, name: &str) -> Vec<f32> {
        let Found::Here(stored) = model.find(name) else { panic!("{name}") };
        let mut out = vec![0.0; stored.n_rows() * stored.n_cols()];
        read_rows(Kernels::best(), model, name, 0..stored.n_rows(), &mut Buffers::default(), &mut out)
            .unwrap();
        out
    }

    fn mean_and_spread(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn magnitudes_are_what_the_head_of_the_file_says() {
        let plan = [
            stored("embed", Role::Embed, &[300, 700]),
            stored("q", Role::Attention, &[512, 1536]),
            stored("o", Role::Attention, &[384, 7168]),
            stored("router", Role::Exact, &[64, 1024]),
            stored("norm", Role::Exact, &[7168]),
            stored("router.bias", Role::Exact, &[4096]),
        ];
        let model = Synthetic::new(&plan, 7);
        for (name, mean, spread) in [
            ("embed", 0.0, 1.0),
            ("q", 0.0, 1536f64.powf(-0.5)),
            ("o", 0.0, 7168f64.powf(-0.5)),
            ("router", 0.0, 1.0 / 32.0),
            ("norm", 1.0, 0.1),
            ("router.bias", 0.0, 0.02),
        ] {
            let (found_mean, found_spread) = mean_and_spread(&values(&model, name));
            assert!((found_mean - mean).abs() < 0.03 * spread, "{name}: mean {found_mean}");
            // A quarter of the spread's uncertainty is the few blocks' scales.
            assert!((found_spread / spread - 1.0).abs() < 0.05, "{name}: {found_spread}, expected {spread}");
        }
        assert!(values(&model, "norm").iter().all(|v| *v > 0.0));
    }

    #[test]
    fn fp8_uses_its_range_and_scales_are_powers_of_two() {
        let model = Synthetic::new(&[stored("q", Role::Attention, &[256, 7168])], 1);
        let mut codes = Vec::new();
        model.read("q", 0..256, &mut codes).unwrap();
        let largest = codes.iter().map(|c| fp8_e4m3::decode(*c).abs()).fold(0.0, f32::max);
        assert!((224.0..=448.0).contains(&largest), "{largest}");
        let scales = values(&model, "q_scale_inv");
        assert_eq!(scales.len(), 2 * 56);
        assert!(scales.iter().all(|s| s.to_bits() << 9 == 0));
        let mut distinct = scales.clone();
        distinct.sort_by(f32::total_cmp);
        distinct.dedup();
        assert_eq!(distinct.len(), 3);
    }

    #[test]
    fn rows_do_not_depend_on_how_they_are_read_but_on_seed_and_name() {
        let plan = [stored("a", Role::Attention, &[64, 130]), stored("b", Role::Attention, &[64, 130])];
        let model = Synthetic::new(&plan, 5);
        let (mut all, mut part) = (Vec::new(), Vec::new());
        model.read("a", 0..64, &mut all).unwrap();
        model.read("a", 17..20, &mut part).unwrap();
        assert_eq!(part, all[17 * 130..20 * 130]);
        model.read("b", 0..64, &mut part).unwrap();
        assert_ne!(part, all);
        Synthetic::new(&plan, 6).read("a", 0..64, &mut part).unwrap();
        assert_ne!(part, all);
        // Written down once: bytes are the same on every machine and in every version.
        assert_eq!(all[..8], [105, 109, 240, 101, 232, 248, 245, 114]);
    }

    #[test]
    fn every_expert_is_chosen_by_some_of_4096_random_tokens() {
        let (width, n_experts) = (1024, 256);
        let plan = [
            stored("embed", Role::Embed, &[4096, width]),
            stored("router", Role::Exact, &[n_experts, width]),
            stored("router.bias", Role::Exact, &[n_experts]),
        ];
        let model = Synthetic::new(&plan, 0);
        let (tokens, router, bias) =
            (values(&model, "embed"), values(&model, "router"), values(&model, "router.bias"));
        let mut chosen = vec![0; n_experts];
        for token in tokens.chunks(width) {
            let score = |(row, bias): (&[f32], &f32)| {
                let x: f32 = row.iter().zip(token).map(|(a, b)| a * b).sum();
                1.0 / (1.0 + (-x).exp()) + bias
            };
            let scores: Vec<f32> = router.chunks(width).zip(&bias).map(score).collect();
            // Eight groups, the four best by their two best, eight experts of these.
            let best = |indices: &[usize], n: usize| {
                let mut sorted = indices.to_vec();
                sorted.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                sorted[..n].to_vec()
            };
            let mut groups: Vec<Vec<usize>> = (0..8).map(|g| (g * 32..g * 32 + 32).collect()).collect();
            groups.sort_by_key(|group| {
                let sum: f32 = best(group, 2).into_iter().map(|e| scores[e]).sum();
                std::cmp::Reverse(sum.to_bits())
            });
            best(&groups[..4].concat(), 8).into_iter().for_each(|expert| chosen[expert] += 1);
        }
        // 128 is the average.
        assert!(chosen.iter().all(|&n| n > 20), "{chosen:?}");
    }
}
