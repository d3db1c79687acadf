//! Names of blocks: what they hold follows from them.

use crate::config::Config;
use crate::session::SessionOptions;
use fathom_gguf::Gguf;
use fathom_simd::Kernels;
use sha2::{Digest, Sha256};
use std::fmt::{self, Display};

/// Goes up whenever a block's form or the bits of cached rows change: older blocks are then nobody's.
const FORM: u32 = 1;

/// The name of a block, or of nothing before the first one: it depends on the model, how its rows are kept, and all
/// tokens from the first to the block's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// What all blocks of one model, kept in one way, begin from.
    pub fn root(model: &Fingerprint, config: &Config, options: SessionOptions, kernels: &Kernels) -> Key {
        let SessionOptions { cache, dense, mtp, mtp_dense, .. } = options;
        let mut hash = Sha256::new();
        hash.update(FORM.to_le_bytes());
        hash.update(model.0);
        // The model's numbers may have been overridden; and the levels' bits may differ (see `fathom_simd::Kernels`).
        let (latent, index) = (cache.latent.name(), cache.index.name());
        let kept = format!("{config:?} {latent} {index} {dense} {mtp} {mtp_dense} {}", kernels.level());
        hash.update(kept);
        Key::of(hash)
    }

    /// The block of `tokens` behind this one.
    pub fn child(&self, tokens: &[u32]) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for token in tokens {
            hash.update(token.to_le_bytes());
        }
        Key::of(hash)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of(hash: Sha256) -> Key {
        let digest: [u8; 32] = hash.finalize().into();
        Key(*digest.first_chunk().expect("half of it"))
    }
}

/// As a file's name: 32 hexadecimal digits.
impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Tells a model from others by its headers, its size, and samples of its weights: reading all of them would take minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// Places in each file's tensors that are read, and how much of each.
const SAMPLES: usize = 64;
const SAMPLE_BYTES: usize = 4096;

impl Fingerprint {
    /// Of a model's files. What is sampled is the same for a shard whatever the file is called.
    pub fn of(gguf: &Gguf<'_>, files: &[(String, &[u8])]) -> Fingerprint {
        let mut hash = Sha256::new();
        for (shard, (_, bytes)) in gguf.shards().iter().zip(files) {
            let start =
                usize::try_from(shard.file().data_start()).map_or(bytes.len(), |at| at.min(bytes.len()));
            let (header, data) = bytes.split_at(start);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(header);
            if data.len() <= SAMPLES * SAMPLE_BYTES {
                hash.update(data);
                continue;
            }
            for sample in 0..SAMPLES {
                let at = (data.len() - SAMPLE_BYTES) / (SAMPLES - 1) * sample;
                hash.update(&data[at..at + SAMPLE_BYTES]);
            }
        }
        Fingerprint(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_every_token_before_it() {
        let root = Key([7; 16]);
        let (a, b) = (root.child(&[1, 2]), root.child(&[1, 3]));
        assert_ne!(a, b);
        assert_eq!(a, root.child(&[1, 2]));
        assert_ne!(a.child(&[5]), b.child(&[5]));
        // Where one block ends is part of the name: blocks of other sizes hold other rows.
        assert_ne!(root.child(&[1]).child(&[2]), a);
        assert_eq!(a.to_string().len(), 32);
    }
}
