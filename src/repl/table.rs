//! What a person can type in a chat: commands, the words they take, keys. The help, the manual page and docs/chat.md have it
//! all from here, or are held to it.

use std::fmt::Write;

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
pub(super) const ROWS: [Row; 28] = [
    row("/help", "[COMMAND]", Takes::Text, "list the commands, or explain one"),
    row("/new", "", Takes::Nothing, "start a new conversation; settings stay"),
    row("/system", "[TEXT|off]", Takes::Text, "show, set or remove the system prompt"),
    row("/think", "[on|off|budget N]", THINK, "turn reasoning on or off, or limit it to N tokens"),
    row("/thinking", "[show|hide]", Takes::OneOf(&["show", "hide"]), "show or hide the reasoning"),
    row("/regen", "", Takes::Nothing, "answer the last message once more"),
    row("/undo", "", Takes::Nothing, "take back the last message and its answer"),
    row("/edit", "", Takes::Nothing, "change the last message in $EDITOR and have it answered"),
    row("/read", "FILE...", Takes::File, "put text files before your next message"),
    row("/glob", "PATTERN", Takes::File, "the same for all files that match a pattern: *.rs"),
    row("/copy", "[N]", Takes::Text, "copy the last answer, or its code block N, to the clipboard"),
    row("/write", "FILE [N]", Takes::File, "write the last answer, or its code block N, to a file"),
    row("/model", "[MODEL]", Takes::File, "show the model, or change to another one"),
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
    row("/save", "[FILE]", Takes::File, "save to a file, or now under its own name"),
    row("/load", "FILE", Takes::File, "resume a saved conversation"),
    row("/list", "[all]", Takes::OneOf(&["all"]), "saved conversations, newest first"),
    row("/switch", "NAME|NUMBER", Takes::Conversation, "resume one of them"),
    row("/rename", "NAME", Takes::Text, "name this conversation"),
    row("/delete", "NAME|NUMBER", Takes::Conversation, "delete one of them (asks first)"),
    row("!", "COMMAND", Takes::File, "run a shell command; its output is not sent"),
    row("!!", "COMMAND", Takes::File, "the same, and its output goes before your next message"),
    row("/quit", "", Takes::Nothing, "leave, as do exit, quit and Ctrl-D"),
];

impl Row {
    /// How it is typed.
    fn usage(&self) -> String {
        let gap = if self.argument.is_empty() || self.name.starts_with('!') { "" } else { " " };
        format!("{}{gap}{}", self.name, self.argument)
    }

    /// Its other names.
    fn also(&self) -> String {
        let aliases = ALIASES.iter().filter(|(_, name)| *name == self.name).map(|(alias, _)| *alias);
        let aliases: Vec<&str> = aliases.collect();
        if aliases.is_empty() { String::new() } else { format!(" (also {})", aliases.join(", ")) }
    }
}

const fn row(name: &'static str, argument: &'static str, takes: Takes, does: &'static str) -> Row {
    Row { name, argument, takes, does }
}

/// Names from other programs that fingers remember.
pub(super) const ALIASES: [(&str, &str); 7] = [
    ("/?", "/help"),
    ("/ctx", "/context"),
    ("/clear", "/new"),
    ("/retry", "/regen"),
    ("/exit", "/quit"),
    ("/bye", "/quit"),
    ("/q", "/quit"),
];

/// Commands that other programs have, and what stands for them here.
pub(super) const ELSEWHERE: [(&str, &str); 6] = [
    ("/regenerate", "did you mean /regen?"),
    ("/reset", "did you mean /new? It starts a new conversation"),
    (
        "/show",
        "/model shows the model, /set the settings, /system the system prompt; `fathom inspect` tells more of a file",
    ),
    ("/stop", "Ctrl-C or Esc stops an answer; --stop gives a stop string when the chat is started"),
    ("/info", "/model shows the model, /context and /stats how far the conversation is"),
    ("/multiline", "put a message of several lines between \"\"\" and \"\"\""),
];

/// What takes something away.
pub(super) const DESTRUCTIVE: [&str; 3] = ["/delete", "/new", "/undo"];

/// The text of `/help`, or what it says of one command.
pub(super) fn help(only: Option<&Row>) -> String {
    let mut text = String::new();
    let all = ROWS.iter().filter(|row| only.is_none_or(|only| only == *row));
    for row in all {
        let usage = row.usage();
        writeln!(text, "{usage:<20} {}{}", row.does, row.also()).expect("a string takes any text");
        if only.is_some() && row.name == "/set" {
            writeln!(text, "Settings: {}", SETTINGS.join(", ")).expect("a string takes any text");
        }
    }
    if only.is_some() {
        return text;
    }
    text + "\nPut a message of several lines between \"\"\" and \"\"\", or end its lines with \\ or\n\
            Alt-Enter. A message that begins with / or ! needs a space before it. Ctrl-O\n\
            opens what you type in $EDITOR. Ctrl-C or Esc stops an answer, and what you\n\
            type meanwhile comes next. Ctrl-C twice on an empty line leaves."
}

/// The command behind a name that it has in other programs.
pub(super) fn unaliased(word: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name)
}

/// Keys, and what they do.
pub(crate) const KEYS: [(&str, &str); 12] = [
    ("Enter", "Send the message, or run the command."),
    ("Alt-Enter", "Begin another line of the same message; so does a backslash at the end of a line."),
    ("Tab", "Complete commands, settings, names of conversations and files."),
    ("Up, Down", "Go through earlier lines."),
    ("Ctrl-R", "Search earlier lines."),
    ("Ctrl-O, Ctrl-G", "Open what you type in $VISUAL or $EDITOR."),
    ("Esc", "Stop the answer; the text so far is kept."),
    ("Ctrl-C", "Stop the answer, clear the line, or, twice on an empty line, leave."),
    ("Ctrl-D", "Leave, on an empty line."),
    ("Ctrl-Z", "Suspend the program; fg resumes it."),
    ("Ctrl-U", "Delete everything before the cursor."),
    ("Ctrl-W", "Delete the word before the cursor."),
];

/// Every command as it is typed, and what it does.
pub(crate) fn commands() -> impl Iterator<Item = (String, String)> {
    ROWS.iter().map(|row| (row.usage(), format!("{}{}", row.does, row.also())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_penalties_are_offered() {
        let all = crate::cli::adjust::AdjustArgs::default().settings();
        assert!(all.iter().all(|(name, _)| SETTINGS.contains(name)));
    }

    /// docs/chat.md has a row for each command with all that it takes, for each other name and for each key.
    #[test]
    fn the_page_has_every_command_and_key() {
        let page = include_str!("../../docs/chat.md").replace("\\|", "|");
        for row in &ROWS {
            assert!(page.contains(&format!("| `{}` |", row.usage())), "{} is missing", row.usage());
        }
        for (alias, name) in ALIASES {
            assert!(page.contains(&format!("`{alias}`")), "{alias} for {name} is missing");
        }
        for (keys, _) in KEYS {
            assert!(page.contains(&format!("| {keys} |")), "{keys} is missing");
        }
        for setting in SETTINGS {
            assert!(page.contains(&format!("`{setting}`")), "{setting} is missing");
        }
        let named = page.split("| `").skip(1).filter(|row| row.starts_with(['/', '!'])).count();
        assert_eq!(named, ROWS.len(), "and no others");
    }

    #[test]
    fn the_help_fits_a_terminal() {
        for line in help(None).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
