//! Preparing, timing and counting.

use super::limits::Limits;
use super::work::{Tally, Work};
use super::{Kind, Stats, Test};
use fastrand::Rng;
use fathom_engine::Model;
use fathom_engine::cache::CacheTypes;
use fathom_engine::machine;
use fathom_engine::probe::{NoProbe, Probe};
use fathom_engine::session::{Session, SessionError, SessionOptions, Wanted};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How the depth is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// With seeded random rows: see [`Session::fill_random`].
    Random,
    /// By computing random tokens.
    Text,
}

/// How everything in a room is measured.
#[derive(Clone, Copy, Debug)]
pub struct RoomOptions {
    /// Most tokens in one forward call.
    pub batch: usize,
    /// Formats of the cache.
    pub cache: CacheTypes,
    /// Let prompts give the logits of their last token alone.
    pub last_logits: bool,
    /// How the depth is filled.
    pub fill: Fill,
    /// Seed of tokens and rows.
    pub seed: u64,
}

/// A loaded model that is measured.
pub struct Room<'e> {
    model: &'e Arc<Model>,
    options: RoomOptions,
    limits: Limits<'e>,
}

/// What was found about one test.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was computed.
    pub test: Test,
    /// What one run does.
    pub work: Work,
    /// Each run, in order.
    pub seconds: Vec<f64>,
    /// Bytes a second that the same threads read, measured before, between and after the runs.
    pub read_bandwidth: Vec<f64>,
    /// Integer multiplications a second that the same threads do at most, at the same times.
    pub int_peak: Vec<f64>,
    /// Bytes of this process in memory after the runs, where the system tells.
    pub resident: Option<u64>,
}

impl Measured {
    /// Tokens a second of each run.
    pub fn tokens_per_second(&self) -> Vec<f64> {
        self.seconds.iter().map(|seconds| self.test.n as f64 / seconds).collect()
    }

    /// Bytes of weights and cache touched for a token.
    pub fn bytes_per_token(&self) -> f64 {
        (self.work.weight_bytes + self.work.cache_bytes) as f64 / self.work.n_tokens as f64
    }

    /// Bytes touched a second, in the median run.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes_per_token() * self.test.n as f64 / Stats::of(&self.seconds).median
    }

    /// The same as a share of the read bandwidth.
    pub fn of_read_bandwidth(&self) -> f64 {
        self.bytes_per_second() / Stats::of(&self.read_bandwidth).median
    }

    /// Multiplications of quantised weights a second, as a share of the integer peak.
    pub fn of_int_peak(&self) -> f64 {
        self.work.int_macs as f64 / Stats::of(&self.seconds).median / Stats::of(&self.int_peak).median
    }
}

impl<'e> Room<'e> {
    /// A room for a loaded model; `shards` are the bytes it was loaded from.
    pub fn new(
        model: &'e Arc<Model>,
        shards: impl IntoIterator<Item = &'e [u8]>,
        options: RoomOptions,
    ) -> Room<'e> {
        Room { model, options, limits: Limits::new(shards) }
    }

    pub(super) fn model(&self) -> &'e Arc<Model> {
        self.model
    }

    /// A session with room for `n_ctx` tokens.
    ///
    /// # Errors
    /// None today: the MTP layer is not asked for.
    pub fn session(&self, n_ctx: usize) -> Result<Session, SessionError> {
        let RoomOptions { batch, cache, .. } = self.options;
        Session::new(self.model, SessionOptions { n_ctx, batch, cache, ..SessionOptions::default() })
    }

    /// Brings a session to `depth` positions, from whatever filled depth it has.
    ///
    /// # Errors
    /// No room, or numbers that go bad.
    pub fn fill(&self, session: &mut Session, depth: usize) -> Result<(), SessionError> {
        session.truncate(depth);
        let (filled, seed) = (session.tokens().len(), self.options.seed);
        match self.options.fill {
            Fill::Random => session.fill_random(depth - filled, seed),
            Fill::Text => {
                let tokens = self.tokens(depth, !seed);
                session.extend(&tokens[filled..], Wanted::Nothing, &mut NoProbe, &mut |_, _| {})
            }
        }
    }

    /// Runs a test once without timing it and counts what it does.
    ///
    /// # Errors
    /// As [`Room::run`].
    pub fn warm_up(&self, session: &mut Session, test: Test) -> Result<Work, SessionError> {
        let (weights, config) = (self.model.weights(), &self.model.config);
        let mut tally = Tally::new(weights, config, self.options.cache);
        self.compute(session, test, &mut tally)?;
        match test.kind {
            Kind::Generation => (0..test.n).for_each(|_| tally.head(1)),
            Kind::Prompt if self.options.last_logits => tally.head(1),
            Kind::Prompt => {
                for start in (0..test.n).step_by(self.options.batch) {
                    tally.head(self.options.batch.min(test.n - start));
                }
            }
        }
        Ok(tally.finish())
    }

    /// Runs a test on a session that was filled to its depth; gives seconds. The session is at its depth again after.
    ///
    /// # Errors
    /// No room, or numbers that go bad.
    pub fn run(&self, session: &mut Session, test: Test) -> Result<f64, SessionError> {
        self.compute(session, test, &mut NoProbe)
    }

    pub(super) fn compute(
        &self,
        session: &mut Session,
        test: Test,
        probe: &mut dyn Probe,
    ) -> Result<f64, SessionError> {
        assert_eq!(session.tokens().len(), test.depth, "positions in the cache for {test}");
        let tokens = self.tokens(test.n, self.options.seed);
        let wanted = if self.options.last_logits { Wanted::Last } else { Wanted::All };
        let mut sink = |_: usize, logits: &[f32]| {
            black_box(logits);
        };
        let started = Instant::now();
        match test.kind {
            Kind::Prompt => session.extend(&tokens, wanted, probe, &mut sink)?,
            Kind::Generation => {
                for token in &tokens {
                    session.extend(std::slice::from_ref(token), Wanted::Last, probe, &mut sink)?;
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        session.truncate(test.depth);
        Ok(seconds)
    }

    /// Everything about one test: a warm-up, then `repetitions` runs with the limits measured around each; nothing if `stop`
    /// was set meanwhile.
    ///
    /// # Errors
    /// As [`Room::run`].
    pub fn measure(
        &mut self,
        session: &mut Session,
        test: Test,
        repetitions: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Measured>, SessionError> {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let work = self.warm_up(session, test)?;
        let mut found = Measured {
            test,
            work,
            seconds: Vec::new(),
            read_bandwidth: vec![self.read_bandwidth(session)],
            int_peak: vec![self.int_peak(session)],
            resident: None,
        };
        for _ in 0..repetitions {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            found.seconds.push(self.run(session, test)?);
            found.read_bandwidth.push(self.read_bandwidth(session));
            found.int_peak.push(self.int_peak(session));
        }
        found.resident = machine::resident(Path::new("/"));
        Ok(Some(found))
    }

    /// Bytes a second that the session's threads read from the model's mapping.
    pub fn read_bandwidth(&mut self, session: &mut Session) -> f64 {
        let team = session.team();
        let _home = team.keep_caller();
        self.limits.read_bandwidth(team)
    }

    /// Multiplications of 8-bit values a second that the session's threads do at most.
    pub fn int_peak(&self, session: &mut Session) -> f64 {
        let team = session.team();
        let _home = team.keep_caller();
        Limits::int_peak(team, self.model.kernels)
    }

    /// Random tokens; a longer list begins as a shorter one.
    pub fn tokens(&self, n: usize, seed: u64) -> Vec<u32> {
        let mut random = Rng::with_seed(seed);
        let vocab_size = self.model.config.vocab_size as u32;
        (0..n).map(|_| random.u32(0..vocab_size)).collect()
    }
}
