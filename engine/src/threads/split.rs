//! Outputs cut into pieces that no two threads share.
#![expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]

use super::seats::Share;
use std::marker::PhantomData;
use std::ops::Range;

/// An output that can be cut into numbered, disjoint pieces.
///
/// # Safety
/// `piece(i)` and `piece(j)` must not overlap for `i != j`, and both must lie in memory that this value borrows
/// mutably for `'o`. `item` must name every index once over the shares of all threads.
pub unsafe trait Split<'o>: Sized {
    /// What the thread that has item `i` may write.
    type Piece: Send;

    /// Number of pieces.
    fn len(&self) -> usize;

    /// Whether there is no piece.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of the piece that is number `nth` of a share; `None` past its last one.
    fn item(&self, share: Share, nth: usize) -> Option<usize> {
        share.item(self.len(), nth)
    }

    /// Piece `index`.
    ///
    /// # Safety
    /// `index < len()`, and each index is asked for at most once while earlier pieces are alive.
    unsafe fn piece(&self, index: usize) -> Self::Piece;
}

/// Equal consecutive pieces: rows of a matrix, or heads of all tokens.
pub struct Rows<'o, T> {
    start: *mut T,
    n_rows: usize,
    row_len: usize,
    borrow: PhantomData<&'o mut [T]>,
}

impl<'o, T> Rows<'o, T> {
    /// Cuts `values` into rows of `row_len`.
    ///
    /// # Panics
    /// If the length is not a multiple of `row_len`.
    pub fn new(values: &'o mut [T], row_len: usize) -> Self {
        assert!(
            row_len > 0 && values.len().is_multiple_of(row_len),
            "{} values in rows of {row_len}",
            values.len()
        );
        Rows { start: values.as_mut_ptr(), n_rows: values.len() / row_len, row_len, borrow: PhantomData }
    }
}

// SAFETY: row i is start + i * row_len .. start + (i + 1) * row_len: disjoint for different i and inside the slice.
unsafe impl<'o, T: Send + 'o> Split<'o> for Rows<'o, T> {
    type Piece = &'o mut [T];

    fn len(&self) -> usize {
        self.n_rows
    }

    unsafe fn piece(&self, index: usize) -> &'o mut [T] {
        // SAFETY: index < n_rows by the caller's promise, so the row lies inside the borrowed slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.row_len), self.row_len) }
    }
}

// SAFETY: both halves keep their own promise for the same index.
unsafe impl<'o, A: Split<'o>, B: Split<'o>> Split<'o> for (A, B) {
    type Piece = (A::Piece, B::Piece);

    fn len(&self) -> usize {
        assert_eq!(self.0.len(), self.1.len(), "outputs split together have the same number of pieces");
        self.0.len()
    }

    fn item(&self, share: Share, nth: usize) -> Option<usize> {
        self.0.item(share, nth)
    }

    unsafe fn piece(&self, index: usize) -> Self::Piece {
        // SAFETY: the caller's promise is handed on unchanged.
        unsafe { (self.0.piece(index), self.1.piece(index)) }
    }
}

// SAFETY: as for pairs.
unsafe impl<'o, A: Split<'o>, B: Split<'o>, C: Split<'o>> Split<'o> for (A, B, C) {
    type Piece = (A::Piece, B::Piece, C::Piece);

    fn len(&self) -> usize {
        assert_eq!(self.0.len(), self.1.len(), "outputs split together have the same number of pieces");
        assert_eq!(self.0.len(), self.2.len(), "outputs split together have the same number of pieces");
        self.0.len()
    }

    fn item(&self, share: Share, nth: usize) -> Option<usize> {
        self.0.item(share, nth)
    }

    unsafe fn piece(&self, index: usize) -> Self::Piece {
        // SAFETY: the caller's promise is handed on unchanged.
        unsafe { (self.0.piece(index), self.1.piece(index), self.2.piece(index)) }
    }
}

/// A matrix cut into groups of rows times tiles of columns: one piece per (group, tile).
///
/// Groups are the tokens of an expert (or all tokens); column tiles are tiles of a weight matrix's rows.
pub struct Grid<'o, T> {
    start: *mut T,
    width: usize,
    /// Rows of group `g`: `bounds[g]..bounds[g + 1]`.
    bounds: &'o [usize],
    /// Columns of a tile; the last tile may be narrower.
    tile: usize,
    borrow: PhantomData<&'o mut [T]>,
}

impl<'o, T> Grid<'o, T> {
    /// Cuts `values`, a matrix with rows of `width`, into groups of rows (`bounds`, ascending, one more entry than
    /// groups) and tiles of `tile` columns.
    ///
    /// # Panics
    /// If the bounds descend or leave the matrix.
    pub fn new(values: &'o mut [T], width: usize, bounds: &'o [usize], tile: usize) -> Self {
        assert!(width > 0 && tile > 0, "width {width}, tile {tile}");
        assert!(bounds.is_sorted(), "group bounds ascend");
        let rows = bounds.last().copied().unwrap_or(0);
        // A product that wrapped would pass, and pieces would lie outside the slice.
        let inside = rows.checked_mul(width).is_some_and(|n_values| n_values <= values.len());
        assert!(inside, "{rows} rows of {width} in {} values", values.len());
        Grid { start: values.as_mut_ptr(), width, bounds, tile, borrow: PhantomData }
    }

    fn n_tiles(&self) -> usize {
        self.width.div_ceil(self.tile)
    }

    fn n_groups(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }
}

/// A rectangle of a matrix that belongs to one thread.
pub struct Tile<'o, T> {
    /// Which group of rows.
    pub group: usize,
    /// Rows of the matrix.
    pub rows: Range<usize>,
    /// Columns of the matrix.
    pub cols: Range<usize>,
    start: *mut T,
    width: usize,
    borrow: PhantomData<&'o mut [T]>,
}

// SAFETY: a tile is a mutable borrow of values that nobody else can reach.
unsafe impl<T: Send> Send for Tile<'_, T> {}

impl<T> Tile<'_, T> {
    /// The tile's part of row `row` of the group, `cols.len()` values.
    ///
    /// # Panics
    /// If the group has no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows.len(), "row {row} of {}", self.rows.len());
        // SAFETY: `start` is the tile's first value in the group's first row; rows are `width` apart; the tile is
        // inside the matrix (Grid::new) and belongs to this value alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.width), self.cols.len()) }
    }
}

// SAFETY: pieces differ in their group, so in rows, or in their tile, so in columns.
unsafe impl<'o, T: Send + 'o> Split<'o> for Grid<'o, T> {
    type Piece = Tile<'o, T>;

    fn len(&self) -> usize {
        self.n_groups() * self.n_tiles()
    }

    /// A share has the same tiles of every group: the same rows of every expert's weights.
    fn item(&self, share: Share, nth: usize) -> Option<usize> {
        let tiles = share.of(self.n_tiles());
        let group = nth.checked_div(tiles.len())?;
        (group < self.n_groups()).then(|| group * self.n_tiles() + tiles.start + nth % tiles.len())
    }

    unsafe fn piece(&self, index: usize) -> Tile<'o, T> {
        let (group, tile) = (index / self.n_tiles(), index % self.n_tiles());
        let rows = self.bounds[group]..self.bounds[group + 1];
        let first = tile * self.tile;
        let cols = first..first + self.tile.min(self.width - first);
        // SAFETY: rows.start <= the last bound and cols.start < width, so the pointer stays inside the slice (or one
        // past its end for an empty group, where it is never read).
        let start =
            unsafe { self.start.add(rows.start * self.width + if rows.is_empty() { 0 } else { cols.start }) };
        Tile { group, rows, cols, start, width: self.width, borrow: PhantomData }
    }
}

/// Shares a [`Split`] between threads for the time of one step.
pub(super) struct Pieces<S> {
    split: S,
    len: usize,
}

// SAFETY: threads only call `take`, each with an index of its own (see there), and pieces do not overlap.
unsafe impl<S> Sync for Pieces<S> {}

impl<S> Pieces<S> {
    pub(super) fn new<'o>(split: S) -> Self
    where
        S: Split<'o>,
    {
        let len = split.len();
        Pieces { split, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// [`Split::item`].
    pub(super) fn item<'o>(&self, share: Share, nth: usize) -> Option<usize>
    where
        S: Split<'o>,
    {
        self.split.item(share, nth)
    }

    /// Piece `index`. `Team::deal` hands every index out once (an atomic counter for each share), and is the only caller.
    pub(super) fn take<'o>(&self, index: usize) -> S::Piece
    where
        S: Split<'o>,
    {
        assert!(index < self.len, "piece {index} of {}", self.len);
        // SAFETY: index < len, and `Team::deal` gives each index to one call.
        unsafe { self.split.piece(index) }
    }
}

/// One scratch value per thread.
pub(super) struct Locals<'l, L> {
    start: *mut L,
    len: usize,
    borrow: PhantomData<&'l mut [L]>,
}

// SAFETY: `take` gives each entry to one thread (see there), and the values may change threads.
unsafe impl<L: Send> Sync for Locals<'_, L> {}

impl<'l, L> Locals<'l, L> {
    pub(super) fn new(locals: &'l mut [L]) -> Self {
        Locals { start: locals.as_mut_ptr(), len: locals.len(), borrow: PhantomData }
    }

    /// The value of `thread`. `Team::deal` is the only caller, and asks once per thread and step.
    pub(super) fn take(&self, thread: usize) -> &'l mut L {
        assert!(thread < self.len, "thread {thread} of {}", self.len);
        // SAFETY: inside the slice by the assertion; each thread asks for its own entry once, so no two borrows meet.
        unsafe { &mut *self.start.add(thread) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    /// Sizes whose products do not fit in a word, which wrapped to small numbers before they were compared.
    #[test]
    fn a_matrix_larger_than_memory_is_no_part_of_a_slice() {
        for (n_rows, width) in [(1 << 62, 4), (usize::MAX, 2), (3, usize::MAX / 3 + 1), (1, 9), (3, 3)] {
            let cut = catch_unwind(|| {
                let (mut values, bounds) = ([0u8; 8], [0, n_rows]);
                Grid::new(&mut values, width, &bounds, 16).len()
            });
            assert!(cut.is_err(), "{n_rows} rows of {width}");
        }
    }

    #[test]
    fn a_tile_may_be_wider_than_the_matrix() {
        let (mut values, bounds) = ([0u8; 6], [0, 1, 2]);
        for (tile, cols) in [(usize::MAX, &[(0, 3)][..]), (3, &[(0, 3)]), (2, &[(0, 2), (2, 3)])] {
            let grid = Grid::new(&mut values, 3, &bounds, tile);
            assert_eq!(grid.len(), 2 * cols.len());
            for index in 0..grid.len() {
                // SAFETY: below the length, and the piece before is gone.
                let mut piece = unsafe { grid.piece(index) };
                let (start, end) = cols[index % cols.len()];
                assert_eq!((piece.group, piece.cols.clone()), (index / cols.len(), start..end));
                assert_eq!(piece.row(0).len(), piece.cols.len());
            }
        }
    }
}
