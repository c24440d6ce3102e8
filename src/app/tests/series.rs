//! For how long the metrics have series of what a reload has removed, on paused time.

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::config;

const SECOND: Duration = Duration::from_secs(1);
/// For as long they are kept after the reload that removed them.
const KEPT: Duration = Duration::from_secs(5 * 60);

#[tokio::test(start_paused = true)]
async fn series_of_what_a_reload_removed_end_after_5_minutes_whatever_is_reloaded_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    let write = |upstreams: [&str; 2]| {
        let mut text = "[admin]\naddress = \"127.0.0.1:0\"\n\
            [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
        for name in upstreams {
            text += &format!(
                "[upstreams.{name}]\nurl = \"http://127.0.0.1:1\"\n\
                 [[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\n"
            );
        }
        std::fs::write(&path, text).unwrap();
    };
    write(["stays", "first"]);
    let loaded = config::load(&path).unwrap();
    let bound = bind(path.clone(), loaded, None).await.unwrap();
    // Nothing but this test asks for a reload: a watch thread knows nothing of paused time.
    let (_watcher, mut changes) = Watcher::start(Vec::new(), bound.supervisor())
        .await
        .unwrap();
    let Bound {
        mut reloader,
        changes: _unread,
        ..
    } = bound;
    let metrics = Arc::clone(&reloader.admin.metrics);
    let has = |upstream: &str| {
        let page = metrics.render();
        page.contains(&format!("upstream=\"{upstream}\""))
    };
    let (reloads, mut requests) = mpsc::channel(1);
    let reload = async || {
        let (answer, answered) = oneshot::channel::<Result<(), config::Diagnostics>>();
        reloads.send(answer).await.unwrap();
        answered.await.unwrap().unwrap();
        Instant::now()
    };
    let script = async {
        assert!(has("stays") && has("first"));
        write(["stays", "second"]);
        let removed = reload().await;
        sleep_until(removed + KEPT - 100 * SECOND).await;
        // Another reload that removes something does not put off the end of those of before.
        write(["stays", "third"]);
        reload().await;
        assert!(removed.elapsed() < KEPT - SECOND);
        sleep_until(removed + KEPT - SECOND).await;
        assert!(has("stays") && has("first") && has("second") && has("third"));
        sleep_until(removed + KEPT + SECOND).await;
        assert!(has("stays") && has("third"));
        assert!(!has("first") && !has("second"));

        // The timer begins anew with the next reload.
        write(["stays", "fourth"]);
        let removed = reload().await;
        sleep_until(removed + KEPT - SECOND).await;
        assert!(has("stays") && has("third"));
        sleep_until(removed + KEPT + SECOND).await;
        assert!(has("stays") && has("fourth") && !has("third"));
    };
    tokio::select! {
        () = reloader.run(&mut requests, &mut changes) => panic!("it runs until the process ends"),
        () = script => {}
    }
}
