//! What holds for every shape, method and workload.

mod common;

use common::{shaped, small};
use hydralign_memory::{Dtype, Method, Profile, Workload, predict};
use hydralign_placement::{Execution, LoraShape, ModelShape, Parts};
use proptest::prelude::*;

/// Mostly real sizes, sometimes absurd ones.
fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1_usize..4096, 1 => any::<usize>(), 1 => Just(0), 1 => 1_usize << 20..1 << 40]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_input_panics_and_totals_are_sums(
        dims in prop::array::uniform6(any_size()),
        layers in prop_oneof![8 => 1_usize..12, 1 => any_size()],
        rank in any_size(),
        load in prop::array::uniform7(any_size()),
        [tied, sensible, adapted] in prop::array::uniform3(prop::bool::weighted(0.8)),
        which in any::<prop::sample::Index>(),
        threads in 0_usize..99,
        [logprob_chunk, segment_blocks] in prop::array::uniform2(prop::option::of(any_size())),
    ) {
        let [vocab, hidden, intermediate, group, kv_heads, head_dim] = dims;
        // Mostly a shape and workload that pass the checks, so that the models are run.
        let part = |n: usize, whole: usize| if sensible { n.min(whole) } else { n };
        let heads = if sensible { kv_heads.wrapping_mul(1 + group % 4) } else { group };
        let parts = Parts::default();
        let shape = ModelShape { vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, tied, parts };
        let lora = LoraShape { rank, ..LoraShape::default() };
        let [batch, generate, score, mini, micro, prompt_tokens, response_tokens] = load;
        let minibatch = part(mini, batch);
        let workload = Workload {
            batch,
            generate_batch: part(generate, batch),
            score_batch: part(score, batch),
            minibatch,
            micro_batch: part(micro, minibatch),
            frozen_dtype: Dtype::Bf16,
            execution: Execution { logprob_chunk, segment_blocks },
            ..Workload::uniform(batch, prompt_tokens, response_tokens)
        };
        let method = which.get(&Method::all()).clone();
        let method = if adapted { method } else { method.with_adapter() };
        if let Ok(prediction) = predict(&method, &shaped(shape), &lora, &workload, &Profile::flex(threads)) {
            for (_, footprint) in prediction.iter() {
                let exact: u128 = footprint.iter().map(|(_, bytes)| u128::from(bytes)).sum();
                prop_assert_eq!(exact, u128::from(footprint.total()));
            }
        }
    }

    /// Without packing: copies of operands are made only of those that fit a cache, so that a
    /// longer product may copy less.
    #[test]
    fn more_work_never_takes_less(
        rows in prop::array::uniform3(1_usize..63),
        tokens in prop::array::uniform2(1_usize..200),
        field in 0_usize..7,
        which in any::<prop::sample::Index>(),
    ) {
        let [generate_batch, score_batch, micro_batch] = rows;
        let [prompt_tokens, response_tokens] = tokens;
        // A minibatch that is split before and after: one that is not holds one set of gradients
        // instead of two.
        let less = Workload {
            generate_batch, score_batch, minibatch: 64, micro_batch,
            ..Workload::uniform(128, prompt_tokens, response_tokens)
        };
        let mut more = less.clone();
        let grown = match field {
            0 => &mut more.batch,
            1 => &mut more.generate_batch,
            2 => &mut more.score_batch,
            3 => &mut more.micro_batch,
            4 => &mut more.minibatch,
            5 => &mut more.prompt_tokens,
            _ => &mut more.response_tokens,
        };
        *grown += 1;
        let method = which.get(&Method::all()).clone();
        let (model, lora) = (small(), LoraShape::default());
        let profile = Profile { packing: None, ..Profile::flex(2) };
        let totals = |workload: &Workload| -> Vec<u64> {
            let prediction = predict(&method, &model, &lora, workload, &profile).unwrap();
            prediction.iter().map(|(_, footprint)| footprint.total()).collect()
        };
        let (less, more) = (totals(&less), totals(&more));
        prop_assert!(less.iter().zip(&more).all(|(l, m)| l <= m), "{less:?} and {more:?}");
        // How many steps an epoch takes is not felt, and data sets are the caller's.
        let felt = match field {
            0 => method.experience > 0,
            1 => less.len() == 3,
            2 => less.len() > 1,
            field => field != 4,
        };
        prop_assert_eq!(less != more, felt, "{} {}", method.name, field);
    }
}
