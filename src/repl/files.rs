//! Files that stand before the next message.

use super::{Repl, complain};
use crate::cli::show::aside;
use crate::cli::signals;
use crate::cli::tokenize::read_text;
use glob::MatchOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// More bytes fit into no context.
const LARGEST_READ: u64 = 64 << 20;
/// More files of a pattern are a mistake in it.
const MOST_FILES: usize = 256;

impl Repl<'_, '_> {
    /// Takes all files, or none if one cannot be read.
    pub(super) fn read_files(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        sizes(paths)?;
        let texts = paths.iter().map(|path| read_text(path).map_err(|failure| failure.message));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        self.put_before(paths.iter().map(PathBuf::as_path).zip(texts).collect());
        Ok(())
    }

    /// Takes the text files that a pattern names, in the order of their names.
    pub(super) fn read_pattern(&mut self, pattern: &str) -> Result<(), String> {
        let paths = matching(pattern)?;
        sizes(&paths)?;
        let mut files = Vec::new();
        for path in &paths {
            match read_text(path) {
                Ok(text) => files.push((path.as_path(), text)),
                Err(failure) => complain(&format!("{}; left out", failure.message)),
            }
        }
        if files.is_empty() {
            return Err(format!("{pattern}: none of the {} files is text", paths.len()));
        }
        self.put_before(files);
        Ok(())
    }

    fn put_before(&mut self, files: Vec<(&Path, String)>) {
        let (n_files, mut total) = (files.len(), 0);
        for (path, text) in files {
            // Of one file the message itself says what it is; of several the model has to know which is which.
            let text = if n_files == 1 { text } else { named(path, &text) };
            let n_tokens = self.loaded.tokenizer.encode_plain(&text).len();
            total += n_tokens;
            let what = if n_files == 1 { "; they go before your next message" } else { "" };
            aside(&format!("{}: {n_tokens} tokens{what}", path.display()));
            self.files.push(text);
        }
        if n_files > 1 {
            aside(&format!("{n_files} files, {total} tokens; they go before your next message"));
        }
    }
}

/// A file as DeepSeek's own interface gives it to the model.
fn named(path: &Path, text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("[file name]: {}\n[file content begin]\n{text}{end}[file content end]", path.display())
}

/// Refuses what no context holds before any of it is read.
fn sizes(paths: &[PathBuf]) -> Result<(), String> {
    let mut total = 0u64;
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        total = total.saturating_add(metadata.len());
        if total > LARGEST_READ {
            let with = if paths.len() == 1 { "" } else { " with the files before it" };
            return Err(format!("{}: {total} bytes{with} are more than any context holds", path.display()));
        }
    }
    Ok(())
}

/// The files that a pattern names; Ctrl-C ends a long search.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let signals = signals::listen().map_err(|failure| failure.message)?;
    // As in a shell: `*` leaves hidden files alone.
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let found = glob::glob_with(pattern, options).map_err(|error| format!("{pattern}: {error}"))?;
    let mut paths = Vec::new();
    for path in found {
        if signals.flag().load(Ordering::Relaxed) {
            return Err(format!("{pattern}: the search was stopped"));
        }
        let path = path.map_err(|error| error.to_string())?;
        if !path.is_file() {
            continue;
        }
        if paths.len() == MOST_FILES {
            return Err(format!(
                "{pattern}: expected at most {MOST_FILES} files, found more; make it narrower"
            ));
        }
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(format!("{pattern}: no file has such a name"));
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(file("deep/er.txt")).unwrap();
        for name in ["b.txt", "a.txt", ".hidden.txt", "c.md", "deep/d.txt"] {
            std::fs::write(file(name), name).unwrap();
        }
        let found = |pattern: &str| matching(file(pattern).to_str().unwrap());
        assert_eq!(found("*.txt"), Ok(vec![file("a.txt"), file("b.txt")]));
        assert_eq!(found("**/*.txt"), Ok(vec![file("a.txt"), file("b.txt"), file("deep/d.txt")]));
        assert!(found("*.rs").unwrap_err().contains("no file has such a name"));
        assert!(found("a***").unwrap_err().contains("a***"));
        for number in 0..=MOST_FILES {
            std::fs::write(file(&format!("{number}.csv")), "").unwrap();
        }
        assert!(found("*.csv").unwrap_err().contains("at most 256 files"));
    }

    #[test]
    fn what_no_context_holds_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let large = |name: &str| {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(LARGEST_READ / 2 + 1).unwrap();
            path
        };
        let (a, b) = (large("a"), large("b"));
        assert_eq!(sizes(std::slice::from_ref(&a)), Ok(()));
        assert!(sizes(&[a, b]).unwrap_err().contains("with the files before it"));
        assert!(sizes(&["/nowhere/at/all".into()]).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn several_files_have_names() {
        assert_eq!(
            named(Path::new("a.rs"), "fn a() {}\n"),
            "[file name]: a.rs\n[file content begin]\nfn a() {}\n[file content end]"
        );
    }
}
