//! What the program inherits: as if nothing stood between it and whoever starts it.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{World, works};
use crate::support::process::{Ended, blocked, prepared, run};
use crate::support::skip;

/// Runs `exec` by a shell that first does `prepare`.
pub(super) async fn within(world: &World, prepare: &str, program: &[&str]) -> Ended {
    let exec = world.exec(program);
    let words = [exec.get_program()].into_iter().chain(exec.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    alone(prepare, &words).await
}

/// Runs the program itself in the same way.
async fn alone(prepare: &str, program: &[&str]) -> Ended {
    let mut shell = Command::new("sh");
    let script = format!("{prepare}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).args(program);
    shell.stdin(Stdio::null()).env_remove("http_proxy");
    run(shell).await
}

#[tokio::test]
async fn its_limits_are_those_that_sidebearer_was_started_with() {
    let world = World::start();
    let show = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc";
    let prepare = "ulimit -Sn 200; ulimit -Hn 900; ulimit -Sc 0; ulimit -Hc 4000; ulimit -Sc 2000";
    let ended = within(&world, prepare, &["sh", "-c", show]).await;
    assert_eq!(ended.stdout, "200\n900\n2000\n4000\n", "{ended:?}");
}

#[tokio::test]
async fn it_may_leave_a_core_and_be_looked_into_and_sidebearer_may_not() {
    let world = World::start();
    // The environment of a process is shown to those alone who may look into it.
    let show = "cat /proc/$$/environ >/dev/null && echo own; stat -c %u /proc/$$/environ /proc/$PPID/environ; id -u";
    let ended = world.shell(show).await;
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[..2], ["own", lines[3]], "{ended:?}");
    assert_eq!(lines[2], "0", "{ended:?}");
}

/// The masks of a program that has shown its `status`: of signals that are blocked, ignored and caught. Without 32 and 33,
/// which the C library keeps for itself: nobody can send them to a program that it starts.
fn masks(ended: &Ended) -> [u64; 3] {
    ["SigBlk", "SigIgn", "SigCgt"].map(|field| {
        let mask = ended
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(field));
        let mask = mask.unwrap().trim_start_matches(':').trim();
        u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31)
    })
}

#[tokio::test]
async fn signals_that_were_ignored_stay_so_and_no_others_are() {
    let world = World::start();
    let show = ["cat", "/proc/self/status"];
    let block = blocked("TERM,CHLD,USR1,WINCH").unwrap_or_default();
    // As `nohup` does, and a shell without jobs to what it starts with `&`.
    for (prepare, expected) in [
        (":", 0),
        ("trap '' HUP INT QUIT USR1", 0b10_0000_0111),
        // As systemd does.
        ("trap '' PIPE", 1 << 12),
        ("trap '' PIPE; export LISTEN_PID=$$", 1 << 12),
        ("export LISTEN_PID=$$", 0),
        ("trap '' XFSZ", 1 << 24),
        ("ulimit -Sf 1000", 0),
        (&block, 0),
    ] {
        let [exec, alone] = [
            within(&world, prepare, &show).await,
            alone(prepare, &show).await,
        ];
        assert_eq!(masks(&exec), masks(&alone), "{prepare}: {exec:?}");
        // The tests themselves may run with others that are ignored.
        let usual = 1 << 24 | 1 << 12 | 0b10_0000_0111;
        assert_eq!(masks(&exec)[1] & usual, expected, "{prepare}");
    }
}

#[tokio::test]
async fn what_was_ignored_stays_so_whatever_the_system_says_besides() {
    let world = World::start();
    let named = format!(
        "named={}/$(printf 'side\\377bearer'); ln -s \"$0\" \"$named\"; exec \"$named\" \"$@\"",
        world.dir.path().display()
    );
    let groups = "exec setpriv --groups $(seq -s, 1000000 1000700) \"$0\" \"$@\"";
    for (prepare, needs) in [
        (&*named, &["true"][..]),
        (groups, &["setpriv", "--groups=1"]),
    ] {
        if needs.len() > 1 && !works(needs[0], &[needs[1], "true"]) {
            skip("many groups", "it needs root and setpriv");
            continue;
        }
        let prepare = format!("trap '' HUP PIPE; {prepare}");
        let ended = within(&world, &prepare, &["cat", "/proc/self/status"]).await;
        assert_eq!(masks(&ended)[1] & (1 << 12 | 1), 1 << 12 | 1, "{ended:?}");
    }
}

#[tokio::test]
async fn its_umask_is_that_of_exec_and_keeps_nothing_from_exec_itself() {
    let world = World::start();
    let show = "umask; stat -c %a $TMPDIR/sidebearer-exec-*";
    for (umask, own) in [("0777", "700"), ("0027", "700")] {
        let exec = world.exec(&["sh", "-c", show]);
        let ended = run(prepared(&format!("umask {umask}"), &exec)).await;
        assert_eq!(ended.stdout, format!("{umask}\n{own}\n"), "{ended:?}");
        let left = std::fs::read_dir(world.dir.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left
            .filter(|name| name.as_encoded_bytes().starts_with(b"sidebearer-exec-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn its_end_is_seen_where_the_signal_that_tells_of_it_is_blocked() {
    let block = ["env", "--block-signal=CHLD"];
    if !works(block[0], &[block[1], "true"]) {
        return skip("env --block-signal", "it needs coreutils 8.31");
    }
    let world = World::start();
    let exec = world.exec(&["sh", "-c", "sleep 0.3; exit 7"]);
    let words = [exec.get_program()].into_iter().chain(exec.get_args());
    let words = words.map(|word| word.to_str().unwrap());
    let ended = alone(":", &block.into_iter().chain(words).collect::<Vec<_>>()).await;
    assert_eq!(ended.code, 7, "{ended:?}");
}

#[tokio::test]
async fn it_has_the_files_that_were_open_and_none_of_sidebearers() {
    let world = World::start();
    let show = "for file in /proc/$$/fd/*; do printf '%s ' ${file##*/}; done; cat <&7";
    let given = world.path("given");
    std::fs::write(&given, "given").unwrap();
    let prepare = format!("exec 7<{}", given.display());
    let program = ["bash", "-c", show];
    let ended = within(&world, &prepare, &program).await;
    assert!(ended.stdout.ends_with(" 7 given"), "{ended:?}");
    assert_eq!(ended.stdout, alone(&prepare, &program).await.stdout);
}

#[tokio::test]
async fn sockets_and_a_watchdog_that_were_for_exec_are_for_the_program() {
    let world = World::start();
    let prepare = "export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=1; exec 3</dev/null";
    let show = "echo $LISTEN_PID $LISTEN_FDS $WATCHDOG_PID; echo $$ 1 1; [ -e /proc/$$/fd/3 ]";
    let ended = within(
        &world,
        prepare,
        &["sh", "-c", show, "name", "an 'argument'"],
    )
    .await;
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!((ended.code, lines[0]), (0, lines[1]), "{ended:?}");
    let ended = within(&world, prepare, &["no-such-program"]).await;
    assert_eq!(ended.code, 127, "{ended:?}");
}

#[tokio::test]
async fn its_input_is_that_of_sidebearer() {
    let world = World::start();
    let mut exec = world.exec(&["cat"]);
    exec.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut exec = exec.spawn().unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    stdin.write_all(b"some input").unwrap();
    drop(stdin);
    let output = tokio::task::spawn_blocking(move || exec.wait_with_output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"some input");
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_ends_it_as_it_would_alone() {
    let world = World::start();
    let exec = world.exec(&["yes"]);
    let mut shell = Command::new("bash");
    shell
        .arg("-c")
        .arg("\"$0\" \"$@\" | head -n 1; echo ${PIPESTATUS[0]}");
    shell.arg(exec.get_program()).args(exec.get_args());
    let ended = run(shell).await;
    assert_eq!(ended.stdout, "y\n141\n", "{ended:?}");
}
