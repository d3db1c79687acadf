//! What every part of a forward call works with, and the two operations all of them share: encoding activations and
//! multiplying by a weight matrix.

use super::fault::Fault;
use super::rope::Rotary;
use crate::probe::{Point, Probe, Values};
use crate::scratch::{Buffers, Local};
use crate::threads::{Grid, Rows as RowPieces, Team};
use crate::weights::Matrix;
use fathom_arch::config::Config;
use fathom_simd::{ActKind, Acts, F32Acts, Format, Kernels, Pick, Q8Acts, Rows};

/// Activation block: 8-bit values share one scale.
pub const ACT_BLOCK: usize = 32;

/// Rows of a weight matrix that one thread takes at a time: small enough to share work evenly, large enough that
/// taking them costs nothing.
const TILE_ROWS: usize = 64;
/// The same for a single token, for which a row is little work: what a call costs by itself (a kernel may clear 20 KB) should not
/// show beside its rows.
const SINGLE_TILE_ROWS: usize = 256;

/// One forward call: the tokens at positions `first .. first + n`.
pub struct Step<'s> {
    /// The model's numbers.
    pub config: &'s Config,
    /// The machine's kernels.
    pub kernels: &'static Kernels,
    /// The threads.
    pub team: &'s mut Team,
    /// Scratch of each thread.
    pub locals: &'s mut [Local],
    /// Rotary speeds.
    pub rotary: &'s Rotary,
    /// The layer at work; the MTP layer counts last.
    pub layer: usize,
    /// Position of the first token.
    pub first: usize,
    /// Tokens.
    pub n: usize,
    /// Attend to every earlier token, whatever the indexer says.
    pub dense: bool,
    /// Where bad numbers are noted.
    pub fault: &'s Fault,
    /// Who looks on.
    pub probe: &'s mut dyn Probe,
    /// Hears between two layers how many are done, and says whether to go on.
    pub go_on: &'s mut dyn FnMut(usize) -> bool,
}

/// Activations in 8-bit blocks, `[n_rows, n_cols]`.
pub struct Q8Buffer {
    values: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<[i16; 2]>,
}

impl Q8Buffer {
    /// Room for `n_values` values.
    pub fn new(n_values: usize, make: &mut Buffers) -> Q8Buffer {
        let n_blocks = n_values.div_ceil(ACT_BLOCK);
        Q8Buffer { values: make.zeros(n_values), scales: make.zeros(n_blocks), sums: make.zeros(n_blocks) }
    }

    /// Encodes `n_rows` rows; row `i` is `source(i)`, `[n_cols]`.
    pub fn encode<'v>(
        &mut self,
        step: &mut Step<'_>,
        n_rows: usize,
        n_cols: usize,
        source: impl Fn(usize) -> &'v [f32] + Sync,
    ) {
        let (n_values, n_blocks) = (n_rows * n_cols, n_rows * n_cols / ACT_BLOCK);
        let kernels = step.kernels;
        let rows = (
            RowPieces::new(&mut self.values[..n_values], n_cols),
            RowPieces::new(&mut self.scales[..n_blocks], n_cols / ACT_BLOCK),
            RowPieces::new(&mut self.sums[..n_blocks], n_cols / ACT_BLOCK),
        );
        step.team.split(step.locals, rows, |_, row, (values, scales, sums)| {
            kernels.encode_q8(source(row), values, scales, sums);
        });
    }

    /// Rows `first_row ..` with `n_cols` values each.
    pub fn acts(&self, first_row: usize, n_rows: usize, n_cols: usize) -> Q8Acts<'_> {
        let (values, blocks) = (first_row * n_cols, first_row * n_cols / ACT_BLOCK);
        let (n_values, n_blocks) = (n_rows * n_cols, n_rows * n_cols / ACT_BLOCK);
        Q8Acts {
            values: &self.values[values..values + n_values],
            scales: &self.scales[blocks..blocks + n_blocks],
            sums: &self.sums[blocks..blocks + n_blocks],
            stride: n_cols,
        }
    }
}

/// Activations of several tokens in the forms that weight formats ask for.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// `[n, n_cols]`.
    values: &'a [f32],
    n_cols: usize,
    q8: Option<Q8Acts<'a>>,
}

impl<'a> Input<'a> {
    /// Takes `[n, n_cols]` values, and encodes them when one of `formats` multiplies 8-bit blocks.
    pub fn new(
        step: &mut Step<'_>,
        values: &'a [f32],
        n_cols: usize,
        formats: &[Format],
        buffer: &'a mut Q8Buffer,
    ) -> Input<'a> {
        let n_rows = values.len() / n_cols;
        let q8 = if formats.iter().any(|format| format.acts() == ActKind::Q8) {
            buffer.encode(step, n_rows, n_cols, |row| &values[row * n_cols..(row + 1) * n_cols]);
            Some(buffer.acts(0, n_rows, n_cols))
        } else {
            None
        };
        Input { values, n_cols, q8 }
    }

    /// The form that `format` multiplies.
    ///
    /// # Panics
    /// If the format was not named when the input was made.
    pub fn acts(&self, format: Format) -> Acts<'a> {
        self.acts_from(format, 0)
    }

    /// The same from row `row` on.
    ///
    /// # Panics
    /// If the format was not named when the input was made.
    pub fn acts_from(&self, format: Format, row: usize) -> Acts<'a> {
        let first = row * self.n_cols;
        match format.acts() {
            ActKind::F32 => Acts::F32(F32Acts { values: &self.values[first..], stride: self.n_cols }),
            ActKind::Q8 => {
                let q8 = self.q8.expect("the input was encoded for this format");
                Acts::Q8(Q8Acts {
                    values: &q8.values[first..],
                    scales: &q8.scales[first / ACT_BLOCK..],
                    sums: &q8.sums[first / ACT_BLOCK..],
                    stride: q8.stride,
                })
            }
        }
    }
}

impl Step<'_> {
    /// Position of token `t` of this call.
    pub fn position(&self, t: usize) -> usize {
        self.first + t
    }

    /// Shows the probe a point of this layer and call.
    pub fn record(&mut self, point: Point, values: Values<'_>) {
        self.probe.record(point, self.layer, self.first, values);
    }

    /// Shows the probe a point of one position.
    pub fn record_at(&mut self, point: Point, position: usize, values: Values<'_>) {
        self.probe.record(point, self.layer, position, values);
    }

    /// `out[t][r] = sum_k matrix[r][k] * input[t][k]` for all tokens; `out`: `[n, n_rows]`.
    pub fn product(&mut self, matrix: &Matrix<'_>, input: &Input<'_>, out: &mut [f32]) {
        let (kernels, acts) = (self.kernels, input.acts(matrix.format()));
        let n = out.len() / matrix.n_rows();
        let bounds = [0, n];
        let tile = tile_rows(matrix.n_rows(), self.team.n_threads(), n);
        let grid = Grid::new(out, matrix.n_rows(), &bounds, tile);
        self.team.split(self.locals, grid, |local, _, mut piece| {
            let rows = matrix.rows(piece.cols.clone());
            if n == 1 {
                kernels.product(rows, acts, Pick::First(1), piece.row(0));
            } else {
                product_tile(kernels, rows, acts, Pick::First(n), &mut local.tile);
                for t in 0..n {
                    piece.row(t).copy_from_slice(&local.tile[t * rows.n_rows..(t + 1) * rows.n_rows]);
                }
            }
        });
    }

    /// Adds `y` to `x`, both `[n, width]`.
    pub fn add(&mut self, x: &mut [f32], y: &[f32], width: usize) {
        let kernels = self.kernels;
        self.team.split(self.locals, RowPieces::new(x, width), |_, t, row| {
            kernels.add(row, &y[t * width..(t + 1) * width]);
        });
    }
}

/// A product into a thread's own tile, `[picked tokens, rows]`.
pub fn product_tile(kernels: &Kernels, rows: Rows<'_>, acts: Acts<'_>, pick: Pick<'_>, tile: &mut [f32]) {
    let len = pick.len() * rows.n_rows;
    kernels.product(rows, acts, pick, &mut tile[..len]);
}

/// Tile height for a matrix that meets `n` tokens: `TILE_ROWS`, or less where that would leave threads without work.
pub fn tile_rows(n_rows: usize, n_threads: usize, n: usize) -> usize {
    let most = if n == 1 { SINGLE_TILE_ROWS } else { TILE_ROWS };
    // Sixteen rows are what kernels work on at once.
    (n_rows / (4 * n_threads)).next_multiple_of(16).clamp(16, most)
}

/// Values that the results of a tile may need, with `b` tokens at most.
pub fn tile_len(b: usize) -> usize {
    (b * TILE_ROWS).max(SINGLE_TILE_ROWS)
}
