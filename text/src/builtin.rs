//! The vocabulary of the built-in model, for tests.

use crate::tokenizer::Tokenizer;

/// Its tokenizer.
pub(crate) fn tokenizer() -> Tokenizer {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/builtin/builtin.gguf")).unwrap();
    let gguf = fathom_gguf::Gguf::from_shards(vec![(String::new(), &file[..])]).unwrap();
    Tokenizer::from_gguf(gguf.metadata()).unwrap()
}
