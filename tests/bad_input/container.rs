//! Files that are no valid GGUF, shards that do not belong together, paths without a model.

use super::{By, Row, after, changed, cut, overwrite, put, put_model, put_shards};
use fathom_gguf::split::shard_name;

/// A matrix's header entry: number of dimensions (u32), two dimensions (u64), type (u32), offset (u64).
pub const MATRIX: &str = "blk.0.attn_q_a.weight";
const FIRST_DIM: usize = 4;
const TYPE: usize = 20;
const OFFSET: usize = 24;

pub const START: [Row; 10] = [
    (
        "an empty file",
        |dir, _| put(dir, b""),
        By::All,
        &["model.gguf", "expected a GGUF file", "an empty one", "again"],
    ),
    (
        "another format",
        |dir, _| put(dir, b"\x7fELF and more"),
        By::All,
        &["expected the bytes \"GGUF\"", "ELF", "Check"],
    ),
    (
        "what PyTorch saves",
        |dir, _| put(dir, b"PK\x03\x04 and more"),
        By::All,
        &["not a GGUF file", "as PyTorch saves it", "safetensors"],
    ),
    (
        "a big-endian file",
        |dir, _| put(dir, b"GGUF\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        By::All,
        &["big-endian", "expected little-endian", "Convert"],
    ),
    (
        "a version from the future",
        |dir, model| {
            let mut bytes = model.bytes();
            overwrite(&mut bytes, 4, &9u32.to_le_bytes());
            put(dir, &bytes)
        },
        By::All,
        &["GGUF version 9 at byte 4", "expected 2 or 3", "update"],
    ),
    (
        "a file of two bytes",
        |dir, _| put(dir, b"GG"),
        By::All,
        &["expected 4 bytes at byte 0, found 2", "fetch it again"],
    ),
    (
        "a download cut in the counts",
        |dir, model| cut(dir, &model, |_| 20),
        By::All,
        &["start of the header", "at byte 16", "found 4", "fetch it again"],
    ),
    (
        "2^60 metadata keys",
        |dir, model| {
            let mut bytes = model.bytes();
            overwrite(&mut bytes, 16, &(1u64 << 60).to_le_bytes());
            put(dir, &bytes)
        },
        By::All,
        &["1152921504606846976 metadata keys at byte 16", "found only", "fetch it again"],
    ),
    (
        "2^63 tensors",
        |dir, model| {
            let mut bytes = model.bytes();
            overwrite(&mut bytes, 8, &(1u64 << 63).to_le_bytes());
            put(dir, &bytes)
        },
        By::All,
        &["9223372036854775808 tensors at byte 8", "found only", "fetch it again"],
    ),
    (
        "one tensor more than there is",
        |dir, model| {
            let mut bytes = model.bytes();
            overwrite(&mut bytes, 8, &(model.tensors.len() as u64 + 1).to_le_bytes());
            put(dir, &bytes)
        },
        By::All,
        &["at byte", "expected"],
    ),
];

pub const METADATA: [Row; 10] = [
    (
        "a download cut in the metadata",
        |dir, model| cut(dir, &model, |bytes| after(bytes, "tokenizer.ggml.tokens") + 200),
        By::All,
        &["tokenizer.ggml.tokens", "at byte", "found only", "fetch it again"],
    ),
    (
        "a key of 2^50 bytes",
        |dir, model| {
            let mut bytes = model.bytes();
            overwrite(&mut bytes, 24, &(1u64 << 50).to_le_bytes());
            put(dir, &bytes)
        },
        By::All,
        &["metadata key number 0", "expected 1125899906842624 bytes at byte 32", "fetch it again"],
    ),
    (
        "a vocabulary of 2^40 tokens",
        |dir, model| changed(dir, &model, "tokenizer.ggml.tokens", 8, &(1u64 << 40).to_le_bytes()),
        By::All,
        &["tokenizer.ggml.tokens", "declares 1099511627776 elements", "found only", "fetch it again"],
    ),
    (
        "a value of unknown type",
        |dir, model| changed(dir, &model, "deepseek32.block_count", 0, &77u32.to_le_bytes()),
        By::All,
        &["deepseek32.block_count", "type id 77 at byte", "expected 0 to 12", "fetch it again"],
    ),
    (
        "a flag of 7",
        |dir, model| changed(dir, &model, "deepseek32.expert_weights_norm", 4, &[7]),
        By::All,
        &["deepseek32.expert_weights_norm", "expected 0 or 1, found 7 at byte", "convert the model again"],
    ),
    (
        "text that is not UTF-8",
        |dir, model| changed(dir, &model, "general.architecture", 4 + 8, &[0xff]),
        By::Loading,
        &["general.architecture", "UTF-8", "0xff at byte", "convert the model again"],
    ),
    (
        "the same key twice",
        |dir, mut model| {
            model.set("twin.a", 1u32);
            model.set("twin.b", 2u32);
            let mut bytes = model.bytes();
            let last_letter = after(&bytes, "twin.b") - 1;
            overwrite(&mut bytes, last_letter, b"a");
            put(dir, &bytes)
        },
        By::All,
        &["\"twin.a\" occurs twice", "at byte", "expected it once", "convert the model again"],
    ),
    (
        "an alignment of 3",
        |dir, mut model| {
            model.set("general.alignment", 32u32);
            changed(dir, &model, "general.alignment", 4, &3u32.to_le_bytes())
        },
        By::All,
        &["general.alignment", "expected a power of two, found 3", "convert the model again"],
    ),
    (
        "an alignment that is a float",
        |dir, mut model| {
            model.set("general.alignment", 32u32);
            changed(dir, &model, "general.alignment", 0, &6u32.to_le_bytes())
        },
        By::All,
        &["general.alignment", "expected u32, found f32", "convert the model again"],
    ),
    (
        "arrays in arrays in arrays",
        |dir, mut model| {
            model.set("deep", vec![0u8; 4096]);
            let mut bytes = model.bytes();
            let at = after(&bytes, "deep") + 4;
            for level in 0..20 {
                let array_of_one = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
                overwrite(&mut bytes, at + 12 * level, &array_of_one);
            }
            put(dir, &bytes)
        },
        By::All,
        &["\"deep\"", "nested deeper than 8", "expected at most 8", "report"],
    ),
];

pub const TENSORS: [Row; 15] = [
    (
        "a download cut in the list of tensors",
        |dir, model| cut(dir, &model, |bytes| after(bytes, MATRIX) + 10),
        By::All,
        &[MATRIX, "header entry", "at byte", "fetch it again"],
    ),
    (
        "a download cut in half",
        |dir, model| cut(dir, &model, |bytes| bytes.len() / 2),
        By::All,
        &["tensor", "expected them to end within the file's", "fetch it again"],
    ),
    (
        "a download that lacks the last block",
        |dir, model| cut(dir, &model, |bytes| bytes.len() - 64),
        By::All,
        &["blk.3.nextn.shared_head_norm.weight", "256 bytes", "fetch it again"],
    ),
    (
        "the same tensor twice",
        |dir, model| {
            let mut bytes = model.bytes();
            let at = after(&bytes, "blk.1.attn_q_a.weight") - "1.attn_q_a.weight".len();
            overwrite(&mut bytes, at, b"0");
            put(dir, &bytes)
        },
        By::All,
        &[MATRIX, "occurs twice", "at byte", "expected it once", "convert the model again"],
    ),
    (
        "a tensor name that is not UTF-8",
        |dir, model| {
            let mut bytes = model.bytes();
            let at = after(&bytes, MATRIX) - 1;
            overwrite(&mut bytes, at, &[0xfe]);
            put(dir, &bytes)
        },
        By::All,
        &["the name of tensor number", "UTF-8", "0xfe at byte", "convert the model again"],
    ),
    (
        "nine dimensions",
        |dir, model| changed(dir, &model, MATRIX, 0, &9u32.to_le_bytes()),
        By::All,
        &[MATRIX, "9 dimensions at byte", "expected at most 4", "fetch it again"],
    ),
    (
        "a dimension of length 0",
        |dir, model| changed(dir, &model, MATRIX, FIRST_DIM + 8, &0u64.to_le_bytes()),
        By::All,
        &[MATRIX, "length 0 in dimension 0", "at byte", "expected at least 1", "convert the model again"],
    ),
    (
        "a shape whose product overflows",
        |dir, model| changed(dir, &model, MATRIX, FIRST_DIM, &[0xff; 16]),
        By::All,
        &[MATRIX, "at byte", "expected less than 2^63", "fetch it again"],
    ),
    (
        "rows that are no whole number of blocks",
        |dir, model| changed(dir, &model, "blk.0.attn_q_b.weight", TYPE, &8u32.to_le_bytes()),
        By::All,
        &[
            "blk.0.attn_q_b.weight",
            "rows of 24 elements",
            "expected a multiple of 32",
            "convert the model again",
        ],
    ),
    (
        "a type of a fork",
        |dir, model| changed(dir, &model, MATRIX, TYPE, &137u32.to_le_bytes()),
        By::All,
        &[MATRIX, "type id 137 at byte", "expected one of ggml's types", "another quantization"],
    ),
    (
        "a type that ggml has removed",
        |dir, model| changed(dir, &model, MATRIX, TYPE, &31u32.to_le_bytes()),
        By::All,
        &[MATRIX, "q4_0_4_4 (id 31) at byte", "expected a current type", "quantize it again"],
    ),
    (
        "data off the alignment",
        |dir, model| changed(dir, &model, MATRIX, OFFSET, &33u64.to_le_bytes()),
        By::All,
        &[MATRIX, "multiple of 32", "found it at 33", "convert the model again"],
    ),
    (
        "two tensors in the same bytes",
        |dir, model| changed(dir, &model, MATRIX, OFFSET, &64u64.to_le_bytes()),
        By::All,
        &[
            "token_embd.weight",
            MATRIX,
            "overlap",
            "expected the second to start at byte",
            "convert the model again",
        ],
    ),
    (
        "data far outside the file",
        |dir, model| changed(dir, &model, MATRIX, OFFSET, &(1u64 << 45).to_le_bytes()),
        By::All,
        &[MATRIX, "35184372088832", "expected them to end within the file's", "fetch it again"],
    ),
    (
        "an offset near 2^64",
        |dir, model| changed(dir, &model, MATRIX, OFFSET, &(u64::MAX - 31).to_le_bytes()),
        By::All,
        &[MATRIX, "18446744073709551584", "fetch it again"],
    ),
];

pub const SHARDS: [Row; 6] = [
    (
        "a shard that is not there",
        |dir, model| {
            let first = put_shards(dir, &model.shards(3));
            std::fs::remove_file(dir.join(shard_name("model", 1, 3))).unwrap();
            first
        },
        By::All,
        &["expected 3 shards, found 2", "model-00002-of-00003.gguf", "put them beside it"],
    ),
    (
        "one shard twice",
        |dir, model| {
            let shards = model.shards(2);
            put_shards(dir, &[shards[0].clone(), shards[0].clone()])
        },
        By::All,
        &[
            "model-00001-of-00002.gguf",
            "model-00002-of-00002.gguf",
            "shard number 0",
            "expected each number once",
        ],
    ),
    (
        "a shard of another set",
        |dir, model| {
            let mut shards = model.shards(2);
            shards[1].set("split.count", 3u16);
            put_shards(dir, &shards)
        },
        By::All,
        &["model-00002-of-00002.gguf", "expected split.count 2", "found 3", "keep one set"],
    ),
    (
        "a file that only has a shard's name",
        |dir, model| {
            let mut shards = model.shards(2);
            shards[1].unset("split.no");
            shards[1].unset("split.count");
            put_shards(dir, &shards)
        },
        By::All,
        &[
            "model-00002-of-00002.gguf is not a shard",
            "expected the metadata keys split.no",
            "Name one model",
        ],
    ),
    (
        "fewer tensors than the shards promise",
        |dir, model| {
            let mut shards = model.shards(2);
            shards[1].tensors.pop();
            put_shards(dir, &shards)
        },
        By::All,
        &["expected 94 tensors in all shards together", "found 93", "fetch it again"],
    ),
    (
        "a tensor in two shards",
        |dir, model| {
            let mut shards = model.shards(2);
            shards[1].tensors.pop();
            let again = shards[0].tensors[5].clone();
            shards[1].tensors.push(again);
            put_shards(dir, &shards)
        },
        By::All,
        &[
            "model-00001-of-00002.gguf",
            "model-00002-of-00002.gguf",
            "expected it once",
            "convert the model again",
        ],
    ),
];

pub const PATHS: [Row; 5] = [
    (
        "no such file",
        |dir, _| dir.join("model.gguf"),
        By::All,
        &["model.gguf", "expected a GGUF file", "No such file", "check"],
    ),
    (
        "an empty folder",
        |dir, _| dir.to_owned(),
        By::All,
        &["expected a folder with one model", "no .gguf file", "name a"],
    ),
    (
        "a folder with two models",
        |dir, model| {
            model.write(&dir.join("a.gguf"));
            model.write(&dir.join("b.gguf"));
            dir.to_owned()
        },
        By::All,
        &["expected a folder with one model, found a.gguf, b.gguf", "name a .gguf file"],
    ),
    (
        "a folder named like a model",
        |dir, _| {
            std::fs::create_dir(dir.join("model.gguf")).unwrap();
            dir.to_owned()
        },
        By::All,
        &["model.gguf", "expected a file on a disk, found a folder", "write the model to a file"],
    ),
    (
        "a path through a file",
        |dir, model| put_model(dir, &model).join("inside.gguf"),
        By::All,
        &["inside.gguf", "expected a GGUF file that can be read", "found:", "check the path"],
    ),
];
