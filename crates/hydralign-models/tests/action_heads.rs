//! Values of prefixes and of actions: where they are read, and how target copies follow.

mod common;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use common::{host, load, relative_error};
use hydralign_core::{
    ActionHead, CoreError, Decoder, Reading, Request, Role, Roles, Sequence, TokenBatch,
};
use hydralign_models::{ModelBank, ModelError, Start};
use hydralign_placement::{LoraShape, Placement};

fn bank() -> ModelBank {
    let checkpoint = load("llama_rm");
    let start = Start::joint(&checkpoint);
    ModelBank::new(&Placement::value_model(), &start, &LoraShape::default(), 0).unwrap()
}

fn rows() -> TokenBatch {
    let row = |p: &[u32], r: &[u32]| Sequence::new(p.to_vec(), r.to_vec());
    TokenBatch::new(vec![row(&[7, 8], &[9, 0, 3]), row(&[1, 2, 3], &[4])]).unwrap()
}

fn read(bank: &ModelBank, reading: Reading) -> Vec<f64> {
    host(bank.read(&[Request::constant(reading)], &rows()).unwrap().get(reading).unwrap())
}

/// The state after a token is the state before the next one, so the two readings overlap.
#[test]
fn prefix_values_are_values_one_token_later() {
    let bank = bank();
    let (before, after) = (
        read(&bank, Reading::Values(Role::Critic)),
        read(&bank, Reading::PrefixValues(Role::Critic)),
    );
    assert_eq!(before.len(), 4);
    assert_eq!(after[..2], before[1..3]);
    assert!((after[2] - before[2]).abs() > 1e-6);
    // After the last token the state is the one that a reward model scores.
    let checkpoint = load("llama_rm");
    let start = Start::joint(&checkpoint);
    let placement = Placement::reward_model();
    let reward = ModelBank::new(&placement, &start, &LoraShape::default(), 0).unwrap();
    let score = Reading::Score(Role::Reward);
    let scores =
        host(reward.read(&[Request::constant(score)], &rows()).unwrap().get(score).unwrap());
    assert_eq!([after[2], after[3]], scores[..]);
}

/// What decoding answers for each token is what is read of the token that followed.
#[test]
fn decoding_and_reading_agree_on_action_values() {
    let bank = bank().with_action_heads(true, 3).unwrap();
    let read_of = |head| read(&bank, Reading::ActionValue(head));
    let (first, second) = (read_of(ActionHead::FirstTarget), read_of(ActionHead::SecondTarget));
    assert_eq!(first, read_of(ActionHead::First), "copies begin as what they follow");
    let least: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a.min(*b)).collect();
    let (mut cache, answers) = bank.prefill(Role::Critic, &[&[7, 8]], &[3]).unwrap();
    let at = |answers: Vec<f64>, token: usize| answers[token];
    let mut found = vec![at(host(answers), 9)];
    for (fed, next) in [(9, 0), (0, 3)] {
        let answers = bank.decode(Role::Critic, &mut cache, &[fed]).unwrap();
        found.push(at(host(answers), next));
    }
    let error = relative_error(&found, &least[..3]);
    assert!(error < 1e-5, "{error:e}");
    // The log-sum is over the same values.
    let (_, answers) = bank.prefill(Role::Critic, &[&[1, 2, 3]], &[1]).unwrap();
    let largest = host(answers).into_iter().fold(f64::NEG_INFINITY, f64::max);
    let sum = read(&bank, Reading::ActionLogSum(ActionHead::First))[3];
    assert!(sum > largest && sum < largest + 10.0);
}

/// Moves everything that is trained, as an optimizer step would.
struct Shift;

impl ModuleMapper for Shift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match param.is_require_grad() {
            true => param.map(|value| value.add_scalar(0.05)),
            false => param,
        }
    }
}

#[test]
fn targets_follow_by_alpha() {
    let bank = bank().with_action_heads(true, 3).unwrap().map(&mut Shift);
    let value = |bank: &ModelBank, head| read(bank, Reading::ActionValue(head));
    let target = |bank: &ModelBank| value(bank, ActionHead::SecondTarget);
    let (trained, stale) = (value(&bank, ActionHead::Second), target(&bank));
    assert!(relative_error(&stale, &trained) > 1e-2, "the copy has not moved");
    let follow = |alpha| bank.clone().follow_action_heads(alpha);
    assert_eq!(target(&follow(0.0)), stale);
    assert_eq!(target(&follow(1.0)), trained);
    // Half of the way twice is three quarters of it.
    let twice = target(&follow(0.5).follow_action_heads(0.5));
    let once = target(&follow(0.75));
    assert!(relative_error(&twice, &once) < 1e-5);
    assert!(relative_error(&once, &stale) > 1e-3 && relative_error(&once, &trained) > 1e-3);
}

#[test]
fn a_bank_without_heads_or_critic_says_so() {
    let bank = bank();
    let reading = Reading::ActionValue(ActionHead::First);
    let error = bank.read(&[Request::constant(reading)], &rows()).unwrap_err();
    assert!(matches!(error, CoreError::NoActionHeads));
    assert!(matches!(bank.prefill(Role::Critic, &[&[1]], &[1]), Err(CoreError::NoActionHeads)));
    let single = bank.with_action_heads(false, 3).unwrap();
    assert_eq!(read(&single, reading).len(), 4);
    assert!(single.prefill(Role::Critic, &[&[1]], &[1]).is_ok());
    let second = Request::constant(Reading::ActionValue(ActionHead::Second));
    assert!(matches!(single.read(&[second], &rows()), Err(CoreError::NoActionHeads)));
    let actor = ModelBank::frozen(load("llama"));
    assert!(matches!(actor.with_action_heads(true, 0), Err(ModelError::Placement(_))));
}
