//! The way through the lines of a mail: what becomes of each.

use regex::Regex;
use std::sync::LazyLock;

use super::LeftOut;
use super::lines::{
    Attribution, Header, LONGEST_MARK, any_of, attribution, begins_as_attribution, ends_as_attribution, header,
    is_app_footer, is_banner, is_external_tag, is_forward_line, is_original_line, is_postscript, is_ruled_line,
    is_separator, is_subscription, looks_like_signature, words_after_closing,
};
use super::markup::Mark;
use super::phrases;
use crate::domain::pattern::pattern;

/// A line of the text, or a mark between lines.
#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    Line(&'a str),
    Mark(Mark),
}

impl Piece<'_> {
    fn header(&self) -> Option<Header> {
        match self {
            Self::Line(line) => header(line),
            Self::Mark(_) => None,
        }
    }
}

/// What becomes of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It is no text: a mark, or the header of what is kept below it.
    Frame,
    Out(LeftOut),
}

/// A mail in pieces, and what becomes of them.
pub(super) struct Reading<'a> {
    pieces: Vec<Piece<'a>>,
    /// What each line tells if it is one of a mail's header.
    headers: Vec<Option<Header>>,
    fates: Vec<Fate>,
    /// Behind each mark that lasts: where its end is. For all other pieces: the place itself.
    ends: Vec<usize>,
    /// True where a quote stands between a mark and its end.
    holds_quote: Vec<bool>,
    /// Where the parts in which the reading is end, the innermost last.
    bounds: Vec<usize>,
    /// True while the first mark of history leads to what was forwarded.
    forward_due: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn of(text: &'a str, forward_due: bool) -> Self {
        let mut pieces = Vec::new();
        for line in text.lines() {
            let mut from = 0;
            for (at, character) in line.char_indices() {
                let Some(mark) = Mark::signed(character) else { continue };
                if !line[from..at].trim().is_empty() {
                    pieces.push(Piece::Line(line[from..at].trim_end()));
                }
                pieces.push(Piece::Mark(mark));
                from = at + character.len_utf8();
            }
            if from == 0 || !line[from..].trim().is_empty() {
                pieces.push(Piece::Line(line[from..].trim_end()));
            }
        }
        let mut reading = Self {
            headers: pieces.iter().map(Piece::header).collect(),
            fates: vec![Fate::Kept; pieces.len()],
            ends: (0..pieces.len()).collect(),
            holds_quote: vec![false; pieces.len()],
            bounds: Vec::new(),
            pieces,
            forward_due,
        };
        reading.find_ends();
        reading
    }

    fn find_ends(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.pieces.len() {
            match self.pieces[at] {
                Piece::Mark(Mark::End) => {
                    if let Some(from) = open.pop() {
                        self.ends[from] = at;
                        let holds = self.holds_quote[from] || matches!(self.pieces[from], Piece::Mark(Mark::Quote));
                        if let Some(outer) = open.last() {
                            self.holds_quote[*outer] |= holds;
                        }
                    }
                }
                Piece::Mark(mark) if mark.lasts() => open.push(at),
                _ => {}
            }
        }
        // What never ends lasts until the end of the mail.
        for from in open {
            self.ends[from] = self.pieces.len();
        }
    }

    fn line(&self, at: usize) -> Option<&'a str> {
        match self.pieces.get(at) {
            Some(Piece::Line(line)) => Some(line),
            _ => None,
        }
    }

    fn header(&self, at: usize) -> Option<Header> {
        self.headers.get(at).copied().flatten()
    }

    fn mark(&self, at: usize) -> Option<Mark> {
        match self.pieces.get(at) {
            Some(Piece::Mark(mark)) => Some(*mark),
            _ => None,
        }
    }

    fn is_blank(&self, at: usize) -> bool {
        self.line(at).is_some_and(|line| line.trim().is_empty())
    }

    fn is_quoted(&self, at: usize) -> bool {
        self.line(at).is_some_and(|line| line.trim_start().starts_with('>'))
    }

    fn bound(&self) -> usize {
        self.bounds.last().map_or(self.pieces.len(), |bound| (*bound).min(self.pieces.len()))
    }

    /// The next piece that is neither blank nor the end of something, at most the bound.
    fn next_filled(&self, from: usize) -> usize {
        let is_passed = |at: &usize| self.is_blank(*at) || self.mark(*at) == Some(Mark::End);
        (from..self.bound()).find(|at| !is_passed(at)).unwrap_or_else(|| self.bound())
    }

    fn decide(&mut self, from: usize, until: usize, fate: Fate) {
        let until = until.min(self.fates.len());
        if let Some(fates) = self.fates.get_mut(from..until) {
            fates.fill(fate);
        }
    }

    /// Goes through the mail once; each step returns the place where it goes on, always further down.
    pub(super) fn leave_out_history(&mut self) {
        let mut at = 0;
        // A signature lasts until something else begins; a postscript in it until its paragraph ends.
        let (mut in_signature, mut in_postscript) = (false, false);
        while at < self.pieces.len() {
            while self.bounds.last().is_some_and(|bound| *bound <= at) {
                self.bounds.pop();
            }
            let next = match self.pieces[at] {
                Piece::Mark(mark) => Some(self.after_mark(at, mark)),
                Piece::Line(line) => self.after_line(at, line),
            };
            if let Some(next) = next {
                (in_signature, in_postscript) = (false, false);
                at = next.max(at + 1);
                continue;
            }
            let line = self.line(at).unwrap_or_default();
            if is_separator(line) || is_app_footer(line) {
                (in_signature, in_postscript) = (true, false);
            } else if is_postscript(line) {
                in_postscript = true;
            } else if in_postscript && line.is_empty() {
                in_postscript = false;
            }
            if in_signature && !in_postscript {
                self.fates[at] = Fate::Out(LeftOut::Signature);
            }
            at += 1;
        }
    }

    fn after_mark(&mut self, at: usize, mark: Mark) -> usize {
        self.fates[at] = Fate::Frame;
        match mark {
            Mark::Quote => self.after_quote(at),
            Mark::Container => {
                let first = self.next_filled(at + 1);
                if self.holds_quote[at] || self.line(first).is_some_and(is_forward_line) {
                    at + 1
                } else {
                    self.after_quote(at)
                }
            }
            Mark::Attribution => {
                let first = self.next_filled(at + 1);
                if self.line(first).is_some_and(is_forward_line) {
                    return at + 1;
                }
                let after = self.ends[at] + 1;
                self.after_attribution(at, after, None)
            }
            Mark::Signature => {
                self.fates[at] = Fate::Out(LeftOut::Signature);
                at + 1
            }
            Mark::Forward => {
                self.forward_due = false;
                let first = self.next_filled(at + 1);
                if self.line(first).is_some_and(is_ruled_line) {
                    self.decide(at, first + 1, Fate::Frame);
                    return self.enter(first + 1);
                }
                at + 1
            }
            Mark::History => {
                let body = self.after_header(at + 1);
                self.after_history(at, body)
            }
            Mark::Border => {
                let first = self.next_filled(at + 1);
                if self.header_lines(first) >= 2 {
                    let body = self.after_header(first);
                    self.after_history(at, body)
                } else if self.looks_like_header(first) {
                    let is_end = |at: &usize| self.line(*at).is_none_or(str::is_empty);
                    let body = (first..first + 8).find(is_end).unwrap_or(first + 3);
                    self.after_history(at, body)
                } else {
                    at + 1
                }
            }
            Mark::Indented | Mark::End => at + 1,
        }
    }

    /// Where it goes on after a line that marks or belongs to history; none if the line does neither.
    fn after_line(&mut self, at: usize, line: &'a str) -> Option<usize> {
        if self.is_quoted(at) {
            if std::mem::take(&mut self.forward_due) {
                return Some(self.enter(at));
            }
            self.fates[at] = Fate::Out(LeftOut::QuotedHistory);
            return Some(at + 1);
        }
        if is_forward_line(line) {
            self.forward_due = false;
            self.fates[at] = Fate::Frame;
            return Some(self.enter(at + 1));
        }
        if is_original_line(line) {
            let body = self.after_header(at + 1);
            return Some(self.after_history(at, body));
        }
        if is_ruled_line(line) {
            let first = self.next_filled(at + 1);
            if self.is_header(first) {
                let body = self.after_header(first);
                return Some(self.after_history(at, body));
            }
        }
        if self.is_header(at) {
            let body = self.after_header(at);
            return Some(self.after_history(at, body));
        }
        let (lines, attribution) = self.attribution_at(at)?;
        let after = at + lines;
        let next = self.next_filled(after);
        let quote_follows = self.is_quoted(next) || matches!(self.mark(next), Some(Mark::Quote | Mark::Container));
        (attribution == Attribution::Sure || quote_follows)
            .then(|| self.after_attribution(at, after, Some(attribution)))
    }

    /// History that a client has marked: passed, unless it is or holds what was forwarded.
    fn after_quote(&mut self, at: usize) -> usize {
        let first = (at + 1..self.ends[at]).find(|place| !self.is_blank(*place)).unwrap_or(at);
        let begins_forward = self.line(first).is_some_and(is_forward_line);
        if begins_forward || std::mem::take(&mut self.forward_due) {
            return self.enter(at);
        }
        let after = self.ends[at] + 1;
        self.decide(at, after, Fate::Out(LeftOut::QuotedHistory));
        after
    }

    /// Behind an attribution: what is quoted goes, and what stands between and below the quotes is kept; where nothing
    /// is marked as quoted all goes.
    fn after_attribution(&mut self, at: usize, after: usize, told_by_line: Option<Attribution>) -> usize {
        if std::mem::take(&mut self.forward_due) {
            self.decide(at, after, Fate::Frame);
            return self.enter(after);
        }
        let next = self.next_filled(after);
        let until = match self.mark(next) {
            Some(Mark::Indented) => self.ends[next] + 1,
            Some(Mark::Quote | Mark::Container) => after,
            _ if self.is_quoted(next) || told_by_line.is_none() => after,
            _ => self.bound(),
        };
        self.decide(at, until, Fate::Out(LeftOut::QuotedHistory));
        until
    }

    /// Behind the header of an earlier mail: all goes until the part ends in which it stands.
    fn after_history(&mut self, at: usize, body: usize) -> usize {
        if std::mem::take(&mut self.forward_due) {
            self.decide(at, body, Fate::Frame);
            return self.enter(body);
        }
        let until = self.bound();
        self.decide(at, until, Fate::Out(LeftOut::QuotedHistory));
        until
    }

    /// Steps into what was forwarded: past its header lines, into the quote around it, a `>` less before its lines.
    fn enter(&mut self, from: usize) -> usize {
        let mut at = from;
        loop {
            let body = self.after_header(at);
            self.decide(at, body, Fate::Frame);
            at = body;
            if let Some(mark) = self.mark(at).filter(|mark| mark.lasts()) {
                if mark != Mark::Attribution || at > from {
                    self.bounds.push(self.ends[at]);
                }
                self.fates[at] = Fate::Frame;
                at += 1;
            } else if self.is_quoted(at) {
                for place in at..self.pieces.len() {
                    let Some(line) = self.line(place) else { break };
                    match line.trim_start().strip_prefix('>') {
                        Some(inner) => {
                            let inner = inner.strip_prefix(' ').unwrap_or(inner);
                            (self.pieces[place], self.headers[place]) = (Piece::Line(inner), header(inner));
                        }
                        None if line.trim().is_empty() => {}
                        None => break,
                    }
                }
                // Another level would be history again.
                let body = self.after_header(at);
                self.decide(at, body, Fate::Frame);
                return body;
            } else {
                return at;
            }
        }
    }

    /// The place behind the header lines with which a part begins, and behind blank lines before and within them.
    fn after_header(&self, from: usize) -> usize {
        let (mut at, mut lines) = (from, 0);
        loop {
            let filled = (at..self.bound().max(from)).find(|place| !self.is_blank(*place)).unwrap_or(at);
            let again = matches!(self.mark(filled), Some(Mark::History | Mark::Border)) && lines == 0;
            let framed = again || (lines == 0 && self.line(filled).is_some_and(is_ruled_line));
            if framed {
                at = filled + 1;
                continue;
            }
            if lines >= 2 && filled > at {
                return at;
            }
            let Some(kind) = self.header(filled) else { return if lines == 0 { filled } else { at } };
            lines += 1;
            at = filled + 1;
            if kind == Header::To {
                at += self.further_addresses(at);
            }
        }
    }

    /// How many lines go on with the addresses of the line above them, at most five.
    fn further_addresses(&self, from: usize) -> usize {
        let goes_on = |at: &usize| {
            self.header(*at).is_none()
                && self.line(*at).is_some_and(|line| !line.is_empty() && line.contains(['@', ';']))
        };
        (from..from + 5).take_while(goes_on).count()
    }

    /// How many header lines stand at a place, one below the other.
    fn header_lines(&self, from: usize) -> usize {
        (from..from + 4).take_while(|at| self.header(*at).is_some()).count()
    }

    /// True for three lines of a language that is not known that look like a header.
    fn looks_like_header(&self, from: usize) -> bool {
        static LABELLED: LazyLock<Regex> =
            LazyLock::new(|| pattern(r"^[\s*]*\p{L}[\p{L}\p{M} '.-]{0,24}[\s*]*[:：]\s*\S"));
        (from..from + 3).all(|at| self.line(at).is_some_and(|line| LABELLED.is_match(line)))
            && (from..from + 3).any(|at| self.line(at).is_some_and(|line| line.contains('@')))
    }

    /// True if the header of a mail stands here: at least three lines of which one tells the sender, and that have a
    /// subject or an address. `From: Berlin`, `To: Malmö`, `Date: 3 May` in a request for a journey are none.
    fn is_header(&self, at: usize) -> bool {
        let Some(first) = self.header(at) else { return false };
        let mut kinds = vec![first];
        let mut addressed = self.line(at).is_some_and(|line| line.contains('@'));
        let mut next = at + 1 + if first == Header::To { self.further_addresses(at + 1) } else { 0 };
        while let Some(kind) = self.header(next).filter(|_| kinds.len() < 6) {
            kinds.push(kind);
            addressed |= self.line(next).is_some_and(|line| line.contains('@'));
            next += 1 + if kind == Header::To { self.further_addresses(next + 1) } else { 0 };
        }
        let has = |kind: Header| kinds.contains(&kind);
        kinds.len() >= 3
            && has(Header::From)
            && (has(Header::Subject) || addressed)
            && (has(Header::When) || has(Header::To))
    }

    /// An attribution that begins here: of how many lines, and how sure it is. Clients break it at a blank.
    fn attribution_at(&self, at: usize) -> Option<(usize, Attribution)> {
        let mut joined = String::new();
        for lines in 1..=3 {
            let line = self.line(at + lines - 1).filter(|line| !line.is_empty())?;
            if self.is_quoted(at + lines - 1) || joined.len() + line.len() > LONGEST_MARK {
                return None;
            }
            if lines > 1 {
                let first = self.line(at)?;
                // What begins further down is not this line's.
                let is_own = attribution(line) == Some(Attribution::Sure);
                if is_own || !(begins_as_attribution(first) || first.contains('@')) {
                    return None;
                }
                joined.push(' ');
            }
            joined.push_str(line);
            if ends_as_attribution(line)
                && let Some(found) = attribution(&joined)
                && (lines == 1 || found == Attribution::Sure)
            {
                return Some((lines, found));
            }
        }
        None
    }

    /// Legal footers, warnings of external mail, hints how to unsubscribe.
    pub(super) fn leave_out_footers(&mut self) {
        let first_filled = (0..self.pieces.len()).find(|at| self.is_kept_text(*at));
        let mut at = 0;
        while at < self.pieces.len() {
            let line = self.line(at).filter(|_| self.is_kept_text(at)).unwrap_or_default();
            let until = if line.is_empty() {
                at
            } else if is_banner(line) {
                self.end_of_warning(at)
            } else if is_external_tag(line) {
                at + 1
            } else if self.is_legal(at) || (Some(at) != first_filled && is_subscription(line)) {
                self.end_of_paragraph(at, usize::MAX)
            } else {
                at
            };
            self.decide(at, until, Fate::Out(LeftOut::Disclaimer));
            at = until.max(at + 1);
        }
    }

    fn is_kept_text(&self, at: usize) -> bool {
        self.fates.get(at) == Some(&Fate::Kept) && self.line(at).is_some_and(|line| !line.trim().is_empty())
    }

    /// The place behind the last line of a paragraph, at most so many lines further down.
    fn end_of_paragraph(&self, from: usize, most_lines: usize) -> usize {
        let end = self.pieces.len().min(from.saturating_add(most_lines));
        let ends = |at: &usize| !self.is_kept_text(*at) || self.line(*at).is_some_and(is_postscript);
        (from..end).find(ends).unwrap_or(end)
    }

    /// The place behind a warning, which stands right above the text: it goes on only where a line ends within a
    /// sentence and the next begins with a small letter.
    fn end_of_warning(&self, from: usize) -> usize {
        let end = self.end_of_paragraph(from, 5);
        let goes_on = |at: &usize| {
            self.line(*at).is_some_and(|line| line.starts_with(char::is_lowercase))
                && self.line(*at - 1).is_some_and(|line| !line.ends_with(['.', '!', ')', ']', '。']))
        };
        (from + 1..end).find(|at| !goes_on(at)).unwrap_or(end)
    }

    /// True if a legal footer begins here: lawyers' opening, and a word of secrecy within the next lines.
    fn is_legal(&self, at: usize) -> bool {
        static OPENING: LazyLock<Regex> =
            LazyLock::new(|| pattern(&format!(r#"(?i)^[\s*_"'#-]*(?:{})"#, any_of(phrases::LEGAL_OPENINGS))));
        static SECRECY: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){}", any_of(phrases::SECRECY))));
        if !self.line(at).is_some_and(|line| OPENING.is_match(line)) {
            return false;
        }
        let mut ahead = String::new();
        for place in at..self.end_of_paragraph(at, 8) {
            ahead.push_str(self.line(place).unwrap_or_default());
            ahead.push(' ');
        }
        let most = ahead.char_indices().nth(600).map_or(ahead.len(), |(end, _)| end);
        SECRECY.is_match(&ahead[..most])
    }

    /// Names, titles and numbers below a closing line, as long as they look like that.
    pub(super) fn leave_out_what_follows_closings(&mut self) {
        for at in 0..self.pieces.len() {
            if self.is_kept_text(at)
                && let Some(words) = self.line(at).and_then(words_after_closing)
            {
                let until = self.end_of_names(at + 1, words);
                for place in at + 1..until {
                    if self.fates[place] == Fate::Kept {
                        self.fates[place] = Fate::Out(LeftOut::Signature);
                    }
                }
            }
        }
    }

    /// Where the lines end that look like a signature; `from` if they do not, if they are too many, or if the first has
    /// more words than a name has.
    fn end_of_names(&self, from: usize, most_words: usize) -> usize {
        const MOST_LINES: usize = 12;
        let (mut until, mut lines, mut paragraph) = (from, 0, 0);
        for at in from..=self.pieces.len() {
            let is_break = matches!(self.fates.get(at), None | Some(Fate::Frame | Fate::Out(_))) || self.is_blank(at);
            if is_break && paragraph > 0 {
                (until, paragraph) = (at, 0);
            }
            match self.fates.get(at) {
                None | Some(Fate::Frame | Fate::Out(LeftOut::QuotedHistory | LeftOut::Signature)) => break,
                Some(Fate::Out(LeftOut::Disclaimer)) => continue,
                Some(Fate::Kept) if self.is_blank(at) => continue,
                Some(Fate::Kept) => {}
            }
            let line = self.line(at).unwrap_or_default();
            if is_postscript(line) {
                until = at;
                break;
            }
            if !looks_like_signature(line) || (lines == 0 && line.split_whitespace().count() > most_words) {
                break;
            }
            (lines, paragraph) = (lines + 1, paragraph + 1);
            if lines > MOST_LINES {
                return from;
            }
        }
        until
    }

    /// The lines that are kept; a blank line stands where something was left out.
    pub(super) fn kept(&self) -> String {
        let mut kept = String::new();
        let mut parted = false;
        for (piece, fate) in self.pieces.iter().zip(&self.fates) {
            match (piece, fate) {
                (Piece::Line(line), Fate::Kept) if !line.trim().is_empty() => {
                    if !kept.is_empty() {
                        kept.push_str(if parted { "\n\n" } else { "\n" });
                    }
                    kept.push_str(line);
                    parted = false;
                }
                (Piece::Line(_), _) | (_, Fate::Out(_)) => parted = true,
                (Piece::Mark(_), _) => {}
            }
        }
        kept
    }

    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        for fate in &self.fates {
            if let Fate::Out(kind) = fate
                && !left_out.contains(kind)
            {
                left_out.push(*kind);
            }
        }
        left_out
    }
}
