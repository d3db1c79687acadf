//! Lines from a terminal: editing, history, completion, messages of several lines.

use super::ahead::{INTERRUPT, Typed, Watch, take_rest};
use super::burst::{Burst, By};
use super::kept::Rescue;
use super::shelf::Shelf;
use super::table::{ROWS, Row, Takes};
use super::{complain, editor, history};
use crate::cli::signals::{self, terminal};
use crate::cli::{Failure, below, print, wrap};
use etcetera::BaseStrategy;
use fathom_files::writing::Disk;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::config::Builder;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, CompletionType, Config, Context, Editor, Event, EventHandler, Helper};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use unicode_width::UnicodeWidthChar;

const PROMPT: &str = "> ";
/// Milliseconds within which the bytes of one key come: Esc alone is a key, and no beginning of one.
const ONE_KEY: u16 = 50;
/// The line editor gives up on such bytes, and on what it read together with them.
const NO_TEXT: &str = "the terminal sent bytes that are not UTF-8; they are left out, and what came together with them may be \
                       missing: look at the line before you send it";

/// The terminal.
pub(super) struct Input {
    editor: Editor<Aid, FileHistory>,
    history: Option<PathBuf>,
    /// The last line could not be added to it.
    history_fails: bool,
    /// Saves the conversation, if it is not saved now: what a signal that ends the program at the prompt does first.
    pub(super) rescue: Option<Rescue>,
    /// What was typed before it was asked for.
    typed: Typed,
    /// The last line was: nobody may have looked at it.
    waited: bool,
    burst: Burst,
}

/// What a person did.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Typed a message; this is what it means.
    Message(String),
    /// Typed something that begins with a slash, or with an exclamation mark.
    Command(String),
    /// Pressed Ctrl-C on an empty line.
    Interrupt,
    /// Pressed Ctrl-D, or the terminal went away.
    End,
}

impl Input {
    /// `remembers`: keep the history in a file. Names of conversations are completed from `shelf`.
    pub(super) fn new(remembers: bool, shelf: Option<Shelf>) -> Result<Input, Failure> {
        // With the answer going elsewhere, lines are still edited where the person sits.
        let behavior = match std::io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = history_config().map_err(failure)?.behavior(behavior);
        let config = config.completion_type(CompletionType::List).keyseq_timeout(Some(ONE_KEY)).build();
        let lines = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, lines).map_err(failure)?;
        let burst = Burst::default();
        editor.set_helper(Some(Aid { files: FilenameCompleter::new(), shelf, burst: burst.clone() }));
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(burst.clone())));
        let mut history = if remembers { history_file() } else { None };
        // One that cannot be used is no reason not to talk.
        if let Some(path) = &history
            && let Err(why) = history::load(editor.history_mut(), path)
        {
            tell!("{}", print::plain(&not_saved(path, &why)));
            history = None;
        }
        Ok(Input {
            editor,
            history,
            history_fails: false,
            rescue: None,
            typed: Typed::default(),
            waited: false,
            burst,
        })
    }

    /// While an answer comes, keys are kept for the next line, and Esc sets `stop`; until [`Input::take_back`].
    pub(super) fn watch(&mut self, stop: &'static AtomicBool) -> Option<Watch> {
        if self.typed.interrupts() {
            stop.store(true, Ordering::Relaxed);
        }
        if below::edits_no_lines() {
            // What was begun could not be shown again: the terminal itself keeps what is typed.
            return None;
        }
        Watch::begin(std::mem::take(&mut self.typed), stop).map_err(|typed| self.typed = typed).ok()
    }

    /// The answer has ended. If the person stopped it, they look at what waits before it is sent. The terminal is as it was when
    /// the watch is dropped.
    pub(super) fn take_back(&mut self, watch: &mut Watch, stopped: bool) {
        self.typed = watch.end();
        if stopped {
            self.typed.reopen();
        }
    }

    /// The next message or command that was typed while an answer came, shown where the prompt would be.
    fn typed_before(&mut self) -> Option<String> {
        let mut text = self.typed.queue.pop_front()?;
        // Enter, out of impatience.
        while text.trim().is_empty() {
            text = self.typed.queue.pop_front()?;
        }
        while !is_complete(&text) {
            // Behind Ctrl-C it does not go on, but the person finds what there is of it.
            let more = self.typed.queue.pop_front().filter(|more| more != INTERRUPT);
            let Some(more) = more else {
                self.typed.line.insert_str(0, &format!("{text}\n"));
                self.typed.reopen();
                return None;
            };
            text = format!("{text}\n{more}");
        }
        tell!("{PROMPT}{}", print::for_screen(&text));
        Some(text)
    }

    /// Waits for a line, unless one waits already.
    pub(super) fn read(&mut self) -> Result<Line, Failure> {
        if self.typed.interrupts() {
            return Ok(Line::Interrupt);
        }
        let before = self.typed_before();
        self.waited = before.is_some();
        if let Some(text) = before {
            self.remember(&text);
            return Ok(meaning(&text));
        }
        let begun = std::mem::take(&mut self.typed.line);
        match self.line(PROMPT, &begun) {
            Ok(text) => {
                self.remember(&text);
                Ok(meaning(&text))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(failure(error)),
        }
    }

    /// Whether the last line was typed, or pasted, before it was asked for.
    pub(super) fn waited(&self) -> bool {
        self.waited
    }

    /// Waits for the answer to a question, which may be a block of lines; `None`: Ctrl-C or Ctrl-D.
    pub(super) fn ask(&mut self, question: &str) -> Result<Option<String>, Failure> {
        match self.line(question, "") {
            Ok(text) => Ok(Some(unfold(&text))),
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// A line; what came behind it waits for its turn.
    fn line(&mut self, prompt: &str, begun: &str) -> rustyline::Result<String> {
        let mut begun = begun.to_owned();
        loop {
            let waiting = signals::wait_for_person(self.keep_draft());
            let read = self.editor.readline_with_initial(prompt, (&begun, ""));
            drop(waiting);
            let (draft, pasting) = (self.burst.draft(), self.burst.is_pasting());
            let paused = self.burst.paused();
            let (line, by, behind) = self.burst.take();
            self.typed.append(behind);
            if matches!(&read, Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData) {
                complain(NO_TEXT);
                // What waits is looked at before it is sent.
                if line.is_none() {
                    begun = rest_of(Typed { line: draft, ..Typed::default() }, pasting);
                    continue;
                }
                self.typed.line = rest_of(std::mem::take(&mut self.typed), false);
            }
            let is_over = || terminal::is_gone() || signals::ended().is_some();
            if let (Some(drawn), Err(ReadlineError::Eof), false) = (paused, &read, is_over()) {
                take_from_screen(&format!("{prompt}{drawn}"));
                begun = draft;
                continue;
            }
            // A terminal that went away: nobody ended this line.
            if line.is_none() && matches!(&read, Err(error) if !matches!(error, ReadlineError::Interrupted)) {
                self.typed.line.insert_str(0, &draft);
            }
            match (line, by) {
                (Some(line), By::Editor) => {
                    begun = editor::edit(&line).unwrap_or_else(|why| {
                        complain(&why);
                        line
                    });
                }
                (Some(_), By::Interrupt) => return Err(ReadlineError::Interrupted),
                (Some(_), By::End) => return Err(ReadlineError::Eof),
                (line, By::Enter) | (line @ None, _) => return line.map_or(read, Ok),
            }
        }
    }

    /// What keeps the line that is typed now, if a signal ends the program meanwhile: as [`Input::leave`].
    fn keep_draft(&self) -> Option<signals::KeepDraft> {
        let (burst, path, rescue) = (self.burst.clone(), self.history.clone(), self.rescue.clone());
        if path.is_none() && rescue.is_none() {
            return None;
        }
        // Behind a question more may wait than the line with its answer.
        let mut typed = self.typed.clone();
        Some(Box::new(move || {
            typed.reopen();
            let lines = [typed.line, burst.draft()];
            if let Some(path) = path {
                // Nobody is there to be told.
                let _ = add_to_history(&path, &lines);
            }
            if let Some(Err(why)) = rescue.map(|rescue| rescue.save()) {
                complain(&why);
            }
        }))
    }

    /// The chat ends: what was typed ahead and not sent yet can be had again with the arrow keys.
    pub(super) fn leave(&mut self) {
        self.typed.reopen();
        let typed = std::mem::take(&mut self.typed.line);
        self.remember(&typed);
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let added = self.editor.add_history_entry(text);
        let (Ok(true), Some(path)) = (added, &self.history) else { return };
        let done = history::append(Disk::SYSTEM, path, text);
        // It is told once, and tried again with the next line.
        if let (Err(error), false) = (&done, self.history_fails) {
            tell!("{}", print::plain(&not_saved(path, error)));
        }
        self.history_fails = done.is_err();
    }
}

/// The line editor has drawn this and ended its row: it is drawn anew, in the same place.
fn take_from_screen(drawn: &str) {
    let out = std::io::stdout();
    if let Some(columns) = wrap::out_columns().filter(|_| out.is_terminal()) {
        let mut out = out.lock();
        // A terminal that went away shows nothing.
        let _ = write!(out, "\u{1b}[{}A\r\u{1b}[J", n_rows(drawn, columns)).and_then(|()| out.flush());
    }
}

/// How far down a text of a line editor leads, and the end of its row.
fn n_rows(text: &str, columns: usize) -> usize {
    const TAB: usize = 8;
    let (mut row, mut column) = (0, 0);
    for c in text.chars() {
        let width = match c {
            '\n' => {
                (row, column) = (row + 1, 0);
                continue;
            }
            '\t' => TAB - column % TAB,
            c => c.width().unwrap_or(0),
        };
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    row + 1 + usize::from(column == columns)
}

/// All that was typed and what has come since, as one line that is not sent yet.
fn rest_of(typed: Typed, pasting: bool) -> String {
    let mut typed = take_rest(typed, pasting);
    typed.reopen();
    typed.line
}

fn not_saved(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("note: {}: {why}; the history of what you type is not saved", path.display())
}

fn failure(error: ReadlineError) -> Failure {
    Failure::runtime(format!("the terminal: {error}"))
}

/// Adds what the file does not end with already.
fn add_to_history(path: &Path, lines: &[String]) -> rustyline::Result<()> {
    let mut history = FileHistory::with_config(&history_config()?.build());
    // Where nothing can be read, nothing is written.
    if history::load(&mut history, path).is_err() {
        return Ok(());
    }
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        if history.add(line)? {
            history::append(Disk::SYSTEM, path, line)?;
        }
    }
    Ok(())
}

/// What the editor's history is told, too.
fn history_config() -> rustyline::Result<Builder> {
    Config::builder().max_history_size(history::MOST)
}

/// `history` in the folder for states, which is made if it is missing.
fn history_file() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    let folder = folders.state_dir().unwrap_or_else(|| folders.data_dir()).join("fathom");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// What commands begin with.
pub(super) const MARKS: [char; 2] = ['/', '!'];
const BLOCK: &str = "\"\"\"";

/// Whether a message may end here.
pub(super) fn is_complete(text: &str) -> bool {
    match text.trim_start().strip_prefix(BLOCK) {
        // A text in one line that only begins so: nobody opened a block who closed it before its end.
        Some(rest) if !rest.contains('\n') && rest.contains(BLOCK) => true,
        Some(rest) => rest.trim_end().ends_with(BLOCK),
        None => n_trailing_backslashes(text).is_multiple_of(2),
    }
}

fn n_trailing_backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

/// A slash begins a command and an exclamation mark one of the shell, unless a space or the marks of a block stand before it.
fn meaning(typed: &str) -> Line {
    // A picture in Markdown is none.
    if typed.starts_with(MARKS) && !typed.starts_with("![") {
        return Line::Command(unfold(typed));
    }
    // Who types this at any other prompt leaves; to a model it says nothing.
    if is_farewell(typed) {
        return Line::Command("/quit".to_owned());
    }
    let message = unfold(typed);
    let escaped = message.strip_prefix(' ').filter(|rest| rest.starts_with(MARKS) || is_farewell(rest));
    Line::Message(escaped.map_or(message.clone(), str::to_owned))
}

/// Whether a whole message is how other programs are left.
fn is_farewell(typed: &str) -> bool {
    matches!(typed.trim_end(), "exit" | "quit" | "exit()" | "quit()" | ":q")
}

/// The text that the typed lines mean.
fn unfold(text: &str) -> String {
    let block = text.trim().strip_prefix(BLOCK).and_then(|rest| rest.strip_suffix(BLOCK));
    if let Some(inside) = block {
        let inside = inside.strip_prefix('\n').unwrap_or(inside);
        return inside.strip_suffix('\n').unwrap_or(inside).to_owned();
    }
    let mut lines = text.split('\n').peekable();
    let mut message = String::with_capacity(text.len());
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        let goes_on = !is_last && !n_trailing_backslashes(line).is_multiple_of(2);
        message += if goes_on { &line[..line.len() - 1] } else { line };
        if !is_last {
            message.push('\n');
        }
    }
    message
}

/// What helps while a line is typed.
struct Aid {
    files: FilenameCompleter,
    shelf: Option<Shelf>,
    burst: Burst,
}

impl Aid {
    fn file(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, mut pairs) = self.files.complete(line, at, context)?;
        pairs.iter_mut().for_each(|pair| pair.display = print::exact(&pair.display).into_owned());
        Ok((start, pairs))
    }
}

impl Completer for Aid {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..at];
        if typed.starts_with('!') {
            return self.file(line, at, context);
        }
        let Some(space) = typed.find(' ') else {
            let rows = ROWS.iter().filter(|row| typed.starts_with('/') && row.name.starts_with(typed));
            let pair = |row: &Row| Pair {
                display: row.name.to_owned(),
                replacement: format!("{}{}", row.name, if row.takes == Takes::Nothing { "" } else { " " }),
            };
            return Ok((0, rows.map(pair).collect()));
        };
        let takes = ROWS.iter().find(|row| row.name == &typed[..space]).map(|row| row.takes);
        match takes {
            Some(Takes::File) => self.file(line, at, context),
            Some(Takes::Conversation) => {
                let begun = &typed[space + 1..];
                let entries = self.shelf.iter().flat_map(Shelf::entries).map(|entry| entry.name);
                let pair = |name: String| Pair { display: name.clone(), replacement: name };
                Ok((space + 1, entries.filter(|name| name.starts_with(begun)).map(pair).collect()))
            }
            Some(Takes::OneOf(words)) => {
                let begun = &typed[space + 1..];
                let pair =
                    |word: &&str| Pair { display: (*word).to_owned(), replacement: (*word).to_owned() };
                let fitting = words.iter().filter(|word| word.starts_with(begun));
                Ok((space + 1, fitting.map(pair).collect()))
            }
            _ => Ok((at, Vec::new())),
        }
    }
}

impl Validator for Aid {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Aid {
    type Hint = String;

    /// There are no hints, but this is told whenever the line is drawn.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.burst.drawn(line);
        None
    }
}
impl Highlighter for Aid {}
impl Helper for Aid {}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(typed: &str) -> String {
        assert!(is_complete(typed), "{typed:?}");
        unfold(typed)
    }

    #[test]
    fn blocks_and_backslashes_make_several_lines() {
        assert_eq!(meant("one line"), "one line");
        assert_eq!(meant("\"\"\"\na\n\n  b\\\n\"\"\""), "a\n\n  b\\");
        assert_eq!(meant("\"\"\"a \"quoted\" word\"\"\" "), "a \"quoted\" word");
        assert_eq!(meant("\"\"\"doc\"\"\" explain"), "\"\"\"doc\"\"\" explain", "text behind it");
        assert_eq!(meant("a\\\nb"), "a\nb");
        assert_eq!(meant("a \\\\"), "a \\\\", "two backslashes are text");
        assert_eq!(meant("pasted\nlines"), "pasted\nlines");
        for open in ["\"\"\"", "\"\"\"a", "\"\"\"a\"\"", "a\\", "a\nb\\"] {
            assert!(!is_complete(open), "{open:?}");
        }
    }

    #[test]
    fn a_slash_at_the_very_start_is_a_command() {
        assert_eq!(meaning("/help"), Line::Command("/help".into()));
        assert_eq!(meaning(" /etc is a folder"), Line::Message("/etc is a folder".into()));
        assert_eq!(meaning("\"\"\"\n/etc\n  x\n\"\"\""), Line::Message("/etc\n  x".into()));
        assert_eq!(meaning("!ls"), Line::Command("!ls".into()));
        assert_eq!(meaning(" !important"), Line::Message("!important".into()));
        assert_eq!(meaning("![a](b.png)"), Line::Message("![a](b.png)".into()));
        assert_eq!(meaning("  indented"), Line::Message("  indented".into()));
        for leaves in ["exit", "quit", "exit() ", ":q"] {
            assert_eq!(meaning(leaves), Line::Command("/quit".into()), "{leaves}");
            assert_eq!(meaning(&format!(" {leaves}")), Line::Message(leaves.into()));
        }
        for message in ["exit code 3?", "Exit", "bye", "How do I quit vim?", "exit\nquit"] {
            assert_eq!(meaning(message), Line::Message(message.into()));
        }
    }

    #[test]
    fn the_rows_of_a_line_are_those_of_the_line_editor() {
        for (text, n) in [
            ("", 1),
            ("> abc", 1),
            ("> 1234567", 1),
            ("> 12345678", 2),
            ("> 123456789", 2),
            ("> a\nb", 2),
            ("> 1234567\u{65e5}", 2),
            ("> a\tb", 1),
            ("> a\t\tb", 2),
        ] {
            assert_eq!(n_rows(text, 10), n, "{text:?}");
        }
    }

    #[test]
    fn names_and_values_are_completed() {
        let aid = Aid { files: FilenameCompleter::new(), shelf: None, burst: Burst::default() };
        let history = FileHistory::new();
        let found = |line: &str| {
            let (start, pairs) = aid.complete(line, line.len(), &Context::new(&history)).unwrap();
            (start, pairs.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
        };
        assert_eq!(
            found("/s"),
            (0, vec!["/system ".into(), "/set ".into(), "/stats".into(), "/save ".into(), "/switch ".into()])
        );
        assert_eq!(found("/set top"), (5, vec!["top_k".into(), "top_p".into()]));
        assert_eq!(found("/think o"), (7, vec!["on".into(), "off".into()]));
        assert_eq!(found("s").1, Vec::<String>::new());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("talk.json"), "").unwrap();
        let line = format!("/load {}/ta", folder.path().display());
        assert!(found(&line).1[0].ends_with("talk.json"), "{:?}", found(&line));
        let line = format!("!cat {}/ta", folder.path().display());
        assert!(found(&line).1[0].ends_with("talk.json"), "{:?}", found(&line));
    }
}
