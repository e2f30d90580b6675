use super::environment::{Raised, TooLong, environment};
use super::{ChatError, Message, marks, rewrite};
use chrono::NaiveDateTime;
use minijinja::ErrorKind;
use serde_json::{Map, Value};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a template may use. Templates come with models, from anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the engine.
    pub fuel: u64,
    /// Bytes that it may write in all. A text that it builds out of others without writing it is
    /// bounded by the steps alone: a hostile template can still double one again and again.
    pub output: usize,
    /// Macros and blocks inside one another.
    pub recursion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fuel: 10_000_000, output: 64 << 20, recursion: 100 }
    }
}

/// How a conversation is rendered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// End with what comes before an answer of the assistant.
    pub add_generation_prompt: bool,
    /// End inside the final message, so that it can be continued.
    pub continue_final_message: bool,
    /// Tools that the model may call, as JSON schemas.
    pub tools: Vec<Value>,
    /// Documents that the model may cite.
    pub documents: Vec<Value>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// What `strftime_now` sees; none for the clock.
    pub now: Option<NaiveDateTime>,
    /// What the template may use.
    pub limits: Limits,
}

/// Turns a conversation into text the way a model was trained to read it.
///
/// The language is Jinja as transformers sets it up (`chat_template_utils.py`): trimmed blocks,
/// no escapes, Python's texts for values, `raise_exception`, `strftime_now`, `tojson`,
/// `{% generation %}`. Differences that are left: methods of Python that no template is known to
/// use are errors, and values that are not plain data are written in another way.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// The source as the engine reads it, or why it cannot.
    program: Result<String, rewrite::Fault>,
    pub(super) name: String,
    /// Whether it marks what the assistant says.
    pub(super) marks_generation: bool,
    /// Special tokens and what else the folder defines.
    variables: Map<String, Value>,
    /// The template that is used where tools are given.
    pub(super) with_tools: Option<Box<ChatTemplate>>,
    /// The names of the templates, where none is the default.
    names: Option<Vec<String>>,
}

/// Follows the content that is to be continued; the space tells whether the template trims.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// A template from its source; `variables` are what it sees in every conversation, above all
    /// the special tokens (`bos_token`, `eos_token` …).
    ///
    /// # Errors
    /// [`ChatError::Template`] for a source that is no Jinja.
    pub fn new(source: &str, variables: Map<String, Value>) -> Result<Self, ChatError> {
        let template = Self::unchecked(source, variables, "chat template".into());
        let limits = Limits::default();
        let program = template.program()?;
        template.guarded(&limits, || {
            let env = environment(&limits, NaiveDateTime::default(), None);
            env.template_from_str(program).map(drop)
        })?;
        Ok(template)
    }

    /// A template whose source is looked at when it is rendered.
    pub(super) fn unchecked(source: &str, variables: Map<String, Value>, name: String) -> Self {
        // As Jinja reads a source, whatever wrote the file.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let (source, marks_generation) = marks::replace_blocks(&source);
        let program = rewrite::rewrite(&source);
        Self { source, program, name, marks_generation, variables, with_tools: None, names: None }
    }

    /// What stands for a default template that is not there.
    pub(super) fn absent(name: String, names: Vec<String>) -> Self {
        Self { names: Some(names), ..Self::unchecked("", Map::new(), name) }
    }

    /// The template for these options: some folders have one for conversations with tools.
    pub(super) fn chosen(&self, options: &RenderOptions) -> &Self {
        match &self.with_tools {
            Some(template) if !options.tools.is_empty() => template,
            _ => self,
        }
    }

    fn program(&self) -> Result<&str, ChatError> {
        self.program.as_deref().map_err(|(line, message)| ChatError::Template {
            template: self.name.clone(),
            line: *line,
            message: message.clone(),
        })
    }

    /// Runs the engine. On some expressions it panics (3.0.5: the empty text read backwards,
    /// `''[::-1]`); a template must not end its host for that.
    fn guarded<T>(
        &self,
        limits: &Limits,
        run: impl FnOnce() -> Result<T, minijinja::Error>,
    ) -> Result<T, ChatError> {
        // Nothing that the engine touched is used after a panic: it was made for this call.
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|e| self.error(e, limits)),
            Err(_) => Err(ChatError::Template {
                template: self.name.clone(),
                line: 0,
                message: "the template engine failed on an expression".into(),
            }),
        }
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// What the template raises, an error in it, or a limit that it passes.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, ChatError> {
        let visible: Vec<Value> = messages.iter().map(Message::visible).collect();
        let template = self.chosen(options);
        match options.continue_final_message {
            true => template.render_continued(visible, options),
            false => template.render_values(&visible, options, None),
        }
    }

    /// Whether another template makes the same text of every conversation in the same way: the same
    /// source with the same special tokens, whatever files they come from.
    pub fn renders_as(&self, other: &Self) -> bool {
        let with_tools = match (&self.with_tools, &other.with_tools) {
            (Some(a), Some(b)) => a.renders_as(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        with_tools
            && self.source == other.source
            && self.variables == other.variables
            && self.names == other.names
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The text, with these marks around what a generation block holds.
    pub(super) fn render_values(
        &self,
        messages: &[Value],
        options: &RenderOptions,
        marks: Option<[char; 2]>,
    ) -> Result<String, ChatError> {
        if let Some(names) = &self.names {
            return Err(ChatError::NoDefault { template: self.name.clone(), names: names.clone() });
        }
        let now = options.now.unwrap_or_else(|| chrono::Local::now().naive_local());
        let list = |values: &[Value]| match values {
            [] => Value::Null,
            values => values.to_vec().into(),
        };
        let mut context = self.variables.clone();
        context.extend(options.variables.clone());
        context.insert("messages".into(), messages.to_vec().into());
        context.insert("tools".into(), list(&options.tools));
        context.insert("documents".into(), list(&options.documents));
        context.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        let program = self.program()?;
        let bytes = self.guarded(&options.limits, || {
            let env = environment(&options.limits, now, marks);
            let template = env.template_from_str(program)?;
            let mut out = Limited { bytes: Vec::new(), limit: options.limits.output };
            template.render_captured_to(engine_value(&Value::Object(context)), &mut out)?;
            Ok(out.bytes)
        })?;
        String::from_utf8(bytes).map_err(|e| ChatError::Template {
            template: self.name.clone(),
            line: 0,
            message: e.to_string(),
        })
    }

    /// Renders with a tag after the final message's text and cuts the result there.
    fn render_continued(
        &self,
        mut messages: Vec<Value>,
        options: &RenderOptions,
    ) -> Result<String, ChatError> {
        let fail = |reason| ChatError::Continue { template: self.name.clone(), reason };
        let last = messages.last_mut().ok_or_else(|| fail("the conversation is empty"))?;
        let content = last.get_mut("content").ok_or_else(|| fail("it has no content"))?;
        let text = match content {
            Value::Array(parts) => {
                let texts = parts.iter_mut().rev().find_map(|part| part.get_mut("text"));
                texts.ok_or_else(|| fail("it has no text"))?
            }
            content => content,
        };
        let original = text.as_str().ok_or_else(|| fail("its content is no text"))?.to_owned();
        *text = Value::String(original.clone() + CONTINUE);
        let rendered = self.render_values(&messages, options, None)?;
        let tag = CONTINUE.trim();
        let at = rendered.rfind(tag).filter(|_| rendered.contains(original.trim()));
        let at = at.ok_or_else(|| fail("the template does not render its content"))?;
        let spaced = rendered[at..].starts_with(CONTINUE);
        Ok(if spaced { rendered[..at].to_owned() } else { rendered[..at].trim_end().to_owned() })
    }

    fn error(&self, error: minijinja::Error, limits: &Limits) -> ChatError {
        let template = self.name.clone();
        let mut cause = error.source();
        while let Some(e) = cause {
            if let Some(Raised(message)) = e.downcast_ref::<Raised>() {
                return ChatError::Raised { template, message: message.clone() };
            }
            if e.is::<TooLong>() || e.downcast_ref::<std::io::Error>().is_some() {
                return ChatError::Output { template, limit: limits.output };
            }
            cause = e.source();
        }
        if error.kind() == ErrorKind::OutOfFuel {
            return ChatError::Fuel { template, limit: limits.fuel };
        }
        let detail = error.detail().map_or(String::new(), |d| format!(": {d}"));
        let message = format!("{}{detail}", error.kind());
        ChatError::Template { template, line: error.line().unwrap_or(0), message }
    }
}

/// A JSON value as the engine holds it, with the keys of objects in their order.
fn engine_value(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(flag) => minijinja::Value::from(*flag),
        Value::String(text) => minijinja::Value::from(text.as_str()),
        Value::Array(items) => items.iter().map(engine_value).collect(),
        Value::Object(fields) => {
            let pair = |(key, value): (&String, &Value)| (key.clone(), engine_value(value));
            minijinja::Value::from_pairs(fields.iter().map(pair))
        }
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), ..) => minijinja::Value::from(n),
            (_, Some(n), _) => minijinja::Value::from(n),
            (.., x) => minijinja::Value::from(x.unwrap_or(f64::NAN)),
        },
    }
}

/// A buffer that refuses more than so many bytes.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(std::io::Error::other(TooLong));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
