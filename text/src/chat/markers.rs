//! The control tokens of the V3.2 format, by text. The bars are U+FF5C, the low lines U+2581.

/// Begins a prompt.
pub const BOS: &str = "<｜begin▁of▁sentence｜>";
/// Ends an answer.
pub const EOS: &str = "<｜end▁of▁sentence｜>";
/// Begins what a person says.
pub const USER: &str = "<｜User｜>";
/// Begins an answer.
pub const ASSISTANT: &str = "<｜Assistant｜>";
/// Begins reasoning.
pub const THINK: &str = "<think>";
/// Ends reasoning, or says that there is none.
pub const END_THINK: &str = "</think>";
/// Marks the tags of tool calls.
pub const DSML: &str = "｜DSML｜";

/// All of them.
pub const ALL: [&str; 7] = [BOS, EOS, USER, ASSISTANT, THINK, END_THINK, DSML];
