//! The base file: what one model predicted, kept for comparing others with it.
//!
//! A GGUF container without a model in it. Full logits would be 129,280 values for each token; the likeliest few and
//! the mass of the rest say nearly as much in a hundredth of the room. For each chunk `c` of the text there are
//!
//! ```text
//! chunk.c.ids     I32 [scored, top_k]   likeliest tokens, best first, of equals the lower id
//! chunk.c.ln_p    F32 [scored, top_k]   their log-probabilities
//! chunk.c.rest    F32 [scored]          log of the probability of all others together
//! chunk.c.target  F32 [scored]          log-probability of the token that came
//! ```
//!
//! and beside them `tokens`, I32 `[chunks, n_ctx]`: whoever compares scores the very same tokens.

use super::{Chunks, log_sum_exp};
use fathom_files::output::{Appending, Target, WriteError};
use fathom_gguf::{Gguf, Layout, TensorInfo, TensorType, Writer};
use std::path::Path;

/// What a base file calls itself in `general.type`.
const KIND: &str = "perplexity-base";

/// Why a base file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The disk, or what lies there already.
    #[error(transparent)]
    Output(#[from] WriteError),
    /// The container is damaged, or cannot be laid out.
    #[error(transparent)]
    Gguf(#[from] fathom_gguf::Error),
    /// Not such a file.
    #[error("expected a file written by --save-base, found {found}")]
    NotABase {
        /// What it is.
        found: String,
    },
    /// A tensor that does not fit.
    #[error("tensor {name}: expected {expected}, found {found}; the file is damaged, write it again")]
    Tensor {
        /// Its name.
        name: String,
        /// Type and shape.
        expected: String,
        /// Type and shape, or nothing.
        found: String,
    },
    /// A probability above one, or none at all.
    #[error(
        "tensor {name}: expected logarithms of probabilities, found {value}; the file is damaged, write it again"
    )]
    Logarithm {
        /// Whose.
        name: String,
        /// The value.
        value: f32,
    },
    /// A token that the vocabulary does not have.
    #[error(
        "tensor {name}: expected ids below {vocab_size}, found {id}; the file is damaged, write it again"
    )]
    Id {
        /// Whose.
        name: String,
        /// The id.
        id: u32,
        /// Tokens there are.
        vocab_size: usize,
    },
    /// Another vocabulary.
    #[error(
        "expected a base with a vocabulary of {expected} tokens, found {found}; make the base with a model of the same family"
    )]
    Vocabulary {
        /// The model's.
        expected: usize,
        /// The base's.
        found: usize,
    },
}

/// The likeliest tokens of one row of logits.
#[derive(Clone, Debug, PartialEq)]
pub struct TopRow {
    ids: Vec<u8>,
    ln_p: Vec<u8>,
    rest: f32,
    target: f32,
}

impl TopRow {
    /// Keeps the `top_k` likeliest of `logits`.
    pub fn new(logits: &[f32], target: u32, top_k: usize) -> TopRow {
        let total = log_sum_exp(logits);
        let ln_p = |id: u32| f64::from(logits[id as usize]) - total;
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let better = |a: &u32, b: &u32| {
            // Adding zero makes the two zeros one.
            let (x, y) = (logits[*a as usize] + 0.0, logits[*b as usize] + 0.0);
            y.total_cmp(&x).then(a.cmp(b))
        };
        if top_k < order.len() {
            order.select_nth_unstable_by(top_k - 1, better);
        }
        let (kept, others) = order.split_at_mut(top_k.min(logits.len()));
        kept.sort_unstable_by(better);
        // In ascending id: a sum that does not depend on how the selection went.
        others.sort_unstable();
        let rest: f64 = others.iter().map(|&id| ln_p(id).exp()).sum();
        TopRow {
            ids: kept.iter().flat_map(|id| id.to_le_bytes()).collect(),
            ln_p: kept.iter().flat_map(|&id| (ln_p(id) as f32).to_le_bytes()).collect(),
            rest: rest.ln() as f32,
            target: ln_p(target) as f32,
        }
    }

    /// The row as a reader sees it.
    pub fn row(&self) -> BaseRow<'_> {
        BaseRow { ids: &self.ids, ln_p: &self.ln_p, rest: self.rest, target: self.target }
    }
}

/// One row of a base: the likeliest tokens and what is left.
#[derive(Clone, Copy, Debug)]
pub struct BaseRow<'b> {
    ids: &'b [u8],
    ln_p: &'b [u8],
    rest: f32,
    target: f32,
}

impl BaseRow<'_> {
    /// Ids and log-probabilities, best first.
    pub fn tops(&self) -> impl Iterator<Item = (u32, f32)> {
        let (ids, ln_p) = (self.ids.as_chunks().0, self.ln_p.as_chunks().0);
        ids.iter().zip(ln_p).map(|(&id, &ln_p)| (u32::from_le_bytes(id), f32::from_le_bytes(ln_p)))
    }

    /// Log of the probability of all others together; negative infinity when there are none.
    pub fn rest(&self) -> f32 {
        self.rest
    }

    /// Log-probability of the token that came.
    pub fn target(&self) -> f32 {
        self.target
    }
}

/// Names, types and shapes of a base's tensors, in the order of the file.
fn tensors(
    n_chunks: usize,
    n_ctx: usize,
    n_scored: usize,
    top_k: usize,
) -> Vec<(String, TensorType, Vec<usize>)> {
    let mut all = vec![("tokens".to_owned(), TensorType::I32, vec![n_chunks, n_ctx])];
    for chunk in 0..n_chunks {
        all.push((format!("chunk.{chunk}.ids"), TensorType::I32, vec![n_scored, top_k]));
        all.push((format!("chunk.{chunk}.ln_p"), TensorType::F32, vec![n_scored, top_k]));
        all.push((format!("chunk.{chunk}.rest"), TensorType::F32, vec![n_scored]));
        all.push((format!("chunk.{chunk}.target"), TensorType::F32, vec![n_scored]));
    }
    all
}

/// A base file being written, under a temporary name until it is whole.
pub struct BaseWriter {
    file: Appending,
    layout: Layout,
    /// Tensors written.
    next: usize,
    /// Bytes written.
    at: u64,
    top_k: usize,
}

impl BaseWriter {
    /// Begins the file, with the room that all of it takes.
    ///
    /// # Errors
    /// A name that is taken, what the disk says.
    pub fn create(
        target: &Target,
        chunks: &Chunks,
        vocab_size: usize,
        top_k: usize,
        model: &str,
    ) -> Result<BaseWriter, BaseError> {
        let top_k = top_k.clamp(1, vocab_size);
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "fathom")?;
        writer.metadata("general.type", KIND)?;
        writer.metadata("general.name", model)?;
        writer.metadata("perplexity.vocab_size", vocab_size as u32)?;
        writer.metadata("perplexity.top_k", top_k as u32)?;
        writer.metadata("perplexity.context_length", chunks.n_ctx() as u32)?;
        writer.metadata("perplexity.chunk_count", chunks.len() as u32)?;
        for (name, ty, shape) in tensors(chunks.len(), chunks.n_ctx(), chunks.n_scored(), top_k) {
            writer.tensor(&name, ty, &shape)?;
        }
        let layout = writer.layout()?;
        let file = Appending::create(target, layout.file_bytes)?;
        let mut base = BaseWriter { file, layout, next: 0, at: 0, top_k };
        let header = std::mem::take(&mut base.layout.header);
        base.put(&header)?;
        base.tensor(&le_bytes(chunks.tokens()))?;
        Ok(base)
    }

    /// Where it is while it is written.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tokens kept of each row.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// Writes the next chunk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn chunk(&mut self, rows: &[TopRow]) -> Result<(), BaseError> {
        let all = |part: fn(&TopRow) -> &[u8]| rows.iter().flat_map(part).copied().collect::<Vec<u8>>();
        let rest: Vec<u8> = rows.iter().flat_map(|row| row.rest.to_le_bytes()).collect();
        let target: Vec<u8> = rows.iter().flat_map(|row| row.target.to_le_bytes()).collect();
        for bytes in [all(|row| &row.ids), all(|row| &row.ln_p), rest, target] {
            self.tensor(&bytes)?;
        }
        Ok(())
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(mut self) -> Result<(), BaseError> {
        let padding = self.layout.file_bytes - self.at;
        self.put(&vec![0; padding as usize])?;
        Ok(self.file.finish(|| false)?)
    }

    /// The next tensor, in the order of the layout.
    fn tensor(&mut self, bytes: &[u8]) -> Result<(), BaseError> {
        let place = self.layout.tensors[self.next];
        assert_eq!(place.bytes, bytes.len() as u64, "tensor {} of a base", self.next);
        let padding = place.offset - self.at;
        self.put(&vec![0; padding as usize])?;
        self.next += 1;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BaseError> {
        self.at += bytes.len() as u64;
        Ok(self.file.write(bytes)?)
    }
}

fn le_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

/// A base file, read.
pub struct Base<'d> {
    gguf: Gguf<'d>,
    chunks: Chunks,
    vocab_size: usize,
    top_k: usize,
}

/// One chunk of it.
pub struct BaseChunk<'b> {
    ids: &'b [u8],
    ln_p: &'b [u8],
    rest: &'b [u8],
    target: &'b [u8],
    top_k: usize,
}

impl<'d> Base<'d> {
    /// Reads and checks all but the rows.
    ///
    /// # Errors
    /// A damaged file, or one that is no base.
    pub fn read(shards: Vec<(String, &'d [u8])>) -> Result<Base<'d>, BaseError> {
        let gguf = Gguf::from_shards(shards)?;
        let metadata = gguf.metadata();
        let kind = metadata.str("general.type")?;
        if kind != Some(KIND) {
            let found = kind
                .map_or("a file without general.type".to_owned(), |kind| format!("general.type {kind:?}"));
            return Err(BaseError::NotABase { found });
        }
        let number = |key: &str| -> Result<usize, BaseError> {
            let missing = || BaseError::NotABase { found: format!("no {key}") };
            Ok(metadata.u32(key)?.ok_or_else(missing)? as usize)
        };
        let (vocab_size, top_k) = (number("perplexity.vocab_size")?, number("perplexity.top_k")?);
        let (n_ctx, n_chunks) = (number("perplexity.context_length")?, number("perplexity.chunk_count")?);
        if n_ctx < 4 || n_chunks == 0 || top_k == 0 {
            let found = format!("{n_chunks} chunks of {n_ctx} tokens with {top_k} kept of each");
            return Err(BaseError::NotABase { found });
        }
        let tokens = checked(&gguf, "tokens", TensorType::I32, &[n_chunks, n_ctx])?.data();
        let tokens: Vec<u32> = tokens.as_chunks().0.iter().map(|&id| u32::from_le_bytes(id)).collect();
        check_ids("tokens", tokens.iter().copied(), vocab_size)?;
        let chunks = Chunks { tokens, n_ctx };
        for (name, ty, shape) in tensors(n_chunks, n_ctx, chunks.n_scored(), top_k) {
            checked(&gguf, &name, ty, &shape)?;
        }
        Ok(Base { gguf, chunks, vocab_size, top_k })
    }

    /// The text.
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Refuses a model of another vocabulary.
    ///
    /// # Errors
    /// Then.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), BaseError> {
        let found = self.vocab_size;
        if found == vocab_size { Ok(()) } else { Err(BaseError::Vocabulary { expected: vocab_size, found }) }
    }

    /// Chunk `index`.
    ///
    /// # Errors
    /// Ids outside the vocabulary, values that are no logarithms of probabilities.
    pub fn chunk(&self, index: usize) -> Result<BaseChunk<'_>, BaseError> {
        let data = |part: &str| {
            self.gguf.tensor(&format!("chunk.{index}.{part}")).expect("tensors were checked").data()
        };
        let ids = data("ids");
        let numbers = ids.as_chunks().0.iter().map(|&id| u32::from_le_bytes(id));
        check_ids(&format!("chunk.{index}.ids"), numbers, self.vocab_size)?;
        let (ln_p, rest, target) = (data("ln_p"), data("rest"), data("target"));
        for (part, bytes) in [("ln_p", ln_p), ("rest", rest), ("target", target)] {
            check_logarithms(&format!("chunk.{index}.{part}"), bytes)?;
        }
        Ok(BaseChunk { ids, ln_p, rest, target, top_k: self.top_k })
    }
}

impl<'b> BaseChunk<'b> {
    /// Row `index`.
    pub fn row(&self, index: usize) -> BaseRow<'b> {
        let width = 4 * self.top_k;
        let row = index * width..(index + 1) * width;
        let one = |bytes: &[u8]| f32::from_le_bytes(bytes.as_chunks().0[index]);
        BaseRow {
            ids: &self.ids[row.clone()],
            ln_p: &self.ln_p[row],
            rest: one(self.rest),
            target: one(self.target),
        }
    }
}

fn checked<'g, 'd>(
    gguf: &'g Gguf<'d>,
    name: &str,
    ty: TensorType,
    shape: &[usize],
) -> Result<&'g TensorInfo<'d>, BaseError> {
    let wrong = |found: String| BaseError::Tensor {
        name: name.to_owned(),
        expected: format!("{ty} {shape:?}"),
        found,
    };
    let tensor = gguf.tensor(name).ok_or_else(|| wrong("nothing".to_owned()))?;
    if (tensor.ty, tensor.shape.dims()) == (ty, shape) {
        Ok(tensor)
    } else {
        Err(wrong(format!("{} {:?}", tensor.ty, tensor.shape.dims())))
    }
}

fn check_ids(name: &str, mut ids: impl Iterator<Item = u32>, vocab_size: usize) -> Result<(), BaseError> {
    match ids.find(|&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => Err(BaseError::Id { name: name.to_owned(), id, vocab_size }),
    }
}

/// Rounding can take the logarithm of a probability of one a hair above zero.
const LARGEST_LOGARITHM: f32 = 1e-3;

fn check_logarithms(name: &str, bytes: &[u8]) -> Result<(), BaseError> {
    let values = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value));
    match values.into_iter().find(|value| value.is_nan() || *value > LARGEST_LOGARITHM) {
        None => Ok(()),
        Some(value) => Err(BaseError::Logarithm { name: name.to_owned(), value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(seed: u64, n: usize, vocab_size: usize, top_k: usize) -> Vec<TopRow> {
        let mut random = fastrand::Rng::with_seed(seed);
        let logits =
            |random: &mut fastrand::Rng| (0..vocab_size).map(|_| random.f32() * 9.0).collect::<Vec<f32>>();
        (0..n).map(|target| TopRow::new(&logits(&mut random), target as u32, top_k)).collect()
    }

    fn write(path: &Path) -> Vec<Vec<TopRow>> {
        let chunks = Chunks::new((0..20).collect(), 8, None, None).unwrap();
        let mut writer = BaseWriter::create(&Target::new(path.to_owned()), &chunks, 20, 5, "model").unwrap();
        let all: Vec<_> = (0..2).map(|seed| rows(seed, chunks.n_scored(), 20, 5)).collect();
        all.iter().for_each(|rows| writer.chunk(rows).unwrap());
        writer.finish().unwrap();
        all
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        let written = write(&path);
        let bytes = std::fs::read(&path).unwrap();
        let base = Base::read(vec![("base.gguf".to_owned(), &bytes)]).unwrap();
        assert_eq!((base.chunks().len(), base.chunks().chunk(1)[0]), (2, 8));
        for (index, rows) in written.iter().enumerate() {
            let chunk = base.chunk(index).unwrap();
            for (at, row) in rows.iter().enumerate() {
                let (found, expected) = (chunk.row(at), row.row());
                assert!(found.tops().eq(expected.tops()));
                assert_eq!((found.rest(), found.target()), (expected.rest(), expected.target()));
            }
        }
        assert!(base.check_vocabulary(20).is_ok() && base.check_vocabulary(21).is_err());
    }

    #[test]
    fn masses_sum_to_one_and_ties_go_to_the_lower_id() {
        let row = TopRow::new(&[1.0, 3.0, 3.0, -0.0, 0.0], 3, 4);
        let ids: Vec<u32> = row.row().tops().map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 2, 0, 3]);
        let mass: f64 = row.row().tops().map(|(_, ln_p)| f64::from(ln_p).exp()).sum();
        assert!((mass + f64::from(row.rest).exp() - 1.0).abs() < 1e-6);
        assert_eq!(TopRow::new(&[1.0, 3.0], 0, 5).rest, f32::NEG_INFINITY);
    }

    #[test]
    fn an_unfinished_file_goes_away_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        let chunks = Chunks::new((0..20).collect(), 8, None, None).unwrap();
        drop(BaseWriter::create(&Target::new(path.clone()), &chunks, 20, 5, "model").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        write(&path);
        let good = std::fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let mut bytes = good.clone();
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u32(..8);
            // Whatever the byte: an error or a base whose rows can be read.
            if let Ok(base) = Base::read(vec![("base.gguf".to_owned(), &bytes[..])]) {
                for index in 0..base.chunks().len() {
                    if let Ok(chunk) = base.chunk(index) {
                        assert!(chunk.row(0).tops().all(|(id, _)| id < base.vocab_size as u32));
                    }
                }
            }
        }
    }
}
