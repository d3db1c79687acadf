//! The GGUF container: parse, validate, write, split.
