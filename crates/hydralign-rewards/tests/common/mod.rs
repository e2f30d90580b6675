//! A tokenizer for any text, and episodes of texts.
#![allow(dead_code, reason = "each test binary uses its own part")]

use hydralign_core::{Episode, Finish};
use hydralign_data::{SpecialTokens, TextTokenizer};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const EOS: u32 = 256;

/// One token per byte, and an end.
pub(crate) fn tokenizer() -> TextTokenizer {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
    alphabet.sort();
    let vocab: Map<String, Value> = alphabet.into_iter().zip((0..).map(Value::from)).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                       "use_regex": false});
    let file = json!({
        "version": "1.0",
        "added_tokens": [{"id": EOS, "content": "</s>", "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let inner = Tokenizer::from_bytes(file.to_string()).unwrap();
    let special = SpecialTokens { end: EOS, eos: vec![EOS], bos: None, pad: None };
    TextTokenizer::new(inner, special).unwrap()
}

/// An episode that ends in the stop token.
pub(crate) fn episode(tokenizer: &TextTokenizer, prompt: &str, response: &str) -> Episode {
    let mut tokens = tokenizer.encode(response, false).unwrap();
    tokens.push(EOS);
    let count = tokens.len();
    Episode {
        prompt: tokenizer.encode(prompt, false).unwrap(),
        row: None,
        response: tokens,
        logprobs: vec![-1.0; count],
        policy_logprobs: vec![-1.0; count],
        finish: Finish::Stop,
    }
}

/// Episodes of one prompt.
pub(crate) fn episodes(
    tokenizer: &TextTokenizer,
    prompt: &str,
    responses: &[&str],
) -> Vec<Episode> {
    responses.iter().map(|response| episode(tokenizer, prompt, response)).collect()
}
