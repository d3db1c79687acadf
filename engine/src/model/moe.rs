//! Routed experts and the shared expert.
//!
//! Tokens are sorted by expert, so that an expert's weights are read once for all its tokens. Outputs are added in
//! ascending expert index, then the shared expert's: the order is the same for any batch (law 4).

use super::ffn;
use super::router;
use super::step::{Input, Q8Buffer, Step, product_tile, tile_rows};
use crate::probe::{Point, Values};
use crate::scratch::FfnScratch;
use crate::threads::Grid;
use crate::weights::Moe;
use fathom_simd::{Format, Pick};

/// What [`forward`] writes to.
pub struct Buffers<'b> {
    /// Scratch of the feed-forward half.
    pub ffn: &'b mut FfnScratch,
    /// Encoded activations between the two products.
    pub q8: &'b mut Q8Buffer,
    /// `[n, hidden_size]`.
    pub out: &'b mut [f32],
}

/// Formats that multiply the normed hidden state.
pub fn input_formats(moe: &Moe<'_>) -> [Format; 5] {
    let (gate, up) = match &moe.shared {
        Some(shared) => (shared.gate.format(), shared.up.format()),
        None => (moe.ffn_gate_exps.format(), moe.ffn_up_exps.format()),
    };
    [moe.ffn_gate_inp.format(), moe.ffn_gate_exps.format(), moe.ffn_up_exps.format(), gate, up]
}

/// The feed-forward half of a MoE layer.
pub fn forward(step: &mut Step<'_>, moe: &Moe<'_>, input: &Input<'_>, buffers: Buffers<'_>) {
    let Buffers { ffn: s, q8, out } = buffers;
    let hidden_size = step.config.hidden_size;
    router::route(step, moe, input, s);
    sort_by_expert(s, step.n, step.config.num_experts_per_tok);
    gate_and_up(step, moe, input, s);
    down(step, moe, s, q8, out);
    step.record(Point::RoutedOut, Values::F32(out));
    if let Some(shared) = &moe.shared {
        let shared_out = &mut s.shared_out[..step.n * hidden_size];
        ffn::swiglu(step, shared, input, &mut s.inner, q8, shared_out);
        step.record(Point::SharedOut, Values::F32(shared_out));
        step.add(out, shared_out, hidden_size);
    }
}

/// Fills `slot_token`, `slot_weight`, `active` and `bounds` for `n` tokens with `n_used` experts each: a counting sort, experts
/// ascending, tokens ascending inside an expert.
fn sort_by_expert(s: &mut FfnScratch, n: usize, n_used: usize) {
    let chosen = &s.experts[..n * n_used];
    s.places.fill(0);
    for &expert in chosen {
        s.places[expert as usize] += 1;
    }
    s.active.clear();
    s.bounds.clear();
    s.bounds.push(0);
    // How many slots an expert has becomes where the next of them is.
    let mut end = 0;
    for (expert, place) in s.places.iter_mut().enumerate() {
        let first = end;
        end += std::mem::replace(place, first);
        if end > first {
            s.active.push(expert as u32);
            s.bounds.push(end);
        }
    }
    for (index, &expert) in chosen.iter().enumerate() {
        let place = &mut s.places[expert as usize];
        s.slot_token[*place] = (index / n_used) as u32;
        s.slot_weight[*place] = s.weights[index];
        *place += 1;
    }
}

/// `slots[i] = silu(gate x) * up x` of slot `i`'s expert and token.
fn gate_and_up(step: &mut Step<'_>, moe: &Moe<'_>, input: &Input<'_>, s: &mut FfnScratch) {
    let (kernels, width) = (step.kernels, moe.ffn_gate_exps.n_rows());
    let (gate_acts, up_acts) = (input.acts(moe.ffn_gate_exps.format()), input.acts(moe.ffn_up_exps.format()));
    let (active, slot_token) = (&s.active, &s.slot_token);
    let n_slots = s.bounds.last().copied().unwrap_or(0);
    let tile = tile_rows(width * active.len(), step.team.n_threads(), step.n);
    let grid = Grid::new(&mut s.slots[..n_slots * width], width, &s.bounds, tile);
    step.team.split(step.locals, grid, |local, _, mut piece| {
        let expert = active[piece.group] as usize;
        let cols = piece.cols.clone();
        let pick = Pick::Rows(&slot_token[piece.rows.clone()]);
        product_tile(kernels, moe.ffn_gate_exps.rows(expert, cols.clone()), gate_acts, pick, &mut local.tile);
        product_tile(kernels, moe.ffn_up_exps.rows(expert, cols.clone()), up_acts, pick, &mut local.tile2);
        for row in 0..piece.rows.len() {
            let part = row * cols.len()..(row + 1) * cols.len();
            kernels.swiglu(&local.tile[part.clone()], &local.tile2[part], piece.row(row));
        }
    });
}

/// `out[t] = sum over t's experts, ascending, of weight * down slots`.
fn down(step: &mut Step<'_>, moe: &Moe<'_>, s: &mut FfnScratch, q8: &mut Q8Buffer, out: &mut [f32]) {
    let (kernels, width, n) = (step.kernels, step.config.hidden_size, step.n);
    let inner = moe.ffn_down_exps.n_cols();
    let n_slots = s.bounds.last().copied().unwrap_or(0);
    let input = Input::new(step, &s.slots[..n_slots * inner], inner, &[moe.ffn_down_exps.format()], q8);
    let format = moe.ffn_down_exps.format();
    let bounds = [0, n];
    let grid = Grid::new(out, width, &bounds, tile_rows(width, step.team.n_threads(), n));
    let s = &*s;
    step.team.split(step.locals, grid, |local, _, mut piece| {
        let cols = piece.cols.clone();
        for t in 0..n {
            piece.row(t).fill(0.0);
        }
        for (group, &expert) in s.active.iter().enumerate() {
            let slots = s.bounds[group]..s.bounds[group + 1];
            let rows = moe.ffn_down_exps.rows(expert as usize, cols.clone());
            let acts = input.acts_from(format, slots.start);
            product_tile(kernels, rows, acts, Pick::First(slots.len()), &mut local.tile);
            for (index, slot) in slots.enumerate() {
                let part = &local.tile[index * cols.len()..(index + 1) * cols.len()];
                kernels.axpy(s.slot_weight[slot], part, piece.row(s.slot_token[slot] as usize));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Buffers as Make;
    use fathom_arch::config::Config;

    #[test]
    fn tokens_are_sorted_by_expert_and_stay_in_order() {
        let config = Config::tiny();
        let (n_experts, n_used) = (config.n_routed_experts, config.num_experts_per_tok);
        let mut random = fastrand::Rng::with_seed(7);
        let mut s = FfnScratch::new(&config, 40, &mut Make::made());
        for n in [0, 1, 7, 40, 3] {
            for token in 0..n {
                let mut experts = random.choose_multiple(0..n_experts as u32, n_used);
                experts.sort_unstable();
                s.experts[token * n_used..][..n_used].copy_from_slice(&experts);
            }
            s.weights.iter_mut().for_each(|weight| *weight = random.f32());
            sort_by_expert(&mut s, n, n_used);
            let mut expected: Vec<usize> = (0..n * n_used).collect();
            expected.sort_by_key(|&index| s.experts[index]);
            for (slot, &index) in expected.iter().enumerate() {
                assert_eq!(
                    (s.slot_token[slot], s.slot_weight[slot]),
                    ((index / n_used) as u32, s.weights[index])
                );
            }
            let of = |group: usize| s.bounds[group]..s.bounds[group + 1];
            let groups =
                s.active.iter().enumerate().flat_map(|(group, &expert)| of(group).map(move |_| expert));
            assert_eq!(
                groups.collect::<Vec<_>>(),
                expected.iter().map(|&i| s.experts[i]).collect::<Vec<_>>()
            );
            assert_eq!((s.bounds[0], *s.bounds.last().unwrap()), (0, n * n_used));
        }
    }
}
