//! The real vocabulary, as a GGUF file holds it, and its published form.
#![allow(dead_code, reason = "each test program uses a part")]

use fathom_gguf::{Gguf, OwnedValue, Writer};
use fathom_text::tokenizer::{Tokenizer, TokenizerError};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Rows of DeepSeek-V3.2's embedding.
pub const VOCAB_SIZE: usize = 129_280;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vocabulary/deepseek-v3.2")
}

/// The published tokenizer.json.
pub fn published() -> &'static [u8] {
    static JSON: OnceLock<Vec<u8>> = OnceLock::new();
    JSON.get_or_init(|| {
        let packed = std::fs::read(folder().join("tokenizer.json.gz")).unwrap();
        let mut json = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut json).unwrap();
        json
    })
}

/// The keys that `fathom quantize` writes for it.
pub fn keys() -> Vec<(String, OwnedValue)> {
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("tokenizer.json"), published()).unwrap();
    std::fs::copy(folder().join("tokenizer_config.json"), copy.path().join("tokenizer_config.json")).unwrap();
    let read = fathom_quantize::tokenizer::Tokenizer::read(copy.path(), VOCAB_SIZE).unwrap();
    read.unwrap().to_gguf()
}

/// A model file without tensors.
pub fn gguf(keys: Vec<(String, OwnedValue)>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "deepseek32").unwrap();
    for (key, value) in keys {
        writer.metadata(&key, value).unwrap();
    }
    writer.layout().unwrap().header
}

/// A tokenizer from the bytes of a model file.
pub fn from_bytes(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
    let gguf = Gguf::from_shards(vec![("model.gguf".to_owned(), bytes)]).unwrap();
    Tokenizer::from_gguf(gguf.metadata())
}

/// The real vocabulary in a model file.
pub fn real_gguf() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| gguf(keys()))
}

/// The real tokenizer.
pub fn real() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| from_bytes(real_gguf()).unwrap())
}
