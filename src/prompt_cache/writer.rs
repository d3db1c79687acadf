//! The thread that writes blocks, so that no token waits for a disk.

use super::block;
use super::folder::{Folder, gone, put, touch};
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
/// Of what a disk has free, blocks may take one part in so many.
const SHARE_OF_FREE: u64 = 2;

const NO_ROOM: &str = "there is no more room within --cache-limit and half of the free disk";

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
        let clerk = Clerk { folder, limit, total: None, own: HashSet::new(), shared: Arc::clone(&shared) };
        let started = std::thread::Builder::new().name("fathom-keep".into()).spawn(move || clerk.work(&todo));
        match started {
            Ok(thread) => Writer { jobs: Some(jobs), thread: Some(thread), shared },
            Err(error) => {
                shared.give_up(format!("no thread to keep conversations with: {error}"));
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
                self.shared.give_up(format!("{place}: {error}; nothing more of this conversation is kept"));
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
        put(path, &bytes)?;
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
            Some(total) => total,
            None => {
                self.folder.sweep(SystemTime::now());
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
