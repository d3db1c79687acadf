//! What a run touches and multiplies, counted from its own forward calls.

use fathom_arch::config::Config;
use fathom_engine::cache::CacheTypes;
use fathom_engine::probe::{Point, Probe, Values};
use fathom_engine::weights::{Ffn, Layer, Matrix, Stack, SwiGlu, Weights};
use fathom_simd::{ActKind, Format};

/// The work of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens computed.
    pub n_tokens: usize,
    /// Bytes of weights, each counted once in a forward call that uses it.
    pub weight_bytes: u64,
    /// Bytes of latent rows and index keys that were cached before or in the call, each counted once in a call and
    /// layer that reads it.
    pub cache_bytes: u64,
    /// Multiplications of quantised weights.
    pub int_macs: u64,
    /// Latent rows that a token attends to in a layer, on average.
    pub latent_rows: f64,
}

/// A matrix, or several.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: u64,
    /// Multiplications of 8-bit values for one token.
    int_macs: u64,
}

impl Cost {
    fn of(format: Format, n_rows: usize, n_cols: usize) -> Cost {
        let int = format.acts() == ActKind::Q8;
        Cost {
            bytes: (n_rows * format.row_bytes(n_cols)) as u64,
            int_macs: if int { (n_rows * n_cols) as u64 } else { 0 },
        }
    }

    fn matrix(m: &Matrix<'_>) -> Cost {
        Cost::of(m.format(), m.n_rows(), m.n_cols())
    }

    /// One matrix of a stack.
    fn one(stack: &Stack<'_>) -> Cost {
        Cost::of(stack.format(), stack.n_rows(), stack.n_cols())
    }

    fn swiglu(ffn: &SwiGlu<'_>) -> Cost {
        [&ffn.gate, &ffn.up, &ffn.down].into_iter().map(Cost::matrix).sum()
    }

    fn times(self, n: usize) -> Cost {
        Cost { bytes: self.bytes * n as u64, int_macs: self.int_macs * n as u64 }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| Cost {
            bytes: a.bytes + b.bytes,
            int_macs: a.int_macs + b.int_macs,
        })
    }
}

/// What the parts of a layer cost.
struct LayerCosts {
    /// What every token uses.
    always: Cost,
    /// What a token of the last layer uses that only later tokens ask for.
    remembered: Cost,
    /// Queries of the indexer, which a call without selection leaves out.
    index_queries: Cost,
    /// One routed expert.
    expert: Cost,
}

impl LayerCosts {
    fn of(layer: &Layer<'_>, config: &Config) -> LayerCosts {
        let (attn, heads) = (&layer.attn, config.num_attention_heads);
        let matrices = [&attn.attn_q_a, &attn.attn_q_b, &attn.attn_kv_a_mqa, &attn.attn_output];
        let mut always: Vec<Cost> = matrices.into_iter().map(Cost::matrix).collect();
        always.extend([&attn.attn_k_b, &attn.attn_v_b].map(|stack| Cost::one(stack).times(heads)));
        let mut remembered = Cost::matrix(&attn.attn_kv_a_mqa);
        let mut index_queries = Cost::default();
        if let Some(indexer) = &layer.indexer {
            let keys = Cost::matrix(&indexer.attn_k);
            always.push(keys);
            remembered = [remembered, keys].into_iter().sum();
            index_queries = [&indexer.attn_q_b, &indexer.proj].map(Cost::matrix).into_iter().sum();
        }
        let mut expert = Cost::default();
        match &layer.ffn {
            Ffn::Dense(dense) => always.push(Cost::swiglu(dense)),
            Ffn::Moe(moe) => {
                always.push(Cost::matrix(&moe.ffn_gate_inp));
                always.extend(moe.shared.as_ref().map(Cost::swiglu));
                expert = [&moe.ffn_gate_exps, &moe.ffn_up_exps, &moe.ffn_down_exps]
                    .map(Cost::one)
                    .into_iter()
                    .sum();
            }
        }
        LayerCosts { always: always.into_iter().sum(), remembered, index_queries, expert }
    }
}

/// What one layer does in one forward call, while it does it.
#[derive(Default)]
struct Call {
    layer: usize,
    first: usize,
    n: usize,
    /// Whether the tokens go through the whole layer, or only leave their cache rows.
    attends: bool,
    index_queries: bool,
    /// Tokens that attend to a selection; they are the call's last.
    n_selecting: usize,
    /// Index keys that the token that sees most reads.
    index_keys: usize,
    /// Which experts at least one token takes.
    experts: Vec<bool>,
    /// Choices of experts: tokens times experts of a token.
    n_choices: usize,
    /// Which latent rows at least one token reads.
    rows: Vec<bool>,
}

/// Counts the work of forward calls.
pub struct Tally {
    layers: Vec<LayerCosts>,
    head: Cost,
    embedding_row: u64,
    /// Bytes of a latent row and an index key in one layer.
    row_bytes: (usize, usize),
    latent_dim: usize,
    call: Option<Call>,
    work: Work,
    /// Latent rows read, by all tokens and layers.
    rows_read: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(weights: &Weights<'_>, config: &Config, cache: CacheTypes) -> Tally {
        let embedding = &weights.token_embd;
        Tally {
            layers: weights.layers.iter().map(|layer| LayerCosts::of(layer, config)).collect(),
            head: Cost::matrix(weights.head()),
            embedding_row: embedding.format().row_bytes(embedding.n_cols()) as u64,
            row_bytes: cache.row_bytes(config),
            latent_dim: config.latent_dim(),
            call: None,
            work: Work::default(),
            rows_read: 0,
        }
    }

    /// Counts `n_rows` rows of logits, computed in one forward call.
    pub fn head(&mut self, n_rows: usize) {
        self.work.weight_bytes += self.head.bytes;
        self.work.int_macs += self.head.times(n_rows).int_macs;
    }

    /// Everything so far.
    pub fn finish(mut self) -> Work {
        self.end_call(None);
        let places = self.work.n_tokens * self.layers.len();
        Work { latent_rows: self.rows_read as f64 / places.max(1) as f64, ..self.work }
    }

    /// Adds up the layer's call that has ended, before one of layer `next`.
    fn end_call(&mut self, next: Option<usize>) {
        let Some(mut call) = self.call.take() else { return };
        let costs = &self.layers[call.layer];
        if !call.attends {
            // Where the rest of the tokens follows, it reads these weights again.
            self.work.weight_bytes += if next == Some(call.layer) { 0 } else { costs.remembered.bytes };
            self.work.int_macs += costs.remembered.times(call.n).int_macs;
            return;
        }
        let queries = if call.index_queries { costs.index_queries } else { Cost::default() };
        let n_experts = call.experts.iter().filter(|&&used| used).count();
        self.work.weight_bytes += costs.always.bytes + queries.bytes + costs.expert.times(n_experts).bytes;
        let for_tokens: Cost = [costs.always, queries].into_iter().sum();
        self.work.int_macs += for_tokens.times(call.n).int_macs + costs.expert.times(call.n_choices).int_macs;

        // The others see everything up to themselves.
        let n_dense = call.n - call.n_selecting;
        self.rows_read += (1..=n_dense).map(|t| (call.first + t) as u64).sum::<u64>();
        if n_dense > 0 {
            call.rows[..call.first + n_dense].fill(true);
        }
        let n_rows = call.rows.iter().filter(|&&read| read).count();
        let (latent, index) = self.row_bytes;
        self.work.cache_bytes += (n_rows * latent + call.index_keys * index) as u64;
    }

    fn begin_call(&mut self, layer: usize, first: usize, n: usize) {
        self.end_call(Some(layer));
        if layer == 0 {
            self.work.n_tokens += n;
            self.work.weight_bytes += n as u64 * self.embedding_row;
        }
        self.call = Some(Call { layer, first, n, rows: vec![false; first + n], ..Call::default() });
    }
}

impl Probe for Tally {
    fn record(&mut self, point: Point, layer: usize, first: usize, values: Values<'_>) {
        // The first point that tells a call's size; whatever else is counted comes after it.
        if let (Point::KvRow, Values::F32(rows)) = (point, values) {
            self.begin_call(layer, first, rows.len() / self.latent_dim);
        }
        let Some(call) = &mut self.call else { return };
        match (point, values) {
            (Point::Query, _) => call.attends = true,
            (Point::IndexQuery, _) => call.index_queries = true,
            (Point::IndexScores, Values::F32(scores)) => call.index_keys = call.index_keys.max(scores.len()),
            (Point::Selection, Values::Ids(rows)) => {
                call.n_selecting += 1;
                self.rows_read += rows.len() as u64;
                for &row in rows {
                    call.rows[row as usize] = true;
                }
            }
            (Point::Experts, Values::Ids(experts)) => {
                call.n_choices = experts.len();
                for &expert in experts {
                    let needed = call.experts.len().max(expert as usize + 1);
                    call.experts.resize(needed, false);
                    call.experts[expert as usize] = true;
                }
            }
            _ => {}
        }
    }
}
