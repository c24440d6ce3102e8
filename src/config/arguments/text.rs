//! The text that a file would have.

use std::ops::Range;

use url::{Host, Url};

use super::given::{Argument, Arguments};
use super::keys::{ArgumentForm, ArgumentTable, SECRET_VARIABLE_OF_FILE};

/// What upstream and credential are called where the host of the API gives no name.
const ANY_NAME: &str = "api";

/// The text, and which part of it which argument has said.
pub(in crate::config) struct ArgumentText {
    pub(in crate::config) text: String,
    pub(in crate::config) arguments: Arguments,
    /// What upstream and credential are called.
    pub(in crate::config) name: String,
    said: Vec<SaidText>,
    /// Whether it will stand in some directory.
    is_for_file: bool,
}

/// A part of the text that an argument has said.
pub(in crate::config) struct SaidText {
    pub(in crate::config) argument: Argument,
    pub(super) span: Range<usize>,
}

impl ArgumentText {
    pub(in crate::config) fn new(arguments: &Arguments) -> Self {
        Self::of(arguments, false)
    }

    fn of(arguments: &Arguments, is_for_file: bool) -> Self {
        let mut this = Self {
            is_for_file,
            text: String::new(),
            arguments: arguments.clone(),
            name: name(arguments),
            said: Vec::new(),
        };
        let name = this.name.clone();
        this.table("[[listeners]]", ArgumentTable::Listener);
        this.line("upstream", &quoted(&name));
        this.table(&format!("\n[upstreams.{name}]"), ArgumentTable::Upstream);
        this.line("credential", &quoted(&name));
        this.tls(ArgumentTable::UpstreamTls);
        this.table(
            &format!("\n[credentials.{name}]"),
            ArgumentTable::Credential,
        );
        if arguments.get("private-key-file").is_some() && arguments.get("auth-method").is_none() {
            this.line("auth_method", &quoted("private_key_jwt"));
        }
        this.tls(ArgumentTable::CredentialTls);
        if arguments.get("admin").is_some() {
            this.table("\n[admin]", ArgumentTable::Admin);
        }
        this
    }

    /// What an argument has said at a place.
    pub(in crate::config) fn said_at(&self, at: usize) -> Option<&SaidText> {
        self.said.iter().find(|said| said.span.contains(&at))
    }

    fn table(&mut self, header: &str, table: ArgumentTable) {
        self.text += header;
        self.text.push('\n');
        for argument in self.of_table(table) {
            let (key, value) = (argument.key.key, self.value(&argument));
            self.said(argument, |this| this.line(key, &value));
        }
    }

    /// Only where TLS is spoken, unless it is spoken nowhere, which is a mistake.
    fn tls(&mut self, table: ArgumentTable) {
        let is_plain = |names: &[&str]| {
            let mut urls = names.iter().filter_map(|name| self.arguments.get(name));
            urls.any(|url| begins_plain(&url.value))
        };
        let of_upstream = is_plain(&["upstream"]);
        let of_credential = is_plain(&["token-endpoint", "issuer"]);
        let without_effect = match table {
            ArgumentTable::UpstreamTls => of_upstream && !of_credential,
            _ => of_credential && !of_upstream,
        };
        if without_effect {
            return;
        }
        for argument in self.of_table(table) {
            let value = format!("{{ {} = {} }}", argument.key.key, self.value(&argument));
            self.said(argument, |this| this.line("tls", &value));
        }
    }

    fn of_table(&self, table: ArgumentTable) -> Vec<Argument> {
        let arguments = self.arguments.iter();
        let arguments = arguments.filter(|argument| argument.key.tables.contains(&table));
        arguments.cloned().collect()
    }

    fn said(&mut self, argument: Argument, write: impl FnOnce(&mut Self)) {
        let start = self.text.len();
        write(self);
        let span = start..self.text.len();
        self.said.push(SaidText { argument, span });
    }

    fn line(&mut self, key: &str, value: &str) {
        self.text += &format!("{key} = {value}\n");
    }
}

/// The first label of the host of the API, which tells several processes apart in logs and metrics.
fn name(arguments: &Arguments) -> String {
    let url = arguments.get("upstream");
    let url = url.and_then(|url| Url::parse(&url.value).ok());
    let label = url.as_ref().and_then(|url| match url.host()? {
        Host::Domain(domain) => domain.split('.').next(),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    });
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label = label.filter(|label| !label.is_empty() && label.chars().all(in_name));
    label.unwrap_or(ANY_NAME).to_owned()
}

fn begins_plain(url: &str) -> bool {
    const PLAIN: &str = "http://";
    url.get(..PLAIN.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PLAIN))
}

impl ArgumentText {
    /// What stands behind the equals sign.
    fn value(&self, argument: &Argument) -> String {
        let said = argument.value.as_str();
        match argument.key.form {
            ArgumentForm::Text => quoted(said),
            ArgumentForm::Address => match said.strip_prefix("unix:") {
                Some(path) if !path.is_empty() && !path.starts_with('@') => {
                    quoted(&format!("unix:{}", absolute(path)))
                }
                _ => quoted(said),
            },
            ArgumentForm::Flag if said == "true" || said == "false" => said.to_owned(),
            ArgumentForm::Flag => quoted(said),
            ArgumentForm::Words => {
                let words: Vec<_> = said.split_whitespace().map(quoted).collect();
                format!("[{}]", words.join(", "))
            }
            ArgumentForm::Path => quoted(&absolute(said)),
            // What is no path may be the secret itself. Nothing is put before it by which it would pass for one.
            ArgumentForm::SecretFile if !self.is_for_file && !said.contains('/') => {
                format!("{{ file = {} }}", quoted(said))
            }
            ArgumentForm::SecretFile => format!("{{ file = {} }}", quoted(&absolute(said))),
            ArgumentForm::SecretVariable if self.is_for_file => {
                format!("{{ env = {} }}", quoted(SECRET_VARIABLE_OF_FILE))
            }
            ArgumentForm::SecretVariable => {
                format!("{{ env = {} }}", quoted(argument.key.variable))
            }
        }
    }
}

/// A path that means the same wherever the file will be.
fn absolute(path: &str) -> String {
    let whole = std::path::absolute(path);
    let whole = whole
        .ok()
        .and_then(|whole| whole.into_os_string().into_string().ok());
    // The current directory may have a name that no TOML can hold.
    whole.unwrap_or_else(|| path.to_owned())
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl Arguments {
    /// The file that says the same, whatever directory it is put in.
    pub fn to_toml(&self) -> String {
        ArgumentText::of(self, true).text
    }
}
