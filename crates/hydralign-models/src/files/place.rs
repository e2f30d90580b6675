//! What lies at a path that was given as a model or as an adapter.

use super::malformed;
use crate::ModelError;
use std::path::Path;

/// What else people save weights as, and how to get what is read.
const OTHER_WEIGHTS: [(&str, &str); 5] = [
    (".bin", "pickled weights, which are not read: save once with `safe_serialization=True`"),
    (".pt", "pickled weights, which are not read: save once as safetensors"),
    (".pth", "pickled weights, which are not read: save once as safetensors"),
    (".gguf", "a GGUF file, which is not read: give the folder in Hugging Face layout"),
    (
        ".safetensors",
        "under another name than the one that is read: rename it if it is what you mean",
    ),
];

/// Fails on a place that holds no model of its own: it names what is there instead.
pub(crate) fn check_model(dir: &Path) -> Result<(), ModelError> {
    check_folder(dir, "model", "config.json")?;
    let has = |name: &str| dir.join(name).exists();
    match (has("config.json"), has("adapter_config.json")) {
        (false, true) => {
            let reason = "is an adapter (adapter_config.json without config.json): give its base \
                          model as the model, and this folder as the adapter";
            return Err(malformed(dir, reason));
        }
        (true, true) => {
            let reason = "holds an adapter (adapter_config.json) beside the model, which transformers \
                          would apply unasked: move it into a folder of its own and give that as \
                          the adapter, or remove it";
            return Err(malformed(dir, reason));
        }
        _ => {}
    }
    check_weights(dir, &["model.safetensors", "model.safetensors.index.json"])
}

/// Fails on a place that holds no adapter: it names what is there instead.
pub(crate) fn check_adapter(dir: &Path) -> Result<(), ModelError> {
    check_folder(dir, "adapter", "adapter_config.json")?;
    let has = |name: &str| dir.join(name).exists();
    if !has("adapter_config.json") && has("config.json") {
        let reason = "is a model (config.json without adapter_config.json), not an adapter";
        return Err(malformed(dir, reason));
    }
    check_weights(dir, &["adapter_model.safetensors"])
}

fn check_folder(path: &Path, what: &str, config: &str) -> Result<(), ModelError> {
    if !path.is_file() {
        return Ok(());
    }
    let reason = match other(path) {
        Some((".safetensors", _)) => {
            format!("is a file of tensors alone: give the folder with its {config}")
        }
        Some((_, reason)) => format!("is {reason}"),
        None => format!("is a file: a {what} is a folder with a {config}"),
    };
    Err(malformed(path, reason))
}

/// The kind of weights that the end of a file's name tells.
fn other(path: &Path) -> Option<(&'static str, &'static str)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    OTHER_WEIGHTS.into_iter().find(|(end, _)| name.ends_with(end))
}

/// Fails where none of the files that are read is there and other weights are.
fn check_weights(dir: &Path, read: &[&str]) -> Result<(), ModelError> {
    if read.iter().any(|name| dir.join(name).exists()) {
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    let mut names: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| other(p).is_some()).collect();
    // What training leaves beside weights is not what was meant.
    names.retain(|p| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        !["training_args", "optimizer", "scheduler", "rng_state"]
            .iter()
            .any(|n| name.starts_with(n))
    });
    names.sort();
    match names.first().and_then(|path| Some((path, other(path)?.1))) {
        None => Ok(()),
        Some((path, reason)) => {
            let reason = format!("{reason} (needed here: {})", read[0]);
            Err(malformed(path, reason))
        }
    }
}
