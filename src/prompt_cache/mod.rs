//! What attention remembers, kept on the disk between runs: a prompt that begins as an earlier one did is read back
//! instead of computed.
//!
//! Tokens go in blocks of [`BLOCK_TOKENS`]. A block's file holds the rows of all layers for its tokens, and is named by a hash of
//! the model, the way its rows are kept, and all tokens up to its last ([`Key`]): conversations share the blocks of what they have
//! in common, an edited one costs what comes after the edit, and rows of anything else are never found. What does not fill a
//! block at the end of an answer is a shorter one, which goes when a longer one replaces it.
//!
//! Files are written in the background, appear whole, and carry a checksum. Whatever is wrong with one, its tokens
//! are computed again, with a notice.

mod block;
mod folder;
mod key;
mod writer;

pub use block::{Block, BlockError};
pub use folder::{About, Entry, Folder, Shelf, read_block};
pub use key::{Fingerprint, Key};

use crate::cache::KvCache;
use folder::{block_path, gone};
use rayon::prelude::*;
use std::io;
use std::path::{Path, PathBuf};
use writer::Writer;

/// Tokens of a whole block: ten megabytes of the real model's rows. A multiple of the index keys that lie together.
pub const BLOCK_TOKENS: usize = 128;
/// Blocks that are read at once.
const AT_ONCE: usize = 16;

/// One session's side of what is kept.
pub struct PromptCache {
    /// The model's folder.
    shelf: PathBuf,
    root: Key,
    /// Keys of the whole blocks of the session's tokens, as far as they are known to be kept.
    chain: Vec<Key>,
    /// The block at the end that is not whole: its key, and how many tokens the session had when it was kept.
    tail: Option<(Key, usize)>,
    writer: Writer,
    notices: Vec<String>,
}

/// The tokens of block `index`; fewer than a block's at the end.
fn block_tokens(tokens: &[u32], index: usize) -> &[u32] {
    let first = index * BLOCK_TOKENS;
    &tokens[first..tokens.len().min(first + BLOCK_TOKENS)]
}

impl PromptCache {
    /// What is kept in `folder` for sessions whose blocks begin from `root`; at most `limit` bytes for all models.
    ///
    /// # Errors
    /// If the model's folder cannot be made.
    pub fn open(folder: Folder, limit: u64, root: Key, about: &About) -> io::Result<PromptCache> {
        let shelf = folder.shelf(&root, about)?;
        let writer = Writer::start(folder, limit);
        Ok(PromptCache { shelf, root, chain: Vec::new(), tail: None, writer, notices: Vec::new() })
    }

    /// What a person should know, since the last time.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.notices.extend(self.writer.take_notice());
        std::mem::take(&mut self.notices)
    }

    /// Reads rows of the first of `tokens` into `cache`, as far as they are kept; the session holds `held` of them already.
    /// Gives how many of `tokens` the cache then has rows of, at least `held`.
    pub(crate) fn recall(&mut self, tokens: &[u32], held: usize, cache: &mut KvCache) -> usize {
        let first = held / BLOCK_TOKENS;
        let mut keys = Vec::new();
        let mut parent = self.root;
        for index in 0..tokens.len() / BLOCK_TOKENS {
            let key = parent.child(block_tokens(tokens, index));
            if index >= first && !block_path(&self.shelf, &key).exists() {
                break;
            }
            keys.push(key);
            parent = key;
        }
        let n_whole = self.copy_blocks(tokens, &keys, first, cache);
        keys.truncate(n_whole);
        let mut n_tokens = n_whole * BLOCK_TOKENS;
        if let Some((key, tail)) = self.find_tail(&tokens[n_tokens..], self.parent(&keys, n_whole))
            && n_tokens + tail > held
            && self.copy_tail(&tokens[..n_tokens + tail], key, &keys, cache)
        {
            n_tokens += tail;
            self.tail = Some((key, n_tokens));
        }
        self.chain = keys;
        self.tell_used();
        n_tokens.max(held)
    }

    /// Keeps the whole blocks among `tokens` that are not kept yet. All rows of the first `n_done` tokens are there; the MTP
    /// layer makes a token's row when it sees the next one.
    pub(crate) fn keep(&mut self, tokens: &[u32], n_done: usize, cache: &KvCache) {
        while self.writer.works() && n_done >= (self.chain.len() + 1) * BLOCK_TOKENS {
            let key = self.put(tokens, self.chain.len(), cache);
            self.chain.push(key);
        }
    }

    /// Keeps all of `tokens`: their last block may be a short one. (That of the last token wants no row yet: who goes on
    /// from it computes that token again.)
    pub(crate) fn keep_all(&mut self, tokens: &[u32], n_done: usize, cache: &KvCache) {
        self.keep(tokens, n_done, cache);
        if !self.writer.works() {
            return;
        }
        let before = self.tail.take();
        if !tokens.len().is_multiple_of(BLOCK_TOKENS) {
            self.tail = Some((self.put(tokens, self.chain.len(), cache), tokens.len()));
        }
        if let Some((key, _)) = before.filter(|before| self.tail.is_none_or(|(key, _)| key != before.0)) {
            self.writer.remove(block_path(&self.shelf, &key));
        }
        self.tell_used();
    }

    fn tell_used(&self) {
        let keys = self.chain.iter().chain(self.tail.as_ref().map(|(key, _)| key));
        self.writer.used(keys.map(|key| block_path(&self.shelf, key)).collect());
    }

    /// The session holds `len` tokens and no more.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.chain.truncate(len / BLOCK_TOKENS);
        // Something else will follow: the short block stays for whoever goes back to it.
        self.tail = self.tail.filter(|&(_, end)| end <= len);
    }

    fn parent(&self, keys: &[Key], index: usize) -> Key {
        index.checked_sub(1).map_or(self.root, |last| keys[last])
    }

    fn put(&self, tokens: &[u32], index: usize, cache: &KvCache) -> Key {
        let parent = self.parent(&self.chain, index);
        let held = block_tokens(tokens, index);
        let key = parent.child(held);
        let path = block_path(&self.shelf, &key);
        if !path.exists() {
            let first = index * BLOCK_TOKENS;
            self.writer.put(path, block::encode(&parent, held, cache.parts(first..first + held.len())));
        }
        key
    }

    /// Copies the blocks from `first` on whose keys are known; gives how many whole blocks the cache has, from the
    /// beginning.
    fn copy_blocks(&mut self, tokens: &[u32], keys: &[Key], first: usize, cache: &mut KvCache) -> usize {
        let mut index = first.min(keys.len());
        // New memory for each block would take longer than the reading.
        let mut buffers = vec![Vec::new(); AT_ONCE.min(keys.len() - index)];
        while index < keys.len() {
            let end = keys.len().min(index + AT_ONCE);
            let read: Vec<_> = keys[index..end]
                .par_iter()
                .zip(&mut buffers)
                .map(|(key, bytes)| self.read(key, bytes))
                .collect();
            for block in read {
                let parent = self.parent(keys, index);
                if !self.copy(block, (keys[index], parent), tokens, index, cache) {
                    return index;
                }
                index += 1;
            }
        }
        index
    }

    /// The longest short block that `rest` begins with.
    fn find_tail(&self, rest: &[u32], parent: Key) -> Option<(Key, usize)> {
        let longest = rest.len().min(BLOCK_TOKENS - 1);
        (1..=longest).rev().find_map(|n| {
            let key = parent.child(&rest[..n]);
            block_path(&self.shelf, &key).exists().then_some((key, n))
        })
    }

    /// Copies the short block `key` at the end of `tokens`, behind the blocks of `keys`.
    fn copy_tail(&mut self, tokens: &[u32], key: Key, keys: &[Key], cache: &mut KvCache) -> bool {
        let mut bytes = Vec::new();
        let block = self.read(&key, &mut bytes);
        self.copy(block, (key, self.parent(keys, keys.len())), tokens, keys.len(), cache)
    }

    fn read<'b>(&self, key: &Key, bytes: &'b mut Vec<u8>) -> io::Result<Result<Block<'b>, BlockError>> {
        read_block(&block_path(&self.shelf, key), bytes)
    }

    /// Copies a block's rows into the cache; false, with a notice and without the file, if it is not what it should be.
    fn copy(
        &mut self,
        block: io::Result<Result<Block<'_>, BlockError>>,
        (key, parent): (Key, Key),
        tokens: &[u32],
        index: usize,
        cache: &mut KvCache,
    ) -> bool {
        let first = index * BLOCK_TOKENS;
        let tokens = block_tokens(tokens, index);
        let parts = cache.parts_mut(first..first + tokens.len());
        let path = block_path(&self.shelf, &key);
        let done = match block {
            Ok(block) => block.and_then(|block| block.copy_to(&parent, tokens, parts)),
            // Another program made room with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                self.notices.push(format!("{}: {error}; its tokens are computed again", path.display()));
                return false;
            }
        };
        let Err(damage) = done else { return true };
        self.notices.push(damaged(&path, &damage));
        if let Err(error) = gone(std::fs::remove_file(&path)) {
            self.notices.push(format!("{}: it cannot be removed: {error}", path.display()));
        }
        false
    }
}

fn damaged(path: &Path, damage: &BlockError) -> String {
    format!("{}: damaged: {damage}; its tokens are computed again", path.display())
}
