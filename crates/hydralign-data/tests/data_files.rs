//! Files of every kind that people bring: read, or named for what they are.

use flate2::Compression;
use flate2::write::GzEncoder;
use hydralign_data::{ChatTemplate, RowUnit, Rows, TextTokenizer};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const LINES: &str = "{\"prompt\": \"a\", \"n\": 1e30}\n\n{\"prompt\": \"b\", \"n\": 512.0}\r\n";

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// The numbers and prompts of a file's rows.
fn rows(name: &str, bytes: &[u8]) -> Result<Vec<(RowUnit, usize, String)>, String> {
    let (_dir, path) = file(name, bytes);
    let row = |row: Result<hydralign_data::Row, _>| match row {
        Ok(row) => Ok((row.unit, row.number, row.fields["prompt"].as_str().unwrap().to_owned())),
        Err(e) => Err(hydralign_data::DataError::to_string(&e)),
    };
    Rows::new(vec![path]).map(row).collect()
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let error = rows(name, bytes).unwrap_err();
    assert!(error.contains(name), "{error}");
    error
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_files_are_read_whatever_their_name() {
    let expected = vec![(RowUnit::Line, 1, "a".to_owned()), (RowUnit::Line, 3, "b".to_owned())];
    assert_eq!(rows("x", LINES.as_bytes()).unwrap(), expected);
    assert_eq!(rows("x.jsonl.gz", &gzip(LINES.as_bytes())).unwrap(), expected);
    // As `cat a.gz b.gz` and block writers make them.
    let (first, second) = LINES.split_at(30);
    let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    assert_eq!(rows("x.jsonl", &members).unwrap(), expected);
    let frames = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    assert_eq!(rows("x.zst", &[frames(first), frames(second)].concat()).unwrap(), expected);
    let skipped = [&[0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 7, 7][..], &frames(LINES)].concat();
    assert_eq!(rows("x.zst", &skipped).unwrap(), expected);
    let cut = gzip(LINES.as_bytes());
    assert!(rows("x.gz", &cut[..cut.len() - 9]).is_err());
    assert!(refusal("x.gz", &gzip(&gzip(b"{}"))).contains("packed twice"));
}

#[test]
fn arrays_are_read_and_their_elements_numbered() {
    let expected =
        vec![(RowUnit::Element, 1, "a]\\\"{,".to_owned()), (RowUnit::Element, 2, "b".to_owned())];
    let compact = r#"[{"prompt":"a]\\\"{,","x":[[1],{}]},{"prompt":"b"}]"#;
    assert_eq!(rows("x.json", compact.as_bytes()).unwrap(), expected);
    let indented = compact.replace("},{", "\n },\n {\n").replace("[{\"p", "\u{feff}\n[\n {\"p");
    assert_eq!(rows("x.json", indented.as_bytes()).unwrap(), expected);
    let refused = |text: &str| refusal("x.json", text.as_bytes());
    assert!(refused("[]").contains("no records"));
    assert!(
        refused("[{\"prompt\": \"a\"}, 3]")
            .contains("element 2: expected an object, found a number")
    );
    assert!(refused("[{\"prompt\": \"a\"}, {\"prompt\": \"b\"]").contains("does not end"));
    assert!(refused("[{\"prompt\": \"a\"},]").contains("element 2"));
    assert!(refused("[{\"prompt\": \"a\"}]\n[{\"prompt\": \"b\"}]").contains("behind the end"));
    assert!(refused("[{\"prompt\": \"a\"} {}]").contains("element 1"));
}

#[test]
fn other_kinds_are_named_with_a_remedy() {
    let mut tar = vec![b'a'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let utf16: Vec<u8> = "{\"prompt\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let kinds: [(&[u8], &[&str]); 16] = [
        (b"\xFF\xFE{\0}\0", &["UTF-16", "UTF-8"]),
        (&utf16, &["UTF-16", "UTF-8"]),
        (b"PK\x03\x04....", &["zip", "unpack"]),
        (b"\xFD7zXZ\0\0", &["xz", "unpack"]),
        (b"BZh91AY", &["bzip2", "unpack"]),
        (&tar, &["tar", "unpack"]),
        (b"ARROW1\0\0", &["Arrow", "to_parquet"]),
        (b"\xFF\xFF\xFF\xFF\x10\0\0\0", &["Arrow", "to_parquet"]),
        (b"\x80\x04\x95\x10", &["pickle", "JSON Lines"]),
        (b"version https://git-lfs.github.com/spec/v1\noid", &["LFS", "git lfs pull"]),
        (b"\n<!DOCTYPE html>\n<html>", &["HTML", "resolve"]),
        (b"prompt,chosen,rejected\na,b,c\n", &["CSV", "Parquet"]),
        (
            b"Once upon a time, it was.\nThe end.\n",
            &["line 1 is not JSON", "one JSON object a line"],
        ),
        (b"prompt\tchosen\na\tb\n", &["CSV", "Parquet"]),
        (b"{\n  \"prompt\": \"a\"\n}\n", &["over several lines", "one object a line"]),
        (b"{\"prompt\": \"a\",\n\n \"b\": 1}\n", &["over several lines", "array"]),
    ];
    for (bytes, words) in kinds {
        let error = refusal("x.jsonl", bytes);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        // Behind gzip too.
        let error = refusal("x.gz", &gzip(bytes));
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let error = Rows::new(vec![dir.path().to_owned()]).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("a folder"), "{error}");
}

#[test]
fn a_line_that_was_cut_is_no_object_over_several_lines() {
    assert!(refusal("x", b"{\"prompt\": \"a\n{\"prompt\": \"b\"}\n").contains("line 1: column"));
    assert!(refusal("x", b"{\"prompt\": \"a").contains("line 1: column 13: EOF"));
    assert!(refusal("x", b"noise\n{\"prompt\": \"b\"}\n").contains("line 1: column"));
}

#[test]
fn rows_go_on_behind_faulty_ones_when_told_to() {
    let text = b"{\"prompt\": \"a\"}\n{\"prompt\": \n[1]\n\xff\n{\"prompt\": \"b\"}\n";
    let (_dir, path) = file("x.jsonl", text);
    let numbers = |on: bool| -> Vec<Option<usize>> {
        let rows = Rows::new(vec![path.clone()]).past_faults(on);
        rows.map(|row| row.ok().map(|row| row.number)).collect()
    };
    assert_eq!(numbers(false), [Some(1), None]);
    assert_eq!(numbers(true), [Some(1), None, None, None, Some(5)]);
    let (_dir, path) = file("x.json", b"[{\"a\": 1}, 3, {\"a\": 2}]");
    let rows = Rows::new(vec![path]).past_faults(true);
    let numbers: Vec<_> = rows.map(|row| row.ok().map(|row| row.number)).collect();
    assert_eq!(numbers, [Some(1), None, Some(3)]);
}

/// Where a damaged element ends nobody knows: those behind it must not be lost uncounted.
#[test]
fn a_damaged_element_ends_an_array_even_where_faults_are_passed() {
    for text in [
        &b"[{\"a\": 1}, {\"a\": \"x\"\" }, {\"a\": 2}, {\"a\": \"y\"\"}, {\"a\": 3}]"[..],
        b"[{\"a\": 1}, {{\"a\": 2}, {\"a\": 3}}, {\"a\": 4}]",
        b"[{\"a\": 1}, {\"a\": \xff}, {\"a\": 2}]",
    ] {
        let (_dir, path) = file("x.json", text);
        let rows = Rows::new(vec![path]).past_faults(true);
        let numbers: Vec<_> = rows.map(|row| row.ok().map(|row| row.number)).collect();
        assert_eq!(numbers, [Some(1), None]);
    }
}

#[test]
fn numbers_that_are_not_finite_keep_their_place() {
    let (_dir, path) =
        file("x.jsonl", b"{\"prompt\": \"a\", \"margin\": [NaN, 1]}\n{\"prompt\": \"b\"}");
    let rows: Vec<_> = Rows::new(vec![path]).map(Result::unwrap).collect();
    assert_eq!(rows[0].non_finite[0].pointer, "/margin/0");
    assert!(rows[1].non_finite.is_empty());
}

/// Every file of a model that this crate reads, with what Git leaves in its place.
#[test]
fn a_pointer_in_the_place_of_a_file_is_named() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat");
    for file in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.json",
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
        std::fs::copy(golden.join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
        if !matches!(file, "special_tokens_map.json" | "added_tokens.json") {
            let name = "tokenizer_config.json";
            let config = r#"{"eos_token": "</s>", "bos_token": "<s>"}"#;
            std::fs::write(dir.path().join(name), config).unwrap();
        }
        std::fs::write(dir.path().join(file), POINTER).unwrap();
        let tokenizer = TextTokenizer::from_dir(dir.path()).map(drop).map_err(|e| e.to_string());
        let template = ChatTemplate::from_dir(dir.path()).map(drop).map_err(|e| e.to_string());
        let error = tokenizer.and(template).unwrap_err();
        assert!(error.contains(file) && error.contains("git lfs pull"), "{file}: {error}");
    }
}
