//! The local Hugging Face cache: `org/name` to a folder, without the network.

use crate::error::Error;
use crate::small_file;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What is downloaded where nobody names a revision.
const MAIN: &str = "main";

/// A repository by its name, as people copy it: `org/name`, `org/name@revision`, or its page's address.
struct Asked<'t> {
    org: &'t str,
    repo: &'t str,
    revision: &'t str,
}

/// The folder that `given` stands for: itself if it exists, otherwise the snapshot of `org/name` that `refs/main`
/// names, in the first cache that has it. A repository's folder in a cache stands for its snapshot, too. `env` looks up
/// environment variables.
///
/// # Errors
/// If it is neither; the error lists every place that was searched.
pub fn resolve(given: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    if given.exists() {
        let Some(name) = cached_name(given) else { return Ok(given.to_owned()) };
        return snapshot(given, MAIN).map_err(|looked| Error::NotCached { name, looked: vec![looked] });
    }
    let Some(asked) = given.to_str().and_then(asked) else { return Ok(given.to_owned()) };
    let Asked { org, repo, revision } = asked;
    let mut looked = Vec::new();
    for cache in caches(env) {
        match snapshot(&cache.join(format!("models--{org}--{repo}")), revision) {
            Ok(snapshot) => return Ok(snapshot),
            Err(problem) => looked.push(problem),
        }
    }
    let more = if revision == MAIN { String::new() } else { format!(" --revision {revision}") };
    Err(Error::NotCached { name: format!("{org}/{repo}{more}"), looked })
}

/// The name of the repository whose folder in a cache this is.
fn cached_name(folder: &Path) -> Option<String> {
    let place = folder.canonicalize().ok()?;
    let (org, repo) = place.file_name()?.to_str()?.strip_prefix("models--")?.split_once("--")?;
    (place.join("snapshots").is_dir() && !place.join("config.json").exists()).then(|| format!("{org}/{repo}"))
}

/// The snapshot that a revision of a repository's folder leads to, or a line about what is wrong there.
fn snapshot(folder: &Path, revision: &str) -> Result<PathBuf, String> {
    let named = folder.join("refs").join(revision);
    let place = |commit: &str| folder.join("snapshots").join(commit);
    let wrong = match small_file::read(&named) {
        Ok(Some(text)) => {
            let text = String::from_utf8_lossy(&text);
            let commit = text.trim();
            // A name that leads out of the cache is nobody's commit.
            if !is_plain(commit) {
                let commit: String = commit.chars().take(64).collect();
                return Err(format!(
                    "{}: expected the name of a snapshot, found {commit:?}",
                    named.display()
                ));
            }
            if place(commit).is_dir() {
                return Ok(place(commit));
            }
            let there = only_snapshot(folder).map_or_else(|there| there, |one| told(&[one]));
            return Err(format!(
                "{}: missing, though refs/{revision} names it{there}",
                place(commit).display()
            ));
        }
        Ok(None) => format!("{}: missing", named.display()),
        Err(error) => return Err(error.to_string()),
    };
    // A commit is its snapshot's own name.
    if revision != MAIN && place(revision).is_dir() {
        return Ok(place(revision));
    }
    match only_snapshot(folder) {
        Ok(snapshot) if revision == MAIN => Ok(snapshot),
        Ok(other) => Err(format!("{wrong}{}", told(&[other]))),
        Err(there) => Err(format!("{wrong}{there}")),
    }
}

/// Whether this names something in a folder, and nothing outside of it.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\'])
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

/// The repository that a text names.
fn asked(text: &str) -> Option<Asked<'_>> {
    let valid = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let pages =
        ["https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf://"];
    let page = pages.into_iter().find_map(|page| text.strip_prefix(page));
    let name = page.unwrap_or(text).trim_end_matches('/');
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, revision),
        None if page.is_some() => name.split_once("/tree/").unwrap_or((name, MAIN)),
        None => (name, MAIN),
    };
    let (org, repo) = name.split_once('/')?;
    (valid(org) && valid(repo) && is_plain(revision)).then_some(Asked { org, repo, revision })
}

/// Where caches may be, most specific first. `env` looks up environment variables.
pub fn caches(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = ["HOME", "USERPROFILE"].into_iter().find_map(|name| env(name).filter(|home| !home.is_empty()));
    let at = |variable: &str, below: &str| {
        let value = PathBuf::from(env(variable).filter(|value| !value.is_empty())?);
        // A file of settings has no shell that knows the sign; the library that fills these caches knows it, too.
        let value = match (value.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => value,
        };
        Some(value.join(below))
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
    fn a_name_is_taken_as_people_copy_it() {
        let temp = tempfile::tempdir().unwrap();
        let env = |name: &str| match name {
            "HF_HUB_CACHE" => Some("~/hub".into()),
            "HOME" => Some(temp.path().as_os_str().to_owned()),
            _ => None,
        };
        let hub = temp.path().join("hub");
        let older = snapshot(&hub, "0123");
        let newer = snapshot(&hub, "4567");
        let name = "deepseek-ai/DeepSeek-V3.2";
        for text in [
            name.to_owned(),
            format!("{name}/"),
            format!("{name}@main"),
            format!("https://huggingface.co/{name}"),
            format!("https://huggingface.co/{name}/tree/main"),
            hub.join("models--deepseek-ai--DeepSeek-V3.2").display().to_string(),
        ] {
            assert_eq!(resolve(Path::new(&text), env).unwrap(), newer, "{text}");
        }
        for text in [format!("{name}@0123"), format!("https://huggingface.co/{name}/tree/0123")] {
            assert_eq!(resolve(Path::new(&text), env).unwrap(), older, "{text}");
        }
        let error = resolve(Path::new(&format!("{name}@89ab")), env).unwrap_err().to_string();
        assert!(error.contains("refs/89ab: missing") && error.contains("--revision 89ab"), "{error}");
    }

    #[test]
    fn what_stands_for_a_commit_leads_nowhere_else_and_waits_for_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == "HF_HUB_CACHE").then(|| temp.path().as_os_str().to_owned());
        let name = Path::new("deepseek-ai/DeepSeek-V3.2");
        snapshot(temp.path(), "abc");
        let outside = tempfile::tempdir().unwrap();
        let main = temp.path().join("models--deepseek-ai--DeepSeek-V3.2/refs/main");
        let absolute = outside.path().display().to_string();
        for commit in ["..", ".", "../../elsewhere", "abc/..", absolute.as_str(), " "] {
            fs::write(&main, commit).unwrap();
            let error = resolve(name, env).unwrap_err().to_string();
            assert!(error.contains("refs/main: expected the name of a snapshot"), "{commit:?}: {error}");
        }
        fs::write(&main, "").unwrap();
        let error = resolve(name, env).unwrap_err().to_string();
        assert!(error.contains("refs/main") && error.contains("an empty file"), "{error}");
        #[cfg(unix)]
        {
            fs::remove_file(&main).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&main).status().unwrap().success());
            let error = resolve(name, env).unwrap_err().to_string();
            assert!(error.contains("refs/main") && error.contains("a pipe"), "{error}");
        }
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
