//! The small files of a checkpoint (JSON and templates), as they lie on people's disks: with a byte order mark, as a pointer or a
//! page that stands for the file, as a pipe that would block, or endless.

use crate::error::Error;
use fathom_files::input::{self, ReadError};
use fathom_gguf::StandIn;
use std::io::ErrorKind;
use std::path::Path;

/// V3.2's tokenizer.json has 8 MB, an index 10 MB.
const MOST_BYTES: u64 = 512 << 20;

/// The file's text, without a byte order mark; `None` where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |found: String| Error::NotText { path: path.to_owned(), found };
    let text = match input::read(path, MOST_BYTES) {
        Ok(text) => text,
        Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(ReadError::Io(error)) => return Err(Error::io("read", path)(error)),
        Err(ReadError::NotAFile(found)) => return Err(wrong(found.to_owned())),
        Err(ReadError::TooLarge { found, .. }) => {
            let n_bytes = found.unwrap_or(MOST_BYTES);
            return Err(wrong(format!("{n_bytes} bytes, too large for such a file")));
        }
        Err(error @ ReadError::Silent) => return Err(wrong(error.to_string())),
    };
    if text.is_empty() {
        return Err(wrong("an empty file: download it again, or remove it if it is not needed".to_owned()));
    }
    if let Some(stand_in) = StandIn::of(&text) {
        return Err(wrong(stand_in.to_string()));
    }
    Ok(Some(input::without_mark(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_mark_is_taken_and_what_is_no_text_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.json");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"{}");
        fs::write(&path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("git lfs pull"));
        fs::write(&path, b"").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("an empty file"));
        File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("too large for such a file"));
        assert!(read(temp.path()).unwrap_err().to_string().contains("a folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_does_not_block() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.json");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(read(&path).unwrap_err().to_string().contains("a pipe"));
    }
}
