use super::{CriticFree, GroupExperience, GroupSample, PolicyBatch, PolicyGradient};
use crate::rows::Rows;
use crate::updates::update_on_rollout;
use crate::weights::vector;
use crate::{AlgorithmError, Epochs, Learner, Order as _, UpdateReport};
use burn::tensor::Device;
use hydralign_core::{CoreError, Differentiable, Finish, Observer, Phase, TokenBatch};

impl CriticFree {
    /// `epochs` × `minibatches` optimizer steps on a rollout, fewer if the estimated KL from the
    /// sampling policy exceeds `target_kl`.
    ///
    /// Minibatches are drawn from `seed`. Each is split into micro-batches whose weights are those of
    /// the whole minibatch.
    ///
    /// A rollout without [a signal](GroupExperience::has_signal) is not stepped on: nothing but a KL
    /// penalty and the optimizer's momentum would move the weights.
    ///
    /// # Errors
    /// [`AlgorithmError::NonFinite`]; the learner then holds the weights of the last good step.
    pub fn update<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        experience: &GroupExperience,
        lr: f64,
        seed: u64,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<UpdateReport, AlgorithmError> {
        observer.phase(Phase::Update);
        let objective = PolicyGradient { config: self.config.clone() };
        let items = experience.samples.len();
        let minibatch = items.div_ceil(self.config.minibatches);
        let epochs = Epochs { items, minibatch, epochs: self.config.epochs, seed };
        if !experience.has_signal() {
            return Ok(UpdateReport { planned: epochs.steps(), ..UpdateReport::default() });
        }
        update_on_rollout(learner, &objective, &epochs, lr, self.config.target_kl, |indices| {
            let samples: Vec<_> = indices.iter().map(|&i| &experience.samples[i]).collect();
            self.micro_batches(&samples, experience.temperature, device)
        })
    }

    /// The micro-batches of a minibatch of credited samples.
    ///
    /// # Errors
    /// An empty response, named by row.
    pub fn micro_batches(
        &self,
        samples: &[&GroupSample],
        temperature: f32,
        device: &Device,
    ) -> Result<Vec<(TokenBatch, PolicyBatch)>, CoreError> {
        let lengths: Vec<usize> = samples.iter().map(|s| s.episode.response.len()).collect();
        let share = 1.0 / lengths.iter().sum::<usize>() as f64;
        let weight_of = self.config.aggregation.weights(&lengths);
        let weigh = |(s, w): (&&GroupSample, f64)| {
            let cut = self.config.mask_truncated && s.episode.finish == Finish::Length;
            if cut { 0.0 } else { w as f32 }
        };
        let weights: Vec<f32> = samples.iter().zip(weight_of).map(weigh).collect();
        let parts = samples.chunks(self.config.micro_batch);
        parts
            .zip(weights.chunks(self.config.micro_batch))
            .map(|(rows, weights)| {
                let tokens = TokenBatch::from_episodes(rows.iter().map(|s| &s.episode))?
                    .at_temperature(temperature)?;
                let pack = |of: fn(&GroupSample) -> &Vec<f32>| {
                    vector(rows.iter().flat_map(|s| of(s).iter().copied()).collect(), device)
                };
                let lengths = tokens.response_lengths();
                let spread = lengths.iter().zip(weights).flat_map(|(&n, &w)| vec![w; n]);
                let referred = rows.iter().all(|s| !s.ref_logprobs.is_empty());
                let batch = PolicyBatch {
                    old_logprobs: pack(|s| &s.old_logprobs),
                    ref_logprobs: referred.then(|| pack(|s| &s.ref_logprobs)),
                    advantages: pack(|s| &s.advantages),
                    weights: vector(spread.collect(), device),
                    share,
                    rows: Rows::new(&lengths, device),
                };
                Ok((tokens, batch))
            })
            .collect()
    }
}
