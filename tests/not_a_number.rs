//! Numbers that go bad are an error that names layer and position, and leave the session as it was.

mod common;

use common::{Reference, assert_same_bits, convert, with_engine};
use fathom::{Session, SessionError, SessionOptions};
use fathom_gguf::GgufFile;
use fathom_simd::Kernels;

/// A copy of `base` with NaN in the first values of row `row` of one tensor.
fn damaged(tensor: &str, row: usize) -> common::Converted {
    let model = convert("base", "f32");
    let mut bytes = std::fs::read(&model.path).unwrap();
    let file = GgufFile::parse(&bytes).unwrap();
    let info = file.tensor(tensor).unwrap();
    let start = info.offset as usize + row * info.shape.cols() * 4;
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&model.path, &bytes).unwrap();
    model
}

fn message(tensor: &str, row: usize, tokens: &[u32], batch: usize) -> String {
    let model = damaged(tensor, row);
    with_engine(&model.path, Kernels::best(), 2, |engine| {
        let mut session =
            Session::new(engine, SessionOptions { batch, ..SessionOptions::default() }).unwrap();
        let error = session.sync(tokens).unwrap_err();
        assert!(matches!(error, SessionError::NotANumber { .. }), "{error}");
        assert!(session.tokens().is_empty());
        error.to_string()
    })
}

#[test]
fn layer_and_position_are_named() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    for batch in [1, 7, 40] {
        // A bad embedding row shows where its token first stands.
        let at = tokens.iter().position(|&id| id == tokens[23]).unwrap();
        let text = message("token_embd.weight", tokens[23] as usize, tokens, batch);
        assert!(
            text.contains("hidden state") && text.contains(&format!("layer 0 at position {at}:")),
            "{text}"
        );
        let text = message("blk.1.ffn_gate_inp.weight", 3, tokens, batch);
        assert!(text.contains("router score") && text.contains("layer 1 at position 0:"), "{text}");
        // Index scores are only computed from index_topk = 8 tokens on; in the last layer only for the last token.
        for (layer, position) in [(1, 8), (2, 39)] {
            let tensor = format!("blk.{layer}.indexer.attn_q_b.weight");
            let text = message(&tensor, 5, tokens, batch);
            let place = format!("layer {layer} at position {position}:");
            assert!(text.contains("index score") && text.contains(&place), "{text}");
        }
        let text = message("output.weight", 11, tokens, batch);
        assert!(text.contains("logit") && text.contains("layer 3 at position 39:"), "{text}");
    }
}

#[test]
fn a_session_goes_on_without_the_bad_token() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let bad = (0..).find(|id| !tokens.contains(id)).unwrap();
    let model = damaged("token_embd.weight", bad as usize);
    with_engine(&model.path, Kernels::best(), 2, |engine| {
        let mut session = Session::new(engine, SessionOptions::default()).unwrap();
        let expected = session.sync(tokens).unwrap().to_vec();
        session.sync(&[&tokens[..20], &[bad]].concat()).unwrap_err();
        assert_eq!(session.tokens(), &tokens[..20]);
        assert_same_bits(session.sync(tokens).unwrap(), &expected, "after a bad token");
    });
}
