//! Names of what is not whole yet, and whose they are.

use crate::disk;
use crate::input;
use crate::output::WriteError;
use crate::writing::Disk;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer names have no room for an ending.
const LONGEST_NAME: usize = 230;
/// How often a folder's lock is asked for, which others hold for less than a millisecond.
const TRIES: u32 = 200;

/// Something that is written under a name of its own, and removed unless it is kept.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    /// Held as long as it is written. For a file it is the file's own.
    lock: Option<File>,
    is_folder: bool,
    kept: bool,
}

impl Part {
    /// A new file beside `place`, empty and locked; in a folder of this run's `own` there is nobody to look out for, and the
    /// folder's lock is this run's already.
    pub fn file(place: &Path, to: Disk, own: bool) -> Result<(Part, File), WriteError> {
        let _one_at_a_time = if own { None } else { lock_folder(folder(place)) };
        if !own {
            sweep(place)?;
        }
        loop {
            let path = new_path(place);
            let file = match to.create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(WriteError::io("create", place))?,
            };
            let part = Part { path, lock: None, is_folder: false, kept: false };
            match file.try_lock() {
                // Another run took it for the remains of a killed one, before it was locked.
                Err(TryLockError::WouldBlock) => {}
                _ if !part.is(&file) => {}
                // File systems without locks: go on without.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok((part, file)),
            }
        }
    }

    /// A new folder beside `place`, empty and locked.
    pub fn folder(place: &Path) -> Result<Part, WriteError> {
        let parent = folder(place);
        fs::create_dir_all(parent).map_err(WriteError::io("create", parent))?;
        let _one_at_a_time = lock_folder(parent);
        sweep(place)?;
        let path = new_path(place);
        fs::create_dir(&path).map_err(WriteError::io("create", place))?;
        let lock = File::open(&path).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(Part { path, lock, is_folder: true, kept: false })
    }

    /// The name that it has meanwhile.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its name still leads to this file.
    pub fn is(&self, file: &File) -> bool {
        disk::is_still(&self.path, file)
    }

    /// Keeps it beside `place`, whose name it cannot have: what took hours is not thrown away because of a name. It gets a free one,
    /// which no later run takes for remains, or stays under the one it has.
    pub fn keep_beside(&mut self, place: &Path, disk: Disk) -> PathBuf {
        self.keep();
        for number in 1..1000 {
            let kept = beside(place, &format!(".new-{number}"));
            match disk.rename_new(&self.path, &kept) {
                Ok(()) => return kept,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
        self.path.clone()
    }

    /// It has another name now.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing better can be done with a failure here: the reason for stopping is on its way already.
            let _ = if self.is_folder { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        }
        drop(self.lock.take());
    }
}

/// The folder that a path lies in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Keeps other runs from looking for remains and from beginning meanwhile. Not every file system has locks for folders, and
/// the folder may be somebody's who keeps it locked: then two runs that begin in the same moment both write, each its own file.
fn lock_folder(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    for _ in 0..TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Removes what killed runs left of `place`.
fn sweep(place: &Path) -> Result<(), WriteError> {
    let target = name(place);
    for entry in fs::read_dir(folder(place)).into_iter().flatten().flatten() {
        if !is_part_of(&entry.file_name(), target) {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let opened = if is_folder { File::open(&path).ok() } else { input::open(&path).ok() };
        let Some(file) = opened else { continue };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(WriteError::Busy(place.to_owned())),
            // Who knows whether somebody writes it.
            Err(TryLockError::Error(_)) => {}
            Ok(()) if !disk::is_still(&path, &file) => {}
            Ok(()) => {
                // What cannot be removed now is asked for the next time again.
                let _ = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
        }
    }
    Ok(())
}

fn name(place: &Path) -> &OsStr {
    place.file_name().unwrap_or_default()
}

fn new_path(place: &Path) -> PathBuf {
    // The standard library's own random numbers: keys of its tables.
    let random = RandomState::new().hash_one(std::process::id()) as u32;
    folder(place).join(part_name(name(place), random))
}

/// `NAME.part-` and 16 digits. The last eight follow from everything before: nobody has such a name by chance.
fn part_name(target: &OsStr, random: u32) -> OsString {
    with_ending(target, &format!(".part-{random:08x}{:08x}", check(target, random)))
}

/// The place with another ending, in the same folder.
pub fn beside(place: &Path, ending: &str) -> PathBuf {
    folder(place).join(with_ending(name(place), ending))
}

fn with_ending(name: &OsStr, ending: &str) -> OsString {
    let is_long = name.len() > LONGEST_NAME;
    let mut name = if is_long { OsString::from("fathom") } else { name.to_owned() };
    name.push(ending);
    name
}

fn is_part_of(name: &OsStr, target: &OsStr) -> bool {
    let random = || {
        let name = name.to_string_lossy();
        u32::from_str_radix(name.rsplit_once(".part-")?.1.get(..8)?, 16).ok()
    };
    random().is_some_and(|random| name == part_name(target, random))
}

/// FNV-1a.
fn check(target: &OsStr, random: u32) -> u32 {
    let bytes = b"fathom".iter().chain(target.as_encoded_bytes()).copied().chain(random.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
