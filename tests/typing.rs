//! What is typed while an answer comes: it waits for its turn, is not shown in the answer, and Esc stops the answer.
#![cfg(target_os = "linux")]

mod common;

use common::terminal::{
    CTRL_C, ENDLESS, LISTENS, PATIENCE_MS, Place, Terminal, answering, model, said, saved,
};
use common::wait_until;
use rexpect::session::spawn_command;
use std::io::Write;

const ESC: &str = "\u{1b}";
const UP: &str = "\u{1b}[A";

/// The same in one line.
fn modes(terminal: &Terminal) -> String {
    format!("{} ", terminal.modes().replace(['\n', ';'], " "))
}

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
    // Enter is not taken for the end of a paste.
    terminal.press_alone("second");
    terminal.press("\r");
    terminal.until("seed");
    terminal.until("seed");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["ab", "first\nsecond"]);
}

#[test]
fn esc_stops_an_answer_and_other_keys_do_not() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    assert!(modes(&terminal).contains(" -icanon "));
    terminal.press(UP);
    terminal.press("<<hel>>");
    // The answer goes on behind the arrow.
    terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
    terminal.press(ESC);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is saved") && !told.contains("<<hel>>"), "{told}");
    // What was begun is gone on with.
    terminal.until("<<hel>>");
    terminal.say("\u{15}/set n_predict 3");
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn who_stops_an_answer_looks_at_what_waits_before_it_is_sent() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    terminal.press_alone("<<more>>\r");
    terminal.press(CTRL_C);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is saved") && !told.contains("<<more>>"), "{told}");
    terminal.until("<<more>>");
    terminal.say("\u{15}/set n_predict 3");
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn the_terminal_is_as_it_was() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    terminal.press(ESC);
    terminal.until(LISTENS);
    // The last thing that the program does on a terminal.
    terminal.press("/quit\r");
    terminal.until("resumes it");
    let told = modes(&terminal);
    assert!(told.contains(" icanon "), "{told}");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn lines_that_come_at_once_are_all_taken_in_order() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press(
        "/set n_predict 3\rone\r\"\"\"two\r  lines\"\"\"\rthr\u{e9}\u{7f}ee\\\rmore\r/set top_k 3\rno end",
    );
    terminal.until("n_predict = 3");
    terminal.until("top_k = 3");
    terminal.until("no end");
    terminal.say("\u{15}/set seed 1");
    assert_eq!(said(&mut terminal, &place), ["one", "two\n  lines", "three\nmore"]);
    // Ctrl-D behind a line leaves.
    terminal.press("/set seed 2\r\u{4}");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn lines_that_come_at_once_in_an_answer_are_all_taken_in_order() {
    let place = Place::new();
    let mut terminal = answering(&place, &["-n", "100"]);
    terminal.press("/set n_predict 3\rone\r\u{1b}[200~two\r/set seed 1\u{1b}[201~\r/set top_k 3\r");
    terminal.until("n_predict = 3");
    terminal.until("top_k = 3");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["ab", "one", "two\n/set seed 1"]);
}

#[test]
fn a_terminal_that_edits_no_lines_keeps_what_is_typed_itself() {
    let place = Place::new();
    let args = [&["chat", model().to_str().unwrap(), "--top-k", "1", "-n", "30"], &ENDLESS[..]].concat();
    let mut command = place.command(&args);
    command.env("TERM", "emacs");
    let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
    terminal.until("> ");
    terminal.press("ab\r");
    // The terminal of the tests echoes nothing: this is the answer.
    terminal.pty.exp_regex("[a-zA-Z]").unwrap();
    terminal.press("half");
    terminal.until("seed");
    terminal.press(" a line\r");
    terminal.until("seed");
    let path = place.file("talk.json");
    terminal.press(&format!("/save {}\r", path.display()));
    terminal.until("4 messages saved");
    assert_eq!(common::terminal::messages(&path)[2].1, "half a line");
}

#[test]
fn esc_at_the_prompt_swallows_nothing() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press("a");
    terminal.press_alone(ESC);
    terminal.press("b");
    // A terminal may send both at once.
    terminal.press("\u{1b}h");
    terminal.ask("c");
    assert_eq!(said(&mut terminal, &place), ["abhc"]);
}

#[test]
fn a_long_text_arrives_whole_without_the_marks_of_a_paste() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    let long: String = (0..).map(|n| format!("word{n} \u{e9} ")).take(17_000).collect();
    assert!(long.len() > 200_000);
    let long = long.trim_end();
    let mut rest = long;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.floor_char_boundary(1000));
        terminal.press(part);
        rest = behind;
    }
    let told = terminal.say("");
    assert!(told.contains("/undo or /new"), "{}", &told[told.len().saturating_sub(500)..]);
    let said = said(&mut terminal, &place);
    assert!(said.len() == 1 && said[0] == long, "{} of {} bytes came", said[0].len(), long.len());
}

/// What is pasted and not sent yet is to be seen, also where the terminal marks no pastes.
#[test]
fn a_long_text_is_drawn_when_nothing_more_comes() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.resize(80, 24);
    let long: String = (0..1500).map(|n| format!("word{n} ")).collect();
    for (text, end) in [(format!("{long}<<one>>"), "<<one>>"), (format!(" {long}<<two>>"), "<<two>>")] {
        for part in text.as_bytes().chunks(1000) {
            terminal.press(str::from_utf8(part).unwrap());
        }
        terminal.until(end);
    }
    terminal.press_alone("\u{7f}");
    terminal.ask("!");
    let said = said(&mut terminal, &place);
    assert_eq!(said, [format!("{long}<<one>> {long}<<two>!")]);
}

#[test]
fn a_word_that_leaves_other_programs_leaves_this_one() {
    let place = Place::new();
    for word in ["exit", "quit"] {
        let mut terminal = place.chat(&["-n", "2"]);
        terminal.ask(&format!(" {word}"));
        assert_eq!(said(&mut terminal, &place), [word], "behind a space it is a message");
        std::fs::remove_file(place.file("talk.json")).unwrap();
        terminal.press(&format!("{word}\r"));
        assert_eq!(terminal.exit_code(), 0);
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_resumes() {
    let place = Place::new();
    // A shell with jobs that leaves the terminal as it finds it.
    let stopped = "stty -a > stopped; echo '[back]'; fg >/dev/null";
    let script = format!("set -m; stty -a > before; \"$@\"; {stopped}; {stopped}");
    let model = model().to_str().unwrap();
    let mut command = place.command_in(&script, &[&["chat", model, "--top-k", "1"], &ENDLESS[..]].concat());
    command.current_dir(place.folder.path());
    let mut terminal = Terminal { pty: spawn_command(command, Some(PATIENCE_MS)).unwrap() };
    let comes_back = |terminal: &mut Terminal| {
        terminal.press("\u{1a}");
        terminal.until("[back]");
        let read = |name: &str| std::fs::read_to_string(place.file(name)).unwrap();
        assert_eq!(read("stopped"), read("before"));
    };
    terminal.until(LISTENS);
    terminal.press("<<hel>>");
    terminal.until("<<hel>>");
    comes_back(&mut terminal);
    terminal.until("<<hel>>");
    terminal.begin_an_answer("lo");
    assert!(modes(&terminal).contains(" -echo "));
    comes_back(&mut terminal);
    terminal.pty.exp_regex("[a-zA-Z0-9]").unwrap();
    // The keys are the chat's again.
    wait_until("they are", || modes(&terminal).contains(" -icanon "));
    terminal.press(ESC);
    let told = terminal.until(LISTENS);
    assert!(told.contains("stopped; the answer so far is saved"), "{told:?}");
    assert_eq!(said(&mut terminal, &place), ["<<hel>>lo"]);
}

#[test]
fn what_waits_is_shown_below_the_answer() {
    let place = Place::new();
    let mut terminal = place.chat(&[&["--top-k", "1"], &ENDLESS[..]].concat());
    terminal.resize(80, 24);
    terminal.begin_an_answer("ab");
    terminal.press("<<hal>>");
    terminal.until("> <<hal>>");
    terminal.press("\r");
    terminal.until("queued: <<hal>>");
    terminal.press_alone("<<second>>");
    terminal.until("queued: <<hal>> > <<second>>");
    terminal.press(CTRL_C);
    // It is taken away before anything else is shown.
    let told = terminal.until(LISTENS);
    assert!(told.contains("\u{1b}[J") && told.contains("stopped"), "{told:?}");
    // Clears the line with what waited.
    terminal.press(CTRL_C);
    let messages = saved(&mut terminal, &place.file("talk.json"));
    // On a slow machine that was before the first word of the answer.
    assert_eq!(messages[0].1, "ab");
    assert!(messages.len() <= 2 && messages.iter().all(|(_, text)| !text.contains("queued")), "{messages:?}");
}

/// Puts bytes into the terminal that need not be text.
fn press_bytes(terminal: &Terminal, bytes: &[u8]) {
    terminal.pty.process().get_file_handle().unwrap().write_all(bytes).unwrap();
}

#[test]
fn bytes_that_are_no_text_take_nothing_away() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press("<<draft>>");
    terminal.until("<<draft>>");
    press_bytes(&terminal, b"\xff");
    assert!(terminal.until(LISTENS).contains("bytes that are not UTF-8"));
    terminal.ask(" more");
    // Behind a line, too: that one is sent.
    press_bytes(&terminal, b"second\r\xff");
    terminal.until("bytes that are not UTF-8");
    terminal.until("seed");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["<<draft>> more", "second"]);
}

#[test]
fn what_comes_together_with_ctrl_c_is_taken() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press(&format!("{CTRL_C}one\r"));
    terminal.until("press Ctrl-C again");
    terminal.until("seed");
    terminal.until(LISTENS);
    terminal.press(&format!("a line that is cleared{CTRL_C}two\r\u{1b}three\r"));
    terminal.until("> three");
    terminal.until("seed");
    terminal.until(LISTENS);
    assert_eq!(said(&mut terminal, &place), ["one", "two", "three"]);
    terminal.press(&format!("{CTRL_C}\u{4}"));
    assert_eq!(terminal.exit_code(), 0);

    // Behind a line it stops the answer, and the person looks at what came behind it.
    let place = Place::new();
    let mut terminal = place.chat(&[&["--top-k", "1"], &ENDLESS[..]].concat());
    terminal.press(&format!("ab\r{CTRL_C}<<two>>\r<<three>>\r"));
    terminal.until("stopped");
    terminal.until("<<two>>");
    terminal.until("<<three>>");
    terminal.press(CTRL_C);
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn what_was_typed_just_before_ctrl_c_stays() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    terminal.press(&format!("<<one>>\r<<two>>{CTRL_C}"));
    assert!(terminal.until(LISTENS).contains("stopped"));
    terminal.until("<<one>>");
    terminal.until("<<two>>");
    terminal.press(CTRL_C);
    assert_eq!(said(&mut terminal, &place), ["ab"]);
}

#[test]
fn a_paste_without_its_end_is_found_again() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press_alone("typed \u{1b}[200~pasted\rwords");
    terminal.signal("TERM");
    assert_eq!(terminal.end(), Some(143));
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press(UP);
    terminal.ask("");
    assert_eq!(said(&mut terminal, &place), ["typed pasted\nwords"]);
}
