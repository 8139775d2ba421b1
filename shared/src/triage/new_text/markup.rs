//! Quotes and signatures that a mail's markup tells: a private sign is put where each begins and ends, so that they can
//! still be told when the mail has become lines of text.
//!
//! The classes and ids are what the clients write into their mails today (seen in mails of each; none documents them):
//! Gmail `gmail_quote`, `gmail_attr`, `gmail_signature`; Apple Mail `blockquote type=cite`; Thunderbird
//! `moz-cite-prefix`, `moz-signature`, `moz-forward-container`; Outlook on the web `appendonsend`, `divRplyFwdMsg`,
//! `Signature`; Outlook on the desktop a line above the header; Yahoo `yahoo_quoted`; Proton `protonmail_quote`; Zoho
//! `zmail_extra`. Outlook puts `x_` before the classes and ids of a mail that it quotes, Yahoo `ydp` and digits.

use super::lines::is_forward_line;

/// What begins, or is, at a place of a mail. All but [`Mark::Forward`], [`Mark::History`], [`Mark::Border`] and
/// [`Mark::Signature`] last until their [`Mark::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// What the client quotes.
    Quote,
    /// A block quote of which nothing tells whether it is history or a person's own.
    Indented,
    /// What holds the attribution, the quotes and what was written between them.
    Container,
    /// `On Monday Dana wrote:`, or the head of a forward.
    Attribution,
    /// Here stood a signature.
    Signature,
    /// A forwarded mail begins.
    Forward,
    /// All that follows is history.
    History,
    /// All that follows is history if it begins with the header of a mail: others draw such lines, too.
    Border,
    /// The end of what began last.
    End,
}

/// How each is signed: characters for private use that mean nothing in a mail (and are taken out of one).
const SIGNS: [(Mark, char); 9] = [
    (Mark::Quote, '\u{e010}'),
    (Mark::Indented, '\u{e011}'),
    (Mark::Container, '\u{e012}'),
    (Mark::Attribution, '\u{e013}'),
    (Mark::Signature, '\u{e014}'),
    (Mark::Forward, '\u{e015}'),
    (Mark::History, '\u{e016}'),
    (Mark::Border, '\u{e017}'),
    (Mark::End, '\u{e018}'),
];

impl Mark {
    /// The mark that a character stands for.
    pub(super) fn signed(character: char) -> Option<Self> {
        SIGNS.iter().find(|(_, sign)| *sign == character).map(|(mark, _)| *mark)
    }

    /// True if something lies between this mark and its end.
    pub(super) const fn lasts(self) -> bool {
        matches!(self, Self::Quote | Self::Indented | Self::Container | Self::Attribution)
    }
}

/// How far behind the beginning of a quote it is looked whether a forward begins there, in bytes.
const LOOK_AHEAD: usize = 600;

/// The mail with signs; signatures, quotes within quotes and the header tables of forwards are taken out.
pub(super) fn signed(html: &str) -> String {
    let clean = html.replace(|character| Mark::signed(character).is_some(), "");
    let mut scan = Scan { signed: String::with_capacity(clean.len() + 64), open: Vec::new(), taken_out: None };
    let mut rest = clean.as_str();
    // Inside styles and scripts nothing but their end is a tag.
    let mut raw: Option<&str> = None;
    while let Some(at) = rest.find('<') {
        scan.push(&rest[..at]);
        rest = &rest[at..];
        if raw.is_none() && rest.starts_with("<!--") {
            let end = rest.find("-->").map_or(rest.len(), |end| end + 3);
            scan.push(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let Some(tag) = Tag::at_start_of(rest) else {
            scan.push("<");
            rest = &rest[1..];
            continue;
        };
        rest = &rest[tag.text.len()..];
        match raw {
            Some(name) if tag.closes && tag.name.eq_ignore_ascii_case(name) => {
                scan.push(tag.text);
                raw = None;
            }
            Some(_) => scan.push(tag.text),
            None if tag.closes => scan.close(&tag),
            None => {
                if ["style", "script", "title", "textarea"].iter().any(|name| tag.name.eq_ignore_ascii_case(name)) {
                    raw = Some(tag.name);
                }
                scan.open(&tag, rest);
            }
        }
    }
    scan.push(rest);
    scan.signed
}

/// A tag as it stands in the text.
struct Tag<'a> {
    text: &'a str,
    name: &'a str,
    closes: bool,
}

impl<'a> Tag<'a> {
    /// The tag with which a text begins; none where it begins with `<dana@acme.example>` or `< 5`. It ends with the
    /// first `>`: one in the value of an attribute is so rare that looking for it is not worth a second pass.
    fn at_start_of(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix('<')?;
        let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
        let length = inner.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b':').count();
        let name = &inner[..length];
        let behind = inner.as_bytes().get(length)?;
        if !name.starts_with(|first: char| first.is_ascii_alphabetic())
            || !(behind.is_ascii_whitespace() || matches!(behind, b'/' | b'>'))
        {
            return None;
        }
        // Where no tag ends any more there is none, and the rest is read as the last one rather than again and again.
        let end = text.find('>').map_or(text.len(), |end| end + 1);
        Some(Self { text: &text[..end], name, closes })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Names and values of the attributes.
    fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = self.text.trim_end_matches('>');
        let mut rest = text.get(1 + self.name.len()..).unwrap_or_default();
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '/');
            if rest.is_empty() {
                return None;
            }
            let is_end = |character: char| character.is_ascii_whitespace() || matches!(character, '=' | '/');
            // An attribute without a name begins with its `=`.
            let end = rest.find(is_end).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let Some(value) = behind.trim_ascii_start().strip_prefix('=') else {
                rest = behind;
                return Some((name, ""));
            };
            let value = value.trim_ascii_start();
            let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
            let (value, behind) = match quote {
                Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
                None => value.split_at(value.find(|it: char| it.is_ascii_whitespace()).unwrap_or(value.len())),
            };
            rest = behind;
            Some((name, value))
        })
    }

    /// What the element means, and whether its content is taken out.
    fn meaning(&self, within_container: bool) -> Option<Meaning> {
        let mut meaning = self.is("blockquote").then_some(if within_container {
            Meaning::Marked(Mark::Quote)
        } else {
            Meaning::Marked(Mark::Indented)
        });
        for (name, value) in self.attributes() {
            let found = match name.to_ascii_lowercase().as_str() {
                "class" => value.split_ascii_whitespace().find_map(|class| self.meaning_of_class(class)),
                "id" => meaning_of_id(value.trim()),
                "type" if self.is("blockquote") && value.trim().eq_ignore_ascii_case("cite") => {
                    Some(Meaning::Marked(Mark::Quote))
                }
                "cite" if self.is("blockquote") && value.trim().starts_with("mid:") => {
                    Some(Meaning::Marked(Mark::Quote))
                }
                "style" if self.is("div") || self.is("p") => is_border(value).then_some(Meaning::Point(Mark::Border)),
                _ => None,
            };
            meaning = found.or(meaning);
        }
        meaning
    }

    fn meaning_of_class(&self, class: &str) -> Option<Meaning> {
        let is = |name: &str| class.ends_with(name);
        if is("gmail_signature")
            || is("gmail_signature_prefix")
            || is("moz-signature")
            || is("protonmail_signature_block")
        {
            Some(Meaning::TakenOut(Some(Mark::Signature)))
        } else if is("moz-email-headers-table") {
            Some(Meaning::TakenOut(None))
        } else if is("gmail_attr") || is("moz-cite-prefix") {
            Some(Meaning::Marked(Mark::Attribution))
        } else if is("moz-forward-container") {
            Some(Meaning::Point(Mark::Forward))
        } else if is("yahoo_quoted") || is("zmail_extra") || is("tutanota_quote") {
            Some(Meaning::Marked(Mark::Quote))
        } else if is("OutlookMessageHeader") {
            Some(Meaning::Point(Mark::History))
        } else if is("gmail_quote") || is("gmail_quote_container") || is("protonmail_quote") {
            Some(Meaning::Marked(if self.is("blockquote") { Mark::Quote } else { Mark::Container }))
        } else {
            None
        }
    }
}

fn meaning_of_id(id: &str) -> Option<Meaning> {
    if id.ends_with("appendonsend") || id.ends_with("divRplyFwdMsg") || id.ends_with("OLK_SRC_BODY_SECTION") {
        Some(Meaning::Point(Mark::History))
    } else if id.ends_with("Signature") || id.ends_with("ms-outlook-mobile-signature") || id == "Zm-_Id_-Sgn" {
        Some(Meaning::TakenOut(Some(Mark::Signature)))
    } else {
        None
    }
}

/// The line that Outlook on the desktop draws above the header of what it quotes.
fn is_border(style: &str) -> bool {
    let style: String = style.chars().filter(|character| !character.is_whitespace()).collect::<String>().to_lowercase();
    ["solid#e1e1e1", "solid#b5c4df", "solidrgb(225,225,225)", "solidrgb(181,196,223)"]
        .iter()
        .any(|line| style.contains(&format!("border-top:{line}")) || style.contains(&format!("border-top:1pt{line}")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The mark stands before the content, its end behind it.
    Marked(Mark),
    /// The mark stands here alone.
    Point(Mark),
    /// The mark stands in place of the content.
    TakenOut(Option<Mark>),
}

/// An element that means something.
struct Open {
    name: String,
    meaning: Meaning,
    /// How many elements of the same name are open within it. Others need no count: they end before it does.
    same_within: usize,
    /// What its tag was written as, to close it likewise.
    written_as: &'static str,
}

struct Scan {
    signed: String,
    open: Vec<Open>,
    /// The place in `open` of the element whose content is being taken out.
    taken_out: Option<usize>,
}

impl Scan {
    fn push(&mut self, text: &str) {
        if self.taken_out.is_none() {
            self.signed.push_str(text);
        }
    }

    fn sign(&mut self, mark: Mark) {
        if self.taken_out.is_none()
            && let Some((_, sign)) = SIGNS.iter().find(|(of, _)| *of == mark)
        {
            self.signed.extend(["<div>", sign.encode_utf8(&mut [0; 4]), "</div>"]);
        }
    }

    fn is_within(&self, mark: Mark) -> bool {
        self.open.iter().any(|open| open.meaning == Meaning::Marked(mark))
    }

    fn open(&mut self, tag: &Tag<'_>, behind: &str) {
        if let Some(last) = self.open.last_mut()
            && tag.is(&last.name)
        {
            last.same_within += 1;
        }
        if self.taken_out.is_some() {
            return;
        }
        // Beyond this depth nothing more is told apart, so that asking what is open stays cheap.
        let meaning = if self.open.len() < 50 { tag.meaning(self.is_within(Mark::Container)) } else { None };
        let Some(mut meaning) = meaning else {
            // A line across the page parts what is around it; the conversion to text would join it.
            self.push(if tag.is("hr") { "<br><br>" } else { tag.text });
            return;
        };
        if matches!(meaning, Meaning::Marked(Mark::Quote | Mark::Container))
            && self.is_within(Mark::Quote)
            && !begins_forward(behind)
        {
            meaning = Meaning::TakenOut(Some(Mark::Quote));
        }
        // Only what stays a block quote gets a `>` before its lines.
        let written_as = if tag.is("blockquote") { "div" } else { "" };
        let begin = if written_as.is_empty() { tag.text } else { "<div>" };
        match meaning {
            Meaning::Marked(mark) => {
                self.push(begin);
                self.sign(mark);
            }
            Meaning::Point(mark) => {
                self.sign(mark);
                self.push(begin);
                return;
            }
            Meaning::TakenOut(mark) => {
                if let Some(mark) = mark {
                    self.sign(mark);
                    if mark.lasts() {
                        self.sign(Mark::End);
                    }
                }
                self.taken_out = Some(self.open.len());
            }
        }
        self.open.push(Open { name: tag.name.to_ascii_lowercase(), meaning, same_within: 0, written_as });
    }

    fn close(&mut self, tag: &Tag<'_>) {
        let Some(last) = self.open.last_mut().filter(|last| tag.is(&last.name)) else {
            return self.push(tag.text);
        };
        if last.same_within > 0 {
            last.same_within -= 1;
            return self.push(tag.text);
        }
        let Some(last) = self.open.pop() else { return };
        if self.taken_out == Some(self.open.len()) {
            self.taken_out = None;
            return;
        }
        self.sign(Mark::End);
        self.push(if last.written_as.is_empty() { tag.text } else { "</div>" });
    }
}

/// True if the first words behind a tag say that a forwarded mail follows.
fn begins_forward(html: &str) -> bool {
    let mut words = String::new();
    let mut is_tag = false;
    for character in html.chars().take(LOOK_AHEAD) {
        match character {
            '<' => is_tag = true,
            '>' if is_tag => {
                is_tag = false;
                if !words.trim().is_empty() {
                    break;
                }
            }
            _ if !is_tag => words.push(character),
            _ => {}
        }
    }
    is_forward_line(words.trim())
}
