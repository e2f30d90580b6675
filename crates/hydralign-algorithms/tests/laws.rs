//! Laws of the objectives: finite differences, micro-batches, early stop, refusal of NaN.

mod common;

use burn::tensor::{Device, Tensor};
use common::{Table, any_batch, host, vector};
use hydralign_algorithms::{
    AlgorithmError, DynamicSampling, HydraSft, HydraSftConfig, Learner, Nll, OptimizerConfig,
    PairWeights, Pairwise, PairwiseConfig, PpoBatch, PpoConfig, PpoObjective, SuperHf,
    TokenWeights, WeightedSequence, superhf_batch,
};
use hydralign_core::{Episode, Objective, Roles, Sequence};

const LOGPROBS: [f32; 6] = [-1.3, -0.2, -2.4, -0.7, -1.9, -0.4];
const VALUES: [f32; 6] = [0.3, -0.8, 1.4, 0.1, -0.5, 0.9];
const SCORES: [f32; 4] = [0.7, -0.4, -0.2, 0.5];

fn table() -> Table {
    Table::new(&LOGPROBS, &VALUES, &SCORES)
}

fn loss<O: Objective>(objective: &O, model: &Table, batch: &O::Batch) -> Tensor<1> {
    let outputs = model.read(&objective.reads(), &any_batch(LOGPROBS.len())).unwrap();
    objective.loss(&outputs, batch).unwrap().value
}

/// Central differences of the loss against every reading that it is a function of.
fn check_gradients<O: Objective>(objective: &O, batch: &O::Batch) {
    type Pick = fn(&mut Table) -> &mut burn::module::Param<Tensor<1>>;
    let model = table();
    let gradients = loss(objective, &model, batch).backward();
    let picks: [Pick; 4] =
        [|t| &mut t.logprobs, |t| &mut t.entropy, |t| &mut t.values, |t| &mut t.scores];
    let mut checked = 0;
    for pick in picks {
        let mut own = table();
        let start = host(pick(&mut own).val());
        let Some(gradient) = pick(&mut model.clone()).val().grad(&gradients) else { continue };
        for (i, got) in host(gradient).into_iter().enumerate() {
            let h = 4e-3;
            let at = |delta: f64| {
                let mut values: Vec<f32> = start.iter().map(|&v| v as f32).collect();
                values[i] = (start[i] + delta) as f32;
                let mut moved = table();
                *pick(&mut moved) = common::trained(&values);
                host(loss(objective, &moved, batch))[0]
            };
            let expected = (at(h) - at(-h)) / (2.0 * h);
            assert!((got - expected).abs() < 2e-3, "coordinate {i}: {got} against {expected}");
            checked += 1;
        }
    }
    assert!(checked >= SCORES.len(), "only {checked} coordinates have a gradient");
}

fn token_weights() -> TokenWeights {
    TokenWeights::new(vec![0.2, 0.2, 0.0, 0.2, 0.2, 0.2], &Device::flex())
}

fn ppo_batch() -> PpoBatch {
    PpoBatch {
        // Ratios on both sides of both clip bounds, none within the step of a kink.
        old_logprobs: vector(&[-1.3, -0.5, -2.0, -0.75, -1.85, -0.9]),
        advantages: vector(&[0.7, 1.2, -0.9, -1.1, 0.4, -0.6]),
        old_values: vector(&[0.25, -0.3, 1.35, 0.9, -0.45, 0.85]),
        returns: vector(&[1.0, 0.6, 0.2, -0.7, 0.4, 1.5]),
        weights: vector(&[1.0 / 6.0; 6]),
    }
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients(&Nll, &token_weights());
    let pairs = PairWeights::mean(2, 2, &Device::flex());
    check_gradients(&Pairwise { config: PairwiseConfig { centring: 0.05 } }, &pairs);
    let config = HydraSftConfig { ranking_weight: 0.7, centring: 0.02 };
    check_gradients(&HydraSft { config }, &(token_weights(), pairs));
    for entropy_coef in [0.0, 0.3] {
        let config = PpoConfig { entropy_coef, ..PpoConfig::default() };
        check_gradients(&PpoObjective { config }, &ppo_batch());
    }
}

#[test]
fn a_better_action_becomes_likelier_and_entropy_is_rewarded() {
    let config = PpoConfig { entropy_coef: 0.5, ..PpoConfig::default() };
    let model = table();
    let gradients = loss(&PpoObjective { config }, &model, &ppo_batch()).backward();
    let policy = host(model.logprobs.val().grad(&gradients).unwrap());
    assert!(policy[0] < 0.0, "descending raises log π where the advantage is positive");
    assert!(policy[3] > 0.0, "and lowers it where it is negative");
    let entropy = host(model.entropy.val().grad(&gradients).unwrap());
    assert!(entropy.iter().all(|&g| g < 0.0), "descending raises the entropy");
}

#[test]
fn outside_the_clip_in_the_good_direction_there_is_no_gradient() {
    let mut batch = ppo_batch();
    batch.old_logprobs = vector(&LOGPROBS.map(|l| l - 0.5));
    batch.advantages = vector(&[1.0; 6]);
    let model = table();
    let objective = PpoObjective { config: PpoConfig::default() };
    let gradients = loss(&objective, &model, &batch).backward();
    assert!(host(model.logprobs.val().grad(&gradients).unwrap()).iter().all(|&g| g == 0.0));
}

#[test]
fn joint_loss_is_cross_entropy_plus_weighted_ranking() {
    let pairs = PairWeights::mean(2, 2, &Device::flex());
    let value = |config| {
        let batch = (token_weights(), pairs.clone());
        host(loss(&HydraSft { config }, &table(), &batch))[0]
    };
    let at = |ranking_weight| value(HydraSftConfig { ranking_weight, centring: 0.0 });
    let nll = host(loss(&Nll, &table(), &token_weights()))[0];
    let ranking = host(loss(&Pairwise::default(), &table(), &pairs))[0];
    assert!((at(0.0) - nll).abs() < 1e-6);
    assert!((at(0.1) - (nll + 0.1 * ranking)).abs() < 1e-6);
    // Equal scores lose ln 2 a pair.
    let equal = Table::new(&LOGPROBS, &VALUES, &[0.3; 4]);
    let even = host(loss(&Pairwise::default(), &equal, &pairs))[0];
    assert!((even - std::f64::consts::LN_2).abs() < 1e-6);
}

#[test]
fn a_loss_that_is_not_finite_changes_no_weight() {
    let mut learner = Learner::new(table(), &OptimizerConfig::default());
    let good = || (any_batch(6), token_weights());
    learner.step(&Nll, &[good()], 0.1).unwrap();
    let before = host(learner.model().logprobs.val());
    for bad in [f32::NAN, f32::INFINITY] {
        let weights = TokenWeights::new(vec![bad; 6], &Device::flex());
        let error = learner.step(&Nll, &[(any_batch(6), weights)], 0.1).unwrap_err();
        assert!(matches!(error, AlgorithmError::NonFinite { what: "the loss", .. }), "{error}");
        assert_eq!(host(learner.model().logprobs.val()), before);
    }
    let finite_loss_infinite_gradient = TokenWeights::new(vec![3e38; 6], &Device::flex());
    let error =
        learner.step(&Nll, &[(any_batch(6), finite_loss_infinite_gradient)], 0.1).unwrap_err();
    assert!(matches!(error, AlgorithmError::NonFinite { .. }), "{error}");
    assert_eq!(host(learner.model().logprobs.val()), before);
    learner.step(&Nll, &[good()], 0.1).unwrap();
    assert_ne!(host(learner.model().logprobs.val()), before, "and training goes on");
}

#[test]
fn settings_out_of_range_are_named() {
    let bad = [
        (PpoConfig { clip_range: 1.5, ..PpoConfig::default() }, "clip_range"),
        (PpoConfig { epochs: 0, ..PpoConfig::default() }, "epochs"),
        (PpoConfig { lambda: 1.1, ..PpoConfig::default() }, "lambda"),
        (PpoConfig { value_clip: Some(0.0), ..PpoConfig::default() }, "value_clip"),
        (PpoConfig { value_coef: f64::NAN, ..PpoConfig::default() }, "value_coef"),
        (PpoConfig { target_kl: Some(-1.0), ..PpoConfig::default() }, "target_kl"),
    ];
    for (config, field) in bad {
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains(field), "{text}");
    }
}

/// SuperHF at its reference is plain supervised learning; away from it the penalty pulls back.
#[test]
fn superhf_is_supervised_learning_that_stays_near_the_start() {
    let row = |weight| {
        let sequence = Sequence::new(vec![0], vec![0; 6]);
        WeightedSequence::uniform(sequence, weight)
    };
    let at = |references: Vec<f32>| {
        superhf_batch(&[(row(1.0), references), (row(0.0), vec![-9.0; 6])], 4, &Device::flex())
            .unwrap()
    };
    let model = table();
    let gradient = |objective: &SuperHf, references: Vec<f32>| {
        let batches = at(references);
        assert_eq!((batches.len(), batches[0].0.rows()), (1, 1), "rows of weight 0 are not read");
        let gradients = loss(objective, &model, &batches[0].1).backward();
        host(model.logprobs.val().grad(&gradients).unwrap())
    };
    let superhf = SuperHf { kl_coef: 0.5 };
    let plain: Vec<f64> = vec![-1.0 / 6.0; 6];
    common::assert_close("at the start", &gradient(&superhf, LOGPROBS.to_vec()), &plain, 1e-6);
    let far = gradient(&superhf, LOGPROBS.map(|l| l - 1.0).to_vec());
    assert!(
        far.iter().zip(&plain).all(|(g, p)| g > p),
        "tokens that became likelier are held back"
    );
    check_gradients(&superhf, &at(LOGPROBS.map(|l| l + 0.4).to_vec())[0].1);
}

/// Dynamic sampling asks for what is missing, keeps groups with unequal scores, and gives up at last.
#[test]
fn dynamic_sampling_draws_until_groups_can_teach() {
    let group = |scores: &[f32]| (Vec::<Episode>::new(), scores.to_vec());
    let sampling = DynamicSampling { groups: 3, rounds: 4 };
    let mut asked = Vec::new();
    let found = sampling
        .collect::<AlgorithmError>(|round, missing| {
            asked.push((round, missing));
            Ok(match round {
                0 => vec![group(&[1.0, 1.0]), group(&[0.0, 1.0]), group(&[2.0, 2.0])],
                _ => vec![group(&[0.0, 1.0]), group(&[1.0, 0.0]), group(&[0.5, 0.2])],
            })
        })
        .unwrap();
    assert_eq!(asked, [(0, 3), (1, 2)]);
    assert_eq!((found.groups.len(), found.drawn), (3, 6));
    assert_eq!(found.scores, [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]);
    let mut rounds = 0;
    let none = sampling.collect::<AlgorithmError>(|_, _| {
        rounds += 1;
        Ok(vec![group(&[1.0, 1.0])])
    });
    assert!(matches!(none, Err(AlgorithmError::Empty { .. })));
    assert_eq!(rounds, 4);
    let zero = DynamicSampling { groups: 0, rounds: 1 };
    assert!(zero.collect::<AlgorithmError>(|_, _| Ok(Vec::new())).is_err());
}
