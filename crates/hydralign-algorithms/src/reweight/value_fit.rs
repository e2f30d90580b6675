use super::{Linex, WeightedSequence, linex_batch, token_weights};
use crate::{AlgorithmError, Learner, PrefixRegression, Readout, prefix_batch};
use burn::tensor::Device;
use hydralign_core::{Differentiable, Reading, Role, Sequence};

/// How a value model is fitted to the responses of a round.
#[derive(Clone, Debug)]
pub struct ValueFit {
    /// Optimizer steps, each on all responses.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
    /// Responses that are read or differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Where batches are made.
    pub device: Device,
}

/// A response as its prompt alone: cut to the token that the prompt predicts.
pub fn prompt_of(response: &Sequence) -> Sequence {
    let mut first = response.clone();
    first.truncate_response(1);
    first
}

impl ValueFit {
    /// W_φ of each group's prompt, after the model has been fitted to the scores by [`Linex`].
    ///
    /// # Errors
    /// An empty group; scores that are not finite; as [`linex_batch`] and [`Learner::step`].
    pub fn prompt_values<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        linex: &Linex,
        groups: &[Vec<Sequence>],
        scores: &[Vec<f32>],
    ) -> Result<Vec<f64>, AlgorithmError> {
        let row = |(s, &r): (&Sequence, &f32)| (prompt_of(s), vec![r]);
        let each = groups.iter().zip(scores);
        let rows: Vec<_> = each.flat_map(|(g, s)| g.iter().zip(s).map(row)).collect();
        let first = |group: &Vec<Sequence>| group.first().map(prompt_of);
        let prompts: Option<Vec<Sequence>> = groups.iter().map(first).collect();
        let prompts = prompts.ok_or(AlgorithmError::Empty { what: "responses of a prompt" })?;
        self.linex(learner, linex, &rows)?;
        let values = self.read(learner, &prompts, Reading::Values(Role::Critic))?;
        Ok(values.concat().into_iter().map(f64::from).collect())
    }

    /// Q(s_t, a_t) of each response token, the value of the prefix that ends with it, after the model has been
    /// fitted to the scores: the first fit of SPR's Algorithm 1.
    ///
    /// # Errors
    /// Scores that are not finite or not one per response; as [`prefix_batch`] and [`Learner::step`].
    pub fn action_values<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        rows: &[Sequence],
        scores: &[f32],
    ) -> Result<Vec<Vec<f32>>, AlgorithmError> {
        let target = |(s, &r): (&Sequence, &f32)| (s.clone(), vec![r; s.response_tokens()]);
        let targets: Vec<(Sequence, Vec<f32>)> = rows.iter().zip(scores).map(target).collect();
        for _ in 0..self.steps {
            let batches = prefix_batch(&targets, self.micro_batch, &self.device)?;
            learner.step(&PrefixRegression::of_prefixes(), &batches, self.lr)?;
        }
        self.read(learner, rows, Reading::PrefixValues(Role::Critic))
    }

    /// W(s_t) of the state before each response token, after the model has been fitted to Q by [`Linex`]: the
    /// second fit of SPR's Algorithm 1.
    ///
    /// # Errors
    /// As [`linex_batch`] and [`Learner::step`].
    pub fn state_values<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        linex: &Linex,
        rows: &[Sequence],
        action_values: &[Vec<f32>],
    ) -> Result<Vec<Vec<f32>>, AlgorithmError> {
        let fitted: Vec<_> = rows.iter().cloned().zip(action_values.iter().cloned()).collect();
        self.linex(learner, linex, &fitted)?;
        self.read(learner, rows, Reading::Values(Role::Critic))
    }

    fn linex<M: Differentiable>(
        &self,
        learner: &mut Learner<M>,
        linex: &Linex,
        rows: &[(Sequence, Vec<f32>)],
    ) -> Result<(), AlgorithmError> {
        for _ in 0..self.steps {
            let batches =
                linex_batch(learner.model(), linex, rows, self.micro_batch, &self.device)?;
            learner.step(linex, &batches, self.lr)?;
        }
        Ok(())
    }

    fn read<M: Differentiable>(
        &self,
        learner: &Learner<M>,
        rows: &[Sequence],
        reading: Reading,
    ) -> Result<Vec<Vec<f32>>, AlgorithmError> {
        let read = Readout::of(learner.model(), rows, &[reading], 1.0, self.micro_batch);
        Ok(read?.take(reading)?)
    }
}

/// [`token_weights`] of every response: the third fit of SPR's Algorithm 1 is weighted supervised learning with
/// them.
///
/// # Errors
/// As [`token_weights`].
pub fn weigh_tokens(
    rows: &[Sequence],
    action_values: &[Vec<f32>],
    state_values: &[Vec<f32>],
    temperature: f64,
    clip: Option<f64>,
) -> Result<Vec<WeightedSequence>, AlgorithmError> {
    let each = rows.iter().zip(action_values).zip(state_values);
    each.map(|((row, q), w)| token_weights(row.clone(), q, w, temperature, clip)).collect()
}
