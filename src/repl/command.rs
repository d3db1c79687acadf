//! What a line that begins with a slash means.

use crate::closest::closest;
use rustyline::completion::unescape;
use std::fmt::Write;
use std::path::PathBuf;

/// Something to do besides answering.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// All of it, or one command.
    Help(Option<&'static Row>),
    New,
    /// Show, set, or with `Some(None)` take away.
    System(Option<Option<String>>),
    /// Show or set.
    Think(Option<bool>),
    /// Think, with as many tokens at most.
    ThinkBudget(String),
    Regen,
    Undo,
    Edit,
    Read(Vec<PathBuf>),
    Glob(String),
    Set(Option<(String, String)>),
    Tools,
    Stats,
    Context,
    History,
    /// Whether reasoning is shown.
    Thinking(bool),
    Export(Form, PathBuf),
    /// Without a file: under its name.
    Save(Option<PathBuf>),
    Load(PathBuf),
    /// The conversations that are kept: the newest, or all.
    List {
        all: bool,
    },
    /// To the one of this name or number.
    Switch(String),
    Rename(String),
    Delete(String),
    Quit,
}

/// How a conversation is written for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Markdown,
    Json,
}

/// What the word behind a command is, for completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Takes {
    Nothing,
    Text,
    File,
    /// One of those that are kept.
    Conversation,
    OneOf(&'static [&'static str]),
}

/// A row of `/help`.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub name: &'static str,
    pub argument: &'static str,
    pub takes: Takes,
    pub does: &'static str,
}

/// What `/set` knows.
pub(super) const SETTINGS: [&str; 19] = [
    "temperature",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "seed",
    "n_predict",
    "reasoning_budget",
    "hide_thinking",
    "markdown",
    "stats",
];

const THINK: Takes = Takes::OneOf(&["on", "off", "budget"]);

/// All commands.
pub(super) const ROWS: [Row; 23] = [
    row("/help", "[COMMAND]", Takes::Text, "this list, or one command of it"),
    row("/new", "", Takes::Nothing, "forget the conversation; system prompt and settings stay"),
    row("/system", "[TEXT|off]", Takes::Text, "show, set or remove the system prompt"),
    row(
        "/think",
        "[on|off|budget N]",
        THINK,
        "let the model reason before it answers, or not, or with N tokens",
    ),
    row("/thinking", "show|hide", Takes::OneOf(&["show", "hide"]), "show the reasoning, or not"),
    row("/regen", "", Takes::Nothing, "answer the last message once more"),
    row("/undo", "", Takes::Nothing, "take back the last message and its answer"),
    row("/edit", "", Takes::Nothing, "change the last message in $EDITOR, and have it answered anew"),
    row("/read", "FILE...", Takes::File, "put text files before your next message"),
    row("/glob", "PATTERN", Takes::File, "the same for all text files with such a name: *.rs, docs/**/*.md"),
    row("/set", "[NAME VALUE]", Takes::OneOf(&SETTINGS), "show the settings, or change one"),
    row("/tools", "", Takes::Nothing, "what the model may call, and the commands behind it"),
    row("/stats", "", Takes::Nothing, "answers, tokens and time so far"),
    row("/context", "", Takes::Nothing, "how much of the context is taken, and by what"),
    row("/history", "", Takes::Nothing, "the conversation so far"),
    row(
        "/export",
        "md|json FILE",
        Takes::OneOf(&["md", "json"]),
        "write the conversation for others to read",
    ),
    row(
        "/save",
        "[FILE]",
        Takes::File,
        "write conversation and settings to a file, or keep them under a name",
    ),
    row("/load", "FILE", Takes::File, "resume a saved conversation"),
    row("/list", "[all]", Takes::OneOf(&["all"]), "saved conversations, newest first"),
    row("/switch", "NAME|NUMBER", Takes::Conversation, "resume one of them"),
    row("/rename", "NAME", Takes::Text, "name this conversation"),
    row("/delete", "NAME|NUMBER", Takes::Conversation, "delete one of them, if you say yes"),
    row("/quit", "", Takes::Nothing, "leave; Ctrl-D does the same"),
];

const fn row(name: &'static str, argument: &'static str, takes: Takes, does: &'static str) -> Row {
    Row { name, argument, takes, does }
}

/// Names from other programs that fingers remember.
const ALIASES: [(&str, &str); 6] = [
    ("/?", "/help"),
    ("/clear", "/new"),
    ("/retry", "/regen"),
    ("/exit", "/quit"),
    ("/bye", "/quit"),
    ("/q", "/quit"),
];

/// What takes something away.
const DESTRUCTIVE: [&str; 3] = ["/delete", "/new", "/undo"];

/// The text of `/help`, or what it says of one command.
pub(super) fn help(only: Option<&Row>) -> String {
    let mut text = String::new();
    let all = ROWS.iter().filter(|row| only.is_none_or(|only| only == *row));
    for row in all {
        let usage = format!("{} {}", row.name, row.argument);
        let aliases: Vec<&str> =
            ALIASES.iter().filter(|(_, name)| *name == row.name).map(|(alias, _)| *alias).collect();
        let also = if aliases.is_empty() { String::new() } else { format!(" (also {})", aliases.join(", ")) };
        writeln!(text, "{usage:<20} {}{also}", row.does).expect("a string takes any text");
        if only.is_some() && row.name == "/set" {
            writeln!(text, "Settings: {}", SETTINGS.join(", ")).expect("a string takes any text");
        }
    }
    if only.is_some() {
        return text;
    }
    text + "\nPut a message of several lines between \"\"\" and \"\"\", or end its lines with \\ or Alt-Enter.\n\
            A message that begins with a slash needs a space before it. Ctrl-O opens what you type\n\
            in $EDITOR. Ctrl-C or Esc stops an answer, and what you type meanwhile comes next.\n\
            Ctrl-C twice on an empty line leaves."
}

/// Reads a command; the error is for the person.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let name = unaliased(word);
    let row = ROWS.iter().find(|row| row.name == name).ok_or_else(|| unknown(word))?;
    if row.takes == Takes::Nothing && !rest.is_empty() {
        return Err(format!("{name} takes no argument, found {rest:?}"));
    }
    let file = || match rest {
        "" => Err(format!("expected {name} FILE, found no file")),
        _ => Ok(path(rest)),
    };
    let some = |what: &str| match rest {
        "" => Err(format!("expected {name} {what}, found nothing")),
        _ => Ok(rest.to_owned()),
    };
    Ok(match name {
        "/help" => Command::Help(match rest {
            "" => None,
            asked => {
                let asked = format!("/{}", asked.trim_start_matches('/'));
                let name = unaliased(&asked);
                Some(ROWS.iter().find(|row| row.name == name).ok_or_else(|| unknown(&asked))?)
            }
        }),
        "/new" => Command::New,
        "/system" => Command::System(match rest {
            "" => None,
            "off" => Some(None),
            text => Some(Some(text.to_owned())),
        }),
        "/think" if rest.starts_with("budget") => Command::ThinkBudget(match rest["budget".len()..].trim() {
            "" => return Err("expected /think budget N, -1 for no limit; found no number".to_owned()),
            number => number.to_owned(),
        }),
        "/think" => Command::Think(match rest {
            "" => None,
            "on" => Some(true),
            "off" => Some(false),
            other => {
                return Err(format!("expected /think on, /think off or /think budget N, found {other:?}"));
            }
        }),
        "/thinking" => Command::Thinking(match rest {
            "show" => true,
            "hide" => false,
            other => return Err(format!("expected /thinking show or /thinking hide, found {other:?}")),
        }),
        "/regen" => Command::Regen,
        "/undo" => Command::Undo,
        "/edit" => Command::Edit,
        "/read" => Command::Read(match words(rest)? {
            paths if paths.is_empty() => return Err("expected /read FILE..., found no file".to_owned()),
            paths => paths,
        }),
        "/glob" => Command::Glob(at_home(&some("PATTERN")?).to_string_lossy().into_owned()),
        "/set" => Command::Set(match rest.split_once(char::is_whitespace) {
            None if rest.is_empty() => None,
            None => return Err(format!("expected /set {rest} VALUE, found no value")),
            Some((name, value)) => Some((name.to_owned(), value.trim().to_owned())),
        }),
        "/tools" => Command::Tools,
        "/stats" => Command::Stats,
        "/context" => Command::Context,
        "/history" => Command::History,
        "/export" => {
            let (form, file) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let form = match form {
                "md" => Form::Markdown,
                "json" => Form::Json,
                other => {
                    return Err(format!("expected /export md FILE or /export json FILE, found {other:?}"));
                }
            };
            match file.trim() {
                "" => return Err(format!("expected /export {rest} FILE, found no file")),
                file => Command::Export(form, path(file)),
            }
        }
        "/save" => Command::Save((!rest.is_empty()).then(|| path(rest))),
        "/list" => Command::List {
            all: match rest {
                "" => false,
                "all" => true,
                other => return Err(format!("expected /list or /list all, found {other:?}")),
            },
        },
        "/switch" => Command::Switch(some("NAME or a number of /list")?),
        "/rename" => Command::Rename(some("NAME")?),
        "/delete" => Command::Delete(some("NAME or a number of /list")?),
        "/load" => Command::Load(file()?),
        _ => Command::Quit,
    })
}

fn unaliased(word: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name)
}

fn unknown(word: &str) -> String {
    // What somebody types again without a thought takes nothing away.
    let harmless = ROWS.iter().map(|row| row.name).filter(|name| !DESTRUCTIVE.contains(name));
    match closest(word, harmless, 0.75) {
        Some(name) => format!("there is no {word}; did you mean {name}? /help lists the commands"),
        None => {
            format!("there is no {word}; /help lists the commands, a space before the slash sends it as text")
        }
    }
}

/// A path as completion writes it: spaces behind a backslash, or all of it quoted; `~/` is the home folder.
fn path(text: &str) -> PathBuf {
    let quoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    let text = match quoted {
        Some(inside) => inside.to_owned(),
        None if cfg!(windows) => text.to_owned(),
        None => unescape(text, Some('\\')).into_owned(),
    };
    at_home(&text)
}

fn at_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Paths with spaces between them; each as [`path`] takes it.
fn words(text: &str) -> Result<Vec<PathBuf>, String> {
    let (mut words, mut begun): (Vec<String>, bool) = (Vec::new(), false);
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            begun = false;
            continue;
        }
        if !begun {
            words.push(String::new());
            begun = true;
        }
        let Some(word) = words.last_mut() else { continue };
        match c {
            _ if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            '\\' if quote.is_none() && !cfg!(windows) => word.extend(chars.next()),
            _ => word.push(c),
        }
    }
    match quote {
        Some(quote) => Err(format!("expected {quote} at the end of the name that began with it, found none")),
        None => Ok(words.iter().map(|word| at_home(word)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_arguments() {
        assert_eq!(parse("/help"), Ok(Command::Help(None)));
        assert_eq!(parse("/?"), Ok(Command::Help(None)));
        for asked in ["/help regen", "/help /regen", "/? retry"] {
            let Ok(Command::Help(only @ Some(_))) = parse(asked) else { panic!("{asked}") };
            assert!(help(only).starts_with("/regen ") && help(only).ends_with("(also /retry)\n"));
        }
        assert!(help(None).contains("/exit, /bye, /q") && help(None).contains("Ctrl-O"));
        assert_eq!(parse("/bye "), Ok(Command::Quit));
        assert_eq!(parse("/system"), Ok(Command::System(None)));
        assert_eq!(parse("/system off"), Ok(Command::System(Some(None))));
        assert_eq!(parse("/system Be\nbrief."), Ok(Command::System(Some(Some("Be\nbrief.".into())))));
        assert_eq!(parse("/think on"), Ok(Command::Think(Some(true))));
        assert_eq!(parse("/set top_p  0.5"), Ok(Command::Set(Some(("top_p".into(), "0.5".into())))));
        assert_eq!(parse("/read a\\ b.txt"), Ok(Command::Read(vec!["a b.txt".into()])));
        assert_eq!(
            parse("/read a 'b c'  d\\'e \"f\"g"),
            Ok(Command::Read(vec!["a".into(), "b c".into(), "d'e".into(), "fg".into()]))
        );
        assert_eq!(parse("/glob src/*.rs"), Ok(Command::Glob("src/*.rs".into())));
        assert_eq!(parse("/save \"a b\""), Ok(Command::Save(Some("a b".into()))));
        assert_eq!(parse("/save"), Ok(Command::Save(None)));
        assert_eq!(parse("/list all"), Ok(Command::List { all: true }));
        assert_eq!(parse("/switch 2"), Ok(Command::Switch("2".into())));
        assert_eq!(parse("/think budget 50"), Ok(Command::ThinkBudget("50".into())));
        assert_eq!(parse("/thinking hide"), Ok(Command::Thinking(false)));
        assert_eq!(parse("/export md a\\ b"), Ok(Command::Export(Form::Markdown, "a b".into())));
    }

    #[test]
    fn mistakes_say_what_to_type() {
        let error = |line: &str| parse(line).unwrap_err();
        assert!(error("/sve x").contains("did you mean /save?"), "{}", error("/sve x"));
        assert!(error("/histry").contains("/history?"));
        for near in ["/delte", "/delet", "/dele", "/undoo", "/nw", "/neww"] {
            let offers = |name: &&str| error(near).contains(&format!("did you mean {name}?"));
            assert!(!DESTRUCTIVE.iter().any(offers), "{}", error(near));
        }
        assert!(error("/help wings").contains("there is no /wings"));
        assert!(error("/home/me/x.txt").contains("a space before the slash"), "{}", error("/home/me/x.txt"));
        assert!(error("/think maybe").contains("/think off"));
        assert!(error("/read").contains("/read FILE"));
        assert!(error("/set seed").contains("/set seed VALUE"));
        assert!(error("/regen it").contains("takes no argument"));
        assert!(error("/thinking").contains("/thinking hide"));
        assert!(error("/export file.md").contains("/export md FILE"));
        assert!(error("/read 'a b").contains("expected ' at the end"));
        assert!(error("/glob").contains("/glob PATTERN"));
        assert!(error("/switch").contains("a number of /list"));
        assert!(error("/list some").contains("/list all"));
        assert!(error("/export json").contains("/export json FILE"));
    }

    #[test]
    fn settings_of_penalties_are_offered() {
        let all = crate::cli::adjust::AdjustArgs::default().settings();
        assert!(all.iter().all(|(name, _)| SETTINGS.contains(name)));
    }

    #[test]
    fn every_row_is_understood() {
        for row in &ROWS {
            let line = match row.takes {
                Takes::File | Takes::Conversation => format!("{} file", row.name),
                _ if row.argument == "NAME" => format!("{} name", row.name),
                _ if row.argument == "show|hide" => format!("{} show", row.name),
                _ if row.argument == "md|json FILE" => format!("{} md file", row.name),
                _ => row.name.to_owned(),
            };
            assert!(parse(&line).is_ok(), "{line}");
            assert!(help(None).contains(row.name));
        }
        assert!(ALIASES.iter().all(|(alias, _)| parse(alias).is_ok()));
    }
}
