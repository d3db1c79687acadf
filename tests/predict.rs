//! The whole model's speed told from layers: what the parts add up to.

mod common;

use common::{convert, with_engine};
use fathom::bench::{Fill, Kind, Room, RoomOptions, Shape, Test};
use fathom::cache::{CacheTypes, IndexType};
use fathom_simd::{Format, Kernels};
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
    with_engine(&model.path, Kernels::best(), 2, |engine| {
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
    let times = fathom::bench::LayerTimes { dense: 0.25, moe: 0.5, head_row: 0.125 };
    assert_eq!(times.call(Shape { n_dense: 1, n_moe: 2, vocab_size: 8 }), 0.25 + 1.0 + 1.0);
    assert_eq!(times.call(Shape { n_dense: 0, n_moe: 1, vocab_size: 0 }), 0.5);
}
