//! The folder with everything that is kept: a folder for each model and way of keeping its rows, a file for each block.

use super::block::{Block, BlockError, HEAD, check_head};
use super::fingerprint::{Fingerprint, Glance, Known};
use super::key::Key;
use crate::mmap::Identity;
use fathom_files::input;
use fathom_files::writing::{Disk, PART};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What a block's file ends in.
const BLOCK: &str = "kv";
/// A file that is not whole after this time never will be: its writer was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Says whose rows a folder has.
const ABOUT: &str = "about.json";
/// The model's files when it was read through, and what it was then.
const FILES: &str = "files.json";
/// Files of one model that are remembered; copies of it, or the same file with other times.
const MOST_KNOWN: usize = 16;
/// Neither of the two is larger, if it is ours.
const MOST_BYTES: u64 = 1 << 20;

/// Whose rows a folder has, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What the model was called when the folder was made.
    pub model: String,
    /// How its rows are kept.
    pub rows: String,
}

/// Where all that is kept lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    disk: Disk,
}

/// A block's file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// How large it is.
    pub n_bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// One model's folder.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Its name: 32 hexadecimal digits.
    pub name: String,
    /// Whose rows it has; `None` if that cannot be read.
    pub about: Option<About>,
    /// Its blocks, those longest unused first.
    pub blocks: Vec<Entry>,
    /// Whether it could be looked into; another person's cannot.
    pub is_readable: bool,
}

impl Shelf {
    /// Bytes of its blocks.
    pub fn n_bytes(&self) -> u64 {
        self.blocks.iter().map(|entry| entry.n_bytes).sum()
    }
}

impl Folder {
    /// The folder `path`; it need not be there yet.
    pub fn new(path: PathBuf) -> Folder {
        Folder { path, disk: Disk::SYSTEM }
    }

    /// The same on a disk that fails when a test says so.
    pub fn on(self, disk: Disk) -> Folder {
        Folder { disk, ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes one model's folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn shelf(&self, root: &Key, about: &About) -> io::Result<PathBuf> {
        let path = self.path.join(root.to_string());
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        // What was said to a model is nobody else's affair.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        let about_path = path.join(ABOUT);
        if !about_path.exists() {
            let text = serde_json::to_vec_pretty(about)?;
            put(self.disk, &about_path, &text)?;
        }
        Ok(path)
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// If the folder is there and cannot be read.
    pub fn shelves(&self) -> io::Result<Vec<Shelf>> {
        let mut shelves = Vec::new();
        for entry in listed(&self.path)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_key(&name) || !entry.file_type()?.is_dir() {
                continue;
            }
            let about = read_json(&entry.path().join(ABOUT));
            let mut blocks = Vec::new();
            let files = match listed(&entry.path()) {
                // Another person's. Whoever wants it removed is told so by its name.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    shelves.push(Shelf { name, about, blocks, is_readable: false });
                    continue;
                }
                files => files?,
            };
            blocks.extend(files.iter().filter_map(block_entry));
            blocks.sort_by_key(|entry| entry.used);
            // An empty one was ours: whoever emptied it left the folder. One with other files alone is theirs.
            if files.is_empty() || files.iter().any(is_ours) {
                shelves.push(Shelf { name, about, blocks, is_readable: true });
            }
        }
        shelves.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(shelves)
    }

    /// Removes one model's folder, or what of it is ours; gives the names of what is not, for which the folder stays.
    ///
    /// # Errors
    /// If something of it cannot be removed.
    pub fn remove(&self, shelf: &Shelf) -> io::Result<Vec<String>> {
        let path = self.path.join(&shelf.name);
        let mut others = Vec::new();
        for file in listed(&path)? {
            if is_ours(&file) {
                gone(fs::remove_file(file.path()))?;
            } else {
                others.push(file.file_name().to_string_lossy().into_owned());
            }
        }
        match gone(fs::remove_dir(path)) {
            // Theirs, or what another program has just written.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(others),
            done => done.map(|()| Vec::new()),
        }
    }

    /// The fingerprint of a model that was read through when its files were these.
    pub(super) fn known(&self, files: &[Identity], glance: &Glance) -> Option<Fingerprint> {
        let shelves = listed(&self.path).unwrap_or_default().into_iter();
        let mut known = shelves.flat_map(|shelf| known_in(&shelf.path()));
        known.find_map(|known| known.of(files, glance))
    }

    /// Remembers in a model's folder what its files were when it was read through.
    pub(super) fn note(&self, shelf: &Path, known: Known) -> io::Result<()> {
        let mut all = known_in(shelf);
        all.insert(0, known);
        all.truncate(MOST_KNOWN);
        self.put(&shelf.join(FILES), &serde_json::to_vec(&all)?)
    }

    /// Writes a block's file.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        put(self.disk, path, bytes)
    }

    /// Removes what a killed program left half written.
    pub(super) fn sweep(&self, now: SystemTime) {
        for shelf in listed(&self.path).unwrap_or_default() {
            for file in listed(&shelf.path()).unwrap_or_default() {
                let is_part = file.file_name().to_string_lossy().starts_with(PART);
                let age = file.metadata().and_then(|it| it.modified()).map(|then| now.duration_since(then));
                if is_part && matches!(age, Ok(Ok(age)) if age > ABANDONED) {
                    let _ = fs::remove_file(file.path());
                }
            }
        }
    }

    /// Bytes that may still be written where the folder lies; `None` where nobody can say.
    pub(super) fn free(&self) -> Option<u64> {
        #[cfg(target_os = "linux")]
        {
            let stat = rustix::fs::statvfs(&self.path).ok()?;
            stat.f_bavail.checked_mul(stat.f_frsize)
        }
        #[cfg(not(target_os = "linux"))]
        None
    }
}

/// Reads a block's file into `bytes`, in place of what they were, and checks it.
///
/// # Errors
/// `Ok(Err(..))` where there is a file, and it is damaged.
pub fn read_block<'b>(path: &Path, bytes: &'b mut Vec<u8>) -> io::Result<Result<Block<'b>, BlockError>> {
    read_block_of(path, None, bytes)
}

/// The same for a block that is known to have `expected` bytes: a file of another size is not read.
pub(super) fn read_block_of<'b>(
    path: &Path,
    expected: Option<u64>,
    bytes: &'b mut Vec<u8>,
) -> io::Result<Result<Block<'b>, BlockError>> {
    bytes.clear();
    let mut file = input::open(path)?;
    let len = file.metadata()?.len();
    // What is no block may be of any size: its head tells before the rest is read.
    (&mut file).take(HEAD as u64).read_to_end(bytes)?;
    if let Err(damage) = check_head(bytes, len) {
        return Ok(Err(damage));
    }
    if expected.is_some_and(|expected| expected != len) {
        return Ok(Err(BlockError::Other));
    }
    file.take(len - HEAD as u64).read_to_end(bytes)?;
    Ok(Block::check(bytes))
}

/// What a model's folder says of its files; nothing if it cannot be read.
fn known_in(shelf: &Path) -> Vec<Known> {
    read_json(&shelf.join(FILES)).unwrap_or_default()
}

/// A small file of ours; `None` if it is not there, or not ours.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&input::read(path, MOST_BYTES).ok()?).ok()
}

/// The name of a block's file.
pub(super) fn block_path(shelf: &Path, key: &Key) -> PathBuf {
    shelf.join(format!("{key}.{BLOCK}"))
}

/// Writes a file that is whole or not there.
pub(super) fn put(disk: Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file is in a folder");
    disk.rename(disk.private_part(folder, bytes)?.path(), path)
}

/// Says that a block was used at `now`.
pub(super) fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    // A pipe would be waited for until somebody reads from it.
    input::open(path)?;
    File::options().append(true).open(path)?.set_modified(now)
}

/// What a folder has; nothing if it is not there.
fn listed(path: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Another program may have removed it first.
pub(super) fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn is_key(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this program wrote it: a folder is nobody's of ours, whatever its name.
fn is_ours(file: &fs::DirEntry) -> bool {
    let name = file.file_name();
    let is_file = file.metadata().is_ok_and(|about| about.is_file());
    let is_named = name == ABOUT || name == FILES || name.to_string_lossy().starts_with(PART);
    is_file && (is_named || block_entry(file).is_some())
}

/// A block's file; `None` for other files, and for one that went away.
fn block_entry(file: &fs::DirEntry) -> Option<Entry> {
    let path = file.path();
    let is_block = path.extension().is_some_and(|end| end == BLOCK)
        && path.file_stem().is_some_and(|stem| is_key(&stem.to_string_lossy()));
    let about = file.metadata().ok().filter(|about| is_block && about.is_file())?;
    Some(Entry { path, n_bytes: about.len(), used: about.modified().unwrap_or(SystemTime::UNIX_EPOCH) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_of_ours_is_removed_and_one_of_others_is_not_seen() {
        let place = tempfile::tempdir().unwrap();
        let ours = place.path().join("0123456789abcdef0123456789abcdef");
        fs::create_dir(&ours).unwrap();
        fs::create_dir(place.path().join("theirs")).unwrap();
        let folder = Folder::new(place.path().into());
        let shelves = folder.shelves().unwrap();
        assert_eq!(shelves.len(), 1);
        assert_eq!(folder.remove(&shelves[0]).unwrap(), [""; 0]);
        assert!(!ours.exists() && folder.shelves().unwrap().is_empty());
        // What somebody else wrote there makes it theirs; what is left of ours does not.
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join("notes"), "").unwrap();
        fs::create_dir(place.path().join("0123456789ABCDEF0123456789ABCDEF")).unwrap();
        assert!(folder.shelves().unwrap().is_empty());
        fs::write(ours.join(FILES), "").unwrap();
        let shelves = folder.shelves().unwrap();
        assert_eq!(folder.remove(&shelves[0]).unwrap(), ["notes"]);
        assert!(ours.join("notes").exists() && !ours.join(FILES).exists());
    }
}
