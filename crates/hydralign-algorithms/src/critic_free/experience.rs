use super::credit::Earned;
use super::{CreditRule, CriticFree, ReturnBaseline};
use crate::rollout_readings::{RolloutReadings, check_scores, scores_of};
use crate::{AlgorithmError, Readout};
use hydralign_advantage::{mean_sequence_kl, shape_rewards};
use hydralign_core::{Episode, Finish, Observer, Phase, Reading, Reward, Role, Roles, Sequence};
use hydralign_rollout::SamplerConfig;

const REFERENCE: Reading = Reading::Logprobs(Role::Reference);
const SCORE: Reading = Reading::Score(Role::Reward);

/// One response with everything that its update needs.
#[derive(Clone, Debug)]
pub struct GroupSample {
    /// The episode.
    pub episode: Episode,
    /// log π_old at the sampling temperature, over the whole vocabulary.
    pub old_logprobs: Vec<f32>,
    /// log π_ref at the sampling temperature; empty where the method has no reference.
    pub ref_logprobs: Vec<f32>,
    /// The score as the reward gave it.
    pub score: f32,
    /// KL estimate of each token; empty without a reference.
    pub kl: Vec<f32>,
    /// A_t.
    pub advantages: Vec<f32>,
}

/// A rollout of groups, scored and credited.
#[derive(Clone, Debug)]
pub struct GroupExperience {
    /// One sample per episode, group by group.
    pub samples: Vec<GroupSample>,
    /// Temperature at which the log-probabilities are read.
    pub temperature: f32,
    /// Mean over episodes of the summed KL estimates, in nats; none without a reference.
    pub mean_kl: Option<f64>,
    /// Share of the groups whose scores are all equal: they have no advantage.
    pub equal_groups: f64,
}

impl GroupExperience {
    /// Whether any response is better or worse than what it is compared with.
    pub fn has_signal(&self) -> bool {
        self.samples.iter().any(|s| s.advantages.iter().any(|&a| a != 0.0))
    }

    /// Mean over the samples.
    pub fn mean(&self, of: impl Fn(&GroupSample) -> f64) -> f64 {
        self.samples.iter().map(of).sum::<f64>() / self.samples.len() as f64
    }

    /// −E[log π_old(y_t)], an unbiased estimate of the policy's entropy per token, as
    /// [`Experience::entropy`](crate::Experience::entropy).
    pub fn entropy(&self) -> f64 {
        let all = || self.samples.iter().flat_map(|s| &s.old_logprobs);
        -all().map(|&l| f64::from(l)).sum::<f64>() / all().count() as f64
    }
}

impl CriticFree {
    /// Scores groups of responses and assigns credit. A group holds all responses to one prompt.
    ///
    /// With `reward` the scores come from it; without, from the model's reward head. `greedy` are the
    /// greedy responses, one per group, where the method compares with them (ReMax).
    ///
    /// # Errors
    /// What reading or scoring report; scores that are not finite; a group of one response where
    /// the method compares within groups; missing greedy responses.
    pub fn experience<M: Roles>(
        &self,
        model: &M,
        groups: Vec<Vec<Episode>>,
        greedy: Option<&[Episode]>,
        sampler: &SamplerConfig,
        reward: Option<&dyn Reward>,
        observer: &mut dyn Observer,
    ) -> Result<GroupExperience, AlgorithmError> {
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        let episodes: Vec<Episode> = groups.into_iter().flatten().collect();
        if episodes.is_empty() {
            return Err(AlgorithmError::Empty { what: "episodes" });
        }
        observer.phase(Phase::Score);
        let mut samples = self.read(model, episodes, sampler, reward)?;
        let greedy = match greedy.filter(|_| self.compares_with_greedy()) {
            Some(episodes) => Some(self.greedy_scores(model, episodes, reward)?),
            None => None,
        };
        observer.phase(Phase::Credit);
        let mut earned = Vec::new();
        for sample in &mut samples {
            earned.push(self.earned(sample)?);
        }
        let mut earned = earned.into_iter();
        let groups: Vec<Vec<Earned>> =
            sizes.iter().map(|&n| earned.by_ref().take(n).collect()).collect();
        let advantages = self.config.credit.advantages(&groups, greedy.as_deref())?;
        for (sample, advantages) in samples.iter_mut().zip(advantages.into_iter().flatten()) {
            sample.advantages = advantages;
        }
        let kl: Vec<&Vec<f32>> = samples.iter().map(|s| &s.kl).collect();
        let mean_kl = match self.config.needs_reference() {
            true => Some(mean_sequence_kl(&kl)?),
            false => None,
        };
        let equal =
            |group: &&Vec<Earned>| group.windows(2).all(|pair| pair[0].score == pair[1].score);
        let equal_groups = groups.iter().filter(equal).count() as f64 / groups.len() as f64;
        Ok(GroupExperience { samples, temperature: sampler.temperature, mean_kl, equal_groups })
    }

    fn compares_with_greedy(&self) -> bool {
        let baseline = ReturnBaseline::Greedy;
        matches!(self.config.credit, CreditRule::ReturnToGo { baseline: b, .. } if b == baseline)
    }

    fn read<M: Roles>(
        &self,
        model: &M,
        episodes: Vec<Episode>,
        sampler: &SamplerConfig,
        reward: Option<&dyn Reward>,
    ) -> Result<Vec<GroupSample>, AlgorithmError> {
        let referred = self.config.needs_reference();
        let others = if referred { &[REFERENCE][..] } else { &[] };
        let rows = self.config.score_batch;
        let mut read = RolloutReadings::of(model, &episodes, sampler, reward, others, rows)?;
        let reference = match referred {
            true => read.others.take(REFERENCE)?,
            false => vec![Vec::new(); episodes.len()],
        };
        let sample = |(((episode, old_logprobs), ref_logprobs), score)| GroupSample {
            episode,
            old_logprobs,
            ref_logprobs,
            score,
            kl: Vec::new(),
            advantages: Vec::new(),
        };
        Ok(episodes.into_iter().zip(read.old).zip(reference).zip(read.scores).map(sample).collect())
    }

    fn greedy_scores<M: Roles>(
        &self,
        model: &M,
        episodes: &[Episode],
        reward: Option<&dyn Reward>,
    ) -> Result<Vec<f32>, AlgorithmError> {
        let scores = match reward {
            Some(reward) => scores_of(reward, episodes)?,
            None => {
                let sequences: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
                let rows = self.config.score_batch;
                Readout::of(model, &sequences, &[SCORE], 1.0, rows)?.take(SCORE)?.concat()
            }
        };
        check_scores(&scores)?;
        let shaped = |(e, score): (&Episode, f32)| self.final_score(e, score);
        episodes.iter().zip(scores).map(shaped).collect()
    }

    /// The score after clipping, the missing-stop penalty and the punishment of length.
    fn final_score(&self, episode: &Episode, score: f32) -> Result<f32, AlgorithmError> {
        let stopped = episode.finish == Finish::Stop;
        let shaped = shape_rewards(&[0.0], &[0.0], score, stopped, 0.0, &self.config.shaping)?;
        let length = episode.response.len();
        let overlong = self.config.overlong.map_or(Ok(0.0), |penalty| penalty.of(length))?;
        Ok(shaped.score + overlong)
    }

    /// What a response earned; fills in its KL estimates.
    fn earned(&self, sample: &mut GroupSample) -> Result<Earned, AlgorithmError> {
        let score = self.final_score(&sample.episode, sample.score)?;
        if sample.ref_logprobs.is_empty() {
            return Ok(Earned { score, penalties: vec![0.0; sample.episode.response.len()] });
        }
        let (old, reference) = (&sample.old_logprobs, &sample.ref_logprobs);
        let beta = self.config.kl_reward;
        let shaped = shape_rewards(old, reference, 0.0, true, beta, &self.config.shaping)?;
        sample.kl = shaped.kl;
        Ok(Earned { score, penalties: shaped.rewards })
    }
}
