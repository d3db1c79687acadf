//! The model of a conversation, and another one for the same conversation.

use super::input::Input;
use super::kept::Kept;
use super::saved::Saved;
use super::{Edited, Flow, Repl, Setup, Totals, Trouble, tell_prose};
use crate::builtin;
use crate::cli::model::Loaded;
use crate::cli::named::Named;
use crate::cli::settings::is_builtin;
use crate::cli::{Failure, calls};
use fathom_engine::Session;
use fathom_text::answer::Constraint;
use fathom_text::chat::Chat;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How a chat with one model ended.
pub(crate) enum Left {
    /// The person left.
    Done,
    /// They want another model, `None` for the built-in one, and the same conversation.
    For(Option<PathBuf>, Box<Setup>),
    /// This model does not do for the conversation that came to it: why.
    Refused(String, Box<Setup>),
}

/// What comes to another model from the one before.
pub(crate) struct Carried {
    pub(super) input: Input,
    pub(super) kept: Kept,
    pub(super) saved: Saved,
    pub(super) files: Vec<String>,
    pub(super) edited: Vec<Edited>,
    pub(super) totals: Totals,
    pub(super) stats: bool,
}

/// What a model and a setup make.
pub(super) struct Parts {
    pub(super) chat: Chat,
    pub(super) session: Session,
    pub(super) constraint: Option<Constraint>,
}

impl Parts {
    fn new(loaded: &Loaded, setup: &Setup) -> Result<Parts, Failure> {
        let chat = Chat::new(&loaded.tokenizer)?;
        chat.check()?;
        calls::check(&chat, &setup.toolbox.tools).map_err(Failure::invalid)?;
        let schema = setup.schema.as_ref();
        Ok(Parts {
            chat,
            session: setup.keep.session(loaded)?,
            constraint: schema.map(|schema| schema.constraint(&loaded.tokenizer)).transpose()?,
        })
    }
}

/// A conversation with this model: a new one, or the one that another model had, unless that is refused.
pub(super) fn resume<'l>(loaded: &'l Loaded, mut setup: Setup) -> Result<Result<Repl<'l>, Left>, Failure> {
    let parts = match Parts::new(loaded, &setup) {
        Err(why) if setup.carried.is_some() => return Ok(Err(Left::Refused(why.message, Box::new(setup)))),
        parts => parts?,
    };
    let Some(carried) = setup.carried.take() else {
        return Repl::new(loaded, setup, parts, None).map(Ok);
    };
    let Carried { input, kept, saved, files, edited, totals, stats } = *carried;
    let mut repl = Repl::new(loaded, setup, parts, Some((input, kept)))?;
    let taken = repl.take_over(saved.clone(), Path::new("/model"), &Named::default());
    (repl.files, repl.edited) = (files, edited);
    (repl.totals, repl.stats) = (totals, stats);
    Ok(match taken {
        Ok(()) => Ok(repl),
        Err(why) => Err(Left::Refused(why, Box::new(repl.into_setup(saved)))),
    })
}

impl Repl<'_> {
    pub(super) fn show_model(&self) {
        let file = self.loaded.path().filter(|path| *path != Path::new(&self.loaded.name));
        let file = file.map_or(String::new(), |path| format!(" ({})", path.display()));
        tell_prose(&format!(
            "{}{file}, with {} tokens of context; /model MODEL changes to another one",
            self.loaded.name,
            self.session.n_ctx()
        ));
    }

    /// Breaks if there is another model to load.
    pub(super) fn change_model(&mut self, wanted: &Path) -> Result<Flow, Trouble> {
        let path = self.settings.named_model(wanted)?;
        let is_builtin = is_builtin(&path);
        if !is_builtin && !path.exists() {
            return Err(Trouble::Mistake(format!(
                "{}: there is no such file or folder; `fathom models` lists the models on this machine",
                path.display()
            )));
        }
        let model = (!is_builtin).then_some(path);
        let place = model.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        if place == self.loaded.path() {
            let name = if is_builtin { builtin::NAME.to_owned() } else { wanted.display().to_string() };
            return Err(Trouble::Mistake(format!("{name} is already the model of this conversation")));
        }
        self.next_model = Some(model);
        Ok(ControlFlow::Break(()))
    }

    /// What the next model begins with.
    pub(super) fn into_setup(self, saved: Saved) -> Setup {
        Setup {
            talk: self.talk,
            toolbox: self.toolbox,
            own_tools: Some(self.own_tools),
            schema: self.schema,
            keep: self.keep,
            remembers: self.remembers,
            begin: None,
            named: self.named,
            first: None,
            settings: self.settings,
            carried: Some(Box::new(Carried {
                input: self.input,
                kept: self.kept,
                saved,
                files: self.files,
                edited: self.edited,
                totals: self.totals,
                stats: self.stats,
            })),
        }
    }
}
