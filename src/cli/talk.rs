//! Flags of the verbs that talk, and their values.

use super::adjust::AdjustArgs;
use crate::chat::{ChatError, Conversation, Message, Tool};
use crate::sampler::Sampling;
use std::str::FromStr;

/// The answer.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answer")]
pub struct TalkArgs {
    /// Instructions that stand before the conversation; also -sys.
    #[arg(long, visible_alias = "sys", value_name = "TEXT")]
    pub system: Option<String>,
    /// Let the model reason before it answers. It does not unless asked: on a CPU that may take minutes.
    #[arg(long, overrides_with = "no_think")]
    pub think: bool,
    /// Let the model answer at once; this is the default.
    #[arg(long, overrides_with = "think")]
    pub no_think: bool,
    /// Most tokens of reasoning: then it is ended and the answer follows; -1 is no limit.
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true, value_parser = n_predict)]
    pub reasoning_budget: NPredict,
    /// Do not show the reasoning; it still takes its time.
    #[arg(long)]
    pub hide_thinking: bool,
    /// Show the answer as it comes, without colours for its Markdown; in pipes it is never changed.
    #[arg(long)]
    pub no_markdown: bool,
    /// Most tokens of an answer; -1 is no limit but the context's.
    #[arg(short, long, visible_alias = "predict", value_name = "N", default_value = "-1",
          allow_negative_numbers = true, value_parser = n_predict)]
    pub n_predict: NPredict,
    /// Text that ends the answer and is not part of it; may be given several times.
    #[arg(short = 'r', long = "reverse-prompt", visible_alias = "stop", value_name = "TEXT",
          allow_hyphen_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stops: Vec<String>,
    /// How tokens are drawn.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// How tokens are drawn; the defaults are what DeepSeek recommends.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 always takes the best token, 1 is the model's own distribution.
    #[arg(long = "temp", visible_alias = "temperature", value_name = "T", default_value_t = Sampling::default().temperature, value_parser = temperature)]
    pub temperature: f32,
    /// Draw from this many best tokens; 0 is all.
    #[arg(long, value_name = "N", default_value_t = Sampling::default().top_k)]
    pub top_k: usize,
    /// Draw from the fewest tokens that have more than this probability together, those first whose surprise is nearest to the
    /// expected one; 1 is all.
    #[arg(long = "typical", visible_alias = "typical-p", value_name = "P", default_value_t = Sampling::default().typical_p, value_parser = share)]
    pub typical_p: f32,
    /// Draw from the fewest tokens that have this much probability together; 1 is all.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p, value_parser = share)]
    pub top_p: f32,
    /// Draw from tokens at least this many times as likely as the best; 0 is all.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().min_p, value_parser = share)]
    pub min_p: f32,
    /// Repeats an answer, on any number of threads; -1 takes another one each time and tells it.
    #[arg(short, long, value_name = "N", default_value = "-1", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Seed,
    /// What changes logits before.
    #[command(flatten)]
    pub adjust: AdjustArgs,
}

/// Most tokens of an answer, or of its reasoning.
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
    /// With this seed.
    pub(crate) fn sampling(&self, seed: u64) -> Sampling {
        let SamplingArgs { temperature, top_k, typical_p, top_p, min_p, .. } = *self;
        let mut sampling =
            Sampling { temperature, top_k, typical_p, top_p, min_p, seed, ..Sampling::default() };
        self.adjust.fill(&mut sampling);
        sampling
    }
}

/// A temperature.
pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err(format!("expected a number from 0 to 100, found `{text}`")),
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
