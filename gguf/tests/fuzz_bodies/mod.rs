//! What fuzzing runs: plain functions of bytes that panic when a promise of the crate is broken.
//!
//! `tests/mutations.rs` calls them on stable, the targets in `fuzz/` under libFuzzer. Each returns whether the
//! input was accepted, so that a run can say how deep it got.

use fathom_gguf::{Gguf, GgufFile, OwnedValue, TensorInfo, Value, Writer, split};

/// Above this size a rewritten file is not built: a hostile alignment makes it mostly padding.
const LARGEST_REWRITTEN: u64 = 16 << 20;

/// Opens one file; if it opens, everything in it must be readable, in bounds, and writable again.
pub fn read(bytes: &[u8]) -> bool {
    let copied = fathom_gguf::header_bytes(bytes);
    let from_copy = GgufFile::parse_copied(&bytes[..copied], bytes).map(|file| file.tensors().len());
    assert_eq!(
        from_copy,
        GgufFile::parse(bytes).map(|file| file.tensors().len()),
        "a copied header says the same"
    );
    let file = match GgufFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let metadata = file.metadata();
    for (key, value) in metadata.iter() {
        assert_eq!(metadata.get(key).map(Value::kind), Some(value.kind()));
        walk(*value, 1);
        for error in [metadata.u32(key).err(), metadata.f32(key).err(), metadata.bool(key).err()] {
            assert!(error.is_none_or(|error| error.to_string().contains("expected")));
        }
        _ = metadata.strings(key).map(|strings| strings.map(Iterator::count));
        _ = (metadata.u32s(key), metadata.i32s(key), metadata.f32s(key));
    }
    check_tensors(&file, bytes);
    rewrite(&file);
    true
}

/// Visits every element of every array.
fn walk(value: Value<'_>, depth: u32) {
    assert!(depth <= 9, "nesting is bounded");
    if let Value::Array(array) = value {
        assert_eq!(array.values().len(), array.len());
        assert_eq!(array.values().map(|element| walk(element, depth + 1)).count(), array.len());
    }
}

fn check_tensors(file: &GgufFile<'_>, bytes: &[u8]) {
    let mut places: Vec<(u64, u64)> = Vec::new();
    for info in file.tensors() {
        assert_eq!(file.tensor(info.name), Some(info));
        let rows = info.shape.rows() as u64;
        assert_eq!(info.ty.row_bytes(info.shape.cols()).map(|row| row * rows), Some(info.bytes));
        assert_eq!(info.data(), &bytes[info.offset as usize..][..info.bytes as usize]);
        assert!(info.offset >= file.data_start());
        assert_eq!((info.offset - file.data_start()) % file.alignment(), 0);
        places.push((info.offset, info.offset + info.bytes));
    }
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tensors overlap");
}

/// Writes what was read and reads it again. The writer may refuse what ggml would not read; nothing else.
fn rewrite(file: &GgufFile<'_>) {
    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter() {
        // What is no text is written with marks in its place.
        if format!("{:?}", OwnedValue::from(*value)).contains('\u{fffd}') {
            return;
        }
        if writer.metadata(key, OwnedValue::from(*value)).is_err() {
            assert_eq!(key, "general.alignment");
            return;
        }
    }
    for info in file.tensors() {
        if writer.tensor(info.name, info.ty, &info.shape).is_err() {
            assert!(info.name.len() > 63);
            return;
        }
    }
    let layout = writer.layout().expect("the tensors came from a file");
    if layout.file_bytes > LARGEST_REWRITTEN {
        return;
    }
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    for (placed, info) in layout.tensors.iter().zip(file.tensors()) {
        bytes[placed.offset as usize..][..info.data().len()].copy_from_slice(info.data());
    }
    let again = GgufFile::parse(&bytes).expect("what is written can be read");
    assert!(again.metadata().iter().eq_by_bits(file.metadata().iter()));
    let parts = |info: &TensorInfo<'_>| (info.name.to_owned(), info.ty, info.shape, info.data().to_vec());
    assert!(again.tensors().iter().map(parts).eq(file.tensors().iter().map(parts)));
}

/// Comparison of metadata that takes NaN as equal to itself.
trait EqByBits {
    fn eq_by_bits(self, other: Self) -> bool;
}

impl<'a, 'd: 'a, I: Iterator<Item = (&'d str, &'a Value<'d>)>> EqByBits for I {
    fn eq_by_bits(self, other: Self) -> bool {
        let bits = |(key, value): (&'d str, &Value<'d>)| match *value {
            Value::F32(x) => (key, Value::U32(x.to_bits())),
            Value::F64(x) => (key, Value::U64(x.to_bits())),
            other => (key, other),
        };
        self.map(bits).eq(other.map(bits))
    }
}

/// Joins several files: a count, that many u32 lengths, then the files one after another.
pub fn shards(bytes: &[u8]) -> bool {
    let Some((&count, mut rest)) = bytes.split_first() else { return false };
    let mut lengths = Vec::new();
    for _ in 0..count % 5 {
        let Some((length, after)) = rest.split_first_chunk() else { return false };
        lengths.push(u32::from_le_bytes(*length) as usize);
        rest = after;
    }
    let mut files = Vec::new();
    for (no, length) in lengths.iter().enumerate() {
        let (file, after) = rest.split_at(rest.len().min(*length));
        files.push((split::shard_name("m", no, lengths.len()), file));
        rest = after;
    }
    let given = files.len();
    match Gguf::from_shards(files) {
        Ok(model) => {
            assert_eq!(model.shards().len(), given);
            assert_eq!(model.tensors().count(), model.n_tensors());
            for (shard, info) in model.tensors() {
                assert_eq!(model.tensor(info.name), Some(info));
                assert_eq!(model.shards()[shard].file().tensor(info.name), Some(info));
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Takes a shard's name apart; what it says must put the name together again.
pub fn names(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((prefix, no, count)) = split::parse_shard_name(&text) else { return false };
    // The extension may be in capitals.
    let again = split::shard_name(prefix, no, count);
    assert_eq!(split::strip_extension(&again), split::strip_extension(&text));
    let siblings = split::siblings(&text).expect("a shard's name has siblings");
    assert_eq!((siblings.len(), siblings[no].as_str()), (count, &*text));
    true
}
