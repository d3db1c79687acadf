//! Bounds and multiples, taken together: the compiler knows each of them, and is wrong about some that come together.

use super::types;
use serde_json::{Map, Number, Value};

/// What stands above an exclusive bound of zero: the compiler takes zero itself where the other bound is below one.
const ABOVE_ZERO: f64 = 1e-18;
/// Digits of a number that is computed with.
const MOST_DIGITS: u32 = 30;
/// Each bound, its exclusive form, and where the numbers that follow it lie.
const BOUNDS: [(&str, &str, i32); 2] =
    [("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)];
/// Types without numbers.
const OTHERS: [&str; 5] = ["null", "boolean", "string", "array", "object"];

/// Puts the bounds of numbers in words that the compiler takes as they are meant.
///
/// `step`: the multiple as it was given; the compiler has a neighbour of it.
pub(super) fn settle(map: &mut Map<String, Value>, step: Option<&Value>, at: &str) -> Result<(), String> {
    let names = types(map);
    if !names.is_empty() && !names.iter().any(|name| ["number", "integer"].contains(name)) {
        return Ok(());
    }
    let is_whole = names.contains(&"integer");
    if let Some(step) = step.and_then(Scaled::read) {
        // Where there are too many digits to compute with, the compiler has the word.
        return between(map, step, is_whole, at).unwrap_or(Ok(()));
    }
    if !is_whole {
        leave_out_zero(map);
    }
    Ok(())
}

/// Exclusive bounds in their present form; of whole numbers inclusive ones: the compiler adds its one to a float, which is
/// nothing beyond 2^53.
pub(super) fn settle_exclusive(map: &mut Map<String, Value>) {
    settle_flags(map);
    if types(map).contains(&"integer") {
        settle_whole(map);
    }
}

fn settle_whole(map: &mut Map<String, Value>) {
    const ONE: Scaled = Scaled { whole: 1, scale: 0 };
    for (bound, exclusive, towards) in BOUNDS {
        let inside = |key: &str, is_out: bool| Scaled::read(map.get(key)?)?.nearest(&ONE, towards, is_out);
        let Some(first) = inside(exclusive, true) else { continue };
        let Some(other) = map.get(bound).map_or(Some(first), |_| inside(bound, false)) else { continue };
        let inner = if towards > 0 { first.max(other) } else { first.min(other) };
        // Any digits: numbers keep theirs.
        let Ok(number) = serde_json::from_str::<Number>(&inner.to_string()) else { continue };
        map.remove(exclusive);
        map.insert(bound.to_owned(), Value::Number(number));
    }
}

/// Older drafts have flags that make a bound exclusive.
fn settle_flags(map: &mut Map<String, Value>) {
    for (bound, flag, _) in BOUNDS {
        let Some(Value::Bool(is_exclusive)) = map.get(flag) else { continue };
        let is_exclusive = *is_exclusive;
        map.remove(flag);
        if let Some(number) = map.get(bound).cloned().filter(|_| is_exclusive) {
            map.remove(bound);
            map.insert(flag.to_owned(), number);
        }
    }
}

/// Bounds of multiples become multiples, so that nothing is left between a bound and the first of them.
///
/// `None`: it cannot be computed.
fn between(
    map: &mut Map<String, Value>,
    step: Scaled,
    is_whole: bool,
    at: &str,
) -> Option<Result<(), String>> {
    let mut found = [None, None];
    let step = if is_whole { step.least_common_whole()? } else { step };
    for ((bound, exclusive, towards), found) in BOUNDS.into_iter().zip(&mut found) {
        let inside = |key: &str, is_out: bool| -> Option<Option<i128>> {
            let Some(value) = map.get(key) else { return Some(None) };
            Some(Some(Scaled::read(value)?.nearest(&step, towards, is_out)?))
        };
        let both = [inside(bound, false)?, inside(exclusive, true)?];
        *found = both.into_iter().flatten().reduce(|a, b| if towards > 0 { a.max(b) } else { a.min(b) });
    }
    if let [Some(first), Some(last)] = found
        && first > last
    {
        return Some(without_numbers(map, at));
    }
    // The compiler divides floats, and might find no multiple between two neighbours: the bound that is nearer to zero moves
    // half a step towards it. Of one multiple it need not know that it is one.
    let outside = match found {
        [Some(first), Some(last)] if first == last => [0, 0],
        [Some(first), Some(_)] if first > 0 => [-1, 0],
        [Some(_), Some(last)] if last < 0 => [0, 1],
        _ => [0, 0],
    };
    // All of them first: a schema of which only a part was changed would have lost the rest.
    let mut settled = Vec::new();
    for (((bound, exclusive, _), n), outside) in BOUNDS.into_iter().zip(found).zip(outside) {
        let Some(n) = n else { continue };
        settled.push((bound, exclusive, step.halves(n.checked_mul(2)?.checked_add(outside)?)?));
    }
    if matches!(found, [Some(first), Some(last)] if first == last) {
        map.remove("multipleOf");
    }
    for (bound, exclusive, number) in settled {
        map.remove(exclusive);
        map.insert(bound.to_owned(), Value::Number(number));
    }
    Some(Ok(()))
}

/// No number follows the schema: what is left are the other types.
fn without_numbers(map: &mut Map<String, Value>, at: &str) -> Result<(), String> {
    let names = types(map);
    let others: Vec<&str> = match names.is_empty() {
        true => OTHERS.to_vec(),
        false => names.into_iter().filter(|name| OTHERS.contains(name)).collect(),
    };
    if others.is_empty() {
        return Err(format!(
            "at {at}/multipleOf: expected a multiple of {} within the bounds, found none",
            map["multipleOf"]
        ));
    }
    let others: Value = others.into();
    map.insert("type".to_owned(), others);
    Ok(())
}

/// An exclusive whole bound towards zero, from which the compiler does not keep away.
fn leave_out_zero(map: &mut Map<String, Value>) {
    for (bound, exclusive, towards) in BOUNDS {
        let sign = f64::from(towards);
        let Some(value) = map.get(exclusive).and_then(Value::as_f64) else { continue };
        let size = value * sign;
        let inner = map.get(bound).and_then(Value::as_f64).is_some_and(|other| other * sign > size);
        if inner {
            map.remove(exclusive);
        } else if size >= 0.0 && size.fract() == 0.0 {
            let above = if size == 0.0 { ABOVE_ZERO } else { size.next_up() };
            let Some(number) = Number::from_f64(above * sign) else { continue };
            map.remove(exclusive);
            map.insert(bound.to_owned(), Value::Number(number));
        }
    }
}

/// A whole number over a power of ten.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    whole: i128,
    /// Digits behind the point.
    scale: u32,
}

impl Scaled {
    fn read(value: &Value) -> Option<Scaled> {
        let Value::Number(number) = value else { return None };
        let text = number.to_string();
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let part = part.trim_end_matches('0');
        let number: i128 = format!("{whole}{part}").parse().ok()?;
        let shift = exponent.parse::<i32>().ok()?.checked_sub(part.len() as i32)?;
        let power = |n: u32| (n <= MOST_DIGITS).then(|| 10i128.pow(n));
        match shift {
            0.. => Some(Scaled { whole: number.checked_mul(power(shift as u32)?)?, scale: 0 }),
            _ => {
                let scale = shift.unsigned_abs();
                power(scale).map(|_| Scaled { whole: number, scale })
            }
        }
    }

    /// Both over the same power.
    fn aligned(&self, other: &Scaled) -> Option<(i128, i128)> {
        let scale = self.scale.max(other.scale);
        let at = |one: &Scaled| one.whole.checked_mul(10i128.pow(scale - one.scale));
        Some((at(self)?, at(other)?))
    }

    /// The multiples of it that are whole.
    fn least_common_whole(&self) -> Option<Scaled> {
        let one = 10i128.pow(self.scale);
        let (mut a, mut b) = (self.whole, one);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Some(Scaled { whole: self.whole / a, scale: 0 })
    }

    /// How many steps there are to the nearest multiple on one side; `is_out`: it is not itself one.
    fn nearest(&self, step: &Scaled, towards: i32, is_out: bool) -> Option<i128> {
        let (value, step) = self.aligned(step)?;
        let below = value.div_euclid(step);
        let is_one = value.rem_euclid(step) == 0;
        Some(match (towards > 0, is_one) {
            (_, true) if !is_out => below,
            (true, _) => below.checked_add(1)?,
            (false, true) => below.checked_sub(1)?,
            (false, false) => below,
        })
    }

    /// So many halves of it, as a number.
    fn halves(&self, n: i128) -> Option<Number> {
        let tenths = self.whole.checked_mul(n)?.checked_mul(5)?;
        let scale = self.scale as usize + 1;
        let digits = format!("{:0>width$}", tenths.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        let part = part.trim_end_matches('0');
        let sign = if tenths < 0 { "-" } else { "" };
        let text = if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") };
        serde_json::from_str(&text).ok()
    }
}
