//! Flags for what changes logits before a token is drawn: biases and penalties.

use super::named::{Named, take_named};
use super::talk::number_or_none;
use fathom_text::sampler::{Dry, Penalties, Sampling};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// llama.cpp cuts longer breakers off.
const LONGEST_BREAKER: usize = 40;

/// What changes logits; llama.cpp's flags and defaults, which change nothing.
#[derive(clap::Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Sampling")]
#[serde(default)]
pub struct AdjustArgs {
    /// How many of the last tokens the penalties consider, those of the prompt included; 0: none, -1: all.
    #[arg(long, value_name = "N", default_value_t = LastN(Penalties::default().last_n), allow_negative_numbers = true)]
    repeat_last_n: LastN,
    /// Repetition penalty: the logits of tokens that occurred before are divided by X, or multiplied if they are negative;
    /// 1: off.
    #[arg(long, value_name = "X", default_value_t = Penalties::default().repeat, value_parser = factor)]
    repeat_penalty: f32,
    /// Presence penalty: X is subtracted from the logits of tokens that occurred before; 0: off.
    #[arg(long, value_name = "X", default_value_t = Penalties::default().presence, allow_negative_numbers = true, value_parser = finite)]
    presence_penalty: f32,
    /// Frequency penalty: X is subtracted from a token's logit for each time it occurred before; 0: off.
    #[arg(long, value_name = "X", default_value_t = Penalties::default().frequency, allow_negative_numbers = true, value_parser = finite)]
    frequency_penalty: f32,
    /// DRY: the penalty for a token that would continue a repetition of the allowed length; 0: off.
    #[arg(long, value_name = "X", default_value_t = Dry::default().multiplier, value_parser = not_negative)]
    dry_multiplier: f32,
    /// DRY: factor by which the penalty grows with each further token of a repetition; at least 1.
    #[arg(long, value_name = "X", default_value_t = Dry::default().base, value_parser = base)]
    dry_base: f32,
    /// DRY: repetitions shorter than this are not penalised.
    #[arg(long, value_name = "N", default_value_t = Dry::default().allowed_length)]
    dry_allowed_length: usize,
    /// DRY: number of last tokens that are searched for repetitions; 0: none, -1: all.
    #[arg(long, value_name = "N", default_value_t = LastN(Dry::default().last_n), allow_negative_numbers = true)]
    dry_penalty_last_n: LastN,
    /// DRY: text that ends a repetition. Replaces the default breakers (\n : " *); can be repeated; `none` clears the list.
    #[arg(long = "dry-sequence-breaker", value_name = "TEXT", allow_hyphen_values = true, value_parser = breaker)]
    dry_sequence_breakers: Vec<String>,
    /// Number added to a token's logit, such as 15043+1 or 15043-0.5; 15043-inf forbids the token. Can be repeated. `fathom
    /// tokenize` prints token ids.
    #[arg(short, long, value_name = "ID(+|-)BIAS")]
    logit_bias: Vec<Bias>,
}

impl Default for AdjustArgs {
    fn default() -> Self {
        let (Penalties { last_n, repeat, frequency, presence }, dry) = <(Penalties, Dry)>::default();
        AdjustArgs {
            repeat_last_n: LastN(last_n),
            repeat_penalty: repeat,
            presence_penalty: presence,
            frequency_penalty: frequency,
            dry_multiplier: dry.multiplier,
            dry_base: dry.base,
            dry_allowed_length: dry.allowed_length,
            dry_penalty_last_n: LastN(dry.last_n),
            dry_sequence_breakers: Vec::new(),
            logit_bias: Vec::new(),
        }
    }
}

impl AdjustArgs {
    /// Puts these into `sampling`.
    pub(super) fn fill(&self, sampling: &mut Sampling) {
        sampling.penalties = Penalties {
            last_n: self.repeat_last_n.0,
            repeat: self.repeat_penalty,
            frequency: self.frequency_penalty,
            presence: self.presence_penalty,
        };
        sampling.dry = Dry {
            multiplier: self.dry_multiplier,
            base: self.dry_base,
            allowed_length: self.dry_allowed_length,
            last_n: self.dry_penalty_last_n.0,
            breakers: self.breakers(),
        };
        sampling.logit_bias = self.logit_bias.iter().map(|bias| (bias.id, bias.bias)).collect();
    }

    /// Takes from `said` what the command line named.
    pub(super) fn take_named(&mut self, said: &AdjustArgs, named: &Named) {
        take_named!(self: AdjustArgs, said, named, [
            repeat_last_n,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            dry_multiplier,
            dry_base,
            dry_allowed_length,
            dry_penalty_last_n,
            dry_sequence_breakers,
            logit_bias;
        ]);
    }

    fn breakers(&self) -> Vec<String> {
        let said = &self.dry_sequence_breakers;
        let from = said.iter().rposition(|text| text == "none").map_or(0, |last| last + 1);
        if said.is_empty() { Dry::default().breakers } else { said[from..].to_vec() }
    }

    /// Whether all tokens with a bias are in the vocabulary; the error is for the person.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<(), String> {
        match self.logit_bias.iter().find(|bias| bias.id as usize >= vocab_size) {
            Some(bias) => Err(format!(
                "logit bias {bias}: expected the id of one of the vocabulary's {vocab_size} tokens, found {}; `fathom tokenize` \
                 prints ids",
                bias.id
            )),
            None => Ok(()),
        }
    }

    /// Sets what `/set` calls so. `None`: there is no such name.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        Some(match name {
            "repeat_last_n" => put(&mut self.repeat_last_n, value.parse()),
            "repeat_penalty" => put(&mut self.repeat_penalty, factor(value)),
            "presence_penalty" => put(&mut self.presence_penalty, finite(value)),
            "frequency_penalty" => put(&mut self.frequency_penalty, finite(value)),
            "dry_multiplier" => put(&mut self.dry_multiplier, not_negative(value)),
            "dry_base" => put(&mut self.dry_base, base(value)),
            "dry_allowed_length" => put(
                &mut self.dry_allowed_length,
                value.parse().map_err(|_| format!("expected a number of tokens, found `{value}`")),
            ),
            "dry_penalty_last_n" => put(&mut self.dry_penalty_last_n, value.parse()),
            _ => return None,
        })
    }

    /// Names and values, as `/set` takes them.
    pub(crate) fn settings(&self) -> [(&'static str, String); 8] {
        [
            ("repeat_last_n", self.repeat_last_n.to_string()),
            ("repeat_penalty", self.repeat_penalty.to_string()),
            ("presence_penalty", self.presence_penalty.to_string()),
            ("frequency_penalty", self.frequency_penalty.to_string()),
            ("dry_multiplier", self.dry_multiplier.to_string()),
            ("dry_base", self.dry_base.to_string()),
            ("dry_allowed_length", self.dry_allowed_length.to_string()),
            ("dry_penalty_last_n", self.dry_penalty_last_n.to_string()),
        ]
    }

    /// What a file holds may be anything.
    pub(crate) fn checked(mut self) -> Result<AdjustArgs, String> {
        for (name, value) in self.settings() {
            let Some(set) = self.set(name, &value) else { continue };
            set.map_err(|error| format!("{name}: {error}"))?;
        }
        if let Some(text) = self.dry_sequence_breakers.iter().find(|text| !is_breaker(text)) {
            return Err(format!("dry_sequence_breakers: {}", no_breaker(text)));
        }
        Ok(self)
    }
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// A number of last tokens, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LastN(Option<usize>);

impl FromStr for LastN {
    type Err = String;

    fn from_str(text: &str) -> Result<LastN, String> {
        number_or_none(text, "a number of tokens, or -1 for all").map(LastN)
    }
}

impl Display for LastN {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(n) => n.fmt(f),
            None => f.write_str("-1"),
        }
    }
}

/// A token and what is added to its logit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Bias {
    id: u32,
    bias: f32,
}

impl FromStr for Bias {
    type Err = String;

    fn from_str(text: &str) -> Result<Bias, String> {
        let parts = text.find(['+', '-']).map(|at| text.split_at(at));
        let found = parts.and_then(|(id, bias)| {
            // What follows the sign has none.
            let is_plain = !bias[1..].starts_with(['+', '-']);
            let bias = bias.parse::<f32>().ok().filter(|bias| is_plain && !bias.is_nan())?;
            Some(Bias { id: id.parse().ok()?, bias })
        });
        found.ok_or_else(|| {
            format!("expected a token's id and a number with its sign, such as 15043+1 or 15043-inf, found `{text}`")
        })
    }
}

impl Display for Bias {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:+}", self.id, self.bias)
    }
}

impl TryFrom<String> for Bias {
    type Error = String;

    fn try_from(text: String) -> Result<Bias, String> {
        text.parse()
    }
}

impl From<Bias> for String {
    fn from(bias: Bias) -> String {
        bias.to_string()
    }
}

fn number(text: &str, expected: &str, is_right: impl Fn(f32) -> bool) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if f32::is_finite(value) && is_right(value) => Ok(value),
        _ => Err(format!("expected {expected}, found `{text}`")),
    }
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, "a number", |_| true)
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, "a number from 0", |value| value >= 0.0)
}

fn factor(text: &str) -> Result<f32, String> {
    number(text, "a number above 0", |value| value > 0.0 && (1.0 / value).is_finite())
}

fn base(text: &str) -> Result<f32, String> {
    number(text, "a number from 1", |value| value >= 1.0)
}

/// A sequence breaker; \n and its kin are what they are in other programs.
fn breaker(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.as_str().chars().next()) {
            ('\\', Some(escaped @ ('n' | 'r' | 't' | '\\' | '"' | '\''))) => {
                letters.next();
                plain.push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            _ => plain.push(letter),
        }
    }
    if is_breaker(&plain) { Ok(plain) } else { Err(no_breaker(&plain)) }
}

fn is_breaker(text: &str) -> bool {
    (1..=LONGEST_BREAKER).contains(&text.len())
}

fn no_breaker(text: &str) -> String {
    format!("expected a text of 1 to {LONGEST_BREAKER} bytes, found {}", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Words {
        #[command(flatten)]
        adjust: AdjustArgs,
    }

    fn args(words: &[&str]) -> Result<AdjustArgs, clap::Error> {
        Words::try_parse_from([&["fathom"], words].concat()).map(|words| words.adjust)
    }

    fn sampling(words: &[&str]) -> Sampling {
        let mut sampling = Sampling::default();
        args(words).unwrap().fill(&mut sampling);
        sampling
    }

    #[test]
    fn flags_arrive() {
        assert_eq!(args(&[]).unwrap(), AdjustArgs::default());
        assert_eq!(sampling(&[]), Sampling::default());
        let words = "--repeat-last-n -1 --repeat-penalty 1.1 --presence-penalty -0.5 --frequency-penalty 0.25 \
                     --dry-multiplier 0.8 --dry-base 2 --dry-allowed-length 3 --dry-penalty-last-n 500 -l 5+1 -l 6-inf \
                     --logit-bias=7-0.5";
        let found = sampling(&words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(found.penalties, Penalties { last_n: None, repeat: 1.1, frequency: 0.25, presence: -0.5 });
        let dry = Dry { multiplier: 0.8, base: 2.0, allowed_length: 3, last_n: Some(500), ..Dry::default() };
        assert_eq!(found.dry, dry);
        assert_eq!(found.logit_bias, [(5, 1.0), (6, f32::NEG_INFINITY), (7, -0.5)]);
    }

    #[test]
    fn breakers_replace_the_usual_ones() {
        let breakers = |texts: &[&str]| {
            let words = texts.iter().flat_map(|text| ["--dry-sequence-breaker", text]);
            sampling(&words.collect::<Vec<_>>()).dry.breakers
        };
        assert_eq!(breakers(&[]), ["\n", ":", "\"", "*"]);
        assert_eq!(breakers(&["none"]), [""; 0]);
        assert_eq!(breakers(&["a", "none", "\\n", "-", "\\x\\\\n"]), ["\n", "-", "\\x\\n"]);
    }

    #[test]
    fn mistakes_are_told() {
        let long = "x".repeat(41);
        for (words, told) in [
            (["--repeat-penalty", "0"], "a number above 0"),
            (["--repeat-penalty", "inf"], "a number above 0"),
            (["--presence-penalty", "nan"], "expected a number"),
            (["--dry-base", "0.5"], "a number from 1"),
            (["--dry-multiplier", "-1"], "-1"),
            (["--repeat-last-n", "-2"], "-1 for all"),
            (["-l", "5"], "such as 15043+1"),
            (["-l", "+1"], "such as 15043+1"),
            (["-l", "5+-1"], "such as 15043+1"),
            (["-l", "5+nan"], "such as 15043+1"),
            (["-l", "é+1"], "such as 15043+1"),
            (["-l", "99999999999+1"], "such as 15043+1"),
            (["--dry-sequence-breaker", ""], "1 to 40 bytes, found 0"),
            (["--dry-sequence-breaker", &long], "1 to 40 bytes, found 41"),
        ] {
            let error = args(&words).unwrap_err().to_string();
            assert!(error.contains(told), "{words:?}: {error}");
        }
        let biased = args(&["-l", "5+1", "-l", "600-2"]).unwrap();
        assert_eq!(biased.check(601), Ok(()));
        let error = biased.check(600).unwrap_err();
        assert!(error.contains("600-2") && error.contains("600 tokens"), "{error}");
    }

    #[test]
    fn what_is_saved_is_read_and_checked() {
        let words = ["--dry-penalty-last-n", "-1", "-l", "5-inf", "-l", "7+0.1", "--repeat-penalty", "1.1"];
        let args = args(&words).unwrap();
        let json = serde_json::to_string(&args).unwrap();
        let read = |text: &str| serde_json::from_str::<AdjustArgs>(text).map_err(|e| e.to_string());
        assert_eq!(read(&json).unwrap().checked(), Ok(args));
        assert_eq!(read("{}").unwrap().checked(), Ok(AdjustArgs::default()));
        let bad = |from: &str, to: &str| {
            let text = json.replace(from, to);
            assert_ne!(text, json);
            read(&text).and_then(AdjustArgs::checked).unwrap_err()
        };
        assert!(bad("\"repeat_penalty\":1.1", "\"repeat_penalty\":-1").contains("repeat_penalty: expected"));
        assert!(bad("5-inf", "5").contains("such as 15043+1"));
        let breakers = bad("\"dry_sequence_breakers\":[]", "\"dry_sequence_breakers\":[\"\"]");
        assert!(breakers.contains("dry_sequence_breakers: expected"), "{breakers}");
    }

    #[test]
    fn every_setting_is_known_to_set() {
        let mut args = AdjustArgs::default();
        for (name, value) in AdjustArgs::default().settings() {
            assert_eq!(args.set(name, &value), Some(Ok(())), "{name}");
        }
        assert_eq!(args, AdjustArgs::default());
        assert_eq!(args.set("dry_base", "0"), Some(Err("expected a number from 1, found `0`".to_owned())));
        assert_eq!(args.set("dry", "0"), None);
    }
}
