//! The model's tensors as typed fields: every name looked up once, every shape checked, all problems together.
//!
//! After [`Weights::bind`] the program addresses tensors by fields named as in GGUF and never by a string (law 2).

use crate::unread;
use fathom_arch::config::{Config, has_indexer};
use fathom_arch::names::{self, Spec};
use fathom_arch::role::LARGEST_OF_VECTORS;
use fathom_gguf::{Gguf, TensorInfo, TensorType};
use fathom_simd::{Format, Rows};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// Why the tensors do not make the model that the metadata describes: one line for each problem.
#[derive(Debug, thiserror::Error)]
#[error(
    "the tensors are not those of the model that the metadata describes:\n  {}\nThe file is damaged, or made by another \
     program for another layout: fetch it again or convert the model again",
    .problems.join("\n  ")
)]
pub struct BindError {
    /// What is missing, has another shape or a type without kernels, or would not be read.
    pub problems: Vec<String>,
}

/// A weight matrix as it lies in the file.
pub struct Matrix<'m> {
    format: Format,
    n_rows: usize,
    n_cols: usize,
    bytes: Cow<'m, [u8]>,
}

impl Matrix<'_> {
    /// Output values.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Input values.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Block format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Some of the rows.
    pub fn rows(&self, rows: Range<usize>) -> Rows<'_> {
        let row_bytes = self.format.row_bytes(self.n_cols);
        Rows {
            format: self.format,
            bytes: &self.bytes[rows.start * row_bytes..rows.end * row_bytes],
            n_rows: rows.len(),
            n_cols: self.n_cols,
        }
    }
}

/// Matrices of one shape, one after another: experts, or the heads of `attn_k_b` and `attn_v_b`.
pub struct Stack<'m> {
    /// All of them as one tall matrix.
    tall: Matrix<'m>,
    n_rows: usize,
}

impl Stack<'_> {
    /// Rows of one matrix.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns of each.
    pub fn n_cols(&self) -> usize {
        self.tall.n_cols
    }

    /// Block format.
    pub fn format(&self) -> Format {
        self.tall.format
    }

    /// Some rows of matrix `index`.
    pub fn rows(&self, index: usize, rows: Range<usize>) -> Rows<'_> {
        debug_assert!(rows.end <= self.n_rows);
        self.tall.rows(index * self.n_rows + rows.start..index * self.n_rows + rows.end)
    }
}

/// Multi-head latent attention. Fields are named as the tensors.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Mla<'m> {
    pub attn_q_a: Matrix<'m>,
    pub attn_q_a_norm: Vec<f32>,
    pub attn_q_b: Matrix<'m>,
    pub attn_kv_a_mqa: Matrix<'m>,
    pub attn_kv_a_norm: Vec<f32>,
    pub attn_k_b: Stack<'m>,
    pub attn_v_b: Stack<'m>,
    pub attn_output: Matrix<'m>,
}

/// The lightning indexer.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Indexer<'m> {
    pub attn_q_b: Matrix<'m>,
    pub attn_k: Matrix<'m>,
    pub k_norm: Vec<f32>,
    pub k_norm_bias: Vec<f32>,
    pub proj: Matrix<'m>,
}

/// Gate, up and down of one feed-forward network.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct SwiGlu<'m> {
    pub gate: Matrix<'m>,
    pub up: Matrix<'m>,
    pub down: Matrix<'m>,
}

/// Router, routed experts and the shared expert.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Moe<'m> {
    pub ffn_gate_inp: Matrix<'m>,
    pub exp_probs_b: Vec<f32>,
    pub ffn_gate_exps: Stack<'m>,
    pub ffn_up_exps: Stack<'m>,
    pub ffn_down_exps: Stack<'m>,
    pub shared: Option<SwiGlu<'m>>,
}

/// The feed-forward half of a layer.
pub enum Ffn<'m> {
    /// Leading layers.
    Dense(SwiGlu<'m>),
    /// All others.
    Moe(Box<Moe<'m>>),
}

/// One decoder layer.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Layer<'m> {
    pub attn_norm: Vec<f32>,
    pub attn: Mla<'m>,
    pub indexer: Option<Indexer<'m>>,
    pub ffn_norm: Vec<f32>,
    pub ffn: Ffn<'m>,
}

/// The MTP layer: a decoder layer and what surrounds it.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Mtp<'m> {
    pub layer: Layer<'m>,
    pub eh_proj: Matrix<'m>,
    pub enorm: Vec<f32>,
    pub hnorm: Vec<f32>,
    pub shared_head_norm: Vec<f32>,
    /// Copies of the main model's; absent: the main model's serve.
    pub embed_tokens: Option<Matrix<'m>>,
    pub shared_head_head: Option<Matrix<'m>>,
}

/// All tensors of a model.
#[allow(missing_docs, reason = "the fields carry the tensors' names; shapes are in names.rs")]
pub struct Weights<'m> {
    pub token_embd: Matrix<'m>,
    pub layers: Vec<Layer<'m>>,
    pub mtp: Option<Mtp<'m>>,
    pub output_norm: Vec<f32>,
    /// Absent: the embedding is the head.
    pub output: Option<Matrix<'m>>,
}

impl<'m> Weights<'m> {
    /// Binds every tensor of the model.
    ///
    /// The MTP layer is bound when its tensors are there, whatever the metadata's count says (llama.cpp reads files
    /// that declare it and lack it); [`Weights::mtp`] tells.
    ///
    /// # Errors
    /// All problems at once.
    pub fn bind(gguf: &Gguf<'m>, config: &Config) -> Result<Weights<'m>, BindError> {
        Weights::walk(gguf, config, Copies::All).map(|(weights, _)| weights)
    }

    /// What [`Weights::bind`] would say, without touching a weight: the bytes it would copy out of the file.
    ///
    /// # Errors
    /// As [`Weights::bind`].
    pub fn survey(gguf: &Gguf<'m>, config: &Config) -> Result<u64, BindError> {
        Weights::walk(gguf, config, Copies::None).map(|(_, copied_bytes)| copied_bytes)
    }

    /// What [`Weights::bind`] would say, norms and biases read, matrices not.
    ///
    /// # Errors
    /// As [`Weights::bind`].
    pub fn check(gguf: &Gguf<'m>, config: &Config) -> Result<(), BindError> {
        Weights::walk(gguf, config, Copies::Vectors).map(drop)
    }

    fn walk(gguf: &Gguf<'m>, config: &Config, copies: Copies) -> Result<(Weights<'m>, u64), BindError> {
        let (read, problems) = (HashSet::new(), Vec::new());
        let mut binder = Binder { gguf, config, copies, copied_bytes: 0, read, problems };
        let weights = binder.weights();
        if binder.problems.is_empty() {
            binder.problems = unread::problems(gguf, config, &binder.read);
        }
        match (weights, binder.problems) {
            (Some(weights), problems) if problems.is_empty() => Ok((weights, binder.copied_bytes)),
            (_, problems) => Err(BindError { problems }),
        }
    }

    /// The head: `output`, or the embedding where they are tied.
    pub fn head(&self) -> &Matrix<'m> {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }
}

struct Binder<'b, 'm> {
    gguf: &'b Gguf<'m>,
    config: &'b Config,
    copies: Copies,
    copied_bytes: u64,
    /// Names of the tensors that are bound.
    read: HashSet<&'m str>,
    problems: Vec<String>,
}

/// What is copied out of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// Nothing; it is only counted.
    None,
    /// The vectors, which are read as numbers.
    Vectors,
    /// These, and halves of matrices that lie in another order than they are used in.
    All,
}

/// Collects a problem and gives nothing; the callers go on, so that all problems are found.
type Bound<T> = Option<T>;

impl<'m> Binder<'_, 'm> {
    fn weights(&mut self) -> Bound<Weights<'m>> {
        let token_embd = self.global_matrix(&names::TOKEN_EMBD);
        let output_norm = self.vector(names::OUTPUT_NORM.gguf.to_owned(), &names::OUTPUT_NORM);
        let output = match self.gguf.tensor(names::OUTPUT.gguf) {
            Some(_) => self.global_matrix(&names::OUTPUT).map(Some),
            None => Some(None),
        };
        let n_layers = self.config.num_hidden_layers;
        if self.config.indexer.is_some() && !has_indexer(self.gguf) {
            self.problems.push(unread::NO_INDEXER.to_owned());
            return None;
        }
        let layers: Vec<_> = (0..n_layers).map(|layer| self.layer(layer)).collect();
        let mtp = match self.gguf.tensor(&names::NEXTN_EH_PROJ.gguf_in(n_layers)) {
            Some(_) if self.config.num_nextn_predict_layers > 0 => self.mtp(n_layers).map(Some),
            _ => Some(None),
        };
        Some(Weights {
            token_embd: token_embd?,
            layers: layers.into_iter().collect::<Option<_>>()?,
            mtp: mtp?,
            output_norm: output_norm?,
            output: output?,
        })
    }

    fn layer(&mut self, layer: usize) -> Bound<Layer<'m>> {
        let attn_norm = self.vector_in(layer, &names::ATTN_NORM);
        let attn = self.mla(layer);
        let indexer = if self.config.indexer.is_some() { self.indexer(layer).map(Some) } else { Some(None) };
        let ffn_norm = self.vector_in(layer, &names::FFN_NORM);
        let ffn = if self.config.is_dense_layer(layer) {
            self.swiglu(layer, [&names::FFN_GATE, &names::FFN_UP, &names::FFN_DOWN]).map(Ffn::Dense)
        } else {
            self.moe(layer).map(|moe| Ffn::Moe(Box::new(moe)))
        };
        Some(Layer { attn_norm: attn_norm?, attn: attn?, indexer: indexer?, ffn_norm: ffn_norm?, ffn: ffn? })
    }

    fn mla(&mut self, layer: usize) -> Bound<Mla<'m>> {
        let attn_q_a = self.matrix_in(layer, &names::ATTN_Q_A);
        let attn_q_a_norm = self.vector_in(layer, &names::ATTN_Q_A_NORM);
        let attn_q_b = self.matrix_in(layer, &names::ATTN_Q_B);
        let attn_kv_a_mqa = self.matrix_in(layer, &names::ATTN_KV_A_MQA);
        let attn_kv_a_norm = self.vector_in(layer, &names::ATTN_KV_A_NORM);
        let kv_b = self.kv_b(layer);
        let attn_output = self.matrix_in(layer, &names::ATTN_OUTPUT);
        let (attn_k_b, attn_v_b) = kv_b?;
        Some(Mla {
            attn_q_a: attn_q_a?,
            attn_q_a_norm: attn_q_a_norm?,
            attn_q_b: attn_q_b?,
            attn_kv_a_mqa: attn_kv_a_mqa?,
            attn_kv_a_norm: attn_kv_a_norm?,
            attn_k_b,
            attn_v_b,
            attn_output: attn_output?,
        })
    }

    /// The two halves of kv_b: stored apart (today's files, and ik_llama.cpp's flat form of the same bytes), or cut
    /// out of the one matrix that older files hold.
    fn kv_b(&mut self, layer: usize) -> Bound<(Stack<'m>, Stack<'m>)> {
        let has = |spec: &Spec| self.gguf.tensor(&spec.gguf_in(layer)).is_some();
        if has(&names::ATTN_K_B) || !has(&names::ATTN_KV_B) {
            let k = self.stack_in(layer, &names::ATTN_K_B);
            let v = self.stack_in(layer, &names::ATTN_V_B);
            return Some((k?, v?));
        }
        let whole = self.matrix_in(layer, &names::ATTN_KV_B)?;
        Some((self.k_half(&whole), self.v_half(&whole)))
    }

    /// K rows, transposed per head. Kept in F32: the columns of quantised rows are not blocks of any format.
    fn k_half(&mut self, whole: &Matrix<'m>) -> Stack<'m> {
        let c = self.config;
        let (heads, nope, rank) = (c.num_attention_heads, c.qk_nope_head_dim, c.kv_lora_rank);
        let bytes = self.copy(heads * nope * rank * 4, |bytes| {
            let mut row = vec![0f32; rank];
            for (head, out) in bytes.chunks_exact_mut(nope * rank * 4).enumerate() {
                for d in 0..nope {
                    let index = head * (nope + c.v_head_dim) + d;
                    whole.format.decode(whole.rows(index..index + 1).bytes, &mut row);
                    for (col, value) in row.iter().enumerate() {
                        out[(col * nope + d) * 4..][..4].copy_from_slice(&value.to_le_bytes());
                    }
                }
            }
        });
        let tall =
            Matrix { format: Format::F32, n_rows: heads * rank, n_cols: nope, bytes: Cow::Owned(bytes) };
        Stack { tall, n_rows: rank }
    }

    /// V rows of all heads, one after another, in their own format.
    fn v_half(&mut self, whole: &Matrix<'m>) -> Stack<'m> {
        let c = self.config;
        let per_head = c.qk_nope_head_dim + c.v_head_dim;
        let head_bytes = c.v_head_dim * whole.format.row_bytes(c.kv_lora_rank);
        let bytes = self.copy(c.num_attention_heads * head_bytes, |bytes| {
            for (head, out) in bytes.chunks_exact_mut(head_bytes).enumerate() {
                let start = head * per_head + c.qk_nope_head_dim;
                out.copy_from_slice(whole.rows(start..start + c.v_head_dim).bytes);
            }
        });
        let tall = Matrix {
            format: whole.format,
            n_rows: c.num_attention_heads * c.v_head_dim,
            n_cols: c.kv_lora_rank,
            bytes: Cow::Owned(bytes),
        };
        Stack { tall, n_rows: c.v_head_dim }
    }

    /// Memory of its own for what the file holds in another order.
    fn copy(&mut self, n_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
        self.copied_bytes += n_bytes as u64;
        if self.copies != Copies::All {
            return Vec::new();
        }
        let mut bytes = vec![0; n_bytes];
        fill(&mut bytes);
        bytes
    }

    fn indexer(&mut self, layer: usize) -> Bound<Indexer<'m>> {
        let attn_q_b = self.matrix_in(layer, &names::INDEXER_ATTN_Q_B);
        let attn_k = self.matrix_in(layer, &names::INDEXER_ATTN_K);
        let k_norm = self.vector_in(layer, &names::INDEXER_K_NORM);
        let k_norm_bias = self.vector_in(layer, &names::INDEXER_K_NORM_BIAS);
        let proj = self.matrix_in(layer, &names::INDEXER_PROJ);
        Some(Indexer {
            attn_q_b: attn_q_b?,
            attn_k: attn_k?,
            k_norm: k_norm?,
            k_norm_bias: k_norm_bias?,
            proj: proj?,
        })
    }

    fn swiglu(&mut self, layer: usize, [gate, up, down]: [&Spec; 3]) -> Bound<SwiGlu<'m>> {
        let gate = self.matrix_in(layer, gate);
        let up = self.matrix_in(layer, up);
        let down = self.matrix_in(layer, down);
        Some(SwiGlu { gate: gate?, up: up?, down: down? })
    }

    fn moe(&mut self, layer: usize) -> Bound<Moe<'m>> {
        let ffn_gate_inp = self.matrix_in(layer, &names::FFN_GATE_INP);
        let exp_probs_b = self.vector_in(layer, &names::EXP_PROBS_B);
        let ffn_gate_exps = self.stack_in(layer, &names::FFN_GATE_EXPS);
        let ffn_up_exps = self.stack_in(layer, &names::FFN_UP_EXPS);
        let ffn_down_exps = self.stack_in(layer, &names::FFN_DOWN_EXPS);
        let shared = if self.config.n_shared_experts > 0 {
            self.swiglu(layer, [&names::FFN_GATE_SHEXP, &names::FFN_UP_SHEXP, &names::FFN_DOWN_SHEXP])
                .map(Some)
        } else {
            Some(None)
        };
        Some(Moe {
            ffn_gate_inp: ffn_gate_inp?,
            exp_probs_b: exp_probs_b?,
            ffn_gate_exps: ffn_gate_exps?,
            ffn_up_exps: ffn_up_exps?,
            ffn_down_exps: ffn_down_exps?,
            shared: shared?,
        })
    }

    fn mtp(&mut self, layer: usize) -> Bound<Mtp<'m>> {
        let body = self.layer(layer);
        let eh_proj = self.matrix_in(layer, &names::NEXTN_EH_PROJ);
        let enorm = self.vector_in(layer, &names::NEXTN_ENORM);
        let hnorm = self.vector_in(layer, &names::NEXTN_HNORM);
        let shared_head_norm = self.vector_in(layer, &names::NEXTN_SHARED_HEAD_NORM);
        let mut optional = |spec: &Spec| match self.gguf.tensor(&spec.gguf_in(layer)) {
            Some(_) => self.matrix_in(layer, spec).map(Some),
            None => Some(None),
        };
        let embed_tokens = optional(&names::NEXTN_EMBED_TOKENS);
        let shared_head_head = optional(&names::NEXTN_SHARED_HEAD_HEAD);
        Some(Mtp {
            layer: body?,
            eh_proj: eh_proj?,
            enorm: enorm?,
            hnorm: hnorm?,
            shared_head_norm: shared_head_norm?,
            embed_tokens: embed_tokens?,
            shared_head_head: shared_head_head?,
        })
    }

    fn global_matrix(&mut self, spec: &Spec) -> Bound<Matrix<'m>> {
        self.matrix(spec.gguf.to_owned(), spec)
    }

    fn matrix_in(&mut self, layer: usize, spec: &Spec) -> Bound<Matrix<'m>> {
        self.matrix(spec.gguf_in(layer), spec)
    }

    fn stack_in(&mut self, layer: usize, spec: &Spec) -> Bound<Stack<'m>> {
        let n_rows = (spec.shape)(self.config)[1];
        let tall = self.matrix_in(layer, spec)?;
        Some(Stack { tall, n_rows })
    }

    fn vector_in(&mut self, layer: usize, spec: &Spec) -> Bound<Vec<f32>> {
        self.vector(spec.gguf_in(layer), spec)
    }

    /// A matrix, or a stack seen as one tall matrix.
    fn matrix(&mut self, name: String, spec: &Spec) -> Bound<Matrix<'m>> {
        let shape = (spec.shape)(self.config);
        let (n_cols, outer) = shape.split_last().expect("shapes in names.rs have dimensions");
        let n_rows = outer.iter().product();
        let tensor = self.find(&name, &shape)?;
        let Some(format) = format_of(tensor.ty) else {
            let known: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
            self.problems.push(format!(
                "{name}: expected a type that has kernels ({}), found {}; quantize the model again",
                known.join(", "),
                tensor.ty.name()
            ));
            return None;
        };
        Some(Matrix { format, n_rows, n_cols: *n_cols, bytes: Cow::Borrowed(tensor.data()) })
    }

    /// A norm or bias, copied out of the file: a few kilobytes that kernels read as numbers.
    fn vector(&mut self, name: String, spec: &Spec) -> Bound<Vec<f32>> {
        let shape = (spec.shape)(self.config);
        let tensor = self.find(&name, &shape)?;
        if tensor.ty != TensorType::F32 {
            self.problems.push(format!("{name}: expected f32, found {}", tensor.ty.name()));
            return None;
        }
        self.copied_bytes += tensor.bytes;
        if self.copies == Copies::None {
            return Some(Vec::new());
        }
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let values: Vec<f32> = values.collect();
        let wrong = |value: &f32| value.is_nan() || value.abs() > LARGEST_OF_VECTORS;
        if let Some(at) = values.iter().position(wrong) {
            let value = values[at];
            self.problems.push(format!(
                "{name}: expected numbers from -{LARGEST_OF_VECTORS} to {LARGEST_OF_VECTORS}, found {value} at index {at}"
            ));
            return None;
        }
        Some(values)
    }

    fn find(&mut self, name: &str, shape: &[usize]) -> Bound<TensorInfo<'m>> {
        let Some(tensor) = self.gguf.tensor(name) else {
            self.problems.push(format!("{name}: expected {shape:?}, found nothing"));
            return None;
        };
        self.read.insert(tensor.name);
        // Outer dimensions of 1 change nothing, and some programs write them.
        let significant = |dims: &[usize]| dims.iter().position(|&dim| dim != 1).unwrap_or(dims.len());
        let found = tensor.shape.dims();
        // ik_llama.cpp writes attn_k_b and attn_v_b flat; the bytes are the same.
        let flat = [shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]];
        let same = found[significant(found)..] == shape[significant(shape)..]
            || (shape.len() == 3 && found == flat && name.contains(".attn_"));
        if !same {
            self.problems.push(format!("{name}: expected {shape:?}, found {found:?}"));
            return None;
        }
        Some(*tensor)
    }
}

/// The seam between the container's types and the kernels' formats.
pub fn format_of(ty: TensorType) -> Option<Format> {
    Format::ALL.iter().copied().find(|format| format.name() == ty.name())
}
