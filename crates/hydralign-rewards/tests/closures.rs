//! Rewards that are closures: of texts, of texts with their rows, and scored by other threads.

mod common;

use common::{episode, episodes, tokenizer};
use hydralign_core::{CoreError, Episode, Reward, episode_fn};
use hydralign_data::{PromptSource, Reader, TextTokenizer};
use hydralign_rewards::{RewardError, WeightedSum, concurrently, reward_fn, row_reward_fn};
use proptest::prelude::*;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_closure_scores_texts_or_fails_with_its_own_error() {
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p:", &["3.5", "-1"]);
    let sure = reward_fn(&tokenizer, |prompt, response| (prompt.len() + response.len()) as f32);
    assert_eq!(sure.score(&batch).unwrap(), [5.0, 4.0]);
    let stated = reward_fn(&tokenizer, |_, response| response.parse::<f32>());
    assert_eq!(stated.score(&batch).unwrap(), [3.5, -1.0]);
    let error = stated.score(&episodes(&tokenizer, "p:", &["1", "none"])).unwrap_err();
    assert_eq!(error.to_string(), "episode 1: invalid float literal");
}

/// The prompts of a file of questions with their answers, two of them the same question.
fn questions(tokenizer: &TextTokenizer) -> Vec<PromptSource> {
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    let rows = [
        r#"{"prompt": "2+2=", "answer": "4", "weight": 2}"#,
        r#"{"prompt": "x?", "answer": "y", "weight": 1}"#,
        r#"{"prompt": "x?", "answer": "z", "weight": 1}"#,
    ];
    fs::write(file.path(), rows.join("\n")).unwrap();
    let files = [file.path().to_str().unwrap()];
    Reader::new(tokenizer, 64).prompt_sources(&files).unwrap().0
}

fn answered(tokenizer: &TextTokenizer, prompt: &str, row: usize, response: &str) -> Episode {
    Episode { row: Some(row), ..episode(tokenizer, prompt, response) }
}

#[test]
fn a_closure_sees_the_columns_of_the_row_also_where_prompts_are_equal() {
    let tokenizer = tokenizer();
    let prompts = questions(&tokenizer);
    let right = row_reward_fn(&tokenizer, &prompts, |_, response, row| {
        let weight = row["weight"].as_f64().ok_or("no weight")? as f32;
        Ok::<_, &str>(weight * f32::from(row["answer"] == response))
    });
    let batch = [("2+2=", 0, "4"), ("x?", 1, "z"), ("x?", 2, "z")];
    let batch = batch.map(|(prompt, row, response)| answered(&tokenizer, prompt, row, response));
    assert_eq!(right.score(&batch).unwrap(), [2.0, 0.0, 1.0]);
}

#[test]
fn a_row_that_is_not_known_or_not_the_prompts_is_refused() {
    let tokenizer = tokenizer();
    let prompts = questions(&tokenizer);
    let any = row_reward_fn(&tokenizer, &prompts, |_, _, _| 1.0);
    let refused = |episode: Episode| any.score(&[episode]).unwrap_err().to_string();
    assert_eq!(
        refused(episode(&tokenizer, "x?", "y")),
        "episode 0: it does not say which row of the prompts it answers"
    );
    for row in [0, 3] {
        let text = refused(answered(&tokenizer, "x?", row, "y"));
        assert!(text.starts_with(&format!("episode 0: its prompt is not that of row {row}")));
    }
}

/// Scores as threads compute them, the episodes at these places told of before they are asked for.
fn by_threads<R: Reward + Sync>(
    reward: &R,
    batch: &[Episode],
    told: &[usize],
    threads: usize,
) -> Result<Vec<f32>, CoreError> {
    concurrently(reward, threads, |reward| {
        told.iter().for_each(|&i| reward.finished(&batch[i]));
        reward.score(batch)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was told before, in which order and how often: scores and errors are those of the reward.
    #[test]
    fn threads_find_what_the_reward_finds(
        lengths in prop::collection::vec(0usize..6, 1..9),
        told in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        threads in 0usize..4,
    ) {
        let tokenizer = tokenizer();
        let texts: Vec<String> = lengths.iter().map(|&n| "a".repeat(n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let batch = episodes(&tokenizer, "p", &texts);
        let told: Vec<usize> = told.iter().map(|i| i.index(batch.len())).collect();
        let reward = reward_fn(&tokenizer, |_, response| match response.len() {
            5 => Err("five"),
            n => Ok(n as f32),
        });
        let plain = reward.score(&batch).map_err(|e| e.to_string());
        let found = by_threads(&reward, &batch, &told, threads).map_err(|e| e.to_string());
        prop_assert_eq!(found, plain);
    }
}

#[test]
fn a_score_that_was_begun_is_not_begun_again() {
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p", &["a", "b", "a"]);
    let asked = AtomicUsize::new(0);
    let counting = episode_fn(|all| {
        asked.fetch_add(all.len(), Ordering::SeqCst);
        vec![1.0; all.len()]
    });
    assert_eq!(by_threads(&counting, &batch, &[2, 0, 1], 2).unwrap(), [1.0; 3]);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    // A part of a sum is told too.
    concurrently(&counting, 2, |counted| {
        let sum = WeightedSum::new().with("counted", 2.0, counted).unwrap();
        batch.iter().for_each(|e| sum.finished(e));
        assert_eq!(sum.score(&batch).unwrap(), [2.0; 3]);
    });
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

#[test]
fn errors_name_the_episode_and_panics_are_the_rewards_own() {
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p", &["1", "x", "nan"]);
    let stated = reward_fn(&tokenizer, |_, response| response.parse::<f32>());
    let error = by_threads(&stated, &batch, &[2, 1, 0], 2).unwrap_err();
    assert_eq!(error.to_string(), "episode 1: invalid float literal");
    let batch = [batch[0].clone(), batch[2].clone()];
    let error = by_threads(&stated, &batch, &[], 2).unwrap_err();
    assert!(matches!(error, CoreError::ScoreNotFinite { episode: 1, score } if score.is_nan()));
    concurrently(&stated, 2, |stated| {
        let sum = WeightedSum::new().with("stated", 1.0, stated).unwrap();
        let CoreError::Other(error) = sum.score(&batch).unwrap_err() else { panic!("a part") };
        let error = error.downcast::<RewardError>().unwrap().to_string();
        assert_eq!(error, "part 0 (stated) of the weighted sum: the reward of episode 1 is NaN");
    });
    let none = episode_fn(|_| Vec::new());
    let error = by_threads(&none, &batch, &[0], 1).unwrap_err();
    assert!(matches!(error, CoreError::ScoreCount { expected: 1, got: 0 }));
    let panics = episode_fn(|_| -> Vec<f32> { panic!("the judge is ill") });
    let caught = std::panic::catch_unwind(|| by_threads(&panics, &batch, &[0, 1], 1));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"the judge is ill"));
}

/// Eight waits of 60 ms by eight threads take less than two of them in a row.
#[test]
fn threads_wait_at_the_same_time() {
    let tokenizer = tokenizer();
    let batch = episodes(&tokenizer, "p", &["a"; 8]);
    let slow = reward_fn(&tokenizer, |_, _| {
        std::thread::sleep(Duration::from_millis(60));
        1.0
    });
    let start = Instant::now();
    by_threads(&slow, &batch, &[0, 1, 2], 8).unwrap();
    assert!(start.elapsed() < Duration::from_millis(240), "{:?}", start.elapsed());
}
