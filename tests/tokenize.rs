//! `fathom tokenize` and `fathom detokenize`: the published vectors of a checkpoint, and what is said of mistakes.

mod common;

use std::process::Output;

fn tiny_model() -> common::Converted {
    common::convert("base", "f32")
}

fn fathom(args: &[&str]) -> Output {
    common::fathom().args(args).output().unwrap()
}

fn stdout(done: Output) -> Vec<u8> {
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[test]
fn the_tiny_checkpoint_through_the_command_line() {
    let model = tiny_model();
    let path = model.path.to_str().unwrap();
    let vectors = std::fs::read(common::reference_folder("base").join("tokenizer_vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&vectors).unwrap();
    assert!(vectors.len() > 10);
    for vector in vectors {
        let text = vector["text"].as_str().unwrap();
        let ids: Vec<u64> = vector["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let words: Vec<String> = ids.iter().map(u64::to_string).collect();
        let printed = stdout(fathom(&["tokenize", path, "--special", "--", text]));
        assert_eq!(String::from_utf8(printed).unwrap(), words.join(" ") + "\n", "{text:?}");
        let json = stdout(fathom(&["tokenize", path, "--special", "--json", "--", text]));
        let json: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
        assert_eq!(json.iter().map(|token| token["id"].as_u64().unwrap()).collect::<Vec<_>>(), ids);
        let bytes: Vec<u8> = json.iter().flat_map(token_bytes).collect();
        assert_eq!(bytes, text.as_bytes());
        if !ids.is_empty() {
            assert_eq!(stdout(fathom(&["detokenize", path, &words.join(",")])), text.as_bytes());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text");
        std::fs::write(&file, text).unwrap();
        let plain = stdout(fathom(&["tokenize", path, "-f", file.to_str().unwrap()]));
        std::fs::write(&file, &plain).unwrap();
        assert_eq!(stdout(fathom(&["detokenize", path, "-f", file.to_str().unwrap()])), text.as_bytes());
    }
}

fn token_bytes(token: &serde_json::Value) -> Vec<u8> {
    match token.get("bytes") {
        Some(bytes) => bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect(),
        None => token["text"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let model = tiny_model();
    let path = model.path.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin1.txt");
    std::fs::write(&file, b"caf\xe9").unwrap();
    let file = file.to_str().unwrap();
    for (args, code, words) in [
        (&["tokenize", path, "-f", file][..], 3, "offset 3"),
        (&["tokenize", path, "-f", "/nowhere/text"], 3, "/nowhere/text"),
        (&["tokenize", "/nowhere/model.gguf", "x"], 3, "/nowhere/model.gguf"),
        (&["tokenize", file, "x"], 3, "latin1.txt"),
        (&["tokenize", path], 2, "TEXT"),
        (&["detokenize", path, "5,x"], 2, "token 1"),
        (&["detokenize", path, "5", "999999"], 2, "below 320"),
    ] {
        let done = fathom(args);
        let message = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {message}");
        assert!(message.contains(words), "{args:?}: {message}");
    }
}
