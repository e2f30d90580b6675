//! The prediction against numbers and orderings that others have published.

use hydralign_memory::{Category, Dtype, Estimate, Moment, PhaseName, Workload, predict};
use hydralign_placement::{LoraShape, ModelShape, Parts, Placement};

const GB: f64 = 1e9;
const GIB: f64 = (1_u64 << 30) as f64;

fn llama_2_7b() -> ModelShape {
    ModelShape {
        vocab: 32_000,
        hidden: 4_096,
        intermediate: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        tied: false,
        parts: Parts::default(),
    }
}

fn lora() -> LoraShape {
    // The rank of Hydra-RLHF, on all seven projections.
    LoraShape { rank: 128, ..LoraShape::default() }
}

fn workload(batch: usize, prompt_tokens: usize, response_tokens: usize) -> Workload {
    Workload {
        batch,
        generate_batch: batch,
        score_batch: batch,
        minibatch: batch,
        micro_batch: batch,
        prompt_tokens,
        response_tokens,
        dtype: Dtype::Bf16,
        trained_dtype: Dtype::F32,
    }
}

#[test]
fn copies_of_llama_2_7b_weigh_what_the_checkpoint_does() {
    // 6,738,415,616 parameters (Hugging Face, meta-llama/Llama-2-7b-hf) of two bytes: 13.48 GB a
    // copy. Copies as counted in Hydra-RLHF's Table 2. A critic or reward model of its own has a
    // scalar head instead of the LM head (as LlamaForSequenceClassification): 262 MB less.
    const COPY: u64 = 13_476_831_232;
    const LM_HEAD: u64 = 2 * 32_000 * 4_096;
    let (shape, lora, workload) = (llama_2_7b(), lora(), workload(1, 1, 1));
    let copies = |placement: &Placement| {
        Estimate::new(placement, &shape, &lora, &workload).unwrap().weights().unwrap()
    };
    assert_eq!(copies(&Placement::hydra_ppo()), COPY);
    assert_eq!(copies(&Placement::j_hydra_ppo()), COPY);
    assert_eq!(copies(&Placement::dynamic_lora_ppo()), 2 * COPY - LM_HEAD);
    assert_eq!(copies(&Placement::lora_ppo()), 4 * COPY - 2 * LM_HEAD);
    assert_eq!(format!("{:.1}", 4.0 * COPY as f64 / GB), "53.9");
    // Below the totals of Hydra-RLHF's Table 1 (68.0, 67.9 and 71.1 GB), which include the rest.
    assert!((copies(&Placement::lora_ppo()) as f64) < 68.0 * GB);
    assert!((copies(&Placement::j_hydra_ppo()) as f64) < 67.9 * GB);
}

#[test]
fn stored_bytes_per_parameter_are_those_of_zero() {
    // Rajbhandari et al. 2020 (arXiv 1910.02054), Figure 1: 16Ψ = 120 GB at 7.5 billion
    // parameters, of which 12Ψ are the optimizer's: here its 8Ψ and the 4Ψ of the 32-bit weights,
    // beside 4Ψ of gradients where ZeRO has two 16-bit copies.
    let shape = ModelShape {
        vocab: 1_000_000,
        hidden: 3_750,
        intermediate: 1,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        tied: false,
        parts: Parts::default(),
    };
    let psi = shape.parameters();
    assert!((psi as f64 / 7.5e9 - 1.0).abs() < 1e-5);
    let (sft, lora, workload) = (Placement::sft(), lora(), workload(1, 1, 1));
    let e = Estimate::new(&sft, &shape, &lora, &workload).unwrap();
    let gradients = e.gradients(PhaseName::Update, Moment::Step).unwrap();
    let stored = e.weights().unwrap() + gradients + e.optimizer().unwrap();
    assert_eq!(stored, 16 * psi);
    assert!((stored as f64 / GB - 120.0).abs() < 0.01);
}

#[test]
fn stored_bytes_of_the_five_methods() {
    // By ZeRO's accounting a trained parameter costs 16 bytes and a frozen one in 16 bits costs
    // two; copies and adapters as counted in Hydra-RLHF's Table 2. A scalar head is h = 4096
    // parameters: the critic's is trained, the reward model's is not.
    let (shape, lora, workload) = (llama_2_7b(), lora(), workload(1, 1, 1));
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
    for (placement, expected) in Placement::five_ppos().iter().zip(expected) {
        let e = Estimate::new(placement, &shape, &lora, &workload).unwrap();
        let update = e.footprint_at(PhaseName::Update, Moment::Step).unwrap();
        let stored = [
            Category::Weights,
            Category::Adapters,
            Category::Heads,
            Category::Gradients,
            Category::Optimizer,
        ];
        let bytes: u64 = stored.iter().map(|&c| update.get(c)).sum();
        assert_eq!(bytes, expected + heads, "{}", placement.name);
    }
}

#[test]
fn adamw_states_are_those_of_the_lomo_table() {
    // Lv et al. 2023 (arXiv 2306.09782), memory of LLaMA-7B: 75.31 GiB of AdamW states, which
    // count the 32-bit copy of the weights; parameters 12.55 GiB in 16 bits.
    let (sft, shape, lora, mut workload) =
        (Placement::sft(), llama_2_7b(), lora(), workload(8, 256, 256));
    let e = Estimate::new(&sft, &shape, &lora, &workload).unwrap();
    let states = e.optimizer().unwrap() + e.weights().unwrap();
    assert_eq!(format!("{:.2}", states as f64 / GIB), "75.31");
    workload.trained_dtype = Dtype::F16;
    let e = Estimate::new(&sft, &shape, &lora, &workload).unwrap();
    assert_eq!(format!("{:.2}", e.weights().unwrap() as f64 / GIB), "12.55");
    let gradients = e.gradients(PhaseName::Update, Moment::Step).unwrap();
    assert_eq!(format!("{:.2}", gradients as f64 / GIB), "12.55");
}

#[test]
fn the_cache_of_llama_2_7b_is_half_a_mebibyte_a_token() {
    // Kwon et al. 2023 (arXiv 2309.06180), §3.1 give 800 KB a token for OPT-13B in 16 bits:
    // 2 · 5120 · 40 · 2 bytes.
    let opt_13b = ModelShape {
        vocab: 50_272,
        hidden: 5_120,
        intermediate: 20_480,
        layers: 40,
        heads: 40,
        kv_heads: 40,
        head_dim: 128,
        tied: true,
        parts: Parts::default(),
    };
    let (placement, lora, workload) = (Placement::hydra_ppo(), lora(), workload(3, 600, 424));
    let cache = |shape: &ModelShape| {
        Estimate::new(&placement, shape, &lora, &workload).unwrap().kv_cache().unwrap()
    };
    assert_eq!(cache(&opt_13b), 800 * 1024 * 3 * 1024);
    assert_eq!(cache(&llama_2_7b()), 512 * 1024 * 3 * 1024);
    // Grouped queries: Llama-3-8B holds a quarter of the heads.
    let grouped = ModelShape { kv_heads: 8, ..llama_2_7b() };
    assert_eq!(cache(&grouped), 128 * 1024 * 3 * 1024);
}

#[test]
fn methods_are_ordered_as_in_the_paper() {
    // Hydra-RLHF, Tables 1 and 2, at equal batch: J-Hydra ≤ Hydra < Dynamic LoRA < LoRA < full.
    let (shape, lora) = (llama_2_7b(), lora());
    for (batch, prompt, response) in [(1, 1, 1), (4, 128, 128), (16, 256, 512), (64, 1024, 1024)] {
        let workload = workload(batch, prompt, response);
        let totals = Placement::five_ppos().each_ref().map(|placement| {
            let prediction = predict(placement, &shape, &lora, &workload).unwrap();
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
    // Hydra-RLHF, abstract: with LoRA, PPO takes less memory than SFT.
    let (shape, lora, workload) = (llama_2_7b(), lora(), workload(1, 64, 64));
    let peak = |p: Placement| predict(&p, &shape, &lora, &workload).unwrap().peak().1.total();
    assert!(peak(Placement::lora_ppo()) < peak(Placement::sft()));
    assert!(peak(Placement::sft()) < peak(Placement::ppo()));
}

#[test]
fn every_byte_has_a_category() {
    let (shape, lora, placement) = (llama_2_7b(), lora(), Placement::hydra_ppo());
    let workload = Workload { micro_batch: 1, ..workload(2, 32, 32) };
    let e = Estimate::new(&placement, &shape, &lora, &workload).unwrap();
    let held = |phase: PhaseName, moment: Moment| -> Vec<Category> {
        let footprint = e.footprint_at(phase, moment).unwrap();
        footprint.iter().map(|(category, _)| category).collect()
    };
    use Category::*;
    let check = |phase, moment, also: &[Category]| {
        let mut expected = [&[Weights, Adapters, Heads, Optimizer, Experience][..], also].concat();
        expected.sort();
        assert_eq!(held(phase, moment), expected, "{phase} {moment:?}");
    };
    check(PhaseName::Generate, Moment::Block, &[KvCache, Activations]);
    check(PhaseName::Generate, Moment::Head, &[KvCache, Activations, Logits]);
    check(PhaseName::Score, Moment::Block, &[Activations]);
    check(PhaseName::Score, Moment::Head, &[Activations, Logits]);
    check(PhaseName::Update, Moment::Block, &[Activations, Gradients]);
    check(PhaseName::Update, Moment::Head, &[Activations, Gradients, Logits]);
    check(PhaseName::Update, Moment::Step, &[Gradients]);
}
