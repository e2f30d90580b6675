//! The sampler against exact probabilities, without any model.

use hydralign_rollout::{RolloutError, SampleError, Sampler, SamplerConfig};
use proptest::prelude::*;

fn draw_counts(config: SamplerConfig, logits: &[f32], grid: usize) -> Vec<usize> {
    let sampler = config.build().unwrap();
    let mut counts = vec![0; logits.len()];
    for i in 0..grid {
        let uniform = (i as f64 + 0.5) / grid as f64;
        counts[sampler.sample(logits, &[], uniform).unwrap().token as usize] += 1;
    }
    counts
}

#[test]
fn a_grid_of_uniforms_reproduces_the_probabilities() {
    let probabilities = [0.1, 0.0, 0.2, 0.05, 0.4, 0.25];
    let logits: Vec<f32> = probabilities.iter().map(|p: &f64| p.ln() as f32 + 3.0).collect();
    let grid = 20_000;
    let counts = draw_counts(SamplerConfig::default(), &logits, grid);
    for (count, p) in counts.iter().zip(probabilities) {
        // A cell of the grid may fall to either side of each boundary.
        assert!((*count as f64 - p * grid as f64).abs() <= 1.0, "{counts:?}");
    }
}

#[test]
fn temperature_is_a_power_of_the_probabilities() {
    let logits = [1f32, 2.0, 4.0].map(f32::ln);
    let config = SamplerConfig { temperature: 0.5, ..SamplerConfig::default() };
    // p^(1/T) = 1 : 4 : 16.
    let counts = draw_counts(config, &logits, 21_000);
    for (count, share) in counts.iter().zip([1, 4, 16]) {
        assert!(count.abs_diff(share * 1000) <= 1, "{counts:?}");
    }
}

#[test]
fn greedy_takes_the_lowest_of_equal_tokens_with_probability_one() {
    let sampler = SamplerConfig::greedy().build().unwrap();
    let logits = [0.0, 5.0, 5.0, 1.0];
    for uniform in [0.0, 0.5, 0.999] {
        let draw = sampler.sample(&logits, &[], uniform).unwrap();
        assert_eq!((draw.token, draw.logprob), (1, 0.0));
        // 1 / (2 + e^-5 + e^-4)
        assert!((draw.policy_logprob - (1.0f32 / 2.025_054).ln()).abs() < 1e-5);
        assert_eq!(sampler.sample(&logits, &[1], uniform).unwrap().token, 2);
    }
}

#[test]
fn unusable_logits_are_errors() {
    for config in [SamplerConfig::default(), SamplerConfig::greedy()] {
        let sampler = config.build().unwrap();
        let refused = |logits: &[f32], off: &[u32]| sampler.sample(logits, off, 0.5).unwrap_err();
        let not_finite = refused(&[0.0, f32::NAN], &[]);
        assert!(matches!(not_finite, SampleError::NotFinite { token: 1, .. }));
        assert_eq!(
            refused(&[f32::NEG_INFINITY; 3], &[]),
            SampleError::NothingLeft { suppressed: 0 }
        );
        assert_eq!(refused(&[], &[]), SampleError::Empty);
        let off = refused(&[0.0, f32::NEG_INFINITY], &[0]);
        assert_eq!(off, SampleError::NothingLeft { suppressed: 1 });
        let unknown = SampleError::Suppressed { token: 2, vocab: 2 };
        assert_eq!(refused(&[0.0, 1.0], &[2]), unknown);
        for uniform in [-0.1, 1.0, f64::NAN] {
            let error = sampler.sample(&[0.0], &[], uniform).unwrap_err();
            assert!(matches!(error, SampleError::Uniform { .. }));
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let good = SamplerConfig::default();
    let bad = [
        ("temperature", SamplerConfig { temperature: 0.0, ..good }),
        ("temperature", SamplerConfig { temperature: f32::NAN, ..good }),
        ("top_k", SamplerConfig { top_k: Some(0), ..good }),
        ("top_p", SamplerConfig { top_p: Some(0.0), ..good }),
        ("top_p", SamplerConfig { top_p: Some(1.1), ..good }),
        ("min_p", SamplerConfig { min_p: Some(-0.1), ..good }),
        ("min_p", SamplerConfig { min_p: Some(f32::NAN), ..good }),
    ];
    for (name, config) in bad {
        match config.build() {
            Err(RolloutError::SamplerSetting { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let read = serde_json::from_str::<SamplerConfig>;
    assert_eq!(read(r#"{"top_k": 4}"#).unwrap(), SamplerConfig { top_k: Some(4), ..good });
    assert!(read(r#"{"topk": 4}"#).is_err());
}

fn config() -> impl Strategy<Value = SamplerConfig> {
    let option = |range| proptest::option::of(range);
    (0.1f32..3.0, proptest::option::of(1usize..50), option(0.05f32..1.0), option(0.0f32..1.0))
        .prop_map(|(temperature, top_k, top_p, min_p)| SamplerConfig {
            temperature,
            top_k,
            top_p,
            min_p,
            greedy: false,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Whatever the filters, each token is drawn for exactly the share of the unit interval that
    // its log-probability says, and tokens follow each other by id.
    #[test]
    fn each_token_holds_the_share_that_its_logprob_says(
        config in config(),
        logits in proptest::collection::vec(-6f32..6.0, 2..200),
        suppress in any::<bool>(),
    ) {
        let suppressed: &[u32] = if suppress { &[0] } else { &[] };
        let sampler = config.build().unwrap();
        let grid = 2000;
        let mut found: Vec<(u32, f64, usize)> = Vec::new();
        for i in 0..grid {
            let uniform = (i as f64 + 0.5) / grid as f64;
            let draw = sampler.sample(&logits, suppressed, uniform).unwrap();
            prop_assert!(!suppressed.contains(&draw.token));
            match found.last_mut() {
                Some((token, _, count)) if *token == draw.token => *count += 1,
                last => {
                    prop_assert!(last.is_none_or(|(token, ..)| *token < draw.token));
                    found.push((draw.token, f64::from(draw.logprob).exp(), 1));
                }
            }
        }
        for (token, share, count) in found {
            let expected = share * grid as f64;
            prop_assert!((count as f64 - expected).abs() <= 1.01, "{token}: {count}, {expected}");
        }
    }
}
