//! Conversations and the templates that turn them into text, as transformers renders them.

mod builtins;
mod encode;
mod ending;
mod environment;
mod error;
mod folder;
mod lazy;
mod marks;
mod message;
mod methods;
mod parts;
mod printf;
mod python;
mod rewrite;
mod roles;
mod template;
mod unwritten;

pub use encode::ChatTokens;
pub use error::ChatError;
pub(crate) use message::LEARNT;
pub use message::Message;
pub(crate) use roles::{known_names, role_of};
pub use template::{ChatTemplate, Limits, RenderOptions};
