//! Metadata values that own their memory: what a [`Writer`](crate::Writer) takes.

use crate::error::{Spot, shown};
use crate::value::MAX_ARRAY_DEPTH;
use crate::{Array, Error, Value, ValueType};

/// One metadata value to be written.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as Rust's own types")]
pub enum OwnedValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    /// A text of a file that is not UTF-8, as it is.
    Bytes(Vec<u8>),
    Array(OwnedArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values to be written. Elements of a nested array may differ in type, as in the file.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as Rust's own types")]
pub enum OwnedArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Str(Vec<String>),
    /// Texts of a file that are not all UTF-8, as they are.
    Bytes(Vec<Vec<u8>>),
    Array(Vec<OwnedArray>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

macro_rules! from_plain {
    ($($variant:ident: $ty:ty),*) => {$(
        impl From<$ty> for OwnedValue {
            fn from(value: $ty) -> Self {
                OwnedValue::$variant(value)
            }
        }
        impl From<Vec<$ty>> for OwnedValue {
            fn from(values: Vec<$ty>) -> Self {
                OwnedValue::Array(OwnedArray::$variant(values))
            }
        }
    )*};
}
from_plain!(U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, F32: f32, Bool: bool, Str: String, U64: u64, I64: i64, F64: f64);

impl From<&str> for OwnedValue {
    fn from(text: &str) -> Self {
        OwnedValue::Str(text.to_owned())
    }
}

impl From<Vec<&str>> for OwnedValue {
    fn from(texts: Vec<&str>) -> Self {
        OwnedValue::Array(OwnedArray::Str(texts.into_iter().map(str::to_owned).collect()))
    }
}

impl From<OwnedArray> for OwnedValue {
    fn from(array: OwnedArray) -> Self {
        OwnedValue::Array(array)
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(n) => OwnedValue::U8(n),
            Value::I8(n) => OwnedValue::I8(n),
            Value::U16(n) => OwnedValue::U16(n),
            Value::I16(n) => OwnedValue::I16(n),
            Value::U32(n) => OwnedValue::U32(n),
            Value::I32(n) => OwnedValue::I32(n),
            Value::F32(x) => OwnedValue::F32(x),
            Value::Bool(flag) => OwnedValue::Bool(flag),
            Value::Str(text) => OwnedValue::Str(text.to_owned()),
            Value::Bytes(bytes) => OwnedValue::Bytes(bytes.bytes.to_vec()),
            Value::Array(array) => OwnedValue::Array(array.into()),
            Value::U64(n) => OwnedValue::U64(n),
            Value::I64(n) => OwnedValue::I64(n),
            Value::F64(x) => OwnedValue::F64(x),
        }
    }
}

impl From<Array<'_>> for OwnedArray {
    fn from(array: Array<'_>) -> Self {
        if array.item() == ValueType::Str {
            let text_of = |value| match value {
                Value::Str(text) => Some(text.to_owned()),
                _ => None,
            };
            let texts: Option<_> = array.values().map(text_of).collect();
            return texts
                .map_or_else(|| OwnedArray::Bytes(array.values().map(bytes_of).collect()), OwnedArray::Str);
        }
        macro_rules! collect {
            ($($variant:ident),*) => {
                match array.item() {
                    $(ValueType::$variant => OwnedArray::$variant(array.values().filter_map(|value| match value {
                        Value::$variant(element) => Some(element.into()),
                        _ => None,
                    }).collect()),)*
                }
            };
        }
        collect!(U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64)
    }
}

fn bytes_of(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Str(text) => text.as_bytes().to_vec(),
        Value::Bytes(bytes) => bytes.bytes.to_vec(),
        _ => Vec::new(),
    }
}

impl OwnedValue {
    /// The type of this value.
    pub fn value_type(&self) -> ValueType {
        match self {
            OwnedValue::U8(_) => ValueType::U8,
            OwnedValue::I8(_) => ValueType::I8,
            OwnedValue::U16(_) => ValueType::U16,
            OwnedValue::I16(_) => ValueType::I16,
            OwnedValue::U32(_) => ValueType::U32,
            OwnedValue::I32(_) => ValueType::I32,
            OwnedValue::F32(_) => ValueType::F32,
            OwnedValue::Bool(_) => ValueType::Bool,
            OwnedValue::Str(_) | OwnedValue::Bytes(_) => ValueType::Str,
            OwnedValue::Array(_) => ValueType::Array,
            OwnedValue::U64(_) => ValueType::U64,
            OwnedValue::I64(_) => ValueType::I64,
            OwnedValue::F64(_) => ValueType::F64,
        }
    }

    /// Refuses what no reader would take back.
    pub(crate) fn check(&self, key: &str) -> Result<(), Error> {
        match self {
            OwnedValue::Array(array) if array.depth() > MAX_ARRAY_DEPTH => {
                Err(Error::ArrayTooDeep { key: shown(key), spot: Spot::Written, cap: MAX_ARRAY_DEPTH })
            }
            _ => Ok(()),
        }
    }

    /// Appends the value as it stands in a file, without its type.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            OwnedValue::U8(n) => out.extend(n.to_le_bytes()),
            OwnedValue::I8(n) => out.extend(n.to_le_bytes()),
            OwnedValue::U16(n) => out.extend(n.to_le_bytes()),
            OwnedValue::I16(n) => out.extend(n.to_le_bytes()),
            OwnedValue::U32(n) => out.extend(n.to_le_bytes()),
            OwnedValue::I32(n) => out.extend(n.to_le_bytes()),
            OwnedValue::F32(x) => out.extend(x.to_le_bytes()),
            OwnedValue::Bool(flag) => out.push((*flag).into()),
            OwnedValue::Str(text) => encode_str(text.as_bytes(), out),
            OwnedValue::Bytes(text) => encode_str(text, out),
            OwnedValue::Array(array) => array.encode(out),
            OwnedValue::U64(n) => out.extend(n.to_le_bytes()),
            OwnedValue::I64(n) => out.extend(n.to_le_bytes()),
            OwnedValue::F64(x) => out.extend(x.to_le_bytes()),
        }
    }
}

impl OwnedArray {
    /// How deep arrays nest, this one included.
    fn depth(&self) -> u32 {
        match self {
            OwnedArray::Array(arrays) => 1 + arrays.iter().map(OwnedArray::depth).max().unwrap_or(0),
            _ => 1,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        macro_rules! numbers {
            ($ty:ident, $values:expr) => {{
                encode_head(ValueType::$ty, $values.len(), out);
                out.extend($values.iter().flat_map(|n| n.to_le_bytes()));
            }};
        }
        match self {
            OwnedArray::U8(values) => numbers!(U8, values),
            OwnedArray::I8(values) => numbers!(I8, values),
            OwnedArray::U16(values) => numbers!(U16, values),
            OwnedArray::I16(values) => numbers!(I16, values),
            OwnedArray::U32(values) => numbers!(U32, values),
            OwnedArray::I32(values) => numbers!(I32, values),
            OwnedArray::F32(values) => numbers!(F32, values),
            OwnedArray::Bool(flags) => {
                encode_head(ValueType::Bool, flags.len(), out);
                out.extend(flags.iter().map(|&flag| u8::from(flag)));
            }
            OwnedArray::Str(texts) => {
                encode_head(ValueType::Str, texts.len(), out);
                texts.iter().for_each(|text| encode_str(text.as_bytes(), out));
            }
            OwnedArray::Bytes(texts) => {
                encode_head(ValueType::Str, texts.len(), out);
                texts.iter().for_each(|text| encode_str(text, out));
            }
            OwnedArray::Array(arrays) => {
                encode_head(ValueType::Array, arrays.len(), out);
                arrays.iter().for_each(|array| array.encode(out));
            }
            OwnedArray::U64(values) => numbers!(U64, values),
            OwnedArray::I64(values) => numbers!(I64, values),
            OwnedArray::F64(values) => numbers!(F64, values),
        }
    }
}

fn encode_head(item: ValueType, len: usize, out: &mut Vec<u8>) {
    out.extend(item.id().to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

/// A length and the text.
pub(crate) fn encode_str(text: &[u8], out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}
