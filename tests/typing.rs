//! What is typed while an answer comes: it waits for its turn, is not shown in the answer, and Esc stops the answer.
#![cfg(target_os = "linux")]

mod common;

use common::terminal::{CTRL_C, LISTENS, Place, Terminal, answering, said};
use std::process::Command;

const ESC: &str = "\u{1b}";
const UP: &str = "\u{1b}[A";

/// What the system says of the terminal: its modes, in the words of `stty`.
fn modes(terminal: &Terminal) -> String {
    let told = Command::new("stty").args(["-a", "-F", &terminal.device()]).output().unwrap();
    format!("{} ", String::from_utf8(told.stdout).unwrap().replace(['\n', ';'], " "))
}

/// Room for an answer that does not end by itself.
const ENDLESS: &[&str] = &["-c", "160000"];

#[test]
fn a_line_comes_next() {
    let place = Place::new();
    let mut terminal = answering(&place, &["-n", "100"]);
    terminal.press("/set n_predict 3\r");
    terminal.until("n_predict = 3");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn alt_enter_waits_as_a_line_of_the_same_message() {
    let place = Place::new();
    let mut terminal = answering(&place, &["-n", "100"]);
    terminal.press("first");
    terminal.press("\u{1b}\r");
    terminal.press("second");
    // Behind the word, that it is not taken for the end of a paste.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.press("\r");
    terminal.until("seed");
    terminal.until("seed");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["ab", "first\nsecond"]);
}

#[test]
fn esc_stops_an_answer_and_other_keys_do_not() {
    let place = Place::new();
    let mut terminal = answering(&place, ENDLESS);
    assert!(modes(&terminal).contains(" -icanon "));
    terminal.press(UP);
    terminal.press("<<hel>>");
    // The answer goes on behind the arrow.
    terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
    terminal.press(ESC);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is kept") && !told.contains("<<hel>>"), "{told}");
    // What was begun is gone on with.
    terminal.until("<<hel>>");
    terminal.say("\u{15}/set n_predict 3");
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn who_stops_an_answer_looks_at_what_waits_before_it_is_sent() {
    let place = Place::new();
    let mut terminal = answering(&place, ENDLESS);
    terminal.press("<<more>>\r");
    // Behind the line, that it is not taken for one of a paste.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.press(CTRL_C);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is kept") && !told.contains("<<more>>"), "{told}");
    terminal.until("<<more>>");
    terminal.say("\u{15}/set n_predict 3");
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn the_terminal_is_as_it_was() {
    let place = Place::new();
    let mut terminal = answering(&place, ENDLESS);
    terminal.press(ESC);
    terminal.until(LISTENS);
    // The last thing that the program does on a terminal.
    terminal.press("/quit\r");
    terminal.until("goes on with it");
    let told = modes(&terminal);
    assert!(told.contains(" icanon "), "{told}");
    assert_eq!(terminal.exit_code(), 0);
}
