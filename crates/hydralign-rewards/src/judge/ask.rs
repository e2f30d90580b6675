use crate::judge::backoff::Attempts;
use crate::judge::client::Client;
use crate::judge::fault::{Context, Fault};
use crate::judge::quote::Quote;
use crate::judge::{JudgeConfig, JudgeError, OnFailure, Preference, Secret, question, reply};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Asks a language model for scores and preferences.
pub struct Judge {
    config: JudgeConfig,
    client: Client,
    replaced: AtomicUsize,
}

impl Judge {
    /// A judge; nothing is sent yet.
    ///
    /// # Errors
    /// [`JudgeError::Config`].
    pub fn new(config: JudgeConfig) -> Result<Self, JudgeError> {
        config.check()?;
        let client = Client::new(&config)?;
        Ok(Self { config, client, replaced: AtomicUsize::new(0) })
    }

    /// The scores of all responses to a prompt, from one request.
    ///
    /// Connection errors, time-outs and the statuses 408, 429 and 5xx are tried again; an answer
    /// that does not fit the question once more; any other status never. What then fails is
    /// refused or scored as [`OnFailure`] says.
    ///
    /// # Errors
    /// Any [`JudgeError`] but [`JudgeError::NoVerdict`].
    pub fn score(&self, prompt: &str, responses: &[String]) -> Result<Vec<f32>, JudgeError> {
        if responses.is_empty() {
            return Ok(Vec::new());
        }
        let question = question::scoring(&self.config, prompt, responses);
        let read = |said: &str| reply::scores(said, responses.len(), self.config.scale);
        self.ask(&question, read).or_else(|error| self.replace(error, responses.len()))
    }

    /// Which of two responses is better, asked twice with their positions swapped.
    ///
    /// Judges favour a position (Zheng et al. 2023, §3.3): only a response that wins in both is
    /// better, anything else is a tie. [`OnFailure`] has no say here.
    ///
    /// # Errors
    /// [`JudgeError::NoVerdict`] for an answer that names neither of them, and what
    /// [`Judge::score`] reports of the connection.
    pub fn prefer(&self, prompt: &str, a: &str, b: &str) -> Result<Preference, JudgeError> {
        let ask = |first, second| {
            let question = question::comparison(&self.config, prompt, first, second);
            self.ask(&question, Preference::read)
        };
        let (straight, swapped) = (ask(a, b)?, ask(b, a)?.swapped());
        Ok(if straight == swapped { straight } else { Preference::Tie })
    }

    /// How many responses were scored by [`OnFailure::Score`] so far.
    pub fn replaced(&self) -> usize {
        self.replaced.load(Ordering::Relaxed)
    }

    fn ask<T>(
        &self,
        question: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<T, JudgeError> {
        let mut attempts = Attempts::new(self.config.backoff, self.config.retries);
        loop {
            attempts.made += 1;
            let said = self.client.post(question).and_then(|body| reply::content(&body));
            let fault = match said.and_then(|said| read(&said)) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match attempts.wait_after(&fault) {
                Some(wait) => thread::sleep(wait),
                None => return Err(fault.into_error(&self.context(attempts.made))),
            }
        }
    }

    fn context(&self, attempts: u32) -> Context<'_> {
        Context {
            endpoint: self.client.endpoint(),
            attempts,
            timeout: self.config.timeout,
            limit: self.config.max_response_bytes,
            scale: self.config.scale,
            quote: Quote { secret: self.config.api_key.as_ref().map(Secret::expose) },
        }
    }

    fn replace(&self, error: JudgeError, count: usize) -> Result<Vec<f32>, JudgeError> {
        match self.config.on_failure {
            OnFailure::Score(score) if error.is_passing() => {
                self.replaced.fetch_add(count, Ordering::Relaxed);
                Ok(vec![score; count])
            }
            _ => Err(error),
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("config", &self.config).finish_non_exhaustive()
    }
}
