//! JSON Lines files, good and bad.

use hydralign_data::{
    DataError, DemonstrationRecord, JsonlReader, Located, PreferenceRecord, PromptRecord, Record,
    RecordError, write_jsonl,
};
use std::io::{self, BufReader, Read};

fn read<T: Record>(text: impl AsRef<[u8]>) -> Result<Vec<Located<T>>, DataError> {
    // A small buffer, so that lines straddle its refills.
    JsonlReader::new(BufReader::with_capacity(7, text.as_ref()), "pairs.jsonl").collect()
}

fn prompts(text: impl AsRef<[u8]>) -> Vec<(usize, String)> {
    let lines = read::<PromptRecord>(text).unwrap();
    lines.into_iter().map(|l| (l.line, l.record.prompt)).collect()
}

fn message<T: Record>(text: impl AsRef<[u8]>) -> String {
    read::<T>(text).err().expect("the text is bad").to_string()
}

#[test]
fn records_keep_their_line_numbers_and_ignore_other_keys() {
    let text = "\u{feff}{\"prompt\": \"a\"}\n\n  \t\r\n{\"id\": 3, \"prompt\": \"b\\n\", \"x\": null}\r\n{\"prompt\":\"é\"}";
    let expected = [(1, "a".into()), (4, "b\n".into()), (5, "é".into())];
    assert_eq!(prompts(text), expected);
}

#[test]
fn every_record_type_reads_its_fields() {
    let pair = r#"{"rejected": "r", "prompt": "p", "chosen": "c"}"#;
    let expected =
        PreferenceRecord { prompt: "p".into(), chosen: "c".into(), rejected: "r".into() };
    assert_eq!(read(pair).unwrap(), [Located { line: 1, record: expected }]);
    let demonstration = r#"{"prompt": "p", "completion": "c"}"#;
    let expected = DemonstrationRecord { prompt: "p".into(), completion: "c".into() };
    assert_eq!(read(demonstration).unwrap(), [Located { line: 1, record: expected }]);
}

#[test]
fn missing_and_mistyped_fields_are_named_with_file_and_line() {
    let good = "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}\n";
    let at_7 =
        |line: &str| message::<PreferenceRecord>(format!("{good}\n{}{line}", good.repeat(4)));
    assert_eq!(
        at_7(r#"{"prompt": "p", "chosen": "c"}"#),
        "pairs.jsonl, line 7: missing field `rejected`"
    );
    assert_eq!(
        at_7(r#"{"prompt": "p", "chosen": 3, "rejected": "r"}"#),
        "pairs.jsonl, line 7: field `chosen` must be a string, found a number"
    );
    assert_eq!(
        at_7(r#"{"prompt": [{"role": "user"}], "chosen": "c", "rejected": "r"}"#),
        "pairs.jsonl, line 7: field `prompt` must be a string, found an array"
    );
    assert_eq!(
        message::<DemonstrationRecord>(r#"{"prompt": "p", "completion": null}"#),
        "pairs.jsonl, line 1: field `completion` must be a string, found null"
    );
    assert_eq!(
        message::<DemonstrationRecord>(r#"{"completion": "c"}"#),
        "pairs.jsonl, line 1: missing field `prompt`"
    );
}

#[test]
fn what_is_not_json_is_placed_by_line_and_column() {
    assert_eq!(
        message::<PromptRecord>("\n{\"prompt\": \"a\",}"),
        "pairs.jsonl, line 2: column 16: trailing comma"
    );
    assert!(
        message::<PromptRecord>("{\"prompt\": \"a\"} {}")
            .starts_with("pairs.jsonl, line 1: column 17:")
    );
    assert!(
        message::<PromptRecord>("{\"prompt\": \"a").starts_with("pairs.jsonl, line 1: column 13:")
    );
    assert_eq!(
        message::<PromptRecord>("{\"prompt\": \"a\"}\n[\"prompt\"]"),
        "pairs.jsonl, line 2: expected an object, found an array"
    );
    let half = "an escaped half of a surrogate pair, which is no character";
    for text in ["\\ud800", "\\udc00 x", "\\ud83d\\ud83d"] {
        let error = message::<PromptRecord>(format!("{{\"prompt\": \"{text}\"}}"));
        assert!(error.contains(half), "{error}");
    }
    assert_eq!(
        message::<PromptRecord>(b"{\"prompt\": \"\xff\"}"),
        "pairs.jsonl, line 1: column 13: not UTF-8"
    );
    // Deeper than any stack allows: refused, not followed.
    assert!(message::<PromptRecord>("{\"a\":".repeat(1_000_000)).contains("recursion limit"));
}

#[test]
fn files_without_records_are_errors() {
    for text in ["", "\n\n", "  \r\n\t", "\u{feff}\n"] {
        assert_eq!(message::<PromptRecord>(text), "pairs.jsonl: the file has no records");
    }
}

#[test]
fn the_limit_counts_the_line_without_its_end() {
    let line = r#"{"prompt": "abc"}"#;
    for end in ["", "\n", "\r\n"] {
        let text = format!("{line}{end}{line}{end}");
        let read = |limit| {
            let first = if end.is_empty() { line } else { &text };
            JsonlReader::<_, PromptRecord>::new(first.as_bytes(), "x").with_line_limit(limit)
        };
        assert!(read(line.len()).all(|r| r.is_ok()));
        let e = read(line.len() - 1).next().unwrap().unwrap_err();
        let limit = line.len() - 1;
        let expected = RecordError::LineTooLong { limit };
        assert!(matches!(e, DataError::Record { line: 1, fault, .. } if fault == expected));
    }
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let endless = BufReader::new(io::repeat(b'x'));
    let mut reader = JsonlReader::<_, PromptRecord>::new(endless, "x").with_line_limit(1 << 10);
    assert_eq!(
        reader.next().unwrap().unwrap_err().to_string(),
        "x, line 1: the line is longer than 1024 bytes"
    );
    assert!(reader.next().is_none(), "the first error is the last item");
}

#[test]
fn the_first_error_is_the_last_item() {
    let text = "{\"prompt\": \"a\"}\nbad\n{\"prompt\": \"b\"}\n";
    let items: Vec<_> = JsonlReader::<_, PromptRecord>::new(text.as_bytes(), "x").collect();
    assert_eq!(items.len(), 2);
    assert!(items[0].is_ok() && items[1].is_err());
}

#[test]
fn failures_of_the_source_are_passed_on() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let mut reader = JsonlReader::<_, PromptRecord>::new(BufReader::new(Broken), "x.jsonl");
    assert_eq!(reader.next().unwrap().unwrap_err().to_string(), "x.jsonl: unplugged");
    let absent = std::env::temp_dir().join("hydralign-no-such-file.jsonl");
    let e = JsonlReader::<_, PromptRecord>::open(&absent).err().unwrap();
    assert!(matches!(e, DataError::Io { path, .. } if path == absent));
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    let record = |text: &str| PreferenceRecord {
        prompt: format!("{text}\n\r\u{2028}\""),
        chosen: text.into(),
        rejected: "é\u{0}".into(),
    };
    let records = [record("a"), record("b")];
    write_jsonl(&path, &records).unwrap();
    let read: Result<Vec<_>, _> = JsonlReader::open(&path).unwrap().collect();
    let read: Vec<(usize, PreferenceRecord)> =
        read.unwrap().into_iter().map(|l| (l.line, l.record)).collect();
    let [a, b] = records;
    assert_eq!(read, [(1, a), (2, b)]);
    let nowhere = dir.path().join("no/such/folder.jsonl");
    assert!(matches!(write_jsonl::<PromptRecord>(&nowhere, &[]), Err(DataError::Io { .. })));
}
