//! `fathom perplexity`: the figures against their formulas, and what it says when it cannot measure.

mod common;

use common::{Converted, Reference, convert, logits, with_model};
use fathom_engine::{Session, SessionOptions};
use fathom_measure::perplexity::{Chunks, Running, log_sum_exp};
use fathom_simd::Kernels;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Beyond the tiny model's index_topk of 8, several chunks.
const TEXT: &str = "It was a bright cold day in April, and the clocks were striking thirteen. 1984 + 16 = 2000; \
                    naïve café, 你好，世界! fn main() { println!(\"{}\", 42); }\n\n\tThe end of the beginning.";

/// Logits that are numbers, of which no probability can be made.
#[test]
fn a_figure_that_is_no_number_is_an_error() {
    let bench = Bench::new("f32");
    let mut model = common::forge::Forged::read(&bench.model.path);
    for value in model.tensor("output.weight").bytes.as_chunks_mut().0 {
        *value = (f32::from_le_bytes(*value) * 1e30).to_le_bytes();
    }
    let path = bench.file("huge.gguf");
    model.write(&path);
    for form in [&[][..], &["--json"]] {
        let done = bench.run_on(&path, form);
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{message}");
        assert!(
            message.contains("the perplexity is not a number") && message.contains("found inf"),
            "{message}"
        );
        assert!(!String::from_utf8_lossy(&done.stdout).contains("PPL"), "no figure");
    }
    let base = bench.file("huge.base");
    let done = bench.run_on(&path, &["--save-base", base.to_str().unwrap()]);
    assert_eq!((done.status.code(), base.exists()), (Some(3), false), "no base of such a model");
}

/// A terminal sees how far the work is, unless nobody wants to know.
#[cfg(target_os = "linux")]
#[test]
fn quiet_shows_no_bar() {
    let bench = Bench::new("f32");
    for (flag, is_shown) in [("--no-warmup", true), ("-q", false)] {
        let mut command = common::fathom();
        command
            .arg("perplexity")
            .arg(&bench.model.path)
            .arg("-f")
            .arg(bench.file("text"))
            .args(["-c", "16", flag]);
        command.env("TERM", "xterm-256color");
        let patience = Some(common::terminal::PATIENCE_MS);
        let told = rexpect::session::spawn_command(command, patience).unwrap().exp_eof().unwrap();
        assert!(told.contains("PPL = ") && told.contains("chunk 1 of") == is_shown, "{flag}: {told}");
    }
    let help = common::fathom().args(["perplexity", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("Number of tokens in a chunk [default: 512;"));
}

struct Bench {
    folder: tempfile::TempDir,
    model: Converted,
}

impl Bench {
    fn new(ty: &str) -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap(), model: convert("base", ty) };
        std::fs::write(bench.file("text"), TEXT).unwrap();
        bench
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run_on(&self, model: &Path, args: &[&str]) -> Output {
        let text = self.file("text");
        common::fathom()
            .arg("perplexity")
            .arg(model)
            .args(["-f", text.to_str().unwrap(), "--cache-type", "f32", "--index-cache", "f32"])
            .args(if args.contains(&"-c") { &[][..] } else { &["-c", "32"] })
            .args(args)
            .output()
            .unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_on(&self.model.path, args)
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// The formula of measure/src/perplexity/mod.rs once more, over all logits of each chunk.
fn expected(model: &Path, n_ctx: usize) -> (f64, f64) {
    with_model(model, Kernels::from_env().unwrap(), 1, |engine| {
        let mapping = fathom_engine::mmap::Mapping::open(model).unwrap();
        let gguf = fathom_gguf::Gguf::from_shards(mapping.shards()).unwrap();
        let tokenizer = fathom_text::tokenizer::Tokenizer::from_gguf(gguf.metadata()).unwrap();
        let tokens = tokenizer.encode_plain(TEXT);
        let mut nlls = Vec::new();
        for chunk in tokens.chunks_exact(n_ctx) {
            let all = logits(engine, SessionOptions::default(), chunk);
            let rows: Vec<_> = all.chunks_exact(engine.config.vocab_size).collect();
            for t in n_ctx / 2..n_ctx - 1 {
                let sum: f64 = rows[t].iter().map(|&x| f64::from(x).exp()).sum();
                nlls.push(sum.ln() - f64::from(rows[t][chunk[t + 1] as usize]));
            }
        }
        let n = nlls.len() as f64;
        assert!(n > 30.0, "{n} scored tokens");
        let mean = nlls.iter().sum::<f64>() / n;
        let variance = nlls.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
        (mean.exp(), mean.exp() * (variance / n).sqrt())
    })
}

#[test]
fn the_last_line_is_the_formula() {
    let bench = Bench::new("f32");
    let (ppl, error) = expected(&bench.model.path, 32);
    let text = stdout(&bench.run(&[]));
    assert_eq!(text.lines().last().unwrap(), format!("PPL = {ppl:.4} +/- {error:.5}"));
    assert!(text.starts_with("[1]"), "{text}");
    let report = json(&bench.run(&["--json"]));
    assert!((report["ppl"]["value"].as_f64().unwrap() / ppl - 1.0).abs() < 1e-9, "{report}");
    // Fewer chunks are another figure; other threads and batches are not.
    assert_eq!(json(&bench.run(&["--json", "--chunks", "1"]))["chunks"], 1);
    let again = json(&bench.run(&["--json", "-b", "5", "-t", "3"]));
    assert_eq!(again["ppl"], report["ppl"]);
}

#[test]
fn the_figure_is_the_references() {
    let reference = Reference::read("base");
    let model = convert("base", "f32");
    let chunks = Chunks::new(reference.tokens().to_vec(), reference.tokens().len(), None, None).unwrap();
    let vocab_size = reference.shape("logits")[1];
    let mut theirs = Running::default();
    for t in chunks.n_ctx() / 2..chunks.n_ctx() - 1 {
        let row = &reference.values("logits")[t * vocab_size..(t + 1) * vocab_size];
        theirs.add(log_sum_exp(row) - f64::from(row[reference.tokens()[t + 1] as usize]));
    }
    let ours = with_model(&model.path, Kernels::from_env().unwrap(), 2, |engine| {
        let mut session = Session::new(engine, SessionOptions::default()).unwrap();
        let nlls = chunks.score(&mut session, 0, |_, logits, target| {
            log_sum_exp(logits) - f64::from(logits[target as usize])
        });
        let mut ours = Running::default();
        nlls.unwrap().into_iter().for_each(|nll| ours.add(nll));
        ours
    });
    assert_eq!(ours.n(), chunks.n_scored());
    let ratio = ours.perplexity().value / theirs.perplexity().value;
    assert!((ratio - 1.0).abs() < 1e-5, "{ratio}; the contract is 1e-3");
}

#[test]
fn a_base_compares_models() {
    let bench = Bench::new("f32");
    let base = bench.file("base");
    let base = base.to_str().unwrap();
    let first = json(&bench.run(&["--save-base", base, "--json"]));
    let own = json(&bench.run(&["--kl-base", base, "--json"]));
    assert_eq!(own["ppl"]["value"], first["ppl"]["value"]);
    assert!(own["kl_divergence"]["value"].as_f64().unwrap() < 1e-6, "{own}");
    assert_eq!(own["same_top"]["value"], 1.0);

    let quantised = convert("base", "q4_0");
    let other = json(&bench.run_on(&quantised.path, &["--kl-base", base, "--json"]));
    let plain = json(&bench.run_on(&quantised.path, &["--json"]));
    assert_eq!(other["ppl"], plain["ppl"]);
    assert!(
        (other["base_ppl"]["value"].as_f64().unwrap() - first["ppl"]["value"].as_f64().unwrap()).abs() < 1e-3
    );
    let kl = other["kl_divergence"]["value"].as_f64().unwrap();
    assert!(kl > 1e-4 && kl < 2.0, "{kl}");
    assert!(other["same_top"]["value"].as_f64().unwrap() <= 1.0);

    let text = stdout(&bench.run_on(&quantised.path, &["--kl-base", base]));
    for line in ["Mean PPL(Q)", "Mean    KLD", "99.9 % KLD", "RMS     dp", "Same top p"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.lines().last().unwrap().starts_with("PPL = "));
}

#[test]
fn what_cannot_be_measured_is_said() {
    let bench = Bench::new("f32");
    let refused = |output: Output, code: i32, words: &[&str]| {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{message}");
        words.iter().for_each(|word| assert!(message.contains(word), "{word} in {message}"));
    };
    refused(bench.run(&["-c", "3"]), 2, &["at least 4"]);
    refused(bench.run(&["-c", "4000"]), 2, &["at least 4000 tokens"]);
    let base = bench.file("base");
    let base = base.to_str().unwrap();
    refused(bench.run(&["--kl-base", base]), 3, &["no such file", &format!("--save-base {base}` makes it")]);
    stdout(&bench.run(&["--save-base", base]));
    std::fs::write(bench.file("text"), TEXT.replace("April", "Bread")).unwrap();
    refused(bench.run(&["--kl-base", base]), 2, &["the text that the base was made from"]);
    let model = bench.model.path.to_str().unwrap();
    refused(bench.run(&["--kl-base", model]), 3, &["--save-base"]);
    let bytes = std::fs::read(base).unwrap();
    std::fs::write(base, &bytes[..bytes.len() - 400]).unwrap();
    refused(bench.run(&["--kl-base", base]), 3, &["chunk."]);
}
