//! The `general.*` keys and one of our own: what a file says of itself.

use crate::encode::Encoding;
use crate::plan::{Role, TensorPlan};
use crate::recipe::Recipe;
use fathom_gguf::OwnedValue;

/// ggml's number for today's block layouts.
const QUANTIZATION_VERSION: u32 = 2;

/// What the weights of a file are worth, where a person should know: [`RANDOM_WEIGHTS`] or [`DEMONSTRATION_WEIGHTS`].
pub const WEIGHTS_KEY: &str = "fathom.weights";
/// Weights that nobody trained: the model's text is meaningless.
pub const RANDOM_WEIGHTS: &str = "random";
/// Weights of a small model that was trained to show that everything works: it knows next to nothing.
pub const DEMONSTRATION_WEIGHTS: &str = "demonstration";

/// Every `general.*` key but the architecture. Without a file type where ggml has none, as GGUF allows: readers then count
/// the tensors' types.
pub fn general(name: &str, plan: &[TensorPlan], encodings: &[Encoding]) -> Vec<(String, OwnedValue)> {
    let names: [(&str, OwnedValue); 3] =
        [("type", "model".into()), ("name", name.into()), ("size_label", size_label(plan).into())];
    let file_type = Recipe::file_type(plan, encodings).map(|number| ("file_type", number.into()));
    let made: [(&str, OwnedValue); 2] = [
        ("quantization_version", QUANTIZATION_VERSION.into()),
        ("quantized_by", concat!("Fathom ", env!("CARGO_PKG_VERSION")).into()),
    ];
    let keys = names.into_iter().chain(file_type).chain(made);
    keys.map(|(key, value)| (format!("general.{key}"), value)).collect()
}

/// `256x20B`: the number of experts, and the weights of a model that had one of them in each layer.
/// Source of the convention: the GGUF naming scheme, as gguf-py computes it.
pub fn size_label(plan: &[TensorPlan]) -> String {
    let mut experts = 0;
    let (mut routed, mut shared) = (0, 0);
    for tensor in plan {
        match tensor.role {
            Role::RoutedGateUp | Role::RoutedDown => {
                experts = experts.max(tensor.shape[0] as u64);
                routed += tensor.n_elems();
            }
            _ => shared += tensor.n_elems(),
        }
    }
    match experts {
        0 => rounded(shared),
        n => format!("{n}x{}", rounded(shared + routed / n)),
    }
}

/// Two digits at least: `3.4B`, `20B`, `671B`.
fn rounded(n: u64) -> String {
    let n = n as f64;
    let (scaled, suffix) = match n {
        _ if n > 1e12 => (n / 1e12, "T"),
        _ if n > 1e9 => (n / 1e9, "B"),
        _ if n > 1e6 => (n / 1e6, "M"),
        _ => (n / 1e3, "K"),
    };
    match scaled.round() {
        0.0 => format!("{scaled:.2}{suffix}"),
        whole if whole < 10.0 => format!("{scaled:.1}{suffix}"),
        whole => format!("{whole}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Origin;

    #[test]
    fn weights_are_rounded_to_two_digits() {
        for (n, label) in [
            (671_000_000_000, "671B"),
            (20_400_000_000, "20B"),
            (3_440_000_000, "3.4B"),
            (950_000, "950K"),
            (7_200, "7.2K"),
            (120, "0.12K"),
        ] {
            assert_eq!(rounded(n), label);
        }
    }

    #[test]
    fn experts_count_once() {
        let tensor = |role, shape: &[usize]| TensorPlan {
            name: String::new(),
            shape: shape.to_vec(),
            role,
            origin: Origin::Tensor(String::new()),
        };
        let dense = tensor(Role::Embed, &[1000, 4000]);
        let experts = tensor(Role::RoutedDown, &[8, 1000, 2000]);
        assert_eq!(size_label(std::slice::from_ref(&dense)), "4.0M");
        assert_eq!(size_label(&[dense, experts]), "8x6.0M");
    }
}
