//! Who speaks: names that data give the speakers, and the roles that templates know.

use super::{ChatTemplate, Message, RenderOptions};

/// Roles that every template is asked to render.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// Other names of these roles, in lower case.
const NAMES: [(&str, &str); 19] = [
    ("human", "user"),
    ("prompter", "user"),
    ("gpt", "assistant"),
    ("model", "assistant"),
    ("chatgpt", "assistant"),
    ("chatbot", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("claude", "assistant"),
    ("bot", "assistant"),
    ("ai", "assistant"),
    ("function_call", "assistant"),
    ("tool_call", "assistant"),
    ("observation", "tool"),
    ("function", "tool"),
    ("function_response", "tool"),
    ("tool_response", "tool"),
    ("ipython", "tool"),
    ("developer", "system"),
];

/// The role of a speaker's name, whatever its case; none for a name that nobody knows.
pub(crate) fn role_of(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    let same = ROLES.iter().find(|role| **role == name).copied();
    same.or_else(|| NAMES.iter().find(|(other, _)| *other == name).map(|(_, role)| *role))
}

/// All names that [`role_of`] knows.
pub(crate) fn known_names() -> String {
    let names = ROLES.iter().copied().chain(NAMES.iter().map(|(name, _)| *name));
    names.collect::<Vec<_>>().join(", ")
}

impl ChatTemplate {
    /// Whether the template itself speaks of a role, in quotes.
    pub(crate) fn names_role(&self, role: &str) -> bool {
        let quoted = |t: &Self| {
            ["'", "\""].iter().any(|quote| t.source().contains(&format!("{quote}{role}{quote}")))
        };
        quoted(self) || self.with_tools.as_deref().is_some_and(quoted)
    }

    /// The first turn of which the text has nothing: what it says would be lost in silence.
    pub(crate) fn left_out(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        text: &str,
    ) -> Option<usize> {
        let unsure = self.unmarked(messages, options);
        unsure.into_iter().find(|&i| {
            // Said otherwise, not left away: a template may put in by itself what a turn says.
            let mut changed = messages.to_vec();
            match changed[i].text() {
                Some(said) => changed[i].content = format!("{said} {said}.").into(),
                None => drop(changed.remove(i)),
            }
            !changed.is_empty() && self.render(&changed, options).is_ok_and(|other| other == text)
        })
    }

    /// Turns that the text may lack: of all that end in a mark of their own, those whose mark is not
    /// written. One rendering settles most conversations.
    fn unmarked(&self, messages: &[Message], options: &RenderOptions) -> Vec<usize> {
        let mark = |turn: usize| format!("\u{f8f0}{turn}\u{f8f1}.");
        let mut marked = messages.to_vec();
        for (turn, message) in marked.iter_mut().enumerate() {
            if let Some(said) = message.text() {
                message.content = (said.to_owned() + &mark(turn)).into();
            }
        }
        let text = self.render(&marked, options).unwrap_or_default();
        let unsure = |turn: &usize| match messages[*turn].text() {
            Some(said) => !said.trim().is_empty() && !text.contains(&mark(*turn)),
            None => !matches!(messages[*turn].role.as_str(), "user" | "assistant"),
        };
        (0..messages.len()).filter(unsure).collect()
    }
}
