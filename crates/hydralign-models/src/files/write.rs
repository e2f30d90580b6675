use super::{StoredDtype, io, malformed};
use crate::ModelError;
use burn::tensor::Tensor;
use hydralign_families::Order;
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::path::Path;

/// How a checkpoint is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// Number type in the file; none for the type that the weights were loaded from, which
    /// writes unchanged weights back bit for bit. Trained weights are f32 by default.
    pub dtype: Option<StoredDtype>,
    /// Bytes of tensors beyond which a file is split, as `max_shard_size` of transformers.
    pub shard_bytes: usize,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { dtype: None, shard_bytes: 5_000_000_000 }
    }
}

/// A named tensor on its way to a file. It is brought to the host when its turn comes, so that
/// no more than one tensor is held twice.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// As in the file.
    dims: Vec<usize>,
    held: Held,
    dtype: StoredDtype,
}

#[derive(Debug)]
enum Held {
    Vector(Tensor<1>, Order),
    Plain(Tensor<2>),
    /// Held `[in, out]`, stored `[out, in]`.
    Transposed(Tensor<2>, Order),
}

impl Named {
    pub(crate) fn vector(
        name: String,
        tensor: Tensor<1>,
        order: Order,
        dtype: StoredDtype,
    ) -> Self {
        Self { name, dims: tensor.dims().to_vec(), held: Held::Vector(tensor, order), dtype }
    }

    pub(crate) fn plain(name: String, tensor: Tensor<2>, dtype: StoredDtype) -> Self {
        Self { name, dims: tensor.dims().to_vec(), held: Held::Plain(tensor), dtype }
    }

    pub(crate) fn transposed(
        name: String,
        tensor: Tensor<2>,
        order: Order,
        dtype: StoredDtype,
    ) -> Self {
        let [input, output] = tensor.dims();
        Self { name, dims: vec![output, input], held: Held::Transposed(tensor, order), dtype }
    }

    fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.bytes()
    }

    /// The numbers in the layout of the file.
    fn values(&self) -> Vec<f32> {
        match &self.held {
            Held::Vector(t, order) => {
                let values = host(t);
                (0..values.len()).map(|i| values[order.held(i)]).collect()
            }
            Held::Plain(t) => host(t),
            Held::Transposed(t, order) => {
                let [input, output] = t.dims();
                transpose(&host(t), input, output, *order)
            }
        }
    }

    /// Fails for a number that is not finite, or would not be as stored.
    fn check_range(&self, path: &Path) -> Result<(), ModelError> {
        let (name, dtype) = (&self.name, self.dtype.name());
        match self.values().into_iter().find(|&v| !v.is_finite() || !self.dtype.holds(v)) {
            Some(value) if value.is_finite() => {
                Err(malformed(path, format!("{value} of tensor `{name}` does not fit {dtype}")))
            }
            Some(value) => {
                let reason =
                    format!("tensor `{name}` holds {value}, and only finite weights are saved");
                Err(malformed(path, reason))
            }
            None => Ok(()),
        }
    }
}

impl View for &Named {
    fn dtype(&self) -> Dtype {
        self.dtype.safetensors()
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.dtype.encode(&self.values()).into()
    }

    fn data_len(&self) -> usize {
        self.bytes()
    }
}

fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    let data = tensor.clone().without_autodiff().into_data().convert::<f32>();
    data.iter::<f32>().collect()
}

/// `[in, out]` → `[out, in]` in the order of the file.
fn transpose(values: &[f32], input: usize, output: usize, order: Order) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for stored in 0..output {
        let column = order.held(stored);
        out.extend((0..input).map(|row| values[row * output + column]));
    }
    out
}

/// Writes tensors into a folder: `{stem}.safetensors`, or shards with an index where they take
/// more than `shard_bytes`.
pub(crate) fn write_tensors(
    dir: &Path,
    stem: &str,
    tensors: &[Named],
    shard_bytes: usize,
) -> Result<(), ModelError> {
    let shards = split(tensors, shard_bytes);
    if shards.len() <= 1 {
        return write_file(&dir.join(format!("{stem}.safetensors")), tensors);
    }
    let mut map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_file(&dir.join(&name), shard)?;
        map.extend(shard.iter().map(|t| (t.name.clone(), Value::from(name.as_str()))));
    }
    let total: usize = tensors.iter().map(Named::bytes).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    let path = dir.join(format!("{stem}.safetensors.index.json"));
    std::fs::write(&path, format!("{index:#}\n")).map_err(io(&path))
}

/// Consecutive tensors, each group within the limit or of one tensor.
fn split(tensors: &[Named], limit: usize) -> Vec<&[Named]> {
    let (mut groups, mut first, mut size) = (Vec::new(), 0, 0usize);
    for (i, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes();
        if i > first && size.saturating_add(bytes) > limit {
            groups.push(&tensors[first..i]);
            (first, size) = (i, 0);
        }
        size += bytes;
    }
    groups.push(&tensors[first..]);
    groups
}

fn write_file(path: &Path, tensors: &[Named]) -> Result<(), ModelError> {
    tensors.iter().try_for_each(|t| t.check_range(path))?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let views = tensors.iter().map(|t| (t.name.as_str(), t));
    // The library writes a private file and renames it. A file made in the usual way has the permissions
    // that the user's other files have.
    let made = std::fs::File::create(path).and_then(|file| file.metadata()).map_err(io(path))?;
    safetensors::serialize_to_file(views, Some(metadata), path)
        .map_err(|e| malformed(path, e.to_string()))?;
    std::fs::set_permissions(path, made.permissions()).map_err(io(path))?;
    std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};

    fn write(dir: &Path, numbers: [f32; 2], dtype: StoredDtype) -> Result<(), ModelError> {
        let tensor = Tensor::<1>::from_data(numbers, &Device::flex());
        let named = Named::vector("w".into(), tensor, Order::Same, dtype);
        write_tensors(dir, "model", &[named], usize::MAX)
    }

    #[test]
    fn weights_that_are_not_finite_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in [StoredDtype::F32, StoredDtype::Bf16, StoredDtype::F16] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let text = write(dir.path(), [1.0, bad], dtype).unwrap_err().to_string();
                assert!(text.contains(&format!("`w` holds {bad}")), "{text}");
            }
        }
        let text = write(dir.path(), [1.0, 1e6], StoredDtype::F16).unwrap_err().to_string();
        assert!(text.contains("does not fit"), "{text}");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn weights_are_as_readable_as_any_other_file() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), [1.0, 2.0], StoredDtype::F32).unwrap();
        std::fs::write(dir.path().join("other"), "").unwrap();
        let permissions = |name: &str| dir.path().join(name).metadata().unwrap().permissions();
        assert_eq!(permissions("model.safetensors"), permissions("other"));
    }
}
