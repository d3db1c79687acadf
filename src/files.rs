//! Files that people name: what [`input`] reads, with the place in front of what it says.

use fathom_quantize::input;
use std::path::Path;

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// Where, what was expected, what was found.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    input::read(path, most).map_err(|error| at(path, &error))
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
