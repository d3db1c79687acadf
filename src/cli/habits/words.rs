//! One command's words: which are flags, which belong to flags, and which is the MODEL.

use super::super::Failure;
use super::super::settings::{BUILT_IN, MODEL, MODEL_FLAG, Settings};
use super::tables::{Habit, Row};
use super::{find, row, takes_value};
use crate::closest::closest;
use clap::{Arg, Command};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// So alike is a slip to the name it stands for; other words are a prompt.
const SLIP: f64 = 0.9;

/// A command's words, taken apart.
#[derive(Default)]
pub(super) struct Found {
    /// Flags with their values, in order.
    flags: Vec<OsString>,
    /// The parser's names of those flags.
    seen: Vec<String>,
    /// Values of `--model`.
    models: Vec<OsString>,
    /// All that belongs to no flag.
    words: Vec<OsString>,
    /// Whether a flag is unknown or lacks its value: what the words are cannot be judged, and the parser says what is wrong.
    is_stuck: bool,
}

/// Takes a command's words apart. Other programs' flags become this one's, or end it.
///
/// # Errors
/// A flag of another program for which nothing stands here.
pub(super) fn walk(
    args: Vec<OsString>,
    command: &Command,
    notes: &mut Vec<String>,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut rest = VecDeque::from(args);
    while let Some(arg) = rest.pop_front() {
        let Some(text) = arg.to_str().filter(|text| text.len() > 1 && text.starts_with('-')) else {
            found.words.push(arg);
            continue;
        };
        if text == "--" {
            found.words.extend(rest);
            break;
        }
        let (name, value) = match text.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        // llama.cpp takes underscores, too.
        let name = if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() };
        match (find(command, &name), row(&name, command)) {
            (Some(known), _) => found.flag(known, &name, value, &mut rest, command),
            (None, Some(row)) => foreign(row, &name, value, &mut rest, notes)?,
            (None, None) => found.letters(text, arg.clone(), &mut rest, command),
        }
    }
    Ok(found)
}

impl Found {
    fn flag(
        &mut self,
        known: &Arg,
        name: &str,
        value: Option<&str>,
        rest: &mut VecDeque<OsString>,
        command: &Command,
    ) {
        self.seen.push(known.get_id().to_string());
        if !takes_value(known) {
            return self.flags.push(switch(name, value, command));
        }
        let value = match value {
            Some(value) => Some(value.into()),
            None => rest.pop_front_if(|next| can_be_value(known, next)),
        };
        match value {
            Some(value) if known.get_id() == MODEL_FLAG => self.models.push(value),
            Some(value) => self.value(name.into(), value),
            None => {
                self.is_stuck = true;
                self.flags.push(name.into());
            }
        }
    }

    /// Letters in one word: `-qc4096`, `-mFILE`.
    fn letters(&mut self, text: &str, whole: OsString, rest: &mut VecDeque<OsString>, command: &Command) {
        for (at, letter) in text.char_indices().skip(1) {
            let Some(known) = find(command, &format!("-{letter}")) else {
                self.is_stuck = true;
                break;
            };
            self.seen.push(known.get_id().to_string());
            if !takes_value(known) {
                continue;
            }
            let attached = &text[at + letter.len_utf8()..];
            if known.get_id() == MODEL_FLAG && !attached.is_empty() {
                self.models.push(attached.into());
                // Switches before it stay.
                return self.flags.extend((at > 1).then(|| text[..at].into()));
            }
            if attached.is_empty() {
                let value = rest.pop_front_if(|next| can_be_value(known, next));
                match value {
                    Some(value) => self.value(whole, value),
                    None => {
                        self.is_stuck = true;
                        self.flags.push(whole);
                    }
                }
            } else {
                self.flags.push(whole);
            }
            return;
        }
        self.flags.push(whole);
    }

    /// A flag and its value: in one word where the parser would take the value for a flag.
    fn value(&mut self, mut flag: OsString, value: OsString) {
        if value.as_encoded_bytes().starts_with(b"-") {
            flag.push("=");
            flag.push(value);
            self.flags.push(flag);
        } else {
            self.flags.extend([flag, value]);
        }
    }
}

/// A switch as the parser takes it; `--think=false` is its opposite.
fn switch(name: &str, value: Option<&str>, command: &Command) -> OsString {
    let Some(value) = value else { return name.into() };
    let opposite = match name.strip_prefix("--no-") {
        Some(name) => format!("--{name}"),
        None => format!("--no-{}", name.trim_start_matches('-')),
    };
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => name.into(),
        "false" | "off" | "0" if find(command, &opposite).is_some() => opposite.into(),
        _ => format!("{name}={value}").into(),
    }
}

/// Whether a word is meant as a flag's value. No flag begins like a number: what is wrong with one is the value.
fn can_be_value(flag: &Arg, word: &OsStr) -> bool {
    let Some(behind) = word.to_str().and_then(|text| text.strip_prefix('-')).filter(|rest| !rest.is_empty())
    else {
        return true;
    };
    let number = behind.strip_prefix('.').unwrap_or(behind);
    flag.is_allow_hyphen_values_set() || number.starts_with(|c: char| c.is_ascii_digit())
}

/// Another program's flag.
fn foreign(
    row: &'static Row,
    name: &str,
    value: Option<&str>,
    rest: &mut VecDeque<OsString>,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let refused = |why: &str| Err(Failure::usage(format!("{name}: {why}")));
    match row.habit {
        Habit::Is(flag) => {
            rest.push_front(value.map_or_else(|| flag.into(), |value| format!("{flag}={value}").into()));
            Ok(())
        }
        Habit::No(why) => refused(why),
        Habit::Always { values, needs, why, otherwise } => {
            let known =
                |text: &str| values.iter().any(|value| *value == "*" || value.eq_ignore_ascii_case(text));
            // `-ngl -1`: every layer.
            let is_value = |next: &&str| !next.starts_with('-') || next.parse::<f64>().is_ok();
            let next = rest.front().and_then(|next| next.to_str()).filter(is_value);
            // `-fa` may stand alone, and what follows it be a prompt; `off` is understood to be turned down.
            let is_word = |text: &str| needs || known(text) || ["off", "0", "false"].contains(&text);
            let value = match value {
                Some(value) => Some(value.to_owned()),
                None if values.is_empty() => None,
                None => {
                    next.filter(|next| is_word(next)).map(str::to_owned).inspect(|_| drop(rest.pop_front()))
                }
            };
            match value {
                Some(value) if !known(&value) => refused(otherwise),
                _ => {
                    notes.push(format!("{name} has no effect: {why}"));
                    Ok(())
                }
            }
        }
        Habit::ByValue(meanings) => {
            let value = match value {
                Some(value) => value.to_owned(),
                None => rest.pop_front().and_then(|next| next.into_string().ok()).unwrap_or_default(),
            };
            match meanings.iter().find(|(known, _)| known.eq_ignore_ascii_case(&value)) {
                Some((_, meant)) => {
                    meant.iter().rev().for_each(|word| rest.push_front(word.into()));
                    Ok(())
                }
                None => {
                    let known: Vec<_> = meanings.iter().map(|(known, _)| *known).collect();
                    refused(&format!("expected one of {}, found `{value}`", known.join(", ")))
                }
            }
        }
    }
}

/// The words in the parser's order: flags, then the MODEL, then the rest.
///
/// # Errors
/// Words of which none is a MODEL where one must be.
pub(super) fn arrange(
    found: Found,
    command: &Command,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Vec<OsString>, Failure> {
    let name = command.get_name();
    let positionals: Vec<_> = command.get_positionals().map(|arg| arg.get_id().as_str()).collect();
    let takes_text = positionals.contains(&MODEL) && positionals.len() > 1;
    let Found { mut flags, models, mut words, .. } = found;
    if found.is_stuck {
        // Only the flags count now.
    } else if !takes_text {
        too_many(name, &words, settings)?;
        models.into_iter().for_each(|model| flags.extend(["--model".into(), model]));
    } else if !words.is_empty() || !models.is_empty() {
        let is_named = match words.first() {
            Some(_) if !models.is_empty() => false,
            Some(_) => first_is_model(name, &words, &found.seen, settings, notes)?,
            None => false,
        };
        let model = match models.into_iter().next_back() {
            Some(model) => Some(model),
            None => (!is_named).then(|| settings.model(name).unwrap_or(BUILT_IN).into()),
        };
        words.splice(0..0, model);
    }
    if !words.is_empty() {
        flags.push("--".into());
        flags.append(&mut words);
    }
    Ok(flags)
}

fn quoted(words: &[OsString]) -> String {
    words.iter().map(|word| format!("{:?}", word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// Words that the parser would refuse without saying what to do.
fn too_many(verb: &str, words: &[OsString], settings: &Settings) -> Result<(), Failure> {
    match (verb, words) {
        ("chat", [first, ..]) if words.len() > 1 || is_sentence(first, settings) => {
            Err(Failure::usage(format!(
                "expected a MODEL and no other words, found {}; `fathom chat -p \"TEXT\"` begins a chat with a message, \
                 `fathom run \"TEXT\"` answers one prompt",
                quoted(words)
            )))
        }
        ("quantize", [_, _, ..]) => Err(Failure::usage(format!(
            "expected one checkpoint folder, found {}; for example `fathom quantize DIR --type q4_k_m -o OUT.gguf`",
            quoted(words)
        ))),
        _ => Ok(()),
    }
}

/// Whether a word has white space in it and is no file.
fn is_sentence(word: &OsStr, settings: &Settings) -> bool {
    word.to_str().is_some_and(|text| text.contains(char::is_whitespace)) && !names_a_model(word, settings)
}

/// Whether the first of a command's words is its MODEL; the others are its text.
fn first_is_model(
    verb: &str,
    words: &[OsString],
    seen: &[String],
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<bool, Failure> {
    let first = words[0].to_string_lossy();
    let has_text = seen.iter().any(|id| id == "prompt" || id == "file");
    // A file's text is joined to a prompt: `run "Summarise this:" -f notes.txt`.
    let may_be_joined = !seen.iter().any(|id| id == "prompt") && first.contains(char::is_whitespace);
    match verb {
        "detokenize" => Ok(!first.chars().all(|c| c.is_ascii_digit() || c == ',' || c.is_whitespace())),
        _ if names_a_model(&words[0], settings) => Ok(true),
        "tokenize" => Ok(has_text || words.len() > 1),
        _ if words.len() > 1 => Err(Failure::usage(format!(
            "expected a MODEL, or one prompt in quotation marks, found {} words ({}); {first:?} is not a file, folder or alias",
            words.len(),
            quoted(words)
        ))),
        _ if has_text && !may_be_joined => Ok(true),
        _ => {
            if !first.contains(char::is_whitespace) {
                notes.push(format!(
                    "`{first}` is not a file, folder or alias of a model, so it is taken as the prompt"
                ));
            }
            Ok(false)
        }
    }
}

/// Whether a word can only be meant as a model: what is there, what has a name in the settings, or what looks like a file or
/// like a name that other programs have for models of this family.
pub(super) fn names_a_model(word: &OsStr, settings: &Settings) -> bool {
    let Some(text) = word.to_str() else { return true };
    let names = || settings.aliases.iter().map(|alias| alias.name.as_str()).chain([BUILT_IN]);
    names().any(|name| name == text) || Path::new(text).exists() || looks_like_a_model(text) || {
        !text.contains(char::is_whitespace) && closest(text, names(), SLIP).is_some()
    }
}

fn looks_like_a_model(text: &str) -> bool {
    let lower = text.to_lowercase();
    let is_path = lower.ends_with(".gguf") && text.starts_with(['/', '.', '~']);
    // Neither "6/2", "1/2=?" nor a sentence of a language without spaces.
    let is_word = text.is_ascii()
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && !text.contains(|c: char| c.is_whitespace() || "?=!".contains(c));
    is_path
        || (is_word
            && (lower.ends_with(".gguf")
                || lower.starts_with("deepseek")
                || text.starts_with('~')
                || text.split(['/', '\\', ':']).filter(|part| !part.is_empty()).count() > 1))
}
