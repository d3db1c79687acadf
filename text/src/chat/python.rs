//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it.
//!
//! The format was trained on that: a space behind commas and colons, text as it is, floats as Python's `repr`.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};

/// A value on one line.
pub(super) fn to_json(value: &Value) -> String {
    write(value, OneLine)
}

fn write(value: &Value, formatter: impl Formatter) -> String {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, formatter))
        .expect("a JSON value is written to memory");
    String::from_utf8(out).expect("JSON is text")
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_number_str<W: Write + ?Sized>(&mut self, out: &mut W, value: &str) -> io::Result<()> {
        out.write_all(number(value).as_bytes())
    }
}

/// A number as Python writes it, unless that would be another number: its integers have any length, its floats have not.
fn number(text: &str) -> Cow<'_, str> {
    if !text.contains(['.', 'e', 'E']) {
        return text.into();
    }
    match text.parse().map(repr) {
        Ok(written) if decimal(&written).is_some_and(|same| decimal(text) == Some(same)) => written.into(),
        _ => text.into(),
    }
}

/// A decimal number as its digits and the place of its point; `None`: it is no finite number.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (digits, exponent) = unsigned.split_at(unsigned.find(['e', 'E']).unwrap_or(unsigned.len()));
    let exponent: i64 = if exponent.is_empty() { 0 } else { exponent[1..].parse().ok()? };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    let significant = all.trim_start_matches('0');
    let point = whole.len() as i64 - (all.len() - significant.len()) as i64;
    let significant = significant.trim_end_matches('0');
    let is_number = significant.bytes().all(|byte| byte.is_ascii_digit());
    let place = if significant.is_empty() { 0 } else { point.checked_add(exponent)? };
    is_number.then(|| (text.starts_with('-'), significant.to_owned(), place))
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16.
pub(super) fn repr(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_python_writes_them() {
        let text = r#"{"b":[1,-2.50,true,null,[],{}],"a":{"ü \u0001\u007f\n\"\\/":"<｜User｜>"}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            to_json(&value),
            r#"{"b": [1, -2.5, true, null, [], {}], "a": {"ü \u0001"#.to_owned()
                + "\u{7f}"
                + r#"\n\"\\/": "<｜User｜>"}}"#
        );
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (text, expected) in [
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("120000000000000000.0", "1.2e+17"),
            ("1E+2", "100.0"),
            // Not another number for want of digits.
            ("123456789012345678.0", "123456789012345678.0"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1e400", "1e+400"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.1", "0.1"),
        ] {
            assert_eq!(to_json(&serde_json::from_str(text).unwrap()), expected);
        }
    }
}
