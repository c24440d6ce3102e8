//! Reads `[interception]`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use httpdate::fmt_http_date;
use rustix::fs::{Access, access};

use super::super::file_rules::{FileRules, canonical};
use super::super::keys::INTERCEPTION;
use super::super::permissions;
use super::super::read::Section;
use super::super::report::SourceSpan;
use super::super::settings::Interception;
use super::tls::check_roots;
use super::validity;
use crate::ca::{
    CHAIN_FILE, Chain, Issuer, IssuerError, KEY_FILE, KeyDirectory, KeyDirectoryError,
    NEXT_CHAIN_FILE, NEXT_KEY_FILE, TRUST_FILES,
};
use crate::files;

impl Interception {
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let domains = section.read(&INTERCEPTION.domains);
        let leaf_lifetime = section.read(&INTERCEPTION.leaf_lifetime);
        let roots_file = section.read(&INTERCEPTION.roots_file);
        let roots_file = roots_file.map(|(value, path)| {
            let file = files.named(path, &value.place);
            permissions::check(&value, &file);
            check_roots(&value, &file);
            file
        });
        let key_directory = section.read(&INTERCEPTION.key_directory);
        let trust_directory = section.read(&INTERCEPTION.trust_directory);
        let absolute = |path: &str| {
            let path = files.path(path);
            std::path::absolute(&path).unwrap_or(path)
        };
        let (key_directory, trust_directory) =
            (absolute(&key_directory?), absolute(&trust_directory?));
        let domains: Option<Vec<String>> = domains.into_iter().collect();
        let read = Self {
            key_directory,
            trust_directory,
            domains: domains.filter(|domains| !domains.is_empty())?,
            roots_file,
            leaf_lifetime,
        };
        let directories = vec![read.key_directory.clone(), read.trust_directory.clone()];
        let [key_place, trust_place] = [
            section.place_written(&INTERCEPTION.key_directory),
            section.place_written(&INTERCEPTION.trust_directory),
        ];
        if let [key, trust] = &canonical(directories)[..]
            && trust.starts_with(key)
        {
            let message = if key == trust {
                "`trust_directory` is the directory of the key"
            } else {
                "`trust_directory` lies in the directory of the key"
            };
            let help = "expected another one: clients have to read it, and may not read the key";
            section.report.error(&trust_place, message, help);
        } else {
            for path in KeyDirectory::new(&read.key_directory).files() {
                files.note_written(path, &key_place, "the CA of [interception]");
            }
            for name in TRUST_FILES {
                let path = read.trust_directory.join(name);
                files.note_written(path, &trust_place, "what clients of [interception] trust");
            }
        }
        read.check_issuer(section);
        if let Err(reason) = can_be_written(&read.trust_directory) {
            let message = "`trust_directory` cannot be written";
            section.report.error(&trust_place, message, reason);
        }
        permissions::check_trust_directory(section.report, &trust_place, &read.trust_directory);
        Some(read)
    }

    /// Reports what is wrong with the issuer that is there, or why none can be made.
    fn check_issuer(&self, section: &Section<'_>) {
        let place = section.place_written(&INTERCEPTION.key_directory);
        let refuse = |message: &str, help: String| section.report.error(&place, message, help);
        let directory = KeyDirectory::new(&self.key_directory);
        let held = files::run_within_timeout(&self.key_directory, move || Ok(directory.read()));
        let held = match held {
            Ok(Ok(held)) => held,
            Ok(Err(error @ KeyDirectoryError::Permissions { .. })) => {
                return refuse(
                    "`key_directory` does not keep its key secret",
                    error.to_string(),
                );
            }
            Ok(Err(error)) => return refuse("`key_directory` cannot be used", error.to_string()),
            Err(error) => return refuse("`key_directory` cannot be used", error.to_string()),
        };
        let (others, Some(held)) = held else {
            if let Err(reason) = can_be_written(&self.key_directory) {
                refuse(
                    "`key_directory` holds no CA, and none can be made there",
                    reason,
                );
            }
            return;
        };
        let now = SystemTime::now();
        if let Some(next) = &others.next {
            let before = Chain::read(&held.chain, now).ok();
            self.check_successor(section, &place, next, before.as_ref(), now);
        }
        let checked = Issuer::read(&held.chain, &held.key, now);
        let checked =
            checked.and_then(|issuer| issuer.check_domains(&self.domains, now).map(|()| issuer));
        let file = |name: &str| self.key_directory.join(name).display().to_string();
        match checked {
            Ok(issuer) => Self::check_chain(section, &place, issuer.chain()),
            Err(IssuerError::Chain(what)) => {
                refuse(
                    "`key_directory` holds an issuer that cannot be used",
                    format!("{}: {what}", file(CHAIN_FILE)),
                );
            }
            Err(IssuerError::Key(what)) => {
                refuse(
                    "`key_directory` holds an issuer that cannot be used",
                    format!("{}: {what}", file(KEY_FILE)),
                );
            }
            Err(error @ IssuerError::Domain { .. }) => {
                let place = section.place_written(&INTERCEPTION.domains);
                let help = format!(
                    "{error}; `sidebearer ca create` makes one that may, as a successor if clients trust this one"
                );
                section.report.error(
                    &place,
                    "`domains` names what the issuer may not sign for",
                    help,
                );
            }
        }
    }

    /// Reports a successor that could not take the place of the issuer. Its key need not be there.
    fn check_successor(
        &self,
        section: &Section<'_>,
        place: &SourceSpan,
        next: &[u8],
        before: Option<&Chain>,
        now: SystemTime,
    ) {
        let next = Chain::read(next, now);
        let next = next.and_then(|next| next.check_successor(&self.domains, before));
        let Err(error) = next else { return };
        let file = self.key_directory.join(NEXT_CHAIN_FILE);
        let message = match error {
            IssuerError::Domain { .. } => {
                "`key_directory` holds a successor that may not sign for all of `domains`"
            }
            _ => "`key_directory` holds a successor that cannot be used",
        };
        let help = format!(
            "{}: {error}; take {NEXT_CHAIN_FILE} and {NEXT_KEY_FILE} away and make another one: \
             `sidebearer ca create --successor`, with `--domain` for each of `domains`",
            file.display()
        );
        section.report.error(place, message, help);
    }

    /// Warns of an issuer that is about to end, and of one that may sign for everything.
    fn check_chain(section: &Section<'_>, place: &SourceSpan, chain: &Chain) {
        let life = chain.not_after().saturating_sub(chain.not_before());
        let end = UNIX_EPOCH + chain.not_after();
        if end < SystemTime::now() + validity::SOON.min(life / 4) {
            let message = "the issuer in `key_directory` ends soon";
            let help = format!(
                "make a successor (`sidebearer ca create --successor`): it ends on {}",
                fmt_http_date(end)
            );
            section.report.warning(place, message, help);
        }
        if !chain.is_constrained() {
            let message = "the issuer in `key_directory` may sign for every name";
            let help = "who steals its key can pass for every server; expected an issuer with name constraints";
            section.report.warning(place, message, help);
        }
    }
}

/// Whether files can be made in a directory that may have to be made itself, as far as that can be known without
/// making any.
///
/// # Errors
/// Why not.
fn can_be_written(directory: &Path) -> Result<(), String> {
    let named = directory.to_owned();
    let found = files::run_within_timeout(directory, move || {
        let there = named
            .ancestors()
            .find_map(|path| Some((path.to_owned(), fs::metadata(path).ok()?)));
        let (path, found) = there.ok_or(ErrorKind::NotFound)?;
        let shown = path.display();
        Ok(if !found.is_dir() {
            Err(format!("{shown} is not a directory"))
        } else if access(&path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            Err(format!("this process may not write in {shown}"))
        } else {
            Ok(())
        })
    });
    found.unwrap_or_else(|error| Err(format!("the directory cannot be used: {error}")))
}
