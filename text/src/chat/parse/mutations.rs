//! What a model may write, mutated: whatever comes, the parser keeps its promises.
//!
//! `FATHOM_FUZZ_SECONDS` sets how long (1 without it). Every answer follows from one seed; a failure prints it, and
//! `FATHOM_FUZZ_SEED` starts there.

use super::tests::without_pieces;
use super::*;
use crate::chat::markers::DSML;
use crate::fuzz::{self, Trying};
use fastrand::Rng;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const WHOLE: [&str; 7] = [
    "I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Zürich 😀 < > \"x\"</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "Hm.</think>\n\n<｜DSML｜invoke name=\"weather\">\n{\"city\": \"</invoke>\", \"days\": 1}\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"get_time\">\n</｜DSML｜invoke>\n",
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_time\">\n<｜DSML｜parameter string=\"false\" name=\"at\">{\"a\": [1, \"b:c\"]}</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>\n\nDone.",
    "a\n<function_calls>\n<invoke name=\"weather\">\n<parameter name=\"city\">a <b> c</parameter>\n<parameter name=\"days\">3</parameter>\n</invoke>\n</function_calls>",
    "<think>x\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Paris</parameter>\n</invoke>\n</function_calls>",
    "plain text with < and > and <b>bold</b> and </think> and {\"json\": [1]}\n\n",
    "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">A\n<｜DSML｜parameter name=\"days\" string=\"false\">1</｜DSML｜paramter>\n</｜DSML｜invok>\n</｜DSML｜function_calls>",
];

/// Pieces that are put anywhere.
const PIECES: [&str; 26] = [
    "<",
    ">",
    "/",
    "\"",
    "'",
    "\n",
    "\n\n",
    " ",
    "=",
    "{",
    "}",
    "\\",
    "｜DSML｜",
    "<｜DSML｜",
    "</｜DSML｜",
    "｜",
    "<｜DSML｜function_calls>",
    "</｜DSML｜function_calls>",
    "<｜DSML｜invoke name=\"weather\">",
    "</｜DSML｜invoke>",
    "<｜DSML｜parameter name=\"city\" string=\"true\">",
    "</｜DSML｜parameter>",
    "</parameter>",
    "</invoke>",
    "</think>",
    "<invoke name=\"",
];

fn tools() -> Vec<Tool> {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    ["weather", "get_time"]
        .map(|name| Tool::from_json(json!({"name": name, "parameters": parameters})).unwrap())
        .into()
}

fn mutated(random: &mut Rng) -> String {
    let mut text: Vec<char> = WHOLE[random.usize(..WHOLE.len())].chars().collect();
    for _ in 0..random.usize(..6) {
        let at = random.usize(..=text.len());
        let end = (at + random.usize(..24)).min(text.len());
        match random.u8(..5) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, PIECES[random.usize(..PIECES.len())].chars())),
            2 => drop(text.splice(at..end, PIECES[random.usize(..PIECES.len())].chars())),
            3 => text.truncate(at),
            _ => {
                let other: Vec<char> = WHOLE[random.usize(..WHOLE.len())].chars().collect();
                text.splice(at..at, other[random.usize(..other.len())..].iter().copied());
            }
        }
    }
    text.into_iter().collect()
}

/// All events, with neighbouring texts joined.
fn read(pieces: &[&str], start: Start, end: End) -> Vec<Event> {
    let mut parser = Parser::new(start, tools());
    let mut all: Vec<Event> = Vec::new();
    let mut add = |events: Vec<Event>| {
        for event in events {
            match (all.last_mut(), event) {
                (Some(Event::Content(before)), Event::Content(text))
                | (Some(Event::Reasoning(before)), Event::Reasoning(text)) => before.push_str(&text),
                (_, event) => all.push(event),
            }
        }
    };
    for piece in pieces {
        add(parser.push(piece));
        parser.place();
    }
    add(parser.finish(end));
    without_pieces(all)
}

fn texts(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(list) => list.iter().for_each(|value| texts(value, check)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            check(key);
            texts(value, check);
        }),
        _ => {}
    }
}

fn keeps_its_promises(answer: &str, random: &mut Rng) {
    let start = [Start::Reasoning, Start::Content, Start::Unknown][random.usize(..3)];
    let end = if random.bool() { End::Eos } else { End::Cut };
    let whole = read(&[answer], start, end);
    // Pieces do not matter.
    let places: Vec<usize> = answer.char_indices().map(|(place, _)| place).collect();
    let mut cuts: Vec<usize> =
        places.into_iter().filter(|_| random.u8(..4) == 0).chain([0, answer.len()]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let pieces: Vec<&str> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
    assert_eq!(read(&pieces, start, end), whole, "in pieces");

    let (mut open, mut out) = (0, String::new());
    for event in &whole {
        match event {
            Event::CallStart { .. } => open += 1,
            Event::Call(call) => {
                open -= 1;
                assert!(!call.name.contains(DSML), "a name holds a tag");
                texts(&Value::Object(call.arguments.clone()), &mut |text| {
                    for tag in ["<｜DSML｜", "</｜DSML｜"] {
                        assert!(!text.contains(tag), "an argument holds a tag: {text:?}");
                    }
                });
            }
            Event::Unfinished { raw, .. } => {
                open -= 1;
                out.push_str(raw);
            }
            Event::Content(text) | Event::Reasoning(text) => out.push_str(text),
            Event::Arguments(_) => unreachable!("taken out"),
        }
    }
    assert_eq!(open, 0, "every call that begins ends once");
    // Nothing is made up, and of what is no call nothing but white space and tags is lost.
    let has_call = whole.iter().any(|event| matches!(event, Event::Call(_)));
    let words = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let (said, written) = (words(&out), words(answer));
    let (mut rest, mut lost) = (said.chars().peekable(), String::new());
    for c in written.chars() {
        if rest.peek() == Some(&c) {
            rest.next();
        } else {
            lost.push(c);
        }
    }
    assert!(rest.peek().is_none() || lost.contains('<'), "more came out than was said: {said:?}");
    if !has_call && !answer.contains(DSML) && !answer.contains("function_calls") {
        // Any one of those that are there, once white space is left out.
        let without_one = |texts: Vec<String>, tag: &str| {
            let less = |text: &String| {
                let cut = |(at, _)| format!("{}{}", &text[..at], &text[at + tag.len()..]);
                text.match_indices(tag).map(cut).collect::<Vec<_>>()
            };
            let fewer: Vec<String> = texts.iter().flat_map(less).collect();
            [texts, fewer].concat()
        };
        let whole = ["<think>", "</think>"].into_iter().fold(vec![written.clone()], without_one);
        assert!(whole.contains(&said), "text is lost: {said:?} of {written:?}");
    }
}

#[test]
fn mutated_answers_never_break_a_promise() {
    let time = fuzz::time().unwrap_or(Duration::from_secs(1));
    let mut seed = fuzz::first_seed();
    let (started, mut calls) = (Instant::now(), 0);
    while started.elapsed() < time || calls < 100 {
        let mut random = Rng::with_seed(seed);
        let trying = Trying { seed, input: mutated(&mut random) };
        keeps_its_promises(&trying.input, &mut random);
        let events = read(&[&trying.input], Start::Content, End::Eos);
        calls += events.iter().filter(|event| matches!(event, Event::Call(_))).count();
        seed += 1;
    }
    println!("{seed} answers, {calls} calls");
}
