//! Classes of tokenizers that transformers does not take from `tokenizer.json` alone.

use crate::DataError;
use crate::configuration::ConfigFile;
use serde_json::{Value, json};
use std::path::Path;

/// What transformers makes of a tokenizer file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `tokenizer.json` as it is.
    File,
    /// `LlamaTokenizer`.
    Llama,
    /// `GPT2Tokenizer`.
    Gpt2,
    /// `GPTNeoXTokenizer`.
    GptNeoX,
    /// `Qwen2Tokenizer`.
    Qwen2,
    /// `GemmaTokenizer`.
    Gemma,
    /// `CohereTokenizer`.
    Cohere,
}

/// The class that transformers has registered for a type of model, where it is not the general one.
fn registered(model_type: &str) -> Option<Class> {
    Some(match model_type {
        "qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe" => Class::Qwen2,
        "gemma" | "gemma2" | "gemma3" | "gemma3_text" => Class::Gemma,
        "gpt2" | "gpt_neo" | "gptj" | "phi" | "starcoder2" => Class::Gpt2,
        "gpt_neox" | "olmo" | "mpt" => Class::GptNeoX,
        "cohere" | "cohere2" => Class::Cohere,
        _ => return None,
    })
}

/// Types of models that have the general class registered: with any other name it stays that.
const GENERAL: [&str; 7] = ["mistral", "mixtral", "phi3", "olmo2", "olmo3", "granite", "stablelm"];

impl Class {
    /// The class, from `tokenizer_class` of the tokenizer's or the model's configuration, the type
    /// of the model, and whether the tokenizer is byte-level.
    pub(crate) fn of(file: &ConfigFile, dir: &Path) -> Result<Self, DataError> {
        let model = ConfigFile::read(dir, "config.json")?;
        let model = model.as_ref();
        let named = match (file.name("tokenizer_class")?, model) {
            (None, Some(model)) => model.name("tokenizer_class")?,
            (named, _) => named,
        };
        let model_type = match model {
            Some(model) => model.name("model_type")?.unwrap_or_default(),
            None => "",
        };
        let own = named.map(|name| match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" => Self::Llama,
            "GPT2Tokenizer" => Self::Gpt2,
            "GPTNeoXTokenizer" => Self::GptNeoX,
            "Qwen2Tokenizer" => Self::Qwen2,
            "GemmaTokenizer" => Self::Gemma,
            "CohereTokenizer" => Self::Cohere,
            _ => Self::File,
        });
        Ok(match (own, registered(model_type)) {
            // The names that these models carry are known to be wrong.
            (_, Some(class)) if model_type == "qwen2" => class,
            (Some(_), None) if GENERAL.contains(&model_type) => Self::File,
            // Llama 3 and others kept the name of the tokenizer that they left.
            (Some(Self::Llama), _) if is_byte_level(dir)? => Self::File,
            (Some(class), _) => class,
            (None, class) => class.unwrap_or(Self::File),
        })
    }

    /// The special tokens that the class has where no file says otherwise.
    pub(crate) fn tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::File => &[],
            Self::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Self::Gpt2 => &[("unk_token", END), ("bos_token", END), ("eos_token", END)],
            Self::GptNeoX => &[
                ("unk_token", END),
                ("bos_token", END),
                ("eos_token", END),
                ("pad_token", "<|padding|>"),
            ],
            Self::Qwen2 => &[("unk_token", END), ("eos_token", END), ("pad_token", END)],
            Self::Gemma => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Cohere => &[
                ("unk_token", "<UNK>"),
                ("bos_token", "<BOS_TOKEN>"),
                ("eos_token", "<|END_OF_TURN_TOKEN|>"),
                ("pad_token", "<PAD>"),
                ("cls_token", "<CLS>"),
                ("sep_token", "<SEP>"),
                ("mask_token", "<MASK_TOKEN>"),
            ],
        }
    }

    /// Changes a parsed `tokenizer.json` where the class overrides it; tells whether it did.
    ///
    /// `add_prefix_space` (and `legacy` of a Llama tokenizer) then say what stands before a text.
    pub(crate) fn overrides(self, file: &ConfigFile, json: &mut Value) -> Result<bool, DataError> {
        let space = file.switch("add_prefix_space")?;
        let legacy = file.switch("legacy")?.unwrap_or(false);
        Ok(match self {
            Self::File | Self::Gemma => false,
            Self::Llama => llama(space.unwrap_or(true), legacy, json),
            _ => byte_level(&mut json["pre_tokenizer"], space.unwrap_or(false)),
        })
    }

    /// Whether the class drops what `tokenizer.json` puts around a text.
    pub(crate) fn drops_post_processor(self) -> bool {
        self == Self::GptNeoX
    }
}

fn is_byte_level(dir: &Path) -> Result<bool, DataError> {
    let Some(file) = ConfigFile::read(dir, "tokenizer.json")? else { return Ok(false) };
    let parts = ["pre_tokenizer", "decoder"].iter().filter_map(|key| file.get(key));
    Ok(parts.into_iter().any(|part| part.to_string().contains("ByteLevel")))
}

fn byte_level(node: &mut Value, space: bool) -> bool {
    match node {
        Value::Object(fields) if fields.get("type") == Some(&json!("ByteLevel")) => {
            fields.insert("add_prefix_space".into(), space.into()) != Some(space.into())
        }
        Value::Object(fields) => {
            fields.get_mut("pretokenizers").is_some_and(|list| byte_level(list, space))
        }
        // Every item is changed, whether one before it was or not.
        Value::Array(items) => {
            items.iter_mut().filter_map(|i| byte_level(i, space).then_some(())).count() > 0
        }
        _ => false,
    }
}

/// A SentencePiece tokenizer is built anew.
fn llama(space: bool, legacy: bool, json: &mut Value) -> bool {
    if json["model"]["type"] != "BPE" {
        return false;
    }
    let scheme = match (space, legacy) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    json["normalizer"] = Value::Null;
    json["pre_tokenizer"] = json!({
        "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false,
    });
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json["decoder"] = json!({"type": "Sequence", "decoders": decoders});
    for (key, value) in [("fuse_unk", true), ("byte_fallback", true)] {
        json["model"][key] = value.into();
    }
    json["model"]["unk_token"] = Value::Null;
    true
}
