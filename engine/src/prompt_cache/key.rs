//! Names of blocks: what they hold follows from them.

use super::fingerprint::Fingerprint;
use crate::session::SessionOptions;
use fathom_arch::config::Config;
use fathom_simd::Kernels;
use sha2::{Digest, Sha256};
use std::fmt::{self, Display};

/// Goes up whenever a block's form or the bits of cached rows change: older blocks are then nobody's.
const FORM: u32 = 2;

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
        hash.update(model.bytes());
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

    /// One for tests.
    #[cfg(test)]
    pub(super) fn any() -> Key {
        Key([7; 16])
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
