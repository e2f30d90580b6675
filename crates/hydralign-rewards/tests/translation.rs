//! What a reward model reads of what a policy said: texts that are written out here.

mod common;

use common::{episode, tokenizer};
use hydralign_core::{CoreError, Episode, Finish, Outputs, Request, Reward, Roles, TokenBatch};
use hydralign_data::{
    ChatTemplate, Content, Message, PromptSource, RenderOptions, SpecialTokens, TextTokenizer,
};
use hydralign_rewards::{Ending, ModelText, RewardError, RewardModel, Translation, unpadded};
use serde_json::Map;
use std::path::Path;
use tokenizers::Tokenizer;

const POLICY: &str = "{% for m in messages %}</s>{{ m.role }}: {{ m.content }}</s>{% endfor %}\
    {% if add_generation_prompt %}</s>assistant: {% endif %}";
const REWARD: &str = "{% for m in messages %}[{{ m.role[0] }}] {{ m.content }} .{% endfor %}\
    {% if add_generation_prompt %}[a] {% endif %}";

/// The same bytes under other ids, with an end that is spelt otherwise.
fn other() -> TextTokenizer {
    let mut file: serde_json::Value =
        serde_json::from_str(&tokenizer().inner().to_string(false).unwrap()).unwrap();
    for (_, id) in file["model"]["vocab"].as_object_mut().unwrap() {
        *id = (255 - id.as_u64().unwrap()).into();
    }
    file["added_tokens"][0]["content"] = "<end>".into();
    let special = SpecialTokens { end: 256, eos: vec![256], bos: None, pad: None };
    TextTokenizer::new(Tokenizer::from_bytes(file.to_string()).unwrap(), special).unwrap()
}

fn source(tokens: &[u32], content: Content) -> PromptSource {
    let (tokens, render) = (tokens.to_vec(), RenderOptions::default());
    let (path, columns) = (Path::new("prompts.jsonl").into(), Default::default());
    PromptSource { tokens, content, render, path, row: 1, columns }
}

fn text(tokenizer: TextTokenizer, template: Option<&str>) -> ModelText {
    let template = template.map(|source| ChatTemplate::new(source, Map::new()).unwrap());
    ModelText { tokenizer, template }
}

fn turns(begun: Option<&str>) -> Vec<Message> {
    let user = Message::new("user", "Hi");
    [user].into_iter().chain(begun.map(|text| Message::new("assistant", text))).collect()
}

fn cut(mut episode: Episode) -> Episode {
    episode.response.pop();
    episode.finish = Finish::Length;
    episode
}

/// Reads the text that the reward model is given, with `<end>` or `</s>` where it is told so.
fn read(translation: &Translation, reads: &TextTokenizer, episode: &Episode) -> String {
    reads.decode(&translation.tokens(episode).unwrap(), false).unwrap()
}

#[test]
fn plain_texts_go_over_without_what_the_policy_ends_with() {
    let (policy, reward) = (text(tokenizer(), None), text(other(), None));
    let said = episode(&policy.tokenizer, "Q: 6*7?", " 42");
    let prompt = [source(&said.prompt, Content::Plain("Q: 6*7?".into()))];
    for (ending, stopped, expected) in [
        (Ending::AsSampled, true, "Q: 6*7? 42<end>"),
        (Ending::AsSampled, false, "Q: 6*7? 42"),
        (Ending::Always, false, "Q: 6*7? 42<end>"),
        (Ending::Never, true, "Q: 6*7? 42"),
    ] {
        let said = if stopped { said.clone() } else { cut(said.clone()) };
        for prompts in [prompt.to_vec(), Vec::new()] {
            let of = Translation::new(policy.clone(), reward.clone(), prompts, ending).unwrap();
            assert_eq!(read(&of, &reward.tokenizer, &said), expected, "{ending:?}");
            assert!(!of.same_tokens());
        }
    }
}

#[test]
fn turns_are_rendered_by_the_reward_model_s_own_template() {
    let policy = text(tokenizer(), Some(POLICY));
    for (reads, begun, response) in [
        (other(), None, "Hello you"),
        (tokenizer(), None, "Hello you"),
        (other(), Some("Hello"), " you"),
    ] {
        let reward = text(reads.clone(), Some(REWARD));
        let spelt = match begun {
            Some(_) => "</s>user: Hi</s></s>assistant: Hello",
            None => "</s>user: Hi</s></s>assistant: ",
        };
        let said = episode(&policy.tokenizer, spelt, response);
        let prompts = [source(&said.prompt, Content::Chat(turns(begun)))];
        for (ending, stopped, expected) in [
            (Ending::AsSampled, true, "[u] Hi .[a] Hello you ."),
            (Ending::AsSampled, false, "[u] Hi .[a] Hello you"),
            (Ending::Always, false, "[u] Hi .[a] Hello you ."),
            (Ending::Never, true, "[u] Hi .[a] Hello you"),
        ] {
            let said = if stopped { said.clone() } else { cut(said.clone()) };
            let of =
                Translation::new(policy.clone(), reward.clone(), prompts.clone(), ending).unwrap();
            assert_eq!(read(&of, &reads, &said), expected, "{ending:?} {begun:?}");
        }
        // Nothing was said.
        let silent = episode(&policy.tokenizer, spelt, "");
        let of = |ending| Translation::new(policy.clone(), reward.clone(), prompts.clone(), ending);
        let heard = read(&of(Ending::Never).unwrap(), &reads, &silent);
        let expected = if begun.is_some() { "[u] Hi .[a] Hello" } else { "[u] Hi .[a] " };
        assert_eq!(heard, expected);
    }
}

#[test]
fn tools_and_documents_of_a_conversation_go_over() {
    let policy = text(tokenizer(), Some(POLICY));
    let reads = "{% for t in tools %}<{{ t.name }}>{% endfor %}{% for d in documents %}({{ d.title }})\
        {% endfor %}{{ style }}{{ messages[-1].content }}";
    let said = episode(&policy.tokenizer, "</s>user: Hi</s></s>assistant: ", "Hello");
    let mut prompt = source(&said.prompt, Content::Chat(turns(None)));
    prompt.render.tools = vec![serde_json::json!({"name": "clock"})];
    prompt.render.documents = vec![serde_json::json!({"title": "Time"})];
    prompt.render.variables.insert("style".into(), "terse".into());
    let of = Translation::new(policy, text(other(), Some(reads)), [prompt], Ending::Always);
    assert_eq!(read(&of.unwrap(), &other(), &said), "<clock>(Time)Hello");
}

#[test]
fn the_same_tokens_and_template_pass_as_they_are() {
    let policy = text(tokenizer(), Some(POLICY));
    let spelt = "</s>user: Hi</s></s>assistant: ";
    let mut said = episode(&policy.tokenizer, spelt, "Hello you");
    // Bytes that are no text come back as they were.
    said.response.insert(0, 250);
    for content in [Content::Chat(turns(None)), Content::Plain(spelt.into())] {
        let prompts = [source(&said.prompt, content)];
        let of =
            Translation::new(policy.clone(), policy.clone(), prompts, Ending::AsSampled).unwrap();
        assert!(of.same_tokens());
        for said in [said.clone(), cut(said.clone())] {
            let whole = [said.prompt.clone(), said.response.clone()].concat();
            assert_eq!(of.tokens(&said).unwrap(), whole);
        }
    }
}

#[test]
fn what_would_be_read_wrong_is_refused() {
    let policy = text(tokenizer(), Some(POLICY));
    let new = |reward: &ModelText, prompts: Vec<PromptSource>| {
        Translation::new(policy.clone(), reward.clone(), prompts, Ending::AsSampled)
    };
    let spelt = "</s>user: Hi</s></s>assistant: ";
    let said = episode(&policy.tokenizer, spelt, "Hello");
    let chat = source(&said.prompt, Content::Chat(turns(None)));
    let plain = source(&said.prompt, Content::Plain(spelt.into()));
    for reads in [tokenizer(), other()] {
        let error = new(&text(reads, None), vec![chat.clone()]).unwrap_err();
        assert!(matches!(error, RewardError::NoTemplate), "{error}");
    }
    let reward = text(other(), Some(REWARD));
    let error = new(&reward, vec![plain.clone()]).unwrap_err();
    assert!(matches!(&error, RewardError::ForeignToken { token } if token == "</s>"), "{error}");
    // With turns known for the same tokens, they are what is meant.
    for prompts in [vec![chat.clone(), plain.clone()], vec![chat]] {
        let of = new(&reward, prompts).unwrap();
        assert_eq!(read(&of, &reward.tokenizer, &said), "[u] Hi .[a] Hello .");
    }
    // A prompt that nothing is known of.
    for reads in [tokenizer(), other()] {
        let of = new(&text(reads, Some(REWARD)), Vec::new()).unwrap();
        assert!(matches!(of.tokens(&said), Err(RewardError::ForeignToken { .. })));
    }
}

/// The score of a row is its last token.
struct LastToken;

impl Roles for LastToken {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let rows = batch.sequences();
        if let Some(row) = rows.iter().position(|s| s.len() > 8) {
            return Err(CoreError::ContextExceeded { row, needed: rows[row].len(), context: 8 });
        }
        let last = |s: &hydralign_core::Sequence| *s.response.last().unwrap_or(&s.prompt[0]) as f32;
        let scores: Vec<f32> = rows.iter().map(last).collect();
        let mut outputs = Outputs::new();
        let device = burn::tensor::Device::flex();
        outputs
            .insert(requests[0].reading, burn::tensor::Tensor::from_floats(&scores[..], &device));
        Ok(outputs)
    }
}

#[test]
fn scores_are_in_the_order_of_the_episodes_and_before_padding() {
    let policy = text(tokenizer(), None);
    let of = Translation::new(policy.clone(), policy.clone(), [], Ending::AsSampled).unwrap();
    let said = |response: &str| episode(&policy.tokenizer, "Q", response);
    let last = |response: &str| *policy.tokenizer.encode(response, false).unwrap().last().unwrap();
    let episodes = [said("a"), said("abc"), cut(said("ab")), said("zyx")];
    let scores = RewardModel::new(LastToken, &of, 2).score(&episodes).unwrap();
    assert_eq!(scores, [256.0, 256.0, last("b") as f32, 256.0]);
    let unpadded = RewardModel::new(LastToken, &of, 2).with_padding(Some(256));
    let expected = ["a", "c", "b", "x"].map(|text| last(text) as f32);
    assert_eq!(unpadded.score(&episodes).unwrap(), expected);
    let long = [said("a"), said("ab"), said("too long for it")];
    let error = RewardModel::new(LastToken, &of, 2).score(&long).unwrap_err();
    assert!(matches!(error, CoreError::ContextExceeded { row: 2, .. }), "{error}");
}

#[test]
fn padding_is_taken_from_the_end_alone() {
    assert_eq!(unpadded(&[0, 5, 0, 0], Some(0)), [0, 5]);
    assert_eq!(unpadded(&[0, 0], Some(0)), [0]);
    assert_eq!(unpadded(&[5, 0], None), [5, 0]);
    assert_eq!(unpadded(&[], Some(0)), [0_u32; 0]);
}
