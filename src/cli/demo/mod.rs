//! `sidebearer demo`: an authorization server, a protected API, and the configuration that puts
//! sidebearer between them; everything on loopback, in files of its own.

mod api;
mod authorization_server;
mod service;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use self::api::Api;
use self::authorization_server::{DemoAuthorizationServer, random_text};
use super::output::{CommandError, block_on, print};
use super::request::{RequestError, send};
use super::run::serve;
use crate::config::Secret;
use crate::http_client::RequestErrorKind;

const CLIENT_ID: &str = "demo-client";

/// Ports of sidebearer and its admin, as in the manual.
pub const USUAL_PORTS: [u16; 2] = [7080, 7090];

/// How long `--once` waits for sidebearer to listen, and then for the answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both services running, and the files that make sidebearer use them. Dropping it stops the
/// services and removes the files.
#[derive(Debug)]
pub struct Demo {
    /// The configuration for sidebearer.
    pub config_path: PathBuf,
    /// Where sidebearer will take requests.
    pub proxy_url: Url,
    /// Where its admin will listen.
    pub admin_url: Url,
    /// The protected API.
    pub api_url: Url,
    /// The authorization server.
    pub issuer: Url,
    _services: JoinSet<()>,
    _directory: Directory,
}

/// The whole command.
pub(super) fn start(once: bool) -> Result<(), CommandError> {
    block_on(async {
        let demo = prepare(USUAL_PORTS).await?;
        match run(demo, once, serve_file).await {
            // Someone took a port since it was seen free.
            Err(CommandError::Bind(_)) => run(prepare([0, 0]).await?, once, serve_file).await,
            ended => ended,
        }
    })?
}

async fn serve_file(path: &Path) -> Result<(), CommandError> {
    serve(path.into()).await
}

/// Runs `sidebearer` with the configuration at the path it is given, and cleans up when that
/// ends, as it does on Ctrl-C. With `once`, sends one request through, prints the answer and
/// drops it.
///
/// # Errors
/// What failed: sidebearer, or with `once` the request.
pub async fn run(
    demo: Demo,
    once: bool,
    sidebearer: impl AsyncFnOnce(&Path) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    if !once {
        print(demo.guide())?;
        return sidebearer(&demo.config_path).await;
    }
    let mut serving = pin!(sidebearer(&demo.config_path));
    tokio::select! {
        ended = &mut serving => {
            ended?;
            Err(CommandError::Failed("sidebearer ended before it answered".to_owned()))
        }
        answer = demo.ask() => print(answer?),
    }
}

/// Starts both services on the current runtime and writes the files. Sidebearer and its admin
/// are to listen on `ports`, or on free ones where these are taken.
///
/// # Errors
/// When a socket cannot be bound, or a file or a key cannot be made.
pub async fn prepare(ports: [u16; 2]) -> Result<Demo, CommandError> {
    let (issuer_listener, issuer) = listen().await?;
    let (api_listener, api_url) = listen().await?;
    let [proxy_url, admin_url] = pick_ports(ports).await?;

    let secret = Secret::new(random_text()?);
    // An issuer is compared as text: no slash at its end.
    let name = issuer.as_str().trim_end_matches('/');
    let server =
        DemoAuthorizationServer::new(name.to_owned(), CLIENT_ID.to_owned(), secret.clone())?;
    let server = Arc::new(server);
    let api = Api::new(name, server.public_key())?;

    let directory = Directory::create()?;
    directory.write("client-secret", secret.expose())?;
    let config = configuration(&proxy_url, &admin_url, &api_url, &issuer);
    let config_path = directory.write("sidebearer.toml", &config)?;

    let mut services = JoinSet::new();
    services.spawn(service::serve(issuer_listener, move |head, body| {
        server.answer(head, body)
    }));
    services.spawn(service::serve(api_listener, move |head, body| {
        api.answer(head, body)
    }));
    Ok(Demo {
        config_path,
        proxy_url,
        admin_url,
        api_url,
        issuer,
        _services: services,
        _directory: directory,
    })
}

impl Demo {
    /// What to try.
    pub fn guide(&self) -> String {
        let Self {
            proxy_url,
            admin_url,
            api_url,
            issuer,
            ..
        } = self;
        let config = self.config_path.display();
        format!(
            "\
The demo runs; everything is on loopback.

  you --> sidebearer {proxy_url} --> protected API {api_url}
              |
              +--> authorization server {issuer}, tokens live 30 s

Through sidebearer, without a token of your own: 200
  curl -i {proxy_url}hello

Straight to the API, without a token: 401
  curl -i {api_url}hello

The configuration is this file; it reloads when it changes:
  {config}
Its last lines are a second route, commented out. This puts it in:
  sed -i 's/^#+ //' {config}
and now /bare goes to the API without a token: 401, and /hello still works:
  curl -i {proxy_url}bare

What sidebearer says about itself:
  curl {admin_url}status
  curl {admin_url}metrics

Ctrl-C ends the demo and removes its files.
"
        )
    }

    /// Sends one request through sidebearer, as soon as it listens.
    async fn ask(&self) -> Result<String, CommandError> {
        let url = self.proxy_url.join("hello").map_err(|error| {
            CommandError::Failed(format!("{}hello is no URL: {error}", self.proxy_url))
        })?;
        let answer = async {
            loop {
                match send(Method::GET, &url, PATIENCE).await {
                    Err(RequestError::Http(error))
                        if error.kind == RequestErrorKind::Unreachable =>
                    {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    answer => return answer,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok((StatusCode::OK, text))) => Ok(text),
            Ok(Ok((status, text))) => Err(CommandError::Failed(format!("{url}: {status}\n{text}"))),
            Ok(Err(reason)) => Err(CommandError::Failed(format!("{url}: {reason}"))),
            Err(_) => Err(CommandError::Failed(format!(
                "{url}: no answer in {PATIENCE:?}"
            ))),
        }
    }
}

fn configuration(proxy: &Url, admin: &Url, api: &Url, issuer: &Url) -> String {
    let (proxy, admin) = (proxy.authority(), admin.authority());
    let (api, issuer) = (api.as_str().trim_end_matches('/'), issuer.as_str());
    let audience = authorization_server::AUDIENCE;
    format!(
        r##"# The configuration of the running demo. Save a change and it is in use.

[server]
drain_timeout = "1s"                 # Ctrl-C waits this long for requests in flight

[log]
access = "all"                       # one line for each request

[admin]
address = "{admin}"

# Requests arrive here and all go to one upstream ...
[[listeners]]
name = "app"
address = "{proxy}"
upstream = "api"

# ... which is protected, so they get a token on the way ...
[upstreams.api]
url = "{api}"
credential = "demo"

# ... that comes from here. It lives 30 s and is renewed before it ends.
# Try another audience: the API refuses the token, and says so.
[credentials.demo]
token_endpoint = "{issuer}token"
client_id = "{CLIENT_ID}"
client_secret = {{ file = "client-secret" }}
scopes = ["read"]
audience = "{audience}"

# The same API, reached without a token. Remove the "#+ " to see a reload.
#+ [[routes]]
#+ path = "/bare"
#+ upstream = "bare"
#+
#+ [upstreams.bare]
#+ url = "{api}"
"##
    )
}

async fn listen() -> Result<(TcpListener, Url), CommandError> {
    let listener = bind(0).await?;
    let url = url_of(&listener)?;
    Ok((listener, url))
}

/// Addresses nobody listens on: with these ports where they are free. Both are held until both
/// are known, so that they differ.
async fn pick_ports(ports: [u16; 2]) -> Result<[Url; 2], CommandError> {
    let mut listeners = Vec::new();
    for port in ports {
        listeners.push(match bind(port).await {
            Ok(listener) => listener,
            Err(_) => bind(0).await?,
        });
    }
    Ok([url_of(&listeners[0])?, url_of(&listeners[1])?])
}

async fn bind(port: u16) -> Result<TcpListener, CommandError> {
    let failed = |error: io::Error| CommandError::Failed(format!("cannot listen: {error}"));
    TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)
}

fn url_of(listener: &TcpListener) -> Result<Url, CommandError> {
    let address = listener
        .local_addr()
        .map_err(|error| CommandError::Failed(format!("cannot listen: {error}")))?;
    Ok(Url::parse(&format!("http://{address}/")).expect("an address makes a URL"))
}

/// A private directory that is removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self, CommandError> {
        let name = format!("sidebearer-demo-{}", random_text()?);
        let path = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, CommandError> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        match options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
        {
            Ok(()) => Ok(path),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is only a leftover.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Failed(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
