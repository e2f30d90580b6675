//! The prediction against numbers and orderings that others have published: what is stored.

mod common;

use common::llama_2_7b;
use hydralign_memory::{
    Dtype, Method, Optimizer, PhaseName, Prediction, Profile, Sharding, Terms, TrainedBytes,
    Workload, predict,
};
use hydralign_placement::{LoraShape, ModelShape, Placement, Target};

const GB: f64 = 1e9;
const GIB: f64 = (1_u64 << 30) as f64;
const ADAMW: Optimizer = Optimizer::AdamW { moments: Dtype::F32 };

fn lora() -> LoraShape {
    // The rank of Hydra-RLHF, on all seven projections.
    LoraShape { rank: 128, ..LoraShape::default() }
}

/// Frozen weights, activations and cache in 16 bits, trained weights in 32.
fn workload(batch: usize, prompt_tokens: usize, response_tokens: usize) -> Workload {
    let uniform = Workload::uniform(batch, prompt_tokens, response_tokens);
    Workload { trained_dtype: Dtype::F32, ..uniform.in_dtype(Dtype::Bf16) }
}

fn bytes(method: &Method, workload: &Workload) -> Prediction {
    predict(method, &llama_2_7b(), &lora(), workload, &Profile::flex(2)).unwrap()
}

#[test]
fn the_five_placements_hold_the_published_counts() {
    // Hydra-RLHF (Santacroce et al. 2023, arXiv 2309.00754), Table 2: static models and LoRA sets.
    let counts = Placement::five_ppos().map(|p| (p.trunks.len(), p.lora_sets()));
    assert_eq!(counts, [(4, 0), (4, 2), (2, 2), (1, 1), (1, 2)]);
}

#[test]
fn copies_of_llama_2_7b_weigh_what_the_checkpoint_does() {
    // 6,738,415,616 parameters (Hugging Face, meta-llama/Llama-2-7b-hf) of two bytes: 13.48 GB a
    // copy. Copies as counted in Hydra-RLHF's Table 2. A critic or reward model of its own has a
    // scalar head instead of the LM head (as LlamaForSequenceClassification): 262 MB less.
    const COPY: u64 = 13_476_831_232;
    const LM_HEAD: u64 = 2 * 32_000 * 4_096;
    let (model, lora, workload) = (llama_2_7b(), lora(), workload(1, 1, 1));
    let copies = |placement: &Placement| {
        Terms::new(placement, &model.shape, &lora, &workload).unwrap().weights().unwrap()
    };
    assert_eq!(copies(&Placement::hydra_ppo()), COPY);
    assert_eq!(copies(&Placement::j_hydra_ppo()), COPY);
    assert_eq!(copies(&Placement::dynamic_lora_ppo()), 2 * COPY - LM_HEAD);
    assert_eq!(copies(&Placement::lora_ppo()), 4 * COPY - 2 * LM_HEAD);
    assert_eq!(format!("{:.1}", 4.0 * COPY as f64 / GB), "53.9");
    // Below the totals of Hydra-RLHF's Table 1 (68.0, 67.9 and 71.1 GB), which include the rest.
    assert!((copies(&Placement::lora_ppo()) as f64) < 68.0 * GB);
    assert!((copies(&Placement::j_hydra_ppo()) as f64) < 67.9 * GB);
    assert!((copies(&Placement::hydra_ppo()) as f64) < 71.1 * GB);
}

#[test]
fn states_shared_out_over_ranks_are_those_of_zero() {
    // Rajbhandari et al. 2020 (arXiv 1910.02054), Figure 1: 7.5 billion parameters, 64 ranks.
    let stages = [Sharding::None, Sharding::Optimizer, Sharding::Gradients, Sharding::Weights];
    let mixed = TrainedBytes::mixed(ADAMW);
    let gigabytes = |s| mixed.per_rank(7_500_000_000, s, 64).unwrap() as f64 / GB;
    let [none, rest @ .., all] = stages.map(gigabytes);
    assert_eq!(format!("{none:.0}"), "120");
    assert_eq!(rest.map(|gb| format!("{gb:.1}")), ["31.4", "16.6"]);
    assert_eq!(format!("{all:.2}"), "1.88");
    // Each stage takes one more part in.
    let parts = TrainedBytes { weight: 1, gradient: 10, state: 100 };
    assert_eq!(stages.map(|s| parts.per_rank(4, s, 2).unwrap()), [444, 244, 224, 222]);
    // On one rank there is nothing to share out, and on none nothing to ask.
    assert_eq!(mixed.per_rank(10, Sharding::Weights, 1), mixed.per_rank(10, Sharding::None, 1));
    assert_eq!(mixed.per_rank(10, Sharding::Weights, 3), Ok(64));
    assert!(mixed.per_rank(10, Sharding::None, 0).is_err());
    assert!(mixed.per_rank(u64::MAX / 8, Sharding::None, 1).is_err());
}

#[test]
fn the_learner_stores_as_much_as_mixed_precision() {
    // ZeRO, §3.1: 16Ψ, of which 12Ψ are the optimizer's: here its 8Ψ and the 4Ψ of the 32-bit
    // weights, beside 4Ψ of gradients where mixed precision has two 16-bit copies.
    let (placement, model, lora) = (Placement::sft(), llama_2_7b(), lora());
    let workload = workload(1, 1, 1);
    let terms = Terms::new(&placement, &model.shape, &lora, &workload).unwrap();
    let [weights, gradients, states] =
        [terms.weights(), terms.gradients(), terms.optimizer()].map(Result::unwrap);
    let psi = model.shape.parameters();
    assert_eq!(weights + gradients + states, 16 * psi);
    let one = |bytes: TrainedBytes| bytes.per_rank(psi, Sharding::None, 1).unwrap();
    assert_eq!(weights + gradients + states, one(TrainedBytes::mixed(ADAMW)));
    assert_eq!(weights + gradients + states, one(TrainedBytes::uniform(Dtype::F32, ADAMW)));
}

#[test]
fn bytes_of_optimizers_are_those_of_the_cookbook() {
    // EleutherAI, cookbook, calc/calc_transformer_mem.py: with the 32-bit copy 12 bytes a parameter
    // for Adam, 8 for SGD with momentum, 6 for Adam in 8 bits. Hugging Face, "Model training
    // anatomy": 2 of these for the 8-bit moments, 4 for momentum.
    let state = |optimizer| TrainedBytes::mixed(optimizer).state;
    let all = [ADAMW, Optimizer::Sgd { momentum: true }, Optimizer::AdamW8bit];
    assert_eq!(all.map(state), [12, 8, 6]);
    assert_eq!(all.map(Optimizer::bytes), [8, 4, 2]);
}

#[test]
fn parameters_and_states_are_those_of_the_lomo_table() {
    // Lv et al. 2023 (arXiv 2306.09782), memory of LLaMA-7B in GiB: parameters and gradients 12.55,
    // AdamW's states 75.31, SGD's 25.10, which count the 32-bit copy of the weights.
    let psi = llama_2_7b().shape.parameters();
    let gib = |bytes: u64| format!("{:.2}", (bytes * psi) as f64 / GIB);
    let adamw = TrainedBytes::mixed(ADAMW);
    let sgd = TrainedBytes::mixed(Optimizer::Sgd { momentum: false });
    assert_eq!([adamw.weight, adamw.gradient, adamw.state].map(gib), ["12.55", "12.55", "75.31"]);
    assert_eq!([sgd.weight, sgd.gradient, sgd.state].map(gib), ["12.55", "12.55", "25.10"]);
}

#[test]
fn low_rank_parameters_cost_what_torchtune_measures() {
    // torchtune, docs "LoRA finetuning", Llama-2-7B at batch 2, 16 bits: 15.57 GB at rank 8 on
    // queries and values, 17.04 GB at rank 64 on all projections. That is between what states of 16
    // bits throughout cost, which leave out the activations, and AdamW's states in 32 bits.
    let shape = llama_2_7b().shape;
    let small =
        LoraShape { targets: [Target::Query, Target::Value].into(), ..LoraShape::default() };
    let large = LoraShape { rank: 64, ..LoraShape::default() };
    let parameters = large.parameters(&shape) - small.parameters(&shape);
    let cost = |moments| {
        let bytes = TrainedBytes::uniform(Dtype::Bf16, Optimizer::AdamW { moments });
        bytes.per_rank(parameters, Sharding::None, 1).unwrap() as f64 / GB
    };
    let measured = 17.04 - 15.57;
    assert!(cost(Dtype::Bf16) < measured && measured < cost(Dtype::F32));
    assert!(measured < 1.2 * cost(Dtype::Bf16), "the states are most of it");
}

#[test]
fn stored_bytes_of_the_five_methods() {
    // By ZeRO's accounting a trained parameter costs 16 bytes and a frozen one in 16 bits costs
    // two; copies and adapters as counted in Hydra-RLHF's Table 2. A scalar head is h = 4096
    // parameters: the critic's is trained, the reward model's is not.
    let n = 6_738_415_616_u64;
    let r = 319_815_680_u64; // Rank 128 on all seven projections.
    let heads = (16 + 2) * 4_096;
    // Critic and reward models of their own are held without the LM head, of v parameters.
    let v = 32_000 * 4_096;
    let expected = [
        36 * n - 18 * v,
        8 * n - 4 * v + 32 * r,
        4 * n - 2 * v + 32 * r,
        2 * n + 16 * r,
        2 * n + 32 * r,
    ];
    let (model, lora, workload) = (llama_2_7b(), lora(), workload(1, 1, 1));
    for (placement, expected) in Placement::five_ppos().iter().zip(expected) {
        let t = Terms::new(placement, &model.shape, &lora, &workload).unwrap();
        let stored = [t.weights(), t.adapters(), t.heads(), t.gradients(), t.optimizer()];
        let bytes: u64 = stored.into_iter().map(Result::unwrap).sum();
        assert_eq!(bytes, expected + heads, "{}", placement.name);
    }
}

#[test]
fn the_cache_of_llama_2_7b_is_half_a_mebibyte_a_token() {
    // Kwon et al. 2023 (arXiv 2309.06180), §3.1 give 800 KB a token for OPT-13B in 16 bits:
    // 2 · 5120 · 40 · 2 bytes.
    let llama = llama_2_7b().shape;
    let opt_13b =
        ModelShape { hidden: 5_120, layers: 40, heads: 40, kv_heads: 40, ..llama.clone() };
    let (placement, lora, workload) = (Placement::hydra_ppo(), lora(), workload(3, 600, 424));
    let cache = |shape: &ModelShape| {
        Terms::new(&placement, shape, &lora, &workload).unwrap().kv_cache().unwrap()
    };
    assert_eq!(cache(&opt_13b), 800 * 1024 * 3 * 1024);
    assert_eq!(cache(&llama), 512 * 1024 * 3 * 1024);
    // Grouped queries: Llama-3-8B holds a quarter of the heads.
    assert_eq!(cache(&ModelShape { kv_heads: 8, ..llama }), 128 * 1024 * 3 * 1024);
}

#[test]
fn methods_are_ordered_as_in_the_paper() {
    // Hydra-RLHF, Tables 1 and 2, at equal batch: J-Hydra ≤ Hydra < Dynamic LoRA < LoRA < full.
    for (batch, prompt, response) in [(1, 1, 1), (4, 128, 128), (16, 256, 512), (64, 1024, 1024)] {
        let workload = workload(batch, prompt, response);
        let totals = Placement::five_ppos().map(|placement| {
            let prediction = bytes(&Method::ppo(&placement), &workload);
            PhaseName::ALL.map(|phase| prediction.get(phase).unwrap().total())
        });
        let [ppo, lora_ppo, dynamic, j_hydra, hydra] = totals;
        for phase in 0..PhaseName::ALL.len() {
            assert!(j_hydra[phase] <= hydra[phase]);
            assert!(hydra[phase] < dynamic[phase]);
            assert!(dynamic[phase] < lora_ppo[phase]);
            assert!(lora_ppo[phase] < ppo[phase]);
        }
    }
}

#[test]
fn lora_ppo_needs_less_than_supervised_fine_tuning() {
    // Hydra-RLHF, abstract: with LoRA, PPO takes less memory than SFT, and in full more.
    let workload = workload(1, 64, 64);
    let peak = |method: Method| bytes(&method, &workload).peak().unwrap().1.total();
    let ppo = |placement| peak(Method::ppo(&placement));
    assert!(ppo(Placement::lora_ppo()) < peak(Method::sft()));
    assert!(peak(Method::sft()) < ppo(Placement::ppo()));
}
