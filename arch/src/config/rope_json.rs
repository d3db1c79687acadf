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
#[derive(PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f32,
    pub(super) yarn: Option<Yarn>,
}

/// What stands outside of the object.
#[derive(Clone, Copy)]
struct Outside {
    theta: Option<f32>,
    original: Option<usize>,
    max_positions: usize,
}

impl Rope {
    /// Reads them from the whole file's fields; `max_positions` stands for the original context where none is named.
    pub(super) fn read(config: &mut Fields<'_>, max_positions: usize) -> Rope {
        let theta = config.float_or_null("rope_theta");
        let original = config.value("original_max_position_embeddings").is_some();
        let original = original.then(|| config.size("original_max_position_embeddings")).flatten();
        let outside = Outside { theta, original, max_positions };
        let [scaling, parameters] = ["rope_scaling", "rope_parameters"].map(|name| config.object(name));
        // The order of transformers.
        let scaling = scaling.map(|object| Rope::of(object, "rope_scaling.", outside));
        let parameters = parameters.map(|object| Rope::of(object, "rope_parameters.", outside));
        let mut problems = match (&scaling, &parameters) {
            (Some((scaling, wrong)), Some((parameters, also_wrong)))
                if wrong.is_empty() && also_wrong.is_empty() =>
            {
                scaling.differs(parameters).into_iter().collect()
            }
            (Some((_, wrong)), Some((_, also_wrong))) if wrong.is_empty() => also_wrong.clone(),
            _ => Vec::new(),
        };
        let (rope, mut wrong) = scaling
            .or(parameters)
            .unwrap_or((Rope { theta: theta.unwrap_or(THETA), yarn: None }, Vec::new()));
        config.problems.append(&mut wrong);
        config.problems.append(&mut problems);
        rope
    }

    /// What `rope_scaling` and `rope_parameters` say differently. What one of them leaves out has its usual value.
    fn differs(&self, parameters: &Rope) -> Option<String> {
        if self == parameters {
            return None;
        }
        let what = if self.theta == parameters.theta {
            "YaRN's numbers differ".to_owned()
        } else {
            format!("rope_theta is {} by the first and {} by the second", self.theta, parameters.theta)
        };
        Some(format!(
            "rope_scaling, rope_parameters: expected both to describe the same positions, but {what}; remove the wrong one"
        ))
    }

    /// One object's positions, and what is wrong with it.
    fn of(object: &Map<String, Value>, prefix: &'static str, outside: Outside) -> (Rope, Vec<String>) {
        let mut fields = Fields::new(object, prefix);
        let theta = fields.float_or_null("rope_theta").or(outside.theta).unwrap_or(THETA);
        let yarn = yarn(&mut fields, object, outside);
        (Rope { theta, yarn }, fields.problems)
    }
}

fn yarn(fields: &mut Fields<'_>, object: &Map<String, Value>, outside: Outside) -> Option<Yarn> {
    fields.check(&SWITCHES);
    for (name, value) in object {
        if !KNOWN.contains(&name.as_str()) && name != "attention_factor" && !value.is_null() {
            fields.not_supported(name, value);
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
        // One of another kind has been named already.
        if fields.value("factor").is_none() {
            fields.missing("factor");
        }
        return None;
    };
    let inside = fields.value("original_max_position_embeddings");
    let inside = inside.and_then(|_| fields.size("original_max_position_embeddings"));
    // Null and 0 stand for the usual value, as in transformers.
    let mut beta =
        |name: &str, usual: f32| fields.float_or_null(name).filter(|&beta| beta != 0.0).unwrap_or(usual);
    Some(Yarn {
        factor,
        original_max_position_embeddings: outside.original.or(inside).unwrap_or(outside.max_positions),
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
            "{}mscale, mscale_all_dim: expected two equal numbers above 0, found {mscale} and {all_dim} (0: absent); other \
             values would scale the rotary embedding, which is not supported",
            fields.prefix
        ));
    }
    all_dim
}
