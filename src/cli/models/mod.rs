//! `fathom models`: which models are on this machine, and which of them it can run.

mod find;
mod row;

use super::settings::Settings;
use super::{Failure, print, show};
use fathom_engine::machine::Memory;
use find::{Candidate, Place, Search};
use rayon::prelude::*;
use row::Row;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// List the models on this machine, and whether they fit in its memory.
///
/// Models are looked for in the current folder, in ~/.local/share/fathom/models, in the caches of llama.cpp (LLAMA_CACHE)
/// and Hugging Face (HF_HUB_CACHE, HF_HOME), and in the folders that the settings name (`folders` in `[models]`). Aliases
/// are listed, too. Only headers are read. A model fits if `fathom chat MODEL` would load it without further flags.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folders or files to list instead.
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Types that a line of the table names.
const SHOWN_TYPES: usize = 3;
/// Characters of a remark.
const LONGEST_REMARK: usize = 300;

/// Runs the verb.
///
/// # Errors
/// A folder that was named and is not there.
pub fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    if let Some(absent) = args.folders.iter().find(|folder| !folder.exists()) {
        return Err(Failure::invalid(format!(
            "{}: expected a folder with models or a GGUF file, found no such file or folder",
            absent.display()
        )));
    }
    let known = args.folders.is_empty();
    let places: Vec<_> = match known {
        true => find::places(settings),
        false => args.folders.into_iter().map(Place::named).collect(),
    };
    let mut search = Search::default();
    if known {
        settings.aliases.iter().for_each(|alias| search.alias(&alias.name, &alias.target));
    }
    places.iter().for_each(|place| search.place(place));
    let usable = Memory::read(Path::new("/")).usable();
    let built_in = known.then(|| Row::built_in(usable)).flatten();
    fathom_engine::threads::ready();
    let found: Vec<Row> = search.found.par_iter().map(|found: &Candidate| Row::of(found, usable)).collect();
    let rows: Vec<Row> = built_in.into_iter().chain(found).collect();
    for note in &search.notes {
        show::aside(&format!("note: {}", print::plain(note)));
    }
    if args.json {
        return print::json(&listed_json(&rows, &places, usable));
    }
    print::answer(&table(&rows, usable))?;
    if !print::is_quiet() {
        show::aside(&print::plain(&how_to_start(&rows, &places)));
    }
    Ok(())
}

fn table(rows: &[Row], usable: Option<u64>) -> String {
    let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
    let titles = ["name", "GiB", "types", "here", "path"].map(str::to_owned);
    let mut widths = [0; 4];
    for line in std::iter::once(&titles).chain(&cells) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut put = |[name, size, types, verdict, path]: &[String; 5]| {
        let [a, b, c, d] = widths;
        writeln!(text, "{name:<a$}  {size:>b$}  {types:<c$}  {verdict:<d$}  {path}")
            .expect("a string takes any text");
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    put(&titles);
    for (row, line) in rows.iter().zip(&cells) {
        put(line);
        if let Some(remark) = row.remark(usable) {
            let shown: String =
                print::plain(&remark.replace('\n', "; ")).chars().take(LONGEST_REMARK).collect();
            put(&[format!("    {shown}"), String::new(), String::new(), String::new(), String::new()]);
        }
    }
    text
}

fn cells(row: &Row) -> [String; 5] {
    // A preset's name says more than the types that it is made of.
    let types: Vec<_> = match row.preset {
        Some(preset) => vec![preset],
        None => row.types.iter().take(SHOWN_TYPES).map(|&(name, _)| name).collect(),
    };
    let more = if row.preset.is_none() && row.types.len() > SHOWN_TYPES { " ..." } else { "" };
    let path = row.path.as_ref().map_or("inside the program".to_owned(), |path| path.display().to_string());
    let cells = [
        row.name.clone(),
        print::gib(row.n_bytes),
        types.join(" ") + more,
        row.verdict.word().to_owned(),
        path,
    ];
    cells.map(|cell| print::plain(&cell).replace('\n', "\\n"))
}

/// The line that starts a model of the list; where there is none but the built-in one, what was looked through.
fn how_to_start(rows: &[Row], places: &[Place]) -> String {
    let named = rows.iter().find(|row| row.verdict.fits() == Some(true) && row.path.is_some());
    match named {
        Some(Row { alias: Some(alias), .. }) => format!("fathom chat {} starts it", for_shell(alias)),
        Some(Row { path: Some(path), .. }) => {
            format!("fathom chat {} starts it", for_shell(&path.to_string_lossy()))
        }
        _ => {
            let places: Vec<_> = places.iter().map(|place| place.path.display().to_string()).collect();
            let chat = if rows.iter().any(|row| row.path.is_none()) {
                "fathom chat builtin starts it; "
            } else {
                ""
            };
            format!("{chat}no model that fits was found in {}", places.join(", "))
        }
    }
}

/// A word as a shell takes it.
fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./+:@%,".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn listed_json(rows: &[Row], places: &[Place], usable: Option<u64>) -> Json {
    let row = |row: &Row| {
        let types = row.types.iter().map(|(name, n_bytes)| json!({ "type": name, "bytes": n_bytes }));
        let n_ctx = match row.verdict {
            row::Verdict::FitsWith { n_ctx } => Some(n_ctx),
            _ => None,
        };
        json!({
            "name": row.name,
            "alias": row.alias,
            "path": row.path.as_ref().map(|path| path.to_string_lossy()),
            "bytes": row.n_bytes,
            "architecture": row.architecture,
            "types": types.collect::<Vec<_>>(),
            "preset": row.preset,
            "verdict": row.verdict.word(),
            "runs": row.verdict.runs(),
            "fits": row.verdict.fits(),
            "fits_with_ctx_size": n_ctx,
            "needed_bytes": row.needed,
            "problem": row.verdict.problem(),
        })
    };
    json!({
        "models": rows.iter().map(row).collect::<Vec<_>>(),
        "folders": places.iter().map(|place| place.path.to_string_lossy()).collect::<Vec<_>>(),
        "available_bytes": usable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_one_word() {
        assert_eq!(for_shell("/a/b-Q4_K.gguf"), "/a/b-Q4_K.gguf");
        assert_eq!(for_shell("it's $x"), r"'it'\''s $x'");
    }
}
