//! The list of addresses and domains whose mail is never logged. People write it, one entry a line.

use std::fmt;

use super::address::{EmailAddress, domain_entry};

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeverLog {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Address(EmailAddress),
    /// A domain and its sub-domains.
    Domain(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Domain(domain) => formatter.write_str(domain),
        }
    }
}

/// A line of the list is neither an address nor a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the never-log list is neither an address such as dana@example.com nor a domain such as example.com"
)]
pub struct BadLine {
    /// Which line, counted from 1.
    pub line: usize,
}

impl NeverLog {
    /// Reads a list: addresses and domains (with or without `@` or `*.` before them; sub-domains count), one a line;
    /// empty lines and what follows a `#` are ignored. Lines that cannot be read are answered beside the list that
    /// the others make, so that one slip does not expose what the rest protects.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<BadLine>) {
        let (mut entries, mut bad) = (Vec::new(), Vec::new());
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            // `*@example.com`, `@example.com` and `*.example.com` all mean the domain; a `*` elsewhere would mean less
            // than its writer thinks.
            let read = match entry.strip_prefix("*@").or(entry.strip_prefix('@')).unwrap_or(entry) {
                stars if stars.trim_start_matches("*.").contains('*') => None,
                address if address.contains('@') => EmailAddress::parse(address).map(Entry::Address),
                domain => domain_entry(domain).filter(|domain| domain.contains('.')).map(Entry::Domain),
            };
            match read {
                Some(entry) => entries.push(entry),
                None => bad.push(BadLine { line: number + 1 }),
            }
        }
        (Self { entries }, bad)
    }

    /// The entry that forbids logging mail with this address on it, if there is one. A tagged address is forbidden
    /// with its mailbox.
    #[must_use]
    pub fn forbids(&self, address: &EmailAddress) -> Option<String> {
        let mailbox = address.without_tag();
        let entry = self.entries.iter().find(|entry| match entry {
            Entry::Address(listed) => listed == address || Some(listed) == mailbox.as_ref(),
            Entry::Domain(domain) => address.is_below(domain),
        })?;
        Some(entry.to_string())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if the list forbids nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    #[test]
    fn addresses_and_domains_with_their_sub_domains_are_forbidden_in_every_spelling() {
        let (list, bad) = NeverLog::parse(
            "# private\n\nDana@Acme.example # the founder\n@lawyers.example\r\n*.clinic.example\n  bücher.example\n*@bank.example\n",
        );
        assert_eq!((list.len(), bad.as_slice()), (5, &[][..]));
        for (forbidden, entry) in [
            ("dana@acme.example", "dana@acme.example"),
            ("dana+offer@acme.example", "dana@acme.example"),
            ("x@lawyers.example", "lawyers.example"),
            ("x@north.lawyers.example", "lawyers.example"),
            ("x@clinic.example", "clinic.example"),
            ("teller@bank.example", "bank.example"),
            ("x@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(list.forbids(&address(forbidden)).as_deref(), Some(entry), "{forbidden}");
        }
        for free in ["ben@acme.example", "x@notlawyers.example", "x@example"] {
            assert_eq!(list.forbids(&address(free)), None, "{free}");
        }
    }

    #[test]
    fn bad_line_is_named_by_its_number_and_the_others_hold() {
        let (list, bad) = NeverLog::parse("a@b.example\nnot an entry\nlocalhost\n@@\nda*@c.example\nc.example");
        assert_eq!(list.len(), 2);
        assert_eq!(bad, [2, 3, 4, 5].map(|line| BadLine { line }));
        assert!(bad[0].to_string().contains("line 2"));
    }
}
