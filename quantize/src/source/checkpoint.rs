//! A Hugging Face checkpoint folder: `config.json`, an index and its shards, or one file.

use super::header::{self, Entry};
use super::{Dtype, Found, Source, Stored, scale_name, scale_shape};
use crate::error::Error;
use crate::small_file;
use fathom_files::disk;
use fathom_files::input::{self, ReadError};
use fathom_files::json;
use fathom_gguf::{LOOKED_AT, StandIn};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Rows and columns per scale when `config.json` does not say.
const DEFAULT_SCALE_BLOCK: [usize; 2] = [128, 128];

/// An opened checkpoint: every header is read, no data is.
///
/// Opening succeeds with shards missing or damaged; [`Source::problems`] tells of them, so that one error can name
/// everything that is wrong.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Vec<u8>,
    scale_block: [usize; 2],
    shards: Vec<Shard>,
    arrays: BTreeMap<String, Array>,
    /// Names that the index places in shards which could not be opened, or which do not hold them, with a line about why.
    lost: BTreeMap<String, String>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
}

#[derive(Debug)]
struct Array {
    stored: Stored,
    shard: usize,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `weight_map`: tensor names and their files")]
struct Index {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object: a config.json")]
struct ConfigJson {
    quantization_config: Option<QuantizationConfig>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct QuantizationConfig {
    quant_method: Option<String>,
    fmt: Option<String>,
    weight_block_size: Option<[usize; 2]>,
}

impl Checkpoint {
    /// Opens the checkpoint in `folder`.
    ///
    /// # Errors
    /// If there is no checkpoint, if its JSON files cannot be read, or if `config.json` names a quantization that
    /// this program does not decode.
    pub fn open(folder: &Path) -> Result<Checkpoint, Error> {
        let not_a_checkpoint =
            |found: &str| Error::NotACheckpoint { path: folder.to_owned(), found: found.to_owned() };
        if !folder.is_dir() {
            let found = if folder.exists() { "this is a file" } else { "no such folder" };
            return Err(not_a_checkpoint(found));
        }
        let config_path = folder.join("config.json");
        let Some(config) = small_file::read(&config_path)? else {
            return Err(not_a_checkpoint("config.json is missing"));
        };
        let scale_block = scale_block(&config, &config_path)?;
        let weight_map = weight_map(folder)?;
        let mut checkpoint = Checkpoint {
            folder: folder.to_owned(),
            config,
            scale_block,
            shards: Vec::new(),
            arrays: BTreeMap::new(),
            lost: BTreeMap::new(),
            problems: Vec::new(),
        };
        match weight_map {
            Some(index) => checkpoint.open_indexed(index.weight_map),
            None => {
                let name = single_file(folder)?;
                // Without its only file every tensor is missing: that line says all of it.
                checkpoint.open_shard(&name, None).map_err(|problem| Error::Incomplete {
                    place: folder.display().to_string(),
                    problems: vec![problem],
                })?;
            }
        }
        checkpoint.take_block_scales();
        Ok(checkpoint)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its weights are.
    pub fn shards(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// The text of `config.json`.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Every name that a header or the index speaks of, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().chain(self.lost.keys()).map(String::as_str)
    }

    /// Whether a header or the index speaks of `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.arrays.contains_key(name) || self.lost.contains_key(name)
    }

    fn open_indexed(&mut self, weight_map: BTreeMap<String, String>) {
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, shard) in &weight_map {
            shards.entry(shard).or_default().push(name);
        }
        for (shard, names) in shards {
            let opened = self.open_shard(shard, Some(&weight_map));
            for name in names.into_iter().filter(|name| !self.arrays.contains_key(*name)) {
                // What nobody needs may be lost: the lines are told of the arrays that are asked for.
                let why = match &opened {
                    Ok(()) => format!("{name}: missing in {shard}, where {INDEX} places it"),
                    Err(problem) => problem.clone(),
                };
                self.lost.insert(name.to_owned(), why);
            }
        }
    }

    /// The block scales that compressed-tensors and its like store as `weight_scale` are those that DeepSeek stores as
    /// `weight_scale_inv`: both multiply. Scales of another form (one for a row, one for all) are left where they are.
    fn take_block_scales(&mut self) {
        let block = self.scale_block;
        let is_fp8 = |array: &Array| array.stored.dtype == Dtype::F8E4M3 && array.stored.shape.len() == 2;
        let codes = self.arrays.iter().filter(|(_, array)| is_fp8(array));
        let renamed: Vec<(String, String)> = codes
            .filter_map(|(name, array)| {
                let (published, other) = (scale_name(name), format!("{name}_scale"));
                let scales = self.arrays.get(&other)?;
                let fits = scales.stored.shape == scale_shape(&array.stored.shape, block);
                (fits && !self.contains(&published)).then_some((other, published))
            })
            .collect();
        for (other, published) in renamed {
            if let Some(scales) = self.arrays.remove(&other) {
                self.arrays.insert(published, scales);
            }
        }
    }

    /// Reads a shard's header, or says in a line why that cannot be done.
    fn open_shard(
        &mut self,
        name: &str,
        weight_map: Option<&BTreeMap<String, String>>,
    ) -> Result<(), String> {
        let holds = weight_map.map_or(String::new(), |map| {
            format!(" (it should hold {} tensors)", map.values().filter(|shard| *shard == name).count())
        });
        // A name from the index must not lead out of the folder.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("{name:?}: expected a plain file name in {INDEX}{holds}"));
        }
        let path = self.folder.join(name);
        let (file, entries) = read_header(&path).map_err(|problem| format!("{name}: {problem}{holds}"))?;
        let shard = self.shards.len();
        self.shards.push(Shard { path, file });
        for Entry { name: tensor, stored, offset } in entries {
            let placed = weight_map.and_then(|map| map.get(&tensor));
            // Two shards may hold a tensor of one name; the index says which one counts.
            if placed.is_some_and(|placed| placed != name) {
                continue;
            }
            if self.arrays.insert(tensor.clone(), Array { stored, shard, offset }).is_some() {
                self.problems.push(format!(
                    "{tensor}: found in two shards, and {INDEX} does not say which one to use"
                ));
            }
        }
        Ok(())
    }
}

impl Source for Checkpoint {
    fn find(&self, name: &str) -> Found<'_> {
        match self.arrays.get(name) {
            Some(array) => Found::Here(&array.stored),
            None => self.lost.get(name).map_or(Found::Absent, |why| Found::Lost(why)),
        }
    }

    fn read(&self, name: &str, rows: Range<usize>, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let array = &self.arrays[name];
        let row_bytes = array.stored.row_bytes().expect("the plan was checked: its arrays have known types");
        let shard = &self.shards[array.shard];
        bytes.resize(rows.len() * row_bytes, 0);
        disk::read_exact_at(&shard.file, bytes, array.offset + (rows.start * row_bytes) as u64)
            .map_err(Error::io("read", &shard.path))
    }

    fn scale_block(&self) -> [usize; 2] {
        self.scale_block
    }

    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn beside(&self, name: &str) -> String {
        const MOST: usize = 4;
        let module = &name[..name.rfind('.').map_or(0, |dot| dot + 1)];
        let others = self.arrays.range(module.to_owned()..);
        let others = others.take_while(|(other, _)| other.starts_with(module) && !module.is_empty());
        let others = others.filter(|(other, _)| *other != name && !other[module.len()..].contains('.'));
        let words = others.take(MOST).map(|(other, array)| {
            format!("{} ({} {:?})", &other[module.len()..], array.stored.dtype, array.stored.shape)
        });
        let words: Vec<_> = words.collect();
        if words.is_empty() { String::new() } else { format!("; the same module has {}", words.join(", ")) }
    }
}

fn read_header(path: &Path) -> Result<(File, Vec<Entry>), String> {
    let file = match input::open(path) {
        Ok(file) => file,
        Err(ReadError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => return Err("missing".to_owned()),
        Err(ReadError::Io(e)) => return Err(format!("cannot open: {e}")),
        Err(other) => return Err(other.to_string()),
    };
    let system = |e: std::io::Error| format!("cannot read: {e}");
    let file_bytes = file.metadata().map_err(system)?.len();
    let mut start = [0; LOOKED_AT];
    let start = &mut start[..LOOKED_AT.min(usize::try_from(file_bytes).unwrap_or(LOOKED_AT))];
    disk::read_exact_at(&file, start, 0).map_err(system)?;
    if let Some(found) = StandIn::of(start) {
        return Err(format!("expected a safetensors file, found {found}"));
    }
    let mut first = [0; 8];
    if file_bytes < 8 {
        return Err(format!("expected a safetensors file, found {file_bytes} bytes"));
    }
    disk::read_exact_at(&file, &mut first, 0).map_err(system)?;
    let mut json = vec![0; header::json_bytes(first, file_bytes)?];
    disk::read_exact_at(&file, &mut json, 8).map_err(system)?;
    Ok((file, header::parse(&json, file_bytes)?))
}

fn weight_map(folder: &Path) -> Result<Option<Index>, Error> {
    let path = folder.join(INDEX);
    let Some(text) = small_file::read(&path)? else { return Ok(None) };
    json::read(&text).map(Some).map_err(|found| Error::Json { path, found })
}

/// The only safetensors file of a folder without an index.
fn single_file(folder: &Path) -> Result<String, Error> {
    if folder.join(SINGLE).exists() {
        return Ok(SINGLE.to_owned());
    }
    let mut found: Vec<String> = fs::read_dir(folder)
        .map_err(Error::io("list", folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    match (found.pop(), found.len()) {
        (Some(name), 0) => Ok(name),
        (None, _) => Err(Error::NotACheckpoint {
            path: folder.to_owned(),
            found: "no safetensors file is there".to_owned(),
        }),
        (Some(_), more) => Err(Error::NotACheckpoint {
            path: folder.to_owned(),
            found: format!("{} safetensors files without {INDEX}, which says what each must hold", more + 1),
        }),
    }
}

fn scale_block(config: &[u8], path: &Path) -> Result<[usize; 2], Error> {
    let json: ConfigJson =
        json::read(config).map_err(|found| Error::Json { path: path.to_owned(), found })?;
    let Some(q) = json.quantization_config else { return Ok(DEFAULT_SCALE_BLOCK) };
    let next = "convert DeepSeek's own FP8 checkpoint or a BF16 copy of it";
    match q.quant_method.as_deref() {
        None | Some("fp8") => {}
        Some(other) => {
            return Err(Error::Quantization(format!(
                "quant_method: expected `fp8`, found `{other}`; {next}"
            )));
        }
    }
    match q.fmt.as_deref() {
        None | Some("e4m3" | "float8_e4m3fn") => {}
        Some(other) => {
            return Err(Error::Quantization(format!("fmt: expected `e4m3`, found `{other}`; {next}")));
        }
    }
    match q.weight_block_size.unwrap_or(DEFAULT_SCALE_BLOCK) {
        [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
        found => Err(Error::Quantization(format!(
            "weight_block_size: expected two sizes above 0, found {found:?}"
        ))),
    }
}
