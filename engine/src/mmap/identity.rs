//! What tells a file from every other one, and from itself before somebody wrote to it.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;
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

    /// Whether nobody wrote to it, or what shows is not the writing: its last change may be another one.
    fn has_same_contents(&self, other: &Identity) -> bool {
        Identity { changed: other.changed, ..*self } == *other
    }

    /// Whether a change after `now` will show.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let at = now.checked_sub(SETTLED).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        at.is_some_and(|at| self.changed.0.max(self.modified.0) < at.as_secs() as i64)
    }
}

/// What can be changed of a file beside its contents, with the same trace in its times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Surface {
    mode: u32,
    owner: (u32, u32),
    n_links: u64,
    /// Where it is now, however it came there; `None` where the system does not tell.
    path: Option<PathBuf>,
}

impl Surface {
    #[cfg(unix)]
    fn of(file: &File) -> Option<Surface> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let about = file.metadata().ok()?;
        Some(Surface {
            mode: about.mode(),
            owner: (about.uid(), about.gid()),
            n_links: about.nlink(),
            path: std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok(),
        })
    }

    #[cfg(not(unix))]
    fn of(_file: &File) -> Option<Surface> {
        None
    }
}

/// Tells whether the contents of files are as they were when they were opened.
pub struct Guard(Vec<Watched>);

struct Watched {
    file: File,
    identity: Identity,
    surface: Option<Surface>,
}

impl Guard {
    /// Of open files.
    pub(super) fn new(files: Vec<(File, Identity)>) -> Guard {
        let watched = |(file, identity)| Watched { surface: Surface::of(&file), file, identity };
        Guard(files.into_iter().map(watched).collect())
    }

    /// Whether nobody has written to them. A file that got another name, other rights or another owner is what it was, and so is
    /// one whose name another file took.
    pub fn holds(&mut self) -> bool {
        self.0.iter_mut().all(Watched::holds)
    }
}

impl Watched {
    fn holds(&mut self) -> bool {
        let Some(now) = Identity::of(&self.file) else { return false };
        if now == self.identity {
            return true;
        }
        // Whoever sets a file's times after writing to it leaves the same trace as a new name does. So the new name is looked for.
        let surface = Surface::of(&self.file);
        let is_explained = surface.is_some() && surface != self.surface;
        if !now.has_same_contents(&self.identity) || !is_explained {
            return false;
        }
        (self.identity, self.surface) = (now, surface);
        true
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
        let mut guard = Guard::new(vec![(File::open(&path).unwrap(), before)]);
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

    #[cfg(target_os = "linux")]
    #[test]
    fn names_rights_and_links_are_no_contents() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["model.gguf", "other.gguf"].map(|name| folder.path().join(name));
        std::fs::write(&path, [7; 5000]).unwrap();
        let file = File::open(&path).unwrap();
        let mut guard = Guard::new(vec![(file.try_clone().unwrap(), Identity::of(&file).unwrap())]);
        let changes: [&dyn Fn() -> std::io::Result<()>; 4] = [
            &|| std::fs::rename(&path, &other),
            &|| std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)),
            &|| std::fs::hard_link(&other, &path),
            // A download takes its name: the model that runs is still the old one.
            &|| {
                std::fs::write(folder.path().join("new"), [8; 5000])?;
                std::fs::rename(folder.path().join("new"), &other)
            },
        ];
        for (index, change) in changes.iter().enumerate() {
            let before = Identity::of(&file).unwrap();
            // A tick of the clock that gives files their times.
            std::thread::sleep(Duration::from_millis(30));
            change().unwrap();
            assert!(Identity::of(&file).unwrap() != before, "change {index} leaves no trace");
            assert!(guard.holds(), "change {index}");
        }
        // It has one name left, under which somebody writes to it.
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write(&path, [9; 5000]).unwrap();
        assert!(!guard.holds());
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
