//! The logits of the multi-token-prediction block.
//!
//! llama.cpp runs it in a second context of the same model, dense, fed with the trunk's normed hidden rows.

use llama_cpp_sys_2 as sys;

use crate::raw::{Batch, CacheType, Context, ContextOptions, Loading, Model};
use crate::{Rows, Run, RunError};

// llama.cpp declares these two in a C++ header of its own, hence the mangled names and no binding.
unsafe extern "C" {
    #[link_name = "_Z26llama_set_embeddings_nextnP13llama_contextbb"]
    fn set_embeddings_nextn(context: *mut sys::llama_context, value: bool, masked: bool);
    #[link_name = "_Z26llama_get_embeddings_nextnP13llama_context"]
    fn get_embeddings_nextn(context: *mut sys::llama_context) -> *mut f32;
}

/// Row j drafts the token after `tokens[j + 1]`, from the trunk's hidden row j and that token.
///
/// # Errors
/// Whatever llama.cpp refuses, and a file without the block. Needs two tokens at least.
pub fn logits(run: &Run) -> Result<Rows, RunError> {
    let n_tokens = run.n_tokens()?;
    let n_rows = run.tokens.len() - 1;
    if n_rows == 0 {
        return Err(RunError::Decode("a draft row needs two tokens".into()));
    }
    let loading = Loading { overrides: &run.overrides, mtp: true, repack: true };
    let model = Model::load(&run.model, loading)?;
    if model.n_mtp_layers() == 0 {
        return Err(RunError::NoDraftHead(run.model.clone()));
    }
    let hidden = trunk_hidden(&model, run, n_tokens)?;

    let context = Context::new(&model, &options(run, n_tokens, true))?;
    let batch = Batch::new(&context)?;
    for (row, token) in run.tokens[1..].iter().enumerate() {
        // llama.cpp counts a draft row by the token it takes in, one past its hidden row.
        batch.add(*token, row + 1, Some(&hidden[row * model.width()..][..model.width()]))?;
    }
    batch.process(&context)?;
    Ok(context.logits(n_rows))
}

/// The hidden rows after the trunk's last norm.
fn trunk_hidden(model: &Model, run: &Run, n_tokens: u32) -> Result<Vec<f32>, RunError> {
    let context = Context::new(model, &options(run, n_tokens, false))?;
    // SAFETY: the context is alive; unmasked asks for the row of every token of the batch.
    unsafe { set_embeddings_nextn(context.as_ptr(), true, false) };
    let batch = Batch::new(&context)?;
    for (position, token) in run.tokens.iter().enumerate() {
        batch.add(*token, position, None)?;
    }
    batch.process(&context)?;
    // SAFETY: the context is alive.
    let rows = unsafe { get_embeddings_nextn(context.as_ptr()) };
    if rows.is_null() {
        return Err(RunError::Decode("the trunk gave no hidden rows".into()));
    }
    // SAFETY: unmasked, llama.cpp keeps one row of `width` values for each token of the last batch, until
    // the context computes again or dies; the copy is made before either.
    Ok(unsafe { std::slice::from_raw_parts(rows, run.tokens.len() * model.width()) }.to_vec())
}

fn options(run: &Run, n_tokens: u32, mtp: bool) -> ContextOptions {
    ContextOptions {
        // One more cell: the draft's rows are counted from 1.
        n_ctx: n_tokens + 1,
        n_batch: n_tokens,
        n_ubatch: run.batch,
        threads: run.threads,
        cache: CacheType::F32,
        flash_attention: false,
        mtp,
        yarn_betas: run.yarn_betas,
    }
}
