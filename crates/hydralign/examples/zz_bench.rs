//! Predicted bytes beside measured ones: the prediction reads the placement, the measurement
//! counts what the models, the loss and the optimizer allocate.

use burn::tensor::{Device, Tensor};
use hydralign_algorithms::{Learner, OptimizerConfig, PpoBatch, PpoConfig, PpoObjective};
use hydralign_core::{Decoder, Reading, Request, Role, Roles, Sequence, TokenBatch};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Category, Dtype, Estimate, PhaseName, Workload};
use hydralign_models::{
    Architecture, Checkpoint, ModelBank, Rope, ScalarHead, Start, random_trunk,
};
use hydralign_placement::{LoraShape, ModelShape, Placement, Target};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Relative difference that is allowed. Not predicted: graph nodes, parameter ids, packing
/// buffers of matrix products and how much one block frees before the next needs it.


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
    let architecture = Architecture {
        shape: shape.clone(),
        norm_eps: 1e-5,
        rope: Rope::Plain { base: 10_000.0 },
        context: 512,
        config: Default::default(),
    };
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

fn main() {
    use hydralign_memory::{Meter, ProcessMeter};
    let mode: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    if mode >= 1 { assert!(hydralign_kernels::retain_freed_memory()); }
    let big = std::env::args().nth(2).is_some();
    let mut case = cases().into_iter().nth(if big { 2 } else { 0 }).unwrap();
    case.workload = if big { workload(8, 8, 16, 128) } else { workload(16, 16, 64, 64) };
    let device = Device::flex();
    let checkpoint = checkpoint(&case.shape, &device);
    let bank = ModelBank::new(&Placement::hydra_ppo(), &Start::joint(&checkpoint), &case.lora, 7).unwrap();
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let stat = || { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let v: Vec<u64> = s.rsplit_once(')').unwrap().1.split_whitespace().skip(7).take(8).map(|x| x.parse().unwrap()).collect(); (v[0], v[4], v[5]) };
    let (mut u, mut sy, mut fa) = (0, 0, 0);
    for i in 0..8 {
        for phase in PhaseName::ALL {
            let (f0, u0, s0) = stat();
            run(phase, &mut learner, &case.workload, &device);
            let (f1, u1, s1) = stat();
            if i >= 2 { u += u1 - u0; sy += s1 - s0; fa += f1 - f0; }
        }
    }
    println!("mode {mode} big {big}: user {u} sys {sy} faults {fa} rss {} hwm {} asked {}", ProcessMeter.bytes_in_use().unwrap() >> 20, ProcessMeter.bytes_peak().unwrap() >> 20, CountingAllocator::peak() >> 20);
}
