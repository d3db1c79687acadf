//! Whether the numbers of a model fit together.

use super::{Config, ConfigError};

// Bounds several times above every model of this family: larger numbers are damage. Below them no product of sizes overflows, and
// what is made for each expert, head or token before the tensors are looked at stays small.
const MOST_TOKENS: usize = 1 << 20;
const MOST_WIDTH: usize = 1 << 17;
const MOST_INNER_WIDTH: usize = 1 << 20;
const MOST_HEADS: usize = 1 << 12;
const MOST_HEAD_DIM: usize = 1 << 12;
const MOST_POSITIONS: usize = 1 << 28;
const MOST_EXPERTS: usize = 1 << 12;
const MOST_SHARED_EXPERTS: usize = 1 << 6;
/// In all layers together.
const MOST_EXPERTS_IN_ALL: usize = 1 << 18;

impl Config {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// Everything that does not, at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut require = |ok: bool, problem: String| {
            if !ok {
                problems.push(problem);
            }
        };
        for (name, value, most) in self.sizes() {
            require(value > 0 && value <= most, format!("{name}: expected 1 to {most}, found {value}"));
        }
        let c = self;
        require(
            c.n_shared_experts <= MOST_SHARED_EXPERTS,
            format!("n_shared_experts: expected at most {MOST_SHARED_EXPERTS}, found {}", c.n_shared_experts),
        );
        require(
            c.num_hidden_layers.saturating_mul(c.n_routed_experts) <= MOST_EXPERTS_IN_ALL,
            format!(
                "num_hidden_layers times n_routed_experts: expected at most {MOST_EXPERTS_IN_ALL} experts in all, found {} \
                 times {}",
                c.num_hidden_layers, c.n_routed_experts
            ),
        );
        let layers = c.num_hidden_layers;
        require(
            layers > 0 && layers <= 4096,
            format!("num_hidden_layers: expected 1 to 4096, found {layers}"),
        );
        require(
            c.num_nextn_predict_layers <= 1,
            format!("num_nextn_predict_layers: expected 0 or 1, found {}", c.num_nextn_predict_layers),
        );
        require(
            c.first_k_dense_replace <= layers,
            format!("first_k_dense_replace: expected at most {layers}, found {}", c.first_k_dense_replace),
        );
        require(
            c.qk_rope_head_dim.is_multiple_of(2),
            format!("qk_rope_head_dim: expected an even number, found {}", c.qk_rope_head_dim),
        );
        if c.n_routed_experts > 0 && c.n_group > 0 {
            c.check_routing(&mut require);
        }
        if let Some(index) = c.indexer {
            require(
                index.head_dim >= c.qk_rope_head_dim,
                format!(
                    "index_head_dim: expected at least qk_rope_head_dim = {}, found {}",
                    c.qk_rope_head_dim, index.head_dim
                ),
            );
        }
        c.check_rotary(&mut require);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }

    fn check_routing(&self, require: &mut impl FnMut(bool, String)) {
        let (experts, groups) = (self.n_routed_experts, self.n_group);
        require(
            experts.is_multiple_of(groups),
            format!("n_group: expected a divisor of n_routed_experts = {experts}, found {groups}"),
        );
        require(
            self.topk_group >= 1 && self.topk_group <= groups,
            format!("topk_group: expected 1 to n_group = {groups}, found {}", self.topk_group),
        );
        require(
            groups == 1 || experts / groups >= 2,
            format!(
                "n_group: groups need at least 2 experts each, found {experts} experts in {groups} groups"
            ),
        );
        let reachable = (experts / groups).saturating_mul(self.topk_group);
        require(
            self.num_experts_per_tok <= reachable,
            format!(
                "num_experts_per_tok: expected at most {reachable} (the experts of topk_group groups), found {}",
                self.num_experts_per_tok
            ),
        );
    }

    fn check_rotary(&self, require: &mut impl FnMut(bool, String)) {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        require(
            self.rope_theta.is_finite() && self.rope_theta > 1.0,
            format!("rope_theta: expected above 1, found {}", self.rope_theta),
        );
        require(
            positive(self.rms_norm_eps) && self.rms_norm_eps < 1.0,
            format!("rms_norm_eps: expected between 0 and 1, found {}", self.rms_norm_eps),
        );
        require(
            positive(self.routed_scaling_factor),
            format!("routed_scaling_factor: expected above 0, found {}", self.routed_scaling_factor),
        );
        if let Some(y) = self.yarn {
            require(
                y.factor.is_finite() && y.factor >= 1.0,
                format!("rope_scaling.factor: expected 1 or more, found {}", y.factor),
            );
            require(
                positive(y.beta_fast) && positive(y.beta_slow),
                format!(
                    "rope_scaling.beta_fast/beta_slow: expected above 0, found {}/{}",
                    y.beta_fast, y.beta_slow
                ),
            );
            require(
                positive(y.mscale_all_dim) || (y.factor <= 1.0 && y.mscale_all_dim == 0.0),
                format!("rope_scaling.mscale_all_dim: expected above 0, found {}", y.mscale_all_dim),
            );
            let original = y.original_max_position_embeddings;
            require(
                original > 0 && original <= MOST_POSITIONS,
                format!(
                    "rope_scaling.original_max_position_embeddings: expected 1 to {MOST_POSITIONS}, found {original}"
                ),
            );
        }
    }

    /// Every size that must be positive, with its name and the most that it may be.
    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let mut sizes = vec![
            ("vocab_size", self.vocab_size, MOST_TOKENS),
            ("hidden_size", self.hidden_size, MOST_WIDTH),
            ("num_attention_heads", self.num_attention_heads, MOST_HEADS),
            ("q_lora_rank", self.q_lora_rank, MOST_WIDTH),
            ("kv_lora_rank", self.kv_lora_rank, MOST_WIDTH),
            ("qk_nope_head_dim", self.qk_nope_head_dim, MOST_HEAD_DIM),
            ("qk_rope_head_dim", self.qk_rope_head_dim, MOST_HEAD_DIM),
            ("v_head_dim", self.v_head_dim, MOST_HEAD_DIM),
            ("max_position_embeddings", self.max_position_embeddings, MOST_POSITIONS),
        ];
        if self.first_k_dense_replace > 0 {
            sizes.push(("intermediate_size", self.intermediate_size, MOST_INNER_WIDTH));
        }
        if self.first_k_dense_replace < self.n_layers_with_mtp() {
            sizes.extend([
                ("moe_intermediate_size", self.moe_intermediate_size, MOST_INNER_WIDTH),
                ("n_routed_experts", self.n_routed_experts, MOST_EXPERTS),
                ("num_experts_per_tok", self.num_experts_per_tok, MOST_EXPERTS),
                ("n_group", self.n_group, MOST_EXPERTS),
            ]);
        }
        if let Some(index) = self.indexer {
            sizes.extend([
                ("index_n_heads", index.n_heads, MOST_HEADS),
                ("index_head_dim", index.head_dim, MOST_HEAD_DIM),
                ("index_topk", index.topk, MOST_POSITIONS),
            ]);
        }
        sizes
    }
}
