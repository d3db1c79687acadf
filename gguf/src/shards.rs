//! All files of one model seen as one.
//!
//! A plain file is a model with one shard. With several, the keys `split.no`, `split.count` and
//! `split.tensors.count` must agree among the files; the order in which the files were given does not matter.

use std::collections::HashMap;

use crate::error::shown;
use crate::split::{self, parse_shard_name, shard_name};
use crate::{Error, GgufFile, Metadata, TensorInfo};

/// One file of a model.
#[derive(Clone, Debug)]
pub struct Shard<'d> {
    name: String,
    bytes: u64,
    file: GgufFile<'d>,
}

impl<'d> Shard<'d> {
    /// The name under which the caller gave the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The parsed file.
    pub fn file(&self) -> &GgufFile<'d> {
        &self.file
    }
}

/// A file's bytes, as a model is read from them.
#[derive(Clone, Debug)]
pub struct FileBytes<'d> {
    /// The name to use for it in errors.
    pub name: String,
    /// Its first [`header_bytes`](crate::header_bytes), copied; or all of it where nobody can change it.
    pub header: &'d [u8],
    /// All of it.
    pub bytes: &'d [u8],
}

/// A model: one file, or all shards of a split one, validated together.
#[derive(Clone, Debug)]
pub struct Gguf<'d> {
    shards: Vec<Shard<'d>>,
    /// Tensor name to shard number and number in that shard.
    index: HashMap<&'d str, (usize, usize)>,
}

impl<'d> Gguf<'d> {
    /// Parses and joins the files of a model, each with the name to use for it in errors (a file name or path; if it
    /// follows the shard convention, missing shards are named after it). Any order will do.
    pub fn from_shards(files: Vec<(String, &'d [u8])>) -> Result<Self, Error> {
        Self::from_files(
            files.into_iter().map(|(name, bytes)| FileBytes { name, header: bytes, bytes }).collect(),
        )
    }

    /// The same for files whose headers were copied.
    pub fn from_files(files: Vec<FileBytes<'d>>) -> Result<Self, Error> {
        let mut shards = Vec::with_capacity(files.len());
        for FileBytes { name, header, bytes: data } in files {
            let file = match GgufFile::parse_copied(header, data) {
                Ok(file) => file,
                Err(e) => return Err(Error::InShard { shard: name, source: Box::new(e) }),
            };
            shards.push(Shard { name, bytes: data.len() as u64, file });
        }
        let first = shards.first().ok_or(Error::NoShards)?;
        // Merging a split model leaves `split.count` 0 behind: no more a shard than a file without the key.
        let alone = !matches!(number(first, split::COUNT, Metadata::u16)?, Some(2..));
        if shards.len() > 1 || !alone {
            shards = join(shards)?;
        }
        let mut index = HashMap::new();
        for (shard, tensor, info) in numbered(&shards) {
            if let Some((earlier, _)) = index.insert(info.name, (shard, tensor)) {
                let (first, second) = (shards[earlier].name.clone(), shards[shard].name.clone());
                return Err(Error::TensorInTwoShards { tensor: shown(info.name), first, second });
            }
        }
        Ok(Gguf { shards, index })
    }

    /// The metadata of the model: the first shard's.
    pub fn metadata(&self) -> &Metadata<'d> {
        self.shards[0].file.metadata()
    }

    /// All tensors with the number of the shard they are in, in shard and file order.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &TensorInfo<'d>)> {
        numbered(&self.shards).map(|(shard, _, info)| (shard, info))
    }

    /// The number of tensors in all shards.
    pub fn n_tensors(&self) -> usize {
        self.index.len()
    }

    /// The tensor of this name, in whichever shard it is.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo<'d>> {
        self.index.get(name).map(|&(shard, tensor)| &self.shards[shard].file.tensors()[tensor])
    }

    /// The files in the order of `split.no`.
    pub fn shards(&self) -> &[Shard<'d>] {
        &self.shards
    }
}

fn numbered<'s, 'd>(shards: &'s [Shard<'d>]) -> impl Iterator<Item = (usize, usize, &'s TensorInfo<'d>)> {
    shards.iter().enumerate().flat_map(|(shard, one)| {
        one.file.tensors().iter().enumerate().map(move |(tensor, info)| (shard, tensor, info))
    })
}

/// A number under `key` of the shard's metadata; a value of another kind is this shard's fault.
fn number<'d, T>(
    shard: &Shard<'d>,
    key: &str,
    get: impl Fn(&Metadata<'d>, &str) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    get(shard.file.metadata(), key)
        .map_err(|e| Error::InShard { shard: shard.name.clone(), source: Box::new(e) })
}

/// Checks that the files are the whole of one split model and puts them in order.
fn join(shards: Vec<Shard<'_>>) -> Result<Vec<Shard<'_>>, Error> {
    let given = shards.len();
    let mut places: Vec<(u16, Shard<'_>)> = Vec::with_capacity(given);
    let mut count_of_first = None;
    let mut tensors_of_first: Option<(String, i64)> = None;
    for shard in shards {
        let name = || shard.name.clone();
        let found = number(&shard, split::COUNT, Metadata::u16)?;
        let no = number(&shard, split::NO, Metadata::u16)?;
        let (Some(count @ 2..), Some(no)) = (found, no) else {
            return Err(Error::NotAShard { shard: name(), given, found });
        };
        let (first, expected) = count_of_first.get_or_insert_with(|| (name(), count));
        if count != *expected {
            let (first, expected) = (first.clone(), *expected);
            return Err(Error::ShardCount { shard: name(), first, expected, found: count });
        }
        if no >= count {
            return Err(Error::ShardNumber { shard: name(), no, count });
        }
        if let Some(found) = number(&shard, split::TENSORS_COUNT, Metadata::i64)? {
            let (first, expected) = tensors_of_first.get_or_insert_with(|| (name(), found));
            if found != *expected {
                let (first, expected) = (first.clone(), *expected);
                return Err(Error::ShardTensorCount { shard: name(), first, expected, found });
            }
        }
        places.push((no, shard));
    }
    places.sort_by_key(|(no, _)| *no);
    for pair in places.windows(2) {
        if pair[0].0 == pair[1].0 {
            let (first, second) = (pair[0].1.name.clone(), pair[1].1.name.clone());
            return Err(Error::DuplicateShard { no: pair[0].0, first, second });
        }
    }
    let count = count_of_first.map_or(0, |(_, count)| count);
    if places.len() < usize::from(count) {
        return Err(Error::MissingShards { missing: missing(&places, count), found: given, count });
    }
    let found: u64 = places.iter().map(|(_, shard)| shard.file.tensors().len() as u64).sum();
    match tensors_of_first {
        Some((_, expected)) if u64::try_from(expected) != Ok(found) => {
            Err(Error::TensorSum { expected, found })
        }
        _ => Ok(places.into_iter().map(|(_, shard)| shard).collect()),
    }
}

/// The names of the shards that are not there, after the pattern of one that is.
fn missing(places: &[(u16, Shard<'_>)], count: u16) -> Vec<String> {
    let names = || places.iter().map(|(_, shard)| shard.name.as_str());
    let prefix = names()
        .find_map(|name| parse_shard_name(name).map(|(prefix, _, _)| prefix))
        .or_else(|| names().next().map(|name| split::strip_extension(name).unwrap_or(name)))
        .unwrap_or("model");
    (0..count)
        .filter(|no| places.binary_search_by_key(no, |(present, _)| *present).is_err())
        .map(|no| shard_name(prefix, no.into(), count.into()))
        .collect()
}
