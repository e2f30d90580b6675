//! What a row says does not depend on its neighbours, up to the end of the context: plain, guided and
//! block-wise decoding with real models.

use hydralign::core::{CoreError, Finish};
use hydralign::families::{Architecture, architecture};
use hydralign::models::{ModelBank, random_trunk};
use hydralign::prelude::*;
use hydralign::rollout::{Blockwise, Guided, Key};
use serde_json::{Value, json};
use std::path::Path;

const CONTEXT: usize = 24;

fn families() -> Vec<Architecture> {
    let with = |extra: Value| {
        let mut config = json!({
            "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
            "tie_word_embeddings": false,
        });
        let (config_map, extra) = (config.as_object_mut().unwrap(), extra.as_object().unwrap());
        config_map.extend(extra.clone());
        architecture(&config, Path::new("drawn")).unwrap()
    };
    vec![
        with(json!({"model_type": "llama"})),
        with(json!({"model_type": "mistral", "sliding_window": 5})),
        architecture(
            &json!({
                "model_type": "gpt2", "vocab_size": 17, "n_embd": 16, "n_layer": 2, "n_head": 2,
                "n_positions": CONTEXT,
            }),
            Path::new("gpt2"),
        )
        .unwrap(),
    ]
}

fn bank(architecture: &Architecture, seed: u64) -> ModelBank {
    let trunk = random_trunk(architecture, false, seed, &Device::flex());
    ModelBank::frozen(Checkpoint { trunk, adapter: None, reward_head: None })
}

/// Prompts of 1 to 22 tokens; the longest leave room for one or two more.
fn prompts() -> Vec<Prompt> {
    let of = |i: u64| {
        let length = 1 + (i * 7 % 23) as usize;
        let tokens = (0..length).map(|t| (3 * i as usize + t) as u32 % 17).collect();
        Prompt { tokens, row: None, key: Key { seed: 5, episode: i } }
    };
    (0..14).map(of).collect()
}

/// A generator gives each prompt what it gives it alone.
fn rows_are_their_own(what: &str, generator: &dyn Generator, longest: usize) {
    let together = generator.generate(&prompts(), &mut ()).unwrap();
    let mut cut = 0;
    for (episode, prompt) in together.iter().zip(prompts()) {
        let alone = &generator.generate(std::slice::from_ref(&prompt), &mut ()).unwrap()[0];
        let at = format!("{what}, a prompt of {}", prompt.tokens.len());
        assert_eq!((&episode.response, episode.finish), (&alone.response, alone.finish), "{at}");
        let pairs = episode.logprobs.iter().zip(&alone.logprobs);
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-4), "{at}");
        let room = longest.min(CONTEXT - prompt.tokens.len());
        assert!(episode.response.len() <= room, "{at}");
        if episode.finish == Finish::Length {
            assert_eq!(episode.response.len(), room, "{at}");
        }
        cut += usize::from(room < longest && episode.finish == Finish::Length);
    }
    assert!(cut > 0, "{what}: some responses end with the context");
}

#[test]
fn a_row_depends_on_its_prompt_and_key_alone_up_to_the_end_of_the_context() {
    for (number, architecture) in families().iter().enumerate() {
        let (policy, other) = (bank(architecture, 1), bank(architecture, 2));
        let generation = GenerationConfig {
            max_new_tokens: 12,
            max_length: Some(policy.context()),
            stop_tokens: vec![1],
            batch_size: 14,
            ..GenerationConfig::default()
        };
        for sampler in [SamplerConfig::greedy(), SamplerConfig::default()] {
            let what = format!("family {number}, greedy {}", sampler.greedy);
            let sampler = sampler.build().unwrap();
            let engine = Engine::new(&policy, Role::Actor, &sampler, &generation).unwrap();
            rows_are_their_own(&what, &engine, 12);
            let guided = Guided::new(&policy, &other, Role::Actor, 0.5);
            let engine = Engine::new(&guided, Role::Actor, &sampler, &generation).unwrap();
            rows_are_their_own(&format!("{what}, guided"), &engine, 12);
            let block = GenerationConfig { max_new_tokens: 5, ..generation.clone() };
            let engine = Engine::new(&policy, Role::Actor, &sampler, &block).unwrap();
            let value = |rows: &[Sequence]| -> Result<Vec<f32>, CoreError> {
                Ok(rows.iter().map(|s| s.response.iter().sum::<u32>() as f32).collect())
            };
            let blocks = Blockwise::new(&engine, value, 2, 12).unwrap();
            let blocks = blocks.with_max_length(block.max_length);
            rows_are_their_own(&format!("{what}, by blocks"), &blocks, 12);
        }
    }
}
