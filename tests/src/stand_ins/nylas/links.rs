//! The links of a mail that the Nylas stand-in tracks, and those that it refuses to track.

use url::Url;

use super::answers::{ApiError, Checked};

/// More links than this are not tracked (Nylas docs, `email/message-tracking`).
const MOST_LINKS: usize = 100;

/// The links of a body that are tracked, in the order in which they stand there: a click names one by its place. Links with
/// credentials are left as they are.
pub(super) fn tracked_links(html: &str) -> Vec<String> {
    let is_tracked =
        |link: &String| Url::parse(link).is_ok_and(|link| link.password().is_none() && link.username() == "");
    links(html).into_iter().filter(is_tracked).collect()
}

/// Whether all links of a body may be tracked: one that may not refuses the whole mail.
pub(super) fn check(html: &str, denied_hosts: &[String]) -> Checked {
    let refuse = |message: String| Err(ApiError::new(400, "api.tracking_error", message));
    let tracked = tracked_links(html).len();
    if tracked > MOST_LINKS {
        return refuse(format!("the mail holds {tracked} links, and no more than {MOST_LINKS} are tracked"));
    }
    match links(html).into_iter().find(|link| is_denied(link, denied_hosts)) {
        Some(link) => refuse(format!("the link {link} leads to a host that is not tracked")),
        None => Ok(()),
    }
}

fn is_denied(link: &str, denied_hosts: &[String]) -> bool {
    let Ok(link) = Url::parse(link) else { return false };
    let host = link.host_str().filter(|_| matches!(link.scheme(), "http" | "https")).unwrap_or_default();
    denied_hosts.iter().any(|denied| {
        let above = host.strip_suffix(denied.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

/// What the `<a>` elements of a body lead to, as far as a click there can be followed.
fn links(html: &str) -> Vec<String> {
    // Letters outside ASCII stay as long as they were.
    let lower = html.to_ascii_lowercase();
    let begins = lower.match_indices("<a").map(|(at, tag)| at + tag.len());
    let is_tag = |at: &usize| lower[*at..].starts_with(|letter: char| letter.is_ascii_whitespace());
    let is_followed = |link: &String| {
        let link = link.to_ascii_lowercase();
        ["http://", "https://", "mailto:", "tel:"].iter().any(|scheme| link.starts_with(scheme))
    };
    begins.filter(is_tag).filter_map(|at| href(&html[at..])).filter(is_followed).collect()
}

/// The value of the first `href` among the attributes that begin here.
fn href(mut rest: &str) -> Option<String> {
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '/');
        let name_ends = rest.find(|letter: char| letter.is_ascii_whitespace() || "=>/".contains(letter))?;
        let (name, after) = rest.split_at(name_ends);
        rest = after.trim_start();
        let Some(value) = rest.strip_prefix('=').map(str::trim_start) else {
            if name.is_empty() {
                return None;
            }
            continue;
        };
        let (value, after) = match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split_once(quote)?,
            _ => value.split_at(value.find(|letter: char| letter.is_ascii_whitespace() || letter == '>')?),
        };
        if name.eq_ignore_ascii_case("href") {
            return Some(value.trim().replace("&amp;", "&"));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_those_of_anchors_that_lead_to_the_web_a_mailbox_or_a_telephone() {
        let html = "<p>https://northwind.example/not-a-link <abbr href='https://northwind.example/abbr'>x</abbr>\
            <a href=\"https://northwind.example/a?x=1&amp;y=2\">Ä</a><A class='>' HREF='mailto:ines@northwind.example'>m</A>\
            <a\nid=x href=tel:+4612345>t</a><a href=\"#top\">up</a><a name=here>none</a><a download href='ftp://x.example'>f</a>";
        let expected = ["https://northwind.example/a?x=1&y=2", "mailto:ines@northwind.example", "tel:+4612345"];
        assert_eq!(tracked_links(html), expected);
    }

    #[test]
    fn a_body_that_ends_within_a_link_holds_none_there() {
        for html in ["<a", "<a ", "<a href", "<a href=", "<a href=\"https://northwind.example", "<a =", "<a ="] {
            assert!(tracked_links(html).is_empty(), "{html}");
        }
    }

    #[test]
    fn a_link_with_credentials_is_left_but_its_host_is_still_looked_at() {
        let html = "<a href='https://ines:secret@example.com/'>x</a>";
        assert!(tracked_links(html).is_empty());
        assert!(check(html, &["example.com".to_owned()]).is_err());
    }

    #[test]
    fn a_denied_host_takes_its_subdomains_with_it_and_no_other_host() {
        let denied = ["example.com".to_owned()];
        for (link, is_refused) in [
            ("https://example.com/x", true),
            ("HTTP://Docs.Example.COM", true),
            ("https://notexample.com", false),
            ("https://example.com.northwind.example", false),
            ("mailto:somebody@example.com", false),
        ] {
            assert_eq!(check(&format!("<a href=\"{link}\">x</a>"), &denied).is_err(), is_refused, "{link}");
        }
    }

    #[test]
    fn a_hundred_links_are_tracked_and_one_more_is_not() {
        let link = "<a href='https://northwind.example/'>x</a>";
        assert!(check(&link.repeat(100), &[]).is_ok());
        assert!(check(&link.repeat(101), &[]).is_err());
    }
}
