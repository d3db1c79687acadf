//! Every preset, and Q8_K, on a model whose rows are whole blocks of 256, so that the K formats themselves are in gate,
//! up, down, attention, embedding and head.
//!
//! Two questions. Does each matrix get the products of its own weights? Every activation that a quantised product
//! leaves is computed once more from the activation before it, as the same run left it, with the weights decoded by
//! the formats' definitions, in f64: what remains is the rounding of activations to 8 bits, and no flipped expert or
//! selection can hide or fake a mistake. And are the bits the same for any threads, batch and level (law 4)?

use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::probe::Point;
use fathom_engine::{Model, Session, SessionOptions, Wanted};
use fathom_fixtures::forge::Forged;
use fathom_fixtures::made_up::{INDEX_TOPK, N_LAYERS, VOCAB, made_up, tokens};
use fathom_fixtures::{Recorder, assert_same_bits, logits, with_model};
use fathom_gguf::TensorType;
use fathom_quantize::recipe::Preset;
use fathom_simd::{Format, Kernels, Level};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Positions: the index chooses among more than it may keep.
const N: usize = 3 * INDEX_TOPK;
/// Root mean square of what may differ, against what is there. Activations in 8-bit blocks of 32 are off by 0.6 %, once
/// in a product and three times in a feed-forward network.
const NEAR: f64 = 0.02;
/// What a mistake makes of it, at least.
const FAR: f64 = 0.2;

/// Caches of 8 bits, for whose blocks the rows of this model are long enough.
const NARROW: CacheTypes = CacheTypes { latent: Format::Q8_0, index: IndexType::Q8 };

/// Decoded matrices by name.
struct Weights {
    model: Forged,
}

/// `[n_rows, n_cols]`.
struct Matrix {
    n_cols: usize,
    values: Vec<f32>,
}

impl Weights {
    fn tensor(&self, name: &str) -> &fathom_fixtures::forge::Tensor {
        let found = self.model.tensors.iter().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// A tensor as one tall matrix.
    fn matrix(&self, name: &str) -> Matrix {
        let tensor = self.tensor(name);
        let format = Format::from_name(tensor.ty.name()).unwrap();
        let mut values = vec![0.0; tensor.shape.iter().product()];
        format.decode(&tensor.bytes, &mut values);
        Matrix { n_cols: *tensor.shape.last().unwrap(), values }
    }

    fn in_layer(&self, layer: usize, name: &str) -> Matrix {
        self.matrix(&format!("blk.{layer}.{name}.weight"))
    }
}

impl Matrix {
    /// One of several that lie one after another.
    fn part(&self, at: usize, n_parts: usize) -> Matrix {
        let n = self.values.len() / n_parts;
        Matrix { n_cols: self.n_cols, values: self.values[at * n..][..n].to_vec() }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.n_cols);
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
        self.values.chunks_exact(self.n_cols).map(dot).collect()
    }

    /// The same numbers with neighbouring runs of `run` columns exchanged: what reading a block's parts in another order
    /// would make of it.
    fn exchanged(mut self, run: usize) -> Matrix {
        for pair in self.values.chunks_exact_mut(2 * run) {
            let (a, b) = pair.split_at_mut(run);
            a.swap_with_slice(b);
        }
        self
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn rms_norm(x: &[f64], weight: &Matrix) -> Vec<f64> {
    let square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(&weight.values).map(|(v, w)| v / (square + 1e-6).sqrt() * f64::from(*w)).collect()
}

/// `down(silu(gate x) * up x)`.
fn swiglu([gate, up, down]: &[Matrix; 3], x: &[f64]) -> Vec<f64> {
    let silu = |v: f64| v / (1.0 + (-v).exp());
    let inner: Vec<f64> = gate.times(x).into_iter().zip(up.times(x)).map(|(g, u)| silu(g) * u).collect();
    down.times(&inner)
}

/// Root mean square of the difference, against that of what is expected.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let missed = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (missed / square(&mut expected.iter().copied())).sqrt()
}

/// One run with everything it left, and the weights it used.
struct Judge<'j> {
    weights: &'j Weights,
    recorder: Recorder,
    logits: Vec<f32>,
    what: String,
}

impl Judge<'_> {
    fn run<'j>(engine: &Arc<Model>, weights: &'j Weights, what: String) -> Judge<'j> {
        let mut recorder = Recorder::default();
        let options = SessionOptions { batch: N, n_ctx: N, ..SessionOptions::default() };
        let mut session = Session::new(engine, options).unwrap();
        let mut logits = Vec::new();
        session
            .extend(&tokens(N), Wanted::All, &mut recorder, &mut |_, row| logits.extend_from_slice(row))
            .unwrap();
        Judge { weights, recorder, logits, what }
    }

    /// The rows that a point left, one for each token.
    fn rows(&self, point: Point, layer: usize) -> Vec<Vec<f64>> {
        let all = self.recorder.all(point, layer);
        assert!(all.len().is_multiple_of(N) && !all.is_empty(), "{point:?} of layer {layer}");
        all.chunks(all.len() / N).map(wide).collect()
    }

    /// All tokens' rows of a point against what `compute` makes of another's.
    fn distance(
        &self,
        layer: usize,
        (from, to): (Point, Point),
        compute: impl Fn(usize, &[f64]) -> Vec<f64>,
    ) -> f64 {
        let inputs = self.rows(from, layer);
        let expected: Vec<f64> = inputs.iter().enumerate().flat_map(|(t, x)| compute(t, x)).collect();
        distance(&self.rows(to, layer).concat(), &expected)
    }

    fn near(&self, layer: usize, points: (Point, Point), compute: impl Fn(usize, &[f64]) -> Vec<f64>) {
        let far = self.distance(layer, points, compute);
        assert!(far <= NEAR, "{}: layer {layer}, {points:?} is {far:.4} away", self.what);
    }

    fn embedding_and_head(&self) {
        let (embedding, norm) =
            (self.weights.matrix("token_embd.weight"), self.weights.in_layer(0, "attn_norm"));
        for (token, found) in tokens(N).into_iter().zip(self.rows(Point::AttnNorm, 0)) {
            let row = embedding.part(token as usize, VOCAB as usize);
            let far = distance(&found, &rms_norm(&wide(&row.values), &norm));
            assert!(far <= 1e-6, "{}: embedding of token {token} is {far:e} away", self.what);
        }
        let head = self.weights.matrix("output.weight");
        let hidden = self.rows(Point::FinalNorm, N_LAYERS);
        let expected: Vec<f64> = hidden.iter().flat_map(|x| head.times(x)).collect();
        let far = distance(&wide(&self.logits), &expected);
        assert!(far <= NEAR, "{}: logits are {far:.4} away", self.what);
    }

    fn attention(&self, engine: &Arc<Model>, layer: usize) {
        let (w, c) = (self.weights, &engine.config);
        let (q_a, q_a_norm) = (w.in_layer(layer, "attn_q_a"), w.in_layer(layer, "attn_q_a_norm"));
        self.near(layer, (Point::AttnNorm, Point::QLatent), |_, x| rms_norm(&q_a.times(x), &q_a_norm));
        let output = w.in_layer(layer, "attn_output");
        self.near(layer, (Point::AttnHeads, Point::AttnOut), |_, x| output.times(x));
        // Behind the nope columns comes RoPE, which keeps lengths and nothing else that is easy to say.
        let q_b = w.in_layer(layer, "attn_q_b");
        let (found, latents) = (self.rows(Point::Query, layer), self.rows(Point::QLatent, layer));
        let nope = |q: &[f64]| {
            let heads = q.chunks_exact(c.qk_head_dim());
            heads.flat_map(|head| head[..c.qk_nope_head_dim].to_vec()).collect::<Vec<f64>>()
        };
        let expected: Vec<f64> = latents.iter().flat_map(|x| nope(&q_b.times(x))).collect();
        let found: Vec<f64> = found.iter().flat_map(|q| nope(q)).collect();
        let far = distance(&found, &expected);
        assert!(far <= NEAR, "{}: layer {layer}, queries are {far:.4} away", self.what);
        let (kv_a, kv_a_norm) = (w.in_layer(layer, "attn_kv_a_mqa"), w.in_layer(layer, "attn_kv_a_norm"));
        let latent = |x: &[f64]| rms_norm(&kv_a.times(x)[..c.kv_lora_rank], &kv_a_norm);
        let expected: Vec<f64> = self.rows(Point::AttnNorm, layer).iter().flat_map(|x| latent(x)).collect();
        let rows = self.rows(Point::KvRow, layer);
        let found: Vec<f64> = rows.iter().flat_map(|row| row[..c.kv_lora_rank].to_vec()).collect();
        let far = distance(&found, &expected);
        assert!(far <= NEAR, "{}: layer {layer}, latents are {far:.4} away", self.what);
    }

    fn network(&self, layer: usize, suffix: &str) -> [Matrix; 3] {
        ["gate", "up", "down"].map(|part| self.weights.in_layer(layer, &format!("ffn_{part}{suffix}")))
    }

    /// The routed experts' sum for one token, of experts and weights as the run chose them.
    fn routed(
        &self,
        engine: &Arc<Model>,
        layer: usize,
        experts: &[[Matrix; 3]],
        t: usize,
        x: &[f64],
    ) -> Vec<f64> {
        let used = engine.config.num_experts_per_tok;
        let chosen = &self.recorder.all_ids(Point::Experts, layer)[t * used..][..used];
        let weights = &self.recorder.all(Point::ExpertWeights, layer)[t * used..][..used];
        let mut sum = vec![0.0; x.len()];
        for (&expert, &weight) in chosen.iter().zip(weights) {
            let out = swiglu(&experts[expert as usize], x);
            sum.iter_mut().zip(out).for_each(|(sum, out)| *sum += f64::from(weight) * out);
        }
        sum
    }

    fn feed_forward(&self, engine: &Arc<Model>, layer: usize) {
        if engine.config.is_dense_layer(layer) {
            let network = self.network(layer, "");
            self.near(layer, (Point::FfnNorm, Point::FfnOut), |_, x| swiglu(&network, x));
            return;
        }
        let shared = self.network(layer, "_shexp");
        self.near(layer, (Point::FfnNorm, Point::SharedOut), |_, x| swiglu(&shared, x));
        let experts = self.experts(engine, layer, |_, matrix| matrix);
        let routed = (Point::FfnNorm, Point::RoutedOut);
        self.near(layer, routed, |t, x| self.routed(engine, layer, &experts, t, x));
        // The judge must be able to say no: parts of blocks in another order, in each of the three, are far away.
        for (wrong, run) in [("gate", 256), ("up", 32), ("down", 16), ("down", 128), ("down", 256)] {
            let experts =
                self.experts(
                    engine,
                    layer,
                    |part, matrix| {
                        if part == wrong { matrix.exchanged(run) } else { matrix }
                    },
                );
            let far = self.distance(layer, routed, |t, x| self.routed(engine, layer, &experts, t, x));
            assert!(far > FAR, "{}: {wrong} with {run} columns exchanged is only {far} away", self.what);
        }
    }

    fn experts(
        &self,
        engine: &Arc<Model>,
        layer: usize,
        change: impl Fn(&str, Matrix) -> Matrix,
    ) -> Vec<[Matrix; 3]> {
        let n = engine.config.n_routed_experts;
        let stacks = ["gate", "up", "down"]
            .map(|part| (part, self.weights.in_layer(layer, &format!("ffn_{part}_exps"))));
        (0..n).map(|e| stacks.each_ref().map(|(part, stack)| change(part, stack.part(e, n)))).collect()
    }
}

/// What models are converted to: every preset, and the K format that is in none.
fn names() -> impl Iterator<Item = &'static str> {
    Preset::ALL.map(Preset::name).into_iter().chain(["q8_k"])
}

#[test]
fn every_matrix_multiplies_by_its_own_weights() {
    let mut seen = BTreeSet::new();
    for name in names() {
        let converted = made_up(name);
        let weights = Weights { model: Forged::read(&converted.path) };
        seen.extend(weights.model.tensors.iter().map(|tensor| tensor.ty.name()));
        for kernels in Kernels::available() {
            with_model(&converted.path, kernels, 2, |engine| {
                let what = format!("{name} {}", kernels.level());
                let judge = Judge::run(engine, &weights, what);
                judge.embedding_and_head();
                for layer in 0..N_LAYERS {
                    judge.attention(engine, layer);
                    judge.feed_forward(engine, layer);
                }
            });
        }
    }
    use TensorType::{Q2K, Q3K, Q4K, Q5K, Q6K, Q8K};
    for ty in [Q2K, Q3K, Q4K, Q5K, Q6K, Q8K] {
        assert!(seen.contains(ty.name()), "nothing put {} into a matrix: {seen:?}", ty.name());
    }
}

/// No role falls back to smaller blocks here, so that the presets are really what is tested.
#[test]
fn presets_are_as_their_tables_say() {
    for preset in Preset::ALL {
        let model = Forged::read(&made_up(preset.name()).path);
        for tensor in model.tensors.iter().filter(|tensor| tensor.ty.block_len() == 32) {
            assert_eq!(tensor.ty, TensorType::Q8_0, "{}: {}", preset.name(), tensor.name);
        }
    }
}

#[test]
fn threads_and_batches_of_blocks_of_256() {
    let (exact, narrow) = (SessionOptions::default().cache, NARROW);
    for (name, cache) in names().zip([exact, narrow].into_iter().cycle()) {
        let model = made_up(name);
        // The levels compute these products alike; only the promise within one level is law.
        for kernels in Kernels::available() {
            let splits: &[(usize, usize)] = match kernels.level() {
                Level::Scalar => &[(1, N), (3, 7)],
                _ => &[(1, N), (2, 7), (3, 1), (3, N)],
            };
            let mut expected: Option<Vec<f32>> = None;
            for &(n_threads, batch) in splits {
                with_model(&model.path, kernels, n_threads, |engine| {
                    let options = SessionOptions { batch, cache, ..SessionOptions::default() };
                    let found = logits(engine, options, &tokens(N));
                    let what = format!("{name} {kernels:?}, {n_threads} threads, batch {batch}");
                    assert_same_bits(&found, expected.get_or_insert_with(|| found.clone()), &what);
                });
            }
        }
    }
}

/// Rows and keys of 8 bits move logits by what their rounding explains.
#[test]
fn narrow_caches_change_little() {
    let model = made_up("q8_0");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        // Without a selection: on random weights a rounded score chooses other rows.
        let options = |cache| SessionOptions { cache, dense: true, ..SessionOptions::default() };
        let expected = wide(&logits(engine, options(SessionOptions::default().cache), &tokens(N)));
        let found = wide(&logits(engine, options(NARROW), &tokens(N)));
        let off = distance(&found, &expected);
        assert!(off > 0.0 && off < NEAR, "{off}");
    });
}
