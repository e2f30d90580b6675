//! The shipped task: a shop counter. A guest with a name and a mood asks for an item, and a
//! reply greets, answers the mood, deals with the item and says goodbye:
//!
//! ```text
//! Guest Mira is sad and asks for tea.
//! Reply: Hello Mira! I am sorry for you. Here is your tea. Take care!
//! ```
//!
//! What a good reply is, is known: [`gold_score`] is a program on the text. A reward model
//! sees only noisy comparisons, so a run can be judged by the truth that it never saw, as in
//! Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization". Every right answer
//! depends on the prompt, so there is no reply that is good everywhere; the 1344 prompts are
//! split, so nothing can be learnt by heart; and all data follow from a seed.

mod grammar;
mod sample;
mod score;
mod vocabulary;

pub use grammar::{ITEMS, MOODS, NAMES};
pub use sample::{corpus, demonstrations, preferences, sample_reply};
pub use score::{BEST_SCORE, WORST_SCORE, best_reply, gold_score};
pub use vocabulary::{END, MAX_VOCABULARY, PAD, save_tokenizer, train_tokenizer};

use hydralign::data::DataError;

/// Prompts that no data set of the task contains.
pub const HELD_OUT: usize = 128;

/// Seed of the split. Fixed: results on the held-out prompts are comparable across runs.
const SPLIT_SEED: u64 = 0x5EED;

/// What a guest asks for, and in which mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// One of [`MOODS`].
    pub mood: &'static str,
    /// One of [`ITEMS`].
    pub item: &'static str,
}

impl Request {
    /// The prompt. A response continues it with a space.
    pub fn prompt(&self) -> String {
        format!("Guest {} is {} and asks for {}.\nReply:", self.name, self.mood, self.item)
    }

    /// The request of a prompt; none if it is not a prompt of the task.
    pub fn parse(prompt: &str) -> Option<Self> {
        let rest = prompt.strip_prefix("Guest ")?.strip_suffix(".\nReply:")?;
        let (name, rest) = rest.split_once(" is ")?;
        let (mood, item) = rest.split_once(" and asks for ")?;
        let find = |words: &[&'static str], word| words.iter().copied().find(|w| *w == word);
        Some(Self {
            name: find(&NAMES, name)?,
            mood: find(&MOODS, mood)?,
            item: find(&ITEMS, item)?,
        })
    }
}

/// Every request of the task: names × moods × items.
pub fn all_requests() -> Vec<Request> {
    let mut requests = Vec::new();
    for name in NAMES {
        for mood in MOODS {
            requests.extend(ITEMS.map(|item| Request { name, mood, item }));
        }
    }
    requests
}

/// The requests of the task, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Those that all data are made of.
    pub train: Vec<Request>,
    /// The [`HELD_OUT`] that quality is measured on.
    pub held_out: Vec<Request>,
}

/// Always the same division of the requests.
///
/// # Errors
/// Those of [`hydralign::data::split`].
pub fn split_requests() -> Result<Requests, DataError> {
    let all = all_requests();
    let parts = hydralign::data::split(all.len(), HELD_OUT, SPLIT_SEED)?;
    let pick = |indices: &[usize]| indices.iter().map(|&i| all[i]).collect();
    Ok(Requests { train: pick(&parts.train), held_out: pick(&parts.held_out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_prompt_reads_as_text_and_is_parsed_back() {
        let first = Request { name: "Mira", mood: "sad", item: "tea" };
        assert_eq!(first.prompt(), "Guest Mira is sad and asks for tea.\nReply:");
        for request in all_requests() {
            assert_eq!(Request::parse(&request.prompt()), Some(request));
        }
        let good = first.prompt();
        for bad in ["", &good[1..], &good[..good.len() - 1], &good.replace("tea", "teas")] {
            assert_eq!(Request::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_held_out_prompts_are_apart_and_cover_every_word() {
        let parts = split_requests().unwrap();
        assert_eq!(parts.held_out.len(), HELD_OUT);
        assert_eq!(parts.train.len(), 14 * 6 * 16 - HELD_OUT);
        let train: BTreeSet<_> = parts.train.iter().collect();
        assert!(parts.held_out.iter().all(|r| !train.contains(r)));
        let words = |of: fn(&Request) -> &'static str| {
            parts.held_out.iter().map(of).collect::<BTreeSet<_>>().len()
        };
        assert_eq!([words(|r| r.name), words(|r| r.mood), words(|r| r.item)], [14, 6, 16]);
    }
}
