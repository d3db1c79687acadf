//! Where weights come from: named arrays of rows, as they are stored.
//!
//! A checkpoint on disk and a synthetic model are both a [`Source`]; everything after it (dequantising, encoding,
//! writing GGUF, writing a checkpoint) is written once.

mod checkpoint;
mod header;

pub use checkpoint::Checkpoint;

use crate::error::Error;
use fathom_arch::plan::{Origin, TensorPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// How one number is stored in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of a single.
    BF16,
    /// 1 sign, 4 exponent, 3 mantissa bits, bias 7, no infinities (`F8_E4M3`).
    F8E4M3,
    /// A power of two, 2^(x-127) (`F8_E8M0`): scales only.
    F8E8M0,
    /// Anything else, by its own name.
    Other(String),
}

impl Dtype {
    /// From a safetensors header.
    pub fn from_name(name: &str) -> Dtype {
        match name {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            "F8_E4M3" => Dtype::F8E4M3,
            "F8_E8M0" => Dtype::F8E8M0,
            other => Dtype::Other(other.to_owned()),
        }
    }

    /// The word of the safetensors header.
    pub fn name(&self) -> &str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::F8E4M3 => "F8_E4M3",
            Dtype::F8E8M0 => "F8_E8M0",
            Dtype::Other(name) => name,
        }
    }

    /// Bytes of one number; unknown for foreign types.
    pub fn size(&self) -> Option<usize> {
        match self {
            Dtype::F32 => Some(4),
            Dtype::F16 | Dtype::BF16 => Some(2),
            Dtype::F8E4M3 | Dtype::F8E8M0 => Some(1),
            Dtype::Other(_) => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Form of a stored array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Outermost first.
    pub shape: Vec<usize>,
}

impl Stored {
    /// Length of a row: the innermost dimension.
    pub fn n_cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all other dimensions.
    pub fn n_rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Bytes of one row; unknown for foreign types.
    pub fn row_bytes(&self) -> Option<usize> {
        self.dtype.size().map(|size| size * self.n_cols())
    }
}

/// What a source knows about a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// It can be read.
    Here(&'a Stored),
    /// It should be in a file that is missing, damaged or without it: what is wrong with that file, in a line.
    Lost(&'a str),
    /// Nobody speaks of it.
    Absent,
}

/// Named arrays of rows.
pub trait Source: Sync {
    /// What is known about `name`.
    fn find(&self, name: &str) -> Found<'_>;

    /// Puts the stored bytes of `rows` into `bytes`, replacing what is there.
    ///
    /// # Errors
    /// If they cannot be read. `name` must have been found and its type known.
    fn read(&self, name: &str, rows: Range<usize>, bytes: &mut Vec<u8>) -> Result<(), Error>;

    /// Rows and columns that share one scale in arrays stored as `F8_E4M3`.
    fn scale_block(&self) -> [usize; 2];

    /// What is wrong with the source as a whole.
    fn problems(&self) -> &[String] {
        &[]
    }

    /// What there is beside an array in the same module, in words; empty where nobody knows of anything.
    fn beside(&self, _name: &str) -> String {
        String::new()
    }
}

/// Name of the scales that belong to an FP8 array.
pub fn scale_name(name: &str) -> String {
    format!("{name}_scale_inv")
}

/// Shape of the scales that belong to an FP8 matrix: blocks at the edges are partial.
pub fn scale_shape(shape: &[usize], block: [usize; 2]) -> Vec<usize> {
    shape.iter().zip(block).map(|(&d, b)| d.div_ceil(b)).collect()
}

/// More lines than this help nobody.
const MOST_LINES: usize = 100;

/// Everything that keeps `plan` from being carried out on `source`, one line per fact.
///
/// Experts with the same problem share a line, and so do layers.
pub fn problems(source: &dyn Source, plan: &[TensorPlan]) -> Vec<String> {
    let mut problems = source.problems().to_vec();
    let mut told = BTreeSet::new();
    let mut facts = Vec::new();
    for tensor in plan {
        let mut experts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, (name, shape)) in tensor.origin.sources(&tensor.shape).into_iter().enumerate() {
            // One missing shard is one line, however many arrays it should hold.
            if let Found::Lost(why) = source.find(name)
                && told.insert(why.to_owned())
            {
                problems.push(why.to_owned());
            }
            for problem in array_problems(source, name, &shape) {
                match tensor.origin {
                    Origin::Stack(_) => experts.entry(problem).or_default().push(index),
                    // Both halves of kv_b_proj read the same array: its problems are told once.
                    _ => {
                        if told.insert(format!("{name}{problem}")) {
                            facts.push((name.to_owned(), problem));
                        }
                    }
                }
            }
        }
        if let Origin::Stack(names) = &tensor.origin {
            for (problem, indices) in experts {
                let more = match indices.as_slice() {
                    [_] => String::new(),
                    many => format!(" (the same for experts {})", ranges(many)),
                };
                facts.push((names[indices[0]].clone(), format!("{problem}{more}")));
            }
        }
    }
    problems.extend(by_layers(facts));
    if problems.len() > MOST_LINES {
        let more = problems.len() - MOST_LINES;
        problems.truncate(MOST_LINES);
        problems.push(format!("and {more} more"));
    }
    problems
}

/// Lines of an array's name and its problem, those that differ by the layer alone joined.
fn by_layers(facts: Vec<(String, String)>) -> Vec<String> {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
    for (name, problem) in facts {
        let line = format!("{name}{problem}");
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((layer, below)) = layer.and_then(|(n, below)| Some((n.parse().ok()?, below))) else {
            lines.push((line, Vec::new()));
            continue;
        };
        match places.get(&(below.to_owned(), problem.clone())) {
            Some(&place) => lines[place].1.push(layer),
            None => {
                places.insert((below.to_owned(), problem), lines.len());
                lines.push((line, Vec::new()));
            }
        }
    }
    let joined = |(line, layers): (String, Vec<usize>)| match layers.as_slice() {
        [] => line,
        [one] => format!("{line} (the same in layer {one})"),
        many => format!("{line} (the same in layers {})", ranges(many)),
    };
    lines.into_iter().map(joined).collect()
}

/// Problems of one array, each to be appended to its name.
fn array_problems(source: &dyn Source, name: &str, shape: &[usize]) -> Vec<String> {
    let stored = match source.find(name) {
        Found::Here(stored) => stored,
        Found::Lost(_) => return Vec::new(),
        Found::Absent => return vec![format!(": missing, expected shape {shape:?}{}", source.beside(name))],
    };
    let mut problems = Vec::new();
    if stored.shape != shape {
        problems.push(format!(": expected shape {shape:?}, found {:?}", stored.shape));
    }
    let scales = source.find(&scale_name(name));
    match stored.dtype {
        Dtype::F8E4M3 => problems
            .extend(scale_problem(scales, &stored.shape, source.scale_block(), || source.beside(name))),
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => {
            let other = source.find(&format!("{name}_scale"));
            for (end, found) in [("_scale_inv", scales), ("_scale", other)] {
                if let Found::Here(_) = found {
                    problems.push(format!(
                        ": stored as {} and yet it has a `{end}`; expected scales only beside F8_E4M3",
                        stored.dtype
                    ));
                }
            }
        }
        Dtype::F8E8M0 | Dtype::Other(_) => {
            problems.push(format!(": stored as {}; expected F8_E4M3, BF16, F16 or F32", stored.dtype));
        }
    }
    problems
}

fn scale_problem(
    scales: Found<'_>,
    shape: &[usize],
    block: [usize; 2],
    beside: impl Fn() -> String,
) -> Option<String> {
    if shape.len() != 2 {
        return Some(format!(": F8_E4M3 is expected only in matrices, found shape {shape:?}"));
    }
    let expected = scale_shape(shape, block);
    match scales {
        Found::Lost(why) => Some(format!("_scale_inv: {why}")),
        Found::Absent => Some(format!("_scale_inv: missing, expected shape {expected:?}{}", beside())),
        Found::Here(found) if found.shape != expected => Some(format!(
            "_scale_inv: expected shape {expected:?} (blocks of {}x{}), found {:?}",
            block[0], block[1], found.shape
        )),
        Found::Here(found) => match found.dtype {
            Dtype::F32 | Dtype::BF16 | Dtype::F8E8M0 => None,
            ref other => Some(format!("_scale_inv: stored as {other}; expected F32, BF16 or F8_E8M0")),
        },
    }
}

/// `[0, 1, 2, 5]` as `0-2, 5`.
fn ranges(indices: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = indices;
    while let Some(&first) = rest.first() {
        let len = rest.iter().zip(first..).take_while(|(a, b)| **a == *b).count();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&first.to_string());
        if len > 1 {
            text.push_str(&format!("-{}", first + len - 1));
        }
        rest = &rest[len..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_listed_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges(&[3]), "3");
    }

    #[test]
    fn scales_cover_partial_blocks() {
        assert_eq!(scale_shape(&[576, 7168], [128, 128]), [5, 56]);
        assert_eq!(scale_shape(&[1, 129], [128, 128]), [1, 2]);
    }

    #[test]
    fn rows_of_any_shape() {
        let stored = |shape: &[usize]| Stored { dtype: Dtype::BF16, shape: shape.to_vec() };
        assert_eq!((stored(&[]).n_rows(), stored(&[]).n_cols()), (1, 1));
        assert_eq!((stored(&[7]).n_rows(), stored(&[7]).n_cols()), (1, 7));
        assert_eq!((stored(&[2, 3, 5]).n_rows(), stored(&[2, 3, 5]).row_bytes()), (6, Some(10)));
    }
}
