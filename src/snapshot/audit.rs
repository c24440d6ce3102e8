//! Where the decisions of a snapshot are recorded, and what it calls those that they are about.

use std::path::PathBuf;
use std::sync::Arc;

use super::Snapshot;
use super::context::{BuildContext, BuildError, BuildFailure};
use crate::audit::{AuditTrail, Auditing, NameBook, Subject, SubjectNames};
use crate::config::{AuditFile, Config};

/// The audit that is configured: with a file that is open where it is the same.
///
/// # Errors
/// The file cannot be opened or made.
pub(super) fn build(
    context: &BuildContext,
    config: &Config,
) -> Result<Option<Auditing>, BuildError> {
    let Some(audit) = &config.audit else {
        return Ok(None);
    };
    Ok(Some(Auditing {
        trail: open(context, config, &audit.file)?,
        overflow: audit.overflow,
    }))
}

fn open(
    context: &BuildContext,
    config: &Config,
    file: &AuditFile,
) -> Result<Arc<AuditTrail>, BuildError> {
    let metrics = context.metrics.audit().clone();
    let patience = config.server.file_timeout;
    let trails = &context.audit;
    let opened = trails.open(file, metrics, context.supervisor.as_ref(), patience);
    opened.map_err(|error| BuildError {
        table: "[audit]".to_owned(),
        reason: BuildFailure::Audit {
            file: match file {
                AuditFile::Stdout => PathBuf::from("stdout"),
                AuditFile::Path(path) => path.clone(),
            },
            error,
        },
    })
}

impl NameBook for Snapshot {
    fn names(&self, subject: &Subject) -> SubjectNames<'_> {
        let upstream = subject.upstream.map(|at| &self.upstreams[at]);
        let caller = subject.caller.map(|(caller, _)| caller);
        let injection = upstream.and_then(|upstream| upstream.injection_for(caller).ok().flatten());
        let first_rule = self.egress_route(0);
        let (route, rule) = match subject.route {
            Some(at) if at >= first_rule => (None, Some(self.rule_label(at - first_rule))),
            at => (at.map(|at| self.route_label(at)), None),
        };
        SubjectNames {
            caller: caller.map(|caller| self.callers.names.name(caller)),
            listener: self
                .listeners
                .get(subject.listener)
                .map(|it| it.name.as_str()),
            route,
            upstream: upstream.map(|upstream| upstream.config.name.as_str()),
            credential: injection.map(|injection| injection.source.name()),
            rule,
        }
    }
}
