//! Completions and manual pages name everything that the command line has.

#[path = "common/program.rs"]
mod program;

use clap::{Command, CommandFactory};
use fathom::cli::Cli;
use std::process::Output;

fn fathom(args: &[&str]) -> Output {
    program::fathom().args(args).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let done = fathom(args);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn flags(command: &Command) -> Vec<&str> {
    command.get_arguments().filter_map(|argument| argument.get_long()).collect()
}

#[test]
fn completions_name_every_verb_and_flag() {
    let program = program();
    let n_verbs = program.get_subcommands().count();
    let n_flags: usize = program.get_subcommands().map(|verb| flags(verb).len()).sum();
    assert!(n_verbs >= 9 && n_flags > 40, "{n_verbs} verbs, {n_flags} flags");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&["completions", shell]);
        for verb in program.get_subcommands() {
            assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            for flag in flags(verb) {
                let written = if shell == "fish" { format!("-l {flag}") } else { format!("--{flag}") };
                assert!(script.contains(&written), "{shell}: {} --{flag}", verb.get_name());
            }
        }
    }
    let wrong = fathom(&["completions", "csh"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn bash_takes_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fathom");
    std::fs::write(&path, text(&["completions", "bash"])).unwrap();
    // What the shell would offer after `fathom quan`.
    let line = ". \"$0\"; COMP_WORDS=(fathom quan); COMP_CWORD=1; _fathom fathom quan fathom; echo \"${COMPREPLY[@]}\"";
    let done = std::process::Command::new("bash").args(["-c", line]).arg(&path).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "quantize",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Shells offer files for paths alone: a type or a name is completed from the values that are known, or not at all.
#[test]
fn completions_offer_files_for_paths_alone() {
    let script = text(&["completions", "zsh"]);
    let mut n_values = 0;
    let lines =
        script.lines().filter(|line| line.contains("[") && line.trim_start().starts_with(['\'', '"']));
    for line in lines {
        let Some((_, rest)) = line.split_once("]:") else { continue };
        let Some((name, action)) = rest.split_once(':') else { continue };
        n_values += 1;
        let is_path = ["FILE", "DIR", "MODEL", "OUT.gguf", "FOLDER"].iter().any(|path| name.contains(path));
        assert_eq!(action.contains("_files"), is_path, "{line}");
        assert!(!action.contains("_default"), "{line}");
    }
    assert!(n_values > 100, "{n_values} values in {script}");
    for (flag, value) in [("--cache-type=", "bf16"), ("--index-cache=", "q8"), ("--type=", "q4_k_m")] {
        let mut lines = script.lines().filter(|line| line.contains(flag));
        assert!(lines.any(|line| line.contains(value)), "{flag} {value}");
    }
}

#[test]
fn the_help_lists_every_command_in_its_group() {
    let help = text(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert_eq!(commands[..5], ["chat", "run", "quantize", "models", "doctor"]);
    let program = program();
    let mut all: Vec<&str> = program.get_subcommands().map(Command::get_name).chain(["help"]).collect();
    all.sort_unstable();
    let mut listed = commands.clone();
    listed.sort_unstable();
    assert_eq!(listed, all);
    for title in ["\nLook closer, measure and compare:\n", "\nSettings, disk space and the shell:\n"] {
        assert!(help.contains(title), "{help}");
    }
    assert_eq!(text(&["version"]), text(&["--version"]));
}

/// Words that a native reader stumbles over stand in no help and no manual page.
#[test]
fn the_help_is_plain_english() {
    let program = program();
    let mut pages = vec![text(&["--help"]), text(&["-h"])];
    for verb in program.get_subcommands() {
        pages.push(text(&[verb.get_name(), "--help"]));
        for inner in verb.get_subcommands().filter(|inner| inner.get_name() != "help") {
            pages.push(text(&[verb.get_name(), inner.get_name(), "--help"]));
        }
    }
    for page in pages {
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for odd in [
            "Most ",
            "is no ",
            "tells ",
            "belongs into",
            "goes on",
            "Go on with",
            "go first",
            "also -",
            "may be given",
            "that came",
            "stand before",
            "Make up",
            "Say what",
            "all the same",
            "looked at",
        ] {
            assert!(!page.contains(odd), "{odd:?} in {page}");
        }
    }
    let chat = text(&["chat", "--help"]);
    for word in ["System prompt", "Stop string", "Structured output", "Maximum number of", "Resume"] {
        assert!(chat.contains(word), "{word}");
    }
}

/// Without the backslashes before hyphens.
fn page(text: &str) -> String {
    text.replace('\\', "")
}

#[test]
fn the_manual_names_every_verb_flag_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    text(&["man", "--dir", pages.to_str().unwrap()]);
    let read = |name: &str| page(&std::fs::read_to_string(pages.join(name)).unwrap());
    let main = read("fathom.1");
    let program = program();
    for verb in program.get_subcommands() {
        let name = format!("fathom-{}.1", verb.get_name());
        assert!(main.contains(&format!("fathom-{}(1)", verb.get_name())), "{name} is missing in {main}");
        let own = read(&name);
        for flag in flags(verb) {
            assert!(own.contains(&format!("--{flag}")), "{name}: --{flag}");
        }
        assert!(own.contains("EXIT STATUS"), "{name}");
        assert_eq!(page(&text(&["man", verb.get_name()])), own);
    }
    assert_eq!(page(&text(&["man"])), main);
    let n_pages = std::fs::read_dir(&pages).unwrap().count();
    assert_eq!(n_pages, program.get_subcommands().count() + 1);
    for code in ["0", "1", "2", "3", "4", "129", "130", "131", "143"] {
        assert!(main.contains(&format!("fB{code}fR")), "{code} is missing in {main}");
        let help = text(&["--help"]);
        let exit_codes = help.split_once("Exit codes:").unwrap().1;
        assert!(exit_codes.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
    }
    assert!(main.contains("FATHOM_SIMD"));
}

#[test]
fn a_page_of_no_verb_is_a_mistake_in_the_command_line() {
    let done = fathom(&["man", "swim"]);
    assert_eq!(done.status.code(), Some(2));
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(told.contains("`swim`") && told.contains("quantize"), "{told}");
}
