//! What a choice of types costs: room on the disk, and bytes read for each token.

use crate::encode::Encoding;
use fathom_arch::plan::TensorPlan;
use fathom_arch::role::Role;

/// The two figures that a choice of types is judged by, beside its quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of weights.
    pub n_weights: u64,
    /// Bytes of all tensors, without header and padding.
    pub bytes: u64,
    /// Bytes of weights read to decode one token without speculation: every matrix of the trunk once, of routed experts
    /// the part that is chosen, one row of the embedding.
    pub bytes_per_token: u64,
}

impl Cost {
    /// Adds up `plan`. The trunk has `n_layers` layers (what comes after is MTP, which only speculation reads), and each
    /// token uses `n_used` experts of a layer.
    ///
    /// # Panics
    /// If an encoding's blocks do not divide its tensor's rows.
    pub fn of(plan: &[TensorPlan], encodings: &[Encoding], n_layers: usize, n_used: usize) -> Cost {
        let mut cost = Cost::default();
        for (tensor, encoding) in plan.iter().zip(encodings) {
            let row = encoding.row_bytes(tensor.n_cols()).expect("a recipe gives types that divide");
            let n_rows: u64 = tensor.shape.iter().rev().skip(1).map(|&d| d as u64).product();
            let bytes = row * n_rows;
            cost.n_weights += tensor.n_elems();
            cost.bytes += bytes;
            cost.bytes_per_token += match tensor.role {
                _ if layer(&tensor.name).is_some_and(|layer| layer >= n_layers) => 0,
                Role::Mtp => 0,
                Role::Embed => row,
                Role::RoutedGateUp | Role::RoutedDown => bytes / tensor.shape[0] as u64 * n_used as u64,
                _ => bytes,
            };
        }
        cost
    }

    /// Bits in the file for each weight.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.n_weights as f64
    }

    /// Size in GiB.
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / (1u64 << 30) as f64
    }
}

/// The number in `blk.N.`.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;

    #[test]
    fn experts_and_embedding_are_read_in_part_and_mtp_not_at_all() {
        let plan = [
            stored("token_embd.weight", Role::Embed, &[100, 32]),
            stored("blk.0.attn_q_a.weight", Role::Attention, &[10, 32]),
            stored("blk.1.ffn_up_exps.weight", Role::RoutedGateUp, &[8, 4, 32]),
            stored("blk.2.attn_q_a.weight", Role::Attention, &[10, 32]),
            stored("blk.2.nextn.eh_proj.weight", Role::Mtp, &[10, 32]),
        ];
        let cost = Cost::of(&plan, &[Encoding::Q8_0; 5], 2, 2);
        assert_eq!(cost.n_weights, 162 * 32);
        assert_eq!(cost.bytes, 162 * 34);
        assert_eq!(cost.bytes_per_token, (1 + 10 + 8) * 34);
        assert_eq!(cost.bits_per_weight(), 8.5);
    }
}
