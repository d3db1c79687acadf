//! Where models lie: the folders that are looked through, and the GGUF files in them.

use crate::cli::settings::Settings;
use etcetera::BaseStrategy;
use fathom_gguf::split::{parse_shard_name, strip_extension};
use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How far below a folder of models files are looked for: a snapshot in a Hugging Face cache is three folders down.
const DEPTH: usize = 6;
/// The same of the folder that the program runs in, which may be somebody's whole home.
const DEPTH_HERE: usize = 1;
/// Entries that are looked at below one folder.
const MOST_ENTRIES: usize = 50_000;

/// A folder to look through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub path: PathBuf,
    depth: usize,
    /// Somebody named it: then it has to be there.
    pub named: bool,
}

impl Place {
    /// A folder that somebody named.
    pub(super) fn named(path: PathBuf) -> Place {
        Place { path, depth: DEPTH, named: true }
    }
}

/// A model's file; of a split one the first that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    pub alias: Option<String>,
}

/// Every folder that is known: those of the settings, this one, and those where Fathom, llama.cpp and Hugging Face's
/// programs keep models.
pub(super) fn places(settings: &Settings) -> Vec<Place> {
    let configured = settings.folders.iter().flat_map(|(folders, _)| folders).cloned().map(Place::named);
    let here = Place { path: PathBuf::from("."), depth: DEPTH_HERE, named: false };
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = etcetera::choose_base_strategy().ok();
    let own = base.as_ref().map(|base| base.data_dir().join("fathom").join("models"));
    let llama = set("LLAMA_CACHE").or_else(|| base.as_ref().map(|base| base.cache_dir().join("llama.cpp")));
    let hubs = fathom_quantize::hub::caches(|name| env::var_os(name));
    let usual = own.into_iter().chain(llama).chain(hubs);
    let usual = usual.map(|path| Place { path, depth: DEPTH, named: false });
    configured.chain([here]).chain(usual).collect()
}

/// Collects candidates, each once.
#[derive(Default)]
pub(super) struct Search {
    pub found: Vec<Candidate>,
    /// What could not be looked at, or not to its end.
    pub notes: Vec<String>,
    /// Files that were met, by the paths that no link is part of.
    met: HashSet<PathBuf>,
}

impl Search {
    /// A model that somebody gave a name. A folder stands for the one model in it; what else it may hold is the verb's to tell.
    pub(super) fn alias(&mut self, name: &str, target: &Path) {
        let mut walk = Walk::new();
        // A file is no folder, and then nothing is found.
        let _ = walk.folder(target, 0);
        let file = if let [file] = walk.files.as_slice() { file } else { target };
        self.take(file.to_owned(), Some(name));
    }

    /// Everything in a folder; or the file itself.
    pub(super) fn place(&mut self, place: &Place) {
        let path = &place.path;
        if path.is_file() {
            return self.take(path.clone(), None);
        }
        let mut walk = Walk::new();
        match walk.folder(path, place.depth) {
            Err(error) if place.named => self.notes.push(format!("{}: {error}", path.display())),
            _ if walk.left == 0 => self.notes.push(format!(
                "{}: more than {MOST_ENTRIES} files and folders; the rest were skipped",
                path.display()
            )),
            _ => {}
        }
        walk.files.into_iter().for_each(|file| self.take(file, None));
    }

    fn take(&mut self, path: PathBuf, alias: Option<&str>) {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if self.met.insert(real) || alias.is_some() {
            self.found.push(Candidate { path, alias: alias.map(str::to_owned) });
        }
    }
}

/// A way through a folder and those in it.
struct Walk {
    /// GGUF files, of a split model the first.
    files: Vec<PathBuf>,
    /// Folders that were entered, by the paths that no link is part of.
    entered: HashSet<PathBuf>,
    /// Entries that may still be looked at.
    left: usize,
}

impl Walk {
    fn new() -> Walk {
        Walk { files: Vec::new(), entered: HashSet::new(), left: MOST_ENTRIES }
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        // A link may lead back.
        if !self.entered.insert(fs::canonicalize(folder)?) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)?.take(self.left) {
            self.left -= 1;
            entries.extend(entry.ok().map(|entry| entry.path()));
        }
        entries.sort_unstable();
        let mut splits: HashSet<(String, usize)> = HashSet::new();
        let mut folders = Vec::new();
        for path in entries {
            let name = path.file_name().and_then(OsStr::to_str);
            let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
            // Follows links: snapshots are made of them. A link to nowhere is nothing.
            let Ok(about) = fs::metadata(&path) else { continue };
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() && strip_extension(name).is_some() {
                let split = parse_shard_name(name).map(|(prefix, _, count)| (prefix.to_owned(), count));
                if split.is_none_or(|split| splits.insert(split)) {
                    self.files.push(path);
                }
            }
        }
        for path in folders.into_iter().filter(|_| depth > 0) {
            // One folder that cannot be read keeps nobody from the others.
            let _ = self.folder(&path, depth - 1);
        }
        Ok(())
    }
}
