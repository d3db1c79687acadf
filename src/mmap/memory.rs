//! A file read into memory of the process's own, in large pages where the system gives them.

use super::{MapError, Watch};
use memmap2::{Mmap, MmapMut};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Size of a large page on x86-64 and, mostly, on Arm.
const LARGE_PAGE: usize = 2 << 20;
/// Bytes that a thread reads between two looks at the flag; a multiple of the large page, so that no two threads fill
/// one.
const PIECE: usize = 8 * LARGE_PAGE;

/// Bytes that were read, beginning at a large page.
pub(super) struct Memory {
    map: Mmap,
    start: usize,
    len: usize,
}

impl Memory {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    pub(super) fn map(&self) -> &Mmap {
        &self.map
    }

    /// Reads the first `len` bytes of a file, on all cores. `path` is for messages.
    pub(super) fn read(file: &File, path: &Path, len: usize, watch: Watch<'_>) -> Result<Memory, MapError> {
        let refused = |source| MapError::NoMemory { path: path.to_owned(), n_bytes: len, source };
        // A large page more, to begin at one.
        let mut map = MmapMut::map_anon(len + LARGE_PAGE).map_err(refused)?;
        let start = map.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
        ask_for_large_pages(&map);
        let pieces = map[start..start + len].par_chunks_mut(PIECE).enumerate();
        pieces.try_for_each(|(index, piece)| {
            if watch.stopped() {
                return Err(MapError::Stopped);
            }
            let offset = (index * PIECE) as u64;
            read_whole(file, piece, offset).map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => {
                    MapError::Shortened { path: path.to_owned(), expected: len as u64 }
                }
                _ => MapError::Io { path: path.to_owned(), source },
            })?;
            (watch.progress)(piece.len() as u64);
            Ok(())
        })?;
        let map = map.make_read_only().map_err(refused)?;
        Ok(Memory { map, start, len })
    }
}

#[cfg(target_os = "linux")]
fn ask_for_large_pages(map: &MmapMut) {
    // A system without them gives small ones, which serve as well, more slowly.
    let _ = map.advise(memmap2::Advice::HugePage);
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_map: &MmapMut) {}

/// Fills `buffer` from the file's byte `offset` on.
fn read_whole(file: &File, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Error> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_bytes_are_the_files_and_begin_at_a_large_page() {
        let bytes: Vec<u8> = (0..PIECE + 12_345).map(|n| (n / 7) as u8).collect();
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let progress = |n| {
            done.fetch_add(n, Ordering::Relaxed);
        };
        let watch = Watch { stop: &stop, progress: &progress };
        let memory = Memory::read(&file_of(&bytes), Path::new("it"), bytes.len(), watch).unwrap();
        assert!(memory.bytes() == bytes);
        assert_eq!(memory.bytes().as_ptr() as usize % LARGE_PAGE, 0);
        assert_eq!(done.load(Ordering::Relaxed), bytes.len() as u64);
    }

    #[test]
    fn a_file_that_became_shorter_and_a_set_flag_are_told() {
        let (go, stop) = (AtomicBool::new(false), AtomicBool::new(true));
        let file = file_of(&[7; 10_000]);
        let read = |stop, len| Memory::read(&file, Path::new("it"), len, Watch { stop, progress: &|_| {} });
        let error = read(&go, 10_001).err().unwrap();
        assert!(matches!(error, MapError::Shortened { expected: 10_001, .. }), "{error}");
        let error = read(&stop, 10_000).err().unwrap();
        assert!(matches!(error, MapError::Stopped), "{error}");
        let error = read(&go, usize::MAX / 4).err().unwrap();
        assert!(matches!(error, MapError::NoMemory { n_bytes, .. } if n_bytes == usize::MAX / 4), "{error}");
    }
}
