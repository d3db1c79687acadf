//! Settings as a person has them: files, variables, `fathom config`, aliases, exit codes.

#[path = "common/program.rs"]
mod program;

use serde_json::Value as Json;
use std::fs::{create_dir_all, write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The two settings files of one test.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(system: &str, user: &str) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        write(home.file("system.toml"), system).unwrap();
        write(home.file("user.toml"), user).unwrap();
        home
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program::fathom();
        command
            .env("FATHOM_SYSTEM_CONFIG", self.file("system.toml"))
            .env("FATHOM_CONFIG", self.file("user.toml"));
        command.env("FATHOM_NO_CACHE", "1").args(args).stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn shown(&self, args: &[&str]) -> String {
        good(self.run(&[&["config", "show"], args].concat()))
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.shown(&["--json"])).unwrap()
    }
}

fn good(done: Output) -> String {
    assert!(done.status.success(), "{}", stderr(&done));
    String::from_utf8(done.stdout).unwrap()
}

fn stderr(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn builtin_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin/builtin.gguf")
}

#[test]
fn show_tells_every_value_and_where_it_was_said() {
    let home = Home::new("ctx-size = 1000\ntemp = 0.5\n", "# mine\nctx_size = 2000\n[chat]\nthink = true\n");
    let done =
        home.command(&["config", "show", "chat", "--origin"]).env("FATHOM_TOP_K", "7").output().unwrap();
    let text = good(done);
    let line = |key: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
        found.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
    };
    assert_eq!(line("ctx-size"), format!("ctx-size = 2000  # from {}:2", home.file("user.toml").display()));
    assert_eq!(line("temp"), format!("temp = 0.5  # from {}:2", home.file("system.toml").display()));
    assert_eq!(line("think"), format!("think = true  # from {}:4", home.file("user.toml").display()));
    assert_eq!(line("top-k"), "top-k = 7  # from FATHOM_TOP_K");
    assert_eq!(line("no-cache"), "no-cache = true  # from FATHOM_NO_CACHE");
    assert_eq!(line("mlock"), "mlock = false  # from built-in");
    assert!(text.starts_with("[chat]\n") && text.contains("\n# threads is not set\n"), "{text}");
    assert!(!home.shown(&["chat"]).contains("# from"));
    assert_eq!(home.run(&["config", "show", "swim"]).status.code(), Some(2));
}

#[test]
fn show_is_a_settings_file_again() {
    let said = "threads = 2\nsystem = \"two\\nlines and \\\"quotes\\\"\"\nreverse-prompt = ['#', '']\nmodel = 'a'\n\
                [bench]\nn-depth = [0, 5]\n[aliases]\na = '/m/a.gguf'\n'b c' = 'x.gguf'\n[models]\nfolders = ['/m', 'n']\n";
    // An empty text is no stop: the flag's own parser says so.
    let refused = Home::new("", said).run(&["config", "show"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let home = Home::new("", &said.replace(", ''", ""));
    let first = home.shown(&[]);
    let again = Home::new("", &first);
    assert_eq!(again.shown(&[]), first);
    let json = again.json();
    assert_eq!(json["verbs"]["run"]["threads"]["value"], 2);
    assert_eq!(json["verbs"]["chat"]["system"]["value"], "two\nlines and \"quotes\"");
    assert_eq!(json["verbs"]["bench"]["n-depth"]["value"], serde_json::json!([0, 5]));
    assert_eq!(json["aliases"]["a"]["value"], "/m/a.gguf");
}

#[test]
fn json_has_files_values_and_origins() {
    let home = Home::new("", "temp = 0.25\n");
    let json = home.json();
    let temp = &json["verbs"]["run"]["temp"];
    assert_eq!((&temp["value"], &temp["from"], &temp["line"]), (&0.25.into(), &"file".into(), &1.into()));
    assert_eq!(temp["path"], home.file("user.toml").to_str().unwrap());
    assert_eq!(json["verbs"]["run"]["no-cache"]["variable"], "FATHOM_NO_CACHE");
    assert_eq!(json["verbs"]["run"]["ctx-size"], serde_json::json!({ "value": null, "from": "built-in" }));
    assert_eq!(json["files"][1]["exists"], true);
    assert_eq!(json["problems"], serde_json::json!([]));
    for verb in
        ["chat", "run", "quantize", "synth", "inspect", "doctor", "bench", "logits", "perplexity", "models"]
    {
        assert!(json["verbs"][verb].is_object(), "{verb}");
    }
    for verb in ["cache", "config", "man", "completions"] {
        assert!(json["verbs"][verb].is_null(), "{verb}");
    }
}

#[test]
fn the_files_are_where_the_system_says() {
    let home = Home::new("", "");
    create_dir_all(home.file("fathom")).unwrap();
    write(home.file("fathom/config.toml"), "top-k = 3").unwrap();
    let xdg = |args: &[&str]| {
        let mut command = home.command(args);
        command.env_remove("FATHOM_CONFIG").env_remove("FATHOM_SYSTEM_CONFIG");
        good(command.env("XDG_CONFIG_HOME", home.folder.path()).output().unwrap())
    };
    let paths = xdg(&["config", "path"]);
    let lines: Vec<_> = paths.lines().collect();
    assert!(lines[0].starts_with("/etc/fathom/config.toml  "), "{paths}");
    assert_eq!(lines[1], format!("{}  exists (user)", home.file("fathom/config.toml").display()));
    assert!(xdg(&["config", "show", "chat"]).contains("\ntop-k = 3\n"));
    let named = good(home.run(&["config", "path"]));
    assert!(
        named.contains("system.toml  exists (system)") && named.contains("user.toml  exists (user)"),
        "{named}"
    );
}

#[test]
fn a_wrong_file_ends_every_verb_but_not_those_that_help() {
    let home = Home::new("", "top-k = 3\ntemp = 'hot'\n[chat]\nthinks = true\n\u{1b}[31m = 1");
    for args in [&["doctor"][..], &["inspect", "x.gguf"], &["models"], &["cache", "ls"], &["chat", "--swim"]]
    {
        let done = home.run(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", stderr(&done));
        assert!(stderr(&done).contains("user.toml:5: expected TOML") && !stderr(&done).contains('\u{1b}'));
    }
    let home = Home::new("", "top-k = 3\ntemp = 'hot'\n[chat]\nthinks = true\n");
    let done = home.run(&["config", "show"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stdout).contains("\ntop-k = 3\n"), "what is right holds");
    let told = stderr(&done);
    assert!(told.contains("user.toml:2: temp: expected a number from 0 to 100, found `hot`"), "{told}");
    assert!(
        told.contains("user.toml:4: thinks: expected a flag of `fathom chat`; did you mean `think`?"),
        "{told}"
    );
    let json: Json = serde_json::from_slice(&home.run(&["config", "show", "--json"]).stdout).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 2);
    for args in [
        &["config", "path"][..],
        &["--help"],
        &["chat", "--help"],
        &["--version"],
        &["man"],
        &["completions", "bash"],
    ] {
        good(home.run(args));
    }
}

#[test]
fn a_run_obeys_files_variables_and_flags_in_this_order() {
    let file = builtin_file();
    let said = format!("model = 'tiny'\nn-predict = 2\ntemp = 0\n[aliases]\ntiny = '{}'\n", file.display());
    let home = Home::new("n-predict = 1\njson = true", &said);
    let tokens = |args: &[&str], variable: Option<&str>| {
        let mut command = home.command(&[&["run"], args, &["-p", "What does river mean?"]].concat());
        if let Some(value) = variable {
            command.env("FATHOM_N_PREDICT", value);
        }
        let json: Json = serde_json::from_str(&good(command.output().unwrap())).unwrap();
        assert_eq!(json["model"], file.to_str().unwrap());
        json["usage"]["completion_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(&[], None), 2);
    assert_eq!(tokens(&["tiny"], Some("3")), 3);
    assert_eq!(tokens(&["-n", "4"], Some("3")), 4);
    let plain = good(home.run(&["run", "--no-json", "-p", "What does river mean?"]));
    assert!(!plain.starts_with('{'), "{plain}");
}

#[test]
fn a_variable_that_means_nothing_is_told_by_every_verb() {
    let home = Home::new("", "");
    for (name, told) in [
        ("FATHOM_CTX_SIZ", true),
        ("FATHOM_NOPE", true),
        ("FATHOM_CTX_SIZE", false),
        ("FATHOM_CI_LARGE", false),
        ("FATHOM_TOOL_NAME", false),
        ("FATHOM", false),
    ] {
        let done = home.command(&["models"]).env(name, "1").output().unwrap();
        let note = format!("note: {name}: no setting has this name");
        assert_eq!(stderr(&done).contains(&note), told, "{name}: {}", stderr(&done));
    }
    let done = home.command(&["models"]).env("FATHOM_NOPE", "").output().unwrap();
    assert!(!stderr(&done).contains("FATHOM_NOPE"), "it sets nothing");
}

#[test]
fn numbers_of_threads_that_no_machine_has_are_refused() {
    let home = Home::new("", "");
    for args in [
        &["run", "-p", "hi"][..],
        &["quantize", "nowhere", "-o", "x"],
        &["synth", "--preset", "v3.2", "--checkpoint", "x"],
        &["bench"],
    ] {
        let done = home.run(&[args, &["-t", "99999"]].concat());
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(stderr(&done).contains("from 1 to 1024, found `99999`"), "{args:?}: {}", stderr(&done));
    }
}

#[test]
fn a_name_that_is_none_is_told_with_those_that_are() {
    let home = Home::new("", "[aliases]\nlarge = '/models/large.gguf'\n");
    let done = home.run(&["inspect", "lagre"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(stderr(&done).contains("did you mean `large`?"), "{}", stderr(&done));
    let absent = home.run(&["inspect", "large"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(stderr(&absent).contains("/models/large.gguf"), "{}", stderr(&absent));
}

#[test]
fn help_says_what_counts() {
    let home = Home::new("", "ctx-size = 777\n");
    for flag in ["-h", "--help"] {
        let help = good(home.run(&[flag]));
        let line = "Settings: /etc/fathom/config.toml < ~/.config/fathom/config.toml < FATHOM_FLAG variables < flags";
        assert!(help.contains(line), "{help}");
    }
    assert!(good(home.run(&["chat", "--help"])).contains("[default: 777]"));
    let page = good(home.run(&["man", "chat"]));
    assert!(!page.contains("777"), "the manual is everybody's");
    let main = good(home.run(&["man"]));
    for word in ["FATHOM_CONFIG", "FATHOM_SYSTEM_CONFIG", "FATHOM_CACHE_DIR", "FATHOM_FLAG"] {
        assert!(main.replace('\\', "").contains(word), "{word} is missing in {main}");
    }
}

#[test]
fn every_verb_that_takes_a_model_has_a_default_one() {
    let home = Home::new("", &format!("model = '{}'\n", builtin_file().display()));
    let file = builtin_file();
    let file = file.to_str().unwrap();
    for args in [
        &["inspect"][..],
        &["inspect", "--json"],
        &["tokenize", "a river"],
        &["tokenize", "--json", "a river"],
        &["detokenize", "5", "7"],
        &["bench", "-p", "1", "-n", "0", "-r", "1", "-t", "1", "-o", "csv"],
    ] {
        let found = good(home.run(args));
        // The same as with the file named, but for figures.
        let verb = args[0];
        let named = good(home.run(&[&[verb, "-m", file], &args[1..]].concat()));
        if verb == "bench" {
            assert!(found.contains("builtin.gguf") && named.contains("builtin.gguf"), "{found}");
        } else {
            assert_eq!(found, named, "{args:?}");
        }
    }
    let nobody = Home::new("", "");
    assert_eq!(good(nobody.run(&["tokenize", "a river"])), good(home.run(&["tokenize", "a river"])));
    assert_eq!(good(nobody.run(&["detokenize", "5", "7"])), good(home.run(&["detokenize", "5", "7"])));
    assert!(good(nobody.run(&["show"])).contains("deepseek32"), "ollama's word");
}

/// The example of docs/settings.md, and every key in it.
#[test]
fn the_page_about_settings_is_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.lines().count() <= 60);
    let example = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let home = Home::new("", example);
    let json = home.json();
    assert_eq!(json["problems"], serde_json::json!([]));
    let from_file = |value: &Json, what: &str| assert_eq!(value["from"], "file", "{what}");
    let mut table = String::new();
    let mut n_keys = 0;
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.split_once(']').unwrap().0.to_owned();
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let key = key.trim();
            n_keys += 1;
            match (table.as_str(), key) {
                ("aliases", _) => from_file(&json["aliases"][key], key),
                ("models", "folders") => from_file(&json["folders"], key),
                ("", _) => from_file(&json["verbs"]["chat"][key], key),
                (verb, _) => from_file(&json["verbs"][verb][key], key),
            }
        }
    }
    assert!(n_keys >= 14, "{n_keys}");
}

/// Files that somebody damaged: every one is read, or what is wrong is told with its name. `FATHOM_FUZZ_SECONDS` sets how long
/// (without it, the same few are tried everywhere), and `FATHOM_FUZZ_SEED` where it starts.
#[test]
fn mutated_settings_are_read_or_refused_by_name() {
    let number =
        |name: &str| std::env::var(name).map(|text| text.parse().expect("a whole number")).unwrap_or(1);
    let seconds = std::env::var("FATHOM_FUZZ_SECONDS").map(|_| number("FATHOM_FUZZ_SECONDS"));
    let first: u64 = number("FATHOM_FUZZ_SEED");
    let mut seed = first;
    let (started, mut n_read, mut n_refused) = (std::time::Instant::now(), 0, 0);
    let goes_on = |seed| match seconds {
        Ok(seconds) => started.elapsed() < std::time::Duration::from_secs(seconds),
        Err(_) => seed < first + 50,
    };
    while goes_on(seed) || n_read < 5 || n_refused < 5 {
        let home = Home::new("", "");
        let file = home.file("user.toml");
        write(&file, mutated(&mut fastrand::Rng::with_seed(seed))).unwrap();
        let done = home.run(&["config", "show", "--json"]);
        let told = stderr(&done);
        let case = format!(
            "FATHOM_FUZZ_SEED={seed}: {:?}: {told}",
            String::from_utf8_lossy(&std::fs::read(&file).unwrap())
        );
        assert!(matches!(done.status.code(), Some(0 | 2 | 3)), "{case}");
        let json: Json = serde_json::from_slice(&done.stdout).unwrap_or_default();
        let problems = json["problems"].as_array().cloned().unwrap_or_default();
        let is_named = |text: &str| text.contains(file.to_str().unwrap());
        assert!(problems.iter().all(|problem| is_named(problem.as_str().unwrap())), "{case}: {json}");
        assert!(done.status.success() || is_named(&told), "{case}");
        match done.status.success() && problems.is_empty() {
            true => n_read += 1,
            false => n_refused += 1,
        }
        seed += 1;
    }
    println!("{n_read} read, {n_refused} refused");
}

fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    const WHOLE: &str = "ctx-size = 4096\ntemp = 0.7\nquiet = true\nstop = ['a', \"b\\n\"]\n[run]\nn-predict = -1\njson = false\n\
                         [aliases]\nlarge = '/models/large.gguf'\n[models]\nfolders = ['/models']\n";
    const PIECES: [&str; 14] = [
        "[",
        "]",
        "=",
        "'",
        "\"\"\"",
        "\n",
        "\\u{d800}",
        "\0",
        "-1",
        "1e400",
        "99999999999999999999",
        "{a=1}",
        "é",
        "[run]",
    ];
    let mut bytes = WHOLE.as_bytes().to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let end = bytes.len().min(at + random.usize(..20));
        match random.u8(..4) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let again = bytes[at..end].to_vec();
                bytes.extend(again);
            }
            2 => {
                let piece = random.choice(PIECES).unwrap_or_default();
                bytes.splice(at..at, piece.bytes());
            }
            _ => bytes.splice(at..at, [random.u8(..)]).for_each(drop),
        }
    }
    bytes
}
