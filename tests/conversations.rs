//! Conversations that a chat keeps by itself.
#![cfg(target_os = "linux")]

mod common;

use common::terminal::{Place, Terminal, messages};
use std::path::PathBuf;
use std::process::Stdio;

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
    assert!(terminal.say("/list").contains("no conversation is kept yet"));
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
    assert!(terminal.say("/delete Second-one").contains("the present conversation"));
    assert!(terminal.say("/switch lake").contains("no conversation named lake"));
    let told = terminal.say("/switch wh\t");
    assert!(told.contains("4 messages; the last of yours: And what is a lake?"), "{told}");
    let (_, figures) = terminal.ask("More?");
    assert!(figures.contains("cached"), "{figures}");
    assert_eq!(messages(&kept(&place)[1]).len(), 6);
    assert_eq!(messages(&kept(&place)[0]).len(), 2, "the other one is as it was");

    terminal.say("/delete Second-one");
    assert!(terminal.say("").contains("nothing is deleted"));
    terminal.say("/delete Second-one");
    assert!(terminal.say("y").contains("Second-one is deleted"));
    assert_eq!(names(&place), ["what-is-a-river"]);
    assert!(terminal.say("/save").contains("kept as what-is-a-river"));
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
    assert!(terminal.say("/history").contains("nothing was said"));
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
    assert!(terminal.say("yes").contains("broken is deleted"));

    // Another program has the same conversation open, and says something in it.
    let mut other = place.chat(&["--session", "hello"]);
    other.ask("from the other");
    let told = terminal.say("from the first");
    assert!(told.contains("another program changed") && told.contains("hello-2"), "{told}");
    assert_eq!(names(&place), ["hello", "hello-2"]);
}
