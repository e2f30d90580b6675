//! Any shape and workload gives a number of bytes or an error: never a panic, never a wrapped sum.

use hydralign_memory::{
    Category, Dtype, Estimate, MemoryError, Moment, PhaseName, Workload, predict,
};
use hydralign_placement::{LoraShape, ModelShape, Parts, Placement, PlacementError};
use proptest::prelude::*;

fn small() -> ModelShape {
    ModelShape {
        vocab: 512,
        hidden: 64,
        intermediate: 176,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        tied: true,
        parts: Parts::default(),
    }
}

fn workload() -> Workload {
    Workload {
        batch: 8,
        generate_batch: 8,
        score_batch: 4,
        minibatch: 4,
        micro_batch: 2,
        prompt_tokens: 16,
        response_tokens: 16,
        dtype: Dtype::F32,
        trained_dtype: Dtype::F32,
    }
}

fn fault(shape: &ModelShape, lora: &LoraShape, workload: &Workload) -> MemoryError {
    predict(&Placement::hydra_ppo(), shape, lora, workload).unwrap_err()
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
    let workload = Workload { batch: 4_096, prompt_tokens: 131_072, ..workload() };
    let lora = LoraShape::default();
    let prediction = predict(&Placement::ppo(), &shape, &lora, &workload).unwrap();
    let (phase, peak) = prediction.peak();
    // Four copies of 4 bytes, and two sets of moments of 8, less the LM heads of two.
    assert!(u128::from(peak.total()) > 31 * parameters);
    let lm_heads = 2 * u128::from(shape.lm_head_parameters());
    assert_eq!(u128::from(peak.get(Category::Weights)), 4 * (4 * parameters - lm_heads));
    assert_eq!(Some(peak), prediction.get(phase));
}

#[test]
fn products_beyond_64_bits_are_errors() {
    let (lora, max) = (LoraShape::default(), usize::MAX);
    let shapes = [
        ModelShape { vocab: max, ..small() },
        ModelShape { hidden: max, ..small() },
        ModelShape { intermediate: max, ..small() },
        ModelShape { layers: max, ..small() },
        ModelShape { heads: max - 1, ..small() },
        ModelShape { heads: max, kv_heads: max, ..small() },
        ModelShape { head_dim: max, ..small() },
    ];
    for shape in &shapes {
        let error = fault(shape, &lora, &workload());
        assert!(matches!(error, MemoryError::Overflow { .. }), "{shape:?}: {error}");
    }
    for workload in [
        Workload { batch: max, generate_batch: max, ..workload() },
        Workload { prompt_tokens: max, ..workload() },
        Workload { prompt_tokens: max, response_tokens: max, ..workload() },
        Workload { prompt_tokens: 1 << 33, ..workload() },
    ] {
        let error = fault(&small(), &lora, &workload);
        assert!(matches!(error, MemoryError::Overflow { .. }), "{workload:?}: {error}");
    }
    let rank = LoraShape { rank: max, ..LoraShape::default() };
    let error = fault(&small(), &rank, &workload());
    assert_eq!(error.to_string(), "the size of an adapter is beyond 2^64");
}

#[test]
fn contradictions_have_their_own_errors() {
    let lora = LoraShape::default();
    let zero = |field| MemoryError::Zero { field };
    let w = workload;
    assert_eq!(fault(&small(), &lora, &Workload { batch: 0, ..w() }), zero("batch"));
    assert_eq!(
        fault(&small(), &lora, &Workload { response_tokens: 0, ..w() }),
        zero("response_tokens")
    );
    assert_eq!(fault(&ModelShape { kv_heads: 0, ..small() }, &lora, &w()), zero("kv_heads"));
    assert_eq!(fault(&ModelShape { vocab: 0, ..small() }, &lora, &w()), zero("vocab"));
    assert_eq!(fault(&small(), &LoraShape { rank: 0, ..LoraShape::default() }, &w()), zero("rank"));
    assert_eq!(
        fault(&ModelShape { kv_heads: 3, ..small() }, &lora, &w()),
        MemoryError::UnevenHeads { heads: 4, kv_heads: 3 }
    );
    assert_eq!(
        fault(&small(), &lora, &Workload { micro_batch: 5, ..w() }),
        MemoryError::PartExceedsWhole {
            part: "micro_batch",
            part_value: 5,
            whole: "minibatch",
            whole_value: 4
        }
    );
    let error = fault(&small(), &lora, &Workload { minibatch: 9, ..w() });
    assert_eq!(error.to_string(), "`minibatch` is 9, more than `batch`, which is 8");
    let mut broken = Placement::hydra_ppo();
    broken.trunks.clear();
    let error = predict(&broken, &small(), &lora, &workload()).unwrap_err();
    assert!(matches!(error, MemoryError::Placement(PlacementError::UnknownTrunk { .. })));
}

#[test]
fn unknown_keys_of_a_workload_are_errors() {
    let text = serde_json::to_string(&workload()).unwrap();
    assert_eq!(serde_json::from_str::<Workload>(&text).unwrap(), workload());
    let extra = text.replace("\"batch\"", "\"bacth\"");
    assert!(serde_json::from_str::<Workload>(&extra).is_err());
}

proptest! {
    #[test]
    fn no_input_panics_and_totals_are_sums(
        dims in prop::array::uniform7(any_size()),
        rank in any_size(),
        load in prop::array::uniform7(any_size()),
        tied: bool,
        sensible in prop::bool::weighted(0.8),
        which in 0_usize..5,
    ) {
        let [vocab, hidden, intermediate, layers, group, kv_heads, head_dim] = dims;
        // Mostly a shape and workload that pass the checks, so that the sums are reached.
        let part = |n: usize, whole: usize| if sensible { n.min(whole) } else { n };
        let heads = if sensible { kv_heads.wrapping_mul(1 + group % 4) } else { group };
        let shape = ModelShape { vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, tied, parts: Parts::default() };
        let lora = LoraShape { rank, ..LoraShape::default() };
        let [batch, generate, score, mini, micro, prompt_tokens, response_tokens] = load;
        let minibatch = part(mini, batch);
        let workload = Workload {
            batch,
            generate_batch: part(generate, batch),
            score_batch: part(score, batch),
            minibatch,
            micro_batch: part(micro, minibatch),
            prompt_tokens,
            response_tokens,
            dtype: Dtype::Bf16,
            trained_dtype: Dtype::F32,
        };
        let placement = &Placement::five_ppos()[which];
        if let Ok(prediction) = predict(placement, &shape, &lora, &workload) {
            for (_, footprint) in prediction.iter() {
                let exact: u128 = footprint.iter().map(|(_, bytes)| u128::from(bytes)).sum();
                prop_assert_eq!(exact, u128::from(footprint.total()));
            }
        }
    }

    #[test]
    fn more_work_never_takes_less(
        rows in prop::array::uniform4(1_usize..63),
        prompt in 1_usize..200,
        response in 1_usize..200,
        field in 0_usize..6,
        which in 0_usize..5,
    ) {
        let [more_batch, generate_batch, score_batch, micro_batch] = rows;
        // A minibatch that is split before and after: one that is not needs fewer gradients.
        let less = Workload {
            batch: 64 + more_batch, generate_batch, score_batch, minibatch: 64, micro_batch,
            prompt_tokens: prompt, response_tokens: response, ..workload()
        };
        let mut more = less.clone();
        let grown = match field {
            0 => &mut more.batch,
            1 => &mut more.generate_batch,
            2 => &mut more.score_batch,
            3 => &mut more.micro_batch,
            4 => &mut more.prompt_tokens,
            _ => &mut more.response_tokens,
        };
        *grown += 1;
        let (shape, lora) = (small(), LoraShape::default());
        let placement = &Placement::five_ppos()[which];
        let totals = |workload: &Workload| -> Vec<u64> {
            let e = Estimate::new(placement, &shape, &lora, workload).unwrap();
            let moments = |phase| Moment::of(phase).iter().map(move |moment| (phase, *moment));
            let at = |(phase, moment)| e.footprint_at(phase, moment).unwrap().total();
            PhaseName::ALL.into_iter().flat_map(moments).map(at).collect()
        };
        let (less, more) = (totals(&less), totals(&more));
        prop_assert!(less.iter().zip(&more).all(|(l, m)| l <= m), "{less:?} and {more:?}");
        prop_assert!(less != more, "every size is felt in some phase");
    }
}

/// Mostly real sizes, sometimes absurd ones.
fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1_usize..4096, 1 => any::<usize>(), 1 => Just(0), 1 => 1_usize << 20..1 << 40]
}
