//! One hook in the forward pass: layer comparison with the reference, imatrix collection and tracing use it, and no
//! second forward pass exists.

/// A place in the forward pass. Shapes are for `n` tokens of one forward call, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// `[n, hidden_size]`, input of the attention half after its norm.
    AttnNorm,
    /// `[n, q_lora_rank]`, normed query latent.
    QLatent,
    /// `[n, kv_lora_rank + qk_rope_head_dim]`, cached rows: normed latent, then the shared key after RoPE.
    KvRow,
    /// `[n, num_attention_heads, qk_head_dim]`, queries; the last `qk_rope_head_dim` of each head after RoPE.
    Query,
    /// `[n, num_attention_heads, kv_lora_rank + qk_rope_head_dim]`, absorbed queries.
    AbsorbedQuery,
    /// `[n, index_n_heads, index_head_dim]`, index queries after RoPE, before Hadamard.
    IndexQuery,
    /// `[n, index_head_dim]`, index keys after RoPE, before Hadamard.
    IndexKey,
    /// `[n, index_n_heads]`, weights of the index heads, without `index_head_dim^-1/2`.
    IndexWeights,
    /// One token's `[visible]` index scores; one call a token.
    IndexScores,
    /// One token's selected positions, ascending; one call a token.
    Selection,
    /// `[n, num_attention_heads, v_head_dim]`, attention before the output projection.
    AttnHeads,
    /// `[n, hidden_size]`, attention after the output projection.
    AttnOut,
    /// `[n, hidden_size]`, input of the feed-forward half after its norm.
    FfnNorm,
    /// `[n, n_routed_experts]`, router scores after the sigmoid.
    RouterScores,
    /// `[n, num_experts_per_tok]`, chosen experts, ascending.
    Experts,
    /// `[n, num_experts_per_tok]`, their weights.
    ExpertWeights,
    /// `[n, hidden_size]`, weighted sum of the routed experts.
    RoutedOut,
    /// `[n, hidden_size]`, shared expert.
    SharedOut,
    /// `[n, hidden_size]`, feed-forward half.
    FfnOut,
    /// `[n, hidden_size]`, residual stream after the layer.
    LayerOut,
    /// `[n, hidden_size]`, after the final norm (layer = number of layers).
    FinalNorm,
}

/// What a point holds.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Positions or experts.
    Ids(&'a [u32]),
}

/// Looks at activations while they are computed.
pub trait Probe {
    /// `first`: position of the call's first token, or of the one token. `layer` counts the MTP layer last.
    fn record(&mut self, point: Point, layer: usize, first: usize, values: Values<'_>);
}

/// Looks at nothing.
pub struct NoProbe;

impl Probe for NoProbe {
    fn record(&mut self, _: Point, _: usize, _: usize, _: Values<'_>) {}
}
