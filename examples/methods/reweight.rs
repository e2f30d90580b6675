use super::{Method, Round, Turn, grouped, mean, sequences, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::advantage::Selection;
use hydralign::algorithms::{
    Epochs, Linex, Nll, Order as _, PrefixRegression, Readout, Reweighting, SuperHf, Temperature,
    WeightedSequence, kept, linex_batch, prefix_batch, superhf_batch, token_weights,
    weighted_batch,
};
use hydralign::models::{ModelBank, SaveOptions, load_checkpoint, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::Schedule;
use std::path::PathBuf;

/// How sampled and scored responses become weights.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Exponential weights: SPR, AWR, RWR, and their normalisers.
    Weights(Reweighting),
    /// SPR with a learned W_φ.
    LearnedValue(Reweighting, Linex),
    /// SPR's token-level form: Q, then W, then the policy.
    Tokens {
        /// β.
        temperature: f64,
    },
    /// The best responses only: RAFT, ReST.
    Choice(Selection),
    /// The best responses, tied to the fine-tuned model.
    SuperHf(SuperHf),
}

/// Names of the value models that a rule may keep beside its policy.
const VALUES: [&str; 2] = ["q", "w"];

/// Supervised learning on the policy's own samples: sample, score, weigh, learn; each phase loads the
/// one model that it needs and drops it.
pub struct ReweightMethod {
    policy: PathBuf,
    rule: Rule,
    prompts: usize,
    samples: usize,
    epochs: usize,
    minibatch: usize,
    /// Pairs of the data set that are mixed into each round, scored by the reward model.
    offline_pairs: usize,
    lr: Schedule,
}

impl ReweightMethod {
    /// A run from the lab's fine-tuned model, with `prompts` × `samples` episodes a round and
    /// `epochs` passes over what is learnt of them, `minibatch` responses a step.
    ///
    /// # Errors
    /// A model that cannot be loaded or saved.
    pub fn new(
        lab: &Lab,
        name: &str,
        rule: Rule,
        (prompts, samples): (usize, usize),
        (epochs, minibatch): (usize, usize),
        lr: Schedule,
    ) -> Result<Self> {
        let policy = lab.scratch(&format!("{name}-{}", std::process::id()));
        save_checkpoint(&policy, &lab.sft()?.trunk, None, &SaveOptions::default())?;
        let offline_pairs = 0;
        let method = Self { policy, rule, prompts, samples, epochs, minibatch, offline_pairs, lr };
        // A process of the same number may have been cut off here.
        VALUES.iter().for_each(|name| drop(std::fs::remove_dir_all(method.value_path(name))));
        Ok(method)
    }

    /// The same with pairs of the data set mixed into each round: a group of two each.
    #[must_use]
    pub fn with_offline(mut self, pairs: usize) -> Self {
        self.offline_pairs = pairs;
        self
    }

    fn load(&self, lab: &Lab) -> Result<ModelBank> {
        Ok(ModelBank::frozen(load_checkpoint(&self.policy, &lab.device)?))
    }

    fn offline(&self, lab: &Lab, round: usize) -> Vec<Vec<Sequence>> {
        let all = &lab.data.preferences;
        let picked = all.iter().cycle().skip(round * self.offline_pairs % all.len().max(1));
        picked.take(self.offline_pairs).map(|(a, b)| vec![a.clone(), b.clone()]).collect()
    }

    /// Weighted responses and what weighing them cost.
    fn weigh(
        &self,
        lab: &Lab,
        turn: Turn,
        groups: &[Vec<Sequence>],
        scores: &[Vec<f32>],
        observer: &mut dyn Observer,
    ) -> Result<Weighed> {
        match self.rule {
            Rule::Weights(rule) => Ok(Weighed::of(rule.weigh(groups, scores, None)?)),
            Rule::Choice(selection) => {
                // ReST raises its threshold from round to round.
                let selection = match selection {
                    Selection::Quantile { quantile } => {
                        let progress = (turn.round + 1) as f64 / turn.rounds as f64;
                        Selection::Quantile { quantile: quantile * progress.min(1.0) }
                    }
                    other => other,
                };
                Ok(Weighed::plain(kept(groups, scores, selection)?))
            }
            Rule::SuperHf(_) => Ok(Weighed::plain(kept(groups, scores, Selection::Best)?)),
            Rule::LearnedValue(rule, linex) => {
                let (values, flops) =
                    self.learned_values(lab, turn, groups, scores, linex, observer)?;
                let mut weighed = Weighed::of(rule.weigh(groups, scores, Some(&values))?);
                weighed.flops += flops;
                Ok(weighed)
            }
            Rule::Tokens { temperature } => {
                self.token_level(lab, turn, groups, scores, temperature, observer)
            }
        }
    }

    /// W_φ of each prompt: a value model, kept from round to round, fitted to the scores.
    fn learned_values(
        &self,
        lab: &Lab,
        turn: Turn,
        groups: &[Vec<Sequence>],
        scores: &[Vec<f32>],
        linex: Linex,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<f64>, f64)> {
        observer.phase(Phase::Update);
        let mut learner = self.value_learner(lab, "w")?;
        // A prompt is all that W sees, so its responses are cut to the token that is predicted.
        let cut = |s: &Sequence| {
            let mut first = s.clone();
            first.truncate_response(1);
            first
        };
        let rows: Vec<(Sequence, Vec<f32>)> = groups
            .iter()
            .zip(scores)
            .flat_map(|(g, s)| g.iter().zip(s).map(|(s, &r)| (cut(s), vec![r])))
            .collect();
        let lr = turn.lr(&self.lr);
        let micro = lab.recipe.ppo.ppo.micro_batch;
        for _ in 0..VALUE_STEPS {
            let batches = linex_batch(learner.model(), &linex, &rows, micro, &lab.device)?;
            learner.step(&linex, &batches, lr)?;
        }
        let heads: Vec<Sequence> = groups.iter().map(|g| cut(&g[0])).collect();
        let reading = Reading::Values(Role::Critic);
        let values = Readout::of(learner.model(), &heads, &[reading], 1.0, micro)?.take(reading)?;
        let prompts: Vec<Sequence> = rows.iter().map(|(s, _)| s.clone()).collect();
        let once = lab.learning_flops(&prompts, false)? + lab.reading_flops(&prompts, false)?;
        let flops = once * VALUE_STEPS as f64;
        self.keep_value(lab, learner, "w")?;
        Ok((values.concat().into_iter().map(f64::from).collect(), flops))
    }

    /// The weights of SPR's Algorithm 1: Q fitted to the scores, W to Q, one after the other.
    fn token_level(
        &self,
        lab: &Lab,
        turn: Turn,
        groups: &[Vec<Sequence>],
        scores: &[Vec<f32>],
        temperature: f64,
        observer: &mut dyn Observer,
    ) -> Result<Weighed> {
        observer.phase(Phase::Update);
        let rows: Vec<Sequence> = groups.iter().flatten().cloned().collect();
        let flat = scores.iter().flatten();
        let targets: Vec<(Sequence, Vec<f32>)> = rows
            .iter()
            .zip(flat)
            .map(|(s, &r)| (s.clone(), vec![r; s.response_tokens()]))
            .collect();
        let lr = turn.lr(&self.lr);
        let micro = lab.recipe.ppo.ppo.micro_batch;
        let mut learner = self.value_learner(lab, "q")?;
        for _ in 0..VALUE_STEPS {
            learner.step(
                &PrefixRegression::of_prefixes(),
                &prefix_batch(&targets, micro, &lab.device)?,
                lr,
            )?;
        }
        let prefix = Reading::PrefixValues(Role::Critic);
        let q = Readout::of(learner.model(), &rows, &[prefix], 1.0, micro)?.take(prefix)?;
        self.keep_value(lab, learner, "q")?;
        let fitted: Vec<_> = rows.iter().cloned().zip(q.iter().cloned()).collect();
        let linex = Linex { temperature, ..Linex::default() };
        let mut learner = self.value_learner(lab, "w")?;
        for _ in 0..VALUE_STEPS {
            let batches = linex_batch(learner.model(), &linex, &fitted, micro, &lab.device)?;
            learner.step(&linex, &batches, lr)?;
        }
        let before = Reading::Values(Role::Critic);
        let w = Readout::of(learner.model(), &rows, &[before], 1.0, micro)?.take(before)?;
        self.keep_value(lab, learner, "w")?;
        let mut weighted = Vec::new();
        for ((row, q), w) in rows.iter().zip(&q).zip(&w) {
            weighted.push(token_weights(row.clone(), q, w, temperature, Some(20.0))?);
        }
        let (learn, read) = (lab.learning_flops(&rows, false)?, lab.reading_flops(&rows, false)?);
        let flops = VALUE_STEPS as f64 * (2.0 * learn + read) + 2.0 * read;
        Ok(Weighed { flops, ..Weighed::plain(weighted) })
    }

    fn value_path(&self, name: &str) -> PathBuf {
        let mut path = self.policy.clone().into_os_string();
        path.push(format!("-{name}"));
        path.into()
    }

    /// The value model of that name as the last round left it; the reward model at first.
    fn value_learner(&self, lab: &Lab, name: &str) -> Result<Learner<ModelBank>> {
        let path = self.value_path(name);
        let start = match path.exists() {
            true => load_checkpoint(&path, &lab.device)?,
            false => lab.reward_model()?,
        };
        let placement = Placement::value_model();
        let bank = ModelBank::new(&placement, &Start::joint(&start), &lab.recipe.lora, 0)?;
        Ok(Learner::new(bank, &lab.recipe.optimizer))
    }

    fn keep_value(&self, _: &Lab, learner: Learner<ModelBank>, name: &str) -> Result<()> {
        let bank = learner.into_model();
        let trunk = bank.trunk(0).expect("a value model has a trunk");
        let head = bank.head(Role::Critic);
        Ok(save_checkpoint(&self.value_path(name), trunk, head, &SaveOptions::default())?)
    }

    /// Weighted supervised learning from the policy of the round before.
    fn learn(
        &self,
        lab: &Lab,
        turn: Turn,
        rows: &[WeightedSequence],
        observer: &mut dyn Observer,
    ) -> Result<(f64, Vec<(String, f64)>)> {
        let references = match self.rule {
            Rule::SuperHf(_) => Some(self.references(lab, rows, observer)?),
            _ => None,
        };
        observer.phase(Phase::Update);
        let start = load_checkpoint(&self.policy, &lab.device)?;
        let placement = Placement::policy("reweight", false, false);
        let bank = ModelBank::new(&placement, &Start::joint(&start), &lab.recipe.lora, 0)?;
        drop(start);
        let mut learner = Learner::new(bank, &lab.recipe.optimizer);
        let epochs = Epochs {
            items: rows.len(),
            minibatch: self.minibatch,
            epochs: self.epochs,
            seed: lab.seed(&format!("update {}", turn.round)),
        };
        let lr = turn.lr(&self.lr);
        let micro = lab.recipe.ppo.ppo.micro_batch;
        let mut stats = Vec::new();
        for items in epochs.minibatches() {
            let part: Vec<WeightedSequence> = items.iter().map(|&i| rows[i].clone()).collect();
            let report = match (self.rule, &references) {
                (Rule::SuperHf(objective), Some(all)) => {
                    let refs = items.iter().map(|&i| all[i].clone());
                    let part: Vec<_> = part.into_iter().zip(refs).collect();
                    learner.step(&objective, &superhf_batch(&part, micro, &lab.device)?, lr)?
                }
                _ => learner.step(&Nll, &weighted_batch(&part, micro, &lab.device)?, lr)?,
            };
            stats = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        }
        observer.phase(Phase::Report);
        let trained = learner.into_model().checkpoint(Role::Actor)?;
        save_checkpoint(&self.policy, &trained.trunk, None, &SaveOptions::default())?;
        let all: Vec<Sequence> = rows.iter().map(|r| r.sequence.clone()).collect();
        let mut flops = lab.learning_flops(&all, true)? * self.epochs as f64;
        if references.is_some() {
            flops += lab.reading_flops(&all, true)?;
        }
        Ok((flops, stats))
    }

    /// log π_ref of each token of the chosen responses, by the fine-tuned model.
    fn references(
        &self,
        lab: &Lab,
        rows: &[WeightedSequence],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<f32>>> {
        observer.phase(Phase::Score);
        let sft = ModelBank::frozen(lab.sft()?);
        let sequences: Vec<Sequence> = rows.iter().map(|r| r.sequence.clone()).collect();
        let reading = Reading::Logprobs(Role::Actor);
        let batch = lab.recipe.ppo.ppo.score_batch;
        Ok(Readout::of(&sft, &sequences, &[reading], 1.0, batch)?.take(reading)?)
    }
}

/// Optimizer steps of a value model in each round.
const VALUE_STEPS: usize = 2;

/// Weighted responses, what weighing cost, and how the weights came out.
struct Weighed {
    rows: Vec<WeightedSequence>,
    flops: f64,
    stats: Vec<(String, f64)>,
}

impl Weighed {
    fn plain(rows: Vec<WeightedSequence>) -> Self {
        let stats = vec![("learnt".to_owned(), rows.len() as f64)];
        Self { rows, flops: 0.0, stats }
    }

    fn of(weighted: hydralign::algorithms::Reweighted) -> Self {
        let stats = [
            ("ess", weighted.ess),
            ("beta", weighted.temperature),
            ("clipped", weighted.clipped),
            ("mean_weight", weighted.mean_weight),
        ];
        let stats = stats.map(|(n, v)| (n.to_owned(), v)).to_vec();
        Self { rows: weighted.rows, flops: 0.0, stats }
    }
}

impl Drop for ReweightMethod {
    fn drop(&mut self) {
        // Scratch copies.
        let values = VALUES.map(|name| self.value_path(name));
        for path in values.iter().chain([&self.policy]) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

impl Method for ReweightMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        observer.phase(Phase::Generate);
        let prompts = lab.prompts(round, self.prompts, self.samples);
        let policy = self.load(lab)?;
        let episodes = lab.respond(&policy, &prompts, &SamplerConfig::default())?;
        drop(policy);
        observer.phase(Phase::Score);
        let mut rows = sequences(&episodes);
        let mut groups = grouped(&rows, self.samples);
        for pair in self.offline(lab, round) {
            rows.extend(pair.iter().cloned());
            groups.push(pair);
        }
        let flat = lab.scores(&rows)?;
        let mut rest = flat.iter().copied();
        let scores: Vec<Vec<f32>> =
            groups.iter().map(|g| rest.by_ref().take(g.len()).collect()).collect();
        observer.phase(Phase::Credit);
        let weighed = self.weigh(lab, turn, &groups, &scores, observer)?;
        let (learning, learnt) = self.learn(lab, turn, &weighed.rows, observer)?;
        let flops = lab.sampling_flops(&episodes)?
            + lab.reading_flops(&rows, false)?
            + weighed.flops
            + learning;
        let mut stats = vec![("score".to_owned(), mean(&flat[..episodes.len()]))];
        stats.extend(weighed.stats);
        stats.extend(learnt);
        Ok(Round { sampled_tokens: tokens(&episodes), flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(&self.load(lab)?, prompts, &SamplerConfig::default())
    }
}

/// β fixed or for a target breadth, as one word of a command line: `0.5` or `ess=0.5`.
///
/// # Errors
/// Anything else.
pub(super) fn parse_temperature(text: &str) -> Result<Temperature> {
    Ok(match text.strip_prefix("ess=") {
        Some(share) => Temperature::TargetEss { share: share.parse()? },
        None => Temperature::Fixed { beta: text.parse()? },
    })
}
