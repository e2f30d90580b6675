//! Conversations and the templates that turn them into text, as transformers renders them.

mod encode;
mod environment;
mod error;
mod folder;
mod marks;
mod message;
mod python;
mod template;

pub use encode::ChatTokens;
pub use error::ChatError;
pub use message::Message;
pub use template::{ChatTemplate, Limits, RenderOptions};
