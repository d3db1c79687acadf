//! The numbers of a schema: which of them a float holds, and what keywords mean whose numbers the compiler would not take.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// A multiple is recognised by its rest: one state for each.
const LARGEST_MULTIPLE: f64 = 10_000.0;
/// Digits behind its point: the compiler counts in 32 bits.
const MOST_DECIMALS: i32 = 8;
/// Floats that are tried on each side of a multiple.
const NEIGHBOURS: usize = 16;
/// No context holds as many items or characters.
const LARGEST_COUNT: f64 = 1e7;
/// Least numbers of items that the compiler repeats.
const LARGEST_LEAST: f64 = 10_000.0;

/// Whether a value holds a number that no float is.
pub(in crate::answer) fn is_rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => !is_exact(number),
        Value::Array(list) => list.iter().any(is_rounded),
        Value::Object(map) => map.values().any(is_rounded),
        _ => false,
    }
}

/// Whole numbers up to 2^53 are, and all with up to 15 digits.
fn is_exact(number: &Number) -> bool {
    let text = number.to_string();
    if let Ok(whole) = text.parse::<i128>() {
        return whole.unsigned_abs() <= 1 << 53;
    }
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len() <= 15 && number.as_f64().is_some_and(f64::is_finite)
}

/// A keyword's number as the compiler takes it; `None`: it has no effect.
pub(super) fn keyword(
    name: &str,
    number: &Number,
    is_whole: bool,
    at: &str,
) -> Result<Option<Number>, String> {
    let bad = |expected: &str| Err(format!("at {at}/{name}: expected {expected}, found {number}"));
    let value = number.as_f64().filter(|value| value.is_finite());
    match name {
        "minLength" | "minItems" | "minProperties" | "maxLength" | "maxItems" | "maxProperties" => {
            match value {
                Some(value) if value < 0.0 || value.fract() != 0.0 => {
                    bad("a whole number that is not negative")
                }
                Some(value) if name.starts_with("max") && value <= LARGEST_COUNT => {
                    Ok(Some((value as u64).into()))
                }
                _ if name.starts_with("max") => Ok(None),
                Some(value) if value <= LARGEST_LEAST => Ok(Some((value as u64).into())),
                _ => bad(&format!("at most {LARGEST_LEAST}")),
            }
        }
        "multipleOf" => match value {
            Some(value) if !is_exact(number) || value <= 0.0 => bad("a number above 0 with up to 15 digits"),
            Some(value) if coefficient(number) <= LARGEST_MULTIPLE => match multiple(value, number) {
                Some(taken) => Ok(Some(taken)),
                None => Err(format!(
                    "at {at}/{name}: expected a multiple of up to {MOST_DECIMALS} decimals that floating-point numbers count exactly, \
                     found {number}; use a whole number of smaller units, or leave it out"
                )),
            },
            _ => bad(&format!(
                "at most {LARGEST_MULTIPLE} once the decimal point is removed (0.05 counts as 5)"
            )),
        },
        "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" => {
            let is_least = name.ends_with("inimum");
            let Some(value) = value else {
                return if number.to_string().starts_with('-') == is_least {
                    Ok(None)
                } else {
                    bad("a number that a float can hold")
                };
            };
            // Beyond 64 bits the compiler has no whole numbers.
            let is_out = is_whole && value.abs() >= i64::MAX as f64;
            match is_out {
                true if (value < 0.0) == is_least => return Ok(None),
                true => return bad("a number of 64 bits"),
                false => {}
            }
            // Towards the inside: what is left follows the schema.
            match order(&written(value), &number.to_string()) {
                Ordering::Equal => Ok(Some(number.clone())),
                Ordering::Less if is_least => Ok(Number::from_f64(value.next_up())),
                Ordering::Greater if !is_least => Ok(Number::from_f64(value.next_down())),
                _ => Ok(Number::from_f64(value)),
            }
        }
        _ => Ok(Some(number.clone())),
    }
}

/// A multiple as a float in which the compiler finds the same digits: it multiplies by ten until nothing is left behind the
/// point, and of many floats something always is. Their neighbours will do.
fn multiple(value: f64, number: &Number) -> Option<Number> {
    let meant = Decimal::read(&number.to_string());
    let (below, above) = (
        std::iter::successors(Some(value), |v| Some(v.next_down())),
        std::iter::successors(Some(value), |v| Some(v.next_up())),
    );
    let near = below.zip(above).take(NEIGHBOURS).flat_map(|(below, above)| [below, above]);
    let taken = near.into_iter().find(|near| {
        let (mut whole, mut n_decimals) = (*near, 0);
        while whole.fract() != 0.0 && n_decimals <= MOST_DECIMALS {
            (whole, n_decimals) = (whole * 10.0, n_decimals + 1);
        }
        let found = Decimal::read(&format!("{whole:.0}e-{n_decimals}"));
        n_decimals <= MOST_DECIMALS && (found.power, &found.digits) == (meant.power, &meant.digits)
    })?;
    if taken == value { Some(number.clone()) } else { Number::from_f64(taken) }
}

/// Whether two numbers are the same one.
pub(super) fn is_taken_as(given: &Number, taken: &Number) -> bool {
    order(&given.to_string(), &taken.to_string()) == Ordering::Equal
}

/// All digits of a whole number; of others those that the compiler writes.
fn written(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { value.to_string() }
}

/// The order of two numbers, digit by digit.
fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (Decimal::read(a), Decimal::read(b));
    let size = (a.power, &a.digits).cmp(&(b.power, &b.digits));
    match (a.sign(), b.sign()) {
        (-1, -1) => size.reverse(),
        (1, 1) => size,
        (a, b) => a.cmp(&b),
    }
}

/// A number as 0.DIGITS times a power of ten; zero has no digits.
struct Decimal {
    is_negative: bool,
    power: i64,
    digits: String,
}

impl Decimal {
    fn read(text: &str) -> Decimal {
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole = whole.trim_start_matches(['-', '+']);
        let digits = format!("{whole}{part}");
        let n_zeros = digits.len() - digits.trim_start_matches('0').len();
        // serde_json reads no exponent beyond 32 bits: such a number is no float.
        let power = exponent.parse::<i32>().unwrap_or(0);
        Decimal {
            is_negative: number.starts_with('-'),
            power: i64::from(power) + whole.len() as i64 - n_zeros as i64,
            digits: digits.trim_matches('0').to_owned(),
        }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

/// The digits of a number without its point and the zeros around them.
fn coefficient(number: &Number) -> f64 {
    let text = number.to_string();
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let whole: String = digits.chars().filter(char::is_ascii_digit).collect();
    let power = exponent.parse::<i32>().unwrap_or(i32::MAX);
    let part = digits.split_once('.').map_or(0, |(_, part)| part.trim_end_matches('0').len()) as i32;
    let whole = if digits.contains('.') { whole.trim_end_matches('0') } else { &whole };
    let shift = power.saturating_sub(part).max(0);
    whole.parse::<f64>().unwrap_or(f64::INFINITY) * 10f64.powi(shift)
}
