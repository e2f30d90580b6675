//! Passes in pieces give the loss and the gradients of passes at once, for every objective and in
//! every family.

mod common;

use common::{checkpoint, generate, lora, parameters};
use hydralign::algorithms::{
    Cpo, Hinge, HydraSftConfig, Ilql, IlqlRow, Ipo, Kto, KtoExample, Linex, Orpo, PairwiseConfig,
    PpoBatch, PpoObjective, PrefixBatch, PrefixRegression, SimPo, SuperHf, TokenWeights,
    WeightedSequence, ilql_batch, kto_batch, nll_batch, pair_batch, preference_batch,
    ranking_batch, superhf_batch, weighted_batch,
};
use hydralign::algorithms::{GroupSample, LinexBatch, Pairwise, PolicyGradient};
use hydralign::burn::module::{Module, ModuleVisitor, Param};
use hydralign::burn::optim::GradientsParams;
use hydralign::burn::tensor::Tensor;
use hydralign::core::random::uniform;
use hydralign::core::{CoreError, Differentiable, Gradient, Objective};
use hydralign::models::ScalarHead;
use hydralign::placement::{PlacementError, View};
use hydralign::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest difference that is allowed: of the loss, relative to it (or 1); of any number of any
/// gradient, relative to the largest number of all gradients.
const TOLERANCE: f64 = 2e-6;

fn executions() -> [Execution; 6] {
    let of = |logprob_chunk, segment_blocks| Execution { logprob_chunk, segment_blocks };
    [
        of(Some(3), None),
        of(Some(1000), None),
        of(None, Some(1)),
        of(None, Some(2)),
        of(Some(1), Some(1)),
        of(Some(4), Some(100)),
    ]
}

/// Gradients of a module by path.
fn by_path<M: Module>(module: &M, gradients: GradientsParams) -> BTreeMap<String, Vec<f64>> {
    struct Collect {
        path: Vec<String>,
        gradients: GradientsParams,
        found: BTreeMap<String, Vec<f64>>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                assert_eq!(gradient.dims(), param.val().dims());
                let numbers = gradient.into_data().iter::<f32>().map(f64::from).collect();
                self.found.insert(self.path.join("."), numbers);
            }
        }
    }
    let mut collect = Collect { path: Vec::new(), gradients, found: BTreeMap::new() };
    module.visit(&mut collect);
    assert!(collect.gradients.is_empty(), "gradients of parameters that the bank does not have");
    collect.found
}

type Numbers = (f64, BTreeMap<String, Vec<f64>>);

fn differentiate<O: Objective>(
    bank: &ModelBank,
    objective: &O,
    (tokens, batch): &(TokenBatch, O::Batch),
) -> Numbers {
    let mut value = f64::NAN;
    let gradients = bank.differentiate(&objective.reads(), tokens, |outputs| {
        let loss = objective.loss(outputs, batch)?.value;
        value = loss.clone().into_data().iter::<f32>().map(f64::from).sum();
        Ok::<_, CoreError>(loss)
    });
    (value, by_path(bank, gradients.unwrap()))
}

/// Differences of two runs in units of the tolerance's scales: loss, gradients.
fn differences(plain: &Numbers, other: &Numbers) -> (f64, f64) {
    let all = |n: &Numbers| n.1.values().flatten().copied().collect::<Vec<f64>>();
    assert_eq!(plain.1.keys().collect::<Vec<_>>(), other.1.keys().collect::<Vec<_>>());
    let (a, b) = (all(plain), all(other));
    let scale = a.iter().fold(0f64, |m, v| m.max(v.abs()));
    assert!(scale > 0.0, "there is something to compare");
    let worst = a.iter().zip(&b).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    ((plain.0 - other.0).abs() / plain.0.abs().max(1.0), worst / scale)
}

/// One optimizer step first, so that no adapter is zero; then every execution against none.
fn check<O: Objective>(name: &str, bank: ModelBank, objective: &O, batch: &(TokenBatch, O::Batch)) {
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    learner.step(objective, std::slice::from_ref(batch), 0.02).unwrap();
    let bank = learner.into_model();
    let plain = differentiate(&bank, objective, batch);
    let tracked = parameters(&bank);
    assert!(plain.1.keys().all(|path| tracked[path].0), "{name}: a frozen weight has a gradient");
    for execution in executions() {
        let pieces = bank.clone().with_execution(execution).unwrap();
        let got = differentiate(&pieces, objective, batch);
        let (loss, gradients) = differences(&plain, &got);
        let worst = loss.max(gradients);
        assert!(
            worst <= TOLERANCE,
            "{name}, {execution:?}: loss {loss:e}, gradients {gradients:e}"
        );
    }
}

fn bank(placement: &Placement, start: &Checkpoint) -> ModelBank {
    ModelBank::new(placement, &Start::joint(start), &lora(), 3).unwrap()
}

fn sequence(prompt: &[u32], response: &[u32]) -> Sequence {
    Sequence::new(prompt.to_vec(), response.to_vec())
}

/// Pairs of ragged lengths.
fn pairs() -> Vec<(Sequence, Sequence)> {
    vec![
        (sequence(&[2, 3], &[4, 5, 6, 1]), sequence(&[2, 3], &[7, 1])),
        (sequence(&[4], &[9]), sequence(&[4], &[10, 11, 12, 13, 1])),
        (sequence(&[5, 6, 7], &[8, 8, 1]), sequence(&[5, 6, 7], &[3, 2, 1])),
    ]
}

fn rows() -> Vec<Sequence> {
    pairs().into_iter().flat_map(|(a, b)| [a, b]).collect()
}

/// Numbers in ±`scale` about `centre`.
fn numbers(stream: u64, count: usize, centre: f64, scale: f64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| (centre + scale * (2.0 * uniform(9, stream, i) - 1.0)) as f32)
        .collect()
}

fn vector(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::flex())
}

fn first<T>(batches: Vec<T>) -> T {
    batches.into_iter().next().unwrap()
}

fn ppo_batch() -> (TokenBatch, PpoBatch) {
    let tokens = TokenBatch::new(rows()).unwrap().at_temperature(0.7).unwrap();
    let n = tokens.response_tokens();
    let batch = PpoBatch {
        old_logprobs: vector(&numbers(0, n, -2.8, 0.4)),
        advantages: vector(&numbers(1, n, 0.0, 1.0)),
        old_values: vector(&numbers(2, n, 0.0, 0.5)),
        returns: vector(&numbers(3, n, 0.3, 1.0)),
        weights: vector(&vec![1.0 / n as f32; n]),
    };
    (tokens, batch)
}

fn ppo(entropy_coef: f64) -> PpoObjective {
    PpoObjective { config: PpoConfig { entropy_coef, ..PpoConfig::default() } }
}

#[test]
fn ppo_in_every_placement() {
    for placement in Placement::five_ppos() {
        for entropy_coef in [0.0, 0.3] {
            let bank = bank(&placement, &checkpoint());
            check(&placement.name, bank, &ppo(entropy_coef), &ppo_batch());
        }
    }
}

#[test]
fn supervised_and_reward_models() {
    let device = Device::flex();
    let start = checkpoint();
    let ways = |p: Placement| [p.clone().with_adapter("own"), p];
    for placement in ways(Placement::sft()) {
        let batch = first(nll_batch(&rows(), 6, &device).unwrap());
        check("sft", bank(&placement, &start), &Nll, &batch);
    }
    for placement in ways(Placement::reward_model()) {
        let objective = Pairwise { config: PairwiseConfig { centring: 0.1 } };
        let batch = first(ranking_batch(&pairs(), 3, &device).unwrap());
        check("reward model", bank(&placement, &start), &objective, &batch);
    }
    for placement in ways(Placement::hydra_sft()) {
        let objective = HydraSft { config: HydraSftConfig { ranking_weight: 0.5, centring: 0.1 } };
        let batch = first(preference_batch(&pairs(), 3, &device).unwrap());
        check("hydra sft", bank(&placement, &start), &objective, &batch);
    }
}

#[test]
fn preferences() {
    let device = Device::flex();
    let known = |reference| {
        let pair = |(chosen, rejected)| Pair { chosen, rejected, reference };
        let pairs: Vec<Pair> = pairs().into_iter().map(pair).collect();
        first(pair_batch(&pairs, 3, &device).unwrap())
    };
    let alone = || bank(&Placement::policy("policy", false, false), &checkpoint());
    let batch = known(Some([-9.0, -8.0]));
    check("dpo", alone(), &Preference::new(Dpo::default()), &batch);
    check("ipo", alone(), &Preference::new(Ipo::default()), &batch);
    check("hinge", alone(), &Preference::new(Hinge::default()), &batch);
    check("simpo", alone(), &Preference::new(SimPo::default()), &batch);
    check("orpo", alone(), &Preference::new(Orpo::default()), &batch);
    check("cpo", alone(), &Preference::new(Cpo::default()), &batch);
    let live = Preference { live: true, ..Preference::new(Dpo::default()) };
    for placement in [Placement::policy("live", true, false), Placement::hydra_ppo()] {
        check("live dpo", bank(&placement, &checkpoint()), &live, &known(None));
    }
    let example = |(i, sequence): (usize, Sequence)| KtoExample {
        sequence,
        desirable: i % 2 == 0,
        reference: -7.0 - i as f32,
    };
    let examples: Vec<KtoExample> = rows().into_iter().enumerate().map(example).collect();
    let batch = first(kto_batch(&examples, 0.1, 6, &device).unwrap());
    check("kto", alone(), &Kto::default(), &batch);
}

#[test]
fn policy_gradients() {
    let policy = bank(&Placement::policy("policy", false, false), &checkpoint());
    let episodes = generate(&policy, 5);
    for config in [
        CriticFreeConfig::grpo(),
        CriticFreeConfig::dr_grpo(6),
        CriticFreeConfig::gspo(),
        CriticFreeConfig::dapo(None),
        CriticFreeConfig::rloo(),
        CriticFreeConfig::reinforce_pp(true),
        CriticFreeConfig::remax(),
    ] {
        let config = CriticFreeConfig { micro_batch: 16, ..config };
        let method = CriticFree::new(config.clone()).unwrap();
        let sample = |(i, episode): (usize, &Episode)| {
            let n = episode.response.len();
            GroupSample {
                episode: episode.clone(),
                old_logprobs: numbers(40 + i as u64, n, -2.8, 0.3),
                ref_logprobs: numbers(60 + i as u64, n, -2.8, 0.3),
                score: 0.0,
                kl: Vec::new(),
                advantages: numbers(80 + i as u64, n, 0.0, 1.0),
            }
        };
        let samples: Vec<GroupSample> = episodes.iter().enumerate().map(sample).collect();
        let samples: Vec<&GroupSample> = samples.iter().collect();
        let batches = method.micro_batches(&samples, 0.8, &Device::flex()).unwrap();
        let name = format!("{config:?}");
        check(&name, policy.clone(), &PolicyGradient { config }, &first(batches));
    }
}

#[test]
fn weighted_likelihoods() {
    let device = Device::flex();
    let alone = || bank(&Placement::policy("policy", false, false), &checkpoint());
    let weighted = |(i, s): (usize, Sequence)| WeightedSequence::uniform(s, 0.2 + i as f32);
    let weighted: Vec<WeightedSequence> = rows().into_iter().enumerate().map(weighted).collect();
    let batch = first(weighted_batch(&weighted, 6, &device).unwrap());
    check("spr", alone(), &Nll, &batch);
    let with_reference = |row: WeightedSequence| {
        let reference = numbers(7, row.sequence.response.len(), -2.8, 0.3);
        (row, reference)
    };
    let rows: Vec<_> = weighted.into_iter().map(with_reference).collect();
    let batch = first(superhf_batch(&rows, 6, &device).unwrap());
    check("superhf", alone(), &SuperHf::default(), &batch);
}

#[test]
fn values_and_action_values() {
    let device = Device::flex();
    let tokens = TokenBatch::new(rows()).unwrap();
    let n = tokens.response_tokens();
    let weights = || vector(&vec![1.0 / n as f32; n]);
    let targets = || vector(&numbers(1, n, 0.2, 1.0));
    let value_model = || bank(&Placement::value_model(), &checkpoint());
    let batch = LinexBatch { targets: targets(), weights: weights(), shift: -1.0 };
    check("linex", value_model(), &Linex::default(), &(tokens.clone(), batch));
    let batch = || (tokens.clone(), PrefixBatch { targets: targets(), weights: weights() });
    check("prefixes", value_model(), &PrefixRegression::of_prefixes(), &batch());
    let mut placement = Placement::policy("ilql", false, false);
    placement.views.insert(Role::Critic, View::trunk(0));
    let row = |sequence: Sequence| IlqlRow {
        rewards: numbers(4, sequence.response.len(), 0.0, 1.0),
        sequence,
    };
    let rows: Vec<IlqlRow> = rows().into_iter().map(row).collect();
    for two_heads in [false, true] {
        let bank = bank(&placement, &checkpoint()).with_action_heads(two_heads, 8).unwrap();
        let batch = first(ilql_batch(&rows, 6, &device).unwrap());
        check("ilql", bank, &Ilql { two_heads, ..Ilql::default() }, &batch);
    }
}

/// Reads two readings of one role with different gradients, and one twice under two names.
struct Mixed;

impl Objective for Mixed {
    type Batch = TokenWeights;

    fn reads(&self) -> Vec<Request> {
        let [actor, entropy] = [Reading::Logprobs(Role::Actor), Reading::Entropy(Role::Actor)];
        let prefix = Reading::PrefixValues(Role::Critic);
        let gradient = Gradient::Off;
        vec![
            Request { reading: actor, gradient },
            Request::differentiable(entropy),
            Request::differentiable(prefix),
            Request::constant(Reading::Score(Role::Reward)),
            Request::constant(Reading::Entropy(Role::Reference)),
        ]
    }

    fn loss(
        &self,
        outputs: &hydralign::core::Outputs,
        batch: &TokenWeights,
    ) -> Result<hydralign::core::Loss, CoreError> {
        let factor = outputs.get(Reading::Logprobs(Role::Actor))?.exp();
        assert!(!factor.is_tracked());
        let gap = outputs.get(Reading::Entropy(Role::Actor))?;
        let gap = gap.sub(outputs.get(Reading::Entropy(Role::Reference))?.mul_scalar(0.5));
        let prefix = outputs.get(Reading::PrefixValues(Role::Critic))?.square();
        let terms = gap.mul(factor).add(prefix).mul(batch.weights.clone());
        let score = outputs.get(Reading::Score(Role::Reward))?.sum();
        Ok(hydralign::core::Loss { value: terms.sum().mul(score), stats: Vec::new() })
    }
}

#[test]
fn entropies_alone_and_readings_of_both_kinds() {
    let (tokens, _) = ppo_batch();
    let weights = numbers(3, tokens.response_tokens(), 0.5, 0.4);
    let batch = (tokens, TokenWeights::new(weights, &Device::flex()));
    for placement in [Placement::ppo(), Placement::hydra_ppo(), Placement::j_hydra_ppo()] {
        check(&placement.name, bank(&placement, &checkpoint()), &Mixed, &batch);
    }
}

/// Gated and plain blocks, rotary and learned positions, parallel and post-norm residuals, tied
/// heads, soft caps, an embedding narrower than the blocks.
#[test]
fn every_family() {
    for family in [
        "mistral",
        "qwen2",
        "qwen3",
        "gpt2",
        "gptneox",
        "gptneox_sequential",
        "opt",
        "opt_postnorm",
        "gemma2",
        "gemma3",
    ] {
        let path = format!("../hydralign-models/tests/golden/families/{family}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut start = load_checkpoint(&path, &Device::flex()).unwrap();
        let width = start.trunk.architecture().shape.width();
        start.reward_head = Some(ScalarHead::fresh(width, false, 2, &Device::flex()));
        for placement in [Placement::ppo(), Placement::hydra_ppo()] {
            let name = format!("{family}, {}", placement.name);
            check(&name, bank(&placement, &start), &ppo(0.2), &ppo_batch());
        }
    }
}

#[test]
fn values_do_not_depend_on_the_gradient() {
    let tokens = ppo_batch().0;
    let readings = [
        Reading::Logprobs(Role::Actor),
        Reading::Entropy(Role::Actor),
        Reading::Values(Role::Critic),
    ];
    for execution in executions() {
        let bank = bank(&Placement::hydra_ppo(), &checkpoint()).with_execution(execution).unwrap();
        let constant = bank.read(&readings.map(Request::constant), &tokens).unwrap();
        let requests = readings.map(Request::differentiable);
        let gradients = bank.differentiate(&requests, &tokens, |outputs| {
            let mut sum = Tensor::zeros([1], &Device::flex());
            for reading in readings {
                let (got, expected) = (outputs.to_vec(reading)?, constant.to_vec(reading)?);
                if execution.logprob_chunk.is_some() && execution.segment_blocks.is_some() {
                    assert_eq!(got, expected, "{execution:?}: the same operations");
                }
                for (got, expected) in got.iter().zip(&expected) {
                    assert!((got - expected).abs() < 2e-6, "{execution:?}: {got}, {expected}");
                }
                sum = sum.add(outputs.get(reading)?.sum());
            }
            Ok::<_, CoreError>(sum)
        });
        assert!(!gradients.unwrap().is_empty());
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let execution = Execution { logprob_chunk: Some(0), segment_blocks: None };
    let fresh = || bank(&Placement::sft(), &checkpoint());
    let error = fresh().with_execution(execution).unwrap_err().to_string();
    let reason = PlacementError::EmptyPieces { setting: "logprob_chunk" }.to_string();
    assert_eq!(error, reason);
    for execution in std::iter::once(Execution::default()).chain(executions()) {
        let bank = fresh().with_execution(execution).unwrap();
        let batch = TokenBatch::new(rows()).unwrap();
        let constant = |_: &_| Ok::<_, CoreError>(Tensor::zeros([1], &Device::flex()));
        let error = bank.differentiate(&[], &batch, constant).unwrap_err();
        assert!(matches!(error, CoreError::ConstantLoss), "{error}");
        let absent = [Request::differentiable(Reading::Values(Role::Critic))];
        let error = bank.differentiate(&absent, &batch, constant).unwrap_err();
        assert!(matches!(error, CoreError::Placement(_)), "{error}");
    }
}
