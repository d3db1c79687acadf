//! Tools in a conversation on a terminal: confirmed, typed, stopped, saved.
#![cfg(all(target_os = "linux", feature = "builtin-model"))]

mod common;

use common::terminal::{CTRL_C, LISTENS, Place, Terminal};
use common::wait_until;

const WEATHER: &str = r#"get_weather=printf '{"temp": 21, "sky": "clear"}'"#;
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tools.json");

/// A chat with the built-in model and the tools of the README.
fn chat(place: &Place, args: &[&str]) -> Terminal {
    let mut command = place.command(&[&["chat", "--temp", "0", "--tools", TOOLS], args].concat());
    command.current_dir(place.folder.path()).env("NO_COLOR", "1");
    Terminal::open(command)
}

/// How many tokens of the last prompt were computed.
fn computed(told: &str) -> usize {
    let figures = &told[told.rfind("prompt ").unwrap_or_else(|| panic!("no figures in {told:?}"))..];
    let number = |behind: &str| -> usize {
        let rest = figures.split(behind).nth(1).unwrap_or_else(|| panic!("{figures}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    number("prompt ") - number("tokens (")
}

#[test]
fn a_command_is_confirmed_and_always_stays_always() {
    let place = Place::new();
    let mut terminal = chat(&place, &["--tool-cmd", WEATHER]);
    let told = terminal.say("/tools");
    assert!(told.contains("get_weather") && told.contains("runs: printf"), "{told}");
    assert!(told.contains("no command: you type the result"), "{told}");
    let told = terminal.say("/context");
    let n =
        told.split(" of the tools").next().and_then(|rest| rest.rsplit(' ').next()).map(str::parse::<usize>);
    assert!(matches!(n, Some(Ok(200..))), "{told}");

    let told = terminal.say("What is the weather in Boston?");
    assert!(told.contains("call get_weather(city: \"Boston\")"), "{told}");
    terminal.until("run get_weather {\"city\":\"Boston\"} with `printf");
    let told = terminal.say("n");
    assert!(!told.contains("result of get_weather"), "{told}");
    terminal.say("/undo");

    terminal.say("What is the weather in Boston?");
    let told = terminal.say("a");
    assert!(told.contains("result of get_weather: {\"temp\": 21"), "{told}");
    let answer = told.rsplit_once("\"clear\"}").map(|(_, answer)| answer);
    assert!(answer.is_some_and(|answer| answer.contains("21 degrees")), "{told}");
    let told = terminal.say("What is the weather in Paris?");
    assert!(told.contains("result of get_weather"), "nobody is asked again: {told}");
}

#[test]
fn a_person_answers_where_there_is_no_command() {
    let place = Place::new();
    let mut terminal = chat(&place, &[]);
    terminal.say("What is the weather in Boston?");
    let told = terminal.say(r#"{"temp": 17, "sky": "foggy"}"#);
    assert!(told.contains("17"), "{told}");
    let told = terminal.say("/history");
    assert!(told.contains("tool: {\"temp\": 17") && told.contains("model: call get_weather"), "{told}");
    assert!(!told.contains("model: model:"), "{told}");

    // Ctrl-C at the question leaves it; the conversation is whole, and /regen goes on.
    terminal.say("What is the weather in Paris?");
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("stopped; /regen continues"));
    assert!(terminal.say("/regen").contains("tokens ("));
    let told = terminal.say("/stats");
    assert!(told.contains("8 messages"), "{told}");
}

#[test]
fn ctrl_c_ends_a_command() {
    let place = Place::new();
    let mut terminal = chat(&place, &["--yes", "--tool-cmd", "get_weather=echo begun > begun; sleep 1000"]);
    terminal.press("What is the weather in Boston?\r");
    terminal.until("call get_weather");
    wait_until("the tool runs", || place.file("begun").exists());
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("stopped"));
    assert!(terminal.say("/stats").contains("3 messages"));
}

#[test]
fn the_model_s_own_writing_stays_cached_also_after_save_and_load() {
    let place = Place::new();
    let saved = place.file("talk.json");
    let args = ["--yes", "--tool-cmd", WEATHER];
    let mut terminal = chat(&place, &args);
    let first = computed(&terminal.say("What is the weather in Boston?"));
    let second = computed(&terminal.say("What is the weather in Paris?"));
    // Both are EOS, the result and its marks: what differs is nothing.
    assert_eq!(first, second);
    let told = terminal.say("/save talk.json");
    assert!(told.contains("8 messages saved"), "{told}");
    let new = computed(&terminal.say("/regen"));
    assert_eq!(new, 1, "a prompt that is there to its end");
    terminal.leave();

    let ids: serde_json::Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    assert_eq!(ids["settings"]["tools"].as_array().unwrap().len(), 2);
    assert!(!ids["message_ids"][1].as_array().unwrap().is_empty(), "the call is kept in its ids");

    // What it knows is on the disk; the conversation is the same ids.
    let mut terminal = chat(&place, &args);
    assert!(terminal.say("/load talk.json").contains("8 messages loaded"));
    let asks = "What time is it in Rome?";
    let told = terminal.say(asks);
    assert!(told.contains("of them on disk"), "{told}");
    // EOS, the person's mark, the question, the mark of an answer, its opening tag.
    assert_eq!(computed(&told), 4 + n_tokens(asks), "{told}");
}

/// How many tokens a text has in the built-in vocabulary.
fn n_tokens(said: &str) -> usize {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/builtin/builtin.gguf");
    let done = common::fathom().args(["tokenize", model, said]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().split_whitespace().count()
}

#[test]
fn a_kept_conversation_brings_its_tools_and_leaves_them_to_no_other() {
    let place = Place::new();
    let mut terminal = chat(&place, &["--yes", "--tool-cmd", WEATHER, "--session", "weather"]);
    terminal.say("What is the weather in Boston?");
    terminal.leave();

    // Without flags of tools: the person answers, for there are no commands.
    let mut command = place.command(&["chat", "--temp", "0"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::open(command);
    assert!(terminal.say("/tools").contains("the model has no tools"));
    terminal.say("What is 2 + 3?");
    assert!(terminal.say("/switch weather").contains("4 messages"));
    let told = terminal.say("What is the weather in Paris?");
    assert!(told.contains("call get_weather(city: \"Paris\")") && !told.contains("in a row"), "{told}");
    let told = terminal.say(r#"{"temp": 17, "sky": "foggy"}"#);
    assert!(told.contains("17"), "{told}");
    assert!(terminal.say("/switch what-is-2-3").contains("2 messages"));
    assert!(terminal.say("/tools").contains("the model has no tools"));
    terminal.leave();

    let args = ["chat", "--json-schema", "{}", "--session", "weather"];
    let done = place.command(&args);
    let told = rexpect::session::spawn_command(done, Some(180_000)).unwrap().exp_eof().unwrap();
    assert!(told.contains("start without --json-schema"), "{told}");
}

#[test]
fn a_killed_program_leaves_no_command_behind() {
    let place = Place::new();
    let command = "get_weather=sleep 1000 & echo $! > sleeper; wait";
    let mut terminal = chat(&place, &["--yes", "--tool-cmd", command]);
    terminal.press("What is the weather in Boston?\r");
    terminal.until("call get_weather");
    let told = || std::fs::read_to_string(place.file("sleeper")).unwrap_or_default();
    wait_until("the command runs", || told().ends_with('\n'));
    let sleeper = told().trim().to_owned();
    let is_there = || {
        let status = std::fs::read_to_string(format!("/proc/{sleeper}/status"));
        status.is_ok_and(|status| status.contains("sleep") && !status.contains("Z (zombie)"))
    };
    // The shell tells its number before it has become `sleep`.
    wait_until("the command is there", is_there);
    // Nothing of the program is asked.
    terminal.pty.process_mut().signal(rexpect::process::Signal::SIGKILL).unwrap();
    wait_until("the command has ended", || !is_there());
}
