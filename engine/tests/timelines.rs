//! Several timelines of one model: what they cost before their first token, and that none sees another.

use fathom_engine::probe::NoProbe;
use fathom_engine::{Model, OpenOptions, SessionOptions, Timeline, Wanted, Worker, machine};
use fathom_fixtures::{assert_same_bits, convert, logits};
use fathom_simd::Kernels;
use std::path::Path;
use std::sync::Arc;

/// Both sides of the reference's `index_topk`.
const LENGTHS: [usize; 3] = [5, 40, 90];

fn model(ty: &str) -> Arc<Model> {
    let file = convert("base", ty);
    Model::open(&file.path, OpenOptions { n_threads: 2, ..OpenOptions::new(Kernels::best()) }).unwrap().0
}

fn tokens(n: usize, first: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (first + 7 * i) % 90 + 3).collect()
}

fn extend(worker: &mut Worker, timeline: &mut Timeline, tokens: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    let mut take = |_: usize, logits: &[f32]| all.extend_from_slice(logits);
    worker.extend(timeline, tokens, Wanted::All, &mut NoProbe, &mut take).unwrap();
    all
}

#[test]
fn in_turns_each_has_the_bits_that_it_has_alone() {
    for mtp in [false, true] {
        let options = SessionOptions { n_ctx: 128, batch: 16, mtp, ..SessionOptions::default() };
        let model = model("q8_0");
        let texts: Vec<Vec<u32>> =
            LENGTHS.iter().enumerate().map(|(i, &n)| tokens(n, 11 * i as u32)).collect();
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .map(|text| {
                let mut worker = Worker::new(&model, options).unwrap();
                let mut timeline = worker.timeline().unwrap();
                extend(&mut worker, &mut timeline, text)
            })
            .collect();
        if !mtp {
            for (alone, text) in alone.iter().zip(&texts) {
                assert_same_bits(alone, &logits(&model, options, text), "a worker and a session");
            }
        }

        // Two workers: a timeline may go on with any.
        let mut workers = [(); 2].map(|()| Worker::new(&model, options).unwrap());
        let mut timelines: Vec<_> = texts.iter().map(|_| workers[0].timeline().unwrap()).collect();
        let mut found = vec![Vec::new(); texts.len()];
        let mut random = fastrand::Rng::with_seed(3);
        while let Some(&which) = random.choice(
            &(0..texts.len()).filter(|&i| timelines[i].tokens().len() < texts[i].len()).collect::<Vec<_>>(),
        ) {
            let rest = &texts[which][timelines[which].tokens().len()..];
            let n = random.usize(1..=rest.len());
            let worker = &mut workers[random.usize(0..2)];
            found[which].extend(extend(worker, &mut timelines[which], &rest[..n]));
        }
        for (which, (found, alone)) in found.iter().zip(&alone).enumerate() {
            assert_same_bits(found, alone, &format!("timeline {which}, MTP {mtp}"));
        }
    }
}

/// A long context is reserved and not there: eight open conversations cost next to nothing before somebody says something.
#[cfg(target_os = "linux")]
#[test]
fn eight_without_tokens_take_less_than_a_mebibyte_each() {
    let options = SessionOptions { n_ctx: 1 << 20, batch: 16, ..SessionOptions::default() };
    let model = model("q8_0");
    let worker = Worker::new(&model, options).unwrap();
    let resident = || machine::resident(Path::new("/")).unwrap();
    let before = resident();
    let timelines: Vec<Timeline> = (0..8).map(|_| worker.timeline().unwrap()).collect();
    let each = resident().saturating_sub(before) / timelines.len() as u64;
    assert!(each < 1 << 20, "{each} bytes");
}

#[test]
#[should_panic(expected = "a timeline of another model")]
fn a_timeline_goes_on_with_its_own_model_alone() {
    let options = SessionOptions { n_ctx: 16, ..SessionOptions::default() };
    let [mut one, other] = [(); 2].map(|()| Worker::new(&model("q8_0"), options).unwrap());
    let _ = one.push(&mut other.timeline().unwrap(), 5);
}
