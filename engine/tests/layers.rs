//! Every activation of every layer against transformers, point by point through `Probe`.
//!
//! Tolerances are relative to the point's largest magnitude, as the project's notes on the model set them. They hold
//! without feeding each layer the reference's input, which is the harder comparison.

use fathom_engine::probe::Point;
use fathom_engine::{Model, Session, SessionOptions, Wanted};
use fathom_fixtures::{Recorder, Reference, convert, difference, with_model};
use fathom_simd::Kernels;
use std::sync::Arc;

/// Columns `cols` of rows of `width`.
fn columns(values: &[f32], width: usize, cols: std::ops::Range<usize>) -> Vec<f32> {
    values.chunks(width).flat_map(|row| &row[cols.clone()]).copied().collect()
}

struct Judge<'j> {
    reference: &'j Reference,
    recorder: &'j Recorder,
    context: String,
}

impl Judge<'_> {
    fn close(&self, found: &[f32], name: &str, tolerance: f64) {
        let far = difference(found, self.reference.values(name));
        assert!(far <= tolerance, "{}: {name} is {far:e} away", self.context);
    }

    /// A point that has the reference's shape as it is.
    fn point(&self, point: Point, layer: usize, name: &str, tolerance: f64) {
        self.close(&self.recorder.all(point, layer), &format!("layers.{layer}.{name}"), tolerance);
    }

    fn attention(&self, engine: &Arc<Model>, layer: usize) {
        let c = &engine.config;
        let name = |part: &str| format!("layers.{layer}.{part}");
        self.point(Point::AttnNorm, layer, "attn_norm", 1e-6);
        self.point(Point::QLatent, layer, "cq", 1e-6);
        let kv = self.recorder.all(Point::KvRow, layer);
        self.close(&columns(&kv, c.latent_dim(), 0..c.kv_lora_rank), &name("c"), 1e-6);
        self.close(&columns(&kv, c.latent_dim(), c.kv_lora_rank..c.latent_dim()), &name("kr"), 2e-6);
        let q = self.recorder.all(Point::Query, layer);
        self.close(&columns(&q, c.qk_head_dim(), 0..c.qk_nope_head_dim), &name("q_nope"), 5e-6);
        self.close(&columns(&q, c.qk_head_dim(), c.qk_nope_head_dim..c.qk_head_dim()), &name("q_pe"), 2e-6);
        if self.reference.has(&name("q_absorbed")) {
            let absorbed = self.recorder.all(Point::AbsorbedQuery, layer);
            self.close(&columns(&absorbed, c.latent_dim(), 0..c.kv_lora_rank), &name("q_absorbed"), 5e-6);
        }
        self.point(Point::AttnHeads, layer, "attn_heads", 1e-5);
        self.point(Point::AttnOut, layer, "attn_out", 1e-5);
    }

    /// Scores and selections of the tokens that choose; the others see everything.
    fn indexer(&self, engine: &Arc<Model>, layer: usize, n: usize) {
        let topk = engine.config.indexer.unwrap().topk;
        self.point(Point::IndexKey, layer, "index_k", 5e-6);
        let scores = self.reference.values(&format!("layers.{layer}.index_scores"));
        let selected = self.reference.mask(&format!("layers.{layer}.selected"));
        for t in topk..n {
            let found = &self.recorder.f32s[&(Point::IndexScores, layer, t)];
            let far = difference(found, &scores[t * n..t * n + t + 1]);
            assert!(far <= 1e-5, "{}: layer {layer}, scores of token {t} are {far:e} away", self.context);
            let expected: Vec<u32> = (0..n as u32).filter(|&j| selected[t * n + j as usize]).collect();
            let found = &self.recorder.ids[&(Point::Selection, layer, t)];
            assert_eq!(found, &expected, "{}: layer {layer}, selection of token {t}", self.context);
        }
        assert_eq!(
            self.recorder.ids.range((Point::Selection, layer, 0)..(Point::Selection, layer, n)).count(),
            n - topk
        );
    }

    fn feed_forward(&self, layer: usize, moe: bool) {
        self.point(Point::FfnNorm, layer, "ffn_norm", 1e-5);
        if moe {
            self.point(Point::RouterScores, layer, "router_scores", 1e-6);
            let experts = self.reference.ids(&format!("layers.{layer}.experts"));
            assert_eq!(
                self.recorder.all_ids(Point::Experts, layer),
                experts,
                "{}: layer {layer}",
                self.context
            );
            self.point(Point::ExpertWeights, layer, "expert_weights", 1e-6);
            self.point(Point::RoutedOut, layer, "routed", 1e-5);
            self.point(Point::SharedOut, layer, "shared", 1e-5);
        }
        self.point(Point::FfnOut, layer, "ffn_out", 1e-5);
        self.point(Point::LayerOut, layer, "out", 1e-5);
    }
}

#[test]
fn every_activation_of_every_layer() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let model = convert("base", "f32");
    for kernels in Kernels::available() {
        with_model(&model.path, kernels, 2, |engine| {
            for batch in [1, 7, tokens.len()] {
                let mut recorder = Recorder::default();
                let options = SessionOptions { batch, n_ctx: tokens.len(), ..SessionOptions::default() };
                let mut session = Session::new(engine, options).unwrap();
                session.extend(tokens, Wanted::All, &mut recorder, &mut |_, _| {}).unwrap();
                let context = format!("{}, batch {batch}", kernels.level().name());
                let judge = Judge { reference: &reference, recorder: &recorder, context };
                for layer in 0..engine.config.num_hidden_layers {
                    judge.attention(engine, layer);
                    judge.indexer(engine, layer, tokens.len());
                    judge.feed_forward(layer, !engine.config.is_dense_layer(layer));
                    if batch == tokens.len() {
                        judge.point(Point::IndexQuery, layer, "index_q", 5e-6);
                        judge.point(Point::IndexWeights, layer, "index_w", 1e-5);
                    }
                }
                let last = engine.config.num_hidden_layers;
                judge.close(&recorder.all(Point::FinalNorm, last), "final_norm", 1e-5);
            }
        });
    }
}

/// The MTP layer's selection and output; its rows are one behind the tokens.
#[test]
fn the_mtp_layer() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let model = convert("base", "f32");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let layer = engine.config.num_hidden_layers;
        let n = tokens.len() - 1;
        for (mtp_dense, name) in [(false, "mtp.out_sparse"), (true, "mtp.out_dense")] {
            let mut recorder = Recorder::default();
            let options =
                SessionOptions { n_ctx: tokens.len(), mtp: true, mtp_dense, ..SessionOptions::default() };
            let mut session = Session::new(engine, options).unwrap();
            session.extend(tokens, Wanted::AllMtp, &mut recorder, &mut |_, _| {}).unwrap();
            let far = difference(&recorder.all(Point::LayerOut, layer), reference.values(name));
            assert!(far <= 1e-5, "{name} is {far:e} away");
            let mask = reference.mask("mtp.selected");
            let topk = engine.config.indexer.unwrap().topk;
            for t in topk..n {
                let expected: Vec<u32> = (0..n as u32).filter(|&j| mask[t * n + j as usize]).collect();
                match recorder.ids.get(&(Point::Selection, layer, t)) {
                    Some(found) => assert_eq!(found, &expected, "row {t}"),
                    None => assert!(mtp_dense, "row {t} chose nothing"),
                }
            }
        }
    });
}
