use super::Ppo;
use crate::AlgorithmError;
use crate::rollout_readings::RolloutReadings;
use hydralign_advantage::{
    AdvantageError, Credit, Variance, mean_sequence_kl, shape_rewards, whiten,
};
use hydralign_core::{Episode, Finish, Observer, Phase, Reading, Reward, Role, Roles};
use hydralign_rollout::SamplerConfig;

const REFERENCE: Reading = Reading::Logprobs(Role::Reference);
const VALUES: Reading = Reading::Values(Role::Critic);

/// One episode with everything that its update needs. Per-token vectors have one entry per
/// response token.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The episode.
    pub episode: Episode,
    /// log π_old at the sampling temperature, over the whole vocabulary.
    pub old_logprobs: Vec<f32>,
    /// log π_ref at the sampling temperature.
    pub ref_logprobs: Vec<f32>,
    /// V_old of the state before each token.
    pub values: Vec<f32>,
    /// The score as the reward gave it.
    pub score: f32,
    /// Shaped per-token rewards.
    pub rewards: Vec<f32>,
    /// KL estimate of each token.
    pub kl: Vec<f32>,
    /// A_t.
    pub advantages: Vec<f32>,
    /// Value targets.
    pub returns: Vec<f32>,
}

/// A rollout, scored and credited.
#[derive(Clone, Debug)]
pub struct Experience {
    /// One sample per episode, in the episodes' order.
    pub samples: Vec<Sample>,
    /// Temperature at which the log-probabilities are read.
    pub temperature: f32,
    /// β that shaped the rewards.
    pub kl_coef: f64,
    /// Mean over episodes of the summed KL estimates, in nats.
    pub mean_kl: f64,
}

impl Experience {
    /// Mean over the samples.
    pub fn mean(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).sum::<f64>() / self.samples.len() as f64
    }

    /// −E[log π_old(y_t)]: an unbiased estimate of the policy's entropy per token where the
    /// responses were sampled from the policy itself.
    pub fn entropy(&self) -> f64 {
        let all = || self.samples.iter().flat_map(|s| &s.old_logprobs);
        -all().map(|&l| f64::from(l)).sum::<f64>() / all().count() as f64
    }
}

impl Ppo {
    /// Scores episodes and assigns credit: reference log-probabilities, values and scores in as
    /// few passes as the placement allows, then KL-shaped rewards, GAE and whitening on the
    /// host. The KL controller is updated for the *next* call.
    ///
    /// With `reward` the scores come from it; without, from the model's reward head, in the pass
    /// that reads the reference if they share a view. At a temperature other than 1, log π_old is
    /// read from the model: what generation recorded at that temperature is of the distribution
    /// after truncation and suppressed stop tokens, not of the policy.
    ///
    /// # Errors
    /// What reading or scoring report; scores that are not finite.
    pub fn experience<M: Roles>(
        &mut self,
        model: &M,
        episodes: Vec<Episode>,
        sampler: &SamplerConfig,
        reward: Option<&dyn Reward>,
        observer: &mut dyn Observer,
    ) -> Result<Experience, AlgorithmError> {
        if episodes.is_empty() {
            return Err(AlgorithmError::Empty { what: "episodes" });
        }
        observer.phase(Phase::Score);
        let samples = self.read(model, episodes, sampler, reward)?;
        observer.phase(Phase::Credit);
        self.credit(samples, sampler.temperature)
    }

    fn read<M: Roles>(
        &self,
        model: &M,
        episodes: Vec<Episode>,
        sampler: &SamplerConfig,
        reward: Option<&dyn Reward>,
    ) -> Result<Vec<Sample>, AlgorithmError> {
        let (others, rows) = ([REFERENCE, VALUES], self.config.score_batch);
        let mut read = RolloutReadings::of(model, &episodes, sampler, reward, &others, rows)?;
        let per_token = read.others.take(REFERENCE)?.into_iter().zip(read.others.take(VALUES)?);
        let sample = |(((episode, old_logprobs), score), (ref_logprobs, values))| Sample {
            episode,
            old_logprobs,
            ref_logprobs,
            values,
            score,
            rewards: Vec::new(),
            kl: Vec::new(),
            advantages: Vec::new(),
            returns: Vec::new(),
        };
        Ok(episodes.into_iter().zip(read.old).zip(read.scores).zip(per_token).map(sample).collect())
    }

    fn credit(
        &mut self,
        mut samples: Vec<Sample>,
        temperature: f32,
    ) -> Result<Experience, AlgorithmError> {
        let kl_coef = self.kl.coef();
        let mut scores: Vec<f32> = samples.iter().map(|s| s.score).collect();
        self.normaliser.apply(&mut scores)?;
        for (s, score) in samples.iter_mut().zip(scores) {
            let stopped = s.episode.finish == Finish::Stop;
            let (logprobs, reference) = (&s.old_logprobs, &s.ref_logprobs);
            let shaping = &self.config.shaping;
            let shaped = shape_rewards(logprobs, reference, score, stopped, kl_coef, shaping)?;
            (s.rewards, s.kl) = (shaped.rewards, shaped.kl);
        }
        if self.config.whiten_rewards {
            let mut rewards: Vec<_> = samples.iter_mut().map(|s| &mut s.rewards).collect();
            whiten(&mut rewards, false, Variance::Unbiased)?;
        }
        for s in &mut samples {
            let credit = self.advantages.credit(&s.rewards, &s.values)?;
            fits(&credit, s.rewards.len())?;
            (s.advantages, s.returns) = (credit.advantages, credit.returns);
        }
        if self.config.whiten_advantages {
            let mut advantages: Vec<_> = samples.iter_mut().map(|s| &mut s.advantages).collect();
            whiten(&mut advantages, true, Variance::Unbiased)?;
        }
        let mean_kl = mean_sequence_kl(&samples.iter().map(|s| &s.kl).collect::<Vec<_>>())?;
        self.kl.update(mean_kl, samples.len());
        Ok(Experience { samples, temperature, kl_coef, mean_kl })
    }
}

/// One finite advantage and target per token, whoever has computed them.
fn fits(credit: &Credit, tokens: usize) -> Result<(), AdvantageError> {
    for (what, values) in [("advantages", &credit.advantages), ("returns", &credit.returns)] {
        if values.len() != tokens {
            let (left, right) = (what, "response tokens");
            let (left_len, right_len) = (values.len(), tokens);
            return Err(AdvantageError::LengthMismatch { left, left_len, right, right_len });
        }
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(AdvantageError::NonFinite { what, index, value: values[index] });
        }
    }
    Ok(())
}
