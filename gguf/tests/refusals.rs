//! What is refused, and as what. Every refusal must also read as a sentence with a next step.

mod forge;

use fathom_gguf::{Counted, Error, GgufFile, Kind, Number, Part, Spot, TensorType, Value, ValueType, Writer};
use forge::Forge;

const U8: u32 = 0;
const U32: u32 = 4;
const BOOL: u32 = 7;
const STR: u32 = 8;
const ARRAY: u32 = 9;
const F32_TENSOR: u32 = 0;
const Q8_0_TENSOR: u32 = 8;
const Q1_0_TENSOR: u32 = 41;

/// The error of a file that must not open.
fn refused(forge: Forge) -> Error {
    let error = GgufFile::parse(&forge.0).expect_err("the file must be refused");
    reads_well(&error);
    error
}

/// Expected, found, and after that a sentence that says what to do.
fn reads_well(error: &Error) {
    let text = error.to_string();
    let (fact, advice) = text.split_once(". ").unwrap_or_else(|| panic!("no next step in: {text}"));
    assert!(fact.contains("expected") || fact.contains("found"), "no expectation in: {text}");
    assert!(advice.len() > 20, "no advice in: {text}");
    assert!(!text.contains("  ") && !text.ends_with('.'), "untidy: {text}");
}

/// One f32 tensor `t` of four elements, then padding and 16 bytes of data.
fn one_tensor(ne: &[u64], type_id: u32, offset: u64) -> Forge {
    Forge::v3(1, 0).tensor("t", ne, type_id, offset).data(32, 64)
}

#[test]
fn an_empty_file_is_refused_as_truncated() {
    let expected = Error::Truncated { part: Part::Start, offset: 0, needed: 4, left: 0 };
    assert_eq!(refused(Forge::default()), expected);
}

#[test]
fn another_format_is_refused_by_its_magic() {
    assert_eq!(refused(Forge(b"\x7fELF and so on".to_vec())), Error::NotGguf { found: *b"\x7fELF" });
}

#[test]
fn a_big_endian_file_is_named_as_such() {
    let swapped = Forge(b"GGUF".to_vec()).raw(&3u32.to_be_bytes()).raw(&[0; 16]);
    assert_eq!(refused(swapped), Error::BigEndian { version: 3 });
    let magic_swapped_too = Forge(b"FUGG".to_vec()).raw(&3u32.to_be_bytes()).raw(&[0; 16]);
    assert_eq!(refused(magic_swapped_too), Error::BigEndian { version: 3 });
}

#[test]
fn versions_other_than_2_and_3_are_refused() {
    for found in [0, 1, 4, 5, 65_535, u32::MAX] {
        assert_eq!(refused(Forge::start(found, 0, 0)), Error::UnsupportedVersion { found });
    }
    for version in [2, 3] {
        assert_eq!(GgufFile::parse(&Forge::start(version, 0, 0).0).unwrap().version(), version);
    }
}

#[test]
fn header_count_beyond_file_is_refused() {
    let keys = refused(Forge::v3(0, u64::MAX).raw(&[0; 100]));
    let needed = u128::from(u64::MAX) * 14;
    let what = Counted::Keys;
    assert_eq!(keys, Error::CountBeyondFile { what, declared: u64::MAX, offset: 16, needed, left: 100 });
    let tensors = refused(Forge::v3(5, 0).raw(&[0; 100]));
    let what = Counted::Tensors;
    assert_eq!(tensors, Error::CountBeyondFile { what, declared: 5, offset: 8, needed: 120, left: 100 });
}

#[test]
fn header_count_over_cap_is_refused_even_in_a_large_file() {
    let mut forge = Forge::v3(0, 65_537);
    forge.0.resize(2 << 20, 0);
    let what = Counted::Keys;
    assert_eq!(refused(forge), Error::CountOverCap { what, declared: 65_537, offset: 16, cap: 65_536 });
    let mut forge = Forge::v3((1 << 20) + 1, 0);
    forge.0.resize(30 << 20, 0);
    let (what, declared) = (Counted::Tensors, (1 << 20) + 1);
    assert_eq!(refused(forge), Error::CountOverCap { what, declared, offset: 8, cap: 1 << 20 });
}

#[test]
fn key_longer_than_the_file_is_refused() {
    let error = refused(Forge::v3(0, 1).u64(u64::MAX).raw(b"short key"));
    assert_eq!(error, Error::Truncated { part: Part::Key(0), offset: 32, needed: u64::MAX, left: 9 });
}

#[test]
fn empty_and_overlong_keys_are_refused() {
    let error = refused(Forge::v3(0, 1).key("", U8).raw(&[1, 0]));
    assert_eq!(error, Error::EmptyKey { part: Part::Key(0), spot: Spot::Byte(24) });
    let error = refused(Forge::v3(0, 1).key(&"k".repeat(65_536), U8).raw(&[1]));
    let (part, spot) = (Part::Key(0), Spot::Byte(24));
    assert_eq!(error, Error::NameTooLong { part, spot, length: 65_536, cap: 65_535 });
}

#[test]
fn duplicate_key_is_refused_with_the_place_of_the_second() {
    let error = refused(Forge::v3(0, 2).key("a", U8).raw(&[1]).key("a", U8).raw(&[2]));
    assert_eq!(error, Error::DuplicateKey { key: "a".into(), spot: Spot::Byte(38) });
}

#[test]
fn text_that_is_not_utf8_is_refused_with_the_place_of_the_byte() {
    let key = refused(Forge::v3(0, 1).u64(3).raw(b"ab\xff").u32(U8).raw(&[0]));
    assert_eq!(key, Error::NotUtf8 { part: Part::Key(0), offset: 34, found: 0xff });
    let name = refused(Forge::v3(1, 0).u64(1).raw(b"\xfe").u32(0).u32(0).u64(0));
    assert_eq!(name, Error::NotUtf8 { part: Part::TensorName(0), offset: 32, found: 0xfe });
}

#[test]
fn values_that_are_not_utf8_are_refused_only_to_who_asks_for_text() {
    let bytes = Forge::v3(0, 2).key("author", STR).u64(5).raw(b"Ren\xe9!").key("n", U8).raw(&[7]).0;
    let file = GgufFile::parse(&bytes).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.u32("n"), Ok(Some(7)));
    let error = metadata.str("author").unwrap_err();
    reads_well(&error);
    assert_eq!(error, Error::NotUtf8 { part: Part::Value("author".into()), offset: 53, found: 0xe9 });
    let Some(Value::Bytes(author)) = metadata.get("author") else { panic!("it is no text") };
    assert_eq!(author.lossy(), "Ren\u{fffd}!");
    let bytes = Forge::v3(0, 1).key("k", ARRAY).array(STR, 2).str("ok").u64(1).raw(b"\x80").0;
    let file = GgufFile::parse(&bytes).unwrap();
    let error = file.metadata().strings("k").err().unwrap();
    assert_eq!(error, Error::NotUtf8 { part: Part::Element("k".into(), 1), offset: 67, found: 0x80 });
    assert_eq!(file.metadata().array("k").unwrap().unwrap().values().count(), 2);
}

#[test]
fn what_stands_for_a_file_is_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 43\n";
    let error = GgufFile::parse(pointer).unwrap_err();
    assert_eq!(error, Error::StandIn { found: fathom_gguf::StandIn::LfsPointer });
    assert!(error.to_string().contains("git lfs pull"), "{error}");
}

#[test]
fn unknown_metadata_type_is_refused() {
    let error = refused(Forge::v3(0, 1).key("k", 13).raw(&[0; 8]));
    assert_eq!(error, Error::UnknownValueType { part: Part::Value("k".into()), offset: 33, id: 13 });
    let nested = refused(Forge::v3(0, 1).key("k", ARRAY).array(99, 0));
    assert_eq!(nested, Error::UnknownValueType { part: Part::Value("k".into()), offset: 37, id: 99 });
}

#[test]
fn a_bool_that_is_neither_0_nor_1_is_refused() {
    let error = refused(Forge::v3(0, 1).key("k", BOOL).raw(&[2]));
    assert_eq!(error, Error::BadBool { part: Part::Value("k".into()), offset: 37, found: 2 });
    let error = refused(Forge::v3(0, 1).key("k", ARRAY).array(BOOL, 3).raw(&[0, 1, 7]));
    assert_eq!(error, Error::BadBool { part: Part::Element("k".into(), 2), offset: 51, found: 7 });
}

#[test]
fn array_length_beyond_file_is_refused_for_every_element_type() {
    for id in 0..13 {
        let item = ValueType::from_id(id).unwrap();
        for declared in [17, 1 << 61, u64::MAX] {
            let error = refused(Forge::v3(0, 1).key("k", ARRAY).array(id, declared).raw(&[0; 16]));
            assert!(
                matches!(&error, Error::ArrayBeyondFile { item: i, declared: d, offset: 41, left: 16, .. }
                    if *i == item && *d == declared),
                "{item}: {error}"
            );
        }
    }
}

#[test]
fn array_whose_strings_run_out_of_the_file_is_refused() {
    let error = refused(Forge::v3(0, 1).key("k", ARRAY).array(STR, 2).str("fits").u64(5).raw(b"four"));
    let part = Part::Element("k".into(), 1);
    assert_eq!(error, Error::Truncated { part, offset: 69, needed: 5, left: 4 });
}

#[test]
fn arrays_nest_eight_deep_and_no_deeper() {
    let nested = |depth: u32| {
        let outer = (1..depth).fold(Forge::v3(0, 1).key("k", ARRAY), |forge, _| forge.array(ARRAY, 1));
        outer.array(U8, 1).raw(&[42])
    };
    assert!(GgufFile::parse(&nested(8).0).is_ok());
    let spot = Spot::Byte(37 + 8 * 12);
    assert_eq!(refused(nested(9)), Error::ArrayTooDeep { key: "k".into(), spot, cap: 8 });
    assert!(matches!(refused(nested(10_000)), Error::ArrayTooDeep { .. }));
}

#[test]
fn alignment_must_be_a_power_of_two_of_type_u32() {
    for found in [0, 3, 33, u32::MAX] {
        let error = refused(Forge::v3(0, 1).key("general.alignment", U32).u32(found));
        assert_eq!(error, Error::BadAlignment { found });
    }
    let error = refused(Forge::v3(0, 1).key("general.alignment", U8).raw(&[32]));
    let (key, found) = ("general.alignment".into(), Kind::One(ValueType::U8));
    assert_eq!(error, Error::WrongKind { key, expected: "u32", found });
}

#[test]
fn more_than_four_dimensions_are_refused() {
    let error = refused(Forge::v3(1, 0).tensor("t", &[1; 5], F32_TENSOR, 0));
    assert_eq!(error, Error::TooManyDims { tensor: "t".into(), spot: Spot::Byte(24), found: 5 });
    let error = refused(Forge::v3(1, 0).str("t").u32(u32::MAX).raw(&[0; 12]));
    let found = u32::MAX.into();
    assert_eq!(error, Error::TooManyDims { tensor: "t".into(), spot: Spot::Byte(24), found });
}

#[test]
fn a_dimension_of_zero_is_refused() {
    // Innermost first in the file: the zero is the outermost of the two.
    let error = refused(one_tensor(&[4, 0], F32_TENSOR, 0));
    assert_eq!(error, Error::ZeroDim { tensor: "t".into(), spot: Spot::Byte(24), dim: 0 });
}

#[test]
fn shapes_whose_size_overflows_are_refused() {
    for ne in [&[u64::MAX][..], &[1 << 62, 2], &[1 << 32, 1 << 32], &[1 << 61], &[1 << 16; 4]] {
        let error = refused(one_tensor(ne, F32_TENSOR, 0));
        assert!(matches!(error, Error::ShapeOverflow { .. }), "{ne:?}: {error}");
    }
    // 2^63 elements of little more than a bit: the bytes would fit a number, the elements do not.
    let error = refused(one_tensor(&[1 << 33, 1 << 30], Q1_0_TENSOR, 0));
    assert!(matches!(error, Error::ShapeOverflow { .. }), "{error}");
}

#[test]
fn rows_that_are_no_whole_number_of_blocks_are_refused() {
    let error = refused(one_tensor(&[33], Q8_0_TENSOR, 0));
    let (tensor, spot) = ("t".into(), Spot::Byte(24));
    assert_eq!(error, Error::PartialBlock { tensor, spot, ty: TensorType::Q8_0, cols: 33 });
    // 64 elements in all, but no row is a block.
    assert!(matches!(refused(one_tensor(&[2, 32], Q8_0_TENSOR, 0)), Error::PartialBlock { cols: 2, .. }));
}

#[test]
fn unknown_tensor_type_names_id_and_tensor() {
    for id in [43, 142, u32::MAX] {
        let error = refused(one_tensor(&[4], id, 0));
        assert_eq!(error, Error::UnknownTensorType { tensor: "t".into(), offset: 45, id });
    }
}

#[test]
fn removed_tensor_type_is_refused_by_name() {
    for (id, name) in [(4, "q4_2"), (5, "q4_3"), (33, "q4_0_8_8"), (36, "iq4_nl_4_4")] {
        let error = refused(one_tensor(&[4], id, 0));
        assert_eq!(error, Error::RemovedTensorType { tensor: "t".into(), offset: 45, id, name });
        assert!(error.to_string().contains(name));
    }
}

#[test]
fn tensor_name_over_cap_is_refused() {
    let error = refused(Forge::v3(1, 0).tensor(&"n".repeat(1025), &[4], F32_TENSOR, 0).data(32, 64));
    let (part, spot) = (Part::TensorName(0), Spot::Byte(24));
    assert_eq!(error, Error::NameTooLong { part, spot, length: 1025, cap: 1024 });
}

#[test]
fn misaligned_tensor_is_refused() {
    let error = refused(one_tensor(&[4], F32_TENSOR, 16));
    assert_eq!(error, Error::Misaligned { tensor: "t".into(), alignment: 32, found: 16 });
}

#[test]
fn tensor_outside_the_file_is_refused() {
    for offset in [64, 1 << 40, u64::MAX - 31] {
        let error = refused(one_tensor(&[4], F32_TENSOR, offset));
        let (tensor, data_start, file_bytes) = ("t".into(), 64, 128);
        assert_eq!(
            error,
            Error::TensorBeyondFile { tensor, found: offset, bytes: 16, data_start, file_bytes }
        );
    }
    let too_long = refused(one_tensor(&[17], F32_TENSOR, 0));
    assert!(matches!(too_long, Error::TensorBeyondFile { bytes: 68, .. }), "{too_long}");
}

#[test]
fn overlapping_tensors_are_refused_in_any_order() {
    let entries = [("low", 0u64), ("high", 32)];
    for order in [[0, 1], [1, 0]] {
        let forge = order.iter().fold(Forge::v3(2, 0), |forge, &i: &usize| {
            forge.tensor(entries[i].0, &[9], F32_TENSOR, entries[i].1)
        });
        let data_start = forge.0.len().next_multiple_of(32) as u64;
        let (first, second) = ("low".into(), "high".into());
        let (first_end, second_start) = (data_start + 36, data_start + 32);
        let expected = Error::Overlap { first, second, first_end, second_start };
        assert_eq!(refused(forge.data(32, 128)), expected);
    }
}

#[test]
fn duplicate_tensor_is_refused() {
    let forge = Forge::v3(2, 0).tensor("t", &[4], F32_TENSOR, 0).tensor("t", &[4], F32_TENSOR, 32);
    let error = refused(forge.data(32, 64));
    assert_eq!(error, Error::DuplicateTensor { tensor: "t".into(), spot: Spot::Byte(57) });
}

#[test]
fn long_names_from_the_file_are_shortened_and_escaped_in_errors() {
    let key = format!("\u{1b}[31m{}", "x".repeat(60_000));
    let error = refused(Forge::v3(0, 2).key(&key, U8).raw(&[1]).key(&key, U8).raw(&[1]));
    let text = error.to_string();
    assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn typed_lookups_say_what_they_expected() {
    let forge = Forge::v3(0, 4)
        .key("text", STR)
        .str("12")
        .key("minus", 5)
        .raw(&(-1i32).to_le_bytes())
        .key("huge", 12)
        .raw(&1e300f64.to_le_bytes())
        .key("mixed", ARRAY)
        .array(5, 2)
        .raw(&7i32.to_le_bytes())
        .raw(&(-7i32).to_le_bytes());
    let file = GgufFile::parse(&forge.0).unwrap();
    let metadata = file.metadata();
    let found = Kind::One(ValueType::Str);
    let expected = "an integer that fits u32";
    assert_eq!(metadata.u32("text"), Err(Error::WrongKind { key: "text".into(), expected, found }));
    let found = Number::Int(-1);
    let out = Error::OutOfRange { key: "minus".into(), index: None, expected, found };
    assert_eq!(metadata.u32("minus"), Err(out));
    let found = Number::Int(-7);
    let out = Error::OutOfRange { key: "mixed".into(), index: Some(1), expected, found };
    assert_eq!(metadata.u32s("mixed"), Err(out));
    assert_eq!(metadata.i32s("mixed"), Ok(Some(vec![7, -7])));
    assert!(matches!(metadata.f32("huge"), Err(Error::OutOfRange { .. })));
    assert!(matches!(metadata.u64("huge"), Err(Error::WrongKind { .. })));
    assert!(matches!(metadata.bool("minus"), Err(Error::WrongKind { .. })));
    assert!(matches!(metadata.array("text"), Err(Error::WrongKind { .. })));
    assert!(matches!(metadata.strings("mixed"), Err(Error::WrongKind { .. })));
    assert_eq!(metadata.f32("minus"), Ok(Some(-1.0)));
    assert_eq!(metadata.u32("absent"), Ok(None));
    for error in [metadata.u32("text").unwrap_err(), metadata.u32s("mixed").unwrap_err()] {
        reads_well(&error);
    }
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let mut writer = Writer::new();
    writer.metadata("a", 1u32).unwrap().tensor("t", TensorType::F32, &[2]).unwrap();
    let errors = [
        writer.metadata("a", 2u32).unwrap_err(),
        writer.metadata("", 2u32).unwrap_err(),
        writer.alignment(48).unwrap_err(),
        writer.alignment(1 << 22).unwrap_err(),
        writer.metadata("general.alignment", 32u64).unwrap_err(),
        writer.tensor("t", TensorType::F32, &[2]).unwrap_err(),
        writer.tensor("u", TensorType::F32, &[2, 0]).unwrap_err(),
        writer.tensor("u", TensorType::Q4K, &[128]).unwrap_err(),
        writer.tensor("u", TensorType::F32, &[1; 5]).unwrap_err(),
        writer.tensor("u", TensorType::F32, &[usize::MAX, 2]).unwrap_err(),
        writer.tensor(&"n".repeat(64), TensorType::F32, &[2]).unwrap_err(),
    ];
    assert!(matches!(errors[0], Error::DuplicateKey { spot: Spot::Written, .. }));
    assert!(matches!(errors[1], Error::EmptyKey { .. }));
    assert!(matches!(errors[2], Error::BadAlignment { found: 48 }));
    assert!(matches!(errors[3], Error::AlignmentOverCap { .. }));
    assert!(matches!(errors[4], Error::WrongKind { .. }));
    assert!(matches!(errors[5], Error::DuplicateTensor { .. }));
    assert!(matches!(errors[6], Error::ZeroDim { dim: 1, .. }));
    assert!(matches!(errors[7], Error::PartialBlock { cols: 128, .. }));
    assert!(matches!(errors[8], Error::TooManyDims { found: 5, .. }));
    assert!(matches!(errors[9], Error::ShapeOverflow { .. }));
    assert!(matches!(errors[10], Error::NameTooLong { length: 64, .. }));
    errors.iter().for_each(reads_well);

    // What was refused left no trace.
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    let file = GgufFile::parse(&bytes).unwrap();
    assert_eq!((file.metadata().len(), file.tensors().len(), file.alignment()), (1, 1, 32));

    let mut huge = Writer::new();
    huge.tensor("a", TensorType::I8, &[1 << 62]).unwrap().tensor("b", TensorType::I8, &[1 << 62]).unwrap();
    let error = huge.layout().unwrap_err();
    assert_eq!(error, Error::FileTooBig { tensor: "b".into() });
    reads_well(&error);
}
