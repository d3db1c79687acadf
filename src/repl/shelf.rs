//! Conversations that are kept by themselves: a file each, in the form of `/save`, in a folder that only the person may read.
//!
//! A file appears and changes by rename, so it is whole at any moment. Two programs may have the folder open: a new name is
//! taken only if nobody has it, and a file that another program changed is not written over. Whoever has a conversation open
//! holds a shared lock on its file, and on one that is being written: what is locked is not removed to make room.

use etcetera::BaseStrategy;
use fathom_files::input;
use fathom_files::writing::{Disk, PART};
use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tempfile::{NamedTempFile, TempPath};

/// What the name of a file ends in.
const ENDING: &str = ".json";
/// Whoever looks at a file and then replaces it holds the folder's lock. Nobody holds it longer; somebody who was stopped while
/// he did is not waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Conversations that are kept at most.
pub(super) const MOST: usize = 1000;
/// Nothing takes so long to write, where locks do not tell who writes.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Words and characters of a name that is made of a message.
const NAME_WORDS: usize = 6;
const NAME_CHARS: usize = 48;

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    disk: Disk,
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
    /// Why it may have another name, or none, after the power fails.
    unsure: Option<String>,
    /// The file with a shared lock, which says that it is open.
    _held: Option<File>,
}

impl Open {
    /// This is what the file says: it need not be written again.
    pub(super) fn with(self, text: String) -> Open {
        Open { text, ..self }
    }

    /// Why its name may be gone after the power fails, if that is so.
    pub(super) fn unsure(&self) -> Option<&str> {
        self.unsure.as_deref()
    }

    /// The same without the lock, for whoever lends it to somebody who may not give it back.
    pub(super) fn spare(&self) -> Open {
        let (name, text) = (self.name.clone(), self.text.clone());
        Open { name, text, stamp: self.stamp, unsure: self.unsure.clone(), _held: None }
    }
}

/// Tells whether a file is still the one that was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    changed: Option<SystemTime>,
    len: u64,
    /// Each time that a conversation is written, it is another file.
    number: u64,
}

impl Stamp {
    /// Of the file of this name, through links.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path).ok().map(Stamp::from)
    }
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Stamp {
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let number = 0;
        Stamp { changed: metadata.modified().ok(), len: metadata.len(), number }
    }
}

/// Whether a file is in use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Nobody,
    Somebody,
    /// There are no locks here.
    Unknown,
}

impl Shelf {
    /// `fathom/sessions` in the folder for data.
    pub(super) fn usual() -> Result<Shelf, String> {
        let folders = etcetera::choose_base_strategy()
            .map_err(|_| "cannot find your data folder: neither HOME nor XDG_DATA_HOME is set")?;
        Shelf::new(folders.data_dir().join("fathom").join("sessions"))
    }

    pub(super) fn new(folder: PathBuf) -> Result<Shelf, String> {
        let shelf = Shelf { folder, disk: Disk::SYSTEM };
        shelf.make_folder()?;
        shelf.sweep();
        Ok(shelf)
    }

    /// Makes the folder if it is missing.
    pub(super) fn make_folder(&self) -> Result<(), String> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// The same on a disk that fails when a test says so.
    #[cfg(test)]
    pub(super) fn on(self, disk: Disk) -> Shelf {
        Shelf { disk, ..self }
    }

    /// Removes what programs that were killed left half written.
    fn sweep(&self) {
        // A file that is being made gets its lock under this one.
        let _guard = self.guard();
        for (path, metadata) in self.files().filter(|(path, _)| file_name(path).starts_with(PART)) {
            if is_dead(used(&path), &metadata) {
                // The next start tries again.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// While it is held, no other program looks at a file to replace it. Where there are no locks everybody goes on without.
    fn guard(&self) -> Option<File> {
        let folder = File::open(&self.folder).ok()?;
        let started = Instant::now();
        loop {
            match folder.try_lock() {
                Ok(()) => return Some(folder),
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(_) => return None,
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

    /// A conversation that is about to be read: what another program makes of it from now on is noticed.
    pub(super) fn open(&self, name: &str) -> Open {
        // Whoever looks whether it is in use has it locked for a moment, in which it could not be held.
        let _guard = self.guard();
        let file = input::open(&self.path(name)).ok();
        let stamp = file.as_ref().and_then(|file| file.metadata().ok()).map(Stamp::from);
        let held = file.filter(hold);
        Open { name: name.to_owned(), text: String::new(), stamp, unsure: None, _held: held }
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        Stamp::of(&self.path(name))
    }

    /// What was just written to this file: the newest, also if the clock went back.
    fn written(&self, name: &str, text: String, held: File) -> Open {
        let newest = self.entries().into_iter().find(|entry| entry.name != name).map(|entry| entry.changed);
        let own = held.metadata().and_then(|metadata| metadata.modified()).ok();
        if let (Some(newest), Some(own)) = (newest, own)
            && newest > own
        {
            // Its place among the others is all that hangs on it.
            let _ = held.set_modified(newest + Duration::from_millis(1));
        }
        let stamp = held.metadata().ok().map(Stamp::from);
        let unsure = self.make_sure(name).err();
        Open { name: name.to_owned(), text, stamp, unsure, _held: Some(held) }
    }

    /// A name outlasts a power cut.
    fn make_sure(&self, name: &str) -> Result<(), String> {
        let synced = self.disk.sync_folder(&self.folder);
        synced.map_err(|error| format!("{}; it may be gone after a power cut", self.at(name, &error)))
    }

    /// Writes a new conversation under this name, or if it is taken with a number behind it. Also gives how many of the
    /// oldest ones had to go.
    pub(super) fn add(&self, wanted: &str, text: String) -> Result<(Open, usize), String> {
        let part = self.part(&text)?;
        self.put_new(part, wanted, text)
    }

    fn put_new(&self, part: NamedTempFile, wanted: &str, text: String) -> Result<(Open, usize), String> {
        let (file, part) = part.into_parts();
        for number in 1.. {
            let name = if number == 1 { wanted.to_owned() } else { format!("{wanted}-{number}") };
            match self.disk.rename_new(&part, &self.path(&name)) {
                Ok(()) => {
                    has_its_name(part);
                    let open = self.written(&name, text, file);
                    let n_gone = self.thin_out(MOST, &name);
                    return Ok((open, n_gone));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.at(&name, &error)),
            }
        }
        unreachable!("numbers do not end")
    }

    /// Writes a conversation again, if it or its file changed. True if another program had changed the file: then that one
    /// keeps the name and this one gets another.
    pub(super) fn update(&self, open: &mut Open, text: String) -> Result<bool, String> {
        if open.text == text && open.unsure.is_none() && self.still_holds(open) {
            return Ok(false);
        }
        let part = self.part(&text)?;
        let guard = self.guard();
        let found = self.stamp(&open.name);
        if found.is_none() || found == open.stamp {
            // A name that is free may be taken at this moment, by somebody who knows no locks.
            let rename = if found.is_some() { Disk::rename } else { Disk::rename_new };
            match rename(self.disk, part.path(), &self.path(&open.name)) {
                Ok(()) => {
                    let (file, part) = part.into_parts();
                    has_its_name(part);
                    drop(guard);
                    *open = self.written(&open.name, text, file);
                    return Ok(false);
                }
                Err(error) if found.is_none() && error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.at(&open.name, &error)),
            }
        }
        drop(guard);
        *open = self.put_new(part, &open.name, text)?.0;
        Ok(true)
    }

    /// Whether the file says what it said when it was last read or written. Who copied the same text there changed nothing.
    fn still_holds(&self, open: &mut Open) -> bool {
        let found = self.stamp(&open.name);
        if found.is_some() && found == open.stamp {
            return true;
        }
        let there = self.open(&open.name);
        let is_same = input::read(&self.path(&open.name), open.text.len() as u64)
            .is_ok_and(|bytes| bytes == open.text.as_bytes());
        if is_same {
            let text = std::mem::take(&mut open.text);
            *open = there.with(text);
        }
        is_same
    }

    /// A whole file without a name. What makes it lets nobody else read it.
    fn part(&self, text: &str) -> Result<NamedTempFile, String> {
        let made = self.new_part().and_then(|part| {
            self.disk.write_all(part.as_file(), text.as_bytes())?;
            self.disk.sync(part.as_file())?;
            Ok(part)
        });
        made.map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    fn new_part(&self) -> std::io::Result<NamedTempFile> {
        let _guard = self.guard();
        let part = self.disk.new_part(&self.folder)?;
        hold(part.as_file());
        Ok(part)
    }

    /// Removes the oldest conversations until `most` are left: neither this one nor any that somebody has open.
    fn thin_out(&self, most: usize, but: &str) -> usize {
        let _guard = self.guard();
        let entries = self.entries();
        let n_over = entries.len().saturating_sub(most);
        let may_go = |entry: &&Entry| entry.name != but && used(&self.path(&entry.name)) != Use::Somebody;
        let old = entries.iter().rev().filter(may_go).take(n_over);
        old.filter(|entry| std::fs::remove_file(self.path(&entry.name)).is_ok()).count()
    }

    /// Gives an open conversation another name, which nobody else has.
    pub(super) fn rename(&self, open: &mut Open, name: &str) -> Result<(), String> {
        let _guard = self.guard();
        self.disk.rename_new(&self.path(&open.name), &self.path(name)).map_err(|error| {
            match error.kind() {
                ErrorKind::AlreadyExists => {
                    format!("there is a conversation named {name}; choose another name, or /delete {name}")
                }
                _ => self.at(&open.name, &error),
            }
        })?;
        open.name = name.to_owned();
        // Tried again with the next message.
        open.unsure = self.make_sure(name).err();
        open.unsure.clone().map_or(Ok(()), Err)
    }

    /// Removes a conversation of which nothing is left, unless another program said something in it. True if it stays
    /// because somebody else has it open.
    pub(super) fn withdraw(&self, open: &Open) -> Result<bool, String> {
        let _guard = self.guard();
        if self.stamp(&open.name) != open.stamp {
            return Ok(false);
        }
        if self.is_shared(open) {
            return Ok(true);
        }
        self.remove(&open.name).map(|()| false)
    }

    /// Whether somebody else has it open, too.
    fn is_shared(&self, open: &Open) -> bool {
        let Some(held) = &open._held else { return used(&self.path(&open.name)) == Use::Somebody };
        let is_shared = matches!(held.try_lock(), Err(TryLockError::WouldBlock));
        // Also a lock that was not to be had takes the place of this one.
        hold(held);
        is_shared
    }

    /// Removes a conversation that nobody has open.
    pub(super) fn delete(&self, name: &str) -> Result<(), String> {
        let _guard = self.guard();
        if used(&self.path(name)) == Use::Somebody {
            return Err(format!("{name} is open in another chat; leave that one first"));
        }
        self.remove(name)
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        std::fs::remove_file(self.path(name)).map_err(|error| self.at(name, &error))
    }

    fn at(&self, name: &str, error: &std::io::Error) -> String {
        format!("{}: {error}", self.path(name).display())
    }
}

/// Whether nobody goes on with an unfinished file: its lock tells, or where there are none its age.
fn is_dead(using: Use, metadata: &Metadata) -> bool {
    match using {
        Use::Nobody => true,
        Use::Somebody => false,
        Use::Unknown => {
            let age = metadata.modified().ok().and_then(|changed| changed.elapsed().ok());
            age.is_some_and(|age| age > ABANDONED)
        }
    }
}

/// What was a part is found under its name: there is nothing left to remove.
fn has_its_name(part: TempPath) {
    // Where it cannot be forgotten it is looked for, and not found.
    let _ = part.keep();
}

/// Says that a file is in use, until it is closed. Elsewhere than on Unix a lock keeps others from reading, too.
fn hold(file: &File) -> bool {
    cfg!(unix) && file.try_lock_shared().is_ok()
}

fn used(path: &Path) -> Use {
    if cfg!(not(unix)) {
        return Use::Unknown;
    }
    match input::open(path).map(|file| file.try_lock()) {
        Ok(Ok(())) => Use::Nobody,
        Ok(Err(TryLockError::WouldBlock)) => Use::Somebody,
        Ok(Err(TryLockError::Error(_))) | Err(_) => Use::Unknown,
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

    fn parts(shelf: &Shelf) -> usize {
        shelf.files().filter(|(path, _)| file_name(path).starts_with(PART)).count()
    }

    fn set_age(shelf: &Shelf, name: &str, hours: u64) {
        let file = File::options().append(true).open(shelf.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }

    /// A pipe would be waited for until somebody writes to it.
    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_place_of_a_conversation_is_not_waited_for() {
        let (_folder, shelf) = shelf();
        let (mut open, _) = shelf.add("talk", "one".to_owned()).unwrap();
        std::fs::remove_file(shelf.path("talk")).unwrap();
        let pipe = |name: &str| {
            assert!(std::process::Command::new("mkfifo").arg(shelf.path(name)).status().unwrap().success());
        };
        pipe("talk");
        pipe(".part-x");
        assert!(shelf.open("talk").stamp.is_none());
        assert_eq!(shelf.update(&mut open, "one".to_owned()), Ok(true), "it gets another name");
        assert_eq!((names(&shelf), read(&shelf, "talk-2").as_str()), (vec!["talk-2".to_owned()], "one"));
        shelf.sweep();
        shelf.delete("talk").unwrap();
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
        assert_eq!(parts(&shelf), 0);
    }

    #[test]
    fn what_another_program_changed_is_not_written_over() {
        let (_folder, shelf) = shelf();
        let mut open = shelf.add("a", "mine".into()).unwrap().0;
        assert_eq!(shelf.update(&mut open, "mine, longer".into()), Ok(false));
        assert_eq!(read(&shelf, "a"), "mine, longer");
        std::fs::write(shelf.path("a"), "theirs").unwrap();
        assert_eq!(shelf.update(&mut open, "mine, longer".into()), Ok(true), "it is nowhere else");
        assert_eq!((open.name.as_str(), read(&shelf, "a")), ("a-2", "theirs".into()));
        assert_eq!(read(&shelf, "a-2"), "mine, longer");
        std::fs::write(shelf.path("a-2"), "theirs, too").unwrap();
        assert_eq!(shelf.update(&mut open, "mine, still longer".into()), Ok(true));
        assert_eq!((open.name.as_str(), read(&shelf, "a-2")), ("a-2-2", "theirs, too".into()));
        for text in ["mine, still longer", "again"] {
            std::fs::remove_file(shelf.path("a-2-2")).unwrap();
            assert_eq!(shelf.update(&mut open, text.into()), Ok(false));
            assert_eq!(read(&shelf, "a-2-2"), text);
        }
        // A copy of the same text, as of a backup, is no other conversation.
        std::fs::remove_file(shelf.path("a-2-2")).unwrap();
        std::fs::write(shelf.path("a-2-2"), "again").unwrap();
        assert_eq!(shelf.update(&mut open, "again".into()), Ok(false));
        assert_eq!(shelf.update(&mut open, "once more".into()), Ok(false));
        assert_eq!((names(&shelf).len(), read(&shelf, "a-2-2")), (3, "once more".into()));
    }

    #[test]
    fn the_newest_stand_first_and_the_oldest_go() {
        let (_folder, shelf) = shelf();
        for (name, hours) in [("a", 3), ("b", 1), ("c", 2)] {
            drop(shelf.add(name, name.into()).unwrap());
            set_age(&shelf, name, hours);
        }
        std::fs::write(shelf.folder.join("notes.txt"), "not ours").unwrap();
        assert_eq!(names(&shelf), ["b", "c", "a"]);
        assert_eq!(shelf.thin_out(2, ""), 1);
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

    #[cfg(unix)]
    #[test]
    fn what_the_dead_left_is_swept_away_and_what_the_living_write_is_not() {
        let (_folder, shelf) = shelf();
        std::fs::write(shelf.folder.join(".part-dead"), "half").unwrap();
        let living = shelf.part("half").unwrap();
        let shelf = Shelf::new(shelf.folder).unwrap();
        let left: Vec<PathBuf> = shelf.files().map(|(path, _)| path).collect();
        assert_eq!(left, [living.path()]);
    }

    #[test]
    fn where_locks_do_not_tell_what_is_old_is_swept_away() {
        let (_folder, shelf) = shelf();
        let path = shelf.folder.join(".part-x");
        let file = File::create(&path).unwrap();
        let is_dead = |using, changed| {
            file.set_modified(changed).unwrap();
            is_dead(using, &std::fs::metadata(&path).unwrap())
        };
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        assert!(!is_dead(Use::Unknown, now));
        assert!(!is_dead(Use::Unknown, now - (ABANDONED - minute)));
        assert!(is_dead(Use::Unknown, now - (ABANDONED + minute)));
        assert!(!is_dead(Use::Unknown, now + 100 * ABANDONED), "the clock went back");
        // Where they tell, age says nothing.
        assert!(is_dead(Use::Nobody, now));
        assert!(!is_dead(Use::Somebody, now - 100 * ABANDONED));
    }

    #[cfg(unix)]
    #[test]
    fn what_was_just_written_or_is_open_stays_on_a_full_shelf_whatever_the_clock_says() {
        let (_folder, shelf) = shelf();
        let in_the_future = |name: &str| {
            let file = File::options().append(true).open(shelf.path(name)).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
        };
        for name in ["a", "b", "c"] {
            drop(shelf.add(name, name.into()).unwrap());
            in_the_future(name);
        }
        let mut new = shelf.add("new", "1".into()).unwrap().0;
        assert_eq!(names(&shelf)[0], "new", "--continue finds it");
        in_the_future("b");
        assert_eq!(shelf.update(&mut new, "1, longer".into()), Ok(false));
        assert_eq!(names(&shelf)[0], "new");

        set_age(&shelf, "new", 5);
        set_age(&shelf, "a", 4);
        let open = shelf.open("a");
        assert_eq!(shelf.thin_out(2, "new"), 2);
        assert_eq!(names(&shelf), ["a", "new"]);
        assert!(shelf.delete("a").unwrap_err().contains("is open in another chat"));
        drop(open);
        assert_eq!(shelf.delete("a"), Ok(()));
    }

    #[cfg(unix)]
    #[test]
    fn what_somebody_else_has_open_is_not_withdrawn() {
        let (_folder, shelf) = shelf();
        let mine = shelf.add("a", "1".into()).unwrap().0;
        let theirs = shelf.open("a");
        for _ in 0..2 {
            assert_eq!((shelf.withdraw(&mine), read(&shelf, "a")), (Ok(true), "1".into()));
        }
        drop(theirs);
        assert!(shelf.delete("a").unwrap_err().contains("is open in another chat"), "it is still held here");
        assert_eq!((shelf.withdraw(&mine), shelf.has("a")), (Ok(false), false));
        // What was changed is nobody's to remove.
        let mine = shelf.add("a", "1".into()).unwrap().0;
        std::fs::write(shelf.path("a"), "theirs").unwrap();
        assert_eq!((shelf.withdraw(&mine), read(&shelf, "a")), (Ok(false), "theirs".into()));
    }

    #[test]
    fn of_many_who_write_at_once_each_finds_all_it_wrote() {
        let (_folder, shelf) = shelf();
        let first = shelf.add("a", "0".into()).unwrap().0;
        let names: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> = (1..=4)
                .map(|writer| {
                    let mut open = shelf.open("a").with("0".into());
                    let shelf = &shelf;
                    scope.spawn(move || {
                        for round in 0..20 {
                            shelf.update(&mut open, format!("{writer} {round}")).unwrap();
                        }
                        assert_eq!(read(shelf, &open.name), format!("{writer} 19"));
                        open.name
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(first);
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), 4, "{names:?}");
        assert_eq!(parts(&shelf), 0);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_opened_while_somebody_looks_at_it_is_held() {
        let (_folder, shelf) = shelf();
        drop(shelf.add("a", "1".into()).unwrap());
        let ends = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    let guard = shelf.guard();
                    used(&shelf.path("a"));
                    drop(guard);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            let n_held = (0..100).filter(|_| shelf.open("a")._held.is_some()).count();
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(n_held, 100);
        });
    }

    #[test]
    fn of_many_who_take_a_name_one_gets_it() {
        let (_folder, shelf) = shelf();
        let opens: Vec<Open> = (0..8).map(|n| shelf.add("x", n.to_string()).unwrap().0).collect();
        let renamed: usize = std::thread::scope(|scope| {
            let rename = |mut open: Open| {
                let shelf = &shelf;
                scope.spawn(move || usize::from(shelf.rename(&mut open, "wanted").is_ok()))
            };
            let all: Vec<_> = opens.into_iter().map(rename).collect();
            all.into_iter().map(|done| done.join().unwrap()).sum()
        });
        assert_eq!((renamed, names(&shelf).len()), (1, 8));
    }
}
