use crate::judge::error::is_passing;
use crate::judge::quote::Quote;
use crate::judge::{JudgeError, Scale};
use std::time::Duration;

/// What went wrong in one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    Unreachable { message: String },
    TimedOut,
    Status { status: u16, asked_wait: Option<Duration>, reply: String },
    TooLarge,
    NotACompletion { reply: String },
    NotJson { reply: String },
    WrongCount { expected: usize, got: usize, reply: String },
    NotANumber { index: usize, reply: String },
    OutOfScale { index: usize, value: f64, reply: String },
    NoVerdict { reply: String },
}

/// What an error says about every attempt.
pub(crate) struct Context<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) attempts: u32,
    pub(crate) timeout: Duration,
    pub(crate) limit: u64,
    pub(crate) scale: Scale,
    pub(crate) quote: Quote<'a>,
}

impl Fault {
    /// Whether the endpoint answered, but not to the question.
    pub(crate) fn is_lie(&self) -> bool {
        !matches!(self, Fault::Unreachable { .. } | Fault::TimedOut | Fault::Status { .. })
    }

    /// Whether another attempt may go better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Fault::Status { status, .. } => is_passing(*status),
            _ => true,
        }
    }

    pub(crate) fn asked_wait(&self) -> Option<Duration> {
        match self {
            Fault::Status { asked_wait, .. } => *asked_wait,
            _ => None,
        }
    }

    pub(crate) fn into_error(self, context: &Context) -> JudgeError {
        let (endpoint, attempts) = (context.endpoint.to_owned(), context.attempts);
        let quote = |reply: String| context.quote.of(&reply);
        match self {
            Fault::Unreachable { message } => {
                JudgeError::Unreachable { endpoint, attempts, message }
            }
            Fault::TimedOut => {
                let seconds = context.timeout.as_secs_f64();
                JudgeError::TimedOut { endpoint, attempts, seconds }
            }
            Fault::Status { status, asked_wait, reply } => {
                let reply = quote(reply);
                JudgeError::Status { endpoint, attempts, status, asked_wait, reply }
            }
            Fault::TooLarge => JudgeError::TooLarge { endpoint, attempts, limit: context.limit },
            Fault::NotACompletion { reply } => {
                JudgeError::NotACompletion { endpoint, attempts, reply: quote(reply) }
            }
            Fault::NotJson { reply } => {
                JudgeError::NotJson { endpoint, attempts, reply: quote(reply) }
            }
            Fault::WrongCount { expected, got, reply } => {
                JudgeError::WrongCount { endpoint, attempts, expected, got, reply: quote(reply) }
            }
            Fault::NotANumber { index, reply } => {
                JudgeError::NotANumber { endpoint, attempts, index, reply: quote(reply) }
            }
            Fault::OutOfScale { index, value, reply } => {
                let (scale, reply) = (context.scale, quote(reply));
                JudgeError::OutOfScale { endpoint, attempts, index, value, scale, reply }
            }
            Fault::NoVerdict { reply } => {
                JudgeError::NoVerdict { endpoint, attempts, reply: quote(reply) }
            }
        }
    }
}
