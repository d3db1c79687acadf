//! Commands on a Unix: a shell in a process group of its own.

use super::{End, Limits, Ran};
use fathom_files::process::spawn;
use fathom_text::chat::ToolCall;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The variables that a command finds.
const ARGUMENTS: &str = "FATHOM_TOOL_ARGUMENTS";
const NAME: &str = "FATHOM_TOOL_NAME";
/// What of stderr is told: the end says what went wrong.
const STDERR_TAIL: usize = 4 << 10;
/// Linux takes no longer variables; longer arguments are on stdin alone.
const LONGEST_VARIABLE: usize = 100 << 10;
/// How often the clock and the person are looked at.
const TICK: Duration = Duration::from_millis(10);
/// What a killed group may take to let go of its pipes. What left the group may hold them for ever.
const GRACE: Duration = Duration::from_secs(1);
/// So long nothing more comes of a command that has ended while something it started holds its output open.
const SILENCE: Duration = Duration::from_millis(200);
/// Ends a group of processes when its stdin ends.
const WATCH: &str = "read -r _; kill -9 -\"$1\"";

/// Output as text: cut at a character's border, with a note; the last line end does not count, as in a shell.
fn text(bytes: &[u8], n_written: usize) -> String {
    let is_cut = n_written > bytes.len();
    let whole = match std::str::from_utf8(bytes) {
        // A character that the limit went through is not a broken one.
        Err(error) if is_cut && error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    let mut text = String::from_utf8_lossy(whole).into_owned();
    if is_cut {
        text += &format!("\n[cut: the first {} of {n_written} bytes]", whole.len());
    } else if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

pub(super) fn run(command: &str, call: &ToolCall, limits: Limits, stop: &AtomicBool) -> Result<Ran, String> {
    let arguments = Value::Object(call.arguments.clone()).to_string();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env(NAME, &call.name).env_remove(ARGUMENTS);
    if arguments.len() <= LONGEST_VARIABLE {
        shell.env(ARGUMENTS, &arguments);
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // Somebody who stops it before it begins wants it not to begin.
    if stop.load(Ordering::Relaxed) {
        return Ok(Ran { output: String::new(), stderr: String::new(), end: End::Interrupted });
    }
    let mut child = shell.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "tool commands need the shell `sh`, which was not found".to_owned(),
        _ => format!("the command cannot be started: {error}"),
    })?;
    let guard = Guard::new(&child);
    let (output, stderr) = talk(&mut child, arguments, limits.output).map_err(|error| {
        kill(&mut child);
        format!(
            "the command was stopped: cannot start a thread to read its output: {error}; raise the limit on threads (ulimit \
             -u)"
        )
    })?;
    let end = wait(&mut child, [&output, &stderr], limits.timeout, stop);
    drop(guard);
    let (output, n_output) = output.taken();
    let (stderr, n_stderr) = stderr.taken();
    let stderr = text(&stderr, n_stderr.min(stderr.len()));
    Ok(Ran { output: text(&output, n_output), stderr, end })
}

/// Threads that give the command its arguments and read what it says.
fn talk(child: &mut Child, arguments: String, most: usize) -> Result<(Reading, Reading), Error> {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its arguments is no mistake.
        spawn("fathom-arguments", move || stdin.write_all(arguments.as_bytes()))?;
    }
    let output = Reading::new(child.stdout.take(), Keep::First(most))?;
    Ok((output, Reading::new(child.stderr.take(), Keep::Last(STDERR_TAIL))?))
}

/// Ends the command and whatever it started.
fn kill(child: &mut Child) {
    // The group exists as long as anything in it does; a leader that was waited for and has nobody left is gone.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// While it lives, the end of this program, however it comes, ends the command and all that it started: a shell waits for
/// the end of a pipe that only this program holds open.
struct Guard(Option<Child>);

impl Guard {
    fn new(command: &Child) -> Guard {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(WATCH).arg("sh").arg(command.id().to_string());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Without it the command still ends with its time.
        Guard(shell.spawn().ok())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(shell) = &mut self.0 {
            // Before its stdin ends: the group may be others' by now.
            let _ = shell.kill();
            let _ = shell.wait();
        }
    }
}

/// Waits for the command and for the end of its output. What it leaves running may hold that open for ever, and is not
/// waited for.
fn wait(child: &mut Child, outputs: [&Reading; 2], timeout: Duration, stop: &AtomicBool) -> End {
    let started = Instant::now();
    let mut status = None;
    let (mut n_written, mut last) = (0, Instant::now());
    let end = loop {
        if status.is_none() {
            status = child.try_wait().ok().flatten();
        }
        let n_now = outputs.iter().map(|output| output.n_written()).sum();
        if status.is_none() || n_now != n_written {
            (n_written, last) = (n_now, Instant::now());
        }
        let is_over = || {
            let is_silent = last.elapsed() >= SILENCE && outputs.iter().all(|output| output.is_through());
            is_silent || outputs.iter().all(|output| output.is_done())
        };
        if let Some(status) = status.filter(|_| is_over()) {
            return ended(status);
        }
        if stop.load(Ordering::Relaxed) {
            break End::Interrupted;
        }
        if started.elapsed() >= timeout {
            break End::TimedOut;
        }
        thread::sleep(TICK);
    };
    kill(child);
    let killed = Instant::now();
    while !outputs.iter().all(|output| output.is_done()) && killed.elapsed() < GRACE {
        thread::sleep(TICK);
    }
    end
}

fn ended(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Success,
        (Some(code), _) => End::Failed(format!("exit code {code}")),
        (None, Some(signal)) => End::Failed(format!("killed by signal {signal}")),
        (None, None) => End::Failed(status.to_string()),
    }
}

/// Which bytes are kept; the rest is read and forgotten, so that the command goes on.
#[derive(Clone, Copy)]
enum Keep {
    First(usize),
    Last(usize),
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    n_written: usize,
}

impl Kept {
    fn add(&mut self, more: &[u8], keep: Keep) {
        self.n_written += more.len();
        match keep {
            Keep::First(most) => {
                let room = most.saturating_sub(self.bytes.len());
                self.bytes.extend(&more[..room.min(more.len())]);
            }
            Keep::Last(most) => {
                self.bytes.extend(more);
                self.bytes.drain(..self.bytes.len().saturating_sub(most));
            }
        }
    }
}

/// A pipe that is read by a thread of its own.
struct Reading {
    kept: Arc<Mutex<Kept>>,
    /// To see whether there is more to read.
    pipe: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    fn new(pipe: Option<impl Read + AsFd + Send + 'static>, keep: Keep) -> Result<Reading, Error> {
        let kept = Arc::<Mutex<Kept>>::default();
        let seen = pipe.as_ref().and_then(|pipe| pipe.as_fd().try_clone_to_owned().ok());
        let start = |pipe| {
            let kept = Arc::clone(&kept);
            spawn("fathom-output", move || read(pipe, keep, &kept))
        };
        let thread = pipe.map(start).transpose()?;
        Ok(Reading { kept, pipe: seen, thread })
    }

    /// Nothing waits to be read, and what was read is stored.
    fn is_through(&self) -> bool {
        // Who reads holds the lock until it has stored what it read.
        let Ok(_kept) = self.kept.try_lock() else { return false };
        self.pipe.as_ref().is_none_or(|pipe| ioctl_fionread(pipe).is_ok_and(|n| n == 0))
    }

    fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn n_written(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).n_written
    }

    fn taken(&self) -> (Vec<u8>, usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut kept.bytes), kept.n_written)
    }
}

fn read(mut pipe: impl Read + AsFd, keep: Keep, kept: &Mutex<Kept>) {
    let mut buffer = [0; 8192];
    loop {
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        // Between reading and storing nobody looks: what left the pipe would be nowhere.
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => kept.add(&buffer[..n], keep),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, Limits, Ran, run};
    use super::{Keep, Reading, STDERR_TAIL};
    use fathom_text::chat::ToolCall;
    use serde_json::{Value, json};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    fn call() -> ToolCall {
        let Value::Object(arguments) = json!({"city": "Paris'; touch /nowhere; $(ls) \"é\n", "days": 2})
        else {
            unreachable!("it is an object")
        };
        ToolCall { id: None, name: "get_weather".into(), arguments }
    }

    fn limits() -> Limits {
        Limits { timeout: Duration::from_secs(100), output: 1000 }
    }

    fn ran(command: &str, limits: Limits) -> Ran {
        run(command, &call(), limits, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn arguments_come_as_json_and_never_through_the_shell() {
        let expected = Value::Object(call().arguments);
        let from_stdin = ran("cat", limits());
        let from_variable = ran("printf %s \"$FATHOM_TOOL_ARGUMENTS\"", limits());
        for done in [&from_stdin, &from_variable] {
            assert_eq!(done.end, End::Success);
            assert_eq!(serde_json::from_str::<Value>(&done.output).unwrap(), expected);
        }
        assert_eq!(ran("echo $FATHOM_TOOL_NAME", limits()).result(limits()), "get_weather");
        assert_eq!(ran("true", limits()).result(limits()), "", "arguments need not be read");
    }

    #[test]
    fn what_fails_says_how() {
        let done = ran("echo so far; echo why >&2; exit 3", limits());
        let told: Value = serde_json::from_str(&done.result(limits())).unwrap();
        assert_eq!(told, json!({"error": "exit code 3", "output": "so far", "stderr": "why"}));
        assert_eq!(ran("kill -9 $$", limits()).end, End::Failed("killed by signal 9".into()));
        let long = ran("yes | head -c 100000 >&2; echo end >&2; exit 1", limits());
        assert!(long.stderr.len() <= STDERR_TAIL && long.stderr.ends_with("end"));
    }

    #[test]
    fn output_that_is_being_stored_is_waited_for() {
        let reading = Reading::new(None::<std::process::ChildStdout>, Keep::First(9)).unwrap();
        let stored = reading.kept.lock().unwrap();
        assert!(!reading.is_through());
        drop(stored);
        assert!(reading.is_through());
    }

    #[test]
    fn output_is_cut_at_a_character_and_made_text() {
        let cut = Limits { output: 5, ..limits() };
        assert_eq!(ran("printf 'ééé'", cut).output, "éé\n[cut: the first 4 of 6 bytes]");
        assert_eq!(ran("printf 'abcde'", cut).output, "abcde");
        assert_eq!(ran("printf 'a\\377b\\n'", limits()).output, "a\u{fffd}b");
        assert_eq!(ran("printf 'a\\303'", limits()).output, "a\u{fffd}");
    }

    #[test]
    fn what_a_command_leaves_running_is_not_waited_for() {
        let started = Instant::now();
        let done = ran("sleep 60 & echo $!", limits());
        assert_eq!(done.end, End::Success);
        assert!(started.elapsed() < Duration::from_secs(50), "it waited for what was left running");
        assert_eq!(ran(&format!("kill {}", done.output), limits()).end, End::Success, "it runs on");
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_it_started() {
        let short = Limits { timeout: Duration::from_millis(300), ..limits() };
        let started = Instant::now();
        let done = ran("echo begun; sleep 1000 & sleep 1000", short);
        assert_eq!((done.end.clone(), done.output.as_str()), (End::TimedOut, "begun"));
        assert!(done.result(short).contains("timed out after 0.3 s"), "{}", done.result(short));
        assert!(started.elapsed() < Duration::from_secs(60), "nobody waited for the sleepers");
        let stopped = run("sleep 1000", &call(), limits(), &AtomicBool::new(true)).unwrap();
        assert_eq!(stopped.end, End::Interrupted);
    }
}
