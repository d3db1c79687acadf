//! Files that people name: only regular ones are read, and no more of them than is of use. A named pipe would wait for a
//! writer, a device may have no end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// Where, what was expected, what was found.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let at = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let too_large = |found: &str| at(&format!("expected at most {most} bytes, found {found}"));
    let (file, about) = open(path)?;
    if about.len() > most {
        return Err(too_large(&about.len().to_string()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // Files of the system, and those that grow, have more than they say.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| at(&error))?;
    if bytes.len() as u64 > most {
        return Err(too_large("more"));
    }
    Ok(bytes)
}

/// How many bytes a regular file says it has.
///
/// # Errors
/// What cannot be read.
pub(crate) fn size(path: &Path) -> Result<u64, String> {
    open(path).map(|(_, about)| about.len())
}

fn open(path: &Path) -> Result<(File, Metadata), String> {
    let at = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let mut options = OpenOptions::new();
    options.read(true);
    // Opening a pipe or a device waits for nobody.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path).map_err(|error| at(&error))?;
    let about = file.metadata().map_err(|error| at(&error))?;
    match kind(&about) {
        None => Ok((file, about)),
        Some(kind) => Err(at(&format!("expected a regular file, found {kind}"))),
    }
}

/// What it is that is no regular file.
fn kind(about: &Metadata) -> Option<&'static str> {
    if about.is_file() {
        return None;
    }
    if about.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    Some("something else")
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
        assert!(read(&pipe, 5).unwrap_err().contains("pipe: expected a regular file, found a named pipe"));
        assert!(read(Path::new("/dev/zero"), 5).unwrap_err().contains("found a device"));
        // Says that it is empty, and is not.
        #[cfg(target_os = "linux")]
        assert!(read(Path::new("/proc/self/status"), 5).unwrap_err().contains("found more"));
    }
}
