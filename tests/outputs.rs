//! What the program reads and writes: nothing of anybody's is written over unasked, nothing is waited for that never comes,
//! and a reader that went away is no error.
#![cfg(target_os = "linux")]

#[path = "common/program.rs"]
mod program;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes a second on an idle machine; this one may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

const PRECIOUS: &str = "precious";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
        self.path(name)
    }

    /// A copy of the built-in model, which may be damaged.
    fn model(&self) -> PathBuf {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(BUILT_IN), self.path("model.gguf")).unwrap();
        self.path("model.gguf")
    }

    /// Everything in the folder but files of these names.
    fn others(&self, names: &[&str]) -> Vec<String> {
        let all = fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        all.filter(|name| !names.contains(&name.as_str())).collect()
    }
}

const BUILT_IN: &str = "models/builtin/builtin.gguf";

fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = program::fathom();
    command.args(args).stdin(Stdio::null());
    command
}

/// A run that must end by itself.
fn finished(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn run<S: AsRef<OsStr>>(args: &[S]) -> (Option<i32>, String, Vec<u8>) {
    let child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let done = finished(child);
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned(), done.stdout)
}

/// A line of the shell with the program as `$F`.
fn shell(line: &str) -> Output {
    let mut command = program::without_settings(Command::new("bash"));
    command.args(["-c", line]).env("F", env!("CARGO_BIN_EXE_fathom")).stdin(Stdio::null());
    finished(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn words(path: &Path) -> &str {
    path.to_str().unwrap()
}

const TEXT: &str = "It was a bright cold day in April, and the clocks were striking thirteen. ";

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let place = Place::new();
    let (out, text) = (place.file("out", PRECIOUS), place.file("text", &TEXT.repeat(8)));
    let theirs = place.file("out.part", PRECIOUS);
    let (out_word, text) = (words(&out), words(&text));
    let lines: [&[&str]; 2] = [
        &["logits", "--tokens", "0,5,7", "-o", out_word],
        &["perplexity", "-f", text, "-c", "16", "--chunks", "2", "--save-base", out_word],
    ];
    for line in lines {
        fs::write(&out, PRECIOUS).unwrap();
        let (code, message, _) = run(line);
        assert_eq!(code, Some(2), "{line:?}: {message}");
        assert!(message.contains("the file exists") && message.contains("--force"), "{message}");
        assert_eq!(fs::read_to_string(&out).unwrap(), PRECIOUS);
        let (code, message, _) = run(&[line, &["--force"]].concat());
        assert_eq!(code, Some(0), "{line:?}: {message}");
        assert_ne!(fs::read(&out).unwrap(), PRECIOUS.as_bytes());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), PRECIOUS, "{line:?}");
        assert!(place.others(&["out", "out.part", "text"]).is_empty());
    }
}

#[test]
fn a_page_of_the_manual_replaces_no_other_file() {
    let place = Place::new();
    let dir = words(place.0.path());
    assert_eq!(run(&["man", "--dir", dir]).0, Some(0));
    assert_eq!(run(&["man", "--dir", dir]).0, Some(0), "the same pages again");
    let own = fs::read(place.path("fathom-run.1")).unwrap();
    place.file("fathom-run.1", PRECIOUS);
    fs::remove_file(place.path("fathom.1")).unwrap();
    let (code, message, _) = run(&["man", "--dir", dir]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("fathom-run.1"), "{message}");
    assert_eq!(fs::read_to_string(place.path("fathom-run.1")).unwrap(), PRECIOUS);
    assert!(!place.path("fathom.1").exists(), "nothing is written before all names are looked at");
    assert_eq!(run(&["man", "--dir", dir, "--force"]).0, Some(0));
    assert_eq!(fs::read(place.path("fathom-run.1")).unwrap(), own);
}

#[test]
fn what_is_read_is_never_written_over() {
    let place = Place::new();
    let model = place.model();
    let (ids, text) = (place.file("ids", "0 5 7"), place.file("text", &TEXT.repeat(8)));
    symlink("model.gguf", place.path("link")).unwrap();
    fs::hard_link(&model, place.path("hard")).unwrap();
    let before = fs::read(&model).unwrap();
    let dotted = place.path("./model.gguf");
    let (link, hard) = (place.path("link"), place.path("hard"));
    for out in [&model, &ids, &link, &hard, &dotted] {
        let line = ["logits", words(&model), "--tokens-file", words(&ids), "--force", "-o", words(out)];
        let (code, message, _) = run(&line);
        assert_eq!(code, Some(2), "{line:?}: {message}");
        assert!(message.contains("would overwrite the input"), "{message}");
    }
    for out in [&model, &text, &link, &hard] {
        let line = [
            "perplexity",
            words(&model),
            "-c",
            "16",
            "-f",
            words(&text),
            "--force",
            "--save-base",
            words(out),
        ];
        let (code, message, _) = run(&line);
        assert_eq!(code, Some(2), "{line:?}: {message}");
    }
    assert_eq!(fs::read(&model).unwrap(), before);
    assert_eq!(fs::read_to_string(&ids).unwrap(), "0 5 7");
    assert_eq!(fs::read_to_string(&text).unwrap(), TEXT.repeat(8));
    assert!(place.others(&["model.gguf", "ids", "text", "link", "hard"]).is_empty());
}

#[test]
fn a_checkpoint_is_not_written_over_by_its_own_file() {
    let place = Place::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/base/fp8");
    let folder = place.path("checkpoint");
    fs::create_dir(&folder).unwrap();
    let mut names = Vec::new();
    for entry in
        fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        fs::copy(&entry, folder.join(entry.file_name().unwrap())).unwrap();
        names.push(entry.file_name().unwrap().to_owned());
    }
    for (number, name) in names.iter().enumerate() {
        let (link, hard) = (place.path(&format!("link{number}")), place.path(&format!("hard{number}")));
        symlink(folder.join(name), &link).unwrap();
        fs::hard_link(folder.join(name), &hard).unwrap();
        let before = fs::read(folder.join(name)).unwrap();
        for out in [folder.join(name), link, hard] {
            let line = ["quantize", words(&folder), "--type", "q8_0", "--force", "-o", words(&out)];
            let (code, message, _) = run(&line);
            assert_eq!(code, Some(2), "{line:?}: {message}");
            assert!(message.contains("would overwrite the input"), "{message}");
            assert_eq!(fs::read(folder.join(name)).unwrap(), before);
        }
    }
}

#[test]
fn logits_go_to_pipes_and_devices_as_they_are() {
    let place = Place::new();
    let out = place.path("out");
    assert_eq!(run(&["logits", "--tokens", "0,5", "-o", words(&out)]).0, Some(0));
    let expected = fs::read(&out).unwrap();
    assert_eq!(expected.len() % 8, 0);
    for line in ["$F logits --tokens 0,5 -o - | cat", "$F logits --tokens 0,5 -o /dev/stdout | cat"] {
        let done = shell(line);
        assert!(done.status.success() && done.stdout == expected, "{line}");
    }
    let through =
        shell(&format!("$F logits --tokens 0,5 -o >(cat > {0}/copy; touch {0}/done)", words(place.0.path())));
    assert!(through.status.success());
    let started = Instant::now();
    while !place.path("done").exists() && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read(place.path("copy")).unwrap(), expected);
    assert_eq!(run(&["logits", "--tokens", "0,5", "-o", "/dev/null"]).0, Some(0));
    // What nobody reads is not computed: all of it would take very long.
    let head = "yes 5 | head -n 100000 | $F logits --tokens-file - -b 64 -o - | head -c 9 | wc -c";
    let done = shell(&format!("{head}; echo \"${{PIPESTATUS[2]}}\""));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "9\n0\n", "{}", String::from_utf8_lossy(&done.stderr));
    let (code, message, _) = run(&["logits", "--tokens", "0,5", "-o", words(&place.fifo("pipe"))]);
    assert_eq!(code, Some(1));
    assert!(message.contains("nobody reads this pipe"), "{message}");
    let (code, message, _) = run(&["logits", "--tokens", "0,5", "-o", "/dev/full"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("/dev/full"), "{message}");
}

#[test]
fn nothing_is_waited_for_that_nobody_writes() {
    let place = Place::new();
    let pipe = place.fifo("pipe");
    let (zero, folder, pipe) = ("/dev/zero", words(place.0.path()), words(&pipe));
    let mut runs = Vec::new();
    for input in [pipe, zero, folder] {
        let lines = [
            &["run", "-n", "1", "-f", input][..],
            &["run", "-n", "1", "-p", "x", "--tools", input],
            &["run", "-n", "1", "-p", "x", "-j", input],
            &["run", "-n", "1", "-p", "x", "--json-schema-file", input],
            &["logits", "-o", "/dev/null", "--tokens-file", input],
            &["perplexity", "-f", input],
            &["inspect", input],
            &["run", input, "-p", "x"],
        ];
        let start =
            |line: &[&str]| command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // All at once: some wait a moment for a writer.
        runs.extend(lines.map(|line| (input, format!("{line:?}"), start(line))));
    }
    for (input, line, child) in runs {
        let done = finished(child);
        let message = String::from_utf8_lossy(&done.stderr);
        // The command line is right, and what it names is not.
        assert_eq!(done.status.code(), Some(3), "{line}: {message}");
        let found = ["a pipe", "a device", "folder"].iter().any(|kind| message.contains(kind));
        assert!(found && message.contains(input), "{line}: {message}");
    }
    let config = command(&["run", "-p", "x", "-n", "1"])
        .env("FATHOM_CONFIG", pipe)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let done = finished(config);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
}

#[test]
fn pipes_of_a_shell_are_files() {
    let done = shell("$F run --no-cache -n 4 --seed 1 -f <(sleep 3; echo hello; sleep 0.1; echo you)");
    assert!(done.status.success(), "{done:?}");
    let done = shell("echo '0 5' > /dev/null; $F logits --tokens-file <(echo 0 5) -o - | wc -c");
    assert!(done.status.success(), "{done:?}");
    assert_ne!(String::from_utf8(done.stdout).unwrap().trim(), "0");
    let done = shell("$F logits --tokens-file - -o - <<< '0 5' | wc -c");
    assert_ne!(String::from_utf8(done.stdout).unwrap().trim(), "0");
    let done = shell("yes | head -c 300000000 | $F run --no-cache -n 1");
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("268435456 bytes"), "{done:?}");
}

/// Whatever became of stderr, the answer and the exit code are the same.
#[test]
fn a_stderr_that_takes_nothing_changes_nothing() {
    let place = Place::new();
    let folder = words(place.0.path());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/base/fp8");
    place.file("text", &TEXT.repeat(8));
    let quantize = format!(
        "$F quantize {} --type q8_0 --json --force -o {folder}/m.gguf | grep -o file_bytes",
        words(&source)
    );
    let lines = [
        "$F run --no-cache -n 5 --seed 1 -p hello".to_owned(),
        "echo hello | $F chat --no-cache -n 5 --seed 1".to_owned(),
        format!("$F perplexity -f {folder}/text -c 16 --chunks 2"),
        format!("$F logits --tokens 0,5 -o {folder}/logits --force; wc -c < {folder}/logits"),
        quantize,
        "$F config show".to_owned(),
        "$F --help".to_owned(),
        "$F --version".to_owned(),
        "$F run --no-cache -p x --no-such-flag".to_owned(),
        "$F inspect /nowhere.gguf".to_owned(),
    ];
    for line in lines {
        // What the pipe's first part says, not its last.
        let with = |stderr: &str| shell(&format!("set -o pipefail; {{ {line}; }} {stderr}"));
        let expected = with("2>/dev/null");
        for stderr in ["2>&-", "2>/dev/full", "2> >(exec 0<&-)", "2> >(true; exec 0<&-; sleep 0.05)"] {
            let done = with(stderr);
            assert_eq!(done.status.code(), expected.status.code(), "{line} {stderr}: {done:?}");
            assert_eq!(done.stdout, expected.stdout, "{line} {stderr}");
        }
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_and_one_that_nobody_reads_is_none() {
    for verb in
        ["run --no-cache -n 5 -p hello", "--help", "--version", "config show", "man", "completions bash"]
    {
        let full = shell(&format!("$F {verb} > /dev/full"));
        assert_eq!(full.status.code(), Some(1), "{verb}: {full:?}");
        assert!(
            String::from_utf8_lossy(&full.stderr).contains("cannot write the answer"),
            "{verb}: {full:?}"
        );
        for gone in [">&-", "> >(exec 0<&-)"] {
            let done = shell(&format!("$F {verb} {gone}"));
            assert_eq!(done.status.code(), Some(0), "{verb} {gone}: {done:?}");
        }
        // Files that are opened do not get the numbers of streams that are closed.
        let done = shell(&format!("$F {verb} <&- >&- 2>&-"));
        assert_eq!(done.status.code(), Some(0), "{verb}");
    }
}

/// Reads until the first running value, then asks the run to stop.
fn interrupted(args: &[&str], until: &str) -> (Option<i32>, String, String) {
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(until) {
        assert_ne!(
            out.read_until(until.as_bytes()[until.len() - 1], &mut text).unwrap(),
            0,
            "it ended before"
        );
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    out.read_to_end(&mut text).unwrap();
    let done = finished(child);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), String::from_utf8(text).unwrap(), stderr)
}

#[test]
fn what_was_measured_before_an_interruption_is_told() {
    let place = Place::new();
    let text = place.file("text", &TEXT.repeat(4000));
    let base = place.path("base");
    let line = ["perplexity", "-f", words(&text), "-c", "64", "--save-base", words(&base)];
    let (code, out, message) = interrupted(&line, ",");
    assert_eq!(code, Some(130), "{message}");
    assert!(out.starts_with("[1]"), "{out}");
    assert!(
        message.contains("PPL of the first ") && message.contains("no base file was written"),
        "{message}"
    );
    assert!(place.others(&["text"]).is_empty());

    let model = place.model();
    let many = ["8"; 500].join(",");
    for until in ["[\n", "}"] {
        let line = ["bench", words(&model), "-p", "8", "-n", &many, "-r", "2", "-o", "json"];
        let (code, out, message) = interrupted(&line, until);
        assert_eq!(code, Some(130), "{message}");
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
        assert!(
            rows.as_array().is_some_and(|rows| rows.len() < 500 && (until != "}" || !rows.is_empty())),
            "{out}"
        );
    }
}

/// On a terminal, where the answer, the bar and the error share the lines.
#[test]
fn an_error_begins_a_line_of_its_own() {
    let place = Place::new();
    let text = place.file("text", &TEXT.repeat(4000));
    let mut command = program::fathom();
    command.args(["perplexity", "-c", "64", "-f", words(&text)]);
    let mut pty = rexpect::session::spawn_command(command, Some(PATIENCE.as_millis() as u64)).unwrap();
    pty.exp_string("PPL ").unwrap();
    pty.send("\u{3}").unwrap();
    pty.flush().unwrap();
    let shown = pty.exp_eof().unwrap();
    let (before, error) = shown.split_once("error: stopped").unwrap_or_else(|| panic!("{shown:?}"));
    assert!(error.contains("PPL of the first "), "{shown:?}");
    // The bar is wiped away, and the cursor is where its line begins.
    let line = before.rsplit(['\r', '\n']).next().unwrap();
    assert!(matches!(line, "" | "\u{1b}[2K" | "\u{1b}[2K\u{1b}[1A"), "{before:?}");
}

#[test]
fn a_key_without_effect_is_told() {
    let line = ["run", "--no-cache", "-n", "1", "-p", "x", "--override-kv"];
    let (code, message, _) = run(&[&line[..], &["deepseek32.expert_group_cuont=int:1"]].concat());
    assert_eq!(code, Some(0), "{message}");
    assert!(message.contains("deepseek32.expert_group_cuont has no effect"), "{message}");
    assert!(message.contains("did you mean deepseek32.expert_group_count?"), "{message}");
    let (_, message, _) = run(&[&line[..], &["deepseek32.expert_weights_scale=float:1"]].concat());
    assert!(!message.contains("--override-kv"), "{message}");
}
