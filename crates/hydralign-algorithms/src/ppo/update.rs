use super::{Experience, Ppo, PpoBatch, PpoObjective, Sample};
use crate::updates::update_on_rollout;
use crate::weights::vector;
use crate::{AlgorithmError, Epochs, Learner, UpdateReport};
use burn::tensor::Device;
use hydralign_core::{CoreError, Differentiable, Observer, Phase, TokenBatch};

impl Ppo {
    /// `epochs` × `minibatches` optimizer steps on a rollout, fewer if the estimated KL from the
    /// sampling policy exceeds `target_kl`: the minibatch that shows it is not stepped on.
    ///
    /// Minibatches are drawn from `seed`. Each is split into micro-batches whose weights add up
    /// over the minibatch's real tokens.
    ///
    /// # Errors
    /// [`AlgorithmError::NonFinite`]; the learner then holds the weights of the last good step.
    pub fn update<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        experience: &Experience,
        lr: f64,
        seed: u64,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<UpdateReport, AlgorithmError> {
        observer.phase(Phase::Update);
        let objective = PpoObjective { config: self.config.clone() };
        let items = experience.samples.len();
        let minibatch = items.div_ceil(self.config.minibatches);
        let epochs = Epochs { items, minibatch, epochs: self.config.epochs, seed };
        update_on_rollout(learner, &objective, &epochs, lr, self.config.target_kl, |indices| {
            self.micro_batches(experience, indices, device)
        })
    }

    fn micro_batches(
        &self,
        experience: &Experience,
        indices: &[usize],
        device: &Device,
    ) -> Result<Vec<(TokenBatch, PpoBatch)>, CoreError> {
        let samples: Vec<&Sample> = indices.iter().map(|&i| &experience.samples[i]).collect();
        let total: usize = samples.iter().map(|s| s.episode.response.len()).sum();
        samples
            .chunks(self.config.micro_batch)
            .map(|rows| {
                let tokens = TokenBatch::from_episodes(rows.iter().map(|s| &s.episode))?
                    .at_temperature(experience.temperature)?;
                let pack = |of: fn(&Sample) -> &Vec<f32>| {
                    vector(rows.iter().flat_map(|s| of(s).iter().copied()).collect(), device)
                };
                let weights = vec![1.0 / total as f32; tokens.response_tokens()];
                let batch = PpoBatch {
                    old_logprobs: pack(|s| &s.old_logprobs),
                    advantages: pack(|s| &s.advantages),
                    old_values: pack(|s| &s.values),
                    returns: pack(|s| &s.returns),
                    weights: vector(weights, device),
                };
                Ok((tokens, batch))
            })
            .collect()
    }
}
