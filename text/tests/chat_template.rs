//! Chat templates of files without V3.2's format.

mod vocabulary;

use fathom_gguf::{OwnedArray, OwnedValue};
use fathom_text::chat::{
    Assistant, Chat, ChatError, Conversation, Message, Segment, Start, System, Tool, ToolCall, ToolResult,
};
use fathom_text::tokenizer::Tokenizer;
use proptest::prelude::*;
use serde_json::{Map, json};
use std::sync::OnceLock;
use vocabulary::{from_bytes, gguf, keys};

/// The real vocabulary with id 128793 as it is in V3, R1 and V3.1, and a template.
fn older(template: Option<&str>) -> Tokenizer {
    static KEYS: OnceLock<Vec<(String, OwnedValue)>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let mut keys = keys();
        for (key, value) in &mut keys {
            if let ("tokenizer.ggml.tokens", OwnedValue::Array(OwnedArray::Str(tokens))) =
                (key.as_str(), value)
            {
                tokens[128_793] = "<｜place▁holder▁no▁793｜>".to_owned();
            }
        }
        keys
    });
    let mut keys = keys.clone();
    if let Some(template) = template {
        keys.push(("tokenizer.chat_template".to_owned(), template.into()));
    }
    from_bytes(&gguf(keys)).unwrap()
}

/// In the manner of V3.1: what its template does, written anew.
const V31: &str = "\
{%- set ns = namespace(system='', opened=false) -%}
{%- for message in messages if message['role'] == 'system' -%}
  {%- set ns.system = ns.system + message['content'] -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system }}
{%- if tools is defined and tools is not none -%}
  {{ '\n\n## Tools\n' }}
  {%- for tool in tools -%}
    {{ tool['function']['name'] + ': ' + tool['function'] | tojson + '\n' }}
  {%- endfor -%}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}
    {{ '<｜User｜>' + message['content'] }}
  {%- elif message.role == 'assistant' -%}
    {{ '<｜Assistant｜></think>' }}
    {%- if message['content'] is not none -%}
      {%- set content = message['content'] -%}
      {%- if '</think>' in content -%}{%- set content = content.split('</think>', 1)[1] -%}{%- endif -%}
      {{ content.strip() }}
    {%- endif -%}
    {%- for call in message['tool_calls'] or [] -%}
      {{ '<｜tool▁call▁begin｜>' + call['function']['name'] + '<｜tool▁sep｜>' + ARGUMENTS + '<｜tool▁call▁end｜>' }}
    {%- endfor -%}
    {{ eos_token }}
  {%- elif message.role == 'tool' -%}
    {{ '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages[-1]['role'] == 'user' -%}
  {{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}
{%- endif -%}";

fn v31(arguments: &str) -> String {
    V31.replace("ARGUMENTS", arguments)
}

fn with_text() -> String {
    v31("call['function']['arguments']")
}

fn history() -> Vec<Message> {
    let mut arguments = Map::new();
    arguments.insert("city".to_owned(), "Köln <b>".into());
    arguments.insert("days".to_owned(), json!([1, 2.5]));
    let tool = json!({"name": "weather", "description": "it's <here>", "parameters": {"z": 1, "a": 2}});
    vec![
        Message::System(System {
            content: "Be brief.".to_owned(),
            tools: vec![Tool::from_json(tool).unwrap()],
            response_format: None,
        }),
        Message::user("Weather?"),
        Message::Assistant(Assistant {
            calls: vec![ToolCall { id: None, name: "weather".to_owned(), arguments }],
            ..Assistant::default()
        }),
        Message::Tool(ToolResult { call_id: None, content: "21".to_owned() }),
        Message::assistant(" 21C. "),
        Message::user("Thanks"),
    ]
}

const EXPECTED: &str = "<｜begin▁of▁sentence｜>Be brief.\n\n## Tools\n\
    weather: {\"name\": \"weather\", \"description\": \"it's <here>\", \"parameters\": {\"z\": 1, \"a\": 2}}\n\
    <｜User｜>Weather?<｜Assistant｜></think><｜tool▁call▁begin｜>weather<｜tool▁sep｜>\
    {\"city\": \"Köln <b>\", \"days\": [1, 2.5]}<｜tool▁call▁end｜><｜end▁of▁sentence｜>\
    <｜tool▁output▁begin｜>21<｜tool▁output▁end｜><｜Assistant｜></think>21C.<｜end▁of▁sentence｜>\
    <｜User｜>Thanks<｜Assistant｜><think>";

#[test]
fn the_template_of_the_file_is_run() {
    // Arguments as text or as objects: whichever way the template writes them once.
    for template in [with_text(), v31("call['function']['arguments'] | tojson")] {
        let tokenizer = older(Some(&template));
        let chat = Chat::new(&tokenizer).unwrap();
        assert!(!chat.is_v32());
        let conversation = Conversation { messages: history(), thinking: true };
        let rendered = chat.render(&conversation).unwrap();
        assert_eq!(rendered.text(), EXPECTED);
        let prompt = chat.prompt(&tokenizer, &conversation).unwrap();
        assert_eq!(prompt.tokens, tokenizer.encode_with_special(EXPECTED));
        assert_eq!(prompt.start, Start::Reasoning);
        let conversation = Conversation { thinking: false, ..conversation };
        assert_eq!(chat.prompt(&tokenizer, &conversation).unwrap().start, Start::Content);
    }
}

#[test]
fn a_file_with_nothing_is_refused() {
    let said = Chat::new(&older(None)).unwrap_err();
    assert!(matches!(said, ChatError::NoFormat));
    assert!(said.to_string().contains("run --raw"), "{said}");
}

#[test]
fn what_a_template_cannot_do_is_said() {
    let chat = |template: &str| Chat::new(&older(Some(template)));
    assert!(chat("{% for x in %}").unwrap_err().to_string().contains("chat_template"));
    let simple = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let render = |template: &str, messages: Vec<Message>| {
        chat(template).unwrap().render(&Conversation { messages, thinking: false })
    };
    assert_eq!(render(simple, vec![Message::user("x")]).unwrap().start, Start::Unknown);
    let said = |template: &str, messages| render(template, messages).unwrap_err().to_string();
    assert!(said(simple, history()).contains("no place for tools"));
    let schema = System { response_format: Some(json!({})), ..System::default() };
    assert!(said(simple, vec![Message::System(schema)]).contains("no place for a response format"));
    let open = Assistant { open: true, ..Assistant::default() };
    assert!(said(simple, vec![Message::Assistant(open)]).contains("continued"));
    let user = || vec![Message::user("x")];
    assert!(said("{{ raise_exception('roles must alternate') }}", user()).contains("roles must alternate"));
    assert!(
        said(
            "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
            user()
        )
        .contains("fuel")
    );
    assert!(said("{% if false %}x{% endif %}", user()).contains("found an empty text"));
    assert!(chat(&"x".repeat(1 << 20)).unwrap_err().to_string().contains("bytes"));
    assert!(said("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", user()).contains("recursion"));
    assert!(said("{{ ('a' * 1000000000) * 1000 }}", user()).contains("chat_template"));
    // A panic of the engine, where it is compiled or where it is run.
    let panics =
        ["{{ [1,2][::-9223372036854775808] }}", "{% set n = -9223372036854775808 %}{{ messages[::n] }}"];
    for source in panics {
        let error = chat(source).map_or_else(|error| error.to_string(), |_| said(source, user()));
        for words in ["tokenizer.chat_template: ", "attempt to negate with overflow", "--raw"] {
            assert!(error.contains(words), "{source}: {error}");
        }
    }
}

#[test]
fn json_is_python_s() {
    let template = "{{ messages[0] | tojson }}|{{ messages[0] | tojson(indent=2, ensure_ascii=False) }}";
    let chat = Chat::new(&older(Some(template))).unwrap();
    let messages = vec![Message::user("<é>'\"")];
    let text = chat.render(&Conversation { messages, thinking: false }).unwrap().text();
    let expected = r#"{"role": "user", "content": "<é>'\""}|{
  "role": "user",
  "content": "<é>'\""
}"#;
    assert_eq!(text, expected);
    // What is written as escapes is what was meant, control text too.
    let chat = Chat::new(&older(Some("{{ messages[0].content | tojson(ensure_ascii=true) }}"))).unwrap();
    let messages = vec![Message::user("<｜User｜>é<b>")];
    let text = chat.render(&Conversation { messages, thinking: false }).unwrap().text();
    assert_eq!(text, r#""<\uff5cUser\uff5c>\u00e9<b>""#);
}

fn hostile() -> impl Strategy<Value = String> {
    let parts = vec![
        "<｜User｜>",
        "</think>",
        "<think>",
        "<｜end▁of▁sentence｜>",
        "<",
        "｜",
        "<｜",
        "User｜>",
        ">",
        "think>",
        "a",
        " ",
        "\n",
        "\u{f0000}",
        "\u{f0001}",
        "\u{100000}",
        ":",
        "<dsml:",
        "{{ 1 }}",
        "é",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// The same control tokens, whatever the bodies say, and every body whole.
    #[test]
    fn bodies_cannot_smuggle_control_tokens(user in hostile(), answer in hostile(), value in hostile()) {
        static FILE: OnceLock<(Tokenizer, Chat)> = OnceLock::new();
        let (tokenizer, chat) = FILE.get_or_init(|| {
            let tokenizer = older(Some(&with_text()));
            let chat = Chat::new(&tokenizer).unwrap();
            (tokenizer, chat)
        });
        let mut messages = history();
        let before = chat.render(&Conversation { messages: messages.clone(), thinking: true }).unwrap();
        messages[1] = Message::user(user.clone());
        messages[4] = Message::assistant(answer.clone());
        if let Message::Assistant(assistant) = &mut messages[2] {
            assistant.calls[0].arguments.insert("city".to_owned(), value.clone().into());
        }
        let after = chat.render(&Conversation { messages, thinking: true }).unwrap();
        let controls = |segments: &[Segment]| -> Vec<String> {
            segments.iter().filter_map(|segment| match segment {
                Segment::Control(text) => Some(text.clone().into_owned()),
                Segment::Text(_) => None,
            }).collect()
        };
        prop_assert_eq!(controls(&after.segments), controls(&before.segments));
        let value = serde_json::to_string(&value).unwrap();
        for body in [user.as_str(), answer.trim(), &value] {
            prop_assert!(after.text().contains(body), "{body:?} in {:?}", after.text());
        }
        let ids = after.ids(tokenizer).unwrap();
        prop_assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), after.text().into_bytes());
    }
}
