//! Our encoders against ggml's, on the same values and by the same measure.
//!
//! `simd/tests/ggml/build.sh` builds the judge; `FATHOM_GGML_ORACLE` names the folder it is in. Both encoders' bytes
//! are decoded by ggml, so that a wrong layout of ours shows as an error beyond all measure. The measure is
//! `sum(importance * (x - decoded)^2)`, with importance 1 where ggml is given none.

use fathom_gguf::TensorType;
use fathom_quantize::encode::Encoding;
use fathom_simd::Kernels;
use libloading::{Library, Symbol, library_filename};
use std::env;
use std::ffi::c_void;
use std::path::Path;

const N_ROWS: usize = 24;
const N_COLS: usize = 4096;

/// Every block format but `q8_0`, whose bytes are ggml's own.
const SEARCHED: [Encoding; 10] = [
    Encoding::Q8K,
    Encoding::Q6K,
    Encoding::Q5_1,
    Encoding::Q5_0,
    Encoding::Q5K,
    Encoding::Q4_1,
    Encoding::Q4_0,
    Encoding::Q4K,
    Encoding::Q3K,
    Encoding::Q2K,
];

type QuantizeChunk = unsafe extern "C" fn(i32, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
type QuantizeRow = unsafe extern "C" fn(*const f32, *mut c_void, i64);
type DequantizeRow = unsafe extern "C" fn(*const c_void, *mut f32, i64);

struct Ggml(Library);

impl Ggml {
    /// `None`, loudly, if there is no judge.
    fn load() -> Option<Ggml> {
        let Some(folder) = env::var_os("FATHOM_GGML_ORACLE") else {
            let required = env::var_os("FATHOM_REQUIRE_ORACLES").is_some_and(|value| !value.is_empty());
            assert!(!required, "FATHOM_REQUIRE_ORACLES is set, and FATHOM_GGML_ORACLE is not");
            eprintln!(
                "SKIPPED: FATHOM_GGML_ORACLE is not set; simd/tests/ggml/build.sh builds what it names"
            );
            return None;
        };
        let file = Path::new(&folder).join(library_filename("ggml-base"));
        // SAFETY: the library is the one that build.sh made: its initialisers only set up tables.
        let library = unsafe { Library::new(&file) };
        Some(Ggml(library.unwrap_or_else(|e| panic!("{}: {e}", file.display()))))
    }

    fn encode(&self, encoding: Encoding, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
        let rows = (values.len() / N_COLS) as u64;
        let bytes = (encoding.row_bytes(N_COLS).unwrap() * rows) as usize;
        let mut out = vec![0u8; bytes];
        let id = i32::try_from(encoding.tensor_type().id()).unwrap();
        if encoding == Encoding::Q8K {
            // Not among the types of ggml_quantize_chunk, which files are made with; it knows no importance.
            // SAFETY: the signature is that of ggml-quants.h; `out` holds the blocks of `values`.
            unsafe {
                let quantize: Symbol<'_, QuantizeRow> = self.0.get(b"quantize_row_q8_K_ref\0").unwrap();
                quantize(values.as_ptr(), out.as_mut_ptr().cast(), values.len() as i64);
            }
            return out;
        }
        let weights = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: the signature is that of ggml.h at the pinned version; `values` holds `rows` rows of `N_COLS`, `out` the
        // bytes they take, and `weights` is null or one row.
        let written = unsafe {
            let quantize: Symbol<'_, QuantizeChunk> = self.0.get(b"ggml_quantize_chunk\0").unwrap();
            let (from, to) = (values.as_ptr(), out.as_mut_ptr().cast());
            quantize(id, from, to, 0, rows as i64, N_COLS as i64, weights)
        };
        assert_eq!(written, bytes);
        out
    }

    fn decode(&self, encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
        let ty = encoding.tensor_type();
        let mut out = vec![0f32; bytes.len() / ty.block_bytes() * ty.block_len()];
        // K formats are spelled q4_K there.
        let name = format!("dequantize_row_{}\0", ty.name().replace("_k", "_K"));
        // SAFETY: the signature is that of ggml-quants.h; `bytes` holds the blocks of `out.len()` values.
        unsafe {
            let dequantize: Symbol<'_, DequantizeRow> = self.0.get(name.as_bytes()).unwrap();
            dequantize(bytes.as_ptr().cast(), out.as_mut_ptr(), out.len() as i64);
        }
        out
    }
}

fn gaussian(rng: &mut fastrand::Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.f64()).cos()) as f32
}

/// Student's t with three degrees of freedom: a few values in each block are many times the others.
fn heavy_tailed(rng: &mut fastrand::Rng) -> f32 {
    let square: f32 = (0..3).map(|_| gaussian(rng).powi(2)).sum();
    gaussian(rng) / (square / 3.0).sqrt().max(1e-3)
}

/// What the published checkpoint holds: 4 significant bits (E4M3), one power-of-two scale for 128 values.
fn fp8_grid(values: &mut [f32]) {
    for block in values.chunks_mut(128) {
        let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        let scale = (largest / 448.0).log2().ceil().exp2();
        for value in block {
            let exponent = (*value / scale).abs().max(2f32.powi(-6)).log2().floor();
            let step = (exponent - 3.0).exp2() * scale;
            *value = (*value / step).round_ties_even() * step;
        }
    }
}

/// Values of a weight's usual size, by name.
fn data(name: &str) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(7);
    let n = N_ROWS * N_COLS;
    let mut values: Vec<f32> = match name {
        "heavy" => (0..n).map(|_| heavy_tailed(&mut rng) * 0.01).collect(),
        _ => (0..n).map(|_| gaussian(&mut rng) * 0.02).collect(),
    };
    if name == "fp8" {
        fp8_grid(&mut values);
    }
    values
}

/// Mean squares of activations: most columns alike, a few many times as large.
fn column_importance() -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(11);
    (0..N_COLS).map(|_| (1.2 * gaussian(&mut rng)).exp()).collect()
}

fn error(values: &[f32], decoded: &[f32], importance: Option<&[f32]>) -> f64 {
    let weight = |at: usize| importance.map_or(1.0, |w| f64::from(w[at % w.len()]));
    values
        .iter()
        .zip(decoded)
        .enumerate()
        .map(|(at, (x, y))| weight(at) * (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

#[test]
fn errors_are_not_above_ggmls() {
    let Some(ggml) = Ggml::load() else { return };
    let importance = column_importance();
    let mut worse = Vec::new();
    println!("our error / ggml's      gauss  heavy    fp8   with importance: gauss  heavy    fp8");
    for encoding in SEARCHED {
        print!("{encoding:<22}");
        for importance in [None, Some(importance.as_slice())] {
            for name in ["gauss", "heavy", "fp8"] {
                let values = data(name);
                let theirs = ggml.decode(encoding, &ggml.encode(encoding, &values, importance));
                let mut bytes = Vec::new();
                encoding.encode_rows(Kernels::best(), &values, importance, &mut bytes).unwrap();
                let ours = ggml.decode(encoding, &bytes);
                let ratio = error(&values, &ours, importance) / error(&values, &theirs, importance);
                print!(" {ratio:6.4}");
                if ratio > 1.0 {
                    let with = if importance.is_some() { "with" } else { "without" };
                    worse.push(format!("{encoding}, {name}, {with} importance: {ratio:.4}"));
                }
            }
            print!("                  ");
        }
        println!();
    }
    assert!(worse.is_empty(), "larger errors than ggml's:\n{}", worse.join("\n"));
}

/// Bytes, not only errors: there is nothing to choose in these.
#[test]
fn types_without_a_search_are_ggmls_byte_for_byte() {
    let Some(ggml) = Ggml::load() else { return };
    let values = data("heavy");
    for encoding in [Encoding::Q8_0, Encoding::F16, Encoding::BF16] {
        let mut bytes = Vec::new();
        encoding.encode(Kernels::best(), &values, &mut bytes).unwrap();
        assert!(bytes == ggml.encode(encoding, &values, None), "{encoding}");
    }
}

#[test]
fn every_block_format_is_judged() {
    for encoding in Encoding::ALL {
        let plain = encoding.tensor_type().block_len() == 1 || encoding.tensor_type() == TensorType::Q8_0;
        assert_ne!(plain, SEARCHED.contains(&encoding), "{encoding}");
    }
}
