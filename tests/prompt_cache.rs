//! What is kept of conversations on the disk: the same bits as if nothing had ended, and never anything else.

mod common;

use common::forge::Forged;
use common::{assert_same_bits, convert, extend, with_model};
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::mmap::{Mapping, Watch};
use fathom_engine::prompt_cache::{
    About, BLOCK_TOKENS, Fingerprint, Folder, Key, Known, PromptCache, Search, UnknownModel, read_block,
};
use fathom_engine::threads::Seats;
use fathom_engine::{Model, Session, SessionOptions, Wanted};
use fathom_gguf::Gguf;
use fathom_simd::{Format, Kernels};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

const NO_LIMIT: u64 = 1 << 40;
/// Two whole blocks and a short one, beyond every `index_topk` of the reference models.
const N_TOKENS: usize = 2 * BLOCK_TOKENS + 44;

fn fingerprint(path: &Path) -> Fingerprint {
    fingerprint_on(path, 2)
}

fn fingerprint_on(path: &Path, n_threads: usize) -> Fingerprint {
    let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
    Fingerprint::of(&Mapping::open(path).unwrap().shards(), &Seats::of(n_threads), watch).unwrap()
}

fn tokens(n: usize, first: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (first + 7 * i) % 90 + 3).collect()
}

/// A kept folder, and one model whose sessions keep in it.
struct Kept<'e> {
    folder: &'e Path,
    limit: u64,
    engine: &'e Arc<Model>,
    fingerprint: Fingerprint,
    options: SessionOptions,
}

impl<'e> Kept<'e> {
    fn session(&self) -> Session {
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
    with_model(&model.path, Kernels::best(), 2, |engine| {
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

/// The MTP layer's last row of a block depends on the token behind it. Conversations that part there, right before and right
/// behind it share what they have in common and nothing else, whoever was kept first and whatever a session holds already.
#[test]
fn with_the_mtp_layer_conversations_part_at_a_border() {
    let options = SessionOptions { mtp: true, ..options(Format::BF16, IndexType::Q8) };
    let first = tokens(N_TOKENS, 0);
    let border = BLOCK_TOKENS;
    for parting in [border - 1, border, border + 1, 2 * border] {
        let mut second = first.clone();
        second[parting..].iter_mut().for_each(|token| *token = (*token + 11) % 90 + 3);
        with_kept(options, |kept| {
            kept.compute(&first);
            kept.compute(&second);
            let both = [&first, &second].map(|tokens| (tokens, common::logits(kept.engine, options, tokens)));
            for (tokens, _) in &both {
                assert_eq!(kept.recall(tokens), (N_TOKENS, vec![]), "parting at {parting}");
            }
            // A prompt that ends at the border, or a token behind it.
            for (n, expected) in [(border, 0), (border + 1, border)] {
                assert_eq!(kept.recall(&second[..n]), (expected, vec![]), "{n} of {parting}");
            }
            // A session goes from one to the other and back.
            let mut session = kept.session();
            for (tokens, all) in [&both[0], &both[1], &both[0]] {
                for n in [parting, parting + 1, N_TOKENS] {
                    session.recall(&tokens[..n]);
                    let held = session.common_prefix(tokens).min(n - 1);
                    session.truncate(held);
                    let behind = extend(&mut session, &tokens[held..], Wanted::AllMtp);
                    let what = format!("parting at {parting}, {n} recalled");
                    assert_same_bits(&behind, &all[all.len() - behind.len()..], &what);
                    session.truncate(n);
                }
            }
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
        common::with_model_and(&model.path, &[&key], Kernels::best(), 1, |engine| {
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
                    matches!(&notices[..], [one] if one.contains(told) && one.contains("recomputed")),
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
        // One that says that it is far larger, and is: it is not read.
        for (bytes, path) in &whole {
            std::fs::write(path, bytes).unwrap();
        }
        let huge = 1u64 << 37;
        let mut bytes = other.clone();
        let n_more =
            u64::try_from(bytes.len()).unwrap() - u64::from_le_bytes(*bytes[28..].first_chunk().unwrap());
        bytes[28..36].copy_from_slice(&huge.to_le_bytes());
        let name = &whole[0].1;
        std::fs::write(name, &bytes).unwrap();
        std::fs::File::options().write(true).open(name).unwrap().set_len(huge + n_more).unwrap();
        let (found, notices) = kept.recall(&tokens);
        assert!(found < N_TOKENS && notices[0].contains("other tokens"), "{notices:?}");
    });
}

/// Whatever is done to a block's bytes, it is not taken for one, and nothing panics.
#[test]
fn mutated_blocks_are_no_blocks() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let tokens = tokens(BLOCK_TOKENS, 0);
        kept.compute(&tokens);
        let path = blocks(kept.folder).pop().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut buffer = Vec::new();
        for round in 0..600 {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..4) {
                // Half of them in the head, which says how long everything is.
                let end = if random.bool() { 36 } else { bytes.len() };
                let at = random.usize(0..end.min(bytes.len()).max(1));
                match random.u8(0..6) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_slice(&whole[at.min(whole.len())..]),
                    2 if !bytes.is_empty() => drop(bytes.remove(at.min(bytes.len() - 1))),
                    3 => bytes.insert(at, random.u8(..)),
                    4 if bytes.len() >= at + 8 => {
                        bytes[at..at + 8].fill([0, 0xff, 0x7f, 0x80][random.usize(0..4)])
                    }
                    _ if !bytes.is_empty() => {
                        let at = at.min(bytes.len() - 1);
                        bytes[at] ^= 1 << random.u8(0..8);
                    }
                    _ => {}
                }
            }
            if bytes == whole {
                continue;
            }
            std::fs::write(&path, &bytes).unwrap();
            assert!(read_block(&path, &mut buffer).unwrap().is_err(), "round {round}");
            if round % 20 == 0 {
                let (found, notices) = kept.recall(&tokens);
                assert!(found == 0 && notices.len() == 1 && notices[0].contains("damaged"), "{notices:?}");
            }
        }
    });
}

/// What is no file under a block's name: a pipe would be waited for until somebody writes to it.
#[test]
fn a_pipe_in_a_blocks_place_is_told_and_not_waited_for() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let tokens = tokens(N_TOKENS, 0);
        kept.compute(&tokens);
        for path in blocks(kept.folder) {
            std::fs::remove_file(&path).unwrap();
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        }
        let (found, notices) = kept.recall(&tokens);
        assert!(found == 0 && notices[0].contains("expected a file, found a pipe"), "{notices:?}");
        kept.compute(&tokens);
    });
}

/// Any byte of any tensor: headers and size are those of the model before.
#[test]
fn every_byte_of_a_model_tells_it_from_others() {
    let model = convert("base", "q8_0");
    let whole = std::fs::read(&model.path).unwrap();
    let right = fingerprint(&model.path);
    assert_eq!(right, fingerprint_on(&model.path, 1), "threads do not count");
    let copy = model.path.with_file_name("another name.gguf");
    std::fs::copy(&model.path, &copy).unwrap();
    assert_eq!(fingerprint(&copy), right, "nor does the file's name");
    let file = fathom_gguf::GgufFile::parse(&whole).unwrap();
    let places: Vec<_> = file.tensors().iter().map(|tensor| tensor.offset + tensor.bytes / 2).collect();
    assert!(places.len() > 50);
    for at in places {
        let mut other = whole.clone();
        other[at as usize] ^= 1;
        std::fs::write(&copy, &other).unwrap();
        assert_ne!(fingerprint(&copy), right, "byte {at}");
    }
}

/// A large model's fingerprint: read through once, then known by its files; and what is not brought into memory.
#[cfg(unix)]
#[test]
fn a_model_that_was_read_through_is_known_while_its_files_are_the_same() {
    let model = convert("base", "q8_0");
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now() + Duration::from_secs(100);
    let search = |path: &Path, in_memory, now| -> Result<(Fingerprint, Option<Known>, u64), UnknownModel> {
        let mapping = Mapping::open(path).unwrap();
        let gguf = Gguf::from_shards(mapping.shards()).unwrap();
        let seats = Seats::of(2);
        let search = Search { mapping: &mapping, gguf: &gguf, seats: &seats, in_memory, small: 0, now };
        let n_read = std::sync::atomic::AtomicU64::new(0);
        let progress = |n| _ = n_read.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        let watch = Watch { stop: &AtomicBool::new(false), progress: &progress };
        let (fingerprint, known) = search.run(&Folder::new(folder.path().into()), watch)?;
        Ok((fingerprint, known, n_read.into_inner()))
    };
    let size = std::fs::metadata(&model.path).unwrap().len();
    let right = fingerprint(&model.path);
    // A young file may change without a trace: nothing is written down, and what is not read is not known.
    let (found, known, n_read) = search(&model.path, true, SystemTime::now()).unwrap();
    assert!(found == right && known.is_none() && n_read == size);
    assert!(matches!(search(&model.path, false, SystemTime::now()), Err(UnknownModel::Young)));
    let by_age = search(&model.path, false, now).unwrap();
    assert!(by_age.0 != right && by_age.1.is_none() && by_age.2 == 0);
    assert_eq!(search(&model.path, false, now).unwrap().0, by_age.0);

    let (found, known, n_read) = search(&model.path, true, now).unwrap();
    assert!(found == right && n_read == size);
    let keep = |known| {
        let about = About { model: "a model".into(), rows: "its rows".into() };
        with_model(&model.path, Kernels::best(), 1, |engine| {
            let root = Key::root(&right, &engine.config, SessionOptions::default(), engine.kernels);
            let kept = PromptCache::open(Folder::new(folder.path().into()), NO_LIMIT, root, &about).unwrap();
            kept.note(known).unwrap();
        });
    };
    keep(known.unwrap());
    for in_memory in [true, false] {
        let (found, known, n_read) = search(&model.path, in_memory, now).unwrap();
        assert!(found == right && known.is_none() && n_read == 0, "{in_memory}");
    }
    // A link is the same file; a copy is read again, and is the same model.
    let link = model.path.with_file_name("link.gguf");
    std::os::unix::fs::symlink(&model.path, &link).unwrap();
    assert_eq!(search(&link, true, now).unwrap().2, 0);
    let copy = model.path.with_file_name("copy.gguf");
    std::fs::copy(&model.path, &copy).unwrap();
    let (found, _, n_read) = search(&copy, true, now).unwrap();
    assert!(found == right && n_read == size);
    // One byte in the middle, and the times as they were.
    let file = std::fs::File::options().read(true).write(true).open(&model.path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    file.read_exact_at(&mut byte, size / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 1], size / 2).unwrap();
    file.set_modified(modified).unwrap();
    let (found, _, n_read) = search(&model.path, true, now).unwrap();
    assert!(found != right && n_read == size);
    assert!(![right, by_age.0].contains(&search(&model.path, false, now).unwrap().0));
    // What was written down goes with the blocks.
    let kept = Folder::new(folder.path().into());
    for shelf in kept.shelves().unwrap() {
        kept.remove(&shelf).unwrap();
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A model that is changed while a session runs leaves no rows under the name of what it was.
#[cfg(unix)]
#[test]
fn nothing_is_kept_of_a_model_that_changes_while_it_is_used() {
    with_kept(options(Format::BF16, IndexType::Q8), |kept| {
        let model = convert("base", "q8_0");
        let mapping = Mapping::open(&model.path).unwrap();
        let tokens = tokens(N_TOKENS, 0);
        let mut session = Session::new(kept.engine, kept.options).unwrap();
        let root = Key::root(&kept.fingerprint, &kept.engine.config, kept.options, kept.engine.kernels);
        let about = About { model: "a model".into(), rows: "its rows".into() };
        let mut cache = PromptCache::open(Folder::new(kept.folder.into()), NO_LIMIT, root, &about).unwrap();
        cache.watch(mapping.guard().unwrap());
        session.keep_in(cache);
        session.sync(&tokens[..BLOCK_TOKENS + 5]).unwrap();
        // What waits to be written when the model changes is not written.
        let deadline = Instant::now() + Duration::from_secs(180);
        while blocks(kept.folder).len() != 1 {
            assert!(Instant::now() < deadline, "no block is written");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(30));
        let file = std::fs::File::options().write(true).open(&model.path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"GGUF", 0).unwrap();
        session.sync(&tokens).unwrap();
        session.keep_all();
        assert_eq!(session.recall(&self::tokens(N_TOKENS, 1)), 0);
        let notices = session.take_notices();
        assert!(matches!(&notices[..], [one] if one.contains("changed while it was in use")), "{notices:?}");
        drop(session);
        assert_eq!(blocks(kept.folder).len(), 1);
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

/// Another model under the old name, of the same headers, size and times.
#[test]
fn a_changed_model_computes_everything_anew() {
    let program = Program::new();
    let on_disk = || program.answer(&[]).0["usage"]["cached_on_disk"].as_u64().unwrap();
    assert_eq!(on_disk(), 0);
    assert!(on_disk() > 2 * BLOCK_TOKENS as u64);
    let modified = std::fs::metadata(&program.model.path).unwrap().modified().unwrap();
    let mut model = Forged::read(&program.model.path);
    for tensor in ["blk.1.attn_kv_a_mqa.weight", "blk.1.exp_probs_b.bias", "output.weight"] {
        let bytes = &mut model.tensor(tensor).bytes;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        model.write(&program.model.path);
        std::fs::File::options()
            .write(true)
            .open(&program.model.path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert_eq!(on_disk(), 0, "{tensor}");
    }
}

#[test]
fn the_verb_lists_checks_and_removes() {
    let program = Program::new();
    let cache = |args: &[&str]| program.command(&[&["cache"], args].concat()).output().unwrap();
    let text = |done: Output| String::from_utf8(done.stdout).unwrap();
    assert!(text(cache(&["ls"])).contains("nothing is cached"));
    program.answer(&[]);
    let table = text(cache(&["ls"]));
    assert!(table.contains("model.gguf (bf16, q8)") && table.contains("KiB in "), "{table}");
    let list: serde_json::Value = serde_json::from_slice(&cache(&["ls", "--json"]).stdout).unwrap();
    let n_blocks = list["models"][0]["blocks"].as_u64().unwrap();
    assert!(n_blocks >= 4 && list["models"][0]["bytes"].as_u64().unwrap() > 1000, "{list}");
    assert_eq!(text(cache(&["verify"])), format!("{n_blocks} blocks, none damaged\n"));
    let victim = &blocks(program.folder.path())[1];
    std::fs::write(victim, b"fathomKV and nothing else, which is no block at all, whatever its name says")
        .unwrap();
    let done = cache(&["verify"]);
    assert_eq!(done.status.code(), Some(3));
    assert!(err(&done).contains("1 of") && !victim.exists(), "{}", err(&done));
    assert_eq!(cache(&["rm", "zz"]).status.code(), Some(2));
    assert_eq!(cache(&["rm"]).status.code(), Some(2));
    // Every name begins with nothing.
    let nothing = cache(&["rm", ""]);
    assert_eq!(nothing.status.code(), Some(2), "{}", String::from_utf8_lossy(&nothing.stderr));
    assert_eq!(text(cache(&["verify"])), format!("{} blocks, none damaged\n", n_blocks - 1));
    let name = list["models"][0]["name"].as_str().unwrap();
    assert!(cache(&["rm", &name[..12]]).status.success());
    assert!(text(cache(&["ls"])).contains("nothing is cached"));
    program.answer(&[]);
    assert!(cache(&["rm", "--all"]).status.success());
    assert_eq!(std::fs::read_dir(program.folder.path()).unwrap().count(), 0);
}

#[test]
fn what_somebody_else_put_into_the_cache_stays_and_stops_nothing() {
    let program = Program::new();
    let cache = |args: &[&str]| program.command(&[&["cache"], args].concat()).output().unwrap();
    program.answer(&[]);
    let block = blocks(program.folder.path()).remove(0);
    let shelf = block.parent().unwrap();
    std::fs::remove_file(&block).unwrap();
    // Folders where blocks and other files of ours would be, and one beside the models' folders.
    let theirs =
        [shelf.join("x.kv"), block.clone(), shelf.join(".part-x"), program.folder.path().join("x.kv")];
    theirs.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let list: serde_json::Value = serde_json::from_slice(&cache(&["ls", "--json"]).stdout).unwrap();
    let n_blocks = list["models"][0]["blocks"].as_u64().unwrap();
    let checked = cache(&["verify"]);
    assert_eq!(String::from_utf8(checked.stdout).unwrap(), format!("{n_blocks} blocks, none damaged\n"));
    let removed = cache(&["rm", "--all"]);
    assert!(removed.status.success(), "{}", err(&removed));
    assert!(err(&removed).contains("is kept") && err(&removed).contains("x.kv"), "{}", err(&removed));
    assert!(theirs.iter().all(|folder| folder.is_dir()));
    assert!(String::from_utf8(cache(&["ls"]).stdout).unwrap().contains("nothing is cached"));
    assert!(program.answer(&[]).0["text"].is_string(), "the folder is used again");
}

#[test]
fn a_folder_that_cannot_be_is_a_note_and_no_more() {
    let program = Program::new();
    let file = program.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let done = program.run("--json", &[]).env("FATHOM_CACHE_DIR", file.join("below")).output().unwrap();
    assert!(done.status.success() && err(&done).contains("not cached"), "{}", err(&done));
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
