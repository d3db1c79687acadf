//! Is a synthetic slice a fair stand-in? Its activations keep their size and its router uses every expert.

#[path = "common/program.rs"]
mod program;

use fathom_arch::config::Overrides;
use fathom_engine::mmap::Mapping;
use fathom_engine::probe::{Point, Probe, Values};
use fathom_engine::threads::{Seats, default_threads};
use fathom_engine::{Model, Session, SessionOptions, Wanted};
use fathom_simd::Kernels;
use std::collections::BTreeMap;
use std::sync::Arc;

const N_TOKENS: usize = 4096;

/// Sums of squares by point and layer, and how often each expert was chosen.
#[derive(Default)]
struct Health {
    squares: BTreeMap<(Point, usize), (f64, u64)>,
    chosen: BTreeMap<usize, [u32; 256]>,
}

impl Probe for Health {
    fn record(&mut self, point: Point, layer: usize, _first: usize, values: Values<'_>) {
        match (point, values) {
            (Point::Experts, Values::Ids(experts)) => {
                let chosen = self.chosen.entry(layer).or_insert([0; 256]);
                experts.iter().for_each(|&expert| chosen[expert as usize] += 1);
            }
            (Point::AttnOut | Point::FfnOut | Point::LayerOut | Point::RouterScores, Values::F32(values)) => {
                let (sum, n) = self.squares.entry((point, layer)).or_default();
                *sum += values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
                *n += values.len() as u64;
            }
            _ => {}
        }
    }
}

#[test]
#[ignore = "makes a file of 13 GB and computes 4096 tokens through two true layers: minutes"]
fn a_slices_activations_and_routing_stay_healthy() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("slice.gguf");
    let made = program::fathom()
        .args(["synth", "--preset", "v3.2-slice:1+1", "--type", "q8_0", "-o"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let mapping = Mapping::open(&path).unwrap();
    let kernels = Kernels::best();
    let model = Model::of(mapping, &Overrides::default(), kernels, &Seats::of(default_threads())).unwrap();
    let mut session =
        Session::new(&Arc::new(model), SessionOptions { n_ctx: N_TOKENS, ..SessionOptions::default() })
            .unwrap();
    let mut rng = fastrand::Rng::with_seed(0);
    let tokens: Vec<u32> = (0..N_TOKENS).map(|_| rng.u32(0..4096)).collect();
    let mut health = Health::default();
    let mut logits = Vec::new();
    session.extend(&tokens, Wanted::All, &mut health, &mut |_, rows| logits = rows.to_vec()).unwrap();
    for ((point, layer), (sum, n)) in &health.squares {
        let size = (sum / *n as f64).sqrt();
        println!("{point:?} of layer {layer}: root mean square {size:.3}");
        assert!((0.1..5.0).contains(&size), "{point:?} of layer {layer}: {size}");
    }
    for (layer, chosen) in &health.chosen {
        let (least, most) = (chosen.iter().min().unwrap(), chosen.iter().max().unwrap());
        println!(
            "experts of layer {layer}: chosen {least} to {most} times, on average {}",
            N_TOKENS * 8 / 256
        );
        assert!(*least > 0, "layer {layer}: an expert is never chosen");
    }
    let square = logits.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / logits.len() as f64;
    println!("logits: root mean square {:.3}", square.sqrt());
    assert!((0.3..3.0).contains(&square.sqrt()));
}
