//! The table that `redirect print` prints, and beside whom it stands.

use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_rust2::YamlLoader;

use super::{Network, TO, USER, print_table};
use crate::support::process::{command, run};
use crate::support::skip;

/// What somebody else has put there who redirects, too.
const OTHER_CHAIN: &str =
    "table ip nat {\nchain OUTPUT {\ntype nat hook output priority -100; policy accept;\n}\n}\n";

/// What `redirect print` ends with on the machine of the apps, what it prints, and what it says.
fn print(network: &Network, more: &[&str]) -> (Option<i32>, String, String) {
    let (to, user) = (TO.to_string(), USER.to_string());
    let mut arguments = vec!["redirect", "print", "--to", &to, "--uid", &user];
    arguments.extend(more);
    let mut command = command(&arguments);
    let output = network.here.within(|| command.output().unwrap());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_table_that_is_deployed_is_the_printed_one() {
    let arguments = [
        "redirect",
        "print",
        "--to",
        "15001",
        "--uid",
        "64201",
        "--elsewhere",
    ];
    let printed = run(command(&arguments)).await;
    let deployed = deployed().join("redirect.nft");
    assert_eq!(printed.stdout, std::fs::read_to_string(deployed).unwrap());
}

/// What is deployed for apps that know nothing.
fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/redirected")
}

#[test]
fn the_init_container_loads_the_table_again_and_again_and_beside_no_other() {
    let Some(network) = Network::lay() else {
        return;
    };
    if print_table(&network, &[]).is_none() {
        return;
    }
    let patches = std::fs::read_to_string(deployed().join("redirect.yaml")).unwrap();
    let patches = YamlLoader::load_from_str(&patches).unwrap();
    let script = patches[0][0]["value"]["args"][0].as_str().unwrap();
    assert!(script.contains("/etc/redirect/redirect.nft"), "{script}");
    let script = script.replace("/etc/redirect", deployed().to_str().unwrap());
    let start = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        let ended = network.here.within(|| shell.output().unwrap());
        let said = String::from_utf8(ended.stderr).unwrap();
        (ended.status.code(), said)
    };
    // A pod may be started again with its network.
    for _ in 0..2 {
        assert_eq!(start(), (Some(0), String::new()));
    }
    let remove = "delete table inet sidebearer";
    network.here.nft(remove).unwrap();
    network.here.nft(OTHER_CHAIN).unwrap();
    let (code, said) = start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("chain OUTPUT"), "{said}");
    assert!(network.here.nft(remove).is_err(), "it was loaded");
}

#[test]
fn tables_of_every_form_are_loaded_again_and_again_and_removed() {
    let Some(network) = Network::lay() else {
        return;
    };
    let here = &network.here;
    for more in [
        &[][..],
        &[
            "--ports",
            "8000-8099,80,8050-8200",
            "--exclude",
            "10.0.0.0/8,10.1.0.0/16,127.1.2.3",
        ],
        &[
            "--exclude",
            "::/0",
            "--exclude",
            "0.0.0.0/0",
            "--exclude",
            "443",
        ],
        &["--ports", "1-65535", "--exclude", "5432"],
    ] {
        let Some(table) = print_table(&network, more) else {
            return;
        };
        for _ in 0..2 {
            if let Err(why) = here.nft(&table) {
                // Only where there is no nft at all may this go no further.
                assert!(why.contains("cannot be run"), "{more:?}: {why}\n{table}");
                return skip("nftables", &why);
            }
        }
    }
    here.nft("delete table inet sidebearer").unwrap();
    assert!(
        here.nft("delete table inet sidebearer").is_err(),
        "nothing is left"
    );
}

#[test]
fn nothing_is_printed_beside_other_chains_that_redirect() {
    let Some(network) = Network::lay() else {
        return;
    };
    if print_table(&network, &[]).is_none() {
        return;
    }
    network.here.nft(OTHER_CHAIN).unwrap();
    let (code, printed, said) = print(&network, &[]);
    assert_eq!((code, &*printed), (Some(1), ""));
    assert!(said.contains("chain OUTPUT of table ip nat"), "{said}");
    let (code, printed, said) = print(&network, &["--elsewhere"]);
    assert_eq!((code, &*said), (Some(0), ""));
    assert!(
        printed.starts_with('#') && printed.contains("table inet sidebearer {"),
        "{printed}"
    );
}
