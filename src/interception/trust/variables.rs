//! The variables by which runtimes find the roots that they trust.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::files::put;
use super::java::{JAVA_OPTIONS, JAVA_TUNNEL_SCHEMES, with_java_options};
use super::truststore::PASSWORD;
use crate::ca::{BUNDLE_FILE, CA_FILE, TRUSTSTORE_FILE};

/// The variables that name the file with all roots. Node and Deno add them to those that they bring along, so that they
/// trust what every other runtime does, the CAs of a company too.
const VARIABLES: [&str; 10] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
];

/// No list of roots is longer.
const MOST_BYTES: u64 = 16 << 20;

/// The variables of `env.sh` and their values for a program that would inherit `inherited`. A file that an inherited
/// variable names goes on to count: the value is then a file in `directory` with what both hold. Options for Java are
/// appended to those inherited. `directory` has been [written](super::write()). Blocks.
///
/// # Errors
/// A file that is named cannot be read, or the one with both cannot be written.
pub fn variables(
    directory: &Path,
    inherited: impl Fn(&str) -> Option<OsString>,
) -> io::Result<Vec<(&'static str, OsString)>> {
    let mut variables = Vec::with_capacity(VARIABLES.len() + 1);
    let ours = directory.join(BUNDLE_FILE);
    for variable in VARIABLES {
        let named = inherited(variable).filter(|named| !named.is_empty() && *named != ours);
        let path = match named {
            None => ours.clone(),
            Some(named) => joined(directory, variable, &PathBuf::from(named))?,
        };
        variables.push((variable, path.into_os_string()));
    }
    let options = inherited(JAVA_OPTIONS).unwrap_or_default();
    let options = with_java_options(options, &java_options(directory));
    variables.push((JAVA_OPTIONS, options));
    Ok(variables)
}

/// A file in `directory` with what `named` holds, and our roots.
fn joined(directory: &Path, variable: &str, named: &Path) -> io::Result<PathBuf> {
    let failed = |error: io::Error| {
        let message = format!("{variable}: {}: {error}", named.display());
        io::Error::new(error.kind(), message)
    };
    let mut content = roots_at(named).map_err(failed)?;
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    content.extend(fs::read(directory.join(CA_FILE))?);
    let name = format!("{variable}.pem");
    put(directory, &name, &content)?;
    Ok(directory.join(name))
}

/// The certificates that a program finds at a path: those of a file, or those of the files of a directory, such as Python's
/// requests and curl take it. None if there is nothing: the program would find none either.
fn roots_at(path: &Path) -> io::Result<Vec<u8>> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    if !found.is_dir() {
        return file_of_roots(path, MOST_BYTES);
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(path)?.collect();
    let mut files: Vec<_> = entries?.iter().map(fs::DirEntry::path).collect();
    files.sort_unstable();
    let mut all = Vec::new();
    for file in files {
        let left = MOST_BYTES - all.len() as u64;
        // A file that cannot be read is none for the program either.
        let Ok(content) = file_of_roots(&file, left) else {
            continue;
        };
        if memchr::memmem::find(&content, b"-----BEGIN CERTIFICATE-----").is_some() {
            all.extend(content);
            all.push(b'\n');
        }
    }
    Ok(all)
}

fn file_of_roots(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() >= most {
        return Err(io::Error::other(
            "it is no file with certificates of up to 16 MiB, and no directory of such files",
        ));
    }
    fs::read(path)
}

/// The options by which Java trusts the roots in `directory`, and sends credentials to a proxy over CONNECT, in the
/// form in which [`JAVA_OPTIONS`] has them.
fn java_options(directory: &Path) -> [OsString; 4] {
    let mut truststore = OsString::from("-Djavax.net.ssl.trustStore=");
    truststore.push(quoted_for_java(directory.join(TRUSTSTORE_FILE).as_os_str()));
    [
        truststore,
        "-Djavax.net.ssl.trustStoreType=PKCS12".into(),
        format!("-Djavax.net.ssl.trustStorePassword={PASSWORD}").into(),
        JAVA_TUNNEL_SCHEMES.into(),
    ]
}

/// Java takes white space for the end of an option, and quotes away.
fn quoted_for_java(text: &OsStr) -> OsString {
    let is_plain = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'\'' | b'"');
    if text.as_bytes().iter().all(is_plain) {
        return text.to_owned();
    }
    quoted(text, b"'\"'\"'")
}

/// A word that a shell takes as it is.
fn quoted_for_shell(text: &OsStr) -> OsString {
    quoted(text, b"'\\''")
}

/// `text` in single quotes; those in it are written as `quote`.
fn quoted(text: &OsStr, quote: &[u8]) -> OsString {
    let mut bytes = vec![b'\''];
    for byte in text.as_bytes() {
        match byte {
            b'\'' => bytes.extend(quote),
            byte => bytes.push(*byte),
        }
    }
    bytes.push(b'\'');
    OsString::from_vec(bytes)
}

/// What sets the variables in a POSIX shell.
pub(super) fn shell(directory: &Path) -> OsString {
    let mut text = OsString::from(
        "# Makes programs that are started from this shell trust the CA of sidebearer.\n",
    );
    let bundle = quoted_for_shell(directory.join(BUNDLE_FILE).as_os_str());
    for variable in VARIABLES {
        text.push(format!("export {variable}="));
        text.push(&bundle);
        text.push("\n");
    }
    // What is there stays. Read a second time, it is not added again.
    let options = with_java_options(OsString::new(), &java_options(directory));
    let options = quoted_for_shell(&options);
    text.push("case \" ${JAVA_TOOL_OPTIONS-} \" in\n  *' '");
    text.push(&options);
    text.push(
        "' '*) ;;\n  *) export JAVA_TOOL_OPTIONS=\"${JAVA_TOOL_OPTIONS:+$JAVA_TOOL_OPTIONS }\"",
    );
    text.push(&options);
    text.push(" ;;\nesac\n");
    text
}
