//! The same logits after the same tokens in both programs' samplers: the same tokens are left to draw from, with the same
//! probabilities. Draws themselves are by different random numbers.

use std::collections::BTreeMap;
use std::path::Path;

use fathom_gguf::Gguf;
use fathom_text::sampler::{Dry, Penalties, Sampler, Sampling};
use fathom_text::tokenizer::Tokenizer;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

/// Tokens drawn in each case, each from other logits.
const N_DRAWN: usize = 60;
/// Largest difference of a probability: llama.cpp's sums are of f32.
const BOUND: f64 = 1e-5;
/// llama.cpp wants a number where all tokens are meant.
const ALL: usize = 1 << 16;

/// A text with repetitions, some over a line end or another breaker.
const TEXT: &str = "What does river mean? A river is a large natural stream of water.\nWhat does river mean? A river is a \
                    large natural stream: a river is a large natural stream, a \"large natural\" stream.\n\n- one two three\n\
                    - one two three four\n- one two";

/// Every stage alone, and chains.
fn cases() -> Vec<(&'static str, Sampling)> {
    let plain = Sampling { top_p: 1.0, ..Sampling::default() };
    let repeats = Penalties { repeat: 1.3, ..Penalties::default() };
    let all = Penalties { last_n: None, repeat: 1.1, frequency: 0.2, presence: 0.4 };
    let dry = Dry { multiplier: 0.8, ..Dry::default() };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let with = |change: &dyn Fn(&mut Sampling)| {
        let mut sampling = plain.clone();
        change(&mut sampling);
        sampling
    };
    let dry_case = |change: &dyn Fn(&mut Dry)| {
        let mut dry = dry.clone();
        change(&mut dry);
        with(&|sampling| sampling.dry = dry.clone())
    };
    vec![
        ("everything", plain.clone()),
        ("temperature 0.3", with(&|s| s.temperature = 0.3)),
        ("temperature 0", with(&|s| s.temperature = 0.0)),
        ("top-k 40", with(&|s| s.top_k = 40)),
        ("top-p 0.9", with(&|s| s.top_p = 0.9)),
        ("top-p 0", with(&|s| s.top_p = 0.0)),
        ("min-p 0.05", with(&|s| s.min_p = 0.05)),
        ("typical 0.9", with(&|s| s.typical_p = 0.9)),
        ("typical 0.2", with(&|s| s.typical_p = 0.2)),
        ("repeat penalty 1.3", with(&|s| s.penalties = repeats)),
        (
            "presence penalty -1",
            with(&|s| s.penalties = Penalties { presence: -1.0, ..Penalties::default() }),
        ),
        (
            "frequency penalty 0.5 of 30",
            with(&|s| {
                s.penalties = Penalties { last_n: Some(30), frequency: 0.5, ..Penalties::default() };
            }),
        ),
        ("all penalties of all tokens", with(&|s| s.penalties = all)),
        ("dry", dry_case(&|_| {})),
        ("dry of all tokens", dry_case(&|dry| dry.last_n = None)),
        ("dry, nothing allowed", dry_case(&|dry| (dry.allowed_length, dry.last_n) = (0, None))),
        ("dry, base 1", dry_case(&|dry| (dry.base, dry.allowed_length) = (1.0, 1))),
        ("dry, base 1e6", dry_case(&|dry| (dry.base, dry.allowed_length, dry.last_n) = (1e6, 1, None))),
        ("dry without breakers", dry_case(&|dry| (dry.breakers, dry.last_n) = (Vec::new(), None))),
        (
            "dry, breakers of many tokens",
            dry_case(&|dry| {
                (dry.breakers, dry.last_n) =
                    (words(&["river mean", "natural stream: a", "e two", "- "]), None);
            }),
        ),
        ("biases", with(&|s| s.logit_bias = vec![(5, 4.0), (6, -3.0), (5, 1.5), (90, f32::NEG_INFINITY)])),
        (
            "llama.cpp's own defaults",
            with(&|s| {
                (s.temperature, s.top_k, s.top_p, s.min_p) = (0.8, 40, 0.95, 0.05);
            }),
        ),
        ("DeepSeek's defaults", Sampling::default()),
        (
            "all of it",
            Sampling {
                temperature: 0.7,
                top_k: 200,
                typical_p: 0.95,
                top_p: 0.9,
                min_p: 0.02,
                penalties: all,
                dry: Dry { last_n: None, ..dry.clone() },
                logit_bias: vec![(7, 2.0), (300, -1.0)],
                seed: 0,
            },
        ),
        (
            "all of it, the best",
            Sampling {
                temperature: 0.0,
                // Typical sampling in llama.cpp is at a loss where a probability is 0, as a long repetition makes it.
                top_k: 100,
                typical_p: 0.3,
                penalties: repeats,
                dry: Dry { allowed_length: 1, ..dry.clone() },
                ..Sampling::default()
            },
        ),
    ]
}

/// llama.cpp's chain with its program's order, without the draw.
fn chain(model: &LlamaModel, sampling: &Sampling) -> LlamaSampler {
    let Sampling { temperature, top_k, typical_p, top_p, min_p, penalties, dry, logit_bias, .. } = sampling;
    let count = |n: usize| i32::try_from(n).expect("a small number");
    let last_n = |n: Option<usize>| count(n.unwrap_or(ALL));
    let token = |id: u32| LlamaToken(i32::try_from(id).expect("an id"));
    let biases: Vec<_> = logit_bias.iter().map(|&(id, bias)| LlamaLogitBias::new(token(id), bias)).collect();
    let stages = [
        LlamaSampler::logit_bias(model.n_vocab(), &biases),
        LlamaSampler::penalties(
            model.n_vocab(),
            last_n(penalties.last_n),
            penalties.repeat,
            penalties.frequency,
            penalties.presence,
        ),
        LlamaSampler::dry(
            model,
            dry.multiplier,
            dry.base,
            count(dry.allowed_length),
            last_n(dry.last_n),
            &dry.breakers,
        ),
        LlamaSampler::top_k(count(*top_k)),
        LlamaSampler::typical(*typical_p, 0),
        LlamaSampler::top_p(*top_p, 0),
        LlamaSampler::min_p(*min_p, 0),
        LlamaSampler::temp(*temperature),
    ];
    LlamaSampler::chain_simple(stages)
}

/// What llama.cpp leaves of these logits: ids and probabilities above 0.
fn theirs(chain: &mut LlamaSampler, logits: &[f32]) -> BTreeMap<u32, f64> {
    let all = (0..).zip(logits).map(|(id, &logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0));
    let mut left = LlamaTokenDataArray::from_iter(all, false);
    chain.apply(&mut left);
    let top = left.data.iter().map(|one| f64::from(one.logit())).fold(f64::NEG_INFINITY, f64::max);
    let weight = |one: &LlamaTokenData| (f64::from(one.logit()) - top).exp();
    let sum: f64 = left.data.iter().map(weight).sum();
    let id = |one: &LlamaTokenData| u32::try_from(one.id().0).expect("an id");
    possible(left.data.iter().map(|one| (id(one), weight(one) / sum)))
}

fn possible(all: impl IntoIterator<Item = (u32, f64)>) -> BTreeMap<u32, f64> {
    all.into_iter().filter(|&(_, p)| p > 0.0).collect()
}

/// What differs, if anything does.
fn difference(ours: &BTreeMap<u32, f64>, theirs: &BTreeMap<u32, f64>) -> Option<String> {
    if !ours.keys().eq(theirs.keys()) {
        let only = |a: &BTreeMap<u32, f64>, b: &BTreeMap<u32, f64>| {
            a.iter().filter(|(id, _)| !b.contains_key(id)).map(|(id, p)| format!("{id} ({p:.2e})")).collect()
        };
        let (ours, theirs): (Vec<String>, Vec<String>) = (only(ours, theirs), only(theirs, ours));
        return Some(format!("only Fathom leaves {ours:?}, only llama.cpp {theirs:?}"));
    }
    let apart = ours.iter().map(|(id, p)| (id, (p - theirs[id]).abs()));
    let (id, most) = apart.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (most > BOUND).then(|| format!("the probability of {id} is {} and not {}", ours[id], theirs[id]))
}

/// Logits with a best few, as a model gives them.
fn logits(random: &mut fastrand::Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| 12.0 * (random.f32() + random.f32() + random.f32() + random.f32() - 2.0)).collect()
}

#[test]
fn the_same_tokens_are_left_with_the_same_probabilities() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin/builtin.gguf");
    let backend = LlamaBackend::init().expect("llama.cpp starts");
    let params = LlamaModelParams::default().with_vocab_only(true);
    let model = LlamaModel::load_from_file(&backend, &file, &params).expect("llama.cpp loads the vocabulary");
    let bytes = std::fs::read(&file).expect("the model is there");
    let gguf = Gguf::from_shards(vec![(String::new(), &bytes)]).expect("it is a GGUF file");
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).expect("it has a tokenizer");
    let text = tokenizer.encode_plain(TEXT);

    let mut random = fastrand::Rng::with_seed(1);
    let mut wrong = Vec::new();
    for (name, sampling) in cases() {
        let (mut ours, mut other) = (Sampler::new(&sampling, &tokenizer), chain(&model, &sampling));
        let mut n_left = 0;
        // The text first, then what both would have gone on with; compared after every token.
        let mut next = text.iter().copied();
        for step in 0..text.len() + N_DRAWN {
            let logits = logits(&mut random, tokenizer.n_tokens());
            let (left, right) =
                (possible(ours.distribution(&logits).expect("a token")), theirs(&mut other, &logits));
            if let Some(what) = difference(&left, &right) {
                wrong.push(format!("{name}, after {step} tokens: {what}"));
                break;
            }
            n_left += left.len();
            let token = next.next().unwrap_or_else(|| ours.pick(&logits).expect("a token"));
            ours.accept(token);
            other.accept(LlamaToken(i32::try_from(token).expect("an id")));
        }
        println!("{name}: {:.1} tokens are left on average", n_left as f64 / (text.len() + N_DRAWN) as f64);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
