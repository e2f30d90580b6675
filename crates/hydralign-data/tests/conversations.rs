//! Prompts beside conversations, roles, completions of several turns, answers without text.

use hydralign_data::{ChatTemplate, ReadReport, Reader, TextTokenizer, Truncation};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] \
                      or '') + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
                      {{ '<|im_start|>assistant\n' }}{% endif %}";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Map::new()).unwrap()
}

/// A reader over one row.
struct Row {
    tokenizer: TextTokenizer,
    template: Option<ChatTemplate>,
    dir: tempfile::TempDir,
}

impl Row {
    fn new(source: &str, row: &Value) -> Self {
        let tokenizer = TextTokenizer::from_dir(golden("chat")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rows.jsonl"), row.to_string()).unwrap();
        Self { tokenizer, template: Some(template(source)), dir }
    }

    fn reader(&self) -> Reader<'_> {
        Reader { template: self.template.as_ref(), ..Reader::new(&self.tokenizer, 4000) }
    }

    fn files(&self) -> [String; 1] {
        [self.dir.path().join("rows.jsonl").display().to_string()]
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, false).unwrap()
    }

    /// The one demonstration, as text: its prompt, its completion, and what of that is learnt.
    fn demonstration(&self) -> Result<([String; 3], ReadReport), String> {
        let (rows, report) =
            self.reader().demonstrations(&self.files()).map_err(|e| e.to_string())?;
        let [s] = &rows[..] else { panic!("one row") };
        let kept = |i: &usize| s.response_mask.as_ref().is_none_or(|mask| mask[*i]);
        let learnt: Vec<u32> = (0..s.response.len()).filter(kept).map(|i| s.response[i]).collect();
        Ok(([self.text(&s.prompt), self.text(&s.response), self.text(&learnt)], report))
    }

    fn prompt(&self) -> Result<String, String> {
        let (prompts, _) = self.reader().prompts(&self.files()).map_err(|e| e.to_string())?;
        Ok(self.text(&prompts[0]))
    }

    fn refused(&self) -> String {
        self.demonstration().unwrap_err()
    }
}

#[test]
fn a_prompt_is_never_lost_or_doubled() {
    let file = std::fs::read_to_string(golden("conversations/cases.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let mut seen = [0, 0];
    for (name, source) in file["templates"].as_object().unwrap() {
        for case in file["cases"].as_array().unwrap() {
            let row = Row::new(source.as_str().unwrap(), &case["row"]);
            let pairs = row.reader().preferences(&row.files());
            let right = &case["right"][name];
            if right.is_null() {
                let error = pairs.unwrap_err().to_string();
                assert!(error.contains("rows.jsonl, line 1: field `"), "{case}: {error}");
                seen[0] += 1;
                continue;
            }
            let pairs = pairs.unwrap_or_else(|e| panic!("{name}: {case}: {e}")).0;
            let text = |field: &str| right[field].as_str().unwrap();
            for (field, side) in [("chosen", &pairs[0].chosen), ("rejected", &pairs[0].rejected)] {
                assert_eq!(row.text(&side.prompt), text("prompt"), "{name}: {case}");
                let whole = row.text(&[side.prompt.as_slice(), &side.response].concat());
                assert_eq!(whole, text(field).trim_end(), "{name}: {case}");
                assert_eq!(side.response_mask, None, "{name}: {case}");
            }
            // What is generated from, and what is liked or not, is the same.
            assert_eq!(row.prompt().unwrap(), text("prompt"), "{name}: {case}");
            let unpaired = row.reader().unpaired(&row.files()).unwrap().0;
            assert_eq!(unpaired[0].sequence, pairs[0].chosen, "{name}: {case}");
            // One completion has the prompt that two have.
            if case["row"]["prompt"] == "" || case["row"]["prompt"].is_null() {
                continue;
            }
            let one = json!({"prompt": case["row"]["prompt"], "completion": case["row"]["chosen"]});
            let one = Row::new(source.as_str().unwrap(), &one);
            let one = one.reader().demonstrations(&one.files()).unwrap().0.remove(0);
            assert_eq!(one, pairs[0].chosen, "{name}: {case}");
            seen[1] += 1;
        }
    }
    assert!(seen[0] > 20 && seen[1] > 50, "{seen:?}");
}

#[test]
fn texts_that_both_repeat_their_prompt_are_refused() {
    let row = |prompt: &str, chosen: &str, rejected: &str| {
        Row::new(CHATML, &json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}))
    };
    let pair =
        |row: Row| row.reader().preferences(&row.files()).map(drop).map_err(|e| e.to_string());
    let error = pair(row("Q: hi A:", "Q: hi A: yes", "Q: hi A: no")).unwrap_err();
    assert!(error.contains("line 1: field `chosen`: it begins with the whole prompt"), "{error}");
    pair(row("Hi", "Hi there", "Hi.")).unwrap();
    pair(row("Q: hi A:", "Q: hi A: yes", "no")).unwrap();
}

#[test]
fn speakers_have_the_roles_that_they_stand_for() {
    let names = [
        ("human", "user"),
        ("Human", "user"),
        ("user", "user"),
        ("USER", "user"),
        ("gpt", "assistant"),
        ("assistant", "assistant"),
        ("model", "assistant"),
        ("chatgpt", "assistant"),
        ("bing", "assistant"),
        ("bard", "assistant"),
        ("bot", "assistant"),
        ("ai", "assistant"),
        ("system", "system"),
        ("function_call", "assistant"),
        ("observation", "tool"),
        ("function", "tool"),
        ("tool", "tool"),
        ("ipython", "tool"),
    ];
    for (name, role) in names {
        for (who, what) in [("from", "value"), ("role", "content")] {
            let turns =
                json!([{who: "user", what: "Q"}, {who: name, what: "X"}, {who: "user", what: "R"}]);
            let prompt = Row::new(CHATML, &json!({"prompt": turns})).prompt().unwrap();
            let expected = format!("<|im_start|>{role}\nX<|im_end|>\n");
            assert!(prompt.contains(&expected), "{who} {name}: {prompt}");
        }
    }
    for (who, what) in [("from", "value"), ("role", "content")] {
        let turns = json!([{who: "user", what: "Q"}, {who: "narrator", what: "X"}]);
        let error = Row::new(CHATML, &json!({"prompt": turns})).prompt().unwrap_err();
        assert!(error.contains("line 1: field `prompt`: unknown role `narrator`"), "{error}");
    }
}

#[test]
fn a_role_that_the_template_names_reaches_it_and_one_that_it_drops_is_refused() {
    let source = "{% for m in messages %}{% if m.role == 'narrator' or m.role == \"ipython\" %}\
                  {{ '*' + m.role + m.content }}{% elif m.role in ['user', 'assistant'] %}\
                  {{ m.role + m.content }}{% endif %}{% endfor %}";
    let with = |role: &str| {
        let turns = json!([{"role": "user", "content": "Q"}, {"role": role, "content": "X"}]);
        Row::new(source, &json!({"prompt": turns})).prompt()
    };
    assert_eq!(with("narrator").unwrap(), "userQ*narratorX");
    assert_eq!(with("ipython").unwrap(), "userQ*ipythonX");
    for (role, settled) in [("tool", "tool"), ("developer", "system"), ("system", "system")] {
        let error = with(role).unwrap_err();
        let expected = format!("leaves out turn 2, of the role `{settled}`");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_system_turn_that_a_template_would_put_in_by_itself_is_not_left_out() {
    let source = "{% if messages[0].role != 'system' %}S;{% endif %}\
                  {% for m in messages %}{{ m.content }};{% endfor %}";
    let row = json!({"prompt": turns(&[("system", "S"), ("user", "Q")])});
    assert_eq!(Row::new(source, &row).prompt().unwrap(), "S;Q;");
}

fn turns(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(role, text)| json!({"role": role, "content": text})).collect()
}

const TALK: [(&str, &str); 4] =
    [("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "Four")];

#[test]
fn of_several_turns_only_the_assistants_are_learnt() {
    let prompt = "<|im_start|>user\nOne<|im_end|>\n<|im_start|>assistant\n";
    let response =
        "Two<|im_end|>\n<|im_start|>user\nThree<|im_end|>\n<|im_start|>assistant\nFour<|im_end|>";
    let learnt = "Two<|im_end|>Four<|im_end|>";
    let shapes = [
        json!({"prompt": turns(&TALK[..1]), "completion": turns(&TALK[1..])}),
        json!({"prompt": "One", "completion": turns(&TALK)}),
        json!({"messages": turns(&TALK)}),
        json!({"conversations": [
            {"from": "human", "value": "One"}, {"from": "gpt", "value": "Two"},
            {"from": "human", "value": "Three"}, {"from": "gpt", "value": "Four"},
        ]}),
        json!({"messages": turns(&[&TALK[..], &[("user", "Five")]].concat())}),
    ];
    for (i, row) in shapes.iter().enumerate() {
        let (texts, report) = Row::new(CHATML, row).demonstration().unwrap();
        assert_eq!(texts, [prompt, response, learnt], "{row}");
        assert_eq!((report.masked, report.turns_cut), (1, usize::from(i == 4)), "{row}");
    }
    // A template that marks what it generates has the word.
    let marked = "{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' %}\
                  {% generation %}{{ m.content }}{% endgeneration %};{% else %}{{ m.content }}{% endif %}\
                  {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let (texts, _) = Row::new(marked, &shapes[2]).demonstration().unwrap();
    assert_eq!(texts, ["user:Oneassistant:", "Two;user:Threeassistant:Four", "TwoFour"]);
}

#[test]
fn turns_that_are_not_to_be_learnt_are_not() {
    for (key, off) in [("weight", json!(0)), ("train", json!(false)), ("loss", json!(0.0))] {
        let mut talk = turns(&TALK);
        talk[1][key] = off;
        let (texts, _) = Row::new(CHATML, &json!({"messages": talk})).demonstration().unwrap();
        assert_eq!(texts[2], "Four<|im_end|>", "{key}");
    }
    let mut talk = turns(&TALK);
    talk[1]["weight"] = json!(0.5);
    let error = Row::new(CHATML, &json!({"messages": talk})).refused();
    assert!(error.contains("`weight` of a turn is neither"), "{error}");
}

#[test]
fn masks_are_part_of_what_is_equal_and_go_with_a_cut() {
    let sides = |other: &str| {
        let talk = |said| turns(&[("assistant", "Two"), ("user", "Three"), ("assistant", said)]);
        Row::new(
            CHATML,
            &json!({"prompt": turns(&TALK[..1]), "chosen": talk("Four"), "rejected": talk(other)}),
        )
    };
    let row = sides("Four");
    let error = row.reader().preferences(&row.files()).unwrap_err().to_string();
    assert!(error.contains("are the same tokens"), "{error}");
    let row = sides("Five");
    let (pairs, report) = row.reader().preferences(&row.files()).unwrap();
    assert_eq!((pairs.len(), report.masked), (1, 2));
    let tokens = pairs[0].chosen.len();
    let reader = Reader {
        template: row.template.as_ref(),
        truncation: Truncation::CompletionEnd,
        ..Reader::new(&row.tokenizer, tokens - 2)
    };
    let (rows, report) = reader.unpaired(&row.files()).unwrap();
    assert_eq!(report.cut, 2);
    for row in rows {
        let mask = row.sequence.response_mask.unwrap();
        assert_eq!(mask.len(), row.sequence.response.len());
        assert!(mask.contains(&true) && mask.contains(&false));
    }
}

#[test]
fn an_answer_without_text_ends_with_its_marker() {
    let calls = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}\
                 {% for t in m.tool_calls or [] %}{{ '<call>' + t.name + '</call>' }}{% endfor %}\
                 {{ '<|im_end|>\n' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let call = json!([{"role": "assistant", "content": null, "tool_calls": [{"name": "w"}]}]);
    let row = json!({"prompt": turns(&TALK[..1]), "completion": call});
    assert_eq!(Row::new(calls, &row).demonstration().unwrap().0[1], "<call>w</call><|im_end|>");
    for content in [json!(""), Value::Null] {
        let row = json!({"prompt": turns(&TALK[..1]), "completion": [{"role": "assistant", "content": content}]});
        assert_eq!(Row::new(calls, &row).demonstration().unwrap().0[1], "<|im_end|>");
    }
    // A whole conversation marks the same.
    let row = Row::new(calls, &json!({"messages": [{"role": "user", "content": "One"}, call[0]]}));
    let (texts, _) = row.reader().texts(&row.files()).unwrap();
    let said = texts[0].tokens.iter().zip(&texts[0].assistant).filter(|(_, said)| **said);
    assert_eq!(row.text(&said.map(|(t, _)| *t).collect::<Vec<_>>()), "<call>w</call><|im_end|>");
}

#[test]
fn transcripts_end_with_the_assistant_and_part_at_its_turn() {
    let row = |chosen: &str, rejected: &str| {
        Row::new(CHATML, &json!({"chosen": chosen, "rejected": rejected}))
    };
    let say = |turns: &[&str]| -> String {
        let who = ["\n\nHuman: ", "\n\nAssistant: "];
        turns.iter().enumerate().map(|(i, said)| who[i % 2].to_owned() + said).collect()
    };
    // They part before the last reply: of both, what the assistant said is learnt.
    let early = row(&say(&["Q", "yes", "why", "so"]), &say(&["Q", "no", "oh", "well"]));
    let (pairs, report) = early.reader().preferences(&early.files()).unwrap();
    assert_eq!(report.masked, 2);
    let mask = pairs[0].rejected.response_mask.clone().unwrap();
    let learnt = pairs[0].rejected.response.iter().zip(mask).filter(|(_, kept)| *kept);
    assert_eq!(
        early.text(&learnt.map(|(t, _)| *t).collect::<Vec<_>>()),
        "no<|im_end|>well<|im_end|>"
    );
    // One ends with the human.
    let asked = row(&say(&["Q", "yes", "why"]), &say(&["Q", "no"]));
    let (pairs, report) = asked.reader().preferences(&asked.files()).unwrap();
    assert_eq!(asked.text(&pairs[0].chosen.response), "yes<|im_end|>");
    assert_eq!(report.turns_cut, 1);
    // They answer different questions.
    let other = row(&say(&["Q", "yes", "why", "so"]), &say(&["Q", "yes", "how", "so"]));
    let error = other.reader().preferences(&other.files()).unwrap_err().to_string();
    assert!(error.contains("line 1: field `chosen`: it parts from the other"), "{error}");
}

#[test]
fn instructions_questions_and_the_turns_beside_them_are_conversations() {
    let ask = |turns: &[&str]| -> String {
        let turn = |t: &&str| format!("<|im_start|>{t}<|im_end|>\n");
        turns.iter().map(turn).collect::<String>() + "<|im_start|>assistant\n"
    };
    let history = json!([["A", "B"]]);
    let rows = [
        (json!({"instruction": "Q", "input": "", "output": "X"}), ask(&["user\nQ"])),
        (json!({"instruction": "Q", "input": "more", "output": "X"}), ask(&["user\nQ\nmore"])),
        (json!({"question": "Q", "answer": "X"}), ask(&["user\nQ"])),
        (json!({"query": "Q", "response": "X"}), ask(&["user\nQ"])),
        (json!({"prompt": "Q", "response": "X"}), "Q".into()),
        (json!({"system": "S", "question": "Q", "answer": "X"}), ask(&["system\nS", "user\nQ"])),
        (
            json!({"system": "S", "instruction": "Q", "output": "X", "history": history}),
            ask(&["system\nS", "user\nA", "assistant\nB", "user\nQ"]),
        ),
        (
            json!({"system": "S", "prompt": turns(&TALK[..1]), "completion": "X"}),
            ask(&["system\nS", "user\nOne"]),
        ),
        (json!({"system": "S", "messages": turns(&TALK[..2])}), ask(&["system\nS", "user\nOne"])),
    ];
    for (row, prompt) in rows {
        let read = Row::new(CHATML, &row);
        assert_eq!(read.demonstration().unwrap().0[0], prompt, "{row}");
        assert_eq!(read.prompt().unwrap(), prompt, "{row}");
    }
    let pair = json!({"conversations": [{"from": "human", "value": "Q"}],
        "chosen": {"from": "gpt", "value": "X"}, "rejected": {"from": "gpt", "value": "Y"}});
    let row = Row::new(CHATML, &pair);
    let pairs = row.reader().preferences(&row.files()).unwrap().0;
    assert_eq!(row.text(&pairs[0].chosen.prompt), ask(&["user\nQ"]));
    let liked = json!({"messages": turns(&TALK[..2]), "label": true});
    let row = Row::new(CHATML, &liked);
    assert!(row.reader().unpaired(&row.files()).unwrap().0[0].label);
}

#[test]
fn columns_that_change_what_a_row_says_are_followed_or_refused() {
    let tools = "{% if tools %}{{ tools[0].name }}|{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
    for given in [json!([{"name": "w"}]), json!("[{\"name\": \"w\"}]")] {
        let row = json!({"prompt": turns(&TALK[..1]), "tools": given});
        assert_eq!(Row::new(tools, &row).prompt().unwrap(), "w|One");
    }
    let refused = [
        (json!({"prompt": turns(&TALK[..1]), "tools": "w"}), "`tools`"),
        (json!({"prompt": turns(&TALK[..1]), "tools": [{"name": "w"}]}), "`tools`"),
        (json!({"prompt": "One", "tools": [{"name": "w"}]}), "`tools`"),
        (json!({"prompt": "One", "images": ["a.png"]}), "`images`"),
        (json!({"prompt": "One", "system": "S"}), "`system`"),
        (json!({"prompt": turns(&[("system", "T"), ("user", "Q")]), "system": "S"}), "`system`"),
        (json!({"prompt": "One", "history": [["a", "b"]]}), "`history`"),
        (json!({"prompt": "One", "pixel_values": [1]}), "`pixel_values`"),
        (json!({"prompt": turns(&TALK[..1]), "documents": [{"text": "D"}]}), "`documents`"),
        (json!({"prompt": turns(&TALK[..1]), "functions": [{"name": "w"}]}), "`functions`"),
        (
            json!({"prompt": turns(&TALK[..1]), "chat_template_kwargs": {"enable_thinking": false}}),
            "`chat_template_kwargs`",
        ),
        (json!({"prompt": "One", "knowledge": "Two"}), "`knowledge`"),
        (json!({"prompt": "One", "system_prompt": "S"}), "`system`"),
        (
            json!({"prompt": turns(&TALK[..1]), "system": "S", "system_prompt": "T"}),
            "`system_prompt`",
        ),
        (json!({"prompt": "One", "label": true, "kto_tag": false}), "`kto_tag`"),
        (json!({"prompt": "One", "completion": "a", "response": "b"}), "`response`"),
        (json!({"prompt": [{"role": "user", "content": "a", "value": "b"}]}), "`value`"),
        (json!({"prompt": [{"role": "user", "from": "gpt", "content": "b"}]}), "`from`"),
        (json!({"prompt": [{"role": "user", "content": "a", "files": ["f"]}]}), "files"),
    ];
    for (row, column) in refused {
        let error = Row::new(CHATML, &row).prompt().unwrap_err();
        assert!(error.contains("rows.jsonl, line 1: ") && error.contains(column), "{error}");
    }
    for name in ["system", "system_prompt", "system_message"] {
        let row = json!({"prompt": turns(&TALK[..1]), name: "S"});
        let expected = json!({"prompt": turns(&[("system", "S"), TALK[0]])});
        let expected = Row::new(CHATML, &expected).prompt().unwrap();
        assert_eq!(Row::new(CHATML, &row).prompt().unwrap(), expected, "{name}");
    }
    let empty = json!({"prompt": "One", "images": [], "system": "", "tools": null, "history": []});
    assert_eq!(Row::new(CHATML, &empty).prompt().unwrap(), "One");
    let unknown = json!({"prompt": "One", "colour": 3});
    let error = Row::new(CHATML, &unknown).refused();
    assert!(error.contains("missing field `completion`; the row has prompt, colour"), "{error}");
}

#[test]
fn a_margin_is_said_to_be_unused() {
    let row = json!({"prompt": "Q", "chosen": "a", "rejected": "b", "margin": 2.0});
    let row = Row::new(CHATML, &row);
    let (_, report) = row.reader().preferences(&row.files()).unwrap();
    assert_eq!(report.margins, 1);
    assert_eq!(report.notes(), ["1 preferences have a `margin`, which no loss here uses"]);
}

/// A list of texts is read as the template reads it, and as one text where the template would write the
/// list itself: the texts are those of transformers.
#[test]
fn a_list_of_texts_is_never_learnt_as_a_list() {
    let file = std::fs::read_to_string(golden("conversations/parts.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let right = match name {
            "knows lists" => "as_given",
            "knows lists of users" => "but_users_joined",
            _ => "joined",
        };
        let right = case[right].as_str().unwrap();
        let source = file["templates"][name].as_str().unwrap();
        let row = Row::new(source, &json!({"messages": case["turns"]}));
        let (texts, _) = row.reader().texts(&row.files()).unwrap();
        assert_eq!(row.text(&texts[0].tokens), right, "{name}");
        let [prompt, said, _] = row.demonstration().unwrap().0;
        assert_eq!(prompt + &said, right.trim_end(), "{name}");
        // Whoever repeats the prompt as a text says the same.
        let turns = case["turns"].as_array().unwrap();
        let (answer, asked) = turns.split_last().unwrap();
        let mut repeated = asked.to_vec();
        for turn in &mut repeated {
            let texts = turn["content"].as_array().unwrap().iter();
            turn["content"] =
                texts.map(|part| part["text"].as_str().unwrap()).collect::<String>().into();
        }
        repeated.push(answer.clone());
        let pair = json!({"prompt": asked, "completion": repeated});
        let [prompt, said, _] = Row::new(source, &pair).demonstration().unwrap().0;
        assert_eq!(prompt + &said, right.trim_end(), "{name}");
    }
    assert_eq!(cases.len(), 8);
}

#[test]
fn what_is_no_text_is_named_with_its_turn() {
    let text = json!({"type": "text", "text": "What is this?"});
    let picture = json!({"type": "image", "image": "a.png"});
    let fault = |turn: Value, words: &[&str]| {
        let row = json!({"prompt": [{"role": "system", "content": "S"}, turn]});
        let error = Row::new(CHATML, &row).prompt().unwrap_err();
        let place = "rows.jsonl, line 1: field `prompt`: turn 2: ";
        assert!(error.contains(place) && words.iter().all(|w| error.contains(w)), "{error}");
    };
    let content = |content: Value| json!({"role": "user", "content": content});
    fault(content(json!([text, picture])), &["a part of type `image`"]);
    fault(content(json!([{"type": "image_url", "image_url": {"url": "x"}}])), &["`image_url`"]);
    fault(content(json!([{"type": "input_audio", "input_audio": {}}])), &["`input_audio`"]);
    fault(content(json!([{"type": "text", "text": "a", "image": "a.png"}])), &["`image`"]);
    fault(content(json!([{"type": "text"}])), &["without a text"]);
    fault(content(json!(["a", "b"])), &["a part that is a string"]);
    fault(content(json!({"type": "text", "text": "a"})), &["its content is an object"]);
    fault(content(json!(3)), &["its content is a number"]);
    for name in ["images", "image", "audio", "audios", "videos", "video"] {
        let turn = json!({"role": "user", "content": "What?", name: ["a.bin"]});
        fault(turn, &[&format!("`{name}` is no text")]);
        let beside = json!({"messages": turns(&TALK[..2]), name: ["a.bin"]});
        let error = Row::new(CHATML, &beside).prompt().unwrap_err();
        assert!(error.contains(&format!("line 1: column `{name}`")), "{error}");
        // Parquet has every column in every row.
        let none = json!({"prompt": [{"role": "user", "content": [{"type": "text", "text": "Q", name: null}], name: []}], name: []});
        assert!(Row::new(CHATML, &none).prompt().unwrap().contains("user\nQ<|im_end|>"));
    }
    // The answers of a preference are looked at as its prompt is.
    let answer = |content: Value| json!([{"role": "assistant", "content": content}]);
    let row = json!({"prompt": turns(&TALK[..1]), "chosen": answer(json!([picture])), "rejected": answer(json!("x"))});
    let row = Row::new(CHATML, &row);
    let error = row.reader().preferences(&row.files()).unwrap_err().to_string();
    assert!(error.contains("field `chosen`: turn 1: ") && error.contains("`image`"), "{error}");
}

/// A template for lists alone writes nothing of a text: the answer would be learnt as an empty one.
#[test]
fn turns_that_the_template_does_not_write_are_refused() {
    let lists = "{% for m in messages %}{{ m.role + ':' }}{% for part in m.content %}{{ part.text }}\
                 {% endfor %}|{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let row = json!({"prompt": turns(&TALK[..1]), "completion": "Go"});
    let error = Row::new(lists, &row).refused();
    assert!(
        error.contains("line 1: the chat template leaves out turn 1, of the role `user`"),
        "{error}"
    );
    let part = json!([{"type": "text", "text": "Go"}]);
    let row = json!({"prompt": [{"role": "user", "content": part}], "completion": "Go"});
    let error = Row::new(lists, &row).refused();
    assert!(
        error.contains("line 1: the chat template leaves out turn 2, of the role `assistant`"),
        "{error}"
    );
    let row = json!({"prompt": [{"role": "user", "content": part}]});
    assert_eq!(Row::new(lists, &row).prompt().unwrap(), "user:Go|assistant:");
}

/// Writes the names of calls and thoughts that follow the last question, as Qwen3 does.
const THINKS: &str = "{% set last = messages | selectattr('role', 'equalto', 'user') | list | last %}\
    {% set ns = namespace(past=false) %}{% for m in messages %}{{ m.role + ':' }}\
    {% if ns.past and m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}\
    {{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + '</call>' }}{% endfor %}\
    {{ '|' }}{% if m == last %}{% set ns.past = true %}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}";

#[test]
fn what_a_turn_says_beside_its_text_is_written_or_refused() {
    let call =
        json!([{"type": "function", "function": {"name": "w", "arguments": {"city": "Oslo"}}}]);
    let asked = json!({"role": "user", "content": "Q"});
    let demonstrate = |source: &str, turn: &Value| {
        Row::new(source, &json!({"prompt": [asked], "completion": [turn]})).demonstration()
    };
    for (field, value) in [
        ("tool_calls", call.clone()),
        ("function_call", json!({"name": "w", "arguments": "{}"})),
        ("function_calls", json!("w()")),
        ("reasoning_content", json!("Hm.")),
        ("thinking", json!("Hm.")),
        ("reasoning", json!("Hm.")),
        ("refusal", json!("No.")),
    ] {
        for content in [json!(""), json!("text")] {
            let turn = json!({"role": "assistant", "content": content, field: value});
            let error = demonstrate(CHATML, &turn).unwrap_err();
            let cause = format!(
                "line 1: field `completion`: the chat template writes nothing of `{field}` of turn 2"
            );
            assert!(error.contains(&cause), "{error}");
            // A whole conversation, and a call that the prompt holds.
            let row = Row::new(CHATML, &json!({"messages": [asked, turn]}));
            let error = row.reader().texts(&row.files()).unwrap_err().to_string();
            assert!(
                error.contains(&format!(
                    "`messages`: the chat template writes nothing of `{field}`"
                )),
                "{error}"
            );
            let prompt = Row::new(CHATML, &json!({"prompt": [asked, turn, asked]})).prompt();
            let thought = field.starts_with("reason") || field == "thinking";
            assert_eq!(prompt.is_ok(), thought, "{field}: {prompt:?}");
        }
        let turn = json!({"role": "assistant", "content": "text", field: null});
        demonstrate(CHATML, &turn).unwrap();
    }
    let turn = json!({"role": "assistant", "content": "x", "name": "bob", "id": 3, "weight": 1,
        "tool_call_id": "c", "date": "today", "prefix": false});
    demonstrate(CHATML, &turn).unwrap();
    // Of a call the arguments are lost, or the name where it is looked for elsewhere, or the second call.
    let turn = |calls: Value| json!({"role": "assistant", "content": "", "tool_calls": calls});
    let lost = |source: &str, calls: Value, place: &str| {
        let error = demonstrate(source, &turn(calls)).unwrap_err();
        assert!(error.contains(&format!("`{place}`")), "{place}: {error}");
    };
    lost(THINKS, call.clone(), "tool_calls[0].arguments");
    lost(
        &THINKS.replace("c.function.name", "c.function.arguments.city"),
        call.clone(),
        "tool_calls[0].name",
    );
    let whole = THINKS.replace("c.function.name", "(c.function | tojson)");
    demonstrate(&whole, &turn(call.clone())).unwrap();
    let two = json!([call[0], {"function": {"name": "v", "arguments": {}}}]);
    demonstrate(&whole, &turn(two.clone())).unwrap();
    lost(&whole.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]"), two, "tool_calls[1]");
    // Thoughts of the answer are learnt; the template leaves out those of earlier turns on purpose.
    let thought = |text: &str| json!({"role": "assistant", "content": text, "thinking": "Hm."});
    let row = json!({"prompt": [asked, thought("A"), asked], "completion": [thought("B")]});
    let other = row.to_string().replacen("\"Q\"", "\"P\"", 1);
    let row = Row::new(THINKS, &serde_json::from_str(&other).unwrap());
    let [prompt, said, _] = row.demonstration().unwrap().0;
    assert_eq!(
        (prompt.as_str(), said.as_str()),
        ("user:P|assistant:A|user:Q|assistant:", "<think>Hm.</think>B|")
    );
}
