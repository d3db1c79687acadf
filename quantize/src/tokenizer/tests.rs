use super::*;
use serde_json::json;
use std::fs;

fn tokenizer_json() -> Value {
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    json!({
        "model": {
            "type": "BPE",
            "byte_fallback": false,
            "vocab": {"<｜begin▁of▁sentence｜>": 0, "<｜end▁of▁sentence｜>": 1, "a": 2, "b": 3, "ab": 4, "Ġ": 5},
            "merges": ["a b", ["Ġ", "a"]],
        },
        "added_tokens": [
            {"id": 0, "content": "<｜begin▁of▁sentence｜>", "special": true},
            {"id": 1, "content": "<｜end▁of▁sentence｜>", "special": true},
            {"id": 6, "content": "｜DSML｜", "special": true},
            {"id": 7, "content": "<｜User｜>", "special": false},
            {"id": 8, "content": "<think>", "special": false},
            {"id": 9, "content": "two▁words", "special": false},
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split(SPLITS[0]), split(SPLITS[1]), split(SPLITS[2]),
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
    })
}

fn read(files: &[(&str, &Value)], vocab_size: usize) -> Result<Option<Tokenizer>, Error> {
    let temp = tempfile::tempdir().unwrap();
    for (name, value) in files {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fs::write(temp.path().join(name), text).unwrap();
    }
    Tokenizer::read(temp.path(), vocab_size)
}

#[test]
fn kinds_follow_the_converter() {
    let tokenizer = read(&[("tokenizer.json", &tokenizer_json())], 12).unwrap().unwrap();
    use TokenKind::{Control, Normal, Unused, UserDefined};
    let kinds: Vec<TokenKind> = tokenizer.tokens.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(
        kinds,
        [
            Control,
            Control,
            Normal,
            Normal,
            Normal,
            Normal,
            Control,
            Control,
            UserDefined,
            UserDefined,
            Unused,
            Unused
        ]
    );
    let texts: Vec<&str> = tokenizer.tokens.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts[6..], ["｜DSML｜", "<｜User｜>", "<think>", "two words", "[PAD10]", "[PAD11]"]);
    assert_eq!(tokenizer.merges, ["a b", "Ġ a"]);
}

#[test]
fn ids_come_by_text_and_otherwise_from_the_models_config() {
    let config = json!({
        "bos_token": {"__type": "AddedToken", "content": "<｜begin▁of▁sentence｜>"},
        "eos_token": "<｜end▁of▁sentence｜>",
        "add_bos_token": false,
        "add_eos_token": false,
    });
    let model = json!({"bos_token_id": 9, "eos_token_id": [9], "pad_token_id": 8});
    let json = tokenizer_json();
    let files = [("tokenizer.json", &json), ("tokenizer_config.json", &config), ("config.json", &model)];
    let tokenizer = read(&files, 12).unwrap().unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.padding), (Some(0), Some(1), Some(8)));
    assert_eq!((tokenizer.add_bos, tokenizer.add_eos), (Some(false), Some(false)));
    let tokenizer = read(&[files[0], files[2]], 12).unwrap().unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.add_bos), (Some(9), Some(9), None));
}

#[test]
fn keys_carry_ggufs_types() {
    let config =
        json!({"eos_token": "<｜end▁of▁sentence｜>", "add_bos_token": true, "chat_template": "{{ a }}"});
    let tokenizer = read(&[("tokenizer.json", &tokenizer_json()), ("tokenizer_config.json", &config)], 11)
        .unwrap()
        .unwrap();
    let keys = tokenizer.to_gguf();
    let value = |key: &str| keys.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    assert_eq!(value("tokenizer.ggml.model"), Some("gpt2".into()));
    assert_eq!(value("tokenizer.ggml.pre"), Some("deepseek-v3".into()));
    assert_eq!(value("tokenizer.ggml.token_type"), Some(vec![3i32, 3, 1, 1, 1, 1, 3, 3, 4, 4, 5].into()));
    assert_eq!(value("tokenizer.ggml.eos_token_id"), Some(1u32.into()));
    assert_eq!(value("tokenizer.ggml.bos_token_id"), None);
    assert_eq!(value("tokenizer.ggml.add_bos_token"), Some(true.into()));
    assert_eq!(value("tokenizer.chat_template"), Some("{{ a }}".into()));
    assert_eq!(value("tokenizer.chat_templates"), None);
}

#[test]
fn a_template_file_outweighs_the_configured_default() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "old"},
        {"name": "tool_use", "template": "tools"},
    ]});
    let files = [
        ("tokenizer.json", &tokenizer_json()),
        ("tokenizer_config.json", &config),
        ("chat_template.jinja", &json!("new")),
    ];
    let tokenizer = read(&files, 12).unwrap().unwrap();
    let expected = [(None, "new".to_owned()), (Some("tool_use".to_owned()), "tools".to_owned())];
    assert_eq!(tokenizer.chat_templates, expected);
    let keys: Vec<String> = tokenizer.to_gguf().into_iter().map(|(key, _)| key).collect();
    assert!(keys.contains(&"tokenizer.chat_templates".to_owned()));
    assert!(keys.contains(&"tokenizer.chat_template.tool_use".to_owned()));
    let tokenizer = read(&files[..2], 12).unwrap().unwrap();
    assert_eq!(tokenizer.chat_templates[0], (None, "old".to_owned()));
    let empty = [files[0], files[1], ("chat_template.jinja", &json!(""))];
    let error = read(&empty, 12).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja") && error.contains("or remove it"), "{error}");
}

#[test]
fn what_is_null_or_empty_in_the_config_is_not_there() {
    for nothing in [json!(null), json!(""), json!(" \n"), json!([])] {
        let config = json!({
            "chat_template": nothing, "added_tokens_decoder": null, "bos_token": null, "add_bos_token": null,
        });
        let mut json = tokenizer_json();
        json["added_tokens"][4]["lstrip"] = Value::Null;
        let tokenizer =
            read(&[("tokenizer.json", &json), ("tokenizer_config.json", &config)], 12).unwrap().unwrap();
        assert_eq!((tokenizer.chat_templates.len(), tokenizer.bos, tokenizer.add_bos), (0, None, None));
    }
}

#[test]
fn a_folder_without_a_tokenizer_is_not_an_error() {
    assert_eq!(read(&[], 12).unwrap(), None);
}

#[test]
fn another_tokenizer_is_refused() {
    let mut other_split = tokenizer_json();
    other_split["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{N}".into();
    let mut unigram = tokenizer_json();
    unigram["model"]["type"] = "Unigram".into();
    let mut no_splits = tokenizer_json();
    no_splits["pre_tokenizer"] = Value::Null;
    let mut twice = tokenizer_json();
    twice["added_tokens"][2]["id"] = 2.into();
    let mut contradictory = tokenizer_json();
    contradictory["added_tokens"][0]["id"] = 10.into();
    for (json, vocab_size, says) in [
        (other_split, 12, r"found \p{N} then"),
        (unigram, 12, "expected `BPE`, found `Unigram`"),
        (no_splits, 12, "found none"),
        (twice, 12, "id 2: found for"),
        (contradictory, 12, "found with ids 0 and 10"),
        (tokenizer_json(), 9, "expected an id below vocab_size = 9, found 9"),
    ] {
        let error = read(&[("tokenizer.json", &json)], vocab_size).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let config = json!({"eos_token": "</s>"});
    let error =
        read(&[("tokenizer.json", &tokenizer_json()), ("tokenizer_config.json", &config)], 12).unwrap_err();
    assert!(error.to_string().contains("token \"</s>\": expected one of tokenizer.json's tokens"), "{error}");
}

/// Each of these gives other ids than the tokenizer that the file's label stands for.
#[test]
fn whatever_changes_ids_is_refused_by_its_name() {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let template = |single: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}});
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let bos = special("<｜begin▁of▁sentence｜>");
    for (path, value, says) in [
        ("/normalizer", json!({"type": "NFC"}), "normalizer: expected none, found NFC"),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}),
            "found Lowercase",
        ),
        ("/normalizer", json!({"prepend": "x"}), "found something without a type"),
        ("/model/dropout", json!(0.1), "model.dropout: expected none, found 0.1"),
        ("/model/byte_fallback", json!(true), "model.byte_fallback"),
        ("/model/ignore_merges", json!(true), "model.ignore_merges: expected false, found true"),
        (
            "/model/continuing_subword_prefix",
            json!("##"),
            "model.continuing_subword_prefix: expected none, found \"##\"",
        ),
        ("/model/end_of_word_suffix", json!("</w>"), "model.end_of_word_suffix"),
        ("/added_tokens/4/lstrip", json!(true), "token \"<think>\": expected lstrip false"),
        ("/added_tokens/4/rstrip", json!(true), "expected rstrip false"),
        ("/added_tokens/0/single_word", json!(true), "expected single_word false"),
        ("/pre_tokenizer/pretokenizers/3/add_prefix_space", json!(true), "another ByteLevel"),
        ("/pre_tokenizer/pretokenizers/3/use_regex", json!(true), "another ByteLevel"),
        ("/pre_tokenizer/pretokenizers/3/use_regex", Value::Null, "another ByteLevel"),
        ("/pre_tokenizer/pretokenizers/0/behavior", json!("Removed"), "another Split"),
        ("/pre_tokenizer/pretokenizers/1/invert", json!(true), "another Split"),
        (
            "/post_processor",
            json!({"type": "BertProcessing"}),
            "post_processor: expected ByteLevel or TemplateProcessing",
        ),
        (
            "/post_processor",
            template(json!([bos, special("x"), text])),
            "post_processor: expected one that adds only",
        ),
        ("/decoder", json!({"type": "Metaspace"}), "decoder: expected ByteLevel, found Metaspace"),
    ] {
        let mut json = tokenizer_json();
        let (outer, last) = path.rsplit_once('/').unwrap();
        json.pointer_mut(outer).unwrap()[last] = value;
        let error = read(&[("tokenizer.json", &json)], 12).expect_err(path).to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
    // As the published file has them, and as R1's.
    for (path, value) in [
        ("/normalizer", json!({"type": "Sequence", "normalizers": []})),
        ("/post_processor", byte_level.clone()),
        ("/post_processor", template(json!([bos, text]))),
        (
            "/post_processor",
            json!({"type": "Sequence", "processors": [byte_level, template(json!([bos, text]))]}),
        ),
        ("/decoder", byte_level.clone()),
        ("/model/dropout", json!(0.0)),
        ("/model/end_of_word_suffix", json!("")),
        ("/model/unk_token", json!("<｜end▁of▁sentence｜>")),
    ] {
        let mut json = tokenizer_json();
        let (outer, last) = path.rsplit_once('/').unwrap();
        json.pointer_mut(outer).unwrap()[last] = value;
        read(&[("tokenizer.json", &json)], 12).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let again = json!({"added_tokens_decoder": {"8": {"content": "<think>", "rstrip": true}}});
    let files = [("tokenizer.json", &tokenizer_json()), ("tokenizer_config.json", &again)];
    let error = read(&files, 12).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: token \"<think>\": expected rstrip false"), "{error}");
}

#[test]
fn a_byte_order_mark_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("tokenizer.json"), format!("\u{feff}{}", tokenizer_json())).unwrap();
    assert!(Tokenizer::read(temp.path(), 12).unwrap().is_some());
}

#[test]
fn added_tokens_that_are_words_are_told() {
    let notes = |added: Value| {
        let mut json = tokenizer_json();
        json["added_tokens"].as_array_mut().unwrap().pop();
        json["added_tokens"].as_array_mut().unwrap().extend(added.as_array().unwrap().iter().cloned());
        read(&[("tokenizer.json", &json)], 20).unwrap().unwrap().notes
    };
    let markers = json!([
        {"id": 15, "content": "<note>", "special": false},
        {"id": 16, "content": "<|mark|>", "special": false},
        {"id": 17, "content": "stop here", "special": true},
    ]);
    assert!(notes(markers).is_empty());
    let words = json!([{"id": 15, "content": "hello", "special": false}, {"id": 16, "content": "you", "special": false}]);
    let [note] = &notes(words)[..] else { panic!("one note") };
    assert!(note.contains("added token \"hello\" and 1 more will not be found"), "{note}");
}

/// As many programs write them: -1 for none, a list of one, a list of several.
#[test]
fn ids_of_the_models_config_are_taken_as_they_are_written_or_named() {
    let files = |model: &Value| {
        let json = tokenizer_json();
        read(&[("tokenizer.json", &json), ("config.json", model)], 12)
    };
    let found = files(&json!({"bos_token_id": [0], "eos_token_id": 1, "pad_token_id": -1})).unwrap().unwrap();
    assert_eq!((found.bos, found.eos, found.padding), (Some(0), Some(1), None));
    assert!(found.more_ends.is_empty() && found.notes.iter().all(|note| note.starts_with("tokenizer.json")));
    let found = files(&json!({"bos_token_id": null, "eos_token_id": [1, 7, 99, 8, 6]})).unwrap().unwrap();
    assert_eq!((found.bos, found.eos, found.more_ends.as_slice()), (None, Some(1), &[7, 8][..]));
    assert!(found.notes[0].contains("eos_token_id: [6]"), "{:?}", found.notes);
    assert!(found.notes[1].contains("eos_token_id: expected an id below vocab_size = 12, found 99"));
    // What ends an answer may stand in a file of its own.
    let generation = json!({"eos_token_id": [1, 8], "bos_token_id": 0, "temperature": 0.6});
    let generating = |generation: &Value| {
        let (json, model) = (tokenizer_json(), json!({"eos_token_id": 1}));
        read(
            &[("tokenizer.json", &json), ("config.json", &model), ("generation_config.json", generation)],
            12,
        )
    };
    let more = generating(&generation).unwrap().unwrap();
    assert_eq!((more.eos, more.more_ends.as_slice()), (Some(1), &[8][..]));
    let refused = generating(&json!({"eos_token_id": "x"})).unwrap_err().to_string();
    assert!(refused.contains("generation_config.json") && refused.contains("eos_token_id"), "{refused}");
    let keys = found.to_gguf();
    let value = |key: &str| keys.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    assert_eq!(value("tokenizer.ggml.eot_token_id"), Some(7u32.into()));
    assert_eq!(value("tokenizer.ggml.eom_token_id"), Some(8u32.into()));
    for (name, value) in [
        ("bos_token_id", json!("0")),
        ("bos_token_id", json!([0, 1])),
        ("pad_token_id", json!(-2)),
        ("pad_token_id", json!(1.5)),
        ("eos_token_id", json!(["a"])),
        ("eos_token_id", json!(1u64 << 40)),
    ] {
        let error = files(&json!({ name: value })).unwrap_err().to_string();
        assert!(error.contains(&format!("config.json: {name}: expected the id of a token")), "{error}");
    }
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let config = |config: &Value| {
        read(&[("tokenizer.json", &tokenizer_json()), ("tokenizer_config.json", config)], 12)
    };
    let again =
        |id: &str, text: &str| json!({"added_tokens_decoder": {id: {"content": text, "special": true}}});
    config(&again("8", "<think>")).unwrap();
    for (id, text, says) in [("8", "<｜User｜>", "expected id 7"), ("10", "<tool>", "expected no such token")]
    {
        let error = config(&again(id, text)).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer_config.json: added_tokens_decoder") && error.contains(says),
            "{error}"
        );
    }
    let twice = json!({"chat_template": [{"name": "default", "template": "a"}, {"name": "default", "template": "b"}]});
    let error = config(&twice).unwrap_err().to_string();
    assert!(error.contains("found two named \"default\""), "{error}");
    for (name, value) in [("bos_token", json!(["a"])), ("chat_template", json!({"default": "x"}))] {
        let error = config(&json!({ name: value })).unwrap_err().to_string();
        assert!(
            !error.contains("untagged") && !error.contains("Named") && error.contains("expected"),
            "{error}"
        );
    }
    let error = read(&[("tokenizer.json", &json!([1]))], 12).unwrap_err().to_string();
    assert!(!error.contains("struct") && !error.contains("TokenizerJson"), "{error}");
}
