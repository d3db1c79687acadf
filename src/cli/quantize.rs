//! `fathom quantize`: a checkpoint to one GGUF file.

use super::Failure;
use super::writing::{self, Destination};
use crate::config::Config;
use crate::names;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use fathom_quantize::encode::Encoding;
use fathom_quantize::pipeline::Job;
use fathom_quantize::plan::TensorPlan;
use fathom_quantize::recipe::Recipe;
use fathom_quantize::source::{Checkpoint, scale_name};
use fathom_quantize::tokenizer::{Tokenizer, no_tokenizer};
use fathom_quantize::{hub, metadata};
use std::collections::HashSet;
use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Convert a DeepSeek-V3.2 checkpoint (or V3, R1, V3.1) to one GGUF file.
///
/// FP8 checkpoints are read as published: weights are dequantised, encoded and written in one pass, with a few megabytes
/// of memory per thread. Norms, router, biases and indexer.proj stay f32; rows that q8_0 blocks do not divide become f16.
/// The file appears under its name only when it is whole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint folder, or org/name of a snapshot in the local Hugging Face cache.
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// File to write.
    #[arg(short, long, value_name = "OUT.gguf", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Type of every matrix.
    #[arg(long = "type", value_name = "TYPE", value_parser = encoding_parser())]
    encoding: Encoding,
    /// Type of the matrices whose GGUF name the expression is found in; the last one that matches wins.
    #[arg(long = "tensor-type", value_name = "REGEX=TYPE")]
    exceptions: Vec<String>,
    /// Replace OUT.gguf if it exists.
    #[arg(long)]
    force: bool,
    /// Print what each role would cost, to the byte, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Threads; all cores if not given.
    #[arg(short, long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print sizes and times as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Accepts the names of [`Encoding::ALL`].
pub(super) fn encoding_parser() -> impl TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new(Encoding::ALL.map(Encoding::name))
        .map(|name| Encoding::from_name(&name).expect("only names of encodings are accepted"))
}

/// Runs the verb.
///
/// # Errors
/// Whatever kept the file from being written.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut recipe = Recipe::new(args.encoding);
    for exception in &args.exceptions {
        recipe.except(exception)?;
    }
    let folder = hub::resolve(&args.checkpoint, |name| env::var_os(name))?;
    let checkpoint = Checkpoint::open(&folder)?;
    let config = Config::from_json(checkpoint.config(), |layer| {
        let prefix = format!("model.layers.{layer}.");
        checkpoint.names().any(|name| name.starts_with(&prefix))
    })
    .map_err(|e| Failure::invalid(format!("{}: {e}", folder.display())))?;
    let plan = names::plan(&config, |name| checkpoint.contains(name));
    let encodings = recipe.assign(&plan)?;
    let mut metadata = config.to_gguf();
    metadata.extend(metadata::general(&model_name(&args.checkpoint, &folder), &plan, &encodings));
    match Tokenizer::read(&folder, config.vocab_size)? {
        Some(tokenizer) => metadata.extend(tokenizer.to_gguf()),
        None => {
            eprintln!("note: {} has no tokenizer.json: the file will hold weights alone", folder.display());
            metadata.extend(no_tokenizer());
        }
    }
    let job = Job::new(&checkpoint, &folder.display().to_string(), &plan, &encodings, metadata)?;
    tell_leftovers(&checkpoint, &plan);
    if args.dry_run {
        return writing::print_sizes(&job, args.json);
    }
    let output = args.output.expect("clap asks for it unless this is a dry run");
    writing::write(&job, &Destination { path: output, force: args.force }, args.threads, args.json)
}

/// The repository's name if the cache was asked for one, otherwise the folder's.
fn model_name(given: &Path, folder: &Path) -> String {
    let named = if given.exists() {
        folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
    } else {
        given.to_owned()
    };
    named.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Arrays that no tensor is made of may be harmless or a sign of another model: they are never dropped in silence.
fn tell_leftovers(checkpoint: &Checkpoint, plan: &[TensorPlan]) {
    let used: HashSet<String> = plan
        .iter()
        .flat_map(|tensor| tensor.origin.sources(&tensor.shape))
        .flat_map(|(name, _)| [name.to_owned(), scale_name(name)])
        .collect();
    let mut leftovers: Vec<&str> = checkpoint.names().filter(|name| !used.contains(*name)).collect();
    leftovers.sort_unstable();
    if !leftovers.is_empty() {
        let more = if leftovers.len() > 5 { ", ..." } else { "" };
        eprintln!(
            "note: {} tensors of the checkpoint have no place in the file and are left out: {}{more}",
            leftovers.len(),
            leftovers[..leftovers.len().min(5)].join(", ")
        );
    }
}
