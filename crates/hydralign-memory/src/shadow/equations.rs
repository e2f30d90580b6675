//! What is run equals what is written down: live bytes against closed forms.

use super::{Bank, Batch, Ledger, Model, Store, Tape};
use crate::{
    Category, Dtype, Kept, Method, Profile, Reading, Request, Terms, Work, Workload, kept_by_block,
    kept_by_head,
};
use hydralign_families::{Architecture, architecture};
use hydralign_placement::{LoraShape, Placement, Role, Target};
use serde_json::json;
use std::path::Path;
use std::rc::Rc;

use Dtype::{Bf16, F32};

fn llama(layers: usize, kv_heads: usize) -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 101, "hidden_size": 24, "intermediate_size": 67,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": kv_heads,
        "head_dim": 10, "max_position_embeddings": 64, "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("llama")).unwrap()
}

/// Tensors alone.
fn bare() -> Profile {
    Profile { packing: None, bookkeeping: Default::default(), ..Profile::flex(1) }
}

const BATCH: Batch = Batch { rows: 3, tokens: 7, response: 4 };

/// Weights in these formats, everything else in that of the second.
fn workload(trained_dtype: Dtype, dtype: Dtype) -> Workload {
    Workload { trained_dtype, ..Workload::uniform(3, 3, 4).in_dtype(dtype) }
}

/// Bytes of the categories that are live while something is held.
fn live(
    placement: &Placement,
    model: &Architecture,
    lora: &LoraShape,
    workload: &Workload,
    categories: &[Category],
    hold: impl FnOnce(&Model<'_>, &dyn Fn() -> u64) -> u64,
) -> u64 {
    let book = Rc::new(Ledger::new(&bare()));
    let tape = Tape::new(&book);
    let store = Store::new(&book, &tape, workload.compute_dtype.bytes());
    let bank = Bank::new(store, placement, &model.shape, lora, workload);
    let model = Model { bank: &bank, architecture: model, workload };
    let counted = || {
        let live = book.live().unwrap();
        live.iter().filter(|(c, _)| categories.contains(c)).map(|(_, bytes)| bytes).sum()
    };
    hold(&model, &counted)
}

/// Bytes that the graph of these readings keeps, their results included.
fn graph(
    placement: &Placement,
    model: &Architecture,
    lora: &LoraShape,
    readings: &[Reading],
) -> u64 {
    let categories = [Category::Activations, Category::Logits];
    let requests: Vec<Request> = readings.iter().map(|&r| Request::differentiable(r)).collect();
    live(placement, model, lora, &workload(F32, F32), &categories, |model, counted| {
        let _outputs = model.read(&requests, BATCH).unwrap();
        counted()
    })
}

fn bytes(kept: &[Kept]) -> u64 {
    4 * kept.iter().map(|k| k.elements).sum::<u64>()
}

fn adapters() -> Vec<LoraShape> {
    use Target::{Down, Gate, Key, Output, Query, Up, Value};
    let single = [Query, Key, Value, Output, Gate, Up, Down].map(|t| vec![t]);
    let several = [vec![Query, Value], vec![Output, Down], Target::ALL.to_vec()];
    let lora = |targets: Vec<Target>| LoraShape {
        rank: 5,
        targets: targets.into_iter().collect(),
        ..LoraShape::default()
    };
    single.into_iter().chain(several).map(lora).collect()
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);

#[test]
fn a_block_keeps_its_closed_form() {
    let full = Placement::sft();
    let adapted = Placement::sft().with_adapter("policy");
    for kv_heads in [1, 2, 4] {
        let more = |placement: &Placement, lora: &LoraShape| {
            let [less, more] =
                [2, 3].map(|n| graph(placement, &llama(n, kv_heads), lora, &[ACTOR]));
            more - less
        };
        let shape = llama(2, kv_heads).shape;
        let form = |full, lora: Option<&LoraShape>| {
            bytes(&kept_by_block(&shape, 3, 7, full, lora).unwrap())
        };
        assert_eq!(more(&full, &LoraShape::default()), form(true, None));
        for lora in adapters() {
            assert_eq!(more(&adapted, &lora), form(false, Some(&lora)), "{:?}", lora.targets);
        }
        // A frozen trunk under a trained head: nothing of it is tracked.
        let frozen = Placement::value_model().with_adapter("value");
        let none = LoraShape { targets: [].into(), ..LoraShape::default() };
        let head = Reading::Values(Role::Critic);
        let [less, more] = [2, 3].map(|n| graph(&frozen, &llama(n, kv_heads), &none, &[head]));
        assert_eq!((more - less, form(false, None), form(false, Some(&none))), (0, 0, 0));
    }
}

#[test]
fn the_whole_graph_is_blocks_and_head() {
    let (rows, tokens, response) = (3, 7, 4);
    // Sines and cosines, which rotated queries and keys are products with.
    let angles = 4 * tokens * 10;
    let none = LoraShape::default();
    let [entropy, score] = [Reading::Entropy(Role::Actor), Reading::Score(Role::Reward)];
    let values = Reading::Values(Role::Critic);
    let joint = Placement::j_hydra_ppo();
    for (placement, readings) in [
        (Placement::sft(), vec![ACTOR]),
        (Placement::sft(), vec![ACTOR, entropy]),
        (Placement::reward_model(), vec![score]),
        (Placement::hydra_sft(), vec![ACTOR, score]),
        (Placement::value_model(), vec![values]),
        (joint.clone(), vec![ACTOR]),
        (joint, vec![ACTOR, values]),
    ] {
        let (model, trained) = (llama(3, 2), placement.adapters.is_empty());
        let shape = &model.shape;
        let lora = (!trained).then_some(&none);
        let block = bytes(&kept_by_block(shape, rows, tokens, trained, lora).unwrap());
        let head = kept_by_head(shape, rows, tokens, response, trained, &readings).unwrap();
        // What the first block keeps less: its input and three statistics a row.
        let less = if trained { 0 } else { 4 * rows * tokens * (24 + 3) };
        let per_row = |r: &Reading| if matches!(r, Reading::Score(_)) { 1 } else { response };
        let results: u64 = readings.iter().map(|r| 4 * rows * per_row(r)).sum();
        let expected = 3 * block - less + bytes(&head) + angles + results;
        assert_eq!(graph(&placement, &model, &none, &readings), expected, "{readings:?}");
    }
}

#[test]
fn weights_of_another_format_are_kept_in_that_of_the_activations() {
    let (placement, lora) = (Placement::sft(), LoraShape::default());
    let kept = |layers, trained| {
        let categories = [Category::Activations];
        let workload = workload(trained, Bf16);
        live(&placement, &llama(layers, 2), &lora, &workload, &categories, |model, counted| {
            let _outputs = model.read(&[Request::differentiable(ACTOR)], BATCH).unwrap();
            counted()
        })
    };
    let [same, other] = [Bf16, F32].map(|trained| kept(3, trained) - kept(2, trained));
    let shape = llama(2, 2).shape;
    assert_eq!(same, bytes(&kept_by_block(&shape, 3, 7, true, None).unwrap()) / 2);
    assert_eq!(other - same, 2 * shape.block_parameters());
}

#[test]
fn every_trained_parameter_has_one_gradient_and_stays_what_it_is() {
    let lora = LoraShape { rank: 5, ..LoraShape::default() };
    let all = Method::all();
    let adapted = all.iter().filter(|m| !m.name.contains("ppo")).map(|m| m.clone().with_adapter());
    let methods: Vec<Method> = all.iter().cloned().chain(adapted).collect();
    let learning = methods.iter().flat_map(|m| &m.activities);
    for (activity, dtype) in learning.flat_map(|a| [(a, F32), (a, Bf16)]) {
        let Work::Learn(requests) = &activity.work else { continue };
        let (placement, model, workload) = (&activity.placement, llama(2, 2), workload(F32, dtype));
        let terms = Terms::new(placement, &model.shape, &lora, &workload).unwrap();
        let held = |category, run: &dyn Fn(&Model<'_>, &dyn Fn() -> u64) -> u64| {
            live(placement, &model, &lora, &workload, &[category], run)
        };
        let gradients = held(Category::Gradients, &|model, counted| {
            let _gradients = model.differentiate(requests, BATCH).unwrap();
            counted()
        });
        assert_eq!(gradients, terms.gradients().unwrap(), "{}", placement.name);
        let after_step = |category| {
            held(category, &|model, counted| {
                model.bank.store.start_optimizer();
                model.step(requests, BATCH, 2).unwrap();
                counted()
            })
        };
        assert_eq!(after_step(Category::Weights), terms.weights().unwrap());
        assert_eq!(after_step(Category::Adapters), terms.adapters().unwrap());
        assert_eq!(after_step(Category::Heads), terms.heads().unwrap());
        assert_eq!(after_step(Category::Optimizer), terms.optimizer().unwrap());
        assert_eq!(after_step(Category::Gradients), 0);
    }
}
