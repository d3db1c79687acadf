//! Values of flags that several verbs have.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use fathom_engine::cache::IndexType;
use fathom_engine::threads::default_threads;
use fathom_quantize::nearest_type;
use fathom_simd::Format;
use std::ffi::OsStr;
use std::num::NonZeroUsize;

/// No context or batch comes near; below it no size of a buffer overflows.
const MOST_TOKENS: usize = 1 << 24;
/// So many are of use nowhere, and many more make a machine unusable.
const MOST_THREADS: usize = 1024;

/// A number of tokens.
pub(super) fn token_count(text: &str) -> Result<usize, String> {
    from_to(1, MOST_TOKENS, text)
}

/// The same, or 0.
pub(super) fn tokens_or_none(text: &str) -> Result<usize, String> {
    from_to(0, MOST_TOKENS, text)
}

/// A number of threads; -1 is the usual one, as in llama.cpp.
pub(super) fn thread_count(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(default_threads()),
        _ => from_to(1, MOST_THREADS, text),
    }
}

/// A number of threads of the verbs that write models.
pub(super) fn some_threads(text: &str) -> Result<NonZeroUsize, String> {
    match text {
        "-1" => Ok(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        _ => from_to(1, MOST_THREADS, text).map(|n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)),
    }
}

fn from_to(least: usize, most: usize, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from {least} to {most}, found `{text}`")),
    }
}

/// Takes one of some names: in any case, with dashes or underscores.
#[derive(Clone)]
pub(super) struct OneOf<T> {
    all: Vec<(&'static str, T)>,
}

impl<T> OneOf<T> {
    /// Names and what they stand for, in the order of the help.
    pub(super) fn new(all: impl IntoIterator<Item = (&'static str, T)>) -> OneOf<T> {
        OneOf { all: all.into_iter().collect() }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for OneOf<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let plain = value.to_string_lossy().to_ascii_lowercase().replace('-', "_");
        if let Some((_, found)) = self.all.iter().find(|(name, _)| name.replace('-', "_") == plain) {
            return Ok(found.clone());
        }
        let names = PossibleValuesParser::new(self.all.iter().map(|(name, _)| *name));
        let refused = names.parse_ref(command, arg, value);
        let mut error = refused.err().unwrap_or_else(|| clap::Error::new(ErrorKind::InvalidValue));
        if let Some(nearest) = nearest_type(&plain, self.all.iter().map(|(name, _)| *name)) {
            let tip =
                format!("{} is not among these types; the nearest is {nearest}", value.to_string_lossy());
            // Letters alike say nothing of bits.
            error.remove(ContextKind::SuggestedValue);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.all.iter().map(|(name, _)| PossibleValue::new(*name))))
    }
}

/// Formats of cached latent rows, widest first.
pub(super) const LATENT_TYPES: [Format; 4] = [Format::F32, Format::BF16, Format::F16, Format::Q8_0];

pub(super) fn latent_type() -> OneOf<Format> {
    OneOf::new(LATENT_TYPES.map(|format| (format.name(), format)))
}

pub(super) fn index_type() -> OneOf<IndexType> {
    OneOf::new(IndexType::ALL.map(|format| (format.name(), format)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_people_write_them() {
        let parser = latent_type();
        let command = Command::new("x");
        let parse =
            |text: &str| parser.parse_ref(&command, None, OsStr::new(text)).map_err(|e| e.to_string());
        for text in ["q8_0", "Q8_0", "q8-0", "Q8-0"] {
            assert_eq!(parse(text), Ok(Format::Q8_0), "{text}");
        }
        assert_eq!(parse("BF16"), Ok(Format::BF16));
        let told = parse("q9").unwrap_err();
        assert!(told.contains("q8_0") && told.contains("bf16") && !told.contains("nearest"), "{told}");
        let told = parse("Q4_0").unwrap_err();
        assert!(told.contains("Q4_0 is not among these types; the nearest is q8_0"), "{told}");
    }

    #[test]
    fn threads_may_be_left_to_the_program() {
        assert_eq!(thread_count("-1"), Ok(default_threads()));
        assert_eq!(thread_count("3"), Ok(3));
        assert_eq!(some_threads("3").map(NonZeroUsize::get), Ok(3));
        assert!(some_threads("-1").is_ok());
        for wrong in ["-2", "0", "1025", "99999"] {
            assert!(some_threads(wrong).unwrap_err().contains("from 1 to 1024"), "{wrong}");
            assert!(thread_count(wrong).unwrap_err().contains("from 1 to 1024"), "{wrong}");
        }
    }
}
