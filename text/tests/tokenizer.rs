//! The tokenizer: published vectors, agreement with the `tokenizers` library, decoding while tokens arrive, bad files.

mod vocabulary;

use fathom_gguf::{OwnedArray, OwnedValue};
use fathom_text::tokenizer::{Controls, TokenKind, Tokenizer};
use proptest::prelude::*;
use std::time::{Duration, Instant};
use vocabulary::{from_bytes, gguf, keys, published, real, real_gguf};

#[test]
fn published_vectors() {
    let vectors: [(&str, &[u32]); 9] = [
        ("Hello, world!", &[19923, 14, 2058, 3]),
        ("12345678", &[6895, 18009, 2597]),
        ("你好，世界 123", &[30594, 303, 3427, 223, 6895]),
        ("  two  spaces\n\nand\ttabs ", &[223, 1234, 223, 13564, 271, 458, 17299, 10284, 223]),
        ("don't can't", &[20385, 1664, 588, 1664]),
        ("\r\n\r\n x", &[204, 201, 204, 201, 1527]),
        (" 日本語テスト", &[223, 88768, 109288]),
        ("3.14159 + x_1", &[21, 16, 9926, 3318, 940, 1527, 65, 19]),
        ("👍🏽 emoji", &[92526, 40965, 124, 980, 82644]),
    ];
    for (text, ids) in vectors {
        assert_eq!(real().encode_plain(text), ids, "{text:?}");
        assert_eq!(real().encode_with_special(text), ids, "{text:?}");
    }
    let call = r#"<｜DSML｜invoke name="x">"#;
    assert_eq!(real().encode_with_special(call), [30, 128793, 40148, 5406, 2329, 1281, 90, 3320]);
    assert!(!real().encode_plain(call).contains(&128793));
    let card = "<｜begin▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>Hello! I am DeepSeek.<｜end▁of▁sentence｜>\
                <｜User｜>1+1=?<｜Assistant｜><think>";
    let ids = [
        0, 128803, 33310, 128804, 128799, 19923, 3, 342, 1030, 22651, 4374, 1465, 16, 1, 128803, 19, 13, 19,
        127252, 128804, 128798,
    ];
    assert_eq!(real().encode_with_special(card), ids);
    assert_eq!(real().decode_bytes(&ids).unwrap(), card.as_bytes());
}

#[test]
fn tokens_by_text_and_kind() {
    let real = real();
    assert_eq!((real.n_tokens(), real.bos(), real.eos()), (129_280, Some(0), 1));
    assert_eq!(real.special("｜DSML｜"), Some(128_793));
    assert_eq!(real.special("<think>"), Some(128_798));
    assert_eq!(real.special("Hello"), None, "part of the learned vocabulary");
    assert_eq!(real.kind(128_793), Some(TokenKind::Control));
    assert_eq!(real.kind(128_798), Some(TokenKind::UserDefined));
    assert_eq!(real.kind(19_923), Some(TokenKind::Normal));
    assert_eq!((real.kind(129_279), real.bytes(129_279)), (Some(TokenKind::Unused), Some(&b""[..])));
    assert_eq!((real.kind(129_280), real.bytes(129_280)), (None, None));
    assert!(real.decode_bytes(&[5, 129_280]).unwrap_err().to_string().contains("token 1"));
}

/// The contract is one second; what is reached is a fifth of it.
#[test]
fn loads_within_a_second() {
    let bytes = real_gguf();
    let best = (0..3)
        .map(|_| {
            let started = Instant::now();
            from_bytes(bytes).unwrap();
            started.elapsed()
        })
        .min()
        .unwrap();
    println!("loads in {best:?}");
    assert!(best < Duration::from_secs(1), "{best:?}");
}

/// A text of `n_bytes` made of random tokens, some of them cut apart: every language and program of the vocabulary,
/// characters broken at every place.
fn mixed_text(seed: u64, n_bytes: usize) -> String {
    let mut random = generator(seed);
    let mut bytes = Vec::new();
    while bytes.len() < n_bytes {
        let token = real().bytes(random(128_815) as u32).unwrap();
        match random(40) {
            0 => bytes.extend(&token[..token.len() / 2]),
            1 => bytes.push(random(256) as u8),
            2 => bytes.extend(b" \n\t\r\n".iter().cycle().take(random(9) as usize)),
            3 => bytes.extend("\u{0}\u{85}\u{a0}\u{3000}\u{200b}é👩‍👩‍👧".as_bytes()),
            _ => bytes.extend(token),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A small generator that no dependency can change.
fn generator(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

fn library() -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(published()).unwrap()
}

fn agree(library: &tokenizers::Tokenizer, text: &str) {
    let expected = library.encode_fast(text, false).unwrap();
    let found = real().encode_with_special(text);
    if let Some(place) = found.iter().zip(expected.get_ids()).position(|(a, b)| a != b) {
        let around = &found[place.saturating_sub(3)..(place + 3).min(found.len())];
        panic!("token {place}: {:?}", String::from_utf8_lossy(&real().decode_bytes(around).unwrap()));
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(real().decode_bytes(&found).unwrap(), text.as_bytes());
}

#[test]
fn agrees_with_the_library_on_mixed_text() {
    let library = library();
    let mut n_bytes = 0;
    for seed in 0..24 {
        let text = mixed_text(seed, 100_000);
        n_bytes += text.len();
        agree(&library, &text);
    }
    assert!(n_bytes > 2_000_000);
    for path in
        ["src/chat/parse/mod.rs", "../tests/reference/check.py", "tests/chat/golden.json", "Cargo.toml"]
    {
        agree(&library, &std::fs::read_to_string(path).unwrap());
    }
}

/// Every character of the first two planes, and some of the others, between letters, spaces, digits and itself.
#[test]
fn agrees_with_the_library_on_every_character() {
    let library = library();
    let chars: Vec<char> =
        (0..0x2_0000).chain((0x2_0000..0x11_0000).step_by(37)).filter_map(char::from_u32).collect();
    for chars in chars.chunks(20_000) {
        let text: String = chars.iter().map(|c| format!("{c}a {c}{c} 1{c}\n")).collect();
        agree(&library, &text);
    }
}

/// Nothing is quadratic and nothing overflows.
#[test]
fn long_runs_take_no_time() {
    let started = Instant::now();
    for unit in [" ", "\0", "\n", "a", "1", "👍", " \n", "\n a", "<", "｜", "<｜", "中", "!\r\n"] {
        let text = unit.repeat(300_000 / unit.len());
        for text in [text.clone(), text.clone() + "x", " ".to_owned() + &text] {
            let ids = real().encode_plain(&text);
            assert_eq!(real().decode_bytes(&ids).unwrap(), text.as_bytes(), "{unit:?}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// Tokens of single bytes, so that a character can be cut at each of its bytes.
fn byte_tokens(bytes: &[u8]) -> Vec<u32> {
    let by_byte: std::collections::HashMap<u8, u32> = (0..1000)
        .filter_map(|id| {
            Some((*real().bytes(id)?.first().filter(|_| real().bytes(id).unwrap().len() == 1)?, id))
        })
        .collect();
    bytes.iter().map(|byte| by_byte[byte]).collect()
}

fn streamed(ids: &[u32], controls: Controls) -> Vec<String> {
    let mut decoder = real().decoder(controls);
    let mut parts: Vec<String> = ids.iter().map(|&id| decoder.push(id)).collect();
    parts.push(decoder.finish());
    parts
}

#[test]
fn streams_break_no_character() {
    let text = "aé你👍🏽\u{10ffff}\u{0}\u{7ff}\u{800}\u{ffff}\u{10000}z";
    let ids = byte_tokens(text.as_bytes());
    let parts = streamed(&ids, Controls::Keep);
    assert_eq!(parts.concat(), text);
    assert_eq!(parts.iter().filter(|part| !part.is_empty()).count(), text.chars().count(), "one at a time");
    // Any tokens around the cut.
    for cut in 0..=text.len() {
        let mut ids = Vec::new();
        ids.extend(byte_tokens(&text.as_bytes()[..cut]));
        let parts = streamed(&ids, Controls::Keep).concat();
        assert_eq!(parts, String::from_utf8_lossy(&text.as_bytes()[..cut]), "cut at {cut}");
        ids.extend(byte_tokens(&text.as_bytes()[cut..]));
        assert_eq!(streamed(&ids, Controls::Keep).concat(), text);
    }
}

#[test]
fn streams_keep_or_skip_control_tokens() {
    let ids = real().encode_with_special("<think>a</think>b<｜DSML｜>c<｜end▁of▁sentence｜>");
    assert_eq!(streamed(&ids, Controls::Keep).concat(), "<think>a</think>b<｜DSML｜>c<｜end▁of▁sentence｜>");
    assert_eq!(streamed(&ids, Controls::Skip).concat(), "<think>a</think>b<>c");
    // A control token within a character ends it; an id beyond the vocabulary is visible.
    let mut broken = byte_tokens(&"你".as_bytes()[..2]);
    broken.extend([128_803, 129_279, 4_000_000_000]);
    assert_eq!(streamed(&broken, Controls::Keep).concat(), "\u{fffd}<｜User｜>\u{fffd}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        for ids in [real().encode_plain(&text), real().encode_with_special(&text)] {
            prop_assert_eq!(real().decode_bytes(&ids).unwrap(), text.as_bytes());
            prop_assert_eq!(streamed(&ids, Controls::Keep).concat(), &*text);
        }
    }

    #[test]
    fn plain_text_has_no_control_tokens(parts in prop::collection::vec(prop::sample::select(vec![
        "<｜User｜>", "<｜", "｜DSML｜", "<think>", "</think>", "<|EOT|>", "User", "｜>", "a", " ", "\n", "<", "｜", "▁",
        "<｜begin▁of▁sentence｜>",
    ]), 0..12)) {
        let text = parts.concat();
        let ids = real().encode_plain(&text);
        prop_assert!(ids.iter().all(|&id| real().kind(id) == Some(TokenKind::Normal)));
        prop_assert_eq!(real().decode_bytes(&ids).unwrap(), text.as_bytes());
        let expected = published_ids(&text);
        prop_assert_eq!(real().encode_with_special(&text), expected);
    }

    #[test]
    fn any_tokens_stream_as_their_bytes(ids in prop::collection::vec(0u32..129_280, 0..40)) {
        let bytes = real().decode_bytes(&ids).unwrap();
        prop_assert_eq!(streamed(&ids, Controls::Keep).concat(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_stream_as_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let parts = streamed(&byte_tokens(&bytes), Controls::Keep);
        prop_assert_eq!(parts.concat(), String::from_utf8_lossy(&bytes));
    }
}

fn published_ids(text: &str) -> Vec<u32> {
    static LIBRARY: std::sync::OnceLock<tokenizers::Tokenizer> = std::sync::OnceLock::new();
    LIBRARY.get_or_init(library).encode_fast(text, false).unwrap().get_ids().to_vec()
}

// Bad files ---------------------------------------------------------------------------------------------------------

/// A vocabulary of the 256 bytes, a merge and three added tokens, changed by `change`, and what is said about it.
fn complaint(change: impl FnOnce(&mut Vec<String>, &mut Vec<i32>, &mut Vec<(String, OwnedValue)>)) -> String {
    match from_bytes(&gguf(small_keys(change))) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

fn small_keys(
    change: impl FnOnce(&mut Vec<String>, &mut Vec<i32>, &mut Vec<(String, OwnedValue)>),
) -> Vec<(String, OwnedValue)> {
    let mut tokens: Vec<String> = (0..256).map(|id| id_to_char(id).to_string()).collect();
    tokens.extend(["he", "<bos>", "<eos>", "<think>"].map(str::to_owned));
    let mut kinds = vec![1; 257];
    kinds.extend([3, 3, 4]);
    let mut keys: Vec<(String, OwnedValue)> = vec![
        ("tokenizer.ggml.model".to_owned(), "gpt2".into()),
        ("tokenizer.ggml.pre".to_owned(), "deepseek-v3".into()),
        ("tokenizer.ggml.merges".to_owned(), vec!["h e"].into()),
        ("tokenizer.ggml.bos_token_id".to_owned(), 257u32.into()),
        ("tokenizer.ggml.eos_token_id".to_owned(), 258u32.into()),
    ];
    change(&mut tokens, &mut kinds, &mut keys);
    if !tokens.is_empty() {
        keys.push(("tokenizer.ggml.tokens".to_owned(), OwnedArray::Str(tokens).into()));
    }
    if !kinds.is_empty() {
        keys.push(("tokenizer.ggml.token_type".to_owned(), kinds.into()));
    }
    keys
}

/// The byte alphabet in the order of ids that GPT-2 chose.
fn id_to_char(id: u32) -> char {
    let printable: Vec<u32> = (0x21..0x7f).chain(0xa1..0xad).chain(0xae..0x100).collect();
    char::from_u32(printable.get(id as usize).copied().unwrap_or(0x100 + id - 188)).unwrap()
}

fn put(keys: &mut Vec<(String, OwnedValue)>, key: &str, value: impl Into<OwnedValue>) {
    keys.retain(|(other, _)| other != key);
    keys.push((key.to_owned(), value.into()));
}

#[test]
fn every_label_of_the_same_expressions_is_taken() {
    for label in ["deepseek-v3", "joyai-llm", "hunyuan-dense", "hy_v4"] {
        let keys = small_keys(|_, _, keys| put(keys, "tokenizer.ggml.pre", label));
        let small: Tokenizer = from_bytes(&gguf(keys)).unwrap();
        assert_eq!(small.encode_with_special("<bos>the<think>"), [257, 83, 256, 259], "{label}");
    }
    for label in ["deepseek-r1-qwen", "deepseek-llm", "default", ""] {
        let said = complaint(|_, _, keys| put(keys, "tokenizer.ggml.pre", label));
        assert!(said.contains("tokenizer.ggml.pre") && said.contains("deepseek-v3"), "{said}");
    }
}

/// A turn's and a message's end are ends, too; switches that are off are none.
#[test]
fn every_end_of_an_answer_is_one() {
    let small = from_bytes(&gguf(small_keys(|_, _, keys| {
        put(keys, "tokenizer.ggml.eot_token_id", 257u32);
        put(keys, "tokenizer.ggml.eom_token_id", 259u32);
        put(keys, "tokenizer.ggml.ignore_merges", false);
        put(keys, "tokenizer.ggml.add_space_prefix", false);
    })))
    .unwrap();
    let ends: Vec<u32> = (0..260).filter(|id| small.is_end(*id)).collect();
    assert_eq!((small.eos(), ends), (258, vec![257, 258, 259]));
}

#[test]
fn bad_vocabularies_are_refused_with_a_sentence() {
    type Change = fn(&mut Vec<String>, &mut Vec<i32>, &mut Vec<(String, OwnedValue)>);
    let cases: [(&str, Change); 21] = [
        ("tokenizer.ggml.ignore_merges", |_, _, keys| put(keys, "tokenizer.ggml.ignore_merges", true)),
        ("tokenizer.ggml.add_space_prefix", |_, _, keys| put(keys, "tokenizer.ggml.add_space_prefix", true)),
        ("precompiled_charsmap", |_, _, keys| put(keys, "tokenizer.ggml.precompiled_charsmap", vec![1u8, 2])),
        ("eot_token_id", |_, _, keys| put(keys, "tokenizer.ggml.eot_token_id", 260u32)),
        ("tokenizer.ggml.model", |_, _, keys| put(keys, "tokenizer.ggml.model", "llama")),
        ("tokenizer.ggml.model", |_, _, keys| put(keys, "tokenizer.ggml.model", "none")),
        ("tokenizer.ggml.model", |_, _, keys| drop(keys.remove(0))),
        ("tokenizer.ggml.pre", |_, _, keys| drop(keys.remove(1))),
        ("tokenizer.ggml.merges", |_, _, keys| drop(keys.remove(2))),
        ("tokenizer.ggml.eos_token_id", |_, _, keys| drop(keys.remove(4))),
        ("tokenizer.ggml.tokens", |tokens, _, _| tokens.clear()),
        ("tokenizer.ggml.token_type", |_, kinds, _| kinds.clear()),
        ("expected 260 kinds", |_, kinds, _| kinds.truncate(259)),
        ("token 7: expected 1 normal", |_, kinds, _| kinds[7] = 6),
        ("found none for 0x41", |tokens, _, _| tokens[(b'A' - b'!') as usize] = "AA".to_owned()),
        ("byte alphabet", |tokens, _, _| tokens[256] = "h e".to_owned()),
        ("has the ids 71 and 256", |tokens, _, _| tokens[256] = "h".to_owned()),
        ("merge 0", |_, _, keys| put(keys, "tokenizer.ggml.merges", vec!["he"])),
        ("merge 0", |_, _, keys| put(keys, "tokenizer.ggml.merges", vec!["h  e"])),
        ("merge 1", |_, _, keys| put(keys, "tokenizer.ggml.merges", vec!["h e", "he llo"])),
        ("below 260", |_, _, keys| put(keys, "tokenizer.ggml.eos_token_id", 260u32)),
    ];
    for (words, change) in cases {
        let said = complaint(change);
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = complaint(|_, _, keys| put(keys, "tokenizer.ggml.merges", vec!["h e", "he he"]));
    assert!(said.contains("make a third"), "longer than every token: {said}");
    let said = complaint(|tokens, _, _| tokens[256] = "\u{1b}[31m".repeat(9000));
    assert!(said.len() < 600 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_real_vocabulary_survives_every_label_but_no_other_kind() {
    let mut keys = keys();
    put(&mut keys, "tokenizer.ggml.pre", "joyai-llm");
    let relabelled = from_bytes(&gguf(keys)).unwrap();
    let text = mixed_text(99, 20_000);
    assert_eq!(relabelled.encode_plain(&text), real().encode_plain(&text));
}
