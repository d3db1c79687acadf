//! What a file holds that the model its metadata describes does not use: refused where the model was meant to use it, told where
//! it changes nothing or where others leave it out too.

use crate::counted::counted;
use fathom_arch::config::{Config, keys};
use fathom_arch::names;
use fathom_gguf::{Gguf, TensorInfo, TensorType, Value};
use std::collections::{BTreeMap, HashSet};

/// A sparse model without the tensors that make it one.
pub(crate) const NO_INDEXER: &str = "blk.N.indexer.*: expected an indexer in every layer, found none; with --dense every token \
                                     attends to all earlier ones, and none is needed";

/// Names that a note lists.
const SHOWN: usize = 4;

/// The layer of a tensor and its name below it.
fn in_layer(name: &str) -> Option<(usize, &str)> {
    let (layer, below) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, below))
}

/// Why a tensor that nobody read does no harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Harmless {
    /// Both halves of it are there, too, in a layer of the model.
    Twin,
    /// The file says that its attention is dense.
    Indexer,
    /// A whole MTP layer behind the model's own.
    Mtp,
    /// Not a part of the text model.
    Stranger,
}

fn harmless(tensor: &TensorInfo<'_>, gguf: &Gguf<'_>, config: &Config) -> Option<Harmless> {
    let Some((layer, below)) = in_layer(tensor.name) else {
        let ours = ["blk.", "output", "token_embd", "rope_", "position_embd"];
        return (!ours.iter().any(|start| tensor.name.starts_with(start))).then_some(Harmless::Stranger);
    };
    let is_mtp = || gguf.tensor(&names::NEXTN_EH_PROJ.gguf_in(layer)).is_some();
    if layer >= config.num_hidden_layers && config.num_nextn_predict_layers == 0 && is_mtp() {
        return Some(Harmless::Mtp);
    }
    if layer >= config.n_layers_with_mtp() {
        return None;
    }
    let has = |half: &names::Spec| gguf.tensor(&half.gguf_in(layer)).is_some();
    if below == names::ATTN_KV_B.gguf {
        return (has(&names::ATTN_K_B) && has(&names::ATTN_V_B)).then_some(Harmless::Twin);
    }
    (config.indexer.is_none() && below.starts_with("indexer.")).then_some(Harmless::Indexer)
}

/// Tensors that were not read and would have to be, those of several layers in one line.
pub(crate) fn problems(gguf: &Gguf<'_>, config: &Config, read: &HashSet<&str>) -> Vec<String> {
    let mut kinds: BTreeMap<&str, (&TensorInfo<'_>, usize)> = BTreeMap::new();
    for (_, tensor) in gguf.tensors().filter(|(_, tensor)| !read.contains(tensor.name)) {
        if harmless(tensor, gguf, config).is_none() {
            let kind = in_layer(tensor.name).map_or(tensor.name, |(_, below)| below);
            kinds.entry(kind).or_insert((tensor, 0)).1 += 1;
        }
    }
    let arch = gguf.metadata().str("general.architecture").ok().flatten().unwrap_or("ARCH");
    let line = |(tensor, n): (&TensorInfo<'_>, usize)| {
        let more = if n > 1 { format!(" and {} like it", n - 1) } else { String::new() };
        let advice = advice(tensor, gguf, config, arch).map_or(String::new(), |advice| format!("; {advice}"));
        format!("{}{more}: the metadata does not describe this tensor{advice}", tensor.name)
    };
    kinds.into_values().map(line).chain(metadata_problems(gguf)).collect()
}

/// Keys of later shards that say something else than the first shard, whose metadata counts; with whether it says anything.
fn contradictions<'g>(gguf: &'g Gguf<'_>) -> impl Iterator<Item = (&'g str, &'g str, bool)> {
    let metadata = gguf.metadata();
    gguf.shards().iter().skip(1).flat_map(move |shard| {
        let own = |key: &str| key.starts_with("split.") || key == "general.alignment";
        let others = shard.file().metadata().iter().filter(move |(key, _)| !own(key));
        let others = others.filter(move |(key, value)| metadata.get(key) != Some(*value));
        others.map(move |(key, _)| (shard.name(), key, metadata.get(key).is_some()))
    })
}

/// The version of ggml's blocks that all files have had since 2023.
const BLOCKS: u64 = 2;

/// Another version of the blocks, told in the metadata.
fn other_blocks(gguf: &Gguf<'_>) -> Option<String> {
    let key = "general.quantization_version";
    let found = gguf.metadata().get(key)?;
    let found = match *found {
        Value::U32(n) => n.into(),
        Value::U64(n) => n,
        Value::I32(n) => u64::try_from(n).unwrap_or(0),
        _ => return Some(format!("{key}: expected {BLOCKS}, found {}", found.kind())),
    };
    (found != BLOCKS).then(|| format!("{key}: expected {BLOCKS}, found {found}"))
}

fn has_blocks(gguf: &Gguf<'_>) -> bool {
    gguf.tensors()
        .any(|(_, tensor)| !matches!(tensor.ty, TensorType::F32 | TensorType::F16 | TensorType::BF16))
}

/// What the metadata says that makes it another model's.
fn metadata_problems(gguf: &Gguf<'_>) -> Vec<String> {
    let arch = gguf.metadata().str("general.architecture").ok().flatten().unwrap_or_default();
    let is_models = |key: &str| {
        let below = key.strip_prefix(arch).is_some_and(|rest| rest.starts_with('.'));
        key == "general.architecture" || key.starts_with("tokenizer.") || below
    };
    let contradictions = contradictions(gguf).filter(|(_, key, is_told)| *is_told && is_models(key));
    let mut problems: Vec<String> = contradictions
        .map(|(shard, key, _)| format!("{shard}: {key}: expected the value of the first shard, found another; are these one model's files?"))
        .collect();
    problems.truncate(SHOWN);
    problems.extend(other_blocks(gguf).filter(|_| has_blocks(gguf)));
    problems
}

/// What the metadata says that changes nothing, though it says something else than the model.
fn metadata_notes(gguf: &Gguf<'_>, config: &Config, arch: &str, dense: bool) -> Vec<String> {
    let metadata = gguf.metadata();
    let number = |key: &str| metadata.u32(&format!("{arch}.{key}")).ok().flatten();
    let mut notes = Vec::new();
    let strange: Vec<&str> = contradictions(gguf).map(|(_, key, _)| key).collect();
    if !strange.is_empty() {
        notes.push(format!(
            "the metadata of the first shard counts; others say something else: {}",
            listed(&strange)
        ));
    }
    notes.extend(other_blocks(gguf).map(|problem| format!("{problem}; no tensor has blocks")));
    let has_tensors = || gguf.tensors().any(|(_, tensor)| tensor.name.contains(".indexer."));
    if arch == "deepseek2" && !dense && number("attention.indexer.head_count").is_some() && !has_tensors() {
        notes.push(format!(
            "the metadata describes an indexer ({arch}.attention.indexer.*), and the file has none of its tensors: every token attends \
             to all earlier ones, which is not what DeepSeek-V3.2 does in long contexts"
        ));
    }
    let key = "expert_shared_feed_forward_length";
    let widths = [config.shared_intermediate_size(), config.moe_intermediate_size];
    if let Some(found) = number(key).filter(|found| !widths.contains(&(*found as usize))) {
        notes.push(format!(
            "{arch}.{key} is {found}, and the shared expert has a width of {}: the key is not used",
            widths[0]
        ));
    }
    let factor = metadata.f32(&format!("{arch}.rope.scaling.factor")).ok().flatten();
    if let Some(factor) = factor.filter(|factor| config.yarn.is_none() && *factor != 1.0 && *factor != 0.0) {
        notes.push(format!(
            "{arch}.rope.scaling.type is none: positions are not scaled, though {arch}.rope.scaling.factor is {factor}"
        ));
    }
    notes
}

/// The key that would account for a tensor.
fn advice(tensor: &TensorInfo<'_>, gguf: &Gguf<'_>, config: &Config, arch: &str) -> Option<String> {
    let (layer, below) = in_layer(tensor.name)?;
    if below.contains("_shexp.") && config.n_shared_experts == 0 {
        let rows =
            if below == names::FFN_DOWN_SHEXP.gguf { tensor.shape.cols() } else { tensor.shape.rows() };
        let n = rows / config.moe_intermediate_size.max(1);
        return Some(format!(
            "the number of shared experts is missing: add --override-kv {arch}.expert_shared_count=int:{n}"
        ));
    }
    if below.starts_with("nextn.") && layer < config.num_hidden_layers {
        return Some(format!(
            "layer {layer} is an MTP layer: add --override-kv {arch}.nextn_predict_layers=int:1"
        ));
    }
    if layer >= config.n_layers_with_mtp() {
        return Some(beyond(config));
    }
    if layer < config.num_hidden_layers {
        return None;
    }
    let mut below_it =
        gguf.tensors().filter_map(|(_, other)| in_layer(other.name).filter(|(at, _)| *at == layer));
    Some(if below_it.any(|(_, below)| below.starts_with("nextn.")) {
        let lost = names::NEXTN_EH_PROJ.gguf;
        format!(
            "layer {layer} is an MTP layer without {lost}: the file is incomplete, download or convert it again"
        )
    } else {
        format!(
            "the metadata declares layer {layer} as an MTP layer, but it has no nextn tensors: if it is one of the model's own, add \
             --override-kv {arch}.nextn_predict_layers=int:0"
        )
    })
}

/// What layers there are, for a tensor of none of them.
fn beyond(config: &Config) -> String {
    let last = config.n_layers_with_mtp().saturating_sub(1);
    let mtp = match config.num_nextn_predict_layers {
        0 => String::new(),
        1 => format!(" ({last} is the MTP layer)"),
        _ => format!(" (from {} on they are MTP layers)", config.num_hidden_layers),
    };
    format!(
        "the model has layers 0 to {last}{mtp}; the file is damaged or merged from two: download or convert it again"
    )
}

/// What is not used and changes nothing, or what others leave out too: lines for the person who runs the file. `dense`: the
/// indexer is not wanted.
pub fn notes(gguf: &Gguf<'_>, config: &Config, dense: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let arch = gguf.metadata().str("general.architecture").ok().flatten().unwrap_or_default();
    let unknown = keys::unknown(gguf.metadata(), arch);
    if !unknown.is_empty() {
        notes.push(format!(
            "the metadata has keys that Fathom does not know and does not use: {}",
            listed(&unknown)
        ));
    }
    notes.extend(metadata_notes(gguf, config, arch, dense));
    let mut found: BTreeMap<Harmless, Vec<&str>> = BTreeMap::new();
    for (_, tensor) in gguf.tensors() {
        // What the table knows is bound, or was refused, but for these.
        let is_bound = names::find(tensor.name).is_some_and(|(spec, layer)| {
            let is_indexer = spec.gguf.starts_with("indexer.") && config.indexer.is_none();
            !is_indexer && layer.is_none_or(|layer| layer < config.n_layers_with_mtp())
        });
        if let Some(why) = harmless(tensor, gguf, config).filter(|_| !is_bound) {
            found.entry(why).or_default().push(tensor.name);
        }
    }
    for (why, names) in found {
        let (n, names) = (counted(names.len(), "tensor"), listed(&names));
        notes.extend(match why {
            Harmless::Twin => None,
            Harmless::Indexer if dense => None,
            Harmless::Indexer => Some(format!(
                "the file has an indexer ({n}), and its architecture {arch} says that attention is dense: every token \
                 attends to all earlier ones, which is not what DeepSeek-V3.2 does in long contexts"
            )),
            Harmless::Mtp => Some(format!(
                "the file has an MTP layer ({n}) that its metadata does not declare; it is not used"
            )),
            Harmless::Stranger => Some(format!("tensors that are not part of the model are not used: {names}")),
        });
    }
    notes
}

fn listed(names: &[&str]) -> String {
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
