use super::matching::{Modules, ending, layer, whole};
use crate::ModelError;
use fancy_regex::Regex;
use serde_json::{Map, Value};
use std::path::Path;

/// What an `adapter_config.json` says of ranks, scales and modules.
#[derive(Clone, Debug)]
pub(super) struct AdapterConfig {
    pub(super) rank: usize,
    pub(super) alpha: f64,
    pub(super) rank_stabilized: bool,
    /// None where the file leaves it to the tensors.
    targets: Option<Modules>,
    excluded: Option<Modules>,
    saved: Vec<String>,
    layers: Option<Vec<usize>>,
    layer_lists: Vec<String>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl AdapterConfig {
    pub(super) fn new(config: &Value, path: &Path) -> Result<Self, ModelError> {
        let reader = Reader { config, path };
        reader.check_supported()?;
        Ok(Self {
            rank: reader.rank("r", config.get("r"))?,
            alpha: reader.alpha("lora_alpha", config.get("lora_alpha"))?,
            rank_stabilized: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            targets: reader.modules("target_modules")?,
            excluded: reader.modules("exclude_modules")?,
            saved: reader.strings("modules_to_save")?.unwrap_or_default(),
            layers: reader.layers()?,
            layer_lists: reader.strings("layers_pattern")?.unwrap_or_default(),
            ranks: reader.patterns("rank_pattern", Reader::rank)?,
            alphas: reader.patterns("alpha_pattern", Reader::alpha)?,
        })
    }

    /// Whether a linear map of a block carries a pair; none if the file does not say.
    pub(super) fn covers(&self, module: &str) -> Option<bool> {
        let targets = self.targets.as_ref()?;
        let excluded = self.excluded.as_ref().is_some_and(|e| e.contains(module))
            || self.saved.iter().any(|s| module.split('.').any(|part| part == s));
        // Listed layers restrict lists of names, not patterns, as in PEFT.
        let in_layer = match (&self.layers, targets) {
            (Some(layers), Modules::Suffixes(names)) if !names.iter().any(|n| n == module) => {
                layer(module, &self.layer_lists).is_some_and(|i| layers.contains(&i))
            }
            _ => true,
        };
        Some(targets.contains(module) && in_layer && !excluded)
    }

    /// Rank and α of a module.
    pub(super) fn rank_and_alpha(&self, module: &str) -> (usize, f64) {
        (
            first(&self.ranks, module).unwrap_or(self.rank),
            first(&self.alphas, module).unwrap_or(self.alpha),
        )
    }

    /// The scale that rank and α give.
    pub(super) fn scale(&self, rank: usize, alpha: f64) -> f64 {
        let rank = rank as f64;
        alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    let matches = |(pattern, _): &&(Regex, T)| pattern.is_match(module).unwrap_or(false);
    patterns.iter().find(matches).map(|(_, value)| *value)
}

struct Reader<'a> {
    config: &'a Value,
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> ModelError {
        ModelError::Config {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.config.get(field).filter(|v| !v.is_null())
    }

    fn check_supported(&self) -> Result<(), ModelError> {
        if self.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(self.error("peft_type", "must be `LORA`"));
        }
        let is_set = |field: &&str| match self.get(field) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::String(text)) => text != "none",
            Some(_) => true,
        };
        let unsupported = [
            "use_dora",
            "bias",
            "lora_bias",
            "use_qalora",
            "alora_invocation_tokens",
            "layer_replication",
            "target_parameters",
            "trainable_token_indices",
        ];
        match unsupported.iter().find(|f| is_set(f)) {
            Some(field) => Err(self.error(field, "is not supported")),
            None => Ok(()),
        }
    }

    fn rank(&self, field: &str, value: Option<&Value>) -> Result<usize, ModelError> {
        let rank = value.and_then(Value::as_u64).filter(|r| (1..=u64::from(u32::MAX)).contains(r));
        rank.map(|r| r as usize).ok_or_else(|| self.error(field, "must be a positive integer"))
    }

    fn alpha(&self, field: &str, value: Option<&Value>) -> Result<f64, ModelError> {
        let alpha = value.and_then(Value::as_f64).filter(|a| a.is_finite());
        alpha.ok_or_else(|| self.error(field, "must be a number"))
    }

    /// A list of names, or one.
    fn strings(&self, field: &str) -> Result<Option<Vec<String>>, ModelError> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let list = match self.get(field) {
            None => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(other) => text(other).map(|name| vec![name]),
        };
        list.map(Some).ok_or_else(|| self.error(field, "must be names of modules"))
    }

    fn modules(&self, field: &str) -> Result<Option<Modules>, ModelError> {
        match self.get(field) {
            Some(Value::String(text)) if text.to_lowercase() == "all-linear" => {
                Ok(Some(Modules::AllLinear))
            }
            Some(Value::String(text)) => Ok(Some(Modules::Pattern(whole(text, self.path, field)?))),
            Some(Value::Array(list)) if list.is_empty() => Ok(None),
            _ => Ok(self.strings(field)?.map(Modules::Suffixes)),
        }
    }

    fn layers(&self) -> Result<Option<Vec<usize>>, ModelError> {
        let field = "layers_to_transform";
        let index = |v: &Value| v.as_u64().and_then(|i| usize::try_from(i).ok());
        let list: Option<Vec<usize>> = match self.get(field) {
            None => return Ok(None),
            Some(Value::Array(list)) if list.is_empty() => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(index).collect(),
            Some(other) => index(other).map(|i| vec![i]),
        };
        list.map(Some).ok_or_else(|| self.error(field, "must be indices of layers"))
    }

    /// The entries of `rank_pattern` or `alpha_pattern`, of which the first that fits counts.
    fn patterns<T>(
        &self,
        field: &str,
        value: impl Fn(&Self, &str, Option<&Value>) -> Result<T, ModelError>,
    ) -> Result<Vec<(Regex, T)>, ModelError> {
        let empty = Map::new();
        let map = match self.get(field) {
            None => &empty,
            Some(Value::Object(map)) => map,
            Some(_) => return Err(self.error(field, "must be an object")),
        };
        let entry = |(key, v): (&String, &Value)| {
            Ok((ending(key, self.path, field)?, value(self, field, Some(v))?))
        };
        map.iter().map(entry).collect()
    }
}
