//! Everything that is written goes through here, so that a test can let any one step of it fail.

use crate::disk;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::NamedTempFile;

/// What the names of unfinished files begin with.
pub const PART: &str = ".part-";

/// The disk, as those who write see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    faults: Option<&'static Faults>,
}

/// What fails, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no more room, now or later.
    Full,
    /// One step fails as on a damaged disk.
    Damaged,
    /// Half of what was to be written is, and then there is no more room.
    Short,
}

/// Counts steps, and says when one is to fail.
#[derive(Debug)]
pub struct Faults {
    fault: Fault,
    at: usize,
    done: AtomicUsize,
}

impl PartialEq for Disk {
    fn eq(&self, other: &Disk) -> bool {
        match (self.faults, other.faults) {
            (None, None) => true,
            (Some(one), Some(two)) => std::ptr::eq(one, two),
            _ => false,
        }
    }
}

impl Eq for Disk {}

impl Faults {
    /// Step `at`, from 0, fails. It lives as long as the program: a test makes a few hundred of them.
    pub fn at(at: usize, fault: Fault) -> &'static Faults {
        Box::leak(Box::new(Faults { fault, at, done: AtomicUsize::new(0) }))
    }

    /// Whether the step came that was to fail.
    pub fn happened(&self) -> bool {
        self.done.load(Ordering::Relaxed) > self.at
    }

    fn next(&self) -> Option<io::Error> {
        let step = self.done.fetch_add(1, Ordering::Relaxed);
        let fails = if self.fault == Fault::Damaged { step == self.at } else { step >= self.at };
        fails.then(|| match self.fault {
            Fault::Full | Fault::Short => ErrorKind::StorageFull.into(),
            Fault::Damaged => io::Error::other("Input/output error"),
        })
    }
}

impl Disk {
    /// The disk as it is.
    pub const SYSTEM: Disk = Disk { faults: None };

    /// A disk that fails as `faults` say.
    pub fn failing(faults: &'static Faults) -> Disk {
        Disk { faults: Some(faults) }
    }

    fn step(self) -> io::Result<()> {
        self.faults.and_then(Faults::next).map_or(Ok(()), Err)
    }

    /// An empty file without its name, which nobody else may read. It is removed unless it is renamed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn new_part(self, folder: &Path) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(PART).make_in(folder, |part| self.create_private(part))
    }

    /// The same with all of its bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn private_part(self, folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
        let part = self.new_part(folder)?;
        self.write_all(part.as_file(), bytes)?;
        self.sync(part.as_file())?;
        Ok(part)
    }

    /// How much of so many bytes is written before it fails, and how; nothing if it does not.
    fn cut(self, n_bytes: usize) -> Option<(usize, io::Error)> {
        let faults = self.faults?;
        let error = faults.next()?;
        Some((if faults.fault == Fault::Short { n_bytes / 2 } else { 0 }, error))
    }

    /// Makes a file that is not there yet. Whatever has its name, a link among it, is an error.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_new(self, path: &Path) -> io::Result<File> {
        self.step()?;
        File::create_new(path)
    }

    /// The same for a file that only its owner may read.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_private(self, path: &Path) -> io::Result<File> {
        self.step()?;
        let mut options = File::options();
        // What is read too can be locked on the file systems of networks.
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    }

    /// Makes a file as long as it will be, and takes the room for it where the file system can.
    ///
    /// # Errors
    /// What the system says.
    pub fn reserve(self, file: &File, n_bytes: u64) -> io::Result<()> {
        self.step()?;
        disk::reserve(file, n_bytes)
    }

    /// Makes a file as long as it will be; what is not written is a hole.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_len(self, file: &File, n_bytes: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(n_bytes)
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_all_at(self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some((n_written, error)) = self.cut(bytes.len()) {
            disk::write_all_at(file, &bytes[..n_written], offset)?;
            return Err(error);
        }
        disk::write_all_at(file, bytes, offset)
    }

    /// Writes all of `bytes` behind what was written before.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_all(self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        if let Some((n_written, error)) = self.cut(bytes.len()) {
            file.write_all(&bytes[..n_written])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    /// Waits until a file's bytes are on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_all()
    }

    /// Gives a file another name; a file that has it goes.
    ///
    /// # Errors
    /// What the system says.
    pub fn rename(self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    /// Gives a file another name, which nothing may have.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if something has it, or what the system says.
    pub fn rename_new(self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        disk::rename_new(from, to)
    }

    /// Makes what was done to names in a folder durable. Not every file system can.
    ///
    /// # Errors
    /// What the system says, unless it is that it cannot.
    pub fn sync_folder(self, folder: &Path) -> io::Result<()> {
        self.step()?;
        disk::sync_folder(folder)
    }
}
