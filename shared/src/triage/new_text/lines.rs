//! What a single line of a mail is: the mark of a forward or of history, part of a header, an attribution, a closing.

use regex::Regex;
use std::sync::LazyLock;

use super::phrases;
use crate::domain::pattern::pattern;

/// An alternation of phrases that are listed as in `phrases`.
pub(super) fn any_of(listed: &str) -> String {
    let phrases = listed.split(['/', '\n']).map(str::trim).filter(|phrase| !phrase.is_empty());
    let escaped: Vec<String> = phrases.map(|phrase| regex::escape(phrase).replace(' ', r"\s+")).collect();
    escaped.join("|")
}

/// The longest line of which it is asked what it is, in bytes: marks of history are short.
pub(super) const LONGEST_MARK: usize = 400;

/// True for `---------- Forwarded message ---------` and `Begin forwarded message:`, in many languages.
pub(super) fn is_forward_line(line: &str) -> bool {
    static FORWARD: LazyLock<Regex> = LazyLock::new(|| {
        let phrases = any_of(phrases::FORWARDED);
        let before_colon = format!(r"[-=_*─\s]*(?:{phrases})\s*[:：][-=_*\s]*");
        let between_rules = format!(r"(?:{phrases})[\s:：*]*[-=_─]+[\s*]*|forwarded by\b.*-{{2,}}");
        pattern(&format!(r"(?i)^(?:{before_colon}|[*\s]*[-=_─]{{2,}}[-=_*─\s]*(?:{between_rules}))$"))
    });
    line.len() <= LONGEST_MARK && FORWARD.is_match(line)
}

/// True for `-----Original Message-----`, in many languages.
pub(super) fn is_original_line(line: &str) -> bool {
    static ORIGINAL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)^[*\s]*[-=_─]{{2,}}[-=_*─\s]*(?:{})[\s:：*]*[-=_─]{{2,}}[\s*]*$",
            any_of(phrases::ORIGINAL)
        ))
    });
    line.len() <= LONGEST_MARK && ORIGINAL.is_match(line)
}

/// True for a line across the page, also one with words in it that no list knows.
pub(super) fn is_ruled_line(line: &str) -> bool {
    static RULED: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^\s*[-=_─*]{3,}(?:\s*\p{L}[^-=_─]{1,60}[-=_─]{3,})?[-=_─*\s]*$"));
    line.len() <= LONGEST_MARK && RULED.is_match(line)
}

/// What a header line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    From,
    When,
    To,
    Subject,
}

/// What a line tells if it is one of a mail's header: `From: Dana`, `*Gesendet:* Montag`.
pub(super) fn header(line: &str) -> Option<Header> {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)^[\s*_]*(?:(?P<from>{})|(?P<when>{})|(?P<to>{})|(?P<subject>{}))[\s*_]*[:：]",
            any_of(phrases::FROM),
            any_of(phrases::WHEN),
            any_of(phrases::TO),
            any_of(phrases::SUBJECT)
        ))
    });
    // Most lines have no colon near their beginning.
    let near = line.char_indices().nth(40).map_or(line.len(), |(at, _)| at);
    if !line[..near].contains([':', '：']) {
        return None;
    }
    let found = HEADER.captures(line)?;
    let kinds = [("from", Header::From), ("when", Header::When), ("to", Header::To), ("subject", Header::Subject)];
    kinds.into_iter().find(|(name, _)| found.name(name).is_some()).map(|(_, kind)| kind)
}

/// How sure it is that a line says that somebody wrote what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribution {
    /// It is one by itself.
    Sure,
    /// It is one if a quote follows.
    BeforeQuote,
}

/// True if a line ends as an attribution does.
pub(super) fn ends_as_attribution(line: &str) -> bool {
    let line = line.trim_end_matches(['*', '_', ' ', '"']);
    line.ends_with([':', '：']) || line.ends_with("--")
}

pub(super) fn begins_as_attribution(line: &str) -> bool {
    static OPENING: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&format!(
            r"(?i)^[-*_\s\u{{202a}}-\u{{202e}}]*(?:(?:{})\s|[在于於]|\p{{L}}{{1,14}}[.,]{{0,2}}\s+\d|\d)",
            any_of(phrases::WROTE_OPENINGS)
        ))
    });
    OPENING.is_match(line)
}

pub(super) fn attribution(line: &str) -> Option<Attribution> {
    static WROTE: LazyLock<Regex> = LazyLock::new(|| {
        let (parted, unparted) = (any_of(phrases::WROTE), any_of(phrases::WROTE_UNPARTED));
        pattern(&format!(r"(?i)(?:^|[^\p{{L}}])(?:{parted})(?:[^\p{{L}}]|$)|{unparted}"))
    });
    static DATE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?:^|\D)(?:19|20)\d\d(?:\D|$)|\d{1,2}[./-]\d{1,2}[./-]\d{2}"));
    static TIME: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d{1,2}[:.h：]\d{2}"));
    static ENDS_IN_ADDRESS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"[^\s<>()@]@[^\s<>()@]+\.[^\s<>()@]+[>)\]\s*\u{202a}-\u{202e}]*[:：]$"));
    let line = line.trim_matches(['*', '_', ' ', '"']);
    if line.len() > LONGEST_MARK || line.is_empty() || !ends_as_attribution(line) {
        return None;
    }
    let (dated, wrote, addressed) = (DATE.is_match(line), WROTE.is_match(line), line.contains('@'));
    let sure = (wrote && dated && (addressed || begins_as_attribution(line)))
        || (ENDS_IN_ADDRESS.is_match(line) && dated && TIME.is_match(line));
    if sure {
        Some(Attribution::Sure)
    } else if wrote || addressed || (dated && begins_as_attribution(line)) {
        Some(Attribution::BeforeQuote)
    } else {
        None
    }
}

/// RFC 3676, section 4.3: `-- ` parts a signature from the text. The blank is often lost.
pub(super) fn is_separator(line: &str) -> bool {
    line.trim() == "--"
}

pub(super) fn is_app_footer(line: &str) -> bool {
    static FOOTER: LazyLock<Regex> = LazyLock::new(|| {
        let (parted, unparted) = (any_of(phrases::APP_FOOTERS), any_of(phrases::APP_FOOTERS_UNPARTED));
        pattern(&format!(r"(?i)^[\s*_<(\[]*(?:(?:{parted})(?:[^\p{{L}}]|$)|{unparted})"))
    });
    line.len() <= 200 && !is_sentence(line) && FOOTER.is_match(line)
}

pub(super) fn is_postscript(line: &str) -> bool {
    static POSTSCRIPT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^[\s*_]*(?i:P\.?\s?P?\.?S)(?:\.?\s*[:：]|\.\s|\s+\p{L}|\.?$)"));
    POSTSCRIPT.is_match(line)
}

pub(super) fn is_banner(line: &str) -> bool {
    static BANNER: LazyLock<Regex> =
        LazyLock::new(|| pattern(&format!(r"(?i)^[\s*_\[(⚠️!#-]*(?:{})", any_of(phrases::BANNERS))));
    BANNER.is_match(line)
}

pub(super) fn is_external_tag(line: &str) -> bool {
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)^[\s*_]*[\[(](?:external|externe?|externo|esterno)(?:\s+(?:e-?mail|sender|message))?[\])][\s*_]*$",
        )
    });
    TAG.is_match(line)
}

pub(super) fn is_subscription(line: &str) -> bool {
    static SUBSCRIPTION: LazyLock<Regex> =
        LazyLock::new(|| pattern(&format!(r"(?i)^[\s*_]*(?:{})(?:[^\p{{L}}]|$)", any_of(phrases::SUBSCRIPTIONS))));
    SUBSCRIPTION.is_match(line)
}

/// How many words a name below a closing line may have; none if the line does not close anything. `Thanks,` stands
/// before sentences, too, so less is taken for a name there.
pub(super) fn words_after_closing(line: &str) -> Option<usize> {
    static CLOSING: LazyLock<Regex> = LazyLock::new(|| {
        let (closings, thanks) = (any_of(phrases::CLOSINGS), any_of(phrases::THANKS));
        let alone = format!(r"(?:^|[.!?。]\s+)[\s*_]*(?:(?P<closing>{closings})|(?:{thanks}))[\s,.!;–*_。、，-]*$");
        let named = format!(r"^[\s*_]*(?P<named>{closings})\s*,\s*\S+(?:\s+\S+){{0,2}}$");
        pattern(&format!("(?i){alone}|{named}"))
    });
    // Closings stand at the end of a line.
    let near = line.char_indices().rev().nth(80).map_or(0, |(at, _)| at);
    let found = CLOSING.captures(&line[near..])?;
    Some(if found.name("closing").or_else(|| found.name("named")).is_some() { 7 } else { 4 })
}

pub(super) fn is_sentence(line: &str) -> bool {
    line.ends_with(['.', '?', '!', '。', '！', '？'])
        && line.split_whitespace().count() >= 5
        && !line.contains('@')
        && !line.contains("www.")
}

/// True for a name, a title, an address; not for a sentence, an item of a list, or the announcement of something.
pub(super) fn looks_like_signature(line: &str) -> bool {
    static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:[*•-]\s|\d{1,2}[.)]\s)"));
    if line.chars().count() > 80 && !line.contains("http") || ITEM.is_match(line) || line.ends_with([':', '：']) {
        return false;
    }
    let words = line.split_whitespace();
    let (mut all, mut small) = (0, 0);
    for word in words {
        all += 1;
        small += usize::from(word.starts_with(char::is_lowercase));
    }
    let begins_small = line.trim_start().starts_with(char::is_lowercase);
    let is_prose = small * 2 > all && all >= if begins_small { 3 } else { 7 };
    // Where words are not parted by blanks the length tells.
    let is_unparted_prose = line.ends_with(['。', '！', '？', '、']) && line.chars().count() > 10;
    !(is_sentence(line) || is_prose || is_unparted_prose) || line.contains("http") && all <= 12
}
