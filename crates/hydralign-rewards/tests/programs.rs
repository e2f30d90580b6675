//! Rewards that are programs.

mod common;

use common::{episode, episodes, tokenizer};
use hydralign_core::{CoreError, Episode, Reward, episode_fn};
use hydralign_data::TextTokenizer;
use hydralign_rewards::{
    Answers, ExactMatch, Format, LengthReward, Matches, NumericAnswer, OfText, RewardError,
    TextReward, WeightedSum,
};
use proptest::prelude::*;

fn answers(tokenizer: &TextTokenizer, pairs: &[(&str, &str)]) -> Answers {
    let tokens = |prompt: &str| tokenizer.encode(prompt, false).unwrap();
    Answers::from_pairs(pairs.iter().map(|(prompt, answer)| (tokens(prompt), answer))).unwrap()
}

/// The error of this crate inside the one of the core.
fn inner(error: CoreError) -> RewardError {
    match error {
        CoreError::Other(error) => *error.downcast().expect("an error of this crate"),
        error => panic!("{error:?}"),
    }
}

#[test]
fn contradicting_answers_are_refused_and_repeated_ones_are_not() {
    let same = Answers::from_pairs([(vec![1], "a"), (vec![2], "b"), (vec![1], " a\n")]).unwrap();
    assert_eq!((same.len(), same.get(&[1]).unwrap()), (2, "a"));
    let error = Answers::from_pairs([(vec![1, 2], "a"), (vec![1, 2], "A")]).unwrap_err();
    assert!(matches!(&error, RewardError::Contradiction { prompt, first, second }
        if prompt == &[1, 2] && first == "a" && second == "A"));
    let error = Answers::from_pairs([(vec![1], " \n")]).unwrap_err();
    assert!(matches!(error, RewardError::EmptyAnswer { prompt } if prompt == [1]));
}

#[test]
fn an_unknown_prompt_is_an_error_that_shows_its_beginning() {
    let known = Answers::from_pairs([(vec![1], "a")]).unwrap();
    let error = known.get(&(0..100).collect::<Vec<u32>>()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no answer is known for the prompt of 100 tokens [0, 1, 2, 3, 4, 5, 6, 7, …]"
    );
    let tokenizer = tokenizer();
    let reward = ExactMatch::new(&tokenizer, known.clone());
    let numbers = Answers::from_pairs([(vec![1], "1")]).unwrap();
    let numeric = NumericAnswer::new(&tokenizer, &numbers, 0.0).unwrap();
    for reward in [&reward as &dyn Reward, &numeric] {
        let known = Episode { prompt: vec![1], ..episode(&tokenizer, "", "a") };
        let batch = [known, episode(&tokenizer, "new", "a")];
        let error = inner(reward.score(&batch).unwrap_err());
        let RewardError::Episode { episode: 1, error } = error else { panic!("{error}") };
        assert!(matches!(*error, RewardError::UnknownPrompt { .. }));
    }
}

#[test]
fn exact_match_trims_and_folds_on_request() {
    let tokenizer = tokenizer();
    let known = answers(&tokenizer, &[("capital?", "Paris"), ("street?", "Große Straße")]);
    let exact = ExactMatch::new(&tokenizer, known);
    let paris = episodes(&tokenizer, "capital?", &["Paris", " Paris\n", "paris", "Paris.", ""]);
    assert_eq!(exact.score(&paris).unwrap(), [1.0, 1.0, 0.0, 0.0, 0.0]);
    let folded = exact.fold_case(true);
    assert_eq!(folded.score(&paris).unwrap(), [1.0, 1.0, 1.0, 0.0, 0.0]);
    let street = episodes(&tokenizer, "street?", &["GROßE STRAßE", "Grosse Strasse", "Paris"]);
    assert_eq!(folded.score(&street).unwrap(), [1.0, 0.0, 0.0]);
    assert_eq!(folded.fold_case(false).score(&street).unwrap(), [0.0; 3]);
}

#[test]
fn numeric_answers_are_compared_by_value() {
    let tokenizer = tokenizer();
    let known = answers(&tokenizer, &[("6*7?", "6 * 7 = 42\n#### 42"), ("half?", "0.5")]);
    let numeric = NumericAnswer::new(&tokenizer, &known, 1e-3).unwrap();
    let texts = ["42", "It is 42.0 in 1 step: \\boxed{42}", "42.1", "no idea", "42 or 43", "84/2"];
    let scores = numeric.score(&episodes(&tokenizer, "6*7?", &texts)).unwrap();
    assert_eq!(scores, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let scores = numeric.score(&episodes(&tokenizer, "half?", &["1/2", "50%", "0.5004", "5"]));
    assert_eq!(scores.unwrap(), [1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn numeric_answers_refuse_what_they_cannot_compare() {
    let tokenizer = tokenizer();
    let words = Answers::from_pairs([(vec![7], "forty-two")]).unwrap();
    let error = NumericAnswer::new(&tokenizer, &words, 0.0).unwrap_err();
    assert!(matches!(error, RewardError::NotANumber { prompt, answer }
        if prompt == [7] && answer == "forty-two"));
    for tolerance in [-1.0, f64::NAN, f64::INFINITY] {
        let error = NumericAnswer::new(&tokenizer, &Answers::default(), tolerance).unwrap_err();
        assert!(matches!(error, RewardError::OutOfRange { name: "tolerance", .. }));
    }
}

#[test]
fn a_pattern_scores_where_it_matches_and_where_not() {
    let sorry = Matches::new(r"(?i)\bsorry\b", -1.0, 0.25).unwrap();
    let score = |text| sorry.score("sorry?", text).unwrap();
    assert_eq!((score("So SORRY."), score("a sorrya"), score("")), (-1.0, 0.25, 0.25));
    let line = Matches::new("^a.b$", 1.0, 0.0).unwrap();
    assert_eq!(line.score("", "a\nb").unwrap(), 0.0);
}

#[test]
fn a_format_covers_the_whole_response() {
    let format = Format::new(r"<think>.*</think>\s*<answer>.*</answer>").unwrap();
    let score = |text| format.score("", text).unwrap();
    assert_eq!(score("<think>a\nb</think>\n\n<answer>ü</answer>"), 1.0);
    for text in [
        "Well: <think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer>\n",
        "<think>a</think><answer>b",
        "<answer>b</answer>",
        "",
    ] {
        assert_eq!(score(text), 0.0, "{text:?}");
    }
    // The shorter alternative first: what matches is decided by the whole text.
    assert_eq!(Format::new("a|ab").unwrap().score("", "ab").unwrap(), 1.0);
    assert_eq!(Format::new("a|ab").unwrap().score("", "abb").unwrap(), 0.0);
    assert_eq!(Format::new("(?m)^a$").unwrap().score("", "a\nb").unwrap(), 0.0);
}

#[test]
fn patterns_that_do_not_compile_or_are_too_large_are_refused() {
    for pattern in ["(", "a)|(b", r"\1", "(?=a)", r"(\w{100}){100}"] {
        for error in [Matches::new(pattern, 1.0, 0.0).err(), Format::new(pattern).err()] {
            let found =
                matches!(error, Some(RewardError::Pattern { pattern: p, .. }) if p == pattern);
            assert!(found, "{pattern}");
        }
    }
    let error = Matches::new("a", f32::NAN, 0.0).unwrap_err();
    assert!(matches!(error, RewardError::OutOfRange { name: "found", .. }));
    let error = Matches::new("a", 0.0, f32::INFINITY).unwrap_err();
    assert_eq!(error.to_string(), "missing is inf, but must be finite");
}

#[test]
fn lengths_are_rewarded_inside_and_fall_outside() {
    let length = LengthReward::new(10, 20, 4).unwrap();
    for (tokens, score) in
        [(10, 1.0), (20, 1.0), (22, 0.5), (9, 0.75), (24, 0.0), (6, 0.0), (0, 0.0)]
    {
        assert_eq!(length.of(tokens), score, "{tokens}");
    }
    let hard = LengthReward::new(2, 3, 0).unwrap();
    assert_eq!([1, 2, 3, 4].map(|tokens| hard.of(tokens)), [0.0, 1.0, 1.0, 0.0]);
    let tokenizer = tokenizer();
    // Two letters and the stop token are three.
    assert_eq!(hard.score(&episodes(&tokenizer, "p", &["ab", "abc"])).unwrap(), [1.0, 0.0]);
    let error = LengthReward::new(3, 2, 0).unwrap_err();
    assert!(matches!(error, RewardError::OutOfRange { name: "max", value: 2.0, .. }));
}

proptest! {
    #[test]
    fn length_rewards_stay_between_0_and_1_and_only_fall_outwards(
        min in 0usize..50, width in 0usize..50, margin in 0usize..50, tokens in 0usize..200,
    ) {
        let length = LengthReward::new(min, min + width, margin).unwrap();
        let (here, next) = (length.of(tokens), length.of(tokens + 1));
        prop_assert!((0.0..=1.0).contains(&here));
        if tokens < min { prop_assert!(here <= next) }
        if tokens >= min + width { prop_assert!(here >= next) }
        prop_assert_eq!(length.of(usize::MAX), 0.0);
    }
}

#[test]
fn texts_reach_a_closure_without_special_tokens() {
    let tokenizer = tokenizer();
    let reward = OfText::new(&tokenizer, |prompt: &str, response: &str| {
        assert!(!response.contains("</s>"));
        (prompt.chars().count() * 100 + response.chars().count()) as f32
    });
    let batch = [episode(&tokenizer, "größe", "漢字"), episode(&tokenizer, "p", "")];
    assert_eq!(reward.score(&batch).unwrap(), [502.0, 100.0]);
    assert_eq!(reward.score(&[]).unwrap(), [0.0; 0]);
}

#[test]
fn a_text_reward_that_fails_or_is_not_finite_names_the_episode() {
    struct Refuses;
    impl TextReward for Refuses {
        fn score(&self, _prompt: &str, response: &str) -> Result<f32, RewardError> {
            if response == "bad" { Err(RewardError::Other("no score".into())) } else { Ok(1.0) }
        }
    }
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p", &["good", "bad"]);
    let error = OfText::new(&tokenizer, Refuses).score(&batch).unwrap_err();
    assert_eq!(error.to_string(), "episode 1: no score");
    let nan = |_: &str, response: &str| if response == "bad" { f32::NAN } else { 0.0 };
    let error = OfText::new(&tokenizer, nan).score(&batch).unwrap_err();
    assert!(matches!(error, CoreError::ScoreNotFinite { episode: 1, score } if score.is_nan()));
}

#[test]
fn a_weighted_sum_adds_its_parts() {
    let tokenizer = tokenizer();
    let has_a = Matches::new("a", 1.0, 0.0).unwrap();
    let sum = WeightedSum::new()
        .with("a", 2.0, OfText::new(&tokenizer, has_a))
        .unwrap()
        .with(
            "length",
            -0.5,
            episode_fn(|batch| batch.iter().map(|e| e.response.len() as f32).collect::<Vec<_>>()),
        )
        .unwrap();
    let batch = episodes(&tokenizer, "p", &["ab", "", "xxx"]);
    assert_eq!(sum.score(&batch).unwrap(), [0.5, -0.5, -2.0]);
    assert_eq!(sum.score(&[]).unwrap(), [0.0; 0]);
}

#[test]
fn a_weighted_sum_names_the_part_that_fails() {
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p", &["a", "b"]);
    let part = |scores: &'static [f32]| episode_fn(move |_| scores.to_vec());
    let second = |scores: &'static [f32]| {
        let sum = WeightedSum::new().with("first", 1.0, part(&[1.0, 2.0])).unwrap();
        let sum = sum.with("second", 1e30, part(scores)).unwrap();
        sum.score(&batch)
    };
    assert!(second(&[0.0, 0.0]).is_ok());
    let error = inner(second(&[1.0]).unwrap_err());
    assert!(matches!(&error, RewardError::Part { part: 1, name, error } if name == "second"
        && matches!(**error, CoreError::ScoreCount { expected: 2, got: 1 })));
    let error = second(&[1.0, f32::INFINITY]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "part 1 (second) of the weighted sum: the reward of episode 1 is inf"
    );
    let unknown = ExactMatch::new(&tokenizer, Answers::default());
    let sum = WeightedSum::new().with("exact", 1.0, unknown).unwrap();
    let error = inner(sum.score(&batch).unwrap_err());
    assert!(matches!(error, RewardError::Part { part: 0, name, .. } if name == "exact"));
    // Each part is finite and their sum is not.
    let error = second(&[0.0, 1e30]).unwrap_err();
    assert!(matches!(error, CoreError::ScoreNotFinite { episode: 1, .. }));
}

#[test]
fn a_weighted_sum_needs_parts_and_finite_weights() {
    for weight in [f32::NAN, f32::INFINITY] {
        let error = WeightedSum::new().with("x", weight, episode_fn(|_| Vec::new())).err().unwrap();
        assert!(matches!(error, RewardError::OutOfRange { name: "weight", .. }));
    }
    let error = inner(WeightedSum::new().score(&[]).unwrap_err());
    assert!(matches!(error, RewardError::NoParts));
}
