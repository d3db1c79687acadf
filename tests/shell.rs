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
    for code in ["0", "1", "2", "3", "4", "130"] {
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
