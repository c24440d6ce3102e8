//! Problems found in a configuration, and how they are shown.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::files::Shortage;

/// How many findings a process keeps, which has told them all in its log.
const MOST_KEPT: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It works, but should be looked at.
    Warning,
}

/// One finding, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named; the directory when there is no single file to blame. Without a file, `command line`
    /// or `environment`.
    pub file: String,
    /// The line, from 1; absent when the finding is about the file as a whole.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong, in one line, free of secrets.
    pub message: String,
    /// What was expected instead, or what to do; free of secrets.
    pub help: String,
    /// The line itself; kept out of what programs read.
    #[serde(skip)]
    pub(super) quote: Option<Quote>,
    /// What it is about, where there is no file.
    #[serde(skip)]
    pub(super) argument: Option<&'static str>,
    /// Whether it says nothing about the configuration, which could not be read now.
    #[serde(skip)]
    pub(super) is_passing: bool,
}

/// A source line made fit to be shown: secrets masked, one column a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quote {
    /// The line.
    pub(super) text: String,
    /// Columns before the first caret.
    pub(super) start: usize,
    /// Number of carets, at least one.
    pub(super) width: usize,
}

/// All findings of one run, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostic {
    /// An error about a file, or directory, as a whole.
    pub fn of_file(file: &Path, message: String, help: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.display().to_string(),
            line: None,
            column: None,
            message,
            help,
            quote: None,
            argument: None,
            is_passing: false,
        }
    }

    /// The system lacked something while the configuration at `path` was read.
    pub(crate) fn of_shortage(path: &Path, shortage: Shortage) -> Self {
        let message = format!("the configuration cannot be read now: {}", shortage.reason);
        Self {
            is_passing: true,
            ..Self::of_file(path, message, shortage.advice.to_owned())
        }
    }
}

impl Diagnostics {
    /// Whether anything refuses the configuration.
    pub fn has_errors(&self) -> bool {
        self.iter().any(|found| found.severity == Severity::Error)
    }

    /// Whether the configuration may be good and could not be read now. What else was found may follow from that.
    pub fn are_passing(&self) -> bool {
        self.iter().any(|found| found.is_passing)
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first error about what was given for an argument, by its name.
    pub fn about_argument(&self, name: &str) -> Option<&Diagnostic> {
        let errors = self
            .iter()
            .filter(|found| found.severity == Severity::Error);
        errors
            .into_iter()
            .find(|found| found.argument == Some(name))
    }

    /// The errors about what was given for arguments, without those about what is missing.
    pub fn about_arguments(&self) -> Self {
        let errors = self
            .iter()
            .filter(|found| found.severity == Severity::Error && found.argument.is_some());
        Self(errors.cloned().collect())
    }

    /// What a process keeps of them and shows again: the first hundred, and how many more there were.
    #[must_use]
    pub fn brief(&self) -> Self {
        let (kept, others) = self.0.split_at(self.0.len().min(MOST_KEPT));
        let more = others.first().map(|first| Diagnostic {
            severity: first.severity,
            ..Diagnostic::of_file(
                Path::new(&first.file),
                format!("{} more are not shown here", others.len()),
                "see the log, or run `sidebearer check`".to_owned(),
            )
        });
        Self(kept.iter().cloned().chain(more).collect())
    }

    /// The findings in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

/// Plain text, one block a finding with an empty line between.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

/// Plain text, ending in a newline.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let line = self.line.map(|line| line.to_string()).unwrap_or_default();
        let gutter = " ".repeat(line.len().max(1));
        write!(f, " {gutter}--> {}", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        writeln!(f)?;
        match &self.quote {
            Some(quote) => {
                writeln!(f, " {gutter} |")?;
                writeln!(f, " {line:1} | {}", quote.text)?;
                let indent = " ".repeat(quote.start);
                let carets = "^".repeat(quote.width);
                writeln!(f, " {gutter} | {indent}{carets} {}", self.help)
            }
            None => writeln!(f, " {gutter} = {}", self.help),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_findings_the_first_hundred_are_kept_and_the_others_counted() {
        let found = |count: usize| {
            let one =
                |n| Diagnostic::of_file(Path::new("a.toml"), format!("mistake {n}"), String::new());
            Diagnostics((0..count).map(one).collect())
        };
        assert_eq!(found(0).brief(), found(0));
        assert_eq!(found(MOST_KEPT).brief(), found(MOST_KEPT));
        let brief = found(10_000).brief();
        assert_eq!(brief.0[..MOST_KEPT], found(MOST_KEPT).0);
        let [more] = &brief.0[MOST_KEPT..] else {
            panic!("{brief}")
        };
        assert_eq!(more.message, "9900 more are not shown here");
        assert_eq!(more.severity, Severity::Error);
    }
}
