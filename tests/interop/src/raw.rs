//! llama.cpp through its C API: what the safe API of llama-cpp-2 hides.
//!
//! A [`Model`] outlives its [`Context`]s by their lifetimes, and everything is freed once, when it is dropped.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;

use llama_cpp_sys_2 as sys;

use crate::run::OverrideValue;
use crate::{Override, Rows, RunError};

/// Starts llama.cpp, once for a process.
fn start() {
    static ONCE: Once = Once::new();
    // SAFETY: no arguments; called once.
    ONCE.call_once(|| unsafe { sys::llama_backend_init() });
}

/// Keeps llama.cpp's log off standard error, but for what is wrong.
pub fn hush() {
    unsafe extern "C" fn print_errors(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
        if level == sys::GGML_LOG_LEVEL_ERROR && !text.is_null() {
            // SAFETY: llama.cpp hands over a C string that lives for the call.
            let text = unsafe { CStr::from_ptr(text) };
            eprint!("{}", text.to_string_lossy());
        }
    }
    // SAFETY: the callback is a function and takes no data.
    unsafe { sys::llama_log_set(Some(print_errors), std::ptr::null_mut()) };
}

/// The instruction sets llama.cpp was built for, in its own words.
pub fn system_info() -> String {
    start();
    // SAFETY: no arguments; the answer is a C string that stays.
    let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
    text.to_string_lossy().into_owned()
}

/// A loaded model.
pub struct Model(NonNull<sys::llama_model>);

/// How a model is loaded.
#[derive(Clone, Copy, Default)]
pub struct Loading<'l> {
    /// Metadata values that replace those of the file.
    pub overrides: &'l [Override],
    /// Load the multi-token-prediction block, too.
    pub mtp: bool,
    /// Copy weights out of the file into layouts for the CPU's products (llama.cpp does, unless told otherwise).
    pub repack: bool,
}

impl Model {
    /// Loads a GGUF; of a split model its first file.
    ///
    /// # Errors
    /// A file that llama.cpp does not load.
    pub fn load(path: &Path, loading: Loading<'_>) -> Result<Self, RunError> {
        start();
        let failed = |reason: &str| RunError::Load { path: path.into(), reason: reason.into() };
        let c_path =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| failed("its name has a zero byte"))?;
        let overrides = c_overrides(loading.overrides);
        // SAFETY: no arguments, no state.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.load_mtp = loading.mtp;
        params.use_extra_bufts = loading.repack;
        if overrides.len() > 1 {
            params.kv_overrides = overrides.as_ptr();
        }
        // SAFETY: the path is a C string and the overrides end with an empty key; llama.cpp copies both.
        let raw = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), params) };
        NonNull::new(raw).map(Self).ok_or_else(|| failed("it returns no model"))
    }

    /// Multi-token-prediction layers that were loaded.
    pub fn n_mtp_layers(&self) -> usize {
        // SAFETY: the model is alive.
        let n = unsafe { sys::llama_model_n_layer_nextn(self.0.as_ptr()) };
        usize::try_from(n).unwrap_or(0)
    }

    /// Values in a hidden row.
    pub fn width(&self) -> usize {
        // SAFETY: the model is alive.
        let width = unsafe { sys::llama_model_n_embd(self.0.as_ptr()) };
        usize::try_from(width).expect("a width is not negative")
    }

    /// Values in a row of logits.
    pub fn vocabulary(&self) -> usize {
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

/// Format of a cached value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, which llama.cpp takes unless told otherwise.
    F16,
}

impl CacheType {
    /// ggml's number of the type.
    pub fn ggml_type(self) -> sys::ggml_type {
        match self {
            CacheType::F32 => sys::GGML_TYPE_F32,
            CacheType::F16 => sys::GGML_TYPE_F16,
        }
    }
}

/// How a context is set up.
#[derive(Clone, Copy, Debug)]
pub struct ContextOptions {
    /// Tokens it holds.
    pub n_ctx: u32,
    /// Most tokens in one call.
    pub n_batch: u32,
    /// Most tokens computed at once.
    pub n_ubatch: u32,
    /// Threads for every product.
    pub threads: i32,
    /// Format of the cache.
    pub cache: CacheType,
    /// One fused kernel for attention, or its parts.
    pub flash_attention: bool,
    /// A context for the multi-token-prediction block.
    pub mtp: bool,
    /// YaRN's fast and slow beta, where they are not 32 and 1.
    pub yarn_betas: Option<[f32; 2]>,
}

/// A sequence under way.
pub struct Context<'m> {
    raw: NonNull<sys::llama_context>,
    model: &'m Model,
}

impl<'m> Context<'m> {
    /// A context without tokens.
    ///
    /// # Errors
    /// If llama.cpp makes none.
    pub fn new(model: &'m Model, options: &ContextOptions) -> Result<Self, RunError> {
        // SAFETY: no arguments, no state.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = options.n_ctx;
        params.n_batch = options.n_batch;
        params.n_ubatch = options.n_ubatch;
        params.n_threads = options.threads;
        params.n_threads_batch = options.threads;
        if options.mtp {
            params.ctx_type = sys::LLAMA_CONTEXT_TYPE_MTP;
        }
        params.type_k = options.cache.ggml_type();
        params.type_v = options.cache.ggml_type();
        params.flash_attn_type = if options.flash_attention {
            sys::LLAMA_FLASH_ATTN_TYPE_ENABLED
        } else {
            sys::LLAMA_FLASH_ATTN_TYPE_DISABLED
        };
        if let Some([fast, slow]) = options.yarn_betas {
            (params.yarn_beta_fast, params.yarn_beta_slow) = (fast, slow);
        }
        // SAFETY: the model is alive and outlives the context by its lifetime.
        let raw = unsafe { sys::llama_init_from_model(model.0.as_ptr(), params) };
        let raw = NonNull::new(raw).ok_or_else(|| RunError::Context("it returns none".into()))?;
        Ok(Self { raw, model })
    }

    /// The context, for calls that have no method here; it is valid while `self` lives.
    pub fn as_ptr(&self) -> *mut sys::llama_context {
        self.raw.as_ptr()
    }

    /// Computes `tokens` at positions `first ..`, with the logits of all of them or of the last. Waits for the end.
    ///
    /// # Errors
    /// Whatever llama.cpp refuses.
    pub fn decode(&mut self, tokens: &[i32], first: usize, all_logits: bool) -> Result<(), RunError> {
        let n = tokens.len();
        let count = |n: usize| i32::try_from(n).map_err(|_| RunError::TokenCount(n));
        let (n_tokens, last) = (count(n)?, count(first + n)?);
        let mut tokens = tokens.to_vec();
        let mut positions: Vec<i32> = (last - n_tokens..last).collect();
        let mut n_sequences = vec![1; n];
        let mut sequence = 0;
        let mut sequences = vec![&raw mut sequence; n];
        let mut wanted = vec![i8::from(all_logits); n];
        if let Some(last) = wanted.last_mut() {
            *last = 1;
        }
        let batch = sys::llama_batch {
            n_tokens,
            token: tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: n_sequences.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        // SAFETY: the context is alive; every list of the batch has `n_tokens` entries and lives for the call.
        let status = unsafe {
            let status = sys::llama_decode(self.raw.as_ptr(), batch);
            sys::llama_synchronize(self.raw.as_ptr());
            status
        };
        if status == 0 { Ok(()) } else { Err(RunError::Decode(format!("status {status}"))) }
    }

    /// The logits of the last call's first `n_rows` tokens, all of whose logits were wanted.
    pub fn logits(&self, n_rows: usize) -> Rows {
        let mut rows = Rows::with_capacity(self.model.vocabulary(), n_rows);
        for row in (0..).take(n_rows) {
            // SAFETY: the context is alive and has just processed a batch of `n_rows` rows, all of them
            // marked for output; a row is null or holds the vocabulary.
            let values = unsafe {
                let values = sys::llama_get_logits_ith(self.raw.as_ptr(), row);
                assert!(!values.is_null(), "llama.cpp has no logits for row {row}");
                std::slice::from_raw_parts(values, rows.width)
            };
            rows.values.extend_from_slice(values);
        }
        rows
    }

    /// Forgets everything from position `len` on.
    ///
    /// # Errors
    /// If llama.cpp cannot.
    pub fn truncate(&mut self, len: usize) -> Result<(), RunError> {
        let from = i32::try_from(len).map_err(|_| RunError::TokenCount(len))?;
        // SAFETY: the context is alive, and its memory with it.
        let done = unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.raw.as_ptr()), 0, from, -1) };
        if done { Ok(()) } else { Err(RunError::Decode(format!("it does not forget position {len} and on"))) }
    }

    /// The cache of the sequence as llama.cpp saves it.
    pub fn state(&self) -> Vec<u8> {
        // SAFETY: the context is alive; the buffer has the size that was asked for, and what is written is counted.
        unsafe {
            let mut state = vec![0; sys::llama_state_seq_get_size(self.raw.as_ptr(), 0)];
            let written =
                sys::llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), state.len(), 0);
            state.truncate(written);
            state
        }
    }

    /// Replaces the cache of the sequence.
    ///
    /// # Errors
    /// A state that llama.cpp does not take.
    pub fn set_state(&mut self, state: &[u8]) -> Result<(), RunError> {
        // SAFETY: the context is alive and reads no further than the length it is told.
        let read =
            unsafe { sys::llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), 0) };
        if read == state.len() {
            Ok(())
        } else {
            Err(RunError::Decode(format!("it takes {read} bytes of a cache of {}", state.len())))
        }
    }

    /// Computes with these threads from now on; without, llama.cpp starts new ones for every call.
    pub fn attach<'t>(&mut self, threads: &'t Threads)
    where
        't: 'm,
    {
        // SAFETY: both are alive, and the threads outlive the context by their lifetime.
        unsafe {
            sys::llama_attach_threadpool(self.raw.as_ptr(), threads.0.as_ptr(), std::ptr::null_mut());
        }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

/// llama.cpp's own threads, which wait for work as llama-bench's do.
pub struct Threads(NonNull<sys::ggml_threadpool>);

impl Threads {
    /// `n` threads, the caller's among them.
    ///
    /// # Errors
    /// If llama.cpp starts none.
    pub fn new(n: i32) -> Result<Self, RunError> {
        // SAFETY: the parameters are a value of their own, read in the call.
        let raw = unsafe {
            let mut params = sys::ggml_threadpool_params_default(n);
            sys::ggml_threadpool_new(&raw mut params)
        };
        NonNull::new(raw).map(Self).ok_or_else(|| RunError::Context("it starts no threads".into()))
    }

    /// Sends them to sleep until the next work, so that they take nothing from others.
    pub fn pause(&self) {
        // SAFETY: the threads are alive.
        unsafe { sys::ggml_threadpool_pause(self.0.as_ptr()) };
    }

    /// Wakes them for work to come.
    pub fn resume(&self) {
        // SAFETY: the threads are alive.
        unsafe { sys::ggml_threadpool_resume(self.0.as_ptr()) };
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once, after the contexts that work with them.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) };
    }
}

/// A batch whose tokens may come with hidden rows.
pub struct Batch<'c>(NonNull<sys::llama_batch_ext>, PhantomData<&'c ()>);

impl<'c> Batch<'c> {
    /// An empty one.
    ///
    /// # Errors
    /// If llama.cpp makes none.
    pub fn new(context: &'c Context<'_>) -> Result<Self, RunError> {
        // SAFETY: the context is alive and outlives the batch by its lifetime.
        let raw = unsafe { sys::llama_batch_ext_init(context.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| RunError::Decode("it makes no batch".into()))?;
        Ok(Self(raw, PhantomData))
    }

    /// A token of sequence 0 whose logits are wanted, with the hidden row that goes with it.
    ///
    /// # Errors
    /// If llama.cpp refuses it.
    pub fn add(&self, token: i32, position: usize, hidden: Option<&[f32]>) -> Result<(), RunError> {
        let position = i32::try_from(position).map_err(|_| RunError::TokenCount(position))?;
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

    /// Computes it.
    ///
    /// # Errors
    /// Whatever llama.cpp refuses.
    pub fn process(&self, context: &Context<'_>) -> Result<(), RunError> {
        // SAFETY: both are alive and belong together.
        let status =
            unsafe { sys::llama_process(context.as_ptr(), sys::LLAMA_PROCESS_TYPE_DECODE, self.0.as_ptr()) };
        if status == 0 { Ok(()) } else { Err(RunError::Decode(format!("status {status}"))) }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { sys::llama_batch_ext_free(self.0.as_ptr()) };
    }
}
