//! Tools: announced, called by the built-in model, answered by commands and by people; and answers that follow a schema.
#![cfg(all(unix, feature = "builtin-model"))]

mod common;

use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A question that the built-in model answers with a call, and one that it answers after it.
const ASKS: &str = "What is the weather in Boston?";
const WEATHER: &str = r#"get_weather=printf '{"temp": 21, "sky": "clear"}'"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tools.json"), place.file("tools.json"))
            .unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = common::fathom();
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.file("state")).env("FATHOM_CACHE_DIR", self.file("kept"));
        command.env("TERM", "xterm-256color").env("NO_COLOR", "1");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(&[&["run", "--tools", "tools.json", "--no-cache"], args].concat()).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Json {
        let done = self.run(&[args, &["--json"]].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_call_without_a_command_is_printed_for_the_program_that_asked() {
    let place = Place::new();
    let done = place.run(&["-p", ASKS, "--temp", "0"]);
    assert!(done.status.success());
    let call: Json = serde_json::from_str(text(&done.stdout).trim()).unwrap();
    assert_eq!(call, json!({"name": "get_weather", "arguments": {"city": "Boston"}}));
    let told = text(&done.stderr);
    assert!(told.contains("call get_weather(city: \"Boston\")"), "{told}");
    assert!(told.contains("--tool-cmd get_weather=COMMAND"), "{told}");
}

/// What fills the context would leave no room for the answer, and no way on.
#[test]
fn a_result_takes_what_the_context_has_room_for() {
    let place = Place::new();
    let large = "get_weather=printf '{\"temp\": 21, \"sky\": \"clear\"} é'; seq 20000";
    let args = ["-p", ASKS, "--temp", "0", "--yes", "-c", "1024", "-n", "100", "--tool-cmd", large, "--json"];
    let done = place.run(&args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let whole: Json = serde_json::from_slice(&done.stdout).unwrap();
    let result = whole["tool_rounds"][0]["results"][0].as_str().unwrap();
    assert!(result.starts_with("{\"temp\": 21, \"sky\": \"clear\"} é"), "{result}");
    let (_, note) = result.rsplit_once('\n').unwrap();
    assert!(note.starts_with("[cut: the first ") && note.ends_with("there is no room for more]"), "{note}");
    assert!(text(&done.stderr).contains("no room for the whole result of get_weather"));
}

#[test]
fn a_command_runs_after_confirmation_and_the_model_goes_on() {
    let place = Place::new();
    // Nobody can be asked, and nobody said yes.
    let args = ["-p", ASKS, "--temp", "0", "--tool-cmd", WEATHER];
    let done = place.run(&args);
    assert!(text(&done.stdout).contains("get_weather"), "the call is printed");
    assert!(text(&done.stderr).contains("not run: there is no terminal to ask for permission"));

    let yes = [&args[..], &["--yes"]].concat();
    let done = place.run(&yes);
    assert!(done.status.success());
    assert!(text(&done.stdout).contains("21"), "{}", text(&done.stdout));
    assert!(!text(&done.stdout).contains("get_weather"), "a call that was answered is no answer");

    let whole = place.json(&yes);
    assert_eq!(whole["tool_rounds"][0]["tool_calls"][0]["arguments"]["city"], "Boston");
    assert_eq!(whole["tool_rounds"][0]["results"], json!([r#"{"temp": 21, "sky": "clear"}"#]));
    assert!(whole["text"].as_str().unwrap().contains("21"));

    let done = place.run(&[&yes[..], &["--jsonl"]].concat());
    let lines: Vec<Json> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).unwrap();
    assert_eq!(of("tool_call")["name"], "get_weather");
    assert_eq!(of("tool_result")["content"], r#"{"temp": 21, "sky": "clear"}"#);
}

#[test]
fn what_the_model_wrote_is_not_read_again() {
    let place = Place::new();
    for think in ["--no-think", "--think"] {
        let whole = place.json(&["-p", ASKS, "--temp", "0", "--yes", "--tool-cmd", WEATHER, think]);
        let usage = &whole["usage"];
        let new = usage["prompt_tokens"].as_u64().unwrap() - usage["cached_tokens"].as_u64().unwrap();
        // EOS, the marks around the result, the result, the tag that opens the answer.
        let result = n_tokens(
            &place,
            "\n\n<function_results>\n<result>{\"temp\": 21, \"sky\": \"clear\"}</result>\n</function_results>\n\n",
        );
        assert_eq!(new, result + 2, "{think}");
    }
}

/// How many tokens a text has in the built-in vocabulary.
fn n_tokens(place: &Place, said: &str) -> u64 {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/builtin/builtin.gguf");
    let done = place.command(&["tokenize", model, said]).output().unwrap();
    text(&done.stdout).split_whitespace().count() as u64
}

#[test]
fn rounds_have_an_end() {
    let place = Place::new();
    let args = ["-p", ASKS, "--temp", "0", "--yes", "--tool-cmd", WEATHER, "--tool-rounds", "0"];
    let done = place.run(&args);
    assert!(text(&done.stdout).contains("get_weather"));
    assert!(text(&done.stderr).contains("0 times in a row (--tool-rounds)"), "{}", text(&done.stderr));
}

#[test]
fn mistakes_are_told_before_anything_is_loaded() {
    let place = Place::new();
    std::fs::write(place.file("bad.json"), r#"[{"name": "a"}, {"name": 5}]"#).unwrap();
    let failed = |args: &[&str], code: i32, expected: &str| {
        let done = place.command(&[&["run", "-p", "x"], args].concat()).output().unwrap();
        let told = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{told}");
        assert!(told.contains(expected), "{told}");
    };
    failed(&["--tools", "bad.json"], 3, "bad.json: tool 1 (counted from 0)");
    failed(&["--tools", "none.json"], 3, "none.json: ");
    let tools = ["--tools", "tools.json", "--tool-cmd"];
    failed(&[&tools[..], &["get_wether=true"]].concat(), 2, "did you mean \"get_weather\"?");
    failed(&[&tools[..], &["get_time=true", "--tool-cmd", "get_time=true"]].concat(), 2, "two commands");
    failed(&["--tool-cmd", "a=b"], 2, "--tools <FILE>");
    failed(&["--json-schema", "{"], 2, "--json-schema: expected a JSON schema");
    failed(&["--json-schema", "nowhere"], 2, "or a file with one, found \"nowhere\"");
    failed(&["--json-schema", "nowhere.json"], 3, "nowhere.json: ");
    let wrong = r##"{"properties": {"a": {"type": "array", "items": {"type": "strin"}}}}"##;
    failed(&["--json-schema", wrong], 3, "--json-schema: at #/properties/a/items: Invalid type: strin");
}

#[test]
fn a_hot_model_still_writes_calls_that_are_calls() {
    let place = Place::new();
    let mut n_calls = 0;
    for seed in 0..12 {
        let seed = seed.to_string();
        let args = ["-p", ASKS, "--temp", "2", "--top-p", "1", "--seed", &seed, "-n", "60"];
        let whole = place.json(&args);
        let said = whole["text"].as_str().unwrap();
        // A value may go on until the limit; what ended is a call of a tool that there is.
        assert!(!said.contains("｜DSML｜") || whole["stop_reason"] == "n_predict", "{said}");
        for call in whole["tool_calls"].as_array().unwrap() {
            assert!(["get_weather", "get_time"].contains(&call["name"].as_str().unwrap()), "{call}");
            n_calls += 1;
        }
        if seed == "1" {
            let again = place.json(&args);
            assert_eq!((&again["text"], &again["tool_calls"]), (&whole["text"], &whole["tool_calls"]));
        }
    }
    eprintln!("{n_calls} calls");
}

/// Answers that ended, among twenty seeds; each must be what `check` wants.
fn follow(schema: &Json, temperature: &str, check: &dyn Fn(&Json) -> bool) -> usize {
    let place = Place::new();
    std::fs::write(place.file("schema.json"), schema.to_string()).unwrap();
    let mut n_ended = 0;
    for seed in 0..20 {
        let from = if seed % 2 == 0 { "-jf" } else { "--json-schema" };
        let seed = seed.to_string();
        let args = ["run", "--no-cache", "-p", "Give me some JSON.", from, "schema.json", "--json"];
        let more = ["-n", "110", "--seed", &seed, "--temp", temperature];
        let done = place.command(&[&args[..], &more].concat()).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        let whole: Json = serde_json::from_slice(&done.stdout).unwrap();
        assert!(["eos", "n_predict"].contains(&whole["stop_reason"].as_str().unwrap()), "{whole}");
        if whole["stop_reason"] == "eos" {
            let said = whole["text"].as_str().unwrap();
            let json = serde_json::from_str(said).unwrap_or_else(|error| panic!("{said:?}: {error}"));
            assert!(check(&json), "{json} does not follow {schema}");
            n_ended += 1;
        }
    }
    n_ended
}

#[test]
fn answers_follow_a_schema() {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 2},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
    });
    let is_person = |json: &Json| {
        let object = json.as_object().unwrap();
        let tags = json["tags"].as_array();
        object.len() == 3
            && json["name"].as_str().is_some_and(|name| name.chars().count() <= 8)
            && json["age"].as_u64().is_some_and(|age| age <= 150)
            && tags.is_some_and(|tags| {
                tags.len() <= 2 && tags.iter().all(|tag| tag == "a" || tag == "b" || tag == "c")
            })
    };
    assert!(follow(&person, "1", &is_person) >= 10);
    let choice = json!({"enum": ["yes", "no", 3, null]});
    let is_choice = |json: &Json| [json!("yes"), json!("no"), json!(3), json!(null)].contains(json);
    assert_eq!(follow(&choice, "2", &is_choice), 20);
    let tree = json!({
        "$defs": {"node": {
            "type": "object",
            "properties": {"n": {"type": "number", "minimum": -1, "maximum": 1}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["n", "next"],
            "additionalProperties": false,
        }},
        "$ref": "#/$defs/node",
    });
    fn is_node(json: &Json) -> bool {
        json.as_object().is_some_and(|object| object.len() == 2)
            && json["n"].as_f64().is_some_and(|n| n.abs() <= 1.0)
            && (json["next"].is_null() || is_node(&json["next"]))
    }
    assert!(follow(&tree, "1", &is_node) >= 1);
}

/// What the compiler of schemas takes in another way than it is meant: numbers beyond 2^53, formats, references.
#[test]
fn schemas_are_taken_as_they_are_meant() {
    let place = Place::new();
    let ask = |schema: &str| {
        let args = ["run", "--no-cache", "-p", "Give me some JSON.", "-j", schema, "-n", "110", "--json"];
        place.command(&args).output().unwrap()
    };
    for (schema, expected) in [
        (r#"{"enum": [9007199254740993]}"#, "9007199254740993"),
        (r#"{"const": 175928847299117063175928847299117063}"#, "175928847299117063175928847299117063"),
        (
            r#"{"type": "object", "properties": {"id": {"const": 9007199254740993}, "on": {"const": true}}, "required": ["id", "on"], "additionalProperties": false}"#,
            r#"{"id": 9007199254740993, "on": true}"#,
        ),
        (
            r##"{"type": "array", "items": {"$ref": "#/$defs/i~1d"}, "minItems": 2, "maxItems": 2, "$defs": {"i/d": {"enum": [653247040368672769]}}}"##,
            "[653247040368672769, 653247040368672769]",
        ),
        (r##"{"$ref": "#/$defs/m~1z", "$defs": {"m/z": {"const": 5}}}"##, "5"),
        (r#"{"type": "integer", "format": "int32", "minimum": 3, "maximum": 3}"#, "3"),
    ] {
        let done = ask(schema);
        assert!(done.status.success(), "{schema}: {}", text(&done.stderr));
        let whole: Json = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(whole["text"], expected, "{schema}");
        assert_eq!(text(&done.stderr).contains("\"int32\" is not enforced"), schema.contains("int32"));
    }
    for schema in [r##"{"$ref": "#"}"##, r#"{"type": "integer", "multipleOf": 1000003}"#] {
        let done = ask(schema);
        assert_eq!(done.status.code(), Some(3), "{schema}");
        assert!(text(&done.stderr).contains("at #"), "{}", text(&done.stderr));
    }
    let done = place
        .command(&["run", "--no-cache", "-p", "x", "-j", r#"{"type": "string", "minLength": 50}"#, "-n", "3"])
        .output()
        .unwrap();
    assert!(done.status.success() && text(&done.stderr).contains("(-n) before its JSON was complete"));
}

/// An answer that ended before its form did is an error that says so, whatever there is of it.
#[test]
fn an_answer_without_its_form_is_no_success() {
    let place = Place::new();
    let ask = |args: &[&str]| {
        let args = [&["run", "--no-cache", "-p", "Give me some JSON.", "-n", "60", "--json"], args].concat();
        let done = place.command(&args).output().unwrap();
        let whole: Json = serde_json::from_slice(&done.stdout).unwrap();
        (whole["stop_reason"].clone(), done.status.code(), text(&done.stderr))
    };
    // The model ends its answer while it reasons.
    let (reason, code, told) =
        ask(&["-j", "true", "--think", "--logit-bias", &format!("{}+100", end_of_text())]);
    assert_eq!((reason, code), (json!("eos"), Some(1)), "{told}");
    assert!(told.contains("error: the model ended its answer in its reasoning"), "{told}");
    let (reason, code, told) = ask(&["-j", "true", "-n", "200"]);
    assert!(["eos", "n_predict"].contains(&reason.as_str().unwrap()) && code == Some(0), "{told}");
}

/// The token with which the built-in model ends an answer.
fn end_of_text() -> u64 {
    let done = Place::new().command(&["inspect", "--json"]).output().unwrap();
    let told: Json = serde_json::from_slice(&done.stdout).unwrap();
    let mut entries = told["metadata"].as_array().unwrap().iter();
    entries.find(|entry| entry["key"] == "tokenizer.ggml.eos_token_id").unwrap()["value"].as_u64().unwrap()
}

#[test]
fn reasoning_is_free_and_greedy_answers_follow_too() {
    let place = Place::new();
    let args = ["run", "--no-cache", "-p", "What is 2 + 3?", "--think", "--temp", "0", "--json"];
    let ask = |more: &[&str]| -> Json {
        let done = place.command(&[&args[..], more].concat()).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let schema = r#"{"type": "object", "properties": {"sum": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["sum"], "additionalProperties": false}"#;
    let formed = ask(&["-j", schema, "-n", "200"]);
    assert_eq!(formed["reasoning"], ask(&["-n", "200"])["reasoning"], "it is the same as without");
    let said: Json = serde_json::from_str(formed["text"].as_str().unwrap()).unwrap();
    assert!(said["sum"].is_u64(), "{said}");
}
