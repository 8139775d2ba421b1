//! What one API does its own way: how it wants its credential, what its errors say beyond their status, and how it tells
//! that an allowance is used up.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

use super::Reply;

/// How an API speaks.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// How it wants its credential.
    pub authorization: Authorization,
    /// What an answer that is no success says beyond its status; none leaves it to the status.
    pub judge: fn(&Reply) -> Option<Judgement>,
    /// For how long it must be left alone after a success, because an allowance is used up, and which.
    pub allowance: fn(&HeaderMap) -> Option<(Duration, &'static str)>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { authorization: Authorization::Bearer, judge: |_| None, allowance: |_| None }
    }
}

/// How an API wants its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// As a bearer token.
    Bearer,
    /// A credential with a colon is a name and a password (RFC 7617), any other a bearer token.
    BasicOrBearer,
    /// In a header of its own.
    Header(&'static str),
}

impl Authorization {
    pub(super) fn put_on(self, request: reqwest::RequestBuilder, credential: &SecretString) -> reqwest::RequestBuilder {
        let text = credential.expose_secret();
        match self {
            Self::BasicOrBearer if text.contains(':') => {
                let (name, password) = text.split_once(':').unwrap_or((text, ""));
                request.basic_auth(name, Some(password))
            }
            Self::Bearer | Self::BasicOrBearer => request.bearer_auth(text),
            Self::Header(name) => match HeaderValue::from_str(text) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header(HeaderName::from_static(name), value)
                }
                // Sent without, so that the API's refusal tells of it.
                Err(_) => request,
            },
        }
    }
}

/// What an answer says that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Too many calls: none before this time has passed, by this instance.
    TooManyCalls {
        /// How long to wait.
        wait: Duration,
        /// Which allowance is used up, in the API's words.
        allowance: String,
    },
    /// Down, slow, or at odds with another write: another try may succeed.
    Unavailable {
        /// What it says of it.
        problem: String,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// It will never be accepted.
    Refused {
        /// Its own words.
        words: String,
    },
    /// The credential is good and may not do this.
    NotAllowed {
        /// Its own words.
        words: String,
    },
    /// The credential is no good.
    CredentialRefused,
    /// There is no such thing.
    NotFound,
}

/// `Retry-After` of an answer, in seconds or as an HTTP date.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    super::client::retry_after(headers)
}

/// A header that holds a number.
#[must_use]
pub fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
