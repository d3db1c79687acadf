//! Which memory node each byte of a model's files belongs on: the node whose threads multiply with it.
//!
//! Nothing is moved: a page lies where the thread that first reads it runs, so whoever brings the weights into memory reads
//! each run on its node. Pages that the system holds from an earlier run stay where that left them.

use crate::threads::Seats;
use fathom_arch::names;
use fathom_arch::role::Role;
use fathom_gguf::{Gguf, Shard, TensorInfo};
use std::ops::Range;

/// The files of a model, cut into runs, and the threads that they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    seats: Seats,
    /// For each file its runs, in order: header and tensors. What lies far from both is nobody's.
    files: Vec<Vec<Run>>,
}

/// Bytes of a file that belong on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The bytes.
    pub bytes: Range<usize>,
    /// The node, counted as in [`Seats::share_of_node`].
    pub node: usize,
}

impl Placement {
    /// Places a model's tensors as a team in these seats will read them. `sizes`: the files' bytes.
    pub fn of(gguf: &Gguf<'_>, sizes: &[usize], seats: Seats) -> Placement {
        let header = |shard: &Shard<'_>| Run { bytes: 0..shard.file().data_start() as usize, node: 0 };
        let mut files: Vec<_> = gguf.shards().iter().map(|shard| vec![header(shard)]).collect();
        for (shard, tensor) in gguf.tensors() {
            place(tensor, &seats, &mut files[shard]);
        }
        let files = files.into_iter().zip(sizes).map(|(runs, &size)| joined(runs, size)).collect();
        Placement { seats, files }
    }

    /// Files without tensors, cut at the nodes' shares.
    #[cfg(test)]
    pub(crate) fn shares(sizes: &[usize], seats: Seats) -> Placement {
        let runs = |&size: &usize| {
            (0..seats.n_nodes()).map(|node| Run { bytes: seats.share_of_node(node).of(size), node }).collect()
        };
        let files = sizes.iter().map(runs).collect();
        Placement { seats, files }
    }

    /// The threads.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Bytes of all runs.
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().flatten().map(|run| run.bytes.len() as u64).sum()
    }

    /// The runs of file `index`.
    pub fn runs(&self, index: usize) -> &[Run] {
        &self.files[index]
    }
}

/// A run for each node and each matrix that is multiplied by itself: an expert, or all heads together.
fn place(tensor: &TensorInfo<'_>, seats: &Seats, runs: &mut Vec<Run>) {
    let dims = tensor.shape.dims();
    let is_experts = names::find(tensor.name)
        .is_some_and(|(spec, _)| matches!(spec.role, Role::RoutedGateUp | Role::RoutedDown));
    let n_matrices = if is_experts { dims[0] } else { 1 };
    let n_rows = tensor.shape.rows() / n_matrices;
    let row_bytes = tensor.bytes as usize / tensor.shape.rows();
    for matrix in 0..n_matrices {
        let start = tensor.offset as usize + matrix * n_rows * row_bytes;
        for node in 0..seats.n_nodes() {
            let rows = seats.share_of_node(node).of(n_rows);
            runs.push(Run { bytes: start + rows.start * row_bytes..start + rows.end * row_bytes, node });
        }
    }
}

/// Holes up to this are read with their neighbours: the padding before a tensor is far smaller.
const HOLE: usize = 1 << 20;

/// The runs in order, the bytes of small holes between them given to their neighbours.
fn joined(mut runs: Vec<Run>, size: usize) -> Vec<Run> {
    runs.retain(|run| !run.bytes.is_empty());
    runs.sort_by_key(|run| run.bytes.start);
    let mut whole: Vec<Run> = Vec::with_capacity(runs.len());
    // The padding at the end.
    if let Some(last) = runs.last_mut().filter(|last| last.bytes.end + HOLE >= size) {
        last.bytes.end = size;
    }
    for mut run in runs {
        run.bytes.end = run.bytes.end.min(size);
        match whole.last_mut() {
            Some(last) if run.bytes.start > last.bytes.end + HOLE => whole.push(run),
            Some(last) if last.node == run.node => last.bytes.end = run.bytes.end,
            Some(last) => {
                last.bytes.end = run.bytes.start;
                whole.push(run);
            }
            None => whole.push(run),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::machine_of_nodes;
    use fathom_gguf::{TensorType, Writer};

    fn file() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.tensor("blk.1.ffn_gate_exps.weight", TensorType::F32, &[2, 4, 32]).unwrap();
        writer.tensor("blk.1.attn_k_b.weight", TensorType::F32, &[4, 2, 32]).unwrap();
        writer.tensor("output_norm.weight", TensorType::F32, &[32]).unwrap();
        let fathom_gguf::Layout { mut header, file_bytes, .. } = writer.layout().unwrap();
        header.resize(file_bytes as usize, 0);
        header
    }

    #[test]
    fn experts_are_cut_each_and_heads_together() {
        let bytes = file();
        let gguf = Gguf::from_shards(vec![("it".to_owned(), bytes.as_slice())]).unwrap();
        let root = machine_of_nodes(&["0-1", "2-3"], "0-3");
        let placement = Placement::of(&gguf, &[bytes.len()], Seats::read(root.path(), 4));
        let at = |name: &str| gguf.tensor(name).unwrap().offset as usize;
        let (experts, heads) = (at("blk.1.ffn_gate_exps.weight"), at("blk.1.attn_k_b.weight"));
        let norm = at("output_norm.weight");
        // Rows of 128 bytes; two experts of four rows, then four heads of two, then a vector, which is the last node's.
        let run = |start, end, node| Run { bytes: start..end, node };
        let expected = [
            run(0, experts + 256, 0),
            run(experts + 256, experts + 512, 1),
            run(experts + 512, experts + 768, 0),
            run(experts + 768, heads, 1),
            run(heads, heads + 512, 0),
            run(heads + 512, bytes.len(), 1),
        ];
        assert!(norm < bytes.len());
        assert_eq!(placement.runs(0), expected);
    }

    #[test]
    fn one_node_has_everything() {
        let bytes = file();
        let gguf = Gguf::from_shards(vec![("it".to_owned(), bytes.as_slice())]).unwrap();
        let root = machine_of_nodes(&["0-3"], "0-3");
        let placement = Placement::of(&gguf, &[bytes.len()], Seats::read(root.path(), 4));
        assert_eq!(placement.runs(0), [Run { bytes: 0..bytes.len(), node: 0 }]);
    }

    #[test]
    fn bytes_that_belong_to_no_tensor_are_left_alone() {
        let run = |bytes: Range<usize>, node| Run { bytes, node };
        let runs = vec![
            run(0..100, 0),
            run(100..164, 0),
            run(HOLE + 500..HOLE + 700, 1),
            run(3 * HOLE..3 * HOLE + 9, 1),
        ];
        // Both holes are longer than a mebibyte, and the file is far longer than its tensors.
        let expected = [run(0..164, 0), run(HOLE + 500..HOLE + 700, 1), run(3 * HOLE..3 * HOLE + 9, 1)];
        assert_eq!(joined(runs, 1 << 40), expected);
        let near = vec![run(0..100, 0), run(HOLE..HOLE + 9, 1)];
        assert_eq!(joined(near, 1 << 40), [run(0..HOLE, 0), run(HOLE..HOLE + 9, 1)]);
    }
}
