//! What comes before the first token: the built-in model, memory, threads, ways to bring weights in, signals.

mod common;

use clap::Parser;
use common::convert;
use fathom::cli::Failure;
use fathom::cli::model::ModelArgs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn fathom() -> Command {
    let mut command = common::fathom();
    command.env("FATHOM_NO_CACHE", "1");
    command
}

/// `fathom` under limits that the shell sets first.
#[cfg(target_os = "linux")]
fn limited(limits: &str, args: &[&str]) -> Output {
    let line = format!("{limits} && exec \"$0\" \"$@\"");
    let mut command = common::program::without_settings(Command::new("sh"));
    command.env("FATHOM_NO_CACHE", "1").args(["-c", &line, env!("CARGO_BIN_EXE_fathom")]).args(args);
    command.output().unwrap()
}

fn stderr(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn builtin_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin")
}

/// The logits that `fathom logits` writes with these arguments.
fn logits(args: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits");
    let tokens = (0..100).map(|n| (n * 7 % 300).to_string()).collect::<Vec<_>>().join(",");
    let done =
        fathom().arg("logits").args(args).args(["--tokens", &tokens, "-o"]).arg(&out).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", stderr(&done));
    std::fs::read(out).unwrap()
}

/// The arguments that every verb shares which talks with a model.
#[derive(clap::Parser, Debug)]
struct Line {
    #[command(flatten)]
    model: ModelArgs,
}

fn arguments(line: &[&str]) -> ModelArgs {
    Line::parse_from([&["fathom"], line].concat()).model
}

fn failure(line: &[&str]) -> Failure {
    arguments(line).open().and_then(|files| files.load().map(|_| ())).expect_err("it should fail")
}

#[test]
fn the_committed_file_is_what_quantize_makes() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made.gguf");
    let checkpoint = builtin_folder().join("fp8");
    let done =
        fathom().arg("quantize").arg(checkpoint).args(["--type", "q8_0", "-o"]).arg(&made).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let committed = std::fs::read(builtin_folder().join("builtin.gguf")).unwrap();
    assert!(std::fs::read(made).unwrap() == committed, "make it again, see models/README.md");
}

#[cfg(feature = "builtin-model")]
#[test]
fn without_a_name_the_built_in_model_runs() {
    let file = builtin_folder().join("builtin.gguf");
    assert!(logits(&[]) == logits(&[file.to_str().unwrap()]));

    let files = arguments(&[]).open().unwrap();
    let loaded = files.load().unwrap();
    assert!(loaded.is_builtin());
    assert_eq!(loaded.options.n_ctx, 32768);
    assert_eq!(loaded.tokenizer.n_tokens(), loaded.model.config.vocab_size);
    assert!(loaded.model.config.indexer.is_some_and(|indexer| indexer.topk < 100), "its sparsity is seen");
    assert!(loaded.model.weights().mtp.is_some());
    for marker in fathom_text::chat::markers::ALL {
        assert!(loaded.tokenizer.special(marker).is_some(), "{marker}");
    }
    let mut session = fathom_engine::Session::new(&loaded.model, loaded.options).unwrap();
    let ids = loaded.tokenizer.encode_plain("Hello, world");
    assert!(session.sync(&ids).unwrap().iter().all(|x| x.is_finite()));
}

#[cfg(not(feature = "builtin-model"))]
#[test]
fn without_a_name_and_a_built_in_model_a_name_is_asked_for() {
    let failure = failure(&[]);
    assert_eq!(failure.code, 2);
    assert!(failure.message.contains("name a GGUF file"), "{failure}");
}

/// What config.json says of the weights is in the file, and whoever talks with it is told.
#[test]
fn weights_worth_a_word_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    std::fs::create_dir(&checkpoint).unwrap();
    let reference = common::reference_folder("base");
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(reference.join(name), checkpoint.join(name)).unwrap();
    }
    let config = std::fs::read(reference.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let file = folder.path().join("model.gguf");
    for (word, told) in
        [("random", "random weights"), ("demonstration", "a demonstration"), ("wonderful", "")]
    {
        config["fathom_weights"] = word.into();
        std::fs::write(checkpoint.join("config.json"), config.to_string()).unwrap();
        let made = ["quantize", "--type", "f32", "--force", "-o"];
        let done = fathom().args(made).arg(&file).arg(&checkpoint).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        let done = fathom().args(["run", "-p", "x", "-n", "1"]).arg(&file).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        let said = stderr(&done);
        let notes: Vec<&str> =
            said.lines().filter(|line| line.starts_with("note: ") && line.contains("model.gguf")).collect();
        assert_eq!(notes.len(), usize::from(!told.is_empty()), "{said}");
        assert!(notes.iter().all(|note| note.contains(told)), "{said}");
    }
}

#[cfg(feature = "builtin-model")]
#[test]
fn the_built_in_model_starts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits");
    // The best of some: other tests run beside this one.
    let start = |_| {
        let started = Instant::now();
        let done = fathom().args(["logits", "--force", "--tokens", "0", "-o"]).arg(&out).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        started.elapsed()
    };
    let best = (0..10).map(start).min().unwrap();
    assert!(best < Duration::from_millis(500), "{best:?}");
}

#[test]
fn every_way_to_bring_weights_in_gives_the_same_bits() {
    let model = convert("base", "q8_0");
    let model = model.path.to_str().unwrap();
    let mapped = logits(&[model]);
    for args in [
        &["--no-mmap"][..],
        &["--no-mmap", "--mlock", "-t", "3"],
        &["--mlock"],
        &["--no-warmup"],
        &["--force"],
    ] {
        assert!(mapped == logits(&[&[model], args].concat()), "{args:?}");
    }
    let done = fathom()
        .args(["logits", model, "--tokens", "0", "-o", "x", "--no-mmap", "--no-warmup"])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2), "nothing is mapped that could be warm");
}

#[test]
fn shards_are_read_into_memory_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let model = convert("base", "f32");
    let shards = common::forge::Forged::read(&model.path).shards(3);
    for (no, shard) in shards.iter().enumerate() {
        shard.write(&folder.path().join(fathom_gguf::split::shard_name("abyss", no, 3)));
    }
    assert!(
        logits(&[folder.path().to_str().unwrap(), "--no-mmap"]) == logits(&[model.path.to_str().unwrap()])
    );
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.gguf");
    let failure = failure(&[missing.to_str().unwrap()]);
    assert_eq!(failure.code, 3);
    assert!(failure.message.contains("missing.gguf"), "{failure}");
}

#[test]
fn a_cache_type_that_the_rows_do_not_suit_is_refused() {
    // Latent rows of 144 values; blocks are of 32.
    let model = convert("base", "f32");
    let failure = failure(&[model.path.to_str().unwrap(), "--cache-type", "q8_0"]);
    assert_eq!(failure.code, 2);
    for words in ["--cache-type q8_0", "multiple of 32", "144"] {
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[test]
fn a_tokenizer_of_another_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut model = common::forge::Forged::read(&convert("base", "f32").path);
    model.set("deepseek32.vocab_size", 319u32);
    for tensor in &mut model.tensors {
        if ["token_embd.weight", "output.weight"].contains(&tensor.name.as_str()) {
            tensor.bytes.truncate(319 * 64 * 4);
            tensor.shape[0] = 319;
        }
    }
    model.write(&path);
    let failure = failure(&[path.to_str().unwrap()]);
    assert_eq!(failure.code, 3);
    for words in ["model.gguf", "vocab_size = 319", "found 320"] {
        assert!(failure.message.contains(words), "{words} is missing in {failure}");
    }
}

/// The whole model as a sparse file: larger than the memory of any machine that runs tests.
#[cfg(target_os = "linux")]
#[test]
fn a_model_that_does_not_fit_is_refused_before_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.gguf");
    // 690 GiB, or on a machine that has room for those 2.5 TiB.
    let usable = fathom_engine::machine::Memory::read(Path::new("/")).usable().expect("Linux tells");
    let ty = if usable < 600 << 30 { "q8_0" } else { "f32" };
    let made = fathom()
        .args(["synth", "--preset", "v3.2", "--type", ty, "--zeros", "-o"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let out = folder.path().join("logits");
    let in_memory = ["--no-mmap", "--tokens", "0", "-o", out.to_str().unwrap()];
    for (verb, args) in [("run", &["-p", "Hi", "--no-warmup"][..]), ("logits", &in_memory)] {
        let done = fathom().arg(verb).arg(&path).args(args).output().unwrap();
        assert_eq!(done.status.code(), Some(4), "{}", stderr(&done));
        for words in ["whole.gguf does not fit", "GiB needed", "available", "--force"] {
            assert!(stderr(&done).contains(words), "{words} is missing in {}", stderr(&done));
        }
        assert!(!out.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_that_the_system_refuses_is_an_error_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = (folder.path().join("tokens"), folder.path().join("logits"));
    // A cache of 2 GB of addresses, of which no page is touched, in a process that may have 1 GB.
    std::fs::write(&list, "0 ".repeat(1 << 20)).unwrap();
    let model = convert("base", "f32");
    let (model, list, out) = (model.path.to_str().unwrap(), list.to_str().unwrap(), out.to_str().unwrap());
    let done = limited("ulimit -v 1000000", &["logits", model, "--tokens-file", list, "-t", "2", "-o", out]);
    assert_eq!(done.status.code(), Some(4), "{}", stderr(&done));
    for words in ["the cache needs 2013265920 bytes", "an allocation of", "ulimit -v"] {
        assert!(stderr(&done).contains(words), "{words} is missing in {}", stderr(&done));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_the_system_refuses_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits");
    let model = convert("base", "f32");
    // 400 stacks of 2 MiB do not go into 500 MB.
    let args =
        ["logits", model.path.to_str().unwrap(), "--tokens", "0", "-t", "400", "-o", out.to_str().unwrap()];
    let done = limited("ulimit -v 500000", &[&args[..], &["--no-warmup"]].concat());
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
    assert!(stderr(&done).contains("expected 400 threads"), "{}", stderr(&done));
    // The pool that warms up is another.
    let done = limited("ulimit -v 500000", &args);
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
}

/// A user's limit on threads does not bind the superuser: then the program runs as somebody else. Whatever wants a thread, the
/// team, the pool, the keeper of conversations, the catcher of signals, there is an answer or an error.
#[cfg(target_os = "linux")]
#[test]
fn a_system_without_threads_gives_an_answer_or_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (program, text, cache) = (at("fathom"), at("text"), at("cache"));
    // By another program: a child of this one, started meanwhile by another test, would hold the copy open for writing, and
    // then nobody may execute it.
    assert!(Command::new("cp").args([env!("CARGO_BIN_EXE_fathom"), &program]).status().unwrap().success());
    std::fs::write(&text, "the quick brown fox jumps over the lazy dog. ".repeat(8)).unwrap();
    std::fs::create_dir(&cache).unwrap();
    for path in [folder.path(), Path::new(&cache)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let start = |n: u32, args: &[&str]| {
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut words: Vec<&str> = if is_root { nobody.to_vec() } else { Vec::new() };
        let limit = format!("--nproc={n}");
        words.extend(["prlimit", &limit, &program]);
        let mut command = common::program::without_settings(Command::new(words[0]));
        command.args(&words[1..]).args(args).env("FATHOM_CACHE_DIR", &cache).env("HOME", folder.path());
        command.stdin(std::process::Stdio::null()).output().unwrap()
    };
    let hello = ["run", "builtin", "-p", "Hello there", "-n", "3"];
    let two = [&hello[..], &["-t", "2"]].concat();
    let one = [&hello[..], &["-t", "1"]].concat();
    let text = ["perplexity", "builtin", "-f", &text, "-c", "16", "-t", "1"];
    let mut n_refused = 0;
    for n in [1, 2, 3, 4] {
        for args in [&two[..], &one, &text, &["models"], &["cache", "verify"]] {
            let done = start(n, args);
            let message = stderr(&done);
            assert!(!message.contains("panicked"), "{n} {args:?}: {message}");
            match done.status.code() {
                Some(0) => {}
                Some(1) => {
                    assert!(message.contains("error: "), "{n} {args:?}: {message}");
                    n_refused += 1;
                }
                code => panic!("{n} {args:?}: {code:?} {message}"),
            }
        }
    }
    assert!(n_refused > 0, "the limit did not bind");
}

/// What may not be locked is told of, and the model runs all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_refused_lock_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits");
    let model = convert("base", "f32");
    let args =
        ["logits", model.path.to_str().unwrap(), "--tokens", "0", "--mlock", "-o", out.to_str().unwrap()];
    // The limit does not bind the superuser before the capability is gone.
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let capability =
        if is_root { "exec setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock" } else { "exec" };
    let line = format!("ulimit -l 0 && {capability} \"$0\" \"$@\"");
    let done = common::program::without_settings(Command::new("sh"))
        .args(["-c", &line, env!("CARGO_BIN_EXE_fathom")])
        .args(args)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    for words in ["warning: --mlock", "may lock 0 bytes", "ulimit -l"] {
        assert!(stderr(&done).contains(words), "{words} is missing in {}", stderr(&done));
    }
    assert_eq!(std::fs::metadata(out).unwrap().len(), 320 * 4);
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_a_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("slice.gguf"), folder.path().join("logits"));
    let slice = ["synth", "--preset", "v3.2-slice:1+0", "--type", "f16", "--zeros", "-o"];
    let made = fathom().args(slice).arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let mut command = fathom();
    command.args(["logits", "--tokens", "0", "-t", "1", "-o"]).arg(&out).arg(&path);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // From when more of the file is in memory than the program itself has pages until its last, more than a gigabyte later.
    let status = format!("/proc/{}/status", child.id());
    let mapped_kib = || -> Option<u64> {
        let text = std::fs::read_to_string(&status).ok()?;
        text.lines().find_map(|line| line.strip_prefix("RssFile:"))?.trim().strip_suffix(" kB")?.parse().ok()
    };
    let started = Instant::now();
    while mapped_kib().is_none_or(|kib| kib < 192 << 10) {
        assert!(started.elapsed() < Duration::from_secs(60), "the warm-up never begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", stderr(&done));
    assert!(stderr(&done).contains("stopped before the model was in memory"), "{}", stderr(&done));
    assert!(!out.exists());
}
