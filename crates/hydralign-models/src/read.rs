use crate::ModelBank;
use crate::trunk::Trunk;
use crate::weights::weight;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{
    ActionHead, CoreError, Gradient, Outputs, Reading, Request, Role, Roles, TokenBatch,
};
use hydralign_placement::View;

/// The requests that one trunk pass answers.
struct Group {
    view: View,
    gradient: Gradient,
    requests: Vec<Request>,
}

impl Roles for ModelBank {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let mut outputs = Outputs::new();
        for group in self.groups(requests)? {
            self.answer(&group, batch, &mut outputs)?;
        }
        Ok(outputs)
    }
}

impl hydralign_core::Differentiable for ModelBank {}

impl ModelBank {
    /// One group per trunk pass; a pass keeps its graph if any of its requests needs it.
    fn groups(&self, requests: &[Request]) -> Result<Vec<Group>, CoreError> {
        let roles: Vec<Role> = requests.iter().map(|r| r.reading.role()).collect();
        let passes = self.placement.passes(&roles)?;
        let group = |pass: hydralign_placement::Pass| {
            let serves = |r: &&Request| pass.roles.contains(&r.reading.role());
            let requests: Vec<Request> = requests.iter().filter(serves).copied().collect();
            let gradient = requests.iter().map(|r| r.gradient).max().unwrap_or(Gradient::Off);
            Group { view: pass.view, gradient, requests }
        };
        Ok(passes.into_iter().map(group).collect())
    }

    fn answer(
        &self,
        group: &Group,
        batch: &TokenBatch,
        outputs: &mut Outputs,
    ) -> Result<(), CoreError> {
        let (trunk, lens) = self.look(&group.view, group.gradient)?;
        check_fits(trunk, batch)?;
        let hidden = trunk.hidden(&batch.padded(), batch.rows(), lens);
        let device = trunk.device();
        let reads = |f: &dyn Fn(Reading) -> bool| group.requests.iter().any(|r| f(r.reading));
        let per_token = reads(&|r| !matches!(r, Reading::Score(_) | Reading::PrefixValues(_)));
        let packed =
            per_token.then(|| hidden.clone().select(0, index(&batch.predictors(), &device)));
        let distribution = match &packed {
            Some(packed) if reads(&Reading::needs_logits) => {
                Some(log_distribution(trunk, packed.clone(), batch, group.gradient)?)
            }
            _ => None,
        };
        for request in &group.requests {
            let reading = request.reading;
            let value = match (reading, &packed, &distribution) {
                (Reading::Logprobs(_), _, Some(log_p)) => chosen(log_p.clone(), batch, &device),
                (Reading::Entropy(_), _, Some(log_p)) => entropy(log_p.clone()),
                (Reading::Values(role), Some(packed), _) => {
                    self.scalar(role, packed.clone(), group.gradient)?
                }
                (Reading::ActionValue(head), Some(packed), _) => {
                    let q = self.action_values(head, packed.clone(), group.gradient)?;
                    chosen(q, batch, &device)
                }
                (Reading::ActionLogSum(head), Some(packed), _) => {
                    log_sum_exp(self.action_values(head, packed.clone(), group.gradient)?)
                }
                (Reading::PrefixValues(role), _, _) => {
                    let after = index(&batch.response_positions(), &device);
                    self.scalar(role, hidden.clone().select(0, after), group.gradient)?
                }
                (Reading::Score(role), _, _) => {
                    let last = index(&batch.last_positions(), &device);
                    self.scalar(role, hidden.clone().select(0, last), group.gradient)?
                }
                _ => return Err(CoreError::MissingReading { reading }),
            };
            let value = match request.gradient {
                Gradient::On => value,
                Gradient::Off => value.without_autodiff(),
            };
            outputs.insert(reading, value);
        }
        Ok(())
    }

    fn action_values(
        &self,
        head: ActionHead,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<2>, CoreError> {
        let head = self.action_heads.as_ref().and_then(|heads| heads.head(head));
        Ok(head.ok_or(CoreError::NoActionHeads)?.forward(hidden, gradient))
    }

    fn scalar(
        &self,
        role: Role,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<1>, CoreError> {
        let head = self.head(role).ok_or(CoreError::NoHead { role })?;
        Ok(head.forward(hidden, gradient))
    }
}

fn check_fits(trunk: &Trunk, batch: &TokenBatch) -> Result<(), CoreError> {
    let (context, vocab) = (trunk.architecture.context, trunk.architecture.shape.vocab);
    for (row, sequence) in batch.sequences().iter().enumerate() {
        let needed = sequence.len();
        if needed > context {
            return Err(CoreError::ContextExceeded { row, needed, context });
        }
        check_tokens(row, &sequence.prompt, vocab)?;
        check_tokens(row, &sequence.response, vocab)?;
    }
    Ok(())
}

pub(crate) fn check_tokens(row: usize, tokens: &[u32], vocab: usize) -> Result<(), CoreError> {
    match tokens.iter().find(|&&t| t as usize >= vocab) {
        Some(&token) => Err(CoreError::TokenOutOfRange { row, token, vocab }),
        None => Ok(()),
    }
}

fn index(positions: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// log softmax(logits / T) of each response token's predictor: `[tokens, vocab]`.
fn log_distribution(
    trunk: &Trunk,
    packed: Tensor<2>,
    batch: &TokenBatch,
    gradient: Gradient,
) -> Result<Tensor<2>, CoreError> {
    let logits = trunk.logits(packed, gradient)?;
    let logits = match batch.temperature() {
        1.0 => logits,
        t => logits.div_scalar(t),
    };
    Ok(log_softmax(logits, 1))
}

/// The column of each response token, `[tokens, vocab]` → `[tokens]`.
fn chosen(all: Tensor<2>, batch: &TokenBatch, device: &Device) -> Tensor<1> {
    let targets: Vec<i64> = batch.targets().iter().map(|&t| i64::from(t)).collect();
    let n = targets.len();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), device);
    all.gather(1, targets).reshape([n])
}

/// log Σ exp over the vocabulary, shifted by the largest value.
fn log_sum_exp(all: Tensor<2>) -> Tensor<1> {
    let n = all.dims()[0];
    let top = all.clone().without_autodiff().max_dim(1);
    all.sub(top.clone()).exp().sum_dim(1).log().add(top).reshape([n])
}

/// −Σ p log p over the vocabulary, in nats.
fn entropy(log_p: Tensor<2>) -> Tensor<1> {
    let n = log_p.dims()[0];
    log_p.clone().exp().mul(log_p).sum_dim(1).neg().reshape([n])
}

impl ModelBank {
    /// Logits of every position of right-padded rows through a role's view, without a graph.
    ///
    /// # Shapes
    /// `[rows, width, vocab]`; positions past a row's own length are meaningless.
    ///
    /// # Errors
    /// A role that the placement does not serve, or a batch that does not fit.
    pub fn all_logits(&self, role: Role, batch: &TokenBatch) -> Result<Tensor<3>, CoreError> {
        let view = self.placement.view(role)?;
        let (trunk, lens) = self.look(view, Gradient::Off)?;
        check_fits(trunk, batch)?;
        let hidden = trunk.hidden(&batch.padded(), batch.rows(), lens);
        let vocab = trunk.architecture.shape.vocab;
        Ok(trunk.logits(hidden, Gradient::Off)?.reshape([batch.rows(), batch.width(), vocab]))
    }

    /// The weights of a role's scalar head, `[hidden]`, for reports and tests.
    ///
    /// # Errors
    /// [`CoreError::NoHead`] for a role without one.
    pub fn head_weights(&self, role: Role) -> Result<Tensor<1>, CoreError> {
        let head = self.head(role).ok_or(CoreError::NoHead { role })?;
        Ok(weight(&head.weight, Gradient::Off).flatten(0, 1))
    }
}
