//! What attention remembers, kept on the disk between runs: a prompt that begins as an earlier one did is read back
//! instead of computed.
//!
//! Tokens go in blocks of [`BLOCK_TOKENS`]. A block's file holds the rows of all layers for its tokens, and is named by a hash of
//! the model, the way its rows are kept, and all tokens up to its last ([`Key`]): conversations share the blocks of what they have
//! in common, an edited one costs what comes after the edit, and rows of anything else are never found. What does not fill a
//! block at the end of an answer is a shorter one, which goes when a longer one replaces it.
//!
//! With the MTP layer the last row of a block depends on the token behind it (`model::mtp`): that token is then part of the
//! block's name and of what it says of itself, and blocks that are taken must all agree with it. The last of all rows a session
//! makes anew when it goes on.
//!
//! Files are written in the background, appear whole, and carry a checksum. Whatever is wrong with one, its tokens
//! are computed again, with a notice.

mod block;
mod fingerprint;
mod folder;
mod key;
mod writer;

pub use block::{Block, BlockError};
pub use fingerprint::{Fingerprint, Glance, Known, Search, UnknownModel};
pub use folder::{About, Entry, Folder, Shelf, read_block};
pub use key::Key;

use crate::cache::KvCache;
use crate::mmap::Guard;
use folder::{block_path, gone, read_block_of};
use rayon::prelude::*;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use writer::Writer;

/// Tokens of a whole block: ten megabytes of the real model's rows. A multiple of the index keys that lie together.
pub const BLOCK_TOKENS: usize = 128;
/// Blocks that are read at once.
const AT_ONCE: usize = 16;

/// A whole block's names.
#[derive(Clone, Copy)]
struct Link {
    /// Its file's.
    file: Key,
    /// What the blocks behind it hang from: its tokens and those before, and no token more.
    key: Key,
}

/// One session's side of what is kept.
pub struct PromptCache {
    /// All models'.
    folder: Folder,
    /// The model's folder.
    shelf: PathBuf,
    root: Key,
    /// Tokens behind a block that its rows depend on, too: one with the MTP layer, otherwise none.
    ahead: usize,
    /// The whole blocks of the session's tokens, as far as they are known to be kept.
    chain: Vec<Link>,
    /// The block at the end that is not whole: its key, and how many tokens the session had when it was kept.
    tail: Option<(Key, usize)>,
    writer: Writer,
    /// Tells whether the model is still the one that the blocks are named after.
    guard: Option<Guard>,
    /// It is not.
    is_other: bool,
    notices: Vec<String>,
}

const CHANGED: &str =
    "the model's file was changed while it was in use: this conversation is no longer cached";

impl PromptCache {
    /// What is kept in `folder` for sessions whose blocks begin from `root`; at most `limit` bytes for all models.
    ///
    /// # Errors
    /// If the model's folder cannot be made.
    pub fn open(folder: Folder, limit: u64, root: Key, about: &About) -> io::Result<PromptCache> {
        let shelf = folder.shelf(&root, about)?;
        let writer = Writer::start(folder.clone(), limit);
        Ok(PromptCache {
            folder,
            shelf,
            root,
            ahead: 0,
            chain: Vec::new(),
            tail: None,
            writer,
            guard: None,
            is_other: false,
            notices: Vec::new(),
        })
    }

    /// From now on nothing is kept or read once `guard` says that the model's files were changed.
    pub fn watch(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Writes down what the model's files were when it was read through, so that it need not be read the next time.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note(&self, known: Known) -> io::Result<()> {
        self.folder.note(&self.shelf, known)
    }

    /// Whether the session runs the MTP layer.
    pub(crate) fn run_mtp(&mut self, mtp: bool) {
        self.ahead = usize::from(mtp);
    }

    /// Whether the model is still what it was; if not, that is told once.
    fn is_same_model(&mut self) -> bool {
        if self.guard.take_if(|guard| !guard.holds()).is_some() {
            self.is_other = true;
            self.notices.push(CHANGED.to_owned());
            self.writer.stop();
        }
        !self.is_other
    }

    /// The tokens that block `index` says it is of; fewer than a block's at the end.
    fn block_tokens<'t>(&self, tokens: &'t [u32], index: usize) -> &'t [u32] {
        let first = index * BLOCK_TOKENS;
        &tokens[first..tokens.len().min(first + BLOCK_TOKENS + self.ahead)]
    }

    /// Block `index`, behind what `parent` names; `None` without all tokens that its rows depend on.
    fn link(&self, parent: &Key, tokens: &[u32], index: usize) -> Option<Link> {
        let held = self.block_tokens(tokens, index);
        (held.len() == BLOCK_TOKENS + self.ahead)
            .then(|| Link { file: parent.child(held), key: parent.child(&held[..BLOCK_TOKENS]) })
    }

    /// What a person should know, since the last time.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.notices.extend(self.writer.take_notice());
        std::mem::take(&mut self.notices)
    }

    /// Reads rows of the first of `tokens` into `cache`, as far as they are kept; the session holds `held` of them already.
    /// Gives how many of `tokens` the cache then has rows of, at least `held`.
    pub(crate) fn recall(&mut self, tokens: &[u32], held: usize, cache: &mut KvCache) -> usize {
        if !self.is_same_model() {
            return held;
        }
        // The session's last row is not what it will be if it depends on a token behind it.
        let first = held.saturating_sub(self.ahead) / BLOCK_TOKENS;
        let mut links: Vec<Link> = Vec::new();
        while let Some(link) = self.link(&self.parent(&links, links.len()), tokens, links.len()) {
            if links.len() >= first && !block_path(&self.shelf, &link.file).exists() {
                break;
            }
            links.push(link);
        }
        let n_whole = self.copy_blocks(tokens, &links, first, cache);
        links.truncate(n_whole);
        let mut n_tokens = n_whole * BLOCK_TOKENS;
        if let Some((key, tail)) = self.find_tail(&tokens[n_tokens..], self.parent(&links, n_whole))
            && n_tokens + tail > held
            && self.copy_tail(&tokens[..n_tokens + tail], key, &links, cache)
        {
            n_tokens += tail;
            self.tail = Some((key, n_tokens));
        }
        self.chain = links;
        self.tell_used();
        n_tokens.max(held)
    }

    /// Keeps the whole blocks among `tokens` that are not kept yet. All tokens have their rows.
    pub(crate) fn keep(&mut self, tokens: &[u32], cache: &KvCache) {
        while self.writer.works() {
            let index = self.chain.len();
            let parent = self.parent(&self.chain, index);
            let Some(link) = self.link(&parent, tokens, index) else { return };
            if !self.is_same_model() {
                return;
            }
            self.put(&parent, tokens, index, cache);
            self.chain.push(link);
        }
    }

    /// Keeps all of `tokens`: their last block may be a short one. (That of the last token wants no row yet: who goes on
    /// from it computes that token again.)
    pub(crate) fn keep_all(&mut self, tokens: &[u32], cache: &KvCache) {
        self.keep(tokens, cache);
        if !self.writer.works() || !self.is_same_model() {
            return;
        }
        let before = self.tail.take();
        let index = self.chain.len();
        if tokens.len() > index * BLOCK_TOKENS {
            let parent = self.parent(&self.chain, index);
            self.tail = Some((self.put(&parent, tokens, index, cache), tokens.len()));
        }
        if let Some((key, _)) = before.filter(|before| self.tail.is_none_or(|(key, _)| key != before.0)) {
            self.writer.remove(block_path(&self.shelf, &key));
        }
        self.tell_used();
    }

    fn tell_used(&self) {
        let keys = self.chain.iter().map(|link| &link.file).chain(self.tail.as_ref().map(|(key, _)| key));
        self.writer.used(keys.map(|key| block_path(&self.shelf, key)).collect());
    }

    /// The session holds `len` tokens and no more.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.chain.truncate(len.saturating_sub(self.ahead) / BLOCK_TOKENS);
        // Something else will follow: the short block stays for whoever goes back to it.
        self.tail = self.tail.filter(|&(_, end)| end <= len);
    }

    fn parent(&self, links: &[Link], index: usize) -> Key {
        index.checked_sub(1).map_or(self.root, |last| links[last].key)
    }

    fn put(&self, parent: &Key, tokens: &[u32], index: usize, cache: &KvCache) -> Key {
        let held = self.block_tokens(tokens, index);
        let key = parent.child(held);
        let path = block_path(&self.shelf, &key);
        if !path.exists() {
            let parts = cache.parts(positions(index, held.len()));
            self.writer.put(path, block::encode(parent, held, parts));
        }
        key
    }

    /// Copies the blocks from `first` on whose keys are known; gives how many whole blocks the cache has, from the
    /// beginning.
    fn copy_blocks(&mut self, tokens: &[u32], links: &[Link], first: usize, cache: &mut KvCache) -> usize {
        crate::threads::ready();
        let mut index = first.min(links.len());
        let n_bytes = self.n_bytes(tokens, index, cache);
        // New memory for each block would take longer than the reading.
        let mut buffers = vec![Vec::new(); AT_ONCE.min(links.len() - index)];
        while index < links.len() {
            let end = links.len().min(index + AT_ONCE);
            let read: Vec<_> = links[index..end]
                .par_iter()
                .zip(&mut buffers)
                .map(|(link, bytes)| self.read(&link.file, n_bytes, bytes))
                .collect();
            for block in read {
                let parent = self.parent(links, index);
                if !self.copy(block, (links[index].file, parent), tokens, index, cache) {
                    return index;
                }
                index += 1;
            }
        }
        index
    }

    /// The longest short block that `rest` begins with.
    fn find_tail(&self, rest: &[u32], parent: Key) -> Option<(Key, usize)> {
        let longest = rest.len().min(BLOCK_TOKENS - 1 + self.ahead);
        (1..=longest).rev().find_map(|n| {
            let key = parent.child(&rest[..n]);
            block_path(&self.shelf, &key).exists().then_some((key, n))
        })
    }

    /// Copies the short block `key` at the end of `tokens`, behind the blocks of `keys`.
    fn copy_tail(&mut self, tokens: &[u32], key: Key, links: &[Link], cache: &mut KvCache) -> bool {
        let mut bytes = Vec::new();
        let n_bytes = self.n_bytes(tokens, links.len(), cache);
        let block = self.read(&key, n_bytes, &mut bytes);
        self.copy(block, (key, self.parent(links, links.len())), tokens, links.len(), cache)
    }

    /// How large block `index`'s file is.
    fn n_bytes(&self, tokens: &[u32], index: usize, cache: &KvCache) -> u64 {
        let n_tokens = tokens.len().saturating_sub(index * BLOCK_TOKENS).min(BLOCK_TOKENS + self.ahead);
        let rows = cache.parts(positions(index, n_tokens));
        block::n_bytes(n_tokens, rows.map(<[u8]>::len).sum())
    }

    fn read<'b>(
        &self,
        key: &Key,
        n_bytes: u64,
        bytes: &'b mut Vec<u8>,
    ) -> io::Result<Result<Block<'b>, BlockError>> {
        read_block_of(&block_path(&self.shelf, key), Some(n_bytes), bytes)
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
        let tokens = self.block_tokens(tokens, index);
        let parts = cache.parts_mut(positions(index, tokens.len()));
        let path = block_path(&self.shelf, &key);
        let done = match block {
            Ok(block) => block.and_then(|block| block.copy_to(&parent, tokens, parts)),
            // Another program made room with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                self.notices.push(format!("{}: {error}; its tokens will be recomputed", path.display()));
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

/// Where the rows of a block lie that says it is of `n_tokens`.
fn positions(index: usize, n_tokens: usize) -> Range<usize> {
    let first = index * BLOCK_TOKENS;
    first..first + n_tokens.min(BLOCK_TOKENS)
}

fn damaged(path: &Path, damage: &BlockError) -> String {
    format!("{}: damaged: {damage}; its tokens will be recomputed", path.display())
}
