use burn::tensor::{Device, Tensor, TensorData};

pub(crate) fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// One weight per packed response token.
#[derive(Clone, Debug)]
pub struct TokenWeights {
    /// `[tokens]`.
    pub weights: Tensor<1>,
}

impl TokenWeights {
    /// 1/`total` on every token of rows of these lengths, where `total` counts the real tokens
    /// of the whole minibatch and not of this micro-batch: gradient accumulation then gives the
    /// gradient of the mean over the minibatch (transformers issue #34191 is what goes wrong
    /// otherwise).
    pub fn mean(tokens: usize, total: usize, device: &Device) -> Self {
        Self { weights: vector(vec![1.0 / total as f32; tokens], device) }
    }

    /// Weights given one by one.
    pub fn new(weights: Vec<f32>, device: &Device) -> Self {
        Self { weights: vector(weights, device) }
    }
}

/// One weight per pair; rows are all chosen responses, then all rejected ones.
#[derive(Clone, Debug)]
pub struct PairWeights {
    /// `[pairs]`.
    pub weights: Tensor<1>,
    /// Margin that the chosen score must lead by, `[pairs]`.
    pub margins: Option<Tensor<1>>,
}

impl PairWeights {
    /// 1/`total` on every pair, where `total` counts the pairs of the whole minibatch.
    pub fn mean(pairs: usize, total: usize, device: &Device) -> Self {
        Self { weights: vector(vec![1.0 / total as f32; pairs], device), margins: None }
    }

    /// The same with a margin per pair.
    pub fn with_margins(mut self, margins: Vec<f32>, device: &Device) -> Self {
        self.margins = Some(vector(margins, device));
        self
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.weights.dims()[0]
    }
}
