//! What `quantize` asks of a checkpoint before a byte is written: that nothing of it which counts is left out, and that this
//! program would take the file.

use super::{Failure, print};
use fathom_arch::config::{Config, Overrides, strange_json};
use fathom_arch::names;
use fathom_arch::plan::TensorPlan;
use fathom_engine::counted::counted;
use fathom_files::input;
use fathom_gguf::{GgufFile, OwnedValue, Writer};
use fathom_quantize::source::{Checkpoint, Found, Source, scale_name};
use fathom_text::chat::{Chat, ChatError};
use fathom_text::tokenizer::Tokenizer;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

/// Names that a message lists.
const SHOWN: usize = 5;

/// Arrays that no tensor is made of: told where it is known that they change nothing, otherwise refused, as those of a GGUF file are.
///
/// # Errors
/// Arrays that config.json does not account for.
pub(super) fn check_leftovers(
    checkpoint: &Checkpoint,
    config: &Config,
    plan: &[TensorPlan],
) -> Result<(), Failure> {
    let used: HashSet<String> = plan
        .iter()
        .flat_map(|tensor| tensor.origin.sources(&tensor.shape))
        .flat_map(|(name, _)| [name.to_owned(), scale_name(name)])
        .collect();
    let mut leftovers: Vec<&str> = checkpoint.names().filter(|name| !used.contains(*name)).collect();
    leftovers.sort_unstable();
    let is_here = |name: &str| matches!(checkpoint.find(name), Found::Here(_));
    let counting: Vec<&str> =
        leftovers.iter().copied().filter(|name| is_here(name) && !is_harmless(name, config)).collect();
    if !counting.is_empty() {
        return Err(Failure::invalid(format!(
            "{}: {} that the model of config.json does not have, and that would change what it says: {}; {}. Nothing was written",
            checkpoint.folder().display(),
            counted(counting.len(), "tensor"),
            listed(&counting),
            advice(&counting, config)
        )));
    }
    if !leftovers.is_empty() {
        let (have, are) = if leftovers.len() == 1 { ("has", "is") } else { ("have", "are") };
        tell!(
            "note: {} {have} no counterpart in GGUF and {are} left out: {}",
            counted(leftovers.len(), "tensor"),
            listed(&leftovers)
        );
    }
    Ok(())
}

/// Names that all differ from the published ones are one fault, not one for each tensor.
///
/// # Errors
/// A checkpoint in which no tensor of the model has its name.
pub(super) fn check_names(checkpoint: &Checkpoint, plan: &[TensorPlan]) -> Result<(), Failure> {
    let expected = || {
        plan.iter().flat_map(|tensor| tensor.origin.sources(&tensor.shape)).map(|(name, _)| name.to_owned())
    };
    let in_model = |name: &String| name.starts_with("model.");
    let Some(first) = checkpoint.names().next() else { return Ok(()) };
    if expected().filter(in_model).any(|name| checkpoint.contains(&name)) {
        return Ok(());
    }
    // The same tensor under another beginning shows what is different.
    let twin = expected().filter(in_model).find_map(|name| {
        let below = &name["model.".len()..];
        let found = checkpoint.names().find(|found| {
            found.strip_suffix(below).is_some_and(|start| start.is_empty() || start.ends_with('.'))
        })?;
        Some((name.clone(), found.to_owned(), found[..found.len() - below.len()].to_owned()))
    });
    let (expected, found, next) = match twin {
        Some((expected, found, start)) => (
            expected,
            found,
            format!(
                "; the names begin with `{start}` instead of `model.`: save the model under its published names"
            ),
        ),
        None => (
            "model.embed_tokens.weight".to_owned(),
            first.to_owned(),
            ": convert the published checkpoint".to_owned(),
        ),
    };
    Err(Failure::invalid(format!(
        "{}: expected tensors with names like {expected}, found names like {}{next}. Nothing was written",
        checkpoint.folder().display(),
        print::plain(&found)
    )))
}

/// Says what lies in the checkpoint and is not used.
pub(super) fn tell_ignored(checkpoint: &Checkpoint, config: &Config) {
    let folder = checkpoint.folder();
    let unknown = strange_json::unknown(checkpoint.config());
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
        tell!("note: config.json has fields that Fathom does not use: {}", print::plain(&names.join(", ")));
    }
    if config.tie_word_embeddings && checkpoint.contains("lm_head.weight") {
        tell!("note: config.json says tie_word_embeddings, but there is an lm_head.weight: it is used");
    }
    let shards: HashSet<&OsStr> = checkpoint.shards().filter_map(Path::file_name).collect();
    let mut beside: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| !shards.contains(name.as_os_str()))
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".safetensors") || name == "adapter_config.json")
        .collect();
    beside.sort_unstable();
    if !beside.is_empty() {
        let beside: Vec<&str> = beside.iter().map(String::as_str).collect();
        tell!(
            "note: {} not part of the checkpoint and not read: {}",
            if beside.len() == 1 { "this is" } else { "these are" },
            print::plain(&listed(&beside))
        );
    }
}

/// What programs that train or serve store beside a model's own arrays, and what none of them changes.
const HARMLESS: [&str; 6] = [
    // Follows from config.json; old versions of transformers saved it.
    "rotary_emb.inv_freq",
    // How a cache of keys and values in FP8 is scaled; the caches here have scales of their own.
    "self_attn.k_scale",
    "self_attn.v_scale",
    "self_attn.kv_scale",
    // How activations are rounded to 8 bits before a product; here they are not.
    ".input_scale",
    ".activation_scale",
];

/// Beginnings of the names of other models' arrays that lie beside the text model: it computes the same without them.
const STRANGERS: [&str; 8] = [
    "vision",
    "visual.",
    "model.vision",
    "model.visual.",
    "multi_modal_projector.",
    "mm_projector.",
    "model.mm_projector.",
    "audio",
];

/// Whether a model computes the same without this array. A dense sibling's indexer is left out as llama.cpp leaves it out.
fn is_harmless(name: &str, config: &Config) -> bool {
    let is_indexers = name.starts_with("model.layers.") && name.contains(".indexer.");
    HARMLESS.iter().any(|end| name.ends_with(end))
        || STRANGERS.iter().any(|start| name.starts_with(start))
        || (config.indexer.is_none() && is_indexers)
}

/// What to do about arrays that have no place.
fn advice(names: &[&str], config: &Config) -> &'static str {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let layer = |name: &str| name.strip_prefix("model.layers.")?.split_once('.')?.0.parse::<usize>().ok();
    let known =
        names.iter().any(|name| names::find_hf(name.strip_suffix("_scale_inv").unwrap_or(name)).is_some());
    if known {
        "check n_shared_experts, n_routed_experts, first_k_dense_replace and num_hidden_layers, or download config.json again"
    } else if has("lora_") || has(".adapter") {
        "these belong to an adapter: merge it into the model first"
    } else if has("_scale") || has("smooth") || has("_zero_point") || has("_packed") {
        "these belong to a quantization that Fathom does not decode: convert DeepSeek's own FP8 checkpoint or a BF16 copy of it"
    } else if names.iter().any(|name| layer(name).is_some_and(|layer| layer >= config.n_layers_with_mtp())) {
        "check num_hidden_layers and num_nextn_predict_layers, or download config.json again"
    } else {
        "they belong to another model, or to a change of this one that Fathom does not know: convert the published checkpoint"
    }
}

fn listed(names: &[&str]) -> String {
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

/// Reads the metadata as a program that runs the file would: numbers, vocabulary and chat format. What is refused now would have
/// been refused after hours of writing.
///
/// # Errors
/// Whatever the program would say to the finished file.
pub(super) fn check_metadata(
    folder: &Path,
    metadata: &[(String, OwnedValue)],
    has_tokenizer: bool,
) -> Result<(), Failure> {
    let refused = |file: &str, error: &dyn std::fmt::Display| {
        Failure::invalid(format!(
            "{}: Fathom would refuse the resulting file: {error}. Nothing was written",
            folder.join(file).display()
        ))
    };
    let mut writer = Writer::new();
    for (key, value) in metadata {
        writer.metadata(key, value.clone()).map_err(Failure::invalid)?;
    }
    let header = writer.layout().map_err(Failure::invalid)?.header;
    let file = GgufFile::parse(&header).map_err(Failure::invalid)?;
    Config::from_gguf(file.metadata(), &Overrides::default())
        .map_err(|error| refused("config.json", &error))?;
    if !has_tokenizer {
        return Ok(());
    }
    let tokenizer =
        Tokenizer::from_gguf(file.metadata()).map_err(|error| refused("tokenizer.json", &error))?;
    match Chat::new(&tokenizer) {
        Ok(chat) => {
            if let Err(error) = chat.check() {
                tell!("warning: {}: {error}", folder.display());
            }
            Ok(())
        }
        // Plain text can be continued without a chat format.
        Err(ChatError::NoFormat) => Ok(()),
        Err(error @ ChatError::NoToken { .. }) => Err(refused("tokenizer.json", &error)),
        Err(error) => Err(refused("tokenizer_config.json", &error)),
    }
}

/// The model's own name: its repository's, if the folder lies in a cache or was asked for by that name; what config.json or the
/// model card says; else the folder's.
pub(super) fn model_name(given: &Path, folder: &Path, config: &[u8]) -> String {
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let cached = place.iter().filter_map(OsStr::to_str).find_map(|part| part.strip_prefix("models--"));
    let cached = cached.and_then(|name| name.split_once("--")).map(|(_, name)| name.to_owned());
    let asked = (!given.exists()).then(|| last_part(&given.to_string_lossy())).flatten();
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let configured = config["_name_or_path"].as_str().and_then(last_part);
    let name = cached.or(asked).or(configured).or_else(|| carded(folder));
    let name = name.or_else(|| place.file_name().map(|name| name.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "model".to_owned())
}

/// What stands behind the last slash, if that is a name.
fn last_part(path: &str) -> Option<String> {
    let last = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    (!last.is_empty() && last.len() <= 100 && !last.starts_with('.')).then(|| last.to_owned())
}

/// `model_name` in the head of the model card.
fn carded(folder: &Path) -> Option<String> {
    const MOST_BYTES: u64 = 1 << 20;
    let path = folder.join("README.md");
    let card = String::from_utf8(input::read(&path, MOST_BYTES).ok()?).ok()?;
    let mut lines = card.trim_start_matches('\u{feff}').lines();
    (lines.next()?.trim_end() == "---").then_some(())?;
    let name = lines
        .take_while(|line| line.trim_end() != "---")
        .find_map(|line| line.strip_prefix("model_name:"))?;
    last_part(name.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_its_own_name() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("ckpt");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(model_name(&folder, &folder, b"{}"), "ckpt");
        std::fs::write(
            folder.join("README.md"),
            "---\nlicense: mit\nmodel_name: \"DeepSeek-V3.2\"\n---\n# Title\n",
        )
        .unwrap();
        assert_eq!(model_name(&folder, &folder, b"{}"), "DeepSeek-V3.2");
        let config = br#"{"_name_or_path": "deepseek-ai/DeepSeek-V3.2-Exp"}"#;
        assert_eq!(model_name(&folder, &folder, config), "DeepSeek-V3.2-Exp");
        assert_eq!(model_name(&folder, &folder, br#"{"_name_or_path": "./"}"#), "DeepSeek-V3.2");
        assert_eq!(model_name(Path::new("no-such-org/Its-Name"), &folder, b"{}"), "Its-Name");
        let snapshot = temp.path().join("models--deepseek-ai--DeepSeek-V3.2-Speciale/snapshots/0123abc");
        std::fs::create_dir_all(&snapshot).unwrap();
        assert_eq!(model_name(&snapshot, &snapshot, config), "DeepSeek-V3.2-Speciale");
    }
}
