use crate::{Overwrite, RunConfig, RunError, RunFolder};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The name of the settings in a run folder.
const CONFIG: &str = "config.toml";

/// Where a run's result may go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder that the user named.
    pub out: Option<PathBuf>,
    /// The folder if none was named.
    pub default: PathBuf,
    /// An earlier result may be replaced.
    pub overwrite: bool,
    /// The result follows from the settings alone. Without a named folder, the same run replaces its own
    /// result, and another one goes to the next free number.
    pub repeatable: bool,
}

impl Place {
    /// Makes the folder and writes the settings into it.
    ///
    /// # Errors
    /// As [`RunFolder::create`], before anything was computed.
    pub fn begin<T: Serialize>(&self, config: &RunConfig<T>) -> Result<RunFolder, RunError> {
        let folder = match &self.out {
            None if self.repeatable && !self.overwrite => {
                let text = config.to_toml(Path::new(CONFIG))?;
                let same = |path: &Path| {
                    std::fs::read_to_string(path.join(CONFIG)).is_ok_and(|there| there == text)
                };
                RunFolder::create_numbered(&self.default, same)?
            }
            out => {
                let overwrite = if self.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
                RunFolder::create(out.as_ref().unwrap_or(&self.default), overwrite)?
            }
        };
        config.save(&folder.file(CONFIG))?;
        Ok(folder)
    }
}
