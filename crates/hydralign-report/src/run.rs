use hydralign_runs::{
    CommandLine, Input, MetricsLine, PredictedBytes, RunConfig, RunError, RunFolder, RunStatus,
    Sample, flat_settings, read_commands, read_metrics, read_predicted, read_samples,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a run's folder says.
pub(crate) struct Run {
    /// Name of the folder.
    pub(crate) name: String,
    pub(crate) status: Option<RunStatus>,
    /// Text of `config.toml`.
    pub(crate) config: Option<String>,
    /// Settings and inputs by their dotted keys.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) metrics: Vec<MetricsLine>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) predicted: Vec<PredictedBytes>,
    pub(crate) commands: Vec<CommandLine>,
}

impl Run {
    pub(crate) fn read(folder: &Path) -> Result<Self, RunError> {
        let config = folder.join("config.toml");
        let metrics = folder.join("metrics.jsonl");
        Ok(Self {
            name: name(folder),
            status: RunFolder::status_of(folder),
            settings: if config.exists() { settings(&config)? } else { BTreeMap::new() },
            config: read_text(&config)?,
            metrics: if metrics.exists() { read_metrics(&metrics)? } else { Vec::new() },
            samples: read_samples(&folder.join("samples.jsonl"))?,
            predicted: read_predicted(folder)?,
            commands: read_commands(folder)?,
        })
    }

    /// Names of the stages, in the order in which they reported.
    pub(crate) fn stages(&self) -> Vec<&str> {
        distinct(self.metrics.iter().map(|line| line.stage.as_str()))
    }

    /// The lines of a stage.
    pub(crate) fn of_stage(&self, stage: &str) -> impl Iterator<Item = &MetricsLine> {
        self.metrics.iter().filter(move |line| line.stage == stage)
    }
}

/// Each item once, where it came first.
pub(crate) fn distinct<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// The folder's own name, whatever path leads to it.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| PathBuf::from(folder));
    whole.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn read_text(path: &Path) -> Result<Option<String>, RunError> {
    if !path.exists() {
        return Ok(None);
    }
    std::fs::read_to_string(path).map(Some).map_err(|reason| RunError::Io {
        action: "read",
        path: path.to_owned(),
        reason,
    })
}

fn settings(path: &Path) -> Result<BTreeMap<String, String>, RunError> {
    let config = RunConfig::load(path, &toml::Table::new())?;
    let text = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    let program = config.program.map(|name| ("program".to_owned(), name));
    let settings =
        flat_settings(&config.settings).into_iter().map(|(key, value)| (key, text(value)));
    let settings = program.into_iter().chain(settings);
    let inputs = config.inputs.into_iter().flat_map(|(name, input)| of_input(&name, input));
    Ok(settings.chain(inputs).collect())
}

fn of_input(name: &str, input: Input) -> Vec<(String, String)> {
    let path = (format!("inputs.{name}.path"), input.path);
    let print = input.fingerprint.map(|print| (format!("inputs.{name}.fingerprint"), print));
    std::iter::once(path).chain(print).collect()
}
