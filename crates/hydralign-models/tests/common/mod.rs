//! What the golden tests share: folders, reference tensors, gradients in file layout.
#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use hydralign_core::{Sequence, TokenBatch};
use hydralign_models::{Checkpoint, load_checkpoint};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn load(name: &str) -> Checkpoint {
    load_checkpoint(&golden(name), &Device::flex()).unwrap()
}

/// Every f32 or i64 tensor of a file, as f64, with its shape.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::I64 => view
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
            .collect(),
        safetensors::Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect::<Vec<f64>>(),
        other => panic!("{other:?}"),
    };
    file.tensors().into_iter().map(|(n, v)| (n, (v.shape().to_vec(), values(v)))).collect()
}

pub(crate) fn reference(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    tensors(&golden(name).join("reference.safetensors"))
}

/// Rows of token ids.
pub(crate) fn ids((shape, values): &(Vec<usize>, Vec<f64>)) -> Vec<Vec<u32>> {
    values.chunks(shape[1]).map(|row| row.iter().map(|&v| v as u32).collect()).collect()
}

/// The first token is the prompt, the rest the response.
pub(crate) fn whole_rows(rows: &[Vec<u32>]) -> TokenBatch {
    let sequence = |row: &Vec<u32>| Sequence::new(row[..1].to_vec(), row[1..].to_vec());
    TokenBatch::new(rows.iter().map(sequence).collect()).unwrap()
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// Largest |a − b| over the largest |b|.
pub(crate) fn relative_error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(expected).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    worst / scale
}

/// A module whose parameters hold their gradients, so that it can be saved like a checkpoint.
pub(crate) fn gradients_of<M: Module>(module: M, gradients: GradientsParams) -> M {
    struct Swap(GradientsParams);
    impl ModuleMapper for Swap {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let gradient = self.0.remove::<D>(param.id).expect("every parameter has a gradient");
            Param::initialized(param.id, gradient)
        }
    }
    module.map(&mut Swap(gradients))
}

/// Compares two sets of tensors by name.
pub(crate) fn assert_same_tensors(
    got: &BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    expected: &BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    tolerance: f64,
) {
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, (shape, values)) in expected {
        assert_eq!(&got[name].0, shape, "{name}");
        let error = relative_error(&got[name].1, values);
        assert!(error <= tolerance, "{name}: relative error {error:e}");
    }
}
