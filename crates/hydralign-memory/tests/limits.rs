//! Any shape and workload gives a number of bytes or an error: never a panic, never a wrapped sum.

mod common;

use common::{shaped, small};
use hydralign_families::Architecture;
use hydralign_memory::{
    Category, Dtype, Estimate, MemoryError, Method, Packing, PassTokens, Profile, Workload,
    forward_flops, predict,
};
use hydralign_placement::{Execution, LoraShape, ModelShape, Parts, Placement, PlacementError};

fn workload() -> Workload {
    let uniform = Workload::uniform(8, 16, 16);
    Workload { score_batch: 4, minibatch: 4, micro_batch: 2, ..uniform }
}

fn profile() -> Profile {
    Profile::flex(2)
}

fn hydra() -> Method {
    Method::ppo(&Placement::hydra_ppo())
}

fn fault(architecture: &Architecture, lora: &LoraShape, workload: &Workload) -> MemoryError {
    predict(&hydra(), architecture, lora, workload, &profile()).unwrap_err()
}

#[test]
fn ten_trillion_parameters_are_counted() {
    let shape = ModelShape {
        vocab: 256_000,
        hidden: 65_536,
        intermediate: 262_144,
        layers: 146,
        heads: 512,
        kv_heads: 512,
        head_dim: 128,
        tied: false,
        parts: Parts::default(),
    };
    let parameters = u128::from(shape.parameters());
    assert!(parameters > 10_000_000_000_000);
    let long = Workload { batch: 4_096, prompt_tokens: 131_072, ..workload() };
    let (method, lora) = (Method::ppo(&Placement::ppo()), LoraShape::default());
    let prediction = predict(&method, &shaped(shape.clone()), &lora, &long, &profile()).unwrap();
    let (phase, peak) = prediction.peak().unwrap();
    // Four copies of 4 bytes, and two sets of moments of 8, less the LM heads of two.
    assert!(u128::from(peak.total()) > 31 * parameters);
    let lm_heads = 2 * u128::from(shape.lm_head_parameters());
    assert_eq!(u128::from(peak.get(Category::Weights)), 4 * (4 * parameters - lm_heads));
    assert_eq!(Some(peak), prediction.get(phase));
}

#[test]
fn products_beyond_64_bits_are_errors() {
    let (lora, max, shape) = (LoraShape::default(), usize::MAX, small().shape);
    let shapes = [
        ModelShape { vocab: max, ..shape.clone() },
        ModelShape { hidden: max, ..shape.clone() },
        ModelShape { intermediate: max, ..shape.clone() },
        ModelShape { layers: max, ..shape.clone() },
        ModelShape { heads: max - 1, ..shape.clone() },
        ModelShape { heads: max, kv_heads: max, ..shape.clone() },
        ModelShape { head_dim: max, ..shape.clone() },
    ];
    for shape in shapes {
        let error = fault(&shaped(shape.clone()), &lora, &workload());
        assert!(matches!(error, MemoryError::Overflow { .. }), "{shape:?}: {error}");
        let flops = forward_flops(&shape, PassTokens { tokens: 1 << 40, predicted: 1 << 40 });
        assert!(matches!(flops, Err(MemoryError::Overflow { .. })), "{shape:?}: {flops:?}");
    }
    let keys = ModelShape { kv_heads: max, ..shape.clone() };
    let flops = forward_flops(&keys, PassTokens { tokens: 1, predicted: 1 });
    assert!(matches!(flops, Err(MemoryError::Overflow { .. })), "{flops:?}");
    // The first does not fit before anything is run, the others only while it runs: a batch of
    // the update, the indices of a pass, the square of the scores.
    for workload in [
        Workload { batch: max, generate_batch: max, ..workload() },
        Workload { batch: max, minibatch: max, micro_batch: max, ..workload() },
        Workload { batch: max, score_batch: 1 << 59, ..workload() },
        Workload { prompt_tokens: max, ..workload() },
        Workload { response_tokens: 1 << 33, ..workload() },
        Workload { prompt_tokens: 1 << 33, ..workload() },
    ] {
        let error = fault(&shaped(shape.clone()), &lora, &workload);
        assert!(matches!(error, MemoryError::Overflow { .. }), "{workload:?}: {error}");
    }
    // A data set is the caller's, so that only the passes are too large: to begin with, or when
    // the last of several tensors that each fit does not.
    let pieces = Execution { logprob_chunk: Some(max), segment_blocks: Some(1) };
    for execution in [Execution::default(), pieces] {
        for rows in (45..64).map(|bits| 1 << bits) {
            let uniform = Workload::uniform(rows, 16, 16);
            let workload = Workload { generate_batch: 1, score_batch: 1, execution, ..uniform };
            let found = predict(&Method::hydra_sft(), &small(), &lora, &workload, &profile());
            assert!(matches!(found, Err(MemoryError::Overflow { .. })), "{rows}: {found:?}");
        }
    }
    let workload = Workload { execution: pieces, ..workload() };
    assert!(predict(&hydra(), &small(), &lora, &workload, &profile()).is_ok());
    let rank = LoraShape { rank: max, ..LoraShape::default() };
    let error = fault(&small(), &rank, &workload);
    assert_eq!(error.to_string(), "the size of an adapter is beyond 2^64");
}

#[test]
fn methods_and_profiles_beyond_64_bits_are_errors() {
    let lora = LoraShape::default();
    let mut numbers = Method { experience: u64::MAX, ..hydra() };
    let mut sequences = hydra();
    sequences.activities[2].sequences = u64::MAX;
    for method in [&mut numbers, &mut sequences] {
        let error = predict(method, &small(), &lora, &workload(), &profile()).unwrap_err();
        assert!(matches!(error, MemoryError::Overflow { .. }), "{error}");
    }
    let huge = Packing { tile_rows: u64::MAX, tile_columns: 1 << 63, lanes: 7, threads: 9 };
    let mut packing = Profile { packing: Some(huge), ..profile() };
    let mut bookkeeping = profile();
    bookkeeping.bookkeeping.operation = u64::MAX;
    for profile in [&mut packing, &mut bookkeeping] {
        let error = predict(&hydra(), &small(), &lora, &workload(), profile).unwrap_err();
        assert!(matches!(error, MemoryError::Overflow { .. }), "{error}");
    }
}

#[test]
fn what_is_beyond_the_model_or_beyond_reason_has_its_own_error() {
    let lora = LoraShape::default();
    let deep = |layers| shaped(ModelShape { layers, ..small().shape });
    let error = fault(&deep(4097), &lora, &workload());
    assert_eq!(error, MemoryError::TooLarge { field: "layers", value: 4097, most: 4096 });
    assert!(predict(&hydra(), &deep(4096), &lora, &workload(), &profile()).is_ok());
    let of = |prompt_tokens| Workload { prompt_tokens, response_tokens: 48, ..workload() };
    let error = fault(&small(), &lora, &of(2001));
    assert_eq!(error, MemoryError::Context { needed: 2049, context: 2048 });
    assert!(predict(&hydra(), &small(), &lora, &of(2000), &profile()).is_ok());
}

#[test]
fn contradictions_have_their_own_errors() {
    let (lora, shape, w) = (LoraShape::default(), small().shape, workload);
    let zero = |field| MemoryError::Zero { field };
    let of_shape = |shape| fault(&shaped(shape), &LoraShape::default(), &w());
    let of_work = |workload| fault(&small(), &LoraShape::default(), &workload);
    assert_eq!(of_work(Workload { batch: 0, ..w() }), zero("batch"));
    assert_eq!(of_work(Workload { response_tokens: 0, ..w() }), zero("response_tokens"));
    assert_eq!(of_shape(ModelShape { kv_heads: 0, ..shape.clone() }), zero("kv_heads"));
    assert_eq!(of_shape(ModelShape { vocab: 0, ..shape.clone() }), zero("vocab"));
    let rank = LoraShape { rank: 0, ..LoraShape::default() };
    assert_eq!(fault(&small(), &rank, &w()), zero("rank"));
    let uneven = MemoryError::UnevenHeads { heads: 4, kv_heads: 3 };
    assert_eq!(of_shape(ModelShape { kv_heads: 3, ..shape }), uneven);
    let (part, whole) = ("micro_batch", "minibatch");
    let larger = MemoryError::PartExceedsWhole { part, part_value: 5, whole, whole_value: 4 };
    assert_eq!(of_work(Workload { micro_batch: 5, ..w() }), larger);
    let error = of_work(Workload { minibatch: 9, ..w() });
    assert_eq!(error.to_string(), "`minibatch` is 9, more than `batch`, which is 8");
    let mut broken = Placement::hydra_ppo();
    broken.trunks.clear();
    let error = predict(&Method::ppo(&broken), &small(), &lora, &w(), &profile()).unwrap_err();
    assert!(matches!(error, MemoryError::Placement(PlacementError::UnknownTrunk { .. })));
    let tiles = Packing { tile_columns: 0, ..Packing::avx512(2) };
    let profile = Profile { packing: Some(tiles), ..profile() };
    let error = Estimate::new(&hydra(), &small(), &lora, &w(), &profile).unwrap_err();
    assert_eq!(error, zero("tile_columns"));
}

#[test]
fn unknown_keys_and_formats_are_errors() {
    let text = serde_json::to_string(&workload()).unwrap();
    assert_eq!(serde_json::from_str::<Workload>(&text).unwrap(), workload());
    let extra = text.replace("\"batch\"", "\"bacth\"");
    assert!(serde_json::from_str::<Workload>(&extra).is_err());
    assert_eq!("BF16".parse(), Ok(Dtype::Bf16));
    let unknown = MemoryError::UnknownDtype { text: "fp8".to_owned() };
    assert_eq!("fp8".parse::<Dtype>(), Err(unknown));
}
