use crate::block::Block;
use crate::files::StoredDtype;
use crate::linear::Linear;
use crate::norm::Norm;
use crate::weights::parameter;
use crate::{Architecture, Trunk};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::random;
use hydralign_families::NormKind;
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
/// 1/√h for the embedding and positions, the projections that write to the residual stream
/// divided by √(2L) (Radford et al. 2019), norms one, biases zero.
pub fn random_trunk(
    architecture: &Architecture,
    trainable: bool,
    seed: u64,
    device: &Device,
) -> Trunk {
    let maker = Maker { architecture, trainable, seed, device };
    let shape = &architecture.shape;
    let (width, parts) = (shape.width(), &shape.parts);
    let std = 1.0 / (shape.hidden as f64).sqrt();
    let matrix = |dims, stream| maker.matrix(dims, std, stream);
    // Streams above those of the blocks, so that optional parts never move the others.
    let above = |i: u64| 2 + (shape.layers * shape.targets().len()) as u64 + i;
    Trunk {
        embedding: matrix([shape.vocab, width], 0),
        positions: parts.positions.map(|rows| matrix([rows, shape.hidden], above(0))),
        project_in: parts.embedding.map(|_| matrix([width, shape.hidden], above(1))),
        project_out: parts.embedding.map(|_| matrix([shape.hidden, width], above(2))),
        blocks: (0..shape.layers).map(|i| maker.block(i)).collect(),
        norm: parts.final_norm.then(|| maker.norm(shape.hidden)),
        head: (!shape.tied).then(|| matrix([width, shape.vocab], 1)),
        architecture: architecture.clone(),
        dtype: StoredDtype::F32,
    }
}

struct Maker<'a> {
    architecture: &'a Architecture,
    trainable: bool,
    seed: u64,
    device: &'a Device,
}

impl Maker<'_> {
    fn matrix(&self, dims: [usize; 2], std: f64, stream: u64) -> Param<Tensor<2>> {
        parameter(normal(dims, std, self.seed, stream, self.device), self.trainable)
    }

    fn vector(&self, size: usize, value: f32) -> Param<Tensor<1>> {
        parameter(Tensor::full([size], value, self.device), self.trainable)
    }

    fn norm(&self, size: usize) -> Norm {
        let one = match self.architecture.norm {
            NormKind::RmsPlusOne => 0.0,
            NormKind::Rms | NormKind::Layer => 1.0,
        };
        let bias = self.architecture.shape.parts.norm_bias;
        Norm { weight: self.vector(size, one), bias: bias.then(|| self.vector(size, 0.0)) }
    }

    fn block(&self, index: usize) -> Block {
        let shape = &self.architecture.shape;
        let (targets, parts) = (shape.targets(), &shape.parts);
        let depth = (2.0 * shape.layers as f64).sqrt();
        let projection = |(place, &target): (usize, &Target)| {
            let [input, output] = shape.projection(target);
            let writes_residual = matches!(target, Target::Output | Target::Down);
            let std = 1.0 / (input as f64).sqrt() / if writes_residual { depth } else { 1.0 };
            let stream = 2 + (index * targets.len() + place) as u64;
            Linear {
                weight: self.matrix([input, output], std, stream),
                bias: parts.has_bias(target).then(|| self.vector(output, 0.0)),
            }
        };
        let hidden = || self.norm(shape.hidden);
        let head = || parts.qk_norm.then(|| self.norm(shape.head_dim));
        Block {
            attention_norm: hidden(),
            mlp_norm: hidden(),
            attention_out_norm: parts.sandwich.then(hidden),
            mlp_out_norm: parts.sandwich.then(hidden),
            query_norm: head(),
            key_norm: head(),
            projections: targets.iter().enumerate().map(projection).collect(),
        }
    }
}
