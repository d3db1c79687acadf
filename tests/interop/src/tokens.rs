//! llama.cpp's tokens for a text, from the tokenizer in a GGUF.

use std::path::Path;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::RunError;

/// The ids of every text, special tokens recognised and none added. Reads metadata only, so that any size of
/// model will do.
///
/// # Errors
/// A file whose vocabulary llama.cpp does not load.
pub fn ids<'t>(model: &Path, texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<Vec<i32>>, RunError> {
    let backend = LlamaBackend::init().map_err(|e| RunError::Context(e.to_string()))?;
    let params = LlamaModelParams::default().with_vocab_only(true);
    let loaded = LlamaModel::load_from_file(&backend, model, &params)
        .map_err(|e| RunError::Load { path: model.to_path_buf(), reason: e.to_string() })?;
    let vocabulary = loaded.vocab();
    let ids_of = |text: &str| vocabulary.tokenize(text.as_bytes(), false, true).iter().map(|t| t.0).collect();
    Ok(texts.into_iter().map(ids_of).collect())
}
