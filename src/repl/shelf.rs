//! Conversations that are kept by themselves: a file each, in the form of `/save`, in a folder that only the person may read.
//!
//! A file appears and changes by rename, so it is whole at any moment. Two programs may have the folder open: a new name is
//! taken only if nobody has it, and a file that another program changed is not written over.

use etcetera::BaseStrategy;
use std::fs::{DirBuilder, Metadata};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::{NamedTempFile, PersistError};

/// What the name of a file ends in.
const ENDING: &str = ".json";
/// What the name of a file that is being written begins with.
const PART: &str = ".part-";
/// Conversations that are kept at most.
const MOST: usize = 1000;
/// Nothing takes so long to write.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Words and characters of a name that is made of a message.
const NAME_WORDS: usize = 6;
const NAME_CHARS: usize = 48;

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A conversation in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub changed: SystemTime,
}

/// A conversation that this program has open.
#[derive(Debug)]
pub(super) struct Open {
    pub name: String,
    /// What its file holds.
    text: String,
    stamp: Option<Stamp>,
}

/// Tells whether a file is still the one that was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    len: u64,
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Stamp {
        Stamp { changed: metadata.modified().ok(), len: metadata.len() }
    }
}

impl Shelf {
    /// `fathom/sessions` in the folder for data.
    pub(super) fn usual() -> Result<Shelf, String> {
        let folders = etcetera::choose_base_strategy().map_err(
            |_| "nobody says where this user's data are: expected HOME or XDG_DATA_HOME, found none",
        )?;
        Shelf::new(folders.data_dir().join("fathom").join("sessions"))
    }

    fn new(folder: PathBuf) -> Result<Shelf, String> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let shelf = Shelf { folder };
        shelf.sweep();
        Ok(shelf)
    }

    /// Removes what programs that were killed left half written.
    fn sweep(&self) {
        for (path, metadata) in self.files().filter(|(path, _)| file_name(path).starts_with(PART)) {
            let age = metadata.modified().ok().and_then(|changed| changed.elapsed().ok());
            if age.is_some_and(|age| age > ABANDONED) {
                // The next start tries again.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, Metadata)> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        files.filter_map(|file| Some((file.path(), file.metadata().ok().filter(Metadata::is_file)?)))
    }

    /// All conversations, the newest first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entry = |(path, metadata): (PathBuf, Metadata)| {
            let name =
                file_name(&path).strip_suffix(ENDING).filter(|_| !file_name(&path).starts_with('.'))?;
            let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(Entry { name: name.to_owned(), changed })
        };
        let mut entries: Vec<Entry> = self.files().filter_map(entry).collect();
        entries.sort_by(|a, b| b.changed.cmp(&a.changed).then_with(|| a.name.cmp(&b.name)));
        entries
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{ENDING}"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// What was just read from this file.
    pub(super) fn opened(&self, name: &str, text: String) -> Open {
        let stamp = self.stamp(name);
        Open { name: name.to_owned(), text, stamp }
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        std::fs::metadata(self.path(name)).ok().map(Stamp::from)
    }

    /// Writes a new conversation under this name, or if it is taken with a number behind it. Also gives how many of the
    /// oldest ones had to go.
    pub(super) fn add(&self, wanted: &str, text: String) -> Result<(Open, usize), String> {
        let mut part = self.part(&text)?;
        for number in 1.. {
            let name = if number == 1 { wanted.to_owned() } else { format!("{wanted}-{number}") };
            match part.persist_noclobber(self.path(&name)) {
                Ok(_) => {
                    let n_gone = self.thin_out(MOST);
                    return Ok((self.opened(&name, text), n_gone));
                }
                Err(PersistError { error, file }) if error.kind() == ErrorKind::AlreadyExists => part = file,
                Err(PersistError { error, .. }) => return Err(self.at(&name, &error)),
            }
        }
        unreachable!("numbers do not end")
    }

    /// Writes a conversation again, if it changed. True if another program had changed it meanwhile: then that one keeps
    /// the name and this one gets another.
    pub(super) fn update(&self, open: &mut Open, text: String) -> Result<bool, String> {
        if open.text == text {
            return Ok(false);
        }
        let found = self.stamp(&open.name);
        if found.is_some() && found != open.stamp {
            *open = self.add(&open.name, text)?.0;
            return Ok(true);
        }
        let part = self.part(&text)?;
        part.persist(self.path(&open.name)).map_err(|error| self.at(&open.name, &error.error))?;
        *open = self.opened(&open.name, text);
        Ok(false)
    }

    /// A whole file without a name. What makes it lets nobody else read it.
    fn part(&self, text: &str) -> Result<NamedTempFile, String> {
        let made = tempfile::Builder::new().prefix(PART).tempfile_in(&self.folder).and_then(|mut part| {
            part.write_all(text.as_bytes())?;
            part.as_file().sync_all()?;
            Ok(part)
        });
        made.map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// Removes the oldest conversations until `most` are left.
    fn thin_out(&self, most: usize) -> usize {
        let old = self.entries().into_iter().skip(most);
        old.filter(|entry| std::fs::remove_file(self.path(&entry.name)).is_ok()).count()
    }

    pub(super) fn rename(&self, open: &mut Open, name: &str) -> Result<(), String> {
        if self.has(name) {
            return Err(format!(
                "there is a conversation named {name}; choose another name, or /delete {name}"
            ));
        }
        std::fs::rename(self.path(&open.name), self.path(name))
            .map_err(|error| self.at(&open.name, &error))?;
        open.name = name.to_owned();
        Ok(())
    }

    /// Removes a conversation of which nothing is left, unless another program said something in it.
    pub(super) fn withdraw(&self, open: &Open) -> Result<(), String> {
        if self.stamp(&open.name) == open.stamp { self.delete(&open.name) } else { Ok(()) }
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), String> {
        std::fs::remove_file(self.path(name)).map_err(|error| self.at(name, &error))
    }

    fn at(&self, name: &str, error: &std::io::Error) -> String {
        format!("{}: {error}", self.path(name).display())
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A name that every file system takes: letters, digits, `_` and `-`. Never a number, for numbers are those of `/list`.
pub(super) fn safe(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            _ if c.is_alphanumeric() || c == '_' => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
        if name.chars().count() == NAME_CHARS {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    match name {
        "" => "talk".to_owned(),
        _ if name.chars().all(|c| c.is_ascii_digit()) => format!("talk-{name}"),
        _ => name.to_owned(),
    }
}

/// A name for the conversation that this message begins.
pub(super) fn name_of(message: &str) -> String {
    // A long message need not be read whole.
    let words: Vec<&str> = message.split_whitespace().take(NAME_WORDS).collect();
    safe(&words.join(" ").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("fathom/sessions")).unwrap();
        (folder, shelf)
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        shelf.entries().into_iter().map(|entry| entry.name).collect()
    }

    fn read(shelf: &Shelf, name: &str) -> String {
        std::fs::read_to_string(shelf.path(name)).unwrap()
    }

    fn set_age(shelf: &Shelf, name: &str, hours: u64) {
        let file = std::fs::File::options().append(true).open(shelf.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }

    #[test]
    fn names_are_safe_and_no_numbers() {
        assert_eq!(name_of("What is 412 - 87? And then some"), "what-is-412-87-and");
        assert_eq!(name_of("../../etc/passwd"), "etc-passwd");
        assert_eq!(name_of("  ?!\n\u{1b} "), "talk");
        assert_eq!(name_of("42"), "talk-42");
        assert_eq!(name_of("你好，世界"), "你好-世界");
        assert_eq!(name_of(&"x".repeat(1000)).len(), NAME_CHARS);
        assert_eq!(safe("My Talk_2.json"), "My-Talk_2-json");
    }

    #[test]
    fn a_name_is_taken_once() {
        let (_folder, shelf) = shelf();
        assert_eq!(shelf.add("a", "1".into()).unwrap().0.name, "a");
        assert_eq!(shelf.add("a", "2".into()).unwrap().0.name, "a-2");
        assert_eq!(shelf.add("a", "3".into()).unwrap().0.name, "a-3");
        assert_eq!((read(&shelf, "a"), read(&shelf, "a-3")), ("1".into(), "3".into()));
        assert_eq!(shelf.files().count(), 3, "no part is left");
    }

    #[test]
    fn what_another_program_changed_is_not_written_over() {
        let (_folder, shelf) = shelf();
        let mut open = shelf.add("a", "mine".into()).unwrap().0;
        assert_eq!(shelf.update(&mut open, "mine, longer".into()), Ok(false));
        assert_eq!(read(&shelf, "a"), "mine, longer");
        std::fs::write(shelf.path("a"), "theirs").unwrap();
        assert_eq!(shelf.update(&mut open, "mine, longer".into()), Ok(false), "nothing to write");
        assert_eq!(shelf.update(&mut open, "mine, still longer".into()), Ok(true));
        assert_eq!((open.name.as_str(), read(&shelf, "a")), ("a-2", "theirs".into()));
        assert_eq!(read(&shelf, "a-2"), "mine, still longer");
        shelf.delete("a-2").unwrap();
        assert_eq!(shelf.update(&mut open, "again".into()), Ok(false));
        assert_eq!(read(&shelf, "a-2"), "again");
    }

    #[test]
    fn the_newest_stand_first_and_the_oldest_go() {
        let (_folder, shelf) = shelf();
        for (name, hours) in [("a", 3), ("b", 1), ("c", 2)] {
            shelf.add(name, name.into()).unwrap();
            set_age(&shelf, name, hours);
        }
        std::fs::write(shelf.folder.join("notes.txt"), "not ours").unwrap();
        assert_eq!(names(&shelf), ["b", "c", "a"]);
        assert_eq!(shelf.thin_out(2), 1);
        assert_eq!(names(&shelf), ["b", "c"]);
        assert!(shelf.folder.join("notes.txt").exists());
    }

    #[test]
    fn a_name_that_is_taken_is_not_given_away() {
        let (_folder, shelf) = shelf();
        let mut open = shelf.add("a", "1".into()).unwrap().0;
        shelf.add("b", "2".into()).unwrap();
        assert!(shelf.rename(&mut open, "b").unwrap_err().contains("choose another name"));
        shelf.rename(&mut open, "c").unwrap();
        assert_eq!((open.name.as_str(), read(&shelf, "c"), shelf.has("a")), ("c", "1".into(), false));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, shelf) = shelf();
        shelf.add("a", "1".into()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&shelf.folder), mode(&shelf.path("a"))), (0o700, 0o600));
    }

    #[test]
    fn what_was_abandoned_is_swept_away() {
        let (_folder, shelf) = shelf();
        for name in [".part-old", ".part-new"] {
            std::fs::write(shelf.folder.join(name), "half").unwrap();
        }
        let old = std::fs::File::options().append(true).open(shelf.folder.join(".part-old")).unwrap();
        old.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        let shelf = Shelf::new(shelf.folder).unwrap();
        let left: Vec<PathBuf> = shelf.files().map(|(path, _)| path).collect();
        assert_eq!(left, [shelf.folder.join(".part-new")]);
    }
}
