//! Published models by name have their published sizes.

use hydralign_families::{PUBLISHED, Residual, Sliding, published};

/// Numbers of parameters as the models' pages on Hugging Face count their files (for Pythia also
/// Biderman et al. 2023, Table 1).
const PARAMETERS: [(&str, u64); 13] = [
    ("Qwen2.5-0.5B", 494_032_768),
    ("Pythia-1B", 1_011_781_632),
    ("OPT-1.3B", 1_315_758_080),
    ("Qwen2.5-1.5B", 1_543_714_304),
    ("Pythia-2.8B", 2_775_208_960),
    ("Qwen2.5-3B", 3_085_938_688),
    ("Llama-2-7B", 6_738_415_616),
    ("Pythia-6.9B", 6_857_302_016),
    ("Mistral-7B", 7_241_732_096),
    ("Qwen2.5-7B", 7_615_616_512),
    ("Llama-3.1-8B", 8_030_261_248),
    ("Llama-2-13B", 13_015_864_320),
    ("Llama-2-70B", 68_976_648_192),
];

#[test]
fn published_models_have_their_published_parameter_counts() {
    assert_eq!(PUBLISHED, PARAMETERS.map(|(name, _)| name));
    for (name, count) in PARAMETERS {
        assert_eq!(published(name).unwrap().shape.parameters(), count, "{name}");
    }
}

/// What the parameter count does not see: query heads, key and value heads and the size of a head, of
/// Touvron et al. 2023 a and b (Llama 2 as Llama 1, with grouped queries in the 70B), the Llama 3 report,
/// Table 3, Jiang et al. 2023, Table 1, the Qwen2.5 report, Table 1, Biderman et al. 2023, Table 1, and
/// Zhang et al. 2022, Table 1.
#[test]
fn heads_are_those_of_the_reports() {
    let expected = [
        ("Llama-2-7B", [32, 32, 128]),
        ("Llama-2-13B", [40, 40, 128]),
        ("Llama-2-70B", [64, 8, 128]),
        ("Llama-3.1-8B", [32, 8, 128]),
        ("Mistral-7B", [32, 8, 128]),
        ("Qwen2.5-0.5B", [14, 2, 64]),
        ("Qwen2.5-1.5B", [12, 2, 128]),
        ("Qwen2.5-3B", [16, 2, 128]),
        ("Qwen2.5-7B", [28, 4, 128]),
        ("Pythia-1B", [8, 8, 256]),
        ("Pythia-2.8B", [32, 32, 80]),
        ("Pythia-6.9B", [32, 32, 128]),
        ("OPT-1.3B", [32, 32, 64]),
    ];
    for (name, heads) in expected {
        let shape = published(name).unwrap().shape;
        assert_eq!([shape.heads, shape.kv_heads, shape.head_dim], heads, "{name}");
    }
}

#[test]
fn parts_are_those_of_the_families() {
    assert_eq!(published("pythia-2.8b").unwrap().residual, Residual::Parallel);
    assert!(published("opt-1.3b").unwrap().shape.tied);
    let window = published("mistral-7b").unwrap().window.unwrap();
    assert_eq!((window.size, window.layers), (4096, Sliding::Always));
    assert!(published("Qwen2.5-7B").unwrap().window.is_none());
}

#[test]
fn case_does_not_matter_and_unknown_names_get_the_known_ones() {
    assert_eq!(published("LLAMA-2-7b").unwrap(), published("Llama-2-7B").unwrap());
    let error = published("Llama-4").unwrap_err().to_string();
    assert!(
        error.starts_with("no published model `Llama-4` is known (known: Qwen2.5-0.5B,"),
        "{error}"
    );
    assert!(error.ends_with("Llama-2-70B)"), "{error}");
}
