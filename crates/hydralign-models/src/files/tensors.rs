use super::shard::Shard;
use super::{StoredDtype, malformed, read_json};
use crate::ModelError;
use burn::tensor::{Device, Tensor, TensorData};
use hydralign_families::Order;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The tensors of one safetensors file or of all shards of an index.
#[derive(Debug)]
pub(crate) struct TensorFiles {
    path: PathBuf,
    shards: Vec<Shard>,
    owner: BTreeMap<String, usize>,
    taken: BTreeSet<String>,
}

impl TensorFiles {
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        Self::from_shards(path, vec![Shard::open(path)?])
    }

    /// Opens `model.safetensors` or, where there is none, the shards that
    /// `model.safetensors.index.json` lists: an index beside a whole file is left from an older save,
    /// and transformers reads the file.
    pub(crate) fn open_dir(dir: &Path) -> Result<Self, ModelError> {
        let (single, index) =
            (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
        if !single.exists() && index.exists() {
            return Self::open_index(&index);
        }
        Self::open(&single)
    }

    fn open_index(index: &Path) -> Result<Self, ModelError> {
        let parsed = read_json(index)?;
        let map = parsed.get("weight_map").and_then(|m| m.as_object());
        let map = map.ok_or_else(|| malformed(index, "has no object `weight_map`"))?;
        let mut names = BTreeSet::new();
        for (tensor, file) in map {
            let file = file.as_str().filter(|f| is_plain(f)).ok_or_else(|| {
                malformed(index, format!("`{tensor}` is in {file}, which is not a plain file name"))
            })?;
            names.insert(file);
        }
        let dir = index.parent().unwrap_or(Path::new("."));
        let shards = names.iter().map(|n| Shard::open(&dir.join(n))).collect::<Result<_, _>>()?;
        let files = Self::from_shards(index, shards)?;
        match map.keys().find(|tensor| !files.contains(tensor)) {
            Some(tensor) => Err(malformed(index, format!("no shard has the tensor `{tensor}`"))),
            None => Ok(files),
        }
    }

    fn from_shards(path: &Path, shards: Vec<Shard>) -> Result<Self, ModelError> {
        let mut owner = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.metadata.tensors().into_keys() {
                if owner.insert(name.clone(), i).is_some() {
                    return Err(malformed(path, format!("tensor `{name}` is in two shards")));
                }
            }
        }
        Ok(Self { path: path.to_owned(), shards, owner, taken: BTreeSet::new() })
    }

    /// The file or the index.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.owner.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.owner.keys().map(String::as_str)
    }

    /// Marks a tensor as known although nothing reads it.
    pub(crate) fn ignore(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// Fails on the first tensor that nothing has read.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        match self.owner.into_keys().find(|n| !self.taken.contains(n)) {
            Some(tensor) => Err(ModelError::UnexpectedTensor { path: self.path, tensor }),
            None => Ok(()),
        }
    }

    fn shard(&mut self, name: &str) -> Result<&mut Shard, ModelError> {
        match self.owner.get(name) {
            Some(&i) => {
                self.taken.insert(name.to_owned());
                Ok(&mut self.shards[i])
            }
            None => Err(ModelError::MissingTensor { path: self.path.clone(), tensor: name.into() }),
        }
    }

    /// The number type of a tensor.
    pub(crate) fn dtype(&mut self, name: &str) -> Result<StoredDtype, ModelError> {
        self.shard(name)?.dtype(name)
    }

    /// Whether two tensors are the same: their number types, shapes and bytes.
    pub(crate) fn same(&self, left: &str, right: &str) -> Result<bool, ModelError> {
        match (self.owner.get(left), self.owner.get(right)) {
            (Some(&l), Some(&r)) => self.shards[l].same(left, &self.shards[r], right),
            _ => Ok(false),
        }
    }

    /// A vector, put into the order of memory.
    pub(crate) fn vector(
        &mut self,
        name: &str,
        size: usize,
        order: Order,
        device: &Device,
    ) -> Result<Tensor<1>, ModelError> {
        let mut out = Vec::new();
        self.shard(name)?.read_rows(name, &[size], 1, |row, values| {
            out.resize(size, 0.0);
            for (i, &value) in values.iter().enumerate() {
                out[order.held(row + i)] = value;
            }
        })?;
        Ok(Tensor::from_data(TensorData::new(out, [size]), device))
    }

    /// A matrix as it is stored.
    pub(crate) fn plain(
        &mut self,
        name: &str,
        dims: [usize; 2],
        device: &Device,
    ) -> Result<Tensor<2>, ModelError> {
        let mut out = Vec::new();
        self.shard(name)?.read_rows(name, &dims, dims[1], |_, values| {
            // The file has this many numbers: the shape was checked against it.
            out.reserve_exact((dims[0] * dims[1]).saturating_sub(out.len()));
            out.extend_from_slice(values);
        })?;
        Ok(Tensor::from_data(TensorData::new(out, dims), device))
    }

    /// A matrix that is stored `[out, in]`, returned `[in, out]` in the order of memory.
    pub(crate) fn transposed(
        &mut self,
        name: &str,
        [input, output]: [usize; 2],
        order: Order,
        device: &Device,
    ) -> Result<Tensor<2>, ModelError> {
        let mut out = Vec::new();
        self.shard(name)?.read_rows(name, &[output, input], input, |first, values| {
            // Made once the shape is known to be that of the file; zeroed by the system.
            if out.is_empty() {
                out = vec![0f32; input * output];
            }
            match order {
                Order::Same => transpose_rows(values, input, first, &mut out, output),
                _ => {
                    for (r, row) in values.chunks_exact(input).enumerate() {
                        let column = order.held(first + r);
                        (0..input).for_each(|c| out[c * output + column] = row[c]);
                    }
                }
            }
        })?;
        Ok(Tensor::from_data(TensorData::new(out, [input, output]), device))
    }
}

/// Writes rows of a matrix, from row `first` on, into the columns of its transpose of that width.
fn transpose_rows(values: &[f32], input: usize, first: usize, out: &mut [f32], width: usize) {
    /// Numbers of a cache line: a line of each row is read before the next lines are.
    const LINE: usize = 16;
    let rows = values.len() / input;
    for c0 in (0..input).step_by(LINE) {
        for c in c0..input.min(c0 + LINE) {
            let column = &mut out[c * width + first..][..rows];
            for (slot, row) in column.iter_mut().zip(values[c..].iter().step_by(input)) {
                *slot = *row;
            }
        }
    }
}

/// A name without any folder in it.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(std::path::Component::Normal(_)))
        && components.next().is_none()
}
