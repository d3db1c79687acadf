//! A chat in a real pseudo-terminal.

use super::{PATIENCE, convert, wait_until};
use rexpect::session::{PtySession, spawn_command};
use serde_json::Value as Json;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

pub const PATIENCE_MS: u64 = PATIENCE.as_millis() as u64;
/// What the line editor sends when it begins to listen, and when it has a line: text between is the program's.
pub const LISTENS: &str = "\u{1b}[?2004h";
pub const HAS_A_LINE: &str = "\u{1b}[?2004l";
/// Of an answer that lasts.
const TAKES_PASTES: &str = "\u{1b}[?25;2004h";
pub const CTRL_C: &str = "\u{3}";

/// A terminal with the program in it.
pub struct Terminal {
    pub pty: PtySession,
}

/// A model, and a folder for what one test writes.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = super::fathom();
        command
            .args(args)
            .env("XDG_STATE_HOME", self.file("state"))
            .env("XDG_DATA_HOME", self.file("data"))
            .env("FATHOM_CACHE_DIR", self.file("kept"))
            .env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
        command
    }

    /// The same started by a shell script that gets it as its arguments.
    pub fn command_in(&self, script: &str, args: &[&str]) -> Command {
        let inner = self.command(args);
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg("sh").arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// The same for a terminal of so many columns, from the first moment on.
    pub fn command_at(&self, columns: u16, args: &[&str]) -> Command {
        self.command_in(&format!("stty cols {columns} rows 24; exec \"$@\""), args)
    }

    /// Starts a chat and waits until it listens.
    pub fn chat(&self, args: &[&str]) -> Terminal {
        Terminal::open(self.command(&[&["chat", model().to_str().unwrap()], args].concat()))
    }
}

/// For an answer that ends only where the context does: the end of the text is never drawn.
pub const ENDLESS: [&str; 4] = ["-c", "160000", "-l", "1-inf"];

/// In the middle of an answer that does not end by itself.
pub fn answering(place: &Place, args: &[&str]) -> Terminal {
    let mut terminal = place.chat(&[&["--top-k", "1"], &ENDLESS[..], args].concat());
    terminal.begin_an_answer("ab");
    terminal
}

pub fn model() -> &'static Path {
    static MODEL: OnceLock<super::Converted> = OnceLock::new();
    &MODEL.get_or_init(|| convert("base", "f32")).path
}

impl Terminal {
    pub fn open(command: Command) -> Terminal {
        let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
        terminal.until(LISTENS);
        terminal
    }

    /// What comes before `text`.
    pub fn until(&mut self, text: &str) -> String {
        self.pty.exp_string(text).unwrap_or_else(|error| panic!("waiting for {text:?}: {error}"))
    }

    pub fn press(&mut self, keys: &str) {
        self.pty.send(keys).unwrap();
        self.pty.flush().unwrap();
    }

    /// Types what is no beginning of anything, and waits until it is read and nothing can be taken for its end any more.
    pub fn press_alone(&mut self, keys: &str) {
        self.press(keys);
        let device = std::fs::File::open(self.device()).unwrap();
        wait_until("the keys are read", || rustix::io::ioctl_fionread(&device).unwrap() == 0);
        std::thread::sleep(Duration::from_millis(300));
    }

    /// Types a line; what comes of it is still to be read.
    pub fn begin(&mut self, line: &str) {
        self.press(line);
        self.press("\r");
        self.until(HAS_A_LINE);
    }

    /// Types a message and waits for the first letter of the answer: one that is in no sequence for the terminal.
    pub fn begin_an_answer(&mut self, line: &str) {
        self.begin(line);
        self.pty.exp_regex("[b-gi-km-zA-Z]").unwrap();
    }

    /// Types a line and gives what the program says to it, without the marks of pastes that an answer of more than a second
    /// has around it.
    pub fn say(&mut self, line: &str) -> String {
        self.begin(line);
        self.until(LISTENS).replace(TAKES_PASTES, "").replace(HAS_A_LINE, "")
    }

    /// Types a message; gives the answer without the line of figures, and that line.
    pub fn ask(&mut self, line: &str) -> (String, String) {
        let all = self.say(line);
        let place = all.rfind("prompt ").unwrap_or_else(|| panic!("no figures in {all:?}"));
        (all[..place].to_owned(), all[place..].to_owned())
    }

    /// What the system says of the terminal: its modes, in the words of `stty`.
    pub fn modes(&self) -> String {
        let told = Command::new("stty").args(["-a", "-F", &self.device()]).output().unwrap();
        String::from_utf8(told.stdout).unwrap()
    }

    /// The id of the program: the terminal is its own.
    pub fn process_id(&self) -> i32 {
        let master = self.pty.process().get_file_handle().unwrap();
        rustix::termios::tcgetsid(master).unwrap().as_raw_nonzero().get()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, name: &str) {
        let id = self.process_id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end of the program; its exit code, or nothing if a signal killed it.
    pub fn end(&mut self) -> Option<i32> {
        self.pty.exp_eof().unwrap();
        let status = format!("{:?}", self.pty.process().wait().unwrap());
        let code =
            status.strip_prefix("Exited(").and_then(|rest| rest.strip_suffix(')')?.rsplit(", ").next());
        code.map(|code| code.parse().unwrap_or_else(|_| panic!("{status}")))
    }

    /// Gives the terminal another size, of which the system tells the program.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut stty = Command::new("stty");
        stty.args(["-F", &self.device(), "cols", &columns.to_string(), "rows", &rows.to_string()]);
        assert!(stty.status().unwrap().success());
    }

    /// The terminal's path in the system.
    pub fn device(&self) -> String {
        let master = self.pty.process().get_file_handle().unwrap();
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", master.as_raw_fd())).unwrap();
        let number = about.lines().find_map(|line| line.strip_prefix("tty-index:"));
        format!("/dev/pts/{}", number.expect("a pseudo-terminal").trim())
    }

    /// Types `/quit`, after which the program must end well.
    pub fn leave(mut self) {
        self.press("/quit\r");
        assert_eq!(self.exit_code(), 0);
    }

    /// Waits for the program to end.
    pub fn exit_code(mut self) -> i32 {
        self.end().expect("an exit code")
    }
}

pub fn messages(path: &Path) -> Vec<(String, String)> {
    let json: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pair = |message: &Json| {
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        (text("role"), text("content"))
    };
    json["messages"].as_array().unwrap().iter().map(pair).collect()
}

/// What the person said.
pub fn said(terminal: &mut Terminal, place: &Place) -> Vec<String> {
    let messages = saved(terminal, &place.file("talk.json"));
    messages.into_iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect()
}

pub fn saved(terminal: &mut Terminal, path: &Path) -> Vec<(String, String)> {
    let told = terminal.say(&format!("/save {}", path.display()));
    assert!(told.contains(" messages saved") || told.contains(" 1 message saved"), "{told}");
    messages(path)
}
