//! What to run: a model, tokens, and the few settings a comparison needs.

use std::ffi::CString;
use std::path::PathBuf;
use std::str::FromStr;

/// One forward pass over a whole token list.
pub struct Run {
    /// The GGUF; of a split model its first file.
    pub model: PathBuf,
    /// The tokens, teacher-forced: row i of the result follows token i.
    pub tokens: Vec<i32>,
    /// How many tokens llama.cpp computes at once; 1 is decoding one by one.
    pub batch: u32,
    /// Threads for every matrix product.
    pub threads: i32,
    /// Metadata values that replace those of the file.
    pub overrides: Vec<Override>,
    /// YaRN's fast and slow beta. llama.cpp does not read them from files of this family: it takes 32 and 1 unless
    /// told otherwise.
    pub yarn_betas: Option<[f32; 2]>,
}

impl Run {
    /// The token count as llama.cpp wants it.
    ///
    /// # Errors
    /// An empty list, or one longer than llama.cpp can count.
    pub fn n_tokens(&self) -> Result<u32, RunError> {
        match u32::try_from(self.tokens.len()) {
            Ok(n) if n > 0 && i32::try_from(n).is_ok() => Ok(n),
            _ => Err(RunError::TokenCount(self.tokens.len())),
        }
    }
}

/// A metadata value given on the command line, `KEY=TYPE:VALUE` with TYPE int, float or bool.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The full key, architecture prefix included.
    pub key: CString,
    /// The value that stands in for the file's.
    pub value: OverrideValue,
}

/// The value types llama.cpp can override.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OverrideValue {
    /// Any integer key.
    Int(i64),
    /// Any float key.
    Float(f64),
    /// A boolean key.
    Bool(bool),
}

/// llama.cpp keeps an override's key in a field of this many bytes, the closing zero included.
const KEY_BYTES: usize = 128;

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not KEY=TYPE:VALUE with TYPE int, float or bool");
        let (key, typed) = text.split_once('=').ok_or_else(wrong)?;
        let (ty, value) = typed.split_once(':').ok_or_else(wrong)?;
        let value = match ty {
            "int" => value.parse().map(OverrideValue::Int).map_err(|_| wrong())?,
            "float" => value.parse().map(OverrideValue::Float).map_err(|_| wrong())?,
            "bool" => value.parse().map(OverrideValue::Bool).map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        if key.is_empty() || key.len() >= KEY_BYTES {
            return Err(format!("the key of {text:?} must have 1 to {} bytes", KEY_BYTES - 1));
        }
        let key = CString::new(key).map_err(|_| wrong())?;
        Ok(Self { key, value })
    }
}

/// Why llama.cpp gave no logits. Its own words are in its log, on standard error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The token list is empty or too long.
    #[error("llama.cpp takes 1 to 2147483647 tokens, not {0}")]
    TokenCount(usize),
    /// The model did not load.
    #[error("llama.cpp does not load {path}: {reason}; its log above says why")]
    Load {
        /// The file asked for.
        path: PathBuf,
        /// What the binding reports.
        reason: String,
    },
    /// The context could not be made.
    #[error("llama.cpp makes no context: {0}")]
    Context(String),
    /// A batch was refused or failed.
    #[error("llama.cpp does not decode: {0}")]
    Decode(String),
    /// The file has no multi-token-prediction block.
    #[error("{0} has no MTP block that llama.cpp loads")]
    NoDraftHead(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_key_type_value() {
        let parsed: Override = "deepseek2.expert_group_count=int:8".parse().expect("well formed");
        assert_eq!(parsed.key.to_str(), Ok("deepseek2.expert_group_count"));
        assert_eq!(parsed.value, OverrideValue::Int(8));
        for text in ["a", "a=int", "a=int:x", "a=str:b", "=int:1", "a=bool:1"] {
            assert!(text.parse::<Override>().is_err(), "{text}");
        }
    }
}
