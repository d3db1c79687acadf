//! What a line that begins with a slash or an exclamation mark means.

use super::table::{DESTRUCTIVE, ELSEWHERE, ROWS, Row, SETTINGS, Takes, unaliased};
use crate::closest::closest;
use rustyline::completion::unescape;
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
    /// Whether reasoning is shown: tell, or change.
    Thinking(Option<bool>),
    Export(Form, PathBuf),
    /// The last answer, or a block of code in it, to the clipboard.
    Copy(Option<usize>),
    /// The same to a file.
    Write(PathBuf, Option<usize>),
    /// Run a command; with `sends` the model gets what it says.
    Shell {
        command: String,
        sends: bool,
    },
    /// Show, or change.
    Model(Option<PathBuf>),
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

/// Reads a command; the error is for the person.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    if let Some(command) = line.strip_prefix('!') {
        return shell(command);
    }
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
                let is_shell = asked.starts_with('!');
                let asked =
                    if is_shell { asked.to_owned() } else { format!("/{}", asked.trim_start_matches('/')) };
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
            "" => None,
            "show" | "on" => Some(true),
            "hide" | "off" => Some(false),
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
        "/set" => return set(rest),
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
        "/copy" => Command::Copy(if rest.is_empty() { None } else { Some(block(rest)?) }),
        "/write" => match &words(rest)?[..] {
            [] => return Err("expected /write FILE or /write FILE N, found no file".to_owned()),
            [path] => Command::Write(path.clone(), None),
            [path, number] => Command::Write(path.clone(), Some(block(&number.to_string_lossy())?)),
            more => {
                return Err(format!("expected /write FILE or /write FILE N, found {} words", more.len()));
            }
        },
        "/model" => Command::Model((!rest.is_empty()).then(|| path(rest))),
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

/// What stands behind `/set`: a setting of ours, or what ollama's `/set` takes.
fn set(rest: &str) -> Result<Command, String> {
    let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let value = value.trim();
    let stats = |value: &str| Ok(Command::Set(Some(("stats".to_owned(), value.to_owned()))));
    match (name, value) {
        ("", _) => Ok(Command::Set(None)),
        ("parameter", value) if !value.starts_with("parameter") => set(value),
        ("system", text) => parse(&format!("/system {text}")),
        ("think", "") => Ok(Command::Think(Some(true))),
        ("nothink", "") => Ok(Command::Think(Some(false))),
        ("think", value) => parse(&format!("/think {value}")),
        ("verbose", "") => stats("on"),
        ("quiet", "") => stats("off"),
        ("history" | "nohistory", "") => {
            Err("what you type and the conversation are saved, unless the chat was started with --no-history"
                .to_owned())
        }
        ("wordwrap" | "nowordwrap", "") => {
            Err("on a terminal, answers are always wrapped between words".to_owned())
        }
        ("format" | "noformat", _) => {
            Err("start the chat with --json-schema to have answers in JSON".to_owned())
        }
        (name, "") => match setting(name) {
            Some(name) => Err(format!("expected /set {name} VALUE, found no value")),
            None => Err(no_setting(name)),
        },
        (name, value) => Ok(Command::Set(Some((name.to_owned(), value.to_owned())))),
    }
}

/// The setting of this name, as people write it.
fn setting(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let name = match name.as_str() {
        "temp" => "temperature",
        "typical" => "typical_p",
        name => name,
    };
    SETTINGS.into_iter().find(|known| *known == name)
}

/// That there is no such setting, and what there is.
pub(super) fn no_setting(name: &str) -> String {
    format!("there is no setting {name}; there are {}", SETTINGS.join(", "))
}

/// What stands behind an exclamation mark.
fn shell(text: &str) -> Result<Command, String> {
    let (command, sends) = text.strip_prefix('!').map_or((text, false), |command| (command, true));
    let command = command.trim();
    if command.is_empty() || command.contains('\n') {
        let found = if command.is_empty() { "nothing" } else { "several lines" };
        return Err(format!(
            "expected !COMMAND in one line, found {found}; a space before the ! sends it as text"
        ));
    }
    Ok(Command::Shell { command: command.to_owned(), sends })
}

/// The number of a block of code.
fn block(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(format!("expected the number of a code block, from 1, found {text:?}")),
    }
}

fn unknown(word: &str) -> String {
    let bare = word.trim_start_matches('/');
    if bare.is_empty() {
        return "expected a command, found only a slash; /help lists the commands, a space before the slash sends it as text"
            .to_owned();
    }
    let elsewhere =
        ELSEWHERE.iter().find(|(name, _)| name.trim_start_matches('/').eq_ignore_ascii_case(bare));
    if let Some((_, here)) = elsewhere {
        return format!("there is no {word}; {here}");
    }
    if let Some(setting) = setting(bare) {
        return format!("there is no {word}; did you mean /set {setting} VALUE?");
    }
    // What somebody types again without a thought takes nothing away. The slash is no likeness.
    let harmless = ROWS.iter().map(|row| row.name).filter(|name| !DESTRUCTIVE.contains(name));
    match closest(bare, harmless.filter_map(|name| name.strip_prefix('/')), 0.75) {
        // Another answer in the place of the last one is for who nearly wrote it.
        Some("regen") if closest(bare, ["regen", "retry"], 0.9).is_none() => no_command(word),
        Some(name) => format!("there is no {word}; did you mean /{name}? /help lists the commands"),
        None => no_command(word),
    }
}

fn no_command(word: &str) -> String {
    format!("there is no {word}; /help lists the commands, a space before the slash sends it as text")
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
    use super::super::table::{ALIASES, help};
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
        assert_eq!(parse("/thinking hide"), Ok(Command::Thinking(Some(false))));
        assert_eq!(parse("/thinking"), Ok(Command::Thinking(None)));
        assert_eq!(parse("/copy"), Ok(Command::Copy(None)));
        assert_eq!(parse("/copy 2"), Ok(Command::Copy(Some(2))));
        assert_eq!(parse("/write a\\ b"), Ok(Command::Write("a b".into(), None)));
        assert_eq!(parse("/write 'a b' 3"), Ok(Command::Write("a b".into(), Some(3))));
        assert_eq!(parse("/ctx"), Ok(Command::Context));
        assert_eq!(parse("/model"), Ok(Command::Model(None)));
        assert_eq!(parse("/model a b.gguf"), Ok(Command::Model(Some("a b.gguf".into()))));
        let shell = |command: &str, sends| Ok(Command::Shell { command: command.into(), sends });
        assert_eq!(parse("!ls -l | wc"), shell("ls -l | wc", false));
        assert_eq!(parse("! ls"), shell("ls", false));
        assert_eq!(parse("!!cat a/b"), shell("cat a/b", true));
        for (asked, usage) in [("/help !", "!COMMAND "), ("/help !!", "!!COMMAND ")] {
            let Ok(Command::Help(only @ Some(_))) = parse(asked) else { panic!("{asked}") };
            assert!(help(only).starts_with(usage), "{}", help(only));
        }
        assert_eq!(parse("/export md a\\ b"), Ok(Command::Export(Form::Markdown, "a b".into())));
    }

    #[test]
    fn words_of_ollama_do_what_they_do_there() {
        let set = |name: &str, value: &str| Ok(Command::Set(Some((name.into(), value.into()))));
        assert_eq!(parse("/set parameter temperature 0.1"), set("temperature", "0.1"));
        assert_eq!(parse("/set system Be brief."), Ok(Command::System(Some(Some("Be brief.".into())))));
        assert_eq!(parse("/set think"), Ok(Command::Think(Some(true))));
        assert_eq!(parse("/set nothink"), Ok(Command::Think(Some(false))));
        assert_eq!(parse("/set verbose"), set("stats", "on"));
        assert_eq!(parse("/set quiet"), set("stats", "off"));
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
        assert!(error("/set wings").contains("there is no setting wings"));
        for (word, here) in [
            ("/reset", "did you mean /new?"),
            ("/show info", "/model"),
            ("/stop", "Ctrl-C or Esc"),
            ("/temp 1", "did you mean /set temperature VALUE?"),
            ("/top-k 3", "did you mean /set top_k VALUE?"),
            ("/", "found only a slash"),
            ("/regn", "did you mean /regen?"),
            ("/x", "a space before the slash"),
            ("/set nohistory", "--no-history"),
            ("/set wordwrap", "wrapped between words"),
            ("/set format json", "--json-schema"),
        ] {
            assert!(error(word).contains(here), "{}", error(word));
        }
        for far in ["/register", "/x", "/remove", "/regenerate-all-of-it"] {
            assert!(!error(far).contains("/regen?"), "{}", error(far));
        }
        assert!(error("/regen it").contains("takes no argument"));
        assert!(error("/thinking maybe").contains("/thinking hide"));
        assert!(error("/export file.md").contains("/export md FILE"));
        assert!(error("/read 'a b").contains("expected ' at the end"));
        assert!(error("/glob").contains("/glob PATTERN"));
        assert!(error("/switch").contains("a number of /list"));
        assert!(error("/list some").contains("/list all"));
        assert!(error("/export json").contains("/export json FILE"));
        for wrong in ["/copy 0", "/copy x", "/write a 0", "/write a b"] {
            assert!(error(wrong).contains("number of a code block"), "{wrong}");
        }
        assert!(error("/write").contains("/write FILE N"));
        assert!(error("/write a 1 b").contains("3 words"));
        for wrong in ["!", "!!", "! ", "!a\nb"] {
            assert!(error(wrong).contains("a space before the ! sends it"), "{wrong:?}");
        }
    }

    #[test]
    fn every_row_is_understood() {
        for row in &ROWS {
            let line = match row.takes {
                Takes::File | Takes::Conversation => format!("{} file", row.name),
                _ if row.argument == "NAME" => format!("{} name", row.name),
                _ if row.argument == "md|json FILE" => format!("{} md file", row.name),
                _ => row.name.to_owned(),
            };
            assert!(parse(&line).is_ok(), "{line}");
            assert!(help(None).contains(row.name));
        }
        assert!(ALIASES.iter().all(|(alias, _)| parse(alias).is_ok()));
    }
}
