//! Composes the notifications that the contenders receive: a signed `message.created` of an exact size,
//! wrapped as a Function URL hands it to a Lambda function (payload format 2.0).
//! Each notification has an id and a message of its own, so that nothing downstream can take it for a duplicate.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

/// What mail looks like inside JSON: markup, quotes and line ends, all of which cost escaping.
const SENTENCE: &str =
    r#"<p style=\"margin:0\">Thank you for the figures, they look right to us.<br>\r\nA call on Thursday?</p>"#;

/// One notification: the body that is signed and queued, and the event that carries it to the function.
pub struct Notification {
    /// The notification as Nylas sends it.
    pub body: String,
    /// The same as a Function URL event.
    pub event: Bytes,
}

impl Notification {
    /// A correctly signed notification whose body is `size` bytes long (or as short as the envelope allows).
    pub fn signed(number: u64, size: usize, secret: &str) -> Self {
        let body = body(number, size);
        let signature = sign(&body, secret);
        let event = event(number, &body, &signature);
        Self { body, event }
    }

    /// A notification whose signature was made with another secret.
    pub fn forged(number: u64, size: usize) -> Self {
        Self::signed(number, size, "not-the-secret-of-this-endpoint")
    }
}

fn body(number: u64, size: usize) -> String {
    let empty = with_content(number, "");
    let room = size.saturating_sub(empty.len());
    let mut content = SENTENCE.repeat(room / SENTENCE.len());
    content.push_str(&".".repeat(room - content.len()));
    with_content(number, &content)
}

fn with_content(number: u64, content: &str) -> String {
    format!(
        concat!(
            r#"{{"specversion":"1.0","type":"message.created","source":"/google/emails/realtime","id":"bench-{number:016x}","#,
            r#""time":1767225600,"webhook_delivery_attempt":1,"data":{{"application_id":"5d0a9d5e-6f0c-4f4e-9d11-0c6f3a2b7e10","#,
            r#""object":{{"id":"message-{number:016x}","grant_id":"0f8a2c1e-1d5b-4d0e-8a3f-52a7c9e4b610","object":"message","#,
            r#""thread_id":"thread-{number:016x}","subject":"Figures for spring","#,
            r#""from":[{{"email":"buyer@customer.test","name":"Bea Buyer"}}],"#,
            r#""to":[{{"email":"seller@company.test","name":"Sal Seller"}}],"cc":[],"bcc":[],"reply_to":[],"date":1767225599,"#,
            r#""body":"{content}","snippet":"Thank you for the figures","starred":false,"unread":true,"#,
            r#""folders":["INBOX","UNREAD"],"attachments":[]}}}}}}"#
        ),
        number = number,
        content = content,
    )
}

fn sign(body: &str, secret: &str) -> String {
    // An HMAC takes keys of any length, so the error cannot occur; an empty signature would be refused and noticed.
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mac| hex::encode(mac.chain_update(body.as_bytes()).finalize().into_bytes()))
        .unwrap_or_default()
}

fn event(number: u64, body: &str, signature: &str) -> Bytes {
    const HOST: &str = "benchmark.lambda-url.us-east-1.on.aws";
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/webhooks/nylas",
        "rawQueryString": "",
        "headers": {
            "accept-encoding": "gzip",
            "content-length": body.len().to_string(),
            "content-type": "application/json",
            "host": HOST,
            "user-agent": "Go-http-client/2.0",
            "x-amzn-tls-cipher-suite": "TLS_AES_128_GCM_SHA256",
            "x-amzn-tls-version": "TLSv1.3",
            "x-amzn-trace-id": format!("Root=1-65000000-{number:024x}"),
            "x-forwarded-for": "192.0.2.10",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            "x-nylas-signature": signature,
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "benchmark",
            "domainName": HOST,
            "domainPrefix": "benchmark",
            "http": {
                "method": "POST",
                "path": "/webhooks/nylas",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.10",
                "userAgent": "Go-http-client/2.0",
            },
            "requestId": format!("{number:08x}-0000-4000-8000-000000000000"),
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    });
    Bytes::from(event.to_string())
}

#[cfg(test)]
mod tests {
    use super::Notification;

    #[test]
    fn a_notification_is_json_of_exactly_the_size_asked_for() {
        for size in [1_000, 4_000, 16_000, 256_000] {
            let notification = Notification::signed(7, size, "secret");
            assert_eq!(notification.body.len(), size);
            let value: serde_json::Value = serde_json::from_str(&notification.body).expect("a notification is JSON");
            assert_eq!(value["type"], "message.created");
        }
    }

    #[test]
    fn a_forged_notification_differs_in_its_signature_only() {
        let (real, forged) = (Notification::signed(7, 1_000, "secret"), Notification::forged(7, 1_000));
        assert_eq!(real.body, forged.body);
        assert_ne!(real.event, forged.event);
    }
}
