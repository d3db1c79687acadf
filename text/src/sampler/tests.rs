//! Small cases, by hand from the published formulas.

use super::*;

fn drawn(sampling: &Sampling, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::with(sampling, Breakers::default(), logits.len());
    (0..n).map(|_| sampler.pick(logits).unwrap()).collect()
}

/// What may be drawn after `history`, in order of id.
fn left(sampling: &Sampling, history: &[u32], logits: &[f32]) -> Vec<(u32, f64)> {
    let mut sampler = Sampler::with(sampling, Breakers::default(), logits.len());
    history.iter().for_each(|&token| sampler.accept(token));
    let mut left = sampler.distribution(logits).unwrap();
    left.sort_by_key(|&(id, _)| id);
    left
}

fn logs(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

fn everything() -> Sampling {
    Sampling { top_p: 1.0, seed: 7, ..Sampling::default() }
}

#[test]
fn zero_temperature_takes_the_first_of_the_best() {
    let sampling = Sampling { temperature: 0.0, ..everything() };
    assert_eq!(drawn(&sampling, &[0.5, 2.0, -1.0, 2.0], 3), [1, 1, 1]);
    assert_eq!(best(&[-0.0, 0.0]), 0);
}

#[test]
fn frequencies_follow_the_distribution() {
    let logits = logs(&[0.5, 0.3, 0.15, 0.05]);
    let n = 40_000;
    let counts = drawn(&everything(), &logits, n).iter().fold([0; 4], |mut counts, &id| {
        counts[id as usize] += 1;
        counts
    });
    for (count, p) in counts.iter().zip([0.5, 0.3, 0.15, 0.05]) {
        assert!((*count as f64 / n as f64 - p).abs() < 0.01, "{counts:?}");
    }
}

#[test]
fn temperature_sharpens_what_is_left() {
    let logits = logs(&[0.6, 0.4]);
    let cold = drawn(&Sampling { temperature: 0.1, ..everything() }, &logits, 2000);
    assert!(cold.iter().filter(|&&id| id == 1).count() < 100);
}

#[test]
fn truncations_keep_what_they_say() {
    let logits = logs(&[0.05, 0.5, 0.3, 0.15]);
    let only = |sampling: Sampling, allowed: &[u32]| {
        let seen = drawn(&sampling, &logits, 3000);
        assert!(seen.iter().all(|id| allowed.contains(id)));
        assert!(allowed.iter().all(|id| seen.contains(id)));
    };
    only(Sampling { top_k: 2, ..everything() }, &[1, 2]);
    only(Sampling { top_p: 0.7, ..everything() }, &[1, 2]);
    only(Sampling { top_p: 0.45, ..everything() }, &[1]);
    only(Sampling { min_p: 0.25, ..everything() }, &[1, 2, 3]);
    only(everything(), &[0, 1, 2, 3]);
}

#[test]
fn top_p_of_a_flat_vocabulary_widens_its_search() {
    let logits = vec![0.0f32; 5000];
    let seen = drawn(&Sampling { top_p: 0.9, ..everything() }, &logits, 2000);
    assert!(seen.iter().all(|&id| id < 4501), "the first 90 % in order of id");
    assert!(seen.iter().any(|&id| id > 4000));
}

#[test]
fn a_seed_gives_the_same_draws() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 / 10.0).collect();
    let sampling = Sampling { seed: 42, ..Sampling::default() };
    assert_eq!(drawn(&sampling, &logits, 50), drawn(&sampling, &logits, 50));
    assert_ne!(drawn(&sampling, &logits, 50), drawn(&Sampling { seed: 43, ..sampling.clone() }, &logits, 50));
}

/// These draws are fixed for ever: texts that people noted with their seed depend on them.
#[test]
fn golden_draws() {
    let logits: Vec<f32> = (0..50).map(|i| (i * 37 % 101) as f32 / 20.0).collect();
    let first = |seed| drawn(&Sampling { seed, ..Sampling::default() }, &logits, 12);
    assert_eq!(first(0), [40, 27, 30, 15, 19, 8, 19, 43, 49, 37, 38, 43]);
    assert_eq!(first(42), [13, 19, 8, 8, 30, 10, 49, 2, 8, 5, 49, 16]);
    assert_eq!(first(u64::MAX), [29, 18, 49, 27, 24, 32, 7, 49, 43, 30, 30, 32]);
}

#[test]
fn typical_keeps_what_is_as_surprising_as_expected() {
    // Entropy: 1.008. Distances of their surprises from it: 0.651, 1.295, 1.295, 1.806, 2.211.
    let logits = logs(&[0.7, 0.1, 0.1, 0.06, 0.04]);
    let ids = |typical_p| {
        let kept = left(&Sampling { typical_p, ..everything() }, &[], &logits);
        kept.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0.5), [0]);
    assert_eq!(ids(0.75), [0, 1]);
    assert_eq!(ids(0.85), [0, 1, 2]);
    assert_eq!(ids(1.0), [0, 1, 2, 3, 4]);

    // Entropy: 1.221. Distances: 0.527, 0.389, 0.389, 1.082. The best token is not typical, at temperature 0 neither.
    let logits = logs(&[0.5, 0.2, 0.2, 0.1]);
    let sampling = Sampling { typical_p: 0.35, ..everything() };
    let kept = left(&sampling, &[], &logits);
    assert_eq!(kept.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 2]);
    assert!(kept.iter().all(|(_, p)| (p - 0.5).abs() < 1e-9), "{kept:?}");
    assert_eq!(left(&Sampling { temperature: 0.0, ..sampling.clone() }, &[], &logits), [(1, 1.0)]);
    // min-p and a low temperature look at the best that is left.
    let cold = Sampling { temperature: 1e-4, min_p: 0.9, ..sampling };
    assert_eq!(left(&cold, &[], &logits).len(), 2);
}

#[test]
fn penalties_are_those_of_the_formulas() {
    let logits = [2.0, -2.0, 1.0, 0.0];
    let penalties = Penalties { last_n: None, repeat: 2.0, frequency: 0.25, presence: 0.5 };
    let sampling = Sampling { penalties, ..everything() };
    // 0 came twice: 2 / 2 - 2 * 0.25 - 0.5; 1 came once: -2 * 2 - 0.25 - 0.5; 3 once: 0 * 2 - 0.25 - 0.5.
    let wanted = [0.0f64, -4.75, 1.0, -0.75].map(f64::exp);
    let sum: f64 = wanted.iter().sum();
    for ((id, found), (index, wanted)) in
        left(&sampling, &[0, 1, 0, 3], &logits).into_iter().zip(wanted.iter().enumerate())
    {
        assert_eq!(id, index as u32);
        assert!((found - wanted / sum).abs() < 1e-9, "{id}: {found}");
    }
    let last = |last_n| {
        let sampling = Sampling { penalties: Penalties { last_n, ..penalties }, ..everything() };
        left(&sampling, &[0, 1, 0, 3], &logits)
    };
    assert_eq!(last(Some(4)), last(None));
    assert_eq!(last(Some(0)), left(&everything(), &[], &logits));
    let one = Sampling { penalties: Penalties { last_n: Some(1), ..penalties }, ..everything() };
    assert_eq!(left(&one, &[0, 1, 0, 3], &logits), left(&one, &[3], &logits), "what fell out is forgotten");
}

#[test]
fn penalties_count_for_the_best_token_too() {
    let penalties = Penalties { presence: 3.0, ..Penalties::default() };
    let sampling = Sampling { penalties, temperature: 0.0, ..everything() };
    let logits = [2.0, 1.0, 0.5];
    let mut sampler = Sampler::with(&sampling, Breakers::default(), 3);
    let drawn = [(); 3].map(|()| {
        let token = sampler.pick(&logits).unwrap();
        sampler.accept(token);
        token
    });
    assert_eq!(drawn, [0, 1, 2]);
}

#[test]
fn biases_are_added_before_everything() {
    let logits = logs(&[0.5, 0.3, 0.2]);
    let biased = |logit_bias: &[(u32, f32)]| {
        let sampling = Sampling { logit_bias: logit_bias.to_vec(), top_k: 1, ..everything() };
        left(&sampling, &[], &logits)[0].0
    };
    assert_eq!(biased(&[(1, 1.0)]), 1);
    assert_eq!(biased(&[(0, f32::NEG_INFINITY)]), 1);
    assert_eq!(biased(&[(2, f32::INFINITY)]), 2);
    assert_eq!(biased(&[(0, -0.4), (0, -0.4)]), 1, "biases of one token add up");
}

#[test]
fn what_is_banned_never_comes_also_where_nothing_else_is_left() {
    let nothing: Vec<_> = (0..3).map(|id| (id, f32::NEG_INFINITY)).collect();
    for (temperature, typical_p) in [(0.0, 1.0), (0.0, 0.5), (1.0, 1.0), (1.0, 0.5)] {
        let sampling =
            Sampling { logit_bias: nothing.clone(), temperature, typical_p, ..Sampling::default() };
        let mut sampler = Sampler::with(&sampling, Breakers::default(), 3);
        assert_eq!(sampler.pick(&[3.0, 2.0, 1.0]), Err(NoToken::AllBanned));
        assert_eq!(sampler.distribution(&[3.0, 2.0, 1.0]), Err(NoToken::AllBanned));

        let sampling = Sampling { logit_bias: nothing[1..].to_vec(), ..sampling };
        assert_eq!(drawn(&sampling, &[-90.0, 2.0, 90.0], 20), [0; 20]);
        // A token that is forced and banned is no number, and the others are what they were.
        let logit_bias = vec![(0, f32::NEG_INFINITY), (0, f32::INFINITY), (2, f32::NEG_INFINITY)];
        assert_eq!(drawn(&Sampling { logit_bias, ..sampling }, &[0.0, 1.0, 2.0], 20), [1; 20]);
    }
    // What a schema masks may be all that is not banned.
    let masked = [f32::NEG_INFINITY; 3];
    let mut sampler = Sampler::with(&everything(), Breakers::default(), 3);
    assert_eq!(sampler.pick(&masked), Err(NoToken::AllBanned));
}

#[test]
fn logits_that_are_no_numbers_are_told() {
    for (bad, name) in [(f32::NAN, "not a number"), (f32::INFINITY, "infinite")] {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { temperature, ..everything() };
            let mut sampler = Sampler::with(&sampling, Breakers::default(), 3);
            assert_eq!(sampler.pick(&[0.0, bad, 1.0]), Err(NoToken::NotFinite(1, name)));
            assert_eq!(sampler.biased(&[bad, 0.0, 1.0]), Err(NoToken::NotFinite(0, name)));
        }
    }
}

#[test]
fn biases_hold_where_nothing_is_drawn() {
    let sampling = Sampling { logit_bias: vec![(1, f32::NEG_INFINITY), (2, 5.0)], ..everything() };
    let penalties = Penalties { presence: 9.0, ..Penalties::default() };
    let mut sampler = Sampler::with(&Sampling { penalties, ..sampling }, Breakers::default(), 3);
    sampler.accept(2);
    assert_eq!(best_allowed(sampler.biased(&[3.0, 4.0, 0.0]).unwrap()), Some(2), "and penalties do not");
}

#[test]
fn dry_takes_from_what_goes_on_with_a_repetition() {
    let dry = Dry { multiplier: 1.0, base: 2.0, ..Dry::default() };
    let sampling = Sampling { dry, temperature: 0.0, ..everything() };
    // 0 1 2 came before 3; the text ends in 0 1 2, so 3 loses 1 * 2^(3 - 2).
    let after = |logit| left(&sampling, &[0, 1, 2, 3, 0, 1, 2], &[0.0, 0.0, 0.0, logit])[0].0;
    assert_eq!((after(1.9), after(2.1)), (0, 3));
}

#[test]
#[should_panic(expected = "below 3")]
fn biases_outside_the_vocabulary_are_a_mistake() {
    Sampler::with(&Sampling { logit_bias: vec![(3, 1.0)], ..everything() }, Breakers::default(), 3);
}

/// By hand: `cargo test --lib sampler::tests::the_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_draw() {
    let mut random = fastrand::Rng::with_seed(1);
    let logits: Vec<f32> = (0..129_280).map(|_| (random.f32() + random.f32() + random.f32()) * 8.0).collect();
    let penalties = Penalties { repeat: 1.1, ..Penalties::default() };
    let dry = Dry { multiplier: 0.8, last_n: None, ..Dry::default() };
    for (name, sampling) in [
        ("defaults", Sampling::default()),
        ("greedy", Sampling { temperature: 0.0, ..Sampling::default() }),
        ("typical 0.9", Sampling { typical_p: 0.9, ..Sampling::default() }),
        ("penalties", Sampling { penalties, ..Sampling::default() }),
        ("dry, 32768 tokens", Sampling { dry, ..Sampling::default() }),
    ] {
        let mut sampler = Sampler::with(&sampling, Breakers::default(), logits.len());
        (0..32_768).for_each(|_| sampler.accept(random.u32(..1000)));
        let started = std::time::Instant::now();
        let mut sum = 0;
        for _ in 0..50 {
            sum += sampler.pick(&logits).unwrap();
        }
        println!("{name}: {:.3} ms ({sum})", started.elapsed().as_secs_f64() * 20.0);
    }
}
