use std::path::PathBuf;
use thiserror::Error;

/// What can be wrong with a tokenizer folder, a data file or a split.
///
/// Each message is complete: causes are fields, not `source()`s, so that a printed chain does
/// not say them twice.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file that cannot be opened or read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A tokenizer file that the tokenizer library does not accept.
    #[error("{}: not a tokenizer: {message}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the library said.
        message: String,
    },
    /// A configuration file that is not a JSON object.
    #[error("{}: {message}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A key of a configuration file whose value cannot be followed.
    #[error("{}: `{key}` is {fault}", .path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it is.
        fault: String,
    },
    /// A folder without `tokenizer.json`.
    #[error(
        "{}: no tokenizer.json{}; `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` \
         of transformers writes one", .dir.display(), instead(found)
    )]
    NoTokenizerFile {
        /// The folder.
        dir: PathBuf,
        /// Files of other tokenizers that are there, which this library does not read.
        found: Vec<&'static str>,
    },
    /// A key of a configuration file that holds something else than a token.
    #[error("{}: `{key}` is {found}, which is not a token", .path.display())]
    NotAToken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it holds.
        found: String,
    },
    /// A configuration file that names a token which the tokenizer does not have.
    #[error("{}: `{key}` is {token}, which the tokenizer does not have", .path.display())]
    UnknownToken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The text or the id of the token.
        token: String,
    },
    /// No configuration file says which token ends a text.
    #[error("{}: no configuration file names an EOS token", .dir.display())]
    NoEos {
        /// The folder.
        dir: PathBuf,
    },
    /// Special tokens without one that ends a text.
    #[error("there is no EOS token: a completion could not end")]
    MissingEos,
    /// A special token id outside the tokenizer.
    #[error("special token {id} is outside the tokenizer")]
    SpecialOutOfRange {
        /// The id.
        id: u32,
    },
    /// A text that the tokenizer cannot encode, or tokens that it cannot decode.
    #[error("the tokenizer failed: {message}")]
    Text {
        /// What the library said.
        message: String,
    },
    /// A decoder whose text for some tokens is not how its text for more of them begins.
    #[error("the tokenizer changed its text: `{given}` was given out, but the whole is `{text}`")]
    TextChanged {
        /// What was given out.
        given: String,
        /// The whole text.
        text: String,
    },
    /// A token of the tokenizer that the model has no embedding for.
    #[error("token {id} (`{token}`) is outside the model's vocabulary of {rows}")]
    OutsideVocabulary {
        /// Its text.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the model's embedding.
        rows: usize,
    },
    /// A data file without a single record.
    #[error("{}: the file has no records", .path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A line of a data file that is not a usable record.
    #[error("{}, line {line}: {fault}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: RecordError,
    },
    /// A row of a Parquet file that is not a usable record.
    #[error("{}, row {row}: {fault}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// What is wrong with it.
        fault: RecordError,
    },
    /// An element of a JSON array that is not a usable record.
    #[error("{}, element {element}: {fault}", .path.display())]
    Element {
        /// The file.
        path: PathBuf,
        /// The element, from 1.
        element: usize,
        /// What is wrong with it.
        fault: RecordError,
    },
    /// A file of another kind than data are read from.
    #[error("{}: {found}; {remedy}", .path.display())]
    NotRows {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What can be done.
        remedy: String,
    },
    /// Files of which no row is left to learn from.
    #[error("{files}: of {rows} rows nothing is left: {why}")]
    NothingLeft {
        /// The files.
        files: String,
        /// Rows read.
        rows: usize,
        /// What became of them.
        why: String,
    },
    /// A file that is not Parquet, or is damaged.
    #[error("{}: {message}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the library said.
        message: String,
    },
    /// A pattern that names no file.
    #[error("{pattern}: {reason}")]
    NoFiles {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A sequence that no batch has room for, or that is empty.
    #[error("sequence {index} has {tokens} tokens; a batch has room for 1 to {budget}")]
    Budget {
        /// Which sequence.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// What a batch may hold.
        budget: usize,
    },
    /// More held out than there is, or nothing left to train on.
    #[error("cannot hold out {held_out} of {count}: both parts need at least one")]
    Split {
        /// What there is to divide.
        count: usize,
        /// What was to be held out.
        held_out: usize,
    },
    /// A share to hold out that leaves nothing to learn from, or is none.
    #[error("cannot hold out a share of {share} of {count}: it must be at least 0, and leave one")]
    Share {
        /// The share.
        share: f64,
        /// What there is to divide.
        count: usize,
    },
}

impl DataError {
    /// The same error for prompts that were read for a context less what a response may have: it names
    /// both.
    #[must_use]
    pub fn with_response(mut self, response: usize, context: usize) -> Self {
        if let Self::Record { fault, .. } | Self::Row { fault, .. } | Self::Element { fault, .. } =
            &mut self
            && let RecordError::PromptTooLong { tokens, .. } = *fault
        {
            *fault = RecordError::NoRoom { tokens, response, context };
        }
        self
    }

    /// What is wrong with one record, if that is what the error says.
    pub fn fault(&self) -> Option<&RecordError> {
        match self {
            Self::Record { fault, .. } | Self::Row { fault, .. } | Self::Element { fault, .. } => {
                Some(fault)
            }
            _ => None,
        }
    }

    /// Whether the records behind the faulty one can still be read. A line ends whatever is in it; where a
    /// damaged element of an array ends nobody knows, and those behind it would be lost uncounted.
    pub fn is_of_one_record(&self) -> bool {
        let damaged = |fault: &RecordError| {
            matches!(fault, RecordError::Syntax { .. } | RecordError::NotUtf8 { .. })
        };
        match self {
            Self::Element { fault, .. } if damaged(fault) => false,
            _ => {
                self.fault().is_some_and(|fault| !matches!(fault, RecordError::LineTooLong { .. }))
            }
        }
    }
}

/// What can be wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A line that is longer than the reader allows.
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("column {column}: not UTF-8")]
    NotUtf8 {
        /// Byte column of the first bad byte, from 1.
        column: usize,
    },
    /// Text that is not JSON.
    #[error("column {column}: {message}")]
    Syntax {
        /// Byte column, from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// JSON that is not an object.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// The kind of value found.
        found: &'static str,
    },
    /// A field that is not there.
    #[error("missing field `{field}`")]
    MissingField {
        /// Name of the field.
        field: &'static str,
    },
    /// A field of another type.
    #[error("field `{field}` must be {expected}, found {found}")]
    WrongType {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The kind of value found.
        found: &'static str,
    },
    /// A field without text.
    #[error("field `{field}` is empty")]
    EmptyText {
        /// Name of the field.
        field: &'static str,
    },
    /// A prompt that leaves no position for a response.
    #[error("the prompt has {tokens} tokens, which leaves no room in a context of {context}")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// A prompt that leaves too little room for a response.
    #[error(
        "the prompt has {tokens} tokens and max_new_tokens is {response}, but the context has {context}"
    )]
    NoRoom {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that a response may have.
        response: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// Prompt and completion that do not fit together.
    #[error("prompt and `{field}` have {tokens} tokens, but the context has {context}")]
    TooLong {
        /// The completion's field.
        field: &'static str,
        /// Tokens of both, the EOS included.
        tokens: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// A preference between two equal completions.
    #[error("`chosen` and `rejected` are the same tokens")]
    Identical,
    /// Columns that belong to no known format.
    #[error("no known format has the columns {columns}")]
    NoFormat {
        /// The columns found.
        columns: String,
    },
    /// An example of another kind than is asked for.
    #[error("expected {expected}, found {found}")]
    WrongKind {
        /// What is asked for.
        expected: &'static str,
        /// What the row holds.
        found: &'static str,
    },
    /// A field that is not there, of a row that has others.
    #[error("missing field `{field}`; the row has {columns}")]
    MissingColumn {
        /// Name of the field.
        field: &'static str,
        /// The columns found.
        columns: String,
    },
    /// A column that changes what the row says, and that is not understood.
    #[error("column `{column}`: {reason}")]
    Column {
        /// The column.
        column: String,
        /// Why the row cannot be read with it.
        reason: String,
    },
    /// A speaker whom nobody knows.
    #[error(
        "field `{field}`: unknown role `{role}`; known are {known}, and what the chat template names"
    )]
    UnknownRole {
        /// Name of the field.
        field: &'static str,
        /// The role.
        role: String,
        /// Roles that are understood.
        known: String,
    },
    /// A turn of which the chat template writes nothing.
    #[error("the chat template leaves out turn {turn}, of the role `{role}`")]
    TurnLeftOut {
        /// The turn, from 1.
        turn: usize,
        /// Its role.
        role: String,
    },
    /// A field of a turn of which the chat template writes nothing.
    #[error("field `{field}`: the chat template writes nothing of `{key}` of turn {turn}")]
    FieldLeftOut {
        /// Name of the field.
        field: &'static str,
        /// The turn, from 1, counted with the prompt's.
        turn: usize,
        /// The turn's field, and where in it.
        key: String,
    },
    /// Turns that do not fit their prompt.
    #[error("field `{field}`: {reason}")]
    Turns {
        /// Name of the field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A conversation without a chat template.
    #[error("field `{field}` is a conversation, but the model has no chat template")]
    NoTemplate {
        /// Name of the field.
        field: &'static str,
    },
    /// A conversation that the chat template does not render.
    #[error("{message}")]
    Chat {
        /// What the template said.
        message: String,
    },
    /// A text that the tokenizer cannot encode.
    #[error("field `{field}`: {message}")]
    Encode {
        /// Name of the field.
        field: &'static str,
        /// What the library said.
        message: String,
    },
}

fn instead(found: &[&'static str]) -> String {
    match found {
        [] => String::new(),
        found => format!(", but {}, which is not read", found.join(" and ")),
    }
}
