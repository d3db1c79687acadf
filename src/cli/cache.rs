//! `fathom cache`: what is kept of conversations between runs.

use super::keep;
use super::print::{self, bytes};
use super::{Failure, show};
use clap::Subcommand;
use fathom_engine::counted::counted;
use fathom_engine::prompt_cache::{Folder, Shelf, read_block};
use rayon::prelude::*;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

/// List, remove or check the prompt cache on disk.
///
/// `fathom chat` and `fathom run` save what they computed for a conversation, so that resuming it takes a second. The cache
/// is in FATHOM_CACHE_DIR, or else in fathom/prompts in your cache folder (~/.cache); --no-cache turns it off.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List what is cached for each model: blocks, size, and when it was last used.
    Ls {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove what is cached for some models, or for all.
    Rm {
        /// Names that `fathom cache ls` shows, or the first letters of them.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Remove everything.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
    /// Check the checksums of all blocks. Damaged blocks are removed, and the exit code is then 3.
    Verify,
}

/// Runs the verb.
///
/// # Errors
/// A folder that cannot be read or changed, a name that nothing has, damaged blocks.
pub fn run(args: Args) -> Result<(), Failure> {
    let folder = keep::folder().map_err(Failure::usage)?;
    let trouble = |error| Failure::runtime(format!("{}: {error}", folder.path().display()));
    let shelves = folder.shelves().map_err(trouble)?;
    match args.verb {
        Verb::Ls { json: true } => print::json(&listed_json(&folder, &shelves)),
        Verb::Ls { json: false } => print::answer(&listed(&folder, &shelves)),
        Verb::Rm { names, all } if names.is_empty() && !all => Err(Failure::usage(
            "expected NAMEs that `fathom cache ls` shows, or --all for everything; found neither",
        )),
        Verb::Rm { names, .. } => {
            // One that cannot be removed keeps nobody from removing the others.
            let removed = chosen(&shelves, &names)?.into_iter().map(|shelf| remove(&folder, shelf));
            let mut failures = removed.filter_map(Result::err).collect::<Vec<_>>().into_iter();
            let last = failures.next_back();
            failures.for_each(|failure| failure.tell());
            last.map_or(Ok(()), Err)
        }
        Verb::Verify => verify(&shelves),
    }
}

fn remove(folder: &Folder, shelf: &Shelf) -> Result<(), Failure> {
    let path = folder.path().join(&shelf.name);
    let others = folder.remove(shelf);
    let others = others.map_err(|error| Failure::runtime(format!("{}: {error}", path.display())))?;
    let stays = match others.is_empty() {
        true => String::new(),
        false => {
            format!(
                "; {} is kept: it also holds {}, which Fathom did not write",
                path.display(),
                others.join(", ")
            )
        }
    };
    show::aside(&format!("{}: {} removed{stays}", shelf.name, bytes(shelf.n_bytes())));
    Ok(())
}

/// The shelves that are named; all, if none are.
fn chosen<'s>(shelves: &'s [Shelf], names: &[String]) -> Result<Vec<&'s Shelf>, Failure> {
    if names.is_empty() {
        return Ok(shelves.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            if name.is_empty() {
                return Err(Failure::usage(
                    "NAME: expected a name that `fathom cache ls` shows, or the first letters of one, found nothing; --all removes \
                     everything",
                ));
            }
            let mut found = shelves.iter().filter(|shelf| shelf.name.starts_with(&**name));
            match (found.next(), found.next()) {
                (Some(shelf), None) => Ok(shelf),
                (Some(_), Some(_)) => Err(Failure::usage(format!(
                    "{name}: several names in `fathom cache ls` begin with this; give more letters"
                ))),
                (None, _) => {
                    Err(Failure::usage(format!("{name}: no name in `fathom cache ls` begins with this")))
                }
            }
        })
        .collect()
}

fn listed(folder: &Folder, shelves: &[Shelf]) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("a string takes any text");
    if shelves.is_empty() {
        line(format_args!("{}: nothing is cached", folder.path().display()));
        return text;
    }
    line(format_args!("{:<12}  {:>7}  {:>11}  {:>10}  model", "name", "blocks", "size", "last used"));
    let now = SystemTime::now();
    for shelf in shelves {
        let never = if shelf.is_readable { "never" } else { "unreadable" };
        let used = shelf.blocks.last().map_or(never.to_owned(), |last| ago(now, last.used));
        let about = shelf.about.as_ref();
        let about = about.map_or("?".to_owned(), |about| {
            format!("{} ({})", print::plain(&about.model), print::plain(&about.rows))
        });
        let name = &shelf.name[..12];
        line(format_args!(
            "{name}  {:>7}  {:>11}  {used:>10}  {about}",
            shelf.blocks.len(),
            bytes(shelf.n_bytes())
        ));
    }
    let all: u64 = shelves.iter().map(Shelf::n_bytes).sum();
    line(format_args!("{} in {}", bytes(all), folder.path().display()));
    text
}

fn listed_json(folder: &Folder, shelves: &[Shelf]) -> Json {
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let models = shelves.iter().map(|shelf| {
        json!({
            "name": shelf.name,
            "model": shelf.about.as_ref().map(|about| &about.model),
            "rows": shelf.about.as_ref().map(|about| &about.rows),
            "readable": shelf.is_readable,
            "blocks": shelf.blocks.len(),
            "bytes": shelf.n_bytes(),
            "last_used": shelf.blocks.last().map(|last| seconds(last.used)),
        })
    });
    json!({ "folder": folder.path(), "models": models.collect::<Vec<_>>() })
}

fn ago(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).map_or(0, |since| since.as_secs());
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}

fn verify(shelves: &[Shelf]) -> Result<(), Failure> {
    let blocks: Vec<_> = shelves.iter().flat_map(|shelf| &shelf.blocks).collect();
    fathom_engine::threads::ready();
    let problems = blocks.par_iter().map_init(Vec::new, |bytes, entry| problem(&entry.path, bytes));
    let problems: Vec<Problem> = problems.flatten().collect();
    for problem in &problems {
        tell!("{}", print::plain(&problem.told));
    }
    let unreadable: Vec<&str> =
        shelves.iter().filter(|shelf| !shelf.is_readable).map(|shelf| shelf.name.as_str()).collect();
    if !unreadable.is_empty() {
        tell!("{}: cannot be read; run this as their owner", unreadable.join(", "));
    }
    if problems.is_empty() && unreadable.is_empty() {
        return print::answer(&format!("{}, none damaged\n", counted(blocks.len(), "block")));
    }
    Err(verdict(&problems, blocks.len(), unreadable.len()))
}

/// Something is wrong with a block.
struct Problem {
    told: String,
    became: Became,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    /// Damaged and removed.
    Gone,
    /// Damaged, and still there.
    Stayed,
    /// Nobody could see what it is.
    Unread,
}

/// `n_unreadable`: folders of which nobody could see what is in them.
fn verdict(problems: &[Problem], n_blocks: usize, n_unreadable: usize) -> Failure {
    let n = |became| problems.iter().filter(|problem| problem.became == became).count();
    let (n_gone, n_stayed, n_unread) = (n(Became::Gone), n(Became::Stayed), n(Became::Unread));
    let of = counted(n_blocks, "block");
    let are = |n: usize| if n == 1 { "was" } else { "were" };
    let (have, their) = if n_gone == 1 { ("has", "its") } else { ("have", "their") };
    let mut told = Vec::new();
    match (n_gone + n_stayed, n_stayed) {
        (0, _) if n_unread == 0 => told.push(format!("{of}, none damaged")),
        (0, _) => {}
        (damaged, 0) => {
            told.push(format!("{damaged} of {of} {} damaged and {have} been removed", are(damaged)))
        }
        (damaged, _) => {
            told.push(format!("{damaged} of {of} were damaged, of which {n_gone} {have} been removed"))
        }
    }
    if n_gone > 0 {
        told.push(format!("{their} tokens will be computed again"));
    }
    if n_unread > 0 {
        told.push(format!("{n_unread} of {of} could not be read and {} left as found", are(n_unread)));
    }
    if n_unreadable > 0 {
        told.push(format!("{} could not be read", counted(n_unreadable, "folder")));
    }
    let told = told.join("; ");
    if n_gone + n_stayed == 0 { Failure::runtime(told) } else { Failure::invalid(told) }
}

/// What is wrong with a block. A damaged one is removed; one that cannot be read now may be whole, and one that went away
/// meanwhile is no problem.
fn problem(path: &Path, bytes: &mut Vec<u8>) -> Option<Problem> {
    let told = |what: String| format!("{}: {what}", path.display());
    let damage = match read_block(path, bytes) {
        Ok(Ok(_)) => return None,
        Ok(Err(damage)) => damage,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Problem { told: told(error.to_string()), became: Became::Unread }),
    };
    Some(match std::fs::remove_file(path) {
        Ok(()) => Problem { told: told(damage.to_string()), became: Became::Gone },
        Err(error) => {
            Problem { told: told(format!("{damage}; it cannot be removed: {error}")), became: Became::Stayed }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[cfg(unix)]
    #[test]
    fn only_what_is_damaged_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (damaged, link) = (folder.path().join("a.block"), folder.path().join("b.block"));
        std::fs::write(&damaged, "no block").unwrap();
        // What cannot be read: a folder.
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let problems: Vec<Problem> =
            [&damaged, &link].iter().filter_map(|path| problem(path, &mut Vec::new())).collect();
        let became: Vec<Became> = problems.iter().map(|problem| problem.became).collect();
        assert_eq!(became, [Became::Gone, Became::Unread]);
        assert!(!damaged.exists() && link.exists());
        let Failure { code, message } = verdict(&problems, 10, 0);
        assert_eq!(
            (code, message.as_str()),
            (
                3,
                "1 of 10 blocks was damaged and has been removed; its tokens will be computed again; 1 of 10 blocks could \
                 not be read and was left as found"
            )
        );
        assert_eq!(verdict(&problems[1..], 10, 0).code, 1);
        let Failure { code, message } = verdict(&[], 10, 2);
        assert_eq!((code, message.as_str()), (1, "10 blocks, none damaged; 2 folders could not be read"));
        assert!(verdict(&problems, 10, 1).message.ends_with("left as found; 1 folder could not be read"));
        assert!(problem(&folder.path().join("none"), &mut Vec::new()).is_none());
    }

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_something() {
        let now = SystemTime::now();
        let told = |seconds| ago(now, now - Duration::from_secs(seconds));
        assert_eq!(
            [0, 119, 120, 7200, 172_800].map(told),
            ["0 s ago", "119 s ago", "2 min ago", "2 h ago", "2 d ago"]
        );
        assert_eq!(ago(now, now + Duration::from_secs(9)), "0 s ago");
    }
}
