//! Metadata values as they lie in the file: single values decoded, arrays lent as bytes and decoded on the way.
//!
//! An array is walked once when the file is opened: its lengths, its text, its nesting are then known to be good,
//! and nothing but its place is kept. So 129280 tokens cost no allocation until somebody wants them as strings.

use std::fmt;

use crate::Error;
use crate::cursor::{Cursor, Within};
use crate::error::{Kind, Number, Part, Spot, shown};

/// Arrays may contain arrays this deep. Nothing in use nests deeper than 2; the cap bounds the recursion.
pub(crate) const MAX_ARRAY_DEPTH: u32 = 8;

/// The types of metadata values, with the numbers they have in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as Rust's own types")]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::Str,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type with this number.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The number that stands in the file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// `u8`, `str`, `array`, ...
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::Str => "str",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// Bytes of one value where that is fixed.
    pub(crate) const fn fixed_bytes(self) -> Option<u64> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::Str | ValueType::Array => None,
        }
    }

    /// The fewest bytes one value can have: an empty string is its length, an empty array its type and length.
    const fn least_bytes(self) -> u64 {
        match self.fixed_bytes() {
            Some(bytes) => bytes,
            None if matches!(self, ValueType::Str) => 8,
            None => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One metadata value, borrowed from the file's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as Rust's own types")]
pub enum Value<'d> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'d str),
    /// A string that is not UTF-8, as some programs write authors' names. Nobody needs it until somebody asks for it as text.
    Bytes(Bytes<'d>),
    Array(Array<'d>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A string's bytes that are not UTF-8.
#[derive(Clone, Copy)]
pub struct Bytes<'d> {
    pub(crate) bytes: &'d [u8],
    /// Where they stand in the file.
    pub(crate) offset: u64,
    /// How many of them are good, from the first on.
    pub(crate) valid: usize,
}

impl Bytes<'_> {
    /// The text with a mark in the place of what is none.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// What to say to somebody who needs them as text.
    pub(crate) fn error(&self, part: Part) -> Error {
        let found = self.bytes.get(self.valid).copied().unwrap_or_default();
        Error::NotUtf8 { part, offset: self.offset + self.valid as u64, found }
    }
}

/// Bytes are equal wherever they stand.
impl PartialEq for Bytes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl Value<'_> {
    /// The type of this value; of an array, the type of its elements too.
    pub fn kind(&self) -> Kind {
        Kind::One(match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Str(_) | Value::Bytes(_) => ValueType::Str,
            Value::Array(array) => return Kind::ArrayOf(array.item),
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        })
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<Number> {
        Some(match *self {
            Value::U8(n) => Number::Int(n.into()),
            Value::I8(n) => Number::Int(n.into()),
            Value::U16(n) => Number::Int(n.into()),
            Value::I16(n) => Number::Int(n.into()),
            Value::U32(n) => Number::Int(n.into()),
            Value::I32(n) => Number::Int(n.into()),
            Value::U64(n) => Number::Int(n.into()),
            Value::I64(n) => Number::Int(n.into()),
            Value::F32(x) => Number::Float(x.into()),
            Value::F64(x) => Number::Float(x),
            Value::Bool(_) | Value::Str(_) | Value::Bytes(_) | Value::Array(_) => return None,
        })
    }
}

/// What a typed getter wants: a Rust type and the words that name it in an error.
pub(crate) trait Wanted: Sized {
    const ONE: &'static str;
    const ARRAY: &'static str;
    /// `None`: the number does not fit. `Some(None)`: this kind of number is not taken at all.
    fn from_number(number: Number) -> Option<Option<Self>>;
}

macro_rules! wanted_ints {
    ($($ty:ty),*) => {$(
        impl Wanted for $ty {
            const ONE: &'static str = concat!("an integer that fits ", stringify!($ty));
            const ARRAY: &'static str = concat!("an array of integers that fit ", stringify!($ty));
            fn from_number(number: Number) -> Option<Option<Self>> {
                match number {
                    Number::Int(n) => <$ty>::try_from(n).ok().map(Some),
                    Number::Float(_) => Some(None),
                }
            }
        }
    )*};
}
wanted_ints!(u16, u32, i32, u64, i64);

impl Wanted for f32 {
    const ONE: &'static str = "a number that fits f32";
    const ARRAY: &'static str = "an array of numbers that fit f32";
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what was asked for")]
    fn from_number(number: Number) -> Option<Option<Self>> {
        match number {
            Number::Int(n) => Some(Some(n as f32)),
            Number::Float(x) if x.is_finite() && !(x as f32).is_finite() => None,
            Number::Float(x) => Some(Some(x as f32)),
        }
    }
}

/// An array of metadata values: its element type, its length and its bytes, decoded as it is iterated.
#[derive(Clone, Copy)]
pub struct Array<'d> {
    key: &'d str,
    item: ValueType,
    len: usize,
    /// From the first element to the last, lengths of strings and headers of nested arrays included.
    bytes: &'d [u8],
    /// Where `bytes` stands in the file.
    offset: u64,
    /// The first string in it that is not UTF-8, and its number.
    not_text: Option<(u64, Bytes<'d>)>,
}

impl<'d> Array<'d> {
    /// The type of the elements.
    pub fn item(&self) -> ValueType {
        self.item
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' bytes as they lie in the file.
    pub fn bytes(&self) -> &'d [u8] {
        self.bytes
    }

    /// The elements, one after another, whatever their type; nested arrays come as [`Value::Array`].
    pub fn values(&self) -> Values<'d> {
        Values {
            cursor: Cursor::of_array(self.bytes, self.offset, self.key),
            item: self.item,
            left: self.len,
        }
    }

    /// The elements of an array of strings, read as they are asked for.
    pub fn strings(&self) -> Result<Strings<'d>, Error> {
        match self.item {
            ValueType::Str => match self.not_text {
                None => Ok(Strings(self.values())),
                Some((index, bytes)) => Err(bytes.error(Part::Element(shown(self.key), index))),
            },
            _ => Err(self.wrong_kind("an array of strings")),
        }
    }

    /// The elements as `u32`; any integer type is taken if every element fits.
    pub fn u32s(&self) -> Result<Vec<u32>, Error> {
        self.numbers()
    }

    /// The elements as `i32`; any integer type is taken if every element fits.
    pub fn i32s(&self) -> Result<Vec<i32>, Error> {
        self.numbers()
    }

    /// The elements as `f32`; any number type is taken if every element fits.
    pub fn f32s(&self) -> Result<Vec<f32>, Error> {
        self.numbers()
    }

    fn numbers<T: Wanted>(&self) -> Result<Vec<T>, Error> {
        let mut out = Vec::with_capacity(self.len);
        for (index, value) in self.values().enumerate() {
            let number = value.number().ok_or_else(|| self.wrong_kind(T::ARRAY))?;
            out.push(match T::from_number(number) {
                Some(Some(n)) => n,
                Some(None) => return Err(self.wrong_kind(T::ARRAY)),
                None => {
                    let (key, index) = (shown(self.key), Some(index as u64));
                    return Err(Error::OutOfRange { key, index, expected: T::ONE, found: number });
                }
            });
        }
        Ok(out)
    }

    fn wrong_kind(&self, expected: &'static str) -> Error {
        Error::WrongKind { key: shown(self.key), expected, found: Kind::ArrayOf(self.item) }
    }
}

/// Two arrays are equal when their elements are, bit for bit, wherever they stand.
impl PartialEq for Array<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.item, self.len, self.bytes) == (other.item, other.len, other.bytes)
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.item, self.len)
    }
}

/// Iterator over the elements of an [`Array`].
#[derive(Clone, Debug)]
pub struct Values<'d> {
    cursor: Cursor<'d>,
    item: ValueType,
    left: usize,
}

impl<'d> Iterator for Values<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        self.left = self.left.checked_sub(1)?;
        let Within::Value(key) = self.cursor.within else { unreachable!("set by Array::values") };
        Some(read(&mut self.cursor, self.item, key, 0).expect("arrays are walked when the file is opened"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}

/// Iterator over the elements of an [`Array`] of strings.
#[derive(Clone, Debug)]
pub struct Strings<'d>(Values<'d>);

impl<'d> Iterator for Strings<'d> {
    type Item = &'d str;

    fn next(&mut self) -> Option<&'d str> {
        match self.0.next()? {
            Value::Str(text) => Some(text),
            other => unreachable!("an array of strings holds {:?}", other.kind()),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// Reads a value's type id.
pub(crate) fn read_type(cursor: &mut Cursor<'_>) -> Result<ValueType, Error> {
    let offset = cursor.offset();
    let id = cursor.u32()?;
    ValueType::from_id(id).ok_or_else(|| Error::UnknownValueType { part: cursor.part(), offset, id })
}

/// Reads one value of type `ty`; `depth` arrays are already open around it.
pub(crate) fn read<'d>(
    cursor: &mut Cursor<'d>,
    ty: ValueType,
    key: &'d str,
    depth: u32,
) -> Result<Value<'d>, Error> {
    Ok(match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.bytes()?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.bytes()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.bytes()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.bytes()?)),
        ValueType::U32 => Value::U32(cursor.u32()?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.bytes()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.bytes()?)),
        ValueType::Bool => Value::Bool(read_bool(cursor)?),
        ValueType::Str => cursor.text()?.map_or_else(Value::Bytes, Value::Str),
        ValueType::Array => Value::Array(read_array(cursor, key, depth)?),
        ValueType::U64 => Value::U64(cursor.u64()?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.bytes()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.bytes()?)),
    })
}

fn read_bool(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let offset = cursor.offset();
    match cursor.bytes()? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(Error::BadBool { part: cursor.part(), offset, found }),
    }
}

/// Reads an array's head and walks over its elements, checking all that could be wrong with them.
fn read_array<'d>(cursor: &mut Cursor<'d>, key: &'d str, depth: u32) -> Result<Array<'d>, Error> {
    if depth >= MAX_ARRAY_DEPTH {
        let spot = Spot::Byte(cursor.offset());
        return Err(Error::ArrayTooDeep { key: shown(key), spot, cap: MAX_ARRAY_DEPTH });
    }
    let item = read_type(cursor)?;
    let counted_at = cursor.offset();
    let declared = cursor.u64()?;
    let needed = u128::from(declared) * u128::from(item.least_bytes());
    let left = cursor.left();
    let Some(len) = usize::try_from(declared).ok().filter(|_| needed <= left.into()) else {
        let part = cursor.part();
        return Err(Error::ArrayBeyondFile { part, offset: counted_at, item, declared, needed, left });
    };
    let (offset, rest, outside) = (cursor.offset(), cursor.rest(), cursor.within);
    let mut not_text = None;
    match item.fixed_bytes() {
        // Any bytes are good numbers: no need to look at them.
        Some(size) if item != ValueType::Bool => _ = cursor.take(size * declared)?,
        _ => {
            for index in 0..declared {
                // Within nested arrays the outermost index is the one that helps to find the place.
                if depth == 0 {
                    cursor.within = Within::Element(key, index);
                }
                if let Value::Bytes(bytes) = read(cursor, item, key, depth + 1)? {
                    not_text.get_or_insert((index, bytes));
                }
            }
            cursor.within = outside;
        }
    }
    let walked = rest.len() - cursor.rest().len();
    Ok(Array { key, item, len, bytes: &rest[..walked], offset, not_text })
}
