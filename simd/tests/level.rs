//! The level is what the machine has and what a cap allows.

use fathom_simd::{Kernels, Level};

/// The program of `cargo bench`, for its list.
#[allow(dead_code, reason = "it is run elsewhere")]
#[path = "../benches/kernels.rs"]
mod benches;

#[test]
fn every_op_has_a_bench() {
    for id in Kernels::best().ids() {
        let op = id.split('-').next().unwrap();
        assert!(benches::bench_of(op).is_some(), "{op}: expected a bench in benches/kernels.rs, found none");
    }
    assert!(benches::bench_of("another_op").is_none());
}

#[test]
fn a_cap_gives_the_highest_level_that_is_here_and_not_above_it() {
    for cap in Level::ALL {
        let found = Kernels::capped(cap).level();
        let expected = Kernels::available().map(Kernels::level).filter(|&level| level <= cap).max();
        assert_eq!(Some(found), expected, "{cap}");
    }
    assert_eq!(Some(Kernels::best().level()), Kernels::available().map(Kernels::level).max());
    assert_eq!(Level::detect(), Kernels::best().level());
}

#[test]
fn a_table_says_its_own_level_and_lists_an_id_once() {
    for kernels in Kernels::available() {
        assert_eq!(Kernels::at(kernels.level()).map(Kernels::level), Some(kernels.level()));
        let mut ids: Vec<String> = kernels.ids().collect();
        assert!(ids.iter().all(|id| id.ends_with(kernels.level().name())), "{ids:?}");
        let n = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), n);
    }
}
