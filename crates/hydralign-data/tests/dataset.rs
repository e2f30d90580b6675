//! Data sets: formats, published shapes, Parquet files of another library, truncation.

use hydralign_data::{
    ChatTemplate, Content, DataError, Example, Format, Message, OnBadRow, Reader, RecordError,
    Rows, Skipped, TextTokenizer, Truncation, find_files,
};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::from_dir(golden("chat")).unwrap()
}

fn template(name: &str) -> ChatTemplate {
    let source = golden(&format!("chat/templates/{name}.jinja"));
    let tokens = json!({"bos_token": "<s>", "eos_token": "</s>"});
    let source = std::fs::read_to_string(source).unwrap();
    ChatTemplate::new(&source, tokens.as_object().unwrap().clone()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn plain(text: &str) -> Content {
    Content::Plain(text.into())
}

fn chat(turns: &[(&str, &str)]) -> Content {
    Content::Chat(turns.iter().map(|(role, text)| Message::new(*role, *text)).collect())
}

fn detect(value: Value) -> Result<Example, RecordError> {
    Format::Detect.example(object(value))
}

#[test]
fn parquet_files_of_another_library_hold_the_rows_that_were_written() {
    let rows = std::fs::read_to_string(golden("dataset/rows.json")).unwrap();
    let expected: Vec<Map<String, Value>> = serde_json::from_str(&rows).unwrap();
    let pattern = golden("dataset/*.parquet").display().to_string();
    let files = find_files(&[pattern]).unwrap();
    assert_eq!(files.len(), 7);
    for file in files.iter().filter(|f| !f.ends_with("large.parquet")) {
        let rows: Vec<_> = Rows::new(vec![file.clone()]).map(Result::unwrap).collect();
        assert_eq!(rows.len(), expected.len(), "{}", file.display());
        for (i, (row, expected)) in rows.iter().zip(&expected).enumerate() {
            assert_eq!(&row.fields, expected, "{}, row {i}", file.display());
            assert_eq!(row.number, i + 1);
        }
    }
    let large = Rows::new(vec![golden("dataset/large.parquet")]).next().unwrap().unwrap();
    assert_eq!(large.fields, object(json!({"prompt": "p", "completion": " c"})));
}

#[test]
fn implicit_prompts_are_those_that_trl_finds() {
    let cases = std::fs::read_to_string(golden("dataset/trl.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    let content = |value: &Value| match value {
        Value::String(text) => plain(text),
        turns => Content::Chat(serde_json::from_value(turns.clone()).unwrap()),
    };
    for case in cases {
        let Ok(Example::Preference { prompt, chosen, rejected }) = detect(case["row"].clone())
        else {
            panic!("{case}");
        };
        assert_eq!(matches!(prompt, Content::Chat(_)), case["conversational"], "{case}");
        let extracted = &case["extracted"];
        assert_eq!(prompt, content(&extracted["prompt"]), "{case}");
        assert_eq!(chosen, content(&extracted["chosen"]), "{case}");
        assert_eq!(rejected, content(&extracted["rejected"]), "{case}");
    }
}

#[test]
fn every_format_is_told_from_its_columns() {
    let turns = json!([{"role": "user", "content": "Hi"}]);
    let answer = json!([{"role": "assistant", "content": "Ho"}]);
    let other = json!([{"role": "assistant", "content": "No"}]);
    let (hi, ho, no) =
        (chat(&[("user", "Hi")]), chat(&[("assistant", "Ho")]), chat(&[("assistant", "No")]));
    let cases = [
        (json!({"text": "x", "id": 3}), Example::Text(plain("x"))),
        (json!({"messages": turns}), Example::Text(hi.clone())),
        (json!({"conversations": [{"from": "human", "value": "Hi"}]}), Example::Text(hi.clone())),
        (json!({"prompt": "p"}), Example::Prompt(plain("p"))),
        (json!({"prompt": turns}), Example::Prompt(hi.clone())),
        (
            json!({"prompt": "p", "completion": "c"}),
            Example::Completion { prompt: plain("p"), completion: plain("c") },
        ),
        (
            json!({"prompt": turns, "completion": answer}),
            Example::Completion { prompt: hi.clone(), completion: ho.clone() },
        ),
        (
            json!({"prompt": "p", "chosen": "c", "rejected": "r"}),
            Example::Preference { prompt: plain("p"), chosen: plain("c"), rejected: plain("r") },
        ),
        (
            json!({"prompt": turns, "chosen": answer, "rejected": other}),
            Example::Preference { prompt: hi.clone(), chosen: ho.clone(), rejected: no },
        ),
        (
            json!({"prompt": "p", "completion": "c", "label": false}),
            Example::Unpaired { prompt: plain("p"), completion: plain("c"), label: false },
        ),
        (
            json!({"prompt": turns, "completion": answer, "label": 1}),
            Example::Unpaired { prompt: hi, completion: ho, label: true },
        ),
    ];
    for (row, expected) in cases {
        assert_eq!(detect(row.clone()).unwrap(), expected, "{row}");
    }
}

#[test]
fn published_shapes_are_read() {
    let hh = json!({
        "chosen": "\n\nHuman: How do\nI bake?\n\nAssistant: With heat.\n\nHuman: More?\n\nAssistant: Flour first.",
        "rejected": "\n\nHuman: How do\nI bake?\n\nAssistant: With heat.\n\nHuman: More?\n\nAssistant: No.",
    });
    assert_eq!(
        detect(hh).unwrap(),
        Example::Preference {
            prompt: chat(&[
                ("user", "How do\nI bake?"),
                ("assistant", "With heat."),
                ("user", "More?")
            ]),
            chosen: chat(&[("assistant", "Flour first.")]),
            rejected: chat(&[("assistant", "No.")]),
        }
    );
    let tldr = json!({
        "info": {"id": "t3", "post": "Long story.", "title": "A title", "subreddit": "tales"},
        "summaries": [{"text": " Short.", "policy": "sup2"}, {"text": " Other.", "policy": "ref"}],
        "choice": 1, "worker": "w", "split": "train",
    });
    let mut first = tldr.clone();
    first["choice"] = 0.into();
    let Ok(Example::Preference { chosen, rejected, .. }) = detect(first) else { panic!() };
    assert_eq!((chosen, rejected), (plain(" Short."), plain(" Other.")));
    assert_eq!(
        detect(tldr).unwrap(),
        Example::Preference {
            prompt: plain("SUBREDDIT: r/tales\n\nTITLE: A title\n\nPOST: Long story.\n\nTL;DR:"),
            chosen: plain(" Other."),
            rejected: plain(" Short."),
        }
    );
    let ultra = json!({
        "prompt": "Why?", "prompt_id": "x", "score_chosen": 8.0, "score_rejected": 2.0,
        "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
        "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Dunno."}],
        "messages": [{"role": "user", "content": "Why?"}],
    });
    let expected = Example::Preference {
        prompt: chat(&[("user", "Why?")]),
        chosen: chat(&[("assistant", "Because.")]),
        rejected: chat(&[("assistant", "Dunno.")]),
    };
    assert_eq!(detect(ultra.clone()).unwrap(), expected);
    assert_eq!(Format::UltraFeedback.example(object(ultra)).unwrap(), expected);
    let bench = json!({"prompt": "Why?", "chosen": "Because.", "chosen_model": "a", "rejected": "Dunno.", "subset": "chat", "id": 1});
    assert_eq!(Format::RewardBench.example(object(bench)).unwrap(), expected);
}

#[test]
fn rows_that_do_not_fit_say_why() {
    let message = |row: Value| detect(row).unwrap_err().to_string();
    assert_eq!(message(json!({"a": 1, "b": 2})), "no known format has the columns a, b");
    assert_eq!(message(json!({"text": 3})), "field `text` must be a string, found a number");
    assert!(message(json!({"prompt": [{"content": "x"}]})).contains("`prompt`"));
    assert!(message(json!({"prompt": ["x"]})).contains("messages with a role"));
    assert!(message(json!({"prompt": "p", "completion": "c", "label": "yes"})).contains("`label`"));
    assert_eq!(
        message(json!({"chosen": "a", "rejected": "a"})),
        RecordError::Identical.to_string()
    );
    assert!(message(json!({"chosen": "a", "rejected": []})).contains("`rejected`"));
    assert!(message(json!({"info": {}, "summaries": [], "choice": 0})).contains("`info`"));
    let tldr =
        json!({"info": {"post": "p", "subreddit": "s"}, "summaries": [{"text": "a"}], "choice": 2});
    assert!(message(tldr).contains("`choice`"));
    let hh = RecordError::WrongType {
        field: "chosen",
        expected: "a transcript of Human and Assistant",
        found: "another text",
    };
    let row = json!({"chosen": "x", "rejected": "y"});
    assert_eq!(Format::HhRlhf.example(object(row)), Err(hh));
}

fn write(dir: &Path, name: &str, rows: &[Value]) -> String {
    let path = dir.join(name);
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

#[test]
fn conversations_become_the_tokens_that_the_template_renders() {
    let (tokenizer, template) = (tokenizer(), template("qwen25"));
    let reader = Reader { template: Some(&template), ..Reader::new(&tokenizer, 400) };
    let dir = tempfile::tempdir().unwrap();
    let prompt = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]);
    let row = json!({
        "prompt": prompt, "chosen": [{"role": "assistant", "content": "Ho"}],
        "rejected": [{"role": "assistant", "content": "Hu"}],
    });
    let file = write(dir.path(), "a.jsonl", &[row]);
    let (pairs, _) = reader.preferences(&[&file]).unwrap();
    let text = |tokens: &[u32]| tokenizer.decode(tokens, false).unwrap();
    let before =
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text(&pairs[0].chosen.prompt), before);
    assert_eq!(text(&pairs[0].chosen.response), "Ho<|im_end|>");
    assert_eq!(text(&pairs[0].rejected.response), "Hu<|im_end|>");
    // What is generated from is what is learned from.
    let (prompts, _) = reader.prompts(&[&file]).unwrap();
    assert_eq!(prompts[0], pairs[0].chosen.prompt);
    let (unpaired, _) = reader.unpaired(&[&file]).unwrap();
    assert_eq!(unpaired.iter().map(|u| u.label).collect::<Vec<_>>(), [true, false]);
    assert_eq!(unpaired[1].sequence, pairs[0].rejected);
    // Whole conversations carry a mask of what the assistant said.
    let turns = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]});
    let file = write(dir.path(), "b.jsonl", &[turns]);
    let (texts, _) = reader.texts(&[&file]).unwrap();
    let learned = texts[0].tokens.iter().zip(&texts[0].assistant).filter(|(_, a)| **a);
    assert_eq!(text(&learned.map(|(t, _)| *t).collect::<Vec<_>>()), "Ho<|im_end|>");
    let error = Reader::new(&tokenizer, 400).texts(&[&file]).unwrap_err().to_string();
    assert!(error.contains("b.jsonl, line 1") && error.contains("no chat template"), "{error}");
}

#[test]
fn columns_may_go_by_other_names() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.jsonl", &[json!({"ask": "q", "say": "a"})]);
    let rename = [("ask".to_owned(), "prompt".to_owned()), ("say".into(), "completion".into())];
    let reader = Reader { rename: rename.into(), ..Reader::new(&tokenizer, 64) };
    assert_eq!(reader.demonstrations(&[&file]).unwrap().0.len(), 1);
    let error = Reader::new(&tokenizer, 64).demonstrations(&[&file]).unwrap_err().to_string();
    assert!(error.contains("missing field `prompt`; the row has ask, say"), "{error}");
}

#[test]
fn truncation_does_what_its_name_says_and_counts() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    // One token a letter, and one EOS.
    let rows = [
        json!({"prompt": "QWXZ", "completion": "QZ"}),
        json!({"prompt": "QWXZJV", "completion": "QZWX"}),
    ];
    let file = write(dir.path(), "a.jsonl", &rows);
    let read = |truncation, context| {
        let reader = Reader { truncation, ..Reader::new(&tokenizer, context) };
        reader.demonstrations(&[&file]).map(|(sequences, report)| {
            let text = |t: &[u32]| tokenizer.decode(t, false).unwrap();
            let texts = sequences.iter().map(|s| (text(&s.prompt), text(&s.response)));
            (texts.collect::<Vec<_>>(), report.cut, report.dropped)
        })
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let first = pair("QWXZ", "QZ</s>");
    let error = read(Truncation::Refuse, 8).unwrap_err();
    assert!(matches!(
        error,
        DataError::Record {
            line: 2,
            fault: RecordError::TooLong { tokens: 11, context: 8, .. },
            ..
        }
    ));
    assert_eq!(read(Truncation::Refuse, 11).unwrap().1, 0);
    assert_eq!(read(Truncation::Drop, 8).unwrap(), (vec![first.clone()], 0, 1));
    assert_eq!(
        read(Truncation::PromptStart, 8).unwrap(),
        (vec![first.clone(), pair("ZJV", "QZWX</s>")], 1, 0)
    );
    assert_eq!(
        read(Truncation::PromptEnd, 8).unwrap(),
        (vec![first.clone(), pair("QWX", "QZWX</s>")], 1, 0)
    );
    assert_eq!(
        read(Truncation::CompletionEnd, 8).unwrap(),
        (vec![first, pair("QWXZJV", "QZ")], 1, 0)
    );
    assert!(read(Truncation::PromptStart, 5).is_err(), "nothing of the prompt would be left");
}

#[test]
fn a_cut_prompt_keeps_its_bos() {
    let dir = tempfile::tempdir().unwrap();
    let mut json: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("chat/tokenizer.json")).unwrap())
            .unwrap();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::copy(golden("chat/tokenizer_config.json"), dir.path().join("tokenizer_config.json"))
        .unwrap();
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    let file = write(dir.path(), "a.jsonl", &[json!({"prompt": "QWXZJV"})]);
    let reader = Reader { truncation: Truncation::PromptStart, ..Reader::new(&tokenizer, 5) };
    let (prompts, report) = reader.prompts(&[&file]).unwrap();
    assert_eq!(tokenizer.decode(&prompts[0], false).unwrap(), "<s>ZJV");
    assert_eq!(report.cut, 1);
    let file = write(dir.path(), "b.jsonl", &[json!({"prompt": "QWXZJV", "completion": "Z"})]);
    let (sequences, report) = reader.demonstrations(&[&file]).unwrap();
    assert_eq!(tokenizer.decode(&sequences[0].prompt, false).unwrap(), "<s>JV");
    assert_eq!((sequences[0].len(), report.cut), (5, 1));
}

#[test]
fn files_of_both_kinds_are_one_stream_and_the_first_error_is_the_last_item() {
    let dir = tempfile::tempdir().unwrap();
    let lines = write(dir.path(), "b.jsonl", &[json!({"prompt": "x"}), json!(3)]);
    let parquet = golden("dataset/large.parquet");
    let rows: Vec<_> = Rows::new(vec![parquet.clone(), lines.into(), parquet]).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].as_ref().unwrap().fields["prompt"], "p");
    let error = rows[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("b.jsonl, line 2: expected an object"), "{error}");
    let error = Rows::new(vec![dir.path().join("none.parquet")]).next().unwrap().unwrap_err();
    assert!(matches!(error, DataError::Io { .. }));
    std::fs::write(dir.path().join("x.parquet"), "PAR1 not at all").unwrap();
    let error = Rows::new(vec![dir.path().join("x.parquet")]).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("x.parquet: "), "{error}");
}

#[test]
fn bad_rows_are_skipped_when_asked_for_and_counted_by_cause() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jsonl");
    let pair = |chosen: &str, rejected: &str| {
        json!({"prompt": "Q", "chosen": chosen, "rejected": rejected}).to_string()
    };
    let rows = [
        pair("W", "X"),
        json!({"prompt": "Q", "chosen": "W", "rejected": "W", "margin": 1}).to_string(),
        pair("W", ""),
        pair("WXZQ", "QZ"),
        "{\"prompt\": \"Q\", \"chosen\": \"W\"}".into(),
        "{\"prompt\": \"Q\", \"chosen\": \"W\", \"rejected\": 3}".into(),
        "{\"prompt\": \"Q\",".into(),
        "[]".into(),
        pair("X", "Z"),
    ];
    std::fs::write(&file, rows.join("\n")).unwrap();
    let file = file.display().to_string();
    // Too long are five tokens and the prompt's.
    let reader = |on_bad_row| Reader { on_bad_row, ..Reader::new(&tokenizer, 4) };
    let error = reader(OnBadRow::Refuse).preferences(&[&file]).unwrap_err();
    assert!(matches!(error, DataError::Record { line: 2, fault: RecordError::Identical, .. }));
    let (pairs, report) = reader(OnBadRow::Skip).preferences(&[&file]).unwrap();
    let skipped = Skipped { equal: 1, empty: 1, too_long: 1, unfit: 2, malformed: 2 };
    assert_eq!((pairs.len(), report.rows, report.skipped), (2, 9, skipped));
    assert_eq!(report.notes().len(), 5);
    assert_eq!(report.margins, 0, "a row that is left out counts once");
    std::fs::write(&file, rows[1..8].join("\n")).unwrap();
    let error = reader(OnBadRow::Skip).preferences(&[&file]).unwrap_err();
    assert!(matches!(error, DataError::NothingLeft { rows: 7, .. }), "{error}");
}

#[test]
fn a_conversation_without_a_template_is_no_bad_row() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let chat = json!({"prompt": [{"role": "user", "content": "Q"}]});
    let file = write(dir.path(), "a.jsonl", &[json!({"prompt": "Q"}), chat]);
    let reader = Reader { on_bad_row: OnBadRow::Skip, ..Reader::new(&tokenizer, 8) };
    let error = reader.prompts(&[&file]).unwrap_err();
    assert!(matches!(
        error,
        DataError::Record { line: 2, fault: RecordError::NoTemplate { .. }, .. }
    ));
}

#[test]
fn a_number_that_is_not_finite_matters_where_it_is_needed() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jsonl").display().to_string();
    let reader = Reader::new(&tokenizer, 64);
    let read = |row: &str| {
        std::fs::write(&file, row).unwrap();
        reader.unpaired(&[&file]).map(|(rows, _)| rows.len()).map_err(|e| e.to_string())
    };
    let row = r#"{"prompt": "Q", "completion": "W", "label": true, "score": NaN, "x": [{"y": -Infinity}]}"#;
    assert_eq!(read(row), Ok(1));
    for (column, value) in [("label", "NaN"), ("prompt", "Infinity"), ("completion", "NaN")] {
        let row = format!(
            "{{\"prompt\": \"Q\", \"completion\": \"W\", \"label\": true, \"{column}\": {value}}}"
        );
        let error = read(&row).unwrap_err();
        assert!(error.contains(&format!("line 1: column `{column}`")), "{error}");
    }
}

/// The rows behind a damaged element cannot be told from it: none may be lost uncounted.
#[test]
fn a_damaged_array_is_refused_even_where_bad_rows_are_skipped() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.json");
    let reader = Reader { on_bad_row: OnBadRow::Skip, ..Reader::new(&tokenizer, 400) };
    for damaged in [r#"{"prompt": }"#, r#"{"prompt": "b"" }"#, r#"{{"prompt": "b"}"#] {
        std::fs::write(&path, format!(r#"[{{"prompt": "a"}}, {damaged}, {{"prompt": "c"}}]"#))
            .unwrap();
        let error = reader.prompts(&[path.display().to_string()]).unwrap_err().to_string();
        assert!(error.contains("rows.json"), "{error}");
    }
    std::fs::write(&path, br#"[{"prompt": "a"}, 3, {"prompt": "c"}]"#).unwrap();
    let (prompts, report) = reader.prompts(&[path.display().to_string()]).unwrap();
    assert_eq!((prompts.len(), report.rows, report.skipped.malformed), (2, 3, 1));
}

/// Whoever writes one answer per prompt can say which row it answers, whatever was left out.
#[test]
fn a_prompt_says_which_row_it_is() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let rows = [json!({"prompt": "Q"}), json!({"prompt": ""}), json!(3), json!({"prompt": "W"})];
    let files = [write(dir.path(), "a.jsonl", &rows), write(dir.path(), "b.jsonl", &rows[3..])];
    let reader = Reader { on_bad_row: OnBadRow::Skip, ..Reader::new(&tokenizer, 8) };
    let (prompts, report) = reader.prompt_sources(&files).unwrap();
    let places: Vec<_> =
        prompts.iter().map(|p| (p.path.display().to_string(), p.row, &p.content)).collect();
    let [a, b] = files;
    let expected = [(a.clone(), 1, &plain("Q")), (a, 4, &plain("W")), (b, 1, &plain("W"))];
    assert_eq!((places.as_slice(), report.skipped.total()), (&expected[..], 2));
}

/// What a row asks stands in one place, or in two that say the same.
#[test]
fn columns_of_a_question_are_read_or_refused() {
    let talk = |said: &[&str]| -> Value {
        let role = |i: usize| ["user", "assistant"][i % 2];
        let turn = |(i, text): (usize, &&str)| json!({"role": role(i), "content": text});
        said.iter().enumerate().map(turn).collect()
    };
    let column = |row: Value, name: &str, words: &str| match detect(row.clone()) {
        Err(RecordError::Column { column, reason }) => {
            assert!(column == name && reason.contains(words), "{row}: {column}: {reason}");
        }
        other => panic!("{row}: {other:?}"),
    };
    // A conversation beside a prompt.
    for prompt in [json!("Q"), json!(" Q\n"), talk(&["Q"]), talk(&["Q", "A", "R"])] {
        detect(json!({"prompt": prompt, "messages": talk(&["Q", "A", "R", "B"])})).unwrap();
    }
    for prompt in [json!("R"), json!("A"), talk(&["R"]), talk(&["Q", "B"])] {
        column(json!({"prompt": prompt, "messages": talk(&["Q", "A"])}), "messages", "`prompt`");
        let row = json!({"prompt": prompt, "conversations": talk(&["Q", "A"]), "completion": "C"});
        column(row, "conversations", "`prompt`");
    }
    column(json!({"instruction": "R", "messages": talk(&["Q", "A"])}), "messages", "`prompt`");
    // Turns beside two completions are their prompt.
    let pair = json!({"messages": talk(&["Q", "A", "R"]), "chosen": "x", "rejected": "y"});
    let Ok(Example::Preference { prompt, .. }) = detect(pair) else { panic!() };
    assert_eq!(prompt, chat(&[("user", "Q"), ("assistant", "A"), ("user", "R")]));
    let pair = json!({"messages": talk(&["Q", "A"]), "chosen": "x", "rejected": "y"});
    column(pair, "messages", "neither");
    let (a, b) = (talk(&["Q", "A"]), talk(&["Q", "B"]));
    detect(json!({"messages": a, "chosen": a, "rejected": b})).unwrap();
    // Companions of a question.
    for asks in ["instruction", "question", "query"] {
        let row = detect(json!({asks: "Q", "input": "more", "output": "A"})).unwrap();
        let Example::Completion { prompt, .. } = row else { panic!() };
        assert_eq!(prompt, chat(&[("user", "Q\nmore")]));
        column(json!({asks: "Q", "input": {"a": 1}}), "input", "texts");
        column(json!({asks: "Q", "context": "C", "answer": "A"}), "context", asks);
        detect(json!({asks: "Of C: Q", "context": "C", "answer": "A"})).unwrap();
        detect(json!({asks: "Q", "context": " ", "input": "\n", "answer": "A"})).unwrap();
    }
    for name in ["input", "context", "instruction", "question", "query"] {
        column(json!({"prompt": "P", name: "more"}), name, "`prompt`");
        column(json!({"prompt": talk(&["P"]), name: "more", "completion": "A"}), name, "`prompt`");
        detect(json!({"prompt": talk(&["P and more"]), name: "more"})).unwrap();
    }
    column(json!({"instruction": "Q", "question": "R"}), "question", "`instruction`");
    column(json!({"input": "Q", "chosen": "x", "rejected": "y"}), "input", "`prompt`");
    // Two answers.
    column(json!({"question": "Q", "answer": "A", "response": "B"}), "response", "`answer`");
    detect(json!({"question": "Q", "answer": "A", "response": "A"})).unwrap();
    // Blanks are nothing, in `system` too.
    for blank in ["", "  ", "\n"] {
        let row = detect(json!({"prompt": "Q", "system": blank})).unwrap();
        assert_eq!(row, Example::Prompt(plain("Q")));
    }
}

#[test]
fn completions_without_a_prompt_say_which_columns_there_are() {
    let tokenizer = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let row = json!({"asked": "Q", "chosen": "x", "rejected": "y"});
    let file = write(dir.path(), "a.jsonl", &[row]);
    let error = Reader::new(&tokenizer, 64).preferences(&[&file]).unwrap_err().to_string();
    let right = "line 1: missing field `prompt`; the row has asked, chosen, rejected";
    assert!(error.contains(right), "{error}");
}

/// A conversation of several questions is a prompt to its first answer, and that is said.
#[test]
fn a_conversation_of_several_questions_as_a_prompt_is_said() {
    let (tokenizer, template) = (tokenizer(), template("zephyr"));
    let dir = tempfile::tempdir().unwrap();
    let talk = ["Q", "W", "X", "Z", "J"];
    let rows = [2, 3, 4, 5].map(|turns| {
        let role = |i: usize| ["user", "assistant"][i % 2];
        let turn = |i: usize| json!({"role": role(i), "content": talk[i]});
        json!({"messages": (0..turns).map(turn).collect::<Value>()})
    });
    let file = write(dir.path(), "a.jsonl", &rows);
    let reader = Reader { template: Some(&template), ..Reader::new(&tokenizer, 400) };
    let (prompts, report) = reader.prompt_sources(&[&file]).unwrap();
    let turns = prompts.iter().map(|prompt| match &prompt.content {
        Content::Chat(turns) => turns.len(),
        Content::Plain(_) => 0,
    });
    assert_eq!(turns.collect::<Vec<_>>(), [1, 3, 1, 5]);
    assert_eq!(report.first_questions, 1);
    assert!(report.notes()[0].starts_with("1 conversations go on behind their first answer"));
}
