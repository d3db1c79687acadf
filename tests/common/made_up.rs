//! A small model that is made up, whose rows are whole blocks of 256: the reference checkpoints' are too short for the
//! K formats.

use super::Converted;
use fathom_arch::config::Config;
use fathom_arch::names;
use fathom_quantize::metadata;
use fathom_quantize::output::Target;
use fathom_quantize::pipeline::{Job, Watch};
use fathom_quantize::recipe::Recipe;
use fathom_quantize::synth::Synthetic;
use fathom_quantize::tokenizer::no_tokenizer;
use fathom_simd::Kernels;
use std::sync::atomic::AtomicBool;

/// The index chooses this many positions; tests go beyond.
pub const INDEX_TOPK: usize = 12;
/// One dense layer, then expert layers.
pub const N_LAYERS: usize = 2;
/// Token ids end here.
pub const VOCAB: u32 = 512;

/// Every matrix of attention, feed-forward halves, embedding and head has rows of 256, 512 or 768 values; those of
/// `attn_k_b` and the indexer divide by 32.
const CONFIG: &str = r#"{
  "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "hidden_act": "silu",
  "attention_bias": false, "first_k_dense_replace": 1, "hidden_size": 512, "index_head_dim": 64,
  "index_n_heads": 4, "index_topk": 12, "intermediate_size": 768, "kv_lora_rank": 256,
  "max_position_embeddings": 163840, "moe_intermediate_size": 512, "moe_layer_freq": 1, "n_group": 2,
  "n_routed_experts": 6, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 4,
  "num_experts_per_tok": 2, "num_hidden_layers": 2, "num_key_value_heads": 4, "num_nextn_predict_layers": 1,
  "q_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "rms_norm_eps": 1e-06,
  "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
    "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
  "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false,
  "topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 512
}"#;

/// The model in a preset's or a type's bytes; the weights before rounding are always the same.
pub fn made_up(ty: &str) -> Converted {
    let config = Config::from_json(CONFIG.as_bytes(), |_| false).unwrap();
    let plan = names::plan(&config, |_| false);
    let encodings = Recipe::from_name(ty).unwrap().assign(&plan).unwrap();
    let mut metadata = config.to_gguf();
    metadata.extend(metadata::general("made-up", &plan, &encodings));
    metadata.extend(no_tokenizer());
    let model = Synthetic::new(&plan, 1);
    let job = Job::new(&model, "made-up", &plan, &encodings, metadata).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
    job.write(Kernels::best(), &Target::new(path.clone()), watch).unwrap();
    Converted { _folder: folder, path }
}

/// Tokens without a pattern.
pub fn tokens(n: usize) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..n).map(|_| rng.u32(0..VOCAB)).collect()
}
