//! GGUF metadata of `deepseek32`, and of `deepseek2` in its dense layouts.

use super::gguf_reader::Reader;
use super::keys;
use super::overrides::{Overrides, Scalar, scalar_of};
use super::{Config, ConfigError, IndexerConfig, LATENT_NORM_EPS, Yarn};
use fathom_gguf::{Gguf, Metadata, Value};
use std::collections::BTreeSet;

const ARCHITECTURES: &str = "deepseek32, deepseek2";

impl Overrides {
    /// Keys that change nothing of this file's numbers, and all those that would, one of which may have been meant.
    pub fn without_effect(&self, metadata: &Metadata<'_>) -> (Vec<&str>, BTreeSet<String>) {
        let arch = match metadata.str("general.architecture") {
            Ok(Some("deepseek32")) => "deepseek32",
            _ => "deepseek2",
        };
        let mut reader = Reader::new(metadata, self, arch);
        // What is wrong with the numbers is told by whoever needs them.
        let _ = reader.numbers();
        let keys = self.values.iter().map(|(key, _)| key.as_str());
        (keys.filter(|key| !reader.asked.contains(*key)).collect(), reader.asked)
    }
}

impl Config {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// Another architecture by name; otherwise everything missing or contradictory at once.
    pub fn from_gguf(metadata: &Metadata<'_>, overrides: &Overrides) -> Result<Config, ConfigError> {
        let arch = match metadata.str("general.architecture")? {
            Some("deepseek32") => "deepseek32",
            Some("deepseek2") => "deepseek2",
            found => {
                let found =
                    found.map_or("a file without general.architecture".to_owned(), |a| format!("`{a}`"));
                return Err(ConfigError::OtherModel { found, expected: ARCHITECTURES });
            }
        };
        let mut r = Reader::new(metadata, overrides, arch);
        let config = r.numbers();
        if let Some(vocabulary) = metadata.array("tokenizer.ggml.tokens")?
            && config.vocab_size == 0
        {
            return r.finish(Config { vocab_size: vocabulary.len(), ..config });
        }
        r.finish(config)
    }
}

/// Whether a file has anything of an indexer.
pub fn has_indexer(gguf: &Gguf<'_>) -> bool {
    gguf.tensors().any(|(_, tensor)| tensor.name.contains(".indexer."))
}

impl Config {
    /// Reads the metadata of a whole model, and whether there is an indexer where it may be done without.
    ///
    /// # Errors
    /// As [`Config::from_gguf`].
    pub fn of(gguf: &Gguf<'_>, overrides: &Overrides) -> Result<Config, ConfigError> {
        let config = Config::from_gguf(gguf.metadata(), overrides)?;
        match config.indexer {
            Some(_) if overrides.dense && !has_indexer(gguf) => Ok(Config { indexer: None, ..config }),
            _ => Ok(config),
        }
    }
}

impl Reader<'_, '_> {
    fn finish(self, config: Config) -> Result<Config, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError::Invalid(self.problems));
        }
        config.validate()?;
        Ok(config)
    }

    fn numbers(&mut self) -> Config {
        let blocks = self.need("block_count");
        let nextn = self.size("nextn_predict_layers").unwrap_or(0);
        let qk_rope_head_dim = self.need("rope.dimension_count");
        // Files from before the split of MLA tell a head's own widths; later ones the latent's, and these beside.
        let split = self.size("attention.key_length_mla").is_some();
        let (key, value) = if split {
            (self.need("attention.key_length_mla"), self.need("attention.value_length_mla"))
        } else {
            (self.need("attention.key_length"), self.need("attention.value_length"))
        };
        self.check_keys();
        if split {
            self.check_widths(key, value, qk_rope_head_dim);
        }
        let told = |key| self.metadata.get(&self.key(key)).is_some();
        let can_do_without = self.overrides.dense && !told("attention.indexer.top_k");
        let indexer = (self.arch == "deepseek32" && !can_do_without).then(|| IndexerConfig {
            n_heads: self.need("attention.indexer.head_count"),
            head_dim: self.need("attention.indexer.key_length"),
            topk: self.need("attention.indexer.top_k"),
        });
        if indexer.is_some() {
            self.check_index_norm();
        }
        let dense = self.size("leading_dense_block_count").unwrap_or(0);
        let has_moe = dense < blocks;
        let n_routed_experts = if has_moe { self.need("expert_count") } else { 0 };
        if has_moe {
            self.check_gating();
        }
        let (n_group, topk_group) = self.groups(n_routed_experts);
        Config {
            vocab_size: self.size("vocab_size").unwrap_or(0),
            hidden_size: self.need("embedding_length"),
            intermediate_size: self.size("feed_forward_length").unwrap_or(0),
            moe_intermediate_size: if has_moe { self.need("expert_feed_forward_length") } else { 0 },
            num_hidden_layers: blocks.saturating_sub(nextn),
            num_nextn_predict_layers: nextn,
            first_k_dense_replace: dense,
            n_routed_experts,
            n_shared_experts: self.size("expert_shared_count").unwrap_or(0),
            num_experts_per_tok: if has_moe { self.need("expert_used_count") } else { 0 },
            n_group,
            topk_group,
            routed_scaling_factor: if has_moe { self.scaling_factor() } else { 1.0 },
            norm_topk_prob: !has_moe
                || self.need_as("expert_weights_norm", Self::flag, "bool:true").unwrap_or(true),
            num_attention_heads: self.heads(),
            q_lora_rank: self.need("attention.q_lora_rank"),
            kv_lora_rank: self.need("attention.kv_lora_rank"),
            qk_nope_head_dim: key.saturating_sub(qk_rope_head_dim),
            qk_rope_head_dim,
            v_head_dim: value,
            indexer,
            rms_norm_eps: self
                .need_as("attention.layer_norm_rms_epsilon", Self::float, "float:1e-6")
                .unwrap_or(1e-6),
            max_position_embeddings: self.need("context_length"),
            rope_theta: self.float("rope.freq_base").unwrap_or(10000.0),
            yarn: self.yarn(),
            tie_word_embeddings: false,
        }
    }

    /// Files with the split tell the latent's widths beside a head's; ik_llama.cpp's tell a head's twice. Others are another model's.
    fn check_widths(&mut self, key: usize, value: usize, rope: usize) {
        let rank = self.size("attention.kv_lora_rank").unwrap_or(0);
        let widths = [("attention.key_length", rank + rope, key), ("attention.value_length", rank, value)];
        for (name, latent, head) in widths {
            if let Some(found) = self.size(name)
                && found != latent
                && found != head
            {
                let name = self.key(name);
                self.problems.push(format!(
                    "{name}: expected {latent}, the latent's width, or {head}, a head's, found {found}"
                ));
            }
        }
    }

    /// The indexer's LayerNorm has an epsilon of its own.
    fn check_index_norm(&mut self) {
        if let Some(found) = self.float("attention.layer_norm_epsilon")
            && found != LATENT_NORM_EPS
        {
            let key = self.key("attention.layer_norm_epsilon");
            self.problems.push(format!(
                "{key}: expected {LATENT_NORM_EPS:e}, found {found:e}; Fathom supports no other value"
            ));
        }
    }

    fn scaling_factor(&mut self) -> f32 {
        self.need_as("expert_weights_scale", Self::float, "float:2.5").unwrap_or(1.0)
    }

    /// Keys and values are one latent, or in older files as many as heads.
    fn heads(&mut self) -> usize {
        let heads = self.need("attention.head_count");
        if let Some(found) = self.size("attention.head_count_kv")
            && found != 1
            && found != heads
        {
            let key = self.key("attention.head_count_kv");
            self.problems.push(format!("{key}: expected 1 or the number of heads, {heads}, found {found}"));
        }
        heads
    }

    /// Keys under which other models compute something else: refused unless they say that nothing changes.
    fn check_keys(&mut self) {
        for (key, neutral) in keys::SWITCHES {
            let full = self.key(key);
            let overridden = self.overrides.get(&full);
            let Some(value) = self.metadata.get(&full) else { continue };
            self.asked.insert(full.clone());
            let is_overridden = overridden.is_some();
            let found = overridden.or_else(|| scalar_of(value));
            // A list has a value for each layer.
            let is_neutral = match (is_overridden, value) {
                (false, Value::Array(list)) => {
                    list.values().all(|value| scalar_of(&value).is_some_and(|found| neutral.is(&found)))
                }
                _ => found.as_ref().is_some_and(|found| neutral.is(found)),
            };
            if !is_neutral {
                let found = found.map_or_else(|| value.kind().to_string(), |found| found.to_string());
                self.problems.push(format!(
                    "{full}: expected {neutral}, found {found}; Fathom supports no other value"
                ));
            }
        }
    }

    /// The family's router is a sigmoid (2 in ggml's numbering); V2's softmax is another model.
    fn check_gating(&mut self) {
        let key = self.key("expert_gating_func");
        match self.size("expert_gating_func") {
            Some(2) => {}
            Some(other) => self.problems.push(format!("{key}: expected 2 (sigmoid), found {other}")),
            None => self.problems.push(format!(
                "{key}: missing; if this is a V3-family file made by an old converter, add --override-kv {key}=int:2"
            )),
        }
    }

    /// Old converters left the groups out, and llama.cpp then routes without them; the model itself has 8 of 4.
    fn groups(&mut self, n_routed_experts: usize) -> (usize, usize) {
        let default = if n_routed_experts == 256 { (8, 4) } else { (1, 1) };
        let n_group = self.size("expert_group_count").filter(|&n| n > 0);
        let topk_group = self.size("expert_group_used_count").filter(|&n| n > 0);
        match (n_group, topk_group) {
            (Some(1), None) => (1, 1),
            (Some(n), None) if n != default.0 => {
                let key = self.key("expert_group_used_count");
                self.problems.push(format!(
                    "{key}: expected how many of the {n} groups of experts are used, found none; if you know it, add --override-kv \
                     {key}=int:N, otherwise convert the model again"
                ));
                (n, 1)
            }
            (n, k) => (n.unwrap_or(default.0), k.unwrap_or(default.1)),
        }
    }

    /// Without a type readers take a factor for linear scaling, which this family never had: the key was lost.
    fn check_no_scaling(&mut self, kind: &str) {
        let lost = [
            "rope.scaling.factor",
            "rope.scaling.yarn_log_multiplier",
            "rope.scaling.original_context_length",
        ];
        let lost = lost.into_iter().find(|key| match self.metadata.get(&self.key(key)).map(scalar_of) {
            Some(Some(Scalar::Float(x))) => *key != "rope.scaling.factor" || (x != 1.0 && x != 0.0),
            found => found.is_some(),
        });
        if let Some(key) = lost {
            let key = self.key(key);
            self.problems.push(format!(
                "{kind}: missing, but {key} is there; DeepSeek-V3 and its successors have yarn: add --override-kv {kind}=str:yarn, \
                 or {kind}=str:none if positions are not to be scaled"
            ));
        }
    }

    fn yarn(&mut self) -> Option<Yarn> {
        let key = self.key("rope.scaling.type");
        match self.text("rope.scaling.type").as_ref().map(Option::as_deref) {
            Ok(Some("none")) => return None,
            Ok(None) => {
                self.check_no_scaling(&key);
                return None;
            }
            Ok(Some("yarn")) => {}
            Ok(Some(other)) => {
                self.problems.push(format!("{key}: expected `yarn` or `none`, found `{other}`"));
                return None;
            }
            Err(error) => {
                self.problems.push(error.clone());
                return None;
            }
        }
        let original = self.need("rope.scaling.original_context_length");
        let log_multiplier_key = self.key("rope.scaling.yarn_log_multiplier");
        let log_multiplier = self.float("rope.scaling.yarn_log_multiplier").unwrap_or_else(|| {
            self.problems.push(format!(
                "{log_multiplier_key}: missing; V3-family files have 0.1: add --override-kv {log_multiplier_key}=float:0.1"
            ));
            0.1
        });
        let factor = self.float("rope.scaling.factor").unwrap_or_else(|| {
            self.problems.push(format!("{}: missing", self.key("rope.scaling.factor")));
            1.0
        });
        Some(Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast: self.float("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
            beta_slow: self.float("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
            // ggml stores 0.1 * mscale_all_dim.
            mscale_all_dim: log_multiplier / 0.1,
        })
    }
}
