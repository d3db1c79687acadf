//! Levels: the instruction sets Fathom has words for, and the rule by which a wish becomes one of them.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// An instruction-set level: a generation of machines, not a flag.
///
/// Every word parses on every machine, so that a setting travels.
///
/// **Order.** `scalar < neon < neon-i8mm < avx2 < avxvnni < avx512`. A cap picks the highest level that this machine
/// has and that is not above the cap. So on x86 `neon` caps down to `scalar`, on Zen 4, which has AVX-512's form of
/// VNNI alone, `avxvnni` to `avx2`, and on Arm `avx2` allows every level Arm has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust, on every machine: the definition of every kernel.
    Scalar,
    /// Arm with NEON and dot products of bytes (Cortex-A76, Neoverse N1, Apple M1). Processors without dot products, as
    /// Cortex-A53 and A72, run the scalar code.
    Neon,
    /// Arm with matrix products of bytes too (Neoverse V1 and N2, Cortex-X2, Apple M2).
    NeonI8mm,
    /// x86 from Haswell on: AVX2, FMA, F16C.
    Avx2,
    /// x86 from Alder Lake on: AVX2, FMA, F16C, and AVX-VNNI's products of bytes.
    AvxVnni,
    /// x86 from Ice Lake and Zen 4 on: AVX-512 F, BW, VL, DQ, VNNI, VBMI.
    Avx512,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Scalar, Self::Neon, Self::NeonI8mm, Self::Avx2, Self::AvxVnni, Self::Avx512];

    /// The word for this level in `FATHOM_SIMD` and in kernel ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::NeonI8mm => "neon-i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
        }
    }

    /// The highest level that this machine and this build have kernels for.
    pub fn detect() -> Self {
        crate::Kernels::best().level()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    /// Case does not matter.
    fn from_str(word: &str) -> Result<Self, LevelError> {
        let known = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word.trim()));
        known.ok_or_else(|| LevelError { word: word.to_owned() })
    }
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "FATHOM_SIMD: expected one of scalar, neon, neon-i8mm, avx2, avxvnni, avx512, found {word:?}; \
     use one of these words to cap the instruction set, or unset the variable to use the best one"
)]
pub struct LevelError {
    /// The word as it was given.
    pub word: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_the_error_lists_every_word() {
        let error = "sse9".parse::<Level>().unwrap_err().to_string();
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(level.name().to_uppercase().parse(), Ok(level));
            assert!(error.contains(level.name()), "{error}");
        }
        assert!(error.contains("\"sse9\""), "{error}");
    }

    #[test]
    fn levels_are_listed_in_their_order() {
        assert!(Level::ALL.is_sorted());
    }
}
