//! A block as bytes: what attention remembers of some tokens, and enough to know that it is that.
//!
//! All numbers little-endian: the word [`MAGIC`], the key of the block before (16 bytes), the number of tokens (4), of bytes
//! of rows (8); the tokens, 4 bytes each; layer by layer the latent rows and then the index keys, as the session holds them;
//! SHA-256 over everything before it.

use super::key::Key;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"fathomKV";
pub const HEAD: usize = 8 + 16 + 4 + 8;
const DIGEST: usize = 32;

/// A block that was read, whole and unchanged.
pub struct Block<'b> {
    bytes: &'b [u8],
    n_tokens: usize,
}

/// What is wrong with a file that should hold a block.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It is shorter or longer than it says.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// By its header.
        expected: u64,
        /// Of the file.
        found: u64,
    },
    /// It does not begin as blocks do.
    #[error("not a cache block (it does not begin with \"fathomKV\")")]
    Magic,
    /// Its bytes are not those that were written.
    #[error("the checksum does not match: the contents have changed since they were written")]
    Checksum,
    /// It is a block, but of other tokens or another shape.
    #[error("expected the rows of other tokens or of another shape")]
    Other,
}

/// A block of `tokens` behind `parent` but for its digest; `parts` are its rows.
pub fn encode<'r>(parent: &Key, tokens: &[u32], parts: impl Iterator<Item = &'r [u8]> + Clone) -> Vec<u8> {
    let n_bytes: usize = parts.clone().map(<[u8]>::len).sum();
    let mut bytes = Vec::with_capacity(HEAD + 4 * tokens.len() + n_bytes + DIGEST);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(parent.bytes());
    bytes.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(n_bytes as u64).to_le_bytes());
    for token in tokens {
        bytes.extend_from_slice(&token.to_le_bytes());
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The bytes of a block's file, of so many tokens and bytes of rows.
pub fn n_bytes(n_tokens: usize, row_bytes: usize) -> u64 {
    (HEAD + 4 * n_tokens + row_bytes + DIGEST) as u64
}

/// Ends what [`encode`] began.
pub fn seal(bytes: &mut Vec<u8>) {
    let digest = Sha256::digest(&*bytes);
    bytes.extend_from_slice(&digest);
}

/// The number of tokens of a file of `found` bytes that begins so.
///
/// # Errors
/// If it begins as no block does, or says that it has another size. That can be asked before the rest is read.
pub fn check_head(bytes: &[u8], found: u64) -> Result<u32, BlockError> {
    let head =
        bytes.first_chunk::<HEAD>().ok_or(BlockError::Size { expected: (HEAD + DIGEST) as u64, found })?;
    if !head.starts_with(&MAGIC) {
        return Err(BlockError::Magic);
    }
    let (head, n_bytes) = head.split_at(HEAD - 8);
    let n_tokens = u32::from_le_bytes(*head.last_chunk().expect("a head ends so"));
    let n_bytes = u64::from_le_bytes(n_bytes.try_into().expect("eight bytes"));
    let expected = n_bytes.saturating_add((HEAD + DIGEST) as u64 + 4 * u64::from(n_tokens));
    if expected == found { Ok(n_tokens) } else { Err(BlockError::Size { expected, found }) }
}

impl<'b> Block<'b> {
    /// Checks a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(bytes: &'b [u8]) -> Result<Block<'b>, BlockError> {
        let n_tokens = check_head(bytes, bytes.len() as u64)?;
        let (all, digest) = bytes.split_at(bytes.len() - DIGEST);
        if Sha256::digest(all).as_slice() != digest {
            return Err(BlockError::Checksum);
        }
        Ok(Block { bytes, n_tokens: n_tokens as usize })
    }

    /// Copies its rows into those of a session.
    ///
    /// # Errors
    /// If it is a block of other tokens, or of rows of another size; nothing is then copied.
    pub fn copy_to(&self, parent: &Key, tokens: &[u32], parts: Vec<&mut [u8]>) -> Result<(), BlockError> {
        let (head, rest) = self.bytes.split_at(HEAD);
        let (held, rest) = rest.split_at(4 * self.n_tokens);
        let mut rows = &rest[..rest.len() - DIGEST];
        let same =
            held.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).eq(tokens.iter().copied());
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if head[8..24] != *parent.bytes() || !same || rows.len() != wanted {
            return Err(BlockError::Other);
        }
        for part in parts {
            let (here, behind) = rows.split_at(part.len());
            part.copy_from_slice(here);
            rows = behind;
        }
        Ok(())
    }
}
