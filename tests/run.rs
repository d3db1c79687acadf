//! `fathom run`, and `fathom chat` without a terminal: prompts, JSON, pipes, exit codes.

mod common;

use common::{convert, wait_until};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

fn model() -> &'static Path {
    static MODEL: OnceLock<common::Converted> = OnceLock::new();
    &MODEL.get_or_init(|| convert("base", "f32")).path
}

fn fathom(verb: &str, args: &[&str]) -> Command {
    let mut command = common::fathom();
    command.env("FATHOM_NO_CACHE", "1").arg(verb).arg(model()).args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    fathom("run", args).output().unwrap()
}

fn with_stdin(mut command: Command, text: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(done: &Output) -> i32 {
    done.status.code().unwrap_or_else(|| panic!("{:?}", done.status))
}

fn json(args: &[&str]) -> Json {
    let done = run(args);
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn prompt_tokens(args: &[&str]) -> u64 {
    json(&[args, &["--json", "-n", "1"]].concat())["usage"]["prompt_tokens"].as_u64().unwrap()
}

#[test]
fn the_answer_is_on_stdout_and_the_rest_on_stderr() {
    let args = ["-p", "the end", "--seed", "5", "-n", "20"];
    let done = run(&args);
    assert_eq!(code(&done), 0);
    let whole = json(&[&args[..], &["--json"]].concat());
    let answer = whole["text"].as_str().unwrap();
    assert!(!answer.is_empty());
    assert_eq!(text(&done.stdout).trim_end_matches('\n'), answer.trim_end_matches('\n'));
    assert!(text(&done.stdout).ends_with('\n'));
    let told = text(&done.stderr);
    assert!(told.contains("tokens/s") && told.contains("seed 5") && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn seeds_repeat_and_are_told_where_none_was_given() {
    let first = json(&["-p", "x", "-n", "30", "--json"]);
    let seed = first["seed"].to_string();
    let again = json(&["-p", "x", "-n", "30", "--json", "--seed", &seed, "-t", "1"]);
    assert_eq!(first["text"], again["text"]);
    let best = |seed| json(&["-p", "x", "-n", "30", "--json", "--temp", "0", "--seed", seed])["text"].clone();
    assert_eq!(best("1"), best("2"));
}

#[test]
fn a_logit_bias_decides_and_is_of_a_token() {
    let biased =
        |flag: &str| json(&["-p", "x", "--raw", "-n", "4", "--json", "--seed", "1", flag, "40+1000"]);
    let same = biased("-l")["text"].as_str().unwrap().to_owned();
    assert_eq!(same, same[..same.len() / 4].repeat(4));
    assert_eq!(biased("--logit-bias")["text"], same);
    let tokens = ["--presence-penalty", "2000", "--repeat-last-n", "-1"];
    let penalised = [&["-p", "x", "--raw", "-n", "4", "--json", "--seed", "1", "-l", "40+1000"], &tokens[..]];
    assert_ne!(json(&penalised.concat())["text"], same, "the penalty is larger than the bias");

    let wrong = run(&["-p", "x", "-l", "70000-inf"]);
    assert_eq!(code(&wrong), 2);
    let told = text(&wrong.stderr);
    assert!(told.contains("70000-inf") && told.contains("vocabulary's"), "{told}");
}

#[test]
fn json_has_all_and_lines_say_it_bit_by_bit() {
    let args = ["-p", "the end", "--seed", "3", "-n", "25", "-b", "4"];
    let whole = json(&[&args[..], &["--json"]].concat());
    let keys: Vec<&str> = whole.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "model",
        "text",
        "reasoning",
        "tool_calls",
        "malformed_calls",
        "stop_reason",
        "stop_string",
        "reasoning_cut",
        "repeats_itself",
        "seed",
        "usage",
        "timings",
    ];
    assert_eq!(keys, expected);
    assert!(["n_predict", "eos"].contains(&whole["stop_reason"].as_str().unwrap()));
    assert!(whole["usage"]["completion_tokens"].as_u64().unwrap() <= 25);
    assert!(whole["timings"]["prompt_tokens_per_second"].as_f64().unwrap() > 0.0);

    let done = run(&[&args[..], &["--jsonl"]].concat());
    let lines: Vec<Json> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let joined: String = lines
        .iter()
        .filter(|line| line["type"] == "text")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(joined, whole["text"].as_str().unwrap());
    assert_eq!((&lines[0]["type"], &lines[0]["done"]), (&"prompt".into(), &0.into()));
    assert!(lines.iter().filter(|line| line["type"] == "prompt").count() >= 3, "batches of four");
    let end = lines.last().unwrap();
    assert_eq!((&end["type"], &end["text"]), (&"end".into(), &whole["text"]));
    assert_eq!(text(&done.stderr), "");
}

#[test]
fn prompts_come_from_the_flag_the_file_and_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "one\n").unwrap();
    let file = file.to_str().unwrap();
    let n = prompt_tokens(&["-p", "one"]);
    assert_eq!(prompt_tokens(&["-f", file]), n, "the last line end of a file does not count");
    assert_eq!(prompt_tokens(&["-p", "two", "-f", file]), prompt_tokens(&["-p", "two\n\none"]));
    let piped = |args: &[&str], stdin: &str| {
        let done = with_stdin(fathom("run", &[args, &["--json", "-n", "1"]].concat()), stdin);
        serde_json::from_slice::<Json>(&done.stdout).unwrap()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(piped(&[], "one\r\n"), n);
    assert_eq!(piped(&["-f", "-"], "one"), n);
    assert_eq!(piped(&["-p", "two"], "one\n"), prompt_tokens(&["-p", "two\n\none"]));
}

#[test]
fn words_and_flags_name_model_and_prompt_alike() {
    let n = prompt_tokens(&["-p", "one two"]);
    let path = model().to_str().unwrap();
    for words in [
        &["run", path, "one two"][..],
        &["run", path, "one", "two"],
        &["run", "one two", "-m", path],
        &["run", "--model", path, "one two"],
        &["run", "-m", path, "-p", "one two"],
        &["-q", "run", "-fa", "--jinja", path, "one two"],
    ] {
        let mut command = common::fathom();
        command.env("FATHOM_NO_CACHE", "1").args(words).args(["--json", "-n", "1"]).stdin(Stdio::null());
        let done = command.output().unwrap();
        assert_eq!(code(&done), 0, "{words:?}: {}", text(&done.stderr));
        let json: Json = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(json["usage"]["prompt_tokens"], n, "{words:?}");
    }
    let both = run(&["one", "-p", "two"]);
    assert_eq!(code(&both), 2, "{}", text(&both.stderr));
}

#[test]
fn a_model_alone_is_a_chat_and_its_prompt_a_flag() {
    let expected = run(&["-p", "one", "--seed", "4", "-n", "10"]).stdout;
    for words in [&["-p", "one"][..], &["--no-context-shift", "-cnv", "-p", "one"]] {
        let mut command = common::fathom();
        command.env("FATHOM_NO_CACHE", "1").arg(model()).args(words).args(["--seed", "4", "-n", "10"]);
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!((code(&done), done.stdout), (0, expected.clone()), "{}", text(&done.stderr));
    }
    let piped = with_stdin(fathom("chat", &["-p", "two", "--seed", "4", "-n", "10"]), "one\n");
    assert_eq!(piped.stdout, run(&["-p", "two\n\none", "--seed", "4", "-n", "10"]).stdout);
}

#[test]
fn quiet_leaves_the_answer_alone() {
    let args = ["-p", "the end", "--seed", "5", "-n", "20"];
    let done = run(&[&args[..], &["-q", "--jinja"]].concat());
    assert_eq!((code(&done), text(&done.stderr)), (0, String::new()));
    assert_eq!(done.stdout, run(&args).stdout);
    let folder = tempfile::tempdir().unwrap();
    let mut synth = common::fathom();
    synth.args(["-q", "synth", "--preset", "v3.2-slice:1+0", "--type", "q8_0", "--zeros", "-o"]);
    let written = synth.arg(folder.path().join("zeros.gguf")).output().unwrap();
    assert_eq!((code(&written), text(&written.stderr)), (0, String::new()));
    let wrong = run(&["-q", "-p", "x", "-l", "70000-inf"]);
    assert!(code(&wrong) == 2 && text(&wrong.stderr).starts_with("error: "), "errors are told");
}

#[test]
fn who_leaves_stdin_open_is_told_once_that_it_is_waited_for() {
    for (quiet, is_told) in [(&[][..], true), (&["-q"], false)] {
        let mut command = fathom("run", &[&["-p", "ab", "-n", "1"], quiet].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let (send, told) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || stderr.lines().try_for_each(|line| send.send(line.unwrap())));
        let note = "note: reading the text from stdin until it ends (stdin is not a terminal; add < /dev/null if nothing";
        if is_told {
            while !told.recv_timeout(common::PATIENCE).expect("a note").starts_with(note) {}
        }
        // It is not told again, and nothing is told at all where nothing should be.
        std::thread::sleep(Duration::from_secs(3));
        assert!(child.try_wait().unwrap().is_none(), "it does not wait");
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        reader.join().unwrap().unwrap();
        let others: Vec<String> = told.iter().collect();
        assert!(!others.iter().any(|line| line.starts_with(note)), "{others:?}");
    }
}

/// Whatever is to be read and is not there has one exit code, in every verb.
#[test]
fn a_missing_input_is_exit_code_3_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let nowhere = "/nowhere/at/all";
    let model = model().to_str().unwrap();
    for args in [
        &["chat", nowhere, "-p", "x"][..],
        &[nowhere, "-p", "x"],
        &["run", nowhere, "-p", "x"],
        &["run", model, "-f", nowhere],
        &["run", model, "-p", "x", "--tools", nowhere],
        &["run", model, "-p", "x", "--json-schema-file", nowhere],
        &["run", model, "-p", "x", "-j", nowhere],
        &["inspect", nowhere],
        &["doctor", nowhere],
        &["bench", nowhere],
        &["perplexity", nowhere, "-f", model],
        &["perplexity", model, "-f", nowhere],
        &["perplexity", model, "--kl-base", nowhere],
        &["logits", nowhere, "--tokens", "1", "-o", out],
        &["logits", model, "--tokens-file", nowhere, "-o", out],
        &["tokenize", nowhere, "x"],
        &["tokenize", model, "-f", nowhere],
        &["detokenize", nowhere, "1"],
        &["detokenize", model, "-f", nowhere],
        &["quantize", nowhere, "--type", "q8_0", "-o", out],
        &["models", nowhere],
    ] {
        let done = common::fathom().args(args).stdin(Stdio::null()).output().unwrap();
        let told = text(&done.stderr);
        assert_eq!(code(&done), 3, "{args:?}: {told}");
        assert!(told.contains(nowhere), "{args:?}: {told}");
    }
}

#[test]
fn raw_text_begins_with_bos_and_knows_control_tokens_only_if_asked() {
    let n = prompt_tokens(&["--raw", "-p", "ab"]);
    assert_eq!(n, 3, "BOS, a, b");
    assert_eq!(prompt_tokens(&["--raw", "--special", "-p", "<｜begin▁of▁sentence｜>ab<｜User｜>"]), 4);
    assert!(prompt_tokens(&["--raw", "-p", "ab<｜User｜>"]) > 6);
    let chat = prompt_tokens(&["-p", "ab"]);
    assert_eq!(chat, 6, "BOS, User, a, b, Assistant, </think>");
    for flag in ["--system", "--sys", "-sys"] {
        assert_eq!(prompt_tokens(&["-p", "ab", flag, "x"]), 7);
    }
    assert_eq!(
        prompt_tokens(&["-p", "ab<｜User｜>"]),
        chat + prompt_tokens(&["--raw", "-p", "<｜User｜>"]) - 1
    );
}

#[test]
fn thinking_is_apart_and_can_be_hidden() {
    let args = ["-p", "x", "--think", "--seed", "1", "-n", "12"];
    let whole = json(&[&args[..], &["--json"]].concat());
    let reasoning = whole["reasoning"].as_str().unwrap();
    assert!(!reasoning.is_empty());
    let shown = run(&args);
    assert!(text(&shown.stderr).contains(&format!("<think>\n{reasoning}")), "{}", text(&shown.stderr));
    assert_eq!(text(&shown.stdout).trim_end(), whole["text"].as_str().unwrap().trim_end());
    let hidden = run(&[&args[..], &["--hide-thinking"]].concat());
    assert!(!text(&hidden.stderr).contains(reasoning));
    let unthinking = json(&["-p", "x", "--think", "--no-think", "--seed", "1", "-n", "12", "--json"]);
    assert_eq!(unthinking["reasoning"], "", "the last of the two flags counts");
}

#[cfg(feature = "builtin-model")]
#[test]
fn an_answer_that_turns_in_a_circle_says_so() {
    // The built-in model goes on with what it sees; random models find no circle.
    let run = |more: &[&str]| {
        let mut command = common::fathom();
        let zeros = "0".repeat(50);
        command.env("FATHOM_NO_CACHE", "1").args(["run", "--raw", "--temp", "0", "-n", "120", "-p", &zeros]);
        let done = command.args(more).stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&done), 0);
        (text(&done.stdout), text(&done.stderr))
    };
    let (_, told) = run(&[]);
    assert_eq!(told.matches("the answer repeats itself: the same token 100 times").count(), 1, "{told}");
    let (lines, _) = run(&["--jsonl"]);
    assert!(lines.contains("{\"type\":\"repeats\",\"period\":1,\"times\":100}"), "{lines}");
    assert!(lines.contains("\"repeats_itself\":true"), "{lines}");
    assert_eq!(json(&["-p", "the end", "--json", "-n", "20"])["repeats_itself"], false);
}

#[test]
fn stop_strings_end_the_answer() {
    let args = ["-p", "x", "--temp", "0", "-n", "40", "--json"];
    let whole = json(&args)["text"].as_str().unwrap().to_owned();
    // No argument of a program holds a zero.
    let part = whole.split('\0').max_by_key(|part| part.len()).unwrap();
    let stop: String = part.chars().skip(part.chars().count() / 2).take(3).collect();
    for flag in ["--stop", "-r", "--reverse-prompt"] {
        let cut = json(&[&args[..], &[flag, &stop]].concat());
        assert_eq!(
            (&cut["stop_reason"], &cut["stop_string"]),
            (&"stop_string".into(), &stop.as_str().into())
        );
        assert_eq!(cut["text"].as_str().unwrap(), &whole[..whole.find(&stop).unwrap()]);
    }
}

#[test]
fn chat_without_a_terminal_answers_once() {
    let args = ["--seed", "4", "-n", "10"];
    let done = with_stdin(fathom("chat", &args), "one\n");
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    assert_eq!(done.stdout, run(&["-p", "one", "--seed", "4", "-n", "10"]).stdout);
    let nothing = fathom("chat", &[]).output().unwrap();
    assert_eq!(code(&nothing), 2);
    assert!(text(&nothing.stderr).contains("expected a prompt on stdin"));
}

#[test]
fn exit_codes() {
    let told = |args: &[&str]| {
        let done = run(args);
        assert_eq!(text(&done.stdout), "");
        (code(&done), text(&done.stderr))
    };
    let (no_prompt, message) = told(&[]);
    assert_eq!(no_prompt, 2);
    assert!(message.contains("-p TEXT"), "{message}");
    for usage in [
        &["--temp", "hot"][..],
        &["--top-p", "2"],
        &["--json", "--jsonl"],
        &["--raw", "--think"],
        &["--special"],
    ] {
        assert_eq!(told(&[&["-p", "x"], usage].concat()).0, 2, "{usage:?}");
    }
    let (too_long, message) = told(&["-p", "a b c d e f g h", "-c", "5"]);
    assert_eq!(too_long, 2);
    assert!(message.contains("room for 5 tokens") && message.contains("larger context"), "{message}");
    let all_banned: Vec<String> = (0..320).map(|id| format!("-l{id}-inf")).collect();
    let all_banned: Vec<&str> = all_banned.iter().map(String::as_str).collect();
    let (no_token, message) = told(&[&["-p", "x"], &all_banned[..]].concat());
    assert_eq!(no_token, 2);
    assert!(message.contains("all of them are banned (--logit-bias)"), "{message}");
    assert_eq!(told(&["-f", "/nowhere/at/all"]).0, 3);
    let absent = common::fathom().args(["run", "/nowhere.gguf", "-p", "x"]).output().unwrap();
    assert_eq!(code(&absent), 3);
}

#[test]
fn an_answer_that_fills_the_context_says_so() {
    let tried = (0..50).map(|seed: u32| {
        let seed = seed.to_string();
        run(&["-p", "ab", "-c", "12", "--seed", &seed])
    });
    let cut = tried
        .into_iter()
        .map(|done| (code(&done), text(&done.stderr)))
        .find(|(_, told)| told.contains("cut off"));
    let (code, told) = cut.expect("one of fifty answers does not end by itself");
    assert_eq!(code, 0);
    assert!(told.contains("full with 12 tokens") && told.contains("-c"), "{told}");
}

/// A run that takes very long: the end of the text is never drawn.
fn endless(args: &[&str]) -> Child {
    fathom("run", &[&["-p", "ab", "--top-k", "1", "-c", "160000", "-l", "1-inf"], args].concat())
        .spawn()
        .unwrap()
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for args in [&[][..], &["--jsonl"]] {
        let mut child = endless(args);
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let done = child.wait_with_output().unwrap();
        assert_eq!((code(&done), text(&done.stderr)), (0, String::new()), "{args:?}");
    }
}

fn interrupt(child: &Child) {
    send(child, "INT");
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn ctrl_c_keeps_the_text_and_exits_with_130() {
    let mut child = endless(&["--jsonl"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is = |line: &str, ty: &str| serde_json::from_str::<Json>(line).unwrap()["type"] == ty;
    let mut said = String::new();
    for line in lines.by_ref().map(Result::unwrap).filter(|line| is(line, "text")).take(3) {
        said += serde_json::from_str::<Json>(&line).unwrap()["text"].as_str().unwrap();
    }
    interrupt(&child);
    let end: Json = serde_json::from_str(&lines.map(Result::unwrap).last().unwrap()).unwrap();
    assert_eq!((&end["type"], &end["stop_reason"]), (&"end".into(), &"interrupted".into()));
    assert!(end["text"].as_str().unwrap().starts_with(&said));
    let done = child.wait_with_output().unwrap();
    assert_eq!(code(&done), 130);
    assert!(text(&done.stderr).contains("interrupted"));
}

#[test]
fn other_signals_do_the_same_with_their_own_exit_codes() {
    for (signal, expected) in [("TERM", 143), ("HUP", 129)] {
        let mut child = endless(&["--jsonl"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.by_ref().any(|line| line.contains("\"type\":\"text\"")));
        send(&child, signal);
        // As a shell does after the system: it does not cut what is being written.
        send(&child, signal);
        let end: Json = serde_json::from_str(&lines.last().unwrap()).unwrap();
        assert_eq!((&end["type"], &end["stop_reason"]), (&"end".into(), &"interrupted".into()), "{signal}");
        assert!(!end["text"].as_str().unwrap().is_empty());
        assert_eq!(code(&child.wait_with_output().unwrap()), expected);
    }
}

/// As shells start the programs that a script puts into the background: Ctrl-C and Ctrl-\ are not meant for them.
#[cfg(target_os = "linux")]
#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let inner = fathom("run", &["-p", "ab", "--top-k", "1", "-c", "160000", "-l", "1-inf", "--jsonl"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' INT QUIT HUP; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = common::program::without_settings(shell)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("\"type\":\"text\"")));
    for signal in ["INT", "QUIT", "HUP"] {
        send(&child, signal);
    }
    let n_later = lines.by_ref().take(200).filter(|line| line.contains("\"type\":\"text\"")).count();
    assert!(n_later > 100, "{n_later} pieces of text came after the signals");
    send(&child, "TERM");
    assert!(lines.last().unwrap().contains("interrupted"));
    assert_eq!(code(&child.wait_with_output().unwrap()), 143);
}

#[test]
fn a_signal_leaves_no_half_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "5 ".repeat(60_000)).unwrap();
    for (signal, expected) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let output = folder.path().join("logits");
        let mut command = common::fathom();
        command.arg("logits").arg(model()).arg("--tokens-file").arg(&tokens).arg("-o").arg(&output);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let n_files = || std::fs::read_dir(folder.path()).unwrap().count();
        wait_until("the file is begun", || n_files() == 2);
        send(&child, signal);
        let done = child.wait_with_output().unwrap();
        assert_eq!(code(&done), expected, "{}", text(&done.stderr));
        assert_eq!(n_files(), 1, "{signal}");
    }
}

#[test]
fn ctrl_c_is_heard_inside_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("long.txt");
    std::fs::write(&file, "1a".repeat(60_000)).unwrap();
    let mut child =
        fathom("run", &["-f", file.to_str().unwrap(), "-b", "1", "-c", "160000", "--jsonl"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("\"done\":0,"));
    interrupt(&child);
    let end: Json = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!((&end["stop_reason"], &end["usage"]["completion_tokens"]), (&"interrupted".into(), &0.into()));
    assert_eq!(code(&child.wait_with_output().unwrap()), 130);
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("long.txt");
    std::fs::write(&file, "1a".repeat(8_000)).unwrap();
    // All of the prompt in one forward call: inside a layer the first one is not heard. One that comes before the layer
    // begins is, and such a run tells nothing.
    let args = ["-f", file.to_str().unwrap(), "-b", "20000", "-c", "20000", "--jsonl", "-t", "1"];
    let ended_by_itself = (0..10).all(|attempt| {
        let mut child = fathom("run", &args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("\"done\":0,"));
        std::thread::sleep(Duration::from_millis(4 * attempt));
        while child.try_wait().unwrap().is_none() {
            interrupt(&child);
        }
        assert_eq!(code(&child.wait_with_output().unwrap()), 130);
        lines.any(|line| line.contains("\"type\":\"end\""))
    });
    assert!(!ended_by_itself, "ten runs came to an end of their own");
}

#[test]
fn a_number_that_is_none_is_the_files_fault() {
    let mut damaged = common::forge::Forged::read(model());
    damaged.tensor("blk.1.exp_probs_b.bias").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    damaged.write(&path);
    let done = common::fathom().arg("run").arg(&path).args(["-p", "Hello", "-n", "3"]).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
}

#[test]
fn a_model_without_a_chat_format_continues_raw_text() {
    let mut bare = common::forge::Forged::read(model());
    bare.unset("tokenizer.chat_template");
    let (_, tokens) = bare.metadata.iter_mut().find(|(key, _)| key == "tokenizer.ggml.tokens").unwrap();
    let fathom_gguf::OwnedValue::Array(fathom_gguf::OwnedArray::Str(tokens)) = tokens else {
        panic!("{tokens:?}")
    };
    *tokens.iter_mut().find(|token| *token == "｜DSML｜").unwrap() = "｜other｜".into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.gguf");
    bare.write(&path);
    let run = |args: &[&str]| {
        common::fathom()
            .env("FATHOM_NO_CACHE", "1")
            .arg("run")
            .arg(&path)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let refused = run(&["-p", "x"]);
    assert_eq!(code(&refused), 3);
    assert!(text(&refused.stderr).contains("run --raw"), "{}", text(&refused.stderr));
    assert_eq!(code(&run(&["-p", "x", "--raw", "-n", "3"])), 0);
}

#[test]
fn a_model_that_is_missing_is_told_before_a_prompt_that_is() {
    for name in ["nowhere.gguf", "nowhere/model", "DeepSeek-V3.2", "deepseek-v3"] {
        for verb in ["run", "chat"] {
            let mut command = common::fathom();
            let done = command.args([verb, name]).stdin(Stdio::null()).output().unwrap();
            let told = text(&done.stderr);
            assert!(
                code(&done) == 3 && told.contains(&format!("{name}: expected a GGUF file")),
                "{verb}: {told}"
            );
        }
    }
    let done = common::fathom().args(["run", "builtin"]).stdin(Stdio::null()).output().unwrap();
    assert!(code(&done) == 2 && text(&done.stderr).contains("expected a prompt"), "{done:?}");
}
