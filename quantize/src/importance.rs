//! How much errors cost where: weights by column, for the tensors and the experts that they are known of.

use crate::error::Error;
use fathom_arch::plan::{Origin, TensorPlan};
use std::collections::BTreeMap;

/// For each tensor that it is known of, one weight for each column of each of its matrices: what a squared error costs there,
/// which is the mean square of the activations that meet it. A tensor's matrices are its experts, or its heads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// By GGUF name: `[matrices, columns]`, or `[columns]` for all matrices alike.
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Importance {
    /// Takes a tensor's weights, `[matrices, columns]`, or `[columns]` for all its matrices alike.
    pub fn insert(&mut self, tensor: String, weights: Vec<f32>) {
        self.tensors.insert(tensor, weights);
    }

    /// Whether nothing is known of anything.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether all of it belongs to tensors of `plan`.
    ///
    /// # Errors
    /// A tensor that is not there, weights of another number of columns, or weights that are none: all of them.
    pub fn check(&self, plan: &[TensorPlan]) -> Result<(), Error> {
        let mut problems = Vec::new();
        for (name, weights) in &self.tensors {
            let Some(tensor) = plan.iter().find(|tensor| tensor.name == *name) else {
                problems.push(format!("{name}: no tensor has this name"));
                continue;
            };
            let (n_matrices, n_cols) = (n_matrices(tensor), tensor.n_cols());
            if weights.len() != n_cols && weights.len() != n_matrices * n_cols {
                let of_all =
                    if n_matrices > 1 { format!(", or {}", n_matrices * n_cols) } else { String::new() };
                problems.push(format!("{name}: expected {n_cols} weights{of_all}, found {}", weights.len()));
            }
            if let Some(at) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
                let found = weights[at];
                problems.push(format!("{name}: expected finite weights from 0, found {found} at index {at}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Importance { problems }) }
    }

    /// The weights of one matrix of a tensor, `[columns]`, if they are known.
    pub(crate) fn of(&self, tensor: &TensorPlan, matrix: usize) -> Option<&[f32]> {
        let weights = self.tensors.get(&tensor.name)?;
        let n_cols = tensor.n_cols();
        if weights.len() == n_cols { Some(weights) } else { weights.chunks(n_cols).nth(matrix) }
    }
}

/// Experts, or heads of a half of `kv_b_proj`; 1 for all else.
fn n_matrices(tensor: &TensorPlan) -> usize {
    match &tensor.origin {
        Origin::Tensor(_) => 1,
        Origin::Stack(names) => names.len(),
        Origin::KvB { n_heads, .. } => *n_heads,
    }
}
