//! One model of the list: what its header says, and whether it can be used here.

use super::find::Candidate;
use crate::builtin;
use crate::cli::print::bytes;
use crate::cli::settings::aliases::BUILT_IN;
use fathom_arch::config::{Config, ConfigError, Overrides};
use fathom_engine::cache::CacheTypes;
use fathom_engine::fit::{Asked, Plan, Tight, WeightBytes};
use fathom_engine::inventory::Inventory;
use fathom_engine::mmap::{MapError, Mapping};
use fathom_engine::threads::default_threads;
use fathom_gguf::split::{parse_shard_name, siblings, strip_extension};
use fathom_gguf::{Gguf, Metadata};
use fathom_quantize::metadata::PRESET_KEY;
use fathom_quantize::recipe::Preset;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whether a model can be used here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// With the context that is usual.
    Fits,
    /// With a shorter one.
    FitsWith { n_ctx: usize },
    /// Not beside what is in memory.
    TooLarge,
    /// The system does not tell its memory.
    NotTold,
    /// Another architecture, or types without kernels.
    CannotRun(String),
    /// Shards are missing.
    Incomplete(String),
    /// No valid GGUF, or a file that cannot be read.
    Damaged(String),
}

impl Verdict {
    /// The word of the table.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Verdict::Fits | Verdict::FitsWith { .. } => "fits",
            Verdict::TooLarge => "too large",
            Verdict::NotTold => "runs",
            Verdict::CannotRun(_) => "cannot run",
            Verdict::Incomplete(_) => "incomplete",
            Verdict::Damaged(_) => "damaged",
        }
    }

    /// Whether Fathom runs it, memory aside.
    pub(super) fn runs(&self) -> bool {
        self.problem().is_none()
    }

    /// Whether it fits; `None` where that is not known.
    pub(super) fn fits(&self) -> Option<bool> {
        match self {
            Verdict::Fits | Verdict::FitsWith { .. } => Some(true),
            Verdict::TooLarge => Some(false),
            _ => None,
        }
    }

    /// Why it does not run.
    pub(super) fn problem(&self) -> Option<&str> {
        match self {
            Verdict::CannotRun(why) | Verdict::Incomplete(why) | Verdict::Damaged(why) => Some(why),
            _ => None,
        }
    }
}

/// One model.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub name: String,
    pub alias: Option<String>,
    /// `None`: it is inside the program.
    pub path: Option<PathBuf>,
    /// Of all its files that are there.
    pub n_bytes: u64,
    pub architecture: Option<String>,
    /// Types and their bytes, the most bytes first.
    pub types: Vec<(&'static str, u64)>,
    /// The preset that its types follow, as the file says.
    pub preset: Option<&'static str>,
    /// Memory for weights and a session of the usual context.
    pub needed: Option<u64>,
    pub verdict: Verdict,
}

impl Row {
    /// The model of a file.
    pub(super) fn of(candidate: &Candidate, usable: Option<u64>) -> Row {
        let Candidate { path, alias } = candidate;
        let mut row = Row {
            name: alias.clone().unwrap_or_else(|| name_of(path)),
            alias: alias.clone(),
            path: Some(path.clone()),
            n_bytes: bytes_on_disk(path),
            architecture: None,
            types: Vec::new(),
            preset: None,
            needed: None,
            verdict: Verdict::NotTold,
        };
        row.verdict = match Mapping::open(path) {
            Ok(mapping) => {
                row.n_bytes = mapping.n_bytes();
                row.look_into(&mapping, usable)
            }
            Err(MapError::MissingShards { count, total, names, .. }) => Verdict::Incomplete(format!(
                "{} of {total} shards are there; missing: {names}",
                total - count
            )),
            Err(error) => Verdict::Damaged(error.to_string()),
        };
        row
    }

    /// The model inside the program, if it has one.
    pub(super) fn built_in(usable: Option<u64>) -> Option<Row> {
        let file = builtin::file()?;
        let mut row = Row {
            name: BUILT_IN.to_owned(),
            alias: None,
            path: None,
            n_bytes: file.len() as u64,
            architecture: None,
            types: Vec::new(),
            preset: None,
            needed: None,
            verdict: Verdict::NotTold,
        };
        row.verdict = row.look_into(&Mapping::of_bytes(builtin::NAME, file), usable);
        Some(row)
    }

    /// Reads the header.
    fn look_into(&mut self, mapping: &Mapping, usable: Option<u64>) -> Verdict {
        let gguf = match mapping.gguf() {
            Ok(gguf) => gguf,
            Err(error) => return Verdict::Damaged(error.to_string()),
        };
        self.architecture = gguf.metadata().str("general.architecture").ok().flatten().map(str::to_owned);
        self.types = types(&gguf);
        self.preset = preset(gguf.metadata()).map(Preset::name);
        let config = match Config::from_gguf(gguf.metadata(), &Overrides::default()) {
            Ok(config) => config,
            Err(ConfigError::OtherModel { found, .. }) => {
                return Verdict::CannotRun(format!("another architecture: {found}"));
            }
            Err(ConfigError::Invalid(problems)) => return Verdict::CannotRun(first(&problems)),
            Err(error) => return Verdict::CannotRun(error.to_string()),
        };
        let weights = match WeightBytes::of(&gguf, &config) {
            Ok(weights) => weights,
            Err(error) => return Verdict::CannotRun(first(&error.problems)),
        };
        self.settle(&config, weights, usable)
    }

    /// Whether the model fits as `fathom chat` would load it.
    fn settle(&mut self, config: &Config, weights: WeightBytes, usable: Option<u64>) -> Verdict {
        let plan = Plan { config, weights, n_threads: default_threads(), mtp: false, in_memory: false };
        let settled = plan.settle(Asked::default(), CacheTypes::USUAL, Tight::Refuse, usable);
        self.needed = Some(match &settled {
            Ok(settled) => plan.needed(settled.setting),
            Err(misfit) => misfit.needed,
        });
        match settled {
            _ if usable.is_none() => Verdict::NotTold,
            Ok(settled) if settled.is_shorter => Verdict::FitsWith { n_ctx: settled.setting.n_ctx },
            Ok(_) => Verdict::Fits,
            Err(_) => Verdict::TooLarge,
        }
    }

    /// What there is to say below the table's line.
    pub(super) fn remark(&self, usable: Option<u64>) -> Option<String> {
        match (&self.verdict, self.needed, usable) {
            (Verdict::TooLarge, Some(needed), Some(usable)) => {
                Some(format!("{} needed, {} available", bytes(needed), bytes(usable)))
            }
            (Verdict::FitsWith { n_ctx }, ..) => Some(format!("with a context of {n_ctx} tokens")),
            (verdict, ..) => verdict.problem().map(str::to_owned),
        }
    }
}

/// What the types were asked for as. Fathom's own files say it; of others ggml's number does.
fn preset(metadata: &Metadata<'_>) -> Option<Preset> {
    let text = |key: &str| metadata.str(key).ok().flatten();
    if let Some(name) = text(PRESET_KEY) {
        return Preset::from_name(name);
    }
    // There the number is the type of most weights, whatever was asked for.
    if text("general.quantized_by").is_some_and(|by| by.starts_with("Fathom ")) {
        return None;
    }
    metadata.u32("general.file_type").ok().flatten().and_then(Preset::of_file_type)
}

/// A file's name without what every model's has; of a split one without the number, too.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    match parse_shard_name(&name) {
        Some((prefix, ..)) => prefix.to_owned(),
        None => strip_extension(&name).unwrap_or(&name).to_owned(),
    }
}

/// The size of the files that are there.
fn bytes_on_disk(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str());
    let files = match name.and_then(siblings) {
        Some(names) => names.iter().map(|name| path.with_file_name(name)).collect(),
        None => vec![path.to_owned()],
    };
    files
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}

fn types(gguf: &Gguf<'_>) -> Vec<(&'static str, u64)> {
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for ((_, ty), share) in Inventory::take(gguf).kinds {
        *sums.entry(ty.name()).or_default() += share.n_bytes;
    }
    let mut types: Vec<_> = sums.into_iter().collect();
    types.sort_by_key(|&(_, n_bytes)| std::cmp::Reverse(n_bytes));
    types
}

/// The first of several problems, and how many more there are.
fn first(problems: &[String]) -> String {
    match problems {
        [] => "Fathom does not run this model".to_owned(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one}; and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_tells_models_apart() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/a/V3.2-Q4_K_M.gguf"), "V3.2-Q4_K_M");
        assert_eq!(name("/a/V3.2-Q4_K_M-00002-of-00009.gguf"), "V3.2-Q4_K_M");
        assert_eq!(name("/a/folder"), "folder");
        assert_eq!(first(&["one".to_owned(), "two".to_owned()]), "one; and 1 more");
    }

    #[test]
    fn memory_decides_between_all_and_nothing() {
        let config = Config::tiny();
        let weights = WeightBytes { routed: 1 << 20, n_weights: 1 << 20, ..WeightBytes::default() };
        let row = |usable| {
            let candidate = Candidate { path: "/nowhere/at-all.gguf".into(), alias: None };
            let mut row = Row::of(&candidate, None);
            row.verdict = row.settle(&config, weights, usable);
            row
        };
        let all = row(Some(1 << 40));
        assert_eq!(
            (all.verdict.word(), all.verdict.fits(), all.remark(Some(1 << 40))),
            ("fits", Some(true), None)
        );
        let nothing = row(Some(1000));
        assert_eq!((nothing.verdict.word(), nothing.verdict.fits()), ("too large", Some(false)));
        assert!(nothing.remark(Some(1000)).unwrap().ends_with("needed, 1000 bytes available"));
        assert_eq!((row(None).verdict.word(), row(None).verdict.fits()), ("runs", None));
    }
}
