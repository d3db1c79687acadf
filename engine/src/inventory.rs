//! What a GGUF file holds, told from its header alone: no weight is touched.

use fathom_arch::config::has_indexer;
use fathom_arch::names;
use fathom_arch::role::Role;
use fathom_gguf::{Gguf, TensorInfo, TensorType};
use std::collections::BTreeMap;

/// Tensors counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub n_tensors: usize,
    /// Their numbers.
    pub n_weights: u64,
    /// Their bytes.
    pub n_bytes: u64,
}

impl Share {
    fn add(&mut self, tensor: &TensorInfo<'_>) {
        self.n_tensors += 1;
        self.n_weights += tensor.shape.elems() as u64;
        self.n_bytes += tensor.bytes;
    }

    /// Takes another count in.
    pub fn join(&mut self, other: Share) {
        self.n_tensors += other.n_tensors;
        self.n_weights += other.n_weights;
        self.n_bytes += other.n_bytes;
    }

    /// Bits for each weight.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.n_bytes as f64 / self.n_weights.max(1) as f64
    }
}

/// How a file of the family stores the halves of `kv_b_proj`, and whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `deepseek32`: indexer, halves apart.
    Deepseek32,
    /// `deepseek2`, halves apart.
    Deepseek2Split,
    /// `deepseek2`, one matrix: from before llama.cpp took them apart.
    Deepseek2Legacy,
    /// `deepseek2`, halves apart and flat, as ik_llama.cpp writes them.
    Deepseek2Ik,
}

impl Layout {
    /// The word that tables and JSON use.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Deepseek32 => "deepseek32",
            Layout::Deepseek2Split => "deepseek2 split",
            Layout::Deepseek2Legacy => "deepseek2 legacy kv_b",
            Layout::Deepseek2Ik => "deepseek2 ik",
        }
    }
}

/// Everything in a file, counted.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Role and type of every tensor that the name table knows; other tensors have no role.
    pub kinds: BTreeMap<(Option<Role>, TensorType), Share>,
    /// All of them.
    pub total: Share,
    /// The layout, in files of the family.
    pub layout: Option<Layout>,
    /// Whether there are indexer tensors.
    pub has_indexer: bool,
    /// The MTP layer and what is in it.
    pub mtp: Option<(usize, Share)>,
}

impl Inventory {
    /// Counts a file's tensors.
    pub fn take(gguf: &Gguf<'_>) -> Inventory {
        let mut kinds: BTreeMap<_, Share> = BTreeMap::new();
        let mut total = Share::default();
        for (_, tensor) in gguf.tensors() {
            let role = names::find(tensor.name).map(|(spec, _)| spec.role);
            kinds.entry((role, tensor.ty)).or_default().add(tensor);
            total.add(tensor);
        }
        Inventory { kinds, total, layout: layout(gguf), has_indexer: has_indexer(gguf), mtp: mtp(gguf) }
    }
}

fn layout(gguf: &Gguf<'_>) -> Option<Layout> {
    // A value of another kind than text is some other file.
    let arch = gguf.metadata().str("general.architecture").ok().flatten()?;
    let first = |spec: names::Spec| {
        let in_table = |name| names::find(name).is_some_and(|(found, _)| found.gguf == spec.gguf);
        gguf.tensors().map(|(_, tensor)| tensor).find(|tensor| in_table(tensor.name))
    };
    match arch {
        "deepseek32" => Some(Layout::Deepseek32),
        "deepseek2" => match (first(names::ATTN_K_B), first(names::ATTN_KV_B)) {
            (Some(k), _) if k.shape.len() == 2 => Some(Layout::Deepseek2Ik),
            (Some(_), _) => Some(Layout::Deepseek2Split),
            (None, Some(_)) => Some(Layout::Deepseek2Legacy),
            (None, None) => None,
        },
        _ => None,
    }
}

fn mtp(gguf: &Gguf<'_>) -> Option<(usize, Share)> {
    let layer_of = |name: &str| names::find(name).and_then(|(_, layer)| layer);
    let joins = |name: &str| names::find(name).is_some_and(|(s, _)| s.gguf == names::NEXTN_EH_PROJ.gguf);
    let layer = gguf.tensors().find(|(_, tensor)| joins(tensor.name)).and_then(|(_, t)| layer_of(t.name))?;
    let mut share = Share::default();
    for (_, tensor) in gguf.tensors().filter(|(_, tensor)| layer_of(tensor.name) == Some(layer)) {
        share.add(tensor);
    }
    Some((layer, share))
}
