//! A file that exists under its name only when it is whole.

use crate::disk;
use crate::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// `NAME.part`, removed unless it is finished. Threads write to it at their own offsets.
///
/// A killed process leaves it behind; the next run takes it over, because nobody holds its lock.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    bytes: u64,
    replace: bool,
    finished: bool,
}

impl PartFile {
    /// Creates the file with all the room it needs. With `replace`, a finished file of that name gives way at the end.
    pub fn create(target: &Path, bytes: u64, replace: bool) -> Result<PartFile, Error> {
        let output = PartFile::open(target, bytes, replace)?;
        // Asked first, because reserving too much fills the disk for a moment, and others write there too.
        PartFile::check_room(&output.part, bytes).map_err(|_| output.full())?;
        disk::reserve(&output.file, bytes).map_err(|e| output.explained(e))?;
        Ok(output)
    }

    /// Whether `bytes` fit on the file system that holds `path`.
    pub fn check_room(path: &Path, bytes: u64) -> Result<(), Error> {
        match disk::available(path) {
            Some(available) if available < bytes => {
                Err(Error::DiskFull { path: path.to_owned(), needed: bytes, available })
            }
            _ => Ok(()),
        }
    }

    /// Creates the file as one hole.
    pub fn create_sparse(target: &Path, bytes: u64, replace: bool) -> Result<PartFile, Error> {
        let output = PartFile::open(target, bytes, replace)?;
        output.file.set_len(bytes).map_err(|e| output.explained(e))?;
        Ok(output)
    }

    fn open(target: &Path, bytes: u64, replace: bool) -> Result<PartFile, Error> {
        if target.is_dir() {
            return Err(Error::Io {
                action: "write to",
                path: target.to_owned(),
                source: io::ErrorKind::IsADirectory.into(),
            });
        }
        if !replace && target.exists() {
            return Err(Error::Exists(target.to_owned()));
        }
        let mut name = OsString::from(target);
        name.push(".part");
        let part = PathBuf::from(name);
        // Not truncated yet: it may be another process's.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(Error::io("create", &part))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(target.to_owned())),
            // File systems without locks: go on without.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let output = PartFile { file, part, target: target.to_owned(), bytes, replace, finished: false };
        output.file.set_len(0).map_err(Error::io("empty", &output.part))?;
        Ok(output)
    }

    /// Writes at an absolute offset.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        disk::write_all_at(&self.file, bytes, offset).map_err(|e| self.explained(e))
    }

    /// Makes the file durable and gives it its name, unless `stop` says no at the last moment.
    pub fn finish(mut self, stop: impl Fn() -> bool) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| self.explained(e))?;
        if stop() {
            return Err(Error::Interrupted);
        }
        if !self.replace && self.target.exists() {
            return Err(Error::Exists(self.target.clone()));
        }
        fs::rename(&self.part, &self.target)
            .map_err(Error::io("rename the finished file to", &self.target))?;
        self.finished = true;
        disk::forget_cached(&self.file);
        sync_folder(&self.target)
    }

    fn explained(&self, error: io::Error) -> Error {
        if error.kind() != io::ErrorKind::StorageFull {
            return Error::Io { action: "write", path: self.part.clone(), source: error };
        }
        // What this file already holds is counted as free again; should that fail, the message is off by as much.
        let _ = self.file.set_len(0);
        self.full()
    }

    fn full(&self) -> Error {
        let available = disk::available(&self.part).unwrap_or(0);
        Error::DiskFull { path: self.target.clone(), needed: self.bytes, available }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing better can be done with a failure here: the reason for stopping is on its way already.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// A rename is durable only when its folder is.
#[cfg(unix)]
fn sync_folder(file: &Path) -> Result<(), Error> {
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("make durable", folder))
}

#[cfg(not(unix))]
fn sync_folder(_file: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_appears_when_the_file_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("a.gguf");
        let output = PartFile::create(&target, 6, false).unwrap();
        output.write_at(b"def", 3).unwrap();
        output.write_at(b"abc", 0).unwrap();
        assert_eq!(names(temp.path()), ["a.gguf.part"]);
        output.finish(|| false).unwrap();
        assert_eq!(names(temp.path()), ["a.gguf"]);
        assert_eq!(fs::read(&target).unwrap(), b"abcdef");
    }

    #[test]
    fn what_is_not_finished_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("a.gguf");
        drop(PartFile::create(&target, 6, false).unwrap());
        assert!(names(temp.path()).is_empty());
        let interrupted = PartFile::create(&target, 6, false).unwrap().finish(|| true).unwrap_err();
        assert!(matches!(interrupted, Error::Interrupted));
        assert!(names(temp.path()).is_empty());
    }

    #[test]
    fn an_existing_file_is_replaced_only_on_request() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("a.gguf");
        fs::write(&target, "old").unwrap();
        assert!(matches!(PartFile::create(&target, 3, false), Err(Error::Exists(_))));
        let output = PartFile::create(&target, 3, true).unwrap();
        output.write_at(b"new", 0).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        output.finish(|| false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn two_writers_do_not_meet_and_a_dead_ones_remains_are_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("a.gguf");
        fs::write(temp.path().join("a.gguf.part"), "remains of a killed process").unwrap();
        let first = PartFile::create(&target, 3, false).unwrap();
        assert!(matches!(PartFile::create(&target, 3, false), Err(Error::Busy(_))));
        assert_eq!(names(temp.path()), ["a.gguf.part"]);
        first.write_at(b"abc", 0).unwrap();
        first.finish(|| false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
    }

    #[test]
    fn too_large_a_file_is_refused_with_both_numbers() {
        let temp = tempfile::tempdir().unwrap();
        let needed = u64::MAX / 2;
        let error = PartFile::create(&temp.path().join("a.gguf"), needed, false).unwrap_err();
        assert!(names(temp.path()).is_empty());
        match error {
            Error::DiskFull { needed: found, available, .. } => {
                assert!(found == needed && available < needed)
            }
            // Where nobody can say how much room there is.
            Error::Io { .. } if !cfg!(unix) => {}
            other => panic!("{other}"),
        }
    }
}
