//! What it ends with.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::World;
use super::inheritance::within;
use crate::support::eventually;
use crate::support::idp::Behaviour;
use crate::support::process::{Process, command, run};

#[tokio::test]
async fn it_ends_as_the_program_does() {
    let world = World::start();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
        // All that a program may close.
        ("exec 0<&- 1>&- 2>&-; exit 3", 3),
    ] {
        let ended = world.shell(script).await;
        assert_eq!((ended.code, &*ended.stderr), (code, ""), "{script}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_ends_with_125_to_127_and_the_reason() {
    let world = World::start();
    let file = |name: &str, text: &str, mode: u32| {
        let path = world.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "text", 0o644);
    let broken = file("broken", "#!/nowhere/interpreter\n", 0o755);
    // As one for another machine.
    let foreign = file("foreign", "\x7fELF\0\0\0\0\0\0\0\0", 0o755);
    let directory = world.dir.path().to_str().unwrap();
    let cases = [
        ("no-such-program", 127, "\"no-such-program\" was not found"),
        (
            "/nowhere/program",
            127,
            "\"/nowhere/program\" was not found",
        ),
        (&plain, 126, "cannot be executed: Permission denied"),
        (directory, 126, "cannot be executed: Permission denied"),
        (&broken, 126, "what its first line names was not found"),
        (&foreign, 126, "cannot be executed: Exec format error"),
    ];
    // Also where something has to be done in the program's own process before it begins.
    for prepare in [":", "export LISTEN_PID=$$", "trap '' PIPE"] {
        for (program, code, reason) in cases {
            let ended = within(&world, prepare, &[program]).await;
            assert_eq!((ended.code, &*ended.stdout), (code, ""), "{ended:?}");
            let begins = ended.stderr.starts_with("sidebearer exec: ");
            let lines = ended.stderr.lines().count();
            assert!(
                begins && lines == 1 && ended.stderr.contains(reason),
                "{ended:?}"
            );
        }
    }
    for arguments in [
        &["exec"][..],
        &["exec", "--wrong", "--", "true"],
        &["exec", "--ready-timeout", "soon", "--", "true"],
        &["exec", "--config", "/nowhere/app.toml", "--", "true"],
    ] {
        let ended = run(command(arguments)).await;
        assert_eq!((ended.code, &*ended.stdout), (125, ""), "{ended:?}");
        assert!(!ended.stderr.is_empty());
    }
    assert_eq!(run(command(&["exec", "--help"])).await.code, 0);
}

#[tokio::test]
async fn a_script_that_names_no_interpreter_is_one_of_the_shell() {
    let world = World::start();
    let script = world.path("script");
    std::fs::write(&script, "echo $1; exit 4\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let program = [script.to_str().unwrap(), "an argument"];
    for prepare in [":", "export LISTEN_PID=$$"] {
        let ended = within(&world, prepare, &program).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (4, "an argument\n"),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn nothing_is_started_without_a_token() {
    let world = World::start();
    world.idp.behave(Behaviour::Answers(503, "busy".to_owned()));
    let marker = world.path("started");
    let touch = ["touch", marker.to_str().unwrap()];
    // On a busy machine the answer of the token endpoint may take longer than that.
    for patience in ["200ms", "2s", "20s"] {
        let ended = run(world.exec_with(&["--ready-timeout", patience], &touch)).await;
        assert_eq!(ended.code, 125, "{ended:?}");
        let reason = format!(
            "not ready within {patience}, so that nothing was started: credential \"crm\" has no token: "
        );
        let (_, why) = ended.stderr.split_once(&reason).unwrap();
        assert!(!marker.exists());
        if !why.starts_with("its token endpoint has not answered yet") {
            return assert!(why.contains("503"), "{why}");
        }
    }
    panic!("it never answered");
}

#[tokio::test]
async fn a_signal_before_the_start_starts_nothing() {
    let world = World::start();
    world.idp.behave(Behaviour::Holds);
    let marker = world.path("started");
    let exec = world.exec(&["touch", marker.to_str().unwrap()]);
    let process = Process::spawn(exec, tempfile::tempdir().unwrap());
    eventually("asked for a token", async || world.idp.requests() > 0).await;
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, 128 + 15, "{ended:?}");
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_file_that_exec_cannot_use_is_refused_with_its_reason() {
    for (lines, reason) in [
        ("[audit]\nfile = \"stdout\"\n", "mix with what the program"),
        (
            "[upstreams.erp]\nurl = \"https://erp.example.com\"\ncredentials = { billing = \"crm\" }\n",
            "needs to know the caller",
        ),
    ] {
        let ended = World::with(lines).shell("exit 0").await;
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}
