//! Threads that cannot be had, that hold more work than there is room for, that panic, and that are idle again.

use std::io::ErrorKind;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use super::*;

/// A stack that no memory is large enough for makes the system refuse a thread as a limit does.
pub(super) fn limited(builder: thread::Builder, group: &Threads) -> thread::Builder {
    let take = |left: usize| left.checked_sub(1);
    if group.left.fetch_update(SeqCst, SeqCst, take).is_ok() {
        builder
    } else {
        builder.stack_size(1 << 62)
    }
}

/// A group for which the system has this many threads.
fn group(threads: usize) -> &'static Threads {
    let group = Box::leak(Box::new(Threads::new("limited")));
    group.left.store(threads, SeqCst);
    group
}

#[tokio::test]
async fn without_a_thread_the_error_names_the_limit_and_later_work_is_done() {
    let threads = group(0);
    let error = threads.run(|| ()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the system gives no thread: ")
    );
    assert!(error.to_string().contains("RLIMIT_NPROC"), "{error}");
    let error = threads.begin(Box::new(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    threads.left.store(1, SeqCst);
    assert_eq!(threads.run(|| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn with_one_thread_all_work_is_done_one_piece_after_the_other() {
    let threads = group(1);
    for number in 0..100 {
        // Each begins right after the one before: its thread is idle by then.
        assert_eq!(threads.run(move || number).await.unwrap(), number);
    }
    let work = (0..20).map(|number| tokio::spawn(threads.run(move || number)));
    for (number, done) in work.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(done.await.unwrap().unwrap(), number);
    }
    assert_eq!(threads.lock().threads, 1);
}

#[tokio::test]
async fn work_that_cannot_begin_for_long_fails_and_is_never_done() {
    let threads = group(1);
    let (release, held) = mpsc::channel::<()>();
    let first = tokio::spawn(threads.run(move || held.recv().is_err()));
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let (done, undone) = mpsc::channel();
    let second = done.clone();
    let error = threads.run(move || second.send(())).await.unwrap_err();
    assert!(error.to_string().contains("pids.max"), "{error}");
    assert!(begun.elapsed() >= PATIENCE);
    // The same for one who waits by blocking.
    let job: Job = Box::new(move |_thread| done.send(()).unwrap());
    assert!(threads.begin(job).is_err());
    // And for one who has left.
    let left = threads.run(|| panic!("called off"));
    let left = tokio::time::timeout(Duration::from_millis(1), left).await;
    assert!(left.is_err());
    drop(release);
    assert!(first.await.unwrap().unwrap());
    assert!(undone.recv().is_err());
    assert!(threads.lock().waiting.is_empty());
}

#[tokio::test]
async fn threads_are_idle_again_after_they_have_given_memory_back() {
    let threads = group(2);
    let (release, held) = mpsc::channel::<()>();
    let first = tokio::spawn(threads.run(move || held.recv().is_err()));
    tokio::task::yield_now().await;
    assert!(threads.run(|| true).await.unwrap());
    drop(release);
    assert!(first.await.unwrap().unwrap());
    let idle = || threads.lock().idle.len();
    assert_eq!(idle(), 2);
    threads.give_back_memory();
    assert_eq!((idle(), threads.lock().threads), (2, 2));
    assert_eq!(threads.run(|| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_panic_is_an_error_and_its_thread_works_on() {
    let threads = group(1);
    let error = threads.run(|| panic!("on purpose")).await;
    assert!(error.unwrap_err().to_string().contains("defect"));
    assert_eq!(threads.run(|| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn work_may_start_tasks_on_the_runtime_that_waits_for_it() {
    let threads = group(1);
    let task = threads.run(|| tokio::spawn(async { 7 })).await.unwrap();
    assert_eq!(task.await.unwrap(), 7);
}
