//! The level is what the machine has, capped by FATHOM_SIMD and never raised by it.

use std::process::Command;

use fathom_simd::{Kernels, Level};

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

/// Runs `child` below in a process of its own with FATHOM_SIMD set (or not), and returns what it printed.
fn child_with(word: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child", "--nocapture"]).env_remove("FATHOM_SIMD");
    if let Some(word) = word {
        command.env("FATHOM_SIMD", word);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
#[ignore = "only a part of the next test"]
fn child() {
    match Kernels::from_env() {
        Ok(kernels) => println!("<{}>", kernels.level()),
        Err(error) => println!("<{error}>"),
    }
}

#[test]
fn the_environment_caps_and_an_unknown_word_is_an_error_that_lists_the_words() {
    let best = format!("<{}>", Kernels::best().level());
    assert!(child_with(None).contains(&best));
    assert!(child_with(Some("")).contains(&best));
    assert!(child_with(Some("avx512")).contains(&best));
    assert!(child_with(Some("Scalar")).contains("<scalar>"));
    assert!(child_with(Some("avx2")).contains(&format!("<{}>", Kernels::capped(Level::Avx2).level())));
    let error = child_with(Some("sse42"));
    for level in Level::ALL {
        assert!(error.contains(level.name()), "{error}");
    }
    assert!(error.contains("\"sse42\""), "{error}");
}
