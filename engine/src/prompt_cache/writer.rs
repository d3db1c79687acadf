//! The thread that writes blocks, so that no token waits for a disk.

use super::block;
use super::folder::{Folder, gone, touch};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Blocks that may wait: a prompt's are made faster than some disks take them, and each has megabytes.
const WAITING: usize = 4;
/// All blocks are counted again when this program has written one part in so many of the limit: others may have, too.
const COUNTED_AFTER: u64 = 16;
/// Of what a disk has free, blocks may take one part in so many.
const SHARE_OF_FREE: u64 = 2;

const NO_ROOM: &str = "the cache has reached --cache-limit or half of the free disk space";

/// Something to do.
enum Job {
    /// Write a block; the bytes want their seal.
    Put { path: PathBuf, bytes: Vec<u8> },
    /// Remove a block that a longer one replaces.
    Remove(PathBuf),
    /// These blocks, the conversation's in order, were used.
    Used(Vec<PathBuf>),
}

/// Writes in the background; dropped, it waits for what is still to be written.
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What both sides know.
#[derive(Default)]
struct Shared {
    /// Nothing more is written.
    off: AtomicBool,
    notice: Mutex<Option<String>>,
}

impl Writer {
    /// Starts the thread; without one nothing is kept, and that is told.
    pub(super) fn start(folder: Folder, limit: u64) -> Writer {
        let (jobs, todo) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let clerk =
            Clerk { folder, limit, total: None, since: 0, own: HashSet::new(), shared: Arc::clone(&shared) };
        let started = fathom_files::process::spawn("fathom-keep", move || clerk.work(&todo));
        match started {
            Ok(thread) => Writer { jobs: Some(jobs), thread: Some(thread), shared },
            Err(error) => {
                shared.give_up(format!(
                    "cannot start the cache's thread: {error}; this conversation is not cached"
                ));
                Writer { jobs: None, thread: None, shared }
            }
        }
    }

    /// Whether blocks are still written.
    pub(super) fn works(&self) -> bool {
        !self.shared.off.load(Ordering::Relaxed)
    }

    /// Writes nothing more, for a reason that is told elsewhere.
    pub(super) fn stop(&self) {
        self.shared.off.store(true, Ordering::Relaxed);
    }

    pub(super) fn put(&self, path: PathBuf, bytes: Vec<u8>) {
        self.send(Job::Put { path, bytes });
    }

    pub(super) fn remove(&self, path: PathBuf) {
        self.send(Job::Remove(path));
    }

    pub(super) fn used(&self, paths: Vec<PathBuf>) {
        self.send(Job::Used(paths));
    }

    /// What went wrong since the last time.
    pub(super) fn take_notice(&self) -> Option<String> {
        self.shared.notice.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    fn send(&self, job: Job) {
        if let (true, Some(jobs)) = (self.works(), &self.jobs) {
            // The thread ends only after this sender.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn give_up(&self, why: String) {
        self.off.store(true, Ordering::Relaxed);
        *self.notice.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(why);
    }
}

/// The thread's side.
struct Clerk {
    folder: Folder,
    limit: u64,
    /// Bytes of all blocks; `None` before they were counted.
    total: Option<u64>,
    /// Bytes written since they were counted. Other programs write, too.
    since: u64,
    /// This conversation's blocks: to make room for its end with its beginning would leave nothing of use.
    own: HashSet<PathBuf>,
    shared: Arc<Shared>,
}

impl Clerk {
    fn work(mut self, todo: &Receiver<Job>) {
        for job in todo {
            if self.shared.off.load(Ordering::Relaxed) {
                continue;
            }
            let done = match job {
                Job::Put { path, bytes } => self.put(&path, bytes),
                Job::Remove(path) => self.remove(&path),
                Job::Used(paths) => {
                    used(&paths, SystemTime::now());
                    self.own = paths.into_iter().collect();
                    Ok(())
                }
            };
            if let Err(error) = done {
                let place = self.folder.path().display();
                self.shared.give_up(format!("{place}: {error}; this conversation is no longer cached"));
            }
        }
    }

    fn put(&mut self, path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        block::seal(&mut bytes);
        let n_bytes = bytes.len() as u64;
        self.make_room(n_bytes)?;
        self.folder.put(path, &bytes)?;
        self.since += n_bytes;
        self.total = self.total.map(|total| total + n_bytes);
        self.own.insert(path.to_owned());
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let n_bytes = path.metadata().map_or(0, |about| about.len());
        gone(std::fs::remove_file(path))?;
        self.total = self.total.map(|total| total.saturating_sub(n_bytes));
        Ok(())
    }

    /// Removes what was longest unused until `n_bytes` more are within the limit, and within half of what the disk has.
    fn make_room(&mut self, n_bytes: u64) -> io::Result<()> {
        let total = match self.total {
            Some(total) if self.since <= self.limit / COUNTED_AFTER => total,
            counted => {
                if counted.is_none() {
                    self.folder.sweep(SystemTime::now());
                }
                self.since = 0;
                self.count()?
            }
        };
        let limit = self.limit_with(total);
        self.total = Some(total);
        if total + n_bytes <= limit {
            return Ok(());
        }
        // A tenth more, so that not every block searches the folder.
        let aim = limit.saturating_sub(limit / 10).saturating_sub(n_bytes);
        let mut blocks: Vec<_> = self.folder.shelves()?.into_iter().flat_map(|shelf| shelf.blocks).collect();
        blocks.sort_by_key(|entry| entry.used);
        let mut left: u64 = blocks.iter().map(|entry| entry.n_bytes).sum();
        for entry in blocks {
            if left <= aim {
                break;
            }
            if self.own.contains(&entry.path) {
                continue;
            }
            gone(std::fs::remove_file(&entry.path))?;
            left -= entry.n_bytes;
        }
        self.total = Some(left);
        if left + n_bytes > limit {
            return Err(io::Error::other(NO_ROOM));
        }
        Ok(())
    }

    fn limit_with(&self, total: u64) -> u64 {
        let free = self.folder.free().unwrap_or(u64::MAX);
        self.limit.min(total.saturating_add(free) / SHARE_OF_FREE)
    }

    fn count(&self) -> io::Result<u64> {
        Ok(self.folder.shelves()?.iter().map(super::folder::Shelf::n_bytes).sum())
    }
}

/// The first block of a conversation is the last to go: without it the others are of no use.
fn used(paths: &[PathBuf], now: SystemTime) {
    for (place, path) in (0..).zip(paths) {
        // One that is gone meanwhile has no time.
        let _ = touch(path, now - Duration::from_millis(place));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Known;
    use super::super::folder::About;
    use super::super::key::Key;
    use super::*;
    use fathom_files::writing::{Disk, Fault, Faults};
    use std::fs;

    /// A folder in memory where there is one: nobody waits for a disk that is written hundreds of times.
    fn place() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    }

    fn about() -> About {
        About { model: "model".to_owned(), rows: "rows".to_owned() }
    }

    fn root() -> Key {
        Key::any()
    }

    fn block(shelf: &Path, number: usize) -> PathBuf {
        shelf.join(format!("{number:032x}.kv"))
    }

    fn known() -> Known {
        serde_json::from_value(
            serde_json::json!({"files": [], "glance": vec![0; 32], "fingerprint": vec![1; 32]}),
        )
        .unwrap()
    }

    #[test]
    fn whichever_step_fails_blocks_are_whole_and_nothing_is_left() {
        for fault in [Fault::Full, Fault::Damaged, Fault::Short] {
            for at in 0.. {
                let folder = place();
                let faults = Faults::at(at, fault);
                let failing = Folder::new(folder.path().to_owned()).on(Disk::failing(faults));
                let shelf = failing.shelf(&root(), &about());
                let path = folder.path().join(root().to_string());
                let mut told = shelf.is_err();
                fs::write(path.join("theirs"), "theirs").unwrap();
                if let Ok(shelf) = shelf {
                    // Nothing else depends on it.
                    told |= failing.note(&shelf, known()).is_err();
                    let writer = Writer::start(failing, u64::MAX);
                    (0..3).for_each(|number| writer.put(block(&shelf, number), vec![number as u8; 1000]));
                    let shared = Arc::clone(&writer.shared);
                    drop(writer);
                    let notice = shared.notice.lock().unwrap().take();
                    if let Some(notice) = &notice {
                        assert!(notice.contains(folder.path().to_str().unwrap()), "{notice}");
                    }
                    told |= notice.is_some();
                }
                assert_eq!(told, faults.happened(), "step {at}, {fault:?}");
                for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()) {
                    let (name, bytes) = (entry.file_name(), fs::read(entry.path()).unwrap());
                    match name.to_str().unwrap() {
                        "theirs" => assert_eq!(bytes, b"theirs"),
                        "about.json" => assert!(serde_json::from_slice::<About>(&bytes).is_ok()),
                        "files.json" => {
                            assert_eq!(serde_json::from_slice::<Vec<Known>>(&bytes).unwrap(), [known()]);
                        }
                        name => {
                            assert!(name.ends_with(".kv"), "{name} is left, step {at}, {fault:?}");
                            let mut whole = vec![bytes[0]; 1000];
                            block::seal(&mut whole);
                            assert!(bytes == whole, "{name}, step {at}, {fault:?}");
                        }
                    }
                }
                if !faults.happened() {
                    assert!(at > 14, "not all steps go through the disk");
                    break;
                }
            }
        }
    }

    #[test]
    fn two_programs_thin_one_folder_out() {
        let folder = place();
        let limit = 64 << 10;
        std::thread::scope(|scope| {
            for program in 0..2 {
                let kept = Folder::new(folder.path().to_owned());
                scope.spawn(move || {
                    let shelf = kept.shelf(&root(), &about()).unwrap();
                    let writer = Writer::start(kept, limit);
                    for number in 0..400 {
                        writer.put(block(&shelf, program + 2 * number), vec![1; 1000]);
                        // A conversation has the last few open.
                        let own = number.saturating_sub(8)..number;
                        writer.used(own.map(|number| block(&shelf, program + 2 * number)).collect());
                    }
                    let shared = Arc::clone(&writer.shared);
                    drop(writer);
                    assert_eq!(*shared.notice.lock().unwrap(), None);
                });
            }
        });
        let bytes: u64 =
            Folder::new(folder.path().to_owned()).shelves().unwrap().iter().map(|s| s.n_bytes()).sum();
        assert!(bytes > limit / 2 && bytes <= limit + 2 * limit / COUNTED_AFTER + 4000, "{bytes}");
    }
}
