//! Layers, and what the parser makes of them.

use super::*;
use crate::cli::talk::NPredict;
use clap::ArgMatches;
use std::fs::write;

/// The two files, until this goes.
struct Files(tempfile::TempDir);

impl Files {
    fn new(system: &str, user: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("system.toml"), system).unwrap();
        write(folder.path().join("user.toml"), user).unwrap();
        Files(folder)
    }

    fn settings(&self, environment: &[(&str, &str)]) -> Settings {
        Settings::from(|name| {
            let file = |name| Some(self.0.path().join(name).into_os_string());
            match name.to_str().unwrap() {
                SYSTEM_VARIABLE => file("system.toml"),
                USER_VARIABLE => file("user.toml"),
                name => environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
            }
        })
    }
}

fn user(text: &str) -> Settings {
    Files::new("", text).settings(&[])
}

fn parse(settings: &Settings, line: &[&str]) -> Result<ArgMatches, clap::Error> {
    assert_eq!(settings.problems, [""; 0]);
    let matches = settings.apply(Cli::command()).try_get_matches_from([&["fathom"], line].concat())?;
    Ok(matches.subcommand().unwrap().1.clone())
}

fn parsed(settings: &Settings, line: &[&str]) -> ArgMatches {
    parse(settings, line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn a_later_layer_goes_before_an_earlier_one() {
    let ctx = |system: &str, user: &str, environment: &[(&str, &str)], line: &[&str]| {
        let settings = Files::new(system, user).settings(environment);
        parsed(&settings, line).get_one::<usize>("ctx_size").copied()
    };
    let (one, two, three) = ("ctx-size = 1000", "ctx_size = 2000", [("FATHOM_CTX_SIZE", "3000")]);
    assert_eq!(ctx("", "", &[], &["chat"]), None);
    assert_eq!(ctx(one, "", &[], &["chat"]), Some(1000));
    assert_eq!(ctx(one, two, &[], &["run"]), Some(2000));
    assert_eq!(ctx(one, two, &three, &["run"]), Some(3000));
    assert_eq!(ctx(one, two, &three, &["chat", "-c", "4000"]), Some(4000));
    // A verb's own table goes before the top of the same file, not before a later layer.
    assert_eq!(ctx("", "ctx-size = 1\n[run]\nctx-size = 2", &[], &["run"]), Some(2));
    assert_eq!(ctx("", "ctx-size = 1\n[run]\nctx-size = 2", &[], &["chat"]), Some(1));
    assert_eq!(ctx("[run]\nctx-size = 2", "ctx-size = 1", &[], &["run"]), Some(1));
    assert_eq!(ctx(one, "", &[("FATHOM_CTX_SIZE", "")], &["run"]), Some(1000), "nothing is no value");
    let other_name = Files::new("n-predict = 5", "").settings(&[("FATHOM_PREDICT", "7")]);
    assert_eq!(parsed(&other_name, &["run"]).get_one("n_predict"), Some(&NPredict(Some(7))));
}

#[test]
fn switches_can_be_taken_back_by_their_opposites() {
    let thinks = |text: &str, line: &[&str]| {
        let settings = user(text);
        parsed(&settings, &[&["run", "-p", "x"], line].concat()).get_flag("think")
    };
    assert!(!thinks("", &[]));
    assert!(thinks("", &["--think"]));
    for yes in ["think = true", "no-think = false", "[run]\nthink = true"] {
        assert!(thinks(yes, &[]), "{yes}");
        assert!(!thinks(yes, &["--no-think"]), "{yes}");
        assert!(thinks(yes, &["--no-think", "--think"]), "{yes}");
    }
    for no in ["think = false", "no-think = true"] {
        assert!(!thinks(no, &[]), "{no}");
        assert!(thinks(no, &["--think"]), "{no}");
    }
    let maps =
        |text: &str, line: &[&str]| !parsed(&user(text), &[&["chat"], line].concat()).get_flag("no_mmap");
    assert!(maps("", &[]) && maps("", &["--mmap"]) && maps("", &["--no-mmap", "--mmap"]));
    assert!(
        !maps("no-mmap = true", &[]) && !maps("mmap = false", &[]) && !maps("", &["--mmap", "--no-mmap"])
    );
    assert!(maps("no-mmap = true", &["--mmap"]));
    let files = Files::new("think = true", "no-think = true");
    assert!(!parsed(&files.settings(&[]), &["chat"]).get_flag("think"), "the later file");
    let asked = files.settings(&[("FATHOM_THINK", "yes")]);
    assert!(parsed(&asked, &["chat"]).get_flag("think"));
    let kept = files.settings(&[("FATHOM_NO_CACHE", "1"), ("FATHOM_CACHE_LIMIT", "2")]);
    let kept = parsed(&kept, &["chat"]);
    assert!(kept.get_flag("no_cache") && kept.get_one::<u64>("cache_limit") == Some(&(2 << 30)));
}

#[test]
fn the_command_line_drops_what_cannot_stand_beside_it() {
    let lines = user("[run]\njson = true\nraw = true");
    let found = parsed(&lines, &["run", "-p", "x", "--jsonl"]);
    assert!(found.get_flag("jsonl") && !found.get_flag("json") && found.get_flag("raw"));
    assert!(!parsed(&lines, &["run", "-p", "x", "--system", "y"]).get_flag("raw"));
    let both = user("[run]\njson = true\njsonl = true");
    assert_eq!(both.problems.len(), 1, "{:?}", both.problems);
    assert!(both.problems[0].contains("user.toml:3: jsonl: it contradicts"), "{:?}", both.problems);
    let later = Files::new("[run]\njson = true", "[run]\njsonl = true").settings(&[]);
    let found = parsed(&later, &["run", "-p", "x"]);
    assert!(found.get_flag("jsonl") && !found.get_flag("json"));
    let twice = user("think = true\nno-think = true");
    assert!(twice.problems[0].contains("contradicts"), "{:?}", twice.problems);
}

#[test]
fn lists_are_replaced_not_extended() {
    let settings = user("reverse-prompt = ['a', 'b,c']\n[bench]\nn-prompt = [1, 2]\nn_gen = 7");
    let stops = |line: &[&str]| {
        let found = parsed(&settings, &[&["chat"], line].concat());
        found.get_many::<String>("stops").unwrap().cloned().collect::<Vec<_>>()
    };
    assert_eq!(stops(&[]), ["a", "b,c"]);
    assert_eq!(stops(&["-r", "z"]), ["z"]);
    let bench = parsed(&settings, &["bench", "x.gguf"]);
    let numbers = |id| bench.get_many::<usize>(id).unwrap().copied().collect::<Vec<_>>();
    assert_eq!((numbers("n_prompt"), numbers("n_gen")), (vec![1, 2], vec![7]));
    let variable = Files::new("", "").settings(&[("FATHOM_N_PROMPT", "3,4")]);
    let bench = parsed(&variable, &["bench", "x.gguf"]);
    assert_eq!(bench.get_many::<usize>("n_prompt").unwrap().copied().collect::<Vec<_>>(), [3, 4]);
    let chat = user("[chat]\nthreads = [1, 2]").problems;
    assert!(chat[0].contains("user.toml:2: threads: expected one value, found a list of 2"), "{chat:?}");
}

#[test]
fn what_a_flag_needs_of_others_is_no_matter_of_settings() {
    let settings =
        user("ctx-size = 512\n[quantize]\ntype = 'q8_0'\n[logits]\nmtp-dense = true\n[chat]\nsystem = '--x'");
    assert!(parse(&settings, &["doctor"]).is_ok(), "doctor -c needs a MODEL");
    assert_eq!(parsed(&settings, &["doctor", "x.gguf"]).get_one::<usize>("ctx_size"), Some(&512));
    assert!(parse(&settings, &["quantize", "folder", "-o", "x"]).is_ok(), "the type is set");
    assert!(parse(&user(""), &["quantize", "folder", "-o", "x"]).is_err());
    assert!(parse(&settings, &["logits", "--tokens", "1", "-o", "x"]).is_ok());
    assert_eq!(parsed(&settings, &["chat"]).get_one::<String>("system").unwrap(), "--x");
}

#[test]
fn names_stand_for_models_in_every_verb_that_takes_one() {
    let settings =
        user("model = 'big'\n[aliases]\nbig = '/m/big.gguf'\nnear = 'near.gguf'\nhome = '~/m.gguf'");
    let model = |line: &[&str]| parsed(&settings, line).get_one::<PathBuf>("model").cloned();
    for line in [
        &["chat", "big"][..],
        &["run", "big"],
        &["inspect", "big"],
        &["doctor", "big"],
        &["bench", "big"],
        &["perplexity", "big", "-f", "x"],
        &["logits", "big", "--tokens", "1", "-o", "x"],
        &["tokenize", "big", "x"],
        &["detokenize", "big", "1"],
        &["chat"],
        &["run"],
    ] {
        assert_eq!(model(line), Some("/m/big.gguf".into()), "{line:?}");
    }
    for line in
        [&["inspect"][..], &["bench"], &["perplexity", "-f", "x"], &["logits", "--tokens", "1", "-o", "x"]]
    {
        assert_eq!(model(line), Some("/m/big.gguf".into()), "{line:?}");
    }
    assert_eq!(model(&["doctor"]), None, "this machine");
    let flag = |line: &[&str]| parsed(&settings, line).get_one::<PathBuf>("model_flag").cloned();
    for line in [&["chat", "-m", "big"][..], &["run", "--model", "big"], &["doctor", "-m", "big", "-c", "64"]]
    {
        assert_eq!(flag(line), Some("/m/big.gguf".into()), "{line:?}");
    }
    assert_eq!(model(&["chat", "other.gguf"]), Some("other.gguf".into()));
    assert_eq!(model(&["chat", "builtin"]), Some("builtin".into()));
    let near = model(&["chat", "near"]).unwrap();
    assert!(near.is_absolute() && near.ends_with("near.gguf"), "beside the file: {}", near.display());
    assert!(model(&["chat", "home"]).unwrap().ends_with("m.gguf"));
    let told = parse(&settings, &["chat", "bigg"]).unwrap_err();
    assert!(told.exit_code() == 2 && told.to_string().contains("did you mean `big`?"), "{told}");
    let files = Files::new("[aliases]\na = '/one'\nb = '/two'", "[aliases]\na = '/three'");
    let settings = files.settings(&[("FATHOM_MODEL", "b")]);
    let found = |line: &[&str]| parsed(&settings, line).get_one::<PathBuf>("model").cloned().unwrap();
    assert_eq!((found(&["chat", "a"]), found(&["chat"])), ("/three".into(), "/two".into()));
}

#[test]
fn mistakes_are_told_with_file_line_expected_and_found() {
    for (text, expected) in [
        ("\nctx-sise = 1", "user.toml:2: ctx-sise: expected a flag's name; did you mean `ctx-size`?"),
        ("[bench]\nthink = true", "user.toml:2: think: expected a flag of `fathom bench`"),
        ("[chatt]\n", "user.toml:1: [chatt]: expected a command's table or [aliases]; did you mean `chat`?"),
        ("[temp]\n", "user.toml:1: temp: expected a value, found a table"),
        ("[[chat]]\n", "[chat]: expected a command's table"),
        (
            "ctx-size = 'many'",
            "user.toml:1: ctx-size: expected a whole number from 0 to 16777216, found `many`",
        ),
        ("ctx-size = true", "user.toml:1: ctx-size: expected a value, found true"),
        ("ctx-size = 2026-11-29", "found a date"),
        ("think = 'maybe'", "user.toml:1: think: expected true or false, found `maybe`"),
        ("temp = 101", "user.toml:1: temp: expected a number from 0 to 100, found `101`"),
        ("[quantize]\ntype = 'q99'", "user.toml:2: type: expected one of q8_0"),
        ("[bench]\noutput = 'x'", "expected one of table, md"),
        ("reverse-prompt = [true]", "found a list with other values"),
        (
            "output = 1\n[quantize]\noutput = 'x'",
            "user.toml:3: output: expected a setting; --output belongs to one run",
        ),
        ("prompt = 'x'", "--prompt belongs to one run"),
        ("model = 'bgi'\n[aliases]\nbig = '/x'", "user.toml:1: model: expected a file, a folder or an alias"),
        ("[aliases]\nbuiltin = '/x'", "user.toml:2: builtin: expected another name"),
        ("[aliases]\n'a/b' = '/x'", "expected a name, not a path"),
        ("[aliases]\na = 1", "user.toml:2: a: expected the path of a model, found a number"),
        ("[models]\nfolders = 'x'", "user.toml:2: folders: expected a list of paths, found a string"),
        ("a = 1\nb = ", "user.toml:2: expected TOML, found: "),
        ("temp = 1\ntemp = 2", "user.toml:2: expected TOML, found: duplicate key"),
    ] {
        let problems = user(text).problems;
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text:?}: {problems:?}");
    }
    let variable = Files::new("", "").settings(&[("FATHOM_TEMP", "hot"), ("FATHOM_THINK", "maybe")]).problems;
    assert_eq!(variable.len(), 2, "{variable:?}");
    assert!(variable.iter().any(|told| told.contains("FATHOM_TEMP: temp: expected a number from 0 to 100")));
    assert!(variable.iter().any(|told| told == "FATHOM_THINK: expected true or false, found `maybe`"));
    let absent = Settings::from(|name| (name == USER_VARIABLE).then(|| "/nowhere/x.toml".into())).problems;
    assert!(
        absent.iter().any(|told| told.contains("FATHOM_CONFIG: expected a settings file, found no file"))
    );
    let deep = "[".repeat(100_000);
    assert!(!user(&deep).problems.is_empty());
    let large = "#".repeat(2 << 20);
    assert!(user(&large).problems[0].contains("expected at most"));
}

#[test]
fn every_flag_can_be_set_unless_it_belongs_to_one_run() {
    let samples = ["1", "0.5", "2", "q8_0", "v3.2", "1+1", "a=b"];
    let catalogue = Catalogue::of(&Cli::command());
    assert!(catalogue.verbs.len() >= 10, "{}", catalogue.verbs.len());
    for verb in &catalogue.verbs {
        for flag in &verb.flags {
            let value = match flag.kind {
                Kind::Switch => "true".to_owned(),
                _ => {
                    let built_in = flag.built_in.iter().map(String::as_str);
                    let mut all = built_in.chain(samples);
                    let good = all.find(|text| flag.check(&[(*text).to_owned()]).is_ok());
                    format!(
                        "'{}'",
                        good.unwrap_or_else(|| panic!("{} --{}: no sample", verb.name, flag.name))
                    )
                }
            };
            let settings = user(&format!("[{}]\n{} = {value}", verb.name, flag.name));
            assert_eq!(settings.problems, [""; 0], "{} --{}", verb.name, flag.name);
            // Panics where the parser does not take what it was given.
            settings.apply(Cli::command()).debug_assert();
        }
    }
}

#[test]
fn variables_that_nobody_knows_are_noted() {
    let catalogue = Catalogue::of(&Cli::command());
    let names = ["FATHOM_CTX_SIZ", "FATHOM_SIMD", "FATHOM_MMAP", "PATH"].map(OsString::from);
    let notes = said::unknown_variables(names.into_iter(), &catalogue, &OTHER_VARIABLES);
    assert_eq!(notes, ["FATHOM_CTX_SIZ: no setting has this name; did you mean `FATHOM_CTX_SIZE`?"]);
}

#[test]
fn what_every_verb_takes_can_be_set_for_all_or_for_one() {
    let quiet = |text: &str, line: &[&str]| parsed(&user(text), line).get_flag("quiet");
    assert!(!quiet("", &["run", "-p", "x"]) && quiet("", &["run", "-p", "x", "-q"]));
    assert!(quiet("quiet = true", &["run", "-p", "x"]) && quiet("quiet = true", &["inspect", "x.gguf"]));
    assert!(quiet("[run]\nquiet = true", &["run", "-p", "x"]));
    assert!(!quiet("[run]\nquiet = true", &["chat"]));
    assert!(!quiet("quiet = true", &["run", "-p", "x", "--no-quiet"]));
}
