//! The conversations that are kept: which one is open, and the commands about them.

use super::saved::Saved;
use super::shelf::{self, Open, Shelf, Stamp};
use super::so_far::Unfinished;
use super::{Repl, complain};
use crate::cli::named::Named;
use crate::cli::show::aside;
use crate::cli::{Failure, calls, print, tools};
use fathom_engine::counted::counted;
use fathom_text::chat::markers::END_THINK;
use fathom_text::chat::{Conversation, Message, Start};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Rows of `/list`; `/list all` has them all.
const N_LISTED: usize = 20;

/// Which conversation a chat begins with, besides a new one.
#[derive(Debug)]
pub(crate) enum Begin {
    /// The one that changed last.
    Last,
    /// The one of this name; a new one gets it.
    Named(String),
}

/// What a chat begins with, before a model is loaded for it.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The same, by name if there is one.
    pub begin: Begin,
    /// The conversation's own model, `None` inside for the built-in one; nothing if there is none, or it is not wanted.
    pub model: Option<Option<PathBuf>>,
}

impl Begin {
    /// Finds the conversation and its model. `has_model`: another one was named.
    ///
    /// # Errors
    /// A conversation that cannot be read, or whose model is gone.
    pub(crate) fn choose(self, has_model: bool) -> Result<Chosen, String> {
        match Shelf::usual() {
            Ok(shelf) => self.choose_from(&shelf, has_model),
            Err(_) => Ok(Chosen { begin: self, model: None }),
        }
    }

    fn choose_from(self, shelf: &Shelf, has_model: bool) -> Result<Chosen, String> {
        let name = match &self {
            Begin::Last => shelf.entries().into_iter().next().map(|entry| entry.name),
            Begin::Named(name) => Some(shelf::safe(name)).filter(|name| shelf.has(name)),
        };
        let Some(name) = name else { return Ok(Chosen { begin: self, model: None }) };
        let saved = Saved::read(&shelf.path(&name))?;
        let begin = Begin::Named(name.clone());
        if has_model {
            return Ok(Chosen { begin, model: None });
        }
        let model = saved.model_file();
        if let Some(path) = model.as_ref().filter(|path| !path.exists()) {
            return Err(format!(
                "{name}: this conversation used {}, which is no longer there; put it back, or name the model to use: \
                 fathom chat MODEL --session {name}",
                path.display()
            ));
        }
        Ok(Chosen { begin, model: Some(model) })
    }
}

/// What is open, and where the others are.
pub(super) struct Kept {
    /// Nothing is kept otherwise.
    remembers: bool,
    /// Or why there is no folder; it is tried again.
    shelf: Result<Shelf, String>,
    open: Option<Open>,
    /// What writes an unfinished answer, beside the computing.
    beside: Option<Beside>,
    /// The name that the conversation gets when it is first written.
    wanted: Option<String>,
    /// Why the last attempt to keep the conversation failed.
    failed: Option<Failed>,
    /// What the person was told that leaving loses it.
    known_unsaved: Option<String>,
    /// Where this conversation was written or read by name of a file.
    file: Option<Filed>,
    /// The names behind the numbers that the person saw last.
    listed: Vec<String>,
}

/// An attempt to keep a conversation that failed.
struct Failed {
    why: String,
    /// What was to be written.
    text: String,
}

/// A file that the person named, with this conversation.
struct Filed {
    path: PathBuf,
    /// Of the file when it was written or read.
    stamp: Option<Stamp>,
    /// What it holds of the conversation.
    text: String,
}

/// What is being written meanwhile.
struct Beside {
    writing: JoinHandle<Put>,
    /// What to go on with if it breaks down.
    spare: Open,
}

/// The end of an attempt to keep a conversation.
struct Put {
    open: Option<Open>,
    /// What is to be told, or what went wrong.
    done: Result<Option<String>, String>,
}

/// A conversation that could not be saved, for a last attempt.
#[derive(Clone)]
pub(super) struct Rescue {
    shelf: Shelf,
    open: Option<Arc<Open>>,
    wanted: String,
    text: String,
}

impl Rescue {
    /// Saves it.
    ///
    /// # Errors
    /// Why it is lost.
    pub(super) fn save(self) -> Result<(), String> {
        let Rescue { shelf, open, wanted, text } = self;
        let done =
            shelf.make_folder().and_then(|()| put(&shelf, open.map(|open| open.spare()), &wanted, text).done);
        done.map(drop).map_err(|why| format!("{why}; this conversation is not saved"))
    }
}

/// Writes a conversation: the one that is open, or a new one of this name. What may be gone after a power cut is not kept.
fn put(shelf: &Shelf, open: Option<Open>, wanted: &str, text: String) -> Put {
    let mut put = write(shelf, open, wanted, text);
    if let (Ok(note), Some(why)) = (&put.done, put.open.as_ref().and_then(Open::unsure)) {
        put.done = Err(note.iter().map(String::as_str).chain([why]).collect::<Vec<_>>().join("; "));
    }
    put
}

fn write(shelf: &Shelf, open: Option<Open>, wanted: &str, text: String) -> Put {
    if let Some(mut open) = open {
        let done = shelf.update(&mut open, text).map(|renamed| {
            let name = &open.name;
            renamed
                .then(|| format!("note: another program changed this conversation; this one is now {name}"))
        });
        return Put { open: Some(open), done };
    }
    match shelf.add(wanted, text) {
        Ok((open, n_gone)) => {
            let told = (n_gone > 0).then(|| {
                let gone =
                    if n_gone == 1 { "oldest was".to_owned() } else { format!("oldest {n_gone} were") };
                format!("note: {} conversations are saved; the {gone} deleted", shelf::MOST)
            });
            Put { open: Some(open), done: Ok(told) }
        }
        Err(why) => Put { open: None, done: Err(why) },
    }
}

impl Kept {
    /// A folder that cannot be made is told, and everything else goes on.
    pub(super) fn new(remembers: bool) -> Kept {
        let shelf = match remembers {
            true => {
                Shelf::usual().inspect_err(|why| aside(&format!("note: conversations are not saved: {why}")))
            }
            false => Err("--no-history".to_owned()),
        };
        Kept {
            remembers,
            shelf,
            open: None,
            beside: None,
            wanted: None,
            failed: None,
            known_unsaved: None,
            file: None,
            listed: Vec::new(),
        }
    }

    pub(super) fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref().ok()
    }

    fn needed(&mut self) -> Result<Shelf, String> {
        if self.remembers && self.shelf.is_err() {
            self.shelf = Shelf::usual();
        }
        let shelf = self.shelf.clone().map_err(|why| format!("conversations are not saved here ({why})"))?;
        // Somebody may have removed it since.
        shelf.make_folder()?;
        Ok(shelf)
    }

    /// Writes what there is of an answer, without waiting for the disk; if it is still busy with the last, not now.
    pub(super) fn keep_beside(&mut self, unfinished: Unfinished) {
        if self.beside.as_ref().is_some_and(|beside| !beside.writing.is_finished()) {
            return;
        }
        self.settle();
        let Ok(shelf) = self.needed() else { return };
        // The question was kept before it was answered: without a name that failed, and is tried at the end.
        let Some(open) = self.open.take() else { return };
        let (name, spare) = (open.name.clone(), open.spare());
        let lent = Arc::new(Mutex::new(Some(open)));
        let borrowed = Arc::clone(&lent);
        let write = move || {
            let open = borrowed.lock().unwrap_or_else(PoisonError::into_inner).take();
            match unfinished.text() {
                Ok(text) => put(&shelf, open, &name, text),
                Err(why) => Put { open, done: Err(why) },
            }
        };
        match fathom_files::process::spawn("fathom-answer", write) {
            Ok(writing) => self.beside = Some(Beside { writing, spare }),
            // Without a thread the answer is kept at its end.
            Err(_) => self.open = lent.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }

    /// Waits for what is being written beside.
    fn settle(&mut self) {
        let Some(Beside { writing, spare }) = self.beside.take() else { return };
        // What could not be written is tried again at the end of the answer, and told then.
        let Ok(Put { open, done }) = writing.join() else {
            self.open = Some(spare);
            return;
        };
        self.open = open;
        if let Ok(Some(note)) = done {
            aside(&note);
        }
    }

    /// Writes the conversation that `asked` began, or gives the reason why it is not written; what was written before stays.
    fn keep(&mut self, asked: &str, text: String) -> Result<Option<String>, String> {
        let shelf = self.needed()?;
        let wanted = self.wanted.clone().unwrap_or_else(|| shelf::name_of(asked));
        let Put { open, done } = put(&shelf, self.open.take(), &wanted, text);
        self.open = open;
        let note = done?;
        self.wanted = None;
        Ok(note)
    }

    /// The name that a message suggests, if there is none yet.
    pub(super) fn suggest(&mut self, message: &str) {
        if self.open.is_none() && self.wanted.is_none() {
            self.wanted = Some(shelf::name_of(message));
        }
    }

    /// What comes next is another conversation.
    pub(super) fn close(&mut self) {
        (self.open, self.wanted, self.failed, self.file) = (None, None, None, None);
        self.known_unsaved = None;
    }

    /// Whether the conversation is on the disk as it was when it was last to be kept.
    pub(super) fn is_saved(&self) -> bool {
        self.remembers && self.failed.is_none()
    }

    /// The file that the person named, if just this is in it.
    fn filed(&self, text: &str) -> Option<&Filed> {
        self.file.as_ref().filter(|file| file.text == text)
    }

    fn name(&self) -> Option<&str> {
        self.open.as_ref().map(|open| open.name.as_str())
    }

    /// The name that stands behind a name or a number of the last list.
    fn resolve(&mut self, wanted: &str) -> Result<String, String> {
        let shelf = self.needed()?;
        if let Ok(number) = wanted.parse::<usize>() {
            if self.listed.is_empty() {
                self.listed = shelf.entries().into_iter().map(|entry| entry.name).collect();
            }
            let name = number.checked_sub(1).and_then(|index| self.listed.get(index));
            let name = name.filter(|name| shelf.has(name));
            return name
                .cloned()
                .ok_or_else(|| format!("there is no conversation {number}; /list shows them"));
        }
        // What is no name of a file of ours is looked for nowhere.
        let name = shelf::safe(wanted);
        match shelf.has(&name) {
            true => Ok(name),
            false => Err(format!("there is no conversation named {wanted}; /list shows them")),
        }
    }
}

impl Repl<'_> {
    pub(super) fn saved(&self) -> Saved {
        let (model, model_path, talk) = (self.loaded.name.clone(), self.loaded.path(), self.talk.clone());
        let (tools, turns) = (self.toolbox.tools.clone(), self.turns.clone());
        let message_ids = turns.iter().map(|turn| self.ids_of(turn)).collect();
        let cut = match &self.cut {
            Some((n_turns, why)) if *n_turns == turns.len() => Some(why.clone()),
            _ => None,
        };
        let words_at = matches!(turns.last(), Some(Message::User(_))).then_some(self.words_at);
        let words_at = words_at.filter(|at| *at > 0);
        Saved { model, model_path, talk, tools, turns, message_ids, cut, words_at }
    }

    fn ids_of(&self, turn: &Message) -> Vec<u32> {
        let Message::Assistant(answer) = turn else { return Vec::new() };
        self.spoken.ids_of(answer).unwrap_or_default().to_vec()
    }

    /// Writes the conversation if it changed. An empty one is never written, and one of which all was taken back goes. What
    /// fails is told, and tried again the next time.
    pub(super) fn keep_conversation(&mut self) {
        self.kept.settle();
        if !self.kept.remembers {
            return;
        }
        let kept = self.try_keep();
        self.input.rescue = kept.is_err().then(|| self.rescue()).flatten();
        match kept {
            Ok(()) if self.kept.failed.take().is_some() => aside("the conversation is saved again"),
            Ok(()) => {}
            Err(why) => {
                let text = self.text();
                // Once for each state of it: most commands change nothing.
                if self.kept.failed.as_ref().is_none_or(|failed| failed.text != text) {
                    complain(&format!(
                        "{why}; this conversation is not saved for now; saving is tried again with the next message \
                         (/save FILE writes it elsewhere)"
                    ));
                }
                self.kept.failed = Some(Failed { why, text });
            }
        }
    }

    /// What saves the conversation as it is now, without this.
    fn rescue(&self) -> Option<Rescue> {
        let shelf = self.kept.shelf.as_ref().ok().cloned()?;
        let asked = self.turns.iter().find_map(|turn| match turn {
            Message::User(text) => Some(text.as_str()),
            _ => None,
        });
        let wanted = self.kept.wanted.clone().unwrap_or_else(|| shelf::name_of(asked.unwrap_or_default()));
        let open = self.kept.open.as_ref().map(|open| Arc::new(open.spare()));
        Some(Rescue { shelf, open, wanted, text: self.text() })
    }

    /// What a file of the conversation holds.
    fn text(&self) -> String {
        // A text that cannot be made is told where it is to be written.
        self.saved().text().unwrap_or_default()
    }

    /// Before another conversation takes the place of this one.
    ///
    /// # Errors
    /// If this one cannot be saved, the first time.
    pub(super) fn leave_conversation(&mut self) -> Result<(), String> {
        self.keep_conversation();
        let Some(Failed { why, text }) = &self.kept.failed else { return Ok(()) };
        if self.kept.filed(text).is_some() || self.kept.known_unsaved.as_ref() == Some(text) {
            return Ok(());
        }
        let told = format!(
            "{why}; this conversation is not saved: /save FILE writes it elsewhere; ask again to leave it unsaved"
        );
        self.kept.known_unsaved = Some(text.clone());
        Err(told)
    }

    fn try_keep(&mut self) -> Result<(), String> {
        if self.turns.is_empty() {
            if self.kept.open.is_some() {
                let shelf = self.kept.needed()?;
                let stays = self.kept.open.as_ref().map_or(Ok(false), |open| shelf.withdraw(open))?;
                let name = self.kept.open.take().map(|open| open.name).unwrap_or_default();
                if stays {
                    aside(&format!(
                        "note: {name} is open in another chat, so its file stays as it was; the next message begins a new \
                         conversation"
                    ));
                }
            }
            return Ok(());
        }
        let text = self.saved().text()?;
        let asked = self.turns.iter().find_map(|turn| match turn {
            Message::User(text) => Some(text.as_str()),
            _ => None,
        });
        self.kept.keep(asked.unwrap_or_default(), text)?.into_iter().for_each(|note| aside(&note));
        Ok(())
    }

    /// What `--continue` and `--session` ask for.
    pub(super) fn begin(&mut self, begin: Begin) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let name = match begin {
            Begin::Last => match shelf.entries().into_iter().next() {
                Some(entry) => entry.name,
                None => {
                    aside("no conversation to resume yet: starting a new one");
                    return Ok(());
                }
            },
            Begin::Named(name) => shelf::safe(&name),
        };
        if shelf.has(&name) {
            let named = self.named.clone();
            return self.open_kept(&shelf, &name, &named);
        }
        aside(&format!("{name}: a new conversation"));
        self.kept.wanted = Some(name);
        Ok(())
    }

    fn open_kept(&mut self, shelf: &Shelf, name: &str, named: &Named) -> Result<(), String> {
        let path = shelf.path(name);
        let open = shelf.open(name);
        let saved = Saved::read(&path)?;
        let n_messages = saved.turns.len();
        self.take_over(saved, &path, named)?;
        // What changed with it, settings of the command line or results that are missing, is written with the next message.
        self.kept.close();
        self.kept.open = Some(open.with(self.saved().text()?));
        let last = self.turns.iter().rev().find_map(|turn| match turn {
            Message::User(text) => Some(text.as_str()),
            _ => None,
        });
        aside(&format!(
            "{name}: {}; your last one: {}",
            counted(n_messages, "message"),
            first_line(last.unwrap_or_default())
        ));
        self.show_last_answer();
        self.tell_how_it_ended();
        Ok(())
    }

    /// What a person has to know who comes back to a conversation in its middle.
    fn tell_how_it_ended(&self) {
        match self.turns.last() {
            Some(Message::User(_)) => aside("that message was not answered: /regen answers it"),
            Some(Message::Tool(_)) => {
                aside("the model has not yet answered with its tool results: /regen continues")
            }
            Some(Message::Assistant(_)) if self.cut.is_some() => {
                aside(
                    "its last answer was cut off: the next message builds on what there is; /regen makes another one",
                );
            }
            _ => {}
        }
    }

    /// Resumes what a file holds, but for what the command line named; if it cannot be used, nothing changes.
    pub(super) fn take_over(&mut self, saved: Saved, path: &Path, named: &Named) -> Result<(), String> {
        let another_model = saved.model_file().map(absolute) != self.loaded.path();
        let Saved { model, mut talk, tools, mut turns, mut message_ids, cut, words_at, .. } = saved;
        talk.take_named(&self.talk, named);
        // Commands are never those of a file.
        let tools = if tools.is_empty() || named.has("tools") { self.own_tools.clone() } else { tools };
        answer_last_calls(&mut turns);
        message_ids.resize(turns.len(), Vec::new());
        calls::check(&self.chat, &tools).map_err(|why| format!("{}: {why}", path.display()))?;
        if self.constraint.is_some() && !tools.is_empty() {
            return Err(format!(
                "{}: this conversation has tools, which are not called in answers that follow a schema; start without \
                 --json-schema",
                path.display()
            ));
        }
        let system = tools::system(talk.system.as_deref(), &tools).into_iter();
        let messages = system.chain(turns.iter().cloned()).collect();
        let conversation = Conversation { messages, thinking: talk.think };
        self.chat.render(&conversation).map_err(|error| format!("{}: {error}", path.display()))?;
        talk.sampling
            .adjust
            .check(self.loaded.tokenizer.n_tokens())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if another_model {
            aside(&format!("note: this conversation used {model} before"));
        }
        let end_think = self.loaded.tokenizer.special(END_THINK);
        for (turn, ids) in turns.iter().zip(&message_ids) {
            let Message::Assistant(answer) = turn else { continue };
            let reasons = ids.iter().any(|id| Some(*id) == end_think);
            let start = if reasons { Start::Reasoning } else { Start::Content };
            self.spoken.insert(&self.loaded.tokenizer, &tools, answer, (start, ids));
        }
        (self.talk, self.turns, self.n_seeds) = (talk, turns, 0);
        self.toolbox.tools = tools;
        self.cut = cut.map(|why| (self.turns.len(), why));
        self.words_at = words_at.unwrap_or_default();
        self.edited.clear();
        self.drop_files();
        (self.held, self.warned) = (None, false);
        Ok(())
    }

    /// Without a file the conversation is kept under its name.
    pub(super) fn save(&mut self, path: Option<&Path>) -> Result<(), String> {
        if let Some(path) = path {
            let place = absolute(path.to_owned());
            let filed = self.kept.file.as_ref().filter(|file| file.path == place);
            let stamp = self.saved().write(path, filed.and_then(|file| file.stamp))?;
            aside(&format!("{}: {} saved", place.display(), self.n_messages()));
            self.kept.file = Some(Filed { path: place, stamp, text: self.text() });
            return Ok(());
        }
        let shelf = self.kept.needed().map_err(|why| format!("{why}; /save FILE writes one"))?;
        if self.turns.is_empty() {
            return Err("the conversation is empty".to_owned());
        }
        self.try_keep()?;
        self.kept.failed = None;
        let name = self.kept.name().unwrap_or_default();
        aside(&format!("saved as {name}: {}", shelf.path(name).display()));
        Ok(())
    }

    pub(super) fn load(&mut self, path: &Path) -> Result<(), String> {
        let stamp = Stamp::of(path);
        let saved = Saved::read_named(path)?;
        self.leave_conversation()?;
        self.take_over(saved, path, &Named::default())?;
        self.kept.close();
        self.kept.file = Some(Filed { path: absolute(path.to_owned()), stamp, text: self.text() });
        aside(&format!("{}: {} loaded", path.display(), self.n_messages()));
        self.tell_how_it_ended();
        Ok(())
    }

    pub(super) fn list(&mut self, all: bool) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let entries = shelf.entries();
        if entries.is_empty() {
            return Err("no conversation is saved yet".to_owned());
        }
        let n_shown = if all { entries.len() } else { entries.len().min(N_LISTED) };
        let width = entries[..n_shown].iter().map(|entry| entry.name.width()).max().unwrap_or(0);
        for (index, entry) in entries[..n_shown].iter().enumerate() {
            let gap = " ".repeat(width - entry.name.width());
            let mark = if self.kept.name() == Some(&entry.name) { '*' } else { ' ' };
            let age = entry.changed.elapsed().unwrap_or_default();
            let what = match Saved::read(&shelf.path(&entry.name)) {
                Ok(saved) => {
                    let n_turns = saved.turns.iter().filter(|turn| matches!(turn, Message::User(_))).count();
                    format!("{n_turns:>3} {}  {}", if n_turns == 1 { "turn " } else { "turns" }, saved.model)
                }
                Err(damage) => format!("damaged: {damage}"),
            };
            let row = format!("{mark}{:>3}  {}{gap}  {:>12}  {what}", index + 1, entry.name, since(age));
            tell!("{}", print::plain(&row));
        }
        if n_shown < entries.len() {
            aside(&format!("{} older ones: /list all", entries.len() - n_shown));
        }
        self.kept.listed = entries.into_iter().map(|entry| entry.name).collect();
        Ok(())
    }

    pub(super) fn switch(&mut self, wanted: &str) -> Result<(), String> {
        let name = self.kept.resolve(wanted)?;
        if self.kept.name() == Some(&name) {
            return Err(format!("{name} is already the current conversation"));
        }
        self.leave_conversation()?;
        let shelf = self.kept.needed()?;
        self.open_kept(&shelf, &name, &Named::default())
    }

    pub(super) fn rename(&mut self, wanted: &str) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let name = shelf::safe(wanted);
        match &mut self.kept.open {
            Some(open) if open.name == name => {}
            // Another program took it away: it is written again, under the new name.
            Some(open) if !shelf.has(&open.name) && !shelf.has(&name) => {
                (self.kept.open, self.kept.wanted) = (None, Some(name.clone()));
            }
            Some(open) => shelf.rename(open, &name)?,
            None if shelf.has(&name) => {
                return Err(format!("there is a conversation named {name}; choose another name"));
            }
            None => self.kept.wanted = Some(name.clone()),
        }
        aside(&format!("this conversation is now named {name}"));
        Ok(())
    }

    /// The name of a conversation that may be deleted.
    pub(super) fn deletable(&mut self, wanted: &str) -> Result<String, String> {
        let name = self.kept.resolve(wanted)?;
        match self.kept.name() == Some(&name) {
            true => Err(format!("{name} is the current conversation; /new starts another")),
            false => Ok(name),
        }
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), String> {
        self.kept.needed()?.delete(name)?;
        aside(&format!("{name} deleted"));
        Ok(())
    }

    /// How to come back, for somebody who leaves; an error if what they said is not kept.
    pub(super) fn farewell(&self) -> Result<(), Failure> {
        let name = self.kept.name();
        if let Some(Failed { why, text }) = &self.kept.failed {
            if let Some(file) = self.kept.filed(text) {
                aside(&format!("saved in {0}; /load {0} resumes it", file.path.display()));
                return Ok(());
            }
            let what = match name {
                Some(name) => {
                    format!("the latest messages are not saved; {name} has an earlier state")
                }
                None => "this conversation is not saved".to_owned(),
            };
            return Err(Failure::runtime(format!("{what}: {why}")));
        }
        if let Some(name) = name {
            aside(&format!("saved as {name}; fathom chat --session {name} resumes it"));
        }
        Ok(())
    }
}

/// Calls that nobody answered before the program ended get results that say so: the format wants one for each.
fn answer_last_calls(turns: &mut Vec<Message>) {
    let n_results = turns.iter().rev().take_while(|turn| matches!(turn, Message::Tool(_))).count();
    let last = turns.len().checked_sub(n_results + 1).and_then(|index| turns.get(index));
    if let Some(Message::Assistant(said)) = last {
        let unanswered = said.calls.get(n_results..).unwrap_or_default().to_vec();
        turns.extend(calls::refuse(&unanswered, "the program ended before this call was answered"));
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// So long ago, in the one unit that matters.
fn since(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0 => "just now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        1440..2880 => "1 day ago".to_owned(),
        _ => format!("{} days ago", minutes / 1440),
    }
}

/// Enough of a message to know it again.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
