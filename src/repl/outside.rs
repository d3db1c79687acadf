//! What goes from a conversation to the outside, and comes from there: the clipboard, files, commands of the shell.

use super::files::LARGEST_READ;
use super::{Repl, Trouble, blocks, editor};
use crate::cli::show::aside;
use crate::cli::{below, print, signals, wrap};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fathom_engine::counted::counted;
use fathom_files::output::{Appending, Target};
use fathom_files::writing::Disk;
use fathom_text::chat::Message;
use std::fs;
use std::io::{IsTerminal, Read, Write, stderr, stdout};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Above it are exit codes of shells whose command was stopped by a signal.
const LAST_OF_CODES: i32 = 128;
/// How often it is looked whether a command has said everything.
const TICK: Duration = Duration::from_millis(20);

impl Repl<'_> {
    /// The last answer, or a block of code in it, counted from 1.
    fn last_answer(&self, block: Option<usize>) -> Result<String, String> {
        let last = self.turns.iter().rev().find_map(|turn| match turn {
            Message::Assistant(answer) => Some(answer.content.trim()).filter(|text| !text.is_empty()),
            _ => None,
        });
        let last = last.ok_or("there is no answer yet")?;
        let Some(number) = block else { return Ok(last.to_owned()) };
        let mut blocks = blocks::of(last);
        match blocks.len() {
            0 => Err("the last answer has no code block".to_owned()),
            n if (1..=n).contains(&number) => Ok(blocks.swap_remove(number - 1)),
            1 => Err(format!("the last answer has 1 code block, found {number}")),
            n => Err(format!("expected a code block from 1 to {n}, found {number}")),
        }
    }

    pub(super) fn copy(&self, block: Option<usize>) -> Result<(), String> {
        let text = self.last_answer(block)?;
        // What is pasted into a shell does not run by itself.
        let text = text.trim_end();
        send_to_clipboard(text)?;
        aside(&format!(
            "sent {} characters to the terminal's clipboard (OSC 52); if nothing can be pasted, the terminal does not allow \
             this; use /write FILE",
            text.chars().count()
        ));
        Ok(())
    }

    /// A file that is there gives way if the person says so.
    pub(super) fn write_answer(&mut self, path: &Path, block: Option<usize>) -> Result<(), Trouble> {
        let mut text = self.last_answer(block)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let there = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        if there.is_some() {
            let question = format!("overwrite {}? [y/N] ", print::exact(&path.display().to_string()));
            if !self.is_sure(&question)? {
                aside("nothing written");
                return Ok(());
            }
        }
        write_text(Disk::SYSTEM, path, &text, there.is_some())?;
        if let Some(there) = there {
            // Who may read or run it does not change; where that cannot be kept, the text is there all the same.
            let _ = fs::set_permissions(path, there.permissions());
        }
        let n_lines = text.lines().count();
        aside(&format!("{}: {} written", path.display(), counted(n_lines, "line")));
        Ok(())
    }

    /// Runs a command in the terminal. `sends`: what it says goes before the next message.
    pub(super) fn shell(&mut self, command: &str, sends: bool) -> Result<(), Trouble> {
        // A line of a text that was pasted into an answer may begin like one.
        if self.input.waited() && !self.is_sure(&format!("run {}? [y/N] ", print::exact(command)))? {
            aside("not run");
            return Ok(());
        }
        Ok(self.run_shell(command, sends)?)
    }

    fn run_shell(&mut self, command: &str, sends: bool) -> Result<(), String> {
        let at = |error: std::io::Error| format!("{command}: {error}");
        if !sends {
            is_well(command, run(&mut shell_of(command)).map_err(at)?);
            return Ok(());
        }
        let signals = signals::listen().map_err(|failure| failure.message)?;
        // Who stops it before it begins wants it not to begin.
        if signals.flag().load(Ordering::Relaxed) {
            return Ok(());
        }
        let (status, bytes) = overhear(shell_of(command), LARGEST_READ, signals.flag()).map_err(at)?;
        end_row();
        let is_well = is_well(command, status);
        // Who stopped it does not want it sent.
        if status.code().is_none_or(|code| code > LAST_OF_CODES) || signals.flag().load(Ordering::Relaxed) {
            return Ok(());
        }
        if bytes.len() as u64 > LARGEST_READ {
            return Err(format!("{command}: said more than any context holds; nothing is sent"));
        }
        let said = String::from_utf8_lossy(&bytes);
        if said.trim().is_empty() && is_well {
            return Err(format!("{command}: no output, so there is nothing to send"));
        }
        // The end of a command that failed says as much as its words.
        let end = if is_well { String::new() } else { format!("({status})\n") };
        let text = format!("$ {command}\n{said}{end}");
        self.put_before(vec![(Path::new(&format!("!!{command}")), text)], signals.flag())
    }
}

/// Writes a file that is whole or not there; of what gives way to it nothing is lost before.
fn write_text(disk: Disk, path: &Path, text: &str, replace: bool) -> Result<(), String> {
    let target = Target { replace, disk, ..Target::new(path.to_owned()) };
    let written = Appending::create(&target, text.len() as u64).and_then(|mut file| {
        file.write(text.as_bytes())?;
        file.finish(|| false)
    });
    written.map_err(|error| error.to_string())
}

/// Whether a command ended well, which is told if not.
fn is_well(command: &str, status: ExitStatus) -> bool {
    if !status.success() {
        aside(&format!("{command} ended with {status}"));
    }
    status.success()
}

#[cfg(unix)]
fn shell_of(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell
}

#[cfg(not(unix))]
fn shell_of(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

/// Runs it in the terminal, where the next line begins in a row of its own.
fn run(shell: &mut Command) -> std::io::Result<ExitStatus> {
    // What goes to stdout is answers.
    if !stdout().is_terminal() {
        shell.stdout(stderr());
    }
    let status = editor::wait(shell.spawn()?)?;
    end_row();
    Ok(status)
}

/// Runs it in the terminal, too. Gives how it ended and what it said: of more than `most` bytes one more.
fn overhear(mut shell: Command, most: u64, stop: &AtomicBool) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (mut reader, writer) = std::io::pipe()?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let listen = move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            show(&buffer[..n]);
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let room = (most + 1).saturating_sub(heard.len() as u64);
            let n_taken = usize::try_from(room).unwrap_or(n).min(n);
            heard.extend_from_slice(&buffer[..n_taken]);
        }
    };
    let listening = fathom_files::process::spawn("fathom-shell", listen)?;
    shell.stdout(writer.try_clone()?).stderr(writer);
    let child = shell.spawn()?;
    // Its ends of the pipe are closed, or the reader would wait for them.
    drop(shell);
    let status = editor::wait(child)?;
    // What it left in the background may say more.
    while !listening.is_finished() && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
    }
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((status, said))
}

/// Shows what a command says where the person looks. A terminal that went away shows nothing.
fn show(bytes: &[u8]) {
    let _ = match stdout().is_terminal() {
        true => stdout().lock().write_all(bytes).and_then(|()| stdout().flush()),
        false => stderr().lock().write_all(bytes),
    };
}

/// The next line begins in a row of its own.
fn end_row() {
    if let Some(columns) = wrap::err_columns() {
        // From the middle of a row this ends in the next one, and from its beginning in the same.
        let _ = write!(stderr().lock(), "{}\r", " ".repeat(columns));
    }
}

/// The terminal keeps it, also the one at the other end of a connection.
fn send_to_clipboard(text: &str) -> Result<(), String> {
    let sequence = format!("\u{1b}]52;c;{}\u{7}", BASE64_STANDARD.encode(text));
    let sent = match (stdout().is_terminal(), stderr().is_terminal()) {
        _ if below::is_dumb() => None,
        (true, _) => Some(stdout().lock().write_all(sequence.as_bytes()).and_then(|()| stdout().flush())),
        (_, true) => Some(stderr().lock().write_all(sequence.as_bytes()).and_then(|()| stderr().flush())),
        _ => None,
    };
    match sent {
        Some(sent) => sent.map_err(|error| format!("the terminal: {error}")),
        None => Err("expected a terminal with a clipboard, found none; /write FILE writes a file".to_owned()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use fathom_files::writing::{Fault, Faults};

    #[test]
    fn whichever_step_fails_it_is_told_and_the_old_file_or_the_new_one_is_there() {
        for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
            for (replace, old) in [(true, Some("old")), (false, None)] {
                for at in 0.. {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("answer");
                    old.iter().for_each(|old| fs::write(&path, old).unwrap());
                    let faults = Faults::at(at, fault);
                    let done = write_text(Disk::failing(faults), &path, "new", replace);
                    let case = format!("step {at}, {fault:?}: {done:?}");
                    assert_eq!(done.is_err(), faults.happened(), "{case}");
                    let found = fs::read_to_string(&path).ok();
                    let is_new = found.as_deref() == Some("new");
                    assert!(is_new || done.is_err() && found.as_deref() == old, "{case}: {found:?}");
                    if let Err(why) = done {
                        assert!(why.contains(path.to_str().unwrap()), "{why}");
                    }
                    if !faults.happened() {
                        assert!(at > 3, "not all steps go through the disk: {at}");
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn of_two_who_write_a_file_one_does_and_the_other_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer");
        for replace in [false, true] {
            let texts = ["a".repeat(100_000), "b".repeat(100_000)];
            let done: Vec<Result<(), String>> = std::thread::scope(|scope| {
                let write = |text: &String| write_text(Disk::SYSTEM, &path, text, replace);
                let writers = texts.each_ref().map(|text| scope.spawn(move || write(text)));
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            let found = fs::read_to_string(&path).unwrap();
            assert!(texts.contains(&found), "it is not whole");
            assert!(done.iter().any(Result::is_ok), "{done:?}");
            if !replace {
                assert!(done.iter().any(Result::is_err), "one was written over: {done:?}");
                let at = texts.iter().position(|text| *text == found).unwrap();
                assert!(done[at].is_ok(), "{done:?}");
            }
        }
    }

    #[test]
    fn what_a_command_says_is_taken_down_to_a_limit_and_how_it_ended() {
        let heard = |command: &str, most: u64| {
            let (status, said) = overhear(shell_of(command), most, &AtomicBool::new(false)).unwrap();
            (status.code(), String::from_utf8(said).unwrap())
        };
        assert_eq!(heard("echo out; echo err >&2; exit 3", 100), (Some(3), "out\nerr\n".into()));
        assert_eq!(heard("echo out; false", 2), (Some(1), "out".into()));
    }

    #[test]
    fn what_goes_on_in_the_background_is_not_waited_for_once_the_person_stops() {
        let (status, _) = overhear(shell_of("sleep 30 &"), 9, &AtomicBool::new(true)).unwrap();
        assert!(status.success());
    }
}
