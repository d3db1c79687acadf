//! Which type each tensor is written in.

use crate::encode::Encoding;
use crate::error::Error;
use crate::nearest::nearest_type;
use fathom_arch::plan::TensorPlan;
use fathom_arch::role::Role;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A table of types by role, known by a name that llama.cpp's users know. `PRESETS.md` shows what each one costs.
///
/// The bits are spent where they are read. Routed experts are 97 % of the weights but a thirty-second of them is read
/// for a token, so they carry the low bits, `down` one step above `gate` and `up` because its errors are added to the
/// residual stream directly. All other matrices are 45 % of the bytes read for a token and 3 % of the file: 5 bits at
/// least. The indexer decides what attention sees at all, and `attn_k_b`, whose rows no block of 256 divides, would lose
/// digits to a fallback: both have 8 bits in every preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Every matrix in 8 bits.
    Q8_0,
    /// Experts in 6 bits, `down` and all else in 8.
    Q6K,
    /// Experts in 5 bits, `down` and most else in 6.
    Q5KM,
    /// Experts in 4 bits, `down` and attention in 5.
    Q4KM,
    /// Experts in 3 bits, `down` in 4, attention in 5.
    Q3KM,
    /// Experts in 2 bits, `down` in 3, attention in 5.
    Q2K,
}

impl Preset {
    /// Every preset, largest first.
    pub const ALL: [Preset; 6] =
        [Preset::Q8_0, Preset::Q6K, Preset::Q5KM, Preset::Q4KM, Preset::Q3KM, Preset::Q2K];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Q8_0 => "q8_0",
            Preset::Q6K => "q6_k",
            Preset::Q5KM => "q5_k_m",
            Preset::Q4KM => "q4_k_m",
            Preset::Q3KM => "q3_k_m",
            Preset::Q2K => "q2_k",
        }
    }

    /// By name, in either case, with dashes or underscores.
    pub fn from_name(name: &str) -> Option<Preset> {
        let name = name.replace('-', "_");
        Preset::ALL.into_iter().find(|preset| preset.name().eq_ignore_ascii_case(&name))
    }

    /// The type of a role's matrices.
    pub const fn encoding(self, role: Role) -> Encoding {
        use Encoding::{F32, Q2K, Q3K, Q4K, Q5K, Q6K, Q8_0};
        let [embed, head, attention, ffn, gate_up, down] = match self {
            Preset::Q8_0 => [Q8_0, Q8_0, Q8_0, Q8_0, Q8_0, Q8_0],
            Preset::Q6K => [Q8_0, Q8_0, Q8_0, Q8_0, Q6K, Q8_0],
            Preset::Q5KM => [Q6K, Q6K, Q6K, Q6K, Q5K, Q6K],
            Preset::Q4KM => [Q5K, Q6K, Q5K, Q5K, Q4K, Q5K],
            Preset::Q3KM => [Q4K, Q6K, Q5K, Q5K, Q3K, Q4K],
            Preset::Q2K => [Q4K, Q6K, Q5K, Q5K, Q2K, Q3K],
        };
        match role {
            Role::Embed => embed,
            Role::Head | Role::Mtp => head,
            Role::Attention => attention,
            Role::AttentionKvB | Role::Indexer => Q8_0,
            Role::DenseFfn | Role::SharedExpert => ffn,
            Role::RoutedGateUp => gate_up,
            Role::RoutedDown => down,
            Role::Exact => F32,
        }
    }
}

/// A type for each role, and exceptions by tensor name.
///
/// Tensors of [`Role::Exact`] stay F32 whatever the recipe says: norms, router and biases are added and compared
/// element by element, here and in llama.cpp, and `indexer.proj` decides which tokens are seen at all.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// In the order of [`Role::ALL`].
    roles: [Encoding; Role::ALL.len()],
    exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
struct Exception {
    pattern: Regex,
    encoding: Encoding,
}

impl Recipe {
    /// Every matrix in `base`, or in the type that [`Encoding::that_divides`] names where its rows are not whole blocks.
    pub fn new(base: Encoding) -> Recipe {
        Recipe { roles: [base; Role::ALL.len()], exceptions: Vec::new() }
    }

    /// What `--type` names: a preset, or one type for every matrix.
    pub fn from_name(name: &str) -> Option<Recipe> {
        Preset::from_name(name).map(Recipe::from).or_else(|| Encoding::from_name(name).map(Recipe::new))
    }

    /// Every name that [`Recipe::from_name`] knows: presets first, largest first.
    pub fn names() -> Vec<&'static str> {
        let presets = Preset::ALL.map(Preset::name);
        let types = Encoding::ALL.map(Encoding::name).into_iter().filter(|name| !presets.contains(name));
        presets.into_iter().chain(types).collect()
    }

    /// Another type for a role's matrices. Exceptions outweigh it.
    pub fn set(&mut self, role: Role, encoding: Encoding) {
        self.roles[role as usize] = encoding;
    }

    /// Adds `REGEX=TYPE`: matrices whose GGUF name the expression is found in get this type. A later exception
    /// outweighs an earlier one.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn except(&mut self, text: &str) -> Result<(), Error> {
        let wrong = |problem: String| Error::Recipe(format!("--tensor-type {text:?}: {problem}"));
        let (pattern, name) = text.rsplit_once('=').ok_or_else(|| {
            wrong(
                "expected REGEX=TYPE, found no `=`; for example --tensor-type 'ffn_down_exps=q8_0'"
                    .to_owned(),
            )
        })?;
        let encoding = Encoding::from_name(name).ok_or_else(|| {
            let nearest = nearest_type(name, Encoding::ALL.iter().map(|encoding| encoding.name()));
            let nearest = nearest.map_or(String::new(), |ty| format!("; the nearest is {ty}"));
            wrong(format!("expected one of {}, found {name:?}{nearest}", names()))
        })?;
        let pattern = Regex::new(pattern).map_err(|e| wrong(e.to_string()))?;
        self.exceptions.push(Exception { pattern, encoding });
        Ok(())
    }

    /// The type of each tensor of `plan`, in its order.
    ///
    /// # Errors
    /// If an exception matches no tensor, only tensors that stay F32, or one whose rows its type cannot hold.
    pub fn assign(&self, plan: &[TensorPlan]) -> Result<Vec<Encoding>, Error> {
        for exception in &self.exceptions {
            exception.check(plan)?;
        }
        Ok(plan.iter().map(|tensor| self.encoding(tensor)).collect())
    }

    fn encoding(&self, tensor: &TensorPlan) -> Encoding {
        if tensor.role == Role::Exact {
            return Encoding::F32;
        }
        match self.exceptions.iter().rev().find(|e| e.pattern.is_match(&tensor.name)) {
            Some(exception) => exception.encoding,
            None => self.roles[tensor.role as usize].that_divides(tensor.n_cols()),
        }
    }

    /// The `general.file_type` that describes `encodings` honestly: the type of most weights. `None` if that is `q8_k`, for
    /// which ggml has no number.
    pub fn file_type(plan: &[TensorPlan], encodings: &[Encoding]) -> Option<u32> {
        let mut weights: BTreeMap<Encoding, u64> = BTreeMap::new();
        for (tensor, encoding) in plan.iter().zip(encodings) {
            *weights.entry(*encoding).or_default() += tensor.n_elems();
        }
        let most =
            weights.into_iter().max_by_key(|(_, n)| *n).map_or(Encoding::F32, |(encoding, _)| encoding);
        // ggml's `ftype` numbers.
        Some(match most {
            Encoding::Q8K => return None,
            Encoding::F32 => 0,
            Encoding::F16 => 1,
            Encoding::Q4_0 => 2,
            Encoding::Q4_1 => 3,
            Encoding::Q8_0 => 7,
            Encoding::Q5_0 => 8,
            Encoding::Q5_1 => 9,
            // Where ggml has several numbers for mixtures around one type, the middle one.
            Encoding::Q2K => 10,
            Encoding::Q3K => 12,
            Encoding::Q4K => 15,
            Encoding::Q5K => 17,
            Encoding::Q6K => 18,
            Encoding::BF16 => 32,
        })
    }
}

impl Preset {
    /// The preset that ggml's number stands for: its own name, or another of the mixtures around the same type.
    pub fn of_file_type(number: u32) -> Option<Preset> {
        Some(match number {
            7 => Preset::Q8_0,
            10 | 21 => Preset::Q2K,
            11..=13 => Preset::Q3KM,
            14 | 15 => Preset::Q4KM,
            16 | 17 => Preset::Q5KM,
            18 => Preset::Q6K,
            _ => return None,
        })
    }
}

impl From<Preset> for Recipe {
    fn from(preset: Preset) -> Recipe {
        Recipe { roles: Role::ALL.map(|role| preset.encoding(role)), exceptions: Vec::new() }
    }
}

const _: () = {
    let mut at = 0;
    while at < Role::ALL.len() {
        assert!(Role::ALL[at] as usize == at, "roles are an index: `ALL` must be in the order of the enum");
        at += 1;
    }
};

impl Exception {
    fn check(&self, plan: &[TensorPlan]) -> Result<(), Error> {
        let wrong = |problem: String| {
            Error::Recipe(format!("--tensor-type {:?}={}: {problem}", self.pattern.as_str(), self.encoding))
        };
        let matched: Vec<_> = plan.iter().filter(|t| self.pattern.is_match(&t.name)).collect();
        if matched.is_empty() {
            let near = near(self.pattern.as_str(), plan);
            return Err(wrong(format!("no tensor matches; the closest names are {}", near.join(", "))));
        }
        let mut matrices = matched.iter().filter(|t| t.role != Role::Exact).peekable();
        if matrices.peek().is_none() && self.encoding != Encoding::F32 {
            return Err(wrong(format!(
                "it matches only tensors that stay f32 ({} among {}): norms, router, biases and indexer.proj",
                matched[0].name,
                matched.len()
            )));
        }
        match matrices.find(|t| self.encoding.row_bytes(t.n_cols()).is_none()) {
            Some(tensor) => Err(wrong(format!(
                "{} has rows of {} values, expected a multiple of {} for this type; use f16 or bf16 for it",
                tensor.name,
                tensor.n_cols(),
                self.encoding.tensor_type().block_len()
            ))),
            None => Ok(()),
        }
    }
}

/// Every type's name, for messages.
pub fn names() -> String {
    Encoding::ALL.map(Encoding::name).join(", ")
}

/// The five kinds of names in `plan` that share most letter pairs with `pattern`; layers count as one kind.
fn near(pattern: &str, plan: &[TensorPlan]) -> Vec<String> {
    let kinds: BTreeSet<String> = plan.iter().map(|t| kind(&t.name)).collect();
    let wanted = letter_pairs(pattern);
    let mut ranked: Vec<(usize, String)> = kinds
        .into_iter()
        .map(|kind| {
            let pairs = letter_pairs(&kind);
            let shared = pairs.intersection(&wanted).count();
            // Twice the shared pairs over all pairs, in thousandths.
            (2000 * shared / (pairs.len() + wanted.len()).max(1), kind)
        })
        .collect();
    ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    ranked.into_iter().take(5).map(|(_, kind)| kind).collect()
}

/// `blk.17.attn_q_a.weight` as `blk.N.attn_q_a.weight`.
fn kind(name: &str) -> String {
    let mut parts = name.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("blk"), Some(_), Some(rest)) => format!("blk.N.{rest}"),
        _ => name.to_owned(),
    }
}

fn letter_pairs(text: &str) -> HashSet<(char, char)> {
    let letters: Vec<char> = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    letters.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;

    fn plan() -> Vec<TensorPlan> {
        vec![
            stored("token_embd.weight", Role::Embed, &[96, 64]),
            stored("blk.0.attn_norm.weight", Role::Exact, &[64]),
            stored("blk.0.attn_k_b.weight", Role::AttentionKvB, &[4, 64, 48]),
            stored("blk.0.ffn_down.weight", Role::DenseFfn, &[64, 128]),
            stored("blk.1.ffn_down.weight", Role::DenseFfn, &[64, 128]),
        ]
    }

    fn with(exceptions: &[&str]) -> Result<Vec<Encoding>, Error> {
        let mut recipe = Recipe::new(Encoding::Q8_0);
        for exception in exceptions {
            recipe.except(exception)?;
        }
        recipe.assign(&plan())
    }

    #[test]
    fn matrices_get_the_type_and_the_rest_stays_exact() {
        use Encoding::{F16, F32, Q8_0};
        assert_eq!(with(&[]).unwrap(), [Q8_0, F32, F16, Q8_0, Q8_0]);
        assert_eq!(Recipe::new(F32).assign(&plan()).unwrap(), [F32; 5]);
    }

    #[test]
    fn the_last_exception_that_matches_wins_and_exact_tensors_keep_out() {
        use Encoding::{BF16, F16, F32, Q8_0};
        assert_eq!(with(&["blk=bf16", r"^blk\.1\.=F16"]).unwrap(), [Q8_0, F32, BF16, BF16, F16]);
        assert_eq!(with(&[r"^blk\.1\.=f16", "blk=bf16"]).unwrap(), [Q8_0, F32, BF16, BF16, BF16]);
        assert_eq!(with(&["attn_norm=f32"]).unwrap()[1], F32);
    }

    #[test]
    fn mistakes_are_explained() {
        for (exception, says) in [
            ("ffn_down", "no `=`"),
            (
                "ffn_down=q9",
                "expected one of f32, f16, bf16, q8_k, q8_0, q6_k, q5_1, q5_0, q5_k, q4_1, q4_0, q4_k, q3_k, q2_k, found \"q9\"",
            ),
            ("ffn_(=f16", "unclosed group"),
            ("ffn_dwn=f16", "the closest names are blk.N.ffn_down.weight, "),
            ("attn_norm=f16", "only tensors that stay f32"),
            ("attn_k_b=q8_0", "rows of 48 values, expected a multiple of 32"),
        ] {
            let error = with(&[exception]).unwrap_err().to_string();
            assert!(error.contains(says), "{exception}: {error}");
        }
    }

    #[test]
    fn file_type_is_that_of_most_weights() {
        let plan = plan();
        for (encoding, number) in [
            (Encoding::F32, 0),
            (Encoding::F16, 1),
            (Encoding::Q8_0, 7),
            (Encoding::Q4_0, 2),
            (Encoding::Q5_1, 9),
            (Encoding::BF16, 32),
        ] {
            let encodings = Recipe::new(encoding).assign(&plan).unwrap();
            assert_eq!(Recipe::file_type(&plan, &encodings), Some(number));
        }
        // ggml's numbers of the presets' names.
        let experts = [
            stored("blk.1.ffn_gate_exps.weight", Role::RoutedGateUp, &[8, 512, 256]),
            stored("blk.1.ffn_up_exps.weight", Role::RoutedGateUp, &[8, 512, 256]),
            stored("blk.1.ffn_down_exps.weight", Role::RoutedDown, &[8, 256, 512]),
        ];
        for (preset, number) in Preset::ALL.into_iter().zip([7, 18, 17, 15, 12, 10]) {
            let encodings = Recipe::from(preset).assign(&experts).unwrap();
            assert_eq!(Recipe::file_type(&experts, &encodings), Some(number), "{}", preset.name());
            assert_eq!(Preset::of_file_type(number), Some(preset));
        }
        let encodings = Recipe::new(Encoding::Q8K).assign(&experts).unwrap();
        assert_eq!(Recipe::file_type(&experts, &encodings), None);
    }

    #[test]
    fn presets_keep_their_promises() {
        let bits = |encoding: Encoding| encoding.row_bytes(256).unwrap();
        for preset in Preset::ALL {
            let encoding = |role| preset.encoding(role);
            for role in [Role::Attention, Role::SharedExpert, Role::DenseFfn, Role::Head] {
                assert!(bits(encoding(role)) >= bits(Encoding::Q5K), "{} {role}", preset.name());
                assert!(bits(encoding(role)) >= bits(encoding(Role::RoutedGateUp)));
            }
            assert_eq!(encoding(Role::Indexer), Encoding::Q8_0);
            assert_eq!(encoding(Role::Exact), Encoding::F32);
            let (gate_up, down) = (encoding(Role::RoutedGateUp), encoding(Role::RoutedDown));
            assert!(bits(down) > bits(gate_up) || preset == Preset::Q8_0, "{}", preset.name());
        }
        for pair in Preset::ALL.windows(2) {
            for role in Role::ALL {
                assert!(bits(pair[0].encoding(role)) >= bits(pair[1].encoding(role)));
            }
        }
    }

    #[test]
    fn names_are_presets_or_types() {
        let names = Recipe::names();
        assert_eq!(names[..6], ["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]);
        for name in ["f32", "f16", "bf16", "q8_k", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k"] {
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(names.len(), 17);
        for name in names {
            assert!(Recipe::from_name(&name.to_uppercase()).is_some(), "{name}");
        }
        assert!(Recipe::from_name("q7_k").is_none());
    }

    #[test]
    fn roles_outweigh_the_preset_and_exceptions_outweigh_roles() {
        use Encoding::{F16, F32, Q4_0, Q5_1, Q6K, Q8_0};
        let mut recipe = Recipe::from(Preset::Q4KM);
        recipe.set(Role::DenseFfn, Q6K);
        recipe.set(Role::AttentionKvB, Encoding::Q3K);
        recipe.except(r"^blk\.1\.=q4_0").unwrap();
        // Rows of 64, 48 and 128: no whole blocks of 256.
        assert_eq!(recipe.assign(&plan()).unwrap(), [Q5_1, F32, F16, Q8_0, Q4_0]);
    }
}
