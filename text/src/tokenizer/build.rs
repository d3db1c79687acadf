//! From a GGUF file's metadata to a tokenizer.
//!
//! Everything is checked here, because the merging code trusts its input: with a token missing for a byte it would
//! drop that byte from every text in silence, and a merge that leads out of the vocabulary would stop the program.

use super::split::Splitter;
use super::table::TokenTable;
use super::{Specials, Tokenizer, bytes};
use aho_corasick::{AhoCorasick, MatchKind};
use fathom_gguf::{Metadata, Strings, TokenKind};
use std::collections::HashMap;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

/// The labels that stand for the same three expressions in llama.cpp. It picks a label by the ids that one sample text
/// gives, so a DeepSeek vocabulary may carry any of them; `deepseek-r1-qwen`, `deepseek-llm` and `deepseek-coder` are
/// other tokenizers.
const LABELS: [&str; 4] = ["deepseek-v3", "joyai-llm", "hunyuan-dense", "hy_v4"];

/// Eight times DeepSeek's.
const MOST_TOKENS: usize = 1 << 20;
/// Bytes of one token's text. The longest of DeepSeek's have a hundred.
const MOST_TOKEN_BYTES: usize = 4096;
/// Bytes of one control token's text, of all of them, and their number. V3.2 has 818 with 20 KB; a file of a few megabytes of them
/// would take gigabytes to look for.
const MOST_CONTROL_BYTES: usize = 256;
const MOST_CONTROL_BYTES_IN_ALL: usize = 512 << 10;
const MOST_CONTROL_TOKENS: usize = 16 << 10;
/// Merges for one token. A vocabulary that was learned has one.
const MOST_MERGES_PER_TOKEN: usize = 4;

/// Why a file's tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A key has another type than it should.
    #[error(transparent)]
    Gguf(#[from] fathom_gguf::Error),
    /// A key that must be there is not.
    #[error(
        "metadata key {key}: expected {expected}, found none; convert the model again, with its tokenizer files"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// Another kind of tokenizer.
    #[error(
        "metadata key {key}: expected {expected}, found {found:?}; Fathom runs DeepSeek-V3's tokenizer and no other"
    )]
    OtherTokenizer {
        /// The key.
        key: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The vocabulary contradicts itself.
    #[error("metadata key {key}: {problem}; convert the model again from its published tokenizer files")]
    Vocabulary {
        /// The key.
        key: &'static str,
        /// What is wrong, with what was expected and what was found.
        problem: String,
    },
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

impl Tokenizer {
    /// Builds the tokenizer of a model file.
    ///
    /// # Errors
    /// A file without a tokenizer, with another kind of tokenizer, or with a vocabulary that contradicts itself.
    pub fn from_gguf(metadata: &Metadata<'_>) -> Result<Tokenizer, TokenizerError> {
        check_label(metadata, "tokenizer.ggml.model", "`gpt2`", &["gpt2"])?;
        check_label(metadata, "tokenizer.ggml.pre", "`deepseek-v3`", &LABELS)?;
        check_switches(metadata)?;
        let texts = required(TOKENS, "an array of strings", metadata.strings(TOKENS)?)?;
        let kinds = required(KINDS, "an array of integers", metadata.i32s(KINDS)?)?;
        let merges = required(MERGES, "an array of strings", metadata.strings(MERGES)?)?;
        let mut parts = Parts::default();
        parts.read(texts, &kinds)?;
        check_bytes(&parts.vocab)?;
        let merges = read_merges(merges, &parts.vocab)?;
        let bpe = BPE::builder().vocab_and_merges(parts.vocab, merges).build();
        let bpe = bpe.map_err(|error| vocabulary(MERGES, error.to_string()))?;
        let n_tokens = parts.table.len();
        let eos_key = "tokenizer.ggml.eos_token_id";
        let eos = required(eos_key, "the id that ends an answer", id(metadata, eos_key, n_tokens)?)?;
        Ok(Tokenizer {
            bpe,
            splitter: Splitter::new(),
            specials: Specials::new(parts.specials)?,
            bos: id(metadata, "tokenizer.ggml.bos_token_id", n_tokens)?,
            adds_bos: metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
            eos,
            more_ends: more_ends(metadata, n_tokens)?,
            chat_template: metadata.str("tokenizer.chat_template")?.map(str::to_owned),
            table: parts.table,
        })
    }
}

/// What else ends an answer: a turn, a message.
fn more_ends(metadata: &Metadata<'_>, n_tokens: usize) -> Result<Vec<u32>, TokenizerError> {
    let keys = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
    let ids: Result<Vec<_>, _> = keys.into_iter().map(|key| id(metadata, key, n_tokens)).collect();
    Ok(ids?.into_iter().flatten().collect())
}

/// Keys of other tokenizers, under which text gives other ids.
fn check_switches(metadata: &Metadata<'_>) -> Result<(), TokenizerError> {
    let other = |key, expected, found: String| Err(TokenizerError::OtherTokenizer { key, expected, found });
    for key in [
        "tokenizer.ggml.ignore_merges",
        "tokenizer.ggml.add_space_prefix",
        "tokenizer.ggml.remove_extra_whitespaces",
    ] {
        if metadata.bool(key)? == Some(true) {
            return other(key, "false", "true".to_owned());
        }
    }
    let key = "tokenizer.ggml.precompiled_charsmap";
    match metadata.array(key)? {
        Some(map) if !map.is_empty() => other(key, "none", format!("{} bytes", map.len())),
        _ => Ok(()),
    }
}

fn required<T>(key: &'static str, expected: &'static str, value: Option<T>) -> Result<T, TokenizerError> {
    value.ok_or(TokenizerError::Missing { key, expected })
}

fn vocabulary(key: &'static str, problem: String) -> TokenizerError {
    TokenizerError::Vocabulary { key, problem }
}

fn check_label(
    metadata: &Metadata<'_>,
    key: &'static str,
    expected: &'static str,
    labels: &[&str],
) -> Result<(), TokenizerError> {
    let found = required(key, expected, metadata.str(key)?)?;
    if labels.contains(&found) {
        return Ok(());
    }
    Err(TokenizerError::OtherTokenizer { key, expected, found: short(found) })
}

/// Names from a file are shortened before they enter a message.
fn short(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn id(metadata: &Metadata<'_>, key: &'static str, n_tokens: usize) -> Result<Option<u32>, TokenizerError> {
    match metadata.u32(key)? {
        Some(id) if id as usize >= n_tokens => {
            Err(vocabulary(key, format!("expected an id below {n_tokens}, found {id}")))
        }
        other => Ok(other),
    }
}

/// The vocabulary by what is done with it.
#[derive(Default)]
struct Parts {
    vocab: Vocab,
    table: TokenTable,
    specials: Vec<(String, u32)>,
}

impl Parts {
    fn read(&mut self, texts: Strings<'_>, kinds: &[i32]) -> Result<(), TokenizerError> {
        if texts.len() != kinds.len() {
            let problem =
                format!("expected {} kinds, one for each token, found {}", texts.len(), kinds.len());
            return Err(vocabulary(KINDS, problem));
        }
        if kinds.len() > MOST_TOKENS {
            let problem = format!("expected at most {MOST_TOKENS} tokens, found {}", kinds.len());
            return Err(vocabulary(TOKENS, problem));
        }
        self.vocab.reserve(kinds.len());
        for ((id, text), kind) in (0u32..).zip(texts).zip(kinds) {
            let Some(kind) = TokenKind::from_number(*kind) else {
                let expected = "1 normal, 3 control, 4 user-defined or 5 unused";
                return Err(vocabulary(KINDS, format!("token {id}: expected {expected}, found {kind}")));
            };
            let most = if kind == TokenKind::Normal { MOST_TOKEN_BYTES } else { MOST_CONTROL_BYTES };
            if text.len() > most && kind != TokenKind::Unused {
                let found = text.len();
                return Err(vocabulary(
                    TOKENS,
                    format!("token {id}: expected at most {most} bytes, found {found}"),
                ));
            }
            self.table.push(text, kind).ok_or_else(|| {
                let expected = "characters of the byte alphabet";
                vocabulary(TOKENS, format!("token {id}: expected {expected}, found {:?}", short(text)))
            })?;
            match kind {
                TokenKind::Normal => {
                    if let Some(other) = self.vocab.insert(text.to_owned(), id) {
                        return Err(vocabulary(
                            TOKENS,
                            format!("{:?} has the ids {other} and {id}", short(text)),
                        ));
                    }
                }
                TokenKind::Control | TokenKind::UserDefined => self.specials.push((text.to_owned(), id)),
                TokenKind::Unused => {}
            }
        }
        Ok(())
    }
}

/// Without a token for a byte, merging would leave that byte out.
fn check_bytes(vocab: &Vocab) -> Result<(), TokenizerError> {
    let mut buffer = [0; 4];
    match (0..=255).find(|&byte| !vocab.contains_key(&*bytes::to_char(byte).encode_utf8(&mut buffer))) {
        None => Ok(()),
        Some(byte) => {
            Err(vocabulary(TOKENS, format!("expected a token for each byte, found none for {byte:#04x}")))
        }
    }
}

fn read_merges(lines: Strings<'_>, vocab: &Vocab) -> Result<Merges, TokenizerError> {
    let most = MOST_MERGES_PER_TOKEN.saturating_mul(vocab.len());
    if lines.len() > most {
        let problem =
            format!("expected at most {most} merges for {} tokens, found {}", vocab.len(), lines.len());
        return Err(vocabulary(MERGES, problem));
    }
    let mut merges = Merges::with_capacity(lines.len());
    let mut joined = String::new();
    for (rank, line) in lines.enumerate() {
        let wrong = |expected: &str| {
            vocabulary(MERGES, format!("merge {rank}: expected {expected}, found {:?}", short(line)))
        };
        let (left, right) = line.split_once(' ').ok_or_else(|| wrong("two tokens with a space between"))?;
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if [left, right, &joined].into_iter().any(|part| !vocab.contains_key(part)) {
            return Err(wrong("two tokens of the vocabulary that make a third"));
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

impl Specials {
    /// Of two tokens with one text the first counts.
    fn new(tokens: Vec<(String, u32)>) -> Result<Specials, TokenizerError> {
        let n_bytes: usize = tokens.iter().map(|(text, _)| text.len()).sum();
        if tokens.len() > MOST_CONTROL_TOKENS || n_bytes > MOST_CONTROL_BYTES_IN_ALL {
            return Err(vocabulary(
                TOKENS,
                format!(
                    "expected at most {MOST_CONTROL_TOKENS} control tokens with {MOST_CONTROL_BYTES_IN_ALL} bytes in all, found {} \
                     with {n_bytes}",
                    tokens.len()
                ),
            ));
        }
        let mut by_text = HashMap::with_capacity(tokens.len());
        let mut patterns = Vec::with_capacity(tokens.len());
        let mut ids = Vec::with_capacity(tokens.len());
        for (text, id) in tokens.into_iter().filter(|(text, _)| !text.is_empty()) {
            patterns.push(text.clone());
            ids.push(id);
            by_text.entry(text).or_insert(id);
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .map_err(|error| vocabulary(TOKENS, format!("the control tokens cannot be indexed: {error}")))?;
        Ok(Specials { finder, ids, by_text })
    }
}
