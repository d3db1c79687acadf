//! Products beside ggml's, on one thread, in one run: `A B A B`, so that whatever else the machine does meets both.
//!
//! ```text
//! FATHOM_GGML_NATIVE=$(simd/tests/ggml/build.sh --native) cargo bench -p fathom-simd --bench rival [-- q4_k ...]
//! ```
//!
//! ggml computes `ggml_mul_mat` on its CPU backend, built for this machine, with its weights as they lie in the file and
//! once more repacked by itself where it has a layout for the type. Both sides are given floats and encode them. "gemv"
//! is one token and matrices that no cache holds together; "gemm" is 256 tokens. The ratio is our speed over the better
//! of ggml's, of the best parts: runs are short, because long ones are interrupted by whatever else the machine does.

use std::ffi::c_void;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use fathom_simd::{Acts, Format, Kernels, Pick, Q8Acts, Rows};
use libloading::{Library, Symbol};

const N_COLS: usize = 7168;
/// Each side's turns.
const ROUNDS: usize = 5;

fn main() {
    let Some(folder) = std::env::var_os("FATHOM_GGML_NATIVE") else {
        let required = std::env::var_os("FATHOM_REQUIRE_ORACLES").is_some_and(|value| !value.is_empty());
        assert!(!required, "FATHOM_REQUIRE_ORACLES is set, and FATHOM_GGML_NATIVE is not");
        eprintln!(
            "SKIPPED: FATHOM_GGML_NATIVE is not set; simd/tests/ggml/build.sh --native builds what it names"
        );
        return;
    };
    let ggml = Ggml::load(folder.as_ref());
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let kernels = Kernels::from_env().expect("FATHOM_SIMD");
    println!("ours: {}", kernels.level());
    println!("{:8} {:6} {:>11} {:>11} {:>11} {:>8}  unit", "type", "", "ours", "ggml", "repacked", "ratio");
    // ggml has no products with weights in Q8_K.
    for format in Format::ALL.into_iter().skip(3).filter(|&format| format != Format::Q8K) {
        if !words.is_empty() && !words.iter().any(|word| word == format.name()) {
            continue;
        }
        compare(&ggml, kernels, format, 1);
        compare(&ggml, kernels, format, 256);
    }
}

fn compare(ggml: &Ggml, kernels: &Kernels, format: Format, n_tokens: usize) {
    // For one token matrices of 256 rows, together beyond a third-level cache; otherwise one that stays in the second.
    let (n_rows, n_parts) = match n_tokens {
        1 => (256, (if short() { 8 << 20 } else { 96 << 20 } / (256 * format.row_bytes(N_COLS))).max(1)),
        _ => (64, 1),
    };
    let all = blocks(format, n_parts * n_rows * N_COLS / format.block_len());
    let mut random = Rng::with_seed(5);
    let x: Vec<f32> = (0..n_tokens * N_COLS).map(|_| random.f32() * 2.0 - 1.0).collect();
    let shape = Shape { format, n_rows, n_tokens };
    let parts = all.chunks_exact(n_rows * format.row_bytes(N_COLS));
    let x = &x;
    let product = |repack| parts.clone().map(move |bytes| Product::new(ggml, shape, bytes, x, repack));
    let mut plain: Vec<_> = product(false).collect();
    let mut repacked: Vec<_> = if repacks(format) { product(true).collect() } else { Vec::new() };
    let mut ours: Vec<_> = parts
        .clone()
        .map(|bytes| Ours::new(kernels, Rows::new(format, bytes, n_rows, N_COLS), n_tokens))
        .collect();
    let mut best = [f64::INFINITY; 3];
    let n_rounds = if short() { 1 } else { ROUNDS * (96 / n_parts).max(1) };
    for _ in 0..n_rounds {
        best[0] = ours.iter_mut().map(|part| seconds(|| part.run(x))).fold(best[0], f64::min);
        best[1] = plain.iter_mut().map(|part| seconds(|| part.run())).fold(best[1], f64::min);
        best[2] = repacked.iter_mut().map(|part| seconds(|| part.run())).fold(best[2], f64::min);
    }
    for (part, ours) in ours.iter().enumerate() {
        for theirs in [plain.get(part), repacked.get(part)].into_iter().flatten() {
            let far = distance(&ours.out, theirs.out());
            assert!(far < 0.03, "{}: {far} away from ggml", format.name());
        }
    }
    let (name, unit, work) = match n_tokens {
        1 => ("gemv", "GB/s", all.len() / n_parts),
        _ => ("gemm", "GMAC/s", n_tokens * n_rows * N_COLS),
    };
    let rates = best.map(|seconds| work as f64 / seconds / 1e9);
    let ratio = rates[0] / rates[1].max(rates[2]);
    let [ours, plain, repacked] = rates;
    println!("{:8} {name:6} {ours:11.2} {plain:11.2} {repacked:11.2} {ratio:8.2}  {unit}", format.name());
}

/// Whether only the checks count: `FATHOM_BENCH_SHORT=1`.
fn short() -> bool {
    std::env::var_os("FATHOM_BENCH_SHORT").is_some_and(|value| !value.is_empty())
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Root mean square of the difference, against that of what is expected.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x).powi(2);
    let missed: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (missed / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

/// Random quants, and scales around 0.01; a few thousand different blocks, repeated.
fn blocks(format: Format, n: usize) -> Vec<u8> {
    let (mut random, bytes) = (Rng::with_seed(n as u64), format.block_bytes());
    let scales: &[usize] = match format {
        Format::Q2K => &[bytes - 4, bytes - 2],
        Format::Q3K | Format::Q6K => &[bytes - 2],
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => &[0],
        _ => &[0, 2],
    };
    let mut blocks = vec![0; n.min(4096) * bytes];
    blocks.fill_with(|| random.u8(..));
    for block in blocks.chunks_exact_mut(bytes) {
        for &at in scales {
            block[at..at + 2].copy_from_slice(&[random.u8(..), 0x20]);
        }
    }
    blocks.into_iter().cycle().take(n * bytes).collect()
}

struct Ours<'a> {
    kernels: &'a Kernels,
    w: Rows<'a>,
    values: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<[i16; 2]>,
    out: Vec<f32>,
    n_tokens: usize,
}

impl<'a> Ours<'a> {
    fn new(kernels: &'a Kernels, w: Rows<'a>, n_tokens: usize) -> Self {
        let n = n_tokens * w.n_cols;
        Self {
            kernels,
            w,
            values: vec![0; n],
            scales: vec![0.0; n / 32],
            sums: vec![[0; 2]; n / 32],
            out: vec![0.0; n_tokens * w.n_rows],
            n_tokens,
        }
    }

    fn run(&mut self, x: &[f32]) {
        self.kernels.encode_q8(black_box(x), &mut self.values, &mut self.scales, &mut self.sums);
        let acts =
            Q8Acts { values: &self.values, scales: &self.scales, sums: &self.sums, stride: self.w.n_cols };
        self.kernels.product(self.w, Acts::Q8(acts), Pick::First(self.n_tokens), &mut self.out);
    }
}

/// `ggml_init_params`.
#[repr(C)]
struct InitParams {
    mem_size: usize,
    mem_buffer: *mut c_void,
    no_alloc: bool,
}

/// `ggml_cplan`.
#[repr(C)]
struct Plan {
    work_size: usize,
    work_data: *mut u8,
    n_threads: i32,
    threadpool: *mut c_void,
    abort_callback: *mut c_void,
    abort_callback_data: *mut c_void,
    use_ref: bool,
}

type Ptr = *mut c_void;

/// ggml's functions, as ggml.h, ggml-cpu.h, ggml-alloc.h and ggml-backend.h of the pinned version declare them.
struct Ggml {
    base: Library,
    cpu: Library,
}

impl Ggml {
    fn load(folder: &Path) -> Self {
        let open = |name: &str| {
            let path = folder.join(name);
            // SAFETY: ggml's initialisers touch nothing of ours.
            unsafe { Library::new(&path) }.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        // The second finds the first by its name, because that is loaded already.
        Self { base: open("libggml-base.so"), cpu: open("libggml-cpu.so") }
    }

    /// A function of either library.
    ///
    /// # Safety
    /// `F` is the function's type.
    unsafe fn get<F: Copy>(&self, name: &str) -> F {
        // SAFETY: the caller knows the type.
        let found: Result<Symbol<'_, F>, _> = unsafe { self.base.get(name.as_bytes()) };
        // SAFETY: as above.
        *found.or_else(|_| unsafe { self.cpu.get(name.as_bytes()) }).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

#[derive(Clone, Copy)]
struct Shape {
    format: Format,
    n_rows: usize,
    n_tokens: usize,
}

/// `ggml_mul_mat` of one matrix with some tokens, ready to be computed. Nothing is freed: the program ends soon.
struct Product<'g> {
    ggml: &'g Ggml,
    graph: Ptr,
    plan: Plan,
    _work: Vec<u8>,
    out: *const f32,
    len: usize,
}

impl<'g> Product<'g> {
    fn new(ggml: &'g Ggml, shape: Shape, weights: &[u8], x: &[f32], repack: bool) -> Self {
        let Shape { format, n_rows, n_tokens } = shape;
        // SAFETY: signatures are those of the headers; contexts have room for what is made in them; data that is copied
        // in is as long as the tensors, whose shapes are the ones given.
        unsafe {
            let init: unsafe extern "C" fn(InitParams) -> Ptr = ggml.get("ggml_init");
            let tensor: unsafe extern "C" fn(Ptr, i32, i64, i64) -> Ptr = ggml.get("ggml_new_tensor_2d");
            let data: unsafe extern "C" fn(Ptr) -> *mut c_void = ggml.get("ggml_get_data");
            let context = |mem_size, no_alloc| {
                init(InitParams { mem_size, mem_buffer: std::ptr::null_mut(), no_alloc })
            };
            let room = 1 << 20;
            let shape_of = |ctx| tensor(ctx, type_id(format), N_COLS as i64, n_rows as i64);
            let w = if repack {
                let ctx = context(room, true);
                let w = shape_of(ctx);
                ggml.fill_repacked(ctx, w, weights);
                w
            } else {
                let w = shape_of(context(weights.len() + room, false));
                data(w).cast::<u8>().copy_from_nonoverlapping(weights.as_ptr(), weights.len());
                w
            };
            let len = n_rows * n_tokens;
            let ctx = context(4 * (x.len() + len) + room, false);
            let input = tensor(ctx, 0, N_COLS as i64, n_tokens as i64);
            data(input).cast::<f32>().copy_from_nonoverlapping(x.as_ptr(), x.len());
            let mul_mat: unsafe extern "C" fn(Ptr, Ptr, Ptr) -> Ptr = ggml.get("ggml_mul_mat");
            let new_graph: unsafe extern "C" fn(Ptr) -> Ptr = ggml.get("ggml_new_graph");
            let expand: unsafe extern "C" fn(Ptr, Ptr) = ggml.get("ggml_build_forward_expand");
            let make_plan: unsafe extern "C" fn(Ptr, i32, Ptr) -> Plan = ggml.get("ggml_graph_plan");
            let (product, graph) = (mul_mat(ctx, w, input), new_graph(ctx));
            expand(graph, product);
            let mut plan = make_plan(graph, 1, std::ptr::null_mut());
            let mut work = vec![0; plan.work_size];
            plan.work_data = work.as_mut_ptr();
            let mut made =
                Self { ggml, graph, plan, _work: work, out: data(product).cast_const().cast(), len };
            made.run();
            made
        }
    }

    fn run(&mut self) {
        // SAFETY: the signature is the header's; graph and plan belong together, and the work buffer is still there.
        let status = unsafe {
            let compute: unsafe extern "C" fn(Ptr, *mut Plan) -> i32 = self.ggml.get("ggml_graph_compute");
            compute(self.graph, &mut self.plan)
        };
        assert_eq!(status, 0, "ggml_graph_compute");
    }

    fn out(&self) -> &[f32] {
        // SAFETY: the product's own memory, which nobody writes while this borrow lasts.
        unsafe { std::slice::from_raw_parts(self.out, self.len) }
    }
}

impl Ggml {
    /// Gives a context's only tensor a buffer in which ggml lays weights out anew as they come in.
    ///
    /// # Safety
    /// `w` is that tensor, of a type that [`repacks`] names; `weights` are its bytes.
    unsafe fn fill_repacked(&self, ctx: Ptr, w: Ptr, weights: &[u8]) {
        // SAFETY: signatures are those of the headers. The buffer type's is C++ (repack.h), without arguments.
        unsafe {
            let buffer_type: unsafe extern "C" fn() -> Ptr =
                self.get("_Z35ggml_backend_cpu_repack_buffer_typev");
            let alloc: unsafe extern "C" fn(Ptr, Ptr) -> Ptr =
                self.get("ggml_backend_alloc_ctx_tensors_from_buft");
            let set: unsafe extern "C" fn(Ptr, *const u8, usize, usize) = self.get("ggml_backend_tensor_set");
            assert!(!alloc(ctx, buffer_type()).is_null(), "no repacking buffer");
            set(w, weights.as_ptr(), 0, weights.len());
        }
    }
}

/// Types for which ggml has another layout on any x86 with AVX2.
fn repacks(format: Format) -> bool {
    matches!(format, Format::Q4_0 | Format::Q4K)
}

/// `enum ggml_type`.
fn type_id(format: Format) -> i32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q5_0 => 6,
        Format::Q5_1 => 7,
        Format::Q8_0 => 8,
        Format::Q2K => 10,
        Format::Q3K => 11,
        Format::Q4K => 12,
        Format::Q5K => 13,
        Format::Q6K => 14,
        Format::Q8K => 15,
        Format::BF16 => 30,
    }
}
