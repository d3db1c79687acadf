//! What tells a file from every other one, and from itself before somebody wrote to it.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file as the system knows it. Whoever changes a byte of it changes the last time, which no program can set: not with
/// `touch`, and not by a copy under the old name, which is another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    n_bytes: u64,
    /// When its contents were changed: seconds, nanoseconds.
    modified: (i64, i64),
    /// When anything of it was changed.
    changed: (i64, i64),
}

/// A file that was changed this long ago shows every later change. Times have ticks of milliseconds, and what a program writes to
/// a page that it has mapped changes them only when the page was clean before: after half a minute the system has written it.
const SETTLED: Duration = Duration::from_secs(60);

impl Identity {
    /// An open file's; `None` where the system does not tell.
    #[cfg(unix)]
    pub fn of(file: &File) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        let about = file.metadata().ok()?;
        Some(Identity {
            device: about.dev(),
            inode: about.ino(),
            n_bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }

    /// An open file's: this system has no time that programs cannot set.
    #[cfg(not(unix))]
    pub fn of(_file: &File) -> Option<Identity> {
        None
    }

    /// Whether a change after `now` will show.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let at = now.checked_sub(SETTLED).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        at.is_some_and(|at| self.changed.0.max(self.modified.0) < at.as_secs() as i64)
    }
}

/// Tells whether files are as they were when they were opened.
pub struct Guard(Vec<(File, Identity)>);

impl Guard {
    /// Of open files.
    pub(super) fn new(files: Vec<(File, Identity)>) -> Guard {
        Guard(files)
    }

    /// Whether nobody has changed them.
    pub fn holds(&self) -> bool {
        self.0.iter().all(|(file, identity)| Identity::of(file).as_ref() == Some(identity))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn a_written_byte_shows_whatever_the_times_are_set_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, [7; 5000]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let (before, modified) = (Identity::of(&file).unwrap(), file.metadata().unwrap().modified().unwrap());
        let guard = Guard::new(vec![(File::open(&path).unwrap(), before)]);
        assert!(guard.holds());
        // A tick of the clock that gives files their times.
        std::thread::sleep(Duration::from_millis(30));
        (&file).seek(SeekFrom::Start(2500)).unwrap();
        (&file).write_all(&[8]).unwrap();
        file.set_modified(modified).unwrap();
        assert!(Identity::of(&file).unwrap() != before && !guard.holds());
        // A link is the file itself; a copy is another one.
        let now = Identity::of(&file);
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        assert_eq!(Identity::of(&File::open(folder.path().join("link")).unwrap()), now);
        std::fs::copy(&path, folder.path().join("copy")).unwrap();
        assert_ne!(Identity::of(&File::open(folder.path().join("copy")).unwrap()), now);
    }

    #[test]
    fn a_file_settles_after_a_minute() {
        let file = tempfile::tempfile().unwrap();
        let (identity, now) = (Identity::of(&file).unwrap(), SystemTime::now());
        assert!(!identity.is_settled(now) && !identity.is_settled(now + Duration::from_secs(50)));
        assert!(identity.is_settled(now + Duration::from_secs(90)));
        assert!(!identity.is_settled(UNIX_EPOCH), "a clock that went back");
    }
}
