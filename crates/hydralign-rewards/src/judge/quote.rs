/// Characters of a reply that an error shows.
pub(crate) const QUOTED_CHARS: usize = 200;

/// Quotes replies without the API key, which some servers repeat.
pub(crate) struct Quote<'a> {
    pub(crate) secret: Option<&'a str>,
}

impl Quote<'_> {
    pub(crate) fn of(&self, reply: &str) -> String {
        let shown = match self.secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => reply.replace(secret, "…"),
            None => reply.to_owned(),
        };
        shown.chars().take(QUOTED_CHARS).collect()
    }
}
