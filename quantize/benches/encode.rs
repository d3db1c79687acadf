//! Weights per second and core of every encoder: `cargo bench -p fathom-quantize`.
#![forbid(unsafe_code)]

use fathom_quantize::encode::Encoding;
use fathom_simd::Kernels;
use std::time::Instant;

const N_COLS: usize = 7168;
const N_ROWS: usize = 4;

fn main() {
    let mut rng = fastrand::Rng::with_seed(1);
    // A sum of uniform numbers is near enough to a bell.
    let values: Vec<f32> =
        (0..N_COLS * N_ROWS).map(|_| (0..6).map(|_| rng.f32() - 0.5).sum::<f32>() * 0.02).collect();
    let importance: Vec<f32> = (0..N_COLS).map(|_| rng.f32() * 3.0 + 0.01).collect();
    println!("{:<8} {:>12} {:>18}", "type", "M weights/s", "with importance");
    for encoding in Encoding::ALL {
        let rate = |importance: Option<&[f32]>| {
            let mut out = Vec::new();
            // The best of many: other work on the machine only ever makes it slower.
            let seconds = (0..30)
                .map(|_| {
                    let start = Instant::now();
                    encoding
                        .encode_rows(Kernels::best(), &values, importance, &mut out)
                        .expect("values are small");
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::INFINITY, f64::min);
            values.len() as f64 / 1e6 / seconds
        };
        println!("{:<8} {:>12.0} {:>18.0}", encoding.name(), rate(None), rate(Some(&importance)));
    }
}
