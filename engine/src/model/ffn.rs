//! SwiGLU: `down(silu(gate x) * up x)`. Serves the dense layers and the shared expert.

use super::step::{Input, Q8Buffer, Step, product_tile, tile_rows};
use crate::threads::Grid;
use crate::weights::SwiGlu;
use fathom_simd::Pick;

/// `out[t] = ffn(input[t])`, `[n, hidden_size]`; `inner` is scratch for `[n, width of the network]`.
pub fn swiglu(
    step: &mut Step<'_>,
    ffn: &SwiGlu<'_>,
    input: &Input<'_>,
    inner: &mut [f32],
    q8: &mut Q8Buffer,
    out: &mut [f32],
) {
    let (n, width) = (step.n, ffn.gate.n_rows());
    let inner = &mut inner[..n * width];
    let (kernels, bounds) = (step.kernels, [0, n]);
    let (gate_acts, up_acts) = (input.acts(ffn.gate.format()), input.acts(ffn.up.format()));
    let grid = Grid::new(inner, width, &bounds, tile_rows(width, step.team.n_threads(), n));
    step.team.split(step.locals, grid, |local, _, mut piece| {
        let cols = piece.cols.clone();
        product_tile(kernels, ffn.gate.rows(cols.clone()), gate_acts, Pick::First(n), &mut local.tile);
        product_tile(kernels, ffn.up.rows(cols.clone()), up_acts, Pick::First(n), &mut local.tile2);
        for t in 0..n {
            let part = t * cols.len()..(t + 1) * cols.len();
            kernels.swiglu(&local.tile[part.clone()], &local.tile2[part], piece.row(t));
        }
    });
    let inner = Input::new(step, inner, width, &[ffn.down.format()], q8);
    step.product(&ffn.down, &inner, out);
}
