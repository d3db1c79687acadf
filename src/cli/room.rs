//! Whether a model and its session find room, and what to do when they do not.

use super::print::bytes;
use super::synth;
use fathom_engine::cache::CacheTypes;
use fathom_engine::fit::{Plan, Setting, USUAL_BATCH, WeightBytes};
use fathom_quantize::recipe::Preset;

/// Why a model does not fit: numbers, and what would.
pub(super) fn refusal(plan: &Plan<'_>, wanted: Setting, usable: u64) -> String {
    let (own, advice) = (plan.own(wanted), advice(plan, wanted, usable));
    let (needed, room) = (bytes(plan.needed(wanted)), bytes(usable));
    if own > usable {
        let own = bytes(own);
        return format!("does not fit: cache and scratch alone need {own}, {room} available; {advice}");
    }
    let else_ = if plan.in_memory {
        "the weights are to be read into memory (--no-mmap)"
    } else {
        "it would run, but read weights from disk for every token"
    };
    format!("does not fit: {needed} needed, {room} available; {else_}; {advice}")
}

/// The nearest thing that fits.
fn advice(plan: &Plan<'_>, wanted: Setting, usable: u64) -> String {
    if let Some(near) = plan.nearest(wanted, usable) {
        return format!("it fits with {}", flags(wanted, near).join(" "));
    }
    let own = plan.own(wanted);
    let with =
        |preset: Preset| synth::bytes_with(plan.config, &preset.into()).ok().map(|weights| weights + own);
    let fitting = Preset::ALL.into_iter().find(|preset| with(*preset).is_some_and(|needed| needed <= usable));
    let quantized = match (fitting, Preset::ALL.last().copied()) {
        (Some(preset), _) => format!("quantized with `--type {}` it would fit", preset.name()),
        (None, Some(smallest)) => {
            let needed =
                with(smallest).map_or(String::new(), |needed| format!(" would need {}", bytes(needed)));
            format!("even the smallest preset, `--type {}`,{needed}", smallest.name())
        }
        (None, None) => String::new(),
    };
    let bits = plan.bits_that_fit(wanted, usable).unwrap_or(0.0);
    let has = 8.0 * plan.weights.needed() as f64 / plan.weights.n_weights.max(1) as f64;
    format!("{quantized} (room for {bits:.2} bits per weight; this file has {has:.2})")
}

/// The published model in one quantization, as it would be loaded here.
pub(super) struct Quantized {
    pub preset: Preset,
    /// Weights, cache and scratch.
    pub needed: u64,
    /// `None` where the system does not tell its memory.
    pub fits: Option<bool>,
}

/// DeepSeek-V3.2 in every quantization, the largest first; sizes are computed. Its context is `n_ctx`, its batch as large as
/// memory has room for.
pub(super) fn quantized(n_ctx: usize, n_threads: usize, usable: Option<u64>) -> Vec<Quantized> {
    let (config, _) = synth::published();
    let wanted = Setting { n_ctx, batch: USUAL_BATCH, cache: CacheTypes::USUAL };
    let of = |preset: Preset| {
        let routed = synth::bytes_with(&config, &preset.into()).ok()?;
        let weights = WeightBytes { routed, ..WeightBytes::default() };
        let plan = Plan { config: &config, weights, n_threads, mtp: false, in_memory: false };
        let fitting = usable.and_then(|usable| plan.with_batch_that_fits(wanted, usable));
        let needed = plan.needed(fitting.unwrap_or(wanted));
        Some(Quantized { preset, needed, fits: usable.map(|_| fitting.is_some()) })
    };
    Preset::ALL.into_iter().filter_map(of).collect()
}

/// The same in a sentence.
pub(super) fn best_quantization(all: &[Quantized], usable: Option<u64>) -> String {
    let told = |one: &Quantized| format!("--type {} ({})", one.preset.name(), bytes(one.needed));
    let fitting = all.iter().position(|one| one.fits == Some(true));
    match (fitting, all.last(), usable) {
        (Some(best), ..) => {
            let larger = best.checked_sub(1).and_then(|larger| all.get(larger));
            let larger = larger.map_or(String::new(), |larger| format!("; {} does not fit", told(larger)));
            format!("{}{larger}", told(&all[best]))
        }
        (None, Some(smallest), Some(_)) => format!("none; the smallest is {}", told(smallest)),
        (None, Some(smallest), None) => {
            let largest = all.first().map(told).unwrap_or_default();
            format!(
                "unknown, because the size of the memory is; sizes range from {} to {largest}",
                told(smallest)
            )
        }
        (None, None, _) => "unknown".to_owned(),
    }
}

/// What has to be said to get from one setting to the other.
fn flags(wanted: Setting, near: Setting) -> Vec<String> {
    let mut flags = Vec::new();
    if near.n_ctx != wanted.n_ctx {
        flags.push(format!("-c {}", near.n_ctx));
    }
    if near.batch != wanted.batch {
        flags.push(format!("-b {}", near.batch));
    }
    if near.cache.latent != wanted.cache.latent {
        flags.push(format!("--cache-type {}", near.cache.latent.name()));
    }
    if near.cache.index != wanted.cache.index {
        flags.push(format!("--index-cache {}", near.cache.index.name()));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_arch::config::Config;
    use fathom_engine::cache::IndexType;
    use fathom_engine::fit::{Asked, Tight};
    use fathom_engine::machine::Memory;
    use fathom_simd::Format;
    use std::fs::{create_dir_all, write};

    const WANTED: Setting = Setting {
        n_ctx: 32768,
        batch: 512,
        cache: CacheTypes { latent: Format::BF16, index: IndexType::F16 },
    };

    fn plan(config: &Config) -> Plan<'_> {
        let weights = WeightBytes { routed: 1 << 20, n_weights: 1 << 20, ..WeightBytes::default() };
        Plan { config, weights, n_threads: 2, mtp: false, in_memory: false }
    }

    /// Memory as the kernel would tell of it on a machine with room for `available` bytes, in a group with `limit`.
    fn memory(available: u64, limit: Option<u64>) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        };
        put("proc/meminfo", &format!("MemAvailable: {} kB\n", available.div_ceil(1024)));
        if let Some(limit) = limit {
            put("proc/self/cgroup", "0::/\n");
            put("sys/fs/cgroup/memory.max", &format!("{limit}\n"));
            put("sys/fs/cgroup/memory.current", "0\n");
        }
        Memory::read(root.path()).usable()
    }

    #[test]
    fn a_groups_limit_refuses_with_numbers_and_what_fits() {
        let config = Config::tiny();
        let plan = plan(&config);
        let limit = plan.needed(WANTED) - 1;
        let both = Asked { n_ctx: Some(WANTED.n_ctx), batch: Some(WANTED.batch) };
        let refused = |asked, usable| {
            let misfit = plan.settle(asked, WANTED.cache, Tight::Refuse, usable).unwrap_err();
            refusal(&misfit.plan(), misfit.wanted, misfit.usable)
        };
        let text = refused(both, memory(1 << 40, Some(limit)));
        for words in [&bytes(plan.needed(WANTED)), &bytes(limit), "it fits with -b 256"] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
        let text = refused(Asked { n_ctx: None, ..both }, memory(1 << 19, None));
        assert!(text.contains("cache and scratch alone"), "{text}");
    }

    #[test]
    fn advice_names_presets_that_exist() {
        let (config, _) = synth::published();
        let weights = WeightBytes { routed: 1 << 40, n_weights: 671 << 30, ..WeightBytes::default() };
        let plan = Plan { config: &config, weights, n_threads: 2, mtp: false, in_memory: false };
        let told = |gib: u64| refusal(&plan, WANTED, gib << 30);
        for (gib, preset) in [(700, "q8_0"), (420, "q4_k_m"), (260, "q2_k")] {
            let told = told(gib);
            assert!(told.contains(&format!("quantized with `--type {preset}` it would fit")), "{told}");
        }
        let told = told(200);
        assert!(told.contains("even the smallest preset, `--type q2_k`, would need 2"), "{told}");
    }

    #[test]
    fn the_best_quantization_of_the_published_model_is_named() {
        let told = |gib: u64| {
            let usable = Some(gib << 30);
            best_quantization(&quantized(32768, 32, usable), usable)
        };
        let whole = told(768);
        assert!(whole.starts_with("--type q8_0 (6") && whole.ends_with(" GiB)"), "{whole}");
        let some = told(420);
        assert!(
            some.starts_with("--type q4_k_m (3")
                && some.contains(" GiB); --type q5_k_m (")
                && some.ends_with(" does not fit"),
            "{some}"
        );
        let none = told(32);
        assert!(none.starts_with("none; the smallest is --type q2_k (2"), "{none}");
        let unknown = best_quantization(&quantized(32768, 32, None), None);
        assert!(unknown.contains("from --type q2_k (2") && unknown.contains("q8_0"), "{unknown}");
        // As `fathom doctor MODEL` would count it.
        let (config, _) = synth::published();
        let usable = 420 << 30;
        for one in quantized(32768, 32, Some(usable)) {
            let routed = synth::bytes_with(&config, &one.preset.into()).unwrap();
            let weights = WeightBytes { routed, ..WeightBytes::default() };
            let plan = Plan { config: &config, weights, n_threads: 32, mtp: false, in_memory: false };
            let asked = Asked { n_ctx: Some(32768), batch: None };
            let settled = plan.settle(asked, CacheTypes::USUAL, Tight::Refuse, Some(usable));
            assert_eq!(one.fits, Some(settled.is_ok()));
        }
    }

    #[test]
    fn weights_in_memory_are_named_as_the_reason() {
        let config = Config::tiny();
        let plan = Plan { in_memory: true, ..plan(&config) };
        let text = refusal(&plan, WANTED, plan.needed(WANTED) - 1);
        assert!(text.contains("read into memory") && !text.contains("from disk"), "{text}");
    }
}
