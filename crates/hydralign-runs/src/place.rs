use crate::folder::spare;
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
    /// What becomes of a run that is there.
    pub existing: Overwrite,
    /// The result follows from the settings alone. Without a named folder, the same run replaces its own
    /// result, and another one goes to the next free number.
    pub repeatable: bool,
}

impl Place {
    /// The folder that was named, or the one that stands for it.
    pub fn folder(&self) -> &Path {
        self.out.as_deref().unwrap_or(&self.default)
    }

    /// Makes the folder and writes the settings into it. `read` are the files and folders that the run
    /// learns from.
    ///
    /// # Errors
    /// [`RunError::InputInFolder`] if one of them lies in the folder; [`RunError::AnotherRun`] if a run that shall
    /// go on has other settings; as [`RunFolder::create`]. Nothing was computed before.
    pub fn begin<T: Serialize>(
        &self,
        config: &RunConfig<T>,
        read: &[PathBuf],
    ) -> Result<RunFolder, RunError> {
        self.settled(config, read)?;
        if self.existing == Overwrite::Continue {
            return RunFolder::create(self.folder(), Overwrite::Continue);
        }
        let folder = match &self.out {
            None if self.numbers() => {
                let text = config.to_toml(Path::new(CONFIG))?;
                let same = |path: &Path| {
                    std::fs::read_to_string(path.join(CONFIG)).is_ok_and(|there| there == text)
                };
                RunFolder::create_numbered(&self.default, same)?
            }
            _ => RunFolder::create(self.folder(), self.existing)?,
        };
        config.save(&folder.file(CONFIG))?;
        Ok(folder)
    }

    /// Refuses what [`Place::begin`] refuses, and makes nothing.
    ///
    /// # Errors
    /// As [`Place::begin`], but for what is only found by writing.
    pub fn check<T: Serialize>(
        &self,
        config: &RunConfig<T>,
        read: &[PathBuf],
    ) -> Result<(), RunError> {
        self.settled(config, read)?;
        match self.out.is_none() && self.numbers() {
            true => Ok(()), // some number is free
            false => RunFolder::check(self.folder(), self.existing),
        }
    }

    /// Whether another run's result is passed by for the next number.
    fn numbers(&self) -> bool {
        self.repeatable && self.existing == Overwrite::Refuse
    }

    /// What is refused whatever the folder holds.
    fn settled<T: Serialize>(
        &self,
        config: &RunConfig<T>,
        read: &[PathBuf],
    ) -> Result<(), RunError> {
        spare(self.folder(), read)?;
        match self.existing {
            Overwrite::Continue => config.check_same(&self.folder().join(CONFIG)),
            // Settings that cannot be written make no folder.
            _ => config.to_toml(Path::new(CONFIG)).map(drop),
        }
    }
}
