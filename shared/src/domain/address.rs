//! Email addresses and the company's own domains, normalised so that equal mailboxes compare equal.

use std::fmt;

/// An email address, normalised: lower case, no blanks around it, the domain in its ASCII form.
///
/// Providers hand over other things in address fields too (Exchange's `/O=…` names, empty texts); those do not parse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress {
    text: String,
    at: usize,
}

impl EmailAddress {
    /// Reads an address, alone or as `Name <address>`, as a `mailto:` link, in quotes (`'a@b.example'`, as Outlook
    /// writes addresses into names), or with invisible characters in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let visible: String = text.chars().filter(|character| !is_invisible(*character)).collect();
        let text = visible.trim();
        let bare = match (text.rfind('<'), text.strip_suffix('>')) {
            (Some(open), Some(inner)) => inner.get(open + 1..)?,
            _ => text,
        };
        let bare = bare.trim();
        let bare = match bare.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("mailto:") => &bare[7..],
            _ => bare,
        };
        let bare = [('\'', '\''), ('"', '"'), ('‘', '’'), ('“', '”')]
            .iter()
            .find_map(|(open, close)| bare.strip_prefix(*open)?.strip_suffix(*close))
            .unwrap_or(bare);
        let (local, domain) = bare.trim().rsplit_once('@')?;
        let domain = ascii_domain(domain)?;
        let local = local.to_lowercase();
        let normalised = format!("{local}@{domain}");
        email_address::EmailAddress::is_valid(&normalised).then_some(Self { at: local.len(), text: normalised })
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What precedes the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The mailbox that mail to a tagged address (`dana+demo@acme.example`) ends up in; none if there is no tag.
    ///
    /// Sub-addressing as in RFC 5233, which Gmail, Outlook and most others do with `+`.
    #[must_use]
    pub fn without_tag(&self) -> Option<Self> {
        let (mailbox, _tag) = self.local_part().split_once('+').filter(|(mailbox, _)| !mailbox.is_empty())?;
        Self::parse(&format!("{mailbox}@{}", self.domain()))
    }

    /// True if the address is on the domain or on a sub-domain of it. `domain` is in its ASCII form, lower case.
    #[must_use]
    pub fn is_below(&self, domain: &str) -> bool {
        self.domain().strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// What follows the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Characters that show nothing: soft hyphen, zero-width and direction marks, byte order mark (Unicode's format
/// characters, as far as they turn up in addresses that were copied or forged).
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A domain in its ASCII form, lower case, without the dot that may end it.
pub(super) fn ascii_domain(text: &str) -> Option<String> {
    let domain = idna::domain_to_ascii(text.trim()).ok()?;
    let domain = domain.trim_end_matches('.');
    (!domain.is_empty()).then(|| domain.to_owned())
}

/// A domain that somebody has written into a list; a leading `@` or `*.` is forgiven.
pub(super) fn domain_entry(entry: &str) -> Option<String> {
    let bare = entry.trim();
    let bare = bare.strip_prefix("*.").or(bare.strip_prefix('@')).unwrap_or(bare);
    ascii_domain(bare).filter(|domain| EmailAddress::parse(&format!("postmaster@{domain}")).is_some())
}

/// The domains whose mailboxes belong to the company, sub-domains included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompanyDomains(Vec<String>);

/// An entry of the list of company domains cannot be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a domain such as example.com")]
pub struct NotADomain(pub String);

impl CompanyDomains {
    /// Reads domains; a leading `@` or `*.` is forgiven.
    ///
    /// # Errors
    /// [`NotADomain`] names the entry that cannot be a domain.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, NotADomain> {
        entries
            .into_iter()
            .map(|entry| domain_entry(entry).ok_or_else(|| NotADomain(entry.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// True if the address is on a company domain or on a sub-domain of one.
    #[must_use]
    pub fn contains(&self, address: &EmailAddress) -> bool {
        self.0.iter().any(|company| address.is_below(company))
    }

    /// True if the domain is a company domain or a sub-domain of one.
    #[must_use]
    pub fn contains_domain(&self, domain: &str) -> bool {
        EmailAddress::parse(&format!("postmaster@{domain}")).is_some_and(|address| self.contains(&address))
    }

    /// True if no domain is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    #[test]
    fn case_blanks_display_names_and_scripts_do_not_make_addresses_differ() {
        let expected = address("dana@acme.example");
        for text in [
            " Dana@Acme.Example ",
            "Dana Chen <DANA@acme.example>",
            "\"Chen, Dana\" <dana@ACME.example>",
            "dana@acme.example.",
            "'dana@acme.example'",
            "\"Dana\" <'dana@acme.example'>",
            "mailto:dana@acme.example",
            "\u{feff}da\u{200b}na@acme.example\u{200e}",
            "boss@northwind.example <dana@acme.example>",
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
        assert_eq!(address("a@bücher.example").as_str(), "a@xn--bcher-kva.example");
        assert_eq!(address("a@BÜCHER.example"), address("a@xn--bcher-kva.example"));
    }

    #[test]
    fn tagged_address_names_its_mailbox_and_a_plain_one_has_no_tag() {
        assert_eq!(address("dana+demo+2@acme.example").without_tag(), Some(address("dana@acme.example")));
        for plain in ["dana@acme.example", "+dana@acme.example", "dana-demo@acme.example"] {
            assert_eq!(address(plain).without_tag(), None, "{plain}");
        }
    }

    #[test]
    fn texts_that_are_no_address_do_not_parse() {
        for text in [
            "",
            "   ",
            "dana",
            "@acme.example",
            "dana@",
            "/O=EXCHANGELABS/OU=EXCHANGE/CN=RECIPIENTS/CN=DANA",
            "dana@acme example",
            "a@b@",
            "<>",
            "Dana <>",
            "dana@acme.example\r\nBcc: x@y.example",
        ] {
            assert_eq!(EmailAddress::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn company_domains_take_in_their_sub_domains_and_nothing_that_only_ends_alike() {
        let company = CompanyDomains::parse(["Northwind.example", "@münchen.example"]).expect("domains");
        for inside in ["a@northwind.example", "a@EU.Northwind.Example", "a@xn--mnchen-3ya.example"] {
            assert!(company.contains(&address(inside)), "{inside}");
        }
        for outside in ["a@notnorthwind.example", "a@northwind.example.evil.example", "a@example"] {
            assert!(!company.contains(&address(outside)), "{outside}");
        }
    }

    #[test]
    fn entry_that_is_no_domain_is_named() {
        assert_eq!(CompanyDomains::parse(["ok.example", "not a domain"]), Err(NotADomain("not a domain".to_owned())));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "[ -~]{0,60}") {
            if let Some(first) = EmailAddress::parse(&text) {
                let second = EmailAddress::parse(first.as_str());
                prop_assert_eq!(second, Some(first));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = EmailAddress::parse(&text);
        }
    }
}
