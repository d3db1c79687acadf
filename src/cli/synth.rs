//! `fathom synth`: a made-up model of true size, for benchmarks and tests of scale.

use super::flags::{OneOf, some_threads};
use super::writing;
use super::{Failure, print, signals};
use fathom_arch::config::Config;
use fathom_arch::names;
use fathom_arch::plan::TensorPlan;
use fathom_arch::role::Role;
use fathom_engine::counted::counted;
use fathom_files::output::Target;
use fathom_quantize::checkpoint_writer::CheckpointJob;
use fathom_quantize::encode::Encoding;
use fathom_quantize::metadata;
use fathom_quantize::pipeline::{Job, Watch};
use fathom_quantize::recipe::Recipe;
use fathom_quantize::synth::Synthetic;
use fathom_quantize::tokenizer::no_tokenizer;
use serde_json::Value;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

/// Generate a model with random weights and DeepSeek-V3.2's dimensions.
///
/// A slice has only a few layers and a small vocabulary, but every layer costs what it costs in the real model, which is
/// all that a benchmark needs. Its answers are meaningless; its activations and its routing are realistic. The same seed
/// gives the same bytes on every machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// v3.2-slice:D+M (D dense and M expert layers, vocabulary of 4096, no MTP) or v3.2 (the whole model).
    #[arg(long)]
    preset: Preset,
    /// Output file.
    #[arg(short, long, value_name = "OUT.gguf", required_unless_present = "checkpoint", requires = "types")]
    output: Option<PathBuf>,
    /// Preset or type, as for `fathom quantize --type`; or q4k-bench, the mixture that published speeds were measured with.
    #[arg(long = "type", value_name = "TYPE", id = "types", value_parser = types(), hide_possible_values = true)]
    types: Option<Types>,
    /// New folder; the model is also written there as an FP8 checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Seed of the random weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// For tests: leave all weights zero, as a sparse file that takes no space on disk.
    #[arg(long)]
    zeros: bool,
    /// Overwrite OUT.gguf if it exists.
    #[arg(long)]
    force: bool,
    /// Number of threads [default: all cores].
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = some_threads)]
    threads: Option<NonZeroUsize>,
}

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Preset {
    Whole,
    Slice { dense: usize, moe: usize },
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Preset, String> {
        let slice = || {
            let (dense, moe) = text.strip_prefix("v3.2-slice:")?.split_once('+')?;
            let (dense, moe) = (dense.parse().ok()?, moe.parse().ok()?);
            (dense <= 100 && moe <= 100 && dense + moe > 0).then_some(Preset::Slice { dense, moe })
        };
        if text == "v3.2" {
            return Ok(Preset::Whole);
        }
        slice().ok_or_else(|| {
            "expected v3.2 or v3.2-slice:D+M with up to 100 dense and 100 expert layers, for example v3.2-slice:1+1"
                .to_owned()
        })
    }
}

impl Preset {
    /// One layer of each kind.
    const SMALLEST: Preset = Preset::Slice { dense: 1, moe: 1 };

    fn name(self) -> String {
        match self {
            Preset::Whole => "v3.2".to_owned(),
            Preset::Slice { dense, moe } => format!("v3.2-slice:{dense}+{moe}"),
        }
    }

    /// `config.json` in DeepSeek's form.
    fn config_json(self) -> Value {
        let mut config: Value = serde_json::from_str(CONFIG).expect("the text below is JSON");
        if let Preset::Slice { dense, moe } = self {
            config["num_hidden_layers"] = (dense + moe).into();
            config["first_k_dense_replace"] = dense.into();
            config["num_nextn_predict_layers"] = 0.into();
            config["vocab_size"] = 4096.into();
        }
        config
    }
}

/// The whole model's numbers, as published.
const CONFIG: &str = r#"{
  "architectures": ["DeepseekV32ForCausalLM"],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "bos_token_id": 0,
  "eos_token_id": 1,
  "ep_size": 1,
  "first_k_dense_replace": 3,
  "hidden_act": "silu",
  "hidden_size": 7168,
  "index_head_dim": 128,
  "index_n_heads": 64,
  "index_topk": 2048,
  "initializer_range": 0.02,
  "intermediate_size": 18432,
  "kv_lora_rank": 512,
  "max_position_embeddings": 163840,
  "model_type": "deepseek_v32",
  "moe_intermediate_size": 2048,
  "moe_layer_freq": 1,
  "n_group": 8,
  "n_routed_experts": 256,
  "n_shared_experts": 1,
  "norm_topk_prob": true,
  "num_attention_heads": 128,
  "num_experts_per_tok": 8,
  "num_hidden_layers": 61,
  "num_key_value_heads": 128,
  "num_nextn_predict_layers": 1,
  "q_lora_rank": 1536,
  "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64,
  "quantization_config": {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "scale_fmt": "ue8m0",
    "weight_block_size": [128, 128]
  },
  "rms_norm_eps": 1e-06,
  "rope_scaling": {
    "beta_fast": 32,
    "beta_slow": 1,
    "factor": 40,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
    "type": "yarn"
  },
  "rope_theta": 10000,
  "routed_scaling_factor": 2.5,
  "scoring_func": "sigmoid",
  "tie_word_embeddings": false,
  "topk_group": 4,
  "topk_method": "noaux_tc",
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "v_head_dim": 128,
  "vocab_size": 129280
}"#;

/// The types of a synthetic file.
#[derive(Clone, Debug)]
pub(super) enum Types {
    /// What `fathom quantize --type` takes, and its name.
    Named(Recipe, String),
    /// The table of bench/: attention and indexer q8_0, the rest as llama.cpp's q4_k_m has it where it spends more.
    Q4kBench,
}

impl FromStr for Types {
    type Err = String;

    fn from_str(text: &str) -> Result<Types, String> {
        if text == "q4k-bench" {
            return Ok(Types::Q4kBench);
        }
        Recipe::from_name(text)
            .map(|recipe| Types::Named(recipe, text.to_owned()))
            .ok_or_else(|| format!("expected q4k-bench or one of {}", Recipe::names().join(", ")))
    }
}

/// Accepts what [`Types::from_str`] does, as people write it.
pub(super) fn types() -> OneOf<Types> {
    let named = |name: &'static str| (name, name.parse().expect("every name of a recipe is known"));
    OneOf::new(Recipe::names().into_iter().chain(["q4k-bench"]).map(named))
}

impl std::fmt::Display for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Types::Named(_, name) => name,
            Types::Q4kBench => "q4k-bench",
        })
    }
}

impl Types {
    fn recipe(&self) -> Recipe {
        match self {
            Types::Named(recipe, _) => recipe.clone(),
            Types::Q4kBench => {
                let mut recipe = Recipe::new(Encoding::Q4K);
                for role in [Role::Attention, Role::AttentionKvB, Role::Indexer] {
                    recipe.set(role, Encoding::Q8_0);
                }
                for role in [Role::Head, Role::RoutedDown] {
                    recipe.set(role, Encoding::Q6K);
                }
                // Roles do not tell the dense and shared `down` from `gate` and `up`.
                recipe.except("ffn_down=q6_k").expect("the text has this form");
                recipe
            }
        }
    }
}

impl Args {
    fn target(&self, path: PathBuf) -> Target {
        Target { replace: self.force, ..Target::new(path) }
    }
}

/// Runs the verb.
///
/// # Errors
/// Whatever kept a file from being written.
pub fn run(args: Args) -> Result<(), Failure> {
    let config_json = args.preset.config_json();
    let text = serde_json::to_string_pretty(&config_json).expect("a value of our own can be written");
    let config = Config::from_json(text.as_bytes(), |_| args.preset == Preset::Whole)
        .map_err(|e| Failure::invalid(e.to_string()))?;
    let plan = names::plan(&config, |_| true);
    let model = Synthetic::new(&plan, args.seed);
    if let Some(path) = &args.output {
        // Before the checkpoint is written, which takes its time.
        args.target(path.clone()).check()?;
        if args.checkpoint.as_ref() == Some(path) {
            return Err(Failure::usage(format!(
                "{}: expected two names for -o and --checkpoint, found one",
                path.display()
            )));
        }
    }
    if args.checkpoint.is_some() {
        write_checkpoint(&args, &model, &text)?;
    }
    match (&args.output, &args.types) {
        (Some(_), Some(types)) => write_gguf(&args, &config, &plan, &model, types),
        _ => Ok(()),
    }
}

fn write_checkpoint(args: &Args, model: &Synthetic, config: &str) -> Result<(), Failure> {
    let Some(folder) = &args.checkpoint else { return Ok(()) };
    let job = CheckpointJob::new(model, model.names());
    let signals = signals::listen()?;
    let meter = writing::meter(job.bytes());
    let progress = |bytes| writing::advance(&meter, bytes);
    writing::on_threads(args.threads, || {
        job.write(folder, config, args.zeros, Watch { stop: signals.flag(), progress: &progress })
    })??;
    meter.finish();
    let n_shards = counted(job.n_shards(), "shard");
    print::figures(format_args!("wrote {}: {} bytes in {n_shards}", folder.display(), job.bytes()));
    Ok(())
}

fn write_gguf(
    args: &Args,
    config: &Config,
    plan: &[TensorPlan],
    model: &Synthetic,
    types: &Types,
) -> Result<(), Failure> {
    let Some(path) = args.output.clone() else { return Ok(()) };
    let encodings = types.recipe().assign(plan)?;
    let mut metadata = config.to_gguf();
    metadata.extend(metadata::general(&args.preset.name(), plan, &encodings));
    metadata.extend(no_tokenizer());
    let job = Job::new(model, &args.preset.name(), plan, &encodings, metadata)?;
    if args.zeros {
        job.write_zeros(&args.target(path.clone()))?;
        let bytes = job.file_bytes();
        print::figures(format_args!("wrote {}: {bytes} bytes, all weights zero", path.display()));
        return Ok(());
    }
    writing::write(&job, &args.target(path), args.threads, false)
}

/// A slice with one layer of each kind: its numbers, and the bytes of its weights in these types.
pub(super) fn smallest_slice(types: &Types) -> Result<(Config, u64), Failure> {
    let (config, plan) = described(Preset::SMALLEST);
    let bytes = weight_bytes(&plan, &types.recipe())?;
    Ok((config, bytes))
}

/// Bytes of the whole model's weights in these types, without the MTP layer.
pub(super) fn whole_bytes(types: &Types) -> Result<u64, Failure> {
    let (config, _) = described(Preset::Whole);
    bytes_with(&config, &types.recipe())
}

/// Bytes of the weights of a model with these numbers, without the MTP layer.
pub(super) fn bytes_with(config: &Config, recipe: &Recipe) -> Result<u64, Failure> {
    let mut plan = names::plan(config, |_| true);
    plan.retain(|tensor| {
        !names::find(&tensor.name)
            .and_then(|(_, layer)| layer)
            .is_some_and(|layer| config.is_mtp_layer(layer))
    });
    weight_bytes(&plan, recipe)
}

fn weight_bytes(plan: &[TensorPlan], recipe: &Recipe) -> Result<u64, Failure> {
    let encodings = recipe.assign(plan)?;
    let rows = |tensor: &TensorPlan| tensor.n_elems() / tensor.n_cols() as u64;
    let bytes = plan.iter().zip(&encodings).map(|(tensor, encoding)| {
        encoding.row_bytes(tensor.n_cols()).map_or(0, |bytes| bytes * rows(tensor))
    });
    Ok(bytes.sum())
}

/// Writes that slice, with progress on stderr.
pub(super) fn write_smallest_slice(
    types: &Types,
    path: PathBuf,
    threads: Option<NonZeroUsize>,
) -> Result<(), Failure> {
    let (config, plan) = described(Preset::SMALLEST);
    let model = Synthetic::new(&plan, 0);
    let args = Args {
        preset: Preset::SMALLEST,
        output: Some(path),
        types: None,
        checkpoint: None,
        seed: 0,
        zeros: false,
        force: false,
        threads,
    };
    write_gguf(&args, &config, &plan, &model, types)
}

fn described(preset: Preset) -> (Config, Vec<TensorPlan>) {
    let text = preset.config_json().to_string();
    let config =
        Config::from_json(text.as_bytes(), |_| preset == Preset::Whole).expect("the text is our own");
    let plan = names::plan(&config, |_| true);
    (config, plan)
}

/// The whole model's numbers and tensors.
pub(super) fn published() -> (Config, Vec<TensorPlan>) {
    described(Preset::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_read_and_mistakes_refused() {
        assert_eq!("v3.2".parse(), Ok(Preset::Whole));
        assert_eq!("v3.2-slice:1+2".parse(), Ok(Preset::Slice { dense: 1, moe: 2 }));
        for wrong in ["v3", "v3.2-slice:1", "v3.2-slice:0+0", "v3.2-slice:-1+2", "v3.2-slice:101+0"] {
            assert!(wrong.parse::<Preset>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_whole_model_has_the_published_size() {
        let (_, plan) = published();
        assert_eq!(plan.len(), 1420);
        let model = Synthetic::new(&plan, 0);
        // model card and index of the published checkpoint.
        assert_eq!(model.names().len(), 92_425);
        let job = CheckpointJob::new(&model, model.names());
        assert_eq!(job.data_bytes(), 689_471_107_200);
        assert_eq!(job.n_shards(), 163);
    }

    /// Every tensor of the slice on which speeds are compared with llama.cpp's: name, type, bytes.
    const Q4K_BENCH: &str = "\
token_embd.weight q4_k 16515072
output_norm.weight f32 28672
output.weight q6_k 24084480
blk.0.attn_norm.weight f32 28672
blk.0.attn_q_a_norm.weight f32 6144
blk.0.attn_kv_a_norm.weight f32 2048
blk.0.attn_q_a.weight q8_0 11698176
blk.0.attn_q_b.weight q8_0 40108032
blk.0.attn_kv_a_mqa.weight q8_0 4386816
blk.0.attn_k_b.weight q8_0 8912896
blk.0.attn_v_b.weight q8_0 8912896
blk.0.attn_output.weight q8_0 124780544
blk.0.ffn_norm.weight f32 28672
blk.0.indexer.k_norm.weight f32 512
blk.0.indexer.k_norm.bias f32 512
blk.0.indexer.proj.weight f32 1835008
blk.0.indexer.attn_k.weight q8_0 974848
blk.0.indexer.attn_q_b.weight q8_0 13369344
blk.0.ffn_gate.weight q4_k 74317824
blk.0.ffn_down.weight q6_k 108380160
blk.0.ffn_up.weight q4_k 74317824
blk.1.attn_norm.weight f32 28672
blk.1.attn_q_a_norm.weight f32 6144
blk.1.attn_kv_a_norm.weight f32 2048
blk.1.attn_q_a.weight q8_0 11698176
blk.1.attn_q_b.weight q8_0 40108032
blk.1.attn_kv_a_mqa.weight q8_0 4386816
blk.1.attn_k_b.weight q8_0 8912896
blk.1.attn_v_b.weight q8_0 8912896
blk.1.attn_output.weight q8_0 124780544
blk.1.ffn_norm.weight f32 28672
blk.1.indexer.k_norm.weight f32 512
blk.1.indexer.k_norm.bias f32 512
blk.1.indexer.proj.weight f32 1835008
blk.1.indexer.attn_k.weight q8_0 974848
blk.1.indexer.attn_q_b.weight q8_0 13369344
blk.1.ffn_gate_inp.weight f32 7340032
blk.1.exp_probs_b.bias f32 1024
blk.1.ffn_gate_exps.weight q4_k 2113929216
blk.1.ffn_down_exps.weight q6_k 3082813440
blk.1.ffn_up_exps.weight q4_k 2113929216
blk.1.ffn_gate_shexp.weight q4_k 8257536
blk.1.ffn_down_shexp.weight q6_k 12042240
blk.1.ffn_up_shexp.weight q4_k 8257536
";

    #[test]
    fn the_bench_slice_has_the_published_table() {
        let text = Preset::Slice { dense: 1, moe: 1 }.config_json().to_string();
        let config = Config::from_json(text.as_bytes(), |_| false).unwrap();
        let plan = names::plan(&config, |_| true);
        let encodings = Types::Q4kBench.recipe().assign(&plan).unwrap();
        let mut table: Vec<String> = plan
            .iter()
            .zip(&encodings)
            .map(|(tensor, encoding)| {
                let rows = tensor.n_elems() / tensor.n_cols() as u64;
                let bytes = encoding.row_bytes(tensor.n_cols()).unwrap() * rows;
                format!("{} {encoding} {bytes}", tensor.name)
            })
            .collect();
        let mut expected: Vec<&str> = Q4K_BENCH.lines().collect();
        table.sort();
        expected.sort_unstable();
        assert_eq!(table, expected);
    }
}
