//! Several files as one model: names, numbers, order, and everything that can be missing or mixed up.

use fathom_gguf::{Error, Gguf, TensorType, Writer, split};

/// A shard with the given tensors, or a plain file when `place` is `None`.
fn file(place: Option<(u16, u16, i32)>, tensors: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new();
    if place.is_none_or(|(no, ..)| no == 0) {
        writer.metadata("general.architecture", "deepseek2").unwrap();
    }
    if let Some((no, count, n_tensors)) = place {
        for (key, value) in split::keys(no, count, n_tensors) {
            writer.metadata(key, value).unwrap();
        }
    }
    for name in tensors {
        writer.tensor(name, TensorType::F32, &[2]).unwrap();
    }
    let layout = writer.layout().unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_bytes as usize, 0);
    for (placed, name) in layout.tensors.iter().zip(tensors) {
        bytes[placed.offset as usize] = name.as_bytes()[0];
    }
    bytes
}

/// `model-0000N-of-00003.gguf`, counted from 0.
fn name(no: usize) -> String {
    split::shard_name("dir/model", no, 3)
}

fn join(files: &[(String, Vec<u8>)]) -> Result<Gguf<'_>, Error> {
    Gguf::from_shards(files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect())
}

fn three() -> Vec<(String, Vec<u8>)> {
    vec![
        (name(0), file(Some((0, 3, 4)), &["a", "b"])),
        (name(1), file(Some((1, 3, 4)), &["c"])),
        (name(2), file(Some((2, 3, 4)), &["d"])),
    ]
}

#[test]
fn shards_in_any_order_are_one_model() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let all = three();
        let files: Vec<_> = order.iter().map(|&i: &usize| all[i].clone()).collect();
        let model = join(&files).unwrap();
        assert_eq!(model.metadata().str("general.architecture"), Ok(Some("deepseek2")));
        let tensors: Vec<_> = model.tensors().map(|(shard, info)| (shard, info.name)).collect();
        assert_eq!(tensors, [(0, "a"), (0, "b"), (1, "c"), (2, "d")]);
        assert_eq!(model.n_tensors(), 4);
        assert_eq!(model.tensor("d").unwrap().data()[0], b'd');
        assert_eq!(model.tensor("e"), None);
        let shards: Vec<_> = model.shards().iter().map(|shard| shard.name().to_owned()).collect();
        assert_eq!(shards, [name(0), name(1), name(2)]);
        assert_eq!(model.shards()[0].bytes(), all[0].1.len() as u64);
    }
}

#[test]
fn a_plain_file_is_a_model_of_one_shard() {
    for place in [None, Some((0, 0, 2)), Some((0, 1, 2))] {
        let files = [("any name".to_owned(), file(place, &["a", "b"]))];
        assert_eq!(join(&files).unwrap().n_tensors(), 2);
    }
}

#[test]
fn no_file_is_refused() {
    assert_eq!(Gguf::from_shards(Vec::new()).unwrap_err(), Error::NoShards);
}

#[test]
fn missing_shards_are_named() {
    let all = three();
    for given in 0..3 {
        let missing: Vec<_> = (0..3).filter(|no| *no != given).map(name).collect();
        let error = join(&all[given..=given]).unwrap_err();
        assert_eq!(error, Error::MissingShards { missing: missing.clone(), found: 1, count: 3 });
        assert!(error.to_string().contains(&missing[1]));
    }
    let renamed = [("renamed.gguf".to_owned(), all[1].1.clone())];
    let Err(Error::MissingShards { missing, .. }) = join(&renamed) else { panic!("shards are missing") };
    assert_eq!(missing, ["renamed-00001-of-00003.gguf", "renamed-00003-of-00003.gguf"]);
}

#[test]
fn many_missing_shards_are_counted_in_the_message() {
    let files = [(split::shard_name("m", 0, 60), file(Some((0, 60, 1)), &["a"]))];
    let error = join(&files).unwrap_err();
    let Error::MissingShards { missing, .. } = &error else { panic!("{error}") };
    assert_eq!(missing.len(), 59);
    assert!(error.to_string().contains("m-00009-of-00060.gguf and 51 more"), "{error}");
}

#[test]
fn the_same_shard_twice_is_refused() {
    let mut files = three();
    files[2] = ("copy.gguf".into(), files[1].1.clone());
    let (first, second) = (name(1), "copy.gguf".into());
    assert_eq!(join(&files).unwrap_err(), Error::DuplicateShard { no: 1, first, second });
}

#[test]
fn shards_of_different_models_are_refused() {
    let mut files = three();
    files[2].1 = file(Some((2, 4, 4)), &["d"]);
    let (shard, first) = (name(2), name(0));
    assert_eq!(join(&files).unwrap_err(), Error::ShardCount { shard, first, expected: 3, found: 4 });
    files[2].1 = file(Some((2, 3, 5)), &["d"]);
    let (shard, first) = (name(2), name(0));
    assert_eq!(join(&files).unwrap_err(), Error::ShardTensorCount { shard, first, expected: 4, found: 5 });
}

#[test]
fn a_plain_file_among_shards_is_refused() {
    let mut files = three();
    files[1].1 = file(None, &["c"]);
    assert_eq!(join(&files).unwrap_err(), Error::NotAShard { shard: name(1), given: 3, found: None });
    files[1].1 = file(Some((1, 1, 4)), &["c"]);
    assert_eq!(join(&files).unwrap_err(), Error::NotAShard { shard: name(1), given: 3, found: Some(1) });
}

#[test]
fn a_shard_number_beyond_the_count_is_refused() {
    let mut files = three();
    files[1].1 = file(Some((3, 3, 4)), &["c"]);
    assert_eq!(join(&files).unwrap_err(), Error::ShardNumber { shard: name(1), no: 3, count: 3 });
}

#[test]
fn tensors_that_do_not_add_up_are_refused() {
    let mut files = three();
    files[1].1 = file(Some((1, 3, 4)), &[]);
    assert_eq!(join(&files).unwrap_err(), Error::TensorSum { expected: 4, found: 3 });
    for (no, file_of) in files.iter_mut().enumerate() {
        file_of.1 = file(Some((no as u16, 3, -1)), &[]);
    }
    assert_eq!(join(&files).unwrap_err(), Error::TensorSum { expected: -1, found: 0 });
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let mut files = three();
    files[2].1 = file(Some((2, 3, 4)), &["a"]);
    let (first, second) = (name(0), name(2));
    assert_eq!(join(&files).unwrap_err(), Error::TensorInTwoShards { tensor: "a".into(), first, second });
}

#[test]
fn a_broken_shard_is_named_with_its_fault() {
    let mut files = three();
    files[1].1.truncate(10);
    let error = join(&files).unwrap_err();
    assert!(error.to_string().starts_with("dir/model-00002-of-00003.gguf: the file ends in"), "{error}");
    let mut writer = Writer::new();
    writer.metadata(split::COUNT, "three").unwrap();
    files[1].1 = writer.layout().unwrap().header;
    let error = join(&files).unwrap_err();
    assert!(matches!(&error, Error::InShard { shard, .. } if *shard == name(1)), "{error}");
}

#[test]
fn names_lead_to_all_siblings_and_back() {
    assert_eq!(split::shard_name("m", 0, 3), "m-00001-of-00003.gguf");
    assert_eq!(split::parse_shard_name("a-b-00002-of-00010.gguf"), Some(("a-b", 1, 10)));
    assert_eq!(split::parse_shard_name("-00001-of-00001.gguf"), Some(("", 0, 1)));
    let all = split::siblings("x/m-00002-of-00003.gguf").unwrap();
    assert_eq!(all, ["x/m-00001-of-00003.gguf", "x/m-00002-of-00003.gguf", "x/m-00003-of-00003.gguf"]);
    for no_shard in [
        "m.gguf",
        "m-00000-of-00003.gguf",
        "m-00004-of-00003.gguf",
        "m-1-of-3.gguf",
        "m-00001-of-00003.bin",
        "m-000001-of-000003.gguf",
        "m-00001-of-99999.gguf",
        "m00001-of-00003.gguf",
        "m-+0001-of-00003.gguf",
        "",
    ] {
        assert_eq!(split::parse_shard_name(no_shard), None, "{no_shard}");
        assert_eq!(split::siblings(no_shard), None, "{no_shard}");
    }
}
