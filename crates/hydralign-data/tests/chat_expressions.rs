//! The language of chat templates, expression by expression, against Jinja as transformers sets
//! it up; and its limits.

use chrono::NaiveDate;
use hydralign_data::{ChatError, ChatTemplate, Limits, RenderOptions};
use serde_json::{Map, Value};
use std::path::Path;

fn render(source: &str, values: &Map<String, Value>) -> Result<String, ChatError> {
    let now = NaiveDate::from_ymd_opt(2025, 3, 7).and_then(|day| day.and_hms_opt(9, 5, 1));
    let options = RenderOptions { variables: values.clone(), now, ..RenderOptions::default() };
    ChatTemplate::new(source, Map::new())?.render(&[], &options)
}

/// What this engine renders although Jinja refuses it (values of different kinds compared, a mistyped
/// `in`), or to another text: letters of title case, keys and places that are equal to others as
/// numbers, attributes of numbers and macros, an item of what is gone through once.
const DIFFERENT: [&str; 13] = [
    "{{ 1 < 'a' }}",
    "{{ none < 1 }}",
    "{{ 1 in 'a1' }}",
    "{{ '\\u01c6'.title() }}",
    "{{ {1: 2, true: 3, none: 4, (1, 2): 5} }}",
    "{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}",
    "{{ l[1.0] }}",
    "{{ 1.real }}",
    "{{ i.real }}",
    "{% macro f(a) %}{% endmacro %}{{ f.name }} {{ f.arguments }} {{ f.catch_varargs }} {{ f.caller }}",
    "{{ (names | map('upper'))[0] }}",
    "{{ l['a'] }}|{{ l[1.0] }}|{{ s['a'] }}|{{ l[-4] }}|{{ s[99] }}|{{ l[true] }}",
    "{{ +true }}",
];

/// What it refuses although Jinja renders it: nothing else may join them.
fn refused() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat/refused.txt");
    let text = std::fs::read_to_string(path).unwrap();
    text.trim_end().split("\n===\n").map(str::to_owned).collect()
}

#[test]
fn expressions_give_the_text_that_jinja_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat/expressions.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let values = file["values"].as_object().unwrap();
    let refused = refused();
    let (mut wrong, mut same, mut kept) = (Vec::new(), 0, 0);
    for case in file["cases"].as_array().unwrap() {
        let source = case["source"].as_str().unwrap();
        let got = render(source, values);
        match (&got, case["ok"].as_str()) {
            (Ok(text), Some(expected)) if text == expected => same += 1,
            (Err(ChatError::Raised { message, .. }), None) if case["error"] == **message => {
                same += 1
            }
            (Err(error), None) if case["error"].is_null() => match error {
                ChatError::Raised { .. } => wrong.push(format!("{source}: {error}")),
                _ => same += 1,
            },
            (Err(_), Some(_)) if refused.iter().any(|r| r == source) => kept += 1,
            (Ok(_), _) if DIFFERENT.contains(&source) => {}
            (got, expected) => {
                wrong.push(format!("{source}\n  got      {got:?}\n  expected {expected:?}"))
            }
        }
    }
    assert!(!wrong.is_empty() || kept == refused.len(), "a refusal that is none");
    assert!(wrong.is_empty(), "{} differ, {same} agree:\n{}", wrong.len(), wrong.join("\n"));
}

fn limited(source: &str, limits: Limits) -> ChatError {
    let options = RenderOptions { limits, ..RenderOptions::default() };
    ChatTemplate::new(source, Map::new()).unwrap().render(&[], &options).unwrap_err()
}

#[test]
fn templates_that_run_or_write_without_end_are_stopped() {
    let limits = Limits { fuel: 10_000, output: 10_000, recursion: 50 };
    let nested = "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}";
    let error = limited(nested, limits.clone());
    assert!(matches!(error, ChatError::Fuel { limit: 10_000, .. }), "{error}");
    for source in [
        "{% for a in range(2000) %}xxxxxxxxxxxxx{% endfor %}",
        "{% for a in range(90) %}{{ 'x' * 200 }}{% endfor %}",
        "{% set a %}{% for b in range(90) %}{{ 'x' * 200 }}{% endfor %}{% endset %}",
        "{{ ('x' * 9000) | replace('x', 'yyyy') }}",
        "{{ ('x' * 9000).replace('x', 'yyyy') }}",
        "{{ ['x' * 9000, 'y' * 9000] | join }}",
    ] {
        let error = limited(source, limits.clone());
        assert!(matches!(error, ChatError::Output { limit: 10_000, .. }), "{source}: {error}");
    }
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ range(10000000000) | list }}",
        "{{ 'x' | indent(1000000000, true) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%.1000000000f' | format(1) }}",
        "{{ '{:>1000000000}'.format('x') }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
    ] {
        let error = limited(source, limits.clone());
        assert!(matches!(error, ChatError::Template { line: 1, .. }), "{source}: {error}");
    }
}

#[test]
fn errors_name_the_line() {
    let error =
        limited("a\n{% generation %}\nb{% endgeneration %}\n{{ 1 + 'x' }}", Limits::default());
    assert!(matches!(error, ChatError::Template { line: 4, .. }), "{error}");
    let error = ChatTemplate::new("\n\n{% if %}", Map::new()).unwrap_err();
    assert!(matches!(error, ChatError::Template { line: 3, .. }), "{error}");
}
