//! Beside Python: `python.json` holds templates and what Jinja2 3.1 makes of them in the environment that transformers sets
//! up (null: an error). And what no template may do.

use super::*;
use serde_json::{Value as Json, json};

fn render(source: &str, variables: &Json) -> Result<String, String> {
    Program::new(source)?.render(to_value(variables))
}

#[test]
fn templates_are_rendered_as_python_renders_them() {
    let golden: Json = serde_json::from_str(include_str!("python.json")).unwrap();
    let mut wrong = Vec::new();
    for row in golden["templates"].as_array().unwrap() {
        let found = render(row[0].as_str().unwrap(), &golden["context"]);
        if found.as_ref().ok().map(String::as_str) != row[1].as_str() {
            wrong.push(format!("{}: expected {}, found {found:?}", row[0], row[1]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_date_is_today() {
    let before = jiff::Zoned::now().strftime("%Y-%m-%d %-d %B").to_string();
    let found = render("{{ strftime_now('%Y-%m-%d %-d %B') }}", &json!({})).unwrap();
    let after = jiff::Zoned::now().strftime("%Y-%m-%d %-d %B").to_string();
    assert!(found == before || found == after, "{found}");
}

#[test]
fn numbers_keep_their_digits() {
    let variables: Json =
        serde_json::from_str(r#"{"a": 1234567890123456789012345678901234567890123, "b": 1e400}"#).unwrap();
    assert_eq!(
        render("{{ a|tojson }} {{ b|tojson }} {{ a }}", &variables).unwrap(),
        "1234567890123456789012345678901234567890123 1e+400 1234567890123456789012345678901234567890123"
    );
}

/// Templates that would take all of something, and a word of the reason why they do not.
fn greedy() -> Vec<(String, &'static str)> {
    let fixed = [
        ("{{ '%1000000000d' % 5 }}", "wide"),
        ("{{ '%.1000000000f'|format(5.0) }}", "wide"),
        ("{{ '%*d' % (1000000000, 5) }}", "wide"),
        ("{{ '%*d' % (-9223372036854775808, 5) }}", "wide"),
        ("{{ '%.*f' % (-9223372036854775808, 5.0) }}", "wide"),
        ("{{ '{:1000000000}'.format(5) }}", "wide"),
        ("{{ '{:{}}'.format(5, 1000000000) }}", "wide"),
        ("{{ 'a'.center(1000000000) }}", "width"),
        ("{{ 'a'|center(1000000000) }}", "width"),
        ("{{ 'a'.zfill(1000000000) }}", "width"),
        ("{{ [1]|tojson(indent=1000000000) }}", "indent"),
        ("{{ 'a\nb'|indent(1000000000) }}", "fuel"),
        ("{{ 'a' * 1000000000 }}", "fuel"),
        ("{{ range(1000000000)|list }}", "too many"),
        ("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "namespace"),
        ("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}", "namespace"),
        ("{% for n in [namespace()] %}{% set n.a = n %}{{ n }}{% endfor %}", "namespace"),
        ("{% set f = namespace %}{% set n = f() %}", "namespace"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recursion"),
        ("{% set x = 'a' * 100000 %}{{ x.replace('a', x) }}", "fuel"),
        ("{% set x = 'a' * 100000 %}{{ x.replace('a', x, count=99999) }}", "too long"),
        ("{{ strftime_now('%100000000d') }}", "width"),
        ("{% set _ = l.append(1) %}", "undefined"),
        ("{% set l = [1] %}{% set _ = l.append(1) %}", "cannot be changed"),
    ];
    let deep = |n: usize, open: &str, inside: &str, close: &str| {
        format!("{{{{ {}{inside}{} }}}}", open.repeat(n), close.repeat(n))
    };
    let built = [
        ("a".repeat(300_000), "bytes"),
        (deep(9000, "(", "1", ")"), "deep"),
        (deep(9000, "[", "1", "]"), "deep"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(60_000)), "words and signs"),
        (format!("{}{}", "{% if 1 %}".repeat(9000), "{% endif %}".repeat(9000)), "recursion"),
        (format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(9000)), "branches"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}".to_owned(), "deep"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}".to_owned(), "takes"),
    ];
    let fixed = fixed.map(|(source, reason)| (source.to_owned(), reason));
    fixed.into_iter().chain(built).collect()
}

#[test]
fn templates_are_contained() {
    for (source, reason) in greedy() {
        let shown: String = source.chars().take(80).collect();
        let error = render(&source, &json!({})).expect_err(&shown);
        assert!(error.contains(reason), "{shown}: {error}");
    }
}

/// The engine's own panics are errors that say what happened.
#[test]
fn panics_of_the_engine_are_told() {
    let error = render("{{ [1,2][::-9223372036854775808] }}", &json!({})).unwrap_err();
    assert!(error.contains("please report it): attempt to negate with overflow"), "{error}");
}

/// As deep as limits allow: neither compiling nor rendering nor letting go of it overflows a stack.
#[test]
fn the_deepest_templates_end() {
    for operator in [" + 1", " ~ 1", " and 1", "|e", " if 1 else 1"] {
        let words = operator.split_whitespace().count().max(2);
        render(&format!("{{{{ 1{} }}}}", operator.repeat(1500 / words)), &json!({})).unwrap();
    }
    let nested =
        "{% set ns = namespace(x=[1]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}ok";
    assert_eq!(render(nested, &json!({})).unwrap(), "ok");
}

#[test]
fn signs_that_are_no_formats_are_left_alone() {
    for source in [
        "{{ n % 2 }}",
        "{% if loop.index0 % 2 == 0 %}",
        "{% raw %}{{ '%s' % n }}{% endraw %}",
        "{# '%s' % n #}",
        "100 % of {{ n }}",
    ] {
        assert_eq!(rewrite::rewrite(source).unwrap(), source);
    }
    for (source, expected) in [
        ("{{ '%s' % n }}", "{{ (('%s')|__modulo(n)) }}"),
        ("{{ a * b % c[0].d|e(1) + 1 }}", "{{ ((a * b)|__modulo(c[0].d|e(1))) + 1 }}"),
        ("{%- set x = f('%d' % (n, 2)) -%}", "{%- set x = f((('%d')|__modulo((n, 2)))) -%}"),
        ("{%- generation -%}a{% endgeneration %}", "{%- with -%}a{% endwith %}"),
    ] {
        assert_eq!(rewrite::rewrite(source).unwrap(), expected);
    }
}
