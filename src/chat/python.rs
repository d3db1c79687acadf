//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it.
//!
//! The format was trained on that: a space behind commas and colons, text as it is, floats as Python's `repr`.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// A value on one line.
pub(super) fn to_json(value: &Value) -> String {
    write(value, OneLine)
}

/// A value on many lines, each level `width` spaces further in.
pub(super) fn to_json_indented(value: &Value, width: usize) -> String {
    let unit = " ".repeat(width);
    write(value, Indented(serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes())))
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

    fn write_f64<W: Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(repr(value).as_bytes())
    }
}

/// serde_json's own layout of lines is Python's; only floats differ.
struct Indented<'i>(serde_json::ser::PrettyFormatter<'i>);

impl Formatter for Indented<'_> {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }
    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }
    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, is_first)
    }
    fn end_array_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }
    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }
    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }
    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, is_first)
    }
    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }
    fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
    fn write_f64<W: Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        OneLine.write_f64(out, value)
    }
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16.
fn repr(value: f64) -> String {
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
        assert_eq!(to_json_indented(&value["b"], 2), "[\n  1,\n  -2.5,\n  true,\n  null,\n  [],\n  {}\n]");
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (text, expected) in [
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("123456789012345678.0", "1.2345678901234568e+17"),
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
