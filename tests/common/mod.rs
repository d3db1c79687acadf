//! What the end-to-end tests share: reference checkpoints, converted models, relative differences.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod forge;
pub mod made_up;
pub mod program;
#[cfg(target_os = "linux")]
pub mod terminal;

use fathom_arch::config::Overrides;
use fathom_engine::mmap::Mapping;
use fathom_engine::probe::{NoProbe, Point, Probe, Values};
use fathom_engine::threads::Seats;
use fathom_engine::{Engine, Session, SessionOptions, Wanted};
use fathom_simd::Kernels;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A reference checkpoint's folder below tests/reference.
pub fn reference_folder(shape: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(shape)
}

/// The reference's numbers for one checkpoint (see tests/reference/README.md).
pub struct Reference {
    f32s: HashMap<String, (Vec<usize>, Vec<f32>)>,
    ids: HashMap<String, Vec<u32>>,
    masks: HashMap<String, Vec<bool>>,
}

impl Reference {
    pub fn read(shape: &str) -> Reference {
        let bytes = std::fs::read(reference_folder(shape).join("reference.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut reference = Reference { f32s: HashMap::new(), ids: HashMap::new(), masks: HashMap::new() };
        for (name, view) in tensors.tensors() {
            let words = || view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match view.dtype() {
                Dtype::F32 => {
                    let values = words().map(f32::from_le_bytes).collect();
                    reference.f32s.insert(name, (view.shape().to_vec(), values));
                }
                Dtype::I32 => {
                    reference.ids.insert(name, words().map(u32::from_le_bytes).collect());
                }
                Dtype::BOOL => {
                    reference.masks.insert(name, view.data().iter().map(|&b| b != 0).collect());
                }
                other => panic!("{name}: {other:?} in a reference file"),
            }
        }
        reference
    }

    pub fn has(&self, name: &str) -> bool {
        self.f32s.contains_key(name)
    }

    pub fn values(&self, name: &str) -> &[f32] {
        &self.f32s.get(name).unwrap_or_else(|| panic!("no {name} in the reference")).1
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.f32s[name].0
    }

    pub fn ids(&self, name: &str) -> &[u32] {
        &self.ids[name]
    }

    pub fn mask(&self, name: &str) -> &[bool] {
        &self.masks[name]
    }

    pub fn tokens(&self) -> &[u32] {
        self.ids("tokens")
    }
}

/// A checkpoint converted by the program itself; the folder goes when this does.
pub struct Converted {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

/// The program, without anybody's settings.
pub fn fathom() -> Command {
    program::fathom()
}

/// The program. Where this one is emulated, the system cannot start it by itself: `FATHOM_TEST_EMULATOR` names the emulator
/// and its options.
fn program() -> Command {
    let program = env!("CARGO_BIN_EXE_fathom");
    let emulator = std::env::var("FATHOM_TEST_EMULATOR").unwrap_or_default();
    let mut words = emulator.split_whitespace().chain([program]);
    let mut command = Command::new(words.next().expect("the program at least"));
    command.args(words);
    program::without_settings(command)
}

/// What takes no second on an idle machine may take this long on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Converts a reference checkpoint.
pub fn convert(shape: &str, ty: &str) -> Converted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let done = program()
        .arg("quantize")
        .arg(reference_folder(shape))
        .args(["--type", ty, "-o"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{shape}: {}", String::from_utf8_lossy(&done.stderr));
    Converted { _folder: folder, path }
}

/// Keeps everything it is shown, by point, layer and first position.
#[derive(Default)]
pub struct Recorder {
    pub f32s: BTreeMap<(Point, usize, usize), Vec<f32>>,
    pub ids: BTreeMap<(Point, usize, usize), Vec<u32>>,
}

impl Probe for Recorder {
    fn record(&mut self, point: Point, layer: usize, first: usize, values: Values<'_>) {
        match values {
            Values::F32(values) => {
                assert!(self.f32s.insert((point, layer, first), values.to_vec()).is_none())
            }
            Values::Ids(ids) => assert!(self.ids.insert((point, layer, first), ids.to_vec()).is_none()),
        }
    }
}

impl Recorder {
    /// All rows of a point, calls joined in order of position.
    pub fn all(&self, point: Point, layer: usize) -> Vec<f32> {
        self.f32s
            .range((point, layer, 0)..=(point, layer, usize::MAX))
            .flat_map(|(_, v)| v)
            .copied()
            .collect()
    }

    pub fn all_ids(&self, point: Point, layer: usize) -> Vec<u32> {
        self.ids.range((point, layer, 0)..=(point, layer, usize::MAX)).flat_map(|(_, v)| v).copied().collect()
    }
}

/// Loads a model and hands it to `f`.
pub fn with_engine<R>(
    path: &Path,
    kernels: &'static Kernels,
    n_threads: usize,
    f: impl FnOnce(&Engine<'_>) -> R,
) -> R {
    with_engine_and(path, &[], kernels, n_threads, f)
}

/// The same with `--override-kv` texts.
pub fn with_engine_and<R>(
    path: &Path,
    overrides: &[&str],
    kernels: &'static Kernels,
    n_threads: usize,
    f: impl FnOnce(&Engine<'_>) -> R,
) -> R {
    let mapping = Mapping::open(path).unwrap();
    let overrides = Overrides::parse(overrides).unwrap();
    let engine = Engine::load(mapping.shards(), &overrides, kernels, &Seats::of(n_threads)).unwrap();
    f(&engine)
}

/// All logits of `tokens`, from a new session.
pub fn logits(engine: &Engine<'_>, options: SessionOptions, tokens: &[u32]) -> Vec<f32> {
    let wanted = if options.mtp { Wanted::AllMtp } else { Wanted::All };
    let mut session =
        Session::new(engine, SessionOptions { n_ctx: options.n_ctx.max(tokens.len()), ..options }).unwrap();
    extend(&mut session, tokens, wanted)
}

/// All logits of `tokens` appended to a session.
pub fn extend(session: &mut Session<'_>, tokens: &[u32], wanted: Wanted) -> Vec<f32> {
    let mut all = Vec::new();
    session.extend(tokens, wanted, &mut NoProbe, &mut |_, logits| all.extend_from_slice(logits)).unwrap();
    all
}

/// Largest difference, relative to the largest magnitude of `expected`.
pub fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, &x| m.max(f64::from(x).abs()));
    let differences = found.iter().zip(expected).map(|(&a, &b)| {
        let difference = (f64::from(a) - f64::from(b)).abs();
        // A NaN is as far away as can be.
        if difference.is_nan() { f64::INFINITY } else { difference }
    });
    differences.fold(0.0, f64::max) / largest
}

/// The same bits, or where they differ first.
pub fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits()) {
        panic!("{what}: value {at} of {}: {} is not {}", found.len(), found[at], expected[at]);
    }
}
