//! From files to a [`Config`].

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use toml::Spanned;
use toml::de::DeTable;

use super::arguments::{ArgumentText, Arguments};
use super::config_files::{OpenedFile, list, open};
use super::diagnostics::{Diagnostic, Diagnostics};
use super::draft::Draft;
use super::file_rules::{FileRules, FileUses};
use super::keys::{ROOT, ROOT_TABLE, SERVER};
use super::program::{self, ProgramSettings};
use super::read::Section;
use super::report::{Report, SourceSpan};
use super::settings::Config;
use super::settings::file::MAX_BYTES;
use super::source_file::SourceFile;
use super::{cross_checks, otel, permissions, secret_variables, sections};
use crate::files::{self, Shortage};
use crate::process;

/// What has more in one file is not TOML at all.
const MOST_SYNTAX_ERRORS: usize = 100;

/// A configuration, with what it was read from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Findings that do not refuse it.
    pub warnings: Diagnostics,
    /// The configuration files that were read; for a directory also the directory itself; none without a file.
    pub files: Vec<PathBuf>,
    /// What [`ConfigOrigin::fingerprint`] said of it.
    pub fingerprint: u64,
}

/// Where a configuration comes from, and what it is read for.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// Where it comes from.
    pub origin: ConfigOrigin,
    /// The program that it is read for; `None` to serve its listeners.
    pub program: Option<ProgramSettings>,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOrigin {
    /// A file, or a directory of `*.toml` files.
    Path(PathBuf),
    /// No file: what was said at the start stays what it is.
    Arguments(Arguments),
}

impl From<PathBuf> for ConfigOrigin {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for ConfigOrigin {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl<O: Into<ConfigOrigin>> From<O> for ConfigSource {
    fn from(origin: O) -> Self {
        Self {
            origin: origin.into(),
            program: None,
        }
    }
}

/// The path, or `command line`.
impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

impl ConfigOrigin {
    /// The path, or what stands in its place in messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Arguments(_) => Path::new(ArgumentText::PLACE),
        }
    }

    /// A number for the text of the configuration as it is now: it stays the same as long as no file of it is changed,
    /// added or removed. `None` when they cannot be listed.
    pub fn fingerprint(&self) -> Option<u64> {
        match self {
            Self::Path(path) => fingerprint(path),
            Self::Arguments(arguments) => {
                let source = SourceFile::of_arguments(arguments);
                Some(fingerprint_of(&[(source, None)]))
            }
        }
    }
}

impl ConfigSource {
    /// Reads and checks it, as [`load`] does.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Loaded, Diagnostics> {
        load_for(&self.origin, self.program.as_ref())
    }
}

/// Reads and checks a file, or all `*.toml` of a directory in the order of their names, hidden
/// ones left out. Secrets, keys and certificates that it names must be there and readable.
///
/// # Errors
///
/// Every problem of every file, warnings included; what lies across sections only when each
/// file could be parsed.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_for(&path.into(), None)
}

fn load_for(
    origin: &ConfigOrigin,
    program: Option<&ProgramSettings>,
) -> Result<Loaded, Diagnostics> {
    // On a thread of its own, since reading takes several times the memory of what it returns: the allocator keeps for a
    // thread what that has freed, until it ends.
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("configuration".to_owned());
        let load_here = || load_here(origin, program);
        match builder.spawn_scoped(scope, move || load_here().map(compacted)) {
            Ok(reading) => reading.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => load_here(),
        }
    })
}

/// What was read lies between what was freed while it was read, so that little of that can be given back. A copy does
/// not, if another thread makes it while this one has those gaps.
fn compacted(read: Loaded) -> Loaded {
    // Else the copy lies in what has been in use before, all of which then stays.
    process::give_back_memory();
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("configuration".to_owned());
        match builder.spawn_scoped(scope, || read.clone()) {
            Ok(copying) => copying.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => read.clone(),
        }
    })
}

fn load_here(
    origin: &ConfigOrigin,
    program: Option<&ProgramSettings>,
) -> Result<Loaded, Diagnostics> {
    let (loaded, shortage) =
        files::noting_shortage(|| files::within_one_timeout(|| load_now(origin, program)));
    match (loaded, shortage) {
        (Err(found), Some(shortage)) if !found.are_passing() => {
            let passing = Diagnostic::of_shortage(origin.path(), shortage);
            // What the files that could not be read would have held is not there, so that more may look wrong.
            Err(Diagnostics([vec![passing], found.0].concat()))
        }
        (loaded, _) => loaded,
    }
}

/// Reads and checks it on this thread.
pub(super) fn load_now(
    origin: &ConfigOrigin,
    program: Option<&ProgramSettings>,
) -> Result<Loaded, Diagnostics> {
    let (files, sources) = match origin {
        ConfigOrigin::Path(path) => open_all(path)?,
        ConfigOrigin::Arguments(arguments) => (
            Vec::new(),
            vec![(SourceFile::of_arguments(arguments), None)],
        ),
    };
    let fingerprint = fingerprint_of(&sources);
    let (sources, failures): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
    let (config, warnings) = check(origin.path(), &sources, failures, program)?;
    Ok(Loaded {
        config,
        warnings,
        files,
        fingerprint,
    })
}

/// The files of a path, and for a directory also the directory itself; and each configuration file opened.
fn open_all(path: &Path) -> Result<(Vec<PathBuf>, Vec<OpenedFile>), Diagnostics> {
    let (paths, mut files) = match list(path) {
        Ok(Some(paths)) => (paths, vec![path.to_owned()]),
        Ok(None) => (vec![path.to_owned()], Vec::new()),
        Err(error) => {
            if let Some(shortage) = Shortage::of(&error) {
                return Err(Diagnostics(vec![Diagnostic::of_shortage(path, shortage)]));
            }
            let message = format!("cannot read the configuration: {error}");
            let help = "name a file or directory with --config or SIDEBEARER_CONFIG, or make one by `sidebearer init`";
            return Err(Diagnostics(vec![alone(path, message, help)]));
        }
    };
    if paths.is_empty() {
        let help = "expected at least one file whose name ends in \".toml\"";
        let message = "the directory holds no configuration".to_owned();
        return Err(Diagnostics(vec![alone(path, message, help)]));
    }
    files.extend(paths.iter().cloned());
    Ok((files, paths.into_iter().map(open).collect()))
}

fn fingerprint(path: &Path) -> Option<u64> {
    let paths = list(path).ok()?.unwrap_or_else(|| vec![path.to_owned()]);
    let sources: Vec<_> = paths.into_iter().map(open).collect();
    Some(fingerprint_of(&sources))
}

fn fingerprint_of(sources: &[OpenedFile]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (source, failure) in sources {
        (&source.path, &*source.text, failure).hash(&mut hasher);
    }
    hasher.finish()
}

/// The admin address that a configuration names, whatever else is wrong with it: a command asks a
/// process that serves the last good one. `None` when it names none.
pub fn admin_address(path: &Path) -> Option<SocketAddr> {
    let paths = list(path).ok()?.unwrap_or_else(|| vec![path.to_owned()]);
    paths.into_iter().map(open).find_map(|(source, _)| {
        let (table, _) = DeTable::parse_recoverable(&source.text);
        let admin = table.get_ref().get("admin")?.get_ref().as_table()?;
        admin.get("address")?.get_ref().as_str()?.parse().ok()
    })
}

fn check(
    path: &Path,
    sources: &[SourceFile],
    failures: Vec<Option<String>>,
    program: Option<&ProgramSettings>,
) -> Result<(Config, Diagnostics), Diagnostics> {
    let report = Report::new(sources);
    let mut whole = true;
    let mut tables = Vec::new();
    for (file, (source, failure)) in sources.iter().zip(failures).enumerate() {
        if let Some(failure) = failure {
            whole = false;
            let place = SourceSpan { file, span: None };
            report.error(&place, failure, "expected a readable TOML file");
            continue;
        }
        let place = SourceSpan { file, span: None };
        if source.arguments.is_none() {
            permissions::check_configuration(&report, &place, &source.path);
        }
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
            report.syntax_error(file, error);
        }
        // What the parser made of a broken file is a guess; a message about it could be wrong, or
        // show a secret that slipped to where none is expected.
        if errors.is_empty() {
            tables.push((file, table))
        } else {
            whole = false
        }
    }
    let max_bytes = max_file_bytes(sources, &tables);
    let mut draft = Draft::default();
    let uses = FileUses::default();
    for (file, table) in &tables {
        let root = Section::root(&report, *file, table.get_ref(), &ROOT_TABLE);
        let base = sources[*file].path.parent().unwrap_or(Path::new(""));
        let files = FileRules {
            base,
            max_bytes,
            uses: &uses,
        };
        secret_variables::collect(&ROOT_TABLE, table.get_ref(), &mut draft.secret_variables);
        if program.is_none() {
            sections::read_ways_in(&root, &files, &mut draft);
        }
        sections::read(&root, &files, &mut draft);
    }
    if let Some(program) = program {
        program::adapt(&mut draft, program, &report);
    }
    // Those of `exec` are meant for its program.
    let for_program = program.is_some();
    draft.settle_tracing(&report, |name| {
        (!for_program).then(|| otel::variable(name)).flatten()
    });
    draft.settle_proxies();
    draft.settle_limits();
    draft.file_uses = uses.into_inner();
    if whole {
        cross_checks::check(&draft, &report);
        cross_checks::check_files(&draft, &report, path);
    }
    let mut found = report.finish(&tables);
    if whole && !draft.has_listeners {
        let help = "expected at least one [[listeners]] with an address and an upstream";
        found
            .0
            .push(alone(path, "there is no listener".to_owned(), help));
    }
    if whole && program.is_some() && draft.upstreams.is_empty() {
        let help = "expected at least one [upstreams.NAME]: an API that the program calls";
        found
            .0
            .push(alone(path, "there is no upstream".to_owned(), help));
    }
    if found.has_errors() {
        Err(found)
    } else {
        let mut config = draft.finish();
        if program.is_some() {
            config.admin = None;
        }
        Ok((config, found))
    }
}

/// `max_file_bytes` of `[server]`, wherever that is. What is wrong with it is reported when its turn
/// comes.
fn max_file_bytes(sources: &[SourceFile], tables: &[(usize, Spanned<DeTable<'_>>)]) -> usize {
    let unread = Report::new(sources);
    let server = tables.iter().find_map(|(file, table)| {
        let root = Section::root(&unread, *file, table.get_ref(), &ROOT_TABLE);
        root.read(&ROOT.server)
    });
    server.map_or(MAX_BYTES, |server| server.read(&SERVER.max_file_bytes))
}

/// An error without a line to blame.
fn alone(path: &Path, message: String, help: &str) -> Diagnostic {
    Diagnostic::of_file(path, message, help.to_owned())
}
