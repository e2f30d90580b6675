use super::{StoredDtype, io, malformed};
use crate::ModelError;
use hydralign_json::LfsPointer;
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Headers beyond this are refused: the format's own limit.
const HEADER_LIMIT: u64 = 100_000_000;

/// Bytes read at a time: what loading needs beside the tensors themselves.
const PIECE: usize = 1 << 20;

/// One safetensors file whose header has been checked against its length.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    file: File,
    data_start: u64,
}

impl Shard {
    /// Opens a file and reads its header, no more of it than the file has bytes.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = File::open(path).map_err(io(path))?;
        let length = file.metadata().map_err(io(path))?.len();
        let mut prefix = [0u8; 8];
        file.read_exact(&mut prefix)
            .map_err(|_| malformed(path, "shorter than its 8-byte prefix"))?;
        if LfsPointer::HEAD.starts_with(&prefix) {
            return Err(malformed(path, LfsPointer.to_string()));
        }
        let header = u64::from_le_bytes(prefix);
        if header > HEADER_LIMIT || header > length.saturating_sub(8) {
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
        check_length(path, &metadata, length - data_start)?;
        Ok(Self { path: path.to_owned(), metadata, file, data_start })
    }

    /// The type of a tensor that this file holds.
    pub(super) fn dtype(&self, name: &str) -> Result<StoredDtype, ModelError> {
        let info = self.metadata.info(name).ok_or_else(|| self.missing(name))?;
        StoredDtype::of(info.dtype).ok_or_else(|| ModelError::Dtype {
            path: self.path.clone(),
            tensor: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        })
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::MissingTensor { path: self.path.clone(), tensor: name.to_owned() }
    }

    /// Whether a tensor is the same as one of another file: number type, shape and bytes.
    pub(super) fn same(&self, name: &str, other: &Self, theirs: &str) -> Result<bool, ModelError> {
        let info = self.metadata.info(name).ok_or_else(|| self.missing(name))?;
        let their = other.metadata.info(theirs).ok_or_else(|| other.missing(theirs))?;
        if info.dtype != their.dtype || info.shape != their.shape {
            return Ok(false);
        }
        let (mut left, mut right) =
            (self.bytes(info.data_offsets)?, other.bytes(their.data_offsets)?);
        let piece = PIECE.min(info.data_offsets.1 - info.data_offsets.0);
        let (mut a, mut b) = (vec![0; piece], vec![0; piece]);
        loop {
            let read = left.read(&mut a).map_err(io(&self.path))?;
            right.read_exact(&mut b[..read]).map_err(io(&other.path))?;
            if read == 0 || a[..read] != b[..read] {
                return Ok(read == 0);
            }
        }
    }

    /// The bytes of a tensor, through a handle of their own: two tensors may lie in one file.
    fn bytes(&self, (from, to): (usize, usize)) -> Result<impl Read, ModelError> {
        let mut file = File::open(&self.path).map_err(io(&self.path))?;
        file.seek(SeekFrom::Start(self.data_start + from as u64)).map_err(io(&self.path))?;
        Ok(file.take((to - from) as u64))
    }

    /// Reads a tensor as rows of `width` numbers, some at a time: `use_rows` gets the first
    /// row's index and the numbers of some rows.
    pub(super) fn read_rows(
        &mut self,
        name: &str,
        expected: &[usize],
        width: usize,
        mut use_rows: impl FnMut(usize, &[f32]),
    ) -> Result<(), ModelError> {
        let dtype = self.dtype(name)?;
        let info = self.metadata.info(name).ok_or_else(|| self.missing(name))?;
        if info.shape != expected {
            return Err(ModelError::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                got: info.shape.clone(),
            });
        }
        let (from, to) = info.data_offsets;
        let row_bytes = (width * dtype.bytes()).max(1);
        let piece = (PIECE / row_bytes).max(1) * row_bytes;
        self.file.seek(SeekFrom::Start(self.data_start + from as u64)).map_err(io(&self.path))?;
        let mut bytes = vec![0u8; piece.min(to - from)];
        let mut values = Vec::with_capacity(bytes.len() / dtype.bytes());
        let (mut at, mut row) = (from, 0);
        while at < to {
            let part = &mut bytes[..piece.min(to - at)];
            self.file.read_exact(part).map_err(io(&self.path))?;
            values.clear();
            dtype.decode(part, &mut values);
            use_rows(row, &values);
            at += part.len();
            row += part.len() / row_bytes;
        }
        Ok(())
    }
}

/// The tensors, which the library has found to follow each other without gaps and to have the
/// sizes of their shapes, must fill the file.
fn check_length(path: &Path, metadata: &Metadata, present: u64) -> Result<(), ModelError> {
    let ends = metadata.tensors().into_values().map(|info| info.data_offsets.1);
    let end = ends.max().unwrap_or(0) as u64;
    if end != present {
        let reason = format!("{end} bytes of tensors promised, {present} present: truncated");
        return Err(malformed(path, reason));
    }
    Ok(())
}
