//! An answer of a session.
//!
//! [`generate`] brings a session to a prompt, draws tokens until something ends the answer, and hands out its events. An
//! interruption is heard between tokens and between the layers of a prompt's forward calls; the session keeps the tokens that
//! it has computed.

use fathom_engine::session::{Session, SessionError};
use fathom_text::answer::{Draw, Event, Outcome, Request, Stop, Usage, Writer};
use fathom_text::tokenizer::Tokenizer;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Makes an answer. `sink` receives the events; if it breaks, the answer ends as if interrupted.
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
    sink: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Outcome, SessionError> {
    let mut draw = Draw::new(request, tokenizer);
    let mut writer = Writer::new(tokenizer, request, sink);
    let mut usage = Usage { prompt: request.prompt.len(), ..Usage::default() };
    let stop = run(session, request, &mut draw, &mut writer, &mut usage)?;
    session.keep_all();
    Ok(writer.finish(stop, draw.lacks_form(), usage))
}

fn run(
    session: &mut Session,
    request: &Request<'_>,
    draw: &mut Draw<'_>,
    writer: &mut Writer<'_>,
    usage: &mut Usage,
) -> Result<Stop, SessionError> {
    let started = Instant::now();
    let interrupted = || request.interrupt.load(Ordering::Relaxed);
    let recalled = session.recall(request.prompt);
    usage.cached = session.common_prefix(request.prompt).min(request.prompt.len() - 1);
    // Of a prompt that is there to its end the last token is computed once more, for its logits.
    usage.recalled = recalled.min(usage.cached);
    let n_ctx = session.n_ctx();
    let mut kept = usage.cached;
    let logits = session.sync_while(request.prompt, &mut |held, done| {
        kept = held;
        writer.progress(done, usage.prompt).is_continue() && !interrupted()
    })?;
    usage.prefill_time = started.elapsed();
    usage.prefilled = if logits.is_some() { usage.prompt } else { kept } - usage.cached;
    let Some(mut logits) = logits else { return Ok(Stop::Interrupted) };
    if writer.progress(usage.prompt, usage.prompt).is_break() {
        return Ok(Stop::Interrupted);
    }
    let most = request.n_predict.unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Stop::NPredict);
    }
    let started = Instant::now();
    request.prompt.iter().for_each(|&token| draw.accept(token));
    let stop = loop {
        if interrupted() {
            break Stop::Interrupted;
        }
        let token = match draw.token(writer.parser(), logits) {
            Ok(token) => writer.within_budget(token),
            Err(stop) => break stop,
        };
        usage.generated += 1;
        if writer.is_end(token) {
            break Stop::Eos;
        }
        if let ControlFlow::Break(stop) = writer.token(token) {
            break stop;
        }
        if usage.prompt + usage.decoded == n_ctx {
            break Stop::ContextFull;
        }
        if usage.generated >= most {
            break Stop::NPredict;
        }
        draw.accept(token);
        logits = session.push(token)?;
        usage.decoded += 1;
    };
    usage.decode_time = started.elapsed();
    Ok(stop)
}
