use super::unwritten::REASONING;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One turn of a conversation. Keys other than these two (`tool_calls`, `name`,
/// `reasoning_content` …) reach the template as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool` …
    pub role: String,
    /// A text, a list of parts, or nothing.
    #[serde(default)]
    pub content: Value,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Keys that say whether a turn is learnt: true, false, 1 or 0.
pub(crate) const LEARNT: [&str; 3] = ["weight", "train", "loss"];

impl Message {
    /// A turn with a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Value::String(content.into()), extra: Map::new() }
    }

    /// The text, if the content is one.
    pub fn text(&self) -> Option<&str> {
        self.content.as_str()
    }

    /// Whether what the assistant says here is learnt: the key `weight`, `train` or `loss` may say
    /// that it is not.
    pub(crate) fn learnt(&self) -> bool {
        let off = |key: &&str| match self.extra.get(*key) {
            Some(Value::Bool(on)) => !on,
            Some(Value::Number(weight)) => weight.as_f64() == Some(0.0),
            _ => false,
        };
        !LEARNT.iter().any(off)
    }

    /// As a template sees it: keys without a value are left out, and reasoning has the standard
    /// name whichever it came under (transformers, `apply_chat_template`).
    pub(super) fn visible(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("role".into(), self.role.as_str().into());
        fields.insert("content".into(), self.content.clone());
        fields.extend(self.extra.clone());
        fields.retain(|_, value| !value.is_null());
        if let Some(reasoning) = REASONING.iter().find_map(|&n| fields.get(n)).cloned() {
            if !fields.contains_key("thinking") {
                fields.insert("thinking".into(), reasoning.clone());
            }
            fields.insert("reasoning_content".into(), reasoning);
        }
        Value::Object(fields)
    }
}
