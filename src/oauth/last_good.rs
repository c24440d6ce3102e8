//! The last good values of files. A file may change at any time, and may be half-written, empty or missing
//! for a moment. Its last good value stays in use until its content is good again.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::config::{SecretError, SecretSource};

/// What is wrong now with a file or an environment variable that a credential names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputFault {
    /// The path of the file, or `env NAME`.
    pub file: String,
    /// What is wrong with it; never what it holds.
    pub fault: String,
}

/// Why what a source holds now cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnusableInput {
    fault: InputFault,
    /// The same as a sentence of its own.
    message: String,
}

/// The last value of a source that was good, if there ever was one.
pub(super) struct LastGood<T>(Option<T>);

/// The faults that were found when all files of a credential were read: at most one for each file.
#[derive(Default)]
pub(super) struct FoundFaults(Vec<FoundFault>);

struct FoundFault {
    fault: InputFault,
    /// A value from before is used in its place.
    covered: bool,
}

/// The faults of a credential, as found when its files were last read.
pub(super) struct ReportedFaults {
    credential: String,
    faults: Mutex<Vec<InputFault>>,
}

impl UnusableInput {
    /// What `source` holds is not what it should be: `what` begins with "it".
    pub(super) fn content(source: &SecretSource, what: impl Into<String>) -> Self {
        let what = what.into();
        let message = format!("{source:?}: {what}");
        Self::new(named(source), what, message)
    }

    /// `source` cannot be read.
    pub(super) fn unread(source: &SecretSource, error: &SecretError) -> Self {
        let what = match error {
            SecretError::File { reason, .. } => format!("it cannot be read: {reason}"),
            SecretError::Env(_) => "it is not set".to_owned(),
            SecretError::Empty(_) => "it is empty".to_owned(),
        };
        Self::new(named(source), what, error.to_string())
    }

    /// `file` cannot be used.
    pub(super) fn file(file: &Path, what: impl Into<String>) -> Self {
        let (file, what) = (file.display().to_string(), what.into());
        let message = format!("{file}: {what}");
        Self::new(file, what, message)
    }

    fn new(file: String, fault: String, message: String) -> Self {
        let fault = InputFault { file, fault };
        Self { fault, message }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl<T: Clone> LastGood<T> {
    /// What to use: `now` if it is good, else what was good before and `still` is. What is wrong
    /// with `now` is noted in either case.
    ///
    /// # Errors
    /// What is wrong with `now`, when nothing can stand in.
    pub(super) fn or_before(
        &mut self,
        now: Result<T, UnusableInput>,
        still: impl FnOnce(&T) -> bool,
        faults: &mut FoundFaults,
    ) -> Result<T, UnusableInput> {
        match now {
            Ok(good) => {
                self.0 = Some(good.clone());
                Ok(good)
            }
            Err(unusable) => {
                let before = self.0.clone().filter(still);
                faults.add(&unusable.fault, before.is_some());
                before.ok_or(unusable)
            }
        }
    }
}

impl<T> Default for LastGood<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl FoundFaults {
    /// Adds a fault; `covered` if a value from before is used in its place.
    pub(super) fn add(&mut self, fault: &InputFault, covered: bool) {
        match self.of(&fault.file) {
            Some(known) => known.covered &= covered,
            None => self.0.push(FoundFault {
                fault: fault.clone(),
                covered,
            }),
        }
    }

    fn of(&mut self, file: &str) -> Option<&mut FoundFault> {
        self.0.iter_mut().find(|found| found.fault.file == file)
    }
}

impl ReportedFaults {
    /// None so far.
    pub(super) fn of(credential: &str) -> Self {
        Self {
            credential: credential.to_owned(),
            faults: Mutex::default(),
        }
    }

    /// Replaces the faults by those that were found now. The log has one line when a file begins to have a
    /// fault, and one when it has none any more.
    pub(super) fn replace(&self, now: FoundFaults) {
        let mut known = self.lock();
        let credential = self.credential.as_str();
        for FoundFault { fault, covered } in &now.0 {
            if known.iter().any(|known| known.file == fault.file) {
                continue;
            }
            let (file, fault) = (&fault.file, &fault.fault);
            if *covered {
                tracing::warn!(
                    credential,
                    file,
                    fault,
                    "cannot be used: the last good one stays in use"
                );
            } else {
                tracing::warn!(
                    credential,
                    file,
                    fault,
                    "cannot be used, and there is no good one from before"
                );
            }
        }
        let gone = |known: &&InputFault| now.0.iter().all(|found| found.fault.file != known.file);
        for InputFault { file, .. } in known.iter().filter(gone) {
            tracing::info!(credential, file, "can be used again");
        }
        *known = now.0.into_iter().map(|found| found.fault).collect();
    }

    /// The faults now.
    pub(super) fn list(&self) -> Vec<InputFault> {
        self.lock().clone()
    }

    /// The list is only ever replaced as a whole, so that it is valid even after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, Vec<InputFault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(source: &SecretSource) -> String {
    match source {
        SecretSource::File(file) => file.path().display().to_string(),
        SecretSource::Env(name) => format!("env {name}"),
        // A token can expire in there.
        SecretSource::Literal(_) => "the configuration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn bad(file: &str, what: &str) -> UnusableInput {
        UnusableInput::file(Path::new(file), what)
    }

    fn fault(file: &str, fault: &str) -> InputFault {
        let (file, fault) = (file.to_owned(), fault.to_owned());
        InputFault { file, fault }
    }

    #[test]
    fn the_last_good_value_stands_in_while_it_is_still_good() {
        let mut kept = LastGood::default();
        let mut faults = FoundFaults::default();
        let first = kept.or_before(Err(bad("/a", "it is empty")), |_| true, &mut faults);
        assert_eq!(first, Err(bad("/a", "it is empty")));
        assert_eq!(kept.or_before(Ok(1), |_| false, &mut faults), Ok(1));
        assert_eq!(kept.or_before(Ok(2), |_| false, &mut faults), Ok(2));
        let lost = || Err(bad("/a", "it is gone"));
        assert_eq!(kept.or_before(lost(), |two| *two == 2, &mut faults), Ok(2));
        assert_eq!(
            kept.or_before(lost(), |two| *two != 2, &mut faults),
            lost(),
            "it is no longer good"
        );
        assert_eq!(kept.or_before(lost(), |_| true, &mut faults), Ok(2));
    }

    #[test]
    fn a_file_has_one_fault_however_often_it_is_named_and_none_once_it_is_good() {
        let known = ReportedFaults::of("crm");
        let mut faults = FoundFaults::default();
        faults.add(&fault("/a", "it is empty"), true);
        faults.add(&fault("/b", "it is gone"), true);
        faults.add(&fault("/a", "it is no key"), false);
        known.replace(faults);
        let expected = [fault("/a", "it is empty"), fault("/b", "it is gone")];
        assert_eq!(known.list(), expected);

        let mut faults = FoundFaults::default();
        faults.add(&fault("/b", "it is half of one"), true);
        known.replace(faults);
        assert_eq!(known.list(), [fault("/b", "it is half of one")]);
        known.replace(FoundFaults::default());
        assert_eq!(known.list(), []);
    }

    #[test]
    fn a_fault_names_the_place_and_never_the_content() {
        let secret = "s3cret";
        let places = [
            (SecretSource::File("/run/a".into()), "/run/a"),
            (SecretSource::Env("A".to_owned()), "env A"),
            (
                SecretSource::Literal(Secret::new(secret)),
                "the configuration",
            ),
        ];
        for (source, file) in places {
            let unusable = UnusableInput::content(&source, "it is no JWT");
            assert_eq!(unusable.fault, fault(file, "it is no JWT"));
            assert!(!unusable.message().contains(secret), "{unusable:?}");
        }

        let source = SecretSource::Env("NOT_SET_BY_ANYBODY".to_owned());
        let error = source.read().unwrap_err();
        let unusable = UnusableInput::unread(&source, &error);
        assert_eq!(
            unusable.fault,
            fault("env NOT_SET_BY_ANYBODY", "it is not set")
        );
        assert_eq!(unusable.message(), error.to_string());
    }
}
