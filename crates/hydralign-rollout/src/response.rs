use crate::{Draw, GenerationConfig, Prompt};
use hydralign_core::{Episode, Finish};

/// A response in the making: one row of a batch.
pub(crate) struct Response<'a> {
    /// Index among the caller's prompts.
    pub(crate) index: usize,
    pub(crate) prompt: &'a Prompt,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    policy_logprobs: Vec<f32>,
    finish: Option<Finish>,
    /// Longest response.
    room: usize,
}

impl<'a> Response<'a> {
    pub(crate) fn new(index: usize, prompt: &'a Prompt, config: &GenerationConfig) -> Self {
        let (tokens, logprobs, policy_logprobs) = (Vec::new(), Vec::new(), Vec::new());
        let room = config.room(prompt.tokens.len());
        Self { index, prompt, tokens, logprobs, policy_logprobs, finish: None, room }
    }

    /// Longest response that this prompt may have.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Position of the next token within the response.
    pub(crate) fn position(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The token that the model reads next. A finished response that still occupies its row
    /// repeats its last token; what the model answers is dropped.
    pub(crate) fn last_token(&self) -> u32 {
        // Read only after a draw; the prompt's last token is what comes before the first one.
        self.tokens.last().or(self.prompt.tokens.last()).copied().unwrap_or(0)
    }

    /// Records a drawn token and decides whether the response ends with it.
    ///
    /// At the length limit nothing is forced: the last token is one that was drawn.
    pub(crate) fn push(&mut self, draw: Draw, config: &GenerationConfig) {
        self.tokens.push(draw.token);
        self.logprobs.push(draw.logprob);
        self.policy_logprobs.push(draw.policy_logprob);
        if config.stop_tokens.contains(&draw.token) {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() >= self.room {
            self.finish = Some(Finish::Length);
        }
    }

    /// The episode, once the response has ended.
    pub(crate) fn episode(&self) -> Option<Episode> {
        // Copies: vectors that grew token by token hold up to twice their length.
        Some(Episode {
            prompt: self.prompt.tokens.clone(),
            row: self.prompt.row,
            response: self.tokens.clone(),
            logprobs: self.logprobs.clone(),
            policy_logprobs: self.policy_logprobs.clone(),
            finish: self.finish?,
        })
    }
}
