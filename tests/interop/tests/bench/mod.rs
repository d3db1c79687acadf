//! The two programs side by side in a folder of their own.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use fathom_interop::Rows;
use fathom_interop::compare::{Distance, argmax, distance};
use tempfile::TempDir;

/// Largest difference on F32 files, as a share of the largest logit.
pub const REL_BOUND: f64 = 1e-5;
/// Mean divergence on narrow files, in nats.
pub const KL_BOUND: f64 = 0.03;

/// A scratch folder, the programs, and the tokens of this test.
pub struct Bench {
    folder: TempDir,
    fathom: PathBuf,
    python: PathBuf,
    tokens: Vec<u32>,
    made: AtomicUsize,
}

impl Bench {
    /// None, with a word, where the programs are not named; a failure where `FATHOM_REQUIRE_ORACLES` asks for them.
    pub fn new(n_tokens: usize) -> Option<Self> {
        let named = |name: &str| {
            let path = std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            if path.is_none() {
                let required =
                    std::env::var_os("FATHOM_REQUIRE_ORACLES").is_some_and(|value| !value.is_empty());
                assert!(!required, "FATHOM_REQUIRE_ORACLES is set, and {name} is not");
                eprintln!("skipped: {name} is not set (tests/interop/run.sh sets it)");
            }
            path
        };
        let (fathom, python) = (named("FATHOM_BIN")?, named("INTEROP_PYTHON")?);
        let folder = tempfile::tempdir().expect("a scratch folder");
        Some(Self { folder, fathom, python, tokens: tokens(n_tokens), made: AtomicUsize::new(0) })
    }

    /// A tiny checkpoint of the kind.
    pub fn checkpoint(&self, kind: &str) -> PathBuf {
        let out = self.fresh("checkpoint", "");
        self.layouts(&["checkpoint".as_ref(), &out, "--kind".as_ref(), kind.as_ref()]);
        out
    }

    /// A reference checkpoint of the repository.
    pub fn reference(&self, shape: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference").join(shape);
        assert!(folder.join("config.json").is_file(), "{} holds no checkpoint", folder.display());
        folder
    }

    /// The GGUF that another tool chain makes of a checkpoint.
    pub fn layout(&self, checkpoint: &Path, layout: &str, options: &[&str]) -> PathBuf {
        let out = self.fresh(layout, ".gguf");
        let mut args: Vec<&Path> =
            vec!["gguf".as_ref(), checkpoint, &out, "--layout".as_ref(), layout.as_ref()];
        args.extend(options.iter().map(Path::new));
        self.layouts(&args);
        out
    }

    /// The GGUF that Fathom makes of a checkpoint.
    pub fn quantize(&self, checkpoint: &Path, ty: &str) -> PathBuf {
        let out = self.fresh(ty, ".gguf");
        let mut command = Command::new(&self.fathom);
        command.arg("quantize").arg(checkpoint).arg("-o").arg(&out).args(["--type", ty]);
        finished(&mut command);
        out
    }

    /// Fathom's logits.
    pub fn fathom(&self, file: &Path, options: &[&str]) -> Rows {
        let mut command = Command::new(&self.fathom);
        command.args(["logits", "--cache-type", "f32", "--index-cache", "f32", "--threads", "2"]);
        self.rows(command, file, options)
    }

    /// llama.cpp's logits.
    pub fn llama(&self, file: &Path, options: &[&str]) -> Rows {
        self.rows(Command::new(env!("CARGO_BIN_EXE_llama_logits")), file, options)
    }

    /// From now on the tokens are the first `n_tokens` of a text, by the file's tokenizer. Gives the text's file.
    pub fn read_text(&mut self, file: &Path, text: &str, n_tokens: usize) -> PathBuf {
        let path = self.fresh("text", ".txt");
        std::fs::write(&path, text).expect("a scratch file");
        let mut command = Command::new(&self.fathom);
        command.arg("tokenize").arg(file).arg("-f").arg(&path);
        self.tokens = ids(finished(&mut command)).into_iter().take(n_tokens).collect();
        assert_eq!(self.tokens.len(), n_tokens, "the text is too short");
        path
    }

    /// From now on the tokens are those of a text with control tokens.
    pub fn read_special(&mut self, file: &Path, text: &str) {
        let path = self.fresh("text", ".txt");
        std::fs::write(&path, text).expect("a scratch file");
        let mut command = Command::new(&self.fathom);
        command.arg("tokenize").arg(file).arg("--special").arg("-f").arg(&path);
        self.tokens = ids(finished(&mut command));
    }

    /// llama.cpp's logits while it goes on with `n_drawn` best tokens. From now on the tokens are all that it put in: these
    /// without the last one.
    pub fn llama_greedy(&mut self, file: &Path, n_drawn: usize) -> Rows {
        let n_prompt = self.tokens.len();
        let out = self.fresh("greedy", ".f32");
        let mut command = Command::new(env!("CARGO_BIN_EXE_llama_logits"));
        command.arg(file).args(["--tokens", &self.list(), "--greedy", &n_drawn.to_string(), "-o"]).arg(&out);
        finished(&mut command);
        let n_rows = n_prompt + n_drawn - 1;
        let rows = Rows::read(&out, width(&out, n_rows)).expect("whole rows");
        let drawn = rows.iter().skip(n_prompt - 1).take(n_drawn - 1);
        self.tokens.extend(drawn.map(|row| argmax(row) as u32));
        rows
    }

    /// Fathom's perplexity of the first chunk of a text.
    pub fn perplexity(&self, file: &Path, text: &Path) -> f64 {
        let mut command = Command::new(&self.fathom);
        command.arg("perplexity").arg(file).arg("-f").arg(text).args(["--chunks", "1", "--json", "-c"]);
        command.arg(self.tokens.len().to_string());
        command.args(["--cache-type", "f32", "--index-cache", "f32", "--threads", "2"]);
        let report: serde_json::Value = serde_json::from_slice(&finished(&mut command)).expect("JSON");
        report["ppl"]["value"].as_f64().expect("a number")
    }

    /// The same from logits: `exp` of the mean over the second half.
    pub fn perplexity_of(&self, rows: &Rows) -> f64 {
        let scored = self.tokens.len() / 2..self.tokens.len() - 1;
        let n = scored.len() as f64;
        let rows: Vec<&[f32]> = rows.iter().collect();
        let nll = scored.map(|t| {
            let sum: f64 = rows[t].iter().map(|&logit| f64::from(logit).exp()).sum();
            sum.ln() - f64::from(rows[t][self.tokens[t + 1] as usize])
        });
        (nll.sum::<f64>() / n).exp()
    }

    /// True when llama.cpp does not load the file.
    pub fn refused_by_llama(&self, file: &Path) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llama_logits"));
        command.arg(file).args(["--tokens", "1", "-o"]).arg(self.fresh("refused", ".f32"));
        !command.output().expect("llama_logits runs").status.success()
    }

    /// Asserts that two tables agree within rounding.
    pub fn exact(&self, what: &str, right: &Rows, other: &Rows) -> Distance {
        self.within(REL_BOUND, what, right, other)
    }

    /// Asserts that two tables have the same best tokens and differ by no more than `bound` of the largest logit.
    pub fn within(&self, bound: f64, what: &str, right: &Rows, other: &Rows) -> Distance {
        let found = told(what, right, other);
        assert!(found.max_rel <= bound, "{what}: {found:?}");
        assert_eq!(found.argmax_differs, 0, "{what}: {found:?}");
        found
    }

    /// Asserts that two tables agree on the whole.
    pub fn close(&self, what: &str, right: &Rows, other: &Rows) {
        let found = told(what, right, other);
        assert!(found.mean_kl <= KL_BOUND, "{what}: {found:?}");
    }

    fn rows(&self, mut command: Command, file: &Path, options: &[&str]) -> Rows {
        let out = self.fresh("logits", ".f32");
        command.arg(file).args(["--tokens", &self.list(), "-o"]).arg(&out).args(options);
        finished(&mut command);
        // Draft rows need the token after them.
        let n_rows = self.tokens.len() - usize::from(options.contains(&"--mtp"));
        Rows::read(&out, width(&out, n_rows)).expect("whole rows")
    }

    fn list(&self) -> String {
        let list: Vec<String> = self.tokens.iter().map(u32::to_string).collect();
        list.join(",")
    }

    fn layouts(&self, args: &[&Path]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("layouts.py");
        finished(Command::new(&self.python).arg("-B").arg(script).args(args));
    }

    fn fresh(&self, stem: &str, ending: &str) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number}-{stem}{ending}"))
    }
}

/// Values in a row of a file of rows.
fn width(path: &Path, n_rows: usize) -> usize {
    let bytes = std::fs::metadata(path).expect("the rows are written").len();
    usize::try_from(bytes).expect("a small file") / 4 / n_rows
}

/// What `fathom tokenize` says.
fn ids(said: Vec<u8>) -> Vec<u32> {
    let text = String::from_utf8(said).expect("ids are text");
    text.split_whitespace().map(|id| id.parse().expect("an id")).collect()
}

/// Measures and prints: the figures are worth keeping when all is well, too.
pub fn told(what: &str, right: &Rows, other: &Rows) -> Distance {
    let found = distance(right, other);
    println!(
        "{what:<36} rel {:.2e}  argmax {}/{}  KL {:.2e}{}",
        found.max_rel,
        right.len() - found.argmax_differs,
        right.len(),
        found.mean_kl,
        if found.same_bits { "  same bits" } else { "" },
    );
    found
}

/// Runs to a good end and gives what went to stdout, or fails with the end of what the program said: llama.cpp talks for
/// pages before.
fn finished(command: &mut Command) -> Vec<u8> {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = [&stdout, &stderr].map(|bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    });
    assert!(status.success(), "{command:?}: {status}\n{}", said.join("\n"));
    stdout
}

/// Token ids below 300, which every checkpoint here has, without a pattern: a linear congruence.
fn tokens(count: usize) -> Vec<u32> {
    let mut state = 2026u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % 300
    };
    std::iter::repeat_with(next).take(count).collect()
}
