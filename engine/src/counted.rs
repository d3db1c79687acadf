//! Numbers of things in a sentence.

/// `1 token`, `2 tokens`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
