//! The categories of a prediction are the terms that are written down as equations.

mod common;

use common::{llama_2_7b, small};
use hydralign_families::Architecture;
use hydralign_memory::{
    Activity, Bookkeeping, Category, Dtype, Footprint, Method, PhaseName, Profile, Terms, Work,
    Workload, predict,
};
use hydralign_placement::{LoraShape, Placement};

/// Tensors alone.
fn bare() -> Profile {
    Profile { packing: None, bookkeeping: Bookkeeping::default(), ..Profile::flex(1) }
}

fn methods() -> Vec<Method> {
    let all = Method::all();
    let adapted = all.iter().filter(|m| !m.name.contains("ppo")).map(|m| m.clone().with_adapter());
    all.iter().cloned().chain(adapted.collect::<Vec<_>>()).collect()
}

/// Calls something with each phase of each method, its terms and its footprint.
fn each_phase(
    model: &Architecture,
    workload: &Workload,
    mut check: impl FnMut(&str, &Method, &Activity, &Terms<'_>, &Footprint),
) {
    let lora = LoraShape::default();
    for method in methods() {
        let prediction = predict(&method, model, &lora, workload, &bare()).unwrap();
        for activity in &method.activities {
            let terms = Terms::new(&activity.placement, &model.shape, &lora, workload).unwrap();
            let name = format!("{} {}", method.name, activity.phase);
            let footprint = prediction.get(activity.phase).unwrap();
            check(&name, &method, activity, &terms, footprint);
            let states = if activity.optimizer { terms.optimizer().unwrap() } else { 0 };
            assert_eq!(footprint.get(Category::Optimizer), states, "{name}");
        }
    }
}

fn workloads() -> [Workload; 3] {
    let uniform = Workload::uniform(4, 24, 12);
    let split = Workload { micro_batch: 1, generate_batch: 3, ..uniform.clone() };
    let mixed = Workload { trained_dtype: Dtype::F32, ..split.clone().in_dtype(Dtype::Bf16) };
    [uniform, split, mixed]
}

#[test]
fn what_is_stored_is_exact() {
    for workload in workloads() {
        each_phase(&small(), &workload, |name, method, activity, terms, footprint| {
            let is = |category, bytes| assert_eq!(footprint.get(category), bytes, "{name}");
            is(Category::Weights, terms.weights().unwrap());
            is(Category::Adapters, terms.adapters().unwrap());
            is(Category::Heads, terms.heads().unwrap());
            is(Category::Experience, terms.experience(method.experience).unwrap());
            let sampling = matches!(activity.work, Work::Generate(_));
            is(Category::KvCache, if sampling { terms.kv_cache().unwrap() } else { 0 });
            is(Category::Bookkeeping, 0);
        });
    }
}

#[test]
fn the_batch_holds_a_prompt_once_and_a_response_per_number() {
    let (method, lora) = (Method::ppo(&Placement::hydra_ppo()), LoraShape::default());
    let bytes = |prompt, response| {
        let workload = Workload::uniform(5, prompt, response);
        let prediction = predict(&method, &small(), &lora, &workload, &bare()).unwrap();
        prediction.get(PhaseName::Score).unwrap().get(Category::Experience)
    };
    // Five rows of 32-bit numbers: a token of a prompt is one, a token of a response ten.
    assert_eq!(bytes(8, 6) - bytes(7, 6), 20);
    assert_eq!(bytes(7, 7) - bytes(7, 6), 200);
    // And eleven vectors, each with a header of 24 bytes.
    assert_eq!(bytes(1, 1), 5 * (4 * 11 + 24 * 11));
}

#[test]
fn gradients_are_one_set_and_two_in_a_split_minibatch() {
    // A model so large and rows so few that the peak is where the last gradient, that of the
    // embedding, is being made.
    let last = 4 * 32_000 * 4096;
    let whole = Workload::uniform(2, 4, 4);
    let split = Workload { micro_batch: 1, ..whole.clone() };
    for (workload, sets) in [(whole, 1), (split, 2)] {
        each_phase(&llama_2_7b(), &workload, |name, _, activity, terms, footprint| {
            let (held, all) = (footprint.get(Category::Gradients), terms.gradients().unwrap());
            match activity.work {
                Work::Learn(_) if activity.placement.adapters.is_empty() => {
                    assert_eq!(held, sets * all - last, "{name}");
                }
                Work::Learn(_) => assert!(held <= sets * all, "{name}"),
                Work::Generate(_) | Work::Read(_) => assert_eq!(held, 0, "{name}"),
            }
        });
    }
}

#[test]
fn one_model_at_a_time_needs_the_largest_and_not_the_sum() {
    // Successive policy re-weighting holds one model a phase; a critic-free method holds them all.
    let (lora, workload) = (LoraShape::default(), Workload::uniform(2, 16, 16));
    let weights = |method: Method| {
        let prediction = predict(&method, &llama_2_7b(), &lora, &workload, &bare()).unwrap();
        PhaseName::ALL.map(|phase| prediction.get(phase).unwrap().get(Category::Weights))
    };
    let [generate, score, update] = weights(Method::spr());
    // The reward model is held without an LM head.
    assert_eq!(generate, update);
    assert_eq!(generate - score, 4 * 32_000 * 4096);
    assert_eq!(weights(Method::grpo()), [2 * generate + score; 3]);
}
