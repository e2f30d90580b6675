//! Texts that come piece by piece, for tokenizers of every kind.

use hydralign_data::{TextStream, TextTokenizer};
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [&str; 4] = ["metaspace", "unigram", "wordpiece", "byte_level"];

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(kind)
}

fn tokenizer(kind: &str) -> TextTokenizer {
    TextTokenizer::from_dir(folder(kind)).unwrap()
}

/// `metaspace` with byte tokens that are text, as Llama's are; in the shipped file they are special.
fn bytes_as_text() -> TextTokenizer {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder("metaspace")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join("tokenizer.json");
    let mut file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    file["added_tokens"].as_array_mut().unwrap().truncate(3);
    fs::write(&path, file.to_string()).unwrap();
    TextTokenizer::from_dir(dir.path()).unwrap()
}

fn pieces(tokenizer: &TextTokenizer, tokens: &[u32], skip_special: bool) -> Vec<String> {
    let mut stream = TextStream::new(tokenizer, skip_special);
    let mut pieces: Vec<String> = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

fn named(tokenizer: &TextTokenizer, names: &[&str]) -> Vec<u32> {
    names.iter().map(|name| tokenizer.token_to_id(name).unwrap()).collect()
}

/// A good byte is replaced too when a bad one follows it, so it waits for the end of the run.
#[test]
fn byte_tokens_wait_for_the_next_word() {
    let tokenizer = bytes_as_text();
    let good = named(&tokenizer, &["<0xE2>", "<0x82>", "<0xAC>", "a"]);
    assert_eq!(pieces(&tokenizer, &good, true), ["", "", "", "€a", ""]);
    let bad = named(&tokenizer, &["a", "<0x41>", "<0xFF>", "a"]);
    assert_eq!(pieces(&tokenizer, &bad, true), ["a", "", "", "\u{FFFD}\u{FFFD}a", ""]);
    let end = named(&tokenizer, &["a", "<0x41>"]);
    assert_eq!(pieces(&tokenizer, &end, true), ["a", "", "A"]);
    // A special token that is not shown does not part the bytes.
    let parted = named(&tokenizer, &["<0x41>", "</s>", "<0xFF>"]);
    assert_eq!(pieces(&tokenizer, &parted, true), ["", "", "", "\u{FFFD}\u{FFFD}"]);
    assert_eq!(pieces(&tokenizer, &parted, false).concat(), "A</s>\u{FFFD}");
}

#[test]
fn words_do_not_wait() {
    for kind in KINDS {
        let tokenizer = tokenizer(kind);
        let tokens = tokenizer.encode("dogs a cat on x", false).unwrap();
        let pieces = pieces(&tokenizer, &tokens, true);
        assert!(tokens.len() > 1, "{kind}");
        assert!(pieces.last().unwrap().len() <= 3, "{kind}: {pieces:?}");
    }
}

proptest! {
    #[test]
    fn pieces_are_the_text_of_all_tokens(
        draws in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        bytes in any::<bool>(),
        skip_special in any::<bool>(),
    ) {
        let named = KINDS.map(|kind| (kind, tokenizer(kind)));
        for (kind, tokenizer) in named.into_iter().chain([("bytes", bytes_as_text())]) {
            // Byte tokens are the first 259 ids of that vocabulary.
            let range = if bytes && kind == "bytes" { 259 } else { tokenizer.vocab_size() + 2 };
            let tokens: Vec<u32> = draws.iter().map(|d| d.index(range) as u32).collect();
            let whole = tokenizer.decode(&tokens, skip_special).unwrap();
            prop_assert_eq!(pieces(&tokenizer, &tokens, skip_special).concat(), whole, "{}", kind);
        }
    }
}
