//! From f32 to the bytes of a GGUF type. What the bytes mean is defined by the decoders in `fathom-simd`.

mod q8_0;

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
}

impl Encoding {
    /// Every encoding, largest first.
    pub const ALL: [Encoding; 4] = [Encoding::F32, Encoding::F16, Encoding::BF16, Encoding::Q8_0];

    /// The container's word for it.
    pub const fn tensor_type(self) -> TensorType {
        match self {
            Encoding::F32 => TensorType::F32,
            Encoding::F16 => TensorType::F16,
            Encoding::BF16 => TensorType::BF16,
            Encoding::Q8_0 => TensorType::Q8_0,
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
        }
        Ok(())
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
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
mod tests {
    use super::*;
    use fathom_simd::Format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn halves_round_to_nearest_even(bits in proptest::collection::vec(any::<u32>(), 0..600)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|v| v.is_finite()).collect();
            let small: Vec<f32> = values.iter().map(|v| v % 60000.0).collect();
            let mut out = Vec::new();
            Encoding::F16.encode(&small, &mut out).unwrap();
            for (bytes, value) in out.as_chunks::<2>().0.iter().zip(&small) {
                prop_assert_eq!(f16::from_le_bytes(*bytes), f16::from_f32_const(*value));
            }
            let small: Vec<f32> = values.iter().map(|v| v % 1e38).collect();
            Encoding::BF16.encode(&small, &mut out).unwrap();
            for (bytes, value) in out.as_chunks::<2>().0.iter().zip(&small) {
                prop_assert_eq!(bf16::from_le_bytes(*bytes), bf16::from_f32_const(*value));
            }
            Encoding::F32.encode(&values, &mut out).unwrap();
            for (bytes, value) in out.as_chunks::<4>().0.iter().zip(&values) {
                prop_assert_eq!(f32::from_le_bytes(*bytes).to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn values_beyond_the_type_are_named() {
        let mut values = vec![0.5; 64];
        values[40] = 65520.0;
        let mut out = Vec::new();
        assert_eq!(Encoding::F16.encode(&values, &mut out), Err(65520.0));
        assert_eq!(Encoding::BF16.encode(&values, &mut out), Ok(()));
        values[40] = -f32::MAX;
        assert_eq!(Encoding::BF16.encode(&values, &mut out), Err(-f32::MAX));
        assert_eq!(Encoding::Q8_0.encode(&values, &mut out), Err(-f32::MAX));
        assert_eq!(Encoding::F32.encode(&values, &mut out), Ok(()));
    }

    /// Container and kernels agree on sizes, and what is written here is read there as the nearest representable value.
    #[test]
    fn kernels_read_what_is_written() {
        let mut rng = fastrand::Rng::with_seed(1);
        let values: Vec<f32> = (0..4096).map(|_| rng.f32() * 2.0 - 1.0).collect();
        for encoding in Encoding::ALL {
            let format = Format::from_name(encoding.name()).unwrap();
            let ty = encoding.tensor_type();
            assert_eq!(
                (format.block_len(), format.block_bytes()),
                (ty.block_len(), ty.block_bytes()),
                "{encoding}"
            );
            let mut bytes = Vec::new();
            encoding.encode(&values, &mut bytes).unwrap();
            let mut read = vec![0.0; values.len()];
            format.decode(&bytes, &mut read);
            // Half a step of the largest value in a block; a half's own rounding of the scale, times 127 steps.
            let bound = match encoding {
                Encoding::F32 => 0.0,
                Encoding::F16 => 2f32.powi(-12),
                Encoding::BF16 => 2f32.powi(-9),
                Encoding::Q8_0 => 0.5 / 127.0 + 2f32.powi(-11),
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
        assert_eq!(Encoding::from_name("q4_k"), None);
    }
}
