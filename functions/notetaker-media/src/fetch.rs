//! Fetches what links lead to, and nothing else: over https, from public addresses, from the host that was named, within
//! bounds of size and time. A link is a secret and stands in no error.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::redirect::{Attempt, Policy};
use secrecy::{ExposeSecret as _, SecretString};
use shared::domain::failure::Failure;
use shared::engine::Deadline;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::public_address::{Forbidden, UrlPolicy, check, is_public};

/// How long a host may take to be connected, and to send anything more.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(20);

/// How often a host may lead on to another address of its own.
const MOST_REDIRECTS: usize = 3;

/// The longest recording that is fetched: ten hours of video.
pub const MOST_RECORDING_BYTES: u64 = 20 * 1024 * 1024 * 1024;

/// What is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text of at most so many bytes.
    Text(u64),
    /// Video or sound.
    Recording,
}

impl Kind {
    fn most_bytes(self) -> u64 {
        match self {
            Self::Text(most) => most,
            Self::Recording => MOST_RECORDING_BYTES,
        }
    }

    /// True if a file of this type may be it. Storage often knows no better than that a file is bytes.
    fn takes(self, content_type: &str) -> bool {
        if content_type.is_empty() || content_type.ends_with("/octet-stream") {
            return true;
        }
        match self {
            Self::Text(_) => {
                content_type == "application/json"
                    || content_type.ends_with("+json")
                    || content_type.starts_with("text/") && !matches!(content_type, "text/html" | "text/xml")
            }
            Self::Recording => {
                content_type.starts_with("video/")
                    || content_type.starts_with("audio/")
                    || content_type == "application/mp4"
            }
        }
    }
}

/// Why a file was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The link is not to be followed.
    #[error("its link is not followed: {0}")]
    Forbidden(#[from] Forbidden),
    /// The storage refuses the link: it has expired, or the file is gone.
    #[error("the storage answered {0}")]
    Refused(u16),
    /// The storage is down or slow.
    #[error("the storage is unavailable: {0}")]
    Unavailable(String),
    /// It is not what it should be.
    #[error("it is {0} and not what it should be")]
    OfAnotherType(String),
    /// It is too long to be read.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
}

impl FetchError {
    /// True if another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unavailable(_))
    }
}

/// Follows links.
#[derive(Debug, Clone)]
pub struct Fetcher {
    http: reqwest::Client,
    policy: UrlPolicy,
}

/// A file that comes in.
#[derive(Debug)]
pub struct Download {
    response: reqwest::Response,
    kind: Kind,
    /// Its type, in lower case and without parameters; empty if the storage does not say.
    pub content_type: String,
    /// How long it is, in bytes, where the storage says.
    pub length: Option<u64>,
}

impl Fetcher {
    /// Follows links as far as the policy lets it.
    ///
    /// # Errors
    /// If no TLS configuration can be built.
    pub fn new(policy: UrlPolicy) -> reqwest::Result<Self> {
        Self::resolving(policy, |host| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.collect()) })
        })
    }

    fn resolving(policy: UrlPolicy, look_up: LookUp) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("crm-autopilot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(Policy::custom(within_its_host))
            // A proxy would look hosts up by itself.
            .no_proxy();
        let client = match policy {
            UrlPolicy::Public => client.https_only(true).dns_resolver(Arc::new(PublicAddresses(look_up))),
            UrlPolicy::Any => client,
        };
        Ok(Self { http: client.build()?, policy })
    }

    /// Asks for the file behind a link.
    ///
    /// # Errors
    /// If the link is not to be followed, or does not bring what it should.
    pub async fn open(&self, link: &SecretString, kind: Kind, deadline: Deadline) -> Result<Download, FetchError> {
        let url = check(link.expose_secret(), self.policy)?;
        let asked = tokio::time::timeout(deadline.left(), self.http.get(url).send()).await;
        let response = match asked {
            Ok(answer) => answer.map_err(|error| told(&error))?,
            Err(_) => return Err(FetchError::Unavailable("it did not answer in time".to_owned())),
        };
        let status = response.status();
        if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            return Err(FetchError::Unavailable(format!("it answered {}", status.as_u16())));
        }
        if !status.is_success() {
            return Err(FetchError::Refused(status.as_u16()));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !kind.takes(&content_type) {
            return Err(FetchError::OfAnotherType(content_type.chars().take(80).collect()));
        }
        let length = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        if length.is_some_and(|length: u64| length > kind.most_bytes()) {
            return Err(FetchError::TooLong(kind.most_bytes()));
        }
        Ok(Download { response, kind, content_type, length })
    }
}

impl Download {
    /// The whole file.
    ///
    /// # Errors
    /// If it breaks off, is too long or takes too long.
    pub async fn bytes(self, deadline: Deadline) -> Result<Vec<u8>, FetchError> {
        let read = async {
            let mut file = Vec::new();
            let mut pieces = Box::pin(self.pieces());
            while let Some(piece) = pieces.try_next().await? {
                file.extend_from_slice(&piece);
            }
            Ok(file)
        };
        let late = || Err(FetchError::Unavailable("it did not come in time".to_owned()));
        tokio::time::timeout(deadline.left(), read).await.unwrap_or_else(|_| late())
    }

    /// The file as it comes in.
    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, FetchError>> + Send {
        let (most, mut so_far) = (self.kind.most_bytes(), 0_u64);
        self.response.bytes_stream().map(move |piece| {
            let piece = piece.map_err(|error| told(&error))?;
            so_far += piece.len() as u64;
            if so_far > most { Err(FetchError::TooLong(most)) } else { Ok(piece) }
        })
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let what = format!(
            "a file of the notetaker could not be fetched: {error}; what was read is in the CRM, and Nylas keeps the file for \
             some days: redrive the message before it is gone"
        );
        if error.is_transient() {
            Self::transient("media.unavailable", what)
        } else {
            Self::permanent("media.refused", what)
        }
    }
}

/// What went wrong, without the link.
fn told(error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return FetchError::Forbidden(*forbidden);
        }
        // An error of input and output hides what it was made of from its sources.
        let within = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(forbidden) = within.and_then(|within| within.downcast_ref::<Forbidden>()) {
            return FetchError::Forbidden(*forbidden);
        }
        last = Some(inner);
        cause = inner.source();
    }
    let kind = match error {
        _ if error.is_timeout() => "it did not answer in time",
        _ if error.is_connect() => "it could not be connected",
        _ => "the connection failed",
    };
    let why = last.map(|cause| format!(" ({cause})")).filter(|why| !why.contains("://")).unwrap_or_default();
    FetchError::Unavailable(format!("{kind}{why}"))
}

/// A redirect is followed within the host alone: elsewhere a signed link has no business.
fn within_its_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let place =
        |url: &url::Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let is_elsewhere = attempt.previous().last().is_none_or(|from| place(from) != place(attempt.url()));
    if is_elsewhere {
        attempt.error(Forbidden::OtherHost)
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.stop()
    } else {
        attempt.follow()
    }
}

/// Looks a host's addresses up.
type LookUp = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// A resolver that knows public addresses alone, so that the connection is made to what was judged.
struct PublicAddresses(LookUp);

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = addresses.await?;
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                return Err(Forbidden::NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const TEXT: Kind = Kind::Text(1000);

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn link(text: String) -> SecretString {
        SecretString::from(text)
    }

    async fn fetched(template: ResponseTemplate, kind: Kind) -> Result<Vec<u8>, FetchError> {
        let server = MockServer::start().await;
        Mock::given(path("/a")).respond_with(template).mount(&server).await;
        let fetcher = Fetcher::new(UrlPolicy::Any).expect("a client");
        fetcher.open(&link(format!("{}/a", server.uri())), kind, soon()).await?.bytes(soon()).await
    }

    fn of_type(content_type: &str, body: &str) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_raw(body.as_bytes(), content_type)
    }

    #[tokio::test]
    async fn host_that_leads_inside_is_not_connected_whatever_it_is_called() {
        let inside: LookUp = |host| {
            Box::pin(async move {
                let address = match host.as_str() {
                    "metadata.example" => "169.254.169.254:0",
                    "six.example" => "[::1]:0",
                    _ => "10.0.0.5:0",
                };
                Ok(vec![address.parse().expect("an address")])
            })
        };
        let fetcher = Fetcher::resolving(UrlPolicy::Public, inside).expect("a client");
        for host in ["metadata.example", "six.example", "internal.example", "127.0.0.1.example", "localhost"] {
            let refused = fetcher.open(&link(format!("https://{host}/a")), TEXT, soon()).await.expect_err(host);
            assert_eq!(refused, FetchError::Forbidden(Forbidden::NotPublic), "{host}");
        }
    }

    #[tokio::test]
    async fn localhost_is_refused_by_the_machines_own_resolver() {
        let fetcher = Fetcher::new(UrlPolicy::Public).expect("a client");
        let refused = fetcher.open(&link("https://localhost/a".to_owned()), TEXT, soon()).await.expect_err("refused");
        assert_eq!(refused, FetchError::Forbidden(Forbidden::NotPublic));
    }

    #[tokio::test]
    async fn redirect_is_followed_within_its_host_and_nowhere_else() {
        let (here, elsewhere) = (MockServer::start().await, MockServer::start().await);
        let to = |location: String| ResponseTemplate::new(302).insert_header("location", location);
        Mock::given(path("/out")).respond_with(to(format!("{}/b", elsewhere.uri()))).mount(&here).await;
        Mock::given(path("/in")).respond_with(to("/b".to_owned())).mount(&here).await;
        Mock::given(path("/round")).respond_with(to("/round".to_owned())).mount(&here).await;
        Mock::given(path("/b")).respond_with(of_type("text/plain", "words")).mount(&here).await;
        let fetcher = Fetcher::new(UrlPolicy::Any).expect("a client");
        let open = async |path: &str| fetcher.open(&link(format!("{}{path}", here.uri())), TEXT, soon()).await;
        assert!(open("/in").await.is_ok());
        assert_eq!(open("/out").await.expect_err("refused"), FetchError::Forbidden(Forbidden::OtherHost));
        assert_eq!(open("/round").await.expect_err("refused"), FetchError::Refused(302));
        assert!(elsewhere.received_requests().await.is_some_and(|requests| requests.is_empty()));
    }

    #[tokio::test]
    async fn type_is_checked_before_anything_is_read() {
        for good in ["application/json", "text/plain; charset=utf-8", "application/octet-stream", "binary/octet-stream"]
        {
            assert_eq!(fetched(of_type(good, "words"), TEXT).await, Ok(b"words".to_vec()), "{good}");
        }
        for bad in ["text/html", "application/xml", "video/mp4"] {
            let refused = fetched(of_type(bad, "<html>"), TEXT).await.expect_err(bad);
            assert_eq!(refused, FetchError::OfAnotherType(bad.to_owned()));
        }
        assert!(fetched(of_type("video/mp4", "bytes"), Kind::Recording).await.is_ok());
        assert!(fetched(of_type("audio/mpeg", "bytes"), Kind::Recording).await.is_ok());
        assert!(fetched(of_type("text/html", "bytes"), Kind::Recording).await.is_err());
    }

    #[tokio::test]
    async fn file_that_is_too_long_is_not_read_to_its_end() {
        let long = of_type("text/plain", &"x".repeat(1001));
        assert_eq!(fetched(long, TEXT).await, Err(FetchError::TooLong(1000)));
        assert!(fetched(of_type("text/plain", &"x".repeat(1000)), TEXT).await.is_ok());
    }

    #[tokio::test]
    async fn expired_link_is_told_from_a_storage_that_is_down() {
        for status in [400, 403, 404] {
            assert_eq!(fetched(ResponseTemplate::new(status), TEXT).await, Err(FetchError::Refused(status)));
        }
        for status in [429, 500, 503] {
            let error = fetched(ResponseTemplate::new(status), TEXT).await.expect_err("an error");
            assert!(matches!(error, FetchError::Unavailable(_)) && error.is_transient(), "{status}");
        }
    }

    #[tokio::test]
    async fn link_stands_in_no_error() {
        let fetcher = Fetcher::new(UrlPolicy::Any).expect("a client");
        let secret = link("http://127.0.0.1:1/storage?signature=canary".to_owned());
        let error = fetcher.open(&secret, TEXT, soon()).await.expect_err("nobody listens there");
        assert!(!format!("{error} {error:?} {:?}", Failure::from(error.clone())).contains("canary"), "{error}");
    }
}
