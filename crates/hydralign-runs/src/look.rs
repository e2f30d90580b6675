/// What the output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Lines,
    Bars { color: bool },
}

impl Look {
    pub(crate) fn detect(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        if !terminal || variable("TERM").as_deref() == Some("dumb") {
            return Look::Lines;
        }
        // no-color.org: present and not empty, whatever its value.
        Look::Bars { color: variable("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_follows_terminal_and_environment() {
        let look = |terminal, term: &'static str, no_color: Option<&'static str>| {
            Look::detect(terminal, move |name| match name {
                "TERM" => Some(term.to_owned()),
                "NO_COLOR" => no_color.map(str::to_owned),
                _ => None,
            })
        };
        assert_eq!(look(true, "xterm", None), Look::Bars { color: true });
        assert_eq!(look(true, "xterm", Some("1")), Look::Bars { color: false });
        assert_eq!(look(true, "xterm", Some("")), Look::Bars { color: true });
        assert_eq!(look(true, "dumb", None), Look::Lines);
        assert_eq!(look(false, "xterm", None), Look::Lines);
    }
}
