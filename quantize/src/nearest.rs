//! The nearest type to one that cannot be written: llama.cpp has more of them, and other programs have names of their own.

/// Types by their bits per weight, the one to choose first of each.
const BY_BITS: [&str; 13] = [
    "q2_k", "q3_k_m", "q3_k", "q4_k_m", "q4_k", "q5_k_m", "q5_k", "q6_k", "q8_0", "q8", "bf16", "f16", "f32",
];
/// What names of types begin with, before their bits.
const FAMILIES: [&str; 9] = ["iq", "q", "tq", "fp", "f", "int", "mxfp", "nvfp", ""];

/// The first of `known` with at least the bits that `name` says; `None` for what is no name of a type.
pub fn nearest_type<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("ud-").unwrap_or(&name);
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let (family, rest) = name.split_at(digits);
    let bits = bits_of(rest).filter(|_| FAMILIES.contains(&family))?;
    // A number alone is none.
    if family.is_empty() && !rest.contains("bit") {
        return None;
    }
    // Programs differ in what they call the same numbers.
    if matches!(family, "fp" | "f")
        && let Some(same) = known.clone().find(|known| *known == format!("f{rest}"))
    {
        return Some(same);
    }
    let all = BY_BITS.iter().filter(|ty| bits_of(ty).is_some_and(|has| has >= bits));
    all.flat_map(|ty| known.clone().find(|known| known == ty)).next()
}

/// The first number in a name, if weights may have so many bits.
fn bits_of(name: &str) -> Option<u32> {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|bits| matches!(bits, 1..=8 | 16 | 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoding;
    use crate::recipe::Recipe;

    #[test]
    fn the_nearest_type_has_as_many_bits_at_least() {
        let preset = |name: &str| nearest_type(name, Recipe::names().into_iter());
        for (name, nearest) in [
            ("iq4_xs", "q4_k_m"),
            ("IQ4_NL", "q4_k_m"),
            ("Q4_K_S", "q4_k_m"),
            ("UD-Q2_K_XL", "q2_k"),
            ("iq1_s", "q2_k"),
            ("tq1_0", "q2_k"),
            ("q3_k_l", "q3_k_m"),
            ("mxfp4", "q4_k_m"),
            ("fp8", "q8_0"),
            ("int8", "q8_0"),
            ("4bit", "q4_k_m"),
            ("fp16", "f16"),
        ] {
            assert_eq!(preset(name), Some(nearest), "{name}");
        }
        for name in ["q9", "large", "4", "q99", "", "x4", "v3.2"] {
            assert_eq!(preset(name), None, "{name}");
        }
        let one = |name: &str| nearest_type(name, Encoding::ALL.iter().map(|encoding| encoding.name()));
        assert_eq!((one("q4_k_m"), one("iq3_s")), (Some("q4_k"), Some("q3_k")));
        let cache = |name: &str| nearest_type(name, ["f32", "bf16", "f16", "q8_0"].into_iter());
        assert_eq!((cache("q4_0"), cache("fp32"), cache("fp16")), (Some("q8_0"), Some("f32"), Some("f16")));
    }
}
