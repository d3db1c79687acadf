//! The file of lines that were typed before, in the form of the line editor.
//!
//! It is read and written here: the editor waits for whoever keeps it locked, and empties the file before it writes it anew, so
//! that a full disk would take all of it.

use crate::cli::show::aside;
use fathom_files::input;
use fathom_files::writing::Disk;
use rustyline::history::{FileHistory, History};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Lines that the editor has.
pub(super) const MOST: usize = 2000;
/// Other chats need the file for a moment. Who keeps it longer holds nobody up.
const PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(5);
/// Nobody typed more.
const LARGEST: u64 = 256 << 20;
/// The first line of a file in which backslashes and ends of lines are escaped.
const FORM: &str = "#V2";

/// Reads the lines, if there are any yet. A file with bytes that are no text is mended, which is told. Nobody is waited for: the
/// editor's own reading would wait for whoever keeps the file locked.
///
/// # Errors
/// What is no file that lines can be kept in, and why.
pub(super) fn load(lines: &mut FileHistory, path: &Path) -> Result<(), String> {
    let bytes = match input::read(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => {
            if tidied(&text) != text {
                // A file that cannot be made shorter can be used all the same.
                let _ = tidy(Disk::SYSTEM, path);
            }
            text
        }
        Err(damaged) => {
            tidy(Disk::SYSTEM, path).map_err(|error| error.to_string())?;
            aside(&format!(
                "note: {}: expected UTF-8, found other bytes; they are replaced, so that the history can be used again",
                path.display()
            ));
            String::from_utf8_lossy(damaged.as_bytes()).into_owned()
        }
    };
    let (is_todays, kept) = taken_apart(&text);
    for line in kept.lines().filter(|line| !line.is_empty()) {
        let line = if is_todays { unescaped(line) } else { line.to_owned() };
        lines.add_owned(line).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Adds what was typed at the end. If that fails, the file is as it was.
///
/// # Errors
/// What the system says.
pub(super) fn append(disk: Disk, path: &Path, typed: &str) -> io::Result<()> {
    let mut file = open_alone(path)?;
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::Start(len - 1))?;
        file.read_exact(&mut last)?;
    }
    let before = match (len, last) {
        (0, _) => format!("{FORM}\n"),
        (_, [b'\n']) => String::new(),
        // Somebody was stopped in the middle of a line.
        _ => "\n".to_owned(),
    };
    let text = format!("{before}{}\n", escaped(typed));
    disk.write_all_at(&file, text.as_bytes(), len).inspect_err(|_| {
        // What cannot be taken back is a line of its own for the next who writes.
        let _ = file.set_len(len);
    })
}

fn escaped(line: &str) -> String {
    line.replace('\\', r"\\").replace('\n', r"\n")
}

/// What is not escaped as it should be is what somebody typed.
fn unescaped(line: &str) -> String {
    let mut meant = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, (letter == '\\').then(|| letters.next())) {
            (_, None) => meant.push(letter),
            (_, Some(Some('n'))) => meant.push('\n'),
            (_, Some(Some('\\'))) => meant.push('\\'),
            _ => return line.to_owned(),
        }
    }
    meant
}

/// Whether a file has today's form, and its lines.
fn taken_apart(text: &str) -> (bool, &str) {
    match text.split_once('\n') {
        Some((FORM, lines)) => (true, lines),
        _ => (false, text),
    }
}

/// Opens the file, or makes it, for nobody else to read. Other chats that write it wait meanwhile.
fn open_alone(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => sleep(TICK),
            // Where there are no locks everybody goes on without.
            Ok(()) | Err(TryLockError::Error(_)) if has_the_name(&file, path) => return Ok(file),
            // Another chat has just put a new one in its place.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
    }
    Err(io::Error::new(
        ErrorKind::ResourceBusy,
        "another program keeps it locked, or replaces it again and again",
    ))
}

/// The new file belongs to whom the old one did, also where somebody else (root) puts it in its place.
#[cfg(unix)]
fn stay_theirs(file: &File, new: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let (before, now) = (file.metadata()?, new.metadata()?);
    let owner = (before.uid(), before.gid());
    if owner == (now.uid(), now.gid()) { Ok(()) } else { fchown(new, Some(owner.0), Some(owner.1)) }
}

#[cfg(not(unix))]
fn stay_theirs(_file: &File, _new: &File) -> io::Result<()> {
    Ok(())
}

/// Whether another chat has not put a new file in its place.
#[cfg(unix)]
fn has_the_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |about: std::fs::Metadata| (about.dev(), about.ino());
    file.metadata().map(number).ok() == std::fs::metadata(path).map(number).ok()
}

#[cfg(not(unix))]
fn has_the_name(_file: &File, _path: &Path) -> bool {
    true
}

/// Puts a file in its place that has only text, in today's form, and not many more lines than anybody reads. It is whole at any
/// moment.
fn tidy(disk: Disk, path: &Path) -> io::Result<()> {
    let file = open_alone(path)?;
    let bytes = input::read_stream(&file, LARGEST).map_err(|error| io::Error::other(error.to_string()))?;
    let text = tidied(&String::from_utf8_lossy(&bytes));
    if text.as_bytes() == bytes {
        return Ok(());
    }
    // A link is written through.
    let place = path.canonicalize()?;
    let folder = place.parent().unwrap_or(Path::new("."));
    let part = disk.private_part(folder, text.as_bytes())?;
    // Where these cannot be kept, the lines are there all the same.
    let _ = stay_theirs(&file, part.as_file());
    let _ = part.as_file().set_permissions(file.metadata()?.permissions());
    disk.rename(part.path(), &place)?;
    // What was a part is found under its name.
    let _ = part.into_temp_path().keep();
    Ok(())
}

fn tidied(text: &str) -> String {
    let (is_todays, lines) = taken_apart(text);
    let n_over = match lines.lines().count() {
        // Not with every start.
        n if n > 2 * MOST => n - MOST,
        _ => 0,
    };
    if is_todays && n_over == 0 {
        return text.to_owned();
    }
    let mut tidied = format!("{FORM}\n");
    for line in lines.lines().skip(n_over) {
        tidied += &if is_todays { line.to_owned() } else { escaped(line) };
        tidied.push('\n');
    }
    tidied
}

#[cfg(test)]
mod tests;
