//! Tensors on their way to a safetensors file, of which only the sizes are kept in memory.

use crate::output::output_file;
use anyhow::{Context, Result};
use hydralign::runs::OutputFile;
use serde_json::{Map, json};
use std::fs::File;
use std::io::{BufWriter, Seek, Write, copy};
use std::path::{Path, PathBuf};

/// Collects f32 matrices in a temporary file: the format begins with a list of all tensors, which is known
/// only at the end.
#[derive(Debug)]
pub struct TensorSpool {
    path: PathBuf,
    out: OutputFile,
    data: BufWriter<File>,
    header: Map<String, serde_json::Value>,
    bytes: u64,
}

impl TensorSpool {
    /// Begins a file that is none of `others`.
    ///
    /// # Errors
    /// As [`output_file`]; a folder that cannot be written to.
    pub fn new<P: AsRef<Path>>(path: &Path, others: &[P], overwrite: bool) -> Result<Self> {
        let out = output_file(path, others, overwrite)?;
        // On the disk that must take the result too, where the result is on one.
        let data = match out.partial().and_then(Path::parent) {
            Some(folder) if !folder.as_os_str().is_empty() => tempfile::tempfile_in(folder),
            Some(_) => tempfile::tempfile_in("."),
            None => tempfile::tempfile(),
        };
        let data = BufWriter::new(data.with_context(|| path.display().to_string())?);
        Ok(Self { path: path.to_owned(), out, data, header: Map::new(), bytes: 0 })
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
        let Self { mut out, data, header, .. } = self;
        let write = || -> std::io::Result<()> {
            let mut data = data.into_inner().map_err(|e| e.into_error())?;
            let mut json = serde_json::Value::Object(header).to_string();
            // The numbers after the header are aligned to their own size.
            while !json.len().is_multiple_of(8) {
                json.push(' ');
            }
            out.write_all(&(json.len() as u64).to_le_bytes())?;
            out.write_all(json.as_bytes())?;
            data.rewind()?;
            copy(&mut data, &mut out)?;
            out.flush()
        };
        write().with_context(|| named)?;
        Ok(out.finish()?)
    }

    fn named(&self) -> String {
        self.path.display().to_string()
    }
}
