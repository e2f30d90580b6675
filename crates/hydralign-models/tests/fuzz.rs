//! Readers under mutation: 3,000 damaged inputs each, or 100,000 where `HYDRALIGN_FULL_TESTS` is set. Nothing panics, nothing allocates beyond
//! a small multiple of the file, every error names the file.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

use burn::tensor::Device;
use hydralign_kernels::CountingAllocator;
use hydralign_models::{
    Adapter, Architecture, SaveOptions, ScalarHead, load_adapter, load_checkpoint, random_trunk,
    save_adapter, save_checkpoint,
};
use hydralign_placement::{LoraShape, ModelShape, Parts};
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// The counter is one for the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Damaged inputs for each reader.
fn inputs() -> usize {
    if std::env::var_os("HYDRALIGN_FULL_TESTS").is_some() { 100_000 } else { 3_000 }
}

/// A sequence of bits that a seed determines (splitmix64).
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// What readers of numbers and names trip over.
const WORDS: [&str; 24] = [
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "4294967295",
    "9223372036854775807",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[[[[[[[[",
    "\"F64\"",
    "\"BF16\"",
    "\"../x\"",
    "\"gpt2\"",
    "\"opt\"",
    "\"gemma3_text\"",
    "1.5",
    "\"all-linear\"",
    "\"(a+)+$\"",
    "\u{0}",
    ":",
    "\"",
];

/// One to four changes: flips, cuts, copies, words put over numbers and strings.
fn mutate(bytes: &mut Vec<u8>, bits: &mut Bits) {
    for _ in 0..1 + bits.below(4) {
        let at = bits.below(bytes.len());
        match bits.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << bits.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = bytes.len().min(at + bits.below(64));
                drop(bytes.drain(at..end));
            }
            3 => {
                let end = bytes.len().min(at + bits.below(64));
                let part = bytes[at..end].to_vec();
                let to = bits.below(bytes.len());
                bytes.splice(to..to, part);
            }
            4 | 5 => replace_value(bytes, at, bits),
            _ if !bytes.is_empty() => bytes[at] = bits.next() as u8,
            _ => {}
        }
    }
}

/// Puts a word in the place of the JSON value after the next colon.
fn replace_value(bytes: &mut Vec<u8>, at: usize, bits: &mut Bits) {
    let find = |from: usize, stops: &[u8]| {
        bytes[from..].iter().position(|b| stops.contains(b)).map(|i| from + i)
    };
    let Some(from) = find(at, b":") else { return };
    let to = find(from, b",}\n").unwrap_or(bytes.len());
    let word = WORDS[bits.below(WORDS.len())].bytes();
    bytes.splice(from + 1..to.max(from + 1), word);
}

/// A model so small that its header is as large as its numbers, in shards if asked.
fn model(shard_bytes: usize) -> (TempDir, Architecture, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = ModelShape {
        vocab: 7,
        hidden: 4,
        intermediate: 6,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 2,
        tied: false,
        parts: Parts::default(),
    };
    let architecture = Architecture::llama(&shape, 32, 1).unwrap();
    let dir = tempfile::Builder::new().prefix("model-").tempdir().unwrap();
    let device = Device::flex();
    let trunk = random_trunk(&architecture, false, 1, &device);
    let options = SaveOptions { shard_bytes, ..SaveOptions::default() };
    save_checkpoint(dir.path(), &trunk, None, &options).unwrap();
    let lora = LoraShape { rank: 2, ..LoraShape::default() };
    let adapter = Adapter::fresh(&shape, &lora, false, 2, &device);
    let head = ScalarHead::fresh(4, false, 3, &device);
    let below = dir.path().join("adapter");
    save_adapter(&below, &adapter, Some(&head), &architecture, "base").unwrap();
    (dir, architecture, alone)
}

/// Damages one file again and again and loads its folder each time; `bound` is how many bytes
/// may be in use at once for a file of so many bytes.
fn fuzz(path: &Path, bound: impl Fn(u64) -> u64, load: impl Fn() -> Result<(), String>) {
    let original = std::fs::read(path).unwrap();
    load().expect("the undamaged file loads");
    let folder = path.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let mut bits = Bits(original.len() as u64);
    let (mut refused, mut worst, inputs) = (0, 0, inputs());
    for _ in 0..inputs {
        let mut bytes = original.clone();
        mutate(&mut bytes, &mut bits);
        // In place: file systems flush a file that is cut to nothing and written anew.
        file.rewind().unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let live = CountingAllocator::live();
        CountingAllocator::reset_peak();
        let result = load();
        let peak = CountingAllocator::peak() - live;
        worst = worst.max(peak);
        let text = || String::from_utf8_lossy(&bytes);
        assert!(peak <= bound(bytes.len() as u64), "{peak} bytes for {}: {}", bytes.len(), text());
        if let Err(error) = result {
            assert!(error.contains(folder) && error.contains(": "), "{error}");
            refused += 1;
        }
    }
    println!("{}: {refused} of {inputs} refused, at most {worst} bytes in use", path.display());
    assert!(refused > inputs / 4, "only {refused} were refused: is anything damaged?");
}

fn loads(dir: &Path) -> Result<(), String> {
    load_checkpoint(dir, &Device::flex()).map(drop).map_err(|e| e.to_string())
}

/// Bytes of all files of a folder.
fn folder_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().metadata().unwrap());
    files.filter(|m| m.is_file()).map(|m| m.len()).sum()
}

#[test]
fn damaged_safetensors_files() {
    let (dir, _, _alone) = model(usize::MAX);
    let path = dir.path().join("model.safetensors");
    fuzz(&path, |bytes| 16 * bytes + 32_768, || loads(dir.path()));
}

#[test]
fn damaged_indices() {
    let (dir, _, _alone) = model(200);
    let all = folder_bytes(dir.path());
    let path = dir.path().join("model.safetensors.index.json");
    fuzz(&path, |bytes| 16 * (bytes + all), || loads(dir.path()));
}

#[test]
fn damaged_configurations() {
    let (dir, _, _alone) = model(usize::MAX);
    let all = folder_bytes(dir.path());
    let path = dir.path().join("config.json");
    fuzz(&path, |bytes| 16 * (bytes + all), || loads(dir.path()));
}

#[test]
fn damaged_adapter_configurations() {
    let (dir, architecture, _alone) = model(usize::MAX);
    let adapter = dir.path().join("adapter");
    let path = adapter.join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 2, \"up.*j\": 2}")
        .replace("\"bias\"", "\"layers_pattern\": null, \"exclude_modules\": [\"x\"], \"bias\"");
    std::fs::write(&path, text).unwrap();
    // A compiled pattern may take megabytes whatever its length.
    let load = || load_adapter(&adapter, &architecture, &Device::flex());
    fuzz(&path, |bytes| 16 * bytes + (8 << 20), || load().map(drop).map_err(|e| e.to_string()));
}

#[test]
fn damaged_adapter_weights() {
    let (dir, architecture, _alone) = model(usize::MAX);
    let adapter = dir.path().join("adapter");
    let path = adapter.join("adapter_model.safetensors");
    let load = || load_adapter(&adapter, &architecture, &Device::flex());
    let bound = |bytes| 16 * bytes + (1 << 20);
    fuzz(&path, bound, || load().map(drop).map_err(|e| e.to_string()));
}
