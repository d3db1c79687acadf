//! Speed of every kernel id on every level of this machine, on one thread.
//!
//! `cargo bench -p fathom-simd` measures everything; words after `--` keep the ids that contain all of them
//! (`cargo bench -p fathom-simd -- product avx512`). The memory rows come first: a matrix-vector product cannot be
//! faster than what one core reads. The scalar level is always among the competitors. Every row checks what it
//! computed against the scalar level, on a part small enough for it.
//!
//! `FATHOM_BENCH_SHORT=1` makes a run of seconds: everything is computed and checked as always, on less memory, and the figures
//! mean nothing. A test (`tests/level.rs`) holds the list of ops against the kernels' table.
//!
//! Figures are the best of several runs over at least a quarter of a second. Bytes are weight (or cache) bytes for
//! matrix work and all bytes in and out for vectors; a MAC is one multiplication with its addition.

use std::hint::black_box;
use std::time::{Duration, Instant};

use fastrand::Rng;
use fathom_simd::{
    ActKind, Acts, Attend, F32Acts, Format, IndexScores, Kernels, Level, Pick, Q8Acts, Q8IndexScores, Q8Keys,
    Rows, top_k,
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |id: &str| words.iter().all(|word| id.contains(word.as_str()));
    println!("{:32} {:26} {:>12} {:>10} {:>10}", "kernel", "size", "time", "GB/s", "GMAC/s");
    memory();
    for kernels in Kernels::available() {
        for id in kernels.ids().filter(|id| wanted(id)) {
            let stem = &id[..id.len() - kernels.level().name().len() - 1];
            let (op, format) = stem.split_once('-').unwrap_or((stem, "f32"));
            let format = Format::from_name(format).expect("a format of the table");
            let bench = bench_of(op).unwrap_or_else(|| panic!("{op}: no bench"));
            bench(&Bench { id: &id, kernels, format }, op);
        }
    }
    if wanted("top_k") {
        bench_top_k();
    }
}

/// One kernel of one level, and what to call it.
pub struct Bench<'a> {
    id: &'a str,
    kernels: &'static Kernels,
    format: Format,
}

/// Whether only the checks count.
fn short() -> bool {
    std::env::var_os("FATHOM_BENCH_SHORT").is_some_and(|value| !value.is_empty())
}

/// Seconds of the best run. The work of one run should stay below a few milliseconds: longer ones are interrupted
/// by whatever else the machine does.
fn measure(mut f: impl FnMut()) -> f64 {
    measure_parts(1, |_| f())
}

/// Seconds of the best part, parts taken in turn.
fn measure_parts(n_parts: usize, mut f: impl FnMut(usize)) -> f64 {
    (0..n_parts).for_each(&mut f);
    let (mut best, start) = (f64::INFINITY, Instant::now());
    let enough = Duration::from_millis(if short() { 0 } else { 250 });
    while best.is_infinite() || start.elapsed() < enough {
        for part in 0..n_parts {
            let start = Instant::now();
            f(part);
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

fn row(id: &str, size: &str, seconds: f64, bytes: usize, macs: usize) {
    let rate = |n: usize| if n == 0 { "-".to_owned() } else { format!("{:.2}", n as f64 / seconds / 1e9) };
    println!("{id:32} {size:26} {:9.3} us {:>10} {:>10}", seconds * 1e6, rate(bytes), rate(macs));
}

impl Bench<'_> {
    fn row(&self, size: &str, seconds: f64, bytes: usize, macs: usize) {
        row(self.id, size, seconds, bytes, macs);
    }

    /// Smaller work for the level that takes a thousand times as long.
    fn scaled(&self, n: usize) -> usize {
        if self.kernels.level() == Level::Scalar { n.div_ceil(32) } else { n }
    }
}

fn scalar() -> &'static Kernels {
    Kernels::at(Level::Scalar).expect("the scalar level is everywhere")
}

fn memory() {
    let (n, part) = (if short() { 8 << 20 } else { 256 << 20 }, 2 << 20);
    let size = format!("2 MiB of {} MiB", n >> 20);
    let from: Vec<u64> = (0..n as u64 / 8).collect();
    let seconds = measure_parts(n / part, |at| {
        let from = &black_box(&from)[at * part / 8..][..part / 8];
        let sums = from.chunks_exact(32).fold([0_u64; 32], |mut sums, chunk| {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = sum.wrapping_add(*x));
            sums
        });
        black_box(sums);
    });
    row("memory-read", &size, seconds, part, 0);
    let mut to = vec![0; part / 8];
    let seconds =
        measure_parts(n / part, |at| to.copy_from_slice(&black_box(&from)[at * part / 8..][..part / 8]));
    assert_eq!(to, from[from.len() - to.len()..]);
    row("memory-copy", &size, seconds, 2 * part, 0);
}

fn floats(n: usize) -> Vec<f32> {
    let mut random = Rng::with_seed(n as u64);
    (0..n).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Rows of a format; a few different ones, repeated.
fn weights(format: Format, n_rows: usize, n_cols: usize) -> Vec<u8> {
    if format.weights_only() {
        return blocks(format, n_rows * n_cols / format.block_len());
    }
    let mut rows = Vec::new();
    for x in floats(n_rows.min(64) * n_cols).chunks_exact(n_cols) {
        let mut row = vec![0; format.row_bytes(n_cols)];
        Kernels::best().encode_row(format, x, &mut row);
        rows.extend(row);
    }
    rows.into_iter().cycle().take(n_rows * format.row_bytes(n_cols)).collect()
}

/// Blocks with random quants and a float around 0.01 wherever one may lie; a few different ones, repeated.
fn blocks(format: Format, n: usize) -> Vec<u8> {
    let mut random = Rng::with_seed(n as u64);
    let bytes = format.block_bytes();
    let (scales, top): (&[usize], u8) = match format {
        Format::Q2K | Format::Q3K | Format::Q6K => (&[bytes - 4, bytes - 2], 0x20),
        // The upper half of a 32-bit float.
        Format::Q8K => (&[2], 0x3c),
        _ => (&[0, 2], 0x20),
    };
    let mut blocks = vec![0; n.min(4096) * bytes];
    blocks.fill_with(|| random.u8(..));
    for block in blocks.chunks_exact_mut(bytes) {
        for &at in scales {
            block[at..at + 2].copy_from_slice(&[random.u8(..), top]);
        }
    }
    blocks.into_iter().cycle().take(n * bytes).collect()
}

/// What measures an op of the table; every one of them has something.
pub fn bench_of(op: &str) -> Option<fn(&Bench<'_>, &str)> {
    Some(match op {
        "product" => bench_products,
        "encode_row" => |b, _| bench_encode_row(b),
        "decode_row" => |b, _| bench_decode_row(b),
        "index_scores" => |b, _| bench_index_scores(b),
        "index_scores_q8" => |b, _| bench_index_scores_q8(b),
        "index_query" | "store_index_key" => bench_index_row,
        "attend" => |b, _| {
            for (n_heads, n_rows) in [(128, 256), (64, 2048), (32, 2048), (8, 2048)] {
                bench_attend(b, n_heads, n_rows);
            }
        },
        "attend_fold" | "attend_end" => bench_attend_part,
        "encode_q8" => |b, _| bench_encode_q8(b),
        "int_peak" => |b, _| bench_int_peak(b),
        "decode_e4m3" => |b, _| bench_decode_e4m3(b),
        "to_lanes" | "fit_totals" | "fit_scale" | "fit_line" | "fit_error" | "fit_quants"
        | "nearest_scale" | "nearest_line" => bench_fit,
        "rms_norm" | "layer_norm" | "swiglu" | "softmax" | "sigmoid" | "add" | "axpy" | "rope_pairs"
        | "rope_halves" | "hadamard" => bench_vector,
        _ => return None,
    })
}

fn bench_products(b: &Bench<'_>, _: &str) {
    bench_gemv(b);
    bench_product(b, b.scaled(512), b.format.block_len().max(128), 1);
    for n_tokens in [1, 2, 4, 16, 64, 256] {
        bench_product(b, b.scaled(128), 7168, n_tokens);
    }
    bench_product(b, b.scaled(128), 512, 64);
}

struct Tokens {
    values: Vec<f32>,
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<[i16; 2]>,
    stride: usize,
}

impl Tokens {
    fn new(n_tokens: usize, n_cols: usize) -> Self {
        let values = floats(n_tokens * n_cols);
        let n = values.len();
        let (mut quants, mut scales, mut sums) = (vec![0; n], vec![0.0; n / 32], vec![[0; 2]; n / 32]);
        scalar().encode_q8(&values, &mut quants, &mut scales, &mut sums);
        Self { values, quants, scales, sums, stride: n_cols }
    }

    fn acts(&self, format: Format) -> Acts<'_> {
        let (values, scales, sums, stride) =
            (&self.quants[..], &self.scales[..], &self.sums[..], self.stride);
        match format.acts() {
            ActKind::Q8 => Acts::Q8(Q8Acts { values, scales, sums, stride }),
            ActKind::F32 => Acts::F32(F32Acts { values: &self.values, stride }),
        }
    }
}

/// One token, a matrix of a quarter of a gigabyte, 256 rows at a time: what decoding does.
fn bench_gemv(b: &Bench<'_>) {
    let (part, n_cols) = (b.scaled(256), 7168);
    let n_bytes = b.scaled(if short() { 8 << 20 } else { 128 << 20 });
    let n_parts = (n_bytes / (part * b.format.row_bytes(n_cols))).max(1);
    let bytes = weights(b.format, n_parts * part, n_cols);
    let tokens = Tokens::new(1, n_cols);
    let (w, x) = (Rows::new(b.format, &bytes, n_parts * part, n_cols), tokens.acts(b.format));
    let mut out = vec![0.0; part];
    let seconds = measure_parts(n_parts, |at| {
        b.kernels.product(w.slice(at * part..(at + 1) * part), x, Pick::First(1), &mut out);
    });
    let mut expected = vec![0.0; 4];
    scalar().product(
        w.slice((n_parts - 1) * part..(n_parts - 1) * part + 4),
        x,
        Pick::First(1),
        &mut expected,
    );
    assert_eq!(out[..4], expected);
    b.row(&format!("gemv {n_cols}, from memory"), seconds, bytes.len() / n_parts, part * n_cols);
}

fn bench_product(b: &Bench<'_>, n_rows: usize, n_cols: usize, n_tokens: usize) {
    let bytes = weights(b.format, n_rows, n_cols);
    let tokens = Tokens::new(n_tokens, n_cols);
    let (w, x) = (Rows::new(b.format, &bytes, n_rows, n_cols), tokens.acts(b.format));
    let mut out = vec![0.0; n_tokens * n_rows];
    let seconds = measure(|| b.kernels.product(black_box(w), x, Pick::First(n_tokens), &mut out));
    let mut expected = vec![0.0; 4];
    scalar().product(w.slice(0..4), x, Pick::Rows(&[n_tokens as u32 - 1]), &mut expected);
    assert_eq!(out[(n_tokens - 1) * n_rows..][..4], expected);
    let size = format!("{n_rows}x{n_cols}, {n_tokens} tokens");
    b.row(&size, seconds, bytes.len(), n_tokens * n_rows * n_cols);
}

fn bench_encode_row(b: &Bench<'_>) {
    let x = floats(7168);
    let (mut out, mut expected) = (vec![0; b.format.row_bytes(7168)], vec![0; b.format.row_bytes(7168)]);
    let seconds = measure(|| b.kernels.encode_row(b.format, black_box(&x), &mut out));
    scalar().encode_row(b.format, &x, &mut expected);
    assert_eq!(out, expected);
    b.row("7168", seconds, 4 * 7168 + out.len(), 0);
}

fn bench_decode_row(b: &Bench<'_>) {
    let row = weights(b.format, 1, 7168);
    let (mut out, mut expected) = (vec![0.0; 7168], vec![0.0; 7168]);
    let seconds = measure(|| b.kernels.decode_row(b.format, black_box(&row), &mut out));
    b.format.decode(&row, &mut expected);
    assert_eq!(out, expected);
    b.row("7168", seconds, 4 * 7168 + row.len(), 0);
}

fn bench_index_scores(b: &Bench<'_>) {
    let (n_heads, dim, n_keys) = (64, 128, b.scaled(4096));
    let bytes = weights(b.format, n_keys, dim);
    let (q, head_weights) = (floats(n_heads * dim), floats(n_heads));
    let keys = Rows::new(b.format, &bytes, n_keys, dim);
    let mut out = vec![0.0; n_keys];
    let scan = |kernels: &Kernels, keys, out: &mut [f32]| {
        kernels.index_scores(IndexScores { q: &q, weights: &head_weights, keys }, out);
    };
    let seconds = measure(|| scan(b.kernels, black_box(keys), &mut out));
    let mut expected = vec![0.0; 8];
    scan(scalar(), keys.slice(0..8), &mut expected);
    assert_eq!(out[..8], expected);
    b.row(&format!("{n_keys} keys"), seconds, bytes.len(), n_keys * n_heads * dim);
}

fn bench_index_scores_q8(b: &Bench<'_>) {
    let (n_heads, dim, n_keys) = (64, 128, b.scaled(4096));
    let n_blocks = n_keys.div_ceil(Q8Keys::PER_BLOCK);
    let mut bytes = vec![0; n_blocks * Q8Keys::block_bytes(dim)];
    for (at, key) in floats(n_keys * dim).chunks_exact(dim).enumerate() {
        let block = &mut bytes[at / Q8Keys::PER_BLOCK * Q8Keys::block_bytes(dim)..];
        let block = &mut block[..Q8Keys::block_bytes(dim)];
        scalar().store_index_key(key, at % Q8Keys::PER_BLOCK, block);
    }
    let (mut q, mut sums) = (vec![0; n_heads * dim], Vec::new());
    for (values, q) in floats(n_heads * dim).chunks_exact(dim).zip(q.chunks_exact_mut(dim)) {
        sums.push(scalar().index_query(values, q).sum);
    }
    let weights = floats(n_heads);
    let scan = |kernels: &Kernels, bytes, out: &mut [f32]| {
        let keys = Q8Keys { bytes, n_keys: out.len(), dim };
        kernels.index_scores_q8(Q8IndexScores { q: &q, sums: &sums, weights: &weights, keys }, out);
    };
    let mut out = vec![0.0; n_keys];
    let seconds = measure(|| scan(b.kernels, black_box(&bytes), &mut out));
    let mut expected = vec![0.0; 8];
    scan(scalar(), &bytes[..Q8Keys::block_bytes(dim)], &mut expected);
    assert_eq!(out[..8], expected);
    b.row(&format!("{n_keys} keys"), seconds, bytes.len(), n_keys * n_heads * dim);
}

fn bench_index_row(b: &Bench<'_>, op: &str) {
    let dim = 128;
    let x = floats(dim);
    let (mut q, mut block) = (vec![0; dim], vec![0; Q8Keys::block_bytes(dim)]);
    let seconds = measure(|| match op {
        "index_query" => _ = black_box(b.kernels.index_query(black_box(&x), &mut q)),
        _ => b.kernels.store_index_key(black_box(&x), 3, &mut block),
    });
    let (mut expected, mut expected_block) = (vec![0; dim], vec![0; Q8Keys::block_bytes(dim)]);
    match op {
        "index_query" => _ = scalar().index_query(&x, &mut expected),
        _ => scalar().store_index_key(&x, 3, &mut expected_block),
    }
    assert!(q == expected && block == expected_block);
    b.row(&dim.to_string(), seconds, 5 * dim, 0);
}

fn bench_attend(b: &Bench<'_>, n_heads: usize, n_rows: usize) {
    let (dim, v_dim, n_heads) = (576, 512, b.scaled(n_heads));
    let bytes = weights(b.format, n_rows, dim);
    let q = floats(n_heads * dim);
    let rows = Rows::new(b.format, &bytes, n_rows, dim);
    let pick: Vec<u32> = (0..n_rows as u32).collect();
    let attend = |kernels: &Kernels, q: &[f32], out: &mut [f32], scratch: &mut [f32]| {
        let a = Attend { q: black_box(q), rows, pick: Pick::Rows(&pick), scale: 0.1352338, v_dim };
        kernels.attend(a, scratch, out);
    };
    let mut out = vec![0.0; n_heads * v_dim];
    let mut scratch = vec![0.0; Attend::scratch_len(n_heads, dim)];
    let seconds = measure(|| attend(b.kernels, &q, &mut out, &mut scratch));
    let mut expected = vec![0.0; v_dim];
    attend(scalar(), &q[..dim], &mut expected, &mut scratch);
    assert_eq!(out[..v_dim], expected);
    let size = format!("{n_heads} heads, {n_rows} rows");
    b.row(&size, seconds, bytes.len(), n_heads * n_rows * (dim + v_dim));
}

/// What joins the segments of all heads of a token.
fn bench_attend_part(b: &Bench<'_>, op: &str) {
    let (n_heads, v_dim) = (128, 512);
    let part_len = Attend::part_len(v_dim);
    let (part, total) = (floats(n_heads * part_len), floats(n_heads * part_len + 1).split_off(1));
    let run = |kernels: &Kernels, out: &mut [f32]| match op {
        "attend_fold" => {
            out.copy_from_slice(&total);
            kernels.attend_fold(v_dim, black_box(&part), out);
        }
        _ => kernels.attend_end(v_dim, black_box(&total), &mut out[..n_heads * v_dim]),
    };
    let (mut out, mut expected) = (vec![0.0; total.len()], vec![0.0; total.len()]);
    let seconds = measure(|| run(b.kernels, black_box(&mut out)));
    run(scalar(), &mut expected);
    assert_eq!(out, expected);
    b.row(&format!("{n_heads} heads of {v_dim}"), seconds, 8 * total.len(), 0);
}

fn bench_encode_q8(b: &Bench<'_>) {
    let x = floats(7168);
    let encode = |kernels: &Kernels, out: &mut (Vec<i8>, Vec<f32>, Vec<[i16; 2]>)| {
        kernels.encode_q8(black_box(&x), &mut out.0, &mut out.1, &mut out.2);
    };
    let mut out = (vec![0; 7168], vec![0.0; 224], vec![[0; 2]; 224]);
    let mut expected = out.clone();
    let seconds = measure(|| encode(b.kernels, &mut out));
    encode(scalar(), &mut expected);
    assert_eq!(out, expected);
    b.row("7168", seconds, 5 * 7168 + 8 * 224, 0);
}

/// What the integer units can do at most.
fn bench_int_peak(b: &Bench<'_>) {
    let rounds = b.scaled(100_000);
    let (mut out, mut expected) = ([0; 16], [0; 16]);
    let seconds = measure(|| b.kernels.int_peak(black_box(rounds), &mut out));
    b.kernels.int_peak(7, &mut out);
    scalar().int_peak(7, &mut expected);
    assert_eq!(out, expected);
    b.row("registers only", seconds, 0, rounds * Kernels::INT_PEAK_MACS_PER_ROUND);
}

fn bench_decode_e4m3(b: &Bench<'_>) {
    let codes: Vec<u8> = (0..7168).map(|at| (at * 37 % 251) as u8 & 0x7e).collect();
    let (mut out, mut expected) = (vec![0.0; 7168], vec![0.0; 7168]);
    let seconds = measure(|| b.kernels.decode_e4m3(black_box(&codes), 0.37, &mut out));
    scalar().decode_e4m3(&codes, 0.37, &mut expected);
    assert_eq!(out, expected);
    b.row("7168", seconds, 5 * 7168, 0);
}

/// The parts of an encoder's search, on 16 sub-blocks of 32 values; bytes are the values' own, as floats.
fn bench_fit(b: &Bench<'_>, op: &str) {
    use fathom_simd::fit::{Lanes, Lines, NearestLine, NearestScale, Range, Residuals, Totals};
    let (n, values) = (32, floats(16 * 32));
    let (mut x, w) = (vec![[0.0; 16]; n], vec![[1.0; 16]; n]);
    scalar().to_lanes(&values, &mut x);
    let v = Lanes { x: &x, w: &w };
    let (range, unit) = (Range { low: -8.0, high: 7.0 }, [2e-3; 16]);
    let ideal = Lines { scale: [0.13; 16], offset: [-0.9; 16] };
    let units = Lines { scale: unit, offset: [0.01; 16] };
    let mut totals = Totals::default();
    scalar().fit_totals(v, &mut totals);
    let run = |kernels: &Kernels, out: &mut Vec<f32>| {
        let (mut lines, mut residuals, mut sums) = (Lines::default(), Residuals::default(), totals);
        let mut quants = [0; 16 * 32];
        match op {
            "to_lanes" => kernels.to_lanes(black_box(&values), out.as_chunks_mut().0),
            "fit_totals" => kernels.fit_totals(black_box(v), &mut sums),
            "fit_scale" => kernels.fit_scale(black_box(v), range, &[-8.0; 14], &mut lines.scale),
            "fit_line" => kernels.fit_line(black_box(v), 15.0, true, &[15.0; 12], &mut lines),
            "fit_error" => kernels.fit_error(black_box(v), &ideal, range, &mut residuals),
            "fit_quants" => kernels.fit_quants(black_box(v), &ideal, range, &mut quants),
            "nearest_scale" => {
                let scales = Range { low: -32.0, high: 31.0 };
                let near = NearestScale { ideal: &ideal.scale, unit: &unit, quants: range, scales };
                kernels.nearest_scale(black_box(v), near, &mut lines.scale, &mut residuals);
            }
            _ => {
                let near =
                    NearestLine { ideal: &ideal, unit: &units, totals: &totals, top: 15.0, most: 63.0 };
                kernels.nearest_line(black_box(v), near, &mut lines, &mut residuals);
            }
        }
        out[0] +=
            lines.scale[3] + lines.offset[2] + residuals.error[1] + sums.weighted[0] + f32::from(quants[7]);
    };
    let (mut out, mut expected) = (vec![0.0; 512], vec![0.0; 512]);
    run(b.kernels, &mut out);
    run(scalar(), &mut expected);
    assert_eq!(out, expected);
    let seconds = measure(|| run(b.kernels, &mut out));
    b.row("16 x 32", seconds, 4 * values.len(), 0);
}

/// Ops of one slice. What is computed in place starts from the same values each time, so the copy is measured too.
fn bench_vector(b: &Bench<'_>, op: &str) {
    let n = 8192;
    let (x, y) = (floats(n), floats(n + 1).split_off(1));
    let half = n / 2;
    let run = |kernels: &Kernels, out: &mut [f32]| match op {
        "rms_norm" => kernels.rms_norm(&x, &y, 1e-6, out),
        "layer_norm" => kernels.layer_norm(&x, &y, &x, 1e-6, out),
        "swiglu" => kernels.swiglu(&x, &y, out),
        _ => {
            out.copy_from_slice(&x);
            match op {
                "softmax" => kernels.softmax(out),
                "sigmoid" => kernels.sigmoid(out),
                "add" => kernels.add(out, &y),
                "axpy" => kernels.axpy(0.3, &y, out),
                "rope_pairs" => kernels.rope_pairs(out, &x[..half], &y[..half]),
                "rope_halves" => kernels.rope_halves(out, &x[..half], &y[..half]),
                "hadamard" => out.chunks_exact_mut(128).for_each(|out| kernels.hadamard(out)),
                _ => unreachable!("{op}: no op of a slice"),
            }
        }
    };
    let (mut out, mut expected) = (vec![0.0; n], vec![0.0; n]);
    let seconds = measure(|| run(b.kernels, black_box(&mut out)));
    run(scalar(), &mut expected);
    assert_eq!(out, expected);
    b.row(&format!("{n}"), seconds, 8 * n, 0);
}

fn bench_top_k() {
    for n in [32_768, 131_072] {
        let scores = floats(n);
        let mut out = vec![0; 2048];
        let seconds = measure(|| assert_eq!(top_k(black_box(&scores), 2048, &mut out), Ok(2048)));
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        order.truncate(2048);
        order.sort_unstable();
        assert_eq!(out, order);
        row("top_k", &format!("2048 of {n}"), seconds, 4 * n, 0);
    }
}
