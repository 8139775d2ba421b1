//! Compressed delivery: gzip bodies inflated within bounds of size and ratio, after their signature was verified.

use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::io::Read;

/// The longest body taken as it arrives.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The longest body taken once inflated.
pub const MAX_INFLATED_BYTES: usize = 16 * 1024 * 1024;

/// The highest ratio of inflated to compressed bytes. Mail, even repetitive HTML, stays far below it.
const MAX_RATIO: usize = 100;

/// What is inflated whatever its ratio: so little is harmless.
const RATIO_FLOOR_BYTES: usize = 1024 * 1024;

/// Why a body was not inflated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It grows beyond the bounds.
    #[error("the body grows beyond the bounds when inflated")]
    TooLarge,
    /// It is not gzip, or broken.
    #[error("the body is not what its Content-Encoding says")]
    Corrupt,
}

/// Inflates a body if its `Content-Encoding` is gzip, and leaves it alone otherwise.
pub fn inflate<'a>(body: &'a [u8], content_encoding: Option<&str>) -> Result<Cow<'a, [u8]>, InflateError> {
    match content_encoding.map(str::trim) {
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") => {
            let bound = (body.len().saturating_mul(MAX_RATIO)).clamp(RATIO_FLOOR_BYTES, MAX_INFLATED_BYTES);
            let mut inflated = Vec::new();
            let beyond = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
            MultiGzDecoder::new(body).take(beyond).read_to_end(&mut inflated).map_err(|_| InflateError::Corrupt)?;
            if inflated.len() > bound { Err(InflateError::TooLarge) } else { Ok(Cow::Owned(inflated)) }
        }
        _ => Ok(Cow::Borrowed(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).expect("compresses");
        encoder.finish().expect("compresses")
    }

    #[test]
    fn body_without_an_encoding_is_left_alone() {
        assert_eq!(inflate(b"plain", None), Ok(Cow::Borrowed(&b"plain"[..])));
        assert_eq!(inflate(b"plain", Some("identity")), Ok(Cow::Borrowed(&b"plain"[..])));
    }

    #[test]
    fn encoding_is_read_in_every_case() {
        for encoding in ["gzip", "GZIP", " Gzip "] {
            assert_eq!(inflate(&gzip(b"body"), Some(encoding)).as_deref(), Ok(&b"body"[..]), "{encoding}");
        }
    }

    #[test]
    fn bomb_is_stopped_by_its_ratio_before_it_is_whole() {
        let bomb = gzip(&vec![0; 8 * 1024 * 1024]);
        assert!(bomb.len() < 10_000);
        assert_eq!(inflate(&bomb, Some("gzip")), Err(InflateError::TooLarge));
    }

    #[test]
    fn body_beyond_16_mib_is_refused_whatever_its_ratio() {
        let noise: Vec<u8> =
            (0..300_000_u32).flat_map(|index| (index.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let large: Vec<u8> = noise.iter().copied().cycle().take(MAX_INFLATED_BYTES + 1).collect();
        assert_eq!(inflate(&gzip(&large), Some("gzip")), Err(InflateError::TooLarge));
        assert!(inflate(&gzip(&large[1..]), Some("gzip")).is_ok());
    }

    #[test]
    fn small_repetitive_body_passes_whatever_its_ratio() {
        let html = "<td></td>".repeat(100_000);
        assert!(html.len() / gzip(html.as_bytes()).len() > MAX_RATIO);
        assert!(inflate(&gzip(html.as_bytes()), Some("gzip")).is_ok());
    }

    #[test]
    fn broken_gzip_is_told_from_a_large_body() {
        let whole = gzip(b"a body that is cut off");
        for broken in [&b"not gzip"[..], &whole[..whole.len() / 2], b""] {
            assert_eq!(inflate(broken, Some("gzip")), Err(InflateError::Corrupt));
        }
    }

    proptest! {
        #[test]
        fn any_body_survives_compression(body: Vec<u8>) {
            let compressed = gzip(&body);
            let inflated = inflate(&compressed, Some("gzip"));
            prop_assert_eq!(inflated.as_deref(), Ok(&body[..]));
        }

        #[test]
        fn inflating_never_panics(body: Vec<u8>) {
            let _ = inflate(&body, Some("gzip"));
        }
    }
}
