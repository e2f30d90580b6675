use super::{Method, decoding, on_policy, one_model, supervised};
use crate::lab::Lab;
use anyhow::{Context, Result, bail};
use hydralign::advantage::{KlControl, Normaliser, Selection};
use hydralign::algorithms::{
    Cpo, Hinge, Ilql, Ipo, Kto, Linex, Orpo, SimPo, SuperHf, Surrogate, Temperature,
};
use hydralign::prelude::*;
use hydralign::train::Weighing;

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

/// A method by its name, at the start of a run; the observer is told of what it reads before.
///
/// # Errors
/// An unknown name; models that cannot be loaded.
pub fn build<'a>(
    name: &str,
    lab: &'a Lab,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Method + 'a>> {
    let Settings { prompts, samples, beta, flops, .. } = *settings;
    let (groups, episodes) = ((prompts, samples), prompts * samples);
    let lr = Schedule::linear(settings.lr.unwrap_or(3e-4));
    let dpo = Dpo { beta: beta.unwrap_or(0.1), ..Dpo::default() };
    if let Some(config) = critic_free(name, lab, beta) {
        // The greedy baseline takes one response per prompt.
        let shape = if name == "remax" { (episodes, 1) } else { groups };
        return on_policy::critic_free(lab, config, shape, lr);
    }
    if let Some(weigh) = weighing(name) {
        // Each token is tilted in spr_token, so the same β goes further than on whole responses.
        let own = match name {
            "spr_token" => 2.0,
            "superhf" => 0.3,
            _ => 0.5,
        };
        let weigh = (weigh, beta.unwrap_or(own));
        // Few rounds of many samples, as SPR is described: small ones feed on themselves.
        let shape = (2 * prompts, 2 * samples);
        let offline = if name == "spr_offline" { prompts } else { 0 };
        return one_model::reweighting(lab, weigh, shape, offline, lr);
    }
    if let Some((loss, nll_weight)) = pair_loss(name, settings) {
        let objective = Preference { loss, nll_weight, live: false };
        return supervised::pairs(lab, objective, lr, flops, observer);
    }
    match name {
        "ppo" => {
            let kl = KlControl::Fixed { coef: beta.unwrap_or(0.1) };
            let config = PpoConfig { kl, ..lab.recipe.ppo.ppo.clone() };
            on_policy::ppo(lab, config, episodes, lr)
        }
        "sft" => supervised::sft(lab, lr),
        "kto" => {
            let kto = Kto { beta: beta.unwrap_or(0.1), ..Kto::default() };
            supervised::kto(lab, kto, lr)
        }
        "online_dpo" => on_policy::online_dpo(lab, dpo, groups, lr),
        "spin" => one_model::spin(lab, dpo, episodes, lr),
        "ilql" => supervised::ilql(lab, Ilql::default(), beta.unwrap_or(2.0), lr),
        "cd" => decoding::by_tokens(lab, beta.unwrap_or(2.0), episodes, lr),
        "cd_blocks" => decoding::by_blocks(lab, episodes, lr),
        _ => match name.strip_prefix("best_of_").map(str::parse) {
            Some(n) => {
                let n = n.with_context(|| format!("method `{name}`"))?;
                Ok(Box::new(decoding::BestOfN { lab, n }))
            }
            None => bail!(
                "unknown method `{name}` (known: {})",
                known().iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")
            ),
        },
    }
}

fn critic_free(name: &str, lab: &Lab, beta: Option<f64>) -> Option<CriticFreeConfig> {
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
        _ => return None,
    };
    // Without a ratio only the first step on a rollout is on the policy's own samples.
    let minibatches = if config.surrogate == Surrogate::Reinforce { 1 } else { 2 };
    let PpoConfig { micro_batch, score_batch, .. } = lab.recipe.ppo.ppo;
    let mut config = CriticFreeConfig { micro_batch, score_batch, minibatches, ..config };
    // One β for all methods that have a KL term, rather than each paper's own.
    let own = beta.unwrap_or(0.1);
    if config.kl_reward > 0.0 {
        config.kl_reward = own;
    } else if config.kl_loss.coef > 0.0 || beta.is_some() {
        config.kl_loss.coef = own;
    }
    Some(config)
}

/// Optimizer steps of a value model in each round.
const VALUE_STEPS: usize = 2;

/// The weighing of that name, as a function of β and the reference.
fn weighing(name: &str) -> Option<one_model::Weigh> {
    const fn spr(beta: f64) -> Temperature {
        Temperature::Fixed { beta }
    }
    const fn with(beta: f64, normaliser: Normaliser) -> Weighing<'static> {
        let (temperature, clip) = (spr(beta), Some(20.0));
        Weighing::Scores(Reweighting { temperature, normaliser, clip, standardise: false })
    }
    Some(match name {
        "spr" | "spr_offline" => |beta, _| Weighing::Scores(Reweighting::spr(spr(beta))),
        "spr_ess" => {
            |_, _| Weighing::Scores(Reweighting::spr(Temperature::TargetEss { share: 0.5 }))
        }
        "spr_loo" => |beta, _| with(beta, Normaliser::LeaveOneOut),
        "spr_max" => |beta, _| with(beta, Normaliser::Max),
        "spr_learned" => |beta, _| Weighing::LearnedValue {
            rule: Reweighting::spr(spr(beta)),
            linex: Linex { temperature: beta, ..Linex::default() },
            steps: VALUE_STEPS,
        },
        "spr_token" => {
            |temperature, _| Weighing::Tokens { temperature, clip: Some(20.0), steps: VALUE_STEPS }
        }
        "awr" => |beta, _| Weighing::Scores(Reweighting::awr(spr(beta))),
        "rwr" => |beta, _| Weighing::Scores(Reweighting::rwr(spr(beta))),
        "raft" => |_, _| Weighing::Choice(Selection::Best),
        "rest" => |_, _| Weighing::Rising { quantile: 0.9 },
        "superhf" => {
            |kl_coef, reference| Weighing::Tied { objective: SuperHf { kl_coef }, reference }
        }
        _ => return None,
    })
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
