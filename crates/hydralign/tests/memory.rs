//! Predicted bytes beside measured ones: the prediction reads the placement, the measurement
//! counts what the models, the loss and the optimizer allocate.

use burn::tensor::{Device, Tensor};
use hydralign_algorithms::{Learner, OptimizerConfig, PpoBatch, PpoConfig, PpoObjective};
use hydralign_core::{Decoder, Reading, Request, Role, Roles, Sequence, TokenBatch};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Category, Dtype, Estimate, PhaseName, Workload};
use hydralign_models::{Architecture, Checkpoint, ModelBank, ScalarHead, Start, random_trunk};
use hydralign_placement::{LoraShape, ModelShape, Parts, Placement, Target};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Relative difference that is allowed. Not predicted: graph nodes, parameter ids, packing
/// buffers of matrix products and how much one block frees before the next needs it.
const TOLERANCE: f64 = 0.03;

/// A model and a workload that are dominated by one kind of tensor.
struct Case {
    what: &'static str,
    shape: ModelShape,
    lora: LoraShape,
    workload: Workload,
}

fn cases() -> [Case; 4] {
    let shape = ModelShape {
        vocab: 1024,
        hidden: 256,
        intermediate: 688,
        layers: 4,
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        tied: false,
        parts: Parts::default(),
    };
    let lora = LoraShape { rank: 16, ..LoraShape::default() };
    let wide = ModelShape { vocab: 16_384, hidden: 128, head_dim: 16, ..shape.clone() };
    let tied = ModelShape { kv_heads: 8, tied: true, ..shape.clone() };
    let attention = LoraShape { targets: [Target::Query, Target::Value].into(), ..lora.clone() };
    let case = |what, shape: &ModelShape, lora: &LoraShape, workload| Case {
        what,
        shape: shape.clone(),
        lora: lora.clone(),
        workload,
    };
    [
        case("feed-forward, split minibatch", &shape, &lora, workload(8, 4, 32, 32)),
        case("attention scores", &shape, &lora, workload(2, 2, 200, 56)),
        case("logits, split minibatch", &wide, &lora, workload(4, 2, 16, 128)),
        case("tied, adapters on attention", &tied, &attention, workload(16, 16, 24, 40)),
    ]
}

fn workload(rows: usize, micro_batch: usize, prompt: usize, response: usize) -> Workload {
    Workload {
        batch: rows,
        generate_batch: rows,
        score_batch: rows,
        minibatch: rows,
        micro_batch,
        prompt_tokens: prompt,
        response_tokens: response,
        dtype: Dtype::F32,
        trained_dtype: Dtype::F32,
    }
}

fn checkpoint(shape: &ModelShape, device: &Device) -> Checkpoint {
    let architecture = Architecture::llama(shape, 512, 0).unwrap();
    Checkpoint {
        trunk: random_trunk(&architecture, false, 1, device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(shape.hidden, false, 2, device)),
    }
}

fn tokens(rows: usize, w: &Workload) -> TokenBatch {
    let ids = |n: usize, row: usize| (0..n).map(|t| ((7 * t + row) % 512) as u32).collect();
    let row = |i| Sequence { prompt: ids(w.prompt_tokens, i), response: ids(w.response_tokens, i) };
    TokenBatch::new((0..rows).map(row).collect()).unwrap()
}

fn minibatch(w: &Workload, device: &Device) -> Vec<(TokenBatch, PpoBatch)> {
    let micro_batch = |_| {
        let tokens = tokens(w.micro_batch, w);
        let n = tokens.response_tokens();
        let each = |value: f32| Tensor::from_data(vec![value; n].as_slice(), device);
        let batch = PpoBatch {
            old_logprobs: each(-6.0),
            advantages: each(1.0),
            old_values: each(0.0),
            returns: each(1.0),
            weights: each(1.0 / (w.minibatch * w.response_tokens) as f32),
        };
        (tokens, batch)
    };
    (0..w.minibatch / w.micro_batch).map(micro_batch).collect()
}

/// Runs one phase as an iteration does.
fn run(phase: PhaseName, learner: &mut Learner<ModelBank>, w: &Workload, device: &Device) {
    match phase {
        PhaseName::Generate => {
            let batch = tokens(w.generate_batch, w);
            let prompts: Vec<&[u32]> =
                batch.sequences().iter().map(|s| s.prompt.as_slice()).collect();
            let bank = learner.model();
            let (mut cache, _) = bank.prefill(Role::Actor, &prompts, w.response_tokens).unwrap();
            for _ in 1..w.response_tokens {
                bank.decode(Role::Actor, &mut cache, &vec![3; w.generate_batch]).unwrap();
            }
        }
        PhaseName::Score => {
            let readings = [
                Reading::Logprobs(Role::Reference),
                Reading::Values(Role::Critic),
                Reading::Score(Role::Reward),
            ];
            learner
                .model()
                .read(&readings.map(Request::constant), &tokens(w.score_batch, w))
                .unwrap();
        }
        PhaseName::Update => {
            let objective = PpoObjective { config: PpoConfig::default() };
            learner.step(&objective, &minibatch(w, device), 1e-4).unwrap();
        }
    }
}

/// The most bytes of each phase, in the second iteration of a run.
fn measure(placement: &Placement, case: &Case) -> [u64; 3] {
    let (device, w) = (Device::flex(), &case.workload);
    let checkpoint = checkpoint(&case.shape, &device);
    let before = CountingAllocator::live();
    let bank = ModelBank::new(placement, &Start::joint(&checkpoint), &case.lora, 7).unwrap();
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    for phase in PhaseName::ALL {
        run(phase, &mut learner, w, &device);
    }
    PhaseName::ALL.map(|phase| {
        CountingAllocator::reset_peak();
        run(phase, &mut learner, w, &device);
        CountingAllocator::peak() - before
    })
}

#[test]
fn predicted_bytes_are_held() {
    // One unmeasured iteration: worker threads and their buffers come into being once.
    measure(&Placement::j_hydra_ppo(), &cases()[1]);
    let mut wrong = Vec::new();
    for case in cases() {
        for placement in [Placement::ppo(), Placement::j_hydra_ppo(), Placement::hydra_ppo()] {
            let Case { what, shape, lora, workload } = &case;
            let estimate = Estimate::new(&placement, shape, lora, workload).unwrap();
            for (phase, measured) in PhaseName::ALL.into_iter().zip(measure(&placement, &case)) {
                let footprint = estimate.footprint(phase).unwrap();
                // The batch of experience is not part of these runs.
                let predicted = footprint.total() - footprint.get(Category::Experience);
                let ratio = predicted as f64 / measured as f64;
                if (ratio - 1.0).abs() > TOLERANCE {
                    let name = &placement.name;
                    wrong.push(format!(
                        "{what}: {name} {phase} {predicted}/{measured} = {ratio:.3}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "predicted / measured:\n{}", wrong.join("\n"));
}
