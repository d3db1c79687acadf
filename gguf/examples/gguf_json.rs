//! Prints a model's files as JSON: `gguf_json FILE...`, or ggml's type table: `gguf_json --types`.
//!
//! Meant for comparison with other programs (`tests/pypi`), so nothing is rounded: floats are printed as the
//! integer of their bits, tensor data as hexadecimal digits. Give it small files.

use std::process::ExitCode;

use fathom_gguf::{Array, Gguf, TensorType, Value};
use serde_json::{Value as Json, json};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.as_slice() {
        [] => Err("usage: gguf_json FILE... | --types".to_owned()),
        [flag] if flag == "--types" => Ok(types()),
        paths => model(paths),
    };
    match result {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn types() -> Json {
    let row = |ty: TensorType| json!([ty.id(), ty.name(), ty.block_len(), ty.block_bytes()]);
    TensorType::all().map(row).collect()
}

fn model(paths: &[String]) -> Result<Json, String> {
    let read = |path: &String| std::fs::read(path).map_err(|e| format!("{path}: {e}"));
    let files = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let named = paths.iter().cloned().zip(files.iter().map(Vec::as_slice)).collect();
    let model = Gguf::from_shards(named).map_err(|e| e.to_string())?;
    let shards = model.shards().iter().map(|shard| {
        let file = shard.file();
        let metadata = file.metadata().iter().map(|(key, value)| json!([key, typed(*value)]));
        json!({
            "name": shard.name(),
            "version": file.version(),
            "alignment": file.alignment(),
            "metadata": metadata.collect::<Json>(),
            "tensors": file.tensors().iter().map(|info| json!({
                "name": info.name,
                "type": info.ty.name(),
                "shape": info.shape.dims(),
                "offset": info.offset,
                "data": hex(info.data()),
            })).collect::<Json>(),
        })
    });
    Ok(json!({ "n_tensors": model.n_tensors(), "shards": shards.collect::<Json>() }))
}

/// A value with its type: `["u8", 7]`, arrays as `["array", "u8", [7, 8]]`, floats as their bits.
fn typed(value: Value<'_>) -> Json {
    match value {
        Value::Array(array) => typed_array(array),
        other => json!([other.kind().to_string(), plain(other)]),
    }
}

fn typed_array(array: Array<'_>) -> Json {
    json!(["array", array.item().name(), array.values().map(plain).collect::<Json>()])
}

fn plain(value: Value<'_>) -> Json {
    match value {
        Value::U8(n) => json!(n),
        Value::I8(n) => json!(n),
        Value::U16(n) => json!(n),
        Value::I16(n) => json!(n),
        Value::U32(n) => json!(n),
        Value::I32(n) => json!(n),
        Value::F32(x) => json!(x.to_bits()),
        Value::Bool(flag) => json!(flag),
        Value::Str(text) => json!(text),
        Value::Bytes(bytes) => json!(bytes.lossy()),
        Value::Array(array) => typed_array(array),
        Value::U64(n) => json!(n),
        Value::I64(n) => json!(n),
        Value::F64(x) => json!(x.to_bits()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
