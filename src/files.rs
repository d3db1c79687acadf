//! Files that people name: what [`input`] reads, with the place in front of what it says.

use fathom_files::input::{self, ReadError};
use fathom_files::json;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::string::FromUtf8Error;

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// Where, what was expected, what was found.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    input::read(path, most).map_err(|error| at(path, &error))
}

/// What a JSON file of at most `most` bytes holds.
///
/// # Errors
/// The same, with what was `expected` where there is something else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, most: u64, expected: &str) -> Result<T, String> {
    as_json(path, input::read(path, most), expected)
}

/// The same where a shell may hand over a pipe for the file.
///
/// # Errors
/// The same.
pub(crate) fn read_json_or_pipe<T: DeserializeOwned>(
    path: &Path,
    most: u64,
    expected: &str,
) -> Result<T, String> {
    as_json(path, input::read_or_pipe(path, most), expected)
}

fn as_json<T: DeserializeOwned>(
    path: &Path,
    read: Result<Vec<u8>, ReadError>,
    expected: &str,
) -> Result<T, String> {
    let bytes = read.map_err(|error| at(path, &error))?;
    json::read(&bytes).map_err(|found| at(path, &format_args!("expected {expected}, found {found}")))
}

/// What a text file's bytes say; the mark that some editors put before them is no part of it.
///
/// # Errors
/// Other bytes than UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    String::from_utf8(input::without_mark(bytes))
}

/// How many bytes a regular file says it has.
///
/// # Errors
/// What cannot be read.
pub(crate) fn size(path: &Path) -> Result<u64, String> {
    let file = input::open(path).map_err(|error| at(path, &error))?;
    file.metadata().map(|about| about.len()).map_err(|error| at(path, &error))
}

fn at(path: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("{}: {problem}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!((read(&path, 5), size(&path)), (Ok(b"12345".to_vec()), Ok(5)));
        assert!(read(&path, 4).unwrap_err().contains("at most 4 bytes, found 5"));
        assert!(read(folder.path(), 5).unwrap_err().contains("found a folder"));
        assert!(size(&folder.path().join("none")).unwrap_err().contains("none: "));
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(text(b"\xef\xbb\xbfhello".to_vec()).as_deref(), Ok("hello"));
        assert_eq!(text("\u{feff}\u{feff}".into()).as_deref(), Ok("\u{feff}"));
        assert!(text(b"\xef\xbb".to_vec()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_and_wait_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe, 5).unwrap_err().contains("pipe: expected a file, found a pipe"));
        assert!(read(Path::new("/dev/zero"), 5).unwrap_err().contains("found a device"));
        // Says that it is empty, and is not.
        #[cfg(target_os = "linux")]
        assert!(read(Path::new("/proc/self/status"), 5).unwrap_err().contains("found more"));
    }
}
