//! Opening one file: header in, validated view out.
//!
//! The order is the file's own: start, metadata, tensor entries, then the checks that need all of them (alignment,
//! bounds, overlap). After `parse` returns, every tensor is known to lie inside the file, aligned, alone in its
//! bytes, with a size that follows from shape and type. The tensors' bytes themselves are never touched, so a
//! mapped file of 400 GB costs the pages of its header.

use std::collections::HashMap;
use std::fmt;

use crate::cursor::{Cursor, Within};
use crate::error::{Counted, Spot, shown};
use crate::shape::MAX_DIMS;
use crate::{Error, Metadata, Shape, StandIn, TensorType};

/// A file has tens of keys; the cap bounds the index built over them.
const MAX_KEYS: u64 = 1 << 16;
/// DeepSeek-V3.2 has 1,100 tensors, 92,000 if every expert were on its own; the cap bounds the index built over them.
const MAX_TENSORS: u64 = 1 << 20;
/// ggml allows 63 bytes, some forks 127. The cap is generous, only there to keep errors and indices small.
const MAX_TENSOR_NAME_BYTES: u64 = 1024;
/// Length, one byte of name, type, one byte of value.
const LEAST_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
/// Length, empty name, number of dimensions, none of them, type, offset.
const LEAST_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// One tensor of a file: what it is called, how it is stored, where.
#[derive(Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TensorInfo<'d> {
    /// The name, unique in the file.
    pub name: &'d str,
    /// How its numbers are stored.
    pub ty: TensorType,
    /// Its dimensions, outermost first.
    pub shape: Shape,
    /// Where its bytes start, counted from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
    data: &'d [u8],
}

impl<'d> TensorInfo<'d> {
    /// The tensor's bytes, lent from the file.
    pub fn data(&self) -> &'d [u8] {
        self.data
    }
}

impl fmt::Debug for TensorInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {} at byte {}", self.name, self.ty, self.shape, self.offset)
    }
}

/// One GGUF file, parsed and validated, lent from the caller's bytes.
#[derive(Clone, Debug)]
pub struct GgufFile<'d> {
    version: u32,
    alignment: u32,
    data_start: u64,
    metadata: Metadata<'d>,
    tensors: Vec<TensorInfo<'d>>,
    index: HashMap<&'d str, usize>,
}

impl<'d> GgufFile<'d> {
    /// Reads the header in `bytes`, the whole file, and checks all that can be wrong with it.
    pub fn parse(bytes: &'d [u8]) -> Result<Self, Error> {
        Self::parse_copied(bytes, bytes)
    }

    /// The same where `header` is a copy of the file's first [`header_bytes`](crate::header_bytes): what was checked then stays as it
    /// is, whatever happens to a mapped file. Tensors' bytes are lent from `bytes`.
    pub fn parse_copied(header: &'d [u8], bytes: &'d [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::of_file(header, bytes.len());
        let start = Start::read(&mut cursor)?;
        let metadata = Metadata::read(&mut cursor, start.n_keys)?;
        let alignment = metadata.alignment()?;
        let mut entries = Vec::new();
        let mut index = HashMap::new();
        for number in 0..start.n_tensors {
            let entry = Entry::read(&mut cursor, number)?;
            if index.insert(entry.name, entries.len()).is_some() {
                return Err(Error::DuplicateTensor { tensor: shown(entry.name), spot: entry.spot });
            }
            entries.push(entry);
        }
        // A header is at most 2^30 bytes and an alignment at most 2^31: the sum is far from overflow.
        let data_start = cursor.offset().next_multiple_of(alignment.into());
        let tensors = entries
            .into_iter()
            .map(|entry| entry.locate(bytes, data_start, alignment))
            .collect::<Result<Vec<_>, _>>()?;
        refuse_overlap(&tensors)?;
        Ok(GgufFile { version: start.version, alignment, data_start, metadata, tensors, index })
    }

    /// The version of the format: 2 or 3, which differ in nothing for little-endian files.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the offsets of tensors are multiples of (`general.alignment`, 32 without it).
    pub fn alignment(&self) -> u64 {
        self.alignment.into()
    }

    /// Where the data section starts, counted from the start of the file.
    pub fn data_start(&self) -> u64 {
        self.data_start
    }

    /// The key/value part.
    pub fn metadata(&self) -> &Metadata<'d> {
        &self.metadata
    }

    /// All tensors, in the order of the header.
    pub fn tensors(&self) -> &[TensorInfo<'d>] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo<'d>> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }
}

/// The first 24 bytes.
struct Start {
    version: u32,
    n_tensors: u64,
    n_keys: u64,
}

impl Start {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        if let Some(found) = StandIn::of(cursor.rest()) {
            return Err(Error::StandIn { found });
        }
        let magic: [u8; 4] = cursor.bytes()?;
        if magic != *b"GGUF" && magic != *b"FUGG" {
            return Err(Error::NotGguf { found: magic });
        }
        let version = cursor.u32()?;
        // Big-endian writers keep the magic and swap the rest; a version read backwards has its low half empty.
        let swapped = version.swap_bytes();
        if magic == *b"FUGG" || (version != 0 && version & 0xffff == 0 && swapped <= 0xffff) {
            return Err(Error::BigEndian { version: swapped });
        }
        if !matches!(version, 2 | 3) {
            return Err(Error::UnsupportedVersion { found: version });
        }
        let tensors_at = cursor.offset();
        let n_tensors = cursor.u64()?;
        let keys_at = cursor.offset();
        let n_keys = cursor.u64()?;
        let left = cursor.left();
        for (what, declared, offset, least, cap) in [
            (Counted::Keys, n_keys, keys_at, LEAST_KEY_BYTES, MAX_KEYS),
            (Counted::Tensors, n_tensors, tensors_at, LEAST_TENSOR_BYTES, MAX_TENSORS),
        ] {
            let needed = u128::from(declared) * u128::from(least);
            if needed > left.into() {
                return Err(Error::CountBeyondFile { what, declared, offset, needed, left });
            }
            if declared > cap {
                return Err(Error::CountOverCap { what, declared, offset, cap });
            }
        }
        Ok(Start { version, n_tensors, n_keys })
    }
}

/// A tensor's header entry, good in itself, not yet placed in the file.
struct Entry<'d> {
    name: &'d str,
    ty: TensorType,
    shape: Shape,
    bytes: u64,
    /// From the start of the data section.
    offset: u64,
    /// Where the entry stands.
    spot: Spot,
}

impl<'d> Entry<'d> {
    fn read(cursor: &mut Cursor<'d>, number: u64) -> Result<Self, Error> {
        cursor.within = Within::TensorName(number);
        let spot = Spot::Byte(cursor.offset());
        let name = cursor.str()?;
        let length = name.len() as u64;
        if length > MAX_TENSOR_NAME_BYTES {
            return Err(Error::NameTooLong { part: cursor.part(), spot, length, cap: MAX_TENSOR_NAME_BYTES });
        }
        cursor.within = Within::Tensor(name);
        let n_dims = cursor.u32()?;
        let n = n_dims as usize;
        if n > MAX_DIMS {
            return Err(Error::TooManyDims { tensor: shown(name), spot, found: n_dims.into() });
        }
        let mut dims = [0u64; MAX_DIMS];
        for dim in dims[..n].iter_mut().rev() {
            *dim = cursor.u64()?;
        }
        let type_at = cursor.offset();
        let id = cursor.u32()?;
        let Some(ty) = TensorType::from_id(id) else {
            let (tensor, offset) = (shown(name), type_at);
            return Err(match TensorType::removed_name(id) {
                Some(name) => Error::RemovedTensorType { tensor, offset, id, name },
                None => Error::UnknownTensorType { tensor, offset, id },
            });
        };
        let offset = cursor.u64()?;
        let (shape, bytes) = Shape::checked(name, ty, &dims[..n], spot)?;
        Ok(Entry { name, ty, shape, bytes, offset, spot })
    }

    /// Finds the tensor's bytes in the file.
    fn locate(self, file: &'d [u8], data_start: u64, alignment: u32) -> Result<TensorInfo<'d>, Error> {
        let Entry { name, ty, shape, bytes, offset, .. } = self;
        let alignment = u64::from(alignment);
        if !offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { tensor: shown(name), alignment, found: offset });
        }
        let place = || {
            let start = data_start.checked_add(offset)?;
            let end = usize::try_from(start.checked_add(bytes)?).ok()?;
            Some((start, file.get(usize::try_from(start).ok()?..end)?))
        };
        let Some((start, data)) = place() else {
            let (tensor, file_bytes) = (shown(name), file.len() as u64);
            return Err(Error::TensorBeyondFile { tensor, found: offset, bytes, data_start, file_bytes });
        };
        Ok(TensorInfo { name, ty, shape, offset: start, bytes, data })
    }
}

/// Tensors have at least one byte each, so two that share bytes are neighbours when sorted by start.
fn refuse_overlap(tensors: &[TensorInfo<'_>]) -> Result<(), Error> {
    let mut by_start: Vec<&TensorInfo<'_>> = tensors.iter().collect();
    by_start.sort_unstable_by_key(|tensor| tensor.offset);
    for pair in by_start.windows(2) {
        let first_end = pair[0].offset + pair[0].bytes;
        if pair[1].offset < first_end {
            let (first, second) = (shown(pair[0].name), shown(pair[1].name));
            return Err(Error::Overlap { first, second, first_end, second_start: pair[1].offset });
        }
    }
    Ok(())
}
