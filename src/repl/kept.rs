//! The conversations that are kept: which one is open, and the commands about them.

use super::saved::Saved;
use super::shelf::{self, Open, Shelf};
use super::{Repl, complain};
use crate::chat::markers::END_THINK;
use crate::chat::{Conversation, Message, Start};
use crate::cli::show::aside;
use crate::cli::{calls, print, tools};
use std::path::Path;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Rows of `/list`; `/list all` has them all.
const N_LISTED: usize = 20;

/// Which conversation a chat begins with, besides a new one.
pub(crate) enum Begin {
    /// The one that changed last.
    Last,
    /// The one of this name; a new one gets it.
    Named(String),
}

/// What is open, and where the others are.
pub(super) struct Kept {
    /// Or why nothing is kept.
    shelf: Result<Shelf, String>,
    open: Option<Open>,
    /// The name that the conversation gets when it is first written.
    wanted: Option<String>,
    /// The names behind the numbers that the person saw last.
    listed: Vec<String>,
}

impl Kept {
    /// A folder that cannot be made is told, and everything else goes on.
    pub(super) fn new(wanted: bool) -> Kept {
        let shelf = match wanted {
            true => {
                Shelf::usual().inspect_err(|why| aside(&format!("note: conversations are not kept: {why}")))
            }
            false => Err("--no-history".to_owned()),
        };
        Kept { shelf, open: None, wanted: None, listed: Vec::new() }
    }

    pub(super) fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref().ok()
    }

    fn needed(&self) -> Result<Shelf, String> {
        self.shelf.clone().map_err(|why| format!("conversations are not kept here ({why})"))
    }

    /// The name that a message suggests, if there is none yet.
    pub(super) fn suggest(&mut self, message: &str) {
        if self.open.is_none() && self.wanted.is_none() {
            self.wanted = Some(shelf::name_of(message));
        }
    }

    /// What comes next is another conversation.
    pub(super) fn close(&mut self) {
        (self.open, self.wanted) = (None, None);
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

impl Repl<'_, '_> {
    fn saved(&self) -> Saved {
        let (model, talk) = (self.loaded.name.clone(), self.talk.clone());
        let (tools, turns) = (self.toolbox.tools.clone(), self.turns.clone());
        let message_ids = turns.iter().map(|turn| self.ids_of(turn)).collect();
        Saved { model, talk, tools, turns, message_ids }
    }

    fn ids_of(&self, turn: &Message) -> Vec<u32> {
        let Message::Assistant(answer) = turn else { return Vec::new() };
        self.spoken.ids_of(answer).unwrap_or_default().to_vec()
    }

    /// Writes the conversation if it changed. An empty one is never written, and one of which all was taken back goes.
    pub(super) fn keep_conversation(&mut self) {
        let Ok(shelf) = self.kept.shelf.clone() else { return };
        let done = if !self.turns.is_empty() {
            self.try_keep(&shelf)
        } else if let Some(open) = self.kept.open.take() {
            shelf.withdraw(&open)
        } else {
            Ok(())
        };
        if let Err(why) = done {
            complain(&format!("{why}; conversations are no longer kept (/save FILE writes one)"));
            self.kept.shelf = Err(why);
        }
    }

    fn try_keep(&mut self, shelf: &Shelf) -> Result<(), String> {
        let text = self.saved().text()?;
        if let Some(open) = &mut self.kept.open {
            if shelf.update(open, text)? {
                let name = &open.name;
                aside(&format!(
                    "note: another program changed this conversation; this one goes on as {name}"
                ));
            }
            return Ok(());
        }
        let name = self.kept.wanted.take().unwrap_or_else(|| {
            let asked = self.turns.iter().find_map(|turn| match turn {
                Message::User(text) => Some(text.as_str()),
                _ => None,
            });
            shelf::name_of(asked.unwrap_or_default())
        });
        let (open, n_gone) = shelf.add(&name, text)?;
        if n_gone > 0 {
            aside(&format!("note: the shelf is full; the {n_gone} oldest kept conversations are deleted"));
        }
        self.kept.open = Some(open);
        Ok(())
    }

    /// What `--continue` and `--session` ask for.
    pub(super) fn begin(&mut self, begin: Begin) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let name = match begin {
            Begin::Last => match shelf.entries().into_iter().next() {
                Some(entry) => entry.name,
                None => {
                    aside("there is no conversation to go on with yet: this is a new one");
                    return Ok(());
                }
            },
            Begin::Named(name) => shelf::safe(&name),
        };
        if shelf.has(&name) {
            return self.open_kept(&shelf, &name);
        }
        aside(&format!("{name}: a new conversation"));
        self.kept.wanted = Some(name);
        Ok(())
    }

    fn open_kept(&mut self, shelf: &Shelf, name: &str) -> Result<(), String> {
        let path = shelf.path(name);
        let saved = Saved::read(&path)?;
        let n_messages = saved.turns.len();
        self.take_over(saved, &path)?;
        let text = self.saved().text()?;
        self.kept.open = Some(shelf.opened(name, text));
        self.kept.wanted = None;
        let last = self.turns.iter().rev().find_map(|turn| match turn {
            Message::User(text) => Some(text.as_str()),
            _ => None,
        });
        aside(&format!(
            "{name}: {n_messages} messages; the last of yours: {}",
            first_line(last.unwrap_or_default())
        ));
        self.show_last_answer();
        Ok(())
    }

    /// Goes on with what a file holds; if it cannot be used, nothing changes.
    fn take_over(&mut self, saved: Saved, path: &Path) -> Result<(), String> {
        let Saved { model, talk, tools, turns, message_ids } = saved;
        // Commands are never those of a file.
        let tools = if tools.is_empty() { self.own_tools.clone() } else { tools };
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
        if model != self.loaded.name {
            aside(&format!("this conversation was had with {model}"));
        }
        let end_think = self.loaded.tokenizer.special(END_THINK);
        for (turn, ids) in turns.iter().zip(&message_ids) {
            let Message::Assistant(answer) = turn else { continue };
            let reasons = ids.iter().any(|id| Some(*id) == end_think);
            let start = if reasons { Start::Reasoning } else { Start::Content };
            self.spoken.insert(self.loaded.tokenizer, &tools, answer, (start, ids));
        }
        (self.talk, self.turns, self.n_seeds) = (talk, turns, 0);
        self.toolbox.tools = tools;
        self.files.clear();
        self.held = None;
        Ok(())
    }

    /// Without a file the conversation is kept under its name.
    pub(super) fn save(&mut self, path: Option<&Path>) -> Result<(), String> {
        if let Some(path) = path {
            self.saved().write(path)?;
            let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            aside(&format!("{}: {} messages saved", place.display(), self.turns.len()));
            return Ok(());
        }
        let shelf = self.kept.needed().map_err(|why| format!("{why}; /save FILE writes one"))?;
        if self.turns.is_empty() {
            return Err("nothing was said yet".to_owned());
        }
        self.try_keep(&shelf)?;
        let name = self.kept.name().unwrap_or_default();
        aside(&format!("kept as {name}: {}", shelf.path(name).display()));
        Ok(())
    }

    pub(super) fn load(&mut self, path: &Path) -> Result<(), String> {
        self.take_over(Saved::read(path)?, path)?;
        self.kept.close();
        aside(&format!("{}: {} messages loaded", path.display(), self.turns.len()));
        Ok(())
    }

    pub(super) fn list(&mut self, all: bool) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let entries = shelf.entries();
        if entries.is_empty() {
            return Err("no conversation is kept yet".to_owned());
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
            return Err(format!("{name} is the present conversation"));
        }
        self.keep_conversation();
        self.open_kept(&self.kept.needed()?, &name)
    }

    pub(super) fn rename(&mut self, wanted: &str) -> Result<(), String> {
        let shelf = self.kept.needed()?;
        let name = shelf::safe(wanted);
        match &mut self.kept.open {
            Some(open) if open.name == name => {}
            Some(open) => shelf.rename(open, &name)?,
            None if shelf.has(&name) => {
                return Err(format!("there is a conversation named {name}; choose another name"));
            }
            None => self.kept.wanted = Some(name.clone()),
        }
        aside(&format!("this conversation is named {name}"));
        Ok(())
    }

    /// The name of a conversation that may be deleted.
    pub(super) fn deletable(&mut self, wanted: &str) -> Result<String, String> {
        let name = self.kept.resolve(wanted)?;
        match self.kept.name() == Some(&name) {
            true => Err(format!("{name} is the present conversation; /new begins another one")),
            false => Ok(name),
        }
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), String> {
        self.kept.needed()?.delete(name)?;
        aside(&format!("{name} is deleted"));
        Ok(())
    }

    /// How to come back, for somebody who leaves.
    pub(super) fn farewell(&self) {
        if let Some(name) = self.kept.name() {
            aside(&format!("kept as {name}; fathom chat --continue goes on with it"));
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let told = |seconds: u64| since(Duration::from_secs(seconds));
        assert_eq!(told(59), "just now");
        assert_eq!(told(150), "2 min ago");
        assert_eq!(told(7300), "2 h ago");
        assert_eq!(told(100_000), "1 day ago");
        assert_eq!(told(1_000_000), "11 days ago");
    }
}
