//! `fathom logits`: teacher-forced logits, for comparing with other programs bit by bit.

use super::flags::{index_type, latent_type, token_count};
use super::loading::{LoadArgs, WantedSession};
use super::model::Which;
use super::tokenize::read_text;
use super::{Failure, print, signals};
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::fit::Asked;
use fathom_engine::{Session, SessionOptions, Wanted};
use fathom_files::output::{Appending, Target};
use fathom_simd::Format;
use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Compute a model's logits for given tokens and write them to a file.
///
/// The file contains little-endian f32 values, `[n_tokens, vocab_size]`, padding ids included; no BOS token is added. With
/// --mtp it contains the logits of the MTP head, `[n_tokens - 1, vocab_size]`: row j is computed from token j+1 and the
/// hidden state of token j, and predicts token j+2.
#[derive(clap::Args, Debug)]
#[command(mut_arg("force", |force| force.help(FORCE)))]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Token ids, separated by commas or spaces.
    #[arg(
        long,
        value_name = "LIST",
        required_unless_present = "tokens_file",
        conflicts_with = "tokens_file"
    )]
    tokens: Option<String>,
    /// File with token ids, separated by commas or white space; - is stdin.
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Output file; - is stdout; pipes and devices are written to directly.
    #[arg(short, long, value_name = "FILE", value_parser = clap::value_parser!(PathBuf))]
    output: PathBuf,
    /// Maximum number of tokens in one forward call [default: 2048, or less if memory has no room for it]. The result does
    /// not depend on it.
    #[arg(short, long = "batch-size", alias = "batch", value_name = "N", value_parser = token_count)]
    batch: Option<usize>,
    /// Format of the cached latent rows.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = latent_type())]
    cache_type: Format,
    /// Format of the cached index keys.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = index_type())]
    index_cache: IndexType,
    /// Ignore the indexer: every token attends to all tokens before it.
    #[arg(long)]
    dense: bool,
    /// Write the logits of the MTP head instead.
    #[arg(long)]
    mtp: bool,
    /// Ignore the indexer in the MTP layer only, as llama.cpp does.
    #[arg(long, requires = "mtp")]
    mtp_dense: bool,
    #[command(flatten)]
    load: LoadArgs,
    /// Print the shape, the instruction set, the threads and the time in seconds as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// What --force does where a file is written.
pub(super) const FORCE: &str =
    "Load a model even if it does not fit in memory, and replace the file to be written if it exists";

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded, tokens that cannot be read, a file that cannot be written.
pub fn run(args: Args) -> Result<(), Failure> {
    let output = Output::of(&args)?;
    let tokens = read_tokens(&args)?;
    if args.mtp && tokens.len() < 2 {
        return Err(Failure::usage(
            "--mtp: expected at least two tokens, found one: the MTP layer's first row is that of the second token",
        ));
    }
    let session = SessionOptions {
        n_ctx: tokens.len(),
        cache: CacheTypes { latent: args.cache_type, index: args.index_cache },
        dense: args.dense,
        mtp: args.mtp,
        mtp_dense: args.mtp_dense,
        ..SessionOptions::default()
    };
    let asked = Asked { n_ctx: Some(tokens.len()), batch: args.batch };
    let opened = args.load.open(args.which.path(), WantedSession { asked, session, from_disk: true })?;
    let n_rows = if args.mtp { tokens.len() - 1 } else { tokens.len() };
    // Before the weights are brought in: a name that is taken or a full disk is told at once.
    let n_bytes = (n_rows * opened.config().vocab_size * size_of::<f32>()) as u64;
    let (mut sink, _unfinished) =
        signals::make_unfinished(|| output.begin(opened.paths(), n_bytes), Sink::path)?;
    let options = opened.options();
    let model = args.load.load(opened)?;
    let mut session = Session::new(&model, options)?;
    let started = Instant::now();
    compute(&mut session, &tokens, args.mtp, &mut sink)?;
    sink.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let report = serde_json::json!({
            "shape": [n_rows, model.config.vocab_size],
            "level": model.kernels.level().name(),
            "threads": model.n_threads(),
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
            let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
            (name, read_text(path)?)
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

/// Where the logits go, looked at before anything else is done.
enum Output {
    /// A file that is whole or not there.
    File(Target),
    /// Whatever takes bytes as they come, under this name.
    Stream(Box<dyn Write>, PathBuf),
}

impl Output {
    fn of(args: &Args) -> Result<Output, Failure> {
        let path = &args.output;
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            if args.json {
                return Err(Failure::usage("-o - and --json both write to stdout; leave one of them out"));
            }
            if std::io::stdout().is_terminal() {
                return Err(Failure::usage("-o -: logits are binary; redirect stdout to a file or a pipe"));
            }
            return Ok(Output::Stream(Box::new(std::io::stdout()), PathBuf::from("stdout")));
        }
        if takes_bytes(path) {
            let opened = open_stream(path).map_err(|error| {
                let why = if error.raw_os_error() == Some(NOBODY) {
                    "nobody reads this pipe".to_owned()
                } else {
                    error.to_string()
                };
                Failure::runtime(format!("{}: cannot write: {why}", path.display()))
            })?;
            return Ok(Output::Stream(Box::new(opened), path.clone()));
        }
        let inputs =
            args.which.path().into_iter().map(Path::to_owned).chain(args.tokens_file.clone()).collect();
        let target = Target { replace: args.load.is_forced(), inputs, ..Target::new(path.clone()) };
        target.check()?;
        Ok(Output::File(target))
    }

    /// Begins with `n_bytes` to be written; `model` are the files that these are computed from.
    fn begin(self, model: Vec<PathBuf>, n_bytes: u64) -> Result<Sink, Failure> {
        match self {
            Output::File(mut target) => {
                target.inputs.extend(model);
                Ok(Sink::File(Appending::create(&target, n_bytes)?))
            }
            Output::Stream(stream, name) => Ok(Sink::Stream(stream, name)),
        }
    }
}

/// Logits on their way.
enum Sink {
    File(Appending),
    Stream(Box<dyn Write>, PathBuf),
}

impl Sink {
    /// The file that is of no use without its end.
    fn path(&self) -> Option<&Path> {
        match self {
            Sink::File(file) => Some(file.path()),
            Sink::Stream(..) => None,
        }
    }

    /// Breaks if the reader of a stream has gone.
    fn write(&mut self, bytes: &[u8]) -> Result<ControlFlow<()>, Failure> {
        match self {
            Sink::File(file) => Ok(ControlFlow::Continue(file.write(bytes)?)),
            Sink::Stream(stream, name) => written(stream.write_all(bytes), name),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Sink::File(file) => Ok(file.finish(|| false)?),
            Sink::Stream(mut stream, name) => written(stream.flush(), &name).map(|_| ()),
        }
    }
}

/// A reader that has seen enough is no error.
fn written(done: std::io::Result<()>, name: &Path) -> Result<ControlFlow<()>, Failure> {
    match done {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::runtime(format!("{}: cannot write: {error}", name.display()))),
    }
}

#[cfg(unix)]
const NOBODY: i32 = rustix::io::Errno::NXIO.raw_os_error();
#[cfg(not(unix))]
const NOBODY: i32 = i32::MIN;

/// Whether it is a pipe, a terminal or the like. A disk's device is not: what it holds would be gone.
#[cfg(unix)]
fn takes_bytes(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path)
        .is_ok_and(|about| about.file_type().is_fifo() || about.file_type().is_char_device())
}

#[cfg(not(unix))]
fn takes_bytes(_path: &Path) -> bool {
    false
}

/// Opens a pipe or device. A reader that is started beside this program may come a little later; nobody waits for ever.
#[cfg(unix)]
fn open_stream(path: &Path) -> std::io::Result<File> {
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let open = || File::options().write(true).custom_flags(flags).open(path);
    let is_alone = |opened: &std::io::Result<File>| {
        opened.as_ref().is_err_and(|error| error.raw_os_error() == Some(NOBODY))
    };
    let mut opened = open();
    for _ in 0..TRIES {
        if !is_alone(&opened) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        opened = open();
    }
    let file = opened?;
    // Whoever reads may take their time.
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// Hundredths of a second that a pipe without a reader is tried.
#[cfg(unix)]
const TRIES: usize = 200;

#[cfg(not(unix))]
fn open_stream(path: &Path) -> std::io::Result<File> {
    File::options().write(true).open(path)
}

fn compute(session: &mut Session, tokens: &[u32], mtp: bool, sink: &mut Sink) -> Result<(), Failure> {
    // What nobody takes is not computed.
    let is_over = Cell::new(false);
    let mut written = Ok(());
    let wanted = if mtp { Wanted::AllMtp } else { Wanted::All };
    let mut take = |_: usize, logits: &[f32]| {
        if !is_over.get() {
            let taken = sink.write(&to_le_bytes(logits));
            is_over.set(!matches!(taken, Ok(ControlFlow::Continue(()))));
            written = taken.map(|_| ());
        }
    };
    session.extend_while(tokens, wanted, &mut take, &mut || !is_over.get())?;
    written
}

fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
