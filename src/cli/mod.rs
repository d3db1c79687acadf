//! The command line: one file per verb.

pub mod adjust;
pub(crate) mod below;
pub mod bench;
mod bench_table;
pub mod cache;
pub(crate) mod calls;
pub mod chat;
mod checkpoint;
pub mod completions;
pub mod config;
pub mod detokenize;
pub mod doctor;
pub(crate) mod fence;
mod flags;
mod habits;
mod highlight;
pub mod inspect;
pub(crate) mod keep;
mod loading;
pub mod logits;
pub mod man;
mod markdown;
mod meter;
pub mod model;
pub mod models;
pub(crate) mod named;
pub mod perplexity;
mod predict;
pub(crate) mod print;
pub(crate) mod progress;
mod prompt;
pub mod quantize;
mod room;
pub mod run;
pub(crate) mod schema;
pub mod settings;
pub(crate) mod show;
pub(crate) mod signals;
pub mod synth;
pub mod talk;
pub mod tokenize;
pub mod tools;
pub(crate) mod wrap;
mod writing;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use named::Named;
use settings::Settings;
use std::ffi::OsString;
use std::fmt::{self, Display};

/// DeepSeek-V3.2 on a workstation's CPU.
///
/// `fathom` alone starts a chat with the built-in model, or with the one that the settings name. `fathom MODEL.gguf` chats
/// with that model, `fathom run "TEXT"` answers a single prompt.
#[derive(Parser, Debug)]
#[command(name = "fathom", version, about, max_term_width = 100, args_override_self = true)]
#[command(help_template = help_template(), after_help = SETTINGS, after_long_help = after_long_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Print no notes, figures or progress: only the answer, questions and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What files and the environment said before.
    #[arg(skip)]
    pub settings: Settings,
}

/// The verbs, in the order of the help.
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "each verb's help is the documentation of its arguments")]
pub enum Verb {
    Chat(chat::Args),
    Run(run::Args),
    Quantize(quantize::Args),
    #[command(visible_aliases = ["list", "ls"])]
    Models(models::Args),
    Doctor(doctor::Args),
    #[command(visible_alias = "show")]
    Inspect(inspect::Args),
    Bench(bench::Args),
    Perplexity(perplexity::Args),
    Logits(logits::Args),
    Tokenize(tokenize::Args),
    Detokenize(detokenize::Args),
    Synth(synth::Args),
    Config(config::Args),
    Cache(cache::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// Print the version, as --version does.
    Version,
}

/// The commands of the help under their headings; each group begins with the command that is named.
const GROUPS: [(&str, &str); 3] = [
    ("Commands:", "chat"),
    ("Look closer, measure and compare:", "inspect"),
    ("Settings, disk space and the shell:", "config"),
];

/// The help with its commands in groups, which the parser has no word for.
fn help_template() -> String {
    let program = Verb::augment_subcommands(Command::new("fathom"));
    let width = program.get_subcommands().map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let mut list = String::new();
    for verb in program.get_subcommands() {
        let name = verb.get_name();
        if let Some((heading, _)) = GROUPS.iter().find(|(_, first)| *first == name) {
            list += &format!("{}{heading}\n", if list.is_empty() { "" } else { "\n" });
        }
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let others: Vec<_> = verb.get_visible_aliases().collect();
        let others =
            if others.is_empty() { String::new() } else { format!(" (also: {})", others.join(", ")) };
        list += &format!("  {name:<width$}  {about}{others}\n");
    }
    list += &format!("  {:<width$}  Print the help of a command", "help");
    format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}\n\nOptions:\n{{options}}{{after-help}}"
    )
}

/// How a run can end. Each code has a constructor of [`Failure`].
const EXIT_CODES: [(u8, &str); 9] = [
    (0, "Success; also if the reader of the answer closed the pipe early."),
    (1, "Something failed while running: a disk, a thread, a file that cannot be written."),
    (2, "The command line or a setting is wrong."),
    (3, "A model or another input file is missing or invalid."),
    (4, "The model does not fit in memory."),
    (129, "The terminal was closed (SIGHUP)."),
    (130, "Ctrl-C (SIGINT)."),
    (131, "Ctrl-\\ (SIGQUIT)."),
    (143, "A signal asked the program to end (SIGTERM)."),
];

/// Where the values of flags come from that nobody gives.
const SETTINGS: &str = "\
Settings: /etc/fathom/config.toml < ~/.config/fathom/config.toml < FATHOM_FLAG variables < flags.
--no-FLAG takes back a switch that is set. `fathom config show --origin` lists all settings.";

/// The same and the exit codes for `--help`.
fn after_long_help() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    format!("{SETTINGS}\n\nExit codes:\n{}", lines.join("\n"))
}

/// For a process that is the program's own: signals have the meanings of the exit codes, and a model file that is
/// shortened while it is in use is reported. Whoever uses the library keeps their own handlers.
///
/// # Errors
/// A system that lets nobody catch signals.
pub fn catch_signals() -> Result<(), Failure> {
    fathom_engine::mmap::report_lost_pages();
    signals::install()
}

impl Cli {
    /// Reads the settings and the command line; ends the program where that says it all.
    ///
    /// # Errors
    /// Settings that are wrong; a word that other programs have and this one does not.
    pub fn read(args: impl Iterator<Item = OsString>) -> Result<Cli, Failure> {
        let settings = Settings::read();
        let mut program = settings.apply(Cli::command());
        let wrong = settings.wrong();
        let line = match habits::read(args, &program, &settings) {
            Ok(line) => line,
            Err(refused) => return Err(wrong.unwrap_or(refused)),
        };
        let parsed = program
            .try_get_matches_from_mut(line.args)
            .and_then(|matches| read(&matches).map_err(|error| error.format(&mut program)));
        if let Ok(cli) = &parsed {
            print::be_quiet(cli.quiet);
        }
        match parsed {
            // These have to work above all where the settings do not.
            Ok(
                cli @ Cli {
                    verb: Some(Verb::Config(_) | Verb::Completions(_) | Verb::Man(_) | Verb::Version),
                    ..
                },
            ) => Ok(Cli { settings, ..cli }),
            Ok(cli) => {
                let unknown = settings.notes.iter().map(|note| format!("{note}; it has no effect"));
                unknown.for_each(|note| tell!("note: {}", print::plain(&note)));
                line.notes.iter().for_each(|note| tell!("note: {}", print::plain(note)));
                wrong.map_or(Ok(Cli { settings, ..cli }), Err)
            }
            Err(error) => match wrong.filter(|_| error.use_stderr()) {
                Some(wrong) => Err(wrong),
                None => end(&habits::without_far_fetched_tip(error)),
            },
        }
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// What the person is told, and the exit code.
    pub fn run(self) -> Result<(), Failure> {
        let settings = &self.settings;
        let Some(verb) = self.verb else {
            return Err(Failure::usage("expected a command; see `fathom --help`"));
        };
        match verb {
            Verb::Chat(args) => chat::run(args, settings),
            Verb::Run(args) => run::run(args),
            Verb::Quantize(args) => quantize::run(args),
            Verb::Synth(args) => synth::run(args),
            Verb::Inspect(args) => inspect::run(args),
            Verb::Doctor(args) => doctor::run(args),
            Verb::Bench(args) => bench::run(args),
            Verb::Logits(args) => logits::run(args),
            Verb::Perplexity(args) => perplexity::run(args),
            Verb::Tokenize(args) => tokenize::run(args),
            Verb::Detokenize(args) => detokenize::run(args),
            Verb::Cache(args) => cache::run(args),
            Verb::Models(args) => models::run(args, settings),
            Verb::Config(args) => config::run(args, settings),
            Verb::Completions(args) => completions::run(args),
            Verb::Man(args) => man::run(args),
            Verb::Version => print::answer(concat!("fathom ", env!("CARGO_PKG_VERSION"), "\n")),
        }
    }
}

/// Shows what the parser has to say, an error or a page of help, and ends the program.
fn end(error: &clap::Error) -> ! {
    let code = match error.print() {
        // Help that could not be written was no help; one that nobody reads to its end was enough.
        Err(problem) if !error.use_stderr() && problem.kind() != std::io::ErrorKind::BrokenPipe => {
            Failure::runtime(format!("cannot write the answer: {problem}")).tell();
            1
        }
        _ => error.exit_code(),
    };
    std::process::exit(code)
}

/// What was parsed, and for the verbs that talk what the command line says itself.
fn read(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    match (&mut cli.verb, matches.subcommand()) {
        (Some(Verb::Chat(chat)), Some((_, given))) => chat.named = Named::of(given),
        (Some(Verb::Run(run)), Some((_, given))) => run.named = Named::of(given),
        _ => {}
    }
    Ok(cli)
}

/// The end of a run that did not succeed: one message, one exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1 something failed, 2 usage, 3 model or file invalid, 4 does not fit in memory, 128 and more: a signal.
    pub code: u8,
    /// What happened, where, and what to do.
    pub message: String,
}

/// The message as a terminal may see it: some of it may come from a hostile file.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::plain(&self.message))
    }
}

impl Failure {
    /// Something failed while running.
    pub fn runtime(message: impl Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }

    /// A model or file is invalid.
    pub fn invalid(message: impl Display) -> Failure {
        Failure { code: 3, message: message.to_string() }
    }

    /// It does not fit in memory.
    pub fn memory(message: impl Display) -> Failure {
        Failure { code: 4, message: message.to_string() }
    }

    /// Tells it on stderr.
    pub fn tell(&self) {
        tell!("error: {self}");
    }

    /// Ctrl-C or another signal stopped it.
    pub fn interrupted(message: impl Display) -> Failure {
        Failure { code: signals::code(), message: message.to_string() }
    }
}
