//! What `quantize` asks of a checkpoint before a byte is written: that nothing of it which counts is left out, and that this
//! program would take the file.

use super::Failure;
use crate::chat::{Chat, ChatError};
use crate::config::{Config, Overrides};
use crate::counted::counted;
use crate::names;
use crate::tokenizer::Tokenizer;
use fathom_gguf::{GgufFile, OwnedValue, Writer};
use fathom_quantize::input;
use fathom_quantize::plan::{Role, TensorPlan};
use fathom_quantize::source::{Checkpoint, Found, Source, scale_name};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

/// Names that a message lists.
const SHOWN: usize = 5;

/// Arrays that no tensor is made of: refused where they would change what the model says, otherwise told.
///
/// # Errors
/// Arrays of the model's own layers that config.json does not account for.
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
        leftovers.iter().copied().filter(|name| is_here(name) && counts(name, config)).collect();
    if !counting.is_empty() {
        return Err(Failure::invalid(format!(
            "{}: config.json does not account for {} that would change what the model says: {}; \
             check n_shared_experts, n_routed_experts, first_k_dense_replace and num_hidden_layers, or download config.json \
             again. Nothing was written",
            checkpoint.folder().display(),
            counted(counting.len(), "tensor"),
            listed(&counting)
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

/// Whether a model with this array computes something else than one without: an array of the model in a layer that should not have
/// it, or a bias or a norm that the architecture does not have. A dense sibling's indexer is left out as llama.cpp leaves it out.
fn counts(name: &str, config: &Config) -> bool {
    let known = names::find_hf(name);
    let below = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let layer = below.and_then(|(layer, _)| layer.parse::<usize>().ok());
    if layer.is_some_and(|layer| layer >= config.n_layers_with_mtp()) || (layer.is_none() && known.is_none())
    {
        return name == "lm_head.bias" || name == "model.norm.bias";
    }
    let is_indexers = |role: Role| role == Role::Indexer || name.contains(".indexer.");
    match known {
        Some((spec, _)) => config.indexer.is_some() || !is_indexers(spec.role),
        None => name.ends_with(".bias") || name.ends_with("norm.weight"),
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
