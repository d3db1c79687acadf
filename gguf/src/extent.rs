//! How long a file's header is, told by the lengths in it alone.
//!
//! A mapped file is somebody else's to change. Whoever maps one copies its header first and parses the copy, so that what was
//! checked is what is read later. Here nothing is believed but lengths, and nothing but bytes is read.

use crate::cursor::MAX_HEADER_BYTES;
use crate::value::{MAX_ARRAY_DEPTH, ValueType};
use crate::{LOOKED_AT, TensorType};

/// How many first bytes of a file are its header. Where the header is damaged: as many as it takes to say how.
pub fn header_bytes(file: &[u8]) -> usize {
    let cap = usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX).min(file.len());
    let mut walk = Walk { file: &file[..cap], at: 0 };
    match walk.header() {
        Some(()) => walk.at,
        // What comes next is shorter than this, or does not fit into the file.
        None => walk.at.saturating_add(LOOKED_AT).min(cap),
    }
    .max(LOOKED_AT.min(cap))
}

struct Walk<'f> {
    file: &'f [u8],
    at: usize,
}

impl Walk<'_> {
    fn header(&mut self) -> Option<()> {
        (self.file.get(..4)? == b"GGUF").then_some(())?;
        self.at = 8;
        let (n_tensors, n_keys) = (self.u64()?, self.u64()?);
        for _ in 0..n_keys {
            self.text()?;
            let ty = ValueType::from_id(self.u32()?)?;
            self.value(ty, 0)?;
        }
        for _ in 0..n_tensors {
            self.text()?;
            let n_dims = self.u32()?;
            (n_dims <= 4).then_some(())?;
            self.skip(u64::from(n_dims) * 8)?;
            TensorType::from_id(self.u32()?)?;
            self.u64()?;
        }
        Some(())
    }

    fn value(&mut self, ty: ValueType, depth: u32) -> Option<()> {
        match (ty, ty.fixed_bytes()) {
            (_, Some(size)) => self.skip(size),
            (ValueType::Str, _) => self.text(),
            _ => {
                (depth < MAX_ARRAY_DEPTH).then_some(())?;
                let item = ValueType::from_id(self.u32()?)?;
                let n = self.u64()?;
                match item.fixed_bytes() {
                    Some(size) => self.skip(size.checked_mul(n)?),
                    None => (0..n).try_for_each(|_| self.value(item, depth + 1)),
                }
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        let length = self.u64()?;
        self.skip(length)
    }

    fn skip(&mut self, n: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(n).ok()?)?;
        self.file.get(self.at..end)?;
        self.at = end;
        Some(())
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = *self.file.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = *self.file.get(self.at..)?.first_chunk()?;
        self.at += 8;
        Some(u64::from_le_bytes(bytes))
    }
}
