//! Signatures: HMAC-SHA256 over the bytes as they were sent, as hex, compared in constant time.
//!
//! Only [`verify`] makes a [`Verified`] body, and only a verified one can be queued.

use hmac::{Hmac, KeyInit, Mac};
use lambda_http::http::HeaderMap;
use sha2::Sha256;

/// The secret a body is signed with. Never empty; its text cannot be printed.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

impl SigningSecret {
    /// Takes any text that holds more than blanks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // HMAC takes keys of every length, so the only way to fail is an empty text.
        (!text.is_empty()).then(|| Hmac::new_from_slice(text.as_bytes()).ok().map(Self)).flatten()
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SigningSecret([redacted])")
    }
}

/// A signature in the form of one: 32 bytes. Whose it is remains to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads the header: exactly one, 64 hex digits of either case. HTTP header names have no case.
    #[must_use]
    pub fn of(headers: &HeaderMap, name: &str) -> Option<Self> {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(value.to_str().ok()?.trim(), &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// A body whose signature was right.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a>(&'a [u8]);

impl<'a> Verified<'a> {
    /// The bytes that were signed.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Verifies a body against every live secret.
#[must_use]
pub fn verify<'a, 's>(
    body: &'a [u8],
    signature: Signature,
    secrets: impl IntoIterator<Item = &'s SigningSecret>,
) -> Option<Verified<'a>> {
    secrets
        .into_iter()
        .any(|secret| secret.0.clone().chain_update(body).verify_slice(&signature.0).is_ok())
        .then_some(Verified(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).expect("a secret")
    }

    fn sign(body: &[u8], key: &str) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key").chain_update(body);
        mac.finalize().into_bytes().into()
    }

    fn headers(values: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(
                lambda_http::http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        headers
    }

    #[test]
    fn signature_is_the_published_test_vector_of_hmac_sha256() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let signature = Signature::of(&headers(&[("x-nylas-signature", expected)]), "x-nylas-signature").expect("one");
        assert!(verify(b"what do ya want for nothing?", signature, &[secret("Jefe")]).is_some());
    }

    #[test]
    fn no_flipped_bit_of_a_1_kb_body_or_of_its_signature_is_accepted() {
        let body: Vec<u8> = (0..1024_u32).map(|index| u8::try_from(index % 251).expect("a byte")).collect();
        let signature = sign(&body, "whsec");
        let secrets = [secret("whsec")];
        assert!(verify(&body, Signature(signature), &secrets).is_some());
        let mut tried = 0;
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&flipped, Signature(signature), &secrets).is_none(), "bit {bit} of the body");
            tried += 1;
        }
        for bit in 0..256 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&body, Signature(flipped), &secrets).is_none(), "bit {bit} of the signature");
            tried += 1;
        }
        assert_eq!(tried, 8448);
    }

    #[test]
    fn every_live_secret_verifies_and_a_retired_one_does_not() {
        let body = b"{}";
        let live = [secret("old"), secret("new")];
        assert!(verify(body, Signature(sign(body, "old")), &live).is_some());
        assert!(verify(body, Signature(sign(body, "new")), &live).is_some());
        assert!(verify(body, Signature(sign(body, "retired")), &live).is_none());
        assert!(verify(body, Signature(sign(body, "old")), &[]).is_none());
    }

    #[test]
    fn bodies_that_change_when_they_are_serialised_again_verify_as_they_were_sent() {
        for body in [
            r#"{"subject":"\u003cb\u003e \u0026 co"}"#,
            r#"{"score":1.00}"#,
            r#"{"id":90071992547409931234567}"#,
            r#"{ "spaced" :  "out" }"#,
            r#"{"name":"Ren\u00e9"}"#,
            r#"{"url":"https:\/\/example.com\/"}"#,
            "{\"line\":1}\r\n",
        ] {
            let again = serde_json::from_str::<serde_json::Value>(body).map(|value| value.to_string());
            assert_ne!(again.ok().as_deref(), Some(body), "the case must be one that does not round-trip");
            let signature = Signature(sign(body.as_bytes(), "whsec"));
            assert!(verify(body.as_bytes(), signature, &[secret("whsec")]).is_some(), "{body}");
        }
    }

    #[test]
    fn header_is_taken_in_every_case_and_refused_in_every_other_form() {
        let hex = "ab".repeat(32);
        let name = "x-nylas-signature";
        assert!(Signature::of(&headers(&[("X-Nylas-Signature", &hex)]), name).is_some());
        assert!(Signature::of(&headers(&[("x-NYLAS-signature", &hex.to_uppercase())]), name).is_some());
        for bad in ["", "ab", &hex[1..], &format!("{hex}00"), &"zz".repeat(32), &format!("sha256={hex}")] {
            assert_eq!(Signature::of(&headers(&[(name, bad)]), name), None, "{bad}");
        }
        assert_eq!(Signature::of(&headers(&[]), name), None);
        assert_eq!(Signature::of(&headers(&[(name, &hex), (name, &hex)]), name), None, "twice");
    }

    #[test]
    fn empty_secret_is_none_and_no_secret_can_be_printed() {
        assert!(SigningSecret::parse("").is_none());
        assert!(SigningSecret::parse("  \n").is_none());
        assert_eq!(format!("{:?}", secret("hush")), "SigningSecret([redacted])");
    }

    proptest! {
        #[test]
        fn any_body_verifies_under_its_own_signature_only(body: Vec<u8>, key in "\\PC{1,40}", other in "\\PC{1,40}") {
            prop_assume!(!key.trim().is_empty() && !other.trim().is_empty() && key.trim() != other.trim());
            let signature = Signature(sign(&body, key.trim()));
            prop_assert!(verify(&body, signature, &[secret(&key)]).is_some());
            prop_assert!(verify(&body, signature, &[secret(&other)]).is_none());
        }
    }
}
