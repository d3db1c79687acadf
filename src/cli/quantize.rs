//! `fathom quantize`: a checkpoint to one GGUF file.

use super::flags::{OneOf, some_threads};
use super::writing;
use super::{Failure, checkpoint};
use clap::builder::NonEmptyStringValueParser;
use fathom_arch::config::Config;
use fathom_arch::names;
use fathom_arch::role::Role;
use fathom_files::output::Target;
use fathom_quantize::encode::Encoding;
use fathom_quantize::metadata::{DEMONSTRATION_WEIGHTS, RANDOM_WEIGHTS, WEIGHTS_KEY};
use fathom_quantize::pipeline::Job;
use fathom_quantize::recipe::Recipe;
use fathom_quantize::source::Checkpoint;
use fathom_quantize::tokenizer::{Tokenizer, no_tokenizer};
use fathom_quantize::{hub, metadata};
use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Convert a checkpoint of DeepSeek-V3.2 (or V3, R1, V3.1) to one GGUF file.
///
/// FP8 checkpoints are read as published: weights are dequantised, encoded and written in one pass, with a few megabytes
/// of memory per thread. Norms, router, biases and indexer.proj stay f32; matrices whose rows are not a multiple of the
/// block size get a type with smaller blocks, or f16. The file gets its name only when it is complete.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint folder; or ORG/NAME, which is looked up in the local Hugging Face cache.
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// Output file.
    #[arg(short, long, value_name = "OUT.gguf", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Preset, which chooses a type for each kind of tensor (q8_0 to q2_k, see quantize/PRESETS.md), or one type for every
    /// matrix.
    #[arg(long = "type", value_name = "TYPE", value_parser = recipe_parser())]
    recipe: Recipe,
    /// Type of the matrices whose GGUF name matches the regular expression; the last match wins. Can be repeated.
    #[arg(long = "tensor-type", value_name = "REGEX=TYPE")]
    exceptions: Vec<String>,
    /// The model's name in the file [default: its repository's, or what config.json or the model card says, or the
    /// folder's].
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Overwrite OUT.gguf if it exists.
    #[arg(long)]
    force: bool,
    /// Only print the size of each kind of tensor, exact to the byte; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Number of threads [default: all cores].
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = some_threads)]
    threads: Option<NonZeroUsize>,
    /// Print sizes and times as one JSON object.
    #[arg(long)]
    json: bool,
    // Last, because its heading would cover what follows.
    #[command(flatten)]
    roles: Roles,
}

/// Other types for some roles than the preset has.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Types for single kinds of tensors (f32, f16, bf16 or any qN), instead of the preset's"
)]
struct Roles {
    /// Routed experts.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    experts: Option<Encoding>,
    /// Down projection of the routed experts only.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    experts_down: Option<Encoding>,
    /// Attention, including k_b and v_b.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    attention: Option<Encoding>,
    /// Query and key matrices of the indexer.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    indexer: Option<Encoding>,
    /// Shared experts.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    shared: Option<Encoding>,
    /// Feed-forward matrices of the dense layers.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    dense_ffn: Option<Encoding>,
    /// Token embedding.
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    embed: Option<Encoding>,
    /// Output matrix (language-model head).
    #[arg(long, value_name = "TYPE", value_parser = encoding_parser(), hide_possible_values = true)]
    head: Option<Encoding>,
}

impl Roles {
    fn apply(&self, recipe: &mut Recipe) {
        let choices: [(Option<Encoding>, &[Role]); 8] = [
            (self.experts, &[Role::RoutedGateUp, Role::RoutedDown]),
            (self.experts_down, &[Role::RoutedDown]),
            (self.attention, &[Role::Attention, Role::AttentionKvB]),
            (self.indexer, &[Role::Indexer]),
            (self.shared, &[Role::SharedExpert]),
            (self.dense_ffn, &[Role::DenseFfn]),
            (self.embed, &[Role::Embed]),
            (self.head, &[Role::Head]),
        ];
        for (encoding, roles) in choices {
            for role in roles {
                encoding.into_iter().for_each(|encoding| recipe.set(*role, encoding));
            }
        }
    }
}

/// Accepts the names of [`Recipe::names`].
fn recipe_parser() -> OneOf<Recipe> {
    let named = |name| (name, Recipe::from_name(name).expect("every name of a recipe is known"));
    OneOf::new(Recipe::names().into_iter().map(named))
}

/// Accepts the names of [`Encoding::ALL`].
fn encoding_parser() -> OneOf<Encoding> {
    OneOf::new(Encoding::ALL.map(|encoding| (encoding.name(), encoding)))
}

/// Runs the verb.
///
/// # Errors
/// Whatever kept the file from being written.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut recipe = args.recipe;
    args.roles.apply(&mut recipe);
    for exception in &args.exceptions {
        recipe.except(exception)?;
    }
    let folder = hub::resolve(&args.checkpoint, |name| env::var_os(name))?;
    let mut target =
        args.output.map(|path| Target { replace: args.force, inputs: files(&folder), ..Target::new(path) });
    if let Some(target) = target.as_ref().filter(|_| !args.dry_run) {
        target.check()?;
    }
    let checkpoint = Checkpoint::open(&folder)?;
    if let Some(target) = &mut target {
        target.inputs.extend(checkpoint.shards().map(Path::to_owned));
    }
    let config = Config::from_json(checkpoint.config(), |layer| {
        let prefix = format!("model.layers.{layer}.");
        checkpoint.names().any(|name| name.starts_with(&prefix))
    })
    .map_err(|e| Failure::invalid(format!("{}: {e}", folder.display())))?;
    let plan = names::plan(&config, |name| checkpoint.contains(name));
    checkpoint::check_names(&checkpoint, &plan)?;
    checkpoint::tell_ignored(&checkpoint, &config);
    let encodings = recipe.assign(&plan)?;
    let mut metadata = config.to_gguf();
    let own_name = || checkpoint::model_name(&args.checkpoint, &folder, checkpoint.config());
    metadata.extend(metadata::general(&args.name.unwrap_or_else(own_name), &plan, &encodings));
    if let Some(worth) = worth(checkpoint.config()) {
        metadata.push((WEIGHTS_KEY.to_owned(), worth.into()));
    }
    let tokenizer = Tokenizer::read(&folder, config.vocab_size)?;
    let has_tokenizer = tokenizer.is_some();
    match tokenizer {
        Some(tokenizer) => {
            tokenizer.notes.iter().for_each(|note| tell!("note: {note}"));
            metadata.extend(tokenizer.to_gguf());
        }
        None => {
            tell!("note: {} has no tokenizer.json: the file will contain only weights", folder.display());
            metadata.extend(no_tokenizer());
        }
    }
    checkpoint::check_metadata(&folder, &metadata, has_tokenizer)?;
    let job = Job::new(&checkpoint, &folder.display().to_string(), &plan, &encodings, metadata)?;
    checkpoint::check_leftovers(&checkpoint, &config, &plan)?;
    if args.dry_run {
        return writing::print_sizes(&job, args.json);
    }
    let target = target.expect("clap asks for it unless this is a dry run");
    writing::write(&job, &target, args.threads, args.json)
}

/// Files of a checkpoint's folder: whichever of them are read, none is written over. Its .gguf files were made of it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let is_its_own = |path: &PathBuf| {
        path.is_file() && !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
    };
    // A folder that cannot be listed is an error as soon as it is opened.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_its_own).collect()
}

/// What config.json says of the weights, as the one of the built-in model does.
fn worth(config: &[u8]) -> Option<&'static str> {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    [RANDOM_WEIGHTS, DEMONSTRATION_WEIGHTS].into_iter().find(|word| config["fathom_weights"] == *word)
}

#[cfg(test)]
mod tests {
    use super::super::synth;
    use super::*;
    use clap::Parser;
    use fathom_arch::plan::TensorPlan;
    use fathom_quantize::cost::Cost;
    use fathom_quantize::recipe::Preset;
    use std::fmt::Write;
    use std::fs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// The types that a command line gives to some tensors of the whole model.
    fn types(line: &str, names: &[&str]) -> Vec<&'static str> {
        let words = ["quantize", "DIR", "-o", "OUT"].into_iter().chain(line.split_whitespace());
        let args = Line::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).args;
        let mut recipe = args.recipe.clone();
        args.roles.apply(&mut recipe);
        args.exceptions.iter().for_each(|exception| recipe.except(exception).unwrap());
        let (_, plan) = synth::published();
        let encodings = recipe.assign(&plan).unwrap();
        let find = |name: &&str| encodings[plan.iter().position(|t| t.name == *name).unwrap()].name();
        names.iter().map(find).collect()
    }

    #[test]
    fn role_flags_and_expressions_override_the_preset() {
        let names = [
            "token_embd.weight",
            "output.weight",
            "blk.0.ffn_down.weight",
            "blk.7.attn_output.weight",
            "blk.7.attn_k_b.weight",
            "blk.7.indexer.attn_q_b.weight",
            "blk.7.indexer.proj.weight",
            "blk.7.ffn_up_shexp.weight",
            "blk.7.ffn_up_exps.weight",
            "blk.7.ffn_down_exps.weight",
        ];
        assert_eq!(
            types("--type q2_k", &names),
            ["q4_k", "q6_k", "q5_k", "q5_k", "q8_0", "q8_0", "f32", "q5_k", "q2_k", "q3_k"]
        );
        assert_eq!(
            types("--type q4_k", &names),
            ["q4_k", "q4_k", "q4_k", "q4_k", "q5_0", "q4_k", "f32", "q4_k", "q4_k", "q4_k"]
        );
        let all = "--type q2_k --experts q4_0 --experts-down q4_1 --attention q6_k --indexer f16 --shared q5_0 \
                   --dense-ffn q5_1 --embed q2_k --head bf16";
        assert_eq!(
            types(all, &names),
            ["q2_k", "bf16", "q5_1", "q6_k", "q8_0", "f16", "f32", "q5_0", "q4_0", "q4_1"]
        );
        let more = format!("{all} --tensor-type ^blk.7.*exps=q3_k --tensor-type ffn_down_exps=q8_0");
        assert_eq!(types(&more, &names)[8..], ["q3_k", "q8_0"]);
    }

    /// What llama.cpp's rules give each tensor, for the presets that it has under the same name and for a model with
    /// 256 experts and an MTP layer. Source: llama.cpp, `llama_tensor_get_type_impl` (its norms, router and biases are
    /// f32 as ours; it does quantise `indexer.proj`).
    fn llama_cpp(preset: Preset, plan: &[TensorPlan], n_layers: usize) -> Vec<Encoding> {
        let more_bits = |layer: usize| {
            layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2
        };
        let base = match preset {
            Preset::Q8_0 => Encoding::Q8_0,
            Preset::Q6K => Encoding::Q6K,
            Preset::Q5KM => Encoding::Q5K,
            Preset::Q4KM => Encoding::Q4K,
            Preset::Q3KM => Encoding::Q3K,
            Preset::Q2K => Encoding::Q2K,
        };
        let one = |tensor: &TensorPlan| {
            let name = tensor.name.as_str();
            let layer = name.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            let encoding = match preset {
                _ if tensor.role == Role::Exact && !name.contains("indexer.proj") => Encoding::F32,
                Preset::Q8_0 => base,
                _ if name == "output.weight" => Encoding::Q6K,
                Preset::Q5KM | Preset::Q4KM if name.contains("ffn_down") && more_bits(layer) => Encoding::Q6K,
                Preset::Q3KM if name.contains("ffn_down") && layer < n_layers / 16 => Encoding::Q5K,
                Preset::Q3KM if name.contains("ffn_down") || name.contains("attn_output") => Encoding::Q4K,
                Preset::Q2K if name.contains("ffn_down") || name.contains("attn_output") => Encoding::Q3K,
                _ => base,
            };
            encoding.that_divides(tensor.n_cols())
        };
        plan.iter().map(one).collect()
    }

    /// `quantize/PRESETS.md` as it must be.
    fn presets_page() -> String {
        let (config, plan) = synth::published();
        let cost = |encodings: &[Encoding]| {
            Cost::of(&plan, encodings, config.num_hidden_layers, config.num_experts_per_tok)
        };
        let mut page = "# What `fathom quantize --type PRESET` does\n\n\
            Made by a test from the code (`FATHOM_BLESS=1 cargo test --lib presets_page` writes it anew).\n\n\
            | role |"
            .to_owned();
        Preset::ALL.iter().for_each(|preset| write!(page, " {} |", preset.name()).unwrap());
        page += "\n|---|---|---|---|---|---|---|\n";
        for role in Role::ALL {
            write!(page, "| {role} |").unwrap();
            Preset::ALL.iter().for_each(|preset| write!(page, " {} |", preset.encoding(role)).unwrap());
            page += "\n";
        }
        let costs = Preset::ALL.map(|preset| cost(&Recipe::from(preset).assign(&plan).unwrap()));
        let theirs = Preset::ALL.map(|preset| cost(&llama_cpp(preset, &plan, config.num_hidden_layers + 1)));
        let mut line = |name: &str, figure: &dyn Fn(usize) -> String| {
            write!(page, "| **{name}** |").unwrap();
            (0..Preset::ALL.len()).for_each(|at| write!(page, " {} |", figure(at)).unwrap());
            page += "\n";
        };
        line("bits per weight", &|at| format!("{:.2}", costs[at].bits_per_weight()));
        line("GiB", &|at| format!("{:.1}", costs[at].gib()));
        line("GB read per token", &|at| format!("{:.1}", costs[at].bytes_per_token as f64 / 1e9));
        line("llama.cpp: bits per weight", &|at| format!("{:.2}", theirs[at].bits_per_weight()));
        line("llama.cpp: GiB", &|at| format!("{:.1}", theirs[at].gib()));
        line("llama.cpp: GB read per token", &|at| format!("{:.1}", theirs[at].bytes_per_token as f64 / 1e9));
        page += "\n\
            Figures are those of DeepSeek-V3.2 whole, with its MTP layer (which only speculation reads). \"Read per token\" is weights \
            alone:\nevery matrix of the 61 layers, 8 of 256 experts, one row of the embedding; the caches come on top. llama.cpp's \
            figures follow from its\nrules for the preset of the same name (llama-quant.cpp of the version that `tests/interop` \
            pins), without `--tensor-type`.\n\n\
            - Rows that blocks of 256 do not divide (`attn_k_b` has rows of 128) fall back: q8_k and q6_k to q8_0, q5_k to q5_1, q4_k to \
            q5_0,\n  q3_k and q2_k to q4_0; rows that 32 does not divide become f16.\n\
            - `--experts --experts-down --attention --indexer --shared --dense-ffn --embed --head TYPE` replace the type of a role, and\n  \
            `--tensor-type REGEX=TYPE` that of single tensors, in this order of weight. `--type` also takes a bare type for all matrices;\n  \
            q8_0, q6_k and q2_k are presets.\n\
            - `general.file_type` is ggml's number for the type of most weights. It has none for q8_k; then the key is left out.\n\
            - q8_k is for Fathom alone. In llama.cpp it is a type of activations: its quantizer does not offer it, and it cannot \
            multiply\n  weights of this type.\n";
        page
    }

    #[test]
    fn presets_page_says_what_the_code_does() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/quantize/PRESETS.md");
        let page = presets_page();
        if env::var_os("FATHOM_BLESS").is_some() {
            fs::write(path, &page).unwrap();
        }
        let found = fs::read_to_string(path).unwrap();
        assert_eq!(found, page, "run FATHOM_BLESS=1 cargo test --lib presets_page and look at the change");
        // The README shows the same table.
        let table: String =
            page.lines().filter(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
        let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        assert!(readme.contains(&table), "copy the table of quantize/PRESETS.md into the README");
    }
}
