//! `fathom inspect`: what a GGUF file is.

use super::Failure;
use super::loading::map;
use super::model::{Which, check_sizes};
use super::print::{self, Sheet, bytes, quoted};
use fathom_arch::config::{Config, ConfigError, Overrides};
use fathom_arch::role::Role;
use fathom_engine::inventory::{Inventory, Share};
use fathom_engine::unread;
use fathom_engine::weights::{Weights, format_of};
use fathom_gguf::{Array, Error, Gguf, Metadata, TensorType, Value};
use fathom_text::chat::Chat;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Show what is in a GGUF file, and whether Fathom runs it.
///
/// Shown are the model's numbers, its tokenizer, types and sizes by role, and the metadata. Any valid GGUF file will do.
/// Of the weights only norms and biases are read, so this is fast for models of any size.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// List all tensors: name, type, shape (outermost dimension first), size and offset.
    #[arg(long)]
    tensors: bool,
}

/// Elements of an array that are shown.
const SHOWN_ELEMENTS: usize = 6;
/// Characters of a text that are shown; JSON has all of it.
const SHOWN_CHARS: usize = 80;
/// In JSON, longer texts (a chat template has some 10,000 bytes) are cut too.
const JSON_CHARS: usize = 100_000;

/// Runs the verb.
///
/// # Errors
/// A file that is no valid GGUF.
pub fn run(args: Args) -> Result<(), Failure> {
    let (mapping, _) = map(args.which.path())?;
    let gguf = mapping.gguf().map_err(Failure::invalid)?;
    mapping.expect_few_reads();
    let report = Report::new(&gguf);
    if args.json {
        let mut object = report.to_json();
        if args.tensors {
            object["tensors"] = tensors_json(&gguf);
        }
        return print::json(&object);
    }
    let mut sheet = report.to_text();
    if args.tensors {
        tensors_text(&gguf, &mut sheet);
    }
    print::answer(sheet.text())
}

/// Everything that is told about a file.
struct Report<'r, 'd> {
    gguf: &'r Gguf<'d>,
    inventory: Inventory,
    config: Option<Config>,
    /// Why Fathom does not run it; empty: it does.
    problems: Vec<String>,
    /// Why it has no chat: then it runs as plain text only.
    no_chat: Option<String>,
    /// What it holds that is not used.
    notes: Vec<String>,
    tokenizer: Option<Tokenizer<'d>>,
}

/// The tokenizer's metadata, counted.
struct Tokenizer<'d> {
    model: &'d str,
    pre: Option<&'d str>,
    n_tokens: usize,
    n_merges: usize,
    ids: Vec<(&'static str, u32)>,
    add_bos: Option<bool>,
    template_bytes: Option<usize>,
}

impl<'r, 'd> Report<'r, 'd> {
    fn new(gguf: &'r Gguf<'d>) -> Report<'r, 'd> {
        let (config, mut problems) = match Config::from_gguf(gguf.metadata(), &Overrides::default()) {
            Ok(config) => {
                let problems =
                    Weights::check(gguf, &config).map_or_else(|error| error.problems, |()| Vec::new());
                (Some(config), problems)
            }
            Err(ConfigError::Invalid(problems)) => (None, problems),
            Err(error) => (None, vec![error.to_string()]),
        };
        let tokenizer = tokenizer(gguf.metadata()).unwrap_or_else(|error| {
            problems.push(error.to_string());
            None
        });
        let no_chat = config.as_ref().and_then(|config| match text_problem(gguf, config) {
            Ok(no_chat) => no_chat,
            // Already said above, where a key has another type.
            Err(problem) if problems.contains(&problem) => None,
            Err(problem) => {
                problems.push(problem);
                None
            }
        });
        let notes = config.as_ref().map_or(Vec::new(), |config| unread::notes(gguf, config, false));
        Report { gguf, inventory: Inventory::take(gguf), config, problems, no_chat, notes, tokenizer }
    }

    fn architecture(&self) -> Option<&'d str> {
        text_of(self.gguf.metadata(), "general.architecture")
    }

    /// The numbers in the order of the fields, nested ones by name.
    fn numbers(&self) -> Option<Json> {
        // Numbers, flags and names: nothing in them can fail to be JSON.
        self.config.as_ref().map(|config| serde_json::to_value(config).expect("numbers are JSON"))
    }
}

/// Why the model cannot be run on text, or why it has no chat: what loading would say.
fn text_problem(gguf: &Gguf<'_>, config: &Config) -> Result<Option<String>, String> {
    let tokenizer =
        fathom_text::tokenizer::Tokenizer::from_gguf(gguf.metadata()).map_err(|error| error.to_string())?;
    check_sizes(&tokenizer, config.vocab_size)?;
    let chat = Chat::new(&tokenizer).and_then(|chat| chat.check());
    Ok(chat.err().map(|error| error.to_string()))
}

fn text_of<'d>(metadata: &Metadata<'d>, key: &str) -> Option<&'d str> {
    metadata.str(key).ok().flatten()
}

/// # Errors
/// A value of another kind than every tokenizer has there.
fn tokenizer<'d>(metadata: &Metadata<'d>) -> Result<Option<Tokenizer<'d>>, Error> {
    let Some(model) = metadata.str("tokenizer.ggml.model")? else { return Ok(None) };
    let len = |key| Ok::<usize, Error>(metadata.array(key)?.map_or(0, |array| array.len()));
    let mut ids = Vec::new();
    for (name, key) in [
        ("bos", "tokenizer.ggml.bos_token_id"),
        ("eos", "tokenizer.ggml.eos_token_id"),
        ("padding", "tokenizer.ggml.padding_token_id"),
    ] {
        ids.extend(metadata.u32(key)?.map(|id| (name, id)));
    }
    Ok(Some(Tokenizer {
        model,
        pre: metadata.str("tokenizer.ggml.pre")?,
        n_tokens: len("tokenizer.ggml.tokens")?,
        n_merges: len("tokenizer.ggml.merges")?,
        ids,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
        template_bytes: metadata.str("tokenizer.chat_template")?.map(str::len),
    }))
}

fn role_name(role: Option<Role>) -> &'static str {
    role.map_or("other", Role::name)
}

/// The same counts by type alone.
fn by_type(inventory: &Inventory) -> BTreeMap<TensorType, Share> {
    let mut types: BTreeMap<_, Share> = BTreeMap::new();
    for ((_, ty), share) in &inventory.kinds {
        types.entry(*ty).or_default().join(*share);
    }
    types
}

// ---- JSON

impl Report<'_, '_> {
    fn to_json(&self) -> Json {
        let Report { gguf, inventory, .. } = self;
        let shards = gguf.shards();
        let first = shards[0].file();
        let shard = |shard: &fathom_gguf::Shard<'_>| json!({ "name": shard.name(), "bytes": shard.bytes(), "tensors": shard.file().tensors().len() });
        let role = |(&(role, ty), share): (&(Option<Role>, TensorType), &Share)| {
            with_share(json!({ "role": role_name(role), "type": ty.name() }), share)
        };
        let type_of = |(ty, share): (TensorType, Share)| {
            with_share(json!({ "type": ty.name(), "supported": format_of(ty).is_some() }), &share)
        };
        json!({
            "version": first.version(),
            "alignment": first.alignment(),
            "file_bytes": shards.iter().map(fathom_gguf::Shard::bytes).sum::<u64>(),
            "shards": shards.iter().map(shard).collect::<Vec<_>>(),
            "architecture": self.architecture(),
            "name": text_of(gguf.metadata(), "general.name"),
            "layout": inventory.layout.map(|layout| layout.name()),
            "indexer": inventory.has_indexer,
            "mtp": inventory.mtp.map(|(layer, share)| with_share(json!({ "layer": layer }), &share)),
            "runs": self.problems.is_empty(),
            "problems": self.problems,
            "chat": self.problems.is_empty() && self.no_chat.is_none(),
            "notes": self.notes,
            "config": self.numbers(),
            "tokenizer": self.tokenizer.as_ref().map(Tokenizer::to_json),
            "total": with_share(json!({}), &inventory.total),
            "types": by_type(inventory).into_iter().map(type_of).collect::<Vec<_>>(),
            "roles": inventory.kinds.iter().map(role).collect::<Vec<_>>(),
            "metadata": gguf.metadata().iter().map(|(key, value)| entry_json(key, value)).collect::<Vec<_>>(),
        })
    }
}

fn with_share(mut object: Json, share: &Share) -> Json {
    object["tensors"] = share.n_tensors.into();
    object["weights"] = share.n_weights.into();
    object["bytes"] = share.n_bytes.into();
    object["bits_per_weight"] = share.bits_per_weight().into();
    object
}

impl Tokenizer<'_> {
    fn to_json(&self) -> Json {
        let mut object = json!({
            "model": self.model,
            "pre": self.pre,
            "tokens": self.n_tokens,
            "merges": self.n_merges,
            "add_bos": self.add_bos,
            "chat_template_bytes": self.template_bytes,
        });
        for (name, id) in &self.ids {
            object[format!("{name}_token_id")] = (*id).into();
        }
        object
    }
}

fn entry_json(key: &str, value: &Value<'_>) -> Json {
    let mut object = json!({ "key": key, "type": value.kind().to_string(), "value": value_json(value) });
    if let Value::Array(array) = value {
        object["length"] = array.len().into();
    }
    object
}

/// Arrays are shown by their first elements.
fn value_json(value: &Value<'_>) -> Json {
    match value {
        Value::U8(n) => (*n).into(),
        Value::I8(n) => (*n).into(),
        Value::U16(n) => (*n).into(),
        Value::I16(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::I32(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::I64(n) => (*n).into(),
        Value::F32(x) => x.to_string().parse().map_or(Json::Null, |x: f64| x.into()),
        Value::F64(x) => (*x).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Str(text) => text.chars().take(JSON_CHARS).collect::<String>().into(),
        Value::Bytes(bytes) => bytes.lossy().chars().take(JSON_CHARS).collect::<String>().into(),
        Value::Array(array) => array.values().take(SHOWN_ELEMENTS).map(|v| value_json(&v)).collect(),
    }
}

fn tensors_json(gguf: &Gguf<'_>) -> Json {
    let tensor = |(shard, tensor): (usize, &fathom_gguf::TensorInfo<'_>)| {
        json!({
            "name": tensor.name,
            "type": tensor.ty.name(),
            "shape": tensor.shape.dims(),
            "bytes": tensor.bytes,
            "offset": tensor.offset,
            "shard": shard,
        })
    };
    gguf.tensors().map(tensor).collect()
}

// ---- text

impl Report<'_, '_> {
    fn to_text(&self) -> Sheet {
        let mut sheet = Sheet::new();
        self.file_text(&mut sheet);
        if let Some(numbers) = self.numbers() {
            sheet.heading("numbers");
            numbers_text(&numbers, "", &mut sheet);
        }
        if let Some(tokenizer) = &self.tokenizer {
            sheet.heading("tokenizer");
            tokenizer.to_text(&mut sheet);
        }
        self.types_text(&mut sheet);
        sheet.heading("metadata");
        for (key, value) in self.gguf.metadata().iter() {
            let (key, kind) = (key.escape_debug().to_string(), value.kind().to_string());
            sheet.line(format_args!("{key:<52} {kind:<12} {}", value_text(value)));
        }
        sheet
    }

    fn file_text(&self, sheet: &mut Sheet) {
        let shards = self.gguf.shards();
        let (first, total) = (shards[0].file(), &self.inventory.total);
        sheet.heading("file");
        for shard in shards {
            let n = shard.file().tensors().len();
            sheet.line(format_args!("{}: {}, {n} tensors", shard.name(), bytes(shard.bytes())));
        }
        sheet.row("format", format_args!("GGUF {}, alignment {}", first.version(), first.alignment()));
        sheet.row("architecture", self.architecture().map_or("not told".into(), |a| quoted(a, SHOWN_CHARS)));
        if let Some(layout) = self.inventory.layout {
            sheet.row("layout", layout.name());
        }
        sheet.row("indexer", if self.inventory.has_indexer { "yes" } else { "no" });
        match &self.inventory.mtp {
            Some((layer, share)) => sheet.row(
                "MTP layer",
                format_args!("layer {layer}, {} tensors, {}", share.n_tensors, bytes(share.n_bytes)),
            ),
            None => sheet.row("MTP layer", "no"),
        }
        sheet.row(
            "weights",
            format_args!(
                "{} in {} tensors, {}, {:.3} bits each",
                total.n_weights,
                total.n_tensors,
                bytes(total.n_bytes),
                total.bits_per_weight()
            ),
        );
        let runs = match &self.no_chat {
            _ if !self.problems.is_empty() => "no:",
            Some(_) => "as plain text only (fathom run --raw):",
            None => "yes",
        };
        sheet.row("Fathom runs it", runs);
        let no_chat = self.no_chat.iter().filter(|_| self.problems.is_empty());
        for problem in self.problems.iter().chain(no_chat) {
            sheet.line(format_args!("  {problem}"));
        }
        for note in &self.notes {
            sheet.row("note", note);
        }
    }

    fn types_text(&self, sheet: &mut Sheet) {
        // In GiB the tensors of a small model would all be 0.000.
        let (unit, title) =
            if self.inventory.total.n_bytes < 1 << 33 { (1u64 << 20, "MiB") } else { (1 << 30, "GiB") };
        let line = |name: &str, ty: &str, share: &Share, note: &str| {
            let Share { n_tensors, n_weights, n_bytes } = *share;
            let size = n_bytes as f64 / unit as f64;
            let bits = share.bits_per_weight();
            format!("{name:<22} {ty:<8} {n_tensors:>7} {n_weights:>16} {size:>10.3} {bits:>7.3}{note}")
        };
        sheet.heading("types by role");
        let titles = ("role", "type", "tensors", "weights", title, "bits");
        sheet.line(format_args!(
            "{:<22} {:<8} {:>7} {:>16} {:>10} {:>7}",
            titles.0, titles.1, titles.2, titles.3, titles.4, titles.5
        ));
        for ((role, ty), share) in &self.inventory.kinds {
            sheet.line(line(role_name(*role), ty.name(), share, ""));
        }
        for (ty, share) in by_type(&self.inventory) {
            let note = if format_of(ty).is_some() { "" } else { "  no kernels" };
            sheet.line(line("all", ty.name(), &share, note));
        }
    }
}

fn numbers_text(numbers: &Json, prefix: &str, sheet: &mut Sheet) {
    for (name, value) in numbers.as_object().into_iter().flatten() {
        match value {
            Json::Object(_) => numbers_text(value, &format!("{prefix}{name}."), sheet),
            _ => sheet.row(&format!("{prefix}{name}"), value),
        }
    }
}

impl Tokenizer<'_> {
    fn to_text(&self, sheet: &mut Sheet) {
        let word = |text: Option<&str>| text.map_or("not told".into(), |text| quoted(text, SHOWN_CHARS));
        sheet.row("model", word(Some(self.model)));
        sheet.row("pre-tokenizer", word(self.pre));
        sheet.row("tokens, merges", format_args!("{}, {}", self.n_tokens, self.n_merges));
        for (name, id) in &self.ids {
            sheet.row(&format!("{name} token"), id);
        }
        if let Some(add_bos) = self.add_bos {
            sheet.row("add bos", add_bos);
        }
        let template = self.template_bytes.map_or("none".to_owned(), |n| bytes(n as u64));
        sheet.row("chat template", template);
    }
}

fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Str(text) => quoted(text, SHOWN_CHARS),
        Value::Bytes(bytes) => quoted(&bytes.lossy(), SHOWN_CHARS),
        Value::Array(array) => array_text(array),
        number => value_json(number).to_string(),
    }
}

fn array_text(array: &Array<'_>) -> String {
    let first: Vec<_> = array.values().take(SHOWN_ELEMENTS).map(|value| value_text(&value)).collect();
    let more = if array.len() > first.len() { ", ..." } else { "" };
    format!("{} elements: {}{more}", array.len(), first.join(", "))
}

fn tensors_text(gguf: &Gguf<'_>, sheet: &mut Sheet) {
    sheet.heading("tensors: name, type, shape, bytes, offset, shard");
    for (shard, tensor) in gguf.tensors() {
        let (name, shape) = (tensor.name.escape_debug().to_string(), tensor.shape.to_string());
        let (ty, bytes, offset) = (tensor.ty, tensor.bytes, tensor.offset);
        sheet.line(format_args!("{name:<36} {ty:<8} {shape:<20} {bytes:>14} {offset:>14} {shard:>3}"));
    }
}
