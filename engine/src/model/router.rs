//! Which experts a token uses (`noaux_tc`): sigmoid scores, a bias that acts on the choice only, groups first.
//!
//! Everywhere the order is: score descending, -0 equal to +0, lower index first.

use super::fault::{BadValue, all_finite};
use super::step::{Input, Step};
use crate::probe::{Point, Values};
use crate::scratch::FfnScratch;
use crate::threads::Rows;
use crate::weights::Moe;
use fathom_arch::config::Config;

/// Added to the sum of weights before dividing, as transformers does.
const WEIGHT_SUM_GUARD: f32 = 1e-20;

/// Fills `scratch.experts` (`[n, num_experts_per_tok]`, ascending) and `scratch.weights`.
pub fn route(step: &mut Step<'_>, moe: &Moe<'_>, input: &Input<'_>, scratch: &mut FfnScratch) {
    let (n, c, kernels) = (step.n, step.config, step.kernels);
    let (n_experts, n_used) = (c.n_routed_experts, c.num_experts_per_tok);
    let (fault, layer, first) = (step.fault, step.layer, step.first);
    let scores = &mut scratch.scores[..n * n_experts];
    step.product(&moe.ffn_gate_inp, input, scores);
    let outputs = (
        Rows::new(&mut *scores, n_experts),
        Rows::new(&mut scratch.experts[..n * n_used], n_used),
        Rows::new(&mut scratch.weights[..n * n_used], n_used),
    );
    step.team.split(step.locals, outputs, |local, t, (scores, experts, weights)| {
        // Looked at before the sigmoid, which makes a one or a zero of an infinity.
        if !all_finite(scores) {
            fault.note(BadValue::RouterScore, layer, first + t);
        }
        kernels.sigmoid(scores);
        for ((choice, score), bias) in local.choice.iter_mut().zip(&*scores).zip(&moe.exp_probs_b) {
            *choice = score + bias;
        }
        choose(c, &mut local.choice, &mut local.groups, experts);
        weigh(c, scores, experts, weights);
    });
    step.record(Point::RouterScores, Values::F32(scores));
    step.record(Point::Experts, Values::Ids(&scratch.experts[..n * n_used]));
    step.record(Point::ExpertWeights, Values::F32(&scratch.weights[..n * n_used]));
}

/// Chooses experts by their biased scores; `choice` is used up, `experts` comes back ascending.
fn choose(c: &Config, choice: &mut [f32], groups: &mut [f32], experts: &mut [u32]) {
    if c.n_group > 1 {
        let group_len = choice.len() / c.n_group;
        for (group, score) in choice.chunks_exact(group_len).zip(groups.iter_mut()) {
            *score = sum_of_best_two(group);
        }
        for (index, group) in choice.chunks_exact_mut(group_len).enumerate() {
            if n_better(groups, index) >= c.topk_group {
                // Not zero, as DeepSeek's first code had it: biased scores may be negative.
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
    for (slot, expert) in experts.iter_mut().enumerate() {
        // Only scores that are not numbers leave nothing to take; the call is reported as bad then.
        *expert = take_best(choice).unwrap_or(slot) as u32;
    }
    experts.sort_unstable();
}

fn sum_of_best_two(group: &[f32]) -> f32 {
    let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &score in group {
        if score > best {
            (best, second) = (score, best);
        } else if score > second {
            second = score;
        }
    }
    best + second
}

/// How many scores come before that of `index`.
fn n_better(scores: &[f32], index: usize) -> usize {
    let own = scores[index];
    scores
        .iter()
        .enumerate()
        .filter(|&(other, &score)| score > own || (score == own && other < index))
        .count()
}

/// The best score's index; the score is replaced by NaN, which is never better than anything.
fn take_best(scores: &mut [f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, &score) in scores.iter().enumerate() {
        if !score.is_nan() && best.is_none_or(|b| score > scores[b]) {
            best = Some(index);
        }
    }
    if let Some(best) = best {
        scores[best] = f32::NAN;
    }
    best
}

/// The chosen experts' own scores (without bias), normalised and scaled.
fn weigh(c: &Config, scores: &[f32], experts: &[u32], weights: &mut [f32]) {
    for (weight, &expert) in weights.iter_mut().zip(experts) {
        *weight = scores[expert as usize];
    }
    let sum = if c.norm_topk_prob { weights.iter().sum::<f32>() + WEIGHT_SUM_GUARD } else { 1.0 };
    for weight in weights {
        *weight = *weight / sum * c.routed_scaling_factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(n_group: usize, topk_group: usize, n_used: usize, scores: &[f32]) -> Vec<u32> {
        let c = Config {
            n_routed_experts: scores.len(),
            n_group,
            topk_group,
            num_experts_per_tok: n_used,
            ..Config::tiny()
        };
        let mut experts = vec![0; n_used];
        choose(&c, &mut scores.to_vec(), &mut vec![0.0; n_group], &mut experts);
        experts
    }

    #[test]
    fn ties_go_to_the_lower_index_and_zeros_are_equal() {
        assert_eq!(chosen(1, 1, 2, &[0.5, 0.5, 0.5, 0.5]), [0, 1]);
        assert_eq!(chosen(1, 1, 1, &[-0.0, 0.0]), [0]);
        assert_eq!(chosen(1, 1, 1, &[0.0, -0.0]), [0]);
        assert_eq!(chosen(2, 1, 1, &[0.1, 0.4, 0.4, 0.1]), [1], "equal groups: the first one");
    }

    #[test]
    fn groups_are_judged_by_their_best_two() {
        // Group 1 has the best expert, group 0 the better pair.
        assert_eq!(chosen(2, 1, 2, &[0.6, 0.6, 0.0, 0.9, 0.1, 0.1]), [0, 1]);
    }

    #[test]
    fn negative_scores_of_a_taken_group_beat_masked_ones() {
        assert_eq!(chosen(2, 1, 2, &[-0.1, -0.2, -0.3, -0.4]), [0, 1]);
        assert_eq!(chosen(2, 1, 2, &[-0.5, -0.6, -0.3, -0.4]), [2, 3]);
    }

    #[test]
    fn weights_are_normalised_then_scaled() {
        let c = Config { routed_scaling_factor: 2.5, norm_topk_prob: true, ..Config::tiny() };
        let mut weights = [0.0; 2];
        weigh(&c, &[0.1, 0.2, 0.6], &[0, 2], &mut weights);
        assert!((weights[0] - 2.5 / 7.0).abs() < 1e-6 && (weights[1] - 15.0 / 7.0).abs() < 1e-6);
    }
}
