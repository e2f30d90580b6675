use super::{ChatTemplate, Message, RenderOptions};
use crate::TextTokenizer;

impl ChatTemplate {
    /// What the template puts behind an answer of the assistant, if none of its tokens ends a response:
    /// then conversations are learnt without an end at which generation stops. None if all is well, or if
    /// the template takes no plain conversation.
    ///
    /// Base models are often published so: a template that ends turns with `<|im_end|>`, and another EOS.
    pub fn unstopped_ending(&self, tokenizer: &TextTokenizer) -> Option<String> {
        const ANSWER: &str = "Yes";
        let turns = [Message::new("user", "Are you there?"), Message::new("assistant", ANSWER)];
        let text = self.render(&turns, &RenderOptions::default()).ok()?;
        let (_, ending) = text.rsplit_once(ANSWER)?;
        let tokens = tokenizer.encode(ending, false).ok()?;
        let stops = tokens.iter().any(|token| tokenizer.eos_ids().contains(token));
        (!stops).then(|| ending.trim().to_owned())
    }
}
