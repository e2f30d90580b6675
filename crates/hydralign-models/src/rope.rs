use burn::tensor::{Device, Tensor, TensorData};
use hydralign_families::{Rope, RopeScaling};
use std::f64::consts::TAU;

/// Cosines and sines of a set of positions, ready to broadcast over `[rows, time, heads, d/2]`.
#[derive(Clone)]
pub(crate) struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
    /// Dimensions of a head that are rotated.
    dims: usize,
}

impl Rotation {
    /// Angles p·θ_i for `rows · time` positions; one row serves every row of a batch.
    ///
    /// Frequencies and angles are taken in f32, as the reference implementation does.
    pub(crate) fn new(
        rope: &Rope,
        dims: usize,
        positions: &[usize],
        rows: usize,
        device: &Device,
    ) -> Self {
        let frequencies = frequencies(rope, dims);
        let table_dims = [rows, positions.len() / rows, 1, dims / 2];
        let table = |f: fn(f32) -> f32| {
            let angle = |&p: &usize| frequencies.iter().map(move |w| f(p as f32 * w));
            let values: Vec<f32> = positions.iter().flat_map(angle).collect();
            Tensor::from_data(TensorData::new(values, table_dims), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin), dims }
    }

    /// Rotates each pair (x_i, x_{i+dims/2}) of the first `dims` dimensions by its angle; the
    /// others pass through.
    ///
    /// # Shapes
    /// `x`: `[rows, time, heads, d]`.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let (half, d) = (self.dims / 2, x.dims()[3]);
        let low = x.clone().narrow(3, 0, half);
        let high = x.clone().narrow(3, half, half);
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let turned_low = low.clone().mul(cos.clone()).sub(high.clone().mul(sin.clone()));
        let turned_high = high.mul(cos).add(low.mul(sin));
        let mut parts = vec![turned_low, turned_high];
        if self.dims < d {
            parts.push(x.narrow(3, self.dims, d - self.dims));
        }
        Tensor::cat(parts, 3)
    }
}

fn frequencies(rope: &Rope, dims: usize) -> Vec<f32> {
    let plain = (0..dims / 2).map(|i| {
        let exponent = (2 * i) as f32 / dims as f32;
        1.0 / (rope.base as f32).powf(exponent)
    });
    match rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|w| w / factor as f32).collect(),
        RopeScaling::Llama3 { factor, low, high, original } => {
            plain.map(|w| llama3(w, factor, low, high, original)).collect()
        }
    }
}

/// Llama 3.1's frequency scaling: w/factor for long waves, w for short ones, linear between.
fn llama3(frequency: f32, factor: f64, low: f64, high: f64, original: f64) -> f32 {
    let wavelength = TAU / f64::from(frequency);
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        (f64::from(frequency) / factor) as f32
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        let scaled = f64::from(frequency) / factor;
        ((1.0 - smooth) * scaled + smooth * f64::from(frequency)) as f32
    }
}
