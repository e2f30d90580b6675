//! What the methods do, phase by phase, as far as bytes depend on it.

use crate::{PhaseName, Reading, Request};
use Role::{Actor, Critic, Reference, Reward};
use hydralign_placement::{Placement, Role};

/// What a phase does with the models that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Samples responses with one role's view.
    Generate(Role),
    /// Reads without a graph.
    Read(Vec<Reading>),
    /// Takes optimizer steps.
    Learn(Vec<Request>),
}

/// One phase of a method: which models it holds and what it does with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The phase.
    pub phase: PhaseName,
    /// The models that are held meanwhile.
    pub placement: Placement,
    /// Whether the optimizer's state is held too.
    pub optimizer: bool,
    /// What is done.
    pub work: Work,
    /// Sequences to one item of the workload: two where items are pairs.
    pub sequences: u64,
}

/// A method as the sequence of its phases. Its peak is the largest of them, so what loads one model at
/// a time needs the maximum over its models and not their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Name for tables.
    pub name: String,
    /// The phases, in order.
    pub activities: Vec<Activity>,
    /// Numbers of four bytes that are kept on the host for each response token of the batch, from
    /// sampling to update. None for methods on data sets, which are the caller's.
    pub experience: u64,
}

/// Token, its log-probabilities as sampled, of the policy, as the ratio uses them and of the reference,
/// value, shaped reward, KL estimate, advantage and return.
const PPO_NUMBERS: u64 = 10;
/// The same without value, reward and return.
const GROUP_NUMBERS: u64 = 7;
/// Token and both log-probabilities of sampling.
const SAMPLED_NUMBERS: u64 = 3;

const ACTOR: Reading = Reading::Logprobs(Actor);
const REFERENCE: Reading = Reading::Logprobs(Reference);
const SCORE: Reading = Reading::Score(Reward);

fn learn(placement: &Placement, requests: &[Request], sequences: u64) -> Activity {
    Activity {
        phase: PhaseName::Update,
        placement: placement.clone(),
        optimizer: true,
        work: Work::Learn(requests.to_vec()),
        sequences,
    }
}

fn read(placement: &Placement, optimizer: bool, readings: &[Reading]) -> Activity {
    Activity {
        phase: PhaseName::Score,
        placement: placement.clone(),
        optimizer,
        work: Work::Read(readings.to_vec()),
        sequences: 1,
    }
}

fn generate(placement: &Placement, optimizer: bool) -> Activity {
    Activity {
        phase: PhaseName::Generate,
        placement: placement.clone(),
        optimizer,
        work: Work::Generate(Actor),
        sequences: 1,
    }
}

impl Method {
    fn on_data(name: &str, activities: Vec<Activity>) -> Self {
        Self { name: name.to_owned(), activities, experience: 0 }
    }

    /// Supervised fine-tuning.
    pub fn sft() -> Self {
        Self::on_data("sft", vec![learn(&Placement::sft(), &[Request::differentiable(ACTOR)], 1)])
    }

    /// Reward modelling on pairs.
    pub fn reward_model() -> Self {
        let requests = [Request::differentiable(SCORE)];
        Self::on_data("reward_model", vec![learn(&Placement::reward_model(), &requests, 2)])
    }

    /// Hydra-SFT on pairs.
    pub fn hydra_sft() -> Self {
        let requests = [ACTOR, SCORE].map(Request::differentiable);
        Self::on_data("hydra_sft", vec![learn(&Placement::hydra_sft(), &requests, 2)])
    }

    /// PPO in a placement: everything is held together and stays.
    pub fn ppo(placement: &Placement) -> Self {
        let values = Reading::Values(Critic);
        let requests = [ACTOR, values].map(Request::differentiable);
        // A reward that is no model of the placement is not read from it.
        let reward = placement.views.contains_key(&Role::Reward).then_some(SCORE);
        let scored: Vec<Reading> = [REFERENCE, values].into_iter().chain(reward).collect();
        Self {
            name: placement.name.clone(),
            activities: vec![
                generate(placement, true),
                read(placement, true, &scored),
                learn(placement, &requests, 1),
            ],
            experience: PPO_NUMBERS,
        }
    }

    /// DPO and its relatives on pairs, with the reference read at every step.
    pub fn dpo() -> Self {
        let placement = Placement::policy("dpo", true, false);
        let requests = [Request::differentiable(ACTOR), Request::constant(REFERENCE)];
        Self::on_data("dpo", vec![learn(&placement, &requests, 2)])
    }

    /// DPO and its relatives on pairs, the reference read once before: one model at a time.
    pub fn dpo_precomputed() -> Self {
        let policy = Placement::policy("dpo_precomputed", false, false);
        let frozen = Placement::frozen(&[Actor], None);
        let requests = [Request::differentiable(ACTOR)];
        let once = Activity { sequences: 2, ..read(&frozen, false, &[ACTOR]) };
        Self::on_data("dpo_precomputed", vec![once, learn(&policy, &requests, 2)])
    }

    /// Preference losses without a reference: SimPO, CPO, ORPO.
    pub fn simpo() -> Self {
        let placement = Placement::policy("simpo", false, false);
        let requests = [Request::differentiable(ACTOR)];
        Self::on_data("simpo", vec![learn(&placement, &requests, 2)])
    }

    /// KTO on single responses: the reference is held for the baseline of each minibatch.
    pub fn kto() -> Self {
        let placement = Placement::policy("kto", true, false);
        let requests = [Request::differentiable(ACTOR)];
        let baseline = read(&placement, true, &[ACTOR, REFERENCE]);
        Self::on_data("kto", vec![baseline, learn(&placement, &requests, 1)])
    }

    /// Critic-free policy gradients with a reference and a reward model: GRPO, RLOO, REINFORCE++,
    /// ReMax. They differ in their advantages, which are computed on the host.
    fn critic_free(name: &str) -> Self {
        let placement = Placement::policy(name, true, true);
        Self {
            name: name.to_owned(),
            activities: vec![
                generate(&placement, true),
                read(&placement, true, &[REFERENCE, SCORE]),
                learn(&placement, &[Request::differentiable(ACTOR)], 1),
            ],
            experience: GROUP_NUMBERS,
        }
    }

    /// Group-relative policy optimisation.
    pub fn grpo() -> Self {
        Self::critic_free("grpo")
    }

    /// REINFORCE with a leave-one-out baseline.
    pub fn rloo() -> Self {
        Self::critic_free("rloo")
    }

    /// REINFORCE with the greedy response as baseline.
    pub fn remax() -> Self {
        Self::critic_free("remax")
    }

    /// Successive policy re-weighting and its relatives (AWR, RWR, best-of-N training): the policy
    /// samples, the reward model scores, the policy learns, one at a time.
    pub fn spr() -> Self {
        let policy = Placement::policy("spr", false, false);
        Self {
            name: "spr".to_owned(),
            activities: vec![
                generate(&Placement::frozen(&[Actor], None), false),
                read(&Placement::frozen(&[Reward], None), false, &[SCORE]),
                learn(&policy, &[Request::differentiable(ACTOR)], 1),
            ],
            experience: SAMPLED_NUMBERS,
        }
    }

    /// Every method with a name, the five PPOs in the order of Hydra-RLHF's Table 2.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::sft(), Self::reward_model(), Self::hydra_sft()];
        all.extend(Placement::five_ppos().iter().map(Self::ppo));
        all.extend([Self::dpo(), Self::dpo_precomputed(), Self::simpo(), Self::kto()]);
        all.extend([Self::grpo(), Self::rloo(), Self::remax(), Self::spr()]);
        all
    }

    /// A method by its name. A method that trains one whole trunk has a second name that ends in `_lora`:
    /// itself [`with_adapter`](Self::with_adapter). The PPOs with adapters are placements of their own.
    pub fn by_name(name: &str) -> Option<Self> {
        let of = |name: &str| Self::all().into_iter().find(|m| m.name == name);
        of(name).or_else(|| {
            let whole = of(name.strip_suffix("_lora")?)?;
            let mut activities = whole.activities.iter();
            let trains = activities.any(|a| a.placement.trunks.iter().any(|t| t.trainable));
            let adapted = whole.with_adapter();
            let sound = adapted.activities.iter().all(|a| a.placement.check().is_ok());
            (trains && sound).then_some(adapted)
        })
    }

    /// The same method with every trained trunk frozen under one trained adapter. A reference that
    /// starts from the same checkpoint becomes that trunk with the adapter off, as in Dynamic LoRA.
    #[must_use]
    pub fn with_adapter(mut self) -> Self {
        for activity in &mut self.activities {
            let placement = activity.placement.clone();
            activity.placement = match activity.work {
                // A policy that is held alone to sample from brings its adapter along.
                Work::Generate(role) if !activity.optimizer => {
                    Placement::frozen(&[role], Some("policy"))
                }
                _ => placement.with_adapter("policy").sharing_reference(),
            };
        }
        self.name.push_str("_lora");
        self
    }
}
