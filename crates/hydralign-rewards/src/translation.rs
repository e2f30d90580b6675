use crate::RewardError;
use hydralign_core::{Episode, Finish, Sequence};
use hydralign_data::{
    ChatTemplate, Content, DataError, Message, PromptSource, RenderOptions, TextTokenizer,
};
use std::collections::HashMap;

/// How a model is given text.
#[derive(Clone, Debug)]
pub struct ModelText {
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// Renders conversations, if the model was made for them.
    pub template: Option<ChatTemplate>,
}

/// Whether the reward model sees an end behind a response: its EOS or, in a conversation, what its
/// template puts behind a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Where the policy ended its response, and not where the limit of its length did.
    #[default]
    AsSampled,
    /// Always.
    Always,
    /// Never: the score is that of the last token that was said.
    Never,
}

/// Makes what a policy has read and said into the tokens of a reward model.
///
/// Where both have the same tokens, and for a conversation the same template, the tokens pass as they
/// are. Otherwise the text goes over and is encoded anew, whole, as transformers does: a plain prompt
/// with its response behind it; a conversation with the response as the assistant's turn, rendered by
/// the reward model's own template. The policy's stop token and its other special tokens are no part
/// of that text.
#[derive(Clone, Debug)]
pub struct Translation {
    policy: ModelText,
    reward: ModelText,
    prompts: HashMap<Vec<u32>, PromptSource>,
    ending: Ending,
    same_tokens: bool,
    same_template: bool,
}

impl Translation {
    /// From a policy to a reward model. `prompts` are those of the policy; of two with the same tokens,
    /// the one with turns counts.
    ///
    /// # Errors
    /// [`RewardError::NoTemplate`] where a prompt has turns and the reward model no template,
    /// [`RewardError::ForeignToken`] where a plain prompt spells a special token of the policy that is
    /// none of the reward model's, [`RewardError::Decode`].
    pub fn new(
        policy: ModelText,
        reward: ModelText,
        prompts: impl IntoIterator<Item = PromptSource>,
        ending: Ending,
    ) -> Result<Self, RewardError> {
        let same_tokens =
            text(policy.tokenizer.fingerprint())? == text(reward.tokenizer.fingerprint())?;
        let same_template = match (&policy.template, &reward.template) {
            (Some(a), Some(b)) => a.renders_as(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let known = HashMap::new();
        let mut translation =
            Self { policy, reward, prompts: known, ending, same_tokens, same_template };
        for prompt in prompts {
            translation.add(prompt)?;
        }
        Ok(translation)
    }

    fn add(&mut self, prompt: PromptSource) -> Result<(), RewardError> {
        match &prompt.content {
            Content::Chat(_) => drop(self.template()?),
            Content::Plain(_) if self.prompts.contains_key(&prompt.tokens) => return Ok(()),
            Content::Plain(_) => self.refuse_foreign(&prompt.tokens)?,
        }
        self.prompts.insert(prompt.tokens.clone(), prompt);
        Ok(())
    }

    /// Whether the reward model has the policy's tokens.
    pub fn same_tokens(&self) -> bool {
        self.same_tokens
    }

    /// The reward model's tokens of a prompt and its response.
    ///
    /// # Errors
    /// [`RewardError::ForeignToken`] for a prompt that was not given to [`Translation::new`] and holds
    /// special tokens; what decoding, encoding or the template report.
    pub fn tokens(&self, episode: &Episode) -> Result<Vec<u32>, RewardError> {
        let ends = match self.ending {
            Ending::AsSampled => episode.finish == Finish::Stop,
            Ending::Always => true,
            Ending::Never => false,
        };
        let as_is = self.ending == Ending::AsSampled;
        let source = self.prompts.get(&episode.prompt);
        match source.map(|source| (&source.content, &source.render)) {
            Some((Content::Chat(turns), render))
                if !(as_is && self.same_tokens && self.same_template) =>
            {
                self.rendered((turns, render), episode, ends)
            }
            Some((Content::Plain(prompt), _)) if !self.same_tokens => {
                self.plain(prompt, episode, ends)
            }
            None if !self.same_tokens => self.plain(&self.spelt(episode)?, episode, ends),
            None if !self.same_template => self.spelt(episode).map(|_| self.passed(episode, ends)),
            _ => Ok(self.passed(episode, ends)),
        }
    }

    /// Tokens of the longest prompt of [`Translation::new`] as the reward model reads it, with nothing said:
    /// what its context must have room for, and more.
    ///
    /// # Errors
    /// As [`Translation::tokens`].
    pub fn longest_prompt(&self) -> Result<usize, RewardError> {
        let of = |prompt: &Vec<u32>| {
            let silent = Sequence::new(prompt.clone(), Vec::new());
            self.tokens(&self.episode(&silent)).map(|tokens| tokens.len())
        };
        self.prompts.keys().map(of).try_fold(0, |longest, tokens| Ok(longest.max(tokens?)))
    }

    /// A response that was not sampled, as an episode without log-probabilities: it has stopped if its
    /// last token is one that ends a response of the policy.
    pub fn episode(&self, sequence: &Sequence) -> Episode {
        let stops = self.policy.tokenizer.eos_ids();
        let stopped = sequence.response.last().is_some_and(|last| stops.contains(last));
        Episode {
            prompt: sequence.prompt.clone(),
            row: None,
            response: sequence.response.clone(),
            logprobs: Vec::new(),
            policy_logprobs: Vec::new(),
            finish: if stopped { Finish::Stop } else { Finish::Length },
        }
    }

    /// The same tokens, but for how they end.
    fn passed(&self, episode: &Episode, ends: bool) -> Vec<u32> {
        let stopped = episode.finish == Finish::Stop;
        let said = if stopped && !ends { said(episode) } else { &episode.response };
        let mut tokens = [episode.prompt.as_slice(), said].concat();
        if ends && !stopped {
            tokens.push(self.reward.tokenizer.eos_id());
        }
        tokens
    }

    /// A plain prompt with its response.
    fn plain(&self, prompt: &str, episode: &Episode, ends: bool) -> Result<Vec<u32>, RewardError> {
        let tokenizer = &self.reward.tokenizer;
        let said = text(self.policy.tokenizer.decode_after(&episode.prompt, said(episode)))?;
        let mut tokens = text(tokenizer.encode(&format!("{prompt}{said}"), true))?;
        if ends && tokens.last().is_none_or(|last| !tokenizer.eos_ids().contains(last)) {
            tokens.push(tokenizer.eos_id());
        }
        Ok(tokens)
    }

    /// A conversation with the response as the assistant's turn, or as the rest of a turn that the
    /// assistant had begun.
    fn rendered(
        &self,
        (turns, render): (&[Message], &RenderOptions),
        episode: &Episode,
        ends: bool,
    ) -> Result<Vec<u32>, RewardError> {
        let (from, to) = (&self.policy.tokenizer, &self.reward.tokenizer);
        let mut turns = turns.to_vec();
        match turns.last_mut().filter(|turn| turn.role == "assistant") {
            Some(begun) => {
                let before = begun.text().ok_or(RewardError::NotText)?;
                let rest = text(from.decode_after(&episode.prompt, said(episode)))?;
                begun.content = format!("{before}{rest}").into();
            }
            None => {
                let said = text(from.decode(said(episode), true))?;
                turns.push(Message::new("assistant", said));
            }
        }
        // There is nothing to continue in an empty turn.
        let empty = turns.last().and_then(Message::text).is_none_or(|t| t.trim().is_empty());
        let opens = !ends && empty;
        if opens {
            turns.pop();
        }
        let options = RenderOptions {
            continue_final_message: !ends && !opens,
            add_generation_prompt: opens,
            // Variables are the policy's template's own.
            variables: RenderOptions::default().variables,
            ..render.clone()
        };
        let whole = self.template()?.render(&turns, &options);
        let whole = whole.map_err(|e| RewardError::Chat { message: e.to_string() })?;
        text(to.encode(&whole, false))
    }

    fn template(&self) -> Result<&ChatTemplate, RewardError> {
        self.reward.template.as_ref().ok_or(RewardError::NoTemplate)
    }

    /// The text of a prompt whose source is not known: only tokens of texts have one.
    fn spelt(&self, episode: &Episode) -> Result<String, RewardError> {
        let tokens = self.policy.tokenizer.without_begin(&episode.prompt);
        match tokens.iter().find(|&&t| self.policy.tokenizer.is_special(t)) {
            Some(&token) => Err(self.foreign(token)),
            None => text(self.policy.tokenizer.decode(tokens, true)),
        }
    }

    /// A special token that the reward model has too may be spelt out in its text.
    fn refuse_foreign(&self, tokens: &[u32]) -> Result<(), RewardError> {
        let (from, to) = (&self.policy.tokenizer, &self.reward.tokenizer);
        let known = |t: u32| {
            let same = from.inner().id_to_token(t).and_then(|token| to.token_to_id(&token));
            same.is_some_and(|id| to.is_special(id))
        };
        let tokens = from.without_begin(tokens);
        match tokens.iter().find(|&&t| from.is_special(t) && !known(t)) {
            Some(&token) => Err(self.foreign(token)),
            None => Ok(()),
        }
    }

    fn foreign(&self, token: u32) -> RewardError {
        let spelling = self.policy.tokenizer.inner().id_to_token(token).unwrap_or_default();
        RewardError::ForeignToken { token: spelling }
    }
}

/// A response without the stop token that ended it.
fn said(episode: &Episode) -> &[u32] {
    match (episode.finish, episode.response.split_last()) {
        (Finish::Stop, Some((_, said))) => said,
        _ => &episode.response,
    }
}

fn text<T>(result: Result<T, DataError>) -> Result<T, RewardError> {
    result.map_err(|error| RewardError::Decode { error })
}
