//! The built-in model's greedy answers are those of the day it was shipped, on every level.
//!
//! `models/train/ship.py` writes tests/greedy.json with the program itself, on whatever level its machine has.

mod common;

use common::with_engine;
use fathom::cache::{CacheTypes, IndexType};
use fathom::generate::{Request, generate};
use fathom::mmap::Mapping;
use fathom::sampler::Sampling;
use fathom::tokenizer::Tokenizer;
use fathom::{Session, SessionOptions};
use fathom_gguf::Gguf;
use fathom_simd::{Format, Kernels};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Tokens of an answer; ship.py has the same number.
const MOST: usize = 64;

#[derive(serde::Deserialize)]
struct Vector {
    /// With control tokens.
    prompt: String,
    text: String,
    stop_reason: String,
}

/// As `fathom run --raw --special --temp 0` sets it up.
fn answer(session: &mut Session<'_>, tokenizer: &Tokenizer, prompt: &str) -> (String, &'static str) {
    let request = Request {
        prompt: &tokenizer.encode_with_special(prompt),
        start: None,
        tools: &[],
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        n_predict: Some(MOST),
        reasoning_budget: None,
        stops: &[],
        constraint: None,
        interrupt: &AtomicBool::new(false),
    };
    let outcome = generate(session, tokenizer, &request, &mut |_| ControlFlow::Continue(())).unwrap();
    (outcome.answer.content, outcome.stop.name())
}

#[test]
fn greedy_answers_are_those_that_were_shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors = std::fs::read_to_string(root.join("tests/greedy.json")).unwrap();
    let vectors: Vec<Vector> = serde_json::from_str(&vectors).unwrap();
    assert_eq!(vectors.len(), 20);
    let file = root.join("models/builtin/builtin.gguf");
    let mapping = Mapping::open(&file).unwrap();
    let gguf = Gguf::from_shards(mapping.shards()).unwrap();
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    let cache = CacheTypes { latent: Format::BF16, index: IndexType::Q8 };
    let options = SessionOptions { n_ctx: 4096, cache, ..SessionOptions::default() };
    for kernels in Kernels::available() {
        with_engine(&file, kernels, 1, |engine| {
            let mut session = Session::new(engine, options).unwrap();
            for Vector { prompt, text, stop_reason } in &vectors {
                let found = answer(&mut session, &tokenizer, prompt);
                let level = kernels.level().name();
                assert_eq!((&*found.0, found.1), (&**text, &**stop_reason), "{level}: {prompt}");
            }
        });
    }
}
