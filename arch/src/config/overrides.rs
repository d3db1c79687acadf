//! Values that replace a file's metadata.

use fathom_gguf::Value;
use std::fmt;
use std::str::FromStr;

/// Values that replace metadata, as llama.cpp's `--override-kv KEY=TYPE:VALUE`.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub(super) values: Vec<(String, Scalar)>,
    /// Every token is to attend to all earlier ones: a file may lack the indexer.
    pub(super) dense: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Int(u64),
    Float(f64),
    Bool(bool),
    /// Only where somebody replaces a text.
    Str(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Int(n) => n.fmt(f),
            Scalar::Float(x) => x.fmt(f),
            Scalar::Bool(flag) => flag.fmt(f),
            Scalar::Str(text) => write!(f, "`{text}`"),
        }
    }
}

impl Overrides {
    /// Reads `KEY=TYPE:VALUE` from each of `texts`, with llama.cpp's types: `int`, `float`, `bool` and `str`.
    ///
    /// # Errors
    /// A sentence about the first text that is none of these.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Overrides, String> {
        let parsed = texts.iter().map(|text| {
            let text = text.as_ref();
            let wrong = || {
                format!(
                    "--override-kv {text}: expected KEY=TYPE:VALUE, where TYPE is int (from 0), float, bool (true or false) or str"
                )
            };
            let (key, value) = text.split_once('=').ok_or_else(wrong)?;
            let (kind, value) = value.split_once(':').ok_or_else(wrong)?;
            let scalar = match kind {
                "int" => u64::from_str(value).ok().map(Scalar::Int),
                "float" => f64::from_str(value).ok().map(Scalar::Float),
                "bool" => bool::from_str(value).ok().map(Scalar::Bool),
                "str" => Some(Scalar::Str(value.to_owned())),
                _ => None,
            };
            scalar.map(|scalar| (key.to_owned(), scalar)).ok_or_else(wrong)
        });
        Ok(Overrides { values: parsed.collect::<Result<_, String>>()?, dense: false })
    }

    /// The same for sessions whose tokens attend to all earlier ones, or not.
    #[must_use]
    pub fn dense(self, dense: bool) -> Overrides {
        Overrides { dense, ..self }
    }

    /// The same without a value replaced.
    #[must_use]
    pub fn without_values(&self) -> Overrides {
        Overrides { values: Vec::new(), ..*self }
    }

    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<Scalar> {
        self.values.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    }
}

/// A scalar; or a per-layer array whose non-zero entries agree, which llama.cpp writes for some widths.
pub(super) fn scalar_of(value: &Value<'_>) -> Option<Scalar> {
    Some(match *value {
        Value::U8(v) => Scalar::Int(v.into()),
        Value::U16(v) => Scalar::Int(v.into()),
        Value::U32(v) => Scalar::Int(v.into()),
        Value::U64(v) => Scalar::Int(v),
        Value::I8(v) => Scalar::Int(v.try_into().ok()?),
        Value::I16(v) => Scalar::Int(v.try_into().ok()?),
        Value::I32(v) => Scalar::Int(v.try_into().ok()?),
        Value::I64(v) => Scalar::Int(v.try_into().ok()?),
        Value::F32(v) => Scalar::Float(v.into()),
        Value::F64(v) => Scalar::Float(v),
        Value::Bool(v) => Scalar::Bool(v),
        Value::Str(_) | Value::Bytes(_) => return None,
        Value::Array(ref array) => {
            let mut widths = array.values().map(|v| scalar_of(&v)).filter(|v| *v != Some(Scalar::Int(0)));
            let first = widths.next()??;
            widths.all(|width| width.as_ref() == Some(&first)).then_some(first)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_read_and_the_last_one_wins() {
        let o = Overrides::parse(&["a.b=int:3", "a.b=int:4", "c=float:0.5", "d=bool:true"]).unwrap();
        assert_eq!(o.get("a.b"), Some(Scalar::Int(4)));
        assert_eq!(o.get("c"), Some(Scalar::Float(0.5)));
        assert_eq!(o.get("d"), Some(Scalar::Bool(true)));
        let o = Overrides::parse(&["a=str:x=y:z", "b=str:"]).unwrap();
        assert_eq!(o.get("a"), Some(Scalar::Str("x=y:z".to_owned())));
        assert_eq!(o.get("b"), Some(Scalar::Str(String::new())));
        for bad in ["", "a", "a=3", "a=int:x", "a=string:x", "a=int:-1", "a=bool:1"] {
            assert!(Overrides::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
