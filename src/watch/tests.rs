use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use notify::EventHandler;

use super::*;
use crate::supervisor::supervisor;

/// Shorter than the safety poll: with inotify, what is seen in time was seen by an event.
const DEADLINE: Duration = Duration::from_secs(15);

const BOTH: [fn(mpsc::Sender<WatchMessage>) -> WatchMethod; 2] =
    [inotify, |_| WatchMethod::Polling(Duration::from_millis(5))];

fn inotify(messages: mpsc::Sender<WatchMessage>) -> WatchMethod {
    WatchMethod::inotify(messages, supervisor().0.guard("inotify"))
}

async fn next(changes: &mut Changes) -> Vec<PathBuf> {
    tokio::time::timeout(DEADLINE, changes.next())
        .await
        .expect("a change is reported in time")
        .expect("the watcher lives")
        .into_iter()
        .collect()
}

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[tokio::test]
async fn a_file_is_followed_however_it_is_written() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, "one").unwrap();
        let (_watcher, mut changes) =
            Watcher::start_by(method, vec![file.clone()], &supervisor().0)
                .await
                .unwrap();

        fs::write(&file, "two").unwrap();
        assert_eq!(next(&mut changes).await, [file.as_path()]);
        rename_over(&file, "three");
        assert_eq!(next(&mut changes).await, [file.as_path()]);
        fs::remove_file(&file).unwrap();
        assert_eq!(next(&mut changes).await, [file.as_path()]);
        fs::write(&file, "three").unwrap();
        assert_eq!(next(&mut changes).await, [file.as_path()]);
    }
}

#[tokio::test]
async fn the_same_content_again_is_no_change() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (quiet, loud) = (dir.path().join("quiet"), dir.path().join("loud"));
        fs::write(&quiet, "same").unwrap();
        fs::write(&loud, "one").unwrap();
        let paths = vec![quiet.clone(), loud.clone()];
        let (_watcher, mut changes) = Watcher::start_by(method, paths, &supervisor().0)
            .await
            .unwrap();

        for round in 0..3 {
            rename_over(&quiet, "same");
            fs::File::open(&quiet)
                .unwrap()
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            fs::write(&loud, format!("round {round}")).unwrap();
            assert_eq!(next(&mut changes).await, [loud.as_path()]);
        }
    }
}

#[tokio::test]
async fn a_swapped_data_symlink_changes_every_file_behind_it() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        let release = |name: &str, text: &str| {
            fs::create_dir(volume.join(name)).unwrap();
            fs::write(volume.join(name).join("id"), "same").unwrap();
            fs::write(volume.join(name).join("secret"), text).unwrap();
            symlink(name, volume.join("..data_tmp")).unwrap();
            fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        };
        release("..first", "one");
        symlink("..data/id", volume.join("id")).unwrap();
        symlink("..data/secret", volume.join("secret")).unwrap();
        let secret = volume.join("secret");
        let paths = vec![volume.join("id"), secret.clone()];
        let (_watcher, mut changes) = Watcher::start_by(method, paths, &supervisor().0)
            .await
            .unwrap();

        release("..second", "two");
        fs::remove_dir_all(volume.join("..first")).unwrap();
        assert_eq!(next(&mut changes).await, [secret.as_path()]);
        release("..third", "three");
        assert_eq!(next(&mut changes).await, [secret.as_path()]);
        fs::write(volume.join("..third/secret"), "in place").unwrap();
        assert_eq!(next(&mut changes).await, [secret.as_path()]);
    }
}

#[tokio::test]
async fn a_directory_stands_for_its_toml_files() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        fs::write(&old, "1").unwrap();
        let paths = vec![dir.path().to_owned()];
        let (_watcher, mut changes) = Watcher::start_by(method, paths, &supervisor().0)
            .await
            .unwrap();

        fs::write(dir.path().join("notes.txt"), "not configuration").unwrap();
        rename_over(&new, "1");
        assert_eq!(next(&mut changes).await, [new.as_path()]);
        rename_over(&old, "2");
        assert_eq!(next(&mut changes).await, [old.as_path()]);
        fs::remove_file(&new).unwrap();
        assert_eq!(next(&mut changes).await, [new.as_path()]);
    }
}

#[tokio::test]
async fn directories_may_vanish_move_and_come_back() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("etc/app");
        let file = home.join("secret");
        let (_watcher, mut changes) =
            Watcher::start_by(method, vec![file.clone()], &supervisor().0)
                .await
                .unwrap();

        for round in 0..3 {
            fs::create_dir_all(&home).unwrap();
            fs::write(&file, "one").unwrap();
            assert_eq!(next(&mut changes).await, [file.as_path()]);

            let staged = dir.path().join("etc/staged");
            fs::create_dir(&staged).unwrap();
            fs::write(staged.join("secret"), "two").unwrap();
            fs::rename(&home, dir.path().join(format!("old-{round}"))).unwrap();
            fs::rename(&staged, &home).unwrap();
            assert_eq!(next(&mut changes).await, [file.as_path()]);
            rename_over(&file, "three");
            assert_eq!(next(&mut changes).await, [file.as_path()]);

            fs::remove_dir_all(dir.path().join("etc")).unwrap();
            assert_eq!(next(&mut changes).await, [file.as_path()]);
        }
    }
}

#[tokio::test]
async fn the_set_of_paths_can_be_replaced() {
    for method in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let [stays, leaves, joins] = ["stays", "leaves", "joins"].map(|name| {
            let path = dir.path().join(name);
            fs::write(&path, "one").unwrap();
            path
        });
        let paths = vec![stays.clone(), leaves.clone()];
        let (watcher, mut changes) = Watcher::start_by(method, paths, &supervisor().0)
            .await
            .unwrap();

        rename_over(&stays, "changed just before");
        watcher.watch(vec![stays.clone(), joins.clone()]).await;
        assert_eq!(next(&mut changes).await, [stays.as_path()]);
        rename_over(&leaves, "two");
        rename_over(&joins, "two");
        assert_eq!(next(&mut changes).await, [joins.as_path()]);
    }
}

#[tokio::test]
async fn what_is_forgotten_is_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let [read, other] = ["read", "other"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, "one").unwrap();
        path
    });
    // Looks only when it is told to.
    let rarely = |_| WatchMethod::Polling(Duration::from_secs(3600));
    let paths = vec![read.clone(), other.clone()];
    let (watcher, mut changes) = Watcher::start_by(rarely, paths.clone(), &supervisor().0)
        .await
        .unwrap();

    fs::write(&read, "two").unwrap();
    watcher.skip_to_now().await;
    fs::write(&other, "two").unwrap();
    watcher.watch(paths).await;
    assert_eq!(next(&mut changes).await, [other.as_path()]);
}

#[tokio::test]
async fn a_dropped_watcher_ends_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (watcher, mut changes) = Watcher::start(vec![dir.path().to_owned()], &supervisor().0)
        .await
        .unwrap();
    drop(watcher);
    let end = tokio::time::timeout(DEADLINE, changes.next())
        .await
        .unwrap();
    assert_eq!(end, None);
}

#[test]
fn half_written_content_is_looked_at_again() {
    let hash = |hash| BTreeMap::from([(PathBuf::from("/f"), PathContent::File(hash))]);
    let (known, half, whole) = (hash(1), hash(2), hash(3));
    let mut unsettled = Unsettled::default();
    assert_eq!(unsettled.compare(&known, &half), Comparison::ReadAgain);
    assert_eq!(unsettled.compare(&known, &whole), Comparison::ReadAgain);
    assert_eq!(unsettled.compare(&known, &whole), Comparison::Changed);

    assert_eq!(unsettled.compare(&known, &half), Comparison::ReadAgain);
    assert_eq!(unsettled.compare(&known, &known), Comparison::Same);
    assert_eq!(unsettled.compare(&known, &half), Comparison::ReadAgain);

    let mut unsettled = Unsettled::default();
    let comparisons: Vec<_> = (10..)
        .map(|restless| unsettled.compare(&known, &hash(restless)))
        .take_while(|comparison| *comparison == Comparison::ReadAgain)
        .collect();
    assert_eq!(
        comparisons.len(),
        MAX_UNSETTLED_READS as usize,
        "then it is reported"
    );
}

#[test]
fn looking_at_a_pipe_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(Hasher::default().content(&pipe), PathContent::Special);
}

#[test]
fn a_circle_of_symlinks_ends() {
    let dir = tempfile::tempdir().unwrap();
    symlink("b", dir.path().join("a")).unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    let found = PathDependencies::of(&[dir.path().join("a")]).directories;
    assert!(found.contains(dir.path()), "{found:?}");
}

/// Inotify on a file system that answers a look and then no more.
struct Hangs(mpsc::Receiver<()>);

impl notify::Watcher for Hangs {
    fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
        unreachable!("it is made by hand")
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> notify::WatcherKind {
        notify::WatcherKind::Inotify
    }
}

#[tokio::test]
async fn a_directory_that_inotify_waits_for_costs_events_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "one").unwrap();
    let (release, held) = mpsc::channel();
    let hangs = |_| WatchMethod::with_inotify(Hangs(held), SharedEntries::default());
    let (_watcher, mut changes) = Watcher::start_by(hangs, vec![file.clone()], &supervisor().0)
        .await
        .unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(
        next(&mut changes).await,
        [file.as_path()],
        "the timer makes it read"
    );
    drop(release);
}

#[test]
fn what_is_written_beside_watched_files_is_no_reason_to_read_them() {
    use notify::event::{CreateKind, DataChange};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("..data")).unwrap();
    fs::write(at("..data/secret"), "one").unwrap();
    symlink("..data/secret", at("secret")).unwrap();
    let watched = [at("secret"), at("absent")];
    let entries = Arc::new(Mutex::new(PathDependencies::of(&watched).entries));
    let (messages, inbox) = mpsc::channel();
    let guard = supervisor().0.guard("inotify");
    let mut handler = event_handler(messages, entries, guard, Arc::default());
    let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let created = EventKind::Create(CreateKind::File);
    let mut told = |kind: EventKind, name: &str| {
        let event = notify::Event::new(kind).add_path(at(name));
        handler.handle_event(Ok(event));
        inbox.try_recv().is_ok()
    };
    for name in ["..data/secret", "secret", "absent"] {
        assert!(told(written, name) && told(closed, name), "{name}");
    }
    for name in ["audit.jsonl", "..data/log"] {
        assert!(!told(written, name) && !told(closed, name), "{name}");
        // What stands there may be about to take another name.
        assert!(told(created, name), "{name}");
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_of_inotify_is_a_death() {
    let (supervisor, mut panics) = supervisor();
    let guard = supervisor.guard("the thread of inotify");
    let handler = event_handler(
        mpsc::channel().0,
        SharedEntries::default(),
        guard,
        Arc::default(),
    );
    let thread = std::thread::spawn(move || {
        let _owned = handler;
        panic!("a defect");
    });
    assert!(thread.join().is_err());
    assert_eq!(panics.next().await, "the thread of inotify");
}
