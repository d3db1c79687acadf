//! The tokenizer's files, turned into the keys that GGUF keeps them in.
//!
//! Only what goes into the file is read: tokens by id, their kind, merges, the ids that begin, end and fill, and a chat
//! template. The kinds follow llama.cpp's converter, because files travel both ways: an added token is a control
//! token when it is flagged special *or looks it* (`<|...|>`, `<｜...｜>`), otherwise it is user-defined.
//! Source: llama.cpp, convert_hf_to_gguf.py, `get_vocab_base` and `does_token_look_special`.

use crate::error::Error;
use crate::small_file;
use fathom_gguf::{OwnedArray, OwnedValue};
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

/// What a token is for; the numbers are GGUF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum TokenKind {
    /// Part of the learned vocabulary.
    Normal = 1,
    /// A marker that is never text.
    Control = 3,
    /// An added token that is text too, such as `<think>`.
    UserDefined = 4,
    /// A filler up to the model's number of rows.
    Unused = 5,
}

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
    /// Chat templates by name; the one without a name is the default.
    pub chat_templates: Vec<(Option<String>, String)>,
}

#[derive(Deserialize)]
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
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

#[derive(Deserialize)]
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
struct Redefined {
    content: String,
    #[serde(flatten)]
    matching: Matching,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Token { content: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Many(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

#[derive(Deserialize)]
struct ModelIds {
    bos_token_id: Option<u32>,
    /// One id or a list of them.
    eos_token_id: Option<Value>,
    pad_token_id: Option<u32>,
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
        let model: ModelIds = read_json(&folder.join("config.json"))?.unwrap_or(ModelIds {
            bos_token_id: None,
            eos_token_id: None,
            pad_token_id: None,
        });
        let id_of = |named: &Option<Named>, otherwise: Option<u32>| match named {
            None => Ok(otherwise.filter(|id| (*id as usize) < vocab_size)),
            Some(Named::Text(text) | Named::Token { content: text }) => match ids.get(text.as_str()) {
                Some(id) => Ok(Some(*id)),
                None => Err(Error::Tokenizer {
                    path: config_path.clone(),
                    problem: format!("token {text:?}: expected one of tokenizer.json's tokens"),
                }),
            },
        };
        Ok(Some(Tokenizer {
            bos: id_of(&config.bos_token, model.bos_token_id)?,
            eos: id_of(&config.eos_token, model.eos())?,
            padding: id_of(&config.pad_token, model.pad_token_id)?,
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
        let kinds: Vec<i32> = self.tokens.iter().map(|(_, kind)| *kind as i32).collect();
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

impl ModelIds {
    fn eos(&self) -> Option<u32> {
        let value = self.eos_token_id.as_ref()?;
        let first = value.as_array().map_or(Some(value), |list| list.first())?;
        first.as_u64().and_then(|id| u32::try_from(id).ok())
    }
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
        None => Vec::new(),
        Some(Templates::One(template)) => vec![(None, template)],
        Some(Templates::Many(list)) => {
            list.into_iter().map(|t| (Some(t.name).filter(|name| name != "default"), t.template)).collect()
        }
    };
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

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Error> {
    let Some(text) = small_file::read(path)? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::Json { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
