//! Text to token ids and back, from the vocabulary inside a GGUF file.
//!
//! A file holds token strings, merges and a label that stands for three expressions; nothing else is needed and
//! nothing else is read, so a converted model carries its tokenizer with it. Text is split (`split`), each piece is
//! written in the byte alphabet (`bytes`) and merged by the `tokenizers` crate's BPE, which gives the ids of the
//! published `tokenizer.json`. No BOS is ever added here: whoever builds a prompt writes it.
//!
//! There are two ways in. [`Tokenizer::encode_plain`] knows no control tokens: whatever a person writes is text.
//! [`Tokenizer::encode_with_special`] turns the texts of control and user-defined tokens into their ids, as other
//! programs do with a whole rendered prompt; it is for text that is trusted with that.

mod build;
mod bytes;
mod decode;
mod split;
mod table;

pub use build::TokenizerError;
pub use decode::{Controls, TextDecoder};
pub use fathom_gguf::TokenKind;

use aho_corasick::AhoCorasick;
use split::Splitter;
use std::collections::HashMap;
use table::TokenTable;
use tokenizers::Model;
use tokenizers::models::bpe::BPE;

/// A vocabulary that is ready to encode and decode.
pub struct Tokenizer {
    bpe: BPE,
    splitter: Splitter,
    table: TokenTable,
    specials: Specials,
    bos: Option<u32>,
    adds_bos: bool,
    eos: u32,
    /// What ends an answer beside it.
    more_ends: Vec<u32>,
    chat_template: Option<String>,
}

/// The tokens that are found by text: control and user-defined ones.
struct Specials {
    /// Which of them stands where in a text.
    finder: AhoCorasick,
    /// Their ids in the finder's order.
    ids: Vec<u32>,
    by_text: HashMap<String, u32>,
}

/// An id that no token has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("token {index}: expected an id below {n_tokens}, found {id}")]
pub struct UnknownToken {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The id.
    pub id: u32,
    /// How many tokens there are.
    pub n_tokens: usize,
}

impl Tokenizer {
    /// The ids of a text in which nothing is a control token.
    pub fn encode_plain(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut ids);
        ids
    }

    /// The ids of a text in which the texts of control and user-defined tokens stand for those tokens.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut done = 0;
        for found in self.specials.finder.find_iter(text) {
            self.encode_into(&text[done..found.start()], &mut ids);
            ids.push(self.specials.ids[found.pattern().as_usize()]);
            done = found.end();
        }
        self.encode_into(&text[done..], &mut ids);
        ids
    }

    fn encode_into(&self, text: &str, ids: &mut Vec<u32>) {
        let mut word = String::new();
        self.splitter.split(text, |piece| {
            word.clear();
            word.extend(piece.bytes().map(bytes::to_char));
            let tokens =
                self.bpe.tokenize(&word).expect("without an unknown token and dropout nothing can fail");
            ids.extend(tokens.iter().map(|token| token.id));
        });
    }

    /// The id of the control or user-defined token with this text.
    pub fn special(&self, text: &str) -> Option<u32> {
        self.specials.by_text.get(text).copied()
    }

    /// Every control and user-defined token, in no particular order.
    pub fn specials(&self) -> impl Iterator<Item = (&str, u32)> {
        self.specials.by_text.iter().map(|(text, id)| (text.as_str(), *id))
    }

    /// How many ids there are, fillers included.
    pub fn n_tokens(&self) -> usize {
        self.table.len()
    }

    /// What a token stands for in text; fillers stand for nothing. `None`: no such id.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.table.bytes(id)
    }

    /// What a token is for. `None`: no such id.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.table.kind(id)
    }

    /// Begins a prompt.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether the file says that texts begin with BOS. Files of the same model disagree about it, so prompts never
    /// depend on it; it is for programs that do as llama.cpp does.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Ends an answer, also in prompts.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Whether an answer ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        id == self.eos || self.more_ends.contains(&id)
    }

    /// The template inside the file, if there is one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Whether `ids` are `text` and nothing more: normal tokens alone, whose bytes are its.
    pub fn is_text(&self, ids: &[u32], text: &str) -> bool {
        ids.iter().all(|id| self.kind(*id) == Some(TokenKind::Normal))
            && self.decode_bytes(ids).is_ok_and(|bytes| bytes == text.as_bytes())
    }

    /// The exact bytes of a list of tokens, control tokens as their texts.
    ///
    /// # Errors
    /// An id that no token has.
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, UnknownToken> {
        let mut out = Vec::with_capacity(4 * ids.len());
        for (index, &id) in ids.iter().enumerate() {
            let n_tokens = self.n_tokens();
            out.extend(self.bytes(id).ok_or(UnknownToken { index, id, n_tokens })?);
        }
        Ok(out)
    }

    /// A decoder for one answer, token by token.
    pub fn decoder(&self, controls: Controls) -> TextDecoder<'_> {
        TextDecoder::new(self, controls)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.n_tokens())
    }
}
