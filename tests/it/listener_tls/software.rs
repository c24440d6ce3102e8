//! curl and openssl, with certificates that openssl has made.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{NAME, Site, forward::SecureProxy};
use crate::support::{server, skip};

/// Whether both programs are there; says so if not.
fn is_there() -> bool {
    let there = ["curl", "openssl"].iter().all(|program| {
        let version = Command::new(program).arg("version").output();
        version.is_ok()
    });
    if !there {
        skip("curl and openssl", "one of them is missing");
    }
    there
}

/// Runs a program to its end, in this directory.
async fn run(dir: &Path, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir);
    command.stdin(Stdio::null());
    for variable in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.unwrap().unwrap()
}

async fn openssl(dir: &Path, arguments: &[&str]) {
    let output = run(dir, "openssl", arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
}

/// A CA `clients.pem`, and certificates `a.pem` and `b.pem` of it with SPIFFE IDs, as an operator makes them.
async fn make_clients(dir: &Path) {
    let files = [
        (
            "ca.cnf",
            "[ca]\ndefault_ca = clients\n[clients]\ndatabase = index.txt\nserial = serial\ncrlnumber = crlnumber\n\
             new_certs_dir = .\ncertificate = clients.pem\nprivate_key = clients.key\ndefault_md = sha256\n\
             default_days = 30\ndefault_crl_days = 30\npolicy = any\n[any]\ncommonName = optional\n",
        ),
        ("index.txt", ""),
        ("serial", "1000\n"),
        ("crlnumber", "1000\n"),
        (
            "a.cnf",
            "subjectAltName = URI:spiffe://corp.example/ns/a/sa/app\nextendedKeyUsage = clientAuth\n",
        ),
        (
            "b.cnf",
            "subjectAltName = URI:spiffe://corp.example/ns/b/sa/app\nextendedKeyUsage = clientAuth\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let root = [
        &["req", "-x509"][..],
        &key,
        &[
            "-keyout",
            "clients.key",
            "-out",
            "clients.pem",
            "-subj",
            "/CN=clients",
            "-days",
            "30",
        ],
    ];
    openssl(dir, &root.concat()).await;
    for name in ["a", "b"] {
        let file = |end: &str| format!("{name}.{end}");
        let (secret, request) = (file("key"), file("csr"));
        let subject = format!("/CN={name}");
        let ask = [
            &["req", "-new"][..],
            &key,
            &["-keyout", &secret, "-out", &request, "-subj", &subject],
        ];
        openssl(dir, &ask.concat()).await;
        let (out, extensions) = (file("pem"), file("cnf"));
        let sign = [
            "ca",
            "-batch",
            "-config",
            "ca.cnf",
            "-notext",
            "-in",
            &request,
            "-out",
            &out,
            "-extfile",
            &extensions,
        ];
        openssl(dir, &sign).await;
    }
    openssl(
        dir,
        &["ca", "-config", "ca.cnf", "-gencrl", "-out", "clients.crl"],
    )
    .await;
}

/// A listener that demands these certificates.
async fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    make_clients(dir.path()).await;
    let tls = ", client_ca_file = \"clients.pem\", client_crl_file = \"clients.crl\", client_certificates = \"required\"";
    let site = Site::start_with(tls, "", |to, _| {
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    });
    std::fs::write(site.sidebearer.dir().join("server-ca.pem"), &site.ca.pem).unwrap();
    site
}

/// What curl gets of a site; an error if it gets nothing.
async fn curl(site: &Site, arguments: &[&str]) -> Result<String, String> {
    let port = site.address().port();
    let resolve = format!("{NAME}:{port}:{}", site.address().ip());
    let url = format!("https://{NAME}:{port}/");
    let common = ["-sS", "--cacert", "server-ca.pem", "--resolve", &resolve];
    let arguments = [&common[..], arguments, &[&url]].concat();
    let output = run(site.sidebearer.dir(), "curl", &arguments).await;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const A: [&str; 4] = ["--cert", "a.pem", "--key", "a.key"];
const B: [&str; 4] = ["--cert", "b.pem", "--key", "b.key"];

#[tokio::test]
async fn curl_presents_a_certificate_with_a_spiffe_id_in_every_version() {
    if !is_there() {
        return;
    }
    let site = site().await;
    for more in [
        &["--http1.1"][..],
        &["--http2"],
        &["--http1.1", "--tls-max", "1.2"],
        &["--http2", "--tls-max", "1.2"],
    ] {
        let got = curl(&site, &[&A, more].concat()).await;
        assert_eq!(got.as_deref(), Ok("ok"), "{more:?}");
    }
    curl(&site, &[]).await.unwrap_err();
    let versions = ["-w", "%{http_version}", "-o", "/dev/null"];
    let got = curl(&site, &[&A[..], &versions].concat()).await;
    assert_eq!(got.as_deref(), Ok("2"));
}

#[tokio::test]
async fn what_openssl_revokes_is_refused_after_the_reload() {
    if !is_there() {
        return;
    }
    let site = site().await;
    let dir = site.sidebearer.dir();
    assert_eq!(curl(&site, &B).await.as_deref(), Ok("ok"));
    openssl(dir, &["ca", "-config", "ca.cnf", "-revoke", "b.pem"]).await;
    openssl(
        dir,
        &["ca", "-config", "ca.cnf", "-gencrl", "-out", "clients.crl"],
    )
    .await;
    site.sidebearer.reload().await.unwrap();
    curl(&site, &B).await.unwrap_err();
    assert_eq!(curl(&site, &A).await.as_deref(), Ok("ok"));
}

#[tokio::test]
async fn openssl_resumes_no_session_where_certificates_count() {
    if !is_there() {
        return;
    }
    let site = site().await;
    let (dir, address) = (site.sidebearer.dir(), site.address().to_string());
    for version in ["-tls1_2", "-tls1_3"] {
        let common = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            NAME,
            "-CAfile",
            "server-ca.pem",
            "-cert",
            "a.pem",
            "-key",
            "a.key",
            version,
            "-ign_eof",
        ];
        let _ = std::fs::remove_file(dir.join("session"));
        let request =
            format!("printf 'GET / HTTP/1.1\\r\\nHost: {NAME}\\r\\nConnection: close\\r\\n\\r\\n'");
        for more in [["-sess_out", "session"], ["-sess_in", "session"]] {
            let arguments = [&common[..], &more].concat().join(" ");
            let line = format!("{request} | openssl {arguments}");
            let output = run(dir, "sh", &["-c", &line]).await;
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(shown.contains("New, TLS"), "{version} {more:?}: {shown}");
            assert!(
                !shown.contains("Reused, TLS"),
                "{version} {more:?}: {shown}"
            );
            assert!(shown.contains("200 OK"), "{version} {more:?}: {shown}");
            if !dir.join("session").exists() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn curl_uses_an_https_proxy() {
    if !is_there() {
        return;
    }
    let far = server::serve(None, |_| async { server::response(200, "far") });
    let proxy = SecureProxy::start(far);
    let dir = proxy.sidebearer.dir();
    std::fs::write(dir.join("server-ca.pem"), &proxy.ca.pem).unwrap();
    let address = proxy.sidebearer.address();
    let resolve = format!("{NAME}:{}:{}", address.port(), address.ip());
    let by = format!("https://{NAME}:{}", address.port());
    let common = [
        "-sS",
        "--proxy",
        &by,
        "--proxy-cacert",
        "server-ca.pem",
        "--resolve",
        &resolve,
    ];
    for more in [
        &["http://plain.example.com/"][..],
        &["--proxytunnel", "http://plain.example.com/"],
    ] {
        let output = run(dir, "curl", &[&common[..], more].concat()).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "ok",
            "{more:?}: {errors}"
        );
    }
}
