//! A text in the person's own editor.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// The text after the person has left the editor: VISUAL or EDITOR, which may have arguments, or else vi.
pub(super) fn edit(text: &str) -> Result<String, String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|name| !name.is_empty());
    let editor = named.unwrap_or_else(|| if cfg!(windows) { "notepad".into() } else { "vi".into() });
    let at = |error: std::io::Error| format!("a file for the editor: {error}");
    let mut file = tempfile::Builder::new().prefix("message-").suffix(".md").tempfile().map_err(at)?;
    file.write_all(text.as_bytes()).map_err(at)?;
    let path = file.into_temp_path();
    let shown = editor.to_string_lossy().into_owned();
    match start(editor, &path) {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("{shown} ended with {status}; the message is as it was")),
        Err(error) => return Err(format!("{shown}: {error}; EDITOR names the editor to use")),
    }
    let edited = std::fs::read_to_string(&path).map_err(at)?;
    // Editors end the last line.
    let ended = !text.ends_with('\n') && edited.ends_with('\n');
    Ok(if ended { edited[..edited.len() - 1].to_owned() } else { edited })
}

/// A shell takes the arguments apart, as for git.
#[cfg(unix)]
fn start(mut editor: OsString, path: &Path) -> std::io::Result<ExitStatus> {
    editor.push(" \"$1\"");
    Command::new("sh").arg("-c").arg(editor).arg("sh").arg(path).status()
}

#[cfg(not(unix))]
fn start(editor: OsString, path: &Path) -> std::io::Result<ExitStatus> {
    Command::new(editor).arg(path).status()
}
