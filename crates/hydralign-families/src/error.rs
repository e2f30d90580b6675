use std::path::PathBuf;
use thiserror::Error;

/// Why a `config.json` cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FamilyError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The configuration file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not a configuration at all.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model family that this crate does not know.
    #[error("{}: model_type `{family}` is not supported (known: {known})", path.display())]
    UnknownFamily {
        /// The configuration file.
        path: PathBuf,
        /// The family that it names.
        family: String,
        /// The families that are known.
        known: String,
    },
    /// A model that is not among the published ones with a name here.
    #[error("no published model `{name}` is known (known: {known})")]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// A field that is missing, of the wrong type, or not supported.
    #[error("{}: field `{field}`: {reason}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}
