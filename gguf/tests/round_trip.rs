//! Properties: what is written is read back, what is read writes back to the same bytes, and a file cut off at any
//! byte is an error.

use fathom_gguf::{Gguf, GgufFile, Layout, OwnedArray, OwnedValue, TensorType, Value, Writer};
use proptest::collection::vec;
use proptest::prelude::*;

/// Text with the characters that matter: plain, multi-byte, empty.
fn text() -> impl Strategy<Value = String> {
    "[a-z._ \u{e9}\u{4e2d}\u{1f30a}]{0,12}"
}

fn plain_array() -> BoxedStrategy<OwnedArray> {
    prop_oneof![
        vec(any::<u8>(), 0..5).prop_map(OwnedArray::U8),
        vec(any::<i8>(), 0..5).prop_map(OwnedArray::I8),
        vec(any::<u16>(), 0..5).prop_map(OwnedArray::U16),
        vec(any::<i16>(), 0..5).prop_map(OwnedArray::I16),
        vec(any::<u32>(), 0..5).prop_map(OwnedArray::U32),
        vec(any::<i32>(), 0..5).prop_map(OwnedArray::I32),
        vec(any::<f32>(), 0..5).prop_map(OwnedArray::F32),
        vec(any::<bool>(), 0..5).prop_map(OwnedArray::Bool),
        vec(text(), 0..5).prop_map(OwnedArray::Str),
        vec(any::<u64>(), 0..5).prop_map(OwnedArray::U64),
        vec(any::<i64>(), 0..5).prop_map(OwnedArray::I64),
        vec(any::<f64>(), 0..5).prop_map(OwnedArray::F64),
    ]
    .boxed()
}

fn array() -> impl Strategy<Value = OwnedArray> {
    plain_array().prop_recursive(3, 24, 4, |inner| vec(inner, 0..4).prop_map(OwnedArray::Array))
}

fn value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<u8>().prop_map(OwnedValue::U8),
        any::<i8>().prop_map(OwnedValue::I8),
        any::<u16>().prop_map(OwnedValue::U16),
        any::<i16>().prop_map(OwnedValue::I16),
        any::<u32>().prop_map(OwnedValue::U32),
        any::<i32>().prop_map(OwnedValue::I32),
        any::<f32>().prop_map(OwnedValue::F32),
        any::<bool>().prop_map(OwnedValue::Bool),
        text().prop_map(OwnedValue::Str),
        array().prop_map(OwnedValue::Array),
        any::<u64>().prop_map(OwnedValue::U64),
        any::<i64>().prop_map(OwnedValue::I64),
        any::<f64>().prop_map(OwnedValue::F64),
    ]
}

/// A type and a shape whose rows are whole blocks.
fn tensor() -> impl Strategy<Value = (TensorType, Vec<usize>)> {
    let types: Vec<TensorType> = TensorType::all().collect();
    (prop::sample::select(types), vec(1usize..4, 0..4), 1usize..3, any::<bool>()).prop_map(
        |(ty, mut shape, blocks, scalar)| {
            if !(scalar && shape.is_empty() && ty.block_len() == 1) {
                shape.push(blocks * ty.block_len());
            }
            (ty, shape)
        },
    )
}

/// A whole file: alignment, metadata, tensors.
#[derive(Clone, Debug)]
struct Content {
    alignment: Option<u32>,
    metadata: Vec<(String, OwnedValue)>,
    tensors: Vec<(String, TensorType, Vec<usize>)>,
}

fn content() -> impl Strategy<Value = Content> {
    (prop::option::of(0u32..9), vec(value(), 0..6), vec(tensor(), 0..6)).prop_map(
        |(alignment, values, tensors)| Content {
            alignment: alignment.map(|power| 1 << power),
            metadata: values.into_iter().enumerate().map(|(i, v)| (format!("key.{i}"), v)).collect(),
            tensors: tensors
                .into_iter()
                .enumerate()
                .map(|(i, (ty, shape))| (format!("blk.{i}.weight"), ty, shape))
                .collect(),
        },
    )
}

impl Content {
    fn layout(&self) -> Layout {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value.clone()).unwrap();
        }
        if let Some(alignment) = self.alignment {
            writer.alignment(alignment).unwrap();
        }
        for (name, ty, shape) in &self.tensors {
            writer.tensor(name, *ty, shape).unwrap();
        }
        writer.layout().unwrap()
    }

    /// The file, each tensor filled with its number plus one, gaps zero.
    fn bytes(&self) -> Vec<u8> {
        let layout = self.layout();
        let mut bytes = layout.header;
        bytes.resize(layout.file_bytes as usize, 0);
        for (number, placed) in layout.tensors.iter().enumerate() {
            let (start, len) = (placed.offset as usize, placed.bytes as usize);
            bytes[start..start + len].fill(number as u8 + 1);
        }
        bytes
    }
}

/// The file that writing what was read gives.
fn rewritten(file: &GgufFile<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter() {
        writer.metadata(key, *value).unwrap();
    }
    for info in file.tensors() {
        writer.tensor(info.name, info.ty, &info.shape).unwrap();
    }
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    for (placed, info) in layout.tensors.iter().zip(file.tensors()) {
        bytes[placed.offset as usize..][..info.data().len()].copy_from_slice(info.data());
    }
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(content in content()) {
        let bytes = content.bytes();
        let file = GgufFile::parse(&bytes).unwrap();
        prop_assert_eq!(file.version(), 3);
        prop_assert_eq!(file.alignment(), u64::from(content.alignment.unwrap_or(32)));
        prop_assert_eq!(bytes.len() as u64 % file.alignment(), 0);
        for (key, value) in &content.metadata {
            let read = OwnedValue::from(*file.metadata().get(key).unwrap());
            // Debug text compares NaN with NaN.
            prop_assert_eq!(format!("{read:?}"), format!("{value:?}"));
        }
        prop_assert_eq!(file.tensors().len(), content.tensors.len());
        for (number, (info, (name, ty, shape))) in file.tensors().iter().zip(&content.tensors).enumerate() {
            prop_assert_eq!((info.name, info.ty, info.shape.dims()), (name.as_str(), *ty, shape.as_slice()));
            let bytes = ty.row_bytes(info.shape.cols()).unwrap() * info.shape.rows() as u64;
            prop_assert_eq!(info.data().len() as u64, bytes);
            prop_assert_eq!(info.offset % file.alignment(), 0);
            prop_assert!(info.data().iter().all(|&b| b == number as u8 + 1));
            prop_assert_eq!(file.tensor(name), Some(info));
        }
    }

    #[test]
    fn what_is_read_writes_back_to_the_same_bytes(content in content()) {
        let bytes = content.bytes();
        let again = rewritten(&GgufFile::parse(&bytes).unwrap());
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_file_cut_off_at_any_byte_is_an_error(content in content()) {
        let layout = content.layout();
        let bytes = content.bytes();
        let needed = layout.tensors.last().map_or_else(
            || header_without_padding(&bytes),
            |placed| (placed.offset + placed.bytes) as usize,
        );
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            prop_assert_eq!(GgufFile::parse(cut).is_err(), len < needed, "cut to {} of {}", len, needed);
            prop_assert_eq!(Gguf::from_shards(vec![("cut".into(), cut)]).is_err(), len < needed);
        }
    }

    #[test]
    fn random_bytes_are_an_error(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(GgufFile::parse(&bytes).is_err());
    }
}

/// Where the header of a file without tensors ends: padding is zeros, and no shorter prefix parses.
fn header_without_padding(bytes: &[u8]) -> usize {
    (0..=bytes.len()).find(|&len| GgufFile::parse(&bytes[..len]).is_ok()).unwrap()
}

#[test]
fn a_version_2_file_reads_as_version_3_does() {
    let content = Content {
        alignment: None,
        metadata: vec![("k".into(), vec![1.5f32, 2.5].into())],
        tensors: vec![("t".into(), TensorType::Q8_0, vec![3, 64])],
    };
    let v3 = content.bytes();
    let mut v2 = v3.clone();
    v2[4] = 2;
    let (old, new) = (GgufFile::parse(&v2).unwrap(), GgufFile::parse(&v3).unwrap());
    assert_eq!((old.version(), new.version()), (2, 3));
    assert_eq!(old.metadata(), new.metadata());
    assert_eq!(old.tensors(), new.tensors());
}

#[test]
fn nested_arrays_are_iterated_lazily_and_whole() {
    let nested = OwnedArray::Array(vec![
        OwnedArray::Str(vec!["a".into(), "bc".into()]),
        OwnedArray::Array(vec![OwnedArray::U16(vec![7, 8]), OwnedArray::Bool(vec![])]),
        OwnedArray::F64(vec![0.5]),
    ]);
    let mut writer = Writer::new();
    writer.metadata("before", 1u8).unwrap().metadata("nested", nested.clone()).unwrap();
    writer.metadata("after", vec![9i64]).unwrap();
    let header = writer.layout().unwrap().header;
    let file = GgufFile::parse(&header).unwrap();
    let array = file.metadata().array("nested").unwrap().unwrap();
    assert_eq!(array.len(), 3);
    assert_eq!(array.values().len(), 3);
    assert_eq!(OwnedArray::from(array), nested);
    let Some(Value::Array(first)) = array.values().next() else { panic!("an array") };
    assert_eq!(first.strings().unwrap().collect::<Vec<_>>(), ["a", "bc"]);
    assert_eq!(file.metadata().u32s("after"), Ok(Some(vec![9])));
    let keys: Vec<_> = file.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["before", "nested", "after"]);
}

#[test]
fn scalars_have_no_dimensions_and_one_element() {
    let mut writer = Writer::new();
    writer.tensor("scalar", TensorType::F32, &[]).unwrap();
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    let file = GgufFile::parse(&bytes).unwrap();
    let shape = file.tensors()[0].shape;
    assert_eq!((shape.len(), shape.rows(), shape.cols(), shape.elems()), (0, 1, 1, 1));
    assert_eq!(file.tensors()[0].data().len(), 4);
}

#[test]
fn texts_that_are_not_utf8_are_written_as_they_were() {
    let latin = b"Andr\xe9".to_vec();
    let written = [
        ("one", OwnedValue::Bytes(latin.clone())),
        ("several", OwnedArray::Bytes(vec![b"plain".to_vec(), latin]).into()),
        ("plain", OwnedArray::Str(vec!["a".into()]).into()),
    ];
    let mut writer = Writer::new();
    for (key, value) in &written {
        writer.metadata(key, value.clone()).unwrap();
    }
    let header = writer.layout().unwrap().header;
    let file = GgufFile::parse(&header).unwrap();
    for (key, value) in written {
        assert_eq!(OwnedValue::from(*file.metadata().get(key).unwrap()), value, "{key}");
    }
}
