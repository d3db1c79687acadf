//! Saved conversations that somebody damaged: each is read, or refused by its name, and nothing stops the program.
//!
//! `FATHOM_FUZZ_SECONDS` sets how long (without it, the same few hundred are tried everywhere). Every file follows from one seed;
//! a failure prints it, and `FATHOM_FUZZ_SEED` starts there.

use super::Saved;
use super::tests::saved;
use crate::fuzz::{self, Trying};
use fastrand::Rng;
use fathom_text::chat::Assistant;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Files where nobody asks for more.
const FEW: u64 = 300;
/// What JSON, text and numbers trip over.
const PIECES: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "-1",
    "1e400",
    "18446744073709551616",
    "\\ud800",
    "\0",
    "é",
    "<｜User｜>",
];

fn whole() -> String {
    let said = Assistant { content: "half of".into(), ..Assistant::default() };
    saved().with_unfinished(&said).text().unwrap()
}

/// Another value somewhere, in a file that is still JSON.
fn another_value(json: &mut Value, random: &mut Rng) {
    let inside: Vec<&mut Value> = match &mut *json {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    if let Some(value) = random.choice(inside).filter(|_| random.u8(..8) > 0) {
        return another_value(value, random);
    }
    let huge = u64::MAX;
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(huge),
        json!(""),
        json!([]),
        json!({}),
        json!([[]]),
    ];
    *json = random.choice(values).unwrap_or_default();
}

fn mutated(random: &mut Rng) -> Vec<u8> {
    let text = whole();
    if random.bool() {
        let mut json = serde_json::from_str(&text).unwrap();
        another_value(&mut json, random);
        return json.to_string().into_bytes();
    }
    let mut bytes = text.into_bytes();
    for _ in 0..random.usize(1..4) {
        let (from, to) = (random.usize(..=bytes.len()), random.usize(..=bytes.len()));
        let range = from.min(to)..from.max(to).min(from.min(to) + 40);
        match random.u8(..5) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(range)),
            2 => {
                let again = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, again);
            }
            3 => {
                let piece = random.choice(PIECES).unwrap_or_default();
                bytes.splice(from..from, piece.bytes());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = random.u8(..);
                }
            }
        }
    }
    bytes
}

/// Whether it was read.
fn keeps_its_promises(path: &Path, bytes: &[u8]) -> bool {
    std::fs::write(path, bytes).unwrap();
    match Saved::read(path) {
        Ok(read) => {
            // What was read once can be written, and is the same from then on.
            let text = read.text().unwrap();
            std::fs::write(path, &text).unwrap();
            assert_eq!(Saved::read(path).unwrap().text().unwrap(), text);
            true
        }
        Err(why) => {
            assert!(
                why.starts_with(path.to_str().unwrap()) && why.len() > path.as_os_str().len() + 2,
                "{why}"
            );
            false
        }
    }
}

#[test]
fn mutated_conversations_are_read_or_refused_by_name() {
    let (time, first) = (fuzz::time(), fuzz::first_seed());
    let mut seed = first;
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path().join("talk.json");
    let (started, mut n_read, mut n_refused) = (Instant::now(), 0, 0);
    let goes_on = |seed| time.map_or(seed < first + FEW, |time| started.elapsed() < time);
    while goes_on(seed) || n_read < 20 || n_refused < 20 {
        let _trying = Trying { seed, input: String::new() };
        match keeps_its_promises(&path, &mutated(&mut Rng::with_seed(seed))) {
            true => n_read += 1,
            false => n_refused += 1,
        }
        seed += 1;
    }
    println!("{n_read} read, {n_refused} refused");
}
