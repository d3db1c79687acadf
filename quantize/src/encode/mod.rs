//! From f32 to the bytes of a GGUF type. What the bytes mean is defined by the decoders in `fathom-simd`.

//!
//! Block formats are fitted: of all bytes a block could hold, those with the least squared error are sought, weighted by
//! the importance of columns where it is known. With importance the measure is `sum(importance * (x - decoded)^2)`,
//! without it the plain `sum((x - decoded)^2)`; nothing else enters, neither a preference for large values nor a
//! rounding of the measure itself.

mod fit;
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
mod q8_0;
mod super_block;

use fathom_gguf::TensorType;
use half::{bf16, f16, slice::HalfFloatSliceExt};

/// A type that this crate can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Exact.
    F32,
    /// IEEE half, rounded to nearest even.
    F16,
    /// Upper half of a single, rounded to nearest even.
    BF16,
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
    pub const ALL: [Encoding; 13] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::BF16,
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

    /// By name, in either case.
    pub fn from_name(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(name))
    }

    /// This type if its blocks divide rows of `n_cols`, otherwise the type with blocks of 32 that llama.cpp falls
    /// back to, otherwise halves.
    pub fn that_divides(self, n_cols: usize) -> Encoding {
        let smaller_blocks = match self {
            Encoding::Q6K => Encoding::Q8_0,
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

    /// Encodes `values`, whole blocks of them, replacing the contents of `out`.
    ///
    /// # Errors
    /// The first value that the type cannot hold.
    ///
    /// # Panics
    /// If blocks do not divide the number of values.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        self.encode_rows(values, None, out)
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
            Encoding::F16 => {
                halves::<f16>(values, out, |from, to| to.convert_from_f32_slice(from), f16::is_finite)?;
            }
            Encoding::BF16 => {
                halves::<bf16>(values, out, |from, to| to.convert_from_f32_slice(from), bf16::is_finite)?;
            }
            Encoding::Q8_0 => q8_0::encode(values, out)?,
            Encoding::Q6K => blocks(values, importance, out, q6_k::block)?,
            Encoding::Q5_1 => blocks(values, importance, out, q5_1::block)?,
            Encoding::Q5_0 => blocks(values, importance, out, q5_0::block)?,
            Encoding::Q5K => blocks(values, importance, out, q5_k::block)?,
            Encoding::Q4_1 => blocks(values, importance, out, q4_1::block)?,
            Encoding::Q4_0 => blocks(values, importance, out, q4_0::block)?,
            Encoding::Q4K => blocks(values, importance, out, q4_k::block)?,
            Encoding::Q3K => blocks(values, importance, out, q3_k::block)?,
            Encoding::Q2K => blocks(values, importance, out, q2_k::block)?,
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

/// No block format reaches so far (`q6_k`, the farthest, reaches 65504 * 128 * 32), and squares of such values still add
/// up in single precision.
const BEYOND_EVERY_BLOCK: f32 = 1e9;

/// Encodes blocks one by one with `encode`, which is given the values and their weights and answers `None` if a scale is
/// beyond a half. Fails with the block's largest value then, or with the first that is no finite number.
fn blocks<const LEN: usize, const BYTES: usize>(
    values: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    encode: impl Fn(&[f32; LEN], &[f32; LEN], &mut [u8; BYTES]) -> Option<()>,
) -> Result<(), f32> {
    let mut columns = importance.map(|importance| importance.as_chunks::<LEN>().0.iter().cycle());
    let (out, _) = out.as_chunks_mut::<BYTES>();
    for (values, out) in values.as_chunks::<LEN>().0.iter().zip(out) {
        if let Some(value) = values.iter().find(|v| v.is_nan() || v.abs() > BEYOND_EVERY_BLOCK) {
            return Err(*value);
        }
        let mut weights = [1.0; LEN];
        if let Some(importance) = columns.as_mut().and_then(Iterator::next) {
            weigh(importance, &mut weights);
        }
        if encode(values, &weights, out).is_none() {
            return Err(values.iter().copied().fold(0.0, |m: f32, v| if v.abs() > m.abs() { v } else { m }));
        }
    }
    Ok(())
}

/// Importance in proportion to the block's largest.
fn weigh<const LEN: usize>(importance: &[f32; LEN], weights: &mut [f32; LEN]) {
    let largest = importance.iter().fold(0f32, |m, w| if *w > m { *w } else { m });
    if largest > 0.0 {
        for (weight, importance) in weights.iter_mut().zip(importance) {
            *weight = (importance / largest).max(LEAST_IMPORTANCE);
        }
    }
}

/// Through an aligned buffer, so that `half` may use the machine's own instruction.
fn halves<T: bytemuck::Pod>(
    values: &[f32],
    out: &mut [u8],
    convert: impl Fn(&[f32], &mut [T]),
    is_finite: impl Fn(T) -> bool,
) -> Result<(), f32> {
    let mut aligned = [T::zeroed(); 256];
    for (values, out) in values.chunks(256).zip(out.chunks_mut(512)) {
        let aligned = &mut aligned[..values.len()];
        convert(values, aligned);
        if let Some(at) = aligned.iter().position(|&half| !is_finite(half)) {
            return Err(values[at]);
        }
        out.copy_from_slice(bytemuck::cast_slice(aligned));
    }
    Ok(())
}

// Numbers are handed to the file as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "GGUF and safetensors are little-endian");

#[cfg(test)]
mod tests;
