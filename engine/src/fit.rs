//! Whether a model fits a machine, told from the file's header before anything is loaded.
//!
//! To fit means: the cache and the scratch, which are this process's own memory, and all weights that tokens read
//! find room together in the memory that is available. The weights are only mapped; without room for them the
//! program still runs, but reads them from disk again and again, hundreds of times slower.

use crate::cache::{CacheTypes, IndexType};
use crate::session::{SessionMemory, SessionOptions};
use crate::weights::{BindError, Weights};
use fathom_arch::config::Config;
use fathom_arch::names;
use fathom_arch::role::Role;
use fathom_gguf::Gguf;
use fathom_simd::Format;

/// A model's weights by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// Routed experts of the main layers: a token reads a few of them.
    pub routed: u64,
    /// Everything else of the main layers, embedding and head.
    pub non_routed: u64,
    /// The MTP layer, which only drafts read.
    pub mtp: u64,
    /// What one token reads.
    pub per_token: u64,
    /// Numbers in `routed` and `non_routed`.
    pub n_weights: u64,
    /// What loading copies into memory of its own: norms, and kv_b in older files.
    pub copied: u64,
}

impl WeightBytes {
    /// Counts a model's weights; the file's pages are not touched.
    ///
    /// # Errors
    /// Tensors that do not make the model.
    pub fn of(gguf: &Gguf<'_>, config: &Config) -> Result<WeightBytes, BindError> {
        let mut sum = WeightBytes { copied: Weights::survey(gguf, config)?, ..WeightBytes::default() };
        let head_is_embedding = gguf.tensor(names::OUTPUT.gguf).is_none();
        for (_, tensor) in gguf.tensors() {
            // What the table does not know is never read.
            let Some((spec, layer)) = names::find(tensor.name) else { continue };
            if layer.is_some_and(|layer| config.is_mtp_layer(layer)) {
                sum.mtp += tensor.bytes;
                continue;
            }
            sum.n_weights += tensor.shape.elems() as u64;
            match spec.role {
                Role::RoutedGateUp | Role::RoutedDown => {
                    sum.routed += tensor.bytes;
                    let one = tensor.bytes / config.n_routed_experts.max(1) as u64;
                    sum.per_token += one * config.num_experts_per_tok as u64;
                }
                Role::Embed if !head_is_embedding => {
                    sum.non_routed += tensor.bytes;
                    sum.per_token += tensor.bytes / config.vocab_size.max(1) as u64;
                }
                _ => {
                    sum.non_routed += tensor.bytes;
                    sum.per_token += tensor.bytes;
                }
            }
        }
        Ok(sum)
    }

    /// What has to be in memory for a token at full speed.
    pub fn needed(&self) -> u64 {
        self.routed + self.non_routed
    }
}

/// How a session is to be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Most tokens in the session.
    pub n_ctx: usize,
    /// Most tokens in one forward call.
    pub batch: usize,
    /// Formats of the cache.
    pub cache: CacheTypes,
}

/// A model and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// The model's numbers.
    pub config: &'p Config,
    /// Its weights.
    pub weights: WeightBytes,
    /// Threads that work on a token.
    pub n_threads: usize,
    /// Whether drafts are wanted, which read the MTP layer.
    pub mtp: bool,
    /// Whether the weights are to be memory of the process's own, where a lack ends it.
    pub in_memory: bool,
}

/// Most tokens in one forward call where nobody says otherwise and memory has room: of 256 experts with 8 used, each then
/// meets 64 tokens on average, which is what its products need to be fast.
pub const USUAL_BATCH: usize = 2048;
/// Batches below this gain little memory and lose much speed.
const SMALLEST_BATCH: usize = 32;
/// Contexts are proposed in steps of this.
const CTX_STEP: usize = 256;

impl Plan<'_> {
    /// Cache and scratch.
    pub fn session(&self, setting: Setting) -> SessionMemory {
        let Setting { n_ctx, batch, cache } = setting;
        let options = SessionOptions { n_ctx, batch, cache, dense: false, mtp: self.mtp, mtp_dense: false };
        SessionMemory::estimate(self.config, options, self.n_threads)
    }

    /// Memory of the process's own.
    pub fn own(&self, setting: Setting) -> u64 {
        let SessionMemory { cache, scratch } = self.session(setting);
        cache as u64 + scratch as u64 + self.weights.copied
    }

    /// Own memory and weights.
    pub fn needed(&self, setting: Setting) -> u64 {
        // A file that is read into memory is read with all that is in it.
        let mtp = if self.mtp || self.in_memory { self.weights.mtp } else { 0 };
        self.own(setting) + self.weights.needed() + mtp
    }

    /// The setting nearest to `wanted` that needs at most `usable` bytes: a smaller batch costs least (prefill only),
    /// then narrower cache types, then a shorter context.
    pub fn nearest(&self, wanted: Setting, usable: u64) -> Option<Setting> {
        let fits = |setting: &Setting| self.needed(*setting) <= usable;
        let narrow = CacheTypes { latent: narrower(wanted.cache.latent, Format::BF16), index: IndexType::Q8 };
        let settings =
            [wanted.cache, narrow].into_iter().flat_map(|cache| batches(Setting { cache, ..wanted }));
        if let Some(found) = settings.into_iter().find(fits) {
            return Some(found);
        }
        self.longest(Setting { batch: SMALLEST_BATCH.min(wanted.batch), cache: narrow, ..wanted }, usable)
    }

    /// The largest batch, `wanted`'s or a half of a half of it, with which at most `usable` bytes are needed.
    pub fn with_batch_that_fits(&self, wanted: Setting, usable: u64) -> Option<Setting> {
        batches(wanted).find(|setting| self.needed(*setting) <= usable)
    }

    /// The longest context below `wanted`'s that needs at most `usable` bytes, all else being as wanted.
    pub fn longest(&self, wanted: Setting, usable: u64) -> Option<Setting> {
        let fits = |setting: &Setting| self.needed(*setting) <= usable;
        let of_steps = |steps: usize| Setting { n_ctx: steps * CTX_STEP, ..wanted };
        // The largest number of steps that fits, by bisection: `low` fits or is 0, `high` does not.
        let (mut low, mut high) = (0, wanted.n_ctx.div_ceil(CTX_STEP));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if fits(&of_steps(middle)) { low = middle } else { high = middle }
        }
        (low > 0).then(|| of_steps(low))
    }

    /// Bits that a weight may have for the whole to fit beside a session of this setting; `None` when the session
    /// alone is too much.
    pub fn bits_that_fit(&self, setting: Setting, usable: u64) -> Option<f64> {
        let room = usable.checked_sub(self.own(setting))?;
        Some(8.0 * room as f64 / self.weights.n_weights.max(1) as f64)
    }
}

/// The setting, and with its batch halved and halved again.
fn batches(wanted: Setting) -> impl Iterator<Item = Setting> {
    let halves = std::iter::successors(Some(wanted.batch), |b| (*b > SMALLEST_BATCH).then_some(b / 2));
    halves.map(move |batch| Setting { batch: batch.max(SMALLEST_BATCH.min(wanted.batch)), ..wanted })
}

fn narrower(wanted: Format, narrow: Format) -> Format {
    if wanted == Format::F32 { narrow } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &Config) -> Plan<'_> {
        let weights = WeightBytes { routed: 1 << 20, non_routed: 1 << 20, ..WeightBytes::default() };
        Plan { config, weights, n_threads: 2, mtp: false, in_memory: false }
    }

    const WANTED: Setting = Setting {
        n_ctx: 65536,
        batch: 512,
        cache: CacheTypes { latent: Format::F32, index: IndexType::F32 },
    };

    #[test]
    fn what_fits_needs_no_change_and_what_cannot_fit_has_none() {
        let config = Config::tiny();
        let plan = plan(&config);
        assert_eq!(plan.nearest(WANTED, plan.needed(WANTED)), Some(WANTED));
        assert_eq!(plan.nearest(WANTED, plan.weights.needed()), None);
        assert_eq!(plan.bits_that_fit(WANTED, 0), None);
    }

    #[test]
    fn the_batch_goes_first_then_the_types_then_the_context() {
        let config = Config::tiny();
        let plan = plan(&config);
        let short = plan.nearest(WANTED, plan.needed(WANTED) - 1).unwrap();
        assert_eq!((short.n_ctx, short.batch, short.cache), (WANTED.n_ctx, 256, WANTED.cache));

        let smallest_batch = Setting { batch: SMALLEST_BATCH, ..WANTED };
        let narrow = plan.nearest(WANTED, plan.needed(smallest_batch) - 1).unwrap();
        assert_eq!(
            (narrow.n_ctx, narrow.cache.latent, narrow.cache.index),
            (WANTED.n_ctx, Format::BF16, IndexType::Q8)
        );

        let usable = plan.needed(Setting { batch: SMALLEST_BATCH, ..narrow }) - 1;
        let cut = plan.nearest(WANTED, usable).unwrap();
        assert_eq!((cut.n_ctx, cut.batch), (WANTED.n_ctx - CTX_STEP, SMALLEST_BATCH));
        assert!(plan.needed(cut) <= usable);
    }

    #[test]
    fn an_estimate_is_what_a_session_takes() {
        let config = Config::tiny();
        let plan = plan(&config);
        let row = WANTED.cache.row_bytes(&config);
        let cache = (row.0 + row.1) * config.num_hidden_layers * WANTED.n_ctx;
        assert_eq!(plan.session(WANTED).cache, cache);
        assert_eq!(plan.own(WANTED), (cache + plan.session(WANTED).scratch) as u64);
    }
}
