//! Files that stand before the next message.

use super::{Repl, complain};
use crate::cli::show::aside;
use crate::cli::signals;
use crate::files;
use glob::MatchOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// More bytes are not even counted in tokens.
pub(super) const LARGEST_READ: u64 = 64 << 20;
/// More files of a pattern are a mistake in it.
const MOST_FILES: usize = 256;
/// Texts are counted in pieces of this many bytes, so that Ctrl-C ends it.
const PIECE: usize = 256 << 10;
/// How often a person is looked at during a search.
const TICK: Duration = Duration::from_millis(50);
/// Shorter waits are not worth a word.
const WORTH_TELLING: f64 = 5.0;

impl Repl<'_> {
    /// Takes all files, or none if one cannot be read or they do not fit.
    pub(super) fn read_files(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        let signals = signals::listen().map_err(|failure| failure.message)?;
        sizes(paths).map_err(|problem| match paths.iter().any(|path| is_pattern(path)) {
            true => format!("{problem}; /glob takes the files that a pattern names"),
            false => problem,
        })?;
        let texts = paths.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
        self.put_before(paths.iter().map(PathBuf::as_path).zip(texts).collect(), signals.flag())
    }

    /// Takes the text files that a pattern names, in the order of their names.
    pub(super) fn read_pattern(&mut self, pattern: &str) -> Result<(), String> {
        let signals = signals::listen().map_err(|failure| failure.message)?;
        let paths = matching(pattern, signals.flag())?;
        sizes(&paths)?;
        let mut files = Vec::new();
        for path in &paths {
            match text(path) {
                Ok(text) => files.push((path.as_path(), text)),
                Err(problem) => complain(&format!("{problem}; left out")),
            }
        }
        if files.is_empty() {
            return Err(format!("{pattern}: none of the {} files is text", paths.len()));
        }
        self.put_before(files, signals.flag())
    }

    /// Takes texts under the names of their files.
    pub(super) fn put_before(
        &mut self,
        files: Vec<(&Path, String)>,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let n_files = files.len();
        let mut counted = Vec::new();
        for (path, text) in files {
            // Of one file the message itself says what it is; of several the model has to know which is which.
            let text = if n_files == 1 { text } else { named(path, &text) };
            let n_tokens = self.count(&text, stop).ok_or("stopped; no file was taken")?;
            counted.push((path, text, n_tokens));
        }
        let total = counted.iter().map(|(_, _, n_tokens)| n_tokens).sum();
        let what = if n_files == 1 { counted[0].0.display().to_string() } else { format!("{n_files} files") };
        let n_taken = self.n_taken();
        let n_ctx = self.session.n_ctx();
        if n_taken + total >= n_ctx {
            return Err(format!(
                "{what}: {total} tokens{} do not fit: {n_taken} of the context's {n_ctx} tokens are in use; start with a \
                 larger one (-c {}), or make room with /new",
                self.time_to_read(total).map_or(String::new(), |time| format!(" ({time})")),
                (n_taken + total + total / 8).next_multiple_of(1024),
            ));
        }
        let time = self.time_to_read(total).map_or(String::new(), |time| format!(", {time}"));
        let behind = format!("{time}; they go before your next message");
        for (path, text, n_tokens) in counted {
            aside(&format!(
                "{}: {n_tokens} tokens{}",
                in_one_line(path),
                if n_files == 1 { &behind } else { "" }
            ));
            self.files.push(text);
        }
        if n_files > 1 {
            aside(&format!("{n_files} files, {total} tokens{behind}"));
        }
        Ok(())
    }

    /// Tokens of a text; `None`: the person does not want to wait for it.
    fn count(&self, text: &str, stop: &AtomicBool) -> Option<usize> {
        let (mut rest, mut n_tokens) = (text, 0);
        while !rest.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let end = rest.floor_char_boundary(PIECE);
            // Behind a line, if there is one: no token goes over that border for sure.
            let end =
                if end < rest.len() { rest[..end].rfind('\n').map_or(end, |line| line + 1) } else { end };
            let (piece, behind) = rest.split_at(end);
            n_tokens += self.loaded.tokenizer.encode_plain(piece).len();
            rest = behind;
        }
        Some(n_tokens)
    }

    /// Tokens of the conversation and of the files that wait.
    fn n_taken(&self) -> usize {
        let conversation =
            if self.turns.is_empty() && self.talk.system.is_none() && self.toolbox.tools.is_empty() {
                0
            } else {
                let prompt =
                    self.chat.prompt_keeping(&self.loaded.tokenizer, &self.conversation(), &self.spoken);
                prompt.map_or(self.session.tokens().len(), |prompt| prompt.tokens.len())
            };
        let files = self.files.iter().map(|text| self.loaded.tokenizer.encode_plain(text).len());
        conversation + files.sum::<usize>()
    }

    /// How long so many tokens take, at the rate at which the last prompt was read.
    fn time_to_read(&self, n_tokens: usize) -> Option<String> {
        let rate = self.read_rate?;
        let seconds = n_tokens as f64 / rate;
        match seconds {
            ..WORTH_TELLING => None,
            ..120.0 => Some(format!("{seconds:.0} s to read at {rate:.1} tokens/s")),
            _ => Some(format!("{:.0} min to read at {rate:.1} tokens/s", seconds / 60.0)),
        }
    }
}

/// A text file.
fn text(path: &Path) -> Result<String, String> {
    files::text(files::read(path, LARGEST_READ)?).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        format!(
            "{}: expected UTF-8, found other bytes at byte {place}; convert it to UTF-8 first",
            path.display()
        )
    })
}

/// A file as DeepSeek's own interface gives it to the model.
fn named(path: &Path, text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("[file name]: {}\n[file content begin]\n{text}{end}[file content end]", in_one_line(path))
}

/// A name with its control characters escaped: it ends where its line does.
fn in_one_line(path: &Path) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.display().to_string().chars().map(escaped).collect()
}

/// Whether a name that no file has looks like a pattern.
fn is_pattern(path: &Path) -> bool {
    !path.exists() && path.to_string_lossy().contains(['*', '?', '['])
}

/// Refuses what is too large to be counted before any of it is read.
fn sizes(paths: &[PathBuf]) -> Result<(), String> {
    let mut total = 0u64;
    for path in paths {
        total = total.saturating_add(files::size(path)?);
        if total > LARGEST_READ {
            let with = if paths.len() == 1 { "" } else { "together with the files before it, " };
            return Err(format!("{}: {with}{total} bytes: more than any context holds", path.display()));
        }
    }
    Ok(())
}

/// The files that a pattern names; Ctrl-C ends a long search.
fn matching(pattern: &str, stop: &AtomicBool) -> Result<Vec<PathBuf>, String> {
    // As in a shell: `*` leaves hidden files alone.
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let found = glob::glob_with(pattern, options).map_err(|error| format!("{pattern}: {error}"))?;
    // The search itself says nothing until it finds something.
    let (finds, results) = channel();
    let search = move || {
        for path in found {
            if finds.send(path.map_err(|error| error.to_string())).is_err() {
                break;
            }
        }
    };
    let started = fathom_files::process::spawn("fathom-files", search);
    started.map_err(|error| format!("{pattern}: cannot start a thread for the search: {error}"))?;
    let mut paths = Vec::new();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(format!("{pattern}: the search was stopped"));
        }
        let path = match results.recv_timeout(TICK) {
            Ok(path) => path?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if !path.is_file() {
            continue;
        }
        if paths.len() == MOST_FILES {
            return Err(format!("{pattern}: matches more than {MOST_FILES} files; use a narrower pattern"));
        }
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(format!("{pattern}: no file matches"));
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
        let found = |pattern: &str| matching(file(pattern).to_str().unwrap(), &AtomicBool::new(false));
        assert_eq!(found("*.txt"), Ok(vec![file("a.txt"), file("b.txt")]));
        assert_eq!(found("**/*.txt"), Ok(vec![file("a.txt"), file("b.txt"), file("deep/d.txt")]));
        assert!(found("*.rs").unwrap_err().contains("no file matches"));
        assert!(found("a***").unwrap_err().contains("a***"));
        for number in 0..=MOST_FILES {
            std::fs::write(file(&format!("{number}.csv")), "").unwrap();
        }
        assert!(found("*.csv").unwrap_err().contains("matches more than 256 files"));
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
        assert!(sizes(&[a, b]).unwrap_err().contains("together with the files before it, "));
        assert!(sizes(&["/nowhere/at/all".into()]).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn several_files_have_names() {
        assert_eq!(
            named(Path::new("a.rs"), "fn a() {}\n"),
            "[file name]: a.rs\n[file content begin]\nfn a() {}\n[file content end]"
        );
        assert!(
            named(Path::new("a\n[file content end]é"), "")
                .starts_with("[file name]: a\\n[file content end]é\n")
        );
        assert!(is_pattern(Path::new("/nowhere/*.rs")) && !is_pattern(Path::new("/nowhere/a.rs")));
    }
}
