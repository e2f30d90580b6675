//! A judge against a server that answers well, badly, late and not at all.
#![cfg(feature = "judge")]

mod common;
mod server;

use common::{episode, episodes, tokenizer};
use hydralign_core::{CoreError, Reward};
use hydralign_rewards::judge::{
    Backoff, Judge, JudgeConfig, JudgeError, JudgeReward, OnFailure, Preference, Scale, Secret,
};
use serde_json::json;
use server::{Act, Server, says, status};
use std::time::{Duration, Instant};

const KEY: &str = "sk-very-secret-0123456789";

fn config(server: &Server) -> JudgeConfig {
    JudgeConfig {
        backoff: Backoff { first: Duration::from_millis(5), cap: Duration::from_secs(5) },
        timeout: Duration::from_secs(5),
        retries: 3,
        ..JudgeConfig::new(server.url(), "judge-1")
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Asks for the scores of two responses; what came of it and how often the server was asked.
fn two(
    script: Vec<Act>,
    change: impl Fn(&mut JudgeConfig),
) -> (Result<Vec<f32>, JudgeError>, usize) {
    let server = Server::plays(script);
    let mut config = config(&server);
    change(&mut config);
    let scores = Judge::new(config).unwrap().score("p", &texts(&["a", "b"]));
    (scores, server.seen().len())
}

fn good() -> Act {
    says(r#"{"scores": [3, 7.5]}"#)
}

#[test]
fn one_request_holds_the_prompt_and_all_responses() {
    let server = Server::plays(vec![says(r#"{"scores": [0, 10, 5]}"#)]);
    let mut config = config(&server);
    config.api_key = Some(Secret::new(KEY));
    config.criteria = "It rhymes.".into();
    config.temperature = Some(0.7);
    let judge = Judge::new(config).unwrap();
    let responses = texts(&["größe 👍", "quote \" and }] and \n```", ""]);
    assert_eq!(judge.score("Wie groß?\u{0}", &responses).unwrap(), [0.0, 10.0, 5.0]);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{}", seen[0].head);
    assert!(seen[0].head.contains(&format!("authorization: bearer {KEY}\r\n")));
    assert!(seen[0].head.contains("content-type: application/json\r\n"));
    assert_eq!(seen[0].user(), json!({"prompt": "Wie groß?\u{0}", "responses": responses}));
    assert_eq!(
        (&seen[0].body["model"], &seen[0].body["temperature"]),
        (&json!("judge-1"), &json!(0.7))
    );
    let system = seen[0].body["messages"][0]["content"].as_str().unwrap();
    for part in ["It rhymes.", "from 0 (worst) to 10 (best)", "exactly 3 numbers"] {
        assert!(system.contains(part), "{part}: {system}");
    }
}

#[test]
fn nothing_is_sent_for_nothing_and_no_temperature_if_there_is_none() {
    let server = Server::plays(vec![says(r#"{"scores": [1]}"#)]);
    let mut config = config(&server);
    config.temperature = None;
    config.base_url.push('/');
    let judge = Judge::new(config).unwrap();
    assert_eq!(judge.score("p", &[]).unwrap(), [0.0; 0]);
    assert_eq!(judge.score("p", &texts(&["r"])).unwrap(), [1.0]);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.starts_with("post /v1/chat/completions http"));
    assert!(seen[0].body.get("temperature").is_none());
    assert!(!seen[0].head.contains("authorization"));
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let server = Server::plays(vec![good()]);
    let mut config = config(&server);
    config.max_response_chars = 4;
    let judge = Judge::new(config).unwrap();
    judge.score("päöüß", &texts(&["abcd", "👍👍👍👍👍👍"])).unwrap();
    let user = server.seen()[0].user();
    assert_eq!(user["prompt"], "päöü [cut: 1 more characters]");
    assert_eq!(user["responses"], json!(["abcd", "👍👍👍👍 [cut: 2 more characters]"]));
}

#[test]
fn scores_are_found_in_fences_and_after_prose() {
    for text in [
        "```json\n{\"scores\": [3, 7.5]}\n```",
        "Größe zählt {nicht}. {\"scores\": [3, 7.5], \"why\": \"→ 漢字\"} That is all.",
        "<think>{\"scores\": [1, 1]}</think>{\"scores\": [3, 7.5]}",
    ] {
        let (scores, asked) = two(vec![says(text)], |_| {});
        assert_eq!((scores.unwrap(), asked), (vec![3.0, 7.5], 1), "{text}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let passing = || {
        [status(500), status(503), status(408), status(429), Act::Drop, Act::BreakOff].into_iter()
    };
    for first in passing() {
        let (scores, asked) = two(vec![first, good()], |_| {});
        assert_eq!((scores.unwrap(), asked), (vec![3.0, 7.5], 2));
    }
    let (scores, asked) = two(passing().chain([good()]).collect(), |c| c.retries = 6);
    assert_eq!((scores.unwrap(), asked), (vec![3.0, 7.5], 7));
}

#[test]
fn attempts_end_and_are_counted() {
    let (error, asked) = two((0..9).map(|_| status(500)).collect(), |c| c.retries = 2);
    assert_eq!(asked, 3);
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains(": status 500, after 3 attempts: \"status 500\""),
        "{error}"
    );
    assert!(error.to_string().starts_with("http://127.0.0.1:"));
    assert!(matches!(error, JudgeError::Status { status: 500, attempts: 3, ref endpoint, .. }
        if endpoint.ends_with("/v1/chat/completions")));
    let (error, asked) = two(vec![Act::Drop, Act::Drop], |c| c.retries = 1);
    assert!(matches!(error, Err(JudgeError::Unreachable { attempts: 2, .. })) && asked == 2);
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    for code in [400, 401, 403, 404, 422] {
        let (error, asked) = two(vec![status(code), good()], |_| {});
        let named =
            matches!(error, Err(JudgeError::Status { status, attempts: 1, .. }) if status == code);
        assert!(named && asked == 1, "{code}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::plays(vec![good()]);
    let line: &'static str =
        Box::leak(format!("Location: {}\r\n", elsewhere.url()).into_boxed_str());
    for code in [301, 302, 307, 308] {
        let (error, asked) = two(vec![Act::Http(code, line, Vec::new())], |_| {});
        let named = matches!(error, Err(JudgeError::Status { status, .. }) if status == code);
        assert!(named && asked == 1, "{code}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn a_named_wait_is_waited_for() {
    let busy = |line| Act::Http(429, line, b"slow down".to_vec());
    let server = Server::plays(vec![busy("Retry-After: 1\r\n"), good()]);
    let judge = Judge::new(config(&server)).unwrap();
    judge.score("p", &texts(&["a", "b"])).unwrap();
    let seen = server.seen();
    let waited = seen[1].at - seen[0].at;
    assert!((900..4000).contains(&waited.as_millis()), "{waited:?}");
    // A date that is past asks for no wait.
    let past = "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let began = Instant::now();
    assert_eq!(two(vec![busy(past), good()], |_| {}).1, 2);
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_wait_beyond_the_cap_is_an_error() {
    let busy = Act::Http(429, "Retry-After: 3600\r\n", b"slow down".to_vec());
    let (error, asked) = two(vec![busy, good()], |_| {});
    assert_eq!(asked, 1);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("asked to wait 3600 s"), "{error}");
}

#[test]
fn silence_ends_in_a_time_out() {
    for act in [|| Act::Silence, || Act::Drip] {
        let began = Instant::now();
        let (error, asked) = two(vec![act(), act()], |c| {
            c.timeout = Duration::from_millis(300);
            c.retries = 1;
        });
        let error = error.unwrap_err();
        assert!(matches!(error, JudgeError::TimedOut { attempts: 2, seconds: 0.3, .. }), "{error}");
        assert_eq!(asked, 2);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
    let (scores, asked) =
        two(vec![Act::Silence, good()], |c| c.timeout = Duration::from_millis(500));
    assert_eq!((scores.unwrap(), asked), (vec![3.0, 7.5], 2));
}

#[test]
fn a_closed_port_is_an_error() {
    let server = Server::plays(Vec::new());
    let config = config(&server);
    server.seen();
    let error = Judge::new(config).unwrap().score("p", &texts(&["a"])).unwrap_err();
    assert!(matches!(error, JudgeError::Unreachable { attempts: 4, .. }), "{error}");
}

#[test]
fn bodies_have_a_limit() {
    let huge = || Act::Http(200, "", vec![b' '; 1 << 22]);
    let (error, asked) = two(vec![huge(), huge(), good()], |c| c.max_response_bytes = 1000);
    assert!(matches!(error, Err(JudgeError::TooLarge { attempts: 2, limit: 1000, .. })));
    assert_eq!(asked, 2);
    // Exactly the limit is allowed.
    let Act::Http(_, _, body) = good() else { unreachable!() };
    let limit = body.len() as u64;
    assert!(two(vec![good()], |c| c.max_response_bytes = limit).0.is_ok());
    let (error, _) = two(vec![good(), good()], |c| c.max_response_bytes = limit - 1);
    assert!(matches!(error, Err(JudgeError::TooLarge { .. })));
    // A huge error page is quoted, not read.
    let (error, _) = two(vec![Act::Http(404, "", vec![b'x'; 1 << 22])], |_| {});
    let Err(JudgeError::Status { status: 404, reply, .. }) = error else { panic!("{error:?}") };
    assert_eq!(reply, "x".repeat(200));
}

#[test]
fn an_answer_that_does_not_fit_is_tried_once_more() {
    for bad in ["I give them 3 and 7.5.", r#"{"scores": [3]}"#, r#"{"scores": [NaN, 1]}"#] {
        let (scores, asked) = two(vec![says(bad), good()], |_| {});
        assert_eq!((scores.unwrap(), asked), (vec![3.0, 7.5], 2));
        let (error, asked) = two(vec![says(bad), says(bad), good()], |_| {});
        assert!(error.is_err() && asked == 2, "{bad}");
        let (error, asked) = two(vec![says(bad), good()], |c| c.retries = 0);
        assert!(error.is_err() && asked == 1, "{bad}");
    }
    // Between two faults of the connection as well.
    let script = vec![says("no"), status(500), status(500), good()];
    assert_eq!(two(script, |_| {}).1, 4);
}

#[test]
fn a_wrong_answer_says_what_is_wrong() {
    let error = |text: &str| {
        let (error, _) = two(vec![says(text), says(text)], |_| {});
        let error = error.unwrap_err();
        assert!(error.to_string().contains("/v1/chat/completions: "), "{error}");
        assert!(error.to_string().contains("after 2 attempts: \""), "{error}");
        error
    };
    assert!(matches!(error("3 and 7"), JudgeError::NotJson { reply, .. } if reply == "3 and 7"));
    assert!(matches!(error(r#"{"scores": [NaN, 1]}"#), JudgeError::NotJson { .. }));
    assert!(matches!(
        error(r#"{"scores": [1, 2, 3]}"#),
        JudgeError::WrongCount { expected: 2, got: 3, .. }
    ));
    assert!(matches!(error(r#"{"scores": []}"#), JudgeError::WrongCount { got: 0, .. }));
    assert!(matches!(error(r#"{"scores": [1, null]}"#), JudgeError::NotANumber { index: 1, .. }));
    assert!(matches!(
        error(r#"{"scores": [1, 11]}"#),
        JudgeError::OutOfScale { index: 1, value: 11.0, scale: Scale { low: 0.0, high: 10.0 }, .. }
    ));
    assert!(matches!(
        error(r#"{"scores": [-0.5, 1]}"#),
        JudgeError::OutOfScale { index: 0, value: -0.5, .. }
    ));
}

#[test]
fn what_is_no_chat_completion_is_refused() {
    for body in [
        "<html>proxy</html>",
        r#"{"choices": []}"#,
        r#"{"choices": [{"message": {"content": null}}]}"#,
        r#"{"error": "overloaded"}"#,
        "",
        "\u{0}",
    ] {
        let act = || Act::Http(200, "", body.as_bytes().to_vec());
        let (error, asked) = two(vec![act(), act(), good()], |_| {});
        let named = matches!(error, Err(JudgeError::NotACompletion { reply, .. }) if reply == body);
        assert!(named && asked == 2, "{body}");
    }
    let bytes = || Act::Http(200, "", vec![0xff, 0xfe]);
    let (error, _) = two(vec![bytes(), bytes()], |_| {});
    assert!(matches!(error, Err(JudgeError::NotACompletion { .. })));
}

#[test]
fn quotations_are_short_and_stay_on_their_line() {
    let long = "ü\n".repeat(5000);
    let (error, _) = two(vec![says(&long), says(&long)], |_| {});
    let error = error.unwrap_err();
    assert!(!error.to_string().contains('\n'));
    let JudgeError::NotJson { reply, .. } = error else { panic!("{error}") };
    assert_eq!(reply.chars().count(), 200);
    assert!(long.starts_with(&reply));
}

#[test]
fn the_key_shows_nowhere() {
    let echo = || Act::Http(401, "", format!("wrong key: {KEY}!").into_bytes());
    let server = Server::plays(vec![echo()]);
    let config = JudgeConfig { api_key: Some(Secret::new(KEY)), ..config(&server) };
    let written = serde_json::to_string(&config).unwrap();
    let judge = Judge::new(config.clone()).unwrap();
    let error = judge.score("p", &texts(&["a"])).unwrap_err();
    assert!(server.seen()[0].head.contains(KEY));
    assert!(error.to_string().contains("wrong key: …!"), "{error}");
    for text in [
        error.to_string(),
        format!("{error:?}"),
        format!("{judge:?}"),
        format!("{config:#?}"),
        written,
    ] {
        assert!(!text.contains("very-secret"), "{text}");
    }
    let error =
        Judge::new(JudgeConfig { api_key: Some(Secret::new(format!("{KEY}\n"))), ..config });
    let error = error.unwrap_err();
    assert!(matches!(error, JudgeError::Config { field: "api_key", .. }));
    assert!(!format!("{error} {error:?}").contains("very-secret"));
}

#[test]
fn a_failure_becomes_a_score_if_that_is_wanted() {
    let instead = |script| {
        let server = Server::plays(script);
        let mut config = config(&server);
        (config.on_failure, config.retries) = (OnFailure::Score(-1.5), 1);
        let judge = Judge::new(config).unwrap();
        let scores = judge.score("p", &texts(&["a", "b"]));
        (scores, judge.replaced())
    };
    let (scores, replaced) = instead(vec![says("no"), says("no")]);
    assert_eq!((scores.unwrap(), replaced), (vec![-1.5, -1.5], 2));
    let (scores, replaced) = instead(vec![status(500), status(500)]);
    assert_eq!((scores.unwrap(), replaced), (vec![-1.5, -1.5], 2));
    let (scores, replaced) = instead(vec![good()]);
    assert_eq!((scores.unwrap(), replaced), (vec![3.0, 7.5], 0));
    // A wrong key would give every response of the run that score.
    let (error, replaced) = instead(vec![status(401)]);
    assert!(matches!(error, Err(JudgeError::Status { status: 401, .. })) && replaced == 0);
}

#[test]
fn preferences_need_both_orders() {
    let verdict = |first: &str, second: &str| {
        let say = |text: &str| says(&format!("Hm. {{\"better\": \"{text}\"}}"));
        let server = Server::plays(vec![say(first), say(second)]);
        let judge = Judge::new(config(&server)).unwrap();
        let preference = judge.prefer("p", "left", "right").unwrap();
        let seen = server.seen();
        assert_eq!(seen[0].user(), json!({"prompt": "p", "A": "left", "B": "right"}));
        assert_eq!(seen[1].user(), json!({"prompt": "p", "A": "right", "B": "left"}));
        preference
    };
    assert_eq!(verdict("A", "B"), Preference::A);
    assert_eq!(verdict("b", " a "), Preference::B);
    for (first, second) in [("A", "A"), ("B", "B"), ("tie", "Tie"), ("A", "tie"), ("tie", "A")] {
        assert_eq!(verdict(first, second), Preference::Tie, "{first} {second}");
    }
}

#[test]
fn a_preference_that_names_neither_is_refused_whatever_a_failure_becomes() {
    for text in ["A", r#"{"better": "C"}"#, r#"{"better": 1}"#, r#"{"scores": [1]}"#] {
        let server = Server::plays(vec![says(text), says(text)]);
        let config = JudgeConfig { on_failure: OnFailure::Score(0.0), ..config(&server) };
        let error = Judge::new(config).unwrap().prefer("p", "a", "b").unwrap_err();
        assert!(matches!(error, JudgeError::NoVerdict { attempts: 2, .. }), "{error}");
    }
}

#[test]
fn consecutive_episodes_with_a_prompt_are_judged_together() {
    // Both prompts have eight tokens.
    let tokenizer = tokenizer();
    let server = Server::plays(vec![
        says(r#"{"scores": [1, 2]}"#),
        says(r#"{"scores": [3]}"#),
        says(r#"{"scores": [4]}"#),
    ]);
    let judge = Judge::new(config(&server)).unwrap();
    let mut batch = episodes(&tokenizer, "größe?", &["a", "漢"]);
    batch.push(episode(&tokenizer, "as long!", "c"));
    batch.push(episode(&tokenizer, "größe?", "d"));
    let reward = JudgeReward::new(&tokenizer, &judge);
    assert_eq!(reward.score(&batch).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(reward.score(&[]).unwrap(), [0.0; 0]);
    let seen: Vec<_> = server.seen().iter().map(server::Seen::user).collect();
    assert_eq!(
        seen,
        [
            json!({"prompt": "größe?", "responses": ["a", "漢"]}),
            json!({"prompt": "as long!", "responses": ["c"]}),
            json!({"prompt": "größe?", "responses": ["d"]}),
        ]
    );
}

#[test]
fn an_error_of_the_judge_reaches_the_caller_of_the_reward() {
    let tokenizer = tokenizer();
    let server = Server::plays(vec![status(404)]);
    let judge = Judge::new(config(&server)).unwrap();
    let batch = episodes(&tokenizer, "p", &["a"]);
    let error = JudgeReward::new(&tokenizer, &judge).score(&batch).unwrap_err();
    let CoreError::Other(error) = error else { panic!("{error}") };
    assert!(matches!(error.downcast_ref(), Some(JudgeError::Status { status: 404, .. })));
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
    let refused = |change: fn(&mut JudgeConfig)| {
        let mut config = JudgeConfig::new("http://127.0.0.1:9/v1", "m");
        change(&mut config);
        match Judge::new(config) {
            Err(JudgeError::Config { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    for url in [
        "",
        "127.0.0.1:80",
        "ftp://a/v1",
        "http://",
        "http:// a",
        "http://u:p@a/v1",
        "http://a/v1?k=v",
    ] {
        let error = Judge::new(JudgeConfig::new(url, "m")).unwrap_err();
        assert!(matches!(error, JudgeError::Config { field: "base_url", .. }), "{url}");
        assert!(!error.to_string().contains("u:p"));
    }
    assert_eq!(refused(|c| c.model.clear()), "model");
    assert_eq!(refused(|c| c.scale = Scale { low: 1.0, high: 1.0 }), "scale");
    assert_eq!(refused(|c| c.scale.high = f32::NAN), "scale");
    assert_eq!(refused(|c| c.temperature = Some(-1.0)), "temperature");
    assert_eq!(refused(|c| c.timeout = Duration::ZERO), "timeout");
    assert_eq!(refused(|c| c.max_response_bytes = 0), "max_response_bytes");
    assert_eq!(refused(|c| c.max_response_chars = 0), "max_response_chars");
    assert_eq!(refused(|c| c.on_failure = OnFailure::Score(f32::NAN)), "on_failure");
    assert_eq!(refused(|c| c.api_key = Some(Secret::new(""))), "api_key");
}

#[test]
fn settings_are_read_and_written_without_the_key() {
    let text = json!({
        "base_url": "https://judge.example/v1", "model": "m", "timeout": 2.5, "retries": 1,
        "backoff": {"first": 0.1}, "scale": {"low": 1, "high": 5}, "temperature": null,
        "on_failure": {"score": 1.0},
    });
    let config: JudgeConfig = serde_json::from_value(text).unwrap();
    assert_eq!(config.timeout, Duration::from_millis(2500));
    assert_eq!(config.backoff.first, Duration::from_millis(100));
    assert_eq!(config.backoff.cap, Backoff::default().cap);
    assert_eq!(config.on_failure, OnFailure::Score(1.0));
    assert_eq!(config.temperature, None);
    let written = serde_json::to_value(&config).unwrap();
    assert!(written.get("api_key").is_none());
    let again: JudgeConfig = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), written);
    for wrong in [json!({"api_key": "x"}), json!({"timeout": -1}), json!({"retry": 1})] {
        assert!(serde_json::from_value::<JudgeConfig>(wrong.clone()).is_err(), "{wrong}");
    }
    assert!(Secret::from_env("HYDRALIGN_A_VARIABLE_THAT_IS_NOT_SET").is_err());
}
