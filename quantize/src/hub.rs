//! The local Hugging Face cache: `org/name` to a folder, without the network.

use crate::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder that `given` stands for: itself if it exists, otherwise the snapshot of `org/name` that `refs/main`
/// names, in the first cache that has it. `env` looks up environment variables.
///
/// # Errors
/// If it is neither; the error lists every place that was searched.
pub fn resolve(given: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    let name = given.to_str().filter(|_| !given.exists()).and_then(repository);
    let Some((org, repo)) = name else { return Ok(given.to_owned()) };
    let mut looked = Vec::new();
    for cache in caches(env) {
        let folder = cache.join(format!("models--{org}--{repo}"));
        let main = folder.join("refs").join("main");
        match fs::read_to_string(&main) {
            Ok(revision) => {
                let snapshot = folder.join("snapshots").join(revision.trim());
                if snapshot.is_dir() {
                    return Ok(snapshot);
                }
                let there = only_snapshot(&folder).map_or_else(|there| there, |one| told(&[one]));
                looked.push(format!("{}: missing, though refs/main names it{there}", snapshot.display()));
            }
            Err(e) => match only_snapshot(&folder) {
                Ok(snapshot) => return Ok(snapshot),
                Err(there) => looked.push(format!("{}: {e}{there}", main.display())),
            },
        }
    }
    Err(Error::NotCached { name: format!("{org}/{repo}"), looked })
}

/// The snapshot of a repository that was downloaded by its commit, or copied without its refs: if it is the only one, there is no
/// doubt which is meant. Otherwise a few words about those that are there.
fn only_snapshot(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder.join("snapshots")).into_iter().flatten();
    let mut snapshots: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("config.json").exists())
        .collect();
    snapshots.sort();
    match snapshots.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(String::new()),
        several => Err(told(several)),
    }
}

fn told(snapshots: &[PathBuf]) -> String {
    let names: Vec<_> = snapshots.iter().map(|path| path.display().to_string()).collect();
    format!("; found {}: pass one of these folders", names.join(", "))
}

/// `org/name` in its two halves.
fn repository(text: &str) -> Option<(&str, &str)> {
    let valid = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.split_once('/').filter(|(org, repo)| valid(org) && valid(repo))
}

/// Where caches may be, most specific first. `env` looks up environment variables.
pub fn caches(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let at = |variable: &str, below: &str| {
        env(variable).filter(|value| !value.is_empty()).map(|value| PathBuf::from(value).join(below))
    };
    let mut caches: Vec<PathBuf> = [
        at("HF_HUB_CACHE", ""),
        at("HUGGINGFACE_HUB_CACHE", ""),
        at("HF_HOME", "hub"),
        at("XDG_CACHE_HOME", "huggingface/hub"),
        at("HOME", ".cache/huggingface/hub"),
        at("USERPROFILE", ".cache/huggingface/hub"),
    ]
    .into_iter()
    .flatten()
    .collect();
    caches.dedup();
    caches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(cache: &Path, revision: &str) -> PathBuf {
        let folder = cache.join("models--deepseek-ai--DeepSeek-V3.2");
        let snapshot = folder.join("snapshots").join(revision);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), format!("{revision}\n")).unwrap();
        snapshot
    }

    #[test]
    fn the_first_cache_that_has_the_repository_wins() {
        let temp = tempfile::tempdir().unwrap();
        let (home, hub) = (temp.path().join("home"), temp.path().join("hub"));
        let env = |name: &str| match name {
            "HF_HUB_CACHE" => Some(hub.clone().into_os_string()),
            "HOME" => Some(home.clone().into_os_string()),
            _ => None,
        };
        let name = Path::new("deepseek-ai/DeepSeek-V3.2");
        let error = resolve(name, env).unwrap_err().to_string();
        assert!(error.contains("hub/models--deepseek-ai--DeepSeek-V3.2/refs/main"), "{error}");
        assert!(error.contains("home/.cache/huggingface/hub/models--"), "{error}");
        let in_home = snapshot(&home.join(".cache/huggingface/hub"), "abc");
        assert_eq!(resolve(name, env).unwrap(), in_home);
        let in_hub = snapshot(&hub, "def");
        assert_eq!(resolve(name, env).unwrap(), in_hub);
        fs::remove_dir(&in_hub).unwrap();
        assert_eq!(resolve(name, env).unwrap(), in_home);
    }

    #[test]
    fn a_snapshot_without_a_name_is_taken_where_it_is_the_only_one() {
        let temp = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == "HF_HUB_CACHE").then(|| temp.path().as_os_str().to_owned());
        let name = Path::new("deepseek-ai/DeepSeek-V3.2");
        let one = snapshot(temp.path(), "abc");
        let main = temp.path().join("models--deepseek-ai--DeepSeek-V3.2/refs/main");
        fs::remove_file(&main).unwrap();
        assert!(resolve(name, env).is_err(), "an empty folder is no snapshot");
        fs::write(one.join("config.json"), "{}").unwrap();
        assert_eq!(resolve(name, env).unwrap(), one);
        let other = snapshot(temp.path(), "def");
        fs::write(other.join("config.json"), "{}").unwrap();
        assert_eq!(resolve(name, env).unwrap(), other, "refs/main says which");
        fs::remove_file(&main).unwrap();
        let error = resolve(name, env).unwrap_err().to_string();
        assert!(error.contains("snapshots/abc") && error.contains("snapshots/def"), "{error}");
        fs::write(&main, "gone").unwrap();
        fs::remove_dir_all(&other).unwrap();
        let error = resolve(name, env).unwrap_err().to_string();
        assert!(
            error.contains("though refs/main names it; found") && error.contains("snapshots/abc"),
            "{error}"
        );
    }

    #[test]
    fn folders_and_other_texts_are_taken_as_they_are() {
        let temp = tempfile::tempdir().unwrap();
        let none = |_: &str| None;
        assert_eq!(resolve(temp.path(), none).unwrap(), temp.path());
        for text in ["nothing-here", "a/b/c", "../x", "./x", "/no/such", "a/..", ""] {
            assert_eq!(resolve(Path::new(text), none).unwrap(), Path::new(text), "{text}");
        }
    }
}
