//! What terminals and people do to a chat: other sizes, wide characters, large pastes, keys at any time.
#![cfg(target_os = "linux")]

mod common;

use anstream::adapter::strip_str;
use common::terminal::{CTRL_C, HAS_A_LINE, LISTENS, PATIENCE_MS, Place, Terminal, model, said, saved};
use rexpect::session::spawn_command;
use unicode_width::UnicodeWidthStr;

const LEFT: &str = "\u{1b}[D";
const BACKSPACE: &str = "\u{7f}";
const ALT_ENTER: &str = "\u{1b}\r";

#[test]
fn wide_characters_are_edited_as_what_they_are() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    // The cursor goes back over one character, and what stands before it goes: a character of two columns, one of several
    // code points.
    terminal.press("aé你👍b");
    terminal.press(LEFT);
    terminal.press(BACKSPACE);
    terminal.ask("!");
    terminal.press("x👩‍👩‍👧ye\u{301}z");
    terminal.press(LEFT);
    terminal.press(BACKSPACE);
    terminal.press(LEFT);
    terminal.press(BACKSPACE);
    terminal.ask("");
    assert_eq!(said(&mut terminal, &place), ["aé你!b", "xyz"]);
}

#[test]
fn another_size_changes_nothing_that_was_said() {
    let place = Place::new();
    let mut terminal = place.chat(&["--top-k", "1"]);
    terminal.resize(40, 12);
    let long = "words that fill a line and more 你好 👍 ".repeat(6);
    terminal.press(&long);
    terminal.resize(17, 5);
    terminal.press(LEFT);
    terminal.press("x");
    terminal.resize(90, 30);
    terminal.press("\r");
    terminal.until(HAS_A_LINE);
    terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
    terminal.resize(30, 8);
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("stopped"));
    terminal.resize(1, 1);
    // All figures have room, however fast the machine is.
    terminal.resize(160, 24);
    terminal.say("/set n_predict 2");
    terminal.ask("more");
    let mut expected = long.clone();
    expected.insert(long.len() - 1, 'x');
    assert_eq!(said(&mut terminal, &place), [expected.as_str(), "more"]);
}

#[test]
fn ten_thousand_pasted_lines_are_one_message() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    let pasted: String = (0..10_000).map(|line| format!("line {line} of what was pasted\n")).collect();
    let pasted = pasted.trim_end();
    terminal.press("\u{1b}[200~");
    for part in pasted.as_bytes().chunks(1024) {
        terminal.press(std::str::from_utf8(part).unwrap());
    }
    terminal.press("\u{1b}[201~");
    let told = terminal.say("");
    assert!(told.contains("/undo or /new"), "{told:.200}");
    let said = said(&mut terminal, &place);
    assert_eq!(said.len(), 1);
    assert!(said[0] == pasted, "{} bytes came of {}", said[0].len(), pasted.len());
    // The conversation goes on.
    let told = terminal.say("short");
    assert!(
        told.contains("was withdrawn") && told.contains("seed"),
        "{}",
        &told[told.len().saturating_sub(500)..]
    );
}

#[test]
fn alt_enter_begins_a_line_of_the_same_message() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press("first");
    terminal.press(ALT_ENTER);
    terminal.press("/second");
    terminal.press(ALT_ENTER);
    terminal.ask("third");
    assert_eq!(said(&mut terminal, &place), ["first\n/second\nthird"]);
}

#[test]
fn answers_in_colours_are_the_same_text() {
    let place = Place::new();
    let args = ["chat", model().to_str().unwrap(), "--seed", "1", "-n", "60"];
    for (variable, more) in
        [("SOME_VARIABLE", &[][..]), ("NO_COLOR", &[]), ("SOME_VARIABLE", &["--no-markdown"])]
    {
        let mut command = place.command(&[&args[..], more].concat());
        command.env(variable, "1");
        let mut terminal = Terminal::open(command);
        let (told, _) = terminal.ask("x");
        let content = saved(&mut terminal, &place.file("talk.json")).remove(1).1;
        // As a terminal may see it, and the terminal's own line ends.
        let seen: String = content
            .chars()
            .map(|c| {
                if c.is_control() && c != '\n' && c != '\t' {
                    c.escape_default().to_string()
                } else {
                    c.to_string()
                }
            })
            .collect();
        // The reader of the pseudo-terminal takes every byte for a character.
        let told: Vec<u8> = told.chars().map(|byte| byte as u8).collect();
        let bare = strip_str(&String::from_utf8(told).unwrap()).to_string().replace("\r\n", "\n");
        assert!(bare.contains(seen.trim()), "{seen:?} is not in {bare:?}");
    }
}

#[test]
fn hidden_reasoning_is_one_line_that_goes_away() {
    let place = Place::new();
    let mut terminal =
        place.chat(&["--seed", "1", "-n", "40", "--think", "--reasoning-budget", "20", "--hide-thinking"]);
    let (answer, _) = terminal.ask("x");
    assert!(answer.contains("thinking") && answer.contains("thought for "), "{answer:?}");
    let tokens = answer.split("thought for ").nth(1).and_then(|rest| rest.split(", ").nth(1)).unwrap();
    assert!(tokens.contains(" tokens"), "{answer:?}");
}

#[test]
fn a_line_before_the_prompt_tells_how_things_stand() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "3"]);
    assert!(!terminal.say("/stats").contains("| thinking off"), "nothing has changed");
    let (_, told) = terminal.ask("hello");
    assert!(told.contains(" of 32768 | ") && told.contains("tokens/s | thinking off"), "{told}");
    assert!(terminal.say("/think on").contains("tokens/s | thinking on"));
    assert!(!terminal.say("/stats").contains("| thinking on"));
    terminal.say("/set stats off");
    let told = terminal.say("and more");
    assert!(!told.contains("prompt ") && !told.contains("context "), "{told}");
    assert!(terminal.say("/set").contains("stats off"));
}

#[test]
fn a_context_that_is_nearly_full_is_told_once() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2", "-c", "100", "--seed", "1"]);
    let mut told = Vec::new();
    while told.last().is_none_or(|told: &String| !told.contains("/undo or /new")) {
        told.push(terminal.say("hello"));
        assert!(told.len() < 100, "the context is never full");
    }
    let warned: Vec<&String> =
        told.iter().filter(|told| told.contains("of the context's 100 tokens")).collect();
    assert!(warned.len() == 1 && warned[0].contains("-c 200"), "{told:?}");
}

/// What a terminal shows: the reader of the pseudo-terminal takes every byte for a character.
fn rows(told: &str) -> Vec<String> {
    let told: Vec<u8> = told.chars().map(|byte| byte as u8).collect();
    let bare = strip_str(&String::from_utf8(told).unwrap()).to_string();
    bare.split(['\r', '\n']).map(str::to_owned).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn answers_are_broken_between_words_at_any_width() {
    let place = Place::new();
    let asked = "Please explain the word river.";
    let flags = ["--seed", "1", "--temp", "0", "-n", "60"];
    let mut terminal = Terminal::open(place.command_at(30, &[&["chat"], &flags[..]].concat()));
    terminal.say("/set stats off");
    for columns in [30, 14, 50, 200] {
        terminal.resize(columns, 24);
        // Of a slow machine the progress is seen, which has rows of its own.
        let mut told = rows(&terminal.say(asked));
        told.retain(|row| !row.starts_with("prompt "));
        // What is told about the file is in one row then.
        terminal.resize(200, 24);
        let content = saved(&mut terminal, &place.file("talk.json")).remove(1).1;
        let shown = words(&told.join("\n"));
        assert!(shown.contains(&words(&content)), "{content:?} is not in {shown:?}");
        for row in &told {
            let fits = row.width() <= columns.into() || !row.trim().contains(' ');
            assert!(fits, "{row:?} in {columns} columns");
        }
        let widest = content.lines().map(UnicodeWidthStr::width).max();
        assert!(widest > Some(30), "what is saved is not broken: {content:?}");
        terminal.say("/new");
        std::fs::remove_file(place.file("talk.json")).unwrap();
    }
    // Neither is what goes to a file, whatever is on the terminal.
    let run = [&["run", "-p", asked], &flags[..]].concat();
    let script = format!("stty cols 14 rows 24; \"$@\" > {}", place.file("answer.txt").display());
    let command = place.command_in(&script, &run);
    Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() }.end();
    let plain = place.command(&run).output().unwrap().stdout;
    assert_eq!(std::fs::read(place.file("answer.txt")).unwrap(), plain);
    assert!(plain.split(|byte| *byte == b'\n').any(|line| line.len() > 30));
}

#[test]
fn the_first_line_fits_eighty_columns() {
    let place = Place::new();
    // A long path gives way.
    let folder = place.file(&"long/".repeat(20));
    std::fs::create_dir_all(&folder).unwrap();
    let long = folder.join("model.gguf");
    std::fs::copy(model(), &long).unwrap();
    for args in [&["chat"][..], &["chat", long.to_str().unwrap()]] {
        let command = place.command_at(80, args);
        let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
        let told = rows(&terminal.until(LISTENS));
        let banner = told.iter().find(|row| row.starts_with("fathom ")).unwrap_or_else(|| panic!("{told:?}"));
        assert!(banner.width() <= 80 && banner.contains("/help"), "{banner}");
        // A note about the long path cannot.
        assert!(args.len() > 1 || told.iter().all(|row| row.width() <= 80), "{told:?}");
        terminal.leave();
    }
}
