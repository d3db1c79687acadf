//! Reading what a person names: never without end, never waiting for nobody.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read. Where it lies and what to do about it says whoever wanted it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("{}", in_words(.0))]
    Io(#[from] io::Error),
    /// Something else than a file.
    #[error("expected a file, found {0}")]
    NotAFile(&'static str),
    /// It does not end where such files do.
    #[error("expected at most {limit} bytes, found {}", found.map_or("more".to_owned(), |n| n.to_string()))]
    TooLarge {
        /// The most that is read.
        limit: u64,
        /// What it says that it has; nothing where that cannot be asked, or is not so.
        found: Option<u64>,
    },
    /// A pipe with a name, and no writer.
    #[error("expected text, found a pipe that nobody writes to")]
    Silent,
}

/// What some editors put before a text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Takes the mark away from a file's bytes; it is no part of the text.
pub fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    bytes
}

/// What the system says, without the number of the error, which says nothing more.
pub fn in_words(error: &io::Error) -> String {
    let told = error.to_string();
    match (told.rfind(" (os error "), error.raw_os_error()) {
        (Some(number), Some(_)) => told[..number].to_owned(),
        _ => told,
    }
}

impl ReadError {
    /// Whether there is nothing of that name.
    pub fn is_missing(&self) -> bool {
        matches!(self, ReadError::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> io::Error {
        match error {
            ReadError::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// Opens a file on a disk; anything else is refused, and not waited for.
///
/// # Errors
/// What the system says, or that it is no file.
pub fn open(path: &Path) -> Result<File, ReadError> {
    let (file, about) = open_any(path)?;
    if about.is_file() { Ok(file) } else { Err(ReadError::NotAFile(kind(about.file_type()))) }
}

/// Reads a file on a disk that has at most `limit` bytes.
///
/// # Errors
/// What the system says, that it is no file or a larger one.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, about) = open_any(path)?;
    if about.is_file() {
        read_file(file, &about, limit)
    } else {
        Err(ReadError::NotAFile(kind(about.file_type())))
    }
}

/// The same, and what else a shell hands over as a file: a pipe (`<(command)`), a terminal, `/dev/null`.
///
/// # Errors
/// What the system says, another device, more than `limit` bytes, a pipe that nobody opens for writing.
pub fn read_or_pipe(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, about) = open_any(path)?;
    if about.is_file() { read_file(file, &about, limit) } else { pipe::read(file, about.file_type(), limit) }
}

/// Reads to the end of a stream that gives at most `limit` bytes.
///
/// # Errors
/// What the system says, or that there are more.
pub fn read_stream(stream: impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    stream.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit, found: None }) } else { Ok(bytes) }
}

fn read_file(file: File, about: &Metadata, limit: u64) -> Result<Vec<u8>, ReadError> {
    if about.len() > limit {
        return Err(ReadError::TooLarge { limit, found: Some(about.len()) });
    }
    read_stream(file, limit)
}

/// Opens whatever is there, without waiting for the other end of a pipe.
fn open_any(path: &Path) -> Result<(File, Metadata), ReadError> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // A terminal that is opened must not become this program's own.
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ReadError::NotAFile("a folder"));
    }
    Ok((file, about))
}

#[cfg(unix)]
fn kind(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "something else" }
}

#[cfg(unix)]
mod pipe {
    use super::{File, FileType, Read, ReadError, kind, read_stream};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use std::io::{self, ErrorKind, IsTerminal};
    use std::os::unix::fs::FileTypeExt;

    /// So long a pipe with a name may have no writer: who starts one beside this program does it sooner.
    const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

    pub(super) fn read(file: File, is: FileType, limit: u64) -> Result<Vec<u8>, ReadError> {
        if is.is_fifo() || file.is_terminal() {
            let mut first = [0];
            let mut n_first = 0;
            if !wait(&file, Some(&PATIENCE))? && !file.is_terminal() {
                // Nothing so far: without a writer that is the end; one that takes its time is waited for.
                n_first = match (&file).read(&mut first) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Ok(0) => return Err(ReadError::Silent),
                    read => read?,
                };
            }
            return read_stream(first[..n_first].chain(Waiting(&file)), limit);
        }
        // Of devices only those are read that have nothing to say, as /dev/null.
        match (&file).read(&mut [0]) {
            Ok(0) if is.is_char_device() => Ok(Vec::new()),
            _ => Err(ReadError::NotAFile(kind(is))),
        }
    }

    /// Whether there is something to read, or an end of it.
    fn wait(file: &File, patience: Option<&Timespec>) -> io::Result<bool> {
        loop {
            match poll(&mut [PollFd::new(file, PollFlags::IN)], patience) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }

    /// A file that says so instead of waiting, as one that waits.
    struct Waiting<'f>(&'f File);

    impl Read for Waiting<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            loop {
                match self.0.read(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => wait(self.0, None)?,
                    done => return done,
                };
            }
        }
    }
}

#[cfg(not(unix))]
mod pipe {
    use super::{File, FileType, ReadError, kind};

    pub(super) fn read(_file: File, is: FileType, _limit: u64) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::NotAFile(kind(is)))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn fifo(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn files_end_at_the_limit_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        for error in [read(&path, 4).unwrap_err(), read_or_pipe(&path, 4).unwrap_err()] {
            assert_eq!(error.to_string(), "expected at most 4 bytes, found 5");
        }
        // Says that it is empty, and is not.
        #[cfg(target_os = "linux")]
        assert!(read(Path::new("/proc/self/status"), 5).unwrap_err().to_string().contains("found more"));
        let missing = read(&folder.path().join("none"), 5).unwrap_err();
        assert!(missing.is_missing() && missing.to_string() == "No such file or directory", "{missing}");
        let pipe = fifo(folder.path());
        for (path, found) in [
            (folder.path(), "a folder"),
            (&pipe, "a pipe"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let error = read(path, 5).unwrap_err().to_string();
            assert!(error.contains(found), "{}: {error}", path.display());
            assert!(open(path).is_err());
        }
        assert_eq!(read_or_pipe(Path::new("/dev/null"), 5).unwrap(), b"");
        assert!(matches!(read_or_pipe(Path::new("/dev/zero"), 5), Err(ReadError::NotAFile("a device"))));
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_one_without_a_writer_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let started = Instant::now();
        assert!(matches!(read_or_pipe(&path, 99), Err(ReadError::Silent)));
        assert!(started.elapsed() < Duration::from_secs(60));
        for (limit, expected) in [(99, Some("one two")), (6, None)] {
            let to = path.clone();
            let writer = std::thread::spawn(move || {
                let mut file = File::options().write(true).open(to).unwrap();
                file.write_all(b"one ").unwrap();
                std::thread::sleep(Duration::from_millis(50));
                // Whoever found too much may be gone.
                let _ = file.write_all(b"two");
            });
            let found = read_or_pipe(&path, limit);
            // A writer that nobody reads from waits for a reader. Opened for both, nothing here waits.
            let reader = File::options().read(true).write(true).open(&path).unwrap();
            writer.join().unwrap();
            drop(reader);
            match expected {
                Some(text) => assert_eq!(found.unwrap(), text.as_bytes()),
                None => assert!(matches!(found, Err(ReadError::TooLarge { limit: 6, found: None }))),
            }
        }
    }
}
