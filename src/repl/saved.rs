//! A conversation as a file.

use super::shelf::Stamp;
use crate::builtin;
use crate::cli::adjust::AdjustArgs;
use crate::cli::talk::{self, NPredict, SamplingArgs, Seed, TalkArgs};
use crate::files;
use fathom_files::writing::Disk;
use fathom_text::chat::{Assistant, Message, Tool};
use fathom_text::sampler::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The number that tells a file of ours, and its form.
const VERSION: u32 = 1;
/// No context holds more text, however it is written.
const LARGEST: u64 = 256 << 20;

/// What a conversation of another form gets.
const OTHER_VERSION: &str = "another version of Fathom saved it: resume it with that one";
/// What is to be read.
const EXPECTED: &str = "a saved conversation";

/// What is written.
#[derive(Serialize, Deserialize)]
struct Wire {
    fathom_conversation: u32,
    model: String,
    settings: Settings,
    messages: Vec<Value>,
    /// For each message the ids in which the model gave it, or none.
    #[serde(default)]
    message_ids: Vec<Vec<u32>>,
    /// Where the model is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_path: Option<String>,
    /// Why the last answer is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
    /// Where in the last message, which nobody answered, the person's own words begin behind their files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words_at: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Settings {
    system: Option<String>,
    thinking: bool,
    hide_thinking: bool,
    #[serde(default)]
    no_markdown: bool,
    temperature: f32,
    top_k: usize,
    #[serde(default = "typical_p")]
    typical_p: f32,
    top_p: f32,
    min_p: f32,
    #[serde(flatten)]
    adjust: AdjustArgs,
    seed: Option<u64>,
    n_predict: Option<usize>,
    #[serde(default)]
    reasoning_budget: Option<usize>,
    stop: Vec<String>,
    /// What the model could call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
}

/// Of files from before there was such a setting.
fn typical_p() -> f32 {
    Sampling::default().typical_p
}

/// What a file holds.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    /// The model it was had with: what it was called.
    pub model: String,
    /// Where it is; `None` in files from before this was kept.
    pub model_path: Option<PathBuf>,
    /// The settings at that time.
    pub talk: TalkArgs,
    /// What the model could call.
    pub tools: Vec<Tool>,
    /// The messages, without the system prompt.
    pub turns: Vec<Message>,
    /// For each message the ids in which the model gave it, or none: they are only its own if they say what it says.
    pub message_ids: Vec<Vec<u32>>,
    /// Why the last message, an answer, is not whole.
    pub cut: Option<String>,
    /// Where in the last message, which nobody answered, the person's own words begin behind their files.
    pub words_at: Option<usize>,
}

impl Saved {
    /// Writes the file: it is whole or not there. What is there is replaced if it is an earlier state of this conversation,
    /// or if it is still what had the stamp of `ours`: what this conversation was read from or written to before. A link is
    /// written through, and who may read the file stays the same. Gives the new stamp.
    pub(super) fn write(&self, path: &Path, ours: Option<Stamp>) -> Result<Option<Stamp>, String> {
        self.write_on(Disk::SYSTEM, path, ours)
    }

    /// The same on a disk that fails when a test says so.
    pub(super) fn write_on(
        &self,
        disk: Disk,
        path: &Path,
        ours: Option<Stamp>,
    ) -> Result<Option<Stamp>, String> {
        let is_new = match std::fs::symlink_metadata(path) {
            Ok(_) => {
                self.check_older(path, ours)?;
                false
            }
            Err(_) => true,
        };
        let text = self.text()?;
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = place.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let written = disk.private_part(folder, text.as_bytes()).and_then(|part| {
            if let Ok(there) = std::fs::metadata(&place) {
                // Where that cannot be kept, the text is there all the same.
                let _ = part.as_file().set_permissions(there.permissions());
            }
            // The name may have been taken meanwhile.
            let rename = if is_new { Disk::rename_new } else { Disk::rename };
            rename(disk, part.path(), &place)?;
            disk.sync_folder(folder)?;
            Ok(part.as_file().metadata().ok().map(Stamp::from))
        });
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{}: there is a file of this name now; choose another", path.display())
            }
            _ => format!("{}: {error}", path.display()),
        })
    }

    fn check_older(&self, path: &Path, ours: Option<Stamp>) -> Result<(), String> {
        // Before it is read: what comes later is not ours.
        let is_ours = ours.is_some() && Stamp::of(path) == ours;
        let refused = |what: &str| Err(format!("{}: this file {what}; choose another name", path.display()));
        match Saved::read(path) {
            Ok(there) if is_ours || self.turns.starts_with(&there.turns) => Ok(()),
            Ok(_) => refused("holds another conversation"),
            Err(_) => refused("is not a saved conversation"),
        }
    }

    /// The model to load for this conversation; `None`: the built-in one.
    pub(super) fn model_file(&self) -> Option<PathBuf> {
        if self.model == builtin::NAME {
            return None;
        }
        Some(self.model_path.clone().unwrap_or_else(|| PathBuf::from(&self.model)))
    }

    /// The same conversation with what there is of its next answer.
    pub(super) fn with_unfinished(&self, answer: &Assistant) -> Saved {
        let mut saved = self.clone();
        saved.turns.push(Message::Assistant(answer.clone()));
        saved.message_ids.push(Vec::new());
        (saved.cut, saved.words_at) = (Some("unfinished".to_owned()), None);
        saved
    }

    /// What a file of it holds.
    pub(super) fn text(&self) -> Result<String, String> {
        Ok(serde_json::to_string_pretty(&self.wire()).map_err(|error| error.to_string())? + "\n")
    }

    fn wire(&self) -> Wire {
        let TalkArgs {
            system,
            think,
            hide_thinking,
            no_markdown,
            n_predict,
            reasoning_budget,
            stops,
            sampling,
            ..
        } = self.talk.clone();
        Wire {
            fathom_conversation: VERSION,
            model: self.model.clone(),
            settings: Settings {
                system,
                thinking: think,
                hide_thinking,
                no_markdown,
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                typical_p: sampling.typical_p,
                top_p: sampling.top_p,
                min_p: sampling.min_p,
                adjust: sampling.adjust,
                seed: sampling.seed.0,
                n_predict: n_predict.0,
                reasoning_budget: reasoning_budget.0,
                stop: stops,
                tools: self.tools.iter().map(|tool| tool.function().clone().into()).collect(),
            },
            messages: self.turns.iter().map(Message::to_json).collect(),
            message_ids: self.message_ids.clone(),
            model_path: self.model_path.as_ref().and_then(|path| path.to_str()).map(str::to_owned),
            cut: self.cut.clone(),
            words_at: self.words_at,
        }
    }

    /// Reads a file that the person named, who may have meant another command.
    pub(super) fn read_named(path: &Path) -> Result<Saved, String> {
        Saved::read(path).map_err(|problem| {
            if problem.ends_with(OTHER_VERSION) {
                return problem;
            }
            let other = match path.is_file() {
                true => "/read puts a text file before your next message",
                false => "/list shows the conversations that are saved by name",
            };
            format!("{problem}; /load takes a file that /save wrote; {other}")
        })
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Saved, String> {
        let json: Value = files::read_json(path, LARGEST, EXPECTED)?;
        let at = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
        match json.get("fathom_conversation") {
            Some(version) if *version == VERSION => {}
            Some(version) => {
                return Err(at(&format!(
                    "expected fathom_conversation {VERSION}, found {version}; {OTHER_VERSION}"
                )));
            }
            None => return Err(at(&format_args!("expected {EXPECTED}, found other JSON"))),
        }
        let damaged = |problem: &dyn std::fmt::Display| {
            at(&format_args!("expected {EXPECTED}, found one that was damaged or edited: {problem}"))
        };
        let wire: Wire = serde_json::from_value(json).map_err(|error| damaged(&error))?;
        let turns = wire.messages.into_iter().enumerate().map(
            |(index, message)| match serde_json::from_value(message) {
                Ok(Message::System(_)) => Err(format!(
                    "message {index}: expected no system message (it belongs in settings.system), found one"
                )),
                Ok(message) => Ok(message),
                Err(error) => Err(format!("message {index}: {error}")),
            },
        );
        let turns = turns.collect::<Result<Vec<_>, _>>().map_err(|error| damaged(&error))?;
        let mut settings = wire.settings;
        let tools = std::mem::take(&mut settings.tools).into_iter().map(Tool::from_json);
        let tools =
            tools.collect::<Result<_, _>>().map_err(|error| damaged(&format!("settings: tools: {error}")))?;
        let talk = settings.checked().map_err(|error| damaged(&format!("settings: {error}")))?;
        let words_at = match turns.last() {
            Some(Message::User(text)) => wire.words_at.filter(|at| text.is_char_boundary(*at)),
            _ => None,
        };
        let cut = wire.cut.filter(|_| matches!(turns.last(), Some(Message::Assistant(_))));
        let model_path = wire.model_path.map(PathBuf::from);
        Ok(Saved {
            model: wire.model,
            model_path,
            talk,
            tools,
            turns,
            message_ids: wire.message_ids,
            cut,
            words_at,
        })
    }
}

impl Settings {
    fn checked(self) -> Result<TalkArgs, String> {
        let named = |name: &'static str| move |error: String| format!("{name}: {error}");
        let sampling = SamplingArgs {
            temperature: talk::temperature(&self.temperature.to_string()).map_err(named("temperature"))?,
            top_k: self.top_k,
            typical_p: talk::share(&self.typical_p.to_string()).map_err(named("typical_p"))?,
            top_p: talk::share(&self.top_p.to_string()).map_err(named("top_p"))?,
            min_p: talk::share(&self.min_p.to_string()).map_err(named("min_p"))?,
            seed: Seed(self.seed),
            adjust: self.adjust.checked()?,
        };
        Ok(TalkArgs {
            system: self.system,
            think: self.thinking,
            no_think: !self.thinking,
            hide_thinking: self.hide_thinking,
            no_markdown: self.no_markdown,
            n_predict: NPredict(self.n_predict),
            reasoning_budget: NPredict(self.reasoning_budget),
            stops: self.stop,
            sampling,
        })
    }
}

#[cfg(test)]
mod mutations;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;
    use fathom_text::chat::Assistant;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        talk: TalkArgs,
    }

    pub(in crate::repl) fn saved() -> Saved {
        let words = [
            "fathom",
            "--system",
            "Be brief.",
            "--top-p",
            "0.9",
            "--seed",
            "7",
            "-n",
            "12",
            "--stop",
            "\n\n",
        ];
        let reasoned =
            Assistant { reasoning: "why\n".into(), content: "\"so\"".into(), ..Assistant::default() };
        Saved {
            model: "a model".into(),
            model_path: Some("/models/a".into()),
            talk: Words::parse_from(words).talk,
            turns: vec![Message::user("é\u{1b}"), Message::Assistant(reasoned), Message::user("more")],
            tools: vec![Tool::from_json(serde_json::json!({"name": "get_time"})).unwrap()],
            message_ids: vec![vec![], vec![5, 9], vec![]],
            cut: None,
            words_at: Some(1),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        saved().write(&path, None).unwrap();
        saved().write(&path, None).expect("an older state is replaced");
        let read = Saved::read(&path).unwrap();
        assert_eq!(
            format!("{read:?}"),
            format!("{:?}", saved()).replace("no_think: false", "no_think: true")
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
    }

    #[test]
    fn another_conversation_s_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        saved().write(&path, None).unwrap();
        let other = Saved { turns: vec![Message::user("something else")], words_at: None, ..saved() };
        assert!(other.write(&path, None).unwrap_err().contains("holds another conversation"));
        assert_eq!(Saved::read(&path).unwrap().turns, saved().turns);
        let ours = other.write(&path, Stamp::of(&path)).expect("it was written here before");
        // What another program has made of it since is not.
        let theirs =
            Saved { turns: vec![Message::user("something else"), Message::assistant("so")], ..other };
        let newer = theirs.write(&path, None).unwrap();
        assert_ne!(newer, ours);
        let ours_now = Saved {
            turns: vec![Message::user("something else"), Message::assistant("no")],
            ..theirs.clone()
        };
        assert!(ours_now.write(&path, ours).unwrap_err().contains("holds another conversation"));
        assert_eq!(Saved::read(&path).unwrap().turns, theirs.turns);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_who_may_read_the_file_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("talk.json"), folder.path().join("link.json"));
        saved().write(&path, None).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        symlink("talk.json", &link).unwrap();
        let more = saved().with_unfinished(&Assistant { content: "half".into(), ..Assistant::default() });
        more.write(&link, None).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Saved::read(&path).unwrap().turns, more.turns);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn files_from_before_paths_and_cuts_were_kept_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let mut json = serde_json::to_value(saved().wire()).unwrap();
        for key in ["model_path", "cut", "words_at", "message_ids"] {
            json.as_object_mut().unwrap().remove(key);
        }
        std::fs::write(&path, json.to_string()).unwrap();
        let read = Saved::read(&path).unwrap();
        assert_eq!((read.cut.as_deref(), read.words_at), (None, None));
        assert_eq!(read.model_file(), Some("a model".into()));
        let builtin = Saved { model: builtin::NAME.to_owned(), model_path: None, ..read };
        assert_eq!(builtin.model_file(), None);
    }

    #[test]
    fn an_unfinished_answer_is_kept_as_one() {
        let said = Assistant { content: "half of".into(), ..Assistant::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        saved().with_unfinished(&said).write(&path, None).unwrap();
        let read = Saved::read(&path).unwrap();
        assert_eq!(read.turns.last(), Some(&Message::Assistant(said)));
        assert_eq!((read.cut.as_deref(), read.words_at), (Some("unfinished"), None));
        // What is not so, a file may say all the same.
        let mut json = serde_json::to_value(saved().wire()).unwrap();
        (json["cut"], json["words_at"]) = ("unfinished".into(), 2.into());
        std::fs::write(&path, json.to_string()).unwrap();
        let read = Saved::read(&path).unwrap();
        assert_eq!((read.cut, read.words_at), (None, Some(2)));
        json["messages"][2]["content"] = "é".into();
        json["words_at"] = 1.into();
        std::fs::write(&path, json.to_string()).unwrap();
        assert_eq!(Saved::read(&path).unwrap().words_at, None, "the middle of a character");
    }

    #[test]
    fn other_files_are_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text = serde_json::to_string(&saved().wire()).unwrap();
        let bad = |from: &str, to: &str, expected: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = Saved::read(&path).unwrap_err();
            assert!(error.contains(expected) && error.contains("file"), "{error}");
            assert!(saved().write(&path, None).unwrap_err().contains("not a saved conversation"));
        };
        bad("{", "", "expected a saved conversation, found ");
        bad("fathom_conversation", "other", "expected a saved conversation, found other JSON");
        bad(
            "\"fathom_conversation\":1",
            "\"fathom_conversation\":2",
            "expected fathom_conversation 1, found 2",
        );
        bad("\"temperature\":1.0", "\"temperature\":101.0", "settings: temperature: expected a number");
        bad("\"role\":\"user\"", "\"role\":\"system\"", "message 0: expected no system message");
        bad("\"role\":\"assistant\"", "\"role\":\"wizard\"", "message 1:");
        bad("\"messages\"", "\"massages\"", "damaged or edited: missing field `messages`");
        std::fs::write(&path, "Some notes of mine.\n").unwrap();
        let error = Saved::read(&path).unwrap_err();
        assert!(
            error.contains("found text that is not JSON: it begins with \"Some notes of mine.\""),
            "{error}"
        );
        assert!(Saved::read(&folder.path().join("none")).unwrap_err().contains("none"));
    }
}
