//! What the commands of a conversation do.

use super::command::{Command, no_setting};
use super::table::help;
use super::{Edited, Flow, GO_ON, Repl, Totals, Trouble, editor, export, tell, tell_prose};
use crate::cli::show::aside;
use crate::cli::talk::{self, TalkArgs};
use crate::cli::{calls, print};
use fathom_engine::counted::counted;
use fathom_text::chat::{Conversation, Message, System};
use std::fmt::Write;
use std::ops::ControlFlow;

impl Repl<'_> {
    /// Breaks to leave.
    pub(super) fn obey(&mut self, command: Command) -> Result<Flow, Trouble> {
        match command {
            Command::Help(only) => tell(&help(only)),
            Command::New => {
                self.leave_conversation()?;
                self.turns.clear();
                self.edited.clear();
                self.kept.close();
                (self.held, self.warned) = (Some(0), false);
                aside("a new conversation");
                self.drop_files();
            }
            Command::System(None) => match &self.talk.system {
                Some(text) => tell(text),
                None => tell("there is no system prompt; /system TEXT sets one"),
            },
            Command::System(Some(text)) => {
                let done = if text.is_some() { "set" } else { "removed" };
                self.talk.system = text;
                let then = match self.turns.is_empty() {
                    true => "",
                    false => "; the next answer recomputes the whole conversation",
                };
                aside(&format!("system prompt {done}{then}"));
            }
            Command::ThinkBudget(budget) => {
                self.talk.reasoning_budget = talk::n_predict(&budget)?;
                self.talk.think = true;
                aside(&self.thinking());
            }
            Command::Think(None) => tell(&self.thinking()),
            Command::Think(Some(wanted)) => {
                self.talk.think = wanted;
                aside(&self.thinking());
            }
            Command::Undo => self.undo()?,
            Command::Read(paths) => self.read_files(&paths)?,
            Command::Glob(pattern) => self.read_pattern(&pattern)?,
            Command::Set(None) => self.show_settings(),
            Command::Set(Some((name, value))) => self.set(&name, &value)?,
            Command::Tools => tell(&calls::list(&self.toolbox)),
            Command::Stats => self.show_stats(),
            Command::Context => self.show_context(),
            Command::History => self.show_history(),
            Command::Thinking(None) => tell(self.shown_thinking()),
            Command::Thinking(Some(shown)) => {
                self.talk.hide_thinking = !shown;
                aside(self.shown_thinking());
            }
            Command::Export(form, path) => {
                export::write(&self.conversation(), &self.loaded.name, form, &path)?;
                aside(&format!("{}: {} written", path.display(), self.n_messages()));
            }
            Command::Copy(block) => self.copy(block)?,
            Command::Write(path, block) => self.write_answer(&path, block)?,
            Command::Shell { command, sends } => self.shell(&command, sends)?,
            Command::Model(None) => self.show_model(),
            Command::Model(Some(model)) => return self.change_model(&model),
            Command::Edit => return self.edit(),
            Command::Save(path) => self.save(path.as_deref())?,
            Command::Load(path) => self.load(&path)?,
            Command::List { all } => self.list(all)?,
            Command::Switch(wanted) => self.switch(&wanted)?,
            Command::Rename(name) => self.rename(&name)?,
            Command::Delete(wanted) => self.delete_if_sure(&wanted)?,
            Command::Regen => return self.regenerate(),
            Command::Quit => {
                self.leave_conversation()?;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(GO_ON)
    }

    /// Whether what the model thinks is shown.
    fn shown_thinking(&self) -> &'static str {
        match (self.talk.hide_thinking, self.talk.think) {
            (false, true) => "thinking is shown",
            (true, true) => "thinking is hidden",
            (false, false) => "thinking is shown, but the model does not think: /think on",
            (true, false) => "thinking is hidden, and the model does not think: /think on",
        }
    }

    /// Whether the model thinks, and for how long.
    fn thinking(&self) -> String {
        let on = if self.talk.think { "on" } else { "off" };
        match self.talk.reasoning_budget.0 {
            Some(budget) => format!("thinking: {on}, with at most {budget} tokens"),
            None => format!("thinking: {on}"),
        }
    }

    /// What is deleted is gone: a yes is needed.
    fn delete_if_sure(&mut self, wanted: &str) -> Result<(), Trouble> {
        let name = self.deletable(wanted)?;
        match self.is_sure(&format!("delete {}? [y/N] ", print::exact(&name)))? {
            true => Ok(self.delete(&name)?),
            false => {
                aside("nothing deleted");
                Ok(())
            }
        }
    }

    /// Whether the person says yes.
    pub(super) fn is_sure(&mut self, question: &str) -> Result<bool, Trouble> {
        let said = self.input.ask(question).map_err(Trouble::Fatal)?.unwrap_or_default();
        Ok(matches!(said.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    pub(super) fn n_messages(&self) -> String {
        counted(self.turns.len(), "message")
    }

    /// Files that wait for the next message go, which is told. True if there were any.
    pub(super) fn drop_files(&mut self) -> bool {
        let n_files = std::mem::take(&mut self.files).len();
        match n_files {
            0 => {}
            1 => aside("dropped 1 file that was waiting for your next message"),
            n => aside(&format!("dropped {n} files that were waiting for your next message")),
        }
        n_files > 0
    }

    fn undo(&mut self) -> Result<(), String> {
        // They came last.
        if self.drop_files() {
            return Ok(());
        }
        let last = self.turns.iter().rposition(|message| matches!(message, Message::User(_)));
        let last = last.ok_or("there is nothing to take back")?;
        let edited = self.edited.pop_if(|edited| edited.at == last);
        self.turns.truncate(last);
        (self.held, self.warned, self.words_at) = (None, false, 0);
        match edited {
            Some(before) => {
                self.turns.extend(before.turns);
                aside(&format!("the edit is taken back; {} now", self.n_messages()));
            }
            None => aside(&format!("taken back; {} left", self.n_messages())),
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = name.replace('-', "_");
        let sampling = &mut self.talk.sampling;
        match name.as_str() {
            "temperature" | "temp" => sampling.temperature = talk::temperature(value)?,
            "top_k" => sampling.top_k = talk::top_k(value)?,
            "typical_p" | "typical" => sampling.typical_p = talk::share(value)?,
            "top_p" => sampling.top_p = talk::share(value)?,
            "min_p" => sampling.min_p = talk::share(value)?,
            "seed" => {
                sampling.seed = talk::seed(value)?;
                self.n_seeds = 0;
            }
            "n_predict" => self.talk.n_predict = talk::n_predict(value)?,
            "reasoning_budget" => self.talk.reasoning_budget = talk::n_predict(value)?,
            "hide_thinking" => self.talk.hide_thinking = on_or_off(value)?,
            "markdown" => self.talk.no_markdown = !on_or_off(value)?,
            "stats" => self.stats = on_or_off(value)?,
            _ => match sampling.adjust.set(&name, value) {
                Some(set) => set?,
                None => return Err(no_setting(&name)),
            },
        }
        aside(&format!("{name} = {value}"));
        Ok(())
    }

    fn show_settings(&self) {
        let TalkArgs { sampling, n_predict, reasoning_budget, hide_thinking, no_markdown, think, .. } =
            &self.talk;
        let switch = |on: bool| if on { "on" } else { "off" };
        let or_minus = |number: Option<u64>| number.map_or("-1".to_owned(), |number| number.to_string());
        let adjust = sampling.adjust.settings().map(|(name, value)| format!("{name} {value}\n")).concat();
        tell(&format!(
            "temperature {}\ntop_k {}\ntypical_p {}\ntop_p {}\nmin_p {}\n{adjust}seed {}\nn_predict {}\nreasoning_budget {}\nhide_thinking {}\nmarkdown {}\nstats {}\nthinking {} (/think)",
            sampling.temperature,
            sampling.top_k,
            sampling.typical_p,
            sampling.top_p,
            sampling.min_p,
            or_minus(sampling.seed.0),
            or_minus(n_predict.0.map(|n| n as u64)),
            or_minus(reasoning_budget.0.map(|n| n as u64)),
            switch(*hide_thinking),
            switch(!*no_markdown),
            switch(self.stats),
            switch(*think),
        ));
    }

    fn show_stats(&self) {
        let Totals { answers, prefilled, generated, seconds } = self.totals;
        tell_prose(&format!(
            "{} | {}, {} read and {generated} written in {seconds:.1} s | context {} of {}",
            self.n_messages(),
            counted(answers, "answer"),
            counted(prefilled, "token"),
            self.n_used(),
            self.session.n_ctx(),
        ));
    }

    /// The end of the last answer, for somebody who comes back.
    pub(super) fn show_last_answer(&self) {
        const LINES: usize = 12;
        let Some(Message::Assistant(answer)) = self.turns.last() else { return };
        let lines: Vec<&str> = answer.content.trim().lines().collect();
        let n_left_out = lines.len().saturating_sub(LINES);
        if n_left_out > 0 {
            let first = if n_left_out == 1 { "line".to_owned() } else { format!("{n_left_out} lines") };
            aside(&format!("its last answer, without the first {first} (/history shows all of it):"));
        } else if !lines.is_empty() {
            aside("its last answer:");
        }
        tell_prose(&lines[n_left_out..].join("\n"));
    }

    /// The conversation as it stands.
    fn show_history(&self) {
        let messages = self.conversation().messages;
        if messages.is_empty() {
            return tell("the conversation is empty");
        }
        let mut text = String::new();
        for message in &messages {
            let (who, said) = match message {
                // It only says which tools there are.
                Message::System(system) if system.content.is_empty() => continue,
                Message::System(system) => ("system", system.content.as_str()),
                Message::User(said) => ("you", said.as_str()),
                Message::Assistant(answer) => {
                    let said = Some(answer.content.trim_start().to_owned()).filter(|said| !said.is_empty());
                    let parts: Vec<String> = said
                        .into_iter()
                        .chain(answer.calls.iter().map(|call| print::exact(&calls::shown(call)).into_owned()))
                        .collect();
                    writeln!(text, "model: {}\n", parts.join("\nmodel: ")).expect("a string takes any text");
                    continue;
                }
                Message::Tool(result) => ("tool", result.content.as_str()),
            };
            writeln!(text, "{who}: {said}\n").expect("a string takes any text");
        }
        tell_prose(text.trim_end());
    }

    /// How much of the context is taken, and by what.
    fn show_context(&self) {
        let n_tokens = |text: &str| self.loaded.tokenizer.encode_plain(text).len();
        let (mut system, mut tools, mut person, mut model) = (0, 0, 0, 0);
        for message in &self.conversation().messages {
            match message {
                Message::System(it) => {
                    system += n_tokens(&it.content);
                    tools += self.announcement(it);
                }
                Message::User(said) => person += n_tokens(said),
                Message::Assistant(answer) => model += n_tokens(&answer.content),
                Message::Tool(result) => person += n_tokens(&result.content),
            }
        }
        let (n_ctx, held) = (self.session.n_ctx(), self.n_used());
        let files: usize = self.files.iter().map(|text| n_tokens(text)).sum();
        let tools = if tools > 0 { format!("{tools} of the tools, ") } else { String::new() };
        let waiting =
            if files > 0 { format!("; {files} of files wait for your next message") } else { String::new() };
        tell_prose(&format!(
            "{held} of {n_ctx} tokens are in use ({:.1} %), {} are left; the conversation has {system} of the system prompt, {tools}{person} \
             of yours and {model} of the model's{waiting}",
            100.0 * held as f64 / n_ctx as f64,
            n_ctx.saturating_sub(held),
        ));
    }

    /// Tokens that tell the model of its tools.
    fn announcement(&self, system: &System) -> usize {
        let of = |message: &System| {
            let messages = vec![Message::System(message.clone())];
            let rendered = self.chat.render(&Conversation { messages, thinking: false });
            rendered.and_then(|rendered| rendered.ids(&self.loaded.tokenizer)).map_or(0, |ids| ids.len())
        };
        of(system).saturating_sub(of(&System { tools: Vec::new(), ..system.clone() }))
    }

    /// Tokens of the context that the conversation takes. The session may still hold those of another one.
    fn n_used(&self) -> usize {
        match self.held {
            Some(held) => held,
            None if self.turns.is_empty() => 0,
            None => self
                .chat
                .prompt_keeping(&self.loaded.tokenizer, &self.conversation(), &self.spoken)
                .map_or(self.session.tokens().len(), |prompt| prompt.tokens.len()),
        }
    }

    /// The last message in an editor, and an answer to what it became.
    fn edit(&mut self) -> Result<Flow, Trouble> {
        let last = self.turns.iter().rposition(|message| matches!(message, Message::User(_)));
        let last = last.ok_or("there is no message to edit".to_owned())?;
        let Message::User(text) = &self.turns[last] else { unreachable!("it was just found") };
        let edited = editor::edit(text)?;
        if edited.trim().is_empty() || edited == *text {
            aside("the message is unchanged");
            return Ok(GO_ON);
        }
        let turns = self.turns.split_off(last);
        aside(match turns.len() {
            1 => "the message is replaced; /undo brings it back",
            2 => "the message and its answer are replaced; /undo brings them back",
            _ => "the message, its answer and the tool results are replaced; /undo brings them back",
        });
        self.edited.push(Edited { at: last, turns });
        self.turns.push(Message::User(edited));
        self.words_at = 0;
        self.answer()
    }
}

fn on_or_off(value: &str) -> Result<bool, String> {
    match value {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        other => Err(format!("expected on or off, found `{other}`")),
    }
}
