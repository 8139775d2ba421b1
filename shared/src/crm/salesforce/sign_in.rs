//! Access tokens of Salesforce: got for the secret of a connected app, or for a statement that its private key signs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{Timestamp, ToSpan as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::Url;

use crate::http::{Credential, Mint, TokenRequest};

/// How long a signed statement holds, in minutes. Salesforce takes up to five ("OAuth 2.0 JWT Bearer Flow" in its help);
/// clocks differ.
const STATEMENT_HOLDS_MINUTES: i64 = 3;

/// How a private key begins that was written without its first and last line: the base64 of a DER sequence of more than 255
/// bytes.
const BARE_KEY: &str = "MII";

/// How the base64 of a whole PEM file begins.
const ENCODED_PEM: &str = "LS0tLS1CRUdJTi";

/// Gets access tokens from the org behind `base_url`, its My Domain address.
///
/// `key` holds the secret of the connected app with this `client_id` (client credentials flow) or its private key, as
/// PEM, with its lines parted by `\n`, or in one line of base64 (JWT bearer flow). A key signs in as `username`, to the
/// `audience`: `https://login.salesforce.com`, or `https://test.salesforce.com` for a sandbox.
#[must_use]
pub fn mint(base_url: &Url, key: Credential, client_id: String, username: Option<String>, audience: Url) -> Mint {
    let mut token_url = base_url.clone();
    if let Ok(mut path) = token_url.path_segments_mut() {
        path.pop_if_empty().extend(["services", "oauth2", "token"]);
    }
    let audience = String::from(audience);
    let ask = move |credentials: &[SecretString]| {
        let key = credentials.first().map(SecretString::expose_secret).unwrap_or_default().trim();
        let form = if is_private_key(key) {
            let username = username.as_deref().ok_or(
                "CrmApiKey holds a private key, and CrmUsername is empty; give the user to sign in as, or the secret of \
                 the connected app instead of the key",
            )?;
            let assertion =
                signed_statement(key, &client_id, username, audience.trim_end_matches('/'), Timestamp::now())?;
            vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()), ("assertion", assertion)]
        } else {
            vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", key.to_owned()),
            ]
        };
        Ok(TokenRequest { form, basic: None })
    };
    Mint { token_url, credentials: vec![key], ask: Box::new(ask) }
}

fn is_private_key(text: &str) -> bool {
    // The secret of a connected app is shorter than any key.
    text.starts_with("-----BEGIN")
        || (text.len() > 400 && (text.starts_with(BARE_KEY) || text.starts_with(ENCODED_PEM)))
}

/// A JWT (RFC 7519) signed with RS256, as Salesforce takes it for an access token.
fn signed_statement(
    key: &str,
    client_id: &str,
    username: &str,
    audience: &str,
    now: Timestamp,
) -> Result<String, String> {
    let pair = key_pair(key)?;
    let ends = now.saturating_add(STATEMENT_HOLDS_MINUTES.minutes()).map_err(|error| error.to_string())?;
    let claims = json!({"iss": client_id, "sub": username, "aud": audience, "exp": ends.as_second()});
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let statement = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), statement.as_bytes(), &mut signature)
        .map_err(|_| "the private key in CrmApiKey cannot sign".to_owned())?;
    Ok(format!("{statement}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Reads a private key of RSA: PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE KEY`).
fn key_pair(text: &str) -> Result<RsaKeyPair, String> {
    const UNREADABLE: &str = "the private key in CrmApiKey cannot be read; it must be an RSA key of at least 2,048 bits as \
                              PEM, without a passphrase";
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let decoded = |text: &str| {
        let text: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        STANDARD.decode(text).map_err(|_| UNREADABLE.to_owned())
    };
    let text = if text.starts_with(ENCODED_PEM) {
        String::from_utf8(decoded(&text)?).map_err(|_| UNREADABLE.to_owned())?
    } else {
        text
    };
    let body = match text.split_once("-----BEGIN") {
        // Between the end of the first line and the beginning of the last.
        Some((_, rest)) => rest.split("-----").nth(1).ok_or(UNREADABLE)?,
        None => text.as_str(),
    };
    let der = decoded(body)?;
    RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).map_err(|_| UNREADABLE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::Value;

    fn new_key() -> (RsaKeyPair, String) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its bytes");
        let lines: Vec<String> = STANDARD
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        (pair, pem)
    }

    fn asked(key: &str, username: Option<&str>) -> Result<Vec<(&'static str, String)>, String> {
        let url = |text| Url::parse(text).expect("a URL");
        let base_url = url("https://northwind.my.salesforce.com/");
        let key = SecretString::from(key);
        let mint = mint(
            &base_url,
            Credential::Fixed(key.clone()),
            "the app".to_owned(),
            username.map(str::to_owned),
            url("https://login.salesforce.com/"),
        );
        assert_eq!(mint.token_url.as_str(), "https://northwind.my.salesforce.com/services/oauth2/token");
        (mint.ask)(&[key]).map(|request| request.form)
    }

    #[test]
    fn secret_is_sent_with_the_id_of_the_app() {
        let form = asked("  5F3A19C0  ", Some("rep@northwind.example")).expect("a form");
        let expected = [("grant_type", "client_credentials"), ("client_id", "the app"), ("client_secret", "5F3A19C0")];
        assert_eq!(form, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn private_key_in_any_of_its_forms_signs_who_signs_in_where_and_until_when() {
        let (pair, pem) = new_key();
        let bare: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        for form in [pem.clone(), pem.replace('\n', "\\n"), bare, STANDARD.encode(&pem), pem.replace('\n', "\r\n")] {
            let form = asked(&form, Some("rep@northwind.example")).expect("a form");
            assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
            let (statement, signature) = form[1].1.rsplit_once('.').expect("a signature");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
                .verify(statement.as_bytes(), &signature)
                .expect("it is the key's");
            let claims = URL_SAFE_NO_PAD.decode(statement.split('.').nth(1).expect("claims")).expect("base64");
            let claims: Value = serde_json::from_slice(&claims).expect("JSON");
            assert_eq!(claims["iss"], "the app");
            assert_eq!(claims["sub"], "rep@northwind.example");
            assert_eq!(claims["aud"], "https://login.salesforce.com");
            let holds = claims["exp"].as_i64().expect("a time") - Timestamp::now().as_second();
            assert!((170..=180).contains(&holds), "{holds}");
        }
    }

    #[test]
    fn key_that_cannot_be_used_is_told_without_its_words() {
        let (_, pem) = new_key();
        let without_user = asked(&pem, None).expect_err("nobody to sign in as");
        assert!(without_user.contains("CrmUsername"), "{without_user}");
        let cut = asked(&pem[..300], Some("rep@northwind.example")).expect_err("a cut key");
        assert!(cut.contains("CrmApiKey") && !cut.contains(&pem[40..60]), "{cut}");
        let public = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----";
        assert!(asked(public, Some("rep@northwind.example")).is_err());
    }
}
