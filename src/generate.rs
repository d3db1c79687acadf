//! An answer of a session.
//!
//! [`generate`] brings a session to a prompt, drives an [`Answer`] to its end, and hands out its events. An
//! interruption is heard between tokens and between the layers of a prompt's forward calls; the session keeps the tokens that
//! it has computed.

use fathom_engine::session::{Session, SessionError};
use fathom_text::answer::{Answer, Event, Next, Outcome, Request, Usage};
use fathom_text::tokenizer::Tokenizer;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Makes an answer, until `interrupt` becomes true. `sink` receives the events; if it breaks, the answer ends as if interrupted.
///
/// # Errors
/// A prompt that does not fit into the context, tokens outside the vocabulary, numbers that went bad.
///
/// # Panics
/// If the prompt is empty, or a logit bias is for a token outside the vocabulary.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    request: &Request<'_>,
    interrupt: &AtomicBool,
    sink: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Outcome, SessionError> {
    let mut answer = Answer::new(request, tokenizer, session.n_ctx());
    let mut usage = Usage { prompt: request.prompt.len(), ..Usage::default() };
    run(session, (request, interrupt), &mut answer, &mut usage, sink)?;
    session.keep_all();
    // What an end brings, if somebody still listens.
    let _ = tell(&mut answer, sink);
    Ok(answer.finish(usage))
}

/// Hands out what has become certain. If nobody wants it the answer ends.
fn tell(answer: &mut Answer<'_>, sink: &mut dyn FnMut(&Event) -> ControlFlow<()>) -> ControlFlow<()> {
    let told = answer.events().try_for_each(|event| sink(&event));
    if told.is_break() {
        answer.interrupt();
    }
    told
}

fn run(
    session: &mut Session,
    (request, interrupt): (&Request<'_>, &AtomicBool),
    answer: &mut Answer<'_>,
    usage: &mut Usage,
    sink: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<(), SessionError> {
    let started = Instant::now();
    let interrupted = || interrupt.load(Ordering::Relaxed);
    let recalled = session.recall(request.prompt);
    usage.cached = session.common_prefix(request.prompt).min(request.prompt.len() - 1);
    // Of a prompt that is there to its end the last token is computed once more, for its logits.
    usage.recalled = recalled.min(usage.cached);
    let (mut kept, total) = (usage.cached, usage.prompt);
    let mut progress = |done| sink(&Event::Prompt { done, total });
    let logits = session.sync_while(request.prompt, &mut |held, done| {
        kept = held;
        progress(done).is_continue() && !interrupted()
    })?;
    usage.prefill_time = started.elapsed();
    usage.prefilled = if logits.is_some() { total } else { kept } - usage.cached;
    let Some(mut logits) = logits.filter(|_| progress(total).is_continue()) else {
        answer.interrupt();
        return Ok(());
    };
    let started = Instant::now();
    while !interrupted() {
        let next = answer.next(logits);
        let (Next::Push(token), ControlFlow::Continue(())) = (next, tell(answer, sink)) else {
            usage.decode_time = started.elapsed();
            return Ok(());
        };
        logits = session.push(token)?;
        usage.decoded += 1;
    }
    answer.interrupt();
    usage.decode_time = started.elapsed();
    Ok(())
}
