//! The prediction against numbers that others have published: what graphs and heads keep.

mod common;

use Dtype::{Bf16, F32};
use common::{llama_2_7b, shaped};
use hydralign_families::{Activation, Architecture, architecture};
use hydralign_memory::{
    Category, Dtype, HeadCopies, Method, PhaseName, Profile, Workload, predict,
};
use hydralign_placement::{LoraShape, ModelShape};
use serde_json::json;
use std::path::Path;

const MB: f64 = (1_u64 << 20) as f64;

/// A GPT with the sizes of Megatron-LM's experiments: four h by h and two h by 4h projections, layer
/// norms, GELU, learned positions. `fused` has queries, keys and values in one, as GPT-2.
fn gpt(layers: u64, heads: u64, hidden: u64, tokens: u64, fused: bool) -> Architecture {
    let config = match fused {
        true => json!({
            "model_type": "gpt2", "vocab_size": 51200, "n_embd": hidden, "n_head": heads,
            "n_layer": layers, "n_positions": tokens, "activation_function": "gelu",
        }),
        false => json!({
            "model_type": "opt", "vocab_size": 51200, "hidden_size": hidden,
            "ffn_dim": 4 * hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "max_position_embeddings": tokens, "activation_function": "relu",
        }),
    };
    let read = architecture(&config, Path::new("gpt")).unwrap();
    Architecture { activation: Activation::Gelu, ..read }
}

/// Bytes that the graph of one block keeps: what one block more adds to the activations. With many
/// rows, so that these make the peak and not the step of the optimizer.
fn block(
    model: impl Fn(u64) -> Architecture,
    rows: usize,
    tokens: usize,
    profile: &Profile,
) -> u64 {
    let workload = Workload::uniform(rows, tokens - 1, 1).in_dtype(Bf16);
    let activations = |layers: u64| {
        let (model, lora) = (model(layers), LoraShape::default());
        let prediction = predict(&Method::sft(), &model, &lora, &workload, profile).unwrap();
        prediction.get(PhaseName::Update).unwrap().get(Category::Activations)
    };
    activations(5) - activations(4)
}

#[test]
fn a_block_keeps_what_megatron_counts() {
    // Korthikanti et al. 2022 (arXiv 2205.05198), eq. 1: s·b·h·(34 + 5·a·s/h) bytes a layer in 16
    // bits; means and variances of the two norms, 16·s·b bytes, are left out there (§4.1).
    for (heads, hidden, s, rows) in
        [(64, 6144, 2048, 64), (96, 12_288, 2048, 64), (128, 20_480, 2048, 128)]
    {
        let sb = s * rows;
        let published = sb * (34 * hidden + 5 * heads * s);
        for fused in [false, true] {
            let model = |layers| gpt(layers, heads, hidden, s, fused);
            let kept = block(model, rows as usize, s as usize, &Profile::eager(true));
            assert_eq!(kept - 16 * sb, published, "{heads} heads, fused {fused}");
        }
    }
}

#[test]
fn recomputed_attention_saves_what_megatron_saves() {
    // The same paper, §5: recomputing scores, softmax and dropout saves 70 % for GPT-3 and 65 % for
    // MT-NLG 530B. Heads matter to nothing else, so twice as many add that once more.
    for (heads, hidden, published) in [(96, 12_288, "70 %"), (128, 20_480, "65 %")] {
        let with = |heads| {
            let model = |layers| gpt(layers, heads, hidden, 2048, true);
            block(model, 128, 2048, &Profile::eager(true))
        };
        let saved = (with(2 * heads) - with(heads)) as f64 / with(heads) as f64;
        assert_eq!(format!("{:.0} %", 100.0 * saved), published);
    }
}

#[test]
fn separate_operations_keep_more_than_fused_ones() {
    // What the two kinds of kernels differ in, on one block of Llama: norms (statistics and the
    // product before γ), sigmoid, and the softmax of four tensors instead of one.
    let model = |layers: u64| shaped(ModelShape { layers: layers as usize, ..llama_2_7b().shape });
    let bytes = |profile| block(model, 64, 128, &profile);
    let separate = Profile { packing: None, ..Profile::flex(1) };
    let (separate, fused, dropped) =
        (bytes(separate), bytes(Profile::eager(false)), bytes(Profile::eager(true)));
    let (n, h, inner, heads, scores) = (64 * 128, 4096, 11_008, 32, 64 * 32 * 128 * 128);
    // Norms: three statistics a row in 16 bits and x·scale, against one in 32 bits.
    let norms = 2 * (n * (2 * 3 - 4) + 2 * n * h);
    let softmax = 2 * (2 * scores + n * heads);
    // The sigmoid of the gate.
    assert_eq!(separate - fused, norms + 2 * n * inner + softmax);
    // One byte a probability and two a state, and the probabilities that were dropped.
    assert_eq!(dropped - fused, scores + 2 * n * h + 2 * scores);
}

/// The head of Llama-3-8B, which Liger's benchmarks have.
fn llama_3_head() -> ModelShape {
    ModelShape { vocab: 128_256, hidden: 4096, ..llama_2_7b().shape }
}

/// Both differences within the rounding of the published figures.
fn grows_like(copies: &HeadCopies, shape: &ModelShape, measured: &[(u64, f64)]) {
    for pair in measured.windows(2) {
        let &[(less, low), (more, high)] = pair else { continue };
        let [low_bytes, high_bytes] = [less, more].map(|n| copies.bytes(shape, n).unwrap());
        let predicted = (high_bytes - low_bytes) as f64 / MB;
        assert!((predicted - (high - low)).abs() < 0.02, "{predicted} against {}", high - low);
    }
}

#[test]
fn a_cross_entropy_holds_what_liger_measures() {
    // Liger-Kernel, benchmark/data/all_benchmark_data.csv: fused linear cross-entropy, provider
    // "huggingface", full, A100, 16 bits, peak MB by tokens.
    let measured = [(4096, 6092.28), (8192, 9162.31), (16_384, 15_302.38), (32_768, 27_582.50)];
    let copies = HeadCopies {
        weights: vec![Bf16, Bf16, Bf16],
        logits: vec![Bf16, F32],
        states: vec![Bf16, Bf16],
        label: 8,
    };
    let shape = llama_3_head();
    // 6V + 4h + 8.
    assert_eq!(copies.bytes_per_token(&shape), Ok(785_928));
    grows_like(&copies, &shape, &measured);
    for (tokens, peak) in measured {
        let predicted = copies.bytes(&shape, tokens).unwrap() as f64 / MB;
        assert!((predicted / peak - 1.0).abs() < 0.003, "{predicted} against {peak}");
    }
}

#[test]
fn simpo_holds_what_liger_measures() {
    // The same file: SimPO, provider "huggingface", full, 1024 tokens a row, peak MB by rows.
    let measured = [(2, 8645.3), (4, 12_184.3), (8, 19_262.4), (16, 33_418.4)];
    let logits = vec![Bf16, F32, F32, F32];
    let states = vec![Bf16, Bf16];
    let copies = HeadCopies { logits, states, label: 8, ..HeadCopies::default() };
    // 14V + 4h + 8.
    assert_eq!(copies.bytes_per_token(&llama_3_head()), Ok(1_811_976));
    let per_token = measured.map(|(rows, peak)| (1024 * rows, peak));
    for pair in per_token.windows(2) {
        let slope = (pair[1].1 - pair[0].1) * MB / (pair[1].0 - pair[0].0) as f64;
        assert!((slope / 1_811_976.0 - 1.0).abs() < 5e-5, "{slope}");
    }
}

#[test]
fn gradients_alone_are_the_bound_of_cut_cross_entropy() {
    // Wijmans et al. 2024 (arXiv 2411.09009), Table 1: Gemma 2 (2B), 8192 tokens, in MB: logits of
    // 32 bits 8000, loss and gradient of the baseline 28,000; the gradients of states and classifier
    // alone 1161, of which Cut Cross-Entropy is within 3.
    let shape = ModelShape { vocab: 256_000, hidden: 2304, ..llama_2_7b().shape };
    let mebibytes = |copies: HeadCopies| copies.bytes(&shape, 8192).unwrap() as f64 / MB;
    let logits = |logits| mebibytes(HeadCopies { logits, ..HeadCopies::default() });
    assert_eq!(logits(vec![F32]), 8000.0);
    assert_eq!(logits(vec![F32, F32, F32, Bf16]), 28_000.0);
    let gradients = HeadCopies { weights: vec![Bf16], states: vec![Bf16], ..HeadCopies::default() };
    assert_eq!(format!("{:.0}", mebibytes(gradients)), "1161");
}
