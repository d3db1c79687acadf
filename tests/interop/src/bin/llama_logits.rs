//! `llama_logits MODEL.gguf --tokens 1,2,3 -o FILE`: llama.cpp's logits, in the file format of `fathom logits`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fathom_interop::{Override, Run, draft, greedy, trunk};

/// Writes llama.cpp's logits of a token list as little-endian f32 rows.
#[derive(Parser)]
struct Args {
    /// The GGUF file; of a split model the first one.
    model: PathBuf,
    /// Token ids with commas between them.
    #[arg(long, value_delimiter = ',', required_unless_present = "tokens_file")]
    tokens: Vec<i32>,
    /// A file of token ids, separated by commas or white space.
    #[arg(long, conflicts_with = "tokens")]
    tokens_file: Option<PathBuf>,
    /// Where the rows go.
    #[arg(short)]
    output: PathBuf,
    /// Tokens computed at once.
    #[arg(long, default_value_t = 512)]
    batch: u32,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: i32,
    /// The rows of the multi-token-prediction block instead: row j from hidden row j and token j + 1.
    #[arg(long, conflicts_with = "greedy")]
    mtp: bool,
    /// Go on with the N best tokens, one after another; rows of all but the last of them follow.
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// KEY=TYPE:VALUE in place of the file's metadata; TYPE is int, float or bool.
    #[arg(long = "override-kv")]
    overrides: Vec<Override>,
    /// YaRN's betas, fast and slow, where they are not 32 and 1: llama.cpp does not read them from the file.
    #[arg(long, num_args = 2, value_names = ["FAST", "SLOW"])]
    yarn_betas: Option<Vec<f32>>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llama_logits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut tokens = args.tokens;
    if let Some(path) = &args.tokens_file {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let words = text.split([',', ' ', '\n', '\r', '\t']).filter(|word| !word.is_empty());
        tokens = words.map(str::parse).collect::<Result<_, _>>()?;
    }
    let run = Run {
        model: args.model,
        tokens,
        batch: args.batch,
        threads: args.threads,
        overrides: args.overrides,
        yarn_betas: args.yarn_betas.map(|pair| [pair[0], pair[1]]),
    };
    let rows = match args.greedy {
        Some(n_drawn) => greedy::logits(&run, n_drawn),
        None if args.mtp => draft::logits(&run),
        None => trunk::logits(&run),
    }?;
    rows.write(&args.output).map_err(|e| format!("{}: {e}", args.output.display()))?;
    Ok(())
}
