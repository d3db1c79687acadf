//! What can be wrong with a GGUF file, each fact with its place, what was expected, what was found, what to do.
//!
//! One enum serves reading, joining shards and writing, because most facts (a duplicate key, a row that is no
//! whole number of blocks) are the same in each; [`Spot`] tells whether the fact stands at a byte of a file or in
//! a file being written. Names taken from a file are shortened before they enter an error and printed with their
//! control characters escaped: a hostile file gets no hold of the terminal.

use std::fmt;

use crate::{StandIn, TensorType, ValueType};

const FETCH: &str = "The file is damaged or incomplete: compare its size and checksum with the publisher's and fetch it again";
const REMAKE: &str =
    "The program that wrote the file made a mistake: convert the model again with a current version";
const REPORT: &str = "If the file works elsewhere, report it with the output of `fathom inspect`";
const TO_THE_CALLER: &str = "This is a mistake of the program that builds the file";

/// Where a fact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// At this byte of the file that was read.
    Byte(u64),
    /// In a file that is being put together by a [`Writer`](crate::Writer).
    Written,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Byte(offset) => write!(f, "at byte {offset}"),
            Spot::Written => f.write_str("in the file to be written"),
        }
    }
}

/// The part of a file in which reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Magic, version and the two counts: the first 24 bytes.
    Start,
    /// The name of the metadata entry with this number, from 0.
    Key(u64),
    /// The value of this metadata key.
    Value(String),
    /// An element, from 0, of the array under this metadata key.
    Element(String, u64),
    /// The name of the tensor with this number, from 0.
    TensorName(u64),
    /// The header entry of this tensor.
    Tensor(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Start => f.write_str("the start of the header"),
            Part::Key(number) => write!(f, "the name of metadata key number {number}"),
            Part::Value(key) => write!(f, "the value of metadata key {key:?}"),
            Part::Element(key, index) => write!(f, "element {index} of metadata key {key:?}"),
            Part::TensorName(number) => write!(f, "the name of tensor number {number}"),
            Part::Tensor(name) => write!(f, "the header entry of tensor {name:?}"),
        }
    }
}

/// The two things a GGUF file counts in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Metadata entries.
    Keys,
    /// Tensors.
    Tensors,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counted::Keys => "metadata keys",
            Counted::Tensors => "tensors",
        })
    }
}

/// The type of a metadata value, arrays with their element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A single value.
    One(ValueType),
    /// An array whose elements have this type.
    ArrayOf(ValueType),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::One(ty) => write!(f, "{ty}"),
            Kind::ArrayOf(item) => write!(f, "array of {item}"),
        }
    }
}

/// A number as it stood in a file, for errors about its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Any of the integer types.
    Int(i128),
    /// Any of the float types.
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(n) => write!(f, "{n}"),
            Number::Float(x) => write!(f, "{x}"),
        }
    }
}

/// Everything that reading, joining and writing GGUF files can refuse.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are named in each variant's sentence")]
pub enum Error {
    // ---- the first 24 bytes
    /// The first four bytes are not `GGUF`.
    #[error(
        "not a GGUF file: expected the bytes \"GGUF\" at byte 0, found {:?}. Check the path; a checkpoint in \
         another format has to be converted first", found.escape_ascii().to_string()
    )]
    NotGguf { found: [u8; 4] },
    /// Something that stands for a file.
    #[error("not a GGUF file: found {found}")]
    StandIn { found: StandIn },
    /// Everything in the file is byte-swapped.
    #[error(
        "big-endian GGUF file (version {version}, byte-swapped, at byte 4): expected little-endian. Convert it with \
         the `gguf-convert-endian` program of the Python package gguf, or fetch the little-endian file"
    )]
    BigEndian { version: u32 },
    /// A version other than 2 and 3.
    #[error(
        "GGUF version {found} at byte 4: expected 2 or 3. {}",
        if *found < 2 { "The file is from before October 2023: convert the model again with a current program" }
        else { "The file is newer than this program: look for an update" }
    )]
    UnsupportedVersion { found: u32 },
    /// A declared count that the rest of the file cannot hold.
    #[error(
        "the header declares {declared} {what} at byte {offset}, which need at least {needed} bytes; found only {left} \
         bytes after it. {FETCH}"
    )]
    CountBeyondFile { what: Counted, declared: u64, offset: u64, needed: u128, left: u64 },
    /// A declared count above the cap.
    #[error("the header declares {declared} {what} at byte {offset}: expected at most {cap}. {REPORT}")]
    CountOverCap { what: Counted, declared: u64, offset: u64, cap: u64 },
    /// The file ends inside the header.
    #[error("the file ends in {part}: expected {needed} bytes at byte {offset}, found {left}. {FETCH}")]
    Truncated { part: Part, offset: u64, needed: u64, left: u64 },
    /// The header is longer than any real one.
    #[error(
        "the header is longer than {cap} bytes: in {part} expected {needed} bytes at byte {offset}, found {left} below \
         that limit. {FETCH}"
    )]
    HeaderTooLong { part: Part, offset: u64, needed: u64, left: u64, cap: u64 },

    /// The header is not what it was a moment ago.
    #[error(
        "the file changed while it was read: {part} at byte {offset} has changed. Start again when nothing writes to it"
    )]
    Changed { part: Part, offset: u64 },

    // ---- metadata
    /// A string that is not UTF-8.
    #[error("{part} is not UTF-8: expected text, found the byte 0x{found:02x} at byte {offset}. {REMAKE}")]
    NotUtf8 { part: Part, offset: u64, found: u8 },
    /// A name longer than the cap.
    #[error("{part} has {length} bytes {spot}: expected at most {cap}. {REMAKE}")]
    NameTooLong { part: Part, spot: Spot, length: u64, cap: u64 },
    /// A key without a name.
    #[error("{part} is empty {spot}: expected at least one byte. {REMAKE}")]
    EmptyKey { part: Part, spot: Spot },
    /// The same key twice.
    #[error("metadata key {key:?} occurs twice, the second time {spot}: expected it once. {REMAKE}")]
    DuplicateKey { key: String, spot: Spot },
    /// A metadata type id outside 0..=12.
    #[error("{part} has the type id {id} at byte {offset}: expected 0 to 12. {FETCH}")]
    UnknownValueType { part: Part, offset: u64, id: u32 },
    /// A bool that is neither 0 nor 1.
    #[error("{part} is a bool: expected 0 or 1, found {found} at byte {offset}. {REMAKE}")]
    BadBool { part: Part, offset: u64, found: u8 },
    /// An array with more elements than the rest of the file can hold.
    #[error(
        "{part} declares {declared} elements of type {item} at byte {offset}, which need at least {needed} bytes; found \
         only {left} bytes after it. {FETCH}"
    )]
    ArrayBeyondFile { part: Part, offset: u64, item: ValueType, declared: u64, needed: u128, left: u64 },
    /// Arrays in arrays in arrays.
    #[error(
        "the arrays of metadata key {key:?} are nested deeper than {cap} {spot}: expected at most {cap}. {REPORT}"
    )]
    ArrayTooDeep { key: String, spot: Spot, cap: u32 },
    /// A value of another type than asked for.
    #[error("metadata key {key:?}: expected {expected}, found {found}. {REMAKE}")]
    WrongKind { key: String, expected: &'static str, found: Kind },
    /// A number that the asked-for type cannot hold.
    #[error(
        "metadata key {key:?}{}: expected {expected}, found {found}. {REMAKE}",
        match index { Some(i) => format!(", element {i}"), None => String::new() }
    )]
    OutOfRange { key: String, index: Option<u64>, expected: &'static str, found: Number },
    /// `general.alignment` is no power of two.
    #[error("metadata key \"general.alignment\": expected a power of two, found {found}. {REMAKE}")]
    BadAlignment { found: u32 },
    /// An alignment that only wastes space.
    #[error(
        "metadata key \"general.alignment\": expected at most {cap} in a file to be written, found {found}. {TO_THE_CALLER}"
    )]
    AlignmentOverCap { found: u32, cap: u32 },

    // ---- tensors
    /// More than four dimensions.
    #[error("tensor {tensor:?} has {found} dimensions {spot}: expected at most 4. {FETCH}")]
    TooManyDims { tensor: String, spot: Spot, found: u64 },
    /// A dimension of length zero.
    #[error(
        "tensor {tensor:?} has length 0 in dimension {dim} (outermost is 0) {spot}: expected at least 1. {REMAKE}"
    )]
    ZeroDim { tensor: String, spot: Spot, dim: usize },
    /// A shape whose size does not fit a number.
    #[error(
        "tensor {tensor:?} of type {ty} has shape {dims:?} {spot}: expected less than 2^63 elements and bytes. {FETCH}"
    )]
    ShapeOverflow { tensor: String, spot: Spot, dims: Vec<u64>, ty: TensorType },
    /// Rows that are no whole number of blocks.
    #[error(
        "tensor {tensor:?} has rows of {cols} elements {spot}: expected a multiple of {}, the block length of {ty}. {REMAKE}",
        ty.block_len()
    )]
    PartialBlock { tensor: String, spot: Spot, ty: TensorType, cols: usize },
    /// A type id that ggml has never had.
    #[error(
        "tensor {tensor:?} has the type id {id} at byte {offset}: expected one of ggml's types, 0 to {}. The file is from a \
         fork of ggml or newer than this program: fetch another quantization of the model or look for an update",
        TensorType::all().map(TensorType::id).max().unwrap_or(0)
    )]
    UnknownTensorType { tensor: String, offset: u64, id: u32 },
    /// A type id that ggml has removed.
    #[error(
        "tensor {tensor:?} has the type {name} (id {id}) at byte {offset}, which ggml has removed: expected a current type. \
         Fetch another quantization of the model or quantize it again"
    )]
    RemovedTensorType { tensor: String, offset: u64, id: u32, name: &'static str },
    /// Tensor data that does not start on the file's alignment.
    #[error(
        "tensor {tensor:?}: expected its data at a multiple of {alignment}, found it at {found} in the data section. {REMAKE}"
    )]
    Misaligned { tensor: String, alignment: u64, found: u64 },
    /// Tensor data outside the file.
    #[error(
        "tensor {tensor:?} has {bytes} bytes at {found} in the data section, which starts at byte {data_start}: expected them \
         to end within the file's {file_bytes} bytes. {FETCH}"
    )]
    TensorBeyondFile { tensor: String, found: u64, bytes: u64, data_start: u64, file_bytes: u64 },
    /// Two tensors that share bytes.
    #[error(
        "tensors {first:?} and {second:?} overlap: expected the second to start at byte {first_end} or later, found it at \
         byte {second_start}. {REMAKE}"
    )]
    Overlap { first: String, second: String, first_end: u64, second_start: u64 },
    /// The same tensor twice.
    #[error("tensor {tensor:?} occurs twice, the second time {spot}: expected it once. {REMAKE}")]
    DuplicateTensor { tensor: String, spot: Spot },
    /// A file of more than 2^63 bytes.
    #[error(
        "tensor {tensor:?} would end beyond byte 2^63: expected a file that a disk can hold. {TO_THE_CALLER}"
    )]
    FileTooBig { tensor: String },

    // ---- splits
    /// Something is wrong in one of the files of a model.
    #[error("{shard}: {source}")]
    InShard { shard: String, source: Box<Error> },
    /// No file at all.
    #[error("expected at least one GGUF file, found none. Name a file or a folder with the shards")]
    NoShards,
    /// Several files, one of which does not belong to a split model.
    #[error(
        "{shard} is not a shard: expected the metadata keys split.no and split.count in each of the {given} files, found \
         split.count {}. Name one model only", match found { Some(n) => n.to_string(), None => "missing".to_owned() }
    )]
    NotAShard { shard: String, given: usize, found: Option<u16> },
    /// A shard whose number is not below the number of shards.
    #[error("{shard}: expected split.no below split.count {count}, found {no}. {REMAKE}")]
    ShardNumber { shard: String, no: u16, count: u16 },
    /// Shards that disagree on how many there are.
    #[error(
        "{shard}: expected split.count {expected} as in {first}, found {found}. The files are from different models: keep one set"
    )]
    ShardCount { shard: String, first: String, expected: u16, found: u16 },
    /// Shards that disagree on how many tensors there are in all.
    #[error(
        "{shard}: expected split.tensors.count {expected} as in {first}, found {found}. The files are from different models: \
         keep one set"
    )]
    ShardTensorCount { shard: String, first: String, expected: i64, found: i64 },
    /// The same shard twice.
    #[error(
        "{first} and {second} both are shard number {no} (split.no): expected each number once. Remove one of them"
    )]
    DuplicateShard { no: u16, first: String, second: String },
    /// Shards that are not there.
    #[error(
        "expected {count} shards, found {found}; missing: {}. Fetch them into the same folder",
        listed(missing)
    )]
    MissingShards { missing: Vec<String>, found: usize, count: u16 },
    /// The shards' tensors do not add up.
    #[error(
        "expected {expected} tensors in all shards together (split.tensors.count), found {found}. {FETCH}"
    )]
    TensorSum { expected: i64, found: u64 },
    /// The same tensor in two shards.
    #[error("tensor {tensor:?} is in {first} and in {second}: expected it once. {REMAKE}")]
    TensorInTwoShards { tensor: String, first: String, second: String },
}

/// At most this many names of missing shards are spelled out; the error's data has all.
const NAMES_LISTED: usize = 8;

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_LISTED {
        text += &format!(" and {} more", names.len() - NAMES_LISTED);
    }
    text
}

/// A name from a file as an error carries it: whole when it is of human length, else its beginning.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}
