//! Mapped files brought into memory before the first token asks for them.
//!
//! Left alone, a token's first touch of a page waits for the disk, one small read after another. Here the system is
//! asked for a large piece at once, read and mapped, so that later touches do not even fault. Telling it beforehand that
//! the piece will be needed made it slower.

use super::{MapError, Watch, work_through};
use crate::placement::{Placement, Run};
use memmap2::Mmap;

/// Bytes that are asked for at once, between two looks at the flag.
const PIECE: usize = 16 << 20;

/// Reads and maps every page of some files, given with their places in `placement`, on the threads that they belong to.
pub(super) fn warm(maps: &[(usize, &Mmap)], placement: &Placement, watch: Watch<'_>) -> Result<(), MapError> {
    let seats = placement.seats();
    let mut pieces = vec![Vec::new(); seats.n_nodes()];
    for &(file, map) in maps {
        for Run { bytes, node } in placement.runs(file) {
            let starts = bytes.clone().step_by(PIECE);
            pieces[*node].extend(starts.map(|start| (map, start, PIECE.min(bytes.end - start))));
        }
    }
    work_through(seats, pieces, watch, |(map, start, len)| {
        bring_in(map, start, len);
        Ok(len)
    })
}

#[cfg(target_os = "linux")]
fn bring_in(map: &Mmap, start: usize, len: usize) {
    // Unknown before Linux 5.14. It also fails on pages that the file has lost: touching them raises the SIGBUS that
    // tells of it.
    if map.advise_range(memmap2::Advice::PopulateRead, start, len).is_err() {
        touch(&map[start..start + len]);
    }
}

#[cfg(not(target_os = "linux"))]
fn bring_in(map: &Mmap, start: usize, len: usize) {
    touch(&map[start..start + len]);
}

/// Reads a byte of every page.
fn touch(bytes: &[u8]) {
    /// No system that this runs on has smaller ones.
    const PAGE: usize = 4096;
    for byte in bytes.iter().step_by(PAGE) {
        std::hint::black_box(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::{Seats, machine_of_nodes};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    #[test]
    fn every_byte_is_told_of_and_a_set_flag_ends_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * PIECE as u64 + 5).unwrap();
        #[expect(unsafe_code, reason = "maps a file of its own")]
        // SAFETY: nobody else knows the file.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let progress = |bytes| {
            done.fetch_add(bytes, Ordering::Relaxed);
        };
        let watch = Watch { stop: &stop, progress: &progress };
        let root = machine_of_nodes(&["0-1", "2-3"], "0-3");
        let placement = Placement::shares(&[map.len(), map.len()], Seats::read(root.path(), 3));
        warm(&[(0, &map), (1, &map)], &placement, watch).unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 2 * map.len() as u64);
        touch(&map);
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(warm(&[(1, &map)], &placement, watch), Err(MapError::Stopped)));
        assert_eq!(done.load(Ordering::Relaxed), 2 * map.len() as u64);
    }
}
