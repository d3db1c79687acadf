//! Flags of what is kept between runs, and the cache that a session gets by them.

use super::Failure;
use super::model::Loaded;
use super::show::aside;
use etcetera::BaseStrategy;
use fathom_engine::Session;
use fathom_engine::prompt_cache::{About, Folder, PromptCache};
use std::path::PathBuf;

/// Exit codes above it are signals.
const LAST_OF_ERRORS: u8 = 128;
/// The variable that names the folder.
const DIR: &str = "FATHOM_CACHE_DIR";

/// What is kept of a conversation's computed rows, so that a prompt which begins like an earlier one starts at once.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Prompt cache")]
pub struct KeepArgs {
    /// Do not use the prompt cache on disk: neither read from it nor write to it (see `fathom cache`).
    #[arg(long)]
    no_cache: bool,
    /// Maximum size of the prompt cache in GiB. What was not used for the longest time is deleted first, and half of the
    /// free disk space is always left free.
    #[arg(long, value_name = "GIB", default_value = "32", value_parser = gibibytes)]
    cache_limit: u64,
}

/// The folder with everything that is kept.
pub(super) fn folder() -> Result<Folder, String> {
    match std::env::var_os(DIR).filter(|path| !path.is_empty()) {
        Some(path) => Ok(Folder::new(PathBuf::from(path))),
        None => usual().ok_or_else(|| {
            format!("cannot find your cache folder: none of HOME, XDG_CACHE_HOME and {DIR} is set")
        }),
    }
}

/// `fathom/prompts` where this person's caches belong; `None` if nobody says where that is.
fn usual() -> Option<Folder> {
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(Folder::new(folders.cache_dir().join("fathom").join("prompts")))
}

fn gibibytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.0..=1e6).contains(&n) => Ok((n * f64::from(1 << 30)) as u64),
        _ => Err(format!("expected GiB, a number from 0 to 1000000, found `{text}`")),
    }
}

impl KeepArgs {
    /// A session that keeps its rows, unless that is unwanted. Where they cannot be kept that is told, and everything
    /// else goes on.
    pub(crate) fn session(&self, loaded: &Loaded) -> Result<Session, Failure> {
        let mut session = Session::new(&loaded.model, loaded.options)?;
        if !self.no_cache {
            match self.open(loaded) {
                Ok(kept) => session.keep_in(kept),
                // Ctrl-C is meant for the program, not for the cache.
                Err(failure) if failure.code > LAST_OF_ERRORS => return Err(failure),
                Err(Failure { message: why, .. }) => {
                    aside(&format!("note: prompts are not cached: {why} (--no-cache silences this note)"));
                }
            }
        }
        Ok(session)
    }

    fn open(&self, loaded: &Loaded) -> Result<PromptCache, Failure> {
        let folder = folder().map_err(Failure::runtime)?;
        let path = folder.path().display().to_string();
        let cache = loaded.options.cache;
        let about = About {
            model: loaded.name.clone(),
            rows: format!("{}, {}", cache.latent.name(), cache.index.name()),
        };
        let (root, known) = loaded.kept_root(&folder)?;
        let at = |error: std::io::Error| Failure::runtime(format!("{path}: {error}"));
        let mut kept = PromptCache::open(folder, self.cache_limit, root, &about).map_err(at)?;
        kept.watch(loaded.model.mapping().guard().map_err(Failure::runtime)?);
        if let Some(known) = known {
            // What is kept is found all the same: only reading the model through is not saved.
            if let Err(error) = kept.note(known) {
                aside(&format!("note: {path}: {error}; the next start reads the whole model again"));
            }
        }
        Ok(kept)
    }
}

/// Tells what is to be known of what is kept.
pub(crate) fn tell_notices(session: &mut Session) {
    for notice in session.take_notices() {
        aside(&format!("note: prompt cache: {notice}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_gibibytes_and_may_be_parts() {
        assert_eq!(gibibytes("32"), Ok(32 << 30));
        assert_eq!(gibibytes("0.5"), Ok(1 << 29));
        assert_eq!(gibibytes("0"), Ok(0));
        for wrong in ["-1", "x", "NaN", "inf", ""] {
            assert!(gibibytes(wrong).unwrap_err().contains("GiB"), "{wrong}");
        }
    }
}
