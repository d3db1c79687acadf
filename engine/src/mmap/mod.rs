//! The model's files as memory, in pages of 2 MiB where the system has them.
//!
//! Such a page needs one entry in the processor's table of addresses where pages of 4 KiB need 512; weights that are read
//! once a token miss that table at every page.
//!
//! A mapping of a file that somebody shortens ends in SIGBUS at the first touch of a lost page. That is an input
//! error like any other; a program that calls [`report_lost_pages`] reports it as one.
#![expect(unsafe_code, reason = "the mapping is one of the addresses of unsafe (law 5)")]

mod identity;
mod memory;
mod sigbus;
mod warm;
mod watch;
mod zeros;

pub use identity::{Guard, Identity};
#[cfg(unix)]
pub use sigbus::remember_terminal;
pub use sigbus::report_lost_pages;
pub use watch::Watch;
pub use zeros::Zeros;

use crate::placement::Placement;
use crate::threads::{Seats, ThreadError};
use fathom_files::input::{self, ReadError};
use fathom_gguf::split::strip_extension;
use fathom_gguf::{FileBytes, Gguf, GgufFile, header_bytes};
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a model's files could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A file could not be opened or mapped.
    #[error("{}: {}", .path.display(), unreadable(.source))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A pipe, a device or a socket.
    #[error("{path}: expected a file on a disk, found {found}; write the model to a file first", path = path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The path is a folder without a model, or with several.
    #[error("{path}: expected a folder with one model, found {found}; name a .gguf file")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// Some shards are not there.
    #[error(
        "{path}: expected {total} shards, found {found}; missing: {names}; put them beside it",
        path = path.display(), found = total - count
    )]
    MissingShards {
        /// The shard that was named.
        path: PathBuf,
        /// How many are missing.
        count: usize,
        /// How many there should be.
        total: usize,
        /// Their names, the first few.
        names: String,
    },
    /// Fewer bytes than there were when the file was opened.
    #[error(
        "{path}: expected {expected} bytes, found fewer: the file was truncated while being read; restore it and start \
         again", path = path.display()
    )]
    Shortened {
        /// Which file.
        path: PathBuf,
        /// Its size when it was opened.
        expected: u64,
    },
    /// No room for a file's contents.
    #[error(
        "{path}: cannot get {n_bytes} bytes of memory to read it into: {source}; leave out --no-mmap, or raise the limit \
         (ulimit -v)", path = path.display()
    )]
    NoMemory {
        /// Which file.
        path: PathBuf,
        /// Its bytes.
        n_bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no threads to read with.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// The caller ended it.
    #[error("stopped before the model was in memory")]
    Stopped,
    /// Nothing to map.
    #[error(
        "{path}: expected a GGUF file, found an empty one: its download or conversion did not finish, start it again"
    )]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// One file's bytes.
enum Bytes {
    /// The file itself; kept open, so that it can still be read when another has taken its name.
    Mapped(Mmap, File),
    /// What was read from it; kept open, too.
    Memory(Zeros, File),
    /// A part of the program.
    Static(&'static [u8]),
}

/// One file.
struct MappedFile {
    name: String,
    /// Where it is; nothing for a part of the program.
    path: Option<PathBuf>,
    bytes: Bytes,
    /// What it was when it was opened; `None` for a part of the program, and where the system does not tell.
    identity: Option<Identity>,
    /// A copy of the first bytes of a file that others can change: what was checked there stays as it is.
    header: Vec<u8>,
}

impl MappedFile {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map, _) => map,
            Bytes::Memory(bytes, _) => bytes,
            Bytes::Static(bytes) => bytes,
        }
    }

    /// The file, where there is one.
    fn file(&self) -> Option<&File> {
        match &self.bytes {
            Bytes::Mapped(_, file) | Bytes::Memory(_, file) => Some(file),
            Bytes::Static(_) => None,
        }
    }

    /// What a model is read from.
    fn as_model(&self) -> FileBytes<'_> {
        let bytes = self.bytes();
        let header = if self.header.is_empty() { bytes } else { &self.header };
        FileBytes { name: self.name.clone(), header, bytes }
    }

    /// Keeps the system from taking its pages away; a part of the program stays as it is.
    #[cfg(unix)]
    fn lock(&self) -> Result<(), std::io::Error> {
        match &self.bytes {
            Bytes::Mapped(map, _) => map.lock(),
            Bytes::Memory(bytes, _) => bytes.lock(),
            Bytes::Static(_) => Ok(()),
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Bytes::Mapped(map, _) = &self.bytes {
            sigbus::forget(map.as_ptr());
        }
    }
}

/// All files of one model, read-only.
pub struct Mapping {
    files: Vec<MappedFile>,
}

impl Mapping {
    /// Maps the model at `path`: a file, any shard of a split model, or a folder that holds one model.
    ///
    /// # Errors
    /// Names what cannot be opened or is missing.
    pub fn open(path: &Path) -> Result<Mapping, MapError> {
        let files = model_files(path)?.iter().map(|path| map_file(path)).collect::<Result<_, _>>()?;
        Ok(Mapping { files })
    }

    /// A model that is a part of the program.
    pub fn of_bytes(name: &str, bytes: &'static [u8]) -> Mapping {
        let bytes = Bytes::Static(bytes);
        let (identity, header) = (None, Vec::new());
        Mapping { files: vec![MappedFile { name: name.to_owned(), path: None, bytes, identity, header }] }
    }

    /// What the files hold.
    ///
    /// # Errors
    /// Files that are no GGUF, or do not belong together.
    pub fn gguf(&self) -> Result<Gguf<'_>, fathom_gguf::Error> {
        Gguf::from_files(self.files.iter().map(MappedFile::as_model).collect())
    }

    /// Each file's name and bytes, in shard order.
    pub fn shards(&self) -> Vec<(String, &[u8])> {
        self.files.iter().map(|file| (file.name.clone(), file.bytes())).collect()
    }

    /// Where the files are, in shard order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().filter_map(|file| file.path.clone()).collect()
    }

    /// Reads the files into memory, in large pages where the system gives them; what is there already stays. `placement` is
    /// these files'.
    ///
    /// # Errors
    /// A file that cannot be read to its end, no memory for it, no threads, or the caller's wish.
    pub fn into_memory(mut self, placement: &Placement, watch: Watch<'_>) -> Result<Mapping, MapError> {
        for (index, file) in self.files.iter_mut().enumerate() {
            if let Bytes::Mapped(map, opened) = &file.bytes {
                let io = |source| MapError::Io { path: PathBuf::from(&file.name), source };
                let opened = opened.try_clone().map_err(io)?;
                let runs = (placement.seats(), placement.runs(index));
                let read = memory::read(&opened, Path::new(&file.name), runs, watch)?;
                sigbus::forget(map.as_ptr());
                file.bytes = Bytes::Memory(read, opened);
            }
        }
        Ok(self)
    }

    /// Brings every page of the mapped files into memory. `placement` is these files'.
    ///
    /// # Errors
    /// No threads, or the caller's wish.
    pub fn warm(&self, placement: &Placement, watch: Watch<'_>) -> Result<(), MapError> {
        let mapped = self.files.iter().enumerate().filter_map(|(index, file)| match &file.bytes {
            Bytes::Mapped(map, _) => Some((index, map)),
            _ => None,
        });
        warm::warm(&mapped.collect::<Vec<_>>(), placement, watch)
    }

    /// Says that little of the files will be read from now on, here and there: pages of 2 MiB around each piece, and megabytes
    /// that are read ahead, would be most of the work.
    pub fn expect_few_reads(&self) {
        #[cfg(target_os = "linux")]
        for file in &self.files {
            if let Bytes::Mapped(map, _) = &file.bytes {
                // Where it cannot be said, all is found as well, more slowly.
                let _ = map.advise(memmap2::Advice::NoHugePage);
                let _ = map.advise(memmap2::Advice::Random);
            }
        }
    }

    /// Bytes that [`Mapping::warm`] and [`Mapping::into_memory`] have to bring in.
    pub fn mapped_bytes(&self) -> u64 {
        let mapped = self.files.iter().filter(|file| matches!(file.bytes, Bytes::Mapped(..)));
        mapped.map(|file| file.bytes().len() as u64).sum()
    }

    /// Keeps the system from taking the pages away again, as far as it lets us. Pages that are not in memory are brought.
    ///
    /// # Errors
    /// What the system said to the first file that it refused to keep.
    #[cfg(unix)]
    pub fn lock(&self) -> Result<(), std::io::Error> {
        self.files.iter().try_for_each(MappedFile::lock)
    }

    /// Keeps the system from taking the pages away again: this system has no such call.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(unix))]
    pub fn lock(&self) -> Result<(), std::io::Error> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Where the files' bytes belong when threads in these seats compute with them; `gguf` is what the files hold.
    pub fn placement(&self, gguf: &Gguf<'_>, seats: &Seats) -> Placement {
        let sizes: Vec<usize> = self.files.iter().map(|file| file.bytes().len()).collect();
        Placement::of(gguf, &sizes, seats.clone())
    }

    /// What the files were when they were opened; `None` where one has no identity.
    pub fn identities(&self) -> Option<Vec<Identity>> {
        self.files.iter().map(|file| file.identity).collect()
    }

    /// Tells from now on whether the files are as they were when they were opened. Those without an identity cannot be told from
    /// what they become, or are a part of the program.
    ///
    /// # Errors
    /// If the system opens no more files.
    pub fn guard(&self) -> std::io::Result<Guard> {
        let known = self.files.iter().filter_map(|file| Some((file.file()?, file.identity?)));
        let opened = known.map(|(file, identity)| Ok((file.try_clone()?, identity)));
        Ok(Guard::new(opened.collect::<std::io::Result<_>>()?))
    }

    /// Bytes in all.
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }
}

/// Works through pieces, those of a node on its threads, until all are done, one fails or the caller ends it. `work` gives the
/// bytes that it did.
fn work_through<P: Send>(
    seats: &Seats,
    pieces: Vec<Vec<P>>,
    watch: Watch<'_>,
    work: impl Fn(P) -> Result<usize, MapError> + Sync,
) -> Result<(), MapError> {
    let queues: Vec<_> = pieces.into_iter().map(|pieces| Mutex::new(pieces.into_iter())).collect();
    let failed = AtomicBool::new(false);
    let ends = seats.on_all(|node| {
        let next = || queues[node].lock().unwrap_or_else(|p| p.into_inner()).next();
        // What one thread could not do, the others do not finish.
        while !failed.load(Ordering::Relaxed)
            && let Some(piece) = next()
        {
            if watch.stopped() {
                return Err(MapError::Stopped);
            }
            let n_bytes = work(piece).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            (watch.progress)(n_bytes as u64);
        }
        Ok(())
    })?;
    ends.into_iter().collect()
}

/// Why a file cannot be read, and what to do.
fn unreadable(why: &std::io::Error) -> String {
    match why.kind() {
        ErrorKind::NotFound => {
            format!(
                "expected a GGUF file, found: {}; check the path (`fathom models` lists the models on this machine)",
                input::in_words(why)
            )
        }
        _ => {
            format!("expected a GGUF file that can be read, found: {why}; check the path and its permissions")
        }
    }
}

fn map_file(path: &Path) -> Result<MappedFile, MapError> {
    let io = |source| MapError::Io { path: path.to_owned(), source };
    let file = input::open(path).map_err(|error| match error {
        ReadError::NotAFile(found) => MapError::NotAFile { path: path.to_owned(), found },
        other => io(other.into()),
    })?;
    // Before anything of it is read: whoever changes it from here on changes this, too.
    let identity = Identity::of(&file);
    let n_bytes = file.metadata().map_err(io)?.len() as usize;
    if n_bytes == 0 {
        return Err(MapError::Empty { path: path.to_owned() });
    }
    let name = path.display().to_string();
    let mut map = map_start(&file, n_bytes, &name).map_err(io)?;
    let header = map[..header_bytes(&map)].to_vec();
    // What lies far behind the last tensor is nobody's: it is not warmed, locked or hashed.
    let used = used_bytes(&header, &map);
    if map.len() - used > STRAY_BYTES {
        sigbus::forget(map.as_ptr());
        map = map_start(&file, used, &name).map_err(io)?;
    }
    Ok(MappedFile { name, path: Some(path.to_owned()), bytes: Bytes::Mapped(map, file), identity, header })
}

/// More than any padding at a file's end.
const STRAY_BYTES: usize = 1 << 20;

/// Maps the first bytes of a file.
fn map_start(file: &File, n_bytes: usize, name: &str) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private and read-only. Another process that writes to the file can change what we read:
    // every value read later is bounds-checked or only a number, so that gives wrong numbers, not undefined indexing;
    // one that shortens it raises SIGBUS, which `report_lost_pages` turns into an error.
    let map = unsafe { MmapOptions::new().len(n_bytes).map(file) }?;
    // Linux makes large pages of a file while it reads from the disk (ext4 since 6.16, XFS longer); what lies in its cache
    // already stays as it is. Where it makes none, small ones serve as well, more slowly.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    sigbus::watch(map.as_ptr(), map.len(), name);
    Ok(map)
}

/// Where a model's last tensor ends; all of a file that is none.
fn used_bytes(header: &[u8], bytes: &[u8]) -> usize {
    let Ok(gguf) = GgufFile::parse_copied(header, bytes) else { return bytes.len() };
    let ends = gguf.tensors().iter().map(|tensor| (tensor.offset + tensor.bytes) as usize);
    ends.max().unwrap_or(header.len()).min(bytes.len())
}

/// At most this many missing shards are named.
const NAMES_LISTED: usize = 8;

/// The files of the model at `path`, in order.
fn model_files(path: &Path) -> Result<Vec<PathBuf>, MapError> {
    let path = if path.is_dir() { only_model_in(path)? } else { path.to_owned() };
    let Some(siblings) = path.file_name().and_then(|n| n.to_str()).and_then(fathom_gguf::split::siblings)
    else {
        return Ok(vec![path]);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let (present, missing): (Vec<_>, Vec<_>) = siblings.iter().partition(|name| folder.join(name).exists());
    // A lone file that merely looks like a shard is told apart by its metadata, later.
    if !missing.is_empty() {
        let more = if missing.len() > NAMES_LISTED { ", ..." } else { "" };
        let names =
            missing.iter().take(NAMES_LISTED).map(|n| n.as_str()).collect::<Vec<_>>().join(", ") + more;
        return Err(MapError::MissingShards { path, count: missing.len(), total: siblings.len(), names });
    }
    Ok(present.iter().map(|name| folder.join(name)).collect())
}

fn only_model_in(folder: &Path) -> Result<PathBuf, MapError> {
    let io = |source| MapError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if strip_extension(&name).is_some() {
            names.push(name);
        }
    }
    names.sort();
    // Shards of one set count as one model.
    let mut models: Vec<&String> = Vec::new();
    for name in &names {
        let known = fathom_gguf::split::siblings(name)
            .is_some_and(|set| models.iter().any(|other| set.contains(other)));
        if !known {
            models.push(name);
        }
    }
    // Projectors, importance matrices and adapters lie beside the model that they are for.
    if models.len() > 1 && models.iter().any(|name| is_model(&folder.join(name))) {
        models.retain(|name| is_model(&folder.join(name)));
    }
    match models.as_slice() {
        [one] => Ok(folder.join(one)),
        [] if folder.join("config.json").exists() => Err(MapError::Folder {
            path: folder.to_owned(),
            found: "a Hugging Face checkpoint; `fathom quantize` converts it to a GGUF file".to_owned(),
        }),
        [] => Err(MapError::Folder { path: folder.to_owned(), found: "no .gguf file".to_owned() }),
        several => {
            let names = several.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
            Err(MapError::Folder { path: folder.to_owned(), found: names })
        }
    }
}

/// Whether a file is a language model, as far as its name and its header tell. One that cannot be read may be.
fn is_model(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.starts_with("mmproj") || name.contains("imatrix") {
        return false;
    }
    let Ok(file) = map_file(path) else { return true };
    let Ok(gguf) = GgufFile::parse_copied(&file.header, file.bytes()) else { return true };
    let text = |key| gguf.metadata().str(key).ok().flatten();
    text("general.type").is_none_or(|kind| kind == "model")
        && !matches!(text("general.architecture"), Some("clip" | "imatrix"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::machine_of_nodes;
    use fathom_gguf::Writer;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn what_fails_on_one_thread_ends_the_others() {
        let root = machine_of_nodes(&["0", "1"], "0-1");
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let watch = Watch { stop: &stop, progress: &|_| {} };
        let pieces = vec![vec![0], vec![1; 1000]];
        let ended = work_through(&Seats::read(root.path(), 2), pieces, watch, |piece| {
            std::thread::sleep(Duration::from_millis(1));
            if piece == 0 {
                return Err(MapError::Empty { path: PathBuf::from("it") });
            }
            done.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        });
        assert!(matches!(ended, Err(MapError::Empty { .. })));
        assert!(done.load(Ordering::Relaxed) < 1000, "the other thread went on to its end");
    }

    fn put(folder: &Path, name: &str, kind: &str, architecture: &str) {
        let mut writer = Writer::new();
        writer.metadata("general.architecture", architecture).unwrap();
        writer.metadata("general.type", kind).unwrap();
        std::fs::write(folder.join(name), writer.layout().unwrap().header).unwrap();
    }

    #[test]
    fn a_folder_holds_one_model_and_what_belongs_to_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        let said = || only_model_in(folder).unwrap_err().to_string();
        assert!(said().contains("found no .gguf file"));
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        assert!(said().contains("fathom quantize"), "{}", said());
        put(folder, "imatrix.gguf", "imatrix", "imatrix");
        put(folder, "mmproj-model.gguf", "mmproj", "clip");
        put(folder, "adapter.gguf", "adapter", "deepseek2");
        assert!(said().contains("adapter.gguf, imatrix.gguf, mmproj-model.gguf"), "{}", said());
        put(folder, "V3.2-Q4_K_M.GGUF", "model", "deepseek32");
        assert_eq!(only_model_in(folder).unwrap(), folder.join("V3.2-Q4_K_M.GGUF"));
        std::fs::write(folder.join("half.gguf"), "GGUF").unwrap();
        assert!(
            said().contains("V3.2-Q4_K_M.GGUF, half.gguf"),
            "a damaged file may be the model: {}",
            said()
        );
    }

    #[test]
    fn what_was_checked_stays_when_the_file_changes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("model.gguf");
        let mut writer = Writer::new();
        writer.metadata("tokenizer.ggml.tokens", vec!["one", "two", "three"]).unwrap();
        let header = writer.layout().unwrap().header;
        std::fs::write(&path, &header).unwrap();
        let mapping = Mapping::open(&path).unwrap();
        let gguf = mapping.gguf().unwrap();
        // Every length in the file becomes absurd; its size stays.
        std::fs::write(&path, vec![0xff; header.len()]).unwrap();
        let tokens: Vec<&str> = gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
        assert_eq!(tokens, ["one", "two", "three"]);
        assert_eq!(mapping.gguf().unwrap().metadata().len(), 1);
    }

    #[test]
    fn what_lies_behind_the_last_tensor_is_not_mapped() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("model.gguf");
        let mut writer = Writer::new();
        writer.tensor("output_norm.weight", fathom_gguf::TensorType::F32, &[32]).unwrap();
        let layout = writer.layout().unwrap();
        std::fs::write(&path, &layout.header).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(layout.file_bytes + 100).unwrap();
        assert_eq!(
            Mapping::open(&path).unwrap().n_bytes(),
            layout.file_bytes + 100,
            "a little is left as it is"
        );
        // A sparse file: none of it is on the disk.
        file.set_len(3 << 30).unwrap();
        let mapping = Mapping::open(&path).unwrap();
        assert_eq!(mapping.n_bytes(), layout.file_bytes);
        assert_eq!(mapping.gguf().unwrap().tensor("output_norm.weight").unwrap().data().len(), 128);
    }
}
