//! Tensors on their way to a safetensors file, of which only the sizes are kept in memory.

use anyhow::{Context, Result};
use serde_json::{Map, json};
use std::fs::File;
use std::io::{BufWriter, Seek, Write, copy};
use std::path::{Path, PathBuf};

/// Collects f32 matrices in a file beside the one that is to be written: the format begins with
/// a list of all tensors, which is known only at the end.
#[derive(Debug)]
pub struct TensorSpool {
    path: PathBuf,
    data: BufWriter<tempfile::NamedTempFile>,
    header: Map<String, serde_json::Value>,
    bytes: u64,
}

impl TensorSpool {
    /// Begins a file.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn new(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            data: BufWriter::new(beside(path)?),
            header: Map::new(),
            bytes: 0,
        })
    }

    /// Adds a row-major matrix.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn push(&mut self, name: String, dims: [usize; 2], values: &[f32]) -> Result<()> {
        let end = self.bytes + 4 * values.len() as u64;
        for value in values {
            self.data.write_all(&value.to_le_bytes()).with_context(|| self.named())?;
        }
        let info = json!({"dtype": "F32", "shape": dims, "data_offsets": [self.bytes, end]});
        self.header.insert(name, info);
        self.bytes = end;
        Ok(())
    }

    /// Writes the file: header, then what was collected.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn finish(self) -> Result<()> {
        let named = self.named();
        let Self { path, data, header, .. } = self;
        let write = || -> std::io::Result<()> {
            let mut data = data.into_inner().map_err(|e| e.into_error())?;
            let mut json = serde_json::Value::Object(header).to_string();
            // The numbers after the header are aligned to their own size.
            while !json.len().is_multiple_of(8) {
                json.push(' ');
            }
            let mut out = beside(&path)?;
            out.write_all(&(json.len() as u64).to_le_bytes())?;
            out.write_all(json.as_bytes())?;
            data.rewind()?;
            let source: &mut File = data.as_file_mut();
            copy(source, out.as_file_mut())?;
            out.persist(&path)?;
            Ok(())
        };
        write().with_context(|| named)
    }

    fn named(&self) -> String {
        self.path.display().to_string()
    }
}

fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(parent)
}
