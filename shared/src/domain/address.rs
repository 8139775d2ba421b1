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
    /// Reads an address, alone or as `Name <address>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = match (text.rfind('<'), text.strip_suffix('>')) {
            (Some(open), Some(inner)) => inner.get(open + 1..)?,
            _ => text,
        };
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

/// A domain in its ASCII form, lower case, without the dot that may end it.
fn ascii_domain(text: &str) -> Option<String> {
    let domain = idna::domain_to_ascii(text.trim()).ok()?;
    let domain = domain.trim_end_matches('.');
    (!domain.is_empty()).then(|| domain.to_owned())
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
            .map(|entry| {
                let bare = entry.trim();
                let bare = bare.strip_prefix("*.").or(bare.strip_prefix('@')).unwrap_or(bare);
                ascii_domain(bare)
                    .filter(|domain| EmailAddress::parse(&format!("postmaster@{domain}")).is_some())
                    .ok_or_else(|| NotADomain(entry.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// True if the address is on a company domain or on a sub-domain of one.
    #[must_use]
    pub fn contains(&self, address: &EmailAddress) -> bool {
        self.0.iter().any(|company| {
            address.domain().strip_suffix(company.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
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
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
        assert_eq!(address("a@bücher.example").as_str(), "a@xn--bcher-kva.example");
        assert_eq!(address("a@BÜCHER.example"), address("a@xn--bcher-kva.example"));
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
