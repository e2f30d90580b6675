use super::reweight::parse_temperature;
use super::{
    BestOfN, Control, ControlledMethod, GroupMethod, IlqlMethod, KtoMethod, Method, OnlineDpo,
    PairMethod, PpoMethod, ReweightMethod, Rule, SftMethod, SpinMethod,
};
use crate::lab::Lab;
use anyhow::{Context, Result, bail};
use hydralign::advantage::{KlControl, Normaliser, Selection};
use hydralign::algorithms::{
    Cpo, CriticFreeConfig, Dpo, Hinge, Ilql, Ipo, Kto, Linex, Orpo, PairLoss, Reweighting, SimPo,
    SuperHf, Surrogate, Temperature,
};
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// What all methods of a comparison share.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Prompts of a round, for methods that sample groups.
    pub prompts: usize,
    /// Responses to each prompt of a group.
    pub samples: usize,
    /// Operations that a run may spend.
    pub flops: f64,
    /// β where the method has one; none takes the method's own.
    pub beta: Option<f64>,
    /// Learning rate; none takes the method's own.
    pub lr: Option<f64>,
}

/// The methods that [`build`] knows, with a line on each.
pub fn known() -> &'static [(&'static str, &'static str)] {
    &[
        ("sft", "more supervised fine-tuning, the control"),
        ("ppo", "PPO, four full models"),
        ("grpo", "GRPO: group mean and deviation, KL in the loss"),
        ("dr_grpo", "Dr. GRPO: group mean, constant length"),
        ("dapo", "DAPO: wider clip above, token mean"),
        ("gspo", "GSPO: ratio of the whole response"),
        ("rloo", "RLOO: leave-one-out baseline, KL in the reward"),
        ("reinforce_pp", "REINFORCE++: returns normalised over the batch"),
        ("reinforce_pp_baseline", "REINFORCE++ with the group's mean as baseline"),
        ("remax", "ReMax: the greedy response as baseline"),
        ("spr", "SPR, whole responses, W = log-mean-exp"),
        ("spr_ess", "SPR with β chosen for an effective sample size of ½"),
        ("spr_loo", "SPR with leave-one-out W"),
        ("spr_learned", "SPR with a learned W"),
        ("spr_max", "SPR with W = the best score"),
        ("spr_offline", "SPR with pairs of the data set mixed in"),
        ("spr_token", "SPR, token level, fitted Q and W"),
        ("awr", "AWR: the mean score as value"),
        ("rwr", "RWR: no baseline, standardised scores"),
        ("raft", "best-of-N training (RAFT)"),
        ("rest", "rising filter (ReST)"),
        ("superhf", "best-of-N training with KL (SuperHF)"),
        ("dpo", "DPO on the data set's pairs"),
        ("cdpo", "conservative DPO, ε = 0.1"),
        ("ipo", "IPO"),
        ("hinge", "hinge loss (SLiC)"),
        ("simpo", "SimPO"),
        ("cpo", "CPO"),
        ("orpo", "ORPO"),
        ("kto", "KTO on the pairs as single responses"),
        ("spin", "SPIN: demonstrations against own answers"),
        ("online_dpo", "online DPO: best against worst of own samples"),
        ("ilql", "ILQL: offline Q-learning, decoding tilted by action values"),
        ("cd", "controlled decoding, token by token"),
        ("cd_blocks", "controlled decoding, best of four blocks of eight tokens"),
        ("best_of_4", "best of four samples, nothing learnt"),
        ("best_of_16", "best of sixteen samples, nothing learnt"),
    ]
}

/// A method by its name, at the start of a run.
///
/// # Errors
/// An unknown name; models that cannot be loaded.
pub fn build(name: &str, lab: &Lab, settings: &Settings) -> Result<Box<dyn Method>> {
    if let Some(method) = group_method(name, lab, settings)? {
        return Ok(Box::new(method));
    }
    if let Some(method) = reweighting(name, lab, settings)? {
        return Ok(Box::new(method));
    }
    if let Some((loss, nll_weight)) = pair_loss(name, settings) {
        let lr = schedule(settings, 3e-4);
        let steps = (PAIRS, STEPS);
        let flops = settings.flops;
        return Ok(Box::new(PairMethod::new(lab, loss, nll_weight, steps, lr, flops)?));
    }
    let Settings { prompts, samples, beta, .. } = *settings;
    Ok(match name {
        "ppo" => {
            let kl = KlControl::Fixed { coef: beta.unwrap_or(0.1) };
            let config = PpoConfig { kl, ..lab.recipe.ppo.ppo.clone() };
            Box::new(PpoMethod::new(lab, config, prompts * samples, schedule(settings, 3e-4))?)
        }
        "sft" => Box::new(SftMethod::new(lab, (2 * PAIRS, STEPS), schedule(settings, 3e-4))?),
        "kto" => {
            let kto = Kto { beta: beta.unwrap_or(0.1), ..Kto::default() };
            Box::new(KtoMethod::new(lab, kto, (2 * PAIRS, STEPS), schedule(settings, 3e-4))?)
        }
        "online_dpo" => {
            let dpo = Dpo { beta: beta.unwrap_or(0.1), ..Dpo::default() };
            let lr = schedule(settings, 3e-4);
            Box::new(OnlineDpo::new(lab, dpo, (prompts, samples), 2, lr)?)
        }
        "ilql" => {
            let (weight, steps) = (beta.unwrap_or(2.0), (2 * PAIRS, STEPS));
            let lr = schedule(settings, 3e-4);
            Box::new(IlqlMethod::new(lab, Ilql::default(), weight, steps, lr)?)
        }
        "cd" | "cd_blocks" => {
            let control = match name {
                "cd" => Control::Tokens { weight: beta.unwrap_or(2.0) },
                _ => Control::Blocks { continuations: 4, length: 8 },
            };
            let lr = schedule(settings, 3e-4);
            Box::new(ControlledMethod::new(lab, control, prompts * samples, lr)?)
        }
        "spin" => {
            let dpo = Dpo { beta: beta.unwrap_or(0.1), ..Dpo::default() };
            let count = prompts * samples;
            Box::new(SpinMethod::new(lab, dpo, count, 2, schedule(settings, 3e-4))?)
        }
        _ => match name.strip_prefix("best_of_").map(str::parse) {
            Some(n) => Box::new(BestOfN { n: n.with_context(|| format!("method `{name}`"))? }),
            None => bail!(
                "unknown method `{name}` (known: {})",
                known().iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")
            ),
        },
    })
}

/// Pairs of an optimizer step, and steps of a round, of the methods that learn from data.
const PAIRS: usize = 32;
const STEPS: usize = 4;

fn schedule(settings: &Settings, peak: f64) -> Schedule {
    Schedule::linear(settings.lr.unwrap_or(peak))
}

fn group_method(name: &str, lab: &Lab, settings: &Settings) -> Result<Option<GroupMethod>> {
    let length = lab.recipe.generation.max_new_tokens;
    let config = match name {
        "grpo" => CriticFreeConfig::grpo(),
        "dr_grpo" => CriticFreeConfig::dr_grpo(length),
        "dapo" => CriticFreeConfig::dapo(None),
        "gspo" => CriticFreeConfig::gspo(),
        "rloo" => CriticFreeConfig::rloo(),
        "reinforce_pp" => CriticFreeConfig::reinforce_pp(false),
        "reinforce_pp_baseline" => CriticFreeConfig::reinforce_pp(true),
        "remax" => CriticFreeConfig::remax(),
        _ => return Ok(None),
    };
    // Without a ratio only the first step on a rollout is on the policy's own samples.
    let minibatches = if config.surrogate == Surrogate::Reinforce { 1 } else { 2 };
    let mut config = CriticFreeConfig {
        micro_batch: lab.recipe.ppo.ppo.micro_batch,
        score_batch: lab.recipe.ppo.ppo.score_batch,
        minibatches,
        ..config
    };
    // One β for all methods that have a KL term, rather than each paper's own.
    let beta = settings.beta.unwrap_or(0.1);
    if config.kl_reward > 0.0 {
        config.kl_reward = beta;
    } else if config.kl_loss.coef > 0.0 || settings.beta.is_some() {
        config.kl_loss.coef = beta;
    }
    // The greedy baseline takes one response per prompt.
    let shape = match name {
        "remax" => (settings.prompts * settings.samples, 1),
        _ => (settings.prompts, settings.samples),
    };
    let lr = schedule(settings, 3e-4);
    Ok(Some(GroupMethod::new(lab, config, shape, lr)?))
}

fn reweighting(name: &str, lab: &Lab, settings: &Settings) -> Result<Option<ReweightMethod>> {
    let beta = settings.beta.unwrap_or(0.5);
    let fixed = Temperature::Fixed { beta };
    let spr = Reweighting::spr(fixed);
    let with = |normaliser| Rule::Weights(Reweighting { normaliser, ..spr });
    let rule = match name {
        "spr" | "spr_offline" => Rule::Weights(spr),
        "spr_ess" => Rule::Weights(Reweighting::spr(parse_temperature("ess=0.5")?)),
        "spr_loo" => with(Normaliser::LeaveOneOut),
        "spr_max" => with(Normaliser::Max),
        "spr_learned" => Rule::LearnedValue(spr, Linex { temperature: beta, ..Linex::default() }),
        // Each token is tilted, so the same β goes further than on whole responses.
        "spr_token" => Rule::Tokens { temperature: settings.beta.unwrap_or(2.0) },
        "awr" => Rule::Weights(Reweighting::awr(fixed)),
        "rwr" => Rule::Weights(Reweighting::rwr(fixed)),
        "raft" => Rule::Choice(Selection::Best),
        "rest" => Rule::Choice(Selection::Quantile { quantile: 0.9 }),
        "superhf" => Rule::SuperHf(SuperHf { kl_coef: settings.beta.unwrap_or(0.3) }),
        _ => return Ok(None),
    };
    // Few rounds of many samples, as SPR is described: small ones feed on themselves.
    let shape = (2 * settings.prompts, 2 * settings.samples);
    let lr = schedule(settings, 3e-4);
    let method = ReweightMethod::new(lab, name, rule, shape, (2, PAIRS), lr)?;
    let pairs = if name == "spr_offline" { settings.prompts } else { 0 };
    Ok(Some(method.with_offline(pairs)))
}

/// The loss of pairs of that name, and the weight of the likelihood beside it.
fn pair_loss(name: &str, settings: &Settings) -> Option<(Box<dyn PairLoss>, f64)> {
    let beta = settings.beta.unwrap_or(0.1);
    Some(match name {
        "dpo" => (Box::new(Dpo { beta, ..Dpo::default() }), 0.0),
        "cdpo" => (Box::new(Dpo { beta, label_smoothing: 0.1, ..Dpo::default() }), 0.0),
        "ipo" => (Box::new(Ipo { beta: settings.beta.unwrap_or(1.0), sum: false }), 0.0),
        "hinge" => (Box::new(Hinge { beta }), 0.0),
        "simpo" => {
            let beta = settings.beta.unwrap_or(SimPo::default().beta);
            (Box::new(SimPo { beta, ..SimPo::default() }), 0.0)
        }
        "cpo" => (Box::new(Cpo { beta, ..Cpo::default() }), 1.0),
        "orpo" => (Box::new(Orpo { lambda: settings.beta.unwrap_or(1.0) }), 1.0),
        _ => return None,
    })
}
