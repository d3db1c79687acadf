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

impl Setting {
    /// `session` with this context, batch and cache.
    pub fn of(self, session: SessionOptions) -> SessionOptions {
        let Setting { n_ctx, batch, cache } = self;
        SessionOptions { n_ctx, batch, cache, ..session }
    }
}

/// What is wanted of a session; what is not named may give way where memory is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Tokens of context; 0: as many as the model was made for.
    pub n_ctx: Option<usize>,
    /// Most tokens in one forward call.
    pub batch: Option<usize>,
}

/// What to do where weights and session find no room together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tight {
    /// Give way as far as nothing was named, and refuse the rest.
    Refuse,
    /// Leave mapped weights on the disk, if the session alone has room: nobody waits for each token.
    FromDisk,
    /// Go on as asked.
    Force,
}

/// Where there is room for the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In memory, beside the session.
    InMemory,
    /// On the disk alone.
    OnDisk,
}

/// A setting that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// To load with.
    pub setting: Setting,
    /// Where the weights find room.
    pub room: Room,
    /// Whether the context gave way.
    pub is_shorter: bool,
}

/// A model that does not fit in memory.
#[derive(Clone, Debug, thiserror::Error)]
#[error("does not fit in memory: {needed} bytes needed, {usable} available")]
pub struct Misfit {
    config: Config,
    weights: WeightBytes,
    n_threads: usize,
    mtp: bool,
    in_memory: bool,
    /// What was wanted.
    pub wanted: Setting,
    /// Bytes of memory that this takes.
    pub needed: u64,
    /// Bytes of memory that can be had.
    pub usable: u64,
}

impl Misfit {
    /// What was asked of the model.
    pub fn plan(&self) -> Plan<'_> {
        let Misfit { ref config, weights, n_threads, mtp, in_memory, .. } = *self;
        Plan { config, weights, n_threads, mtp, in_memory }
    }
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

/// Tokens of context where nobody says otherwise, in models made for more.
pub const USUAL_CTX: usize = 32768;
/// Most tokens in one forward call where nobody says otherwise and memory has room: of 256 experts with 8 used, each then
/// meets 64 tokens on average, which is what its products need to be fast.
pub const USUAL_BATCH: usize = 2048;
/// Nobody is given a shorter context than this without having asked for it.
const SHORTEST_CHOSEN: usize = 2048;
/// Where even the context has to give way, the batch is this.
const SMALLEST_CHOSEN_BATCH: usize = 32;
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

    /// The setting to load with: a batch that nobody named becomes smaller, then a context that nobody named shorter, until all
    /// fits in `usable` bytes (`None`: nobody knows how many there are).
    ///
    /// # Errors
    /// What was named does not fit, or too little would be left.
    pub fn settle(
        &self,
        asked: Asked,
        cache: CacheTypes,
        tight: Tight,
        usable: Option<u64>,
    ) -> Result<Settled, Box<Misfit>> {
        let made_for = self.config.max_position_embeddings;
        let named = asked.n_ctx.filter(|&n_ctx| n_ctx > 0);
        let usual = if asked.n_ctx.is_some() { made_for } else { USUAL_CTX.min(made_for) };
        let wanted =
            Setting { n_ctx: named.unwrap_or(usual), batch: asked.batch.unwrap_or(USUAL_BATCH), cache };
        let as_wanted = |room| Settled { setting: wanted, room, is_shorter: false };
        let Some(usable) = usable.filter(|&usable| self.needed(wanted) > usable) else {
            return Ok(as_wanted(Room::InMemory));
        };
        match tight {
            Tight::Force => return Ok(as_wanted(Room::OnDisk)),
            Tight::FromDisk if !self.in_memory && self.own(wanted) <= usable => {
                return Ok(as_wanted(Room::OnDisk));
            }
            _ => {}
        }
        let setting = self.giving_way(wanted, (named.is_some(), asked.batch.is_some()), usable);
        let setting = setting.ok_or_else(|| {
            let Plan { config, weights, n_threads, mtp, in_memory } = *self;
            let config = config.clone();
            let needed = self.needed(wanted);
            Box::new(Misfit { config, weights, n_threads, mtp, in_memory, wanted, needed, usable })
        })?;
        Ok(Settled { setting, room: Room::InMemory, is_shorter: setting.n_ctx < wanted.n_ctx })
    }

    /// The nearest setting that fits, context and batch as they are where they were named.
    fn giving_way(&self, wanted: Setting, (ctx, batch): (bool, bool), usable: u64) -> Option<Setting> {
        let mut least = wanted;
        if !batch {
            if let Some(smaller) = self.with_batch_that_fits(wanted, usable) {
                return Some(smaller);
            }
            least.batch = SMALLEST_CHOSEN_BATCH.min(wanted.batch);
        }
        let shorter = if ctx { None } else { self.longest(least, usable) };
        shorter.filter(|shorter| shorter.n_ctx >= SHORTEST_CHOSEN)
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

    fn settle(plan: &Plan<'_>, asked: Asked, usable: Option<u64>) -> Result<Settled, Box<Misfit>> {
        plan.settle(asked, WANTED.cache, Tight::Refuse, usable)
    }

    const BOTH: Asked = Asked { n_ctx: Some(WANTED.n_ctx), batch: Some(WANTED.batch) };
    const BATCH: Asked = Asked { n_ctx: None, batch: Some(WANTED.batch) };

    fn as_it_is() -> Settled {
        Settled { setting: WANTED, room: Room::InMemory, is_shorter: false }
    }

    #[test]
    fn what_fits_is_taken_as_it_is() {
        let config = Config::tiny();
        let plan = plan(&config);
        let needed = plan.needed(WANTED);
        assert_eq!(settle(&plan, BOTH, Some(needed)).unwrap(), as_it_is());
        assert_eq!(settle(&plan, BOTH, None).unwrap(), as_it_is(), "nothing is known");
        let misfit = settle(&plan, BOTH, Some(needed - 1)).unwrap_err();
        assert_eq!((misfit.wanted, misfit.needed, misfit.usable), (WANTED, needed, needed - 1));
        assert_eq!(misfit.plan().needed(WANTED), needed);
    }

    #[test]
    fn usual_are_what_the_model_was_made_for_up_to_a_limit() {
        let n_ctx = |made_for: usize, asked: Option<usize>| {
            let config = Config { max_position_embeddings: made_for, ..Config::tiny() };
            let asked = Asked { n_ctx: asked, batch: None };
            let settled = settle(&plan(&config), asked, None).unwrap().setting;
            assert_eq!(settled.batch, USUAL_BATCH);
            settled.n_ctx
        };
        assert_eq!((n_ctx(4096, None), n_ctx(1 << 20, None)), (4096, USUAL_CTX));
        assert_eq!((n_ctx(4096, Some(0)), n_ctx(1 << 20, Some(0))), (4096, 1 << 20));
        assert_eq!(n_ctx(4096, Some(5000)), 5000);
    }

    #[test]
    fn a_context_that_nobody_named_gives_way() {
        let config = Config { max_position_embeddings: 1 << 20, ..Config::tiny() };
        let plan = plan(&config);
        let usual = Setting { n_ctx: USUAL_CTX, ..WANTED };
        let half = Setting { n_ctx: USUAL_CTX / 2, ..WANTED };
        assert_eq!(settle(&plan, BATCH, Some(plan.needed(usual))).unwrap().setting, usual);
        let settled = settle(&plan, BATCH, Some(plan.needed(half))).unwrap();
        assert_eq!(settled, Settled { setting: half, is_shorter: true, ..as_it_is() });
        let little = Setting { n_ctx: SHORTEST_CHOSEN / 2, ..WANTED };
        assert!(settle(&plan, BATCH, Some(plan.needed(little))).is_err());
    }

    #[test]
    fn a_batch_that_nobody_named_gives_way_first() {
        let config = Config { max_position_embeddings: USUAL_CTX, ..Config::tiny() };
        let plan = plan(&config);
        let usual = Setting { n_ctx: USUAL_CTX, batch: USUAL_BATCH, ..WANTED };
        let quarter = Setting { batch: USUAL_BATCH / 4, ..usual };
        let found =
            |asked: Asked, setting| settle(&plan, asked, Some(plan.needed(setting))).map(|it| it.setting);
        let ctx = Asked { n_ctx: Some(USUAL_CTX), batch: None };
        assert_eq!(found(ctx, quarter).unwrap(), quarter);
        assert_eq!(found(Asked::default(), quarter).unwrap(), quarter);
        let least = Setting { batch: SMALLEST_CHOSEN_BATCH, n_ctx: USUAL_CTX / 2, ..usual };
        assert_eq!(found(Asked::default(), least).unwrap(), least);
        assert!(found(ctx, least).is_err());
    }

    #[test]
    fn what_is_forced_or_left_on_the_disk_is_as_asked() {
        let config = Config::tiny();
        let weights = WeightBytes { routed: 1 << 40, ..WeightBytes::default() };
        let plan = |in_memory| Plan { weights, in_memory, ..plan(&config) };
        let asked = Asked { n_ctx: Some(64), batch: None };
        let settle = |in_memory, tight, usable| {
            plan(in_memory).settle(asked, CacheTypes::USUAL, tight, Some(usable)).map(|it| it.room)
        };
        assert_eq!(settle(true, Tight::Force, 1).unwrap(), Room::OnDisk);
        assert_eq!(settle(false, Tight::FromDisk, 1 << 30).unwrap(), Room::OnDisk);
        assert!(settle(true, Tight::FromDisk, 1 << 30).is_err(), "weights that are to be in memory");
        assert!(settle(false, Tight::FromDisk, 1).is_err(), "no room for a session");
        assert!(settle(false, Tight::Refuse, 1 << 30).is_err());
    }
}
