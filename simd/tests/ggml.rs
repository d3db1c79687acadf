//! Decoding against ggml's own `dequantize_row_*`: the same bits for whatever bytes.
//!
//! The oracle is ggml's base library, built by `tests/ggml/build.sh DIR`; `FATHOM_GGML_ORACLE=DIR` names the folder that
//! holds it. Without it the test says SKIPPED, and passes, unless
//! `FATHOM_REQUIRE_ORACLES` is set.

mod support;

use std::io::Write;

use fastrand::Rng;
use fathom_simd::Format;
use libloading::{Library, Symbol};
use support::{bits, blocks};

type Dequantize = unsafe extern "C" fn(*const u8, *mut f32, i64);

/// ggml's names, which have capital Ks.
fn symbol(format: Format) -> Option<String> {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => None,
        _ => Some(format!("dequantize_row_{}", format.name().replace('k', "K"))),
    }
}

#[test]
fn decoding_has_ggmls_bits() {
    let Some(folder) = std::env::var_os("FATHOM_GGML_ORACLE") else {
        let required = std::env::var_os("FATHOM_REQUIRE_ORACLES").is_some_and(|value| !value.is_empty());
        assert!(!required, "FATHOM_REQUIRE_ORACLES is set, and FATHOM_GGML_ORACLE is not");
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED ggml oracle: FATHOM_GGML_ORACLE is not set");
        return;
    };
    let path = std::path::Path::new(&folder).join("libggml-base.so");
    // SAFETY: loading ggml runs its initialisers, which touch nothing of ours.
    let ggml = unsafe { Library::new(&path) }.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let random = &mut Rng::with_seed(31);
    for format in Format::ALL {
        let Some(symbol) = symbol(format) else { continue };
        // SAFETY: ggml declares it as (const block *, float *, int64_t).
        let dequantize: Symbol<'_, Dequantize> = unsafe { ggml.get(symbol.as_bytes()) }.unwrap();
        for round in 0..300 {
            let n = 8 * format.block_len();
            let mut bytes = vec![0; format.row_bytes(n)];
            match round % 3 {
                0 => bytes.fill_with(|| random.u8(..)),
                _ if format == Format::Q8_0 => bytes.fill_with(|| random.u8(..0x40)),
                kind => bytes = blocks(random, format, 8, kind == 1),
            }
            let (mut expected, mut found) = (vec![0.0; n], vec![0.0; n]);
            // SAFETY: blocks of n elements, read at any address, and room for n floats.
            unsafe { dequantize(bytes.as_ptr(), expected.as_mut_ptr(), n as i64) };
            format.decode(&bytes, &mut found);
            assert_eq!(bits(&found), bits(&expected), "{}", format.name());
        }
    }
}
