use crate::block::Block;
use crate::low_rank::parameter;
use crate::{Architecture, Trunk};
use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::random;
use hydralign_placement::Target;

fn filled<const D: usize>(
    dims: [usize; D],
    device: &Device,
    value: impl Fn(u64) -> f64,
) -> Tensor<D> {
    let count: usize = dims.iter().product();
    let values: Vec<f32> = (0..count as u64).map(|i| value(i) as f32).collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}

/// Uniform in ±bound, a function of seed, stream and position alone.
pub(crate) fn uniform<const D: usize>(
    dims: [usize; D],
    bound: f64,
    seed: u64,
    stream: u64,
    device: &Device,
) -> Tensor<D> {
    filled(dims, device, |i| (2.0 * random::uniform(seed, stream, i) - 1.0) * bound)
}

/// Normal with mean 0 (Box–Muller), a function of seed, stream and position alone.
pub(crate) fn normal<const D: usize>(
    dims: [usize; D],
    std: f64,
    seed: u64,
    stream: u64,
    device: &Device,
) -> Tensor<D> {
    filled(dims, device, |i| {
        let radius = (-2.0 * random::uniform(seed, stream, 2 * i).ln()).sqrt();
        let angle = std::f64::consts::TAU * random::uniform(seed, stream, 2 * i + 1);
        radius * angle.cos() * std
    })
}

/// A trunk with random weights: normal with standard deviation 1/√(fan-in) (LeCun et al. 1998),
/// 1/√h for the embedding, the projections that write to the residual stream divided by √(2L)
/// (Radford et al. 2019), norms one.
pub fn random_trunk(
    architecture: &Architecture,
    trainable: bool,
    seed: u64,
    device: &Device,
) -> Trunk {
    let shape = &architecture.shape;
    let hidden = shape.hidden;
    let std = 1.0 / (hidden as f64).sqrt();
    let depth = (2.0 * shape.layers as f64).sqrt();
    let ones = || parameter(Tensor::ones([hidden], device), trainable);
    let projection = |block: usize, target: Target| {
        let stream = 2 + (block * Target::ALL.len() + target as usize) as u64;
        let [input, output] = shape.projection(target);
        let writes_residual = matches!(target, Target::Output | Target::Down);
        let std = 1.0 / (input as f64).sqrt() / if writes_residual { depth } else { 1.0 };
        parameter(normal([input, output], std, seed, stream, device), trainable)
    };
    let block = |i| Block {
        attention_norm: ones(),
        mlp_norm: ones(),
        projections: Target::ALL.into_iter().map(|t| projection(i, t)).collect(),
    };
    let head = || parameter(normal([hidden, shape.vocab], std, seed, 1, device), trainable);
    Trunk {
        embedding: parameter(normal([shape.vocab, hidden], std, seed, 0, device), trainable),
        blocks: (0..shape.layers).map(block).collect(),
        norm: ones(),
        head: (!shape.tied).then(head),
        architecture: architecture.clone(),
    }
}
