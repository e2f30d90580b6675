use crate::methods::known;
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// A method and the settings that are not its own: `spr`, `spr:beta=0.2`, `dpo:beta=0.5:lr=1e-4`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Name of the method.
    pub method: String,
    /// β.
    pub beta: Option<f64>,
    /// Learning rate.
    pub lr: Option<f64>,
}

impl Variant {
    /// A method as it is.
    pub fn plain(method: &str) -> Self {
        Self { method: method.to_owned(), beta: None, lr: None }
    }

    /// Refuses methods that do not exist.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn check(&self) -> Result<()> {
        let best_of = self.method.strip_prefix("best_of_").and_then(|n| n.parse::<usize>().ok());
        let names: Vec<&str> = known().iter().map(|(name, _)| *name).collect();
        ensure!(
            best_of.is_some_and(|n| n > 0) || names.contains(&self.method.as_str()),
            "unknown method `{}` (known: {})",
            self.method,
            names.join(", ")
        );
        Ok(())
    }

    /// The name of a seed's result file.
    pub fn file(&self, seed: u64) -> String {
        format!("{}-{seed}.json", self.to_string().replace([':', '='], "_"))
    }
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut variant = Self::plain(parts.next().unwrap_or_default());
        for part in parts {
            let (key, value) =
                part.split_once('=').with_context(|| format!("`{part}` is not KEY=VALUE"))?;
            let value: f64 = value.parse().with_context(|| format!("`{part}`"))?;
            ensure!(value.is_finite() && value > 0.0, "`{part}` must be above 0");
            match key {
                "beta" => variant.beta = Some(value),
                "lr" => variant.lr = Some(value),
                _ => bail!("unknown setting `{key}` (known: beta, lr)"),
            }
        }
        Ok(variant)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        self.beta.map_or(Ok(()), |beta| write!(f, ":beta={beta}"))?;
        self.lr.map_or(Ok(()), |lr| write!(f, ":lr={lr}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_back_as_written() {
        for text in ["spr", "spr:beta=0.2", "dpo:beta=0.5:lr=0.0001", "best_of_8"] {
            let variant: Variant = text.parse().unwrap();
            assert_eq!(variant.to_string(), text);
            variant.check().unwrap();
        }
        assert_eq!("spr:beta=0.2".parse::<Variant>().unwrap().file(3), "spr_beta_0.2-3.json");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["spr:beta", "spr:beta=x", "spr:beta=0", "spr:beta=-1", "spr:gamma=1"] {
            assert!(bad.parse::<Variant>().is_err(), "{bad}");
        }
        for unknown in ["", "sprr", "best_of_0", "best_of_x"] {
            assert!(Variant::plain(unknown).check().is_err(), "{unknown}");
        }
    }
}
