//! The person who is to be forgotten, as texts name them: the address in every spelling, and the digests that stand for it.
//!
//! A text names a person by
//! - the address, in upper or lower case, with the domain in either of its scripts;
//! - the address with a tag (`dana+offer@acme.example` reaches the mailbox of `dana@acme.example`), unless the address that
//!   is to be forgotten has a tag itself: then that one alone is meant;
//! - any of these with characters written as `%40` or `%2540`, as links have them, or as `\u0040`, as JSON may have them;
//! - the customer's key, and the digest that other keys are made of.
//!
//! An address that is only the end or the beginning of a longer one (`mary.dana@acme.example`, `dana@acme.example.org`) is
//! somebody else's.

use shared::domain::address::EmailAddress;
use shared::domain::customer_event::customer_key;
use shared::domain::digest::sha256_hex;
use std::ops::Range;

/// What stands in the place of whatever named a person.
pub const FORGOTTEN: &str = "forgotten";

/// The longest tag, in characters. The part before the `@` has at most 64 (RFC 5321, 4.5.3.1.1).
const LONGEST_TAG: usize = 64;

/// The person who is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    address: EmailAddress,
    local_part: Vec<char>,
    /// The domain in its scripts.
    domains: Vec<Vec<char>>,
    takes_tags: bool,
    digests: [String; 2],
}

impl Person {
    /// The person with this address.
    #[must_use]
    pub fn new(address: EmailAddress) -> Self {
        let lower = |text: &str| text.chars().map(lower).collect::<Vec<char>>();
        let mut domains = vec![lower(address.domain())];
        let (in_its_own_script, read) = idna::domain_to_unicode(address.domain());
        if read.is_ok() && lower(&in_its_own_script) != domains[0] {
            domains.push(lower(&in_its_own_script));
        }
        Self {
            local_part: lower(address.local_part()),
            domains,
            takes_tags: address.without_tag().is_none(),
            digests: [customer_key(&address), sha256_hex(&[address.as_str().as_bytes()])],
            address,
        }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &EmailAddress {
        &self.address
    }

    /// The digest of the address that keys of links are made of.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digests[1]
    }

    /// True if this is the person's address, with or without a tag.
    #[must_use]
    pub fn has(&self, address: &EmailAddress) -> bool {
        *address == self.address || self.takes_tags && address.without_tag().as_ref() == Some(&self.address)
    }

    /// True if a text is the person's address and nothing else, or a name with it.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        EmailAddress::parse(text).is_some_and(|address| self.has(&address))
    }

    /// True if a text names the person.
    #[must_use]
    pub fn is_named_in(&self, text: &str) -> bool {
        self.find(text, 0).is_some()
    }

    /// A text without what names the person, if it does.
    #[must_use]
    pub fn taken_out_of(&self, text: &str) -> Option<String> {
        if self.is(text) {
            // With the name beside the address.
            return Some(FORGOTTEN.to_owned());
        }
        let mut left = String::new();
        let mut from = 0;
        while let Some(found) = self.find(text, from) {
            left.push_str(&text[from..found.start]);
            left.push_str(FORGOTTEN);
            from = found.end;
        }
        if from == 0 {
            return None;
        }
        left.push_str(&text[from..]);
        Some(left)
    }

    /// Where a text first names the person, from a place on.
    fn find(&self, text: &str, from: usize) -> Option<Range<usize>> {
        // What precedes the place was looked at before.
        let mut before = None;
        let mut at = from;
        while let Some((character, next)) = unit(text, at) {
            let is_beginning = !before.is_some_and(goes_on_before);
            if is_beginning && let Some(end) = self.ends(text, at) {
                return Some(at..end);
            }
            if let Some(end) = self.digests.iter().find_map(|digest| ends_with_digest(text, at, digest)) {
                return Some(at..end);
            }
            before = Some(character);
            at = next;
        }
        None
    }

    /// Where the address ends that begins at a place, if it does.
    fn ends(&self, text: &str, at: usize) -> Option<usize> {
        let mut at = all_of(text, at, &self.local_part)?;
        if self.takes_tags
            && let Some(('+', next)) = unit(text, at)
        {
            at = next;
            for _ in 0..=LONGEST_TAG {
                match unit(text, at) {
                    Some(('@', _)) => break,
                    Some((character, next)) if is_in_a_tag(character) => at = next,
                    _ => return None,
                }
            }
        }
        let at = all_of(text, at, &['@'])?;
        self.domains.iter().find_map(|domain| {
            let end = all_of(text, at, domain)?;
            let mut after = std::iter::successors(unit(text, end), |(_, next)| unit(text, *next));
            let goes_on = match (after.next(), after.next()) {
                (Some(('.', _)), Some((character, _))) => character.is_alphanumeric(),
                (Some((character, _)), _) => character.is_alphanumeric() || character == '-',
                (None, _) => false,
            };
            (!goes_on).then_some(end)
        })
    }
}

/// True for a character that makes the address after it the end of a longer one. Others that an address may hold by the
/// standard (`=`, `/`, `'`) stand beside addresses far more often than in them.
fn goes_on_before(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '+')
}

fn is_in_a_tag(character: char) -> bool {
    character.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(character)
}

/// A character in lower case, where that is one character.
fn lower(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => character,
    }
}

/// Where these characters end in a text, if they begin at a place.
fn all_of(text: &str, at: usize, wanted: &[char]) -> Option<usize> {
    wanted.iter().try_fold(at, |at, wanted| {
        let (character, next) = unit(text, at)?;
        (lower(character) == *wanted).then_some(next)
    })
}

fn ends_with_digest(text: &str, at: usize, digest: &str) -> Option<usize> {
    let end = at.checked_add(digest.len())?;
    text.get(at..end).filter(|piece| piece.eq_ignore_ascii_case(digest)).map(|_| end)
}

/// The character that stands at a place, however it is written, and where the next one begins.
fn unit(text: &str, at: usize) -> Option<(char, usize)> {
    let rest = text.get(at..)?;
    let first = rest.chars().next()?;
    let written = match first {
        '%' => percent_encoded(rest.as_bytes()),
        '\\' => escaped(rest),
        _ => None,
    };
    let (character, length) = written.unwrap_or((first, first.len_utf8()));
    Some((character, at + length))
}

/// A character in percent-encoding (RFC 3986, 2.1), encoded once or several times, and its length.
fn percent_encoded(bytes: &[u8]) -> Option<(char, usize)> {
    let (first, mut length) = percent_encoded_byte(bytes)?;
    let mut encoded = vec![first];
    let width = match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    while encoded.len() < width {
        let (byte, more) = percent_encoded_byte(bytes.get(length..)?)?;
        encoded.push(byte);
        length += more;
    }
    Some((std::str::from_utf8(&encoded).ok()?.chars().next()?, length))
}

fn percent_encoded_byte(bytes: &[u8]) -> Option<(u8, usize)> {
    let is_hex = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_hexdigit);
    if bytes.first() != Some(&b'%') {
        return None;
    }
    let mut place = 1;
    // `%25` is the percent sign of an encoding below it.
    while bytes.get(place..place + 2) == Some(b"25") && is_hex(place + 2) && is_hex(place + 3) {
        place += 2;
    }
    if !is_hex(place) || !is_hex(place + 1) {
        return None;
    }
    let digits = std::str::from_utf8(bytes.get(place..place + 2)?).ok()?;
    Some((u8::from_str_radix(digits, 16).ok()?, place + 2))
}

/// A character as an escape of JSON (RFC 8259, 7), in a text that was put into a text any number of times, and its length.
fn escaped(rest: &str) -> Option<(char, usize)> {
    let sign = rest.trim_start_matches('\\');
    let backslashes = rest.len() - sign.len();
    let character = match sign.chars().next()? {
        'n' | 'r' | 't' | 'b' | 'f' => '\n',
        quoted @ ('"' | '/') => quoted,
        'u' => {
            let code = u32::from_str_radix(sign.get(1..5)?, 16).ok()?;
            return Some((char::from_u32(code)?, backslashes + 5));
        }
        _ => return None,
    };
    Some((character, backslashes + 1))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn person(address: &str) -> Person {
        Person::new(EmailAddress::parse(address).expect("an address"))
    }

    /// A text with every character that is no letter and no digit in percent-encoding, so many times.
    pub(crate) fn encoded(text: &str, times: usize) -> String {
        (0..times).fold(text.to_owned(), |text, _| {
            text.bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect()
        })
    }

    #[test]
    fn person_is_named_by_the_address_in_every_spelling_with_every_tag_and_by_its_digests() {
        let dana = person("Dana@Acme.example");
        let key = customer_key(dana.address());
        for text in [
            "dana@acme.example",
            "DANA@ACME.EXAMPLE",
            "Dana Chen <dana@acme.example>",
            "mailto:dana@acme.example?subject=x",
            "to=dana%40acme.example&x",
            "https://click.example/?u=https%3A%2F%2Fx.example%2F%3Fe%3Ddana%2540acme.example",
            "dana%40acme%2Eexample",
            "dana+offer.2@acme.example",
            "dana%2Boffer%40acme.example",
            r#"{"a":"dana\u0040acme.example"}"#,
            r#"{"body":"{\"text\":\"Hello\\ndana@acme.example\\nBye\"}"}"#,
            "'dana@acme.example'",
            "written by dana@acme.example.",
            "(dana@acme.example),",
            "a dana@acme.example dana@acme.example b",
            &key.to_uppercase(),
            &format!("{key}.1.welcome"),
            &format!("acknowledged-sender#{}", dana.digest()),
        ] {
            assert!(dana.is_named_in(text), "{text}");
            let left = dana.taken_out_of(text).expect(text);
            assert!(left.contains(FORGOTTEN) && !dana.is_named_in(&left), "{text}: {left}");
        }
        assert_eq!(dana.taken_out_of("Dana Chen <dana@acme.example>").as_deref(), Some(FORGOTTEN), "with the name");
        let left = dana.taken_out_of("a dana@acme.example b DANA+x@acme.example c");
        assert_eq!(left.as_deref(), Some("a forgotten b forgotten c"));
    }

    #[test]
    fn longer_addresses_are_somebody_elses_and_a_tagged_one_is_forgotten_alone() {
        let dana = person("dana@acme.example");
        for text in [
            "",
            "dana",
            "mary.dana@acme.example",
            "mary-dana@acme.example",
            "jordana@acme.example",
            "x+dana@acme.example",
            "dana@acme.example.org",
            "dana@acme.example-north",
            "dana@acme.examples",
            "dana@north.acme.example",
            "danas@acme.example",
            "dana+offer @acme.example",
            "dana%4",
            "%",
            "\\",
            "%C3%28dana",
        ] {
            assert!(!dana.is_named_in(text), "{text}");
            assert_eq!(dana.taken_out_of(text), None, "{text}");
        }
        let tagged = person("dana+offer@acme.example");
        assert!(tagged.is_named_in("to Dana+Offer@acme.example") && tagged.is_named_in("dana%2Boffer%40acme.example"));
        for text in ["dana@acme.example", "dana+other@acme.example", "dana+offer+2@acme.example"] {
            assert!(!tagged.is_named_in(text), "{text}");
        }
        assert!(tagged.is("dana+offer@acme.example") && !tagged.is("dana@acme.example"));
        assert!(dana.is("Dana <dana+offer@acme.example>") && !dana.is("dana@acme.example and more"));
    }

    #[test]
    fn domain_is_found_in_both_of_its_scripts() {
        for address in ["zoe@bücher.example", "zoe@xn--bcher-kva.example"] {
            let zoe = person(address);
            for text in
                ["zoe@bücher.example", "ZOE@BÜCHER.example", "zoe@xn--bcher-kva.example", "zoe%40b%C3%BCcher.example"]
            {
                assert!(zoe.is_named_in(text), "{address}: {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_that_names_the_person_is_left_and_nothing_else_is_changed(
            local in "[a-z][a-z0-9]{0,8}(\\.[a-z0-9]{1,5})?",
            domain in "[a-z][a-z0-9]{0,8}\\.example",
            tag in "(\\+[a-z0-9]{1,6})?",
            upper in any::<bool>(),
            times in 0..3_usize,
            before in "[ a-z@.%+\\\\:<>\"]{0,20}[ :<\"=(]",
            after in "[ >\",;)][ -~]{0,20}",
        ) {
            let plain = format!("{local}{tag}@{domain}");
            let spelt = encoded(&if upper { plain.to_uppercase() } else { plain }, times);
            let other = Person::new(EmailAddress::parse("nobody@elsewhere.example").expect("an address"));
            let person = person(&format!("{local}@{domain}"));
            prop_assume!(!person.is_named_in(&before) && !person.is_named_in(&after));
            let text = format!("{before}{spelt}{after}");
            prop_assert_eq!(other.taken_out_of(&text), None);
            prop_assert!(person.is_named_in(&text), "{}", text);
            let left = person.taken_out_of(&text).unwrap_or_default();
            prop_assert!(!person.is_named_in(&left), "{}", left);
            prop_assert!(!left.to_lowercase().contains(&spelt.to_lowercase()), "{}", left);
            // The whole text is the address with its name, or what stands around it stays.
            prop_assert!(left == FORGOTTEN || left == format!("{before}{FORGOTTEN}{after}"), "{}", left);
        }

        #[test]
        fn any_text_is_looked_through_without_a_panic(text in "\\PC{0,60}[%\\\\+@a-f0-9]{0,20}\\PC{0,5}") {
            let dana = person("dana@acme.example");
            let _ = dana.taken_out_of(&text);
        }
    }
}
