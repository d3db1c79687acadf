//! What is kept of conversations on the disk: the same bits as if nothing had ended, and never anything else.

mod common;

use common::{assert_same_bits, convert, extend, with_engine};
use fathom::cache::{CacheTypes, IndexType};
use fathom::mmap::Mapping;
use fathom::prompt_cache::{About, BLOCK_TOKENS, Fingerprint, Folder, Key, PromptCache};
use fathom::{Engine, Session, SessionOptions, Wanted};
use fathom_gguf::Gguf;
use fathom_simd::{Format, Kernels};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const NO_LIMIT: u64 = 1 << 40;
/// Two whole blocks and a short one, beyond every `index_topk` of the reference models.
const N_TOKENS: usize = 2 * BLOCK_TOKENS + 44;

fn fingerprint(path: &Path) -> Fingerprint {
    let mapping = Mapping::open(path).unwrap();
    Fingerprint::of(&Gguf::from_shards(mapping.shards()).unwrap(), &mapping.shards())
}

fn tokens(n: usize, first: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (first + 7 * i) % 90 + 3).collect()
}

/// A kept folder, and one model whose sessions keep in it.
struct Kept<'e> {
    folder: &'e Path,
    limit: u64,
    engine: &'e Engine<'e>,
    fingerprint: Fingerprint,
    options: SessionOptions,
}

impl<'e> Kept<'e> {
    fn session(&self) -> Session<'e> {
        let mut session = Session::new(self.engine, self.options).unwrap();
        let root = Key::root(&self.fingerprint, &self.engine.config, self.options, self.engine.kernels);
        let about = About { model: "a model".into(), rows: "its rows".into() };
        session
            .keep_in(PromptCache::open(Folder::new(self.folder.into()), self.limit, root, &about).unwrap());
        session
    }

    /// Computes `tokens` and keeps them.
    fn compute(&self, tokens: &[u32]) {
        let mut session = self.session();
        session.sync(tokens).unwrap();
        session.keep_all();
    }

    /// How many of `tokens` a new session finds, and what a person is told; it must then go on as if it had computed
    /// them.
    fn recall(&self, tokens: &[u32]) -> (usize, Vec<String>) {
        let mut session = self.session();
        let found = session.recall(tokens);
        assert_eq!(session.tokens(), &tokens[..found]);
        let notices = session.take_notices();
        let mut whole = tokens.to_vec();
        whole.extend([5, 9, 11]);
        let wanted = if self.options.mtp { Wanted::AllMtp } else { Wanted::All };
        let behind = extend(&mut session, &whole[found..], wanted);
        let mut never_ended = Session::new(self.engine, self.options).unwrap();
        extend(&mut never_ended, &whole[..found], Wanted::Nothing);
        assert_same_bits(&behind, &extend(&mut never_ended, &whole[found..], wanted), "after a recall");
        (found, notices)
    }
}

/// Hands a model and an empty folder to `test`.
fn with_kept(options: SessionOptions, test: impl FnOnce(Kept<'_>)) {
    let model = convert("base", "q8_0");
    let folder = tempfile::tempdir().unwrap();
    with_engine(&model.path, Kernels::best(), 2, |engine| {
        let (folder, fingerprint) = (folder.path(), fingerprint(&model.path));
        test(Kept { folder, limit: NO_LIMIT, engine, fingerprint, options });
    });
}

fn options(latent: Format, index: IndexType) -> SessionOptions {
    let cache = CacheTypes { latent, index };
    SessionOptions { n_ctx: 512, batch: 64, cache, ..SessionOptions::default() }
}

/// The files of all blocks, those longest unused first.
fn blocks(folder: &Path) -> Vec<PathBuf> {
    let shelves = Folder::new(folder.into()).shelves().unwrap();
    shelves.into_iter().flat_map(|shelf| shelf.blocks).map(|entry| entry.path).collect()
}

#[test]
fn a_session_goes_on_with_the_same_bits() {
    let usual = options(Format::BF16, IndexType::Q8);
    let exact = options(Format::F32, IndexType::F32);
    for options in [
        usual,
        exact,
        options(Format::F16, IndexType::F16),
        SessionOptions { mtp: true, mtp_dense: true, ..usual },
    ] {
        with_kept(options, |kept| {
            let tokens = tokens(N_TOKENS, 0);
            kept.compute(&tokens);
            assert_eq!(kept.recall(&tokens), (N_TOKENS, vec![]), "{options:?}");
            assert_eq!(blocks(kept.folder).len(), 3);
        });
    }
}

#[test]
fn an_edited_end_costs_the_end_and_conversations_share_their_beginning() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let first = tokens(N_TOKENS, 0);
        kept.compute(&first);
        let mut edited = first.clone();
        edited[BLOCK_TOKENS + 5] += 1;
        assert_eq!(kept.recall(&edited).0, BLOCK_TOKENS);
        kept.compute(&edited);
        assert_eq!(blocks(kept.folder).len(), 3 + 2, "the first block is shared");
        assert_eq!(kept.recall(&edited).0, N_TOKENS);
        assert_eq!(kept.recall(&first).0, N_TOKENS);
        assert_eq!(kept.recall(&tokens(N_TOKENS, 1)).0, 0);
    });
}

#[test]
fn a_longer_end_replaces_a_short_block() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let all = tokens(N_TOKENS, 0);
        kept.compute(&all[..100]);
        assert_eq!(kept.session().recall(&all), 100);
        let mut session = kept.session();
        session.recall(&all[..110]);
        session.sync(&all[..110]).unwrap();
        session.keep_all();
        session.sync(&all[..120]).unwrap();
        session.keep_all();
        drop(session);
        assert_eq!(kept.session().recall(&all), 120);
        assert_eq!(blocks(kept.folder).len(), 1);
        kept.compute(&all);
        assert_eq!(kept.session().recall(&all[..130]), 128);
    });
}

#[test]
fn rows_of_other_models_types_and_levels_are_not_found() {
    let usual = options(Format::BF16, IndexType::Q8);
    with_kept(usual, |kept| {
        let tokens = tokens(N_TOKENS, 0);
        kept.compute(&tokens);
        let dense = SessionOptions { dense: true, ..usual };
        for options in [options(Format::F16, IndexType::Q8), options(Format::BF16, IndexType::F16), dense] {
            assert_eq!(Kept { options, ..kept }.recall(&tokens), (0, vec![]), "{options:?}");
        }
        let other = convert("base", "f32");
        let theirs = fingerprint(&other.path);
        assert_ne!(theirs, kept.fingerprint);
        assert_eq!(Kept { fingerprint: theirs, ..kept }.recall(&tokens), (0, vec![]));
        assert_eq!(kept.recall(&tokens).0, N_TOKENS);
    });
    let model = convert("base", "q8_0");
    let roots = ["1e-5", "2e-5"].map(|eps| {
        let key = format!("deepseek32.attention.layer_norm_rms_epsilon=float:{eps}");
        common::with_engine_and(&model.path, &[&key], Kernels::best(), 1, |engine| {
            Key::root(&fingerprint(&model.path), &engine.config, usual, engine.kernels)
        })
    });
    assert_ne!(roots[0], roots[1], "numbers that were overridden");
}

#[test]
fn a_damaged_block_is_told_removed_and_computed_again() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let tokens = tokens(N_TOKENS, 0);
        kept.compute(&tokens);
        let second = kept.session().recall(&tokens[..BLOCK_TOKENS + 1]);
        assert_eq!(second, BLOCK_TOKENS);
        let whole: Vec<_> =
            blocks(kept.folder).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, Damage); 7] = [
            ("checksum", |bytes| *bytes.last_mut().unwrap() ^= 1),
            ("checksum", |bytes| bytes[3000] ^= 0x40),
            ("checksum", |bytes| bytes[40] ^= 1),
            ("fathomKV", |bytes| bytes[0] = 0),
            ("bytes, found", |bytes| bytes.truncate(1000)),
            ("bytes, found", |bytes| bytes.clear()),
            ("bytes, found", |bytes| bytes[24..36].fill(0xff)),
        ];
        for (told, damage) in damages {
            for (bytes, path) in &whole {
                let mut changed = bytes.clone();
                damage(&mut changed);
                std::fs::write(path, &changed).unwrap();
                let (found, notices) = kept.recall(&tokens);
                assert!(found < N_TOKENS && found.is_multiple_of(BLOCK_TOKENS), "{told}: {found}");
                assert!(
                    matches!(&notices[..], [one] if one.contains(told) && one.contains("again")),
                    "{notices:?}"
                );
                assert!(!path.exists() || std::fs::read(path).unwrap() == *bytes, "written anew at most");
                std::fs::write(path, bytes).unwrap();
            }
        }
        // A block under the name of another one.
        let (other, name) = (&whole[0].0, &whole[1].1);
        std::fs::write(name, other).unwrap();
        let (_, notices) = kept.recall(&tokens);
        assert!(notices[0].contains("other tokens"), "{notices:?}");
    });
}

#[test]
fn a_limit_holds_and_the_beginning_goes_last() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let long = tokens(3 * BLOCK_TOKENS, 0);
        kept.compute(&long);
        let one = std::fs::metadata(&blocks(kept.folder)[0]).unwrap().len();
        // Room for four blocks: of two conversations of three the later is whole, and the other's first block is left.
        let kept = Kept { limit: 4 * one + one / 2, ..kept };
        let later = tokens(3 * BLOCK_TOKENS, 1);
        kept.compute(&later);
        assert!((3..=4).contains(&blocks(kept.folder).len()));
        assert_eq!(kept.session().recall(&later), 3 * BLOCK_TOKENS);
        assert!(kept.session().recall(&long) <= BLOCK_TOKENS);
        // A conversation that is larger than the limit keeps its beginning.
        let small = Kept { limit: one + one / 2, ..kept };
        let third = tokens(3 * BLOCK_TOKENS, 3);
        small.compute(&third);
        assert_eq!(small.session().recall(&third), BLOCK_TOKENS);
        // Less than a block: nothing is kept, and that is told.
        let mut session = Kept { limit: one / 2, ..kept }.session();
        session.sync(&tokens(2 * BLOCK_TOKENS, 2)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let notices = loop {
            let notices = session.take_notices();
            if !notices.is_empty() || Instant::now() > deadline {
                break notices;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(notices.len() == 1 && notices[0].contains("--cache-limit"), "{notices:?}");
    });
}

/// A model of the kind that ships, a folder to keep in, and the program.
struct Program {
    model: common::Converted,
    folder: tempfile::TempDir,
}

impl Program {
    fn new() -> Program {
        Program { model: convert("base", "q8_0"), folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = common::fathom();
        command.env("FATHOM_CACHE_DIR", self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    /// A long prompt and an answer of 40 tokens.
    fn run(&self, form: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["run"]);
        command.arg(&self.model.path).args(["-p", &"what is kept comes back. ".repeat(40)]);
        command.args(["-n", "40", "--seed", "3", form, "-b", "32"]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn answer(&self, more: &[&str]) -> (serde_json::Value, String) {
        let done = self.run("--json", more).output().unwrap();
        assert!(done.status.success(), "{}", err(&done));
        (serde_json::from_slice(&done.stdout).unwrap(), err(&done))
    }
}

fn err(done: &Output) -> String {
    String::from_utf8(done.stderr.clone()).unwrap()
}

#[test]
fn a_second_run_computes_only_what_is_new() {
    let program = Program::new();
    let (first, _) = program.answer(&[]);
    assert_eq!((&first["usage"]["cached_tokens"], &first["usage"]["cached_on_disk"]), (&0.into(), &0.into()));
    let (again, _) = program.answer(&[]);
    assert_eq!(again["text"], first["text"]);
    let usage = &again["usage"];
    let n_prompt = usage["prompt_tokens"].as_u64().unwrap();
    assert!(n_prompt > 3 * BLOCK_TOKENS as u64);
    let whole_blocks = n_prompt / BLOCK_TOKENS as u64 * BLOCK_TOKENS as u64;
    let from_disk = usage["cached_on_disk"].as_u64().unwrap();
    assert!((whole_blocks - 1..n_prompt).contains(&from_disk), "{usage}");
    let (without, _) = program.answer(&["--no-cache"]);
    assert_eq!((&without["text"], &without["usage"]["cached_on_disk"]), (&first["text"], &0.into()));
}

#[test]
fn the_verb_lists_checks_and_removes() {
    let program = Program::new();
    let cache = |args: &[&str]| program.command(&[&["cache"], args].concat()).output().unwrap();
    let text = |done: Output| String::from_utf8(done.stdout).unwrap();
    assert!(text(cache(&["ls"])).contains("nothing is kept"));
    program.answer(&[]);
    let table = text(cache(&["ls"]));
    assert!(table.contains("model.gguf (bf16, q8)") && table.contains("KiB in "), "{table}");
    let list: serde_json::Value = serde_json::from_slice(&cache(&["ls", "--json"]).stdout).unwrap();
    let n_blocks = list["models"][0]["blocks"].as_u64().unwrap();
    assert!(n_blocks >= 4 && list["models"][0]["bytes"].as_u64().unwrap() > 1000, "{list}");
    assert_eq!(text(cache(&["verify"])), format!("{n_blocks} blocks, all whole\n"));
    let victim = &blocks(program.folder.path())[1];
    std::fs::write(victim, b"fathomKV and nothing else, which is no block at all, whatever its name says")
        .unwrap();
    let done = cache(&["verify"]);
    assert_eq!(done.status.code(), Some(3));
    assert!(err(&done).contains("1 of") && !victim.exists(), "{}", err(&done));
    assert_eq!(cache(&["rm", "zz"]).status.code(), Some(2));
    assert_eq!(cache(&["rm"]).status.code(), Some(2));
    let name = list["models"][0]["name"].as_str().unwrap();
    assert!(cache(&["rm", &name[..12]]).status.success());
    assert!(text(cache(&["ls"])).contains("nothing is kept"));
    program.answer(&[]);
    assert!(cache(&["rm", "--all"]).status.success());
    assert_eq!(std::fs::read_dir(program.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_is_a_note_and_no_more() {
    let program = Program::new();
    let file = program.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let done = program.run("--json", &[]).env("FATHOM_CACHE_DIR", file.join("below")).output().unwrap();
    assert!(done.status.success() && err(&done).contains("not kept"), "{}", err(&done));
    let (usual, _) = program.answer(&[]);
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["text"], usual["text"]);
}

/// Killed while it reads, answers and saves: what is kept is whole, and the next answer is the same.
#[test]
fn fifty_kills_leave_nothing_wrong() {
    let program = Program::new();
    let (right, _) = program.answer(&["--no-cache"]);
    let mut random = fastrand::Rng::with_seed(50);
    let mut n_cut = 0;
    for kill in 0..50 {
        if kill % 5 == 0 {
            std::fs::remove_dir_all(program.folder.path()).unwrap();
        }
        let mut child = program.run("--jsonl", &[]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let n_lines = random.usize(0..80);
        let ended = lines.by_ref().take(n_lines).any(|line| line.unwrap().contains(r#""type":"end""#));
        std::thread::sleep(Duration::from_micros(random.u64(0..3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        n_cut += usize::from(!ended);
        let checked = program.command(&["cache", "verify"]).output().unwrap();
        assert!(checked.status.success(), "kill {kill}: {}", err(&checked));
    }
    assert!(n_cut >= 25, "{n_cut} runs were cut off");
    let (after, notices) = program.answer(&[]);
    assert_eq!(after["text"], right["text"]);
    assert!(!notices.contains("damaged"), "{notices}");
}
