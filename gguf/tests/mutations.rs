//! Fuzzing without a fuzzer: replays the corpus, then mutates it for a while.
//!
//! `FATHOM_FUZZ_SECONDS` sets how long (2 without it; CI sets 60). Every input follows from one seed; a failure
//! prints it, and `FATHOM_FUZZ_SEED` starts there. Run with `--nocapture` to see how many inputs were tried.

mod fuzz_bodies;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

type Body = fn(&[u8]) -> bool;

const BODIES: [(&str, Body); 3] =
    [("read", fuzz_bodies::read), ("shards", fuzz_bodies::shards), ("names", fuzz_bodies::names)];

/// Mutated inputs stay below this: longer ones only slow the run down.
const LONGEST: usize = 16 << 10;

fn corpus(body: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(body);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{body} has no corpus");
    inputs
}

fn from_env(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")),
        Err(_) => default,
    }
}

/// Says which input failed when a body panics.
struct Trying<'a> {
    body: &'a str,
    input: String,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("body {} failed on {}", self.body, self.input);
        }
    }
}

#[test]
fn the_corpus_is_accepted_and_refused_as_its_names_say() {
    for (name, body) in BODIES {
        for (file, bytes) in corpus(name) {
            let _trying = Trying { body: name, input: file.clone() };
            let accepted = body(&bytes);
            if name == "read" {
                assert_eq!(accepted, !file.starts_with("refused"), "{file}");
            }
        }
    }
}

#[test]
fn mutated_corpus_never_breaks_a_promise() {
    let seconds = from_env("FATHOM_FUZZ_SECONDS", 2);
    let first_seed = from_env("FATHOM_FUZZ_SEED", 1);
    let corpora: Vec<Vec<Vec<u8>>> =
        BODIES.iter().map(|(name, _)| corpus(name).into_iter().map(|(_, bytes)| bytes).collect()).collect();
    let mut tried = [(0u64, 0u64); BODIES.len()];
    let start = Instant::now();
    let mut seed = first_seed;
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut rng = Rng::with_seed(seed);
        // Most promises are about one file; names are small and soon exhausted.
        let which = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2][rng.usize(..10)];
        let (body, run) = BODIES[which];
        let input = mutated(&corpora[which], &mut rng);
        let _trying = Trying { body, input: format!("FATHOM_FUZZ_SEED={seed}") };
        tried[which].0 += 1;
        tried[which].1 += u64::from(run(&input));
        seed += 1;
    }
    for ((body, _), (inputs, accepted)) in BODIES.iter().zip(tried) {
        println!("{body}: {inputs} mutated inputs, {accepted} of them accepted");
    }
    println!("{} inputs in {seconds} s from seed {first_seed}", seed - first_seed);
    assert!(seconds == 0 || tried[0].1 > 0, "no mutated file was accepted: the run tests nothing");
}

fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..=4) {
        mutate(&mut bytes, corpus, rng);
        bytes.truncate(LONGEST);
    }
    bytes
}

/// A stretch of 1 to 64 bytes inside `bytes`, which is not empty.
fn stretch(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..bytes.len());
    start..bytes.len().min(start + rng.usize(1..=64))
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..bytes.len());
    let number = interesting(bytes.len(), rng).to_le_bytes();
    match rng.usize(..9) {
        0 => bytes[at] ^= 1 << rng.u32(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes[at] = rng.u8(..16),
        3 => overwrite(bytes, at, &number),
        4 => overwrite(bytes, at, &number[..4]),
        5 => bytes.truncate(at),
        6 => _ = bytes.drain(stretch(bytes, rng)),
        7 => {
            let copy = bytes[stretch(bytes, rng)].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let other = &corpus[rng.usize(..corpus.len())];
            if !other.is_empty() {
                let piece = &other[stretch(other, rng)];
                overwrite(bytes, at, piece);
            }
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let len = with.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&with[..len]);
}

/// Numbers at which arithmetic goes wrong.
fn interesting(len: usize, rng: &mut Rng) -> u64 {
    match rng.usize(..6) {
        0 => rng.u64(..64),
        1 => 1 << rng.u32(..64),
        2 => u64::MAX - rng.u64(..64),
        3 => (i64::MAX as u64).wrapping_add(rng.u64(..4)).wrapping_sub(2),
        4 => (len as u64).wrapping_add(rng.u64(..16)).wrapping_sub(8),
        _ => (1 << rng.u32(..64)) - 1,
    }
}
