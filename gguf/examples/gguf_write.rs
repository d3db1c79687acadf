//! Writes a GGUF file from JSON: `gguf_write SPEC.json OUT.gguf`, the opposite of `gguf_json`.
//!
//! The specification is one element of `shards` as `gguf_json` prints it; only `metadata` and `tensors` (without
//! `offset`) are read. It is trusted: a mistake in it panics.

use fathom_gguf::{OwnedArray, OwnedValue, TensorType, Writer};
use serde_json::Value as Json;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [spec, out] = args.as_slice() else { panic!("usage: gguf_write SPEC.json OUT.gguf") };
    let spec: Json = serde_json::from_slice(&std::fs::read(spec).expect("the specification")).expect("JSON");
    let mut writer = Writer::new();
    for entry in list(&spec["metadata"]) {
        let value = value(&entry[1]);
        writer.metadata(text(&entry[0]), value).unwrap_or_else(|e| panic!("{e}"));
    }
    for tensor in list(&spec["tensors"]) {
        let shape: Vec<usize> = list(&tensor["shape"]).iter().map(number).collect();
        let ty = TensorType::from_name(text(&tensor["type"])).expect("a tensor type");
        writer.tensor(text(&tensor["name"]), ty, &shape).unwrap_or_else(|e| panic!("{e}"));
    }
    let layout = writer.layout().unwrap_or_else(|e| panic!("{e}"));
    let mut file = layout.header;
    file.resize(usize::try_from(layout.file_bytes).expect("a small file"), 0);
    for (placed, tensor) in layout.tensors.iter().zip(list(&spec["tensors"])) {
        let data = unhex(text(&tensor["data"]));
        assert_eq!(data.len() as u64, placed.bytes, "{}", tensor["name"]);
        let start = usize::try_from(placed.offset).expect("a small file");
        file[start..start + data.len()].copy_from_slice(&data);
    }
    std::fs::write(out, file).expect("the output file");
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap_or_else(|| panic!("expected a list, found {json}"))
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("expected text, found {json}"))
}

fn number<T: TryFrom<i128>>(json: &Json) -> T {
    let wide = json.as_u64().map(i128::from).or_else(|| json.as_i64().map(i128::from));
    wide.and_then(|n| T::try_from(n).ok()).unwrap_or_else(|| panic!("expected a number, found {json}"))
}

fn flag(json: &Json) -> bool {
    json.as_bool().unwrap_or_else(|| panic!("expected a bool, found {json}"))
}

fn value(typed: &Json) -> OwnedValue {
    let plain = &typed[1];
    match text(&typed[0]) {
        "u8" => OwnedValue::U8(number(plain)),
        "i8" => OwnedValue::I8(number(plain)),
        "u16" => OwnedValue::U16(number(plain)),
        "i16" => OwnedValue::I16(number(plain)),
        "u32" => OwnedValue::U32(number(plain)),
        "i32" => OwnedValue::I32(number(plain)),
        "f32" => OwnedValue::F32(f32::from_bits(number(plain))),
        "bool" => OwnedValue::Bool(flag(plain)),
        "str" => OwnedValue::Str(text(plain).to_owned()),
        "array" => OwnedValue::Array(array(typed)),
        "u64" => OwnedValue::U64(number(plain)),
        "i64" => OwnedValue::I64(number(plain)),
        "f64" => OwnedValue::F64(f64::from_bits(number(plain))),
        other => panic!("expected a metadata type, found {other}"),
    }
}

fn array(typed: &Json) -> OwnedArray {
    fn all<T>(items: &[Json], each: impl Fn(&Json) -> T) -> Vec<T> {
        items.iter().map(each).collect()
    }
    let items = list(&typed[2]);
    match text(&typed[1]) {
        "u8" => OwnedArray::U8(all(items, number)),
        "i8" => OwnedArray::I8(all(items, number)),
        "u16" => OwnedArray::U16(all(items, number)),
        "i16" => OwnedArray::I16(all(items, number)),
        "u32" => OwnedArray::U32(all(items, number)),
        "i32" => OwnedArray::I32(all(items, number)),
        "f32" => OwnedArray::F32(all(items, |bits| f32::from_bits(number(bits)))),
        "bool" => OwnedArray::Bool(all(items, flag)),
        "str" => OwnedArray::Str(all(items, |item| text(item).to_owned())),
        "array" => OwnedArray::Array(all(items, array)),
        "u64" => OwnedArray::U64(all(items, number)),
        "i64" => OwnedArray::I64(all(items, number)),
        "f64" => OwnedArray::F64(all(items, |bits| f64::from_bits(number(bits)))),
        other => panic!("expected a metadata type, found {other}"),
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}
