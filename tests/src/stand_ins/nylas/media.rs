//! The files that notetakers leave, and the storage that serves them: links that need no key and expire, refusals in the XML
//! of Google Cloud Storage, and recordings of any size that are never held in memory.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    extract::{Path as UrlPath, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::notetakers::set_state;
use super::{Api, Nylas};

/// Where the files are served.
pub(super) const STORAGE_PATH: &str = "/storage/{owner}/{notetaker}/{file}";

/// The owner in the links of notetakers that no account has sent.
const STANDALONE: &str = "standalone";

/// The files that a notetaker may leave.
pub(super) const FILES: [&str; 5] = ["summary", "action_items", "transcript", "recording", "thumbnail"];

/// For how many seconds a link works.
const LINK_LIFE: i64 = 60 * 60;

/// For how many seconds files are kept unless the notetaker was told otherwise.
const RETENTION: i64 = 14 * 24 * 60 * 60;

/// The life of a link that is to have expired when it is made.
const OVER: i64 = -1;

/// How many digits of a signature are the link's own number.
const NUMBER_DIGITS: usize = 16;

/// The bytes of a recording come in blocks of this size.
const BLOCK: usize = 64 * 1024;

/// The `media` of a seed.
#[derive(Debug, Deserialize)]
pub(super) struct Media {
    /// What could not be made, as the answer is to list it.
    #[serde(default)]
    pub(super) errors: Vec<Value>,
    #[serde(flatten)]
    pub(super) files: BTreeMap<String, MediaFile>,
}

/// A file of a seed: what is told of it, and what it holds.
#[derive(Debug, Deserialize)]
pub(super) struct MediaFile {
    name: String,
    #[serde(rename = "type")]
    content_type: String,
    /// How long the recording is, in seconds.
    #[serde(default)]
    duration: Option<i64>,
    /// When the file was stored; the time of asking where a seed does not say.
    #[serde(default)]
    created_at: Option<i64>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Text(String),
    Json(Value),
    /// So many bytes that look like chance.
    Bytes(u64),
}

impl Media {
    /// The media of a notetaker, if it has any.
    pub(super) fn of(notetaker: &Value) -> serde_json::Result<Option<Self>> {
        notetaker.get("media").filter(|media| !media.is_null()).map(Self::deserialize).transpose()
    }
}

impl MediaFile {
    fn size(&self) -> u64 {
        match &self.content {
            Content::Text(text) => text.len() as u64,
            Content::Json(json) => json.to_string().len() as u64,
            Content::Bytes(bytes) => *bytes,
        }
    }

    /// The file as the API describes it.
    pub(super) fn describe(&self, url: &str, notetaker: &Value) -> Value {
        let created_at = self.created_at.unwrap_or_else(now);
        let retention = notetaker["meeting_settings"]["retention_time"].as_i64().unwrap_or(RETENTION);
        let mut described = json!({
            "url": url,
            "size": self.size(),
            "name": self.name,
            "type": self.content_type,
            "created_at": created_at,
            "expires_at": created_at + retention,
            "ttl": LINK_LIFE,
        });
        if let Some(duration) = self.duration {
            described["duration"] = duration.into();
        }
        described
    }

    fn blocks(self, seed: &str) -> Box<dyn Iterator<Item = Bytes> + Send> {
        match self.content {
            Content::Text(text) => Box::new(std::iter::once(Bytes::from(text))),
            Content::Json(json) => Box::new(std::iter::once(Bytes::from(json.to_string()))),
            Content::Bytes(bytes) => Box::new(blocks_of(seed, bytes)),
        }
    }
}

/// The same bytes for the same seed. Each block bears its number, so that one that is lost, doubled or out of place is noticed;
/// the rest of it is copied, which is all that keeps pace with a fast reader.
fn blocks_of(seed: &str, bytes: u64) -> impl Iterator<Item = Bytes> + Send + use<> {
    let digests = (0..BLOCK / 32).flat_map(|number| Sha256::digest(format!("{seed}:{number}")));
    let block: Vec<u8> = digests.collect();
    let size = BLOCK as u64;
    (0..bytes.div_ceil(size)).map(move |number| {
        let mut block = block.clone();
        block[..8].copy_from_slice(&number.to_be_bytes());
        block.truncate(usize::try_from(bytes - number * size).unwrap_or(BLOCK));
        Bytes::from(block)
    })
}

/// What makes and checks links.
pub(super) struct Storage {
    base_url: OnceLock<String>,
    secret: String,
    links: AtomicU64,
}

impl Storage {
    pub(super) fn new(api_key: &str) -> Self {
        let secret = format!("{api_key}:{}", jiff::Timestamp::now().as_nanosecond());
        Self { base_url: OnceLock::new(), secret, links: AtomicU64::new(0) }
    }

    /// Says where the files are served, which is known only once the server listens.
    pub(super) fn is_at(&self, base_url: String) {
        let _ = self.base_url.set(base_url);
    }

    /// A new link to a file, there or not, which works for an hour.
    pub(super) fn link(&self, owner: Option<&str>, notetaker: &str, file: &str) -> String {
        self.link_for(LINK_LIFE, owner.unwrap_or(STANDALONE), notetaker, file)
    }

    fn expired_link(&self, owner: Option<&str>, notetaker: &str, file: &str) -> String {
        self.link_for(OVER, owner.unwrap_or(STANDALONE), notetaker, file)
    }

    fn link_for(&self, seconds: i64, owner: &str, notetaker: &str, file: &str) -> String {
        let path = path_of(owner, notetaker, file);
        let expires = (now() + seconds).to_string();
        // Two links made within a second would be the same without their numbers.
        let number = format!("{:0NUMBER_DIGITS$x}", self.links.fetch_add(1, Ordering::Relaxed));
        let signature = self.sign(&path, &expires, &number);
        let base_url = self.base_url.get().map_or("", String::as_str);
        format!("{base_url}{path}?signature={number}{signature}&expires={expires}")
    }

    fn sign(&self, path: &str, expires: &str, number: &str) -> String {
        match Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) {
            Ok(hmac) => hex::encode(hmac.chain_update(format!("{path}\n{expires}\n{number}")).finalize().into_bytes()),
            Err(_) => unreachable!("a key of any length is taken"),
        }
    }

    /// See [`Nylas::with_links`].
    pub(super) fn with_links(&self, text: &str) -> String {
        let mut parts = text.split("{{");
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let placeholder = part.split_once("}}");
            if let Some((link, rest)) = placeholder.and_then(|(asked, rest)| Some((self.link_asked_for(asked)?, rest)))
            {
                replaced.push_str(&link);
                replaced.push_str(rest);
            } else {
                replaced.push_str("{{");
                replaced.push_str(part);
            }
        }
        replaced
    }

    fn link_asked_for(&self, placeholder: &str) -> Option<String> {
        let (kind, place) = placeholder.split_once(':')?;
        let seconds = match kind {
            "link" => LINK_LIFE,
            "expired-link" => OVER,
            _ => return None,
        };
        let (owner, rest) = place.split_once('/')?;
        let (notetaker, file) = rest.split_once('/')?;
        Some(self.link_for(seconds, owner, notetaker, file))
    }
}

fn path_of(owner: &str, notetaker: &str, file: &str) -> String {
    format!("/storage/{owner}/{notetaker}/{file}")
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Api {
    /// A file as it is now, whether its account can be reached or not: storage knows nothing of accounts.
    fn file(&self, owner: &str, notetaker: &str, file: &str) -> Option<MediaFile> {
        let grant = (owner != STANDALONE).then_some(owner);
        self.look_at_notetakers(grant, |notetakers| {
            let notetaker = notetakers.iter().find(|known| known["id"] == notetaker)?;
            Media::of(notetaker).ok().flatten()?.files.remove(file)
        })?
    }
}

/// What proves that a link was made here and for how long.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Proof {
    signature: String,
    expires: String,
}

pub(super) async fn serve(
    State(api): State<Arc<Api>>,
    UrlPath((owner, notetaker, file)): UrlPath<(String, String, String)>,
    Query(proof): Query<Proof>,
) -> Response {
    let path = path_of(&owner, &notetaker, &file);
    let is_ours = proof
        .signature
        .split_at_checked(NUMBER_DIGITS)
        .is_some_and(|(number, signature)| api.storage.sign(&path, &proof.expires, number) == signature);
    if !is_ours {
        return refusal(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", "The signature is not that of this link.");
    }
    if proof.expires.parse::<i64>().is_ok_and(|expires| expires <= now()) {
        return refusal(StatusCode::BAD_REQUEST, "ExpiredToken", "The time of this link is over.");
    }
    let Some(found) = api.file(&owner, &notetaker, &file) else {
        return refusal(StatusCode::NOT_FOUND, "NoSuchKey", "There is no such file.");
    };
    let headers =
        [(header::CONTENT_TYPE, found.content_type.clone()), (header::CONTENT_LENGTH, found.size().to_string())];
    let blocks = found.blocks(&seed_of(&notetaker, &file)).map(Ok::<_, Infallible>);
    (headers, Body::from_stream(stream::iter(blocks))).into_response()
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body =
        format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")], body).into_response()
}

fn seed_of(notetaker: &str, file: &str) -> String {
    format!("{notetaker}/{file}")
}

impl Nylas {
    /// A new link to a file of a notetaker, there or not, which works for an hour; no grant for a standalone notetaker.
    #[must_use]
    pub fn media_link(&self, grant_id: Option<&str>, notetaker_id: &str, file: &str) -> String {
        self.api.storage.link(grant_id, notetaker_id, file)
    }

    /// A link to a file of a notetaker that has just expired; no grant for a standalone notetaker.
    #[must_use]
    pub fn expired_media_link(&self, grant_id: Option<&str>, notetaker_id: &str, file: &str) -> String {
        self.api.storage.expired_link(grant_id, notetaker_id, file)
    }

    /// The text with every `{{link:<grant or standalone>/<notetaker>/<file>}}` replaced by a new link, and every
    /// `{{expired-link:<grant or standalone>/<notetaker>/<file>}}` by one that has expired.
    #[must_use]
    pub fn with_links(&self, text: &str) -> String {
        self.api.storage.with_links(text)
    }

    /// The SHA-256 in hex of what a link to this file yields; none if there is no such file.
    #[must_use]
    pub fn sha256_of_media(&self, grant_id: Option<&str>, notetaker_id: &str, file: &str) -> Option<String> {
        let found = self.api.file(grant_id.unwrap_or(STANDALONE), notetaker_id, file)?;
        let mut digest = Sha256::new();
        found.blocks(&seed_of(notetaker_id, file)).for_each(|block| digest.update(&block));
        Some(hex::encode(digest.finalize()))
    }

    /// Deletes the files of a notetaker, as the original does at the end of their retention.
    pub fn remove_media(&self, grant_id: Option<&str>, notetaker_id: &str) {
        self.api.look_at_notetakers(grant_id, |notetakers| {
            for notetaker in notetakers.iter_mut().filter(|known| known["id"] == notetaker_id) {
                notetaker["media"] = Value::Null;
                set_state(notetaker, "media_deleted");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::get_json;
    use super::super::{Grant, Nylas};
    use super::*;

    const MEBIBYTE: u64 = 1024 * 1024;

    fn nylas(recording: u64) -> Nylas {
        let mut grant = Grant::google("g", "ines.duarte@northwind.example");
        grant.notetakers.push(json!({
            "id": "n",
            "state": "available",
            "media": {
                "summary": { "name": "meeting_summary.json", "type": "application/json", "json": { "summary": "Größe" } },
                "transcript": { "name": "transcript.txt", "type": "text/plain", "text": "Hello." },
                "recording": { "name": "meeting.mp4", "type": "video/mp4", "bytes": recording, "duration": 60 },
            },
        }));
        Nylas::builder().grant(grant).start().expect("a free port exists")
    }

    async fn refused(answer: reqwest::Response) -> (u16, String, String) {
        let status = answer.status().as_u16();
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        (status, content_type, answer.text().await.expect("a body"))
    }

    #[tokio::test]
    async fn storage_needs_no_key_and_serves_texts_and_json_with_type_and_length() {
        let nylas = nylas(1);
        for (file, content_type, content) in
            [("summary", "application/json", r#"{"summary":"Größe"}"#), ("transcript", "text/plain", "Hello.")]
        {
            let link = nylas.media_link(Some("g"), "n", file);
            let answer = reqwest::get(&link).await.expect("answered");
            assert_eq!(answer.headers()["content-type"], content_type);
            assert_eq!(answer.headers()["content-length"], content.len().to_string().as_str());
            assert_eq!(answer.text().await.expect("a body"), content);
            let head = reqwest::Client::new().head(&link).send().await.expect("answered");
            assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &content.len().into()));
            let digest = hex::encode(Sha256::digest(content));
            assert_eq!(nylas.sha256_of_media(Some("g"), "n", file), Some(digest));
        }
    }

    #[tokio::test]
    async fn storage_refuses_in_xml_what_is_forged_expired_or_not_there() {
        let nylas = nylas(1);
        let link = nylas.media_link(Some("g"), "n", "summary");
        let other_time = link.replace("&expires=", "&expires=1");
        let other_file = link.replace("/summary?", "/transcript?");
        let bare = link.split('?').next().expect("a path").to_owned();
        let expired = nylas.expired_media_link(Some("g"), "n", "summary");
        let missing = nylas.media_link(Some("g"), "n", "thumbnail");
        for (link, status, code) in [
            (other_time, 403, "SignatureDoesNotMatch"),
            (other_file, 403, "SignatureDoesNotMatch"),
            (bare, 403, "SignatureDoesNotMatch"),
            (expired, 400, "ExpiredToken"),
            (missing, 404, "NoSuchKey"),
        ] {
            let (answered, content_type, body) = refused(reqwest::get(&link).await.expect("answered")).await;
            assert_eq!(answered, status, "{link}");
            assert!(content_type.starts_with("application/xml"), "{content_type}");
            assert!(body.starts_with("<?xml") && body.contains(&format!("<Code>{code}</Code>")), "{body}");
        }
    }

    #[tokio::test]
    async fn another_instance_does_not_take_a_link() {
        let (ours, theirs) = (nylas(1), nylas(1));
        let link = ours.media_link(Some("g"), "n", "summary").replace(&ours.base_url(), &theirs.base_url());
        assert_eq!(reqwest::get(link).await.expect("answered").status(), 403);
    }

    #[tokio::test]
    async fn removed_media_are_gone_from_storage_and_from_the_api() {
        let nylas = nylas(1);
        let link = nylas.media_link(Some("g"), "n", "summary");
        nylas.remove_media(Some("g"), "n");
        assert_eq!(refused(reqwest::get(&link).await.expect("answered")).await.0, 404);
        let (status, body) = get_json(&nylas, "/v3/grants/g/notetakers/n/media").await;
        assert_eq!((status, &body["error"]["type"]), (410, &json!("not_found_error")));
        assert_eq!(nylas.sha256_of_media(Some("g"), "n", "summary"), None);
    }

    #[tokio::test]
    async fn a_big_recording_is_streamed_whole_and_in_order_to_readers_that_take_gzip_too() {
        let size = 64 * MEBIBYTE + 17;
        let nylas = nylas(size);
        let link = nylas.media_link(Some("g"), "n", "recording");
        let mut answer =
            reqwest::Client::new().get(link).header("Accept-Encoding", "gzip").send().await.expect("answered");
        assert_eq!(answer.headers()["content-length"], size.to_string().as_str());
        assert_eq!(answer.headers().get("content-encoding"), None);
        let (mut digest, mut read) = (Sha256::new(), 0);
        while let Some(chunk) = answer.chunk().await.expect("it goes on") {
            read += chunk.len() as u64;
            digest.update(&chunk);
        }
        assert_eq!(read, size);
        assert_eq!(nylas.sha256_of_media(Some("g"), "n", "recording"), Some(hex::encode(digest.finalize())));
    }

    #[test]
    fn blocks_of_a_recording_differ_from_one_another_and_from_those_of_another() {
        let blocks: Vec<Bytes> = blocks_of("a/recording", 3 * BLOCK as u64).collect();
        let other = blocks_of("b/recording", BLOCK as u64).next().expect("a block");
        assert!(blocks[0] != blocks[1] && blocks[1] != blocks[2] && blocks[0] != other);
    }

    #[tokio::test]
    async fn placeholders_become_links_and_other_braces_stay() {
        let nylas = nylas(1);
        let text =
            nylas.with_links(r#"["{{link:g/n/summary}}", "{{expired-link:g/n/summary}}", "{{name}} {{link:g}}"]"#);
        let texts: Vec<String> = serde_json::from_str(&text).expect("JSON still");
        assert_eq!(reqwest::get(&texts[0]).await.expect("answered").status(), 200);
        assert_eq!(reqwest::get(&texts[1]).await.expect("answered").status(), 400);
        assert_eq!(texts[2], "{{name}} {{link:g}}");
        let standalone = nylas.with_links("{{link:standalone/s/summary}}");
        assert!(standalone.starts_with(&format!("{}/storage/standalone/s/summary?", nylas.base_url())));
    }
}
