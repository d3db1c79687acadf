//! `fathom chat` as a person has it: through a real pseudo-terminal.
#![cfg(target_os = "linux")]

mod common;

use base64::Engine;
use common::terminal::{CTRL_C, LISTENS, PATIENCE_MS, Place, Terminal, answering, model, saved};
use rexpect::session::spawn_command;
use serde_json::Value as Json;

#[test]
fn the_command_line_may_hold_the_first_message() {
    let place = Place::new();
    // It listens once that is answered.
    let mut terminal = place.chat(&["--seed", "3", "-n", "6", "-p", "/the end"]);
    assert!(terminal.say("/stats").contains("2 messages | 1 answer, "));
    assert!(terminal.say("/history").contains("you: /the end"), "a message, whatever it begins with");
    let (_, figures) = terminal.ask("and more");
    assert!(figures.contains("seed 4"), "{figures}");
    terminal.leave();
}

#[test]
fn a_conversation_with_figures_settings_and_commands() {
    let place = Place::new();
    let mut terminal = place.chat(&["--seed", "3", "-n", "6"]);
    let (first, figures) = terminal.ask("the end");
    assert!(
        figures.contains("answer ") && figures.contains("seed 3") && figures.contains("tokens/s"),
        "{figures}"
    );
    assert!(!figures.contains("cached"), "{figures}");

    let (_, figures) = terminal.ask("and more");
    assert!(figures.contains("cached") && figures.contains("seed 4"), "{figures}");
    assert!(terminal.say("/stats").contains("4 messages | 2 answers"));

    // The same seed for the same message is the same answer, another one is not.
    assert!(terminal.say("/undo").contains("2 messages left"));
    let (other, figures) = terminal.ask("/regen");
    assert!(figures.contains("seed 5"), "{figures}");
    assert!(terminal.say("/set seed 3").contains("seed = 3"));
    let (same, _) = terminal.ask("/regen");
    assert_eq!(same, first);
    assert_ne!(other, first);

    for (line, expected) in [
        ("/help", "/regen"),
        ("/sve", "did you mean /save?"),
        ("/set top_p 1.5", "expected a number from 0 to 1"),
        ("/set top-p 0.5", "top_p = 0.5"),
        ("/set wings on", "there is no setting wings"),
        ("/set typical 0.9", "typical = 0.9"),
        ("/set dry-multiplier 0.8", "dry_multiplier = 0.8"),
        ("/set repeat_penalty 0", "expected a number above 0"),
        ("/set repeat_last_n -1", "repeat_last_n = -1"),
        ("/set", "dry_multiplier 0.8"),
        ("/set", "top_p 0.5"),
        ("/system", "no system prompt"),
        ("/system Be brief.", "system prompt set; the next answer recomputes the whole conversation"),
        ("/system", "Be brief."),
        ("/think maybe", "/think off"),
        ("/new", "a new conversation"),
        ("/undo", "nothing to take back"),
        ("/regen", "no message to answer"),
        ("/read /nowhere/at/all", "/nowhere/at/all"),
        ("/load /nowhere/at/all", "/nowhere/at/all"),
    ] {
        let told = terminal.say(line);
        assert!(told.contains(expected), "{line}: {told}");
    }
    terminal.leave();
}

#[test]
fn messages_of_several_lines_and_files() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    std::fs::write(place.file("a file.txt"), "from the file\n").unwrap();
    // Enter inside a message is no end of it.
    terminal.press("\"\"\"first\r");
    terminal.press("  second\r");
    terminal.ask("third\"\"\"");
    terminal.press("one \\\r");
    terminal.ask("two");
    let told = terminal.say(&format!("/read {}/a\\ file.txt", place.folder.path().display()));
    assert!(told.contains("tokens"), "{told}");
    terminal.ask(" /slash");
    let messages = saved(&mut terminal, &place.file("talk.json"));
    let asked: Vec<&str> =
        messages.iter().filter(|(role, _)| role == "user").map(|(_, content)| content.as_str()).collect();
    assert_eq!(asked, ["first\n  second\nthird", "one \ntwo", "from the file\n\n\n/slash"]);
}

#[test]
fn several_files_stand_before_a_message_with_their_names() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    let folder = place.folder.path().display();
    std::fs::write(place.file("a b.txt"), "the first\n").unwrap();
    std::fs::write(place.file("c.txt"), "the second").unwrap();
    std::fs::write(place.file("d.txt"), b"\xff\xfe\0").unwrap();
    let told = terminal.say(&format!("/glob {folder}/*.txt"));
    assert!(told.contains("d.txt: expected UTF-8") && told.contains("2 files, "), "{told}");
    let told = terminal.say("/new");
    assert!(told.contains("dropped 2 files that were waiting for your next message"), "{told}");
    assert!(terminal.say(&format!("/read {folder}/c.txt {folder}/d.txt")).contains("d.txt: expected UTF-8"));
    let told = terminal.say(&format!("/read {folder}/a\\ b.txt '{folder}/c.txt'"));
    assert!(told.contains("c.txt: ") && told.contains("2 files, "), "{told}");
    terminal.ask("Compare them.");
    let asked = &saved(&mut terminal, &place.file("talk.json"))[0].1;
    let file = |name: &str, text: &str| {
        format!("[file name]: {folder}/{name}\n[file content begin]\n{text}\n[file content end]\n\n")
    };
    let (first, second) = (file("a b.txt", "the first"), file("c.txt", "the second"));
    assert_eq!(asked, &format!("{first}{second}Compare them."));
    // What was read last is taken back first.
    terminal.say(&format!("/read {folder}/c.txt"));
    assert!(terminal.say("/undo").contains("dropped 1 file that was waiting for your next message"));
    assert!(terminal.say("/undo").contains("taken back; 0 messages left"));
}

#[test]
fn each_edit_is_taken_back_also_with_another_model() {
    let place = Place::new();
    let mut command = place.command(&["chat", "-n", "2"]);
    command.env("EDITOR", "sed -i -e s/water/lake/ -e t -e s/river/water/").env_remove("VISUAL");
    let mut terminal = Terminal::open(command);
    let path = place.file("talk.json");
    terminal.ask("Please define river.");
    let before = saved(&mut terminal, &path);
    terminal.ask("/edit");
    let edited = saved(&mut terminal, &path);
    terminal.ask("/edit");
    assert_eq!(saved(&mut terminal, &path)[0].1, "Please define lake.");
    terminal.say(&format!("/model {}", model().display()));
    assert!(terminal.say("/undo").contains("the edit is taken back"));
    assert_eq!(saved(&mut terminal, &path), edited);
    assert!(terminal.say("/undo").contains("the edit is taken back"));
    assert_eq!(saved(&mut terminal, &path), before);
    // Another conversation has no edits, also where a message says the same.
    terminal.ask("/edit");
    terminal.say("/new");
    terminal.ask("Please define water.");
    assert!(terminal.say("/undo").contains("taken back; 0 messages left"));
    // What the session still holds is not the conversation's.
    let told = terminal.say("/context");
    assert!(told.trim_start().starts_with("0 of "), "{told:?}");
    assert!(terminal.say("/stats").contains("context 0 of "));
}

/// Ctrl-C goes to all that run in the terminal; while an editor has it, it is the editor's.
#[cfg(unix)]
#[test]
fn ctrl_c_in_an_editor_stops_no_answer() {
    let place = Place::new();
    let mut command = place.command(&["chat", "--temp", "0"]);
    let editor = "f() { trap '' INT; kill -s INT 0; sleep 0.2; sed -i s/river/water/ \"$1\"; }; f";
    command.env("EDITOR", editor).env_remove("VISUAL");
    let mut terminal = Terminal::open(command);
    terminal.ask("Please define river.");
    let told = terminal.say("/edit");
    assert!(told.contains("are replaced") && !told.contains("stopped"), "{told}");
    assert_eq!(saved(&mut terminal, &place.file("talk.json"))[0].1, "Please define water.");
}

#[test]
fn a_conversation_is_saved_and_gone_on_with() {
    let place = Place::new();
    let (path, copy) = (place.file("talk.json"), place.file("copy.json"));
    let mut terminal = place.chat(&["-n", "4", "--seed", "8", "--system", "Be brief.", "--think"]);
    terminal.ask("the end");
    let before = saved(&mut terminal, &path);
    assert_eq!(before.len(), 2);
    std::fs::write(&copy, "not ours").unwrap();
    assert!(terminal.say(&format!("/save {}", copy.display())).contains("not a saved conversation"));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "not ours");
    let told = terminal.say(&format!("/load {}", copy.display()));
    let found = "expected a saved conversation, found text that is not JSON: it begins with \"not ours\"";
    assert!(told.contains(found) && told.contains("/read puts a text file"), "{told}");
    assert!(terminal.say("/load nowhere.json").contains("/list shows the conversations"));
    std::fs::remove_file(&copy).unwrap();
    drop(terminal);

    let mut terminal = place.chat(&[]);
    let told = terminal.say(&format!("/load {}", path.display()));
    assert!(told.contains("2 messages loaded"), "{told}");
    assert_eq!(saved(&mut terminal, &copy), before);
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap(), "settings, too");
    let (_, figures) = terminal.ask("more");
    assert!(figures.contains("seed 8"), "{figures}");
    assert_eq!(saved(&mut terminal, &copy)[..2], before);

    std::fs::write(&path, "{\"fathom_conversation\": 1, \"model\": 2}").unwrap();
    assert!(terminal.say(&format!("/load {}", path.display())).contains("talk.json"));
    let stray = serde_json::json!({"role": "tool", "content": "an answer to nothing"});
    let mut json: Json = serde_json::from_slice(&std::fs::read(&copy).unwrap()).unwrap();
    json["messages"].as_array_mut().unwrap().insert(0, stray);
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(terminal.say(&format!("/load {}", path.display())).contains("a tool result"));
    assert_eq!(saved(&mut terminal, &copy).len(), 4, "a file that cannot be read changes nothing");
}

#[test]
fn a_conversation_is_looked_at_written_for_others_and_edited() {
    let place = Place::new();
    let open = |editor: &str| {
        let mut command = place.command(&["chat", "--seed", "2", "--system", "Be brief."]);
        Terminal::open({
            command.env("EDITOR", editor).env_remove("VISUAL");
            command
        })
    };
    let mut terminal = open("sed -i s/river/water/");
    assert!(terminal.say("/edit").contains("no message to edit"));
    terminal.ask("Please define river.");
    let told = terminal.say("/history");
    for said in ["system: Be brief.", "you: Please define river.", "model: "] {
        assert!(told.contains(said), "{told}");
    }
    let told = terminal.say("/context");
    assert!(told.contains(" of 32768 tokens") && told.contains("of the system prompt"), "{told}");
    let markdown = place.file("talk.md");
    assert!(terminal.say(&format!("/export md {}", markdown.display())).contains("2 messages written"));
    let text = std::fs::read_to_string(&markdown).unwrap();
    assert!(text.contains("## You\n\nPlease define river.\n\n## Model\n"), "{text}");
    assert!(terminal.say(&format!("/export json {}", markdown.display())).contains("choose another name"));
    assert!(terminal.say("/thinking").contains("thinking is shown"));
    assert!(terminal.say("/thinking hide").contains("thinking is hidden"));
    assert!(terminal.say("/thinking").contains("thinking is hidden"));

    let before = saved(&mut terminal, &place.file("talk.json"));
    let (told, _) = terminal.ask("/edit");
    assert!(told.contains("the message and its answer are replaced; /undo brings them back"), "{told}");
    assert!(terminal.say("/undo").contains("the edit is taken back; 2 messages now"));
    assert_eq!(saved(&mut terminal, &place.file("talk.json")), before);
    terminal.ask("/edit");
    let asked = saved(&mut terminal, &place.file("talk.json"));
    assert_eq!((asked.len(), &*asked[0].1), (2, "Please define water."));
    // The same text once more is no edit; neither is what an editor that failed left.
    assert!(terminal.say("/edit").contains("unchanged"));
    // What is being typed, with Ctrl-O.
    terminal.press("About a river");
    terminal.press("\u{f}");
    terminal.until(LISTENS);
    terminal.ask(" now");
    let asked = saved(&mut terminal, &place.file("talk.json"));
    assert_eq!((asked.len(), &*asked[2].1), (4, "About a water now"));
    let mut terminal = open("false");
    terminal.ask("Please define river.");
    assert!(terminal.say("/edit").contains("false ended with"));
    for (editor, why) in [
        ("f() { echo hours of work > \"$1\"; return 3; }; f", "ended with exit status: 3"),
        ("f() { echo hours of work > \"$1\"; kill -s KILL $$; }; f", "signal: 9"),
        ("f() { printf 'hours of work \\377' > \"$1\"; }; f", "found other bytes at byte 14"),
    ] {
        let mut command = place.command(&["chat", "-n", "2"]);
        command.env("EDITOR", editor).env("TMPDIR", place.folder.path()).env_remove("VISUAL");
        let mut terminal = Terminal::open(command);
        terminal.resize(500, 24);
        terminal.ask("Please define river.");
        let told = terminal.say("/edit");
        assert!(told.contains(why) && told.contains("what you wrote is in "), "{told}");
        let files = std::fs::read_dir(place.folder.path()).unwrap().map(|file| file.unwrap().path());
        let texts: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
        let written: Vec<_> =
            texts.iter().filter(|path| std::fs::read(path).unwrap().starts_with(b"hours of work")).collect();
        assert_eq!(written.len(), 1, "{texts:?}");
        assert!(told.contains(written[0].to_str().unwrap()), "{told}");
        std::fs::remove_file(written[0]).unwrap();
    }
}

#[test]
fn a_conversation_that_ended_goes_on_with_what_was_kept() {
    let place = Place::new();
    let path = place.file("talk.json");
    let context = |figures: &str| {
        let held = figures.split("context ").nth(1).and_then(|rest| rest.split(' ').next());
        held.and_then(|held| held.parse::<usize>().ok()).unwrap_or_else(|| panic!("{figures}"))
    };
    // The built-in model's answers are text: random bytes may have no characters, and their ids are then not kept.
    let chat = || Terminal::open(place.command(&["chat", "--seed", "8"]));
    let mut terminal = chat();
    terminal.ask("What is 412 - 87?");
    let (_, figures) = terminal.ask("Please define river.");
    let held = context(&figures);
    saved(&mut terminal, &path);
    terminal.leave();

    let mut terminal = chat();
    terminal.say(&format!("/load {}", path.display()));
    let (_, figures) = terminal.ask("Who made you?");
    let on_disk = format!("({held} cached, {held} of them on disk)");
    assert!(figures.contains(&on_disk), "{on_disk} is not in {figures}");
}

#[test]
fn thinking_is_dim_unless_colours_are_unwanted() {
    let place = Place::new();
    let args = ["-n", "8", "--seed", "1", "--think"];
    let mut terminal = place.chat(&args);
    let (answer, figures) = terminal.ask("x");
    assert!(answer.contains("\u{1b}[2m") && figures.contains("\u{1b}[0m"), "{answer:?} {figures:?}");
    assert!(terminal.say("/think off").contains("thinking: off"));
    assert!(terminal.say("/think").contains("thinking: off"), "it shows");
    assert!(terminal.say("/think budget 5").contains("thinking: on, with at most 5 tokens"));
    terminal.say("/think budget -1");
    assert!(terminal.say("/think").contains("thinking: on"));

    let mut command = place.command(&[&["chat", model().to_str().unwrap()], &args[..]].concat());
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::open(command);
    let (answer, _) = terminal.ask("x");
    assert!(!answer.contains("\u{1b}[2m") && answer.contains("<think>"), "{answer:?}");
    terminal.say("/set hide_thinking on");
    assert!(!terminal.ask("/regen").0.contains("<think>"));
}

#[test]
fn ctrl_c_stops_an_answer_and_keeps_it() {
    let place = Place::new();
    let mut terminal = answering(&place, &[]);
    terminal.press(CTRL_C);
    let told = terminal.until(LISTENS);
    assert!(told.contains("the answer so far is saved"), "{told}");
    let messages = saved(&mut terminal, &place.file("talk.json"));
    assert_eq!(messages.len(), 2);
    assert!(!messages[1].1.is_empty());
    terminal.say("/set n_predict 3");
    let (_, figures) = terminal.ask("more");
    assert!(figures.contains("cached"), "{figures}");
}

/// How far a stopped prompt was.
fn stopped_at(told: &str) -> usize {
    let place = told.find("stopped with ").unwrap_or_else(|| panic!("{told}")) + "stopped with ".len();
    told[place..].split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn ctrl_c_stops_a_prompt_that_shows_its_progress() {
    let place = Place::new();
    std::fs::write(place.file("long.txt"), "1a".repeat(75_000)).unwrap();
    let mut terminal = place.chat(&["-b", "1", "-c", "160000", "-n", "3"]);
    terminal.say(&format!("/read {}", place.file("long.txt").display()));
    terminal.begin("what is this?");
    terminal.until("tokens/s, ");
    terminal.press(CTRL_C);
    let first = stopped_at(&terminal.until(LISTENS));
    assert!(first > 0);

    // It goes on where it was.
    terminal.begin("/regen");
    terminal.until("tokens/s, ");
    terminal.press(CTRL_C);
    let second = stopped_at(&terminal.until(LISTENS));
    assert!(second > first, "{second} {first}");

    // Taken back it goes with its file; another message would have taken its place and kept the file.
    assert!(terminal.say("/undo").contains("taken back"));
    assert!(terminal.say("x").contains("seed"));
    assert_eq!(saved(&mut terminal, &place.file("talk.json"))[0].1, "x");
}

#[test]
fn ctrl_c_clears_a_line_and_twice_on_an_empty_one_leaves() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press("/nonsense");
    terminal.press(CTRL_C);
    assert!(terminal.say("/stats").contains("0 messages"));

    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("press Ctrl-C again"));
    terminal.say("/stats");
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("press Ctrl-C again"), "a line between starts the count anew");
    terminal.press(CTRL_C);
    assert_eq!(terminal.exit_code(), 0);

    let mut terminal = place.chat(&["-n", "2"]);
    terminal.press("\u{4}");
    assert_eq!(terminal.exit_code(), 0, "Ctrl-D leaves at once");
}

#[test]
fn lines_are_completed_and_remembered() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    assert!(terminal.say("/sta\t").contains("0 messages"));
    assert!(terminal.say("/set hide\t on").contains("hide_thinking = on"));
    std::fs::write(place.file("notes.txt"), "some notes").unwrap();
    let told = terminal.say(&format!("/read {}/no\t", place.folder.path().display()));
    assert!(told.contains("notes.txt") && told.contains("tokens"), "{told}");
    terminal.say("/think on");
    drop(terminal);

    let up = "\u{1b}[A";
    let mut terminal = place.chat(&[]);
    assert!(terminal.say(up).contains("thinking: on"), "the last line of the session before");
    let mut terminal = place.chat(&["--no-history"]);
    assert!(!terminal.say(up).contains("thinking"), "nothing is remembered");
    assert!(terminal.say("/stats").contains("0 messages"));
    drop(terminal);
    let mut terminal = place.chat(&[]);
    assert!(terminal.say(up).contains("thinking: on"), "nor was anything written");
}

#[test]
fn fathom_alone_chats_with_the_built_in_model() {
    let place = Place::new();
    let mut terminal = Terminal { pty: spawn_command(place.command(&[]), Some(PATIENCE_MS)).unwrap() };
    let told = terminal.until(LISTENS);
    assert!(told.contains("the built-in model") && told.contains("/help"), "{told}");
    terminal.say("/set n_predict 5");
    let (_, figures) = terminal.ask("Hello");
    assert!(figures.contains("context"), "{figures}");
    terminal.leave();
}

#[test]
fn only_regular_files_that_fit_are_read() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2", "-c", "300"]);
    let pipe = place.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["/read", "/load"] {
        assert!(terminal.say(&format!("{command} {}", pipe.display())).contains("found a pipe"));
        assert!(terminal.say(&format!("{command} /dev/zero")).contains("found a device"));
        assert!(terminal.say(&format!("{command} /")).contains("found a folder"));
    }
    std::fs::write(place.file("large.txt"), "a few words ".repeat(1000)).unwrap();
    std::fs::write(place.file("small.txt"), "a few words").unwrap();
    terminal.ask("hello");
    let told = terminal.say(&format!("/read {}", place.file("large.txt").display()));
    assert!(told.contains("of the context's 300 tokens are in use"), "{told}");
    // What was read already counts as well.
    let mut told = String::new();
    for _ in 0..100 {
        told = terminal.say(&format!("/read {}", place.file("small.txt").display()));
        if told.contains("do not fit") {
            break;
        }
    }
    assert!(told.contains("do not fit"), "{told}");
    terminal.leave();
}

/// A conversation whose last answer is this.
fn with_an_answer(place: &Place, terminal: &mut Terminal, answer: &str) {
    terminal.ask("hello");
    let path = place.file("made.json");
    saved(terminal, &path);
    let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["messages"][1]["content"] = answer.into();
    json["message_ids"] = Json::Array(Vec::new());
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(terminal.say(&format!("/load {}", path.display())).contains("2 messages loaded"));
}

#[test]
fn answers_and_their_code_go_to_the_clipboard_and_to_files() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    assert!(terminal.say("/copy").contains("there is no answer yet"));
    let answer = "Do this:\n\n```sh\necho \u{e9}\n```\nor that:\n- ~~~\n  two\n    lines\n  ~~~";
    with_an_answer(&place, &mut terminal, answer);
    let copied = |text: &str| format!("\u{1b}]52;c;{}\u{7}", base64::prelude::BASE64_STANDARD.encode(text));
    for (line, text) in [("/copy", answer), ("/copy 1", "echo \u{e9}"), ("/copy 2", "two\n  lines")] {
        let told = terminal.say(line);
        assert!(told.contains(&copied(text)) && told.contains("/write FILE"), "{line}: {told:?}");
    }
    assert!(terminal.say("/copy 3").contains("from 1 to 2, found 3"));

    let file = place.file("a file");
    let shown = format!("'{}'", file.display());
    assert!(terminal.say(&format!("/write {shown} 2")).contains("2 lines written"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n  lines\n");
    // What is there gives way if the person says so, and keeps its mode.
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (said, expected) in [("", "two\n  lines\n"), ("n", "two\n  lines\n"), ("y", "echo \u{e9}\n")] {
        let asked = terminal.say(&format!("/write {shown} 1"));
        assert!(!asked.contains("written"), "{asked}");
        terminal.say(said);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected, "{said:?}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o755);
    assert!(terminal.say(&format!("/write {}", place.file("whole.md").display())).contains("lines written"));
    assert_eq!(std::fs::read_to_string(place.file("whole.md")).unwrap(), format!("{answer}\n"));
    let folder = place.folder.path();
    assert!(terminal.say(&format!("/write {}", folder.display())).contains("error:"), "a folder");
    assert!(terminal.say("/write /nowhere/at/all").contains("/nowhere/at/all"));
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("part")), "{left:?}");
    terminal.leave();
}

#[test]
fn commands_of_the_shell_are_run_and_sent_if_wanted() {
    let place = Place::new();
    let mut terminal = place.chat(&["-n", "2"]);
    assert!(terminal.say("!echo one two | tr a-z A-Z").contains("ONE TWO"));
    assert!(terminal.say("!exit 3").contains("ended with exit status: 3"));
    assert!(terminal.say("!").contains("a space before the !"));
    assert!(terminal.say("!tty").contains("/dev/pts/"), "it has the terminal");
    let told = terminal.say("!!echo out; echo err >&2");
    assert!(
        told.contains("out") && told.contains("err") && told.contains("go before your next message"),
        "{told}"
    );
    assert!(terminal.say("!!true").contains("nothing to send"));
    let told = terminal.say("!!echo bad; exit 3");
    assert!(told.contains("ended with exit status: 3") && told.contains("tokens"), "{told}");
    assert!(!terminal.say("!!echo unsent; kill -s TERM $$").contains("tokens"), "it was stopped");
    terminal.ask("What is this?");
    terminal.ask(" !important");
    let said = saved(&mut terminal, &place.file("talk.json"));
    assert_eq!(
        said[0].1,
        "$ echo out; echo err >&2\nout\nerr\n\n\n$ echo bad; exit 3\nbad\n(exit status: 3)\n\n\nWhat is this?"
    );
    assert_eq!(said[2].1, "!important");
    assert_eq!(said.len(), 4, "nothing else was sent");
    // One that came behind another line, as a pasted text does, is asked about.
    for (said, runs) in [("n", false), ("y", true)] {
        terminal.press("/set seed 1\r!echo ran | tr a-z A-Z\r");
        terminal.until("run echo ran");
        assert_eq!(terminal.say(said).contains("RAN"), runs, "{said}");
    }
    // Ctrl-C is the command's.
    terminal.begin("!echo be''gun; sleep 600");
    terminal.until("begun");
    terminal.press(CTRL_C);
    assert!(terminal.until(LISTENS).contains("ended with signal: 2"));
    terminal.leave();
}

#[test]
fn a_conversation_changes_its_model_and_stays() {
    let place = Place::new();
    let mut terminal =
        Terminal::open(place.command(&["chat", "-n", "4", "--system", "Be brief.", "--seed", "3"]));
    terminal.ask("Please define river.");
    assert!(terminal.say("/model").contains("the built-in model, with 32768 tokens"));
    assert!(terminal.say("/model builtin").contains("is already the model"));
    assert!(terminal.say("/model /nowhere/at/all").contains("there is no such file"));
    std::fs::write(place.file("bad.gguf"), "no model").unwrap();
    let told = terminal.say(&format!("/model {}", place.file("bad.gguf").display()));
    assert!(told.contains("error: ") && told.contains("bad.gguf"), "{told}");
    assert!(terminal.say("/model").contains("the built-in model"), "the one before it is used again");

    std::fs::write(place.file("notes.txt"), "some notes\n").unwrap();
    terminal.say(&format!("/read {}", place.file("notes.txt").display()));
    terminal.say("/set top_k 7");
    let told = terminal.say(&format!("/model {}", model().display()));
    assert!(told.contains("this conversation used the built-in model before"), "{told}");
    assert!(terminal.say("\u{1b}[A").contains("is already the model"), "earlier lines are there");
    assert!(terminal.say("/model").contains(model().file_name().unwrap().to_str().unwrap()));
    assert!(terminal.say("/set").contains("top_k 7"));
    terminal.ask("And hill?");
    let path = place.file("talk.json");
    let messages = saved(&mut terminal, &path);
    let asked: Vec<&str> = messages.iter().step_by(2).map(|(_, text)| text.as_str()).collect();
    assert_eq!(asked, ["Please define river.", "some notes\n\n\nAnd hill?"]);
    let json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["model"], model().to_str().unwrap());
    terminal.leave();
    // It is one conversation, and its model is the last one.
    let mut terminal = Terminal::open(place.command(&["chat", "--continue", "-n", "4"]));
    assert!(terminal.say("/model").contains(model().file_name().unwrap().to_str().unwrap()));
    assert!(terminal.say("/list").contains("2 turns"));
    terminal.leave();
}
