//! The GGUF container: parse, validate, write, split.
//!
//! A GGUF file is a header (magic, version, two counts, metadata entries, tensor entries) and a data section in
//! which the tensors lie, each at a multiple of the file's alignment. This crate reads versions 2 and 3 and writes
//! version 3. It takes and gives bytes: it opens no file, maps no memory, computes nothing with the numbers in a
//! tensor, and contains no unsafe code. Who owns 400 GB is said by a lifetime: everything that comes out of
//! [`GgufFile::parse`] borrows the bytes that went in.
//!
//! **Nothing in a file is believed.** Every count is compared with the bytes that are left before anything is
//! allocated, every sum is checked, names are unique, nesting is bounded, tensors lie inside the file, aligned and
//! apart from each other. What fails is an [`Error`] that says where, what was expected, what was found and what to
//! do. No bytes make this crate panic; `tests/mutations.rs` and the fuzz targets in `fuzz/` try.
//!
//! **Opening is lazy.** Parsing touches the pages of the header and no others. Arrays are walked once, to know that
//! they are good, and stay bytes until somebody iterates over them ([`Array`]).
//!
//! **Shapes are outermost first**, `[rows, cols]`. The file's reversed order is turned round where entries are
//! read and written, and nowhere else shows.
//!
//! A model may be cut into several files ([`split`]). [`Gguf`] sees them as one and checks that they belong
//! together; finding them on a disk is the caller's work. [`TensorType`] is the table of all of ggml's formats.
//!
//! ```
//! use fathom_gguf::{Gguf, TensorType, Writer};
//!
//! // Writing: lay out first, then put each tensor's bytes where its place is.
//! let mut writer = Writer::new();
//! writer.metadata("general.architecture", "deepseek2")?;
//! writer.metadata("tokenizer.ggml.tokens", vec!["<s>", "sea", "floor"])?;
//! writer.tensor("token_embd.weight", TensorType::F32, &[3, 2])?;
//! let layout = writer.layout()?;
//! let mut file = layout.header.clone();
//! file.resize(layout.file_bytes as usize, 0);
//! let place = layout.tensors[0];
//! file[place.offset as usize..][..4].copy_from_slice(&1.5f32.to_le_bytes());
//!
//! // Reading: the model borrows the bytes.
//! let model = Gguf::from_shards(vec![("abyss.gguf".to_owned(), &file)])?;
//! assert_eq!(model.metadata().str("general.architecture")?, Some("deepseek2"));
//! assert_eq!(model.metadata().strings("tokenizer.ggml.tokens")?.unwrap().nth(2), Some("floor"));
//! let embedding = model.tensor("token_embd.weight").unwrap();
//! assert_eq!((embedding.ty, embedding.shape.dims()), (TensorType::F32, &[3, 2][..]));
//! assert_eq!(embedding.data()[..4], 1.5f32.to_le_bytes());
//! # Ok::<(), fathom_gguf::Error>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

mod cursor;
mod error;
mod extent;
mod metadata;
mod owned;
mod read;
mod shape;
mod shards;
pub mod split;
mod stand_in;
mod tensor_type;
mod token_kind;
mod value;
mod write;

pub use error::{Counted, Error, Kind, Number, Part, Spot};
pub use extent::header_bytes;
pub use metadata::Metadata;
pub use owned::{OwnedArray, OwnedValue};
pub use read::{GgufFile, TensorInfo};
pub use shape::Shape;
pub use shards::{FileBytes, Gguf, Shard};
pub use stand_in::{LOOKED_AT, StandIn};
pub use tensor_type::TensorType;
pub use token_kind::TokenKind;
pub use value::{Array, Bytes, Strings, Value, ValueType, Values};
pub use write::{Layout, Placed, Writer};
