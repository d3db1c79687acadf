//! Penalties for tokens that came already, one by one.

use std::collections::BTreeMap;

/// What repeated tokens lose. All that the model reads counts, the prompt with the chat format's own tokens included, as
/// in llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalties {
    /// Look at this many last tokens; `None`: all of them.
    pub last_n: Option<usize>,
    /// Divides positive logits and multiplies others; 1 changes nothing.
    pub repeat: f32,
    /// Taken from the logit for each time that the token came.
    pub frequency: f32,
    /// Taken from the logit once.
    pub presence: f32,
}

impl Default for Penalties {
    /// llama.cpp's: none.
    fn default() -> Self {
        Penalties { last_n: Some(64), repeat: 1.0, frequency: 0.0, presence: 0.0 }
    }
}

impl Penalties {
    fn changes_something(&self) -> bool {
        self.last_n != Some(0) && (self.repeat, self.frequency, self.presence) != (1.0, 0.0, 0.0)
    }
}

/// How often each of the last tokens came.
pub(super) struct Counts {
    penalties: Penalties,
    of: BTreeMap<u32, u32>,
}

impl Counts {
    /// `None`: nothing would be penalised.
    pub(super) fn new(penalties: Penalties) -> Option<Counts> {
        penalties.changes_something().then(|| Counts { penalties, of: BTreeMap::new() })
    }

    /// Counts the last token of `history`, and no longer the one that it pushes out.
    pub(super) fn accept(&mut self, history: &[u32]) {
        let Some((last, before)) = history.split_last() else { return };
        *self.of.entry(*last).or_default() += 1;
        let gone = self.penalties.last_n.and_then(|n| before.len().checked_sub(n)).map(|at| before[at]);
        if let Some(gone) = gone
            && let Some(count) = self.of.get_mut(&gone)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&gone);
            }
        }
    }

    pub(super) fn apply(&self, logits: &mut [f32]) {
        let Penalties { repeat, frequency, presence, .. } = self.penalties;
        for (&id, &count) in &self.of {
            let logit = &mut logits[id as usize];
            // Division alone would make unlikely tokens likelier.
            *logit = if *logit <= 0.0 { *logit * repeat } else { *logit / repeat };
            *logit -= count as f32 * frequency + presence;
        }
    }
}
