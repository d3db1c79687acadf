//! What tells a model from every other one.
//!
//! Only its bytes do, all of them: a model that was trained on, quantized again or repaired has the same headers and the same
//! size. They are read through once, on all threads, when they are in memory anyway. Where that took a while it is written
//! down beside the model's blocks, and holds for as long as the files are the same to the system ([`Identity`]) and at a
//! glance. Files that are not brought into memory are known by the system's word alone: a copy of them is then another model.

use super::folder::Folder;
use crate::mmap::{Identity, MapError, Mapping, Watch};
use crate::threads::Seats;
use fastrand::Rng;
use fathom_gguf::Gguf;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Tells a model from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// Bytes that are read between two looks at the flag, each piece with a digest of its own: several threads read a file.
const PIECE: usize = 4 << 20;

impl Fingerprint {
    /// Of a model's files, every byte of them; their names do not count.
    ///
    /// # Errors
    /// No threads, or the caller's wish.
    pub fn of(files: &[(String, &[u8])], seats: &Seats, watch: Watch<'_>) -> Result<Fingerprint, MapError> {
        let pieces: Vec<&[u8]> = files.iter().flat_map(|(_, bytes)| bytes.chunks(PIECE)).collect();
        let (next, digests) = (AtomicUsize::new(0), Mutex::new(vec![[0u8; 32]; pieces.len()]));
        let ends = seats.on_all(|_| {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = pieces.get(at) else { return Ok(()) };
                if watch.stop.load(Ordering::Relaxed) {
                    return Err(MapError::Stopped);
                }
                let digest = Sha256::digest(piece).into();
                digests.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[at] = digest;
                (watch.progress)(piece.len() as u64);
            }
        })?;
        ends.into_iter().collect::<Result<(), _>>()?;
        let mut hash = Sha256::new();
        for (_, bytes) in files {
            hash.update((bytes.len() as u64).to_le_bytes());
        }
        for digest in digests.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            hash.update(digest);
        }
        Ok(Fingerprint(hash.finalize().into()))
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What can be seen of a model without reading it: its headers, and every tensor in several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance([u8; 32]);

/// Places in a tensor that are looked at beside its ends, and how much is read of each.
const PLACES: usize = 4;
const PLACE_BYTES: usize = 4096;

impl Glance {
    /// At a model's files.
    pub fn at(gguf: &Gguf<'_>, files: &[(String, &[u8])]) -> Glance {
        let mut hash = Sha256::new();
        for (shard, (_, bytes)) in gguf.shards().iter().zip(files) {
            let start = usize::try_from(shard.file().data_start()).unwrap_or(usize::MAX).min(bytes.len());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes[..start]);
        }
        for (index, (_, tensor)) in gguf.tensors().enumerate() {
            let data = tensor.data();
            let last = data.len().saturating_sub(PLACE_BYTES);
            let mut random = Rng::with_seed(index as u64);
            let inside = std::iter::repeat_with(|| random.usize(0..=last)).take(PLACES);
            for at in [0, last].into_iter().chain(inside) {
                hash.update(&data[at..data.len().min(at + PLACE_BYTES)]);
            }
        }
        Glance(hash.finalize().into())
    }
}

/// A model that was read through, as the system knew its files then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    files: Vec<Identity>,
    glance: Glance,
    fingerprint: Fingerprint,
}

impl Known {
    /// The fingerprint of files that are still the same.
    pub(super) fn of(&self, files: &[Identity], glance: &Glance) -> Option<Fingerprint> {
        (self.files == files && self.glance == *glance).then_some(self.fingerprint)
    }
}

/// Why nobody knows which model it is.
#[derive(Debug, thiserror::Error)]
pub enum UnknownModel {
    /// Reading it through did not come to an end.
    #[error(transparent)]
    Read(#[from] MapError),
    /// It would have to be read through.
    #[error(
        "its files were changed less than a minute ago, and with --no-warmup Fathom tells versions apart only by their \
         timestamps: try again in a minute, or without --no-warmup"
    )]
    Young,
    /// The same, and waiting does not help.
    #[error(
        "this system does not tell whether its files were changed, so Fathom has to read them all: try again without \
         --no-warmup"
    )]
    Untold,
}

/// How a model's fingerprint is found.
pub struct Search<'s> {
    /// The model.
    pub mapping: &'s Mapping,
    /// Its files' contents.
    pub gguf: &'s Gguf<'s>,
    /// Threads that read it.
    pub seats: &'s Seats,
    /// Whether it is in memory: reading all of it then takes seconds, not minutes.
    pub in_memory: bool,
    /// Files of no more bytes are always read through, and nothing is written down.
    pub small: u64,
    /// The time.
    pub now: SystemTime,
}

impl Search<'_> {
    /// What is read in the blink of an eye.
    pub const SMALL: u64 = 64 << 20;

    /// The fingerprint, and what is to be written down beside the blocks ([`super::PromptCache::note`]).
    ///
    /// # Errors
    /// See [`UnknownModel`].
    pub fn run(
        &self,
        folder: &Folder,
        watch: Watch<'_>,
    ) -> Result<(Fingerprint, Option<Known>), UnknownModel> {
        let files = self.mapping.shards();
        if self.mapping.n_bytes() <= self.small {
            return Ok((Fingerprint::of(&files, self.seats, watch)?, None));
        }
        let glance = Glance::at(self.gguf, &files);
        let identities = self.mapping.identities();
        if let Some(fingerprint) = identities.as_ref().and_then(|files| folder.known(files, &glance)) {
            return Ok((fingerprint, None));
        }
        let is_told = identities.is_some();
        // Files that may change without a trace are not known by what they are now.
        let settled = identities.filter(|files| files.iter().all(|file| file.is_settled(self.now)));
        if self.in_memory {
            let fingerprint = Fingerprint::of(&files, self.seats, watch)?;
            return Ok((fingerprint, settled.map(|files| Known { files, glance, fingerprint })));
        }
        let files = settled.ok_or(if is_told { UnknownModel::Young } else { UnknownModel::Untold })?;
        let mut hash = Sha256::new();
        hash.update(glance.0);
        hash.update(format!("{files:?}"));
        Ok((Fingerprint(hash.finalize().into()), None))
    }
}
