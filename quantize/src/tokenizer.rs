//! The tokenizer's files, turned into the keys that GGUF keeps them in.
//!
//! Only what goes into the file is read: tokens by id, their kind, merges, the ids that begin, end and fill, and a chat
//! template. The kinds follow llama.cpp's converter, because files travel both ways: an added token is a control
//! token when it is flagged special *or looks it* (`<|...|>`, `<｜...｜>`), otherwise it is user-defined.
//! Source: llama.cpp, convert_hf_to_gguf.py, `get_vocab_base` and `does_token_look_special`.

use crate::error::Error;
use crate::small_file;
use fathom_files::json;
use fathom_gguf::{OwnedArray, OwnedValue, TokenKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The three expressions that split text before merging, the same in V3, R1, V3.1, V3.2 and V4. `deepseek-v3` in a
/// GGUF stands for exactly these.
const SPLITS: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
];

/// The keys that GGUF has for ends beside `eos`: of a turn, of a message.
const MORE_ENDS: [&str; 2] = ["eot", "eom"];

/// A tokenizer as GGUF stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenizer {
    /// Text and kind by id, one for each row of the embedding.
    pub tokens: Vec<(String, TokenKind)>,
    /// Pairs to merge, best first, as `left right`.
    pub merges: Vec<String>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends one.
    pub eos: Option<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
    /// Whether encoders put the first token themselves.
    pub add_bos: Option<bool>,
    /// Whether encoders put the last token themselves.
    pub add_eos: Option<bool>,
    /// What ends an answer beside `eos`, at most as many as GGUF has keys for (`MORE_ENDS`).
    pub more_ends: Vec<u32>,
    /// What the files say and GGUF has no place for, in lines for the person who converts.
    pub notes: Vec<String>,
    /// Chat templates by name; the one without a name is the default.
    pub chat_templates: Vec<(Option<String>, String)>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object: a tokenizer.json")]
struct TokenizerJson {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object: the tokenizer's model")]
struct Model {
    r#type: Option<String>,
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Older files have one text, newer ones a pair.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected merges as texts `left right` or as pairs of texts")]
enum Merge {
    Text(String),
    Pair(String, String),
}

#[derive(Deserialize)]
#[serde(expecting = "an object: an added token")]
struct Added {
    id: u32,
    content: String,
    #[serde(default, deserialize_with = "null_is_false")]
    special: bool,
    #[serde(flatten)]
    matching: Matching,
}

/// How an added token is found in a text: as it stands, anywhere, is what every token of this family wants.
#[derive(Deserialize)]
struct Matching {
    #[serde(default, deserialize_with = "null_is_false")]
    lstrip: bool,
    #[serde(default, deserialize_with = "null_is_false")]
    rstrip: bool,
    #[serde(default, deserialize_with = "null_is_false")]
    single_word: bool,
}

/// As Python takes it.
fn null_is_false<'de, D: Deserializer<'de>>(json: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or(false))
}

impl Matching {
    /// The first switch that is on.
    fn other(&self) -> Option<&'static str> {
        let switches = [("lstrip", self.lstrip), ("rstrip", self.rstrip), ("single_word", self.single_word)];
        switches.into_iter().find(|(_, on)| *on).map(|(name, _)| name)
    }
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object: a tokenizer_config.json")]
struct TokenizerConfig {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    pad_token: Option<Named>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    chat_template: Option<Templates>,
    /// The added tokens again; what they say here counts where transformers loads the folder.
    added_tokens_decoder: Option<BTreeMap<String, Redefined>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object: an added token")]
struct Redefined {
    content: String,
    #[serde(flatten)]
    matching: Matching,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a token's text, or an object with its text as `content`")]
enum Named {
    Text(String),
    Token { content: String },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a template's text, or a list of objects with `name` and `template`")]
enum Templates {
    One(String),
    Many(Vec<Template>),
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `name` and `template`")]
struct Template {
    name: String,
    template: String,
}

/// The fields of config.json as they stand: an id, a list of ids, -1 or null for none.
#[derive(Default, Deserialize)]
#[serde(expecting = "an object: a config.json")]
struct ModelIds {
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
    pad_token_id: Option<Value>,
}

impl Tokenizer {
    /// Reads the tokenizer beside `config.json`; `None` if the folder has none.
    ///
    /// # Errors
    /// If the files are damaged, describe another kind of tokenizer, or have more tokens than the model has rows.
    pub fn read(folder: &Path, vocab_size: usize) -> Result<Option<Tokenizer>, Error> {
        let path = folder.join("tokenizer.json");
        let Some(json) = read_json::<TokenizerJson>(&path)? else { return Ok(None) };
        let wrong = |problem: String| Error::Tokenizer { path: path.clone(), problem };
        json.check_kind().map_err(wrong)?;
        let ids = json.ids().map_err(wrong)?;
        let tokens = json.tokens(vocab_size).map_err(wrong)?;
        let config_path = folder.join("tokenizer_config.json");
        let config = read_json::<TokenizerConfig>(&config_path)?.unwrap_or_default();
        let redefined = config.added_tokens_decoder.iter().flat_map(BTreeMap::values);
        check_matching(redefined.map(|token| (token.content.as_str(), &token.matching)))
            .map_err(|problem| Error::Tokenizer { path: config_path.clone(), problem })?;
        config
            .check_added(&ids)
            .map_err(|problem| Error::Tokenizer { path: config_path.clone(), problem })?;
        let model: ModelIds = read_json(&folder.join("config.json"))?.unwrap_or_default();
        let mut strangers = Vec::new();
        let [bos, mut ends, padding] = model
            .ids(vocab_size, &mut strangers)
            .map_err(|problem| Error::Tokenizer { path: folder.join("config.json"), problem })?;
        // What ends an answer when transformers generates one.
        let path_of_generation = folder.join("generation_config.json");
        let generation: ModelIds = read_json(&path_of_generation)?.unwrap_or_default();
        let [_, more, _] = generation
            .ids(vocab_size, &mut strangers)
            .map_err(|problem| Error::Tokenizer { path: path_of_generation, problem })?;
        more.into_iter().for_each(|id| {
            if !ends.contains(&id) {
                ends.push(id)
            }
        });
        let id_of = |named: &Option<Named>, otherwise: Option<&u32>| match named {
            None => Ok(otherwise.copied()),
            Some(Named::Text(text) | Named::Token { content: text }) => match ids.get(text.as_str()) {
                Some(id) => Ok(Some(*id)),
                None => Err(Error::Tokenizer {
                    path: config_path.clone(),
                    problem: format!("token {text:?}: expected one of tokenizer.json's tokens"),
                }),
            },
        };
        let eos = id_of(&config.eos_token, ends.first())?;
        let mut more_ends: Vec<u32> = ends.into_iter().filter(|id| Some(*id) != eos).collect();
        let not_kept = more_ends.split_off(more_ends.len().min(MORE_ENDS.len()));
        let no_ends = (!not_kept.is_empty()).then(|| {
            format!(
                "config.json: GGUF has no place for so many values of eos_token_id: {not_kept:?} will not end an answer"
            )
        });
        let strangers =
            strangers.into_iter().map(|told| format!("{told}, which is no token: it is left out"));
        let notes = no_ends.into_iter().chain(strangers).chain(json.words_added()).collect();
        Ok(Some(Tokenizer {
            bos: id_of(&config.bos_token, bos.first())?,
            eos,
            padding: id_of(&config.pad_token, padding.first())?,
            more_ends,
            notes,
            add_bos: config.add_bos_token,
            add_eos: config.add_eos_token,
            chat_templates: chat_templates(folder, config.chat_template)?,
            merges: json.model.merges.into_iter().map(Merge::text).collect(),
            tokens,
        }))
    }

    /// The keys, in the order in which llama.cpp's converter writes them.
    pub fn to_gguf(&self) -> Vec<(String, OwnedValue)> {
        let mut keys: Vec<(String, OwnedValue)> = Vec::new();
        let mut put = |key: &str, value: OwnedValue| keys.push((format!("tokenizer.{key}"), value));
        let tokens = self.tokens.iter().map(|(text, _)| text.clone()).collect();
        let kinds: Vec<i32> = self.tokens.iter().map(|(_, kind)| kind.number()).collect();
        put("ggml.model", "gpt2".into());
        put("ggml.pre", "deepseek-v3".into());
        put("ggml.tokens", OwnedArray::Str(tokens).into());
        put("ggml.token_type", kinds.into());
        put("ggml.merges", OwnedArray::Str(self.merges.clone()).into());
        for (key, id) in [("bos", self.bos), ("eos", self.eos), ("padding", self.padding)] {
            if let Some(id) = id {
                put(&format!("ggml.{key}_token_id"), id.into());
            }
        }
        for (key, id) in MORE_ENDS.iter().zip(&self.more_ends) {
            put(&format!("ggml.{key}_token_id"), (*id).into());
        }
        for (key, flag) in [("bos", self.add_bos), ("eos", self.add_eos)] {
            if let Some(flag) = flag {
                put(&format!("ggml.add_{key}_token"), flag.into());
            }
        }
        let names: Vec<&str> = self.chat_templates.iter().filter_map(|(name, _)| name.as_deref()).collect();
        if !names.is_empty() {
            put("chat_templates", names.into());
        }
        for (name, template) in &self.chat_templates {
            match name {
                None => put("chat_template", template.as_str().into()),
                Some(name) => put(&format!("chat_template.{name}"), template.as_str().into()),
            }
        }
        keys
    }
}

/// The keys of a file without a tokenizer: llama.cpp insists on this one and then takes the number of tokens from
/// the architecture's `vocab_size`.
pub fn no_tokenizer() -> Vec<(String, OwnedValue)> {
    vec![("tokenizer.ggml.model".to_owned(), "none".into())]
}

/// What is left to do with another tokenizer.
const NEXT: &str = "Fathom supports DeepSeek-V3's tokenizer only; to convert just the weights, use a copy of the folder \
                    without tokenizer.json";

fn check_matching<'t>(tokens: impl Iterator<Item = (&'t str, &'t Matching)>) -> Result<(), String> {
    for (text, matching) in tokens {
        if let Some(switch) = matching.other() {
            return Err(format!("token {text:?}: expected {switch} false, found true; {NEXT}"));
        }
    }
    Ok(())
}

/// The types of a part, those of a sequence one by one.
fn kinds(part: &Value) -> Vec<String> {
    let members =
        ["normalizers", "processors", "decoders"].into_iter().find_map(|name| part[name].as_array());
    match (members, part["type"].as_str()) {
        (Some(members), _) => members.iter().flat_map(kinds).collect(),
        (None, Some(kind)) => vec![kind.to_owned()],
        (None, None) => vec!["something without a type".to_owned()],
    }
}

/// What a template puts around a text beside one special token at each end.
fn affix(part: &Value) -> Option<String> {
    if let Some(members) = part["processors"].as_array() {
        return members.iter().find_map(affix);
    }
    let single = part["single"].as_array()?;
    let text = single.iter().position(|piece| piece.get("Sequence").is_some());
    let Some(text) = text else { return Some("nothing".to_owned()) };
    let is_one = |pieces: &[Value]| {
        pieces.len() <= 1 && pieces.iter().all(|piece| piece.get("SpecialToken").is_some())
    };
    (!is_one(&single[..text]) || !is_one(&single[text + 1..])).then(|| part["single"].to_string())
}

impl TokenizerJson {
    /// A file that takes text apart in another way would give wrong tokens in silence.
    fn check_kind(&self) -> Result<(), String> {
        self.check_model()?;
        let added = self.added_tokens.iter();
        check_matching(added.map(|token| (token.content.as_str(), &token.matching)))?;
        let parts = [
            ("normalizer", &self.normalizer, &[][..]),
            ("post_processor", &self.post_processor, &["ByteLevel", "TemplateProcessing"][..]),
            ("decoder", &self.decoder, &["ByteLevel"][..]),
        ];
        for (name, part, known) in parts {
            let Some(part) = part else { continue };
            if let Some(stranger) = kinds(part).into_iter().find(|kind| !known.contains(&kind.as_str())) {
                let expected = if known.is_empty() { "none".to_owned() } else { known.join(" or ") };
                return Err(format!("{name}: expected {expected}, found {stranger}; {NEXT}"));
            }
        }
        if let Some(part) = self.post_processor.as_ref().and_then(affix) {
            return Err(format!(
                "post_processor: expected one that adds only BOS and EOS; found {part:?} around the text; \
                 {NEXT}"
            ));
        }
        let found = self.pre_tokenizer.as_ref().map(splits).unwrap_or_default();
        let expected: Vec<String> =
            SPLITS.iter().map(|s| (*s).to_owned()).chain(["ByteLevel".to_owned()]).collect();
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "pre_tokenizer: expected DeepSeek-V3's three splits and ByteLevel, found {}; {NEXT}",
            if found.is_empty() { "none".to_owned() } else { found.join(" then ") }
        ))
    }

    fn check_model(&self) -> Result<(), String> {
        let Model { dropout, continuing_subword_prefix: prefix, end_of_word_suffix: suffix, .. } =
            &self.model;
        if let Some(found) = self.model.r#type.as_deref()
            && found != "BPE"
        {
            return Err(format!("model.type: expected `BPE`, found `{found}`; {NEXT}"));
        }
        for (name, found) in
            [("byte_fallback", self.model.byte_fallback), ("ignore_merges", self.model.ignore_merges)]
        {
            if found {
                return Err(format!("model.{name}: expected false, found true; {NEXT}"));
            }
        }
        if let Some(found) = dropout.filter(|&rate| rate != 0.0) {
            return Err(format!("model.dropout: expected none, found {found}; {NEXT}"));
        }
        for (name, found) in [("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)] {
            if let Some(found) = found.as_ref().filter(|affix| !affix.is_empty()) {
                return Err(format!("model.{name}: expected none, found {found:?}; {NEXT}"));
            }
        }
        Ok(())
    }

    /// Ids by text. Base vocabulary and added tokens may name the same pair, not a contradictory one.
    fn ids(&self) -> Result<BTreeMap<&str, u32>, String> {
        let mut ids: BTreeMap<&str, u32> = self.model.vocab.iter().map(|(t, id)| (t.as_str(), *id)).collect();
        for added in &self.added_tokens {
            if let Some(other) = ids.insert(&added.content, added.id)
                && other != added.id
            {
                return Err(format!("token {:?}: found with ids {other} and {}", added.content, added.id));
            }
        }
        Ok(ids)
    }

    /// What there is to say about added tokens that are words of a text: in a prompt, markers are spelt out in tokens of the
    /// learned vocabulary, and so are these.
    fn words_added(&self) -> Option<String> {
        let is_word = |added: &&Added| {
            !added.special && !looks_special(&added.content) && !added.content.starts_with('<')
        };
        let mut words = self.added_tokens.iter().filter(is_word);
        let first = &words.next()?.content;
        let others = match words.count() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "tokenizer.json: the added token {first:?}{others} will not be found in prompts: their text is read with the learned \
             vocabulary alone, so other programs may count other tokens"
        ))
    }

    fn tokens(&self, vocab_size: usize) -> Result<Vec<(String, TokenKind)>, String> {
        let mut tokens: Vec<Option<(String, TokenKind)>> = vec![None; vocab_size];
        let mut put = |id: u32, text: &str, kind: TokenKind| {
            let Some(place) = tokens.get_mut(id as usize) else {
                return Err(format!(
                    "token {text:?}: expected an id below vocab_size = {vocab_size}, found {id}"
                ));
            };
            match place {
                Some((other, _)) if other != text => {
                    Err(format!("id {id}: found for {other:?} and {text:?}"))
                }
                _ => {
                    *place = Some((text.to_owned(), kind));
                    Ok(())
                }
            }
        };
        for (text, id) in &self.model.vocab {
            put(*id, text, TokenKind::Normal)?;
        }
        for added in &self.added_tokens {
            let control = added.special || looks_special(&added.content);
            put(added.id, &added.content, if control { TokenKind::Control } else { TokenKind::UserDefined })?;
        }
        let or_filler = |(id, token): (usize, Option<(String, TokenKind)>)| match token {
            // Text that users see is stored with real spaces.
            Some((text, TokenKind::UserDefined)) => (text.replace('\u{2581}', " "), TokenKind::UserDefined),
            Some(token) => token,
            None => (format!("[PAD{id}]"), TokenKind::Unused),
        };
        Ok(tokens.into_iter().enumerate().map(or_filler).collect())
    }
}

impl Merge {
    fn text(self) -> String {
        match self {
            Merge::Text(text) => text,
            Merge::Pair(left, right) => format!("{left} {right}"),
        }
    }
}

impl TokenizerConfig {
    /// What is added here again is what tokenizer.json has: a token of its own, or another one, would give other ids.
    fn check_added(&self, ids: &BTreeMap<&str, u32>) -> Result<(), String> {
        for (id, token) in self.added_tokens_decoder.iter().flatten() {
            let text = &token.content;
            let expected = ids.get(text.as_str()).map(u32::to_string);
            if expected.as_ref() != Some(id) {
                let expected = expected.map_or("no such token".to_owned(), |id| format!("id {id}"));
                return Err(format!(
                    "added_tokens_decoder: token {text:?}: expected {expected} as tokenizer.json says, found id {id}; download both \
                     files again, or remove added_tokens_decoder"
                ));
            }
        }
        Ok(())
    }
}

impl ModelIds {
    /// The ids that begin, end and fill; those beyond the vocabulary are nobody's, and are told in `strangers`.
    fn ids(&self, vocab_size: usize, strangers: &mut Vec<String>) -> Result<[Vec<u32>; 3], String> {
        let mut read = |name, value: &Option<Value>, most| {
            let ids = value.as_ref().map_or(Ok(Vec::new()), |value| token_ids(name, value, most))?;
            let (here, not): (Vec<u32>, Vec<u32>) =
                ids.into_iter().partition(|id| (*id as usize) < vocab_size);
            let told = not
                .iter()
                .map(|id| format!("{name}: expected an id below vocab_size = {vocab_size}, found {id}"));
            strangers.extend(told);
            Ok::<_, String>(here)
        };
        Ok([
            read("bos_token_id", &self.bos_token_id, 1)?,
            read("eos_token_id", &self.eos_token_id, usize::MAX)?,
            read("pad_token_id", &self.pad_token_id, 1)?,
        ])
    }
}

/// The ids of one field of config.json; -1 and null stand for none.
fn token_ids(name: &str, value: &Value, most: usize) -> Result<Vec<u32>, String> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let id = |value: &Value| match value.as_i64() {
        Some(-1) => Some(None),
        Some(id) => u32::try_from(id).ok().map(Some),
        None => value.is_null().then_some(None),
    };
    let ids: Option<Vec<Option<u32>>> = list.iter().map(id).collect();
    let ids: Option<Vec<u32>> = ids.map(|ids| ids.into_iter().flatten().collect());
    ids.filter(|ids| ids.len() <= most).ok_or_else(|| {
        let expected = if most == 1 { "the id of a token" } else { "the id of a token or a list of ids" };
        format!("{name}: expected {expected} (-1 or null: none), found {value}")
    })
}

/// Markers that some checkpoints forget to flag.
fn looks_special(text: &str) -> bool {
    let between = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
        || ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
}

/// A pre-tokenizer as a list of its parts: expressions of isolating splits, otherwise the part's type.
fn splits(pre_tokenizer: &Value) -> Vec<String> {
    if let Some(parts) = pre_tokenizer["pretokenizers"].as_array() {
        return parts.iter().flat_map(splits).collect();
    }
    let plain = |key: &str| pre_tokenizer[key].as_bool() != Some(true);
    let isolated = pre_tokenizer["behavior"] == "Isolated" && plain("invert");
    match (pre_tokenizer["type"].as_str(), pre_tokenizer["pattern"]["Regex"].as_str()) {
        (Some("Split"), Some(expression)) if isolated => vec![expression.to_owned()],
        // Without a word the library splits by an expression of its own.
        (Some("ByteLevel"), _) if plain("add_prefix_space") && pre_tokenizer["use_regex"] == false => {
            vec!["ByteLevel".to_owned()]
        }
        (Some(other), _) => vec![format!("another {other}")],
        (None, _) => vec!["something without a type".to_owned()],
    }
}

/// `chat_template.jinja` outweighs the config's default, as in transformers.
fn chat_templates(
    folder: &Path,
    configured: Option<Templates>,
) -> Result<Vec<(Option<String>, String)>, Error> {
    let mut templates = match configured {
        None => Vec::<(Option<String>, String)>::new(),
        Some(Templates::One(template)) => vec![(None, template)],
        Some(Templates::Many(list)) => {
            list.into_iter().map(|t| (Some(t.name).filter(|name| name != "default"), t.template)).collect()
        }
    };
    for (at, (name, _)) in templates.iter().enumerate() {
        if templates[..at].iter().any(|(other, _)| other == name) {
            return Err(Error::Tokenizer {
                path: folder.join("tokenizer_config.json"),
                problem: format!(
                    "chat_template: expected one template of each name, found two named {:?}; remove one",
                    name.as_deref().unwrap_or("default")
                ),
            });
        }
    }
    // An empty text is no template.
    templates.retain(|(_, template)| !template.trim().is_empty());
    let path = folder.join("chat_template.jinja");
    if let Some(text) = small_file::read(&path)? {
        let template = String::from_utf8(text).map_err(|_| Error::Tokenizer {
            path: path.clone(),
            problem: "expected UTF-8, found other bytes; download it again".to_owned(),
        })?;
        templates.retain(|(name, _)| name.is_some());
        templates.insert(0, (None, template));
    }
    Ok(templates)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(text) = small_file::read(path)? else { return Ok(None) };
    json::read(&text).map(Some).map_err(|found| Error::Json { path: path.to_owned(), found })
}

#[cfg(test)]
mod tests;
