//! Methods of Python's texts, lists and dicts, and formats, as far as templates use them. What changes a list or a dict is
//! refused, as transformers refuses it.

use super::json::str;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Columns that a text may be filled up to.
const WIDEST: i64 = 10_000;

fn failed(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

fn unknown() -> Error {
    Error::from(ErrorKind::UnknownMethod)
}

/// A method that the engine does not have itself.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, name, args),
        (ValueKind::Seq, _) => of_list(value, name, args),
        (ValueKind::Map, _) if name == "copy" => from_args(args).map(|()| value.clone()),
        _ => Err(unknown()),
    };
    match found {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
        }
        found => found,
    }
}

fn of_text(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "split" | "rsplit" => split(text, args, name == "rsplit"),
        "partition" | "rpartition" => {
            let (by,): (&str,) = from_args(args)?;
            let found = if name == "partition" { text.split_once(by) } else { text.rsplit_once(by) };
            let parts = match found {
                _ if by.is_empty() => {
                    return Err(failed(format!("{name}: expected a separator, found none")));
                }
                Some((before, after)) => [before, by, after],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from).to_vec())))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, name, args),
        "startswith" | "endswith" => fits(text, name, args),
        "replace" => replace(text, args),
        "title" => from_args(args).map(|()| Value::from(title(text))),
        "splitlines" => split_lines(text, args),
        "center" | "ljust" | "rjust" | "zfill" => fill(text, name, args),
        "format" => text_format(FormatStyle::StrFormat, text, args),
        "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| -> String {
                if c.is_lowercase() { c.to_uppercase().collect() } else { c.to_lowercase().collect() }
            };
            Ok(Value::from(text.chars().map(swap).collect::<String>()))
        }
        "casefold" => from_args(args).map(|()| Value::from(text.to_lowercase())),
        "expandtabs" => {
            let (width, options): (Option<i64>, Kwargs) = from_args(args)?;
            let width = width.or(options.get("tabsize")?).unwrap_or(8);
            expand_tabs(text, width)
        }
        "isdecimal" => is_all(text, args, |c| c.is_ascii_digit()),
        "isprintable" => {
            let () = from_args(args)?;
            Ok(Value::from(!text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' '))))
        }
        "isidentifier" => {
            let () = from_args(args)?;
            let is_word = text.chars().all(|c| c.is_alphanumeric() || c == '_');
            Ok(Value::from(is_word && text.starts_with(|c: char| c.is_alphabetic() || c == '_')))
        }
        "istitle" => {
            let () = from_args(args)?;
            let (mut any, mut inside, mut is_title) = (false, false, true);
            for c in text.chars() {
                is_title &= !(c.is_uppercase() && inside || c.is_lowercase() && !inside);
                inside = c.is_uppercase() || c.is_lowercase();
                any |= inside;
            }
            Ok(Value::from(any && is_title))
        }
        _ => Err(unknown()),
    }
}

fn is_all(text: &str, args: &[Value], is: impl Fn(char) -> bool) -> Result<Value, Error> {
    let () = from_args(args)?;
    Ok(Value::from(!text.is_empty() && text.chars().all(is)))
}

fn list(parts: Vec<&str>) -> Value {
    Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>())
}

fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (by, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let by =
        by.filter(|by| !by.is_none()).or(options.get::<Option<Value>>("sep")?.filter(|by| !by.is_none()));
    let limit = limit.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    let limit = usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let Some(by) = by else { return Ok(list(split_white(text, limit, from_end))) };
    let by = by.as_str().filter(|by| !by.is_empty());
    let by = by.ok_or_else(|| failed("split: expected a text that is not empty as the separator"))?;
    let mut parts: Vec<&str> =
        if from_end { text.rsplitn(limit, by).collect() } else { text.splitn(limit, by).collect() };
    if from_end {
        parts.reverse();
    }
    Ok(list(parts))
}

/// Parts between white space; what is left behind the last split keeps its white space inside.
fn split_white(text: &str, limit: usize, from_end: bool) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let place = if from_end { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        match place {
            Some(place) if parts.len() + 1 < limit => {
                let (before, after) = rest.split_at(place);
                let (part, left) = if from_end { (after, before) } else { (before, after) };
                parts.push(part.trim());
                rest = left.trim();
            }
            _ => {
                parts.push(rest);
                break;
            }
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// The places that `start` and `end` of a search name, in characters, as bytes.
fn range(text: &str, start: Option<i64>, end: Option<i64>) -> Option<std::ops::Range<usize>> {
    let n = text.chars().count() as i64;
    let at = |place: i64| (if place < 0 { place + n } else { place }).clamp(0, n) as usize;
    let (start, end) = (
        start.map_or(0, |place| if place > n { n + 1 } else { at(place) as i64 }),
        end.map_or(n as usize, at),
    );
    let byte = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
    (start as usize <= end).then(|| byte(start as usize)..byte(end))
}

fn search(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let range = range(text, start, end);
    let part = range.clone().map(|range| &text[range]);
    if name == "count" {
        return Ok(Value::from(part.map_or(0, |part| part.matches(what).count())));
    }
    let found = part.and_then(|part| if name.starts_with('r') { part.rfind(what) } else { part.find(what) });
    match found.zip(range) {
        Some((place, range)) => Ok(Value::from(text[..range.start + place].chars().count())),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(failed(format!("{name}: the text has no {what:?}"))),
    }
}

/// Whether the text, or this part of it, begins or ends with a text or one of several.
fn fits(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let Some(part) = range(text, start, end).map(|range| &text[range]) else { return Ok(Value::from(false)) };
    let one = |what: &Value| match what.as_str() {
        Some(what) => Ok(if name == "startswith" { part.starts_with(what) } else { part.ends_with(what) }),
        None => Err(failed(format!("{name}: expected a text or several, found {}", what.kind()))),
    };
    if what.as_str().is_some() || what.kind() != ValueKind::Seq {
        return one(what).map(Value::from);
    }
    for what in what.try_iter()? {
        if one(&what)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// Letters behind other letters small, all others large.
fn title(text: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

fn replace(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (old, new, n, options): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
    match options.get::<Option<i64>>("count")? {
        // The engine's own pays for what it makes before it makes it.
        None => {
            options.assert_all_used()?;
            Err(unknown())
        }
        Some(count) if new.len() <= old.len().max(1) => {
            let n = n.unwrap_or(count);
            Ok(Value::from(
                usize::try_from(n).map_or_else(|_| text.replace(old, new), |n| text.replacen(old, new, n)),
            ))
        }
        Some(count) => {
            let most = usize::try_from(count).unwrap_or(usize::MAX).min(text.len() + 1);
            match most.checked_mul(new.len()) {
                Some(length) if length <= 64 << 20 => Ok(Value::from(match usize::try_from(count) {
                    Ok(n) => text.replacen(old, new, n),
                    Err(_) => text.replace(old, new),
                })),
                _ => Err(failed("replace: the text would become too long")),
            }
        }
    }
}

/// Lines end as Python says; with `keepends` they keep their ends.
fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = keep.or(options.get("keepends")?).unwrap_or(false);
    options.assert_all_used()?;
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let place = rest.find(is_end).unwrap_or(rest.len());
        let behind = &rest[place..];
        let end = match behind.chars().next() {
            Some('\r') if behind.starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        lines.push(&rest[..if keep { place + end } else { place }]);
        rest = &rest[place + end..];
    }
    Ok(list(lines))
}

fn fill(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, with): (i64, Option<&str>) = from_args(args)?;
    let mut with = with.unwrap_or(if name == "zfill" { "0" } else { " " }).chars();
    let (Some(with), None) = (with.next(), with.next()) else {
        return Err(failed(format!("{name}: expected one character to fill with")));
    };
    if width > WIDEST {
        return Err(failed(format!("{name}: expected a width of at most {WIDEST}, found {width}")));
    }
    let width = width.max(0) as usize;
    let missing = width.saturating_sub(text.chars().count());
    let left = match name {
        "ljust" => 0,
        // Python's own rule of where the odd one goes.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let pad = |n: usize| with.to_string().repeat(n);
    let (sign, text) = match name == "zfill" && text.starts_with(['+', '-']) {
        true => text.split_at(1),
        false => ("", text),
    };
    Ok(Value::from([sign, &pad(left), text, &pad(missing - left)].concat()))
}

fn expand_tabs(text: &str, width: i64) -> Result<Value, Error> {
    if width > WIDEST {
        return Err(failed(format!("expandtabs: expected a width of at most {WIDEST}, found {width}")));
    }
    let (width, mut column, mut out) = (width.max(0) as usize, 0, String::new());
    for c in text.chars() {
        match c {
            '\t' if width == 0 => {}
            '\t' => {
                let n = width - column % width;
                out.push_str(&" ".repeat(n));
                column += n;
            }
            _ => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
        if out.len() > 64 << 20 {
            return Err(failed("expandtabs: the text would become too long"));
        }
    }
    Ok(Value::from(out))
}

fn of_list(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "index" => {
            let (what,): (&Value,) = from_args(args)?;
            match value.try_iter()?.position(|item| item == *what) {
                Some(place) => Ok(Value::from(place)),
                None => Err(failed("index: the list has no such value")),
            }
        }
        "copy" => from_args(args).map(|()| value.clone()),
        "append" | "extend" | "insert" | "pop" | "remove" | "clear" | "sort" | "reverse" => {
            Err(failed(format!("{name}: lists cannot be changed in a template; make a new one with +")))
        }
        _ => Err(unknown()),
    }
}

/// `%`: formats a text; of numbers it is the rest of a division, as Python has it.
pub(super) fn modulo(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let args: Vec<Value> = match right.is_tuple() {
            true => right.try_iter()?.collect(),
            false => vec![right.clone()],
        };
        return text_format(FormatStyle::Printf, text, &args);
    }
    match (i128::try_from(left.clone()), i128::try_from(right.clone())) {
        (_, Ok(0)) => Err(failed("expected a divisor other than 0")),
        (Ok(a), Ok(b)) if left.is_integer() && right.is_integer() => Ok(Value::from(
            a.checked_rem(b)
                .map_or(0, |rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        )),
        _ => match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
            (Ok(_), Ok(0.0)) => Err(failed("expected a divisor other than 0")),
            (Ok(a), Ok(b)) => Ok(Value::from(a - b * (a / b).floor())),
            _ => Err(failed(format!(
                "expected numbers or a text for %, found {} and {}",
                left.kind(),
                right.kind()
            ))),
        },
    }
}

/// Formats, none of them wide: widths come from the format or from its values.
pub(super) fn text_format(style: FormatStyle, text: &str, args: &[Value]) -> Result<Value, Error> {
    let mut digits = 0;
    for c in text.chars() {
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > 4 && text.contains(['%', '{']) {
            return Err(failed(format!(
                "expected a format at most {WIDEST} wide, found {:?}",
                shortened(text)
            )));
        }
    }
    let takes_width = match style {
        FormatStyle::Printf => text.contains('*'),
        FormatStyle::StrFormat => text.split('{').skip(1).any(|field| !field.contains('}')),
    };
    let is_wide = |width: i64| width.unsigned_abs() > WIDEST.unsigned_abs();
    if takes_width && args.iter().any(|value| value.as_i64().is_some_and(is_wide)) {
        return Err(failed(format!("expected a format at most {WIDEST} wide, found a wider one")));
    }
    // Python's own words for lists, truth and nothing.
    let written = |value: &Value| match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::None | ValueKind::Bool
            if style == FormatStyle::Printf =>
        {
            if text.contains("%s") && !text.contains("%d") {
                str(value).map(Value::from)
            } else {
                Ok(value.clone())
            }
        }
        _ => Ok(value.clone()),
    };
    let args = args.iter().map(written).collect::<Result<Vec<_>, _>>()?;
    format(style, text, &args).map(Value::from)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
