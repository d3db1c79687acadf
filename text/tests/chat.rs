//! The chat format: the published test, worked examples, and what holds for every conversation.

mod vocabulary;

use fathom_text::chat::{
    Assistant, Chat, Conversation, Message, Segment, Start, System, Tool, ToolCall, ToolResult, markers,
    parse, render,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vocabulary::real;

fn rendered(messages: Vec<Message>, thinking: bool) -> render::Rendered {
    render::render(&Conversation { messages, thinking }).unwrap()
}

#[test]
fn the_published_test() {
    let golden: Value = serde_json::from_str(include_str!("chat/golden.json")).unwrap();
    let messages: Vec<Message> = serde_json::from_value(golden["messages"].clone()).unwrap();
    let rendered = rendered(messages, golden["mode"] == "thinking");
    assert_eq!(rendered.text(), golden["expected"].as_str().unwrap());
    assert_eq!(rendered.ids(real()).unwrap(), real().encode_with_special(&rendered.text()));
    assert_eq!(rendered.start, Start::Content);
}

#[test]
fn messages_read_what_they_write() {
    let golden: Value = serde_json::from_str(include_str!("chat/golden.json")).unwrap();
    let mut messages: Vec<Message> = serde_json::from_value(golden["messages"].clone()).unwrap();
    assert!(messages.iter().any(|message| matches!(message, Message::Tool(_))));
    messages.push(Message::Assistant(Assistant {
        content: "and".into(),
        open: true,
        ..Assistant::default()
    }));
    for message in messages {
        let read: Message = serde_json::from_value(message.to_json()).unwrap();
        assert_eq!(read, message);
    }
}

fn weather_tool() -> Tool {
    Tool::from_json(json!({"type": "function", "function": {"name": "get_weather", "parameters": {}}}))
        .unwrap()
}

fn weather_call(id: Option<&str>, city: &str) -> ToolCall {
    let mut arguments = Map::new();
    arguments.insert("city".to_owned(), city.into());
    arguments.insert("days".to_owned(), 2.into());
    ToolCall { id: id.map(str::to_owned), name: "get_weather".to_owned(), arguments }
}

/// The examples of the format's description; `{T}` is the block of tools.
#[test]
fn worked_examples() {
    let brief = || Message::system("Be brief.");
    assert_eq!(
        rendered(vec![brief(), Message::user("Hi")], false).text(),
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜></think>"
    );
    let second = vec![
        Message::user("hello"),
        Message::Assistant(Assistant {
            reasoning: "thought".to_owned(),
            content: "Hello! I am DeepSeek.".to_owned(),
            ..Assistant::default()
        }),
        Message::user("1+1=?"),
    ];
    let b = rendered(second, true);
    assert_eq!(
        b.text(),
        "<｜begin▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>Hello! I am DeepSeek.<｜end▁of▁sentence｜><｜User｜>1+1=?\
         <｜Assistant｜><think>"
    );
    assert_eq!(
        b.ids(real()).unwrap(),
        [
            0, 128803, 33310, 128804, 128799, 19923, 3, 342, 1030, 22651, 4374, 1465, 16, 1, 128803, 19, 13,
            19, 127252, 128804, 128798
        ]
    );
    assert_eq!(b.start, Start::Reasoning);

    let tools = Message::System(System {
        content: "Be brief.".to_owned(),
        tools: vec![weather_tool()],
        response_format: None,
    });
    let t = rendered(vec![tools.clone()], true).text();
    let t = t.strip_prefix("<｜begin▁of▁sentence｜>Be brief.\n\n").unwrap();
    assert!(
        t.starts_with("## Tools\n\n")
            && t.ends_with("{\"name\": \"get_weather\", \"parameters\": {}}\n</functions>\n")
    );
    let mut history = vec![
        tools,
        Message::user("Weather?"),
        Message::Assistant(Assistant {
            reasoning: "Need tool.".to_owned(),
            calls: vec![weather_call(None, "Paris")],
            ..Assistant::default()
        }),
        Message::tool("{\"temp\": 21}"),
    ];
    let call = "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" \
                string=\"true\">Paris</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" \
                string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>\n\n\
                <function_results>\n<result>{\"temp\": 21}</result>\n</function_results>\n\n";
    let head = format!("<｜begin▁of▁sentence｜>Be brief.\n\n{t}<｜User｜>Weather?<｜Assistant｜>");
    let c = rendered(history.clone(), true);
    assert_eq!(c.text(), format!("{head}<think>Need tool.</think>{call}<think>"));
    assert_eq!(c.start, Start::Reasoning);
    history.extend([Message::assistant("21C."), Message::user("Thanks")]);
    assert_eq!(
        rendered(history, true).text(),
        format!(
            "{head}</think>{call}</think>21C.<｜end▁of▁sentence｜><｜User｜>Thanks<｜Assistant｜><think>"
        )
    );
}

#[test]
fn a_response_format_follows_the_tools() {
    let system = Message::System(System {
        content: String::new(),
        tools: vec![weather_tool()],
        response_format: Some(json!({"type": "object", "x": [1.0, "ü"]})),
    });
    let text = rendered(vec![system, Message::user("Hi")], false).text();
    assert!(text.contains(
        "</functions>\n\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n\
         {\"type\": \"object\", \"x\": [1.0, \"ü\"]}<｜User｜>Hi"
    ));
}

#[test]
fn an_answer_can_be_continued() {
    let open = |reasoning: &str, content: &str| {
        let (reasoning, content) = (reasoning.to_owned(), content.to_owned());
        vec![
            Message::user("Hi"),
            Message::Assistant(Assistant { reasoning, content, open: true, ..Assistant::default() }),
        ]
    };
    let head = "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>";
    for (messages, thinking, expected, start) in [
        (open("", "Yes"), false, "</think>Yes", Start::Content),
        (open("Hm", ""), true, "<think>Hm", Start::Reasoning),
        (open("Hm", "Yes"), true, "<think>Hm</think>Yes", Start::Content),
        (open("", ""), true, "<think>", Start::Reasoning),
    ] {
        let rendered = rendered(messages, thinking);
        assert_eq!((rendered.text(), rendered.start), (format!("{head}{expected}"), start));
    }
}

#[test]
fn results_stand_in_the_order_of_the_calls() {
    let result = |id: &str| {
        Message::Tool(ToolResult { call_id: Some(id.to_owned()), content: format!("result {id}") })
    };
    let history = |results: Vec<Message>| {
        let calls = vec![weather_call(Some("a"), "Paris"), weather_call(Some("b"), "Rome")];
        let mut messages =
            vec![Message::user("?"), Message::Assistant(Assistant { calls, ..Assistant::default() })];
        messages.extend(results);
        Conversation { messages, thinking: false }
    };
    let text = render::render(&history(vec![result("b"), result("a")])).unwrap().text();
    assert!(text.contains("<result>result a</result>\n<result>result b</result>\n</function_results>"));
    let text = render::render(&history(vec![Message::tool("1"), Message::tool("2")])).unwrap().text();
    assert!(text.contains("<result>1</result>\n<result>2</result>\n</function_results>"));
    for (results, words) in [
        (vec![result("a")], "message 1 calls 2 tools"),
        (vec![result("a"), result("b"), result("b")], "found 3"),
        (vec![result("a"), result("a")], "message 3 is the result of tool call \"a\""),
        (vec![result("a"), result("c")], "tool call \"c\""),
        (vec![Message::user("x"), result("a")], "message 3 is a tool result"),
        (vec![Message::assistant("x"), result("a")], "message 3 is a tool result"),
    ] {
        let said = render::render(&history(results)).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    // Calls that nobody answered are history like any other.
    assert!(render::render(&history(vec![Message::user("never mind")])).is_ok());
}

#[test]
fn messages_are_read_from_json() {
    let read = |json: Value| serde_json::from_value::<Message>(json);
    assert_eq!(read(json!({"role": "user", "content": "x"})).unwrap(), Message::user("x"));
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\",\"days\":2}"}},
    ]});
    let Message::Assistant(assistant) = read(call).unwrap() else { panic!("not an assistant") };
    assert_eq!(assistant.calls, [weather_call(Some("1"), "Paris")]);
    for (json, words) in [
        (json!({"role": "robot", "content": "x"}), "robot"),
        (json!({"role": "user"}), "content"),
        (json!({"role": "system", "tools": [{"function": {}}]}), "`name`"),
        (
            json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}),
            "object",
        ),
    ] {
        let said = read(json).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

// What holds for every conversation ----------------------------------------------------------------------------------

/// Text that looks like everything the format is made of, without any control token.
fn text() -> impl Strategy<Value = String> {
    let parts = vec![
        "a",
        " ",
        "\n",
        "\n\n",
        "<",
        ">",
        "</",
        "｜",
        "DSML",
        "｜DSML",
        "<｜",
        "function_calls>",
        "parameter>",
        "invoke ",
        "</parameter>",
        "</invoke>",
        "<result>",
        "</result>",
        "你好",
        "1234",
        "👍",
        "\"",
        "\\",
        "{\"a\": 1}",
        "think>",
        "<b>",
        "\u{0}",
        "é",
        "e\u{301}",
        "   x",
        "don't",
        "<function_calls>",
        "User",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..8)
        .prop_map(|parts| parts.concat())
        .prop_filter("no control text", |text| !holds_control(text))
}

fn holds_control(text: &str) -> bool {
    real().specials().any(|(control, _)| text.contains(control))
}

/// Any text, control tokens included.
fn hostile() -> impl Strategy<Value = String> {
    (text(), prop::sample::select(markers::ALL.to_vec()), text()).prop_map(|(a, control, b)| a + control + &b)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Floats as `Value::from` spells them: `1e-08`, as the format writes it, is read back as `1e-08` and not as `1e-8`.
fn spelled_as_made(call: ToolCall) -> ToolCall {
    fn spelled(value: Value) -> Value {
        match value {
            Value::Number(number) if !number.is_i64() => {
                Value::from(number.as_f64().expect("a float was made"))
            }
            Value::Array(items) => items.into_iter().map(spelled).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, spelled(value))).collect(),
            other => other,
        }
    }
    let arguments = call.arguments.into_iter().map(|(key, value)| (key, spelled(value))).collect();
    ToolCall { arguments, ..call }
}

fn call(bodies: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = ToolCall> {
    let value = prop_oneof![bodies.prop_map(Value::from), json_value()];
    ("[a-z_]{1,8}", prop::collection::vec(("[a-zA-Z0-9_.-]{1,6}", value), 0..4))
        .prop_map(|(name, pairs)| ToolCall { id: None, name, arguments: pairs.into_iter().collect() })
}

fn assistant<S>(bodies: fn() -> S) -> impl Strategy<Value = Assistant>
where
    S: Strategy<Value = String> + 'static,
{
    (bodies(), bodies(), prop::collection::vec(call(bodies()), 0..3))
        .prop_map(|(reasoning, content, calls)| Assistant { reasoning, content, calls, open: false })
}

fn conversation<S>(bodies: fn() -> S) -> impl Strategy<Value = Conversation>
where
    S: Strategy<Value = String> + 'static,
{
    let turn = (bodies(), assistant(bodies), bodies()).prop_map(|(user, assistant, result)| {
        let n_calls = assistant.calls.len();
        let mut turn = vec![Message::User(user), Message::Assistant(assistant)];
        turn.extend((0..n_calls).map(|_| Message::tool(result.clone())));
        turn
    });
    let schema = (any::<bool>(), json_value(), bodies());
    (bodies(), schema, prop::collection::vec(turn, 0..3), bodies(), any::<bool>()).prop_map(
        |(system, (has_tools, schema, description), turns, last, thinking)| {
            let tool = json!({"name": "tool", "description": description, "parameters": schema.clone()});
            let tools = if has_tools { vec![Tool::from_json(tool).unwrap()] } else { Vec::new() };
            let response_format = (!has_tools).then_some(schema);
            let mut messages = vec![Message::System(System { content: system, tools, response_format })];
            messages.extend(turns.into_iter().flatten());
            messages.push(Message::User(last));
            Conversation { messages, thinking }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Bodies and the text around them are merged as one.
    #[test]
    fn ids_are_those_of_the_whole_string(conversation in conversation(text)) {
        let rendered = render::render(&conversation).unwrap();
        prop_assert_eq!(rendered.ids(real()).unwrap(), real().encode_with_special(&rendered.text()));
    }

    /// Control tokens come from the format alone, and no byte is lost.
    #[test]
    fn bodies_cannot_smuggle_control_tokens(conversation in conversation(hostile)) {
        let rendered = render::render(&conversation).unwrap();
        let ids = rendered.ids(real()).unwrap();
        let controls: Vec<u32> = rendered.segments.iter().filter_map(|segment| match segment {
            Segment::Control(text) => real().special(text),
            Segment::Text(_) => None,
        }).collect();
        let found: Vec<u32> = ids.iter().copied().filter(|&id| real().specials().any(|(_, other)| other == id)).collect();
        prop_assert_eq!(found, controls);
        prop_assert_eq!(real().decode_bytes(&ids).unwrap(), rendered.text().into_bytes());
    }

    /// What is rendered is read back; a float in Python's spelling, which is kept as it was written.
    #[test]
    fn parse_of_render_is_the_message(assistant in assistant(text), cuts in prop::collection::vec(1usize..9, 1..20)) {
        let messages = vec![Message::user("x"), Message::Assistant(assistant.clone())];
        let text = rendered(messages, true).text();
        let answer = text.split_once("<think>").unwrap().1.strip_suffix(markers::EOS).unwrap();
        // Only what was announced is called.
        let announced = |call: &ToolCall| Tool::from_json(json!({"name": call.name, "parameters": {}})).unwrap();
        let tools: Vec<Tool> = assistant.calls.iter().map(announced).collect();
        let Message::Assistant(whole) = parse::parse(answer, Start::Reasoning, tools.clone()) else { panic!("not an assistant") };
        let calls = whole.calls.into_iter().map(spelled_as_made).collect();
        prop_assert_eq!(Assistant { calls, ..whole }, assistant.clone());
        let mut parser = parse::Parser::new(Start::Reasoning, tools);
        let mut calls = Vec::new();
        let mut said = (String::new(), String::new());
        let mut rest = answer.chars();
        let mut events = Vec::new();
        for n in cuts.iter().cycle() {
            let part: String = rest.by_ref().take(*n).collect();
            if part.is_empty() {
                break;
            }
            events.extend(parser.push(&part));
        }
        events.extend(parser.finish(parse::End::Cut));
        for event in events {
            match event {
                parse::Event::Reasoning(text) => said.0 += &text,
                parse::Event::Content(text) => said.1 += &text,
                parse::Event::Call(call) => calls.push(spelled_as_made(call)),
                _ => {}
            }
        }
        prop_assert_eq!(said, (assistant.reasoning, assistant.content));
        prop_assert_eq!(calls, assistant.calls);
    }

    /// Whatever a model writes, nothing stops the program, and without calls no text is lost.
    #[test]
    fn any_answer_is_parsed(parts in prop::collection::vec(prop::sample::select(vec![
        "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "<｜DSML｜invoke name=\"", "x\">", "\n", "</think>", "<think>",
        "<｜DSML｜parameter name=\"y\" string=\"true\">", "</｜DSML｜parameter>", "</｜DSML｜invoke>", "<function_calls>", "<invoke ",
        "name=\"", "text", "<", "</", "{", "}", "\"", ">", " ", "｜", "é", "<parameter name=\"z\" string=\"false\">", "</parameter>",
    ]), 0..25), start in prop::sample::select(vec![Start::Reasoning, Start::Content, Start::Unknown])) {
        let answer = parts.concat();
        let tools = vec![weather_tool()];
        let Message::Assistant(whole) = parse::parse(&answer, start, tools.clone()) else { panic!("not an assistant") };
        let mut parser = parse::Parser::new(start, tools);
        let mut events: Vec<_> = parts.iter().flat_map(|part| parser.push(part)).collect();
        events.extend(parser.finish(parse::End::Eos));
        let content: String = events.iter().filter_map(|event| match event {
            parse::Event::Content(text) | parse::Event::Unfinished { raw: text, .. } => Some(text.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(content, whole.content);
    }
}

#[test]
fn the_format_is_chosen_by_the_vocabulary() {
    let chat = Chat::new(real()).unwrap();
    assert!(chat.is_v32());
    let conversation = Conversation { messages: vec![Message::user("Hi")], thinking: true };
    let prompt = chat.prompt(real(), &conversation).unwrap();
    assert_eq!(prompt.start, Start::Reasoning);
    assert_eq!(
        prompt.tokens,
        real().encode_with_special("<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>")
    );
}

#[test]
fn one_tokenizer_serves_all_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<fathom_text::tokenizer::Tokenizer>();
    shared::<Chat>();
}
