//! A timeline whose rows are kept on the disk.

use super::Timeline;
use crate::prompt_cache::PromptCache;

impl Timeline {
    /// From now on whole blocks of tokens are kept as they come; what is kept already is read by [`Timeline::recall`].
    pub fn keep_in(&mut self, mut kept: PromptCache) {
        kept.run_mtp(self.options.mtp);
        self.kept = Some(kept);
    }

    /// Reads what is kept of a prompt, as far as the timeline does not hold it already; the timeline then holds that, and no
    /// other tokens behind it. Gives how many tokens came from the disk.
    pub fn recall(&mut self, tokens: &[u32]) -> usize {
        let held = self.common_prefix(tokens);
        let most = tokens.len().min(self.options.n_ctx);
        let Some(kept) = &mut self.kept else { return 0 };
        let found = kept.recall(&tokens[..most], held, &mut self.cache);
        if found > held {
            self.tokens.truncate(held);
            self.tokens.extend_from_slice(&tokens[held..found]);
            self.mtp_last = None;
        }
        found - held
    }

    /// Keeps all tokens, those at the end too that fill no block.
    pub fn keep_all(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.keep_all(&self.tokens, &self.cache);
        }
    }

    /// Keeps the whole blocks that are new.
    pub(crate) fn keep_blocks(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.keep(&self.tokens, &self.cache);
        }
    }

    /// What a person should know of what is kept, since the last time.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.kept.as_mut().map_or_else(Vec::new, PromptCache::take_notices)
    }
}
