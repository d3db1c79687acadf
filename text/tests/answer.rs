//! Answers driven by hand: logits in, tokens out, events in between; several of them in turns.

mod vocabulary;

use fathom_text::answer::{Answer, Event, Next, Outcome, Request, Stop, Usage};
use fathom_text::chat::parse::{Event as Part, Start};
use fathom_text::sampler::Sampling;
use vocabulary::real;

/// Logits of a model that is sure of one token.
fn sure(token: u32) -> Vec<f32> {
    let mut logits = vec![0.0; real().n_tokens()];
    logits[token as usize] = 50.0;
    logits
}

fn request<'r>(prompt: &'r [u32], start: Option<Start>, stops: &'r [String]) -> Request<'r> {
    Request {
        prompt,
        start,
        tools: &[],
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        n_predict: None,
        reasoning_budget: None,
        stops,
        constraint: None,
    }
}

/// One answer with the tokens that its model is sure of, and what came of it so far.
struct Driven<'a> {
    answer: Answer<'a>,
    script: Vec<u32>,
    at: usize,
    events: Vec<Event>,
}

impl<'a> Driven<'a> {
    fn new(request: &Request<'a>, n_ctx: usize, text: &str) -> Driven<'a> {
        let script = real().encode_with_special(text);
        Driven { answer: Answer::new(request, real(), n_ctx), script, at: 0, events: Vec::new() }
    }

    /// One token further; false at the end.
    fn step(&mut self) -> bool {
        let token = self.script[self.at];
        let next = self.answer.next(&sure(token));
        self.events.extend(self.answer.events());
        self.at += 1;
        assert!(matches!(next, Next::Done) || next == Next::Push(token), "{next:?}");
        next != Next::Done
    }

    fn finish(self) -> (Vec<Event>, Outcome) {
        (self.events, self.answer.finish(Usage { prompt: 2, ..Usage::default() }))
    }
}

fn texts(events: &[Event]) -> (String, String) {
    let mut found = (String::new(), String::new());
    for event in events {
        match event {
            Event::Part(Part::Reasoning(text)) => found.0 += text,
            Event::Part(Part::Content(text)) => found.1 += text,
            other => panic!("{other:?}"),
        }
    }
    found
}

const ENDED: &str = "Let me see.</think>Two and two are four.<｜end▁of▁sentence｜>";

#[test]
fn answers_in_turns_do_not_meet() {
    let stops = ["STOP".to_owned()];
    let requests = [
        request(&[0, 5], Some(Start::Reasoning), &[]),
        request(&[0, 5], None, &stops),
        request(&[0, 5], Some(Start::Content), &[]),
    ];
    let scripts = [ENDED, "one two STOP three", "a long text that nobody ends, for the context is short"];
    let mut all: Vec<Driven<'_>> =
        requests.iter().zip(scripts).map(|(request, text)| Driven::new(request, 10, text)).collect();
    all[0] = Driven::new(&requests[0], 100, ENDED);
    let mut running = [true; 3];
    while running.contains(&true) {
        for (driven, running) in all.iter_mut().zip(&mut running).filter(|(_, running)| **running) {
            *running = driven.step();
        }
    }
    let ended: Vec<_> = all.into_iter().map(Driven::finish).collect();
    let (events, outcome) = &ended[0];
    assert_eq!(texts(events), ("Let me see.".to_owned(), "Two and two are four.".to_owned()));
    assert_eq!((&outcome.stop, &*outcome.answer.content), (&Stop::Eos, "Two and two are four."));
    assert_eq!((outcome.usage.prompt, outcome.usage.generated), (2, outcome.ids.len() + 1));
    let (events, outcome) = &ended[1];
    assert_eq!(outcome.stop, Stop::StopString("STOP".to_owned()));
    assert_eq!((texts(events).1.as_str(), outcome.answer.content.as_str()), ("one two ", "one two "));
    // Eight tokens behind the prompt, and the one that has no room any more.
    let (_, outcome) = &ended[2];
    assert_eq!((&outcome.stop, outcome.ids.len()), (&Stop::ContextFull, 9));
}

#[test]
fn what_is_held_back_comes_with_the_end_whoever_ends_it() {
    let stops = ["four five".to_owned()];
    let asked = request(&[0, 5], None, &stops);
    let mut driven = Driven::new(&asked, 100, "three four");
    while driven.at < driven.script.len() {
        assert!(driven.step());
    }
    assert_eq!(texts(&driven.events).1, "three ", "the rest may become a stop string");
    driven.answer.interrupt();
    driven.events.extend(driven.answer.events());
    assert_eq!(texts(&driven.events).1, "three four");
    assert_eq!(driven.answer.next(&sure(5)), Next::Done);
    let (_, outcome) = driven.finish();
    assert_eq!((outcome.stop, outcome.answer.content.as_str()), (Stop::Interrupted, "three four"));
}

#[test]
fn limits_end_before_and_behind_a_token() {
    for (n_predict, n_tokens) in [(0, 0), (1, 1), (3, 3)] {
        let asked = Request { n_predict: Some(n_predict), ..request(&[0, 5], None, &[]) };
        let mut driven = Driven::new(&asked, 100, "one two three four five");
        while driven.step() {}
        let (_, outcome) = driven.finish();
        assert_eq!((outcome.stop, outcome.ids.len()), (Stop::NPredict, n_tokens));
    }
    // One that was never driven.
    let asked = request(&[0, 5], None, &[]);
    assert_eq!(Answer::new(&asked, real(), 100).finish(Usage::default()).stop, Stop::Interrupted);
}
