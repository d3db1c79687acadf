//! The key/value part of a file, in file order, with typed lookups.
//!
//! Converters disagree about integer widths (a count is u32 in one file and u64 or i32 in the next), so the integer
//! getters take any integer type whose value fits, and `f32` takes any number. Nothing else is converted: text
//! that looks like a number is text.

use std::collections::HashMap;

use crate::cursor::{Cursor, Within};
use crate::error::{Kind, Part, Spot, shown};
use crate::value::{self, Array, Strings, Value, Wanted};
use crate::{Error, ValueType};

/// The specification's own limit for keys (2^16 - 1 bytes).
pub(crate) const MAX_KEY_BYTES: u64 = 65_535;

/// The metadata of one file.
#[derive(Clone, Debug)]
pub struct Metadata<'d> {
    entries: Vec<(&'d str, Value<'d>)>,
    index: HashMap<&'d str, usize>,
}

/// Two sets of metadata are equal when they have the same entries in the same order.
impl PartialEq for Metadata<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<'d> Metadata<'d> {
    /// Reads `count` entries; the caller has compared the count with the bytes that are left.
    pub(crate) fn read(cursor: &mut Cursor<'d>, count: u64) -> Result<Self, Error> {
        let mut metadata = Metadata { entries: Vec::new(), index: HashMap::new() };
        for number in 0..count {
            cursor.within = Within::Key(number);
            let spot = Spot::Byte(cursor.offset());
            let key = cursor.str()?;
            check_key(key, cursor.part(), spot)?;
            cursor.within = Within::Value(key);
            let ty = value::read_type(cursor)?;
            let value = value::read(cursor, ty, key, 0)?;
            if metadata.index.insert(key, metadata.entries.len()).is_some() {
                return Err(Error::DuplicateKey { key: shown(key), spot });
            }
            metadata.entries.push((key, value));
        }
        Ok(metadata)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'d str, &Value<'d>)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// The value under this key, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value<'d>> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    /// An integer of any type that fits `u16`.
    pub fn u16(&self, key: &str) -> Result<Option<u16>, Error> {
        self.number(key)
    }

    /// An integer of any type that fits `u32`.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.number(key)
    }

    /// An integer of any type that fits `i32`.
    pub fn i32(&self, key: &str) -> Result<Option<i32>, Error> {
        self.number(key)
    }

    /// An integer of any type that fits `u64`.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.number(key)
    }

    /// An integer of any type that fits `i64`.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, Error> {
        self.number(key)
    }

    /// A number of any type, rounded to `f32`; refused when it is finite and beyond `f32`'s range.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.number(key)
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.pick(key, "a bool", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&'d str>, Error> {
        if let Some(Value::Bytes(bytes)) = self.get(key) {
            return Err(bytes.error(Part::Value(shown(key))));
        }
        self.pick(key, "a string", |value| match value {
            Value::Str(text) => Some(*text),
            _ => None,
        })
    }

    /// An array of any element type.
    pub fn array(&self, key: &str) -> Result<Option<Array<'d>>, Error> {
        self.pick(key, "an array", |value| match value {
            Value::Array(array) => Some(*array),
            _ => None,
        })
    }

    /// An array of strings, read as they are asked for.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'d>>, Error> {
        self.array(key)?.map(|array| array.strings()).transpose()
    }

    /// An array of integers that all fit `u32`.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, Error> {
        self.array(key)?.map(|array| array.u32s()).transpose()
    }

    /// An array of integers that all fit `i32`.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.array(key)?.map(|array| array.i32s()).transpose()
    }

    /// An array of numbers, rounded to `f32`.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.array(key)?.map(|array| array.f32s()).transpose()
    }

    /// `general.alignment`, which must be a power of two of type u32 (other readers take no other type); 32 without it.
    pub(crate) fn alignment(&self) -> Result<u32, Error> {
        match self.get(ALIGNMENT_KEY) {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(Value::U32(n)) if n.is_power_of_two() => Ok(*n),
            Some(Value::U32(n)) => Err(Error::BadAlignment { found: *n }),
            Some(other) => Err(wrong_kind(ALIGNMENT_KEY, ValueType::U32.name(), other.kind())),
        }
    }

    fn number<T: Wanted>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.number() else { return Err(wrong_kind(key, T::ONE, value.kind())) };
        match T::from_number(number) {
            Some(Some(n)) => Ok(Some(n)),
            Some(None) => Err(wrong_kind(key, T::ONE, value.kind())),
            None => Err(Error::OutOfRange { key: shown(key), index: None, expected: T::ONE, found: number }),
        }
    }

    fn pick<T>(
        &self,
        key: &str,
        expected: &'static str,
        take: impl Fn(&Value<'d>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| wrong_kind(key, expected, value.kind()))
    }
}

pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
pub(crate) const DEFAULT_ALIGNMENT: u32 = 32;

/// What reading and writing both ask of a key.
pub(crate) fn check_key(key: &str, part: Part, spot: Spot) -> Result<(), Error> {
    let length = key.len() as u64;
    if key.is_empty() {
        return Err(Error::EmptyKey { part, spot });
    }
    if length > MAX_KEY_BYTES {
        return Err(Error::NameTooLong { part, spot, length, cap: MAX_KEY_BYTES });
    }
    Ok(())
}

pub(crate) fn wrong_kind(key: &str, expected: &'static str, found: Kind) -> Error {
    Error::WrongKind { key: shown(key), expected, found }
}
