//! From records to tokens.

use hydralign_data::{
    Content, DataError, PreferencePair, Reader, RecordError, SpecialTokens, TextTokenizer,
    encode_completion, encode_prompt,
};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

fn files(path: &Path) -> [String; 1] {
    [path.display().to_string()]
}

fn tokenizer() -> TextTokenizer {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer");
    TextTokenizer::from_dir(golden).unwrap()
}

fn pair(
    t: &TextTokenizer,
    context: usize,
    texts: [&str; 3],
) -> Result<PreferencePair, RecordError> {
    let [prompt, chosen, rejected] = texts.map(|text| Content::Plain(text.into()));
    Reader::new(t, context).pair(&prompt, &chosen, &rejected).map(|pair| pair.expect("kept"))
}

#[test]
fn prompt_and_completion_meet_at_a_token_boundary() {
    let t = tokenizer();
    // Together, a token straddles the boundary; apart, the prompt keeps its own tokens.
    let (prompt, completion) = ("The licence is gra", "nted to you.");
    let together = t.encode(&format!("{prompt}{completion}"), false).unwrap();
    let alone = t.encode(prompt, false).unwrap();
    assert!(!together.starts_with(&alone), "the example must have a token across the boundary");
    let pair = pair(&t, 64, [prompt, completion, "x"]).unwrap();
    assert_eq!(pair.chosen.prompt, alone);
    assert_eq!(pair.rejected.prompt, alone);
    assert_eq!(t.decode(&pair.chosen.response, true).unwrap(), completion);
}

#[test]
fn completions_end_in_one_eos() {
    let t = tokenizer();
    let ended = encode_completion(&t, "", ("completion", "hi")).unwrap();
    assert_eq!(ended.split_last().unwrap(), (&2, t.encode("hi", false).unwrap().as_slice()));
    assert_eq!(encode_completion(&t, "", ("completion", "hi<|eos|>")).unwrap(), ended);
    // Any stop token ends a completion; the tokenizer's own is the one that is appended.
    let special = SpecialTokens { end: 4, eos: vec![2], bos: None, pad: None };
    let chat = TextTokenizer::new(t.inner().clone(), special).unwrap();
    assert_eq!(encode_completion(&chat, "", ("completion", "hi<|eos|>")).unwrap(), ended);
    let chat_ended = encode_completion(&chat, "", ("completion", "hi")).unwrap();
    assert_eq!(chat_ended.last(), Some(&4));
    assert_eq!(encode_completion(&chat, "", ("completion", "hi<|im_end|>")).unwrap(), chat_ended);
}

#[test]
fn a_prompt_leaves_room_and_a_pair_fits_exactly() {
    let t = tokenizer();
    let tokens = encode_prompt(&t, "abcd", 99).unwrap().len();
    assert_eq!(tokens, 4);
    assert_eq!(
        encode_prompt(&t, "abcd", 4),
        Err(RecordError::PromptTooLong { tokens: 4, context: 4 })
    );
    // 4 + "x" + EOS = 6, 4 + "zq" + EOS = 7.
    assert!(pair(&t, 7, ["abcd", "x", "zq"]).is_ok());
    assert_eq!(
        pair(&t, 6, ["abcd", "x", "zq"]),
        Err(RecordError::TooLong { field: "rejected", tokens: 7, context: 6 })
    );
}

#[test]
fn bad_records_are_refused_with_file_and_line() {
    let t = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    let good = r#"{"prompt": "p", "chosen": "c", "rejected": "r"}"#;
    let message = |bad: &str| {
        fs::write(&path, format!("{good}\n\n{bad}\n{good}\n")).unwrap();
        let text = Reader::new(&t, 24).preferences(&files(&path)).unwrap_err().to_string();
        text.strip_prefix(&path.display().to_string()).unwrap().to_owned()
    };
    assert_eq!(
        message(r#"{"prompt": "p", "chosen": "c", "rejected": "c<|eos|>"}"#),
        ", line 3: `chosen` and `rejected` are the same tokens"
    );
    assert_eq!(
        message(r#"{"prompt": "p", "chosen": "", "rejected": "r"}"#),
        ", line 3: field `chosen` is empty"
    );
    assert_eq!(
        message(r#"{"prompt": "", "chosen": "c", "rejected": "r"}"#),
        ", line 3: field `prompt` is empty"
    );
    assert_eq!(
        message(r#"{"prompt": "QQQQQQQQQQQQQQQQQQQQQQQQ", "chosen": "c", "rejected": "r"}"#),
        ", line 3: the prompt has 24 tokens, which leaves no room in a context of 24"
    );
    assert_eq!(
        message(r#"{"prompt": "p", "chosen": "QQQQQQQQQQQQQQQQQQQQQQQQ", "rejected": "r"}"#),
        ", line 3: prompt and `chosen` have 26 tokens, but the context has 24"
    );
    fs::write(&path, good).unwrap();
    assert_eq!(Reader::new(&t, 24).preferences(&files(&path)).unwrap().0.len(), 1);
}

#[test]
fn prompts_and_demonstrations_are_read_as_tokens() {
    let t = tokenizer();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demonstrations.jsonl");
    fs::write(&path, "{\"prompt\": \"free\", \"completion\": \"copy\"}\n").unwrap();
    assert_eq!(
        Reader::new(&t, 32).prompts(&files(&path)).unwrap().0,
        [t.encode("free", true).unwrap()]
    );
    let [sequence] = &Reader::new(&t, 32).demonstrations(&files(&path)).unwrap().0[..] else {
        panic!()
    };
    assert_eq!(sequence.prompt, t.encode("free", true).unwrap());
    assert_eq!(t.decode(&sequence.response, false).unwrap(), "copy<|eos|>");
    fs::write(&path, "{\"prompt\": \"free\", \"completion\": \"\"}\n").unwrap();
    let e = Reader::new(&t, 32).demonstrations(&files(&path)).unwrap_err();
    let expected = RecordError::EmptyText { field: "completion" };
    assert!(matches!(e, DataError::Record { line: 1, fault, .. } if fault == expected));
}

proptest! {
    #[test]
    fn a_prompt_has_the_same_tokens_whatever_follows(
        prompt in "[a-z ]{1,20}", chosen in "[a-z ]{1,20}", rejected in "[A-Z]{1,20}",
    ) {
        let t = tokenizer();
        let pair = pair(&t, 128, [&prompt, &chosen, &rejected]).unwrap();
        prop_assert_eq!(&pair.chosen.prompt, &pair.rejected.prompt);
        let back = |ids: &[u32]| t.decode(ids, true).unwrap();
        prop_assert_eq!(back(&pair.chosen.prompt), prompt);
        prop_assert_eq!(back(&pair.chosen.response), chosen);
        prop_assert_eq!(back(&pair.rejected.response), rejected);
    }
}
