//! Conversations that a chat keeps by itself.
#![cfg(target_os = "linux")]

mod common;

use anstream::adapter::strip_str;
use common::terminal::{
    CTRL_C, ENDLESS, HAS_A_LINE, LISTENS, PATIENCE_MS, Place, Terminal, answering, messages, model, said,
    saved,
};
use common::wait_until;
use rexpect::ReadUntil;
use rexpect::session::spawn_command;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The files of kept conversations, by their names.
fn kept(place: &Place) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(place.file("data/fathom/sessions")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|path| path.file_stem().map(ToOwned::to_owned));
    files
}

fn names(place: &Place) -> Vec<String> {
    kept(place).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The column of names in `/list`, and the rows.
fn listed(terminal: &mut Terminal) -> (Vec<String>, String) {
    let told = terminal.say("/list");
    let rows = told.lines().filter(|row| row.contains(" turn") || row.contains("damaged"));
    let name = |row: &str| row[1..].split_whitespace().nth(1).unwrap().to_owned();
    (rows.map(name).collect(), told)
}

#[test]
fn conversations_are_named_listed_and_switched() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "3", "--seed", "4"]);
    assert!(terminal.say("/list").contains("no conversation is saved yet"));
    terminal.ask("What is a river?");
    terminal.ask("And what is a lake?");
    assert_eq!(names(&place), ["what-is-a-river"]);
    assert_eq!(messages(&kept(&place)[0]).len(), 4, "it is written after every answer");

    terminal.say("/new");
    terminal.ask("What is a river?");
    assert_eq!(names(&place), ["what-is-a-river", "what-is-a-river-2"]);
    let (rows, told) = listed(&mut terminal);
    assert_eq!(rows, ["what-is-a-river-2", "what-is-a-river"]);
    assert!(told.contains("*  1  what-is-a-river-2") && told.contains("2 turns"), "{told}");

    assert!(terminal.say("/rename Second one").contains("named Second-one"));
    assert!(
        terminal.say("/delete 1").contains("no conversation 1"),
        "its number stood for a name that is gone"
    );
    assert!(terminal.say("/delete Second-one").contains("the current conversation"));
    assert!(terminal.say("/switch lake").contains("no conversation named lake"));
    let told = terminal.say("/switch wh\t");
    assert!(told.contains("4 messages; your last one: And what is a lake?"), "{told}");
    let (_, figures) = terminal.ask("More?");
    assert!(figures.contains("cached"), "{figures}");
    assert_eq!(messages(&kept(&place)[1]).len(), 6);
    assert_eq!(messages(&kept(&place)[0]).len(), 2, "the other one is as it was");

    terminal.say("/delete Second-one");
    assert!(terminal.say("").contains("nothing deleted"));
    terminal.say("/delete Second-one");
    assert!(terminal.say("y").contains("Second-one deleted"));
    assert_eq!(names(&place), ["what-is-a-river"]);
    assert!(terminal.say("/save").contains("saved as what-is-a-river"));
    terminal.leave();
}

#[test]
fn the_last_or_a_named_conversation_goes_on() {
    let place = Place::new();
    let mut terminal = place.chat(&["--continue"]);
    terminal.say("/set n_predict 3");
    terminal.ask("first of all");
    terminal.leave();

    let mut terminal = place.chat(&["--session", "Other", "-n", "3"]);
    assert!(terminal.say("/history").contains("the conversation is empty"));
    terminal.ask("second of all");
    assert_eq!(names(&place), ["Other", "first-of-all"]);
    terminal.leave();

    let mut terminal = place.chat(&["--session", "first-of-all"]);
    assert!(terminal.say("/history").contains("you: first of all"));
    let told = terminal.say("/set");
    assert!(told.contains("n_predict 3"), "settings come back: {told}");
    terminal.ask("third");
    terminal.leave();

    let mut terminal = place.chat(&["--continue"]);
    assert!(terminal.say("/history").contains("you: third"));
    terminal.say("/undo");
    terminal.leave();
    assert_eq!(messages(&kept(&place)[1]).len(), 2, "what was taken back is not kept");

    let mut terminal = place.chat(&["--session", "Other"]);
    terminal.say("/undo");
    terminal.leave();
    assert_eq!(names(&place), ["first-of-all"], "nor one of which nothing is left");
}

#[test]
fn what_is_not_wanted_or_empty_is_not_kept() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2", "--no-history"]);
    terminal.ask("a secret");
    assert!(terminal.say("/list").contains("--no-history"));
    assert!(terminal.say("/save").contains("/save FILE"));
    terminal.leave();
    place.chat(&[]).leave();
    assert!(kept(&place).is_empty());

    let mut command = place.command(&["chat", "--continue"]);
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("a terminal"));
}

#[test]
fn a_damaged_conversation_is_a_row_that_says_so() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.ask("hello");
    std::fs::write(place.file("data/fathom/sessions/broken.json"), "{").unwrap();
    let (rows, told) = listed(&mut terminal);
    assert_eq!(rows, ["broken", "hello"]);
    assert!(told.contains("damaged: ") && told.contains("expected a saved conversation"), "{told}");
    assert!(terminal.say("/switch broken").contains("expected a saved conversation"));
    terminal.ask("again");
    assert_eq!(messages(&kept(&place)[1]).len(), 4);
    terminal.say("/delete broken");
    assert!(terminal.say("yes").contains("broken deleted"));

    // Another program has the same conversation open, and says something in it.
    let mut other = place.chat(&["--session", "hello"]);
    other.ask("from the other");
    let told = terminal.say("from the first");
    assert!(told.contains("another program changed") && told.contains("hello-2"), "{told}");
    assert_eq!(names(&place), ["hello", "hello-2"]);
}

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tools.json");

/// What a chat is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Listens,
    Reads,
    Answers,
    RunsATool,
}

/// A chat in which "what is this?" was just said, and in its terminal what the modes were before it.
fn chat_that(when: When, place: &Place) -> Terminal {
    let model = model().to_str().unwrap();
    let long = place.file("long.txt");
    std::fs::write(&long, "1a".repeat(75_000)).unwrap();
    let endless = [&["chat", model, "--top-k", "1"], &ENDLESS[..]].concat();
    let call = format!("get_weather=echo begun > {}; sleep 1000", place.file("begun").display());
    let args = match when {
        When::Listens => vec!["chat", model, "-n", "3"],
        When::Answers => endless,
        When::Reads => [&endless[..], &["-b", "1"]].concat(),
        When::RunsATool => vec!["chat", "--temp", "0", "--tools", TOOLS, "--yes", "--tool-cmd", &call],
    };
    let script = format!("stty -a > {}; exec \"$@\"", place.file("modes").display());
    let mut terminal = Terminal::open(place.command_in(&script, &args));
    match when {
        When::Listens => drop(terminal.ask("what is this?")),
        When::Answers => {
            terminal.begin_an_answer("what is this?");
        }
        When::Reads => {
            terminal.say(&format!("/read {}", long.display()));
            terminal.begin("what is this?");
            terminal.until("tokens/s, ");
        }
        When::RunsATool => {
            terminal.begin("What is the weather in Boston?");
            wait_until("the tool runs", || place.file("begun").exists());
        }
    }
    terminal
}

#[test]
fn what_was_said_is_kept_however_the_chat_ends() {
    use When::{Answers, Listens, Reads, RunsATool};
    for (when, signals, code) in [
        (Listens, &["TERM"][..], Some(143)),
        (Listens, &["HUP"], Some(129)),
        (Listens, &["QUIT"], Some(131)),
        (Listens, &["ABRT"], None),
        (Reads, &["TERM", "TERM"], Some(143)),
        (Reads, &["KILL"], None),
        // As a shell does whose terminal goes: one from the system, one from the shell.
        (Answers, &["HUP", "HUP"], Some(129)),
        (Answers, &["TERM"], Some(143)),
        (Answers, &["QUIT"], Some(131)),
        (Answers, &["ABRT"], None),
        (Answers, &["KILL"], None),
        (RunsATool, &["TERM", "TERM"], Some(143)),
        (RunsATool, &["KILL"], None),
    ] {
        let place = Place::new();
        let mut terminal = chat_that(when, &place);
        signals.iter().for_each(|signal| terminal.signal(signal));
        assert_eq!(terminal.end(), code, "{when:?} {signals:?}");
        // Of a program that was killed nothing gives the terminal back.
        if signals != ["KILL"] {
            let before = std::fs::read_to_string(place.file("modes")).unwrap();
            assert_eq!(terminal.modes(), before, "{when:?} {signals:?}");
        }
        let kept = kept(&place);
        assert_eq!(kept.len(), 1, "{when:?} {signals:?}: {kept:?}");
        let messages = messages(&kept[0]);
        let (said, n_least) = match when {
            Listens => ("what is this?", 2),
            Answers => ("what is this?", if code.is_some() { 2 } else { 1 }),
            Reads => ("what is this?", 1),
            RunsATool => ("Boston", if code.is_some() { 3 } else { 2 }),
        };
        assert!(
            messages[0].1.contains(said) && messages.len() >= n_least,
            "{when:?} {signals:?}: {messages:?}"
        );
        // Whatever it was, it can be resumed.
        let mut terminal = place.chat(&["--continue", "-n", "2"]);
        let told = terminal.say("/history");
        assert!(told.contains(said), "{when:?} {signals:?}: {told:.300}");
        terminal.leave();
    }
}

#[test]
fn an_answer_is_kept_while_it_comes_and_comes_back_as_one_that_was_cut() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    let path = kept(&place).remove(0);
    assert_eq!(messages(&path), [("user".to_owned(), "ab".to_owned())], "it is kept before it is answered");
    while messages(&path).len() < 2 {
        // The terminal is read, or the answer would wait for that.
        terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
    }
    terminal.signal("KILL");
    terminal.end();
    let before = messages(&path);
    assert!(!before[1].1.is_empty());
    std::fs::write(path.with_file_name(".part-killed"), "{").unwrap();

    let command = place.command(&["chat", model().to_str().unwrap(), "--continue", "-n", "3"]);
    let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
    let told = terminal.until(LISTENS);
    assert!(told.contains("2 messages") && told.contains("its last answer was cut off"), "{told}");
    terminal.ask("more");
    let after = messages(&path);
    assert_eq!((&after[..2], after.len()), (&before[..], 4));
    assert!(!path.with_file_name(".part-killed").exists(), "what the dead left is swept");
}

/// How many chats are killed. A number from outside looks longer, and a seed for the same moments again.
const N_KILLS: u64 = 8;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// A chat that begins well; a question is sent, and some time later comes the signal.
#[test]
fn at_whatever_moment_a_chat_is_killed_what_was_sent_is_kept() {
    let seed = number_from("CHAT_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    for round in 0..number_from("CHAT_KILLS").unwrap_or(N_KILLS) {
        let mut random = fastrand::Rng::with_seed(seed + round);
        let signal = ["KILL", "TERM", "HUP", "INT"][round as usize % 4];
        let (n_before, wait) = (random.usize(0..3), random.u64(0..500));
        let case = format!(
            "CHAT_KILLS=1 CHAT_KILLS_SEED={}: {signal} {wait} ms after question {n_before}",
            seed + round
        );
        println!("{case}");
        let place = Place::new();
        let mut terminal = place.chat(&["-n", "3", "--top-k", "1"]);
        let question = |number: usize| format!("question {number}");
        (0..n_before).for_each(|number| drop(terminal.ask(&question(number))));
        terminal.say("/set n_predict 300");
        terminal.press(&format!("{}\r", question(n_before)));
        std::thread::sleep(Duration::from_millis(wait));
        terminal.signal(signal);
        let shown =
            if signal == "INT" { interrupted(&mut terminal) } else { terminal.pty.exp_eof().unwrap() };
        match (terminal.end(), signal) {
            (None, "KILL") | (Some(143), "TERM") | (Some(129), "HUP") | (Some(0 | 130), "INT") => {}
            (code, _) => panic!("{case}: {code:?}"),
        }
        // Sent is what the program shows something behind: before that, it is typed.
        let is_sent = shown.split_once(HAS_A_LINE).is_some_and(|(_, behind)| {
            strip_str(behind).to_string().contains(|c: char| !c.is_whitespace() && !c.is_control())
        });
        let Some(path) = kept(&place).pop() else {
            assert!(n_before == 0 && !is_sent, "{case}: {shown:?}");
            continue;
        };
        let messages = messages(&path);
        let said: Vec<&String> =
            messages.iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect();
        let sent: Vec<String> = (0..=n_before).map(question).collect();
        assert!(
            said.len() >= n_before + usize::from(is_sent) && said.iter().zip(&sent).all(|(a, b)| *a == b),
            "{case}: {messages:?} of {shown:?}"
        );
        assert!(messages.len() >= 2 * n_before && said.len() <= sent.len(), "{case}: {messages:?}");
        // It can be resumed, and the next start sweeps what is left.
        let mut terminal = place.chat(&["--continue", "-n", "2"]);
        let told = terminal.say("/history");
        assert!(said.iter().all(|text| told.contains(text.as_str())), "{case}: {told}");
        assert_eq!(kept(&place), [path], "{case}");
        terminal.leave();
    }
}

/// Ctrl-C from elsewhere: it ends a chat that waits, and else only the answer; that one is then left.
fn interrupted(terminal: &mut Terminal) -> String {
    let listens_or_ended = vec![ReadUntil::String(LISTENS.to_owned()), ReadUntil::EOF];
    let (shown, _) = terminal.pty.exp_any(listens_or_ended).unwrap();
    // Who is gone takes no keys.
    let _ = terminal.pty.send("/quit\r").and_then(|_| terminal.pty.flush());
    shown
}

#[test]
fn an_answer_stays_until_another_one_has_come_to_its_end() {
    for (signal, code, wait) in [("KILL", None, 3000), ("TERM", Some(143), 100)] {
        let place = Place::new();
        let mut terminal = place.chat(&[&["-n", "3", "--top-k", "1"], &ENDLESS[..]].concat());
        terminal.ask("ab");
        let path = kept(&place).remove(0);
        let before = messages(&path);
        terminal.say("/set n_predict -1");
        terminal.begin("/regen");
        let begun = Instant::now();
        // By then a first answer would be kept, as far as it has come.
        while begun.elapsed() < Duration::from_millis(wait) {
            terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
        }
        assert_eq!(messages(&path), before, "{signal}");
        terminal.signal(signal);
        assert_eq!(terminal.end(), code);
        assert_eq!(messages(&path), before, "{signal}");
        let mut terminal = place.chat(&["--continue", "-n", "5"]);
        terminal.ask("/regen");
        let after = messages(&path);
        assert!(after.len() == 2 && after != before, "{signal}: {after:?}");
        terminal.leave();
    }
}

#[test]
fn an_answer_stays_if_another_one_breaks_off_by_itself() {
    let args = [&["chat", model().to_str().unwrap(), "-n", "3", "--top-k", "1"], &ENDLESS[..]].concat();
    for script in ["\"$@\" | head -c 300 >/dev/null", "\"$@\"; exit 0"] {
        let place = Place::new();
        let mut terminal = Terminal::open(place.command_in(script, &args));
        terminal.ask("ab");
        let path = kept(&place).remove(0);
        let before = messages(&path);
        terminal.say("/set n_predict -1");
        if script.contains("head") {
            terminal.begin("/regen");
            terminal.end();
        } else {
            terminal.begin_an_answer("/regen");
            hang_up(&mut terminal);
        }
        assert_eq!(messages(&path), before, "{script}");
    }
    // Whoever stops it wants what there is.
    let place = Place::new();
    let mut terminal = Terminal::open(place.command_in("\"$@\"", &args));
    terminal.ask("ab");
    let path = kept(&place).remove(0);
    terminal.say("/set n_predict -1");
    terminal.begin_an_answer("/regen");
    terminal.press(CTRL_C);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is saved"), "{told}");
    let json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["cut"], "interrupted");
    // Without a file nothing is saved.
    let mut terminal = answering(&Place::new(), &["--no-history"]);
    terminal.press(CTRL_C);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is kept until you leave"), "{told}");
}

#[test]
fn an_answer_that_ends_in_the_background_is_kept_at_once() {
    let place = Place::new();
    let sessions = place.file("data/fathom/sessions");
    let whole = format!("grep -qs '\"cut\": \"n_predict\"' {}/*.json", sessions.display());
    let script = format!(
        "set -m; \"$@\"; bg >/dev/null; until {whole}; do sleep 0.1; done; echo '[kept]'; fg >/dev/null"
    );
    let args = [&["chat", model().to_str().unwrap(), "-n", "60", "--top-k", "1"], &ENDLESS[..]].concat();
    let mut terminal = Terminal::open(place.command_in(&script, &args));
    terminal.begin_an_answer("ab");
    terminal.press("\u{1a}");
    terminal.until("[kept]");
    terminal.until(LISTENS);
    terminal.leave();
}

#[test]
fn lines_behind_a_question_are_found_again() {
    let place = Place::new();
    let chat = |args: &[&str]| Terminal::open(place.command(&[&["chat"], args].concat()));
    let mut terminal = chat(&["--temp", "0", "--tools", TOOLS]);
    terminal.press("What is the weather in Boston?\rand in Paris?\r");
    terminal.until("result of get_weather");
    terminal.signal("TERM");
    assert_eq!(terminal.end(), Some(143));
    let mut terminal = chat(&["-n", "2"]);
    terminal.press("\u{1b}[A");
    terminal.ask("");
    assert_eq!(said(&mut terminal, &place), ["and in Paris?"]);
}

#[test]
fn a_line_that_was_being_typed_is_found_again() {
    for (end, code) in [("TERM", Some(143)), ("HUP", Some(129)), ("gone", None)] {
        let place = Place::new();
        let args = ["chat", model().to_str().unwrap(), "-n", "2"];
        let mut terminal = Terminal::open(place.command_in("\"$@\"; exit $?", &args));
        terminal.press("half a thought");
        terminal.until("thought");
        match code {
            Some(code) => {
                let chat = child(&terminal);
                let sent = std::process::Command::new("kill").args(["-s", end, &chat]).status().unwrap();
                assert!(sent.success());
                assert_eq!(terminal.end(), Some(code), "{end}");
            }
            None => hang_up(&mut terminal),
        }
        let mut terminal = place.chat(&["-n", "2"]);
        terminal.press("\u{1b}[A");
        terminal.ask(" and more");
        assert_eq!(said(&mut terminal, &place), ["half a thought and more"], "{end}");
        terminal.leave();
    }
}

/// The id of the program that the terminal's shell runs.
fn child(terminal: &Terminal) -> String {
    let shell = terminal.process_id();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    children.trim().to_owned()
}

/// The shell owns the terminal: when it dies, the system hangs up.
fn hang_up(terminal: &mut Terminal) {
    let chat = Path::new("/proc").join(child(terminal));
    terminal.signal("KILL");
    terminal.end();
    wait_until("the chat has ended", || {
        std::fs::read_to_string(chat.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_terminal_that_goes_away_takes_nothing_with_it() {
    let place = Place::new();
    let args = [&["chat", model().to_str().unwrap(), "--top-k", "1"], &ENDLESS[..]].concat();
    let mut terminal = Terminal::open(place.command_in("\"$@\"; exit 0", &args));
    terminal.begin_an_answer("ab");
    hang_up(&mut terminal);
    let messages = messages(&kept(&place)[0]);
    assert!(messages.len() == 2 && !messages[1].1.is_empty(), "{messages:?}");

    // Or only the reader of the answer goes.
    let place = Place::new();
    let command = place.command_in("\"$@\" | head -c 1 >/dev/null", &args);
    let mut terminal = Terminal::open(command);
    terminal.begin("ab");
    assert_eq!(terminal.end(), Some(0));
    let messages = self::messages(&kept(&place)[0]);
    assert!(messages.len() == 2 && !messages[1].1.is_empty(), "{messages:?}");
}

#[test]
fn what_could_not_be_kept_is_kept_with_the_next_message() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.ask("one");
    let (folder, away) = (place.file("data/fathom/sessions"), place.file("away"));
    let no_room = || {
        std::fs::rename(&folder, &away).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
    };
    no_room();
    let told = terminal.say("two");
    assert!(told.contains("not saved for now"), "{told}");
    assert!(!terminal.say("/stats").contains("not saved"), "it is told once");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert!(terminal.say("/save").contains("saved as one"));
    terminal.ask("three");
    assert_eq!(messages(&kept(&place)[0]).len(), 6);

    no_room();
    terminal.say("four");
    // Who leaves knows what that loses, however it is done.
    terminal.press("\u{4}");
    assert!(terminal.until(LISTENS).contains("/save FILE writes it elsewhere; ask again"));
    terminal.say("five");
    terminal.press(CTRL_C);
    terminal.until("press Ctrl-C again");
    terminal.until(LISTENS);
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("ask again"));
    terminal.say("six");
    assert!(terminal.say("/quit").contains("ask again"));
    terminal.press("/quit\r");
    terminal.until("the latest messages are not saved");
    assert_eq!(terminal.exit_code(), 1);
}

#[test]
fn a_signal_at_the_prompt_first_tries_once_more_to_save() {
    for has_room in [true, false] {
        let place = Place::new();
        let mut terminal = place.chat(&["-n", "2"]);
        terminal.ask("one");
        let (folder, away) = (place.file("data/fathom/sessions"), place.file("away"));
        std::fs::rename(&folder, &away).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        assert!(terminal.say("two").contains("not saved for now"));
        if has_room {
            std::fs::remove_file(&folder).unwrap();
            std::fs::rename(&away, &folder).unwrap();
        }
        terminal.signal("TERM");
        if has_room {
            assert_eq!(terminal.end(), Some(143));
            assert_eq!(messages(&kept(&place)[0]).len(), 4);
        } else {
            terminal.until("this conversation is not saved");
            assert_eq!(terminal.end(), Some(143));
        }
    }
}

#[test]
fn a_folder_that_is_removed_under_an_open_chat_is_made_again() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.ask("one");
    let folder = place.file("data/fathom/sessions");
    std::fs::remove_dir_all(&folder).unwrap();
    let told = terminal.say("two");
    assert!(!told.contains("not saved"), "{told}");
    assert_eq!(messages(&kept(&place)[0]).len(), 4);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(terminal.say("/save").contains("saved as one"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(!terminal.say("/new").contains("not saved"));
    assert_eq!(messages(&kept(&place)[0]).len(), 4);
    terminal.leave();
}

#[test]
fn what_is_taken_back_in_one_chat_stays_in_another() {
    let place = Place::new();
    let mut first = place.chat(&["-n", "2"]);
    first.ask("hello");
    let mut second = place.chat(&["--session", "hello", "-n", "2"]);
    let told = second.say("/undo");
    assert!(told.contains("hello is open in another chat, so its file stays"), "{told}");
    assert_eq!(messages(&kept(&place)[0]).len(), 2);
    second.ask("something else");
    second.leave();
    first.leave();
    assert_eq!(names(&place), ["hello", "something-else"]);
    // Where nobody else has it, it goes.
    let mut terminal = place.chat(&["--session", "hello"]);
    terminal.say("/undo");
    terminal.leave();
    assert_eq!(names(&place), ["something-else"]);
}

#[test]
fn a_history_that_cannot_be_used_is_told_and_one_that_is_damaged_is_mended() {
    let place = Place::new();
    std::fs::create_dir_all(place.file("state/fathom")).unwrap();
    let history = place.file("state/fathom/history");
    assert!(std::process::Command::new("mkfifo").arg(&history).status().unwrap().success());
    let start = || {
        let command = place.command(&["chat", model().to_str().unwrap(), "-n", "2"]);
        let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
        let told = terminal.until(LISTENS);
        (terminal, told)
    };
    let (mut terminal, told) = start();
    assert!(told.contains("found a pipe; the history of what you type is not saved"), "{told}");
    terminal.press_alone("half a thought");
    terminal.signal("TERM");
    assert_eq!(terminal.end(), Some(143), "nor does the end wait for the pipe");

    std::fs::remove_file(&history).unwrap();
    std::fs::write(&history, b"#V2\n/set n_predict \xff3\n").unwrap();
    let (mut terminal, told) = start();
    assert!(told.contains("expected UTF-8, found other bytes"), "{told}");
    terminal.say("/set seed 7");
    terminal.leave();
    let (mut terminal, told) = start();
    assert!(!told.contains("note: /"), "{told}");
    assert!(terminal.say("\u{1b}[A\u{1b}[A").contains("seed = 7"));
    terminal.leave();
}

#[test]
fn what_is_in_a_file_that_was_named_is_saved_and_what_came_later_is_not() {
    let place = Place::new();
    std::fs::create_dir_all(place.file("data/fathom")).unwrap();
    std::fs::write(place.file("data/fathom/sessions"), "no folder").unwrap();
    let path = place.file("talk.json");
    let mut terminal = place.chat(&["-n", "2"]);
    assert!(terminal.say("one").contains("not saved for now"));
    saved(&mut terminal, &path);
    // As many messages, and others.
    terminal.say("/undo");
    assert!(terminal.say("two").contains("not saved for now"));
    assert!(terminal.say("/new").contains("ask again"));
    assert_eq!(saved(&mut terminal, &path)[0].1, "two");
    // Another program goes on with it.
    let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let more = serde_json::json!({"role": "user", "content": "from the other"});
    json["messages"].as_array_mut().unwrap().push(more);
    std::fs::write(&path, json.to_string()).unwrap();
    let told = terminal.say(&format!("/save {}", path.display()));
    assert!(told.contains("holds another conversation"), "{told}");
    assert_eq!(messages(&path).len(), 3);
    assert_eq!(saved(&mut terminal, &place.file("other.json"))[0].1, "two");
    terminal.press("/quit\r");
    terminal.until("other.json resumes it");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_conversation_has_its_own_model_and_the_command_line_its_own_flags() {
    let place = Place::new();
    let model = place.file("own.gguf");
    std::fs::copy(common::terminal::model(), &model).unwrap();
    let start = |args: &[&str]| {
        let mut command = place.command(&[&["chat"], args].concat());
        command.current_dir(place.folder.path()).env("FATHOM_TEMP", "0.3").env("FATHOM_MODEL", "builtin");
        command
    };
    let mut terminal = Terminal::open(start(&["own.gguf", "--temp", "0.7", "-n", "3", "--hide-thinking"]));
    terminal.ask("hello");
    terminal.leave();
    let file: Json = serde_json::from_slice(&std::fs::read(&kept(&place)[0]).unwrap()).unwrap();
    assert_eq!(file["model_path"], model.to_str().unwrap());

    // From elsewhere, too; what settings say does not count beside what the conversation was had with.
    let mut command = start(&["--continue"]);
    command.current_dir("/");
    let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
    let told = terminal.until(LISTENS);
    assert!(told.contains("own.gguf |") && !told.contains("used"), "{told}");
    let told = terminal.say("/set");
    assert!(told.contains("temperature 0.7") && told.contains("n_predict 3"), "{told}");
    assert!(told.contains("hide_thinking on") && told.contains("thinking off"), "{told}");
    terminal.leave();

    let args = [
        "--session",
        "hello",
        "--temp",
        "0.5",
        "-n",
        "5",
        "--think",
        "--no-hide-thinking",
        "--system",
        "Be brief.",
    ];
    let mut terminal = Terminal::open(start(&args));
    let told = terminal.say("/set");
    assert!(told.contains("temperature 0.5") && told.contains("n_predict 5"), "{told}");
    assert!(told.contains("hide_thinking off") && told.contains("thinking on"), "{told}");
    assert!(terminal.say("/system").contains("Be brief."));
    terminal.leave();

    std::fs::remove_file(&model).unwrap();
    let told = spawn_command(start(&["--continue"]), Some(PATIENCE_MS)).unwrap().exp_eof().unwrap();
    assert!(told.contains("own.gguf, which is no longer there") && told.contains("chat MODEL"), "{told}");
    let mut command = start(&["builtin", "--continue"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
    let told = terminal.until(LISTENS);
    assert!(told.contains("this conversation used own.gguf before"), "{told}");
    terminal.leave();
}

#[test]
fn files_of_a_message_that_was_stopped_stay_for_the_next() {
    let place = Place::new();
    std::fs::write(place.file("long.txt"), "1a".repeat(8_000)).unwrap();
    let mut terminal = place.chat(&["-b", "1", "-n", "2"]);
    terminal.say(&format!("/read {}", place.file("long.txt").display()));
    terminal.begin("what is this?");
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("stopped with "));
    terminal.leave();
    // Also after a restart.
    let mut terminal = place.chat(&["--continue", "-n", "2"]);
    let told = terminal.say("and what is this?");
    assert!(told.contains("its files go with this message instead"), "{told}");
    let said = &messages(&kept(&place)[0])[0].1;
    assert_eq!(said, &format!("{}\n\nand what is this?", "1a".repeat(8_000)));
    terminal.leave();
}
