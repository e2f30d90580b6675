use super::Request;
use super::grammar::{Said, Slot, recognise, wordings};

/// The score of a reply that does everything right.
pub const BEST_SCORE: f64 = 6.0;
/// The lowest score; anything worse counts as this.
pub const WORST_SCORE: f64 = -3.0;

/// Words that a reply may have; the longest without a flaw has 18.
const WORDS: usize = 20;
/// For each sentence too much in a part, out of order, or unknown to the language.
const FLAW: f64 = -0.5;
/// For each word past [`WORDS`].
const RAMBLING: f64 = -0.25;

/// How good a reply is, in points:
///
/// | part     | right                  | middling             | missing | wrong                     |
/// |----------|------------------------|----------------------|---------|---------------------------|
/// | greeting | with the name: +1      | without a name: +¼   | 0       | with another's name: −½   |
/// | mood     | fits: +1½              |                      | 0       | fits another mood: −½     |
/// | item     | the one asked for: +2½ | refused: −½          | −½      | another one: −1           |
/// | closing  | kind: +1               |                      | 0       | rude: −1                  |
///
/// Further: −½ for each sentence past the first in a part, for each step back in the order of
/// the parts, and for each sentence or remainder that the language does not have; −¼ for each
/// word past the 20th. Of several sentences in a part the *worst* counts, so neither saying a
/// good sentence twice nor trying every item pays. The sum is clamped to
/// [[`WORST_SCORE`], [`BEST_SCORE`]].
///
/// The response is text without special tokens; each sentence begins with one space.
pub fn gold_score(request: &Request, response: &str) -> f64 {
    let sentences: Vec<Option<Said>> = response
        .split_inclusive(['.', '!'])
        .map(|sentence| sentence.strip_prefix(' ').and_then(recognise))
        .collect();
    let said: Vec<Said> = sentences.iter().copied().flatten().collect();
    let unknown = sentences.len() - said.len();
    let backwards = said.windows(2).filter(|pair| pair[1].slot() < pair[0].slot()).count();
    let parts: f64 = Slot::ALL.into_iter().map(|slot| part_score(request, slot, &said)).sum();
    let extra_words = response.split_whitespace().count().saturating_sub(WORDS);
    let score = parts + FLAW * (unknown + backwards) as f64 + RAMBLING * extra_words as f64;
    score.clamp(WORST_SCORE, BEST_SCORE)
}

/// The worst sentence of the part, and a flaw for each beyond the first.
fn part_score(request: &Request, slot: Slot, said: &[Said]) -> f64 {
    let here = said.iter().filter(|s| s.slot() == slot).map(|s| points(request, *s));
    let count = here.clone().count();
    let missing = if slot == Slot::Item { -0.5 } else { 0.0 };
    here.reduce(f64::min).unwrap_or(missing) + FLAW * count.saturating_sub(1) as f64
}

fn points(request: &Request, said: Said) -> f64 {
    match said {
        Said::Greeting(Some(name)) if name == request.name => 1.0,
        Said::Greeting(None) => 0.25,
        Said::Greeting(Some(_)) => -0.5,
        Said::Comfort(mood) if mood == request.mood => 1.5,
        Said::Comfort(_) => -0.5,
        Said::Offer(item) if item == request.item => 2.5,
        Said::Offer(_) => -1.0,
        Said::Refusal => -0.5,
        Said::Farewell => 1.0,
        Said::Insult => -1.0,
    }
}

/// A reply with [`BEST_SCORE`].
pub fn best_reply(request: &Request) -> String {
    let parts = [
        Said::Greeting(Some(request.name)),
        Said::Comfort(request.mood),
        Said::Offer(request.item),
        Said::Farewell,
    ];
    parts.into_iter().map(|said| format!(" {}", wordings(said)[0])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::all_requests;
    use super::super::grammar::SENTENCES;
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    const MIRA: Request = Request { name: "Mira", mood: "sad", item: "tea" };

    /// Points by hand from the documented table, not from the code.
    #[test]
    fn replies_have_the_points_of_the_table() {
        let table = [
            (" Hello Mira! I am sorry for you. Here is your tea. Take care!", 6.0),
            (" Welcome Mira! I am sorry for you. I will bring your tea. Have a good day!", 6.0),
            (" Hello! I am sorry for you. Here is your tea. Take care!", 5.25),
            (" I am sorry for you. Here is your tea. Take care!", 5.0),
            (" Hello Tom! I am sorry for you. Here is your tea. Take care!", 4.5),
            (" Hello Mira! Here is your tea. Take care!", 4.5),
            (" Hello Mira! We will be quick. Here is your tea. Take care!", 4.0),
            (" Hello Mira! I am sorry for you. Here is your wax. Take care!", 2.5),
            (" Hello Mira! I am sorry for you. We have none left. Take care!", 3.0),
            (" Hello Mira! I am sorry for you. Take care!", 3.0),
            (" Hello Mira! I am sorry for you. Here is your tea.", 5.0),
            (" Hello Mira! I am sorry for you. Here is your tea. Now go away!", 4.0),
            (" Here is your tea.", 2.5),
            ("", -0.5),
            (" Hello Tom! We will be quick. Here is your wax. Do not waste my time!", -3.0),
        ];
        for (reply, score) in table {
            assert_eq!(gold_score(&MIRA, reply), score, "{reply}");
        }
    }

    #[test]
    fn flaws_cost_what_the_table_says() {
        let table = [
            // The same sentence again, another wording of it, and both of two parts.
            (" Hello Mira! Hello Mira! Here is your tea.", 3.0),
            (" Hello Mira! Welcome Mira! Here is your tea.", 3.0),
            (" Hello! Hello! Here is your tea. Here is your tea.", 1.75),
            // The worst of several counts.
            (" Here is your tea. Here is your wax.", -1.5),
            (" Here is your wax. Here is your tea. Here is your oil.", -2.0),
            // Out of order: one step back, then two.
            (" Take care! Here is your tea.", 3.0),
            (" Take care! Here is your tea. Hello Mira!", 3.5),
            // Cut short, unknown, badly spaced, another alphabet.
            (" Here is your tea. Take", 2.0),
            (" Here is your tea. I like you.", 2.0),
            (" Here is your tea.  Take care!", 2.0),
            ("Here is your tea.", -1.0),
            (" Here is your tea.\n", 2.0),
            (" Hello Zoe! Here is your tea.", 2.0),
            (" Here is your tea. ☃", 2.0),
            (" Here is your tea...", 1.5),
        ];
        for (reply, score) in table {
            assert_eq!(gold_score(&MIRA, reply), score, "{reply:?}");
        }
        // 4 known words, then one remainder of 20: 4 words past the limit.
        let rambling = format!(" Here is your tea.{}", " so".repeat(20));
        assert_eq!(gold_score(&MIRA, &rambling), 2.5 - 0.5 - 1.0);
        assert_eq!(gold_score(&MIRA, &" word".repeat(1_000)), WORST_SCORE);
    }

    #[test]
    fn the_best_reply_is_best_and_only_its_wordings_are_as_good() {
        for request in all_requests() {
            assert_eq!(gold_score(&request, &best_reply(&request)), BEST_SCORE);
        }
        // Every choice of one sentence or none for each part: 31 · 7 · 35 · 5 replies.
        let part = |slot| {
            let here = SENTENCES.iter().filter(move |(_, said)| said.slot() == slot);
            let texts = here.map(|(text, _)| format!(" {text}"));
            std::iter::once(String::new()).chain(texts).collect::<Vec<_>>()
        };
        let [greetings, moods, items, closings] = Slot::ALL.map(part);
        let mut best = 0;
        for (greeting, mood) in greetings.iter().flat_map(|g| moods.iter().map(move |m| (g, m))) {
            for (item, closing) in items.iter().flat_map(|i| closings.iter().map(move |c| (i, c))) {
                let score = gold_score(&MIRA, &[greeting.as_str(), mood, item, closing].concat());
                assert!((WORST_SCORE..=BEST_SCORE).contains(&score));
                best += usize::from(score == BEST_SCORE);
            }
        }
        // Two greetings, one comfort, two offers, two farewells.
        assert_eq!(best, 8);
    }

    #[test]
    fn no_reply_is_good_for_every_guest() {
        let all = all_requests();
        let fixed = best_reply(&MIRA);
        let mean = all.iter().map(|r| gold_score(r, &fixed)).sum::<f64>() / all.len() as f64;
        // A farewell alone is always right; the rest is mostly wrong for others.
        assert!(mean < 0.0, "{mean}");
    }

    fn sentences() -> impl Strategy<Value = Vec<String>> {
        let texts: Vec<String> = SENTENCES.iter().map(|(text, _)| format!(" {text}")).collect();
        prop::collection::vec(select(texts), 1..7)
    }

    proptest! {
        #[test]
        fn repeating_any_sentence_anywhere_never_pays(
            said in sentences(), which: Index, at: Index, who: Index,
        ) {
            let request = *who.get(&all_requests());
            let before = gold_score(&request, &said.concat());
            let mut again = said.clone();
            again.insert(at.index(said.len() + 1), which.get(&said).clone());
            let after = gold_score(&request, &again.concat());
            prop_assert!(after <= before - 0.5 || after == WORST_SCORE, "{before} {after}");
        }

        #[test]
        fn any_text_stays_within_the_bounds(text in "\\PC{0,80}", said in sentences()) {
            for reply in [text.clone(), said.concat() + &text] {
                let score = gold_score(&MIRA, &reply);
                prop_assert!((WORST_SCORE..=BEST_SCORE).contains(&score));
            }
            // Text of no language never beats silence.
            prop_assert!(gold_score(&MIRA, &text) <= gold_score(&MIRA, ""));
        }
    }
}
