//! Rotary positions in `config.json`: `rope_theta` and `rope_scaling` as published, `rope_parameters` as transformers 5 writes
//! them, and both in files that went through several hands.

use super::Yarn;
use super::fields::{Fields, Plain};
use serde_json::{Map, Value};

/// What plain rotary positions take where nobody says otherwise.
const THETA: f32 = 10000.0;

/// Switches beside YaRN's own numbers.
const SWITCHES: [(&str, Plain); 3] = [
    ("truncate", Plain::Flag(true)),
    ("partial_rotary_factor", Plain::Number(1.0)),
    ("attention_factor", Plain::Number(1.0)),
];

/// Every field that is read or means nothing here; any other is a switch that this program does not know.
const KNOWN: [&str; 12] = [
    "type",
    "rope_type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "finetuned",
    "truncate",
    "partial_rotary_factor",
];

/// Rotary positions, whole.
pub(super) struct Rope {
    pub(super) theta: f32,
    pub(super) yarn: Option<Yarn>,
}

impl Rope {
    /// Reads them from the whole file's fields; `max_positions` stands for the original context where none is named.
    pub(super) fn read(config: &mut Fields<'_>, max_positions: usize) -> Rope {
        let outside = config.float_or_null("rope_theta");
        let (scaling, parameters) = (config.object("rope_scaling"), config.object("rope_parameters"));
        if let (Some(scaling), Some(parameters)) = (scaling, parameters)
            && normal(scaling) != normal(parameters)
        {
            config.problems.push(
                "rope_scaling, rope_parameters: expected one of them, found both with different values; remove the one \
                 that does not count"
                    .to_owned(),
            );
        }
        // The order of transformers.
        let named = scaling.map(|object| (object, "rope_scaling."));
        let Some((object, prefix)) = named.or(parameters.map(|object| (object, "rope_parameters."))) else {
            return Rope { theta: outside.unwrap_or(THETA), yarn: None };
        };
        let top_original = config.value("original_max_position_embeddings").is_some();
        let top_original = top_original.then(|| config.size("original_max_position_embeddings")).flatten();
        let mut fields = Fields::new(object, prefix);
        let theta = fields.float_or_null("rope_theta").or(outside).unwrap_or(THETA);
        let yarn = yarn(&mut fields, object, top_original, max_positions);
        config.problems.append(&mut fields.problems);
        Rope { theta, yarn }
    }
}

/// What the object says, whichever form it has.
fn normal(object: &Map<String, Value>) -> Map<String, Value> {
    let mut normal = object.clone();
    if let Some(kind) = normal.remove("type") {
        normal.entry("rope_type").or_insert(kind);
    }
    for value in normal.values_mut() {
        if let Some(number) = value.as_f64() {
            *value = number.into();
        }
    }
    normal.retain(|_, value| !value.is_null());
    normal
}

fn yarn(
    fields: &mut Fields<'_>,
    object: &Map<String, Value>,
    top_original: Option<usize>,
    max_positions: usize,
) -> Option<Yarn> {
    fields.check(&SWITCHES);
    for (name, value) in object {
        if !KNOWN.contains(&name.as_str()) && name != "attention_factor" && !value.is_null() {
            fields.wrong(name, "no such field, for Fathom does not compute it", value);
        }
    }
    let kind = fields.value("rope_type").or(fields.value("type"));
    let factor = fields.float_or_null("factor");
    match kind.map(|kind| kind.as_str()) {
        Some(Some("yarn")) => {}
        None | Some(Some("default")) => {
            if let Some(value) = fields.value("factor")
                && factor != Some(1.0)
            {
                fields.wrong("factor", "none without rope_type `yarn`", value);
            }
            return None;
        }
        Some(_) => {
            let kind = kind.expect("it is there");
            fields.wrong("rope_type", "`yarn` or `default`", kind);
            return None;
        }
    }
    let Some(factor) = factor else {
        fields.missing("factor");
        return None;
    };
    let inside = fields.value("original_max_position_embeddings");
    let inside = inside.and_then(|_| fields.size("original_max_position_embeddings"));
    // Null and 0 stand for the usual value, as in transformers.
    let mut beta =
        |name: &str, usual: f32| fields.float_or_null(name).filter(|&beta| beta != 0.0).unwrap_or(usual);
    Some(Yarn {
        factor,
        original_max_position_embeddings: top_original.or(inside).unwrap_or(max_positions),
        beta_fast: beta("beta_fast", 32.0),
        beta_slow: beta("beta_slow", 1.0),
        mscale_all_dim: mscale(fields, factor),
    })
}

/// The temperature's number. Cosines and sines are scaled by `mscale` over `mscale_all_dim`, or, where one of them is not there,
/// by the factor's logarithm; this program computes the one case in which they are not scaled at all.
fn mscale(fields: &mut Fields<'_>, factor: f32) -> f32 {
    let all_dim = fields.float_or_null("mscale_all_dim").unwrap_or(0.0);
    let mscale = fields.float_or_null("mscale").unwrap_or(0.0);
    let told = fields.value("attention_factor").is_some();
    if factor > 1.0 && (all_dim == 0.0 || (mscale != all_dim && !told)) {
        fields.problems.push(format!(
            "rope_scaling.mscale, mscale_all_dim: expected two equal numbers above 0, found {mscale} and {all_dim} (0 stands for \
             an absent one); others scale cosines and sines, which no published model of this family does"
        ));
    }
    all_dim
}
