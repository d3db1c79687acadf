//! Numbers that go bad are an error that names layer and position, and leave the session as it was. Numbers that are no weights
//! are refused when the model is loaded.

use fathom_arch::config::Overrides;
use fathom_engine::mmap::Mapping;
use fathom_engine::threads::Seats;
use fathom_engine::{Model, Session, SessionError, SessionOptions};
use fathom_fixtures::{Reference, assert_same_bits, convert, with_model};
use fathom_gguf::GgufFile;
use fathom_simd::Kernels;

/// A copy of `base` with NaN in the first value of row `row` of one tensor.
fn damaged(tensor: &str, row: usize) -> fathom_fixtures::Converted {
    overwritten(tensor, row, |_| 1, f32::NAN)
}

/// A copy of `base` with `value` in the first values of row `row` of one tensor, as many as `n` makes of the row's length.
fn overwritten(tensor: &str, row: usize, n: fn(usize) -> usize, value: f32) -> fathom_fixtures::Converted {
    let model = convert("base", "f32");
    let mut bytes = std::fs::read(&model.path).unwrap();
    let file = GgufFile::parse(&bytes).unwrap();
    let info = file.tensor(tensor).unwrap();
    let cols = info.shape.cols();
    let start = info.offset as usize + row * cols * 4;
    for place in bytes[start..start + 4 * n(cols)].as_chunks_mut().0 {
        *place = value.to_le_bytes();
    }
    std::fs::write(&model.path, &bytes).unwrap();
    model
}

fn message(tensor: &str, row: usize, tokens: &[u32], batch: usize) -> String {
    message_of(&damaged(tensor, row), tokens, batch)
}

fn message_of(model: &fathom_fixtures::Converted, tokens: &[u32], batch: usize) -> String {
    with_model(&model.path, Kernels::best(), 2, |engine| {
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
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let mut session = Session::new(engine, SessionOptions::default()).unwrap();
        let expected = session.sync(tokens).unwrap().to_vec();
        session.sync(&[&tokens[..20], &[bad]].concat()).unwrap_err();
        assert_eq!(session.tokens(), &tokens[..20]);
        assert_same_bits(session.sync(tokens).unwrap(), &expected, "after a bad token");
    });
}

/// Every number of these files is finite, and so is every product; their squares or sums are not.
#[test]
fn numbers_that_overflow_are_named_as_those_that_are_none() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let first_of = |id: u32| tokens.iter().position(|&other| other == id).unwrap();
    let whole = |cols| cols;
    for batch in [1, 7, 40] {
        let told = |tensor: &str, row, value, what: &str, layer: usize, position: usize| {
            let text = message_of(&overwritten(tensor, row, whole, value), tokens, batch);
            let place = format!("layer {layer} at position {position}:");
            assert!(text.contains(what) && text.contains(&place), "{tensor}, batch {batch}: {text}");
        };
        let at = first_of(tokens[23]);
        for huge in [1e25, -f32::MAX] {
            told("token_embd.weight", tokens[23] as usize, huge, "hidden state", 0, at);
        }
        told("blk.1.attn_q_a.weight", 0, 1e25, "attention latent", 1, 0);
        told("blk.1.attn_kv_a_mqa.weight", 2, 1e25, "attention latent", 1, 0);
        told("blk.1.indexer.attn_k.weight", 2, 1e25, "index key", 1, 0);
        told("blk.1.indexer.proj.weight", 1, f32::MAX, "index score", 1, 8);
        told("blk.1.ffn_gate_inp.weight", 3, f32::MAX, "router score", 1, 0);
        told("output.weight", 11, f32::MAX, "logit", 3, 39);
    }
}

/// Norms and biases are looked at when the model is loaded: a bad one of the router shows in no score.
#[test]
fn norms_and_biases_that_are_no_weights_are_refused() {
    let all = |cols| cols;
    for tensor in [
        "output_norm.weight",
        "blk.0.attn_norm.weight",
        "blk.1.attn_q_a_norm.weight",
        "blk.1.attn_kv_a_norm.weight",
        "blk.2.ffn_norm.weight",
        "blk.1.exp_probs_b.bias",
        "blk.1.indexer.k_norm.weight",
        "blk.1.indexer.k_norm.bias",
        "blk.3.nextn.enorm.weight",
        "blk.3.nextn.hnorm.weight",
        "blk.3.nextn.shared_head_norm.weight",
    ] {
        for (n, value) in [
            (all as fn(usize) -> usize, f32::NAN),
            (|_| 1, f32::NAN),
            (|_| 1, 1e20),
            (|_| 1, f32::NEG_INFINITY),
        ] {
            let model = overwritten(tensor, 0, n, value);
            let mapping = Mapping::open(&model.path).unwrap();
            let loaded = Model::of(mapping, &Overrides::default(), Kernels::best(), &Seats::of(1));
            let Err(error) = loaded else { panic!("{tensor} with {value} is loaded") };
            let told = format!("{tensor}: expected numbers from -65504 to 65504, found {value} at index 0");
            assert!(error.to_string().contains(&told), "{error}");
        }
    }
}

/// A download that left holes has zeros where weights should be.
#[test]
fn logits_that_are_all_the_same_are_no_answer() {
    let reference = Reference::read("base");
    for tensor in ["output.weight", "output_norm.weight"] {
        let whole = if tensor == "output.weight" { |cols| cols * 320 } else { |cols| cols };
        let model = overwritten(tensor, 0, whole, 0.0);
        with_model(&model.path, Kernels::best(), 2, |engine| {
            let mut session = Session::new(engine, SessionOptions::default()).unwrap();
            let error = session.sync(reference.tokens()).unwrap_err();
            let SessionError::Flat { position } = error else { panic!("{tensor}: {error}") };
            assert_eq!(position, reference.tokens().len() - 1);
            assert!(session.tokens().is_empty() && error.to_string().contains("damaged"));
        });
    }
}
