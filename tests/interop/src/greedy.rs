//! llama.cpp's greedy continuation of a prompt, token by token.

use crate::compare::argmax;
use crate::raw::{CacheType, Context, ContextOptions, Loading, Model};
use crate::{Rows, Run, RunError};

/// One row of logits for every token of the prompt and for the first `n_drawn - 1` of the tokens drawn: the largest value
/// of the prompt's last row, and of each row after it, stands at a token that was drawn. The end of the text ends nothing.
///
/// # Errors
/// Whatever llama.cpp refuses. What it asserts, it aborts on: call this in a process of its own.
pub fn logits(run: &Run, n_drawn: usize) -> Result<Rows, RunError> {
    let n_prompt = run.tokens.len();
    let count = |n: usize| u32::try_from(n).map_err(|_| RunError::TokenCount(n));
    let (n_batch, n_ctx) = (run.n_tokens()?, count(n_prompt + n_drawn)?);
    let model = Model::load(&run.model, Loading { overrides: &run.overrides, ..Loading::default() })?;
    let options = ContextOptions {
        n_ctx,
        n_batch,
        n_ubatch: run.batch,
        threads: run.threads,
        cache: CacheType::F32,
        flash_attention: false,
        mtp: false,
        yarn_betas: run.yarn_betas,
    };
    let mut context = Context::new(&model, &options)?;
    context.decode(&run.tokens, 0, true)?;
    let mut rows = context.logits(n_prompt);
    for position in (n_prompt..).take(n_drawn.saturating_sub(1)) {
        let last = rows.iter().last().expect("a prompt has tokens");
        let token = i32::try_from(argmax(last)).expect("ids are small");
        context.decode(&[token], position, true)?;
        rows.values.extend(context.logits(1).values);
    }
    Ok(rows)
}
