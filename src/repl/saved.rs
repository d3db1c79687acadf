//! A conversation as a file.

use crate::chat::{Message, Tool};
use crate::cli::adjust::AdjustArgs;
use crate::cli::talk::{self, NPredict, SamplingArgs, Seed, TalkArgs};
use crate::files;
use crate::sampler::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The number that tells a file of ours, and its form.
const VERSION: u32 = 1;
/// No context holds more text, however it is written.
const LARGEST: u64 = 256 << 20;

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
#[derive(Debug)]
pub(super) struct Saved {
    /// The model it was had with.
    pub model: String,
    /// The settings at that time.
    pub talk: TalkArgs,
    /// What the model could call.
    pub tools: Vec<Tool>,
    /// The messages, without the system prompt.
    pub turns: Vec<Message>,
    /// For each message the ids in which the model gave it, or none: they are only its own if they say what it says.
    pub message_ids: Vec<Vec<u32>>,
}

impl Saved {
    /// Writes the file: it is whole or not there.
    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        if path.exists() && Saved::read(path).is_err() {
            return Err(format!(
                "{}: there is a file of this name that is no saved conversation; choose another name",
                path.display()
            ));
        }
        let text = self.text()?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let part = PathBuf::from(name);
        let written = File::create(&part)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&part, path));
        written.map_err(|error| {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&part);
            format!("{}: {error}", path.display())
        })
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
        }
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Saved, String> {
        let at = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
        let bytes = files::read(path, LARGEST)?;
        let json: Value = serde_json::from_slice(&bytes)
            .map_err(|error| at(&format!("expected a saved conversation (JSON), found {error}")))?;
        match json.get("fathom_conversation") {
            Some(version) if *version == VERSION => {}
            Some(version) => {
                return Err(at(&format!("expected fathom_conversation {VERSION}, found {version}")));
            }
            None => return Err(at(&"expected a conversation saved by /save, found other JSON")),
        }
        let wire: Wire = serde_json::from_value(json).map_err(|error| at(&error))?;
        let turns = wire.messages.into_iter().enumerate().map(
            |(index, message)| match serde_json::from_value(message) {
                Ok(Message::System(_)) => Err(format!(
                    "message {index}: expected no system message (it belongs into settings.system), found one"
                )),
                Ok(message) => Ok(message),
                Err(error) => Err(format!("message {index}: {error}")),
            },
        );
        let turns = turns.collect::<Result<Vec<_>, _>>().map_err(|error| at(&error))?;
        let mut settings = wire.settings;
        let tools = std::mem::take(&mut settings.tools).into_iter().map(Tool::from_json);
        let tools =
            tools.collect::<Result<_, _>>().map_err(|error| at(&format!("settings: tools: {error}")))?;
        let talk = settings.checked().map_err(|error| at(&format!("settings: {error}")))?;
        Ok(Saved { model: wire.model, talk, tools, turns, message_ids: wire.message_ids })
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
mod tests {
    use super::*;
    use crate::chat::Assistant;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        talk: TalkArgs,
    }

    fn saved() -> Saved {
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
            talk: Words::parse_from(words).talk,
            turns: vec![Message::user("é\u{1b}"), Message::Assistant(reasoned), Message::user("more")],
            tools: vec![Tool::from_json(serde_json::json!({"name": "get_time"})).unwrap()],
            message_ids: vec![vec![], vec![5, 9], vec![]],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        saved().write(&path).unwrap();
        saved().write(&path).expect("an older state is replaced");
        let read = Saved::read(&path).unwrap();
        assert_eq!(
            format!("{read:?}"),
            format!("{:?}", saved()).replace("no_think: false", "no_think: true")
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
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
            assert!(saved().write(&path).unwrap_err().contains("no saved conversation"));
        };
        bad("{", "", "expected a saved conversation");
        bad("fathom_conversation", "other", "saved by /save");
        bad(
            "\"fathom_conversation\":1",
            "\"fathom_conversation\":2",
            "expected fathom_conversation 1, found 2",
        );
        bad("\"temperature\":1.0", "\"temperature\":-1.0", "settings: temperature: expected a number from 0");
        bad("\"role\":\"user\"", "\"role\":\"system\"", "message 0: expected no system message");
        bad("\"role\":\"assistant\"", "\"role\":\"wizard\"", "message 1:");
        bad("\"messages\"", "\"massages\"", "missing field `messages`");
        assert!(Saved::read(&folder.path().join("none")).unwrap_err().contains("none"));
    }
}
