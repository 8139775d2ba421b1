//! Requests to the engine that need no AWS client of their own: calls to Function URLs, which carry a
//! Host header, and the few signed calls to services whose SDK crates would take minutes to compile
//! (Lambda, IAM, CloudWatch Logs). All go to 127.0.0.1.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use reqwest::{
    Method, StatusCode, Url,
    header::{HOST, HeaderMap, HeaderName, HeaderValue},
};

use super::{EngineError, LocalEngine, REGION, ROOT_ACCESS_KEY, ROOT_SECRET_KEY};

/// The credentials of the engine's root.
pub(super) fn root_credentials() -> Credentials {
    Credentials::new(ROOT_ACCESS_KEY, ROOT_SECRET_KEY, None, None, "local engine")
}

/// Where a Function URL is reached: the address to call and the Host header to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FunctionUrl {
    /// The address to call.
    pub address: Url,
    /// The Host header that names the function.
    pub host: String,
}

impl FunctionUrl {
    /// Translates the address of a function on AWS, as the stack's outputs give it, into the way to
    /// reach it at the engine that listens on `endpoint`.
    pub fn at_engine(function_url: &str, endpoint: &str) -> Result<Self, EngineError> {
        let not_a_function = || EngineError::NotAFunctionUrl { url: function_url.to_owned() };
        let url = Url::parse(function_url).map_err(|_| not_a_function())?;
        let host = url.host_str().ok_or_else(not_a_function)?;
        let (id, rest) = host.split_once(".lambda-url.").ok_or_else(not_a_function)?;
        let region = rest.split('.').next().unwrap_or(REGION);
        let mut address = Url::parse(endpoint).map_err(|_| not_a_function())?;
        let port = address.port().unwrap_or(80);
        address.set_path(url.path());
        address.set_query(url.query());
        Ok(Self { address, host: format!("{id}.lambda-url.{region}.localhost:{port}") })
    }
}

/// What a function answered over its URL.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl LocalEngine {
    /// Posts `body` to a function's address, as given by the stack's outputs.
    pub async fn post(
        &self,
        function_url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<HttpAnswer, EngineError> {
        self.call(Method::POST, function_url, headers, body.into()).await
    }

    /// Sends any request to a function's address, as given by the stack's outputs.
    pub async fn call(
        &self,
        method: Method,
        function_url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<HttpAnswer, EngineError> {
        let target = FunctionUrl::at_engine(function_url, &self.endpoint())?;
        let what = format!("{method} {function_url}");
        let no_answer = |source| EngineError::NoAnswer { what: what.clone(), source };
        let mut request = self.http.request(method.clone(), target.address).header(HOST, target.host).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.map_err(no_answer)?;
        Ok(HttpAnswer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.map_err(no_answer)?.to_vec(),
        })
    }

    /// Sends a signed request to a service of the engine, as its root.
    pub(super) async fn signed(
        &self,
        what: &str,
        service: &str,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<String, EngineError> {
        let address = format!("{}{path_and_query}", self.endpoint());
        let signature = signature_headers(service, method.as_str(), &address, headers, body.as_bytes());
        let signature = signature.map_err(|reason| EngineError::Signing { what: what.to_owned(), reason })?;
        let no_answer = |source| EngineError::NoAnswer { what: what.to_owned(), source };
        let mut request = self.http.request(method, &address).headers(signature).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let body = answer.text().await.map_err(no_answer)?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(EngineError::Refused { what: what.to_owned(), status: status.as_u16(), body })
        }
    }
}

fn signature_headers(
    service: &str,
    method: &str,
    address: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<HeaderMap, String> {
    let identity = root_credentials().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let request = SignableRequest::new(method, address, headers.iter().copied(), SignableBody::Bytes(body))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &parameters).map_err(|error| error.to_string())?.into_parts();
    let mut signed = HeaderMap::new();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        signed.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::FunctionUrl;

    #[test]
    fn a_function_url_keeps_its_path_and_query_at_the_engine_and_names_the_function_in_the_host_header() {
        let target = FunctionUrl::at_engine(
            "https://abc123.lambda-url.us-east-1.on.aws/webhooks/nylas?challenge=a%20b",
            "http://127.0.0.1:4567",
        )
        .expect("this is the address of a function");
        assert_eq!(target.address.as_str(), "http://127.0.0.1:4567/webhooks/nylas?challenge=a%20b");
        assert_eq!(target.host, "abc123.lambda-url.us-east-1.localhost:4567");
    }

    #[test]
    fn an_address_that_is_no_function_url_is_refused_by_name() {
        let error = FunctionUrl::at_engine("https://example.com/webhooks/nylas", "http://127.0.0.1:4567")
            .expect_err("example.com is no function");
        assert!(error.to_string().contains("https://example.com/webhooks/nylas"), "{error}");
    }
}
