//! The logits of the multi-token-prediction block.
//!
//! llama.cpp runs it in a second context of the same model, dense, fed with the trunk's normed hidden rows.
//! The safe API hides the pointers that takes, so this module calls the C API. It is the only unsafe code here.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2 as sys;

use crate::run::OverrideValue;
use crate::{Override, Rows, Run, RunError};

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
    let _backend = LlamaBackend::init().map_err(|e| RunError::Context(e.to_string()))?;
    let model = Model::load(run)?;
    let hidden = trunk_hidden(&model, run, n_tokens)?;

    let context = Context::new(&model, run, n_tokens, sys::LLAMA_CONTEXT_TYPE_MTP)?;
    let batch = Batch::new(&context)?;
    for (row, token) in run.tokens[1..].iter().enumerate() {
        // llama.cpp counts a draft row by the token it takes in, one past its hidden row.
        batch.add(*token, row + 1, Some(&hidden[row * model.width()..][..model.width()]))?;
    }
    batch.process(&context)?;
    Ok(context.logits(&model, n_rows))
}

/// The hidden rows after the trunk's last norm.
fn trunk_hidden(model: &Model, run: &Run, n_tokens: u32) -> Result<Vec<f32>, RunError> {
    let context = Context::new(model, run, n_tokens, sys::LLAMA_CONTEXT_TYPE_DEFAULT)?;
    // SAFETY: the context is alive; unmasked asks for the row of every token of the batch.
    unsafe { set_embeddings_nextn(context.0.as_ptr(), true, false) };
    let batch = Batch::new(&context)?;
    for (position, token) in run.tokens.iter().enumerate() {
        batch.add(*token, position, None)?;
    }
    batch.process(&context)?;
    // SAFETY: the context is alive.
    let rows = unsafe { get_embeddings_nextn(context.0.as_ptr()) };
    if rows.is_null() {
        return Err(RunError::Decode("the trunk gave no hidden rows".into()));
    }
    // SAFETY: unmasked, llama.cpp keeps one row of `width` values for each token of the last batch, until
    // the context computes again or dies; the copy is made before either.
    Ok(unsafe { std::slice::from_raw_parts(rows, run.tokens.len() * model.width()) }.to_vec())
}

struct Model(NonNull<sys::llama_model>);

impl Model {
    fn load(run: &Run) -> Result<Self, RunError> {
        let failed = |reason: &str| RunError::Load { path: run.model.clone(), reason: reason.into() };
        let path =
            CString::new(run.model.as_os_str().as_bytes()).map_err(|_| failed("its name has a zero byte"))?;
        let overrides = c_overrides(&run.overrides);
        // SAFETY: no arguments, no state.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.load_mtp = true;
        if overrides.len() > 1 {
            params.kv_overrides = overrides.as_ptr();
        }
        // SAFETY: the path is a C string and the overrides end with an empty key; llama.cpp copies both.
        let raw = unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) };
        let model = Self(NonNull::new(raw).ok_or_else(|| failed("it returns no model"))?);
        // SAFETY: the model is alive.
        if unsafe { sys::llama_model_n_layer_nextn(model.0.as_ptr()) } == 0 {
            return Err(RunError::NoDraftHead(run.model.clone()));
        }
        Ok(model)
    }

    /// Values in a hidden row.
    fn width(&self) -> usize {
        // SAFETY: the model is alive.
        let width = unsafe { sys::llama_model_n_embd(self.0.as_ptr()) };
        usize::try_from(width).expect("a width is not negative")
    }

    fn vocabulary(&self) -> usize {
        // SAFETY: the model is alive, and its vocabulary lives as long.
        let count = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.0.as_ptr())) };
        usize::try_from(count).expect("a vocabulary is not negative")
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once, after the contexts that borrow it.
        unsafe { sys::llama_model_free(self.0.as_ptr()) };
    }
}

/// The overrides as C reads them: until an empty key.
fn c_overrides(overrides: &[Override]) -> Vec<sys::llama_model_kv_override> {
    let empty = sys::llama_model_kv_override {
        key: [0; 128],
        tag: sys::LLAMA_KV_OVERRIDE_TYPE_INT,
        __bindgen_anon_1: sys::llama_model_kv_override__bindgen_ty_1 { val_i64: 0 },
    };
    let mut list: Vec<_> = overrides
        .iter()
        .map(|over| {
            let mut one = empty;
            for (to, from) in one.key.iter_mut().zip(over.key.as_bytes()) {
                *to = *from as c_char;
            }
            let value = &mut one.__bindgen_anon_1;
            one.tag = match over.value {
                OverrideValue::Int(v) => {
                    value.val_i64 = v;
                    sys::LLAMA_KV_OVERRIDE_TYPE_INT
                }
                OverrideValue::Float(v) => {
                    value.val_f64 = v;
                    sys::LLAMA_KV_OVERRIDE_TYPE_FLOAT
                }
                OverrideValue::Bool(v) => {
                    value.val_bool = v;
                    sys::LLAMA_KV_OVERRIDE_TYPE_BOOL
                }
            };
            one
        })
        .collect();
    list.push(empty);
    list
}

struct Context<'m>(NonNull<sys::llama_context>, std::marker::PhantomData<&'m Model>);

impl<'m> Context<'m> {
    fn new(
        model: &'m Model,
        run: &Run,
        n_tokens: u32,
        kind: sys::llama_context_type,
    ) -> Result<Self, RunError> {
        // SAFETY: no arguments, no state.
        let mut params = unsafe { sys::llama_context_default_params() };
        // One more cell: the draft's rows are counted from 1.
        params.n_ctx = n_tokens + 1;
        params.n_batch = n_tokens;
        params.n_ubatch = run.batch;
        params.n_threads = run.threads;
        params.n_threads_batch = run.threads;
        params.ctx_type = kind;
        params.type_k = sys::GGML_TYPE_F32;
        params.type_v = sys::GGML_TYPE_F32;
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
        if let Some([fast, slow]) = run.yarn_betas {
            (params.yarn_beta_fast, params.yarn_beta_slow) = (fast, slow);
        }
        // SAFETY: the model is alive and outlives the context by its lifetime.
        let raw = unsafe { sys::llama_init_from_model(model.0.as_ptr(), params) };
        let raw = NonNull::new(raw).ok_or_else(|| RunError::Context("it returns none".into()))?;
        Ok(Self(raw, std::marker::PhantomData))
    }

    fn logits(&self, model: &Model, n_rows: usize) -> Rows {
        let mut rows = Rows::with_capacity(model.vocabulary(), n_rows);
        for row in (0..).take(n_rows) {
            // SAFETY: the context is alive and has just processed a batch of `n_rows` rows, all of them
            // marked for output; a row is null or holds the vocabulary.
            let values = unsafe {
                let values = sys::llama_get_logits_ith(self.0.as_ptr(), row);
                assert!(!values.is_null(), "llama.cpp has no logits for row {row}");
                std::slice::from_raw_parts(values, rows.width)
            };
            rows.values.extend_from_slice(values);
        }
        rows
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { sys::llama_free(self.0.as_ptr()) };
    }
}

struct Batch<'c>(NonNull<sys::llama_batch_ext>, std::marker::PhantomData<&'c ()>);

impl<'c> Batch<'c> {
    fn new(context: &'c Context<'_>) -> Result<Self, RunError> {
        // SAFETY: the context is alive and outlives the batch by its lifetime.
        let raw = unsafe { sys::llama_batch_ext_init(context.0.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| RunError::Decode("it makes no batch".into()))?;
        Ok(Self(raw, std::marker::PhantomData))
    }

    /// A token of sequence 0 whose logits are wanted, with the hidden row that goes with it.
    fn add(&self, token: i32, position: usize, hidden: Option<&[f32]>) -> Result<(), RunError> {
        let position = i32::try_from(position).expect("checked with the token count");
        let batch = self.0.as_ptr();
        // SAFETY: the batch is alive; the index is the one it just returned; llama.cpp copies the row, whose
        // length goes with it, and the single position that text models have.
        let taken = unsafe {
            let at = sys::llama_batch_ext_add_token(batch, 0, token);
            at >= 0
                && sys::llama_batch_ext_set_pos(batch, at, &position)
                && sys::llama_batch_ext_set_output_logits(batch, at, true)
                && hidden.is_none_or(|row| {
                    let row = sys::llama_embd { data: row.as_ptr(), n_rows: 1, n_embd: row.len() };
                    sys::llama_batch_ext_set_embd_token(batch, at, row)
                })
        };
        if taken { Ok(()) } else { Err(RunError::Decode(format!("token {token} at {position} is refused"))) }
    }

    fn process(&self, context: &Context<'_>) -> Result<(), RunError> {
        // SAFETY: both are alive and belong together.
        let status = unsafe {
            sys::llama_process(context.0.as_ptr(), sys::LLAMA_PROCESS_TYPE_DECODE, self.0.as_ptr())
        };
        if status == 0 { Ok(()) } else { Err(RunError::Decode(format!("status {status}"))) }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { sys::llama_batch_ext_free(self.0.as_ptr()) };
    }
}
