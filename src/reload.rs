//! From a changed file to a served snapshot, or to the reasons why the last good one stays.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::admin::{Admin, ReloadRequest};
use crate::audit::{Record, ReloadEvent};
use crate::blocking;
use crate::caller::token::KeySource;
use crate::config::{ConfigSource, Diagnostic, Diagnostics, Loaded, Refresh, SecretSource};
use crate::files::{self, Shortage};
use crate::interception::Interceptor;
use crate::process;
use crate::server::Shards;
use crate::service_manager::ServiceManager;
use crate::snapshot::{BuildError, Builder, BuiltCredential, Snapshot};
use crate::sockets::Sockets;
use crate::telemetry::LogHandle;
use crate::watch::{Changes, Watcher};

/// For how long the series of what a reload has removed stay, at most: whoever reads them now and then sees what was
/// counted last.
const SERIES_KEPT: Duration = Duration::from_secs(5 * 60);
/// Most requests have ended by then that had begun before a reload.
const FREED_AFTER: Duration = Duration::from_secs(1);

/// Replaces what is served, as a whole or not at all.
pub struct Reloader {
    /// Where the configuration is read from.
    pub source: ConfigSource,
    /// [`crate::config::Loaded::fingerprint`] of the configuration that it starts with.
    pub started_with: u64,
    /// What snapshots are built with.
    pub builder: Arc<Builder>,
    /// What is being served.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// Who serves it.
    pub shards: Arc<Shards>,
    /// The open sockets.
    pub sockets: Sockets,
    /// Who reports how it went.
    pub admin: Arc<Admin>,
    /// Told which files to look at.
    pub watcher: Watcher,
    /// The log of the process, if it is ours to change.
    pub log: Option<LogHandle>,
    /// Told of reloads.
    pub manager: ServiceManager,
}

impl Reloader {
    /// Reloads on request and when files change, until the process ends.
    pub async fn run(
        &mut self,
        requests: &mut mpsc::Receiver<ReloadRequest>,
        changes: &mut Changes,
    ) {
        self.catch_up().await;
        let mut stuck = false;
        let mut forget_at = None;
        loop {
            tokio::spawn(give_back_memory());
            let refused = self.admin.last_reload().refused.is_some();
            let snapshot = self.snapshots.load_full();
            let rotating = snapshot.is_rotating();
            // The file that it lacked may be there by then.
            let again = snapshot.config.server.reload_retry_interval;
            // Whatever happens next may cure what a rotation stuck at.
            let was_stuck = std::mem::take(&mut stuck);
            let due = forget_at;
            let due = async { sleep_until(due.unwrap_or_else(Instant::now)).await };
            tokio::select! {
                () = due, if forget_at.is_some() => {
                    let metrics = &self.admin.metrics;
                    metrics.forget_series(|label, value| snapshot.has_series(label, value));
                    forget_at = None;
                    continue;
                }
                Some(answer) = requests.recv() => {
                    // Whoever asks may have mended a file system that did not answer.
                    files::look_again();
                    // The one who asked may have left.
                    let _ = answer.send(self.reload().await);
                }
                Some(paths) = changes.next() => self.changed(&paths).await,
                () = snapshot.token_for_next_certificate(), if rotating && !was_stuck => {
                    stuck = self.rotate().await.is_err();
                }
                () = tokio::time::sleep(again), if refused || rotating => {
                    if refused {
                        self.retry().await;
                    }
                    if rotating {
                        stuck = self.rotate().await.is_err();
                    }
                }
                else => return,
            }
            forget_at.get_or_insert_with(|| Instant::now() + SERIES_KEPT);
        }
    }

    /// What changed after it was first read and before it was watched was reported by nobody.
    async fn catch_up(&mut self) {
        let origin = self.source.origin.clone();
        // Only the text: to parse it too, for the second time within a moment, would take memory that the thread
        // keeps.
        let now = blocking::run(move || origin.fingerprint()).await;
        if now.is_ok_and(|now| now == Some(self.started_with)) {
            return;
        }
        let _ = self.reload().await;
    }

    async fn changed(&mut self, paths: &BTreeSet<PathBuf>) {
        let snapshot = self.snapshots.load_full();
        let secrets: BTreeSet<PathBuf> = snapshot
            .config
            .credentials
            .values()
            .flat_map(|credential| credential.secrets().filter_map(SecretSource::file))
            // The token of the pod is read for each request to the API server.
            .chain(snapshot.config.kubernetes.iter().map(|it| &it.token_file))
            // The headers of a collector are read for each request to it.
            .chain(
                snapshot
                    .config
                    .tracing
                    .iter()
                    .flat_map(|it| it.secrets().filter_map(SecretSource::file)),
            )
            .map(|file| file.path().to_owned())
            .collect();
        if !paths.is_subset(&secrets) {
            let _ = self.reload().await;
            return;
        }
        // The content of a secret is not configuration: the token stays, and a credential whose
        // old secret was refused tries the new one at once. A secret that is not good is
        // reported by the credentials that name it.
        for path in paths {
            tracing::info!(file = %path.display(), "a secret has changed; the next request that needs it uses it if it is good");
        }
        self.reread_secrets().await;
        if self.admin.last_reload().refused.is_some() {
            self.retry().await;
        }
    }

    async fn reread_secrets(&self) {
        let snapshot = self.snapshots.load_full();
        let reread = self.on_blocking_thread(move |_| {
            for source in snapshot
                .credentials
                .values()
                .flat_map(BuiltCredential::sources)
            {
                source.retry_if_secret_changed();
            }
            Ok(())
        });
        if let Err(reason) = reread.await {
            tracing::error!(reason, "cannot read the secrets again");
        }
    }

    /// Does what reads files on another thread: this one is needed while a file system hangs.
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Builder) -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, String> {
        let builder = Arc::clone(&self.builder);
        let done = blocking::run(move || files::within_one_timeout(|| work(&builder))).await;
        let done = done.map_err(|error| format!("files cannot be read: {error}"))?;
        done.map_err(|error| error.to_string())
    }

    /// Certificates that are due: see [`Builder::rotate`].
    async fn rotate(&self) -> Result<(), String> {
        let old = self.snapshots.load_full();
        let before = Arc::clone(&old);
        let rotated = self
            .on_blocking_thread(move |builder| builder.rotate(&before))
            .await;
        let rotated = rotated.inspect_err(|error| {
            tracing::debug!(error, "no certificate can be put in use now");
        });
        if let Some(snapshot) = rotated? {
            let snapshot = Arc::new(snapshot);
            self.snapshots.store(Arc::clone(&snapshot));
            self.hand_over(&old, &snapshot);
        }
        Ok(())
    }

    /// From `old` to `snapshot`, which serves now.
    fn hand_over(&self, old: &Snapshot, snapshot: &Snapshot) {
        snapshot.take_over_from(old);
        self.shards.renew();
    }

    /// A refused configuration again, quietly: only another outcome is news.
    async fn retry(&mut self) {
        let outcome = self.try_reload().await;
        let refused = self.admin.last_reload().refused.clone();
        if outcome.as_ref().err().map(Diagnostics::brief) != refused {
            let _ = self.report(outcome).await;
        }
    }

    async fn reload(&mut self) -> Result<(), Diagnostics> {
        self.manager.notify_reloading();
        self.snapshots.load().audit_trails.reopen();
        let outcome = self.try_reload().await;
        let outcome = self.report(outcome).await;
        self.manager.notify_ready(match &outcome {
            Ok(()) => "serving",
            Err(_) => "the configuration was refused: the last good one serves",
        });
        outcome
    }

    async fn report(&self, outcome: Result<Diagnostics, Diagnostics>) -> Result<(), Diagnostics> {
        self.admin.metrics.record_reload(outcome.is_ok());
        self.record(&outcome);
        if let Some(audit) = &self.snapshots.load().audit {
            let event = ReloadEvent {
                at: SystemTime::now(),
                success: outcome.is_ok(),
            };
            audit.trail.record(Record::Reload(event), None);
        }
        if outcome.is_err() {
            self.reread_secrets().await;
            // Whatever is wrong with the configuration, what a file holds is not part of it.
            let _ = self.rotate().await;
        }
        outcome.map(drop)
    }

    fn record(&self, outcome: &Result<Diagnostics, Diagnostics>) {
        let mut last = self.admin.last_reload();
        match outcome {
            Ok(warnings) => {
                let generation = self.snapshots.load().generation;
                tracing::info!(generation, path = %self.source.origin, "configuration reloaded");
                if !warnings.is_empty() {
                    tracing::warn!("{}", warnings.to_string().trim_end());
                }
                last.succeed(warnings.brief());
            }
            Err(refused) if refused.are_passing() => {
                tracing::error!(
                    path = %self.source.origin,
                    "the configuration cannot be read now, the last good one keeps serving; it is read again in {:?}:\n{}",
                    self.snapshots.load().config.server.reload_retry_interval,
                    refused.to_string().trim_end(),
                );
                last.refuse(refused.brief());
            }
            Err(refused) => {
                tracing::error!(
                    path = %self.source.origin,
                    "configuration refused, the last good one keeps serving:\n{}",
                    refused.to_string().trim_end(),
                );
                last.refuse(refused.brief());
            }
        }
    }

    async fn load(&self) -> Result<Loaded, Diagnostics> {
        let source = self.source.clone();
        let loaded = blocking::run(move || {
            let loaded = source.load();
            // Else what is built next lies between what reading has left, which is then never given back.
            process::give_back_memory();
            loaded
        });
        let loaded = loaded.await;
        loaded.unwrap_or_else(|error| {
            if let Some(shortage) = Shortage::of(&error) {
                let passing = Diagnostic::of_shortage(self.source.origin.path(), shortage);
                return Err(Diagnostics(vec![passing]));
            }
            Err(self.refusal(format!("the configuration cannot be read: {error}")))
        })
    }

    async fn try_reload(&mut self) -> Result<Diagnostics, Diagnostics> {
        // What is read now need not be reported again.
        self.watcher.skip_to_now().await;
        let Loaded {
            config,
            warnings,
            mut files,
            ..
        } = self.load().await?;
        let old = self.snapshots.load_full();
        files.extend(config.named_files());
        if let Some(settings) = config.interception.clone() {
            // A CA that is made now is no change that has to be taken notice of.
            let made = move || Interceptor::make_issuer(&settings);
            let made = blocking::run(made).await;
            made.map_err(|error| self.refusal(format!("a CA cannot be made: {error}")))?;
        }
        // From before anything is built from them. If it comes to nothing they stay watched: the
        // cure may be a change of theirs.
        let both = files.iter().cloned().chain(old.config.named_files());
        let both: BTreeSet<_> = both.collect();
        self.watcher.watch(both.into_iter().collect()).await;
        let mut pending = self
            .sockets
            .bind(&config)
            .await
            .map_err(|error| self.refusal(error.to_string()))?;
        let before = Arc::clone(&old);
        let built = self.on_blocking_thread(move |builder| builder.build(config, Some(&before)));
        let snapshot = built.await.map_err(|reason| self.refusal(reason))?;
        first_tokens(&snapshot, &old).await;
        first_keys(&snapshot, &old).await;

        // Nothing fails from here on.
        let snapshot = Arc::new(snapshot);
        let config = &snapshot.config;
        self.sockets
            .close_removed(config, &mut pending, &self.shards)
            .await;
        self.snapshots.store(Arc::clone(&snapshot));
        self.sockets
            .open(config, pending, &self.shards, &self.admin)
            .await;
        // Not those that have just made their first attempt.
        for source in old.sources_also_in(&snapshot) {
            source.retry_now();
        }
        self.reread_secrets().await;
        self.hand_over(&old, &snapshot);
        if let Some(log) = &self.log {
            log.apply(&config.log);
        }
        if old.config.server.workers != config.server.workers {
            tracing::warn!(
                "server.workers takes effect at the next start; the number of threads is as before"
            );
        }
        self.watcher.watch(files).await;
        Ok(warnings)
    }

    fn refusal(&self, message: String) -> Diagnostics {
        let help = "the last good configuration keeps serving".to_owned();
        Diagnostics(vec![Diagnostic::of_file(
            self.source.origin.path(),
            message,
            help,
        )])
    }
}

/// Gives back what the snapshot of before has taken, once its requests have had a moment to finish, and what it took to
/// read and build this one: that of this thread, on which the first one was built, and of those that read files.
async fn give_back_memory() {
    tokio::time::sleep(FREED_AFTER).await;
    process::give_back_memory();
    let of_others = blocking::run(|| {
        files::give_back_memory();
        blocking::give_back_memory();
        process::give_back_memory();
    });
    let _ = of_others.await;
}

/// Gives new and changed credentials the time for a first token before anyone needs it.
async fn first_tokens(snapshot: &Snapshot, old: &Snapshot) {
    let start = Instant::now();
    for source in snapshot.sources_not_in(old) {
        let Some(config) = snapshot.config.credentials.get(source.name()) else {
            continue;
        };
        // What stands by holds nothing up.
        if config.refresh == Refresh::Eager && !source.is_standing_by() {
            // Without one the snapshot serves too: its requests wait, or are told why.
            let _ = timeout_at(
                start + config.fetch_timeout,
                source.wait_for_first_attempt(),
            )
            .await;
        }
    }
}

/// Gives the keys of new issuers the time to come before anyone needs them.
async fn first_keys(snapshot: &Snapshot, old: &Snapshot) {
    let new = snapshot.caller_tokens.sources_not_in(&old.caller_tokens);
    let read = async {
        for source in new {
            source.wait_for_first_attempt().await;
        }
    };
    // Without them the snapshot serves too: its requests wait, or are told why.
    let _ = timeout(KeySource::READ_TIMEOUT, read).await;
}
