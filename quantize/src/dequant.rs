//! From stored bytes to f32.
//!
//! The rule for FP8 is `W[r][c] = e4m3(code[r][c]) * scale[r / 128][c / 128]`, one multiplication in f32; blocks at
//! the edges are partial. ("scale_inv" is a historical name: it multiplies.) Every other type is widened exactly.
//! Source: DeepSeek-V3, inference/kernel.py, `weight_dequant`.

use crate::error::Error;
use crate::source::{Dtype, Found, Source, scale_name};
use fathom_simd::{Format, Kernels};
use std::ops::Range;

/// A power of two; 255 is NaN.
pub fn e8m0(code: u8) -> f32 {
    match code {
        255 => f32::NAN,
        // 2^-127 is below the normal range.
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// One row of FP8 codes with the scales of its row of blocks.
///
/// # Panics
/// If the lengths disagree.
pub fn e4m3_row(kernels: &Kernels, codes: &[u8], scales: &[f32], block_cols: usize, out: &mut [f32]) {
    assert_eq!(codes.len(), out.len(), "one value per code");
    assert_eq!(scales.len(), codes.len().div_ceil(block_cols), "one scale per block");
    for ((codes, out), &scale) in codes.chunks(block_cols).zip(out.chunks_mut(block_cols)).zip(scales) {
        kernels.decode_e4m3(codes, scale, out);
    }
}

/// Widens numbers stored without scales.
///
/// # Panics
/// If the type needs scales or is foreign, or if the lengths disagree: the plan was checked before.
pub fn widen(kernels: &Kernels, dtype: &Dtype, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), dtype.size().map(|size| size * out.len()), "bytes of {dtype}");
    match dtype {
        Dtype::F32 => kernels.decode_row(Format::F32, bytes, out),
        Dtype::BF16 => kernels.decode_row(Format::BF16, bytes, out),
        Dtype::F16 => kernels.decode_row(Format::F16, bytes, out),
        Dtype::F8E8M0 => {
            for (&code, value) in bytes.iter().zip(out) {
                *value = e8m0(code);
            }
        }
        Dtype::F8E4M3 | Dtype::Other(_) => panic!("{dtype} has no value of its own"),
    }
}

/// Buffers that one thread reuses from array to array.
#[derive(Debug, Default)]
pub struct Buffers {
    raw: Vec<u8>,
    raw_scales: Vec<u8>,
    scales: Vec<f32>,
}

/// Reads `rows` of `name` as f32 into `out`.
///
/// # Errors
/// If the source fails, or if a value is not finite: no weight of a sound model is.
///
/// # Panics
/// If the array was not checked with [`crate::source::problems`], or if `out` has another length than the rows.
pub fn read_rows(
    kernels: &Kernels,
    source: &dyn Source,
    name: &str,
    rows: Range<usize>,
    buffers: &mut Buffers,
    out: &mut [f32],
) -> Result<(), Error> {
    let Found::Here(stored) = source.find(name) else { panic!("{name} was not checked") };
    let n_cols = stored.n_cols();
    assert_eq!(out.len(), rows.len() * n_cols, "{name}: values of rows {rows:?}");
    source.read(name, rows.clone(), &mut buffers.raw)?;
    match stored.dtype {
        Dtype::F8E4M3 => {
            let [block_rows, block_cols] = source.scale_block();
            let per_row = read_scales(kernels, source, name, &rows, buffers)?;
            let codes = buffers.raw.chunks(n_cols).zip(out.chunks_mut(n_cols));
            for (row, (codes, out)) in rows.clone().zip(codes) {
                let block = row / block_rows - rows.start / block_rows;
                let scales = &buffers.scales[block * per_row..][..per_row];
                e4m3_row(kernels, codes, scales, block_cols, out);
            }
        }
        ref dtype => widen(kernels, dtype, &buffers.raw, out),
    }
    match not_finite(out) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            tensor: name.to_owned(),
            row: rows.start + at / n_cols,
            col: at % n_cols,
            value: out[at],
        }),
    }
}

/// The scales of all blocks that the rows touch, to `buffers.scales`; returns how many one row has.
fn read_scales(
    kernels: &Kernels,
    source: &dyn Source,
    name: &str,
    rows: &Range<usize>,
    buffers: &mut Buffers,
) -> Result<usize, Error> {
    let [block_rows, _] = source.scale_block();
    let name = scale_name(name);
    let Found::Here(scales) = source.find(&name) else { panic!("{name} was not checked") };
    let blocks = rows.start / block_rows..rows.end.div_ceil(block_rows);
    source.read(&name, blocks.clone(), &mut buffers.raw_scales)?;
    buffers.scales.resize(blocks.len() * scales.n_cols(), 0.0);
    widen(kernels, &scales.dtype, &buffers.raw_scales, &mut buffers.scales);
    Ok(scales.n_cols())
}

/// Position of the first value that is not finite.
fn not_finite(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    // Most slabs have none: the quick look has no branch inside a chunk.
    let clean = values
        .chunks(1024)
        .all(|chunk| chunk.iter().fold(0, |worst, v| worst.max(v.to_bits() & EXPONENT)) != EXPONENT);
    if clean { None } else { values.iter().position(|v| !v.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// The format's definition in other words: (-1)^s * 2^(e-7) * (1 + m/8), subnormal 2^-6 * m/8.
    fn reference_e4m3(code: u8) -> f32 {
        let (e, m) = (i32::from(code >> 3 & 15), f64::from(code & 7));
        let magnitude = match e {
            15 if m == 7.0 => f64::NAN,
            0 => 2f64.powi(-6) * m / 8.0,
            _ => 2f64.powi(e - 7) * (1.0 + m / 8.0),
        };
        (if code >= 128 { -magnitude } else { magnitude }) as f32
    }

    #[test]
    fn every_e8m0_code_is_a_power_of_two() {
        for code in 0..255u8 {
            assert_eq!(f64::from(e8m0(code)), 2f64.powi(i32::from(code) - 127), "code {code}");
        }
        assert!(e8m0(255).is_nan());
    }

    /// All 256 codes meet a scale, the last block is partial.
    #[test]
    fn a_row_multiplies_each_block_by_its_scale() {
        let codes: Vec<u8> = (0..=255).cycle().take(300).collect();
        let scales = [0.5, 3.0, 2f32.powi(-130)];
        let mut out = vec![0.0; 300];
        e4m3_row(Kernels::best(), &codes, &scales, 128, &mut out);
        for (col, value) in out.iter().enumerate() {
            let expected = reference_e4m3(codes[col]) * scales[col / 128];
            assert!(
                value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                "column {col}"
            );
        }
    }

    #[test]
    fn halves_are_widened_exactly() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut out = vec![0.0; 1 << 16];
        widen(Kernels::best(), &Dtype::F16, &all, &mut out);
        for (bits, value) in (0..=u16::MAX).zip(&out) {
            let expected = f16::from_bits(bits).to_f32_const();
            assert!(
                value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                "f16 {bits:#x}"
            );
        }
        widen(Kernels::best(), &Dtype::BF16, &all, &mut out);
        for (bits, value) in (0..=u16::MAX).zip(&out) {
            let expected = f32::from_bits(u32::from(bits) << 16);
            assert!(
                value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                "bf16 {bits:#x}"
            );
        }
    }

    #[test]
    fn the_first_bad_value_is_found() {
        let mut values = vec![1.0; 5000];
        assert_eq!(not_finite(&values), None);
        values[4500] = f32::NEG_INFINITY;
        values[4700] = f32::NAN;
        assert_eq!(not_finite(&values), Some(4500));
        values[0] = f32::NAN;
        assert_eq!(not_finite(&values), Some(0));
    }
}
