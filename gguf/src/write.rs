//! Laying out a file before a byte of tensor data exists.
//!
//! Sizes follow from shapes and types, so the whole header and every tensor's place are known at once. The caller
//! writes the header, then the tensors at their absolute offsets, in any order and from any number of threads.
//! Tensors lie in the order they were added, each start aligned, and the file is padded to the alignment at its
//! end: readers such as ggml insist on exactly that.

use std::collections::HashSet;

use crate::error::{Part, Spot, shown};
use crate::metadata::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, check_key, wrong_kind};
use crate::owned::encode_str;
use crate::{Error, Kind, OwnedValue, Shape, TensorType, ValueType};

/// The version that is written.
const VERSION: u32 = 3;
/// ggml keeps names in 64 bytes with a zero at the end and refuses longer ones.
const MAX_TENSOR_NAME_BYTES: u64 = 63;
/// A huge page. More than that only makes holes, and the padding is part of the header in memory.
const MAX_ALIGNMENT: u32 = 1 << 21;

/// Collects metadata and tensors of a file to be written, checks each as it comes, and lays them out.
#[derive(Clone, Debug)]
pub struct Writer {
    alignment: u32,
    entries: Vec<u8>,
    n_keys: u64,
    keys: HashSet<String>,
    tensors: Vec<Planned>,
    names: HashSet<String>,
}

#[derive(Clone, Debug)]
struct Planned {
    name: String,
    ty: TensorType,
    shape: Shape,
    bytes: u64,
}

/// Where a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where its bytes start, counted from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// A file, complete but for its tensors' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Everything before the data section, padding included.
    pub header: Vec<u8>,
    /// The tensors in the order they were added. Bytes between them are zero.
    pub tensors: Vec<Placed>,
    /// The size of the whole file, padding after the last tensor included.
    pub file_bytes: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty file with the default alignment of 32.
    pub fn new() -> Self {
        Writer {
            alignment: DEFAULT_ALIGNMENT,
            entries: Vec::new(),
            n_keys: 0,
            keys: HashSet::new(),
            tensors: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Adds a metadata entry. Entries are written in the order they are added; by convention the first is
    /// `general.architecture`. The key `general.alignment` also sets the alignment of this file.
    pub fn metadata(&mut self, key: &str, value: impl Into<OwnedValue>) -> Result<&mut Self, Error> {
        let value = value.into();
        check_key(key, Part::Key(self.n_keys), Spot::Written)?;
        value.check(key)?;
        let alignment = match key {
            ALIGNMENT_KEY => checked_alignment(&value)?,
            _ => self.alignment,
        };
        if !self.keys.insert(key.to_owned()) {
            return Err(Error::DuplicateKey { key: shown(key), spot: Spot::Written });
        }
        self.alignment = alignment;
        encode_str(key.as_bytes(), &mut self.entries);
        self.entries.extend(value.value_type().id().to_le_bytes());
        value.encode(&mut self.entries);
        self.n_keys += 1;
        Ok(self)
    }

    /// Sets the alignment: adds the key `general.alignment`.
    pub fn alignment(&mut self, alignment: u32) -> Result<&mut Self, Error> {
        self.metadata(ALIGNMENT_KEY, alignment)
    }

    /// Adds a tensor; `shape` is outermost first.
    pub fn tensor(&mut self, name: &str, ty: TensorType, shape: &[usize]) -> Result<&mut Self, Error> {
        let length = name.len() as u64;
        if length > MAX_TENSOR_NAME_BYTES {
            let part = Part::TensorName(self.tensors.len() as u64);
            return Err(Error::NameTooLong { part, spot: Spot::Written, length, cap: MAX_TENSOR_NAME_BYTES });
        }
        let dims: Vec<u64> = shape.iter().map(|&dim| dim as u64).collect();
        let (shape, bytes) = Shape::checked(name, ty, &dims, Spot::Written)?;
        if !self.names.insert(name.to_owned()) {
            return Err(Error::DuplicateTensor { tensor: shown(name), spot: Spot::Written });
        }
        self.tensors.push(Planned { name: name.to_owned(), ty, shape, bytes });
        Ok(self)
    }

    /// The header's bytes and every tensor's place.
    pub fn layout(&self) -> Result<Layout, Error> {
        let alignment = u64::from(self.alignment);
        let mut header = Vec::from(*b"GGUF");
        header.extend(VERSION.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend(self.n_keys.to_le_bytes());
        header.extend(&self.entries);
        let mut end = 0u64;
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for planned in &self.tensors {
            planned.encode(end, &mut header);
            tensors.push(Placed { offset: end, bytes: planned.bytes });
            end = end
                .checked_add(planned.bytes)
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .filter(|&end| end <= i64::MAX as u64)
                .ok_or_else(|| Error::FileTooBig { tensor: shown(&planned.name) })?;
        }
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        let data_start = header.len() as u64;
        tensors.iter_mut().for_each(|placed| placed.offset += data_start);
        Ok(Layout { header, tensors, file_bytes: data_start + end })
    }
}

impl Planned {
    /// Appends the header entry of a tensor that starts at `offset` of the data section.
    fn encode(&self, offset: u64, out: &mut Vec<u8>) {
        encode_str(self.name.as_bytes(), out);
        out.extend((self.shape.len() as u32).to_le_bytes());
        for &dim in self.shape.iter().rev() {
            out.extend((dim as u64).to_le_bytes());
        }
        out.extend(self.ty.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
}

fn checked_alignment(value: &OwnedValue) -> Result<u32, Error> {
    match value {
        OwnedValue::U32(n) if !n.is_power_of_two() => Err(Error::BadAlignment { found: *n }),
        OwnedValue::U32(n) if *n > MAX_ALIGNMENT => {
            Err(Error::AlignmentOverCap { found: *n, cap: MAX_ALIGNMENT })
        }
        OwnedValue::U32(n) => Ok(*n),
        other => Err(wrong_kind(ALIGNMENT_KEY, ValueType::U32.name(), Kind::One(other.value_type()))),
    }
}
