//! A file read into memory of the process's own, in large pages where the system gives them.

use super::zeros::{LARGE_PAGE, Zeros};
use super::{MapError, Watch, work_through};
use crate::placement::Run;
use crate::threads::Seats;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Bytes that a thread reads between two looks at the flag; a multiple of the large page, so that no two threads fill
/// one.
const PIECE: usize = 8 * LARGE_PAGE;

/// Reads the `runs` of a file, each on threads of its node. `path` is for messages.
pub(super) fn read(
    file: &File,
    path: &Path,
    (seats, runs): (&Seats, &[Run]),
    watch: Watch<'_>,
) -> Result<Zeros, MapError> {
    let len = runs.last().map_or(0, |run| run.bytes.end);
    let refused = |source| MapError::NoMemory { path: path.to_owned(), n_bytes: len, source };
    let mut zeros = Zeros::new(len).map_err(refused)?;
    let pieces = pieces(&mut zeros, seats.n_nodes(), runs);
    work_through(seats, pieces, watch, |(offset, piece)| {
        let n_bytes = piece.len();
        read_whole(file, piece, offset as u64).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => MapError::Shortened { path: path.to_owned(), expected: len as u64 },
            _ => MapError::Io { path: path.to_owned(), source },
        })?;
        Ok(n_bytes)
    })?;
    Ok(zeros)
}

/// For each node the pieces of memory that it fills, with their places in the file. They are cut at large pages: a page that
/// two runs share goes to the first.
fn pieces<'b>(mut bytes: &'b mut [u8], n_nodes: usize, runs: &[Run]) -> Vec<Vec<(usize, &'b mut [u8])>> {
    let mut pieces: Vec<Vec<_>> = (0..n_nodes).map(|_| Vec::new()).collect();
    let mut offset = 0;
    for run in runs {
        // What lies between runs stays as the system gave it: zeros that take no memory.
        let start = run.bytes.start / LARGE_PAGE * LARGE_PAGE;
        if let Some(hole) = start.checked_sub(offset) {
            let hole = hole.min(bytes.len());
            let (_, rest) = bytes.split_at_mut(hole);
            (bytes, offset) = (rest, offset + hole);
        }
        let end = run.bytes.end.next_multiple_of(LARGE_PAGE);
        while offset < end && !bytes.is_empty() {
            let len = PIECE.min(end - offset).min(bytes.len());
            let (piece, rest) = bytes.split_at_mut(len);
            pieces[run.node].push((offset, piece));
            (bytes, offset) = (rest, offset + len);
        }
    }
    pieces
}

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
    use crate::threads::machine_of_nodes;
    use std::io::Write;
    use std::ops::Range;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    fn run(bytes: Range<usize>, node: usize) -> Run {
        Run { bytes, node }
    }

    #[test]
    fn pieces_are_cut_at_large_pages_and_cover_all() {
        const PAGE: usize = LARGE_PAGE;
        let mut bytes = vec![0; 3 * PAGE + 7];
        let runs = [run(0..100, 1), run(100..2 * PAGE + 1, 0), run(2 * PAGE + 1..bytes.len(), 1)];
        let pieces = pieces(&mut bytes, 2, &runs);
        let lens =
            |node: usize| pieces[node].iter().map(|(at, piece)| (*at, piece.len())).collect::<Vec<_>>();
        assert_eq!((lens(0), lens(1)), (vec![(PAGE, 2 * PAGE)], vec![(0, PAGE), (3 * PAGE, 7)]));
        let mut bytes = vec![0; 9 * PAGE + 7];
        let runs = [run(0..100, 0), run(4 * PAGE + 3..4 * PAGE + 9, 1), run(8 * PAGE + 5..bytes.len(), 0)];
        let pieces = super::pieces(&mut bytes, 2, &runs);
        let lens =
            |node: usize| pieces[node].iter().map(|(at, piece)| (*at, piece.len())).collect::<Vec<_>>();
        assert_eq!(
            (lens(0), lens(1)),
            (vec![(0, PAGE), (8 * PAGE, PAGE + 7)], vec![(4 * PAGE, PAGE)]),
            "holes"
        );
    }

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
        let root = machine_of_nodes(&["0", "1"], "0-1");
        let seats = Seats::read(root.path(), 2);
        let runs = [
            run(0..LARGE_PAGE + 5, 1),
            run(LARGE_PAGE + 5..LARGE_PAGE + 9, 0),
            run(LARGE_PAGE + 9..bytes.len(), 1),
        ];
        let memory = read(&file_of(&bytes), Path::new("it"), (&seats, &runs), watch).unwrap();
        assert!(*memory == bytes);
        assert_eq!(memory.as_ptr() as usize % LARGE_PAGE, 0);
        assert_eq!(done.load(Ordering::Relaxed), bytes.len() as u64);
    }

    #[test]
    fn a_file_that_became_shorter_and_a_set_flag_are_told() {
        let (go, stop) = (AtomicBool::new(false), AtomicBool::new(true));
        let file = file_of(&[7; 10_000]);
        let seats = Seats::of(2);
        let read_to = |stop, len| {
            let runs = (&seats, &[run(0..len, 0)][..]);
            read(&file, Path::new("it"), runs, Watch { stop, progress: &|_| {} })
        };
        let error = read_to(&go, 10_001).err().unwrap();
        assert!(matches!(error, MapError::Shortened { expected: 10_001, .. }), "{error}");
        let error = read_to(&stop, 10_000).err().unwrap();
        assert!(matches!(error, MapError::Stopped), "{error}");
        let error = read_to(&go, usize::MAX / 4).err().unwrap();
        assert!(matches!(error, MapError::NoMemory { n_bytes, .. } if n_bytes == usize::MAX / 4), "{error}");
    }
}
