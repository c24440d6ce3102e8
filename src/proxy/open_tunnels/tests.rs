//! When tunnels are judged, and by what.

use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::caller::IdentificationMeans;
use crate::client_socket::Peer;
use crate::config;
use crate::metrics::Metrics;
use crate::proxy::client_connection::ShownSecret;
use crate::snapshot::Builder as SnapshotBuilder;
use crate::token::SystemClock;

const KEY: &str = "alpha-key-0123456789abcdef0123456789abcdef";

/// Runs a test on paused time, on a runtime such as that of a shard.
fn on_shard(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default());
    runtime.unwrap().block_on(test);
}

/// A snapshot with the caller `alpha`, which takes the place of `old`.
fn snapshot(old: Option<&Snapshot>) -> Arc<Snapshot> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(directory.path().join("alpha.key"), KEY).unwrap();
    let text = "[callers.alpha]\nkey = { file = \"alpha.key\" }\n\
                [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\ncallers = [\"*\"]\n\
                [upstreams.api]\nurl = \"http://127.0.0.1:9\"\n";
    std::fs::write(&path, text).unwrap();
    let loaded = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
    let builder = SnapshotBuilder::new(Metrics::new(), Arc::new(SystemClock), 1);
    Arc::new(builder.build(loaded.config, old).unwrap())
}

fn opened_by(secret: &str, judge: impl Fn() -> Result<(), Revocation> + 'static) -> TunnelGrant {
    TunnelGrant {
        client: ClientConnection::new("app".to_owned(), Peer::Unix(None), 0, None, ()),
        caller: Some(NamedCaller {
            name: "alpha".into(),
            means: IdentificationMeans::Key,
            shown: Some(Arc::new(ShownSecret::new(secret))),
        }),
        leads_to: "127.0.0.1:9".into(),
        peer: None,
        judge: Box::new(move |_, _| judge()),
    }
}

fn permission(tunnel: &OpenTunnel) -> Poll<Result<(), Revocation>> {
    tunnel.poll_permission(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn whose_a_key_or_token_is_that_opened_a_tunnel_is_asked_every_minute() {
    on_shard(async {
        let snapshot = snapshot(None);
        let tunnels = OpenTunnels::new(Arc::clone(&snapshot));
        let [own, other] = [KEY, "another-key-0123456789abcdef0123456789"].map(|secret| {
            let grant = opened_by(secret, || Ok(()));
            tunnels.add(&snapshot, grant).ok().unwrap()
        });
        let opened = Instant::now();
        for (after, expected) in [(59, true), (60, false)] {
            tunnels.sweep(opened + Duration::from_secs(after), Duration::ZERO);
            assert_eq!(permission(&own), Poll::Ready(Ok(())), "{after}");
            let is_permitted = permission(&other) == Poll::Ready(Ok(()));
            assert_eq!(is_permitted, expected, "{after}");
        }
    });
}

#[test]
fn a_tunnel_is_judged_by_the_newest_snapshot_before_anything_moves_in_it() {
    on_shard(async {
        let before = snapshot(None);
        let tunnels = OpenTunnels::new(Arc::clone(&before));
        let grant = opened_by(KEY, || Err("it was removed".into()));
        let tunnel = tunnels.add(&before, grant).ok().unwrap();
        assert_eq!(permission(&tunnel), Poll::Ready(Ok(())));
        tunnels.renew(&snapshot(Some(&before)));
        let reason = Err("it was removed".into());
        assert_eq!(permission(&tunnel), Poll::Ready(reason));
        // One that was being opened meanwhile is judged too.
        let late = opened_by(KEY, || Err("it was removed".into()));
        assert!(tunnels.add(&before, late).is_err());
    });
}

#[test]
fn judging_silent_tunnels_gives_way_to_what_else_there_is_to_do() {
    on_shard(async {
        let before = snapshot(None);
        let tunnels = OpenTunnels::new(Arc::clone(&before));
        let judged = Rc::new(Cell::new(0));
        let open: Vec<_> = (0..10 * PIECE)
            .map(|_| {
                let judged = Rc::clone(&judged);
                let grant = opened_by(KEY, move || {
                    judged.set(judged.get() + 1);
                    Ok(())
                });
                tunnels.add(&before, grant).ok().unwrap()
            })
            .collect();
        tunnels.renew(&snapshot(Some(&before)));
        assert_eq!(judged.get(), 0);
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let other_work = tokio::task::spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        while judged.get() < open.len() {
            tokio::task::yield_now().await;
        }
        other_work.abort();
        assert!(turns.get() >= 9, "{}", turns.get());
    });
}
