//! A language model as a judge, behind any OpenAI-compatible HTTP endpoint.
//!
//! One request carries a prompt with all of its responses, so that they are compared and not
//! only rated. What comes back is held to the question: exactly as many finite numbers as
//! responses, all inside the scale; anything else is refused with the endpoint, the number of
//! attempts and the beginning of the reply.
//!
//! The calls block the thread that makes them, waits between attempts included.

mod ask;
mod backoff;
mod client;
mod config;
mod error;
mod fault;
mod grouped;
mod preference;
mod question;
mod quote;
mod reply;
mod retry_after;
mod scale;
mod seconds;
mod secret;

pub use ask::Judge;
pub use backoff::Backoff;
pub use config::{JudgeConfig, OnFailure};
pub use error::JudgeError;
pub use grouped::JudgeReward;
pub use preference::Preference;
pub use scale::Scale;
pub use secret::Secret;
