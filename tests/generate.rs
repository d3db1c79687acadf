//! The generation loop, on a tiny model: ends, stop strings, seeds, interruptions, what a session keeps.

mod common;

use common::{convert, with_model};
use fathom::generate::generate;
use fathom_engine::mmap::Mapping;
use fathom_engine::{Session, SessionError, SessionOptions};
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use fathom_text::answer::{Event, Outcome, Request, Stop};
use fathom_text::chat::parse::{Event as Part, Start, parse};
use fathom_text::chat::{Assistant, Chat, Conversation, Message, Spoken};
use fathom_text::sampler::{Dry, Penalties, Sampling};
use fathom_text::tokenizer::{TokenKind, Tokenizer};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a test wants of an answer.
#[derive(Clone)]
struct Wish {
    prompt: Vec<u32>,
    start: Option<Start>,
    seed: u64,
    sampling: Sampling,
    n_predict: Option<usize>,
    reasoning_budget: Option<usize>,
    stops: Vec<String>,
}

impl Wish {
    fn raw(seed: u64, n_predict: usize) -> Wish {
        let prompt = (3..40).collect();
        Wish {
            prompt,
            start: None,
            seed,
            sampling: Sampling::default(),
            n_predict: Some(n_predict),
            reasoning_budget: None,
            stops: Vec::new(),
        }
    }

    fn run(&self, session: &mut Session, tokenizer: &Tokenizer) -> Outcome {
        self.run_with(session, tokenizer, &AtomicBool::new(false), &mut |_| {}).unwrap()
    }

    fn run_with(
        &self,
        session: &mut Session,
        tokenizer: &Tokenizer,
        interrupt: &AtomicBool,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<Outcome, SessionError> {
        let request = Request {
            prompt: &self.prompt,
            start: self.start,
            tools: &[],
            sampling: Sampling { seed: self.seed, ..self.sampling.clone() },
            n_predict: self.n_predict,
            reasoning_budget: self.reasoning_budget,
            stops: &self.stops,
            constraint: None,
        };
        generate(session, tokenizer, &request, interrupt, &mut |event| {
            watch(event);
            ControlFlow::Continue(())
        })
    }
}

/// Hands a session of a tiny model and its tokenizer to `f`.
fn with_session<R>(
    n_threads: usize,
    options: SessionOptions,
    f: impl FnOnce(&mut Session, &Tokenizer) -> R,
) -> R {
    let model = convert("base", "f32");
    let mapping = Mapping::open(&model.path).unwrap();
    let gguf = Gguf::from_shards(mapping.shards()).unwrap();
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    let kernels = Kernels::from_env().unwrap();
    with_model(&model.path, kernels, n_threads, |engine| {
        f(&mut Session::new(engine, options).unwrap(), &tokenizer)
    })
}

fn content(event: &Event) -> &str {
    match event {
        Event::Part(Part::Content(text)) => text,
        _ => "",
    }
}

/// An answer that only the limit ended. Which seed gives one may depend on the machine's kernels.
fn unended(session: &mut Session, tokenizer: &Tokenizer, wish: &Wish) -> (Wish, Outcome) {
    let tried = (0..100).map(|seed| Wish { seed, ..wish.clone() });
    let mut ran = tried.map(|wish| (wish.clone(), wish.run(session, tokenizer)));
    ran.find(|(_, outcome)| outcome.stop == Stop::NPredict).expect("one of a hundred answers goes on")
}

#[test]
fn a_seed_gives_the_same_text_on_any_number_of_threads() {
    let texts = [1, 2, 3].map(|n_threads| {
        with_session(
            n_threads,
            SessionOptions { batch: 5 + n_threads, ..SessionOptions::default() },
            |session, tokenizer| {
                [1, 1, 2].map(|seed| {
                    let outcome = Wish::raw(seed, 60).run(session, tokenizer);
                    (outcome.ids, outcome.answer.content)
                })
            },
        )
    });
    assert_eq!(texts[0][0], texts[0][1]);
    assert_ne!(texts[0][0], texts[0][2]);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
}

#[test]
fn events_are_the_answer_and_usage_counts() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let (wish, first) = unended(session, tokenizer, &Wish::raw(0, 30));
        assert_eq!((first.ids.len(), first.usage.generated, first.usage.decoded), (30, 30, 29));
        assert_eq!(
            session.tokens().len(),
            wish.prompt.len() + 29,
            "the last token was not put through the model"
        );
        let mut all = String::new();
        let never = AtomicBool::new(false);
        let again = wish.run_with(session, tokenizer, &never, &mut |event| all += content(event)).unwrap();
        assert_eq!((&all, &again.ids), (&first.answer.content, &first.ids));
        assert_eq!(again.usage.cached, wish.prompt.len() - 1);
        assert_eq!(again.usage.prefilled, 1);
        let nothing = Wish { n_predict: Some(0), ..wish }.run(session, tokenizer);
        assert_eq!((nothing.stop, nothing.ids.len()), (Stop::NPredict, 0));
    });
}

#[test]
fn a_budget_ends_reasoning_in_the_models_own_format() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let thinks = Wish { start: Some(Start::Reasoning), ..Wish::raw(0, 40) };
        let (thinks, unbounded) = unended(session, tokenizer, &thinks);
        assert!(!unbounded.reasoning_cut && unbounded.answer.content.is_empty());
        let end = tokenizer.special("</think>").unwrap();
        for budget in [0, 1, 12] {
            let wish = Wish { reasoning_budget: Some(budget), ..thinks.clone() };
            let outcome = wish.run(session, tokenizer);
            assert!(outcome.reasoning_cut);
            assert_eq!(outcome.ids[..budget], unbounded.ids[..budget]);
            assert_eq!(outcome.ids[budget], end);
            let said = tokenizer.decode_bytes(&outcome.ids[budget + 1..]).unwrap();
            assert!(String::from_utf8_lossy(&said).starts_with(&outcome.answer.content));
            assert!(!outcome.answer.content.is_empty());
        }
        // Enough of it, or no reasoning at all: nothing is ended.
        for (start, budget) in [(Start::Reasoning, 40), (Start::Content, 0)] {
            let wish = Wish { start: Some(start), reasoning_budget: Some(budget), ..thinks.clone() };
            assert!(!wish.run(session, tokenizer).reasoning_cut, "{start:?}");
        }
    });
}

#[test]
fn reasoning_and_content_are_told_apart() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        for start in [Start::Reasoning, Start::Content] {
            let (_, outcome) = unended(session, tokenizer, &Wish { start: Some(start), ..Wish::raw(0, 40) });
            let decoded =
                String::from_utf8_lossy(&tokenizer.decode_bytes(&outcome.ids).unwrap()).into_owned();
            let Message::Assistant(Assistant { reasoning, content, .. }) = parse(&decoded, start, Vec::new())
            else {
                panic!("an answer is an assistant's")
            };
            // A character that the limit cut in two is left out.
            assert!(reasoning.starts_with(&outcome.answer.reasoning), "{reasoning:?}");
            assert!(content.starts_with(&outcome.answer.content), "{content:?}");
            let said = outcome.answer.reasoning.len() + outcome.answer.content.len();
            assert!(said + 3 >= decoded.replace("</think>", "").len(), "{decoded:?}");
            assert_eq!(outcome.answer.reasoning.is_empty(), start == Start::Content);
        }
    });
}

#[test]
fn stop_strings_are_found_across_tokens() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let (wish, whole) = unended(session, tokenizer, &Wish::raw(0, 60));
        let text = &whole.answer.content;
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        // Three characters of this vocabulary are more than one token nearly everywhere.
        for at in (8..places.len() - 4).step_by(5) {
            let stop = text[places[at]..places[at + 3]].to_owned();
            let expected = &text[..text.find(&stop).unwrap()];
            let mut shown = String::new();
            let wish = Wish { stops: vec!["never there".to_owned(), stop.clone()], ..wish.clone() };
            let never = AtomicBool::new(false);
            let outcome =
                wish.run_with(session, tokenizer, &never, &mut |event| shown += content(event)).unwrap();
            assert_eq!(outcome.stop, Stop::StopString(stop.clone()), "{stop:?} in {text:?}");
            assert_eq!((shown.as_str(), outcome.answer.content.as_str()), (expected, expected));
        }
    });
}

/// A presence penalty that nothing withstands: what came is not drawn again, whether it came in the prompt or the answer.
#[test]
fn penalties_know_the_prompt_and_the_answer() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let penalties = Penalties { last_n: None, presence: 1e6, ..Penalties::default() };
        let sampling = Sampling { penalties, ..Sampling::default() };
        let (wish, outcome) = unended(session, tokenizer, &Wish { sampling, ..Wish::raw(0, 60) });
        let all = [&wish.prompt[..], &outcome.ids].concat();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), wish.prompt.len() + 60);
        let (_, free) = unended(session, tokenizer, &Wish::raw(0, 60));
        assert!(free.ids.iter().collect::<HashSet<_>>().len() < 60, "without it tokens come again");
        // The session holds the prompt now; penalties look at it all the same.
        assert_eq!(wish.run(session, tokenizer).ids, outcome.ids);
    });
}

/// Whatever was answered before a token or read as its prompt is the same to the penalties.
#[test]
fn an_answer_in_parts_is_the_same_answer() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let sampling = Sampling {
            temperature: 0.0,
            penalties: Penalties { last_n: Some(20), repeat: 1.3, frequency: 0.1, presence: 0.1 },
            dry: Dry { multiplier: 0.8, allowed_length: 1, ..Dry::default() },
            // The best tokens go on for ever.
            logit_bias: vec![(tokenizer.eos(), f32::NEG_INFINITY)],
            ..Sampling::default()
        };
        let wish = Wish { sampling, ..Wish::raw(0, 60) };
        let whole = wish.run(session, tokenizer);
        assert_eq!((&whole.stop, whole.ids.len()), (&Stop::NPredict, 60));
        for at in [1, 17, 40] {
            let prompt = [&wish.prompt[..], &whole.ids[..at]].concat();
            let rest = Wish { prompt, n_predict: Some(60 - at), ..wish.clone() }.run(session, tokenizer);
            assert_eq!(rest.ids, whole.ids[at..], "{at}");
        }
        let free = Wish { sampling: Sampling { temperature: 0.0, ..Sampling::default() }, ..wish };
        assert_ne!(free.run(session, tokenizer).ids, whole.ids, "the penalties change something");
    });
}

/// What is banned is not drawn, if nothing else is left either; and calls are banned where no tools were announced.
#[test]
fn nothing_that_is_banned_is_drawn() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let ids = 0..tokenizer.n_tokens() as u32;
        for temperature in [0.0, 1.0] {
            let logit_bias = ids.clone().map(|id| (id, f32::NEG_INFINITY)).collect();
            let sampling = Sampling { temperature, logit_bias, ..Sampling::default() };
            let outcome = Wish { sampling, ..Wish::raw(0, 5) }.run(session, tokenizer);
            assert!(
                matches!(&outcome.stop, Stop::NoToken(why) if why.to_string().contains("--logit-bias")),
                "{:?}",
                outcome.stop
            );
            assert_eq!((outcome.usage.generated, outcome.ids.len()), (0, 0));

            // The only token that is wanted is the mark of calls.
            let mark = tokenizer.special("｜DSML｜").unwrap();
            let sampling = Sampling { temperature, logit_bias: vec![(mark, 1e4)], ..Sampling::default() };
            for start in [Some(Start::Content), Some(Start::Reasoning)] {
                let wish = Wish { start, sampling: sampling.clone(), ..Wish::raw(0, 5) };
                assert!(!wish.run(session, tokenizer).ids.contains(&mark));
            }
            let raw = Wish { sampling, ..Wish::raw(0, 5) }.run(session, tokenizer);
            assert_eq!(raw.ids, [mark; 5], "what is only continued may hold anything");
        }
    });
}

#[test]
fn a_full_context_is_an_end_or_an_error() {
    let prompt = Wish::raw(0, 1).prompt;
    let options = SessionOptions { n_ctx: prompt.len() + 5, ..SessionOptions::default() };
    with_session(2, options, |session, tokenizer| {
        let endings =
            (0..100).map(|seed| Wish { n_predict: None, ..Wish::raw(seed, 0) }.run(session, tokenizer));
        let full = endings.into_iter().find(|outcome| outcome.stop != Stop::Eos).unwrap();
        assert_eq!(full.stop, Stop::ContextFull);
        assert_eq!(
            (full.usage.generated, full.usage.decoded),
            (6, 5),
            "the sixth is drawn and finds no room"
        );

        let before = session.tokens().to_vec();
        let long = Wish { prompt: vec![3; prompt.len() + 6], ..Wish::raw(0, 1) };
        let error = long.run_with(session, tokenizer, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
        let (n_ctx, wanted) = (options.n_ctx, long.prompt.len());
        assert!(
            matches!(error, SessionError::ContextFull { n_ctx: a, wanted: b } if (a, b) == (n_ctx, wanted))
        );
        assert_eq!(session.tokens(), before, "what does not fit leaves the session as it was");
    });
}

#[test]
fn an_interrupted_prompt_keeps_what_is_computed() {
    let options = SessionOptions { batch: 4, ..SessionOptions::default() };
    with_session(2, options, |session, tokenizer| {
        let wish = Wish::raw(3, 20);
        let expected = wish.run(session, tokenizer);
        // Between two calls, and in the middle of one: that one's tokens are lost.
        for (stop_at, kept) in [(12, 12), (13, 12)] {
            session.truncate(0);
            let stop = AtomicBool::new(false);
            let mut seen = Vec::new();
            let outcome = wish.run_with(session, tokenizer, &stop, &mut |event| {
                if let Event::Prompt { done, total } = event {
                    assert_eq!(*total, wish.prompt.len());
                    seen.push(*done);
                    stop.store(*done >= stop_at, Ordering::Relaxed);
                }
            });
            let outcome = outcome.unwrap();
            assert_eq!((outcome.stop, outcome.ids.len()), (Stop::Interrupted, 0));
            assert!(seen.is_sorted() && [0, 4, 8, 12].iter().all(|calls| seen.contains(calls)), "{seen:?}");
            let last = seen[seen.len() - 1];
            assert!(stop_at <= last && last < 16, "{seen:?}");
            assert_eq!(outcome.usage.prefilled, kept);
            assert_eq!(session.tokens(), &wish.prompt[..kept]);

            let again = wish.run(session, tokenizer);
            assert_eq!((again.usage.cached, again.usage.prefilled), (kept, wish.prompt.len() - kept));
            assert_eq!(again.ids, expected.ids);
        }
    });
}

#[test]
fn an_interrupted_answer_keeps_what_is_computed() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let (wish, expected) = unended(session, tokenizer, &Wish::raw(0, 40));
        let stop = AtomicBool::new(false);
        let mut n_parts = 0;
        let outcome = wish.run_with(session, tokenizer, &stop, &mut |event| {
            n_parts += usize::from(matches!(event, Event::Part(_)));
            stop.store(n_parts >= 3, Ordering::Relaxed);
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.stop, Stop::Interrupted);
        assert!(outcome.ids.len() < 40 && expected.ids.starts_with(&outcome.ids));
        assert!(expected.answer.content.starts_with(&outcome.answer.content));
        assert_eq!(wish.run(session, tokenizer).ids, expected.ids);

        // A sink that breaks is an interruption, too.
        let request = Request {
            prompt: &wish.prompt,
            start: None,
            tools: &[],
            sampling: Sampling { seed: wish.seed, ..Sampling::default() },
            n_predict: None,
            reasoning_budget: None,
            stops: &[],
            constraint: None,
        };
        let outcome =
            generate(session, tokenizer, &request, &AtomicBool::new(false), &mut |event| match event {
                Event::Part(_) => ControlFlow::Break(()),
                Event::Prompt { .. } | Event::Malformed(_) | Event::Repeats(_) => ControlFlow::Continue(()),
            });
        assert_eq!(outcome.unwrap().stop, Stop::Interrupted);
    });
}

#[test]
fn the_next_turn_reads_only_what_is_new() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let chat = Chat::new(tokenizer).unwrap();
        let mut conversation = Conversation { messages: vec![Message::user("the end")], thinking: false };
        let prompt = chat.prompt(tokenizer, &conversation).unwrap();
        // An answer in other ids than its text would get: letter by letter.
        let ids: Vec<u32> = "Hello".chars().flat_map(|c| tokenizer.encode_plain(&c.to_string())).collect();
        assert_ne!(tokenizer.encode_plain("Hello"), ids);
        session.sync(&[&prompt.tokens[..], &ids].concat()).unwrap();

        conversation.messages.extend([Message::assistant("Hello"), Message::user("Hello")]);
        let mut spoken = Spoken::default();
        let said = Assistant { content: "Hello".into(), ..Assistant::default() };
        assert!(spoken.insert(tokenizer, &[], &said, (Start::Content, &ids)));
        let next = chat.prompt_keeping(tokenizer, &conversation, &spoken).unwrap();
        let bytes = tokenizer.decode_bytes(&next.tokens).unwrap();
        assert_eq!(bytes, chat.render(&conversation).unwrap().text().into_bytes());
        let n_plain = chat.prompt(tokenizer, &conversation).unwrap().tokens.len();
        let n_more = ids.len() - tokenizer.encode_plain("Hello").len();
        assert_eq!(next.tokens.len(), n_plain + n_more, "what the person said is encoded as ever");
        let wish = Wish { prompt: next.tokens, start: Some(next.start), ..Wish::raw(0, 1) };
        assert_eq!(wish.run(session, tokenizer).usage.cached, prompt.tokens.len() + ids.len());
    });
}

#[test]
fn ids_of_an_answer_are_kept_if_they_are_its_text() {
    with_session(2, SessionOptions::default(), |session, tokenizer| {
        let (mut n_kept, mut n_left) = (0, 0);
        for seed in 0..60 {
            let wish = Wish { start: Some(Start::Content), ..Wish::raw(seed, 3) };
            let outcome = wish.run(session, tokenizer);
            let is_text = tokenizer.decode_bytes(&outcome.ids).unwrap() == outcome.answer.content.as_bytes();
            let mut spoken = Spoken::default();
            if spoken.insert(tokenizer, &[], &outcome.answer, (Start::Content, &outcome.ids)) {
                assert_eq!(spoken.ids_of(&outcome.answer), Some(&outcome.ids[..]));
                n_kept += 1;
            } else {
                let controls = outcome.ids.iter().any(|id| tokenizer.kind(*id) != Some(TokenKind::Normal));
                assert!(!is_text || controls);
                n_left += 1;
            }
        }
        assert!(n_kept > 0 && n_left > 0, "{n_kept} {n_left}");
    });
}
