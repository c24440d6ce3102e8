//! Problems found in a configuration, and how they are shown.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::files::Shortage;

/// How many findings with the same advice are told one by one.
const MOST_ALIKE: usize = 100;

/// How many findings a process keeps of those that its log has told.
const MOST_KEPT: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
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
    /// How many findings it stands for: one, unless it says how many others there are.
    #[serde(skip_serializing_if = "is_one")]
    pub count: usize,
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
            count: 1,
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

    /// The file, with line and column if it has them.
    fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.file),
            _ => self.file.clone(),
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

    /// Of those with the same advice the first hundred. If more than one follows, the next one says how many and where: ten
    /// thousand would be a log line of megabytes, which hides what else was found.
    #[must_use]
    pub(super) fn abridged(self) -> Self {
        let mut told: Vec<Diagnostic> = Vec::new();
        // How many there are, and which of those that are told was the last.
        let mut alike: HashMap<(Severity, String), (usize, usize)> = HashMap::new();
        for found in self.0 {
            let advice = (found.severity, found.help.clone());
            let (count, last) = alike.entry(advice).or_default();
            *count += 1;
            if *count <= MOST_ALIKE + 1 {
                *last = told.len();
                told.push(found);
            } else {
                let others = &mut told[*last];
                others.count += 1;
                others.message = format!(
                    "{} more have the same advice, from here to {}",
                    others.count,
                    found.place()
                );
            }
        }
        Self(told)
    }

    /// What a process keeps of them and shows again: the first hundred, and how many more there were.
    #[must_use]
    pub fn brief(&self) -> Self {
        let (kept, others) = self.0.split_at(self.0.len().min(MOST_KEPT));
        let count = others.iter().map(|found| found.count).sum();
        let more = others.first().map(|first| Diagnostic {
            severity: first.severity,
            count,
            ..Diagnostic::of_file(
                Path::new(&first.file),
                format!("{count} more are not shown here"),
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

fn is_one(count: &usize) -> bool {
    *count == 1
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

    fn alike(line: usize, help: &str) -> Diagnostic {
        Diagnostic {
            line: Some(line),
            column: Some(1),
            ..Diagnostic::of_file(
                Path::new("a.toml"),
                format!("mistake {line}"),
                help.to_owned(),
            )
        }
    }

    #[test]
    fn of_many_findings_with_the_same_advice_one_stands_for_those_after_the_first_hundred() {
        let of_both = |count: usize| {
            let one = |line| alike(line, if line % 2 == 0 { "even" } else { "odd" });
            Diagnostics((0..count).map(one).collect())
        };
        for few in [0, 1, 2 * (MOST_ALIKE + 1)] {
            assert_eq!(of_both(few).abridged(), of_both(few));
        }
        let mut expected = of_both(2 * (MOST_ALIKE + 1));
        for (found, last) in expected.0.iter_mut().rev().zip([999, 998]) {
            found.count = 400;
            found.message = format!("400 more have the same advice, from here to a.toml:{last}:1");
        }
        assert_eq!(of_both(1000).abridged(), expected);
    }

    #[test]
    fn what_says_how_many_others_there_are_is_counted_as_those_when_it_is_not_kept() {
        let found = |line| alike(line, "the same");
        let found = Diagnostics((0..300).map(found).collect());
        let brief = found.abridged().brief();
        let more = &brief.0[MOST_KEPT];
        assert_eq!(more.message, "200 more are not shown here");
        assert_eq!(more.count, 200);
    }

    #[test]
    fn an_error_is_told_after_any_number_of_warnings_with_its_advice() {
        let mut found: Vec<_> = (0..300).map(|line| alike(line, "the same")).collect();
        for warning in &mut found[..299] {
            warning.severity = Severity::Warning;
        }
        let last = found[299].clone();
        assert_eq!(Diagnostics(found).abridged().0.last(), Some(&last));
    }
}
