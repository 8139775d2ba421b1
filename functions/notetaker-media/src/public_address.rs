//! Which addresses a link may lead to: those of the public internet alone. A link comes from outside, and what fetches it
//! stands inside: it must not be led to the machine itself, its neighbours or the cloud's own services.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// The networks of IPv4 that are not the public internet (IANA IPv4 Special-Purpose Address Registry; multicast and
/// reserved space by RFC 5771 and RFC 1112).
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // An address of a cloud's own services (Azure's wire server) that lies in public space.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// The network of IPv6 that holds the public internet.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What of it is not: protocols that carry other addresses inside (Teredo, 6to4), and documentation (IANA IPv6
/// Special-Purpose Address Registry). Everything outside of it is refused as a whole: loopback, local, mapped and
/// translated addresses.
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which links may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPolicy {
    /// Over https, to public addresses.
    Public,
    /// Everywhere: for the sandbox, whose storage stands on the machine itself.
    Any,
}

impl UrlPolicy {
    /// Reads `public` or `any`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "public" => Ok(Self::Public),
            "any" => Ok(Self::Any),
            _ => Err("it must be `public` or `any`"),
        }
    }
}

/// Why a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is none.
    #[error("it is no web address")]
    NoAddress,
    /// It is not encrypted.
    #[error("it is not an https address")]
    NotHttps,
    /// It brings a user and a password.
    #[error("it names a user")]
    NamesAUser,
    /// It leads to another service than a web server.
    #[error("it names a port other than 443")]
    OtherPort,
    /// It leads to no public address.
    #[error("it leads to an address that is not public")]
    NotPublic,
    /// It leads on to another host.
    #[error("it redirects to another host")]
    OtherHost,
}

/// True if an address is part of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4
            .iter()
            .any(|(network, length)| Ipv4Net::new(*network, *length).is_ok_and(|network| network.contains(&address))),
        IpAddr::V6(address) => {
            let is_in = |(network, length): &(Ipv6Addr, u8)| {
                Ipv6Net::new(*network, *length).is_ok_and(|network| network.contains(&address))
            };
            is_in(&PUBLIC_V6) && !NOT_PUBLIC_V6.iter().any(is_in)
        }
    }
}

/// Judges a link before anything is asked for; where it names a host, that is looked up later.
///
/// # Errors
/// If it is not to be followed.
pub fn check(link: &str, policy: UrlPolicy) -> Result<Url, Forbidden> {
    let url = Url::parse(link.trim()).map_err(|_| Forbidden::NoAddress)?;
    let host = url.host().ok_or(Forbidden::NoAddress)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Forbidden::NoAddress);
    }
    if policy == UrlPolicy::Any {
        return Ok(url);
    }
    if url.scheme() != "https" {
        return Err(Forbidden::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::NamesAUser);
    }
    if url.port().is_some() {
        return Err(Forbidden::OtherPort);
    }
    let is_public = match host {
        Host::Ipv4(address) => is_public(address.into()),
        Host::Ipv6(address) => is_public(address.into()),
        Host::Domain(_) => true,
    };
    if is_public { Ok(url) } else { Err(Forbidden::NotPublic) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_anything_but_the_public_internet_are_refused() {
        use Forbidden::{NamesAUser, NoAddress, NotHttps, NotPublic, OtherPort};
        let hostile = [
            ("http://storage.example/a", NotHttps),
            ("http://169.254.169.254/latest/meta-data/", NotHttps),
            ("https://169.254.169.254/latest/meta-data/", NotPublic),
            ("https://169.254.170.2/v2/credentials", NotPublic),
            ("https://127.0.0.1/", NotPublic),
            ("https://127.1/", NotPublic),
            ("https://2130706433/", NotPublic),
            ("https://0x7f000001/", NotPublic),
            ("https://0177.0.0.1/", NotPublic),
            ("https://①②⑦.0.0.1/", NotPublic),
            ("https://0.0.0.0/", NotPublic),
            ("https://10.1.2.3/", NotPublic),
            ("https://172.31.255.1/", NotPublic),
            ("https://192.168.0.1/", NotPublic),
            ("https://100.100.100.200/", NotPublic),
            ("https://192.0.0.192/", NotPublic),
            ("https://168.63.129.16/", NotPublic),
            ("https://198.18.0.1/", NotPublic),
            ("https://203.0.113.9/", NotPublic),
            ("https://224.0.0.1/", NotPublic),
            ("https://255.255.255.255/", NotPublic),
            ("https://[::1]/", NotPublic),
            ("https://[::]/", NotPublic),
            ("https://[fe80::1]/", NotPublic),
            ("https://[fd00:ec2::254]/latest/meta-data/", NotPublic),
            ("https://[::ffff:169.254.169.254]/", NotPublic),
            ("https://[::ffff:7f00:1]/", NotPublic),
            ("https://[::127.0.0.1]/", NotPublic),
            ("https://[64:ff9b::a9fe:a9fe]/", NotPublic),
            ("https://[2002:a9fe:a9fe::1]/", NotPublic),
            ("https://[2001:0:a9fe:a9fe::1]/", NotPublic),
            ("https://[ff02::1]/", NotPublic),
            ("https://me:secret@storage.example/", NamesAUser),
            ("https://storage.example:6379/", OtherPort),
            ("ftp://storage.example/a", NoAddress),
            ("file:///etc/passwd", NoAddress),
            ("gopher://127.0.0.1:25/_HELO", NoAddress),
            ("data:text/plain,hello", NoAddress),
            ("javascript:alert(1)", NoAddress),
            ("//storage.example/a", NoAddress),
            ("", NoAddress),
        ];
        for (link, reason) in hostile {
            assert_eq!(check(link, UrlPolicy::Public), Err(reason), "{link}");
        }
        assert!(hostile.len() >= 30);
    }

    #[test]
    fn links_to_the_public_internet_are_followed() {
        for link in ["https://storage.example/a?X-Goog-Signature=1", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert!(check(link, UrlPolicy::Public).is_ok(), "{link}");
        }
    }

    #[test]
    fn sandbox_may_be_followed_where_it_stands_but_nothing_else_than_the_web() {
        assert!(check("http://127.0.0.1:4566/a", UrlPolicy::Any).is_ok());
        assert_eq!(check("file:///etc/passwd", UrlPolicy::Any), Err(Forbidden::NoAddress));
    }
}
