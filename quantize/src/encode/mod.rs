//! From f32 to the bytes of a GGUF type. What the bytes mean is defined by the decoders in `fathom-simd`, and the loops
//! over values are its kernels.
//!
//! Block formats are fitted: of all bytes a block could hold, those with the least squared error are sought, weighted by
//! the importance of columns where it is known. With importance the measure is `sum(importance * (x - decoded)^2)`,
//! without it the plain `sum((x - decoded)^2)`; nothing else enters, neither a preference for large values nor a
//! rounding of the measure itself.

mod block_of_32;
mod group;
mod pack;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_k;
mod super_block;

use fathom_gguf::TensorType;
use fathom_simd::{Format, Kernels};
use group::{Form, Group, SUBS};
use half::f16;

/// A type that this crate can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Exact.
    F32,
    /// IEEE half, rounded to nearest even.
    F16,
    /// Upper half of a single, rounded to nearest even.
    BF16,
    /// 256 values of 8 bits with one single as scale: 9.125 bits per weight.
    Q8K,
    /// 32 values of 8 bits with one half as scale: 8.5 bits per weight.
    Q8_0,
    /// 256 values of 6 bits, 16 scales: 6.5625 bits per weight.
    Q6K,
    /// 32 values of 5 bits with scale and minimum: 6 bits per weight.
    Q5_1,
    /// 32 values of 5 bits with one scale: 5.5 bits per weight.
    Q5_0,
    /// 256 values of 5 bits, 8 scales and minima: 5.5 bits per weight.
    Q5K,
    /// 32 values of 4 bits with scale and minimum: 5 bits per weight.
    Q4_1,
    /// 32 values of 4 bits with one scale: 4.5 bits per weight.
    Q4_0,
    /// 256 values of 4 bits, 8 scales and minima: 4.5 bits per weight.
    Q4K,
    /// 256 values of 3 bits, 16 scales: 3.4375 bits per weight.
    Q3K,
    /// 256 values of 2 bits, 16 scales and minima: 2.625 bits per weight.
    Q2K,
}

impl Encoding {
    /// Every encoding, largest first.
    pub const ALL: [Encoding; 14] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::BF16,
        Encoding::Q8K,
        Encoding::Q8_0,
        Encoding::Q6K,
        Encoding::Q5_1,
        Encoding::Q5_0,
        Encoding::Q5K,
        Encoding::Q4_1,
        Encoding::Q4_0,
        Encoding::Q4K,
        Encoding::Q3K,
        Encoding::Q2K,
    ];

    /// The container's word for it.
    pub const fn tensor_type(self) -> TensorType {
        match self {
            Encoding::F32 => TensorType::F32,
            Encoding::F16 => TensorType::F16,
            Encoding::BF16 => TensorType::BF16,
            Encoding::Q8K => TensorType::Q8K,
            Encoding::Q8_0 => TensorType::Q8_0,
            Encoding::Q6K => TensorType::Q6K,
            Encoding::Q5_1 => TensorType::Q5_1,
            Encoding::Q5_0 => TensorType::Q5_0,
            Encoding::Q5K => TensorType::Q5K,
            Encoding::Q4_1 => TensorType::Q4_1,
            Encoding::Q4_0 => TensorType::Q4_0,
            Encoding::Q4K => TensorType::Q4K,
            Encoding::Q3K => TensorType::Q3K,
            Encoding::Q2K => TensorType::Q2K,
        }
    }

    /// Its name on the command line and in tables.
    pub const fn name(self) -> &'static str {
        self.tensor_type().name()
    }

    /// By name, in either case, with dashes or underscores.
    pub fn from_name(name: &str) -> Option<Encoding> {
        let name = name.replace('-', "_");
        Encoding::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(&name))
    }

    /// This type if its blocks divide rows of `n_cols`, otherwise the type with blocks of 32 that llama.cpp falls
    /// back to, otherwise halves.
    pub fn that_divides(self, n_cols: usize) -> Encoding {
        let smaller_blocks = match self {
            Encoding::Q8K | Encoding::Q6K => Encoding::Q8_0,
            Encoding::Q5K => Encoding::Q5_1,
            Encoding::Q4K => Encoding::Q5_0,
            Encoding::Q3K | Encoding::Q2K => Encoding::Q4_0,
            other => other,
        };
        let divides = |encoding: &Encoding| encoding.row_bytes(n_cols).is_some();
        [self, smaller_blocks].into_iter().find(divides).unwrap_or(Encoding::F16)
    }

    /// Bytes of a row of `n_cols` values; `None` when blocks do not divide it.
    pub fn row_bytes(self, n_cols: usize) -> Option<u64> {
        self.tensor_type().row_bytes(n_cols)
    }

    /// Encodes `values`, whole blocks of them, replacing the contents of `out`. The bytes are the same on every level.
    ///
    /// # Errors
    /// The first value that the type cannot hold.
    ///
    /// # Panics
    /// If blocks do not divide the number of values.
    pub fn encode(self, kernels: &Kernels, values: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        self.encode_rows(kernels, values, None, out)
    }

    /// Encodes whole rows, replacing the contents of `out`. `importance` has one weight for each column: how much a
    /// squared error there costs (the mean square of the activations that meet it). Weights are finite and not
    /// negative; only their proportions within a block matter, and less than a millionth of the block's largest counts
    /// as a millionth. Types without a search (f32, f16, bf16, q8_0) have no use for it.
    ///
    /// # Errors
    /// The first value that the type cannot hold.
    ///
    /// # Panics
    /// If blocks do not divide the number of values, or rows of `importance.len()` values do not.
    pub fn encode_rows(
        self,
        kernels: &Kernels,
        values: &[f32],
        importance: Option<&[f32]>,
        out: &mut Vec<u8>,
    ) -> Result<(), f32> {
        if let Some(importance) = importance {
            assert!(
                self.row_bytes(importance.len()).is_some() && values.len().is_multiple_of(importance.len()),
                "importance of {} columns for {} values",
                importance.len(),
                values.len()
            );
        }
        let n_bytes = self.row_bytes(values.len()).expect("rows hold whole blocks: the recipe saw to it");
        out.resize(usize::try_from(n_bytes).expect("a slab fits into memory"), 0);
        match self {
            Encoding::F32 => out.copy_from_slice(bytemuck::cast_slice(values)),
            Encoding::F16 => rounded(kernels, Format::F16, values, out)?,
            Encoding::BF16 => rounded(kernels, Format::BF16, values, out)?,
            Encoding::Q8K => blocks::<q8_k::Q8K>(kernels, values, importance, out)?,
            Encoding::Q8_0 => rounded(kernels, Format::Q8_0, values, out)?,
            Encoding::Q6K => blocks::<q6_k::Q6K>(kernels, values, importance, out)?,
            Encoding::Q5_1 => blocks::<q5_1::Q5_1>(kernels, values, importance, out)?,
            Encoding::Q5_0 => blocks::<q5_0::Q5_0>(kernels, values, importance, out)?,
            Encoding::Q5K => blocks::<q5_k::Q5K>(kernels, values, importance, out)?,
            Encoding::Q4_1 => blocks::<q4_1::Q4_1>(kernels, values, importance, out)?,
            Encoding::Q4_0 => blocks::<q4_0::Q4_0>(kernels, values, importance, out)?,
            Encoding::Q4K => blocks::<q4_k::Q4K>(kernels, values, importance, out)?,
            Encoding::Q3K => blocks::<q3_k::Q3K>(kernels, values, importance, out)?,
            Encoding::Q2K => blocks::<q2_k::Q2K>(kernels, values, importance, out)?,
        }
        Ok(())
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Smaller weights within a block count as this part of its largest: a sub-block of unimportant columns is still fitted.
const LEAST_IMPORTANCE: f32 = 1e-6;

/// No block format whose scales are halves reaches so far (`q6_k`, the farthest, reaches 65504 * 128 * 32), no weight needs
/// more, and squares of such values still add up in single precision.
const BEYOND_EVERY_BLOCK: f32 = 1e9;

/// Encodes blocks in groups of 16 sub-blocks. Fails with the first value that is no finite number or beyond every block,
/// or with the largest of the first block whose scale is beyond a half.
fn blocks<F: Form>(
    kernels: &Kernels,
    values: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), f32> {
    let n = SUBS * F::SUB;
    let mut group = Group::new(kernels, F::SUB);
    let (mut padded, mut weights) = ([0.0; group::MAX_VALUES], [1.0; group::MAX_VALUES]);
    let mut columns = importance.map(|importance| importance.chunks_exact(F::LEN).cycle());
    for (values, out) in values.chunks(n).zip(out.chunks_mut(n / F::LEN * F::BYTES)) {
        let sound = |v: &f32| v.abs() <= BEYOND_EVERY_BLOCK;
        // Most groups are sound: the quick look has no branch.
        let all_sound = values.iter().fold(true, |all, v| all & sound(v));
        let cleaned = |v: &f32| if sound(v) { *v } else { 0.0 };
        if let Some(columns) = &mut columns {
            for (weights, importance) in weights[..n].chunks_exact_mut(F::LEN).zip(columns) {
                weigh(importance, weights);
            }
        }
        let weights = columns.is_some().then_some(&weights[..n]);
        if all_sound && values.len() == n {
            group.fill(values, weights);
        } else {
            padded.fill(0.0);
            padded.iter_mut().zip(values).for_each(|(padded, v)| *padded = cleaned(v));
            group.fill(&padded[..n], weights);
        }
        let within = F::encode(&group, out);
        if !all_sound || within.contains(&false) {
            refuse(values.chunks_exact(F::LEN).zip(within), sound)?;
        }
    }
    Ok(())
}

/// The value of the first block that is to blame, if one is.
#[cold]
fn refuse<'v>(
    blocks: impl Iterator<Item = (&'v [f32], bool)>,
    sound: impl Fn(&f32) -> bool,
) -> Result<(), f32> {
    for (values, within) in blocks {
        if let Some(value) = values.iter().find(|v| !sound(v)) {
            return Err(*value);
        }
        if !within {
            return Err(values.iter().copied().fold(0.0, |m: f32, v| if v.abs() > m.abs() { v } else { m }));
        }
    }
    Ok(())
}

/// Importance in proportion to the block's largest.
fn weigh(importance: &[f32], weights: &mut [f32]) {
    let largest = importance.iter().fold(0f32, |m, w| if *w > m { *w } else { m });
    for (weight, importance) in weights.iter_mut().zip(importance) {
        *weight = if largest > 0.0 { (importance / largest).max(LEAST_IMPORTANCE) } else { 1.0 };
    }
}

/// Types in which nothing is searched for: each value is rounded, after a look at its block at most. Fails with the
/// first value of infinite size there, or the first of its block's largest.
fn rounded(kernels: &Kernels, format: Format, values: &[f32], out: &mut [u8]) -> Result<(), f32> {
    const PART: usize = 4096;
    let (len, bytes) = (format.block_len(), format.block_bytes());
    // The exponent of a value, or of a block's scale in front of it: all ones for infinities and NaNs.
    let all_ones = if format == Format::BF16 { 0x7f80 } else { f16::INFINITY.to_bits() };
    let exponent = |block: &[u8]| u16::from_le_bytes([block[0], block[1]]) & all_ones;
    for (values, out) in values.chunks(PART).zip(out.chunks_mut(PART / len * bytes)) {
        kernels.encode_row(format, values, out);
        let largest = match out.as_chunks::<2>().0 {
            // Signed, because older machines have that maximum as one instruction.
            halves if len == 1 => {
                halves.iter().fold(0, |worst, half| worst.max(exponent(half).cast_signed())).cast_unsigned()
            }
            _ => out.chunks_exact(bytes).fold(0, |worst, block| worst.max(exponent(block))),
        };
        if largest == all_ones {
            let bad = out.chunks_exact(bytes).position(|block| exponent(block) == all_ones);
            let block = &values[bad.expect("one was seen") * len..][..len];
            let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
            return Err(*block.iter().find(|v| v.abs() == largest).unwrap_or(&block[0]));
        }
    }
    Ok(())
}

// Numbers are handed to the file as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "GGUF and safetensors are little-endian");

#[cfg(test)]
mod tests;
