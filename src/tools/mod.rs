//! The tools of a conversation: what the model may call, the commands behind the names, and what they return.

pub mod command;
mod schemas;

pub use command::Limits;

use crate::closest::closest;
use fathom_text::chat::{Tool, ToolCall};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Tools, and what answers them.
#[derive(Clone, Debug)]
pub struct Toolbox {
    /// What is announced to the model.
    pub tools: Vec<Tool>,
    /// Commands of the shell by the tool they stand for.
    commands: BTreeMap<String, String>,
    /// How far a command may go.
    pub limits: Limits,
    /// How often in a row the model may call before a person is asked.
    pub rounds: usize,
    /// Commands that need no confirmation.
    allowed: Allowed,
}

#[derive(Clone, Debug)]
enum Allowed {
    All,
    These(BTreeSet<String>),
}

impl Toolbox {
    /// No tools at all.
    pub fn empty() -> Toolbox {
        let allowed = Allowed::These(BTreeSet::new());
        Toolbox {
            tools: Vec::new(),
            commands: BTreeMap::new(),
            limits: Limits::default(),
            rounds: 0,
            allowed,
        }
    }

    /// The tools of a file, without commands.
    ///
    /// # Errors
    /// A file that cannot be read or holds anything else: where, expected, found.
    pub fn read(path: &Path) -> Result<Toolbox, String> {
        Ok(Toolbox { tools: schemas::read(path)?, ..Toolbox::empty() })
    }

    /// Puts a command behind a tool.
    ///
    /// # Errors
    /// A name that no tool has, or one that has a command.
    pub fn add_command(&mut self, name: &str, command: &str) -> Result<(), String> {
        if !self.has(name) {
            return Err(format!("no tool has the name {name:?}{}; {}", self.similar(name), self.names()));
        }
        match self.commands.insert(name.to_owned(), command.to_owned()) {
            Some(_) => Err(format!("{name:?} has two commands: expected one")),
            None => Ok(()),
        }
    }

    /// Every command may run without being asked for.
    pub fn allow_all(&mut self) {
        self.allowed = Allowed::All;
    }

    /// This tool's command may run without being asked for.
    pub fn allow(&mut self, name: &str) {
        if let Allowed::These(names) = &mut self.allowed {
            names.insert(name.to_owned());
        }
    }

    /// Whether this tool's command may run without being asked for.
    pub fn allows(&self, name: &str) -> bool {
        match &self.allowed {
            Allowed::All => true,
            Allowed::These(names) => names.contains(name),
        }
    }

    /// Whether a tool of this name was announced.
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name() == name)
    }

    /// The command behind a tool.
    pub fn command(&self, name: &str) -> Option<&str> {
        self.commands.get(name).map(String::as_str)
    }

    /// Whether any tool has a command.
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// What to tell a model that calls what there is not.
    pub fn unknown(&self, call: &ToolCall) -> String {
        format!("there is no tool {:?}; {}", call.name, self.names())
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.tools.iter().map(Tool::name).collect();
        format!("there are {}", names.join(", "))
    }

    fn similar(&self, name: &str) -> String {
        let meant = closest(name, self.tools.iter().map(Tool::name), 0.75);
        meant.map_or(String::new(), |name| format!("; did you mean {name:?}?"))
    }
}
