//! The `general.*` keys and one of our own: what a file says of itself.

use crate::encode::Encoding;
use crate::recipe::{Preset, Recipe};
use fathom_arch::plan::TensorPlan;
use fathom_arch::role::Role;
use fathom_gguf::OwnedValue;

/// ggml's number for today's block layouts.
const QUANTIZATION_VERSION: u32 = 2;

/// What the weights of a file are worth, where a person should know: [`RANDOM_WEIGHTS`] or [`DEMONSTRATION_WEIGHTS`].
pub const WEIGHTS_KEY: &str = "fathom.weights";
/// The preset that all of a file's types follow, by its name; not there if none is. `general.file_type` cannot tell: it is the
/// type of most weights, and in a small model that is not the type that the preset is named after.
pub const PRESET_KEY: &str = "fathom.preset";
/// Weights that nobody trained: the model's text is meaningless.
pub const RANDOM_WEIGHTS: &str = "random";
/// Weights of a small model that was trained to show that everything works: it knows next to nothing.
pub const DEMONSTRATION_WEIGHTS: &str = "demonstration";

/// Every `general.*` key but the architecture, and the preset. Without a file type where ggml has none, as GGUF allows:
/// readers then count the tensors' types.
pub fn general(name: &str, plan: &[TensorPlan], encodings: &[Encoding]) -> Vec<(String, OwnedValue)> {
    let names: [(&str, OwnedValue); 3] =
        [("type", "model".into()), ("name", name.into()), ("size_label", size_label(plan).into())];
    let file_type = Recipe::file_type(plan, encodings).map(|number| ("file_type", number.into()));
    let made: [(&str, OwnedValue); 2] = [
        ("quantization_version", QUANTIZATION_VERSION.into()),
        ("quantized_by", concat!("Fathom ", env!("CARGO_PKG_VERSION")).into()),
    ];
    let keys = names.into_iter().chain(file_type).chain(made);
    let keys = keys.map(|(key, value)| (format!("general.{key}"), value));
    let preset = preset(plan, encodings).map(|preset| (PRESET_KEY.to_owned(), preset.name().into()));
    keys.chain(preset).collect()
}

/// The preset that gives just these types.
fn preset(plan: &[TensorPlan], encodings: &[Encoding]) -> Option<Preset> {
    let gives = |preset: &Preset| Recipe::from(*preset).assign(plan).is_ok_and(|given| given == encodings);
    Preset::ALL.into_iter().find(gives)
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
    use crate::stored;

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
        let dense = stored("", Role::Embed, &[1000, 4000]);
        let experts = stored("", Role::RoutedDown, &[8, 1000, 2000]);
        assert_eq!(size_label(std::slice::from_ref(&dense)), "4.0M");
        assert_eq!(size_label(&[dense, experts]), "8x6.0M");
    }

    #[test]
    fn the_preset_is_the_one_that_gives_the_types() {
        // Most weights are of a type that the preset is not named after.
        let plan = [
            stored("token_embd.weight", Role::Embed, &[4096, 256]),
            stored("blk.0.attn_norm.weight", Role::Exact, &[256]),
            stored("blk.1.ffn_up_exps.weight", Role::RoutedGateUp, &[8, 256, 256]),
            stored("blk.1.ffn_down_exps.weight", Role::RoutedDown, &[8, 256, 256]),
            stored("output.weight", Role::Head, &[4096, 256]),
            stored("blk.0.ffn_down.weight", Role::DenseFfn, &[256, 512]),
        ];
        let told = |encodings: &[Encoding]| {
            let keys = general("a model", &plan, encodings);
            keys.into_iter().find(|(key, _)| key == PRESET_KEY).map(|(_, value)| value)
        };
        for wanted in Preset::ALL {
            let encodings = Recipe::from(wanted).assign(&plan).unwrap();
            assert_eq!(told(&encodings), Some(wanted.name().into()));
        }
        let mut recipe = Recipe::from(Preset::Q4KM);
        recipe.except("output=bf16").unwrap();
        assert_eq!(told(&recipe.assign(&plan).unwrap()), None, "it is no preset's any more");
    }
}
