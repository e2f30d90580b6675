//! Safetensors files, read tensor by tensor and written atomically.

use crate::ModelError;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata, TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Headers beyond this are refused: the format's own limit.
const HEADER_LIMIT: u64 = 100_000_000;

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError + '_ {
    move |source| ModelError::Io { path: path.to_owned(), source }
}

fn malformed(path: &Path, reason: impl Into<String>) -> ModelError {
    ModelError::Malformed { path: path.to_owned(), reason: reason.into() }
}

/// One file whose header has been checked against its length.
struct Shard {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl Shard {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = File::open(path).map_err(io(path))?;
        let length = file.metadata().map_err(io(path))?.len();
        let mut prefix = [0u8; 8];
        file.read_exact(&mut prefix)
            .map_err(|_| malformed(path, "shorter than its 8-byte prefix"))?;
        let header = u64::from_le_bytes(prefix);
        if header > HEADER_LIMIT || header + 8 > length {
            let reason = format!(
                "header of {header} bytes in a file of {length}: truncated or not safetensors"
            );
            return Err(malformed(path, reason));
        }
        let mut json = vec![0u8; header as usize];
        file.read_exact(&mut json).map_err(io(path))?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|e| malformed(path, format!("unreadable header: {e}")))?;
        let data_start = 8 + header;
        check_coverage(path, &metadata, length - data_start)?;
        Ok(Self { path: path.to_owned(), file, metadata, data_start })
    }

    fn read(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelError> {
        let info = self.metadata.info(name).cloned();
        let info = info.ok_or_else(|| ModelError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })?;
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0u8; to - from];
        self.file.seek(SeekFrom::Start(self.data_start + from as u64)).map_err(io(&self.path))?;
        self.file.read_exact(&mut bytes).map_err(io(&self.path))?;
        let values = to_f32(info.dtype, &bytes).ok_or_else(|| ModelError::Dtype {
            path: self.path.clone(),
            tensor: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        })?;
        Ok((info.shape.clone(), values))
    }
}

/// Every tensor must fill its range exactly, and the ranges must fill the file.
fn check_coverage(path: &Path, metadata: &Metadata, present: u64) -> Result<(), ModelError> {
    let mut end = 0usize;
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let (from, to) = info.data_offsets;
        let elements = info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bits = elements.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        if from != end || bits != to.checked_sub(from).and_then(|n| n.checked_mul(8)) {
            return Err(malformed(path, format!("tensor `{name}` does not fill its bytes")));
        }
        end = to;
    }
    if end as u64 != present {
        let reason = format!("{end} bytes of tensors promised, {present} present: truncated");
        return Err(malformed(path, reason));
    }
    Ok(())
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = |f: fn([u8; 2]) -> f32| bytes.chunks_exact(2).map(|b| f([b[0], b[1]])).collect();
    match dtype {
        Dtype::F32 => {
            let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            Some(bytes.chunks_exact(4).map(word).collect())
        }
        Dtype::F16 => Some(halves(|b| half::f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(halves(|b| half::bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}

/// The tensors of one safetensors file or of all shards of an index.
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

    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub(crate) fn open_dir(dir: &Path) -> Result<Self, ModelError> {
        let index = dir.join("model.safetensors.index.json");
        if !index.exists() {
            return Self::open(&dir.join("model.safetensors"));
        }
        let text = std::fs::read_to_string(&index).map_err(io(&index))?;
        let parsed: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| malformed(&index, e.to_string()))?;
        let map = parsed.get("weight_map").and_then(|m| m.as_object());
        let map = map.ok_or_else(|| malformed(&index, "has no object `weight_map`"))?;
        let names: BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
        if let Some(bad) = names.iter().find(|n| Path::new(n).components().count() != 1) {
            return Err(malformed(&index, format!("`{bad}` is not a plain file name")));
        }
        let shards = names.iter().map(|n| Shard::open(&dir.join(n))).collect::<Result<_, _>>()?;
        Self::from_shards(&index, shards)
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

    fn values(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, ModelError> {
        let Some(&shard) = self.owner.get(name) else {
            return Err(ModelError::MissingTensor { path: self.path.clone(), tensor: name.into() });
        };
        let (got, values) = self.shards[shard].read(name)?;
        if got != expected {
            return Err(ModelError::TensorShape {
                path: self.shards[shard].path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                got,
            });
        }
        self.taken.insert(name.to_owned());
        Ok(values)
    }

    /// A tensor as it is stored.
    pub(crate) fn tensor<const D: usize>(
        &mut self,
        name: &str,
        dims: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>, ModelError> {
        let values = self.values(name, &dims)?;
        Ok(Tensor::from_data(TensorData::new(values, dims), device))
    }

    /// A matrix that is stored `[out, in]`, returned `[in, out]`.
    pub(crate) fn transposed(
        &mut self,
        name: &str,
        [input, output]: [usize; 2],
        device: &Device,
    ) -> Result<Tensor<2>, ModelError> {
        let values = transpose(&self.values(name, &[output, input])?, output, input);
        Ok(Tensor::from_data(TensorData::new(values, [input, output]), device))
    }
}

/// Row-major `[rows, columns]` → `[columns, rows]`, in tiles that stay in cache.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0f32; values.len()];
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..columns).step_by(TILE) {
            for r in r0..rows.min(r0 + TILE) {
                for c in c0..columns.min(c0 + TILE) {
                    out[c * rows + r] = values[r * columns + c];
                }
            }
        }
    }
    out
}

/// A named tensor on its way to a file, already in the file's layout.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Named {
    fn new(name: String, shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { name, shape, bytes }
    }

    fn view(&self) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
        TensorView::new(Dtype::F32, self.shape.clone(), &self.bytes)
    }

    /// A tensor as it is held.
    pub(crate) fn plain<const D: usize>(name: String, tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self::new(name, shape, &host(tensor))
    }

    /// A matrix held `[in, out]`, stored `[out, in]`.
    pub(crate) fn transposed(name: String, tensor: Tensor<2>) -> Self {
        let [input, output] = tensor.dims();
        Self::new(name, vec![output, input], &transpose(&host(tensor), input, output))
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.without_autodiff().into_data().convert::<f32>();
    data.iter::<f32>().collect()
}

/// Temporary files are private by default; a model folder is as readable as any other file.
fn builder() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut, reason = "only Unix has modes")]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Writes bytes to a file of that name in the same folder and renames it into place.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    let mut file = builder().tempfile_in(dir).map_err(io(path))?;
    std::io::Write::write_all(&mut file, bytes).map_err(io(path))?;
    file.as_file().sync_all().map_err(io(path))?;
    file.persist(path).map_err(|e| io(path)(e.error))?;
    Ok(())
}

pub(crate) fn write_tensors(path: &Path, tensors: &[Named]) -> Result<(), ModelError> {
    let views = tensors
        .iter()
        .map(|t| Ok((t.name.as_str(), t.view()?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| malformed(path, e.to_string()))?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| malformed(path, e.to_string()))?;
    write_atomic(path, &bytes)
}

pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, ModelError> {
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    serde_json::from_str(&text).map_err(|e| malformed(path, format!("not JSON: {e}")))
}
