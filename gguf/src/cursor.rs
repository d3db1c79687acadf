//! Reading the header one field at a time, with every step checked against the bytes that are left.
//!
//! The cursor knows which part of the file it is in, so that whatever it refuses, it can say where.

use crate::Error;
use crate::error::{Part, shown};
use crate::value::Bytes;

/// No real header comes near it: DeepSeek-V3.2's is about 8 MB, nearly all of it tokenizer. The cap keeps a hostile
/// file of hundreds of gigabytes from being walked as one array.
pub(crate) const MAX_HEADER_BYTES: u64 = 1 << 30;

/// [`Part`] without owned names: what the cursor carries along while nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within<'d> {
    Start,
    Key(u64),
    Value(&'d str),
    Element(&'d str, u64),
    TensorName(u64),
    Tensor(&'d str),
}

impl From<Within<'_>> for Part {
    fn from(within: Within<'_>) -> Part {
        match within {
            Within::Start => Part::Start,
            Within::Key(number) => Part::Key(number),
            Within::Value(key) => Part::Value(shown(key)),
            Within::Element(key, index) => Part::Element(shown(key), index),
            Within::TensorName(number) => Part::TensorName(number),
            Within::Tensor(name) => Part::Tensor(shown(name)),
        }
    }
}

/// A place in a file's bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'d> {
    rest: &'d [u8],
    offset: u64,
    /// Where the file or the cap ends. `rest` may end before, where only the header was copied.
    end: u64,
    /// Whether `end` is the cap rather than the file's end.
    capped: bool,
    pub(crate) within: Within<'d>,
}

impl<'d> Cursor<'d> {
    /// At the start of a file of `file_bytes`, of which `header` holds the beginning; sees no more of it than the longest header.
    pub(crate) fn of_file(header: &'d [u8], file_bytes: usize) -> Self {
        let cap = usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX).min(file_bytes);
        let rest = &header[..cap.min(header.len())];
        Cursor { rest, offset: 0, end: cap as u64, capped: cap < file_bytes, within: Within::Start }
    }

    /// Over the bytes of an array that stand at `offset` of the file.
    pub(crate) fn of_array(bytes: &'d [u8], offset: u64, key: &'d str) -> Self {
        let end = offset + bytes.len() as u64;
        Cursor { rest: bytes, offset, end, capped: false, within: Within::Value(key) }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    pub(crate) fn rest(&self) -> &'d [u8] {
        self.rest
    }

    pub(crate) fn part(&self) -> Part {
        self.within.into()
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: u64) -> Result<&'d [u8], Error> {
        let Some((taken, rest)) = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n)) else {
            return Err(self.ended(n));
        };
        self.rest = rest;
        self.offset += n;
        Ok(taken)
    }

    fn ended(&self, needed: u64) -> Error {
        let (part, offset, left) = (self.part(), self.offset, self.left());
        if needed <= left {
            return Error::Changed { part, offset };
        }
        match self.capped {
            true => Error::HeaderTooLong { part, offset, needed, left, cap: MAX_HEADER_BYTES },
            false => Error::Truncated { part, offset, needed, left },
        }
    }

    /// The next `N` bytes, as little-endian numbers want them.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.ended(N as u64));
        };
        self.rest = rest;
        self.offset += N as u64;
        Ok(*taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub(crate) fn str(&mut self) -> Result<&'d str, Error> {
        self.text()?.map_err(|bytes| bytes.error(self.part()))
    }

    /// A length and that many bytes, which should be UTF-8.
    pub(crate) fn text(&mut self) -> Result<Result<&'d str, Bytes<'d>>, Error> {
        let length = self.u64()?;
        let offset = self.offset;
        let bytes = self.take(length)?;
        Ok(std::str::from_utf8(bytes).map_err(|error| Bytes { bytes, offset, valid: error.valid_up_to() }))
    }
}
