//! A client for one API: base URL, credential, rate cap and breaker in one place; adapters only say what to send.

use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

use super::breaker::Breaker;
use super::dialect::{Dialect, Judgement};
use super::mint::Mint;
use crate::aws::secrets::Secrets;
use crate::calls::{self, Api, ErrorKind};
use crate::domain::failure::Failure;
use crate::engine::Deadline;

/// The longest that one call may take.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How much of an error's text is kept, in characters.
const MAX_ERROR_TEXT: usize = 1000;

/// How often a credential is re-read at most after it was refused.
const REREAD_CREDENTIAL_AFTER: Duration = Duration::from_secs(30);

/// How old a token must be to be renewed because it was refused.
const RENEW_TOKEN_AFTER: Duration = Duration::from_secs(5);

/// The longest that an API is left alone because its allowance is used up, before one call shows whether it still is.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// A call did not bring what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not made: the host has failed too often and is left alone for a while.
    #[error("{api} has failed several times in a row and is left alone for {}s", .retry_after.as_secs())]
    BreakerOpen {
        /// Which API.
        api: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// It was not made: the API has asked to be left alone for a while.
    #[error("{api} has asked for no more calls for {}s: {allowance}", .retry_after.as_secs())]
    AskedToWait {
        /// Which API.
        api: &'static str,
        /// When to try again.
        retry_after: Duration,
        /// Which allowance is used up.
        allowance: String,
    },
    /// It was not made: the invocation ends too soon, or the rate cap lets no call through before it does.
    #[error("{api} was not called: the time of this invocation is up")]
    OutOfTime {
        /// Which API.
        api: &'static str,
    },
    /// Too many calls.
    #[error("{api} answered {status}: too many calls{}", .allowance.as_ref().map(|used| format!(" ({used})")).unwrap_or_default())]
    RateLimited {
        /// Which API.
        api: &'static str,
        /// The status it answered.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// Which allowance is used up, where it says so.
        allowance: Option<String>,
    },
    /// The other side is down or slow.
    #[error("{api} is unavailable: {problem}")]
    Unavailable {
        /// Which API.
        api: &'static str,
        /// A status, or what happened on the way.
        problem: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// False if there was no answer at all: it may still be at the request.
        answered: bool,
    },
    /// The credential was refused, and there is no newer one yet.
    #[error("{api} refuses the credential with {status}: put a valid one into the parameter {parameter} and deploy")]
    Unauthorized {
        /// Which API.
        api: &'static str,
        /// 401 or 403.
        status: u16,
        /// The parameter that holds it.
        parameter: &'static str,
    },
    /// The credential is good, and may not do this.
    #[error(
        "{api} does not allow the {what} with {status}: {text}; give the credential of {parameter} the right to it"
    )]
    NotAllowed {
        /// Which API.
        api: &'static str,
        /// What was sent or asked for.
        what: &'static str,
        /// The status it answered.
        status: u16,
        /// The beginning of its own words.
        text: String,
        /// The parameter that holds the credential.
        parameter: &'static str,
    },
    /// Something that it needs once is not there yet.
    #[error("{api} is not set up: {problem}")]
    NotSetUp {
        /// Which API.
        api: &'static str,
        /// What is missing, and what to do.
        problem: String,
    },
    /// There is no such thing: often an answer, not an error.
    #[error("{api} knows no {what}")]
    NotFound {
        /// Which API.
        api: &'static str,
        /// What was asked for.
        what: &'static str,
        /// True if the API says that there was one and will be none again (410).
        gone: bool,
    },
    /// The request will never be accepted as it is.
    #[error("{api} refuses the {what} with {status}: {text}")]
    Rejected {
        /// Which API.
        api: &'static str,
        /// What was sent or asked for.
        what: &'static str,
        /// The status it answered.
        status: u16,
        /// The beginning of its own words. They may name people: to be stored, never logged.
        text: String,
    },
    /// The answer is not what the API's description promises.
    #[error("{api} answered something else than a {what}: {problem}")]
    Unreadable {
        /// Which API.
        api: &'static str,
        /// What was asked for.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl CallError {
    /// The same of something that is always there, such as a collection: a 404 for one means that the address is wrong or a
    /// route is gone. No message is at fault, and each is tried again until that is mended.
    #[must_use]
    pub fn of_a_collection(self, base_url_parameter: &'static str) -> Self {
        match self {
            Self::NotFound { api, what, .. } => Self::Unavailable {
                api,
                problem: format!("it answered 404 or 410 for the {what}; check the parameter {base_url_parameter}"),
                retry_after: None,
                answered: true,
            },
            other => other,
        }
    }

    /// How it failed, of a call that was made; none if it was not, or if it was answered that there is no such thing.
    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::BreakerOpen { .. } | Self::AskedToWait { .. } | Self::OutOfTime { .. } | Self::NotFound { .. } => {
                None
            }
            Self::RateLimited { .. } => Some(ErrorKind::RateLimited),
            Self::Unavailable { answered: false, .. } => Some(ErrorKind::NoAnswer),
            Self::Unavailable { .. } => Some(ErrorKind::Unavailable),
            Self::Unauthorized { .. } => Some(ErrorKind::Unauthorized),
            Self::NotAllowed { .. } => Some(ErrorKind::NotAllowed),
            Self::NotSetUp { .. } => Some(ErrorKind::NotSetUp),
            Self::Rejected { .. } => Some(ErrorKind::Rejected),
            Self::Unreadable { .. } => Some(ErrorKind::Unreadable),
        }
    }

    /// What the engine should do about it. `classes` are the stable names of this API's failures.
    #[must_use]
    pub fn into_failure(self, classes: &FailureClasses) -> Failure {
        let what = self.to_string();
        match self {
            Self::BreakerOpen { retry_after, .. } => {
                Failure::Untried { class: classes.breaker_open, what, retry_after }
            }
            Self::AskedToWait { retry_after, .. } => {
                Failure::Untried { class: classes.rate_limited, what, retry_after }
            }
            Self::OutOfTime { .. } => {
                Failure::Untried { class: classes.out_of_time, what, retry_after: Duration::from_secs(1) }
            }
            Self::RateLimited { retry_after, .. } => {
                Failure::Transient { class: classes.rate_limited, what, retry_after }
            }
            Self::Unavailable { retry_after, .. } => {
                Failure::Transient { class: classes.unavailable, what, retry_after }
            }
            // Right again as soon as the credential is: nothing is wrong with the message.
            Self::Unauthorized { .. } | Self::NotAllowed { .. } => Failure::transient(classes.unauthorized, what),
            Self::NotSetUp { .. } => Failure::transient(classes.not_set_up, what),
            // An answer that cannot be read may come from a proxy in front of the API; another try costs little.
            Self::Unreadable { .. } => Failure::transient(classes.unreadable, what),
            Self::NotFound { .. } | Self::Rejected { .. } => Failure::permanent(classes.rejected, what),
        }
    }
}

/// The stable names of an API's failures.
#[derive(Debug, Clone, Copy)]
pub struct FailureClasses {
    /// The breaker is open.
    pub breaker_open: &'static str,
    /// No time was left for a call.
    pub out_of_time: &'static str,
    /// Too many calls.
    pub rate_limited: &'static str,
    /// Down or slow.
    pub unavailable: &'static str,
    /// The credential was refused.
    pub unauthorized: &'static str,
    /// Something that it needs once is not there yet.
    pub not_set_up: &'static str,
    /// The answer cannot be read.
    pub unreadable: &'static str,
    /// The request will never be accepted.
    pub rejected: &'static str,
}

/// The credential of an API.
pub enum Credential {
    /// None: the address itself is one.
    None,
    /// A fixed one, for tests and tools.
    Fixed(SecretString),
    /// One that lies in Secrets Manager: read when first needed, and again when it is refused.
    Stored {
        /// Reads it.
        secrets: Secrets,
        /// Which secret.
        arn: String,
    },
    /// An access token that is got for other credentials, kept until it ends or is refused.
    Minted(Mint),
}

impl Credential {
    /// What is kept, which the API itself is not asked for.
    ///
    /// # Errors
    /// If it cannot be read, or is empty.
    pub(super) async fn kept(&self, api: &'static str, parameter: &str) -> Result<SecretString, CallError> {
        let unavailable = |problem: String| CallError::Unavailable { api, problem, retry_after: None, answered: false };
        match self {
            Self::None | Self::Minted(_) => Ok(SecretString::default()),
            Self::Fixed(token) => Ok(token.clone()),
            Self::Stored { secrets, arn } => {
                let text = secrets.read(arn).await.map_err(|error| unavailable(error.to_string()))?;
                let text = text.ok_or_else(|| unavailable(format!("the secret behind {parameter} is empty")))?;
                Ok(SecretString::from(text.expose_secret().trim().to_owned()))
            }
        }
    }
}

/// What distinguishes one API from another.
pub struct ApiSettings {
    /// Its name in errors, for example `the CRM`.
    pub name: &'static str,
    /// Its base URL; the path ends in a slash.
    pub base_url: Url,
    /// Its credential.
    pub credential: Credential,
    /// The parameter that holds the credential, for people who must mend it.
    pub credential_parameter: &'static str,
    /// How many calls this instance may make in a second; absent for no cap.
    pub calls_per_second: Option<f64>,
}

/// What an API answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The connection pool of a process, to be shared by all APIs.
///
/// # Errors
/// If no TLS configuration can be built, for example without root certificates.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("crm-autopilot/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(3))
        .timeout(LONGEST_CALL)
        // A frozen instance may wake long after the other side has closed its connections.
        .pool_idle_timeout(Duration::from_secs(20))
        // An API has no reason to redirect, and a credential must not follow one to another host.
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Calls one API.
pub struct ApiClient {
    http: reqwest::Client,
    settings: ApiSettings,
    breaker: Breaker,
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, DefaultClock>>,
    line: tokio::sync::Mutex<()>,
    token: Mutex<Option<Token>>,
    minting: tokio::sync::Mutex<()>,
    dialect: Dialect,
    asked_to_wait: Mutex<Option<(Instant, String)>>,
    made: AtomicU64,
    measured_as: Option<Api>,
}

/// A credential at hand.
#[derive(Debug, Clone)]
struct Token {
    text: SecretString,
    read_at: Instant,
    ends_at: Option<Instant>,
}

impl ApiClient {
    /// A client for the API.
    #[must_use]
    pub fn new(http: reqwest::Client, settings: ApiSettings) -> Self {
        // Evenly spaced, without bursts: the cap then holds in every second, whichever way it is cut.
        let limiter = settings
            .calls_per_second
            .filter(|calls| calls.is_finite() && *calls > 0.0)
            .and_then(|calls| Quota::with_period(Duration::from_secs_f64(1.0 / calls)))
            .map(RateLimiter::direct);
        Self {
            http,
            settings,
            breaker: Breaker::default(),
            limiter,
            line: tokio::sync::Mutex::default(),
            token: Mutex::default(),
            minting: tokio::sync::Mutex::default(),
            dialect: Dialect::default(),
            asked_to_wait: Mutex::default(),
            made: AtomicU64::new(0),
            measured_as: None,
        }
    }

    /// The same client, whose calls count in the metrics of this API.
    #[must_use]
    pub fn measured_as(mut self, api: Api) -> Self {
        self.measured_as = Some(api);
        self
    }

    /// The same client for an API that speaks in a way of its own.
    #[must_use]
    pub fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The API's name in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    /// The API's base URL.
    #[must_use]
    pub fn base_url(&self) -> &Url {
        &self.settings.base_url
    }

    /// A request to a path below the base URL; each segment is percent-encoded, because outside ids may hold
    /// `/`, `#` and `=`.
    #[must_use]
    pub fn request<'a>(&'a self, method: Method, segments: &[&str], what: &'static str) -> ApiRequest<'a> {
        let mut url = self.settings.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        ApiRequest { client: self, what, request: self.http.request(method, url) }
    }

    /// Judges an answer that came as a part of another one, as in a batch, as if it had come alone.
    ///
    /// # Errors
    /// Those of a call. After a credential that was refused in a part, the next call gets another one.
    pub fn judge_part(&self, status: StatusCode, body: Vec<u8>, what: &'static str) -> Result<Reply, CallError> {
        if status == StatusCode::UNAUTHORIZED {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.judge(Reply { status, headers: HeaderMap::new(), body }, what)
    }

    /// How many calls have been made so far, those that failed included.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Sends a request with the credential, and once more with a fresh one if that was refused.
    async fn send(&self, request: reqwest::RequestBuilder, deadline: Deadline) -> Result<Reply, CallError> {
        if matches!(self.settings.credential, Credential::None) {
            return self.send_once(request, deadline).await;
        }
        let token = self.token(None, deadline).await?;
        let second = request.try_clone();
        let reply = self.send_once(self.dialect.authorization.put_on(request, &token.text), deadline).await?;
        let (refusals, patience): (&[StatusCode], _) = match self.settings.credential {
            Credential::Minted(_) => (&[StatusCode::UNAUTHORIZED], RENEW_TOKEN_AFTER),
            _ => (&[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN], REREAD_CREDENTIAL_AFTER),
        };
        let refused = refusals.contains(&reply.status);
        // The secret may have been changed since this instance read it, and a token may have ended.
        match second.filter(|_| refused && token.read_at.elapsed() >= patience) {
            Some(second) => {
                let fresh = self.token(Some(token.read_at), deadline).await?;
                self.send_once(self.dialect.authorization.put_on(second, &fresh.text), deadline).await
            }
            None => Ok(reply),
        }
    }

    /// One exchange: breaker, rate cap, time-outs. Answers whatever status came.
    async fn send_once(&self, request: reqwest::RequestBuilder, deadline: Deadline) -> Result<Reply, CallError> {
        let api = self.settings.name;
        // Asked before waiting for one's turn: a turn that ends in a refusal would be wasted.
        if let Some(retry_after) = self.breaker.refuses_for() {
            return Err(CallError::BreakerOpen { api, retry_after });
        }
        self.keep_waiting()?;
        if let Some(limiter) = &self.limiter {
            // In the order of asking, so that mails begun first end first instead of all running out of time together.
            let turn = async {
                let _first_in_line = self.line.lock().await;
                limiter.until_ready().await;
            };
            tokio::time::timeout(deadline.left(), turn).await.map_err(|_| CallError::OutOfTime { api })?;
        }
        let left = deadline.left().min(LONGEST_CALL);
        if left < Duration::from_millis(100) {
            return Err(CallError::OutOfTime { api });
        }
        self.breaker.admit().map_err(|retry_after| CallError::BreakerOpen { api, retry_after })?;
        self.made.fetch_add(1, Ordering::Relaxed);
        let exchange = async {
            let response = request.timeout(left).send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = bounded_body(response).await?;
            Ok::<_, ExchangeError>(Reply { status, headers, body })
        };
        let under_way = UnderWay { api: self.measured_as, begun: Instant::now(), is_over: false };
        let result = exchange.await;
        under_way.ends();
        self.breaker.record(match &result {
            Ok(reply) => self.is_at_fault(reply),
            Err(_) => true,
        });
        result.map_err(|error| CallError::Unavailable {
            api,
            problem: error.to_string(),
            retry_after: None,
            answered: false,
        })
    }

    /// True if the answer says that the API is in trouble, and nothing of the request.
    fn is_at_fault(&self, reply: &Reply) -> bool {
        match self.own_words(reply) {
            Some(judgement) => matches!(judgement, Judgement::TooManyCalls { .. } | Judgement::Unavailable { .. }),
            None => is_transient(reply.status),
        }
    }

    fn own_words(&self, reply: &Reply) -> Option<Judgement> {
        if reply.status.is_success() { None } else { (self.dialect.judge)(reply) }
    }

    /// An error while the API is to be left alone.
    fn keep_waiting(&self) -> Result<(), CallError> {
        let asked = self.asked_to_wait.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asked {
            Some((until, allowance)) if *until > Instant::now() => Err(CallError::AskedToWait {
                api: self.settings.name,
                retry_after: *until - Instant::now(),
                allowance: allowance.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn wait(&self, wait: Duration, allowance: &str) {
        // Not for good: whoever raises an allowance should not have to wait for its day to end.
        let until = Instant::now() + wait.min(LONGEST_WAIT);
        *self.asked_to_wait.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, allowance.to_owned()));
    }

    fn judge(&self, reply: Reply, what: &'static str) -> Result<Reply, CallError> {
        self.verdict(reply, what).inspect_err(|error| self.count(error))
    }

    /// Counts an error in the metrics.
    fn count(&self, error: &CallError) {
        if let (Some(api), Some(kind)) = (self.measured_as, error.kind()) {
            calls::failed(api, kind);
        }
    }

    fn verdict(&self, reply: Reply, what: &'static str) -> Result<Reply, CallError> {
        let api = self.settings.name;
        let status = reply.status;
        let parameter = self.settings.credential_parameter;
        if status.is_success() {
            if let Some((wait, allowance)) = (self.dialect.allowance)(&reply.headers) {
                self.wait(wait, allowance);
            }
            return Ok(reply);
        }
        if let Some(judgement) = self.own_words(&reply) {
            let status = status.as_u16();
            return Err(match judgement {
                Judgement::TooManyCalls { wait, allowance } => {
                    self.wait(wait, &allowance);
                    CallError::RateLimited { api, status, retry_after: Some(wait), allowance: Some(allowance) }
                }
                Judgement::Unavailable { problem, wait } => {
                    CallError::Unavailable { api, problem, retry_after: wait, answered: true }
                }
                Judgement::Refused { words } => CallError::Rejected { api, what, status, text: beginning(&words) },
                Judgement::NotAllowed { words } => {
                    CallError::NotAllowed { api, what, status, text: beginning(&words), parameter }
                }
                Judgement::CredentialRefused => CallError::Unauthorized { api, status, parameter },
                Judgement::NotFound => CallError::NotFound { api, what, gone: false },
            });
        }
        let retry_after = retry_after(&reply.headers);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => {
                CallError::RateLimited { api, status: status.as_u16(), retry_after, allowance: None }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                CallError::Unauthorized { api, status: status.as_u16(), parameter }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                CallError::NotFound { api, what, gone: status == StatusCode::GONE }
            }
            _ if is_transient(status) => CallError::Unavailable {
                api,
                problem: format!("it answered {}", status.as_u16()),
                retry_after,
                answered: true,
            },
            // From a maintenance or sign-on page in front of the API: it passes.
            _ if status.is_redirection() => {
                CallError::Unreadable { api, what, problem: format!("a redirect ({})", status.as_u16()) }
            }
            _ => CallError::Rejected {
                api,
                what,
                status: status.as_u16(),
                text: beginning(&String::from_utf8_lossy(&reply.body)),
            },
        })
    }

    /// The credential; read again, or renewed, if the one read at `stale` was refused.
    async fn token(&self, stale: Option<Instant>, deadline: Deadline) -> Result<Token, CallError> {
        let is_good = |token: &Token| {
            stale != Some(token.read_at) && token.ends_at.is_none_or(|ends_at| Instant::now() < ends_at)
        };
        if let Some(token) = self.token_at_hand().filter(is_good) {
            return Ok(token);
        }
        // One asks for all: the others find what it got.
        let _alone = self.minting.lock().await;
        if let Some(token) = self.token_at_hand().filter(is_good) {
            return Ok(token);
        }
        let (api, parameter) = (self.settings.name, self.settings.credential_parameter);
        let fresh = match &self.settings.credential {
            Credential::Minted(mint) => {
                let minted = mint.mint(&self.http, api, parameter, deadline).await?;
                let read_at = Instant::now();
                Token { text: minted.token, read_at, ends_at: minted.lives_for.map(|lives_for| read_at + lives_for) }
            }
            credential => {
                let text = credential.kept(api, parameter).await?;
                Token { text, read_at: Instant::now(), ends_at: None }
            }
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    fn token_at_hand(&self) -> Option<Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The beginning of an API's own words.
fn beginning(words: &str) -> String {
    words.chars().take(MAX_ERROR_TEXT).collect()
}

/// A request under construction.
pub struct ApiRequest<'a> {
    client: &'a ApiClient,
    what: &'static str,
    request: reqwest::RequestBuilder,
}

impl ApiRequest<'_> {
    /// Adds parameters to the query, encoded.
    #[must_use]
    pub fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        self.request = self.request.query(parameters);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sets the body to text of a kind of its own.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: String) -> Self {
        self.request = self.request.header(reqwest::header::CONTENT_TYPE, content_type).body(body);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn json(mut self, body: &impl serde::Serialize) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends it and answers a success, whatever it carries.
    pub async fn send(self, deadline: Deadline) -> Result<Reply, CallError> {
        self.send_with_headers(deadline).await.1
    }

    /// Sends it and answers what [`Self::send`] does, and beside it the headers of the answer, of an error too; none if
    /// there was no answer.
    pub async fn send_with_headers(self, deadline: Deadline) -> (HeaderMap, Result<Reply, CallError>) {
        match self.client.send(self.request, deadline).await {
            Ok(reply) => (reply.headers.clone(), self.client.judge(reply, self.what)),
            Err(error) => {
                self.client.count(&error);
                (HeaderMap::new(), Err(error))
            }
        }
    }

    /// Sends it and reads the answer as JSON.
    pub async fn read<T: DeserializeOwned>(self, deadline: Deadline) -> Result<T, CallError> {
        let (client, what) = (self.client, self.what);
        let reply = self.send(deadline).await?;
        serde_json::from_slice(&reply.body).map_err(|error| {
            // The position alone: the words around it may be personal.
            let problem = format!("{:?} error at line {}, column {}", error.classify(), error.line(), error.column());
            let error = CallError::Unreadable { api: client.settings.name, what, problem };
            client.count(&error);
            error
        })
    }
}

/// A call that is being made. One that is cut off, because the work it belongs to is, counts as not answered.
struct UnderWay {
    api: Option<Api>,
    begun: Instant,
    is_over: bool,
}

impl UnderWay {
    fn ends(mut self) {
        self.is_over = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(api) = self.api {
            calls::took(api, self.begun.elapsed());
            if !self.is_over {
                calls::failed(api, ErrorKind::NoAnswer);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("its answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// The causes of an error in one line, without the URL, which may hold an address.
fn chain(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it could not be connected"
    } else {
        "the connection failed"
    };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| kind.to_owned(), |cause| format!("{kind} ({cause})"))
}

async fn bounded_body(mut response: reqwest::Response) -> Result<Vec<u8>, ExchangeError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(ExchangeError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Statuses after which another try may succeed.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

/// `Retry-After` in seconds or as an HTTP date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(at.duration_since(jiff::Timestamp::now()).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use wiremock::matchers::{any, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn client(server: &MockServer) -> ApiClient {
        ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "the CRM",
                base_url: crate::configuration::parse_base_url(&format!("{}/api", server.uri())).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("token")),
                credential_parameter: "CrmApiKey",
                calls_per_second: None,
            },
        )
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    async fn answering(template: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(template).mount(&server).await;
        server
    }

    #[tokio::test]
    async fn ids_of_every_form_arrive_as_one_path_segment() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/api/contacts/a%2Fb%23c=d%20e%3F"))
            .and(header("authorization", "Bearer token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": 1})))
            .mount(&server)
            .await;
        let client = client(&server);
        let answer: Value =
            client.request(Method::GET, &["contacts", "a/b#c=d e?"], "contact").read(soon()).await.expect("an answer");
        assert_eq!(answer, json!({"id": 1}));
    }

    #[tokio::test]
    async fn statuses_are_told_apart_by_what_they_ask_for() {
        for (status, class) in [
            (408, "down"),
            (425, "down"),
            (429, "limited"),
            (500, "down"),
            (503, "down"),
            (401, "key"),
            (403, "key"),
            (400, "never"),
            (404, "never"),
            (409, "never"),
            (422, "never"),
            (302, "odd"),
        ] {
            let server = answering(ResponseTemplate::new(status).set_body_string("no")).await;
            let error = client(&server)
                .request(Method::GET, &["contacts"], "contacts")
                .send(soon())
                .await
                .expect_err("an error");
            let failure = error.into_failure(&FailureClasses {
                breaker_open: "open",
                out_of_time: "time",
                rate_limited: "limited",
                unavailable: "down",
                unauthorized: "key",
                not_set_up: "bare",
                unreadable: "odd",
                rejected: "never",
            });
            assert_eq!(failure.class(), class, "{status}");
            assert_eq!(matches!(failure, Failure::Permanent { .. }), class == "never", "{status}");
        }
    }

    #[tokio::test]
    async fn retry_after_is_read_as_seconds_and_as_a_date() {
        let server = answering(ResponseTemplate::new(429).insert_header("retry-after", "17")).await;
        let error = client(&server).request(Method::GET, &["x"], "x").send(soon()).await.expect_err("an error");
        assert_eq!(
            error,
            CallError::RateLimited {
                api: "the CRM",
                status: 429,
                retry_after: Some(Duration::from_secs(17)),
                allowance: None
            }
        );
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Fri, 31 Dec 2100 23:59:59 GMT".parse().expect("a value"));
        assert!(retry_after(&headers).is_some_and(|wait| wait > Duration::from_secs(1_000_000)));
        for odd in ["soon", "-5", ""] {
            headers.insert(RETRY_AFTER, odd.parse().expect("a value"));
            assert_eq!(retry_after(&headers), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn call_ends_within_the_time_that_is_left() {
        let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
        let begun = Instant::now();
        let deadline = Deadline::after(Duration::from_millis(300));
        let error = client(&server).request(Method::GET, &["x"], "x").send(deadline).await.expect_err("an error");
        assert!(matches!(error, CallError::Unavailable { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn call_without_time_left_is_not_made() {
        let server = answering(ResponseTemplate::new(200)).await;
        let over = Deadline::after(Duration::ZERO);
        let error = client(&server).request(Method::GET, &["x"], "x").send(over).await.expect_err("an error");
        assert_eq!(error, CallError::OutOfTime { api: "the CRM" });
        assert!(server.received_requests().await.expect("recorded").is_empty());
    }

    #[tokio::test]
    async fn host_that_fails_five_times_in_a_row_is_not_called_a_sixth() {
        let server = answering(ResponseTemplate::new(503)).await;
        let client = client(&server);
        for _ in 0..5 {
            client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("down");
        }
        let error = client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("left alone");
        assert!(matches!(error, CallError::BreakerOpen { .. }), "{error}");
        assert_eq!(server.received_requests().await.expect("recorded").len(), 5);
    }

    #[tokio::test]
    async fn rate_cap_spaces_calls_evenly() {
        let server = answering(ResponseTemplate::new(200)).await;
        let mut client = client(&server);
        client.limiter = Quota::with_period(Duration::from_millis(50)).map(RateLimiter::direct);
        let begun = Instant::now();
        for _ in 0..5 {
            client.request(Method::GET, &["x"], "x").send(soon()).await.expect("an answer");
        }
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn answer_of_another_shape_is_told_without_its_words() {
        let server = answering(ResponseTemplate::new(200).set_body_string("<html>dana@acme.example</html>")).await;
        let result: Result<Value, _> = client(&server).request(Method::GET, &["x"], "contact").read(soon()).await;
        let text = result.expect_err("unreadable").to_string();
        assert!(text.contains("contact") && !text.contains("dana"), "{text}");
    }

    #[tokio::test]
    async fn connection_that_fails_is_told_without_the_url() {
        let server = answering(ResponseTemplate::new(200)).await;
        let client = client(&server);
        drop(server);
        let error = client
            .request(Method::GET, &["contacts"], "contacts")
            .query(&[("email", "dana@acme.example")])
            .send(soon())
            .await;
        if let Err(error) = error {
            assert!(matches!(error, CallError::Unavailable { .. }) && !error.to_string().contains("dana"), "{error}");
        }
    }

    fn speaking(server: &MockServer, credential: Credential, dialect: Dialect) -> ApiClient {
        let settings = ApiSettings {
            name: "the CRM",
            base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
            credential,
            credential_parameter: "CrmApiKey",
            calls_per_second: None,
        };
        ApiClient::new(http_client().expect("a client"), settings).speaking(dialect)
    }

    fn key(text: &str) -> Credential {
        Credential::Fixed(SecretString::from(text))
    }

    #[tokio::test]
    async fn credential_is_sent_as_the_api_wants_it() {
        use crate::http::Authorization::{BasicOrBearer, Bearer, Header};
        for (authorization, credential, name, value) in [
            (Bearer, "a:b", "authorization", "Bearer a:b"),
            (BasicOrBearer, "a:b", "authorization", "Basic YTpi"),
            (BasicOrBearer, "ab", "authorization", "Bearer ab"),
            (Header("x-api-token"), "ab", "x-api-token", "ab"),
        ] {
            let server = answering(ResponseTemplate::new(200)).await;
            let client = speaking(&server, key(credential), Dialect { authorization, ..Dialect::default() });
            client.request(Method::GET, &["x"], "x").send(soon()).await.expect("an answer");
            let requests = server.received_requests().await.expect("recorded");
            assert_eq!(requests[0].headers[name], value, "{authorization:?}");
        }
    }

    #[tokio::test]
    async fn api_that_asks_for_no_more_calls_gets_none_until_then_and_no_message_is_at_fault() {
        let dialect = Dialect {
            judge: |_| {
                let allowance = "daily calls".to_owned();
                Some(Judgement::TooManyCalls { wait: Duration::from_mins(2), allowance })
            },
            ..Dialect::default()
        };
        let server = answering(ResponseTemplate::new(403)).await;
        let client = speaking(&server, key("k"), dialect);
        let first = client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("too many");
        assert!(matches!(first, CallError::RateLimited { retry_after: Some(_), .. }), "{first:?}");
        let second = client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("held");
        assert!(matches!(second, CallError::AskedToWait { .. }) && second.to_string().contains("daily calls"));
        assert_eq!(server.received_requests().await.expect("recorded").len(), 1);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(121)).await;
        tokio::time::resume();
        let third = client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("too many");
        assert!(matches!(third, CallError::RateLimited { .. }), "{third:?}");
    }

    #[tokio::test]
    async fn allowance_that_a_success_uses_up_holds_the_next_call() {
        let dialect = Dialect { allowance: |_| Some((Duration::from_secs(9), "burst")), ..Dialect::default() };
        let server = answering(ResponseTemplate::new(200)).await;
        let client = speaking(&server, key("k"), dialect);
        client.request(Method::GET, &["x"], "x").send(soon()).await.expect("an answer");
        let held = client.request(Method::GET, &["x"], "x").send(soon()).await.expect_err("held");
        assert!(matches!(held, CallError::AskedToWait { .. }), "{held:?}");
    }

    #[tokio::test]
    async fn calls_are_measured_and_their_errors_told_apart_by_kind() {
        use crate::calls::{Api, ErrorKind, gathered};
        let kinds = [
            (200, None),
            (404, None),
            (429, Some(ErrorKind::RateLimited)),
            (503, Some(ErrorKind::Unavailable)),
            (401, Some(ErrorKind::Unauthorized)),
            (422, Some(ErrorKind::Rejected)),
            (302, Some(ErrorKind::Unreadable)),
        ];
        for (status, kind) in kinds {
            let server = answering(ResponseTemplate::new(status).set_body_string("dana@acme.example")).await;
            let client = client(&server).measured_as(Api::Crm);
            let call = Box::pin(client.request(Method::GET, &["x"], "x").send(soon()));
            let (_, calls) = gathered(call).await;
            assert_eq!(calls.of(Api::Crm), (1, kind.map(|kind| (kind, 1)).into_iter().collect()), "{status}");
            assert_eq!(calls.of(Api::Nylas), (0, Vec::new()));
        }
        let server = answering(ResponseTemplate::new(200).set_body_string("no JSON")).await;
        let client = client(&server).measured_as(Api::Crm);
        let read = Box::pin(client.request(Method::GET, &["x"], "x").read::<Value>(soon()));
        assert_eq!(gathered(read).await.1.of(Api::Crm), (1, vec![(ErrorKind::Unreadable, 1)]));
    }

    #[tokio::test]
    async fn call_that_is_not_answered_in_time_or_cut_off_is_measured_and_one_that_is_not_made_is_not() {
        use crate::calls::{Api, ErrorKind, gathered};
        let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
        let client = client(&server).measured_as(Api::Nylas);
        let call = |left| Box::pin(client.request(Method::GET, &["x"], "x").send(Deadline::after(left)));
        let (_, too_late) = gathered(call(Duration::from_millis(200))).await;
        assert_eq!(too_late.of(Api::Nylas), (1, vec![(ErrorKind::NoAnswer, 1)]));
        let cut_off = tokio::time::timeout(Duration::from_millis(200), call(Duration::from_secs(20)));
        let (_, cut_off) = gathered(cut_off).await;
        assert_eq!(cut_off.of(Api::Nylas), (1, vec![(ErrorKind::NoAnswer, 1)]));
        let (_, not_made) = gathered(call(Duration::ZERO)).await;
        assert_eq!(not_made.of(Api::Nylas), (0, Vec::new()));
    }

    fn minted(server: &MockServer) -> ApiClient {
        let mint = Mint {
            token_url: crate::configuration::parse_base_url(&format!("{}/token", server.uri())).expect("a URL"),
            credentials: vec![key("the secret")],
            ask: Box::new(|credentials| {
                let form = vec![("client_secret", credentials[0].expose_secret().to_owned())];
                Ok(super::super::TokenRequest { form, basic: None })
            }),
        };
        speaking(server, Credential::Minted(mint), Dialect::default())
    }

    #[tokio::test]
    async fn token_is_got_once_for_many_calls_and_renewed_once_it_is_refused() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(wiremock::matchers::path_regex("/token/?"))
            .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({"access_token": "t1"})))
            .mount(&server)
            .await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let mut client = minted(&server);
        let calls = (0..8).map(|_| client.request(Method::GET, &["x"], "x").send(soon()));
        assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_ok));
        let tokens = async || {
            let requests = server.received_requests().await.expect("recorded");
            requests.iter().filter(|request| request.method == "POST").count()
        };
        assert_eq!(tokens().await, 1);
        // An old token that is refused is renewed, and the call made again.
        server.reset().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({"access_token": "t2"})))
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(wiremock::matchers::header("authorization", "Bearer t2"))
            .respond_with(ResponseTemplate::new(200))
            .mount(&server)
            .await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(401)).with_priority(9).mount(&server).await;
        if let Some(token) = client.token.get_mut().unwrap_or_else(PoisonError::into_inner) {
            token.read_at = Instant::now().checked_sub(RENEW_TOKEN_AFTER).expect("a machine that has run for a while");
        }
        client.request(Method::GET, &["x"], "x").send(soon()).await.expect("made again with the new token");
        assert_eq!(tokens().await, 1);
    }

    #[tokio::test]
    async fn token_that_is_not_given_is_told_with_the_vendors_words_and_the_parameter() {
        let refusal = serde_json::json!({"error": "invalid_client", "error_description": "client secret mismatch"});
        let server = answering(ResponseTemplate::new(400).set_body_json(refusal)).await;
        let error = minted(&server).request(Method::GET, &["x"], "x").send(soon()).await.expect_err("refused");
        let text = error.to_string();
        assert!(matches!(error, CallError::NotAllowed { status: 400, .. }), "{error:?}");
        assert!(text.contains("invalid_client: client secret mismatch") && text.contains("CrmApiKey"), "{text}");
        assert!(!text.contains("the secret"), "{text}");
    }
}
