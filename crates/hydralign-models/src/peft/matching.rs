//! Which modules a PEFT configuration means.

use crate::ModelError;
use fancy_regex::Regex;
use std::path::Path;

/// A choice of modules.
#[derive(Clone, Debug)]
pub(super) enum Modules {
    /// Every linear map of the blocks (`all-linear`).
    AllLinear,
    /// Full names, or the last parts of names.
    Suffixes(Vec<String>),
    /// A pattern for the full name.
    Pattern(Regex),
}

impl Modules {
    /// Whether a module is meant.
    pub(super) fn contains(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Suffixes(names) => names.iter().any(|name| ends_in(module, name)),
            // A pattern that takes too many steps matches nothing.
            Self::Pattern(pattern) => pattern.is_match(module).unwrap_or(false),
        }
    }
}

/// Whether a module is `name` or lies under something with `name` as its last parts.
fn ends_in(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A pattern that must match the whole name, as Python's `re.fullmatch`.
pub(super) fn whole(pattern: &str, path: &Path, field: &str) -> Result<Regex, ModelError> {
    compile(&format!("^(?:{pattern})$"), path, field)
}

/// A pattern for the last parts of a name, as the keys of `rank_pattern` and `alpha_pattern`.
pub(super) fn ending(pattern: &str, path: &Path, field: &str) -> Result<Regex, ModelError> {
    compile(&format!(r"^(?:.*\.)?(?:{pattern})$"), path, field)
}

fn compile(pattern: &str, path: &Path, field: &str) -> Result<Regex, ModelError> {
    /// Steps of one match, and bytes of one compiled pattern: both come from a file.
    const STEPS: usize = 100_000;
    const BYTES: usize = 1 << 20;
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(STEPS)
        .delegate_size_limit(BYTES)
        .delegate_dfa_size_limit(BYTES)
        .build()
        .map_err(|e| ModelError::Config {
            path: path.to_owned(),
            field: field.to_owned(),
            reason: format!("is not a usable pattern: {e}"),
        })
}

/// The layer that a module lies in: the number after the given list of blocks, or the first
/// number of the name.
pub(super) fn layer(module: &str, lists: &[String]) -> Option<usize> {
    let parts: Vec<&str> = module.split('.').collect();
    let numbered = |pair: &[&str]| -> Option<usize> {
        let index = pair[1].parse().ok()?;
        (lists.is_empty() || lists.iter().any(|l| l == pair[0])).then_some(index)
    };
    parts.windows(2).find_map(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_ends_at_a_dot() {
        let modules = Modules::Suffixes(vec!["c_proj".into(), "attn.c_attn".into()]);
        for (module, meant) in [
            ("transformer.h.0.mlp.c_proj", true),
            ("transformer.h.0.attn.c_attn", true),
            ("transformer.h.0.crossattn.c_attn", false),
            ("transformer.h.0.attn.xc_proj", false),
            ("c_proj", true),
        ] {
            assert_eq!(modules.contains(module), meant, "{module}");
        }
    }

    #[test]
    fn the_layer_is_the_first_number_or_that_of_the_named_list() {
        assert_eq!(layer("model.layers.3.mlp.experts.7.up", &[]), Some(3));
        assert_eq!(layer("model.layers.3.mlp.experts.7.up", &["experts".into()]), Some(7));
        assert_eq!(layer("lm_head", &[]), None);
    }

    #[test]
    fn a_pattern_that_explodes_is_no_match() {
        let path = Path::new("adapter_config.json");
        let bomb = whole(r"(a+)+(?=b)b", path, "target_modules").unwrap();
        assert!(!Modules::Pattern(bomb).contains(&"a".repeat(60)));
        assert!(whole(r"(a{1000}){1000}", path, "target_modules").is_err());
    }
}
