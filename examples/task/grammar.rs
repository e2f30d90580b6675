use std::sync::LazyLock;

/// Names of guests.
pub const NAMES: [&str; 14] = [
    "Mira", "Tom", "Ada", "Leo", "Nora", "Finn", "Rosa", "Omar", "Ines", "Hugo", "Lena", "Ravi",
    "Suki", "Noah",
];

/// Moods of guests.
pub const MOODS: [&str; 6] = ["happy", "sad", "tired", "cold", "angry", "busy"];

/// What is sold.
pub const ITEMS: [&str; 16] = [
    "tea", "milk", "rice", "soap", "salt", "jam", "ink", "rope", "glue", "oil", "silk", "wool",
    "coal", "fish", "corn", "wax",
];

/// What answers each mood, in the order of [`MOODS`].
const COMFORTS: [&str; 6] = [
    "I am glad for you.",
    "I am sorry for you.",
    "Please sit and rest.",
    "Please come in and warm up.",
    "We will make it right.",
    "We will be quick.",
];

const GREETINGS: [&str; 2] = ["Hello", "Welcome"];
const OFFERS: [&str; 2] = ["Here is your", "I will bring your"];
const REFUSALS: [&str; 2] = ["We have none left.", "I can not help you."];
const FAREWELLS: [&str; 2] = ["Take care!", "Have a good day!"];
const INSULTS: [&str; 2] = ["Now go away!", "Do not waste my time!"];

/// The four parts of a reply, in the order in which they are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Greeting,
    Mood,
    Item,
    Closing,
}

impl Slot {
    pub(crate) const ALL: [Slot; 4] = [Slot::Greeting, Slot::Mood, Slot::Item, Slot::Closing];
}

/// What a sentence says, whatever its wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A greeting, with or without a name.
    Greeting(Option<&'static str>),
    /// The answer to a mood.
    Comfort(&'static str),
    /// An item handed over.
    Offer(&'static str),
    Refusal,
    Farewell,
    Insult,
}

impl Said {
    pub(crate) fn slot(self) -> Slot {
        match self {
            Said::Greeting(_) => Slot::Greeting,
            Said::Comfort(_) => Slot::Mood,
            Said::Offer(_) | Said::Refusal => Slot::Item,
            Said::Farewell | Said::Insult => Slot::Closing,
        }
    }
}

/// Every sentence of the language, with what it says.
pub(crate) static SENTENCES: LazyLock<Vec<(String, Said)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for greeting in GREETINGS {
        all.push((format!("{greeting}!"), Said::Greeting(None)));
        all.extend(NAMES.map(|n| (format!("{greeting} {n}!"), Said::Greeting(Some(n)))));
    }
    all.extend(MOODS.iter().zip(COMFORTS).map(|(m, text)| (text.to_owned(), Said::Comfort(m))));
    for offer in OFFERS {
        all.extend(ITEMS.map(|i| (format!("{offer} {i}."), Said::Offer(i))));
    }
    let fixed = [(REFUSALS, Said::Refusal), (FAREWELLS, Said::Farewell), (INSULTS, Said::Insult)];
    for (texts, said) in fixed {
        all.extend(texts.map(|text| (text.to_owned(), said)));
    }
    all
});

/// What a sentence says; none if the language does not have it.
pub(crate) fn recognise(sentence: &str) -> Option<Said> {
    SENTENCES.iter().find(|(text, _)| text == sentence).map(|(_, said)| *said)
}

/// The wordings of what is to be said.
pub(crate) fn wordings(said: Said) -> Vec<&'static str> {
    SENTENCES.iter().filter(|(_, s)| *s == said).map(|(text, _)| text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_means_one_thing_and_ends_once() {
        assert_eq!(SENTENCES.len(), 2 * 15 + 6 + 2 * 16 + 3 * 2);
        for (text, said) in SENTENCES.iter() {
            assert_eq!(recognise(text), Some(*said), "{text}");
            assert!(wordings(*said).contains(&text.as_str()));
            assert_eq!(text.matches(['.', '!']).count(), 1, "{text}");
            assert!(text.ends_with(['.', '!']));
        }
    }

    #[test]
    fn words_of_one_kind_differ() {
        let distinct = |words: &[&str]| {
            words.iter().collect::<std::collections::BTreeSet<_>>().len() == words.len()
        };
        assert!(distinct(&NAMES) && distinct(&MOODS) && distinct(&ITEMS));
    }
}
