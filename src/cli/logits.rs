//! `fathom logits`: teacher-forced logits, for comparing with other programs bit by bit.

use super::flags::{index_type, latent_type, token_count};
use super::loading::{Asked, LoadArgs};
use super::{Failure, print};
use crate::cache::{CacheTypes, IndexType};
use crate::probe::NoProbe;
use crate::{Session, SessionOptions, Wanted};
use fathom_simd::Format;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Compute a model's logits for given tokens and write them to a file.
///
/// The file holds little-endian f32 `[n_tokens, vocab_size]`, padding ids included; no BOS is added. With --mtp it
/// holds the MTP head's logits, `[n_tokens - 1, vocab_size]`: row j is drafted from token j+1 and the hidden state
/// of token j, and stands for token j+2.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// GGUF file, any shard of a split one, a folder that holds one model, or an alias [default: the built-in model].
    model: Option<PathBuf>,
    /// Token ids, separated by commas or spaces.
    #[arg(
        long,
        value_name = "LIST",
        required_unless_present = "tokens_file",
        conflicts_with = "tokens_file"
    )]
    tokens: Option<String>,
    /// File with token ids, separated by commas or white space.
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Most tokens in one forward call [default: 2048, or what memory has room for if that is less]; the result does not
    /// depend on it.
    #[arg(short, long = "batch-size", alias = "batch", value_name = "N", value_parser = token_count)]
    batch: Option<usize>,
    /// Format of cached latent rows.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = latent_type)]
    cache_type: Format,
    /// Format of cached index keys.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = index_type)]
    index_cache: IndexType,
    /// Ignore the indexer: every token attends to all earlier ones.
    #[arg(long)]
    dense: bool,
    /// Write the MTP head's logits instead.
    #[arg(long)]
    mtp: bool,
    /// Let the MTP layer alone ignore its indexer, as llama.cpp does.
    #[arg(long, requires = "mtp")]
    mtp_dense: bool,
    #[command(flatten)]
    load: LoadArgs,
    /// Print shape, level, threads and seconds as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded, tokens that cannot be read, a file that cannot be written.
pub fn run(args: Args) -> Result<(), Failure> {
    let tokens = read_tokens(&args)?;
    let session = SessionOptions {
        n_ctx: tokens.len(),
        cache: CacheTypes { latent: args.cache_type, index: args.index_cache },
        dense: args.dense,
        mtp: args.mtp,
        mtp_dense: args.mtp_dense,
        ..SessionOptions::default()
    };
    let asked = Asked { n_ctx: Some(tokens.len()), batch: args.batch, session, from_disk: true };
    let opened = args.load.open(args.model.as_deref(), asked)?;
    let opened = args.load.bring_in(opened)?;
    let engine = opened.engine()?;
    let mut session = Session::new(&engine, opened.options())?;
    let started = Instant::now();
    let n_rows = write_logits(&mut session, &tokens, args.mtp, &args.output)?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let report = serde_json::json!({
            "shape": [n_rows, engine.config.vocab_size],
            "level": opened.kernels().level().name(),
            "threads": opened.n_threads(),
            "seconds": seconds,
        });
        print::json(&report)?;
    }
    Ok(())
}

fn read_tokens(args: &Args) -> Result<Vec<u32>, Failure> {
    let (place, text) = match (&args.tokens, &args.tokens_file) {
        (Some(list), _) => ("--tokens".to_owned(), list.clone()),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path);
            (
                path.display().to_string(),
                read.map_err(|e| Failure::runtime(format!("{}: {e}", path.display())))?,
            )
        }
        (None, None) => return Err(Failure::usage("expected --tokens or --tokens-file")),
    };
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let tokens = words
        .enumerate()
        .map(|(index, word)| {
            word.parse().map_err(|_| {
                Failure::usage(format!("{place}: token {index}: expected a token id, found `{word}`"))
            })
        })
        .collect::<Result<Vec<u32>, _>>()?;
    if tokens.is_empty() {
        return Err(Failure::usage(format!("{place}: expected at least one token id, found none")));
    }
    Ok(tokens)
}

/// Writes to a temporary name beside the output, syncs and renames: the file is whole or not there.
fn write_logits(
    session: &mut Session<'_>,
    tokens: &[u32],
    mtp: bool,
    output: &Path,
) -> Result<usize, Failure> {
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let done = write_part(session, tokens, mtp, &part).and_then(|n_rows| {
        std::fs::rename(&part, output).map(|()| n_rows).map_err(|e| io_failure(output, &e))
    });
    if done.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&part);
    }
    done
}

fn io_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::runtime(format!("{}: {error}", path.display()))
}

fn write_part(session: &mut Session<'_>, tokens: &[u32], mtp: bool, part: &Path) -> Result<usize, Failure> {
    let io = |error: std::io::Error| io_failure(part, &error);
    let mut file = BufWriter::new(File::create(part).map_err(io)?);
    let mut written = Ok(());
    let mut n_values = 0;
    let wanted = if mtp { Wanted::AllMtp } else { Wanted::All };
    let vocab_size = session.vocab_size();
    session.extend(tokens, wanted, &mut NoProbe, &mut |_, logits| {
        n_values += logits.len();
        if written.is_ok() {
            written = file.write_all(&to_le_bytes(logits));
        }
    })?;
    written.map_err(io)?;
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok(n_values / vocab_size)
}

fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
