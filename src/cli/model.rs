//! The model that a person talks to: arguments, files, model and tokenizer in one.

use super::Failure;
use super::flags::{index_type, latent_type, token_count, tokens_or_none};
use super::loading::{self, LoadArgs, Opened, WantedSession};
use super::settings::is_builtin;
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::fit::Asked;
use fathom_engine::prompt_cache::{Folder, Key, Known};
use fathom_engine::{Model, SessionOptions};
use fathom_quantize::metadata::{DEMONSTRATION_WEIGHTS, RANDOM_WEIGHTS, WEIGHTS_KEY};
use fathom_simd::Format;
use fathom_text::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which model.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// GGUF file, any shard of a split one, a folder with one model in it, or an alias [default: the built-in model].
    model: Option<PathBuf>,
    /// The same as MODEL, as a flag.
    #[arg(id = "model_flag", short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    flag: Option<PathBuf>,
}

impl Which {
    /// The model that was named or set; `None`: the built-in one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.flag.as_deref().or(self.model.as_deref())
    }
}

/// Which model, and how it is set up.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    #[command(flatten)]
    which: Which,
    /// Context size in tokens; 0: the model's maximum [default: 32768, or less if the model's maximum is smaller or memory
    /// has no room for it].
    #[arg(short, long, value_name = "N", value_parser = tokens_or_none)]
    pub(super) ctx_size: Option<usize>,
    /// Maximum number of tokens in one forward call [default: 2048, or less if memory has no room for it]. The result does
    /// not depend on it.
    #[arg(short, long, value_name = "N", value_parser = token_count)]
    batch_size: Option<usize>,
    /// Format of the cached latent rows.
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = latent_type())]
    cache_type: Format,
    /// Format of the cached index keys.
    #[arg(long, value_name = "TYPE", default_value = "q8", value_parser = index_type())]
    index_cache: IndexType,
    /// Ignore the indexer: every token attends to all tokens before it.
    #[arg(long)]
    dense: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// A model's files, looked through.
pub struct ModelFiles {
    opened: Opened,
    tokenizer: Tokenizer,
    load: LoadArgs,
}

/// A model that is ready to be talked to.
pub struct Loaded {
    /// The model.
    pub model: Arc<Model>,
    /// Its tokenizer; it has as many ids as the model.
    pub tokenizer: Tokenizer,
    /// How its sessions are to be set up.
    pub options: SessionOptions,
    /// What to call it: its path, or that it is built in.
    pub name: String,
    is_builtin: bool,
}

impl Loaded {
    /// Whether no model was named.
    pub fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// Where its file is, from anywhere; `None`: it is built in.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        if self.is_builtin {
            return None;
        }
        let path = PathBuf::from(&self.name);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    /// What blocks of its kept conversations in `folder` begin from, and what is to be written down there of the model. Reads
    /// all its weights where nothing of the kind was written down.
    pub(super) fn kept_root(&self, folder: &Folder) -> Result<(Key, Option<Known>), Failure> {
        let (fingerprint, known) = loading::fingerprint(&self.model, folder)?;
        Ok((Key::root(&fingerprint, &self.model.config, self.options, self.model.kernels), known))
    }
}

impl ModelArgs {
    /// Another model than the one that was named; `None`: the built-in one.
    pub(super) fn set(&mut self, model: Option<PathBuf>) {
        self.which = Which { model, flag: None };
    }

    /// What was named.
    pub(super) fn path(&self) -> Option<&Path> {
        self.which.path()
    }

    /// Whether everything is to be done that is refused otherwise.
    pub(super) fn is_forced(&self) -> bool {
        self.load.is_forced()
    }

    /// What there is to say of a model that was named and is not there.
    pub(super) fn missing(&self) -> Option<Failure> {
        let path = self.which.path()?;
        if is_builtin(path) || path.exists() { None } else { self.open().err() }
    }

    /// Maps the model's files, or the built-in one's bytes, and checks them; nothing of the weights is read. Says on stderr when
    /// they are random or a demonstration.
    ///
    /// # Errors
    /// A path without a model, a file that is none, a tokenizer that is missing or does not belong to it; a model that
    /// does not fit in memory.
    pub fn open(&self) -> Result<ModelFiles, Failure> {
        let session = SessionOptions {
            cache: CacheTypes { latent: self.cache_type, index: self.index_cache },
            dense: self.dense,
            ..SessionOptions::default()
        };
        let asked = Asked { n_ctx: self.ctx_size, batch: self.batch_size };
        let opened = self.load.open(self.which.path(), WantedSession { asked, session, from_disk: false })?;
        let gguf = opened.gguf();
        let tokenizer = Tokenizer::from_gguf(gguf.metadata()).map_err(|e| opened.invalid(e))?;
        check_sizes(&tokenizer, opened.config().vocab_size).map_err(|e| opened.invalid(e))?;
        let made_for = opened.config().max_position_embeddings;
        if opened.options().n_ctx > made_for {
            tell!(
                "note: {} was made for a context of {made_for} tokens; beyond it, answers may lose the thread",
                opened.name()
            );
        }
        if let Some(worth) = gguf.metadata().str(WEIGHTS_KEY).ok().flatten() {
            tell_worth(&opened, worth);
        }
        Ok(ModelFiles { opened, tokenizer, load: self.load.clone() })
    }
}

fn tell_worth(opened: &Opened, worth: &str) {
    let what = match worth {
        RANDOM_WEIGHTS => "has random weights: its text is meaningless",
        DEMONSTRATION_WEIGHTS => "is a demonstration: very small, and wrong about most things",
        _ => return,
    };
    let more = if opened.is_builtin() { "; for reliable answers, name a MODEL" } else { "" };
    tell!("note: {} {what}{more}", opened.name());
}

/// An id that only one of the two knows would end a session in its middle.
pub(super) fn check_sizes(tokenizer: &Tokenizer, vocab_size: usize) -> Result<(), String> {
    let n_tokens = tokenizer.n_tokens();
    if n_tokens == vocab_size {
        return Ok(());
    }
    Err(format!(
        "the tokenizer does not belong to the model: expected vocab_size = {vocab_size} tokens in \
         tokenizer.ggml.tokens, found {n_tokens}; convert the model again with its own tokenizer files"
    ))
}

impl ModelFiles {
    /// Where its files are.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.opened.paths()
    }

    /// How many tokens the vocabulary has.
    pub(super) fn n_tokens(&self) -> usize {
        self.tokenizer.n_tokens()
    }

    /// Brings the weights into memory, with progress on stderr, and binds the tensors.
    ///
    /// # Errors
    /// Tensors that do not make the model; no memory for them; Ctrl-C.
    pub fn load(self) -> Result<Loaded, Failure> {
        let ModelFiles { opened, tokenizer, load } = self;
        let (options, name, is_builtin) = (opened.options(), opened.name().to_owned(), opened.is_builtin());
        Ok(Loaded { model: load.load(opened)?, tokenizer, options, name, is_builtin })
    }
}
