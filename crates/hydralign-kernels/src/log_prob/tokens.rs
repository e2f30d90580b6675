use burn::tensor::{Device, Tensor};

/// What the forward pass found, packed `[n]` each.
#[derive(Clone, Debug)]
pub struct TokenLogProbs {
    /// log p of the targets.
    pub logprobs: Tensor<1>,
    /// H, if it was asked for.
    pub entropies: Option<Tensor<1>>,
    /// The largest score, and log Σ exp of the scores below it: kept apart, so that large
    /// scores lose nothing.
    pub(super) top: Tensor<1>,
    pub(super) log_sum: Tensor<1>,
}

impl TokenLogProbs {
    /// Pieces one after the other.
    pub(super) fn join(pieces: Vec<Self>, entropies: bool, device: &Device) -> Self {
        let join = |of: fn(&Self) -> Option<&Tensor<1>>| {
            let parts: Vec<Tensor<1>> = pieces.iter().filter_map(of).cloned().collect();
            match parts.is_empty() {
                true => Tensor::zeros([0], device),
                false => Tensor::cat(parts, 0),
            }
        };
        Self {
            logprobs: join(|p| Some(&p.logprobs)),
            entropies: entropies.then(|| join(|p| p.entropies.as_ref())),
            top: join(|p| Some(&p.top)),
            log_sum: join(|p| Some(&p.log_sum)),
        }
    }

    pub(super) fn narrow(&self, start: usize, size: usize) -> Self {
        let cut = |x: &Tensor<1>| x.clone().narrow(0, start, size);
        Self {
            logprobs: cut(&self.logprobs),
            entropies: self.entropies.as_ref().map(cut),
            top: cut(&self.top),
            log_sum: cut(&self.log_sum),
        }
    }
}

/// ∂L/∂(what the forward pass gave), `[n]` each; none counts as zero.
#[derive(Clone, Debug, Default)]
pub struct TokenSlopes {
    /// g = ∂L/∂log p of the targets.
    pub logprobs: Option<Tensor<1>>,
    /// e = ∂L/∂H.
    pub entropies: Option<Tensor<1>>,
}

impl TokenSlopes {
    pub(super) fn narrow(&self, start: usize, size: usize) -> Self {
        let cut = |x: &Tensor<1>| x.clone().narrow(0, start, size);
        Self {
            logprobs: self.logprobs.as_ref().map(cut),
            entropies: self.entropies.as_ref().map(cut),
        }
    }
}

/// ∂L/∂(what the forward pass read).
#[derive(Clone, Debug)]
pub struct LinearGradients {
    /// ∂L/∂h, `[n, hidden]`.
    pub hidden: Tensor<2>,
    /// ∂L/∂W in the layout of the matrix, if it was asked for.
    pub vocabulary: Option<Tensor<2>>,
}
