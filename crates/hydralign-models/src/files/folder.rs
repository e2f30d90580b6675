use super::{io, malformed};
use crate::ModelError;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder that is written beside its place and put there when it is complete.
///
/// A reader never sees a half-written file, and a folder that was not there before appears in
/// one step. Dropped without [`Staging::publish`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Staging {
    temporary: TempDir,
    target: PathBuf,
}

impl Staging {
    pub(crate) fn new(target: &Path) -> Result<Self, ModelError> {
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(io(parent))?;
        let temporary = builder().tempdir_in(parent).map_err(io(target))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes a small file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
        let path = self.dir().join(name);
        fs::write(&path, bytes).map_err(io(&path))
    }

    /// Puts the files in place. Other files of an existing folder stay, but for weights that
    /// belong to an older save (`stem`): shards of another split would be read with the new.
    pub(crate) fn publish(self, stem: &str) -> Result<(), ModelError> {
        if !self.target.exists() {
            let from = self.temporary.keep();
            return fs::rename(&from, &self.target).map_err(|e| {
                let _ = fs::remove_dir_all(&from);
                io(&self.target)(e)
            });
        }
        let mut names = file_names(self.dir())?;
        // The configuration last: what reads it finds the weights that it describes.
        names.sort_by_key(|n| (n.to_string_lossy().ends_with("config.json"), n.clone()));
        for name in &names {
            let to = self.target.join(name);
            fs::rename(self.dir().join(name), &to).map_err(io(&to))?;
        }
        for old in file_names(&self.target)? {
            if !names.contains(&old) && is_weights(&old.to_string_lossy(), stem) {
                let path = self.target.join(&old);
                fs::remove_file(&path).map_err(io(&path))?;
            }
        }
        Ok(())
    }
}

/// Temporary folders are private by default; a model folder is as readable as any other.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-").suffix(".partial"); // a run folder tidies what ends like this
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder
}

fn file_names(dir: &Path) -> Result<Vec<OsString>, ModelError> {
    let entries = fs::read_dir(dir).map_err(io(dir))?;
    entries.map(|e| Ok(e.map_err(io(dir))?.file_name())).collect()
}

fn is_weights(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| {
        rest == ".safetensors"
            || rest == ".safetensors.index.json"
            || (rest.starts_with('-') && rest.ends_with(".safetensors"))
    })
}

/// What belongs to a checkpoint beside weights and configuration.
const COMPANIONS: [&str; 12] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
];

/// Copies tokenizer, chat template and generation settings of one checkpoint folder to another,
/// so that what was trained from the first can be used like it. Returns the names copied.
///
/// # Errors
/// [`ModelError::Io`] naming the file.
pub fn copy_companions(from: &Path, to: &Path) -> Result<Vec<&'static str>, ModelError> {
    if !from.is_dir() {
        return Err(malformed(from, "is not a folder"));
    }
    fs::create_dir_all(to).map_err(io(to))?;
    let mut copied = Vec::new();
    for name in COMPANIONS {
        let source = from.join(name);
        if source.is_file() && source != to.join(name) {
            let staging = Staging::new(&to.join(name))?;
            let temporary = staging.dir().join(name);
            fs::copy(&source, &temporary).map_err(io(&source))?;
            fs::rename(&temporary, to.join(name)).map_err(io(&to.join(name)))?;
            copied.push(name);
        }
    }
    Ok(copied)
}
