//! Values of flags that several verbs have.

use crate::cache::IndexType;
use fathom_simd::Format;

/// No context or batch comes near; below it no size of a buffer overflows.
const MOST_TOKENS: usize = 1 << 24;
/// No machine has more cores.
const MOST_THREADS: usize = 4096;

/// A number of tokens.
pub(super) fn token_count(text: &str) -> Result<usize, String> {
    from_to(1, MOST_TOKENS, text)
}

/// The same, or 0.
pub(super) fn tokens_or_none(text: &str) -> Result<usize, String> {
    from_to(0, MOST_TOKENS, text)
}

/// A number of threads.
pub(super) fn thread_count(text: &str) -> Result<usize, String> {
    from_to(1, MOST_THREADS, text)
}

fn from_to(least: usize, most: usize, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from {least} to {most}, found `{text}`")),
    }
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|&one| name(one) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&one| name(one)).collect();
        format!("expected one of {}, found `{text}`", names.join(", "))
    })
}

/// Formats of cached latent rows, widest first.
pub(super) const LATENT_TYPES: [Format; 4] = [Format::F32, Format::BF16, Format::F16, Format::Q8_0];

pub(super) fn latent_type(text: &str) -> Result<Format, String> {
    one_of(text, &LATENT_TYPES, Format::name)
}

pub(super) fn index_type(text: &str) -> Result<IndexType, String> {
    one_of(text, &IndexType::ALL, IndexType::name)
}
