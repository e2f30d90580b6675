use super::sample::corpus;
use serde_json::json;
use std::fs;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{AddedToken, Tokenizer};

/// Ends a reply.
pub const END: &str = "<|end|>";
/// Fills rows.
pub const PAD: &str = "<|pad|>";
/// Tokens that the trainer may make: two special ones, 256 bytes and pieces of words. The
/// language needs fewer.
pub const MAX_VOCABULARY: usize = 512;

/// Texts that the tokenizer is trained on, and their seed.
const TEXTS: usize = 4_000;
const SEED: u64 = 0x70C;

/// Trains the task's byte-level BPE. Always the same one.
///
/// Every byte is a token, so any text can be encoded; every word of the language has a token
/// of its own, with the space before it.
///
/// # Errors
/// What the tokenizer library or the corpus refuses.
pub fn train_tokenizer() -> tokenizers::Result<Tokenizer> {
    let trainer = BpeTrainer::builder()
        .vocab_size(MAX_VOCABULARY)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens([PAD, END].map(|text| AddedToken::from(text, true)).into())
        .build();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let texts = corpus(SEED, TEXTS)?.into_iter().map(|r| r.prompt + &r.completion);
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts)?;
    Ok(tokenizer)
}

/// Writes the tokenizer as Hugging Face does: `tokenizer.json` and `tokenizer_config.json`.
///
/// # Errors
/// What keeps the files from being written.
pub fn save_tokenizer(tokenizer: &Tokenizer, dir: &Path) -> tokenizers::Result<()> {
    fs::create_dir_all(dir)?;
    tokenizer.save(dir.join("tokenizer.json"), true)?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": false,
    });
    fs::write(dir.join("tokenizer_config.json"), serde_json::to_string_pretty(&config)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::grammar::SENTENCES;
    use super::super::{ITEMS, MOODS, NAMES, all_requests, best_reply, demonstrations};
    use super::*;
    use hydralign::data::TextTokenizer;

    fn saved() -> (tempfile::TempDir, TextTokenizer) {
        let dir = tempfile::tempdir().unwrap();
        save_tokenizer(&train_tokenizer().unwrap(), dir.path()).unwrap();
        let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
        (dir, tokenizer)
    }

    #[test]
    fn names_moods_and_items_are_single_tokens() {
        let (_dir, tokenizer) = saved();
        assert!(tokenizer.vocab_size() <= MAX_VOCABULARY);
        for word in NAMES.iter().chain(&MOODS).chain(&ITEMS) {
            let ids = tokenizer.encode(&format!(" {word}"), false).unwrap();
            assert_eq!(ids.len(), 1, "{word}");
        }
    }

    #[test]
    fn every_word_and_every_mark_is_a_single_token() {
        let (_dir, tokenizer) = saved();
        for (text, _) in SENTENCES.iter() {
            let words = text.split(' ').count();
            let ids = tokenizer.encode(&format!(" {text}"), false).unwrap();
            assert_eq!(ids.len(), words + 1, "{text}");
        }
        for request in all_requests() {
            // Guest Mira is sad and asks for tea .  ⏎ Reply :
            assert_eq!(tokenizer.encode(&request.prompt(), true).unwrap().len(), 12);
        }
    }

    #[test]
    fn text_survives_and_prompt_and_reply_meet_at_a_token_boundary() {
        let (_dir, t) = saved();
        for r in all_requests() {
            let (prompt, reply) = (r.prompt(), best_reply(&r));
            let together = t.encode(&format!("{prompt}{reply}"), false).unwrap();
            let apart =
                [t.encode(&prompt, true).unwrap(), t.encode(&reply, false).unwrap()].concat();
            assert_eq!(together, apart);
            assert_eq!(t.decode(&apart, true).unwrap(), prompt + &reply);
        }
        for r in demonstrations(5, 500).unwrap() {
            let ids = t.encode(&r.completion, false).unwrap();
            assert_eq!(t.decode(&ids, true).unwrap(), r.completion);
        }
        let other = "Zoë says: 日本語!\t\n  {\"x\": 1}";
        assert_eq!(t.decode(&t.encode(other, false).unwrap(), true).unwrap(), other);
    }

    #[test]
    fn the_folder_names_its_special_tokens() {
        let (_dir, tokenizer) = saved();
        assert_eq!(tokenizer.special().pad, Some(0));
        assert_eq!(tokenizer.eos_ids(), [1]);
        assert_eq!(tokenizer.decode(&[1], false).unwrap(), END);
        assert_eq!(tokenizer.decode(&[1], true).unwrap(), "");
    }

    #[test]
    fn training_twice_gives_the_same_tokenizer() {
        let text = || train_tokenizer().unwrap().to_string(false).unwrap();
        assert_eq!(text(), text());
    }
}
