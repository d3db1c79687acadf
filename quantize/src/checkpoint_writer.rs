//! Any source as a checkpoint folder: shards, index, `config.json`.

use crate::error::Error;
use crate::slabs::{self, Watch};
use crate::source::{Found, Source, Stored};
use fathom_files::output::{PartFile, PartFolder, Target};
use fathom_files::writing::Disk;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Shards are a little smaller than this, as the published ones are: 163 for the whole model.
const SHARD_BYTES: u64 = 4_240_000_000;
/// A slab of rows has about this many bytes.
const SLAB_BYTES: usize = 1 << 20;

/// A checkpoint to be written: which arrays of a source, in which order.
pub struct CheckpointJob<'a> {
    source: &'a dyn Source,
    arrays: Vec<Placed<'a>>,
    headers: Vec<Vec<u8>>,
    shard_bytes: Vec<u64>,
    index: Value,
}

/// Where an array goes.
struct Placed<'a> {
    name: &'a str,
    stored: &'a Stored,
    row_bytes: usize,
    shard: usize,
    /// Absolute offset in the shard.
    offset: u64,
}

struct Slab {
    array: usize,
    first: usize,
    n: usize,
}

impl<'a> CheckpointJob<'a> {
    /// Lays the shards out.
    ///
    /// # Panics
    /// If `source` lacks one of `names`.
    pub fn new(source: &'a dyn Source, names: &'a [String]) -> CheckpointJob<'a> {
        let mut arrays = Vec::with_capacity(names.len());
        for name in names {
            let Found::Here(stored) = source.find(name) else { panic!("{name} is not in the source") };
            let row_bytes = stored.row_bytes().unwrap_or_else(|| panic!("{name} has a foreign type"));
            arrays.push(Placed { name, stored, row_bytes, shard: 0, offset: 0 });
        }
        let total: u64 = arrays.iter().map(Placed::bytes).sum();
        let n_shards = total.div_ceil(SHARD_BYTES).max(1);
        let mut data_bytes = vec![0; n_shards as usize];
        let mut before = 0;
        for array in &mut arrays {
            // By the array's first byte: shards come out about equal, and none is empty.
            array.shard = (u128::from(before) * u128::from(n_shards) / u128::from(total.max(1))) as usize;
            array.offset = data_bytes[array.shard];
            data_bytes[array.shard] += array.bytes();
            before += array.bytes();
        }
        let headers: Vec<Vec<u8>> = (0..data_bytes.len()).map(|shard| header(&arrays, shard)).collect();
        for array in &mut arrays {
            array.offset += headers[array.shard].len() as u64;
        }
        let weight_map: Map<String, Value> =
            arrays.iter().map(|a| (a.name.to_owned(), shard_name(a.shard, headers.len()).into())).collect();
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        let shard_bytes = headers.iter().zip(data_bytes).map(|(h, data)| h.len() as u64 + data).collect();
        CheckpointJob { source, arrays, headers, shard_bytes, index }
    }

    /// Size of all shards.
    pub fn bytes(&self) -> u64 {
        self.shard_bytes.iter().sum()
    }

    /// Size of the arrays alone, the `total_size` of the index.
    pub fn data_bytes(&self) -> u64 {
        self.arrays.iter().map(Placed::bytes).sum()
    }

    /// Number of shards.
    pub fn n_shards(&self) -> usize {
        self.headers.len()
    }

    /// Writes the folder, which must not exist or be empty, with the threads of the current rayon pool. With `zeros`
    /// the data are holes: a test aid for sizes no disk here holds.
    ///
    /// # Errors
    /// If the folder is in use, the disk fails or `watch` says stop. The unfinished folder is gone then.
    pub fn write(&self, folder: &Path, config: &str, zeros: bool, watch: Watch<'_>) -> Result<(), Error> {
        self.write_to(folder, config, zeros, watch, Disk::SYSTEM)
    }

    /// The same to a disk that may fail.
    pub(crate) fn write_to(
        &self,
        folder: &Path,
        config: &str,
        zeros: bool,
        watch: Watch<'_>,
        disk: Disk,
    ) -> Result<(), Error> {
        let part = PartFolder::create(folder, disk)?;
        let shards = self.create_shards(part.path(), zeros, disk)?;
        for (shard, header) in shards.iter().zip(&self.headers) {
            shard.write_at(header, 0)?;
        }
        if !zeros {
            slabs::run(&self.slabs(), watch, |slab, bytes: &mut Vec<u8>| {
                let array = &self.arrays[slab.array];
                self.source.read(array.name, slab.first..slab.first + slab.n, bytes)?;
                shards[array.shard].write_at(bytes, array.offset + (slab.first * array.row_bytes) as u64)?;
                Ok(bytes.len() as u64)
            })?;
        }
        for shard in shards {
            shard.finish(|| watch.stopped())?;
        }
        for (name, text) in
            [("config.json", config), ("model.safetensors.index.json", &self.index.to_string())]
        {
            let written = disk.create_new(&part.path().join(name)).and_then(|file| {
                disk.write_all(&file, text.as_bytes())?;
                disk.sync(&file)
            });
            written.map_err(Error::io("write", &folder.join(name)))?;
        }
        Ok(part.finish()?)
    }

    fn create_shards(&self, folder: &Path, zeros: bool, disk: Disk) -> Result<Vec<PartFile>, Error> {
        if !zeros {
            PartFile::check_room(folder, self.bytes())?;
        }
        let create = if zeros { PartFile::create_sparse } else { PartFile::create };
        let target = |shard| {
            let path = folder.join(shard_name(shard, self.n_shards()));
            Target { disk, own_folder: true, ..Target::new(path) }
        };
        self.shard_bytes
            .iter()
            .enumerate()
            .map(|(shard, &bytes)| Ok(create(&target(shard), bytes)?))
            .collect()
    }

    fn slabs(&self) -> Vec<Slab> {
        let mut slabs = Vec::new();
        for (array, placed) in self.arrays.iter().enumerate() {
            let step = (SLAB_BYTES / placed.row_bytes.max(1)).max(1);
            let n_rows = placed.stored.n_rows();
            slabs.extend((0..n_rows).step_by(step).map(|first| Slab {
                array,
                first,
                n: step.min(n_rows - first),
            }));
        }
        slabs
    }
}

impl Placed<'_> {
    fn bytes(&self) -> u64 {
        (self.row_bytes * self.stored.n_rows()) as u64
    }
}

/// Five digits, then six: as DeepSeek names them.
fn shard_name(shard: usize, n_shards: usize) -> String {
    format!("model-{:05}-of-{n_shards:06}.safetensors", shard + 1)
}

/// Length and JSON of one shard, padded with spaces so that data are aligned to eight bytes.
fn header(arrays: &[Placed<'_>], shard: usize) -> Vec<u8> {
    let mut members = Map::new();
    members.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for array in arrays.iter().filter(|array| array.shard == shard) {
        let entry = json!({
            "dtype": array.stored.dtype.name(),
            "shape": array.stored.shape,
            "data_offsets": [array.offset, array.offset + array.bytes()],
        });
        members.insert(array.name.to_owned(), entry);
    }
    let mut json = Value::Object(members).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Checkpoint;
    use crate::stored;
    use crate::synth::Synthetic;
    use fathom_arch::plan::TensorPlan;
    use fathom_arch::role::Role;
    use fathom_files::output::WriteError;
    use fathom_files::writing::{Fault, Faults};
    use std::fs;
    use std::sync::atomic::AtomicBool;

    fn plan() -> Vec<TensorPlan> {
        vec![
            stored("embed", Role::Embed, &[40, 200]),
            stored("q", Role::Attention, &[300, 200]),
            stored("norm", Role::Exact, &[200]),
        ]
    }

    #[test]
    fn a_written_checkpoint_reads_back_and_the_safetensors_crate_agrees() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("model");
        let model = Synthetic::new(&plan(), 3);
        let job = CheckpointJob::new(&model, model.names());
        let stop = AtomicBool::new(false);
        job.write(&folder, "{}", false, Watch { stop: &stop, progress: &|_| {} }).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        assert!(crate::source::problems(&checkpoint, &plan()).is_empty());
        let file = fs::read(folder.join("model-00001-of-000001.safetensors")).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(theirs.len(), 4);
        for name in model.names() {
            let Found::Here(stored) = checkpoint.find(name) else { panic!("{name}") };
            let (mut made, mut read) = (Vec::new(), Vec::new());
            model.read(name, 0..stored.n_rows(), &mut made).unwrap();
            checkpoint.read(name, 0..stored.n_rows(), &mut read).unwrap();
            assert_eq!(made, read, "{name}");
            let their = theirs.tensor(name).unwrap();
            assert_eq!((their.shape(), their.data()), (&stored.shape[..], &made[..]), "{name}");
        }
    }

    #[test]
    fn a_folder_whose_name_is_taken_meanwhile_has_another_name() {
        let model = Synthetic::new(&plan(), 3);
        let job = CheckpointJob::new(&model, model.names());
        let take: [fn(&Path); 2] = [
            |folder| {
                let _ = fs::create_dir(folder);
                fs::write(folder.join("other"), b"theirs").unwrap();
            },
            |folder| fs::write(folder, b"theirs").unwrap(),
        ];
        for take in take {
            let temp = tempfile::tempdir().unwrap();
            let folder = temp.path().join("model");
            let stop = AtomicBool::new(false);
            let watch = Watch { stop: &stop, progress: &|_| take(&folder) };
            let kept = match job.write(&folder, "{}", false, watch) {
                Err(Error::Output(WriteError::Taken { path, kept })) if path.ends_with("model") => kept,
                other => panic!("{other:?}"),
            };
            assert_eq!(kept.file_name().unwrap(), "model.new-1");
            assert!(crate::source::problems(&Checkpoint::open(&kept).unwrap(), &plan()).is_empty());
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "theirs and ours, and nothing else");
        }
    }

    #[test]
    fn a_folder_in_use_is_refused_and_an_interrupted_one_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("model");
        let model = Synthetic::new(&plan(), 3);
        let job = CheckpointJob::new(&model, model.names());
        let stop = AtomicBool::new(true);
        let watch = Watch { stop: &stop, progress: &|_| {} };
        assert!(matches!(job.write(&folder, "{}", false, watch), Err(Error::Interrupted)));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("precious"), "").unwrap();
        assert!(matches!(
            job.write(&folder, "{}", false, watch),
            Err(Error::Output(WriteError::FolderInUse(_)))
        ));
    }

    #[test]
    fn whichever_step_fails_no_folder_is_left() {
        let model = Synthetic::new(&plan(), 3);
        let job = CheckpointJob::new(&model, model.names());
        let stop = AtomicBool::new(false);
        let watch = Watch { stop: &stop, progress: &|_| {} };
        for fault in [Fault::Damaged, Fault::Short] {
            for at in 0.. {
                let temp = crate::quick_folder();
                let folder = temp.path().join("model");
                let faults = Faults::at(at, fault);
                let done = job.write_to(&folder, "{}", false, watch, Disk::failing(faults));
                let n_left = fs::read_dir(temp.path()).unwrap().count();
                let case = format!("step {at}, {fault:?}: {done:?}");
                match done {
                    Ok(()) => {
                        assert!(!faults.happened() && at > 10, "{case}");
                        break;
                    }
                    Err(error) if folder.exists() => {
                        assert!(
                            matches!(error, Error::Output(WriteError::NotDurable { .. })) && n_left == 1,
                            "{case}"
                        );
                        Checkpoint::open(&folder).unwrap();
                    }
                    Err(_) => assert_eq!(n_left, 0, "{case}"),
                }
            }
        }
    }
}
