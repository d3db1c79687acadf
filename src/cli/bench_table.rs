//! What `fathom bench` prints: llama-bench's columns and fields, and Fathom's own behind them.

use clap::ValueEnum;
use fathom_engine::machine::Machine;
use fathom_measure::bench::{Measured, RoomOptions, Stats};
use fathom_simd::Kernels;
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Formats of the answer.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Table that fits into 110 columns.
    Table,
    /// Markdown table that begins with the columns of llama-bench.
    Md,
    /// Comma-separated values with a header line.
    Csv,
    /// JSON array of objects.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// A model, as the columns describe it.
pub(super) struct Model {
    pub(super) filename: String,
    /// Architecture and the type of most weights.
    pub(super) kind: String,
    pub(super) size: u64,
    pub(super) n_params: u64,
}

/// One line of the answer.
pub(super) struct Record<'r> {
    pub(super) model: &'r Model,
    pub(super) options: RoomOptions,
    pub(super) n_threads: usize,
    pub(super) kernels: &'static Kernels,
    pub(super) found: &'r Measured,
}

/// Columns of Markdown: name, width, and whether text stands at the left. The first seven are llama-bench's.
const COLUMNS: [(&str, usize, bool); 12] = [
    ("model", 30, true),
    ("size", 10, false),
    ("params", 10, false),
    ("backend", 10, true),
    ("threads", 7, false),
    ("test", 15, false),
    ("t/s", 20, false),
    ("GB/s", 8, false),
    ("bandwidth", 9, false),
    ("int peak", 8, false),
    ("rows", 8, false),
    ("resident", 10, false),
];

/// Columns that are the same in every line: a table for people says them once, above it.
const SAID_ABOVE: usize = 4;
/// Widths of the other columns there.
const NARROW: [usize; COLUMNS.len() - SAID_ABOVE] = [7, 16, 18, 8, 9, 8, 6, 10];

impl Format {
    /// Starts an answer in this format.
    pub(super) fn writer(self) -> Writer {
        Writer { format: self, cpu: Machine::read().cpu.unwrap_or_default(), n_rows: 0 }
    }
}

/// An answer under way.
pub(super) struct Writer {
    format: Format,
    cpu: String,
    n_rows: usize,
}

impl Writer {
    /// What stands before the first row.
    pub(super) fn begin(&self, model: &Model) -> String {
        match self.format {
            Format::Table => {
                let names = COLUMNS.map(|(name, ..)| name.to_owned());
                let [kind, size, params] = about(model);
                format!("{kind}, {size}, {params} parameters, on the CPU\n\n{}", narrow(&names))
            }
            Format::Md => {
                let names = COLUMNS.map(|(name, width, left)| cell(name, width, left));
                let rules = COLUMNS.map(
                    |(_, width, left)| {
                        if left { "-".repeat(width) } else { "-".repeat(width - 1) + ":" }
                    },
                );
                line(&names) + &line(&rules)
            }
            Format::Json => "[\n".to_owned(),
            // The names come with the first row.
            Format::Csv | Format::Jsonl => String::new(),
        }
    }

    /// One test.
    pub(super) fn row(&mut self, record: &Record<'_>) -> String {
        let first = self.n_rows == 0;
        self.n_rows += 1;
        match self.format {
            Format::Table => narrow(&cells(record)),
            Format::Md => markdown(record),
            Format::Json => format!("{}{}", if first { "" } else { ",\n" }, fields(record, &self.cpu)),
            Format::Jsonl => format!("{}\n", fields(record, &self.cpu)),
            Format::Csv => csv(&fields(record, &self.cpu), first),
        }
    }

    /// Whether a test was shown.
    pub(super) fn has_rows(&self) -> bool {
        self.n_rows > 0
    }

    /// What stands behind the last row.
    pub(super) fn end(&self) -> String {
        if self.format == Format::Json { "\n]\n".to_owned() } else { String::new() }
    }
}

/// What a model is: its kind, its size, its number of parameters.
fn about(model: &Model) -> [String; 3] {
    [
        model.kind.clone(),
        scaled(model.size as f64, &[(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]),
        scaled(model.n_params as f64, &[(1_000_000_000, "B"), (1_000_000, "M"), (1000, "K")]),
    ]
}

fn cells(record: &Record<'_>) -> [String; COLUMNS.len()] {
    let Record { model, found, .. } = record;
    let rate = Stats::of(&found.tokens_per_second());
    let [kind, size, params] = about(model);
    [
        kind,
        size,
        params,
        "CPU".to_owned(),
        record.n_threads.to_string(),
        found.test.to_string(),
        format!("{:.2} ± {:.2}", rate.median, rate.stddev),
        format!("{:.2}", found.bytes_per_second() / 1e9),
        format!("{:.1} %", 100.0 * found.of_read_bandwidth()),
        format!("{:.1} %", 100.0 * found.of_int_peak()),
        format!("{:.0}", found.work.latent_rows),
        found.resident.map_or_else(String::new, |n| scaled(n as f64, &[(1 << 30, "GiB"), (1 << 20, "MiB")])),
    ]
}

/// A line of the table for people.
fn narrow(cells: &[String; COLUMNS.len()]) -> String {
    let padded = cells[SAID_ABOVE..].iter().zip(NARROW).map(|(text, width)| format!("{text:>width$}"));
    padded.collect::<Vec<_>>().join("  ") + "\n"
}

fn markdown(record: &Record<'_>) -> String {
    let cells = cells(record);
    let mut padded = cells.iter().zip(COLUMNS).map(|(text, (_, width, left))| cell(text, width, left));
    line(&std::array::from_fn(|_| padded.next().expect("a cell for each column")))
}

fn line(cells: &[String; COLUMNS.len()]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cell(text: &str, width: usize, left: bool) -> String {
    if left { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

/// In the first unit that the number reaches, or in the last.
fn scaled(n: f64, units: &[(u64, &str)]) -> String {
    let fits = units.iter().find(|(unit, _)| n >= *unit as f64).or(units.last());
    fits.map_or_else(String::new, |(unit, name)| format!("{:.2} {name}", n / *unit as f64))
}

/// All fields, in order. Up to `samples_ts` they are llama-bench's.
fn fields(record: &Record<'_>, cpu: &str) -> Json {
    let Record { model, options, n_threads, kernels, found } = record;
    let (seconds, rate) = (Stats::of(&found.seconds), Stats::of(&found.tokens_per_second()));
    let (bandwidth, peak) = (Stats::of(&found.read_bandwidth), Stats::of(&found.int_peak));
    let work = &found.work;
    let (n_prompt, n_gen) = match found.test.kind {
        fathom_measure::bench::Kind::Prompt => (found.test.n, 0),
        fathom_measure::bench::Kind::Generation => (0, found.test.n),
    };
    let per_token = |bytes: u64| bytes as f64 / work.n_tokens as f64;
    let samples_ns: Vec<u64> = found.seconds.iter().map(|seconds| (seconds * 1e9) as u64).collect();
    json!({
        "cpu_info": cpu,
        "backends": "CPU",
        "model_filename": model.filename,
        "model_type": model.kind,
        "model_size": model.size,
        "model_n_params": model.n_params,
        "n_batch": options.batch,
        "n_ubatch": options.batch,
        "n_threads": n_threads,
        "type_k": options.cache.latent.name(),
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        "n_depth": found.test.depth,
        "test_time": now(),
        "avg_ns": (seconds.mean * 1e9) as u64,
        "stddev_ns": (seconds.stddev * 1e9) as u64,
        "avg_ts": rate.mean,
        "stddev_ts": rate.stddev,
        "samples_ns": samples_ns,
        "samples_ts": found.tokens_per_second(),
        "test": found.test.to_string(),
        "median_ts": rate.median,
        "min_ts": rate.min,
        "max_ts": rate.max,
        "version": env!("CARGO_PKG_VERSION"),
        "level": kernels.level().name(),
        "type_index": options.cache.index.name(),
        "logits": if options.last_logits || n_gen > 0 { "last" } else { "all" },
        "weight_bytes_per_token": per_token(work.weight_bytes),
        "cache_bytes_per_token": per_token(work.cache_bytes),
        "bytes_per_second": found.bytes_per_second(),
        "read_bandwidth": bandwidth.median,
        "read_bandwidth_stddev": bandwidth.stddev,
        "of_read_bandwidth": found.of_read_bandwidth(),
        "int_macs_per_token": per_token(work.int_macs),
        "int_peak_macs_per_second": peak.median,
        "of_int_peak": found.of_int_peak(),
        "latent_rows_per_token": work.latent_rows,
        "resident_bytes": found.resident,
    })
}

/// Every value in quotes, as llama-bench writes them; lists with semicolons.
fn csv(fields: &Json, with_names: bool) -> String {
    let object = fields.as_object().expect("a record is an object");
    let mut text = String::new();
    if with_names {
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        writeln!(text, "{}", names.join(",")).expect("a string takes any text");
    }
    let plain = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        Json::Array(list) => list.iter().map(Json::to_string).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    };
    let values: Vec<String> =
        object.values().map(|value| format!("\"{}\"", plain(value).replace('"', "\"\""))).collect();
    writeln!(text, "{}", values.join(",")).expect("a string takes any text");
    text
}

/// The time by RFC 3339, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from a March first, so that the leap day is a year's last; 1970 began 719,468 days after the
    // first of March of year 0, and 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_564_799), "2026-11-24T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn numbers_get_the_unit_they_reach() {
        let units = [(1_000_000_000, "B"), (1_000_000, "M")];
        assert_eq!(scaled(6.5e9, &units), "6.50 B");
        assert_eq!(scaled(2e6, &units), "2.00 M");
        assert_eq!(scaled(1e5, &units), "0.10 M");
    }

    #[test]
    fn csv_quotes_what_it_writes() {
        let row = json!({ "a": "x\"y", "b": [1, 2], "c": 1.5, "d": null });
        assert_eq!(csv(&row, true), "a,b,c,d\n\"x\"\"y\",\"1;2\",\"1.5\",\"\"\n");
        assert_eq!(csv(&row, false), "\"x\"\"y\",\"1;2\",\"1.5\",\"\"\n");
    }
}
