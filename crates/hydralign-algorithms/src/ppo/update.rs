use super::{Experience, Ppo, PpoBatch, PpoObjective, Sample};
use crate::weights::vector;
use crate::{AlgorithmError, Epochs, Learner};
use burn::module::Module;
use burn::tensor::Device;
use hydralign_core::{CoreError, Observer, Phase, Roles, TokenBatch};

/// Numbers of the updates on one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateReport {
    /// Optimizer steps taken.
    pub steps: usize,
    /// Steps that the settings ask for.
    pub planned: usize,
    /// Statistics, means over the steps taken; `first_` before a name is of the first minibatch.
    pub stats: Vec<(String, f64)>,
}

impl UpdateReport {
    /// The statistic of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.stats.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    fn add(&mut self, name: &str, value: f64) {
        match self.stats.iter_mut().find(|(n, _)| n == name) {
            Some((_, sum)) => *sum += value,
            None => self.stats.push((name.to_owned(), value)),
        }
    }
}

impl Ppo {
    /// `epochs` × `minibatches` optimizer steps on a rollout, fewer if the estimated KL from the
    /// sampling policy exceeds `target_kl`: the minibatch that shows it is not stepped on.
    ///
    /// Minibatches are drawn from `seed`. Each is split into micro-batches whose weights add up
    /// over the minibatch's real tokens.
    ///
    /// # Errors
    /// [`AlgorithmError::NonFinite`]; the learner then holds the weights of the last good step.
    pub fn update<M: Module + Roles>(
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
        let mut report = UpdateReport { planned: epochs.steps(), ..UpdateReport::default() };
        for indices in epochs.minibatches() {
            let batches = self.micro_batches(experience, &indices, device)?;
            let gradients = learner.gradients(&objective, &batches)?;
            let kl = gradients.report.get("approx_kl").unwrap_or(0.0);
            if report.steps > 0 && self.config.target_kl.is_some_and(|target| kl > target) {
                break;
            }
            let step = learner.apply(gradients, lr);
            let all = step.stats.iter().copied();
            for (name, value) in all.chain([("loss", step.loss), ("grad_norm", step.grad_norm)]) {
                if report.steps == 0 {
                    report.add(&format!("first_{name}"), value);
                }
                report.add(name, value);
            }
            report.steps += 1;
        }
        let steps = report.steps.max(1) as f64;
        for (name, value) in &mut report.stats {
            *value /= if name.starts_with("first_") { 1.0 } else { steps };
        }
        Ok(report)
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
