//! Every row of the tables, and the words of a command line in all the ways that people write them.

use super::super::Cli;
use super::*;
use clap::CommandFactory;

/// A value that no flag minds.
const VALUE: &str = "7";
const VERBS: [&str; 9] =
    ["chat", "run", "bench", "perplexity", "quantize", "tokenize", "logits", "inspect", "doctor"];

/// Without the settings of whoever runs this.
fn program() -> Command {
    Settings::default().apply(Cli::command())
}

fn read_line(words: &[&str]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let line = ["fathom"].iter().chain(words).map(OsString::from);
    let Line { args, notes } = read(line, &program(), &Settings::default())?;
    Ok((args[1..].iter().map(|arg| arg.to_string_lossy().into_owned()).collect(), notes))
}

fn line(words: &[&str]) -> Vec<String> {
    read_line(words).unwrap_or_else(|error| panic!("{words:?}: {error}")).0
}

fn refused(words: &[&str]) -> String {
    let failure = read_line(words).expect_err(&format!("{words:?}"));
    assert_eq!(failure.code, 2, "{words:?}");
    failure.message
}

/// What a verb makes of one flag of the tables.
fn check(verb: &str, name: &str, row: &Row) {
    match row.habit {
        Habit::Is(flag) => {
            let args = line(&[verb, name, VALUE]);
            assert!(args.iter().any(|arg| arg == flag), "{verb} {name}: {args:?}");
        }
        Habit::No(why) => assert_eq!(refused(&[verb, name, VALUE]), format!("{name}: {why}")),
        Habit::ByValue(meanings) => {
            for (value, meant) in meanings {
                let args = line(&[verb, name, value]);
                assert!(
                    meant.iter().all(|word| args.contains(&(*word).to_owned())),
                    "{verb} {name}: {args:?}"
                );
                assert!(!args.contains(&name.to_owned()), "{args:?}");
            }
            assert!(refused(&[verb, name, VALUE]).contains("expected one of"));
        }
        Habit::Always { values, needs, why, otherwise } => {
            let said = values.iter().map(|value| value.replace('*', VALUE)).next();
            let words: Vec<&str> = [verb, name].into_iter().chain(said.as_deref()).collect();
            let (args, notes) = read_line(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            assert_eq!(args, [verb], "{words:?}");
            assert_eq!(notes, [format!("{name} has no effect: {why}")]);
            if !otherwise.is_empty() {
                let wrong = if needs { "99" } else { "off" };
                assert_eq!(refused(&[verb, name, wrong]), format!("{name}: {otherwise}"));
            }
        }
    }
}

#[test]
fn every_row_does_what_it_says_and_none_is_dead() {
    let program = program();
    for known in FLAGS {
        for name in known.names {
            let name = name.trim_end_matches('*');
            let verbs = if known.verbs.is_empty() { &VERBS[..] } else { known.verbs };
            let mut reached = 0;
            for verb in verbs {
                let command = whole(verb, &program).unwrap();
                let first = row(name, &command).is_some_and(|found| std::ptr::eq(found, known));
                if first && find(&command, name).is_none() {
                    check(verb, name, known);
                    reached += 1;
                }
            }
            assert!(reached > 0, "{name}: a row that no command reaches");
        }
    }
}

/// A command line that llama.cpp takes: what would only make it faster there is said to have no effect, and nothing more.
#[test]
fn flags_of_speed_alone_end_nothing() {
    let flags = "-ngl 99 -fa off -t 2 -tb 4 -b 512 -ub 256 --mlock --no-mmap -ot exps=CPU -sm layer -dev CUDA0 --numa isolate \
                 --prio 2 -md draft.gguf --draft-max 16 --cache-ram 0 -v --no-repack -kvu";
    let words: Vec<&str> = ["run", "-p", "x"].into_iter().chain(flags.split_whitespace()).collect();
    let (args, notes) = read_line(&words).unwrap();
    let left = "run -p x -t 2 -b 512 --batch-size 256 --mlock --no-mmap";
    assert_eq!(args.join(" "), left);
    assert_eq!(notes[0], "-ngl has no effect: there is no GPU support; all layers run on the CPU");
    for all_layers in [&["-ngl", "-1"][..], &["-ngl", "all"], &["--n-gpu-layers=99"], &["--gpu_layers", "99"]]
    {
        assert_eq!(line(&[&["run", "-p", "x"], all_layers].concat()), ["run", "-p", "x"], "{all_layers:?}");
    }
    // What changes the answer is not passed over.
    for flag in ["--mirostat", "--lora", "--grammar", "--rope-scale", "--samplers", "--ignore-eos", "--keep"]
    {
        refused(&["run", "-p", "x", flag, VALUE]);
    }
}

/// No flag begins like a number: a number that a flag does not take is refused by that flag.
#[test]
fn numbers_below_zero_are_values() {
    for (words, expected) in [
        (&["run", "-p", "x", "-c", "-1"][..], "-c=-1"),
        (&["run", "-p", "x", "--top-p", "-0.5"], "--top-p=-0.5"),
        (&["run", "-p", "x", "--min_p=-.5"], "--min-p=-.5"),
        (&["run", "-p", "x", "-qb", "-4"], "-qb=-4"),
    ] {
        let words = line(words);
        assert!(words.iter().any(|word| word == expected), "{words:?}");
        let all = ["fathom".to_owned()].into_iter().chain(words);
        let told =
            program().try_get_matches_from(all).and_then(|matches| crate::cli::read(&matches).map(drop));
        let told = told.unwrap_err().to_string();
        assert!(told.starts_with("error: invalid value '-"), "{told}");
    }
}

#[test]
fn refusals_are_one_sentence() {
    let whys = FLAGS.iter().filter_map(|row| match row.habit {
        Habit::No(why) => Some(why),
        Habit::Always { why, .. } => Some(why),
        _ => None,
    });
    for why in whys.chain(COMMANDS.iter().map(|(_, why)| *why)) {
        assert!(
            !why.is_empty() && !why.ends_with('.') && !why.contains(". ") && !why.contains("  "),
            "{why}"
        );
    }
}

#[test]
fn commands_of_other_programs_are_known_or_refused_by_name() {
    for (names, why) in COMMANDS {
        for name in *names {
            let told = refused(&[name, "deepseek-v3.2"]);
            assert!(told.contains(name) && told.contains(why), "{told}");
        }
    }
    for known in ["list", "ls", "show", "version", "help", "models", "run"] {
        assert_eq!(line(&[known])[0], known);
    }
    let told = refused(&["qantize"]);
    assert!(told.contains("did you mean `quantize`?") && told.contains("fathom run"), "{told}");
}

#[test]
fn commands_below_a_command_are_refused_by_name() {
    for (verb, words, why) in SUBCOMMANDS {
        for word in *words {
            let told = refused(&[verb, word, "x"]);
            assert!(told.contains(&format!("fathom {verb} {word}")) && told.contains(why), "{told}");
        }
    }
    assert_eq!(line(&["cache", "ls"]), ["cache", "ls"]);
}

#[test]
fn a_tip_is_like_what_was_typed() {
    let told = |flag: &str| {
        let parsed = program().try_get_matches_from(["fathom", "run", flag, "-p", "x"]);
        without_far_fetched_tip(parsed.unwrap_err()).to_string()
    };
    assert!(told("--no-such-flag").contains("unexpected argument '--no-such-flag'"));
    assert!(!told("--no-such-flag").contains("similar") && !told("--no-such-flag").contains("json-schema"));
    assert!(told("--tmep").contains("'--temp'"), "{}", told("--tmep"));
}

#[test]
fn a_chat_needs_no_command() {
    assert_eq!(line(&[]), ["chat"]);
    assert_eq!(line(&["-q"]), ["-q", "chat"]);
    assert_eq!(line(&["x.gguf"]), ["chat", "--", "x.gguf"]);
    assert_eq!(line(&["x.GGUF", "-p", "hello"]), ["chat", "-p", "hello", "--", "x.GGUF"]);
    assert_eq!(line(&["-m", "x.gguf", "-p", "hello"]), ["chat", "-p", "hello", "--model", "x.gguf"]);
    assert_eq!(line(&["Cargo.toml"]), ["chat", "--", "Cargo.toml"], "a file that is there");
    assert_eq!(line(&["builtin"]), ["chat", "--", "builtin"]);
    assert_eq!(line(&["--temp", "0"]), ["chat", "--temp", "0"]);
    for asked in ["--help", "-h", "--version", "-V"] {
        assert_eq!(line(&[asked]), [asked]);
    }
    assert!(refused(&["chat", "hello", "world"]).contains("fathom chat -p"));
    assert!(refused(&["chat", "how are you"]).contains("fathom chat -p"));
}

#[test]
fn a_word_is_a_model_or_the_prompt() {
    assert_eq!(line(&["run", "hello there"]), ["run", "--", "builtin", "hello there"]);
    assert_eq!(line(&["run", "x.gguf", "hello", "there"]), ["run", "--", "x.gguf", "hello", "there"]);
    assert_eq!(line(&["run", "-m", "x.gguf", "hello"]), ["run", "--", "x.gguf", "hello"]);
    assert_eq!(
        line(&["run", "hello", "--model=x.gguf", "-n", "5"]),
        ["run", "-n", "5", "--", "x.gguf", "hello"]
    );
    assert_eq!(line(&["run", "-qmx.gguf", "hello"]), ["run", "-q", "--", "x.gguf", "hello"]);
    assert_eq!(line(&["run", "x.gguf"]), ["run", "--", "x.gguf"]);
    // With a prompt elsewhere, a word can only be the MODEL, whatever it looks like.
    assert_eq!(line(&["run", "large", "-p", "hello"]), ["run", "-p", "hello", "--", "large"]);
    assert_eq!(line(&["run", "large", "-f", "x.txt"]), ["run", "-f", "x.txt", "--", "large"]);
    assert_eq!(
        line(&["run", "Summarise this:", "-f", "x.txt"]),
        ["run", "-f", "x.txt", "--", "builtin", "Summarise this:"]
    );
    for prompt in ["1/2=?", "什么是TCP/IP？"] {
        assert_eq!(line(&["run", prompt]), ["run", "--", "builtin", prompt]);
    }
    for model in ["deepseek-v3.2", "deepseek-r1:671b", "hf.co/a/b", "~/x.gguf", "./x", "builtn"] {
        assert_eq!(line(&["run", model]), ["run", "--", model], "{model}");
    }
    assert!(read_line(&["run", "hello there"]).unwrap().1.is_empty());
    assert!(
        read_line(&["run", "hello"]).unwrap().1[0].contains("so it is taken as the prompt"),
        "it may be a misspelt name"
    );
    let told = refused(&["run", "tiny", "how are you"]);
    assert!(told.contains("quotation marks") && told.contains("\"tiny\""), "{told}");
    assert_eq!(line(&["tokenize", "hello"]), ["tokenize", "--", "builtin", "hello"]);
    assert_eq!(line(&["tokenize", "x.gguf", "hello"]), ["tokenize", "--", "x.gguf", "hello"]);
    assert_eq!(line(&["detokenize", "5", "7,8"]), ["detokenize", "--", "builtin", "5", "7,8"]);
    assert_eq!(line(&["detokenize", "x.gguf", "5"]), ["detokenize", "--", "x.gguf", "5"]);
    assert_eq!(line(&["inspect", "-m", "x.gguf"]), ["inspect", "--model", "x.gguf"]);
    assert!(refused(&["quantize", "a", "b.gguf", "Q4_K_M"]).contains("--type q4_k_m -o OUT.gguf"));
}

#[test]
fn values_of_flags_are_nobodys_words() {
    assert_eq!(line(&["run", "-p", "-fa"]), ["run", "-p=-fa"]);
    assert_eq!(line(&["run", "--system", "-ngl", "-p", "x"]), ["run", "--system=-ngl", "-p", "x"]);
    assert_eq!(line(&["run", "-p", "x", "--stop", "-i"]), ["run", "-p", "x", "--stop=-i"]);
    assert_eq!(line(&["run", "--", "-fa is a flag"]), ["run", "--", "builtin", "-fa is a flag"]);
    assert_eq!(line(&["run", "-n", "-1", "-p", "x"]), ["run", "-n=-1", "-p", "x"]);
    assert_eq!(line(&["logits", "--tokens", "-1,5"]), ["logits", "--tokens=-1,5"]);
    assert_eq!(line(&["run", "-fa", "hello there"]), ["run", "--", "builtin", "hello there"]);
    assert_eq!(line(&["run", "-n5", "-c4096", "-p", "x"]), ["run", "-n5", "-c4096", "-p", "x"]);
    assert_eq!(line(&["run", "-p", "x", "--ctx_size", "64"]), ["run", "-p", "x", "--ctx-size", "64"]);
    assert_eq!(line(&["run", "-p", "x", "--think=false"]), ["run", "-p", "x", "--no-think"]);
    assert_eq!(line(&["run", "-p", "x", "--think=true"]), ["run", "-p", "x", "--think"]);
    assert_eq!(line(&["cache", "ls", "--json"]), ["cache", "ls", "--json"]);
}

#[test]
fn values_that_turn_a_sampler_off_elsewhere_do_so_here() {
    let words = ["run", "--top-k", "-1", "-t", "-1", "-n", "3", "-n", "4", "-p", "x"];
    let args = line(&words);
    let matches = program().try_get_matches_from(["fathom".to_owned()].into_iter().chain(args)).unwrap();
    let found = matches.subcommand().unwrap().1;
    assert_eq!(found.get_one::<usize>("top_k"), Some(&0));
    assert!(found.get_one::<usize>("threads").is_some_and(|&threads| threads > 0));
    let n_predict = found.get_one::<crate::cli::talk::NPredict>("n_predict").unwrap();
    assert_eq!(n_predict.0, Some(4), "the last one counts");
}

#[test]
fn a_negative_temperature_is_told_what_stands_for_it() {
    let error = program().try_get_matches_from(["fathom", "run", "--temp", "-1", "-p", "x"]).unwrap_err();
    assert!(error.to_string().contains("0 always takes the most likely token"), "{error}");
}

#[test]
fn what_the_parser_refuses_is_left_to_it_whatever_the_words_are() {
    // With its message, a flag that nobody knows or that lacks its value comes before what the words beside it might be.
    for words in [
        &["run", "hi", "--foo", "3"][..],
        &["run", "hi", "--tempp", "1"],
        &["run", "hi", "there", "-p"],
        &["run", "hi", "-qZ", "3"],
        &["chat", "hello there", "--foo"],
        &["quantize", "a", "b", "--nonsense"],
    ] {
        let args = line(words);
        let error =
            program().try_get_matches_from(["fathom".to_owned()].into_iter().chain(args)).unwrap_err();
        let told = error.to_string();
        let flag = words.iter().find(|word| word.starts_with('-')).unwrap();
        let named = told.contains(flag) || told.contains("-Z") || told.contains("--prompt");
        assert!(named, "{words:?}: {told}");
    }
    let two = refused(&["run", "hi", "there"]);
    assert!(two.contains(r#"2 words ("hi" "there")"#), "{two}");
}

#[test]
fn a_sum_is_a_prompt_and_no_path() {
    for sum in ["6/2", "1:2", "12/4/3"] {
        assert!(!words::names_a_model(sum.as_ref(), &Settings::default()), "{sum}");
    }
    assert!(words::names_a_model("models/x".as_ref(), &Settings::default()));
}
