use super::grammar::{ITEMS, MOODS, NAMES, Said, Slot, wordings};
use super::{Request, gold_score, split_requests};
use hydralign::data::{CounterRng, DataError, DemonstrationRecord, PreferenceRecord};
use std::ops::RangeInclusive;

/// Chance of a flaw (a sentence repeated, misplaced or cut) in a reply of quality 0.
const FLAWED: f64 = 0.25;
/// Two replies whose gold scores are closer than this are not compared.
const TIE: f64 = 0.25;

/// A reply from the noisy grammar, never empty.
///
/// Each part is right with probability `quality`, and otherwise one of the other things that
/// could be said there, silence among them, all equally likely. With probability
/// (1 − quality)/4 the reply then gets one flaw. A reply in which nothing is said is drawn
/// again.
pub fn sample_reply(request: &Request, quality: f64, rng: &mut CounterRng) -> String {
    loop {
        let mut sentences = Vec::new();
        for slot in Slot::ALL {
            let right = rng.uniform() < quality;
            if let Some(said) = choose(request, slot, right, rng) {
                let wordings = wordings(said);
                sentences.push(format!(" {}", wordings[rng.below(wordings.len())]));
            }
        }
        if rng.uniform() < (1.0 - quality) * FLAWED && !sentences.is_empty() {
            spoil(&mut sentences, rng);
        }
        let reply = sentences.concat();
        if !reply.is_empty() {
            return reply;
        }
    }
}

/// What is said in a part: the right thing, or any of the others.
fn choose(request: &Request, slot: Slot, right: bool, rng: &mut CounterRng) -> Option<Said> {
    let mut other = |words: &[&'static str], word| {
        let others: Vec<_> = words.iter().copied().filter(|w| *w != word).collect();
        others[rng.below(others.len())]
    };
    let (best, others) = match slot {
        Slot::Greeting => (
            Said::Greeting(Some(request.name)),
            vec![
                None,
                Some(Said::Greeting(None)),
                Some(Said::Greeting(Some(other(&NAMES, request.name)))),
            ],
        ),
        Slot::Mood => (
            Said::Comfort(request.mood),
            vec![None, Some(Said::Comfort(other(&MOODS, request.mood)))],
        ),
        Slot::Item => (
            Said::Offer(request.item),
            vec![None, Some(Said::Refusal), Some(Said::Offer(other(&ITEMS, request.item)))],
        ),
        Slot::Closing => (Said::Farewell, vec![None, Some(Said::Insult)]),
    };
    if right { Some(best) } else { others[rng.below(others.len())] }
}

/// Repeats a sentence, moves one to the end, or cuts the last one short.
fn spoil(sentences: &mut Vec<String>, rng: &mut CounterRng) {
    let at = rng.below(sentences.len());
    match rng.below(3) {
        0 => sentences.insert(at, sentences[at].clone()),
        1 => sentences[at..].rotate_left(1),
        _ => {
            let cut = sentences.last().and_then(|s| s.rfind(' ')).unwrap_or(0);
            if let Some(last) = sentences.last_mut() {
                last.truncate(cut);
            }
        }
    }
}

/// `n` prompts with replies of every quality from 0.2 to 0.9, for a base model that knows the
/// language and can pick words out of the prompt, but not what is wanted.
///
/// # Errors
/// Those of [`split_requests`].
pub fn corpus(seed: u64, n: usize) -> Result<Vec<DemonstrationRecord>, DataError> {
    records(CounterRng::stream(seed, 0), n, 0.2..=0.9)
}

/// `n` demonstrations, in which each part is right half of the time: a policy that imitates
/// them is mediocre and has room to improve.
///
/// # Errors
/// Those of [`split_requests`].
pub fn demonstrations(seed: u64, n: usize) -> Result<Vec<DemonstrationRecord>, DataError> {
    records(CounterRng::stream(seed, 1), n, 0.5..=0.5)
}

fn records(
    mut rng: CounterRng,
    n: usize,
    quality: RangeInclusive<f64>,
) -> Result<Vec<DemonstrationRecord>, DataError> {
    let train = split_requests()?.train;
    let mut record = || {
        let request = train[rng.below(train.len())];
        let completion = sample_reply(&request, within(&quality, &mut rng), &mut rng);
        DemonstrationRecord { prompt: request.prompt(), completion }
    };
    Ok((0..n).map(|_| record()).collect())
}

/// `n` comparisons of two replies of quality 0.3 to 0.9, labelled with noise:
///
/// P(a ≻ b) = σ(gold(a) − gold(b))
///
/// (Bradley and Terry 1952.) Near ties are drawn again.
///
/// # Errors
/// Those of [`split_requests`].
pub fn preferences(seed: u64, n: usize) -> Result<Vec<PreferenceRecord>, DataError> {
    let train = split_requests()?.train;
    let mut rng = CounterRng::stream(seed, 2);
    Ok((0..n).map(|_| preference(&train[rng.below(train.len())], &mut rng)).collect())
}

fn preference(request: &Request, rng: &mut CounterRng) -> PreferenceRecord {
    loop {
        let mut reply = || sample_reply(request, within(&(0.3..=0.9), rng), rng);
        let (a, b) = (reply(), reply());
        let margin = gold_score(request, &a) - gold_score(request, &b);
        if margin.abs() < TIE {
            continue;
        }
        let a_wins = rng.uniform() < 1.0 / (1.0 + (-margin).exp());
        let (chosen, rejected) = if a_wins { (a, b) } else { (b, a) };
        return PreferenceRecord { prompt: request.prompt(), chosen, rejected };
    }
}

fn within(range: &RangeInclusive<f64>, rng: &mut CounterRng) -> f64 {
    range.start() + (range.end() - range.start()) * rng.uniform()
}

#[cfg(test)]
mod tests {
    use super::super::{BEST_SCORE, best_reply};
    use super::*;
    use std::collections::BTreeSet;

    fn request(prompt: &str) -> Request {
        Request::parse(prompt).expect("a prompt of the task")
    }

    fn mean(scores: impl Iterator<Item = f64>) -> f64 {
        let scores: Vec<f64> = scores.collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    #[test]
    fn data_follow_from_the_seed() {
        assert_eq!(corpus(3, 50).unwrap(), corpus(3, 50).unwrap());
        assert_eq!(demonstrations(3, 50).unwrap(), demonstrations(3, 50).unwrap());
        assert_eq!(preferences(3, 50).unwrap(), preferences(3, 50).unwrap());
        assert_ne!(demonstrations(3, 50).unwrap(), demonstrations(4, 50).unwrap());
        assert_ne!(demonstrations(3, 50).unwrap(), corpus(3, 50).unwrap());
        // A longer set begins with the shorter one.
        assert_eq!(preferences(3, 50).unwrap()[..9], preferences(3, 9).unwrap());
    }

    #[test]
    fn held_out_prompts_appear_nowhere() {
        let held_out: BTreeSet<Request> = split_requests().unwrap().held_out.into_iter().collect();
        let prompts = [corpus(1, 4_000).unwrap(), demonstrations(1, 4_000).unwrap()].concat();
        let prompts = prompts.into_iter().map(|r| r.prompt);
        let compared = preferences(1, 4_000).unwrap().into_iter().map(|r| r.prompt);
        assert!(prompts.chain(compared).all(|p| !held_out.contains(&request(&p))));
    }

    #[test]
    fn quality_is_the_chance_that_a_part_is_right() {
        let mut rng = CounterRng::new(7);
        let all = split_requests().unwrap().train;
        for r in &all {
            assert_eq!(gold_score(r, &sample_reply(r, 1.0, &mut rng)), BEST_SCORE);
        }
        let offers = |quality| {
            let mut rng = CounterRng::new(8);
            let right = |r: &Request| {
                let offer = format!(" {}.", r.item);
                sample_reply(r, quality, &mut rng).contains(&offer)
            };
            all.iter().cycle().take(10_000).copied().filter(right).count() as f64 / 10_000.0
        };
        // Standard error 0.005; a cut may take the last word of an offer.
        assert!((offers(0.5) - 0.5).abs() < 0.02, "{}", offers(0.5));
        assert_eq!(offers(0.0), 0.0);
    }

    #[test]
    fn demonstrations_are_mediocre_and_the_corpus_is_mixed() {
        let gold = |r: &DemonstrationRecord| gold_score(&request(&r.prompt), &r.completion);
        let base = mean(corpus(1, 4_000).unwrap().iter().map(gold));
        let shown = mean(demonstrations(1, 4_000).unwrap().iter().map(gold));
        assert!((1.5..3.0).contains(&base) && (1.5..3.0).contains(&shown), "{base} {shown}");
        let held_out = split_requests().unwrap().held_out;
        assert_eq!(mean(held_out.iter().map(|r| gold_score(r, &best_reply(r)))), BEST_SCORE);
    }

    #[test]
    fn labels_follow_bradley_and_terry() {
        let pairs = preferences(1, 8_000).unwrap();
        let margin = |r: &PreferenceRecord| {
            let request = request(&r.prompt);
            gold_score(&request, &r.chosen) - gold_score(&request, &r.rejected)
        };
        let margins: Vec<f64> = pairs.iter().map(margin).collect();
        assert!(margins.iter().all(|m| m.abs() >= TIE));
        // Wins of the better reply, by size of the margin, beside σ at both ends of the bin.
        for (low, high) in [(0.25, 0.75), (0.75, 1.5), (1.5, 2.5), (2.5, 4.0), (4.0, 9.0)] {
            let bin: Vec<f64> =
                margins.iter().copied().filter(|m| (low..high).contains(&m.abs())).collect();
            let won = bin.iter().filter(|m| **m > 0.0).count() as f64 / bin.len() as f64;
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let slack = 3.0 * 0.5 / (bin.len() as f64).sqrt();
            assert!((sigmoid(low) - slack..=sigmoid(high) + slack).contains(&won), "{low} {won}");
        }
    }
}
