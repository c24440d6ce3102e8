//! Signals that come to `exec`, and those that come to the program.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{CALL, World, said};
use crate::support::eventually;
use crate::support::process::{Process, blocked, prepared};

/// The line of its state in `/proc`: `R`, `S`, `T` for a stopped process, `Z` for one that nobody has waited for.
fn state(process: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let stat = stat.ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    behind.trim_start().chars().next()
}

/// The number of the program, which has said it in a line of its own.
async fn number(process: &Process) -> Pid {
    let mut number = None;
    eventually("its number", async || {
        number = process.stdout().lines().find_map(|line| line.parse().ok());
        number.is_some()
    })
    .await;
    Pid::from_raw(number.unwrap()).unwrap()
}

/// The same command in a session of its own, which has no terminal even where the tests have one: no shell waits for it
/// as a job. It keeps its process number, since what is started here leads no process group.
fn without_terminal(command: &Command) -> Command {
    let mut alone = Command::new("setsid");
    alone.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    alone
}

#[tokio::test]
async fn what_is_sent_to_exec_alone_is_passed_on() {
    let world = World::start();
    // Without a terminal too: `docker stop`, `kill` in a script, a supervisor.
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.02; done"
        );
        let process = world.begin(&script).await;
        process.signal(signal);
        let ended = process.ended().await;
        assert_eq!(ended.code, 5, "{name}: {ended:?}");
        assert!(
            ended.stdout.ends_with(&format!("got {name}\n")),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn what_is_sent_to_exec_is_passed_on_where_it_was_blocked_for_both() {
    let Some(block) = blocked("TERM") else {
        return;
    };
    let world = World::start();
    let exec = world.exec(&["sh", "-c", "echo $$; echo ready; exec sleep 1000"]);
    let process = world.begin_as(prepared(&block, &exec)).await;
    let program = number(&process).await;
    process.signal(Signal::TERM);
    eventually("the program has it, and has it blocked", async || {
        let status = format!("/proc/{}/status", program.as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap();
        let pending = status
            .lines()
            .find_map(|line| line.strip_prefix("ShdPnd:\t"));
        u64::from_str_radix(pending.unwrap(), 16).unwrap() >> (Signal::TERM.as_raw() - 1) & 1 == 1
    })
    .await;
    kill_process(program, Signal::KILL).unwrap();
    assert_eq!(process.ended().await.code, 128 + 9);
}

#[tokio::test]
async fn a_program_that_does_not_handle_a_signal_ends_by_it() {
    let world = World::start();
    let process = world.begin("echo ready; exec sleep 1000").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 128 + 15);
}

#[tokio::test]
async fn what_the_program_sends_to_its_group_comes_once() {
    let world = World::start();
    // The group is one of its own here, so that the test itself is not in it.
    let script =
        "trap 'echo got TERM' TERM; echo ready; kill -TERM 0; sleep 0.3; kill -0 $$; exit 6";
    let mut exec = world.exec(&["sh", "-c", script]);
    std::os::unix::process::CommandExt::process_group(&mut exec, 0);
    let process = world.begin_as(exec).await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 6, "{ended:?}");
    assert_eq!(ended.stdout.matches("got TERM").count(), 1, "{ended:?}");
}

#[tokio::test]
async fn a_program_that_is_killed_takes_exec_along() {
    let world = World::start();
    let process = world.begin("echo $$; echo ready; exec sleep 1000").await;
    kill_process(number(&process).await, Signal::KILL).unwrap();
    assert_eq!(process.ended().await.code, 128 + 9);
}

#[tokio::test]
async fn a_stopped_program_goes_on_when_exec_is_told_to() {
    let world = World::start();
    let go = world.path("go");
    let script = format!(
        "echo $$; echo ready; while ! [ -e {} ]; do sleep 0.02; done; {CALL}",
        go.display()
    );
    let exec = world.exec(&["sh", "-c", &script]);
    let process = world.begin_as(without_terminal(&exec)).await;
    let program = number(&process).await;
    kill_process(program, Signal::STOP).unwrap();
    eventually("stopped", async || state(program) == Some('T')).await;
    std::fs::write(go, "").unwrap();
    let exec = Pid::from_raw(process.id().try_into().unwrap()).unwrap();
    // Nobody would let it go on: no shell waits for a job.
    assert_ne!(state(exec), Some('T'));
    // As long as it has not heard of the stop it has nothing to let go on.
    eventually("goes on", async || {
        process.signal(Signal::CONT);
        state(program) != Some('T')
    })
    .await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.ends_with("ok"), "{ended:?}");
}

#[tokio::test]
async fn a_program_outlives_an_exec_that_is_killed_and_has_no_proxy() {
    let world = World::start();
    let go = world.path("go");
    let told = world.path("told");
    let script = format!(
        "echo $$; echo ready; while ! [ -e {} ]; do sleep 0.02; done; {CALL} 2>&1; echo $? >{}",
        go.display(),
        told.display(),
    );
    let process = world.begin(&script).await;
    let program = number(&process).await;
    drop(process);
    test_kill_process(program).unwrap();
    std::fs::write(go, "").unwrap();
    eventually("it has called", async || {
        std::fs::read_to_string(&told).is_ok_and(|code| code.trim() == "7")
    })
    .await;
    assert!(world.api.seen().is_empty());
}

#[tokio::test]
async fn nothing_of_exec_waits_for_a_program_that_says_nothing() {
    let world = World::start();
    let process = world
        .begin("echo ready; exec sleep 0.1 >/dev/null 2>&1 </dev/null")
        .await;
    said(&process, "ready").await;
    assert_eq!(process.ended().await.code, 0);
}
