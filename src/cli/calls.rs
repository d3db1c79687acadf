//! Calls of tools on their way: shown, confirmed, answered.

use super::show::{aside, aside_whole, call_json};
use super::{Failure, print, signals};
use crate::tools::Toolbox;
use crate::tools::command::{self, End, failure};
use fathom_text::chat::{Assistant, Chat, Message, Tool, ToolCall, ToolResult};
use fathom_text::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Calls up to this long are shown in one line.
const ONE_LINE: usize = 100;
/// Longer calls do not stand in the question whether to run them, but before it.
const ONE_QUESTION: usize = 400;
/// The same for a command alone.
const ONE_COMMAND: usize = 100;
/// So much of a result is shown.
const SHOWN_RESULT: usize = 160;

/// Tokens that a result takes beside what it says: its tags, and the line about what is missing.
const FORM: usize = 48;
/// A result of which fewer tokens have room is not cut.
const LEAST_CUT: usize = 128;

/// Puts a question to the person; `None`: they want to stop.
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<Option<String>, Failure>;

/// All calls of an answer with their results.
pub(crate) struct Answered {
    /// One message for each call, in order.
    pub results: Vec<Message>,
    /// The person stopped it: what was not answered says so.
    pub stopped: bool,
}

/// Calls are understood in DeepSeek-V3.2's format alone.
pub(crate) fn check(chat: &Chat, tools: &[Tool]) -> Result<(), &'static str> {
    if tools.is_empty() || chat.is_v32() {
        return Ok(());
    }
    Err(
        "--tools: expected a model with DeepSeek-V3.2's chat format, found one with a chat template of its own; tool calls in \
         other formats are not supported, so leave --tools out",
    )
}

/// A call for people.
pub(crate) fn shown(call: &ToolCall) -> String {
    let value = |value: &Value| value.to_string();
    let pairs: Vec<String> = call.arguments.iter().map(|(key, it)| format!("{key}: {}", value(it))).collect();
    let line = format!("call {}({})", call.name, pairs.join(", "));
    if line.chars().count() <= ONE_LINE {
        return line;
    }
    let mut text = format!("call {}", call.name);
    for (key, it) in &call.arguments {
        // Text is shown as it reads, line under line.
        let it = it.as_str().map_or_else(|| value(it), str::to_owned);
        write!(text, "\n  {key}: {}", it.trim_end().replace('\n', "\n    "))
            .expect("a string takes any text");
    }
    text
}

/// Tokens of the context that results of commands may fill. The answer needs some too: a conversation that a result has filled to
/// the end cannot go on. What a person typed is never cut.
pub(crate) struct Room<'t> {
    tokenizer: &'t Tokenizer,
    tokens: usize,
    /// Calls that share them.
    n_calls: usize,
}

impl<'t> Room<'t> {
    /// `free`: tokens of the context that nothing takes yet.
    pub(crate) fn new(tokenizer: &'t Tokenizer, free: usize, n_calls: usize) -> Room<'t> {
        Room { tokenizer, tokens: free.saturating_sub(FORM * n_calls) / 4 * 3, n_calls }
    }

    /// As much of a call's result as there is room for, with a line about what is missing, for the model and for the person.
    fn fit(&mut self, call: &ToolCall, result: String) -> String {
        let share = self.tokens / self.n_calls.max(1);
        self.n_calls = self.n_calls.saturating_sub(1);
        let ids = self.tokenizer.encode_plain(&result);
        // Where next to nothing would be left of it, a larger context is what helps, and that needs all of it.
        if ids.len() <= share || share < LEAST_CUT {
            self.tokens = self.tokens.saturating_sub(ids.len());
            return result;
        }
        self.tokens -= share;
        let bytes = self.tokenizer.decode_bytes(&ids[..share]).unwrap_or_default();
        let begin = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let (kept, all) = (begin.len(), result.len());
        aside(&format!(
            "note: the context has no room for the whole result of {}: the model gets the first {kept} of {all} bytes",
            call.name
        ));
        format!("{begin}\n[cut: the first {kept} of {all} bytes; there is no room for more]")
    }
}

/// Answers calls: commands where there are any, the person where there are none.
pub(crate) fn answer(
    calls: &[ToolCall],
    toolbox: &mut Toolbox,
    room: &mut Room<'_>,
    ask: Ask<'_>,
) -> Result<Answered, Failure> {
    let mut answered = Answered { results: Vec::with_capacity(calls.len()), stopped: false };
    for call in calls {
        let content = match answered.stopped {
            true => None,
            false => one(call, toolbox, room, ask)?,
        };
        answered.stopped |= content.is_none();
        let content = content.unwrap_or_else(|| failure("stopped by the user", &[]));
        answered.results.push(Message::Tool(ToolResult { call_id: call.id.clone(), content }));
    }
    Ok(answered)
}

/// Results that say why nobody answered.
pub(crate) fn refuse(calls: &[ToolCall], why: &str) -> Vec<Message> {
    let result =
        |call: &ToolCall| Message::Tool(ToolResult { call_id: call.id.clone(), content: failure(why, &[]) });
    calls.iter().map(result).collect()
}

/// The result of a call; `None`: the person wants to stop.
fn one(
    call: &ToolCall,
    toolbox: &mut Toolbox,
    room: &mut Room<'_>,
    ask: Ask<'_>,
) -> Result<Option<String>, Failure> {
    if !toolbox.has(&call.name) {
        let problem = toolbox.unknown(call);
        aside(&problem);
        return Ok(Some(failure(&problem, &[])));
    }
    let Some(command) = toolbox.command(&call.name).map(str::to_owned) else {
        let typed = ask(&format!("result of {} (empty: none)> ", call.name))?;
        return Ok(typed.map(|text| match text.trim().is_empty() {
            true => failure("the user gave no result", &[]),
            false => text,
        }));
    };
    if !toolbox.allows(&call.name) {
        let Some(said) = ask(&question(call, &command))? else { return Ok(None) };
        match said.trim().to_lowercase().as_str() {
            "y" | "yes" => {}
            "a" | "always" => toolbox.allow(&call.name),
            _ => return Ok(Some(failure("the user did not allow this call", &[]))),
        }
    }
    run(&command, call, toolbox, room)
}

/// Whether to run a call, in one line: every character of call and command is seen before it is answered.
fn question(call: &ToolCall, command: &str) -> String {
    let arguments = Value::Object(call.arguments.clone()).to_string();
    let (arguments, command) = (print::exact(&arguments), print::exact(command).replace('\n', "\\n"));
    if arguments.len() + command.len() <= ONE_QUESTION {
        return format!("run {} {arguments} with `{command}`? [y/N/a(lways)] ", call.name);
    }
    aside_whole(&format!("arguments of {}: {arguments}\ncommand: {command}", call.name));
    let command = match command.len() {
        0..=ONE_COMMAND => format!("`{command}`"),
        _ => "the command above".to_owned(),
    };
    format!("run {} with {command}, {} bytes of arguments? [y/N/a(lways)] ", call.name, arguments.len())
}

fn run(
    command: &str,
    call: &ToolCall,
    toolbox: &Toolbox,
    room: &mut Room<'_>,
) -> Result<Option<String>, Failure> {
    let signals = signals::listen()?;
    let limits = toolbox.limits;
    match command::run(command, call, limits, signals.flag()) {
        Ok(ran) if ran.end == End::Interrupted => Ok(None),
        Ok(mut ran) => {
            ran.output = room.fit(call, ran.output);
            let result = ran.result(limits);
            let short: String = result.chars().take(SHOWN_RESULT).collect();
            let rest = if short.len() < result.len() { "..." } else { "" };
            aside(&format!("result of {}: {}{rest}", call.name, short.replace('\n', " ")));
            Ok(Some(result))
        }
        Err(problem) => {
            aside(&format!("{}: {problem}", call.name));
            Ok(Some(failure(&problem, &[])))
        }
    }
}

/// Whether every call of an answer can be answered without typing a result.
pub(crate) fn can_answer(calls: &[ToolCall], toolbox: &Toolbox, can_ask: bool) -> Result<(), String> {
    // A model that calls what there is not is told so, if anything can be answered at all.
    for call in calls.iter().filter(|call| toolbox.has(&call.name) || !toolbox.has_commands()) {
        if toolbox.command(&call.name).is_none() {
            return Err(format!("{} has no command (--tool-cmd {}=COMMAND)", call.name, call.name));
        }
        if !toolbox.allows(&call.name) && !can_ask {
            return Err(format!(
                "{} was not run: there is no terminal to ask for permission; --yes runs commands without asking",
                call.name
            ));
        }
    }
    Ok(())
}

/// What there is to call, for people.
pub(crate) fn list(toolbox: &Toolbox) -> String {
    if toolbox.tools.is_empty() {
        return "the model has no tools; `fathom chat --tools FILE` gives it some".to_owned();
    }
    let one = |tool: &Tool| {
        let description = tool.function().get("description").and_then(Value::as_str).unwrap_or_default();
        let command = match toolbox.command(tool.name()) {
            Some(command) => format!("runs: {command}"),
            None => "no command: you type the result".to_owned(),
        };
        format!("{:<20} {description}\n{:<20} {command}", tool.name(), "")
    };
    let lines: Vec<String> = toolbox.tools.iter().map(one).collect();
    print::exact(&lines.join("\n")).into_owned()
}

/// Lines of JSON for programs that answer the calls themselves.
pub(crate) fn lines(calls: &[ToolCall]) -> String {
    calls.iter().map(|call| format!("{}\n", call_json(&call.name, &call.arguments))).collect()
}

/// A result in one line of JSON.
pub(crate) fn result_json(call: &ToolCall, result: &Message) -> Value {
    json!({"type": "tool_result", "name": call.name, "content": content(result)})
}

/// An answer that called tools, and what they returned.
pub(crate) fn round_json(said: &Assistant, results: &[Message]) -> Value {
    let made: Vec<Value> = said.calls.iter().map(|call| call_json(&call.name, &call.arguments)).collect();
    let results: Vec<&str> = results.iter().map(content).collect();
    json!({"text": said.content, "reasoning": said.reasoning, "tool_calls": made, "results": results})
}

fn content(result: &Message) -> &str {
    if let Message::Tool(result) = result { &result.content } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: Value) -> ToolCall {
        let Value::Object(arguments) = arguments else { panic!("not an object") };
        ToolCall { id: None, name: "f".into(), arguments }
    }

    #[test]
    fn a_question_hides_nothing() {
        let short = question(&call(json!({"to": "a\u{202e}b", "text": "x\ny"})), "mail\n--now");
        assert_eq!(
            short,
            "run f {\"to\":\"a\\u{202e}b\",\"text\":\"x\\ny\"} with `mail\\n--now`? [y/N/a(lways)] "
        );
        let long = question(&call(json!({"text": "x".repeat(30_000)})), "mail");
        assert_eq!(long, "run f with `mail`, 30011 bytes of arguments? [y/N/a(lways)] ");
        let long = question(&call(json!({"text": "x"})), &"mail ".repeat(100));
        assert_eq!(long, "run f with the command above, 12 bytes of arguments? [y/N/a(lways)] ");
    }

    #[test]
    fn calls_are_readable() {
        assert_eq!(shown(&call(json!({}))), "call f()");
        assert_eq!(shown(&call(json!({"a": "x\n", "b": [1]}))), "call f(a: \"x\\n\", b: [1])");
        let long = shown(&call(json!({"code": format!("one\n{}\n", "x".repeat(100)), "n": 2})));
        assert_eq!(long, format!("call f\n  code: one\n    {}\n  n: 2", "x".repeat(100)));
    }
}
