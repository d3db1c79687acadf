//! Damaged, strange and missing input: each is refused with its place, what was expected, what was found and what to
//! do, and with exit code 3; never with a panic or a bare signal.

mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod container;
#[cfg(unix)]
mod living;
mod model;
mod unread;

use common::convert;
use common::forge::Forged;
use fathom_gguf::split::shard_name;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Who refuses a model.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// Every verb: it is no valid GGUF file.
    All,
    /// `doctor` and `logits`; `inspect` shows it and says why it does not run.
    Loading,
    /// `logits` alone: only the weights' values are wrong.
    Computing,
}

/// One row: what it is, how it is made in a folder from a good model, who refuses it, words of the message.
type Row = (&'static str, fn(&Path, Forged) -> PathBuf, By, &'static [&'static str]);

fn put(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn put_model(folder: &Path, model: &Forged) -> PathBuf {
    put(folder, &model.bytes())
}

fn put_shards(folder: &Path, shards: &[Forged]) -> PathBuf {
    for (no, shard) in shards.iter().enumerate() {
        shard.write(&folder.join(shard_name("model", no, shards.len())));
    }
    folder.join(shard_name("model", 0, shards.len()))
}

/// Where the bytes after this key or tensor name start.
fn after(bytes: &[u8], name: &str) -> usize {
    let entry = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    let at = bytes.windows(entry.len()).position(|window| window == entry);
    at.unwrap_or_else(|| panic!("no {name} in the header")) + entry.len()
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..at + with.len()].copy_from_slice(with);
}

/// The file with some bytes after a name in its header replaced.
fn changed(folder: &Path, model: &Forged, name: &str, skip: usize, with: &[u8]) -> PathBuf {
    let mut bytes = model.bytes();
    let at = after(&bytes, name) + skip;
    overwrite(&mut bytes, at, with);
    put(folder, &bytes)
}

/// The first bytes of the file.
fn cut(folder: &Path, model: &Forged, keep: impl Fn(&[u8]) -> usize) -> PathBuf {
    let bytes = model.bytes();
    put(folder, &bytes[..keep(&bytes)])
}

fn run(verb: &str, model: &Path) -> Output {
    let mut command = common::fathom();
    command.arg(verb).arg(model);
    if verb == "logits" {
        let folder = if model.is_dir() { model } else { model.parent().unwrap() };
        command.args(["--tokens", "0,5,300", "-o"]).arg(folder.join("logits.bin"));
    }
    command.output().unwrap()
}

fn check(rows: &[Row]) {
    let good = Forged::read(&convert("base", "f32").path);
    for &(what, damage, by, says) in rows {
        let folder = tempfile::tempdir().unwrap();
        let path = damage(folder.path(), good.clone());
        for verb in ["inspect", "doctor", "logits"] {
            let done = run(verb, &path);
            let (out, message) =
                (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            let refuses = match by {
                By::All => true,
                By::Loading => verb != "inspect",
                By::Computing => verb == "logits",
            };
            let expected = if refuses { 3 } else { 0 };
            assert_eq!(done.status.code(), Some(expected), "{what}, {verb}: {message}");
            assert!(!message.contains("panicked"), "{what}, {verb}: {message}");
            if refuses {
                assert!(
                    message.starts_with("error: ") && message.ends_with('\n'),
                    "{what}, {verb}: {message}"
                );
                assert!(out.is_empty(), "{what}, {verb}: an answer and an error");
            }
            if verb == "inspect" && by == By::Loading {
                assert!(!out.contains("Fathom runs it             yes"), "{what}: {out}");
            }
            let told = if refuses { message } else { out };
            if refuses || by == By::Loading {
                for words in says {
                    // `inspect` lists the problems; what to do about them is the error's last sentence.
                    let advice = words.contains("again") && !refuses;
                    assert!(
                        advice || told.contains(words),
                        "{what}, {verb}: {words:?} is missing in: {told}"
                    );
                }
            }
        }
        assert!(!folder.path().join("logits.bin").exists(), "{what}: a file was left behind");
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let parts = names.filter(|name| name.to_string_lossy().contains(".part"));
        assert_eq!(parts.count(), 0, "{what}: a part was left behind");
    }
}

#[test]
fn the_start_of_a_file() {
    check(&container::START);
}

#[test]
fn metadata() {
    check(&container::METADATA);
}

#[test]
fn tensors() {
    check(&container::TENSORS);
}

#[test]
fn shards() {
    check(&container::SHARDS);
}

#[test]
fn paths() {
    check(&container::PATHS);
}

#[test]
fn models() {
    check(&model::MODELS);
}

#[test]
fn what_the_metadata_does_not_account_for() {
    check(&unread::REFUSED);
}

#[test]
fn numbers() {
    check(&model::NUMBERS);
}

#[test]
fn the_undamaged_model_runs() {
    let good = convert("base", "f32");
    for verb in ["inspect", "doctor", "logits"] {
        let done = run(verb, &good.path);
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Any single bit of a header: the file is refused, or it is another valid file; nothing else happens.
#[test]
fn flipped_bits() {
    let good = convert("base", "f32");
    let bytes = std::fs::read(&good.path).unwrap();
    let header = after(&bytes, "blk.3.nextn.shared_head_norm.weight") + 40;
    let mut random = fastrand::Rng::with_seed(1);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..150 {
        // A third in the first keys, where the numbers of the model stand.
        let end = if round % 3 == 0 { after(&bytes, "deepseek32.expert_weights_norm") } else { header };
        let (at, bit) = (random.usize(..end), random.u8(..8));
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        let path = put(folder.path(), &damaged);
        for verb in ["inspect", "doctor", "logits"] {
            let done = run(verb, &path);
            let message = String::from_utf8_lossy(&done.stderr);
            assert!(!message.contains("panicked"), "byte {at} bit {bit}, {verb}: {message}");
            assert!(matches!(done.status.code(), Some(0 | 3)), "byte {at} bit {bit}, {verb}: {message}");
        }
        // Those that are valid leave logits, which the next round may not write over.
        let _ = std::fs::remove_file(folder.path().join("logits.bin"));
    }
}
