//! Flags of the verbs that talk, and their values.

use super::adjust::AdjustArgs;
use super::named::{Named, take_named};
use fathom_text::chat::{ChatError, Conversation, Message, Tool};
use fathom_text::sampler::Sampling;
use std::str::FromStr;

/// The answer.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answer")]
pub struct TalkArgs {
    /// System prompt: instructions that apply to the whole conversation.
    #[arg(long, visible_aliases = ["sys", "system-prompt"], value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Let the model reason before it answers. This is off by default because it can take minutes on a CPU.
    #[arg(long, overrides_with = "no_think")]
    pub think: bool,
    /// Let the model answer without reasoning first (the default).
    #[arg(long, overrides_with = "think")]
    pub no_think: bool,
    /// Maximum number of tokens of reasoning, after which the answer begins; -1: no limit.
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true, value_parser = n_predict)]
    pub reasoning_budget: NPredict,
    /// Do not show the reasoning. It takes just as long.
    #[arg(long)]
    pub hide_thinking: bool,
    /// Print answers as plain text, without formatting their Markdown. Output to pipes and files is always plain.
    #[arg(long)]
    pub no_markdown: bool,
    /// Maximum number of tokens in an answer; -1: until the context is full.
    #[arg(short, long, visible_alias = "predict", value_name = "N", default_value = "-1",
          allow_negative_numbers = true, value_parser = n_predict)]
    pub n_predict: NPredict,
    /// Stop string: the answer ends before this text. Can be repeated.
    #[arg(short = 'r', long = "reverse-prompt", visible_alias = "stop", value_name = "TEXT",
          allow_hyphen_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stops: Vec<String>,
    /// How tokens are drawn.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// How tokens are sampled; the defaults are what DeepSeek recommends.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature: 0 always takes the most likely token; 1 leaves the model's probabilities as they are.
    #[arg(long = "temp", visible_alias = "temperature", value_name = "T", default_value_t = Sampling::default().temperature,
          allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f32,
    /// Sample from the N most likely tokens; 0 or less: off.
    #[arg(long, value_name = "N", default_value_t = Sampling::default().top_k, allow_negative_numbers = true, value_parser = top_k)]
    pub top_k: usize,
    /// Locally typical sampling: sample from the tokens whose surprise is closest to the expected one, until their
    /// probabilities add up to more than P; 1: off.
    #[arg(long = "typical", visible_alias = "typical-p", value_name = "P", default_value_t = Sampling::default().typical_p, value_parser = share)]
    pub typical_p: f32,
    /// Sample from the smallest set of most likely tokens whose probabilities add up to P; 1: off.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p, value_parser = share)]
    pub top_p: f32,
    /// Sample from tokens that are at least P times as likely as the most likely one; 0: off.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().min_p, value_parser = share)]
    pub min_p: f32,
    /// Random seed. The same seed gives the same answer, with any number of threads; -1: a new seed each time, which is shown.
    #[arg(short, long, value_name = "N", default_value = "-1", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Seed,
    /// What changes logits before.
    #[command(flatten)]
    pub adjust: AdjustArgs,
}

/// Maximum number of tokens in an answer, or in its reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NPredict(pub Option<usize>);

/// Where random numbers start, if somebody said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub Option<u64>);

impl Seed {
    /// What was said, or a new one. New ones have 32 bits: people type them again.
    pub(crate) fn or_random(self) -> u64 {
        self.0.unwrap_or_else(|| u64::from(fastrand::u32(..)))
    }
}

impl SamplingArgs {
    fn take_named(&mut self, said: &SamplingArgs, named: &Named) {
        take_named!(self: SamplingArgs, said, named, [temperature, top_k, typical_p, top_p, min_p, seed; adjust]);
        self.adjust.take_named(adjust, named);
    }

    /// With this seed.
    pub(crate) fn sampling(&self, seed: u64) -> Sampling {
        let SamplingArgs { temperature, top_k, typical_p, top_p, min_p, .. } = *self;
        let mut sampling =
            Sampling { temperature, top_k, typical_p, top_p, min_p, seed, ..Sampling::default() };
        self.adjust.fill(&mut sampling);
        sampling
    }
}

/// A temperature. llama.cpp takes one below 0 for 0; here a slip of the finger is told, and what stands for it is named.
pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        Ok(value) if value < 0.0 => Err(format!(
            "expected a number from 0 to 100, found `{text}`; 0 always takes the most likely token"
        )),
        _ => Err(format!("expected a number from 0 to 100, found `{text}`")),
    }
}

/// A number of most likely tokens; below 0 it is 0, as in llama.cpp.
pub(crate) fn top_k(text: &str) -> Result<usize, String> {
    match text.parse::<i64>() {
        Ok(value) => Ok(usize::try_from(value).unwrap_or(0)),
        Err(_) => Err(format!("expected a whole number, found `{text}`")),
    }
}

/// A share of the probability.
pub(crate) fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(format!("expected a number from 0 to 1, found `{text}`")),
    }
}

/// A number, or -1 for none, as llama.cpp writes it. `expected` says what both mean.
pub(crate) fn number_or_none<N: FromStr>(text: &str, expected: &str) -> Result<Option<N>, String> {
    match text {
        "-1" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("expected {expected}, found `{text}`")),
    }
}

/// A number of tokens to draw, -1 for no limit.
pub(crate) fn n_predict(text: &str) -> Result<NPredict, String> {
    number_or_none(text, "a number of tokens, or -1 for no limit").map(NPredict)
}

/// A seed, -1 for any.
pub(crate) fn seed(text: &str) -> Result<Seed, String> {
    number_or_none(text, "a whole number, or -1 for any").map(Seed)
}

impl TalkArgs {
    /// Takes from `said` what the command line named: it holds beside the settings of a conversation that is resumed.
    pub(crate) fn take_named(&mut self, said: &TalkArgs, named: &Named) {
        take_named!(self: TalkArgs, said, named, [
            system,
            reasoning_budget,
            hide_thinking,
            no_markdown,
            n_predict,
            stops;
            think, no_think, sampling
        ]);
        for either in ["think", "no_think"] {
            named.put(either, &mut self.think, think);
            named.put(either, &mut self.no_think, no_think);
        }
        self.sampling.take_named(sampling, named);
    }

    /// A conversation of one question.
    pub(crate) fn question(&self, text: String, tools: &[Tool]) -> Conversation {
        let system = super::tools::system(self.system.as_deref(), tools).into_iter();
        Conversation { messages: system.chain([Message::user(text)]).collect(), thinking: self.think }
    }
}

impl From<ChatError> for super::Failure {
    fn from(error: ChatError) -> super::Failure {
        super::Failure::invalid(error)
    }
}
