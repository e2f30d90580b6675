use crate::judge::fault::Fault;
use crate::judge::retry_after::retry_after;
use crate::judge::{JudgeConfig, JudgeError, Secret};
use std::io::Read;
use std::net::IpAddr;
use std::time::SystemTime;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderValue, Response, StatusCode, Uri};
use ureq::{Agent, Body, Error};

/// Bytes of an error page that are read: enough to quote.
const ERROR_BYTES: u64 = 4096;

/// Posts to one endpoint.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    bearer: Option<HeaderValue>,
    limit: u64,
}

impl Client {
    pub(crate) fn new(config: &JudgeConfig) -> Result<Self, JudgeError> {
        let uri = checked(&config.base_url)?;
        let mut agent = Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            // A redirected POST loses its body, and the key would go to another server.
            .max_redirects(0)
            .user_agent("hydralign-rewards");
        if uri.host().is_some_and(is_this_machine) {
            agent = agent.proxy(None);
        }
        Ok(Self {
            agent: agent.build().into(),
            endpoint: format!("{}/chat/completions", config.base_url.trim_end_matches('/')),
            bearer: config.api_key.as_ref().map(bearer).transpose()?,
            limit: config.max_response_bytes,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The body of a successful answer.
    pub(crate) fn post(&self, body: &str) -> Result<Vec<u8>, Fault> {
        let mut request = self.agent.post(&self.endpoint).content_type("application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        let response = request.send(body).map_err(fault)?;
        if response.status().is_success() { self.read(response) } else { Err(refusal(response)) }
    }

    fn read(&self, response: Response<Body>) -> Result<Vec<u8>, Fault> {
        // The limit of the library is the first size that is too large.
        let limit = self.limit.saturating_add(1);
        response.into_body().into_with_config().limit(limit).read_to_vec().map_err(fault)
    }
}

/// A status that is no success, and what was said with it.
fn refusal(response: Response<Body>) -> Fault {
    let (head, body) = response.into_parts();
    let mut page = Vec::new();
    // The status is what counts: a page that breaks off is quoted as far as it came.
    let _ = body.into_reader().take(ERROR_BYTES).read_to_end(&mut page);
    let header = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Fault::Status {
        status: StatusCode::as_u16(&head.status),
        asked_wait: header.and_then(|header| retry_after(header, SystemTime::now())),
        reply: String::from_utf8_lossy(&page).into_owned(),
    }
}

fn fault(error: Error) -> Fault {
    match error {
        Error::Timeout(_) => Fault::TimedOut,
        Error::BodyExceedsLimit(_) => Fault::TooLarge,
        error => Fault::Unreachable { message: error.to_string() },
    }
}

fn checked(base_url: &str) -> Result<Uri, JudgeError> {
    let refused = |message: &str| {
        // The address itself may hold a password, so it is not repeated.
        Err(JudgeError::Config { field: "base_url", message: message.to_owned() })
    };
    let Ok(uri) = base_url.parse::<Uri>() else {
        return refused("is no address");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return refused("must begin with http:// or https:// and a host");
    }
    if base_url.contains(['@', '?', '#']) {
        return refused("must have no user, password, query or fragment");
    }
    Ok(uri)
}

/// A proxy of the environment could not reach what listens here.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

fn bearer(key: &Secret) -> Result<HeaderValue, JudgeError> {
    let sendable = !key.expose().is_empty() && key.expose().bytes().all(|b| b.is_ascii_graphic());
    let value = HeaderValue::try_from(format!("Bearer {}", key.expose()));
    let mut value = value.ok().filter(|_| sendable).ok_or_else(|| JudgeError::Config {
        field: "api_key",
        message: "must be visible ASCII characters without spaces".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
