//! What can go wrong between a checkpoint and a finished file.

use fathom_arch::role::LARGEST_OF_VECTORS;
use fathom_files::output::WriteError;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing was written. No variant leaves a file behind, but for those whose file is whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A JSON file of the checkpoint is damaged or has another form.
    #[error("{}: expected the file as it was published, found {found}; download it again", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it is, or where it is damaged.
        found: String,
    },
    /// A small file of the checkpoint is something else.
    #[error("{}: not the file that was published: found {found}", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it is and what to do.
        found: String,
    },
    /// The path holds no checkpoint.
    #[error("{}: {found}; expected a folder with config.json and model.safetensors.index.json or model.safetensors", .path.display())]
    NotACheckpoint {
        /// The path that was given.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// `org/name` is in none of the caches.
    #[error("{name}: no such folder, and no snapshot of that name in the Hugging Face cache; looked for:\n  {}\nDownload it first (`hf download {name}`) or give the checkpoint's folder: Fathom itself never uses the network", .looked.join("\n  "))]
    NotCached {
        /// What was asked for.
        name: String,
        /// Every place that was searched, with what was wrong there.
        looked: Vec<String>,
    },
    /// Everything that keeps this checkpoint from being converted, all at once.
    #[error("{place}: {} problem(s); nothing was written:\n  {}\nComplete the checkpoint (download the named files again) and re-run", .problems.len(), .problems.join("\n  "))]
    Incomplete {
        /// The checkpoint.
        place: String,
        /// One line per problem.
        problems: Vec<String>,
    },
    /// The checkpoint is stored in a way this program does not decode.
    #[error("config.json: quantization_config: {0}")]
    Quantization(String),
    /// The tokenizer's files do not describe the tokenizer that DeepSeek models use.
    #[error("{}: {problem}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Expected, found, next step.
        problem: String,
    },
    /// The choice of types does not make sense.
    #[error("{0}")]
    Recipe(String),
    /// Importance weights that belong to no tensor, one line each.
    #[error("the importance weights are not this model's:\n  {}", .problems.join("\n  "))]
    Importance {
        /// What is wrong.
        problems: Vec<String>,
    },
    /// A weight is not a number.
    #[error(
        "tensor {tensor}, row {row}, column {col}: found {value}, expected a finite number; the checkpoint is damaged: download its shard again"
    )]
    NotFinite {
        /// Checkpoint name.
        tensor: String,
        /// Row.
        row: usize,
        /// Column.
        col: usize,
        /// What was decoded.
        value: f32,
    },
    /// A number of a norm or a bias that no program runs with.
    #[error(
        "tensor {tensor}, index {index}: expected a number from -{max} to {max}, found {value}; the checkpoint is damaged: download its \
         shard again", max = LARGEST_OF_VECTORS
    )]
    OutOfRange {
        /// Checkpoint name.
        tensor: String,
        /// Which number of it.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// A weight is too large for the type that was asked for.
    #[error(
        "tensor {tensor}: value {value} does not fit into {ty}; choose another type for it, for example --tensor-type '{tensor}=bf16'"
    )]
    TooLarge {
        /// GGUF name.
        tensor: String,
        /// The value.
        value: f32,
        /// The type's name.
        ty: &'static str,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Output(WriteError),
    /// There is not enough room.
    #[error("{}: {needed} bytes are needed and {available} are available; free {} bytes, or choose another disk or a smaller type", .path.display(), .needed.saturating_sub(*.available))]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Size of the whole file.
        needed: u64,
        /// Free on that file system.
        available: u64,
    },
    /// The container refused what was handed to it.
    #[error(transparent)]
    Gguf(#[from] fathom_gguf::Error),
    /// A signal asked to stop.
    #[error("interrupted; unfinished files were removed")]
    Interrupted,
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Error {
        match error {
            // Who converts can also make a smaller file.
            WriteError::DiskFull { path, needed, available } => Error::DiskFull { path, needed, available },
            WriteError::Interrupted => Error::Interrupted,
            error => Error::Output(error),
        }
    }
}

impl Error {
    /// For `map_err` on a system call.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
