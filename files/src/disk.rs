//! What the standard library leaves to the platform: positioned reads and writes, and room on a disk.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::FileExt;

/// Reads exactly `bytes.len()` bytes at `offset`, without touching the file's own position.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

/// Writes all of `bytes` at `offset`, without touching the file's own position.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Reads exactly `bytes.len()` bytes at `offset`. Windows moves the file's position along, which nobody here uses.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_read(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`. Windows moves the file's position along, which nobody here uses.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Bytes that an ordinary user may still write on the file system that holds `path`; `None` where nobody can say.
#[cfg(unix)]
pub fn available(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Bytes that may still be written; nobody can say on this platform.
#[cfg(not(unix))]
pub fn available(_path: &Path) -> Option<u64> {
    None
}

/// Lets the system forget what it remembers of a finished file.
///
/// What was written lies in its cache in small pages, and would stay there; read again from the disk, a model's file comes in
/// pages of 2 MiB (see `engine/src/mmap`), with which its weights stream a tenth faster. And other files keep their place.
pub fn forget_cached(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Makes `file` `bytes` long and, where the file system can, takes the room at once: a full disk is then an error in
/// the first second and not in the third hour.
///
/// # Errors
/// What the system says.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if bytes > 0 {
        use rustix::io::Errno;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            // Not every file system knows how.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.set_len(bytes)
}

/// Gives a file another name, which nothing may have: in one step where the file system can.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        // Linux has one number for the last two; macOS has two, and its drives and shares of other systems say the first.
        const CANNOT: [Errno; 4] = [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP];
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(error) if CANNOT.contains(&error) => {}
            done => return Ok(done?),
        }
    }
    match std::fs::hard_link(from, to) {
        // The old name is one too many, and no more than that.
        Ok(()) => std::fs::remove_file(from).or(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Some file systems of sticks and of networks know neither.
        Err(_) if std::fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Gives a file another name, which nothing may have.
///
/// # Errors
/// What the system says.
#[cfg(not(unix))]
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

/// A rename is durable only when its folder is.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    let done = File::open(folder).and_then(|folder| folder.sync_all());
    // Some file systems sync no folders, and some folders may be written and not read: neither is the file's fault.
    let cannot =
        [Errno::INVAL, Errno::NOTSUP, Errno::BADF, Errno::ACCESS].map(|errno| Some(errno.raw_os_error()));
    done.or_else(|error| if cannot.contains(&error.raw_os_error()) { Ok(()) } else { Err(error) })
}

/// Here a folder is no file that could be synced.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether two paths lead to one file: through links, too.
pub fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(a), Ok(b)) => same(&a, &b, one, other),
        _ => false,
    }
}

/// Whether `path` itself, not what a link there leads to, is the open `file`.
pub fn is_still(path: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(a), Ok(b)) => same_or_unknown(&a, &b),
        _ => false,
    }
}

#[cfg(unix)]
fn same(a: &Metadata, b: &Metadata, _one: &Path, _other: &Path) -> bool {
    same_or_unknown(a, b)
}

#[cfg(not(unix))]
fn same(_a: &Metadata, _b: &Metadata, one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(unix)]
fn same_or_unknown(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Nobody can say on this platform; names here are random enough.
#[cfg(not(unix))]
fn same_or_unknown(_a: &Metadata, _b: &Metadata) -> bool {
    true
}
