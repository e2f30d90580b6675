use crate::judge::fault::Fault;
use crate::judge::reply::object_with;
use serde::{Deserialize, Serialize};

/// Which of two responses is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The first.
    A,
    /// The second.
    B,
    /// Neither, or the judge follows their order and not their content.
    Tie,
}

impl Preference {
    /// The same judgement about the two in the other order.
    pub(crate) fn swapped(self) -> Self {
        match self {
            Preference::A => Preference::B,
            Preference::B => Preference::A,
            Preference::Tie => Preference::Tie,
        }
    }

    pub(crate) fn read(content: &str) -> Result<Self, Fault> {
        let verdict = object_with(content, "better");
        let named = verdict.as_ref().and_then(|verdict| verdict.as_str()).map(str::trim);
        match named.map(str::to_lowercase).as_deref() {
            Some("a") => Ok(Preference::A),
            Some("b") => Ok(Preference::B),
            Some("tie") => Ok(Preference::Tie),
            _ => Err(Fault::NoVerdict { reply: content.to_owned() }),
        }
    }
}
