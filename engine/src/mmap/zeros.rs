//! Memory of the process's own, in large pages where the system gives them.

use memmap2::MmapMut;
use std::io::Error;
use std::ops::{Deref, DerefMut, Range};

/// Size of a large page on x86-64 and, mostly, on Arm.
pub(super) const LARGE_PAGE: usize = 2 << 20;

/// Zero bytes that the system gives page by page as they are touched, beginning at a large page.
///
/// A place that is picked from far more memory than the processor's table of addresses covers costs a walk through the
/// system's tables for every small page.
#[derive(Debug, Default)]
pub struct Zeros {
    map: Option<MmapMut>,
    place: Range<usize>,
}

impl Zeros {
    /// `len` of them.
    ///
    /// # Errors
    /// The system's, when it has no room for that many.
    pub fn new(len: usize) -> Result<Zeros, Error> {
        // A large page more, to begin at one; it is never touched.
        let map = MmapMut::map_anon(len.saturating_add(LARGE_PAGE))?;
        let start = map.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
        // Whole large pages alone, so that never more memory is taken than was asked for. A system without them gives small
        // ones, which serve as well, more slowly.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, len / LARGE_PAGE * LARGE_PAGE);
        Ok(Zeros { map: Some(map), place: start..start + len })
    }

    /// Keeps the system from taking them away.
    #[cfg(unix)]
    pub(super) fn lock(&self) -> Result<(), Error> {
        self.map.as_ref().map_or(Ok(()), MmapMut::lock)
    }
}

impl Deref for Zeros {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], |map| &map[self.place.clone()])
    }
}

impl DerefMut for Zeros {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_mut().map_or(&mut [], |map| &mut map[self.place.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_zero_begin_at_a_large_page_and_keep_what_is_written() {
        for len in [0, 1, LARGE_PAGE + 1] {
            let mut zeros = Zeros::new(len).unwrap();
            assert_eq!((zeros.len(), zeros.as_ptr().align_offset(LARGE_PAGE)), (len, 0));
            assert!(zeros.iter().all(|&byte| byte == 0));
            zeros.fill(7);
            assert_eq!(*zeros, vec![7; len]);
        }
        assert!(Zeros::default().is_empty());
    }

    #[test]
    fn more_than_there_is_gives_the_systems_error() {
        Zeros::new(usize::MAX / 4).unwrap_err();
        Zeros::new(usize::MAX).unwrap_err();
    }
}
