//! The file of lines that were typed before, as the line editor writes it.

use crate::cli::show::aside;
use fathom_quantize::input;
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History};
use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::path::Path;

/// Nobody typed more.
const LARGEST: u64 = 256 << 20;

/// Reads the lines, if there are any yet. A file with bytes that are no text is mended, which is told.
///
/// # Errors
/// What is no file that lines can be kept in, and why.
pub(super) fn load(lines: &mut FileHistory, path: &Path) -> Result<(), String> {
    match input::open(path) {
        Ok(_) => {}
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    let is_damage = |error: &ReadlineError| matches!(error, ReadlineError::Io(error) if error.kind() == ErrorKind::InvalidData);
    match lines.load(path) {
        Ok(()) => Ok(()),
        Err(error) if is_damage(&error) => {
            mend(path)?;
            aside(&format!(
                "note: {}: expected UTF-8, found other bytes; they are replaced, so that the history can be used again",
                path.display()
            ));
            lines.clear().and_then(|()| lines.load(path)).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Puts a mark in the place of what is no text. Other chats, which write the file at other times, wait meanwhile.
fn mend(path: &Path) -> Result<(), String> {
    let mended = || -> Result<(), input::ReadError> {
        let mut file = File::options().read(true).write(true).open(path)?;
        file.lock()?;
        let bytes = input::read_stream(&file, LARGEST)?;
        let text = String::from_utf8_lossy(&bytes);
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        Ok(file.set_len(text.len() as u64)?)
    };
    mended().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Result<Vec<String>, String> {
        let mut lines = FileHistory::new();
        load(&mut lines, path)?;
        Ok(lines.iter().cloned().collect())
    }

    #[test]
    fn a_damaged_file_is_mended_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        assert_eq!(lines(&path), Ok(vec![]), "none yet");
        for (damaged, mended) in [
            (&b"#V2\none\ntw\xffo\nthree\n"[..], "#V2\none\ntw\u{fffd}o\nthree\n"),
            (b"\xf0\x9f\x98\nx\n", "\u{fffd}\nx\n"),
        ] {
            std::fs::write(&path, damaged).unwrap();
            let read = lines(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), mended);
            assert_eq!(read, mended.lines().filter(|line| *line != "#V2").collect::<Vec<_>>());
            let mut more = FileHistory::new();
            load(&mut more, &path).unwrap();
            more.add("four").unwrap();
            more.append(&path).unwrap();
            assert_eq!(lines(&path).unwrap().last().map(String::as_str), Some("four"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("history");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(lines(&pipe), Err("expected a file, found a pipe".to_owned()));
        assert_eq!(lines(folder.path()), Err("expected a file, found a folder".to_owned()));
        assert_eq!(lines(Path::new("/dev/zero")), Err("expected a file, found a device".to_owned()));
    }
}
