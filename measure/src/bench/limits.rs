//! The two limits of a machine, measured on the spot by the same threads that compute.

use fathom_engine::threads::Team;
use fathom_simd::Kernels;
use std::hint::black_box;
use std::time::Instant;

/// Bytes that a thread reads at a time.
const PIECE: usize = 1 << 20;
/// Bytes of one measurement, if the model has so many: more than caches hold.
const WINDOW: usize = 1 << 30;
/// Passes over a window after the first, which brings the pages in and is not timed.
const PASSES: usize = 2;
/// Rounds of multiplications that a thread takes at a time.
const ROUNDS: usize = 10_000;
/// Such portions for each thread.
const PORTIONS: usize = 64;
/// A measurement of multiplications ends with the first portion after this.
const LONG_ENOUGH: f64 = 0.02;

/// Measures how fast this machine reads and multiplies.
pub struct Limits<'m> {
    pieces: Vec<&'m [u8]>,
    /// Where the next window begins.
    next: usize,
}

impl<'m> Limits<'m> {
    /// Limits over these bytes: a model's mapping.
    pub fn new<'s>(shards: impl IntoIterator<Item = &'s [u8]>) -> Limits<'m>
    where
        's: 'm,
    {
        Limits { pieces: shards.into_iter().flat_map(|bytes| bytes.chunks(PIECE)).collect(), next: 0 }
    }

    /// Bytes a second that the team reads: the better pass over a window that moves on from call to call.
    pub(crate) fn read_bandwidth(&mut self, team: &mut Team) -> f64 {
        let n = self.pieces.len().min(WINDOW / PIECE);
        if self.next + n > self.pieces.len() {
            self.next = 0;
        }
        let window = &self.pieces[self.next..self.next + n];
        self.next += n;
        let n_bytes: usize = window.iter().map(|piece| piece.len()).sum();
        let mut sums = vec![0_u64; team.n_threads()];
        let mut read = || {
            let started = Instant::now();
            team.each(&mut sums, n, |sum, at| *sum = sum.wrapping_add(add_up(window[at])));
            started.elapsed().as_secs_f64()
        };
        read();
        let best = (0..PASSES).map(|_| read()).fold(f64::INFINITY, f64::min);
        black_box(sums);
        n_bytes as f64 / best
    }

    /// Multiplications a second, each with its addition, that the team does at most between registers.
    pub(crate) fn int_peak(team: &mut Team, kernels: &Kernels) -> f64 {
        let mut sums = vec![[0_i32; 16]; team.n_threads()];
        let n_portions = PORTIONS * team.n_threads();
        let macs = (n_portions * ROUNDS * Kernels::INT_PEAK_MACS_PER_ROUND) as f64;
        let (mut best, started) = (f64::INFINITY, Instant::now());
        while best.is_infinite() || started.elapsed().as_secs_f64() < LONG_ENOUGH {
            let start = Instant::now();
            team.each(&mut sums, n_portions, |sum, _| kernels.int_peak(black_box(ROUNDS), sum));
            best = best.min(start.elapsed().as_secs_f64());
        }
        black_box(sums);
        macs / best
    }
}

/// The sum of the bytes' words: what a reader has to do at least.
fn add_up(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<256>();
    let mut sums = [0_u64; 32];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    let rest = rest.iter().map(|&byte| u64::from(byte)).sum();
    sums.iter().fold(rest, |total, sum| total.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_engine::threads::Seats;

    #[test]
    fn every_word_is_read() {
        let mut bytes = vec![0; 5 * 256 + 3];
        bytes[8 * 100] = 5;
        bytes[5 * 256 + 1] = 2;
        assert_eq!(add_up(&bytes), 7);
    }

    #[test]
    fn windows_move_over_all_shards_and_begin_again() {
        let (a, b) = (vec![1; 3 * PIECE + 1], vec![2; PIECE]);
        let mut limits = Limits::new([&a[..], &b[..]]);
        assert_eq!(limits.pieces.len(), 5);
        let mut team = Team::new(&Seats::of(2)).unwrap();
        for _ in 0..3 {
            assert!(limits.read_bandwidth(&mut team) > 0.0);
            assert_eq!(limits.next, 5);
        }
        assert!(Limits::int_peak(&mut team, Kernels::best()) > 0.0);
    }
}
