//! The whole model's speed told from layers: what the parts add up to.

mod common;

use common::{convert, with_model};
use fathom_arch::config::Overrides;
use fathom_engine::Model;
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::mmap::{Mapping, Watch};
use fathom_engine::threads::{Seats, default_threads};
use fathom_gguf::Gguf;
use fathom_measure::bench::{Fill, Kind, Room, RoomOptions, Shape, Stats, Test};
use fathom_simd::{Format, Kernels};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const OPTIONS: RoomOptions = RoomOptions {
    batch: 32,
    cache: CacheTypes { latent: Format::BF16, index: IndexType::Q8 },
    last_logits: false,
    fill: Fill::Random,
    seed: 1,
};

/// A prediction for the model itself is what the run took.
#[test]
fn the_parts_of_a_call_add_up() {
    let model = convert("base", "q8_0");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let config = &engine.config;
        let shape = Shape {
            n_dense: config.first_k_dense_replace,
            n_moe: config.num_hidden_layers - config.first_k_dense_replace,
            vocab_size: config.vocab_size,
        };
        let file = std::fs::read(&model.path).unwrap();
        let room = Room::new(engine, [&file[..]], OPTIONS);
        let mut session = room.session(96).unwrap();
        room.fill(&mut session, 64).unwrap();
        for (kind, n, calls) in [(Kind::Prompt, 32, 1), (Kind::Generation, 1, 1)] {
            let test = Test { kind, n, depth: 64 };
            let started = Instant::now();
            let times = room.layer_times(&mut session, test).unwrap();
            let wall = started.elapsed().as_secs_f64();
            // The prediction has the head for one token; a prompt has it for all.
            let head = times.head_row * (n - 1) as f64 * config.vocab_size as f64;
            let predicted = calls as f64 * times.call(shape) + head;
            assert!(times.dense > 0.0 && times.moe > 0.0 && times.head_row > 0.0, "{times:?}");
            assert!(predicted <= wall && predicted >= 0.3 * wall, "{predicted} of {wall}: {times:?}");
            assert_eq!(session.tokens().len(), 64);
        }
    });
}

#[test]
fn more_layers_take_as_much_more() {
    let times = fathom_measure::bench::LayerTimes { dense: 0.25, moe: 0.5, head_row: 0.125 };
    assert_eq!(times.call(Shape { n_dense: 1, n_moe: 2, vocab_size: 8 }), 0.25 + 1.0 + 1.0);
    assert_eq!(times.call(Shape { n_dense: 0, n_moe: 1, vocab_size: 0 }), 0.5);
}

/// A slice of true size with this many layers of experts; of so few bits that two of them stay in memory.
fn slice(n_moe: usize) -> tempfile::TempPath {
    let folder = std::env::var_os("FATHOM_TEST_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let file = tempfile::Builder::new().suffix(".gguf").tempfile_in(folder).unwrap().into_temp_path();
    let done = common::fathom()
        .args(["synth", "--preset", &format!("v3.2-slice:1+{n_moe}"), "--type", "q2_k", "--force", "-o"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    file
}

/// One layer of each kind tells what two layers with experts take. In turns, because the speed of a machine that others use
/// changes within minutes. With the logits of all tokens: where only the last are wanted, the last layer drops the other
/// tokens, which is one layer of 61 in the model and one of three here.
#[test]
#[ignore = "writes slices of 5 and 9 GB and holds both in memory; best in release: FATHOM_TEST_FOLDER names a folder for them"]
fn a_slice_tells_a_larger_one() {
    let files = [slice(1), slice(2)];
    let seats = Seats::of(default_threads());
    let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
    let models = files.each_ref().map(|file| {
        let mapping = Mapping::open(file).unwrap();
        let gguf = Gguf::from_shards(mapping.shards()).unwrap();
        mapping.warm(&mapping.placement(&gguf, &seats), watch).unwrap();
        drop(gguf);
        Arc::new(Model::of(mapping, &Overrides::default(), Kernels::best(), &seats).unwrap())
    });
    let rooms: [Room<'_>; 2] = std::array::from_fn(|i| {
        let bytes = models[i].mapping().shards().into_iter().map(|(_, bytes)| bytes);
        Room::new(&models[i], bytes, RoomOptions { batch: 512, ..OPTIONS })
    });
    let larger = Shape { n_dense: 1, n_moe: 2, vocab_size: models[1].config.vocab_size };
    let mut ratios = Vec::new();
    for depth in [0, 4096] {
        let [mut small, mut large] = rooms.each_ref().map(|room| {
            let mut session = room.session(depth + 512).unwrap();
            room.fill(&mut session, depth).unwrap();
            session
        });
        for (kind, n) in [(Kind::Prompt, 512), (Kind::Generation, 32)] {
            let test = Test { kind, n, depth };
            // The first runs are not counted.
            rooms[0].run(&mut small, test).unwrap();
            rooms[1].run(&mut large, test).unwrap();
            let turns: [_; 5] = std::array::from_fn(|_| {
                let times = rooms[0].layer_times(&mut small, test).unwrap();
                let predicted = match kind {
                    // A prediction has the head for one token; a prompt has it for all.
                    Kind::Prompt => {
                        times.call(larger) + times.head_row * ((n - 1) * larger.vocab_size) as f64
                    }
                    Kind::Generation => n as f64 * times.call(larger),
                };
                predicted / rooms[1].run(&mut large, test).unwrap()
            });
            println!("{test:<16} predicted / taken: {turns:.3?}");
            ratios.push(Stats::of(&turns).median);
        }
    }
    assert!(ratios.iter().all(|ratio| (0.9..=1.1).contains(ratio)), "{ratios:?}");
}
