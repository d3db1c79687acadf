use super::*;
use crate::chat::message::ToolCall;
use serde_json::{Value, json};

fn weather() -> Vec<Tool> {
    let parameters = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "metric": {"type": ["boolean", "null"]},
        "factor": {"type": "number"}, "places": {"type": "array"},
    }});
    vec![Tool::from_json(json!({"name": "weather", "parameters": parameters})).unwrap()]
}

/// All events, with texts joined, whether the answer comes at once, by characters, or cut anywhere in two.
fn events(answer: &str, start: Start, tools: &[Tool], end: End) -> Vec<Event> {
    let run = |parts: Vec<&str>| {
        let mut parser = Parser::new(start, tools.to_vec());
        let mut all: Vec<Event> = Vec::new();
        let mut shown = String::new();
        for part in parts {
            for event in parser.push(part) {
                push_joined(&mut all, event, &mut shown);
            }
        }
        for event in parser.finish(end) {
            push_joined(&mut all, event, &mut shown);
        }
        without_pieces(all)
    };
    let whole = run(vec![answer]);
    let places: Vec<usize> = answer.char_indices().map(|(place, _)| place).chain([answer.len()]).collect();
    assert_eq!(
        run(places.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect()),
        whole,
        "by characters"
    );
    for place in places {
        assert_eq!(run(vec![&answer[..place], &answer[place..]]), whole, "cut at {place}");
    }
    whole
}

/// The events without the pieces of arguments, which must make up the arguments of each call.
pub(super) fn without_pieces(events: Vec<Event>) -> Vec<Event> {
    let mut given = String::new();
    let stays = |event: &Event| {
        match event {
            Event::CallStart { .. } => given.clear(),
            Event::Arguments(piece) => given += piece,
            Event::Call(call) => assert_eq!(given, Value::Object(call.arguments.clone()).to_string()),
            _ => {}
        }
        !matches!(event, Event::Arguments(_))
    };
    events.into_iter().filter(stays).collect()
}

fn push_joined(all: &mut Vec<Event>, event: Event, shown: &mut String) {
    match (all.last_mut(), event) {
        (Some(Event::Content(before)), Event::Content(text))
        | (Some(Event::Reasoning(before)), Event::Reasoning(text)) => {
            shown.push_str(&text);
            before.push_str(&text);
        }
        (_, event) => all.push(event),
    }
}

fn call(name: &str, arguments: Value) -> Event {
    let Value::Object(arguments) = arguments else { panic!("not an object") };
    Event::Call(ToolCall { id: None, name: name.to_owned(), arguments })
}

fn started(name: &str) -> Event {
    Event::CallStart { name: name.to_owned() }
}

fn content(text: &str) -> Event {
    Event::Content(text.to_owned())
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning(text.to_owned())
}

#[test]
fn reasoning_then_content() {
    for (answer, expected) in [
        ("a <b> c\n\n</think>\nd", vec![reasoning("a <b> c\n\n"), content("\nd")]),
        ("</think>d", vec![content("d")]),
        ("never ends </thin", vec![reasoning("never ends </thin")]),
        ("a</think>b</think><think>", vec![reasoning("a"), content("b</think><think>")]),
        ("", vec![]),
    ] {
        assert_eq!(events(answer, Start::Reasoning, &[], End::Eos), expected);
    }
    assert_eq!(events("a</think>b\n\n", Start::Content, &[], End::Eos), [content("a</think>b\n\n")]);
}

#[test]
fn a_model_may_open_its_reasoning_itself() {
    assert_eq!(events("\n<think>a</think>b", Start::Unknown, &[], End::Eos), [reasoning("a"), content("b")]);
    assert_eq!(events(" <thinker>", Start::Unknown, &[], End::Eos), [content(" <thinker>")]);
    assert_eq!(events(" <thi", Start::Unknown, &[], End::Eos), [content(" <thi")]);
}

const CALL: &str = "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n\
    <｜DSML｜parameter name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n\
    <｜DSML｜parameter name=\"days\" string=\"false\">2</｜DSML｜parameter>\n\
    </｜DSML｜invoke>\n</｜DSML｜function_calls>";

fn paris() -> Vec<Event> {
    vec![started("weather"), call("weather", json!({"city": "Paris", "days": 2}))]
}

#[test]
fn calls_as_published() {
    let answer = format!("Need it.</think>I look.\n\n{CALL}");
    let expected = [vec![reasoning("Need it."), content("I look.")], paris()].concat();
    assert_eq!(events(&answer, Start::Reasoning, &weather(), End::Eos), expected);
    assert_eq!(events(&answer, Start::Reasoning, &weather(), End::Cut), expected);
    let twice = format!("\n\n{CALL}\n\n{CALL}\n\nand text");
    assert_eq!(
        events(&twice, Start::Content, &weather(), End::Eos),
        [paris(), paris(), vec![content("\n\nand text")]].concat()
    );
}

#[test]
fn a_call_ends_the_reasoning() {
    let answer = format!("Need it.\n\n{CALL}");
    assert_eq!(
        events(&answer, Start::Reasoning, &weather(), End::Eos),
        [vec![reasoning("Need it.")], paris()].concat()
    );
}

#[test]
fn marks_and_white_space_may_be_missing() {
    let plain = CALL.replace("｜DSML｜", "");
    let answer = format!("I look.\n\n{plain}");
    let expected = [vec![content("I look.")], paris()].concat();
    assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), expected);
    assert_eq!(events(&answer, Start::Content, &[], End::Eos), [content(&answer)], "no tools, no calls");
    let quoted = format!("Write {plain}");
    assert_eq!(
        events(&quoted, Start::Content, &weather(), End::Eos),
        [content(&quoted)],
        "not at a line's start"
    );
    let mention = "Tags:\n<function_calls>\nare tags";
    assert_eq!(events(mention, Start::Content, &weather(), End::Eos), [content(mention)]);
    let tight = CALL.replace('\n', "");
    assert_eq!(events(&tight, Start::Content, &weather(), End::Eos), paris());
    let loose = CALL.replace('\n', " \n\n ").replace("\">", "\" >");
    assert_eq!(events(&loose, Start::Content, &weather(), End::Eos), paris());
    let no_block = CALL.replace("<｜DSML｜function_calls>\n", "").replace("\n</｜DSML｜function_calls>", "");
    assert_eq!(events(&no_block, Start::Content, &weather(), End::Eos), paris());
    let no_ends = CALL.replace("\n</｜DSML｜invoke>\n</｜DSML｜function_calls>", "");
    assert_eq!(events(&no_ends, Start::Content, &weather(), End::Eos), paris());
    let no_invoke_end = CALL.replace("\n</｜DSML｜invoke>", "");
    assert_eq!(events(&no_invoke_end, Start::Content, &weather(), End::Eos), paris());
}

/// A value with everything a value may hold.
const NASTY: &str = "\n if a < b && c</d> { \"</parameter>\" }\n</param </invoke>\n<function_calls>\n<invoke name=\"x\"> < ｜DSML｜ ";

fn call_with(parameters: &str) -> String {
    format!(
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n{parameters}\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
}

fn one(key: &str, is_string: &str, value: &str) -> String {
    call_with(&format!("<｜DSML｜parameter name=\"{key}\"{is_string}>{value}</｜DSML｜parameter>"))
}

fn arguments(answer: &str) -> Value {
    match &events(answer, Start::Content, &weather(), End::Eos)[..] {
        [Event::CallStart { .. }, Event::Call(call)] => Value::Object(call.arguments.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_end_at_their_tag_only() {
    assert_eq!(arguments(&one("city", " string=\"true\"", NASTY)), json!({ "city": NASTY }));
    assert_eq!(arguments(&one("city", " string=\"true\"", "")), json!({"city": ""}));
    assert_eq!(arguments(&one("city", " string=\"true\"", "12")), json!({"city": "12"}));
}

#[test]
fn values_that_are_not_json_follow_the_schema() {
    for (key, raw, expected) in [
        ("days", "2", json!(2)),
        ("days", " +2 ", json!(2)),
        ("days", "two", json!("two")),
        ("metric", "True", json!(true)),
        ("metric", "None", json!(null)),
        ("metric", "maybe", json!("maybe")),
        ("factor", ".5", json!(0.5)),
        ("factor", "inf", json!("inf")),
        ("places", "[1, {\"a\": \"<\"}]", json!([1, {"a": "<"}])),
        ("places", "[1,", json!("[1,")),
        ("city", "Paris", json!("Paris")),
        ("city", "5", json!(5)),
        ("unknown", "True", json!("True")),
    ] {
        assert_eq!(arguments(&one(key, " string=\"false\"", raw)), json!({ key: expected }), "{key} {raw}");
    }
    assert_eq!(arguments(&one("city", "", "5")), json!({"city": "5"}), "unmarked, and the schema says text");
    assert_eq!(arguments(&one("days", "", "5")), json!({"days": 5}));
}

#[test]
fn bare_objects_and_wrappers() {
    let city = json!({"city": "Paris", "days": 2});
    assert_eq!(arguments(&call_with(" {\"city\": \"Paris\", \"days\": 2}")), city);
    for key in ["arguments", "input"] {
        assert_eq!(arguments(&one(key, " string=\"false\"", &city.to_string())), city);
        assert_eq!(arguments(&one(key, " string=\"true\"", &city.to_string())), city);
        assert_eq!(arguments(&one(key, " string=\"true\"", "text")), json!({ key: "text" }));
    }
    let bad = call_with("{\"city\": Paris}");
    assert!(matches!(
        &events(&bad, Start::Content, &weather(), End::Eos)[..],
        [Event::CallStart { .. }, Event::Unfinished { name, raw }] if name == "weather" && raw.contains("Paris}")
    ));
    assert_eq!(arguments(&call_with("")), json!({}));
}

#[test]
fn a_cut_call_is_reported_and_text_is_never_lost() {
    for cut in CALL.char_indices().map(|(place, _)| place) {
        let mut parser = Parser::new(Start::Content, weather());
        let mut all = parser.push(&CALL[..cut]);
        all.extend(parser.finish(End::Cut));
        let n_calls = all.iter().filter(|event| matches!(event, Event::Call(_))).count();
        let n_started = all.iter().filter(|event| matches!(event, Event::CallStart { .. })).count();
        let unfinished = all.iter().filter(|event| matches!(event, Event::Unfinished { .. })).count();
        assert_eq!(n_started, n_calls + unfinished, "{cut}: {all:?}");
        if let Some(Event::Unfinished { raw, .. }) = all.last() {
            assert!(CALL.contains(raw.trim()), "{raw}");
        }
    }
}

/// The arguments, where the answer is one call and nothing else; none where it is text.
fn call_or_text(answer: &str) -> Option<Value> {
    match &events(answer, Start::Content, &weather(), End::Eos)[..] {
        [Event::CallStart { .. }, Event::Call(call)] => Some(Value::Object(call.arguments.clone())),
        [Event::CallStart { .. }, Event::Unfinished { raw, .. }] => {
            assert!(answer.contains(raw.as_str()), "{raw}");
            None
        }
        other => panic!("{answer}: {other:?}"),
    }
}

#[test]
fn a_value_whose_end_is_missing_ends_before_the_next_tag() {
    let close = "</｜DSML｜parameter>";
    for (from, to) in [
        (format!("Paris{close}"), "Paris".to_owned()),
        (format!("2{close}"), "2".to_owned()),
        // Misspelt, or without its mark.
        (format!("Paris{close}"), "Paris</｜DSML｜paramater>".to_owned()),
        (format!("Paris{close}"), "Paris</｜DSML｜parameters >".to_owned()),
        (format!("2{close}"), "2</parameter>".to_owned()),
        (format!("Paris{close}"), "Paris</parameter>".to_owned()),
        // Twice.
        (format!("Paris{close}"), format!("Paris{close}\n{close}")),
        ("</｜DSML｜invoke>".to_owned(), "</｜DSML｜invok>".to_owned()),
    ] {
        let answer = CALL.replace(&from, &to);
        assert_ne!(answer, CALL);
        assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), paris(), "{answer}");
    }
    // All that follows is missing too: the block, or the next call.
    let rest = "\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
    let open = format!("2{close}{rest}");
    for ended in ["2\n</｜DSML｜function_calls>", "2\n  </｜DSML｜invoke>", "2\r\n</｜DSML｜invoke>\n"]
    {
        let answer = CALL.replace(&open, ended);
        assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), paris(), "{answer}");
    }
    let answer = CALL.replace(&open, &format!("2\n{}", &CALL[CALL.find("<｜DSML｜invoke").unwrap()..]));
    assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), [paris(), paris()].concat());
    // Without marks the next tag is one without, too.
    let plain = CALL.replace("｜DSML｜", "").replace("Paris</parameter>", "Paris");
    assert_eq!(events(&format!("\n\n{plain}"), Start::Content, &weather(), End::Eos), paris());
}

#[test]
fn a_value_in_which_the_answer_ends_is_no_argument() {
    let begun = &CALL[..CALL.find("2</").unwrap() + 1];
    for rest in ["", "</", "</parameter", "</parameter> and more", "</｜DSML｜", "</｜DSML｜parameter"] {
        assert_eq!(call_or_text(&format!("{begun}{rest}")), None, "{rest}");
    }
    // The closing tags lost their marks, and the answer ends.
    for rest in ["</parameter>", "</parameter>\n</invoke>\n</function_calls>\n"] {
        assert_eq!(call_or_text(&format!("{begun}{rest}")).unwrap(), json!({"city": "Paris", "days": 2}));
    }
    // Cut off, the value may have been longer.
    let cut = format!("{begun}</parameter>\n</invoke>");
    let all = events(&cut, Start::Content, &weather(), End::Cut);
    assert!(matches!(&all[..], [Event::CallStart { .. }, Event::Unfinished { .. }]), "{all:?}");
}

#[test]
fn attributes_come_in_any_order() {
    for tag in [
        "string=\"true\" name=\"city\"",
        " name = 'city' string='true' ",
        "type=\"str\" string=\"True\"\nname=\"city\"",
        "name=\"city\"string=\"true\"",
    ] {
        let answer = call_with(&format!("<｜DSML｜parameter {tag}>5</｜DSML｜parameter>"));
        assert_eq!(call_or_text(&answer), Some(json!({"city": "5"})), "{tag}");
    }
    let named = CALL.replace("invoke name=\"weather\"", "invoke id=\"1\" name=\"weather\"");
    assert_eq!(events(&named, Start::Content, &weather(), End::Eos), paris());
}

#[test]
fn a_call_that_would_lose_an_argument_is_none() {
    let good = "<｜DSML｜parameter name=\"city\" string=\"true\">P</｜DSML｜parameter>\n";
    for bad in [
        "city: Paris",
        "<city>Paris</city>",
        "<｜DSML｜parameter>Paris</｜DSML｜parameter>",
        "<｜DSML｜parameter string=\"true\">Paris</｜DSML｜parameter>",
        "<｜DSML｜parameter name=\"a\" required>Paris</｜DSML｜parameter>",
        "<｜DSML｜parameter name=city string=\"true\">Paris</｜DSML｜parameter>",
        "<｜DSML｜parameter name=\"city>Paris</｜DSML｜parameter>",
        "<｜DSML｜param name=\"city\" string=\"true\">Paris</｜DSML｜param>",
        "<｜DSML｜parameter name=\"city\" string=\"true\">a<｜DSML｜b>c</｜DSML｜parameter>",
        "<｜DSML｜parameter name=\"city\" string=\"true\">a</｜DSML｜b>c</｜DSML｜parameter>",
        "<｜DSML｜function_calls>",
    ] {
        assert_eq!(call_or_text(&call_with(bad)), None, "{bad}");
        assert_eq!(call_or_text(&call_with(&format!("{good}{bad}"))), None, "{bad}");
    }
    // Two values for one parameter; the same one twice is no question.
    let twice = |a: &str, b: &str| {
        call_or_text(&call_with(
            &[a, b]
                .map(|days| {
                    format!("<｜DSML｜parameter name=\"days\" string=\"false\">{days}</｜DSML｜parameter>")
                })
                .concat(),
        ))
    };
    assert_eq!((twice("1", "2"), twice("1", "1")), (None, Some(json!({"days": 1}))));
    assert_eq!(call_or_text(&call_with("{\"days\": 1, \"days\": 2}")), None);
    assert_eq!(
        call_or_text(&one("places", " string=\"false\"", "[{\"a\": 1, \"a\": 2}]")),
        Some(json!({"places": "[{\"a\": 1, \"a\": 2}]"})),
        "it stays the text that it is"
    );
    // A text of a bare object may hold what looks like its end.
    let bare = "{\"city\": \"</invoke> </function_calls>\"}";
    assert_eq!(call_or_text(&call_with(bare)), Some(json!({"city": "</invoke> </function_calls>"})));
    // What follows a call that is none is read again.
    let both = format!("{}\n{}", call_with("city: Paris"), CALL);
    let all = events(&both, Start::Content, &weather(), End::Eos);
    assert!(matches!(&all[..2], [Event::CallStart { .. }, Event::Unfinished { .. }]), "{all:?}");
    assert_eq!(all[2..], paris());
}

#[test]
fn numbers_keep_their_digits() {
    for (key, raw, expected) in [
        ("days", "18446744073709551616", "18446744073709551616"),
        ("days", "-175928847299117063175928847299117063", "-175928847299117063175928847299117063"),
        ("days", "+99999999999999999999", "99999999999999999999"),
        ("days", "007", "7"),
        ("days", "-0", "-0"),
        ("factor", "1e400", "1e400"),
        ("factor", "0.10000000000000000000001", "0.10000000000000000000001"),
        ("factor", ".12345678901234567890", "0.12345678901234567890"),
        ("factor", "-2.", "-2"),
        ("factor", "1.50", "1.50"),
        ("places", "[9007199254740993, {\"a\": 1E+2}]", "[9007199254740993, {\"a\": 100.0}]"),
    ] {
        let Value::Object(arguments) = arguments(&one(key, " string=\"false\"", raw)) else { panic!() };
        let expected: Value = serde_json::from_str(expected).unwrap();
        match raw.starts_with('[') {
            // What goes back into the prompt is what Python writes, and the same number.
            true => assert_eq!(
                crate::chat::python::to_json(&arguments[key]),
                expected.to_string().replace(',', ", ").replace(':', ": ")
            ),
            false => assert_eq!(arguments[key], expected, "{raw}"),
        }
    }
}

#[test]
fn content_beside_calls_is_clean() {
    let call =
        &CALL[CALL.find("<｜DSML｜invoke").unwrap()..CALL.rfind("\n</｜DSML｜function_calls>").unwrap()];
    for answer in [
        format!("\n\n<｜DSML｜function_calls>\n{call}\n"),
        format!("\n\n<｜DSML｜function_calls>\n{call}\n</｜DSML｜function_c"),
        format!("\n\n<｜DSML｜tool_calls>\n{call}\n</｜DSML｜tool_calls>"),
        format!("\n\n{call}\n"),
        format!("\n\n{call}\n\n</｜DSML｜function_calls>\n"),
        format!("\n\n<｜DSML｜function_calls>\n{call}\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"),
        format!("\n\n{CALL}\n</｜DSML｜function_calls>\n"),
        format!("\n\n{CALL}\n</｜DSML｜"),
    ] {
        assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), paris(), "{answer}");
    }
    let answer = format!("I look.\n\n{call}\n\nDone: a <b>.\n\n");
    let expected = [vec![content("I look.")], paris(), vec![content("\n\nDone: a <b>.\n\n")]].concat();
    assert_eq!(events(&answer, Start::Content, &weather(), End::Eos), expected);
    // Of an empty block nothing was understood.
    let empty = "\n\n<｜DSML｜function_calls>\n";
    assert_eq!(events(empty, Start::Content, &weather(), End::Eos), [content(&empty[2..])]);
}

#[test]
fn without_tools_there_are_no_calls() {
    let answer = format!("I look.\n\n{CALL}");
    assert_eq!(events(&answer, Start::Content, &[], End::Eos), [content(&answer)]);
    let thinks = format!("Hm.\n\n{CALL}</think>No.");
    let expected = [reasoning(thinks.split("</think>").next().unwrap()), content("No.")];
    assert_eq!(events(&thinks, Start::Reasoning, &[], End::Eos), expected);
}

#[test]
fn what_fits_nowhere_is_content() {
    let answer = CALL.replace("<｜DSML｜invoke", "stray <b> <｜DSML｜invoke");
    let all = events(&answer, Start::Content, &weather(), End::Eos);
    assert_eq!(all[1..], paris());
    assert!(matches!(&all[0], Event::Content(text) if text.contains("stray") && text.contains("<b>")));
}

#[test]
fn a_block_without_calls_comes_out_in_the_order_it_was_written() {
    let mut parser = Parser::new(Start::Content, weather());
    let mut all = parser.push("<｜DSML｜function_calls>\n<DSML｜i");
    all.extend(parser.finish(End::Eos));
    let out: String =
        all.iter().map(|event| if let Event::Content(text) = event { text.as_str() } else { "" }).collect();
    assert_eq!(out, "<｜DSML｜function_calls>\n<DSML｜i");
}

#[test]
fn only_what_may_become_a_tag_is_held_back() {
    let mut parser = Parser::new(Start::Content, weather());
    assert_eq!(parser.push("a < b"), [content("a < b")]);
    assert_eq!(parser.push(" <"), [content(" ")]);
    assert_eq!(parser.push("b>\n"), [content("<b>")]);
    assert_eq!(parser.push("\n\nx"), [content("\n\n\nx")]);
    assert_eq!(parser.push("\n\n<｜DS"), []);
    assert_eq!(parser.push("P"), [content("\n\n<｜DSP")]);
}

#[test]
fn a_tag_that_never_ends_is_no_part_of_a_value() {
    let answer = "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n\
                  <｜DSML｜parameter name=\"city\" string=\"true\">Paris</parameter>\n\
                  <｜DSML｜parameter name='=\"true\">Rome</parameter>\n</invoke>\n</function_calls>";
    let mut parser = Parser::new(Start::Content, weather());
    let mut events = parser.push(answer);
    events.extend(parser.finish(End::Eos));
    assert!(!events.iter().any(|event| matches!(event, Event::Call(_))), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Unfinished { .. })), "{events:?}");
}

#[test]
fn the_parser_knows_where_syntax_is() {
    let answer =
        format!("Need <it>.</think>I <b>look</b>.\n\n{}", one("city", " string=\"true\"", "a<b </i> c"));
    let mut parser = Parser::new(Start::Reasoning, weather());
    let (mut free, mut value, mut name) = (String::new(), String::new(), String::new());
    let mut place = "free";
    for c in answer.chars() {
        match place {
            "free" => free.push(c),
            "value" => value.push(c),
            "name" => name.push(c),
            _ => {}
        }
        parser.push(c.encode_utf8(&mut [0; 4]));
        place = match parser.place() {
            Place::Free => "free",
            Place::Value => "value",
            Place::Syntax => "syntax",
            Place::Opening(..) => "opening",
            Place::Name(_) => "name",
        };
    }
    // What stands behind `</` in a value belongs to a tag until it does not.
    assert_eq!(free, "Need <it>.</think>I <b>look</b>.\n\n<｜DSML｜");
    assert_eq!(value, "a<b </> c</");
    assert_eq!(name, "weather\"");
    assert_eq!(parser.place(), Place::Syntax, "nothing follows but the end");
    parser.push("\n\nMore.");
    assert_eq!(parser.place(), Place::Free);
    let unmarked = "\n<invoke name=\"wea";
    let mut parser = Parser::new(Start::Content, weather());
    parser.push(&format!("<function_calls>{unmarked}"));
    assert_eq!(parser.place(), Place::Name("wea"));
    // In content, a mark can only begin a block or a call.
    let mut parser = Parser::new(Start::Content, weather());
    parser.push("x\n\n<｜DSML｜");
    assert_eq!(parser.place(), Place::Opening(&tags::OPENINGS, ""));
    parser.push("function_");
    assert_eq!(parser.place(), Place::Opening(&tags::OPENINGS, "function_"));
    parser.push("calls>");
    assert_eq!(parser.place(), Place::Syntax);
    parser.push("\n<｜DSML｜in");
    assert_eq!(parser.place(), Place::Opening(&tags::CALLS, "in"));
    let mut parser = Parser::new(Start::Content, weather());
    parser.push("x\n<｜DSML｜para");
    assert!(!matches!(parser.place(), Place::Opening(..)));
}

/// What a long answer costs grows with its length, not with its square, whatever it consists of.
#[test]
fn long_answers_are_taken_apart_in_linear_time() {
    const SHORT: usize = 1 << 15;
    let block = "<｜DSML｜function_calls>\n";
    let open = format!("{block}<｜DSML｜invoke name=\"weather\">\n");
    let value = format!("{open}<｜DSML｜parameter name=\"city\" string=\"true\">");
    let name = format!("{block}<｜DSML｜invoke name=\"");
    for (begun, text) in [
        (value.as_str(), "a < b </"),
        (&value, "\"</parameter>"),
        (block, " "),
        (&open, "\n"),
        (&format!("{CALL} "), " "),
        ("<｜DSML｜function_calls", " "),
        (&name, "\""),
        (&name, "a=\"\" "),
        (&format!("{open}{{\"city\": \""), "</invoke>"),
    ] {
        // Of this thread's own time: others may want the processor in the middle of it.
        let seconds = |length: usize| {
            let answer = format!("{begun}{}", text.repeat(length / text.len()));
            let started = own_time();
            let came: usize = streamed(&answer).iter().map(length_of).sum();
            assert!(came <= answer.len());
            own_time() - started
        };
        let is_linear = (0..5).any(|_| seconds(8 * SHORT) < 24.0 * seconds(SHORT).max(0.005));
        assert!(is_linear, "{begun:?} {text:?}");
    }
}

/// Seconds that this thread has computed.
#[cfg(unix)]
fn own_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn own_time() -> f64 {
    let begun = *BEGUN.get_or_init(std::time::Instant::now);
    begun.elapsed().as_secs_f64()
}

#[cfg(not(unix))]
static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();

/// How much text is in an event.
fn length_of(event: &Event) -> usize {
    match event {
        Event::Content(text) | Event::Reasoning(text) | Event::Unfinished { raw: text, .. } => text.len(),
        Event::Call(_) | Event::CallStart { .. } => 1,
        // It comes again, in the call or in what is none.
        Event::Arguments(_) => 0,
    }
}

/// The events of an answer that comes in pieces of a few bytes, as it does from a model.
fn streamed(answer: &str) -> Vec<Event> {
    let mut parser = Parser::new(Start::Content, weather());
    let (mut all, mut rest) = (Vec::new(), answer);
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(8));
        for event in parser.push(piece) {
            push_joined(&mut all, event, &mut String::new());
        }
        assert!(matches!(
            parser.place(),
            Place::Free | Place::Value | Place::Syntax | Place::Opening(..) | Place::Name(_)
        ));
        rest = later;
    }
    for event in parser.finish(End::Eos) {
        push_joined(&mut all, event, &mut String::new());
    }
    all
}

/// A tag that never ends is none, wherever it is cut.
#[test]
fn a_tag_is_not_longer_than_names_are() {
    let name = "n".repeat(20_000);
    for answer in [
        format!("<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"{name}\">\n</｜DSML｜invoke>"),
        format!("<｜DSML｜function_calls{}>", " ".repeat(20_000)),
        format!("<｜DSML｜function_calls>\n<invoke name=\"{name}\">\n</invoke>"),
    ] {
        let whole = parse(&answer, Start::Content, weather());
        assert_eq!(streamed(&answer), [content(&answer)]);
        assert_eq!(whole, Message::Assistant(Assistant { content: answer, ..Assistant::default() }));
    }
}

/// What is told of an answer, whether it comes at once or by characters.
fn told(answer: &str, end: End) -> Vec<Malformed> {
    let run = |pieces: Vec<&str>| {
        let mut parser = Parser::new(Start::Content, weather());
        pieces.into_iter().for_each(|piece| drop(parser.push(piece)));
        parser.finish(end);
        parser.take_malformed()
    };
    let places: Vec<usize> = answer.char_indices().map(|(place, _)| place).chain([answer.len()]).collect();
    let whole = run(vec![answer]);
    assert_eq!(run(places.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect()), whole, "{answer}");
    whole
}

#[test]
fn what_is_like_a_call_and_is_none_is_told() {
    let parameter = |tag: &str| call_with(&format!("<｜DSML｜parameter {tag}>5</｜DSML｜parameter>"));
    let invoke = |tag: &str| CALL.replace("<｜DSML｜invoke name=\"weather\">", tag);
    for (answer, expected) in [
        (parameter("name=\"city\" string=\"true\" string=\"false\""), "gives `string` twice"),
        (parameter("name=\"city\" name=\"days\""), "gives `name` twice"),
        (parameter("name=\"\" string=\"true\""), "has an empty name"),
        (parameter("string=\"true\""), "has no name in quotation marks"),
        (call_with("<｜DSML｜parameter name=\"city\" string=\"true\"/>"), "closes itself"),
        (call_with("city: Paris"), "text stands where a parameter should be"),
        (call_with("{\"city\": Paris}"), "not one JSON object"),
        (invoke("<｜DSML｜invoke name=\"\">"), "has an empty name"),
        (invoke("<｜DSML｜invoke name=\"weather\"/>"), "closes itself"),
        (invoke("<｜DSML｜invoke>"), "has no name in quotation marks"),
        (format!("{CALL}\n<｜DSML｜invoke name=\"\"></｜DSML｜invoke>"), "has an empty name"),
        ("a <｜DSML｜invoke name=\"weather\"/>".to_owned(), "closes itself"),
        ("a <｜DSML｜parameter name=\"city\">".to_owned(), "where it begins none"),
        ("<｜DSML｜function_calls>\n</｜DSML｜function_calls>".to_owned(), "holds none"),
        ("<｜DSML｜function_calls>\n".to_owned(), "ended before a call began"),
        (format!("{CALL}\n<｜DSML｜invoke name=\"wea"), "ended before a call began"),
        (invoke("<｜DSML｜tool>"), "is not part of the format"),
        (CALL[..CALL.find("Paris").unwrap()].to_owned(), "ended before the call did"),
        (CALL[..CALL.find("eather").unwrap()].to_owned(), "ended before a call began"),
    ] {
        let all = told(&answer, End::Eos);
        let [one] = &all[..] else { panic!("{answer}: {all:?}") };
        assert!(one.problem.contains(expected), "{answer}: {}", one.problem);
    }
    // What began behind a call is not lost.
    let Message::Assistant(begun) =
        parse(&format!("{CALL}\n<｜DSML｜invoke name=\"wea"), Start::Content, weather())
    else {
        panic!("an answer is the assistant's")
    };
    assert!(begun.content.contains("name=\"wea") && begun.calls.len() == 1, "{begun:?}");
    let named = told(&call_with("city: Paris"), End::Eos);
    assert_eq!(named[0].name.as_deref(), Some("weather"));
    let two = [("days", "1"), ("days", "2")].map(|(key, value)| {
        format!("<｜DSML｜parameter name=\"{key}\" string=\"false\">{value}</｜DSML｜parameter>")
    });
    assert!(told(&call_with(&two.concat()), End::Eos)[0].problem.contains("two values"));
    // The same said twice is no question, text is no call, and who cuts an answer off is told so elsewhere.
    let same = parameter("name=\"city\" string=\"true\" string=\"true\"");
    let plain = "Tags:\n<function_calls>\nare tags, and <b> too".to_owned();
    for (answer, end) in [
        (CALL.to_owned(), End::Eos),
        (same, End::Eos),
        (plain, End::Eos),
        (CALL[..CALL.find("Paris").unwrap()].to_owned(), End::Cut),
    ] {
        assert_eq!(told(&answer, end), [], "{answer}");
    }
}

/// What a tool would be told of a call, piece by piece.
fn pieces(parts: &[&str]) -> Vec<Vec<String>> {
    let mut parser = Parser::new(Start::Content, weather());
    let of = |events: Vec<Event>| {
        let piece = |event| if let Event::Arguments(piece) = event { Some(piece) } else { None };
        events.into_iter().filter_map(piece).collect()
    };
    let mut all: Vec<Vec<String>> = parts.iter().map(|part| of(parser.push(part))).collect();
    all.push(of(parser.finish(End::Eos)));
    all
}

#[test]
fn a_long_text_is_seen_while_it_is_written() {
    let parameter = "<｜DSML｜parameter name=\"city\" string=\"true\">";
    let begin = format!("<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n{parameter}");
    let end = "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
    let days = "<｜DSML｜parameter name=\"days\" string=\"false\"> 2 </｜DSML｜parameter>\n";
    let (no, one) = (Vec::<String>::new(), |text: &str| vec![text.to_owned()]);
    assert_eq!(
        pieces(&[&begin, "New \"Y", "ork\"\n", "City </par", "k>", end]),
        [
            one("{\"city\":\""),
            one("New \\\"Y"),
            one("ork\\\""),
            one("\\nCity"),
            one(" </park>"),
            one("\"}"),
            no.clone()
        ]
    );
    // Numbers come whole, in the order of the call, and as they will stand in it.
    let (invoke, city) = begin.rsplit_once('\n').unwrap();
    let found = pieces(&[invoke, days, city, "Bonn", end]);
    assert_eq!(
        found,
        [no.clone(), one("{\"days\":2"), one(",\"city\":\""), one("Bonn"), one("\"}"), no.clone()]
    );
    // A tag that lost its mark ends the value, and was not given out.
    let found = pieces(&[&begin, "Bonn</parameter>", "\n</invoke>"]).concat().concat();
    assert_eq!(found, "{\"city\":\"Bonn\"}");
    // What wraps all arguments is known at the end.
    let wrapped = "<｜DSML｜parameter name=\"arguments\" string=\"true\">{\"city\": \"Bonn\"}";
    assert_eq!(pieces(&[invoke, wrapped, end]).concat(), ["{\"city\":\"Bonn\"}"]);
    let none = format!("{invoke}\n</｜DSML｜invoke>");
    assert_eq!(pieces(&[&none]).concat(), ["{}"]);
}
