//! A text in the person's own editor.

use crate::cli::signals;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempPath;

/// The text after the person has left the editor: VISUAL or EDITOR, which may have arguments, or else vi.
pub(super) fn edit(text: &str) -> Result<String, String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|name| !name.is_empty());
    let editor = named.unwrap_or_else(|| if cfg!(windows) { "notepad".into() } else { "vi".into() });
    let at = |error: std::io::Error| format!("a file for the editor: {error}");
    let mut file = tempfile::Builder::new().prefix("message-").suffix(".md").tempfile().map_err(at)?;
    file.write_all(text.as_bytes()).map_err(at)?;
    let path = file.into_temp_path();
    let edited = match run(editor, &path) {
        Ok(edited) => edited,
        Err(why) => return Err(keep_other(path, text).map_or(why.clone(), |there| format!("{why}; {there}"))),
    };
    // Editors end the last line.
    let ended = !text.ends_with('\n') && edited.ends_with('\n');
    Ok(if ended { edited[..edited.len() - 1].to_owned() } else { edited })
}

/// What the file says when the editor has ended well.
fn run(editor: OsString, path: &Path) -> Result<String, String> {
    let shown = editor.to_string_lossy().into_owned();
    match start(editor, path) {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("{shown} ended with {status}; the message is unchanged")),
        Err(error) => return Err(format!("{shown}: {error}; EDITOR names the editor to use")),
    }
    let bytes = std::fs::read(path).map_err(|error| format!("a file for the editor: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        format!("{shown}: expected UTF-8, found other bytes at byte {place}; the message is unchanged")
    })
}

/// What somebody wrote is not lost because their editor failed: where it is, if it is another text than this.
fn keep_other(path: TempPath, text: &str) -> Option<String> {
    match std::fs::read(&path) {
        Ok(there) if there == text.as_bytes() => return None,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        // What cannot be read now may be readable later.
        _ => {}
    }
    let kept = path.keep().ok()?;
    Some(format!("what you wrote is in {}", kept.display()))
}

/// A shell takes the arguments apart, as for git.
#[cfg(unix)]
fn start(mut editor: OsString, path: &Path) -> std::io::Result<ExitStatus> {
    editor.push(" \"$1\"");
    wait(Command::new("sh").arg("-c").arg(editor).arg("sh").arg(path).spawn()?)
}

#[cfg(not(unix))]
fn start(editor: OsString, path: &Path) -> std::io::Result<ExitStatus> {
    wait(Command::new(editor).arg(path).spawn()?)
}

/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(20);
/// What an editor may take to leave when it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Waits for the editor, or for another program that has the terminal; a signal that asks for the end ends it, too.
pub(super) fn wait(mut editor: Child) -> std::io::Result<ExitStatus> {
    let mut asked: Option<Instant> = None;
    signals::lend_terminal();
    loop {
        if let Some(status) = editor.try_wait()? {
            return Ok(status);
        }
        match asked {
            None if signals::ended().is_some() => {
                ask_to_end(&mut editor);
                asked = Some(Instant::now());
            }
            Some(at) if at.elapsed() > GRACE => editor.kill()?,
            _ => {}
        }
        std::thread::sleep(TICK);
    }
}

#[cfg(unix)]
fn ask_to_end(editor: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(id) = i32::try_from(editor.id()).ok().and_then(Pid::from_raw) {
        // One that has just left needs no asking.
        let _ = kill_process(id, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn ask_to_end(editor: &mut Child) {
    let _ = editor.kill();
}
