//! The text of one file, and how a line of it is quoted without its secrets.

use std::ops::Range;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::arguments::{ArgumentText, Arguments};
use super::diagnostics::Quote;
use super::words::{has_escaped_signs, secret_part};

/// Of one length, so that it says nothing about what it hides.
const MASK: &str = "***";

/// One configuration file, or what stands in its place.
pub(super) struct SourceFile {
    /// As it was named.
    pub(super) path: PathBuf,
    /// Its text; empty when it could not be read.
    pub(super) text: Zeroizing<String>,
    /// Where its lines begin: thousands of findings are placed without reading it all for each.
    starts: Vec<usize>,
    /// What it is made of, if it is no file.
    pub(super) arguments: Option<ArgumentText>,
}

impl SourceFile {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let after = |(at, _)| at + 1;
        let starts = [0].into_iter().chain(text.match_indices('\n').map(after));
        Self {
            path,
            starts: starts.collect(),
            text: Zeroizing::new(text),
            arguments: None,
        }
    }

    /// What a file would hold that says the same as these arguments.
    pub(super) fn of_arguments(arguments: &Arguments) -> Self {
        let made = ArgumentText::new(arguments);
        let source = Self::new(PathBuf::from(ArgumentText::PLACE), made.text.clone());
        Self {
            arguments: Some(made),
            ..source
        }
    }

    /// Line and column in characters of a byte offset, both from 1.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.boundary(offset);
        let number = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[number - 1];
        (number, self.text[start..offset].chars().count() + 1)
    }

    /// The line on which `span` begins, with `hidden` masked: ranges in their order. So is what may be secret in a URL,
    /// wherever that stands.
    pub(super) fn quote(&self, span: &Range<usize>, hidden: &[Range<usize>]) -> Quote {
        let mut line = self.line(self.boundary(span.start));
        let first = hidden.partition_point(|hidden| hidden.end < line.start);
        let beyond = hidden.partition_point(|hidden| hidden.start <= line.end);
        let hidden = hidden.get(first..beyond).unwrap_or_default();
        line.end = self.before_comment(&line, hidden);
        let of_urls = self.secrets_of_urls(&line);
        let masked = hidden.iter().chain(&of_urls);
        let span = span.start..span.end.max(span.start + 1);
        let (mut text, mut columns, mut carets) = (String::new(), 0, None);
        let mut offset = line.start;
        while offset < line.end {
            let rest = &self.text[offset..line.end];
            let here = masked.clone().filter(|masked| masked.contains(&offset));
            let end = match here.map(|masked| masked.end).max() {
                Some(end) => {
                    text.push_str(MASK);
                    end.min(line.end)
                }
                None => {
                    let c = rest.chars().next().unwrap_or(' ');
                    text.push(printable(c));
                    offset + c.len_utf8()
                }
            };
            let width = text.chars().count();
            if offset < span.end && span.start < end {
                carets.get_or_insert(columns..width).end = width;
            }
            columns = width;
            offset = end;
        }
        let carets = carets.unwrap_or(columns..columns + 1);
        Quote {
            start: carets.start,
            width: carets.len(),
            text,
        }
    }

    /// The line that a syntax error is on. Nobody knows its structure, so that only what can be
    /// nothing but a table header or, if wanted, a key is shown.
    pub(super) fn quote_unparsed(&self, span: &Range<usize>, key: bool) -> Quote {
        let line = self.line(self.boundary(span.start));
        let text = &self.text[line.clone()];
        let before = &self.text[..line.start];
        let in_string = ["\"\"\"", "'''"]
            .iter()
            .any(|quote| before.matches(quote).count() % 2 == 1);
        let shown = if in_string { 0 } else { harmless(text, key) };
        let hidden = line.start + shown..line.end;
        self.quote(span, &[hidden])
    }

    /// The range of the line around `offset`, without its line break.
    fn line(&self, offset: usize) -> Range<usize> {
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[offset..]
            .find('\n')
            .map_or(self.text.len(), |at| offset + at);
        let end = start + self.text[start..end].trim_end_matches('\r').len();
        start..end
    }

    /// Where the comment after a masked value starts: it may hold the value of yesterday.
    fn before_comment(&self, line: &Range<usize>, hidden: &[Range<usize>]) -> usize {
        let within = |end: &usize| (line.start..=line.end).contains(end);
        let Some(last) = hidden.iter().map(|hidden| hidden.end).filter(within).max() else {
            return line.end;
        };
        match self.text[last..line.end].find('#') {
            Some(comment) => last + self.text[last..last + comment].trim_end().len(),
            None => line.end,
        }
    }

    /// What may be secret in the URLs of a line, and in what is written like a part of one. Those that are values are hidden
    /// already; others are keys, stand in the header of a table or in a comment.
    fn secrets_of_urls(&self, line: &Range<usize>) -> Vec<Range<usize>> {
        let text = &self.text[line.clone()];
        let secrets = words(text).into_iter().filter_map(|word| {
            let secret = secret_in(&text[word.clone()])?;
            let start = line.start + word.start;
            Some(start + secret.start..start + secret.end)
        });
        secrets.collect()
    }

    /// The character boundary at or before `offset`, within the text.
    fn boundary(&self, offset: usize) -> usize {
        (0..=offset.min(self.text.len()))
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0)
    }
}

/// The words of a line. White space ends one, but not within quotes that begin in it. A password may have a quote in it, so that
/// a quote ends none.
fn words(line: &str) -> Vec<Range<usize>> {
    let until_space = |from: usize| {
        let space = line[from..].find(char::is_whitespace);
        space.map_or(line.len(), |space| from + space)
    };
    let (mut words, mut start) = (Vec::new(), 0);
    while start < line.len() {
        let mut end = until_space(start);
        let word = &line[start..end];
        if let Some(quote) = word.chars().find(|c| is_quote(*c))
            && word.matches(quote).count() % 2 == 1
            && let Some(closing) = line[end..].find(quote)
        {
            end = until_space(end + closing);
        }
        words.push(start..end);
        let rest = line[end..].trim_start();
        start = line.len() - rest.len();
    }
    words
}

/// What may be secret of a word: of a URL in quotes, nothing that stands before them.
fn secret_in(word: &str) -> Option<Range<usize>> {
    let is_around = |c: char| is_quote(c) || "()[]{}<>,;".contains(c);
    let end = word.trim_end_matches(is_around).len();
    let start = word.len() - word.trim_start_matches(is_around).len();
    let text = word.get(start..end)?;
    let scheme = &text[..text.find([':', '/']).unwrap_or(0)];
    let opening = scheme.rfind(is_quote).filter(|at| {
        let before = scheme[..*at].chars().next_back();
        before.is_some_and(|c| ".=,#({[".contains(c))
    });
    let start = start + opening.map_or(0, |at| at + 1);
    let text = &word[start..end];
    let part = match has_escaped_signs(text) {
        true => 0,
        false => secret_part(text, false)?,
    };
    Some(start + part..end)
}

fn is_quote(c: char) -> bool {
    c == '"' || c == '\''
}

/// The bytes at the start of a line that cannot be part of a secret.
fn harmless(line: &str, key: bool) -> usize {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. \t".contains(c);
    if line.starts_with('[') {
        let end = match line.rfind(']') {
            Some(bracket) => bracket + 1,
            None => line.find(char::is_whitespace).unwrap_or(line.len()),
        };
        let plain = |c: char| bare(c) || "[]".contains(c);
        return if line[..end].chars().all(plain) {
            end
        } else {
            0
        };
    }
    match line.split_once('=').filter(|_| key) {
        // A line of base64 ends in `=` too, but with nothing around it.
        Some((key, value)) if value.trim_matches('=').is_empty() && !key.ends_with(' ') => 0,
        Some((key, value)) if key.chars().all(bare) => {
            line.len() - value.trim_start_matches(' ').len()
        }
        _ => 0,
    }
}

/// One column wide, and harmless to a terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
