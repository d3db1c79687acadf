//! A conversation as a file for others: Markdown to read, or JSON in the shape that OpenAI's and DeepSeek's interfaces take.

use super::command::Form;
use fathom_files::writing::Disk;
use fathom_text::chat::{Assistant, Conversation, Message, ToolCall};
use serde_json::json;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

/// Writes a file that must not be there yet.
pub(super) fn write(conversation: &Conversation, model: &str, form: Form, path: &Path) -> Result<(), String> {
    write_on(Disk::SYSTEM, conversation, model, form, path)
}

/// The same on a disk that fails when a test says so.
pub(super) fn write_on(
    disk: Disk,
    conversation: &Conversation,
    model: &str,
    form: Form,
    path: &Path,
) -> Result<(), String> {
    let text = match form {
        Form::Markdown => markdown(conversation, model),
        Form::Json => {
            let messages: Vec<_> = conversation.messages.iter().map(Message::to_json).collect();
            let whole = json!({"model": model, "messages": messages});
            serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())? + "\n"
        }
    };
    let written = disk.create_new(path).and_then(|file| {
        let written = disk.write_all(&file, text.as_bytes()).and_then(|()| disk.sync(&file));
        // Half of it is in the way of the next attempt. What cannot be removed is told by that.
        written.inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{}: there is a file of this name; choose another name", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    })
}

fn markdown(conversation: &Conversation, model: &str) -> String {
    let mut text = format!("# A conversation with {model}\n");
    let mut section = |who: &str, said: &str| {
        write!(text, "\n## {who}\n\n{}\n", said.trim_end()).expect("a string takes any text");
    };
    for message in &conversation.messages {
        match message {
            Message::System(system) => section("System", &system.content),
            Message::User(said) => section("You", said),
            Message::Assistant(answer) if answer.reasoning.is_empty() => section("Model", &said(answer)),
            Message::Assistant(answer) => {
                let reasoning: String =
                    answer.reasoning.trim_end().lines().map(|line| format!("> {line}\n")).collect();
                section("Model", &format!("{reasoning}\n{}", said(answer)));
            }
            Message::Tool(result) => section("Tool", &result.content),
        }
    }
    text
}

/// What the model said and called.
fn said(answer: &Assistant) -> String {
    let call = |call: &ToolCall| {
        let json = serde_json::Value::Object(call.arguments.clone());
        format!("\n\nIt called {}:\n\n    {json}", call.name)
    };
    let text = answer.content.trim_end().to_owned() + &answer.calls.iter().map(call).collect::<String>();
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        let answer =
            Assistant { reasoning: "well\nwell".into(), content: "So.".into(), ..Assistant::default() };
        let messages =
            vec![Message::system("Be brief."), Message::user("Why?\n"), Message::Assistant(answer)];
        Conversation { messages, thinking: true }
    }

    #[test]
    fn markdown_has_who_said_what() {
        let text = markdown(&conversation(), "a model");
        let expected = "# A conversation with a model\n\n## System\n\nBe brief.\n\n## You\n\nWhy?\n\n## Model\n\n> well\n> well\n\nSo.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_reads_itself_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        write(&conversation(), "a model", Form::Json, &path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(json["messages"].clone()).unwrap();
        assert_eq!(messages, conversation().messages);
        let error = write(&conversation(), "a model", Form::Markdown, &path).unwrap_err();
        assert!(error.contains("choose another name"), "{error}");
    }
}
