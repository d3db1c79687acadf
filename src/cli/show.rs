//! An answer on its way to people and pipes: the answer on stdout, everything else on stderr.

use super::markdown::Markdown;
use super::print::{self, Screen};
use super::talk::TalkArgs;
use super::wrap::{self, Wrap};
use super::{below, calls};
use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use fathom_engine::counted::counted;
use fathom_text::answer::{Cycle, Outcome, Stop, Usage};
use fathom_text::chat::{Event as Part, Malformed, ToolCall};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthStr;

/// Where the last piece of text went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Thinking,
    /// In reasoning that is hidden: a line on the terminal tells how far it is.
    Hidden,
    Answer,
}

/// Shows one answer.
pub(crate) struct Show {
    hide_thinking: bool,
    /// Calls are answered, and no part of the answer.
    answers_calls: bool,
    style: Style,
    hidden: Option<Hidden>,
    /// On a terminal that takes styles, unless it is unwanted.
    markdown: Option<Markdown>,
    place: Place,
    /// Make the answer, and the reasoning, fit for a terminal.
    screens: (Screen, Screen),
    /// Break the answer, and the reasoning, between words on a terminal.
    wraps: (Option<Wrap>, Option<Wrap>),
    /// Lines of the answer are not broken.
    whole_lines: bool,
    /// The answer so far ends a line.
    ends_line: bool,
    failed: Option<io::Error>,
}

impl Show {
    pub(crate) fn new(talk: &TalkArgs, answers_calls: bool) -> Show {
        let out = io::stdout();
        let takes_styles = out.is_terminal() && AutoStream::choice(&out) != ColorChoice::Never;
        Show {
            hide_thinking: talk.hide_thinking,
            answers_calls,
            style: dim(),
            hidden: None,
            markdown: (takes_styles && !talk.no_markdown).then(Markdown::new),
            place: Place::Nowhere,
            screens: (Screen::prose(), Screen::prose()),
            wraps: (out.is_terminal().then(Wrap::new), io::stderr().is_terminal().then(Wrap::new)),
            whole_lines: false,
            ends_line: true,
            failed: None,
        }
    }

    /// For an answer that is no prose: a program reads it, or who copies it.
    pub(crate) fn with_whole_lines(self, whole_lines: bool) -> Show {
        Show { whole_lines, ..self }
    }

    /// Shows a part; breaks if nobody reads any more.
    pub(crate) fn part(&mut self, part: &Part) -> ControlFlow<()> {
        match part {
            Part::Reasoning(text) if !self.hide_thinking => self.thinking(text),
            Part::Reasoning(_) => self.hidden(),
            Part::Content(text) => self.answer(text),
            Part::Call(call) if self.answers_calls => self.call(call),
            Part::Call(call) => {
                let gap = if self.ends_line { "" } else { "\n" };
                self.raw(&format!("{gap}{}\n", call_json(&call.name, &call.arguments)));
            }
            Part::CallStart { .. } | Part::Arguments(_) | Part::Unfinished { .. } => {}
        }
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn call(&mut self, call: &ToolCall) {
        self.end_thinking();
        if !self.ends_line {
            self.answer("\n");
        }
        self.place = Place::Nowhere;
        aside_whole(&calls::shown(call));
    }

    fn thinking(&mut self, text: &str) {
        let is_first = self.place != Place::Thinking && self.style == Style::new();
        self.place = Place::Thinking;
        let text = match &mut self.wraps.1 {
            Some(wrap) => Cow::Owned(wrap.push(&self.screens.1.show(text), wrap::err_columns())),
            None => Cow::Borrowed(text),
        };
        self.think_aloud(if is_first { "<think>\n" } else { "" }, &text);
    }

    /// Writes reasoning, behind something that is none.
    fn think_aloud(&self, before: &str, text: &str) {
        if before.is_empty() && text.is_empty() {
            return;
        }
        let text = format!("{before}{0}{text}{0:#}", self.style);
        below::above(self.wraps.1.as_ref().map_or(0, Wrap::column), |before, behind| {
            let mut err = io::stderr().lock();
            // Nobody reads stderr: the answer is still wanted.
            let _ = write!(err, "{before}{text}{behind}").and_then(|()| err.flush());
            print::err_line_is_open(true);
        });
    }

    fn hidden(&mut self) {
        if io::stderr().is_terminal() {
            self.place = Place::Hidden;
            self.hidden.get_or_insert_with(Hidden::new).token();
        }
    }

    fn end_thinking(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            hidden.end();
        }
        if self.place == Place::Thinking {
            let rest = self.wraps.1.as_mut().map(Wrap::finish).unwrap_or_default();
            self.think_aloud("", &rest);
            below::make_room();
            let end = if self.style == Style::new() { "\n</think>\n" } else { "\n\n" };
            let _ = io::stderr().lock().write_all(end.as_bytes());
            print::err_line_is_open(false);
        }
    }

    fn answer(&mut self, text: &str) {
        self.end_thinking();
        self.place = Place::Answer;
        self.ends_line = text.ends_with('\n');
        let text = if io::stdout().is_terminal() { self.screens.0.show(text) } else { Cow::Borrowed(text) };
        match &mut self.markdown {
            Some(markdown) => {
                let styled = markdown.push(&text);
                self.write(&styled);
            }
            None => {
                let text = text.into_owned();
                self.write(&text);
            }
        }
    }

    /// Part of the answer that is no prose.
    fn raw(&mut self, text: &str) {
        let mut markdown = self.markdown.take();
        let held = markdown.as_mut().map(Markdown::finish).unwrap_or_default();
        self.write(&held);
        let held = self.wraps.0.as_mut().map(Wrap::finish).unwrap_or_default();
        self.put(&held);
        let whole_lines = std::mem::replace(&mut self.whole_lines, true);
        self.answer(text);
        (self.markdown, self.whole_lines) = (markdown, whole_lines);
    }

    fn write(&mut self, text: &str) {
        match &mut self.wraps.0 {
            Some(wrap) => {
                let columns = if self.whole_lines { None } else { wrap::out_columns() };
                if wrap.column() > 0 && !print::is_out_line_open() {
                    wrap.row_was_ended();
                }
                let text = wrap.push(text, columns);
                self.put(&text);
            }
            None => self.put(text),
        }
    }

    fn put(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        below::above(self.wraps.0.as_ref().map_or(0, Wrap::column), |before, behind| {
            let mut out = io::stdout().lock();
            let whole = [before, text, behind].concat();
            let written = out.write_all(whole.as_bytes()).and_then(|()| out.flush());
            self.failed = self.failed.take().or(written.err());
            print::out_line_is_open(!text.ends_with('\n'));
        });
    }

    /// Tells, while the answer goes on, that it turns in a circle.
    pub(crate) fn repeats(&mut self, cycle: Cycle) {
        let Cycle { period, times } = cycle;
        let what = if period == 1 { "token".to_owned() } else { format!("{period} tokens") };
        let note = format!(
            "note: the answer repeats itself: the same {what} {times} times; Ctrl-C stops it; a higher temperature, another seed, \
             --repeat-penalty or --dry-multiplier may help"
        );
        self.note(&note);
    }

    /// Tells of a malformed call: nobody answers it, and its text is a part of the answer.
    pub(crate) fn malformed(&mut self, one: &Malformed) {
        let of = one.name.as_ref().map_or(String::new(), |name| format!(" of {name:?}"));
        let then =
            if one.is_content { "it was not run and stays in the answer as text" } else { "nothing was run" };
        self.note(&format!("note: the model wrote a malformed tool call{of}: {}; {then}", one.problem));
    }

    fn note(&self, note: &str) {
        match &self.hidden {
            Some(hidden) => hidden.bar.suspend(|| aside(note)),
            None => aside(note),
        }
    }

    /// Ends the last line; gives the first error of writing the answer, a closed pipe among them.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.place {
            Place::Thinking | Place::Hidden => self.end_thinking(),
            Place::Answer if !self.ends_line && self.failed.is_none() => self.raw("\n"),
            Place::Answer if self.failed.is_none() => self.raw(""),
            _ => {}
        }
        self.failed.map_or(Ok(()), Err)
    }
}

/// Reasoning that is not shown, in one line that is rewritten while it goes on and taken away at its end.
struct Hidden {
    bar: ProgressBar,
    start: Instant,
}

impl Hidden {
    fn new() -> Hidden {
        let style = dim();
        let template = format!("{style}thinking… {{pos}} tokens, {{elapsed}}{style:#}");
        let style = ProgressStyle::with_template(&template).expect("the template is well formed");
        let is_quiet = print::is_quiet();
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        // At once: the clock's first turn may come late.
        bar.tick();
        // Without a thread of its own the clock moves with the tokens.
        if !is_quiet && fathom_files::process::one_more() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Hidden { bar, start: Instant::now() }
    }

    fn token(&self) {
        self.bar.inc(1);
    }

    fn end(self) {
        self.bar.finish_and_clear();
        if print::is_quiet() {
            return;
        }
        let (n_tokens, seconds) = (self.bar.position(), self.start.elapsed().as_secs_f64());
        aside(&format!("thought for {seconds:.1} s, {}", counted(n_tokens as usize, "token")));
    }
}

/// What stands back on stderr: dim where colours are wanted, plain elsewhere (NO_COLOR, no terminal).
pub(crate) fn dim() -> Style {
    match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => Style::new(),
        _ => Style::new().dimmed(),
    }
}

/// A line on stderr that stands back.
pub(crate) fn aside(text: &str) {
    if print::is_quiet() && print::is_note(text) {
        return;
    }
    let (style, text) = (dim(), wrap::wrapped(&print::plain(text), wrap::err_columns()));
    let _ = writeln!(print::fresh_line(), "{style}{text}{style:#}");
}

/// The same for what somebody decides by: all of it, however long.
pub(crate) fn aside_whole(text: &str) {
    let style = dim();
    below::make_room();
    let _ = writeln!(io::stderr().lock(), "{style}{}{style:#}", print::exact(text));
}

/// Why an answer is not whole, where the person did not ask for it.
pub(crate) fn cut(stop: &Stop, n_ctx: usize) -> Option<String> {
    match stop {
        Stop::ContextFull => Some(format!(
            "the answer is cut off: the context is full with {n_ctx} tokens; start with a larger one (-c)"
        )),
        Stop::Constraint(problem) => {
            Some(format!("the answer is cut off: {problem}; another schema (--json-schema) may help"))
        }
        Stop::NoToken(problem) => Some(format!("the answer is cut off: {problem}")),
        Stop::NPredict | Stop::Eos | Stop::StopString(_) | Stop::Interrupted => None,
    }
}

/// That the answer is only the beginning of what the schema asks for, where nothing else says so.
pub(crate) fn unformed(outcome: &Outcome) -> Option<&'static str> {
    match outcome.stop {
        Stop::NPredict if outcome.unformed => Some(
            "the answer is cut off: it reached the maximum number of tokens (-n) before its JSON was complete",
        ),
        Stop::StopString(_) if outcome.unformed => {
            Some("the answer is cut off: a stop string (--stop) came before its JSON was complete")
        }
        Stop::Eos if outcome.unformed => Some(
            "the model ended its answer in its reasoning, before the JSON of --json-schema began; try another seed",
        ),
        _ => None,
    }
}

/// That the reasoning is not whole.
pub(crate) fn reasoning_cut(outcome: &Outcome) -> Option<&'static str> {
    outcome.reasoning_cut.then_some("the reasoning reached its budget and was ended (--reasoning-budget)")
}

/// What an answer took, for `figures`.
pub(crate) struct Took<'u> {
    pub usage: &'u Usage,
    /// Tokens held, and of how many.
    pub context: (usize, usize),
    pub seed: u64,
    /// Of a chat, where it can change.
    pub thinking: Option<bool>,
}

/// What an answer took, in one row of so many columns: what is least needed gives way.
pub(crate) fn figures(took: &Took<'_>, columns: Option<usize>) -> String {
    let Took { usage, context: (held, n_ctx), seed, thinking } = took;
    let rate = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
    let short = usage.decode_rate().map_or(String::new(), |rate| format!(", {rate:.1}/s"));
    let cached = match (usage.cached, usage.recalled) {
        (0, _) => String::new(),
        (cached, 0) => format!(" ({cached} cached)"),
        (cached, recalled) => format!(" ({cached} cached, {recalled} of them on disk)"),
    };
    let (read, written) = (counted(usage.prompt, "token"), counted(usage.generated, "token"));
    let (read_rate, written_rate) = (rate(usage.prefill_rate()), rate(usage.decode_rate()));
    let seconds = |time: Duration| format!(" in {:.1} s", time.as_secs_f64());
    let (read_in, written_in) = (seconds(usage.prefill_time), seconds(usage.decode_time));
    let context = format!("context {held} of {n_ctx}");
    let middle = format!("seed {seed} | {context}");
    let all = format!(
        "prompt {read}{cached}{read_in}{read_rate} | {middle} | answer {written}{written_in}{written_rate}"
    );
    let thinking = thinking.map(|on| format!("{all} | thinking {}", if on { "on" } else { "off" }));
    let lines = [
        all,
        format!("prompt {read}{cached}{read_rate} | {middle} | answer {written}{written_rate}"),
        format!("prompt {read}{cached} | {middle} | answer {written}{written_rate}"),
        format!("prompt {} | {middle} | answer {written}{short}", usage.prompt),
        format!("{middle} | answer {written}{short}"),
        format!("{context} | answer {written}{short}"),
    ];
    let shortest = format!("{written}{short}");
    let fits = |line: &String| columns.is_none_or(|columns| line.width() <= columns);
    thinking.into_iter().chain(lines).find(fits).unwrap_or(shortest)
}

/// A tool call in one line.
pub(crate) fn call_json(name: &str, arguments: &serde_json::Map<String, Value>) -> Value {
    json!({"name": name, "arguments": arguments})
}

/// A part in one line of JSON; `None`: it says nothing yet.
pub(crate) fn part_json(part: &Part) -> Option<Value> {
    match part {
        Part::Reasoning(text) => Some(json!({"type": "reasoning", "text": text})),
        Part::Content(text) => Some(json!({"type": "text", "text": text})),
        Part::Call(call) => {
            Some(json!({"type": "tool_call", "name": call.name, "arguments": call.arguments}))
        }
        Part::CallStart { .. } | Part::Arguments(_) | Part::Unfinished { .. } => None,
    }
}

/// What was like a call and was none.
pub(crate) fn malformed_json(one: &Malformed) -> Value {
    json!({"name": one.name, "problem": one.problem})
}

/// A cycle in one line of JSON.
pub(crate) fn repeats_json(cycle: Cycle) -> Value {
    json!({"type": "repeats", "period": cycle.period, "times": cycle.times})
}

/// A whole answer.
pub(crate) fn outcome_json(model: &str, outcome: &Outcome, seed: u64) -> Value {
    let Outcome { answer, stop, usage, .. } = outcome;
    let calls: Vec<Value> = answer.calls.iter().map(|call| call_json(&call.name, &call.arguments)).collect();
    let stop_string = if let Stop::StopString(text) = stop { Some(text) } else { None };
    json!({
        "model": model,
        "text": answer.content,
        "reasoning": answer.reasoning,
        "tool_calls": calls,
        "malformed_calls": outcome.malformed.iter().map(malformed_json).collect::<Vec<_>>(),
        "stop_reason": stop.name(),
        "stop_string": stop_string,
        "reasoning_cut": outcome.reasoning_cut,
        "repeats_itself": outcome.repeats.is_some(),
        "seed": seed,
        "usage": {
            "prompt_tokens": usage.prompt,
            "cached_tokens": usage.cached,
            "cached_on_disk": usage.recalled,
            "completion_tokens": usage.generated,
        },
        "timings": {
            "prompt_seconds": usage.prefill_time.as_secs_f64(),
            "prompt_tokens_per_second": usage.prefill_rate(),
            "completion_seconds": usage.decode_time.as_secs_f64(),
            "completion_tokens_per_second": usage.decode_rate(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_one_row() {
        let usage = Usage {
            prompt: 12_345,
            cached: 12_300,
            recalled: 256,
            prefilled: 45,
            generated: 1430,
            decoded: 1430,
            prefill_time: Duration::from_millis(500),
            decode_time: Duration::from_secs(20),
        };
        let took =
            Took { usage: &usage, context: (13_775, 163_840), seed: 4_294_967_295, thinking: Some(true) };
        let all = "prompt 12345 tokens (12300 cached, 256 of them on disk) in 0.5 s, 90.0 tokens/s | seed 4294967295 | \
                   context 13775 of 163840 | answer 1430 tokens in 20.0 s, 71.5 tokens/s";
        assert_eq!(figures(&took, None), format!("{all} | thinking on"));
        assert_eq!(figures(&Took { thinking: None, ..took }, None), all);
        let took = Took { thinking: Some(true), ..took };
        for (columns, expected) in [
            (100, "prompt 12345 | seed 4294967295 | context 13775 of 163840 | answer 1430 tokens, 71.5/s"),
            (80, "seed 4294967295 | context 13775 of 163840 | answer 1430 tokens, 71.5/s"),
            (60, "context 13775 of 163840 | answer 1430 tokens, 71.5/s"),
            (20, "1430 tokens, 71.5/s"),
        ] {
            assert_eq!(figures(&took, Some(columns)), expected);
        }
        for columns in 20..300 {
            assert!(figures(&took, Some(columns)).width() <= columns);
        }
        // A short conversation has room for both.
        let usage = Usage { prompt: 23, cached: 0, recalled: 0, generated: 143, decoded: 143, ..usage };
        let took = Took { usage: &usage, context: (166, 32_768), ..took };
        assert_eq!(
            figures(&took, Some(80)),
            "prompt 23 | seed 4294967295 | context 166 of 32768 | answer 143 tokens, 7.2/s"
        );
    }
}
