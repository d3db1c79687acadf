//! The convention by which a model is cut into several files: their names, and three metadata keys in each.
//!
//! Names count from 1 (`model-00001-of-00003.gguf`), the key `split.no` counts from 0. The keys decide; names are
//! only there to find the files. Metadata and tokenizer live in the first file; tensors never span files.

use crate::OwnedValue;

/// u16: the number of this file, from 0.
pub const NO: &str = "split.no";
/// u16: the number of files.
pub const COUNT: &str = "split.count";
/// i32: the number of tensors in all files together.
pub const TENSORS_COUNT: &str = "split.tensors.count";

/// The file name of shard `no` (from 0) of `count`: `{prefix}-00001-of-00003.gguf`.
pub fn shard_name(prefix: &str, no: usize, count: usize) -> String {
    format!("{prefix}-{:05}-of-{count:05}.gguf", no + 1)
}

/// Takes a shard's file name apart into prefix, number from 0, and count. `None` for any other name.
///
/// A folder in front of the name becomes part of the prefix.
pub fn parse_shard_name(file_name: &str) -> Option<(&str, usize, usize)> {
    let stem = strip_extension(file_name)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let number = |digits: &str| {
        // Exactly what `shard_name` prints: five digits; six and more do not fit the key's u16.
        let good = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        good.then(|| digits.parse::<u16>().ok()).flatten().map(usize::from)
    };
    let (no, count) = (number(no)?.checked_sub(1)?, number(count)?);
    (no < count).then_some((prefix, no, count))
}

/// A GGUF file's name without its extension, in capitals too, as some systems and programs leave it. `None`: another extension.
pub fn strip_extension(file_name: &str) -> Option<&str> {
    let at = file_name.len().checked_sub(EXTENSION.len())?;
    let (stem, extension) = (file_name.get(..at)?, file_name.get(at..)?);
    extension.eq_ignore_ascii_case(EXTENSION).then_some(stem)
}

const EXTENSION: &str = ".gguf";

/// The names of all shards of the model that the shard `file_name` belongs to, in order, itself included.
pub fn siblings(file_name: &str) -> Option<Vec<String>> {
    let (prefix, _, count) = parse_shard_name(file_name)?;
    let extension = &file_name[file_name.len() - EXTENSION.len()..];
    let name = |no| {
        let name = shard_name(prefix, no, count);
        format!("{}{extension}", &name[..name.len() - EXTENSION.len()])
    };
    Some((0..count).map(name).collect())
}

/// The three keys that make a file with metadata shard `no` (from 0) of `count`.
pub fn keys(no: u16, count: u16, n_tensors: i32) -> [(&'static str, OwnedValue); 3] {
    [(NO, OwnedValue::U16(no)), (COUNT, OwnedValue::U16(count)), (TENSORS_COUNT, OwnedValue::I32(n_tensors))]
}
