//! What the program leaves behind, and `exec` as the first process of a namespace.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{CALL, World};
use crate::support::api::Api;
use crate::support::namespaces::PROCESSES;
use crate::support::process::{Process, run};
use crate::support::server::{fed, response};
use crate::support::{eventually, loopback};

/// A call that is answered half, for ever.
fn never_ending() -> Api {
    Api::start(|_| {
        let (feed, body) = fed();
        // Its end would end the answer.
        std::mem::forget(feed);
        let mut answer = response(200, "");
        *answer.body_mut() = body;
        answer
    })
}

#[tokio::test]
async fn what_detaches_loses_the_proxy_and_exec_does_not_wait_for_it() {
    let world = World::start();
    let slow = never_ending();
    world.configure(&format!(
        "[server]\ndrain_timeout = \"100ms\"\n{}",
        world.config(&slow.url())
    ));
    let told = world.path("told");
    let script = format!(
        "setsid sh -c '{CALL} >/dev/null 2>&1; echo $? >{0}.first; {CALL} >/dev/null 2>&1; echo $? >{0}' & \
         while ! [ -e {1} ]; do sleep 0.02; done; exit 3",
        told.display(),
        world.path("go").display()
    );
    let exec = world.exec(&["sh", "-c", &script]);
    let process = Process::spawn(exec, tempfile::tempdir().unwrap());
    eventually("called", async || !slow.seen().is_empty()).await;
    std::fs::write(world.path("go"), "").unwrap();
    let begun = Instant::now();
    let ended = process_code(process).await;
    assert_eq!(ended, 3);
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The answer was cut, and what is called now is refused.
    eventually("both calls have failed", async || {
        std::fs::read_to_string(&told).is_ok_and(|code| code.trim() == "7")
    })
    .await;
}

/// What it ends with. What it has left behind may hold its output open.
async fn process_code(mut process: Process) -> i32 {
    let mut code = None;
    eventually("it ends", async || {
        code = process.has_ended();
        code.is_some()
    })
    .await;
    code.unwrap()
}

#[tokio::test]
async fn a_second_signal_ends_the_wait_for_what_is_left_behind() {
    let world = World::start();
    let slow = never_ending();
    // It would be waited for until then.
    world.configure(&world.config(&slow.url()));
    let script = format!("setsid sh -c '{CALL} >/dev/null 2>&1' & echo ready; exec sleep 1000");
    let process = world.begin(&script).await;
    eventually("called", async || !slow.seen().is_empty()).await;
    process.signal(Signal::TERM);
    let mut process = process;
    let mut code = None;
    eventually("it ends", async || {
        process.signal_if_there(Signal::TERM);
        code = process.has_ended();
        code.is_some()
    })
    .await;
    assert_eq!(code, Some(128 + 15));
}

#[tokio::test]
async fn as_the_first_process_of_a_namespace_it_waits_for_orphans() {
    if !PROCESSES.can_be_had() {
        return;
    }
    let world = World::start();
    // The shell in the middle ends at once, and leaves its child to process 1.
    let script = "sh -c 'sleep 0.2 & echo $! >orphan'; orphan=$(cat orphan); \
                  [ $(cut -d' ' -f4 /proc/$orphan/stat) = 1 ] || exit 2; \
                  while [ -e /proc/$orphan ]; do sleep 0.02; done; echo gone; \
                  [ $PPID = 1 ] || exit 3";
    let mut exec = world.exec(&["sh", "-c", &format!("{script}; {CALL}")]);
    exec.current_dir(world.dir.path());
    let ended = run(PROCESSES.around(&exec)).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "gone\nok"), "{ended:?}");
}

#[tokio::test]
async fn as_the_first_process_it_is_stopped_as_docker_does() {
    if !PROCESSES.can_be_had() {
        return;
    }
    let world = World::start();
    let script = "trap 'echo ended; exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let exec = world.exec(&["sh", "-c", script]);
    let process = world.begin_as(PROCESSES.around(&exec)).await;
    // Its number outside of the namespace, from where the signal comes.
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let children = std::fs::read_to_string(children).unwrap();
    let first = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(first, Signal::TERM).unwrap();
    let ended = process.ended().await;
    assert_eq!(ended.code, 9, "{ended:?}");
    assert!(ended.stdout.ends_with("ended\n"), "{ended:?}");
}

#[tokio::test]
async fn where_no_number_names_its_session_a_stopped_program_goes_on_too() {
    // As in a container whose processes are of a session from outside of its namespace.
    if !PROCESSES.can_be_had() {
        return;
    }
    let world = World::start();
    let program = format!("echo $$ >.number; mv .number number; kill -STOP $$; {CALL}");
    let mut exec = world.exec(&["sh", "-c", &program]);
    exec.current_dir(world.dir.path());
    let script = "session() { cut -d' ' -f6 /proc/$1/stat; }; state() { cut -d' ' -f3 /proc/$number/stat; }; \
                  [ \"$(session 1)\" = 0 ] || exit 2; \
                  \"$@\" & exec=$!; until [ -e number ]; do sleep 0.02; done; number=$(cat number); \
                  until [ \"$(state)\" = T ]; do sleep 0.02; done; \
                  while [ \"$(state 2>/dev/null)\" = T ]; do kill -CONT $exec; sleep 0.02; done; wait $exec";
    let ended = run(PROCESSES.around_script(script, &exec)).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "ok"), "{ended:?}");
}

#[tokio::test]
async fn the_listeners_of_the_configuration_are_not_opened() {
    let world = World::start();
    let [listener, admin] = [loopback(), loopback()];
    world.configure(&format!(
        "[admin]\naddress = \"{admin}\"\n[[listeners]]\naddress = \"{listener}\"\nupstream = \"crm\"\n\
         [[listeners]]\naddress = \"unix:/nowhere/app.sock\"\nupstream = \"crm\"\n{}",
        world.config(&world.api.url())
    ));
    let process = world.begin("echo ready; exec sleep 1000").await;
    for address in [listener, admin] {
        assert!(std::net::TcpStream::connect(address).is_err());
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 128 + 15);
}
