//! The logits of the model itself, through the safe API of llama-cpp-2.

use std::num::NonZeroU32;
use std::pin::pin;

use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::params::kv_overrides::ParamOverrideValue;
use llama_cpp_2::token::LlamaToken;

use crate::run::OverrideValue;
use crate::{Rows, Run, RunError};

/// One row of logits for every token.
///
/// # Errors
/// Whatever llama.cpp refuses. What it asserts, it aborts on: call this in a process of its own.
pub fn logits(run: &Run) -> Result<Rows, RunError> {
    let n_tokens = run.n_tokens()?;
    let backend = LlamaBackend::init().map_err(|e| RunError::Context(e.to_string()))?;
    let model = load(&backend, run)?;
    let mut params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(n_tokens))
        .with_n_batch(n_tokens)
        .with_n_ubatch(run.batch)
        .with_n_threads(run.threads)
        .with_n_threads_batch(run.threads)
        .with_type_k(KvCacheType::F32)
        .with_type_v(KvCacheType::F32)
        .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED);
    if let Some([fast, slow]) = run.yarn_betas {
        params = params.with_yarn_beta_fast(fast).with_yarn_beta_slow(slow);
    }
    let mut context = model.new_context(&backend, params).map_err(|e| RunError::Context(e.to_string()))?;

    let mut batch = LlamaBatch::new(run.tokens.len(), 1);
    for (token, position) in run.tokens.iter().zip(0..) {
        batch
            .add(LlamaToken::new(*token), position, &[0], true)
            .map_err(|e| RunError::Decode(e.to_string()))?;
    }
    context.decode(&mut batch).map_err(|e| RunError::Decode(e.to_string()))?;

    let width = usize::try_from(model.n_vocab()).expect("a vocabulary is not negative");
    let mut rows = Rows::with_capacity(width, run.tokens.len());
    for position in (0..).take(run.tokens.len()) {
        rows.values.extend_from_slice(context.get_logits_ith(position));
    }
    Ok(rows)
}

fn load(backend: &LlamaBackend, run: &Run) -> Result<LlamaModel, RunError> {
    let failed = |reason: String| RunError::Load { path: run.model.clone(), reason };
    if !run.model.is_file() {
        return Err(failed("there is no such file".into()));
    }
    let mut params = pin!(LlamaModelParams::default());
    for over in &run.overrides {
        let value = match over.value {
            OverrideValue::Int(v) => ParamOverrideValue::Int(v),
            OverrideValue::Float(v) => ParamOverrideValue::Float(v),
            OverrideValue::Bool(v) => ParamOverrideValue::Bool(v),
        };
        params.as_mut().append_kv_override(&over.key, value);
    }
    LlamaModel::load_from_file(backend, &run.model, &params).map_err(|e| failed(e.to_string()))
}
