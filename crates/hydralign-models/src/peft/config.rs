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
            rank_stabilized: reader.flag("use_rslora")?,
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

/// Fields of a LoRA configuration that are applied.
pub(super) const APPLIED: [&str; 13] = [
    "alpha_pattern",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
    // peft sets it by the kind of the layer, whatever the file says.
    "fan_in_fan_out",
];

/// Fields that do not change what a trained adapter computes: where it came from, how it was begun
/// and trained.
pub(super) const HARMLESS: [&str; 16] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
];

/// Fields that change what an adapter computes and are not supported, unless they say nothing.
pub(super) const REFUSED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "bias",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    // The same under the name of an older version.
    "enable_lora",
];

/// Starts of the pairs that leave the base weights as they are.
const KEEP_THE_BASE: [&str; 3] = ["eva", "mica", "orthogonal"];

/// Whether a value says more than that something is off.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty() && text != "none",
        Value::Bool(true) | Value::Number(_) => true,
    }
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
        match self.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => {
                let found = other.map_or("missing".into(), |kind| format!("`{kind}`"));
                return Err(self.error("peft_type", format!("must be `LORA`, is {found}")));
            }
        }
        let Some(fields) = self.config.as_object() else { return Ok(()) };
        let strange = |(field, value): &(&String, &Value)| {
            !APPLIED.contains(&field.as_str()) && !HARMLESS.contains(&field.as_str()) && says(value)
        };
        match fields.iter().find(strange) {
            None => self.check_start(),
            Some((field, value)) if REFUSED.contains(&field.as_str()) => {
                Err(self.error(field, format!("is not supported, got {value}")))
            }
            Some((field, value)) => {
                let reason =
                    format!("is not known and may change what the adapter computes, got {value}");
                Err(self.error(field, reason))
            }
        }
    }

    /// Starts that change the base weights: they would have to be changed again.
    fn check_start(&self) -> Result<(), ModelError> {
        let field = "init_lora_weights";
        let start = match self.get(field) {
            None | Some(Value::Bool(_)) => return Ok(()),
            Some(Value::String(start)) => start,
            Some(other) => return Err(self.error(field, format!("must be a name, got {other}"))),
        };
        match start.to_lowercase().as_str() {
            "gaussian" => Ok(()),
            _ if KEEP_THE_BASE.contains(&start.as_str()) => Ok(()),
            _ => {
                let reason = format!(
                    "`{start}` may have changed the base weights that the adapter was trained on (those that \
                     do not: true, false, gaussian, {}); load it with peft and save it converted to plain LoRA \
                     (`path_initial_model_for_weight_conversion`)",
                    KEEP_THE_BASE.join(", ")
                );
                Err(self.error(field, reason))
            }
        }
    }

    fn flag(&self, field: &str) -> Result<bool, ModelError> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.error(field, format!("must be true or false, got {other}"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str, value: Value) -> Result<AdapterConfig, ModelError> {
        let mut config = serde_json::json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
        });
        config[field] = value;
        AdapterConfig::new(&config, Path::new("adapter_config.json"))
    }

    /// Every field of peft's own class with its default, and starts with whether they leave a plain
    /// adapter's function as it is, as peft computes them.
    fn golden() -> Value {
        serde_json::from_str(include_str!("../../tests/golden/adapter_fields.json")).unwrap()
    }

    #[test]
    fn every_field_of_peft_has_one_place() {
        let golden = golden();
        let fields = golden["fields"].as_object().unwrap();
        assert!(fields.len() > 40);
        for (field, default) in fields {
            let lists = [&APPLIED[..], &HARMLESS[..], &REFUSED[..]];
            let places = lists.iter().filter(|list| list.contains(&field.as_str())).count();
            assert_eq!(places, 1, "{field}");
            let written = !["peft_type", "r", "target_modules"].contains(&field.as_str());
            assert!(!written || read(field, default.clone()).is_ok(), "{field}: {default}");
        }
    }

    #[test]
    fn what_changes_the_adapter_is_refused_by_name() {
        for (field, value) in [
            ("bias", serde_json::json!("lora_only")),
            ("use_dora", true.into()),
            ("kasa_config", serde_json::json!({"beta": 0.1})),
            ("of_a_later_version", serde_json::json!(0.5)),
            ("use_rslora", "yes".into()),
            ("peft_type", "LOHA".into()),
            ("lora_alpha", "NaN".into()),
        ] {
            let error = read(field, value).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("adapter_config.json"), "{error}");
        }
        for nothing in [Value::Null, false.into(), serde_json::json!([]), serde_json::json!({})] {
            assert!(read("of_a_later_version", nothing).is_ok());
        }
    }

    #[test]
    fn starts_that_change_the_base_are_refused() {
        let golden = golden();
        let starts = golden["starts"].as_object().unwrap();
        assert!(starts.values().any(|plain| plain == &Value::Bool(true)));
        for (start, plain) in starts {
            let read = read("init_lora_weights", start.as_str().into());
            // Those that peft does not know fail in peft too; LoRA-GA's start changes the base in training,
            // and peft, without its gradients, does not when it loads.
            let refused = plain != &Value::Bool(true) || start == "lora_ga";
            assert_eq!(read.is_err(), refused, "{start}");
            if let Err(error) = read {
                assert!(error.to_string().contains("init_lora_weights"), "{error}");
            }
        }
    }
}
