//! Collects what is found, and turns it into diagnostics.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arguments::ArgumentText;
use super::diagnostics::{Diagnostic, Diagnostics, Severity};
use super::settings::file::is_no_name;
use super::source_file::SourceFile;
use super::words::{has_escaped_signs, secret_part};

/// What was expected of a value, for people.
pub(super) type Expected = Cow<'static, str>;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceSpan {
    /// Index of the source.
    pub(super) file: usize,
    /// Bytes of its text; `None` is the file as a whole.
    pub(super) span: Option<Range<usize>>,
}

/// Collects what is found.
pub(super) struct Report<'a> {
    sources: &'a [SourceFile],
    findings: RefCell<Vec<Finding>>,
    /// How many of them are errors: asked before and after each table.
    errors: Cell<usize>,
    /// What may be shown, but for what is secret in a URL; every other value is hidden. Almost all values are here, so
    /// that no more is asked about them before the end.
    revealed: RefCell<Vec<Revealed>>,
    /// What must not be shown though it is revealed.
    concealed: RefCell<Hidden>,
}

/// Parts of files, by file and beginning.
type Hidden = BTreeMap<(usize, usize), Range<usize>>;

/// A scalar that was read as something that is not a secret.
struct Revealed {
    file: usize,
    /// Without its quotes.
    span: Range<usize>,
    is_address: bool,
}

struct Finding {
    severity: Severity,
    place: SourceSpan,
    message: String,
    help: String,
    quoting: Quoting,
}

impl Finding {
    fn line(&self, sources: &[SourceFile]) -> Option<usize> {
        let span = self.place.span.as_ref()?;
        Some(sources[self.place.file].position(span.start).0)
    }
}

/// What may be shown of a line.
#[derive(Clone, Copy)]
enum Quoting {
    /// All but the values that are hidden.
    Parsed,
    /// Its key or table header, because it could not be parsed.
    Key,
    /// Nothing but a table header.
    Header,
}

impl<'a> Report<'a> {
    pub(super) fn new(sources: &'a [SourceFile]) -> Self {
        Self {
            sources,
            findings: RefCell::default(),
            errors: Cell::default(),
            revealed: RefCell::default(),
            concealed: RefCell::default(),
        }
    }

    /// Something that refuses the configuration.
    pub(super) fn error(
        &self,
        place: &SourceSpan,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Error, place, message.into(), help.into());
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Something that works, but should be looked at.
    pub(super) fn warning(
        &self,
        place: &SourceSpan,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Warning, place, message.into(), help.into());
    }

    /// A place that is not TOML. One is enough for a line: others follow from it. Only the first
    /// of a file shows a key: later ones may be what is left of a broken string.
    pub(super) fn syntax_error(&self, file: usize, error: &toml::de::Error) {
        let start = error.span().map_or(0, |span| span.start);
        let end = error.span().map_or(0, |span| span.end);
        let line = self.sources[file].position(start).0;
        let mut quoting = Quoting::Key;
        for other in self.findings.borrow().iter() {
            if other.place.file == file {
                quoting = Quoting::Header;
                if other.line(self.sources) == Some(line) {
                    return;
                }
            }
        }
        let (message, help) = match error.message().split_once(", expected ") {
            Some((message, expected)) => (message, format!("expected {expected}")),
            None => {
                let help = match error.message() {
                    "duplicate key" => "expected each key once in its table",
                    _ => "expected TOML",
                };
                (error.message(), help.to_owned())
            }
        };
        self.push(Finding {
            severity: Severity::Error,
            place: SourceSpan {
                file,
                span: Some(start..end),
            },
            message: format!("syntax error: {message}"),
            help,
            quoting,
        });
    }

    /// Shows a value on quoted lines, for it was read as something that is no secret: what nobody has read, such as the value
    /// of a misspelt key, stays hidden. Of a URL neither a name and password nor a query is shown, nothing of a table (that
    /// would be keys that nobody asked for), and nothing that looks like a key or a token.
    ///
    /// Of a key that holds a URL, an origin or a host (`is_address`) this is so though no `//` says that it is one.
    pub(super) fn reveal(&self, file: usize, value: &Spanned<DeValue<'_>>, is_address: bool) {
        match value.get_ref() {
            DeValue::Array(elements) => elements
                .iter()
                .for_each(|value| self.reveal(file, value, is_address)),
            DeValue::Table(_) => {}
            _ => self.revealed.borrow_mut().push(Revealed {
                file,
                span: self.shown_span(file, value),
                is_address,
            }),
        }
    }

    /// Hides the string of `value`, whether it is revealed before or after.
    pub(super) fn conceal(&self, file: usize, value: &Spanned<DeValue<'_>>) {
        let span = self.shown_span(file, value);
        let mut concealed = self.concealed.borrow_mut();
        concealed.insert((file, span.start), span);
    }

    /// Adds the scalars in `value`. A boolean gives nothing away.
    fn hide(&self, file: usize, value: &Spanned<DeValue<'_>>, hidden: &mut Hidden) {
        match value.get_ref() {
            DeValue::Boolean(_) => {}
            DeValue::Array(elements) => {
                for value in elements.iter() {
                    self.hide(file, value, hidden);
                }
            }
            DeValue::Table(table) => {
                for (_, value) in table.iter() {
                    self.hide(file, value, hidden);
                }
            }
            _ => {
                let span = self.shown_span(file, value);
                hidden.insert((file, span.start), span);
            }
        }
    }

    /// What stays hidden of a scalar that is revealed, if anything.
    fn still_hidden(&self, revealed: &Revealed) -> Option<Range<usize>> {
        let span = &revealed.span;
        let written = &self.sources[revealed.file].text[span.clone()];
        if written.split('/').any(is_no_name) {
            return Some(span.clone());
        }
        let is_unreadable = match revealed.is_address {
            true => written.contains('\\'),
            false => has_escaped_signs(written),
        };
        let part = match is_unreadable {
            true => Some(0),
            false => secret_part(written, revealed.is_address),
        };
        Some(span.start + part?..span.end)
    }

    /// Where a scalar is written, without its quotes.
    fn shown_span(&self, file: usize, value: &Spanned<DeValue<'_>>) -> Range<usize> {
        let span = value.span();
        if value.get_ref().as_str().is_none() {
            return span;
        }
        let written = &self.sources[file].text[span.clone()];
        let long = written.starts_with("\"\"\"") || written.starts_with("'''");
        let quotes = if long { 3 } else { 1 };
        span.start + quotes..span.end.saturating_sub(quotes)
    }

    /// All files, each as a place and by its path.
    pub(super) fn sources(&self) -> impl Iterator<Item = (SourceSpan, &Path)> {
        let place = |file| SourceSpan { file, span: None };
        let sources = self.sources.iter().enumerate();
        sources.map(move |(file, source)| (place(file), source.path.as_path()))
    }

    /// `file:line:column`, or the name of the argument that stands there.
    pub(super) fn locate(&self, place: &SourceSpan) -> String {
        let source = &self.sources[place.file];
        let path = source.path.display();
        if let Some(made) = &source.arguments {
            let said = place.span.as_ref();
            let said = said.and_then(|span| made.said_at(span.start));
            return said.map_or_else(|| path.to_string(), |said| said.argument.name());
        }
        match &place.span {
            Some(span) => {
                let (line, column) = source.position(span.start);
                format!("{path}:{line}:{column}")
            }
            None => path.to_string(),
        }
    }

    /// Everything found, in the order of files and lines. `tables` are the files that were read, each by its index.
    pub(super) fn finish(self, tables: &[(usize, Spanned<DeTable<'_>>)]) -> Diagnostics {
        if self.findings.borrow().is_empty() {
            return Diagnostics::default();
        }
        let mut hidden = Hidden::new();
        for (file, table) in tables {
            for (_, value) in table.get_ref().iter() {
                self.hide(*file, value, &mut hidden);
            }
        }
        for revealed in self.revealed.take() {
            let place = (revealed.file, revealed.span.start);
            match self.still_hidden(&revealed) {
                Some(part) => drop(hidden.insert(place, part)),
                None => drop(hidden.remove(&place)),
            }
        }
        hidden.extend(self.concealed.take());
        let mut hidden_of_file = vec![Vec::new(); self.sources.len()];
        for ((file, _), span) in hidden {
            hidden_of_file[file].push(span);
        }
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|found| {
            let start = found.place.span.as_ref().map(|span| span.start);
            (found.place.file, start)
        });
        let mut diagnostics = Vec::with_capacity(findings.len());
        for found in findings {
            let source = &self.sources[found.place.file];
            if let Some(made) = &source.arguments {
                let hidden = &hidden_of_file[found.place.file];
                let told = of_arguments(made, found, hidden);
                // An argument may stand at several places.
                if !diagnostics.contains(&told) {
                    diagnostics.push(told);
                }
                continue;
            }
            let span = found.place.span;
            let quote = span.as_ref().map(|span| {
                match found.quoting {
                    Quoting::Parsed => {}
                    Quoting::Key => return source.quote_unparsed(span, true),
                    Quoting::Header => return source.quote_unparsed(span, false),
                }
                source.quote(span, &hidden_of_file[found.place.file])
            });
            let (line, column) = span.map(|span| source.position(span.start)).unzip();
            diagnostics.push(Diagnostic {
                severity: found.severity,
                file: source.path.display().to_string(),
                line,
                column,
                message: found.message,
                help: found.help,
                count: 1,
                quote,
                argument: None,
                is_passing: false,
            });
        }
        Diagnostics(diagnostics).abridged()
    }

    fn add(&self, severity: Severity, place: &SourceSpan, message: String, help: String) {
        self.push(Finding {
            severity,
            place: place.clone(),
            message,
            help,
            quoting: Quoting::Parsed,
        });
    }

    fn push(&self, found: Finding) {
        if found.severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        self.findings.borrow_mut().push(found);
    }
}

/// What was found in a text that nobody has seen, in terms of what it was made of.
fn of_arguments(made: &ArgumentText, found: Finding, hidden: &[Range<usize>]) -> Diagnostic {
    let said = found.place.span.and_then(|span| made.said_at(span.start));
    let file = match said {
        Some(said) if said.argument.by_variable => "environment",
        _ => ArgumentText::PLACE,
    };
    let message = made.retell(&found.message, said);
    let by_method = message.ends_with(ArgumentText::ONLY_IN_FILE);
    Diagnostic {
        severity: found.severity,
        file: file.to_owned(),
        line: None,
        column: None,
        message,
        help: made.retell(&found.help, said),
        count: 1,
        quote: said.map(|said| said.quote(hidden)),
        argument: said
            .map(|said| said.argument.key.name)
            .or(by_method.then_some("auth-method")),
        is_passing: false,
    }
}
