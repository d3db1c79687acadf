//! What `quantize` and `synth` share: writing a large file in view of the user.

use super::meter::Meter;
use super::{Failure, print, signals};
use fathom_files::output::{Target, WriteError};
use fathom_files::process::status_bytes;
use fathom_quantize::Error;
use fathom_quantize::pipeline::{Job, RoleSize, Watch};
use fathom_simd::Kernels;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs `work` on `threads` threads, or on all cores.
pub(super) fn on_threads<T: Send>(
    threads: Option<NonZeroUsize>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, NonZeroUsize::get))
        .build()
        .map_err(|error| {
            let n = threads
                .map_or("as many threads as there are processors".to_owned(), |n| format!("{n} threads"));
            Failure::runtime(format!(
                "cannot start {n}: {error}; use fewer (--threads), or raise the limit on threads (ulimit -u) \
                 or memory (ulimit -v)"
            ))
        })?;
    Ok(pool.install(work))
}

/// Writes the job's file, with progress on stderr, and says what it took.
pub(super) fn write(
    job: &Job<'_>,
    to: &Target,
    threads: Option<NonZeroUsize>,
    json: bool,
) -> Result<(), Failure> {
    let kernels = Kernels::from_env().map_err(Failure::usage)?;
    // Ctrl-C ends the work at the next slab, and another one at once.
    let signals = signals::listen_once()?;
    let meter = meter(job.file_bytes());
    let start = Instant::now();
    on_threads(threads, || {
        let watch = Watch { stop: signals.flag(), progress: &|bytes| advance(&meter, bytes) };
        let (output, _unfinished) =
            signals::make_unfinished(|| job.create(to), |output| Some(output.path()))?;
        job.write_to(kernels, output, watch)
    })??;
    meter.finish();
    let seconds = start.elapsed().as_secs_f64();
    let (read, written) = (job.source_bytes(), job.file_bytes());
    let peak = peak_memory();
    let rate = |bytes: u64| bytes as f64 / 1e9 / seconds.max(1e-9);
    let peak_text = peak.map_or(String::new(), |bytes| format!(", peak memory {} MB", bytes / 1_000_000));
    print::figures(format_args!(
        "wrote {}: {written} bytes in {seconds:.1} s, {:.2} GB/s read, {:.2} GB/s written{peak_text}",
        to.path.display(),
        rate(read),
        rate(written),
    ));
    if json {
        let report = json!({
            "file": to.path.display().to_string(),
            "file_bytes": written,
            "source_bytes": read,
            "seconds": seconds,
            "peak_memory_bytes": peak,
            "roles": roles_json(&job.by_role()),
        });
        print::json(&report)?;
    }
    Ok(())
}

/// Prints what each role costs, and the file's size, to the byte.
pub(super) fn print_sizes(job: &Job<'_>, json: bool) -> Result<(), Failure> {
    let sizes = job.by_role();
    let tensor_bytes: u64 = sizes.iter().map(|size| size.bytes).sum();
    if json {
        let report = json!({
            "file_bytes": job.file_bytes(),
            "header_bytes": job.header_bytes(),
            "tensor_bytes": tensor_bytes,
            "source_bytes": job.source_bytes(),
            "roles": roles_json(&sizes),
        });
        return print::json(&report);
    }
    let mut text = String::new();
    let mut row = |role: &str, types: &str, tensors: &str, weights: &str, bytes: &str| {
        text += &format!("{role:<22} {types:<12} {tensors:>7} {weights:>16} {bytes:>16}\n");
    };
    row("role", "type", "tensors", "weights", "bytes");
    for size in &sizes {
        let n = size.n_tensors.to_string();
        row(size.role.name(), &types(size).join(","), &n, &size.n_elems.to_string(), &size.bytes.to_string());
    }
    let n_tensors: usize = sizes.iter().map(|size| size.n_tensors).sum();
    let n_elems: u64 = sizes.iter().map(|size| size.n_elems).sum();
    row("total", "", &n_tensors.to_string(), &n_elems.to_string(), &tensor_bytes.to_string());
    row("header and padding", "", "", "", &(job.file_bytes() - tensor_bytes).to_string());
    row("file", "", "", "", &job.file_bytes().to_string());
    let gib = job.file_bytes() as f64 / (1u64 << 30) as f64;
    text += &format!("file size: {} bytes ({gib:.2} GiB)\n", job.file_bytes());
    print::answer(&text)
}

fn types(size: &RoleSize) -> Vec<&'static str> {
    size.encodings.iter().map(|encoding| encoding.name()).collect()
}

fn roles_json(sizes: &[RoleSize]) -> serde_json::Value {
    sizes
        .iter()
        .map(|size| {
            json!({
                "role": size.role.name(),
                "types": types(size),
                "tensors": size.n_tensors,
                "weights": size.n_elems,
                "bytes": size.bytes,
            })
        })
        .collect()
}

/// Shorter work needs no lines in a log.
const QUIET: Duration = Duration::from_secs(5);

/// Progress of a file of `total` bytes that is being written.
pub(super) fn meter(total: u64) -> Meter {
    Meter::new("writing", total, QUIET)
}

/// Counts written bytes.
pub(super) fn advance(meter: &Meter, bytes: u64) {
    if meter.advance(bytes) {
        meter.ending("(writing back to the disk)");
    }
}

/// Most memory this process ever held, where the system says so.
fn peak_memory() -> Option<u64> {
    status_bytes(Path::new("/"), "VmHWM")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Recipe(_) => Failure::usage(message),
            Error::Json { .. }
            | Error::NotText { .. }
            | Error::NotACheckpoint { .. }
            | Error::NotCached { .. }
            | Error::Incomplete { .. }
            | Error::Importance { .. }
            | Error::Quantization(_)
            | Error::Tokenizer { .. }
            | Error::NotFinite { .. }
            | Error::OutOfRange { .. } => Failure::invalid(message),
            Error::Output(error) => Failure::from(error),
            Error::Interrupted => Failure::interrupted(message),
            Error::Io { .. } | Error::TooLarge { .. } | Error::DiskFull { .. } | Error::Gguf(_) => {
                Failure::runtime(message)
            }
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        let message = error.to_string();
        match error {
            WriteError::Exists(_)
            | WriteError::IsInput { .. }
            | WriteError::NotAFile(_)
            | WriteError::NoSuchName { .. }
            | WriteError::StandardOutput
            | WriteError::FolderInUse(_) => Failure::usage(message),
            WriteError::Interrupted => Failure::interrupted(message),
            _ => Failure::runtime(message),
        }
    }
}
