//! Makes the seed inputs in `fuzz/corpus` and holds the committed ones to it.
//!
//! After a change here, run `FATHOM_WRITE_CORPUS=1 cargo test -p fathom-gguf --test corpus` and commit the files.

mod forge;

use std::path::PathBuf;

use fathom_gguf::{OwnedArray, OwnedValue, TensorType, Writer, split};
use forge::Forge;

/// Small enough that a mutation has a good chance to hit something that matters.
const LARGEST_INPUT: usize = 4096;

fn whole(writer: &Writer) -> Vec<u8> {
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    bytes
}

fn with_metadata(entries: Vec<(&str, OwnedValue)>) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.metadata(key, value).unwrap();
    }
    whole(&writer)
}

fn scalars() -> Vec<u8> {
    with_metadata(vec![
        ("general.architecture", "deepseek2".into()),
        ("u8", 200u8.into()),
        ("i8", (-100i8).into()),
        ("u16", 60_000u16.into()),
        ("i16", (-30_000i16).into()),
        ("u32", 4_000_000_000u32.into()),
        ("i32", (-2_000_000_000i32).into()),
        ("f32", 1.5f32.into()),
        ("bool", true.into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f64", f64::NAN.into()),
        ("text", "\u{6df1}\u{5ea6}".into()),
        ("empty", "".into()),
    ])
}

fn arrays() -> Vec<u8> {
    with_metadata(vec![
        ("u8", vec![1u8, 2, 3].into()),
        ("i8", vec![-1i8].into()),
        ("u16", vec![1u16, 65_535].into()),
        ("i16", vec![-1i16].into()),
        ("u32", vec![u32::MAX].into()),
        ("i32", vec![1i32, -1].into()),
        ("f32", vec![0.5f32, f32::NAN].into()),
        ("bool", vec![true, false].into()),
        ("tokens", vec!["<s>", "", "\u{e9}"].into()),
        ("u64", vec![1u64].into()),
        ("i64", vec![-1i64].into()),
        ("f64", vec![f64::INFINITY].into()),
        ("none", Vec::<u32>::new().into()),
        (
            "nested",
            OwnedArray::Array(vec![
                OwnedArray::U8(vec![1, 2]),
                OwnedArray::Array(vec![OwnedArray::Str(vec!["deep".into()]), OwnedArray::Array(vec![])]),
                OwnedArray::Bool(vec![true]),
            ])
            .into(),
        ),
    ])
}

/// One block of every type, alignment 8 to stay small.
fn every_type() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.alignment(8).unwrap();
    for ty in TensorType::all().filter(|ty| ty.block_bytes() < 100) {
        writer.tensor(ty.name(), ty, &[ty.block_len()]).unwrap();
    }
    whole(&writer)
}

fn tensors(alignment: u32) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "deepseek2").unwrap().alignment(alignment).unwrap();
    writer.tensor("norm.weight", TensorType::F32, &[3]).unwrap();
    writer.tensor("blk.0.exps.weight", TensorType::Q8_0, &[2, 3, 64]).unwrap();
    writer.tensor("scalar", TensorType::BF16, &[]).unwrap();
    writer.tensor("four", TensorType::F16, &[2, 1, 2, 3]).unwrap();
    whole(&writer)
}

fn shard(no: u16, count: u16, n_tensors: i32, names: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in split::keys(no, count, n_tensors) {
        writer.metadata(key, value).unwrap();
    }
    for name in names {
        writer.tensor(name, TensorType::F32, &[2]).unwrap();
    }
    whole(&writer)
}

/// Files that are refused, each for one reason.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let two = |offset| Forge::v3(2, 0).tensor("a", &[9], 0, 0).tensor("b", &[9], 0, offset).data(32, 128).0;
    vec![
        ("refused_big_endian", Forge(b"GGUF\0\0\0\x03".to_vec()).raw(&[0; 16]).0),
        ("refused_count", Forge::v3(0, u64::MAX).0),
        ("refused_duplicate_key", Forge::v3(0, 2).key("a", 0).raw(&[1]).key("a", 0).raw(&[1]).0),
        ("refused_bool", Forge::v3(0, 1).key("k", 7).raw(&[2]).0),
        ("refused_depth", (0..9).fold(Forge::v3(0, 1).key("k", 9), |forge, _| forge.array(9, 1)).0),
        ("refused_alignment", Forge::v3(0, 1).key("general.alignment", 4).u32(24).0),
        ("refused_overlap", two(32)),
        ("refused_misaligned", two(72)),
        ("refused_outside", two(1 << 40)),
        ("refused_shape", Forge::v3(1, 0).tensor("t", &[1 << 32, 1 << 32], 0, 0).data(32, 32).0),
        ("refused_removed_type", Forge::v3(1, 0).tensor("t", &[32], 4, 0).data(32, 32).0),
    ]
}

/// As `fuzz_bodies::shards` takes them apart.
fn joined(files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![files.len() as u8];
    bytes.extend(files.iter().flat_map(|file| (file.len() as u32).to_le_bytes()));
    bytes.extend(files.concat());
    bytes
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut version_2 = tensors(32);
    version_2[4] = 2;
    let mut read = vec![
        ("empty", whole(&Writer::new())),
        ("scalars", scalars()),
        ("arrays", arrays()),
        ("every_type", every_type()),
        ("tensors", tensors(32)),
        ("tensors_aligned_64", tensors(64)),
        ("tensors_version_2", version_2),
        ("shard", shard(0, 2, 3, &["a", "b"])),
    ];
    read.extend(refused());
    all.extend(read.into_iter().map(|(name, bytes)| (format!("read/{name}.gguf"), bytes)));
    let three = [shard(0, 3, 3, &["a"]), shard(1, 3, 3, &["b"]), shard(2, 3, 3, &["c"])];
    let [first, second, third] = three.clone();
    let sets = [
        ("whole", joined(&three)),
        ("backwards", joined(&[third, second.clone(), first.clone()])),
        ("missing", joined(&[first.clone(), second.clone()])),
        ("twice", joined(&[first.clone(), second, first])),
        ("plain", joined(&[tensors(32)])),
        ("plain_among", joined(&[shard(0, 2, 5, &["z"]), tensors(32)])),
        ("same_tensor", joined(&[shard(0, 2, 2, &["z"]), shard(1, 2, 2, &["z"])])),
    ];
    all.extend(sets.into_iter().map(|(name, bytes)| (format!("shards/{name}.bin"), bytes)));
    let names = ["m-00001-of-00003.gguf", "dir/a-b-00060-of-00061.gguf", "m.gguf", "m-00000-of-00001.gguf"];
    let numbered = names.iter().enumerate();
    all.extend(numbered.map(|(i, name)| (format!("names/{i}.txt"), name.as_bytes().to_vec())));
    all
}

#[test]
fn committed_corpus_is_what_the_generator_makes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let write = std::env::var_os("FATHOM_WRITE_CORPUS").is_some();
    for (name, bytes) in corpus() {
        assert!(bytes.len() <= LARGEST_INPUT, "{name} has {} bytes", bytes.len());
        let path = folder.join(&name);
        if write {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let committed = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(committed == bytes, "{name} differs: see the head of this file");
    }
}
