use crate::DataError;
use thiserror::Error;

/// What can be wrong with a chat template or a conversation.
///
/// `template` is the file that the template came from, or `chat template` for one without.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A file that cannot be read.
    #[error("{template}: {error}")]
    Io {
        /// The file.
        template: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A tokenizer configuration that holds no usable template.
    #[error("{template}: {message}")]
    Config {
        /// The file.
        template: String,
        /// What is wrong with it.
        message: String,
    },
    /// A configuration file of the tokenizer that cannot be read.
    #[error("{0}")]
    Folder(Box<DataError>),
    /// Templates with names of which none is the default.
    #[error("{template}: none of the chat templates is named `default`; there is {}", list(names))]
    NoDefault {
        /// The file.
        template: String,
        /// The names.
        names: Vec<String>,
    },
    /// A template that is no Jinja, or that fails.
    #[error("{template}, line {line}: {message}")]
    Template {
        /// The file.
        template: String,
        /// The line, from 1; 0 if it is not known.
        line: usize,
        /// What the engine said.
        message: String,
    },
    /// A conversation that the template itself refuses, with `raise_exception`.
    #[error("{template} refuses this conversation: {message}")]
    Raised {
        /// The file.
        template: String,
        /// What the template said.
        message: String,
    },
    /// A template that does not come to an end.
    #[error("{template}: takes more than {limit} steps")]
    Fuel {
        /// The file.
        template: String,
        /// The limit.
        limit: u64,
    },
    /// A template that writes without end.
    #[error("{template}: writes more than {limit} bytes")]
    Output {
        /// The file.
        template: String,
        /// The limit.
        limit: usize,
    },
    /// A final message that cannot be continued.
    #[error("{template}: the final message cannot be continued: {reason}")]
    Continue {
        /// The file.
        template: String,
        /// Why not.
        reason: &'static str,
    },
    /// A template that renders a turn differently when another follows it, so that what the
    /// assistant said cannot be told from the rest by position.
    #[error(
        "{template}: turn {turn} is rendered differently when others follow, so what the \
         assistant said cannot be marked; a template with {{% generation %}} blocks can mark it"
    )]
    NotPrefixStable {
        /// The file.
        template: String,
        /// The turn, from 0.
        turn: usize,
    },
    /// Turns that are not to be learnt, under a template whose blocks are not one a turn.
    #[error(
        "{template}: which of {turns} turns is not learnt cannot be told from {blocks} \
         generation blocks"
    )]
    Unlearnt {
        /// The file.
        template: String,
        /// Turns of the assistant.
        turns: usize,
        /// Generation blocks of the template's text.
        blocks: usize,
    },
    /// A text that the tokenizer cannot encode.
    #[error("the tokenizer failed: {message}")]
    Encode {
        /// What the library said.
        message: String,
    },
}

impl From<DataError> for ChatError {
    fn from(error: DataError) -> Self {
        Self::Folder(Box::new(error))
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
