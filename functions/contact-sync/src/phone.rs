//! Telephone numbers: which of a contact's numbers counts, how it is written, and when two are the same.

use phonenumber::Mode;
use phonenumber::country::Id;
use shared::nylas::contact::PhoneNumber;
use std::str::FromStr;

/// The longest number that is looked at, in bytes.
const LONGEST: usize = 60;

/// How many digits at the end make two numbers the same of which one has no country code.
const DIGITS_THAT_TELL: usize = 8;

/// Where numbers without a country code are from; none leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhoneRegion(Option<Id>);

/// A text is no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a region is two letters of ISO 3166-1 that have telephone numbers, such as US or SE")]
pub struct NotARegion;

impl FromStr for PhoneRegion {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Id::from_str(&text.to_ascii_uppercase()).map(|id| Self(Some(id))).map_err(|_| NotARegion)
    }
}

impl PhoneRegion {
    /// The two letters; empty for none.
    #[must_use]
    pub fn code(self) -> String {
        self.0.map(|id| id.as_ref().to_owned()).unwrap_or_default()
    }
}

/// How much a number counts by its type: the lower, the more. None for what nobody answers, such as a fax.
///
/// Types are free text; Google and Exchange have `work`, `mobile`, `home`, `other`, `workFax`, `business` and more.
fn rank(kind: &str) -> Option<u8> {
    let kind: String = kind.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let no_voice = ["fax", "pager", "telex", "isdn", "tty", "radio"];
    match kind.as_str() {
        kind if no_voice.iter().any(|word| kind.contains(word)) => None,
        "work" | "business" | "office" => Some(0),
        kind if kind.contains("mobile") || kind.contains("cell") => Some(1),
        _ => Some(2),
    }
}

/// The number that counts, as somebody typed it: that of work before a mobile one before any other; of equals the first.
#[must_use]
pub fn chosen(numbers: &[PhoneNumber]) -> Option<&str> {
    let numbers = numbers.iter().filter_map(|number| {
        let typed = number.number.trim();
        let is_number = typed.len() <= LONGEST && typed.chars().any(char::is_numeric);
        is_number.then_some((rank(&number.kind)?, typed))
    });
    numbers.min_by_key(|(rank, _)| *rank).map(|(_, typed)| typed)
}

/// A number as E.164 has it if it can be read as one, else as it is. One with an extension is left as it is, because
/// E.164 knows none.
#[must_use]
pub fn written(typed: &str, region: PhoneRegion) -> String {
    e164(typed, region).unwrap_or_else(|| typed.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn e164(typed: &str, region: PhoneRegion) -> Option<String> {
    if typed.len() > LONGEST {
        return None;
    }
    let is_international = typed.trim_start().starts_with(['+', '＋']) || typed.trim_start().starts_with("tel:+");
    let number = if is_international {
        phonenumber::parse(None, typed).ok()?
    } else {
        // Without a country code almost anything reads as a number of somewhere, so it has to be one that exists.
        phonenumber::parse(Some(region.0?), typed).ok().filter(phonenumber::PhoneNumber::is_valid)?
    };
    number.extension().is_none().then(|| number.format().mode(Mode::E164).to_string())
}

/// True if two numbers reach the same telephone, however they are written.
#[must_use]
pub fn same(one: &str, other: &str, region: PhoneRegion) -> bool {
    match (e164(one, region), e164(other, region)) {
        (Some(one), Some(other)) => one == other,
        (Some(whole), None) => ends_with_the_digits_of(&whole, other),
        (None, Some(whole)) => ends_with_the_digits_of(&whole, one),
        (None, None) => significant(one) == significant(other),
    }
}

/// What CRMs change about a number that they do not understand: blanks, brackets and the like.
fn significant(number: &str) -> String {
    number
        .chars()
        .filter(|character| character.is_alphanumeric() || *character == '+')
        .flat_map(char::to_lowercase)
        .collect()
}

/// A CRM may show a number without its country code.
fn ends_with_the_digits_of(whole: &str, other: &str) -> bool {
    // An extension is more than the whole number has.
    if other.chars().any(char::is_alphabetic) {
        return false;
    }
    let digits: String =
        other.chars().filter_map(|character| character.to_digit(10)).map(|digit| digit.to_string()).collect();
    let digits = digits.trim_start_matches('0');
    digits.len() >= DIGITS_THAT_TELL && whole.ends_with(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(number: &str, kind: &str) -> PhoneNumber {
        PhoneNumber { number: number.to_owned(), kind: kind.to_owned() }
    }

    fn region(code: &str) -> PhoneRegion {
        code.parse().expect("a region")
    }

    #[test]
    fn work_comes_before_mobile_before_others_and_a_fax_never() {
        let numbers = [
            number("1", "home"),
            number("2", "mobile"),
            number("3", "workFax"),
            number("4", "work"),
            number("5", "work"),
        ];
        assert_eq!(chosen(&numbers), Some("4"));
        assert_eq!(chosen(&numbers[..3]), Some("2"));
        assert_eq!(chosen(&numbers[..1]), Some("1"));
        assert_eq!(chosen(&numbers[2..3]), None);
        assert_eq!(chosen(&[number("7", "work_mobile"), number("8", "")]), Some("7"));
        assert_eq!(chosen(&[number(" ", "work"), number("ask Ines", "work"), number("9", "")]), Some("9"));
    }

    #[test]
    fn number_is_written_as_e164_if_it_reads_as_one_and_else_as_given() {
        for (typed, expected) in [
            ("+1-555-555-5555", "+15555555555"),
            ("+49 (0)30 901820", "+4930901820"),
            ("tel:+1-202-555-0100", "+12025550100"),
            ("+1 202 555 0100 ext. 7", "+1 202 555 0100 ext. 7"),
            ("1 123 456  7890", "1 123 456 7890"),
            ("(202) 555-0100", "(202) 555-0100"),
            ("+999 123", "+999 123"),
            ("call the desk", "call the desk"),
        ] {
            assert_eq!(written(typed, PhoneRegion::default()), expected);
        }
    }

    #[test]
    fn region_makes_a_number_without_country_code_whole_only_if_it_exists_there() {
        assert_eq!(written("(202) 555-0100", region("us")), "+12025550100");
        assert_eq!(written("0044 20 7946 0018", region("DE")), "+442079460018");
        assert_eq!(written("12", region("DE")), "12");
        assert_eq!("Atlantis".parse::<PhoneRegion>(), Err(NotARegion));
        assert_eq!((region("SE").code().as_str(), PhoneRegion::default().code().as_str()), ("SE", ""));
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let nowhere = PhoneRegion::default();
        assert!(same("+1 (202) 555-0100", "+12025550100", nowhere));
        assert!(same("(202) 555-0100", "+12025550100", nowhere), "without its country code");
        assert!(same("020 7946 0018", "+442079460018", nowhere), "with the zero of its own country");
        assert!(same("555 0100", "555-0100", nowhere));
        assert!(!same("+12025550100", "+12025550101", nowhere));
        assert!(!same("0100", "+12025550100", nowhere), "an extension alone tells nothing");
        assert!(!same("+1 202 555 0100 ext 7", "+12025550100", nowhere));
        assert!(!same("+1 202 555 0100 ext 7", "+1 202 555 0100 ext 8", nowhere));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_written_without_a_panic_and_stays_the_same_when_written_again(typed in "\\PC{0,80}") {
            for region in [PhoneRegion::default(), region("US")] {
                let once = written(&typed, region);
                prop_assert_eq!(written(&once, region), once.clone());
                prop_assert!(same(&once, &once, region));
            }
        }
    }
}
