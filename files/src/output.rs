//! A file that exists under its name only when it is whole.
//!
//! While it is written it has a name of its own beside its place, which nobody else has, and a lock. A run that was killed
//! leaves both the name and no lock; the next one that writes the same file removes it. Whatever lies there under other
//! names is left alone.

mod folder;

pub use folder::PartFolder;

use crate::disk;
use crate::part::{self, Part};
use crate::writing::Disk;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was not written. No variant leaves one behind, but for those whose file is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The operating system refused something.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file to be written is there already.
    #[error("{}: the file exists; give another name, or --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The file to be written is read, too.
    #[error("{}: would overwrite the input {}; give another name", .path.display(), .input.display())]
    IsInput {
        /// The file.
        path: PathBuf,
        /// What it is read as.
        input: PathBuf,
    },
    /// `-` where a file is to be.
    #[error(
        "-: expected the name of a file to write, which standard output is not; give a name (./- for a file that is called -)"
    )]
    StandardOutput,
    /// No file can have this name there.
    #[error("{}: cannot write a file of this name: {source}; give another name", .path.display())]
    NoSuchName {
        /// The name.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A pipe or a device where a file is to be.
    #[error("{}: cannot write here: this is a pipe or a device; give another name", .0.display())]
    NotAFile(PathBuf),
    /// The name was free at the beginning and taken at the end.
    #[error(
        "{}: another file took this name in the meantime; the result was saved as {}",
        .path.display(), .kept.display()
    )]
    Taken {
        /// The name.
        path: PathBuf,
        /// Where the finished file is.
        kept: PathBuf,
    },
    /// The file is whole and cannot have its name.
    #[error(
        "{}: the file is complete, but cannot have this name: {source}; it was saved as {}: rename it",
        .path.display(), .kept.display()
    )]
    NotRenamed {
        /// The name.
        path: PathBuf,
        /// Where the finished file is.
        kept: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is there, but a power cut may take its name away.
    #[error("{}: the file is complete, but its directory entry could not be flushed to disk: {source}; check the disk", .path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// More bytes than a file may have.
    #[error(
        "{}: a file of {needed} bytes is too large for this disk or its limit; write to another disk (FAT32 has at most 4 GiB), or raise the \
         limit (ulimit -f)", .path.display()
    )]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Size of the whole file.
        needed: u64,
    },
    /// The folder to be written is not empty.
    #[error("{}: the folder is in use; give another name, or remove it if it is the remains of an earlier run", .0.display())]
    FolderInUse(PathBuf),
    /// Another process writes the same file.
    #[error("{}: another process is writing this file; wait for it or give another name", .0.display())]
    Busy(PathBuf),
    /// There is not enough room.
    #[error("{}: {needed} bytes are needed and {available} are available; free {} bytes, or choose another disk", .path.display(), .needed.saturating_sub(*.available))]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Size of the whole file.
        needed: u64,
        /// Free on that file system.
        available: u64,
    },
    /// Whoever writes was asked to stop.
    #[error("interrupted; unfinished files were removed")]
    Interrupted,
}

impl WriteError {
    /// For `map_err` on a system call.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
        let path = path.to_owned();
        move |source| WriteError::Io { action, path, source }
    }
}

/// Where a file is to be written, and what must not happen there.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub path: PathBuf,
    /// A file of that name gives way, at the end.
    pub replace: bool,
    /// What is read meanwhile: none of these is written over, whatever is to give way.
    pub inputs: Vec<PathBuf>,
    /// What it is written to.
    pub disk: Disk,
    /// The folder is this run's own, and held by it: nobody else begins a file there or left one.
    pub own_folder: bool,
}

impl Target {
    /// A new file of this name.
    pub fn new(path: PathBuf) -> Target {
        Target { path, replace: false, inputs: Vec::new(), disk: Disk::SYSTEM, own_folder: false }
    }

    /// Whether the file may be written, asked before hours are spent on it. Gives its place, which is another one than its
    /// name says where a link is to be written through.
    ///
    /// # Errors
    /// If something has the name that may not give way.
    pub fn check(&self) -> Result<PathBuf, WriteError> {
        // Elsewhere that stands for standard output, which cannot be written to at many places at once.
        if self.path.as_os_str() == "-" {
            return Err(WriteError::StandardOutput);
        }
        if let Some(input) = self.inputs.iter().find(|input| disk::same_file(input, &self.path)) {
            return Err(WriteError::IsInput { path: self.path.clone(), input: input.clone() });
        }
        let is_folder = |path: &Path| path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if is_folder(&self.path) || self.path.file_name().is_none() {
            let file = self.path.join("NAME");
            let found = format!("it is a folder (a file in it would be {})", file.display());
            let found = if self.path.as_os_str().is_empty() { "it is empty".to_owned() } else { found };
            let source = io::Error::new(io::ErrorKind::IsADirectory, found);
            return Err(WriteError::NoSuchName { path: self.path.clone(), source });
        }
        let found = match fs::symlink_metadata(&self.path) {
            Ok(found) => found,
            // Nothing in the way; the folder is made, or missed, by whoever writes.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(self.path.clone());
            }
            // A name that is too long, or of a form that the disk cannot have: asked now, because the unfinished file has another.
            Err(source) => return Err(WriteError::NoSuchName { path: self.path.clone(), source }),
        };
        if fs::metadata(&self.path).is_ok_and(|about| !about.is_file()) {
            return Err(WriteError::NotAFile(self.path.clone()));
        }
        if !self.replace {
            return Err(WriteError::Exists(self.path.clone()));
        }
        // Who links a name to a larger disk wants the file there.
        let place = if found.is_symlink() { self.path.canonicalize().ok() } else { None };
        Ok(place.unwrap_or_else(|| self.path.clone()))
    }
}

/// A file on its way, removed unless it is finished. Threads write to it at their own offsets.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    part: Part,
    /// Where it goes.
    place: PathBuf,
    target: Target,
    bytes: u64,
}

impl PartFile {
    /// Creates the file with all the room it needs.
    ///
    /// # Errors
    /// If the name is taken, another process writes the same file, or there is no room.
    pub fn create(target: &Target, bytes: u64) -> Result<PartFile, WriteError> {
        let output = PartFile::open(target, bytes)?;
        // Asked first, because reserving too much fills the disk for a moment, and others write there too.
        PartFile::check_room(output.part.path(), bytes).map_err(|_| output.full())?;
        target.disk.reserve(&output.file, bytes).map_err(|e| output.explained(e))?;
        Ok(output)
    }

    /// Whether `bytes` fit on the file system that holds `path`.
    ///
    /// # Errors
    /// If they do not.
    pub fn check_room(path: &Path, bytes: u64) -> Result<(), WriteError> {
        match disk::available(path) {
            Some(available) if available < bytes => {
                Err(WriteError::DiskFull { path: path.to_owned(), needed: bytes, available })
            }
            _ => Ok(()),
        }
    }

    /// Creates the file as one hole.
    ///
    /// # Errors
    /// As [`PartFile::create`].
    pub fn create_sparse(target: &Target, bytes: u64) -> Result<PartFile, WriteError> {
        let output = PartFile::open(target, bytes)?;
        target.disk.set_len(&output.file, bytes).map_err(|e| output.explained(e))?;
        Ok(output)
    }

    fn open(target: &Target, bytes: u64) -> Result<PartFile, WriteError> {
        let place = target.check()?;
        let (part, file) = Part::file(&place, target.disk, target.own_folder)?;
        Ok(PartFile { file, part, place, target: target.clone(), bytes })
    }

    /// Where it is while it is written.
    pub fn path(&self) -> &Path {
        self.part.path()
    }

    /// Writes at an absolute offset.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        self.target.disk.write_all_at(&self.file, bytes, offset).map_err(|e| self.explained(e))
    }

    /// Makes the file durable and gives it its name, unless `stop` says no at the last moment.
    ///
    /// # Errors
    /// If the disk fails, or the file cannot have its name, or no longer: then it is whole, and has another one.
    pub fn finish(mut self, stop: impl Fn() -> bool) -> Result<(), WriteError> {
        let disk = self.target.disk;
        disk.sync(&self.file).map_err(|e| self.explained(e))?;
        if stop() {
            return Err(WriteError::Interrupted);
        }
        if !self.part.is(&self.file) {
            let source = io::Error::other("it was removed or replaced while it was written");
            return Err(WriteError::Io { action: "finish", path: self.part.path().to_owned(), source });
        }
        let rename = if self.target.replace { Disk::rename } else { Disk::rename_new };
        if let Err(error) = rename(disk, self.part.path(), &self.place) {
            return Err(self.under_another_name(error));
        }
        self.part.keep();
        disk::forget_cached(&self.file);
        disk.sync_folder(part::folder(&self.place))
            .map_err(|source| WriteError::NotDurable { path: self.target.path.clone(), source })
    }

    fn under_another_name(&mut self, why: io::Error) -> WriteError {
        let kept = self.part.keep_beside(&self.place, self.target.disk);
        let path = self.target.path.clone();
        if !self.target.replace && why.kind() == io::ErrorKind::AlreadyExists {
            WriteError::Taken { path, kept }
        } else {
            WriteError::NotRenamed { path, kept, source: why }
        }
    }

    fn explained(&self, error: io::Error) -> WriteError {
        match error.kind() {
            io::ErrorKind::StorageFull => {
                // What this file already holds is counted as free again; should that fail, the message is off by as much.
                let _ = self.file.set_len(0);
                self.full()
            }
            io::ErrorKind::FileTooLarge => {
                WriteError::FileTooLarge { path: self.target.path.clone(), needed: self.bytes }
            }
            _ => WriteError::Io { action: "write", path: self.target.path.clone(), source: error },
        }
    }

    fn full(&self) -> WriteError {
        let available = disk::available(self.part.path()).unwrap_or(0);
        WriteError::DiskFull { path: self.target.path.clone(), needed: self.bytes, available }
    }
}

/// Bytes that are written before the system is asked.
const BUFFER: usize = 1 << 20;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub struct Appending {
    part: PartFile,
    buffer: Vec<u8>,
    /// Bytes written before those in the buffer.
    written: u64,
}

impl Appending {
    /// Begins with an empty file that has all the room it needs.
    ///
    /// # Errors
    /// As [`PartFile::create`].
    pub fn create(target: &Target, bytes: u64) -> Result<Appending, WriteError> {
        Ok(Appending { part: PartFile::create(target, bytes)?, buffer: Vec::new(), written: 0 })
    }

    /// Where it is while it is written.
    pub fn path(&self) -> &Path {
        self.part.path()
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.part.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// As [`PartFile::finish`].
    ///
    /// # Errors
    /// As it has.
    pub fn finish(mut self, stop: impl Fn() -> bool) -> Result<(), WriteError> {
        self.flush()?;
        self.part.finish(stop)
    }
}

#[cfg(test)]
mod tests;
