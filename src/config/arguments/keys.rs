//! Which keys of a configuration can be given without a file.

/// The variable that may hold the secret of the client itself.
pub const SECRET_VARIABLE: &str = "SIDEBEARER_CLIENT_SECRET";

/// The variable that a file written by `init` names for the secret. It cannot be [`SECRET_VARIABLE`], which is an error beside
/// a file.
pub const SECRET_VARIABLE_OF_FILE: &str = "CLIENT_SECRET";

/// A key of a configuration as an argument or an environment variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentKey {
    /// As an argument, without its dashes.
    pub name: &'static str,
    /// As an environment variable.
    pub variable: &'static str,
    /// What stands for its value in a help text.
    pub value_name: &'static str,
    /// What it is for.
    pub help: &'static str,
    pub(super) tables: &'static [ArgumentTable],
    pub(super) key: &'static str,
    pub(super) form: ArgumentForm,
}

/// The table of a configuration that a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentTable {
    Listener,
    Upstream,
    Credential,
    Admin,
    UpstreamTls,
    CredentialTls,
}

/// How the value is written in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentForm {
    Text,
    /// An address; a path in it is relative to the current directory.
    Address,
    /// `true` or `false`.
    Flag,
    /// Words with spaces between them.
    Words,
    /// A path, relative to the current directory.
    Path,
    /// A secret in a file, likewise.
    SecretFile,
    /// A secret in the variable itself. There is no argument for it.
    SecretVariable,
}

impl ArgumentKey {
    /// As an argument; as a variable, if it can be nothing else.
    pub fn flag(&self) -> String {
        if self.is_variable_only() {
            self.variable.to_owned()
        } else {
            format!("--{}", self.name)
        }
    }

    /// Whether there is no argument for it, since other users of the machine can read those.
    pub fn is_variable_only(&self) -> bool {
        self.form == ArgumentForm::SecretVariable
    }

    /// Whether it needs no value.
    pub fn is_switch(&self) -> bool {
        self.form == ArgumentForm::Flag
    }
}

const fn argument_key(
    (name, variable): (&'static str, &'static str),
    (tables, key): (&'static [ArgumentTable], &'static str),
    (form, value_name): (ArgumentForm, &'static str),
    help: &'static str,
) -> ArgumentKey {
    ArgumentKey {
        name,
        variable,
        value_name,
        help,
        tables,
        key,
        form,
    }
}

/// All of them, in the order in which a file has them.
pub static ARGUMENT_KEYS: [ArgumentKey; 14] = {
    use ArgumentForm::{Address, Flag, Path, SecretFile, SecretVariable, Text, Words};
    use ArgumentTable::{Admin, Credential, CredentialTls, Listener, Upstream, UpstreamTls};
    [
        argument_key(
            ("listen", "SIDEBEARER_LISTEN"),
            (&[Listener], "address"),
            (Address, "ADDRESS"),
            "Where the requests of the service arrive: IP address and port, or unix:PATH",
        ),
        argument_key(
            ("allow-network", "SIDEBEARER_ALLOW_NETWORK"),
            (&[Listener], "allow_network"),
            (Flag, "true|false"),
            "Let everyone who reaches an address of the network use the token",
        ),
        argument_key(
            ("upstream", "SIDEBEARER_UPSTREAM"),
            (&[Upstream], "url"),
            (Text, "URL"),
            "The API",
        ),
        argument_key(
            ("token-endpoint", "SIDEBEARER_TOKEN_ENDPOINT"),
            (&[Credential], "token_endpoint"),
            (Text, "URL"),
            "The URL that issues tokens",
        ),
        argument_key(
            ("issuer", "SIDEBEARER_ISSUER"),
            (&[Credential], "issuer"),
            (Text, "URL"),
            "In place of it: the issuer, whose token endpoint is found by discovery",
        ),
        argument_key(
            ("client-id", "SIDEBEARER_CLIENT_ID"),
            (&[Credential], "client_id"),
            (Text, "ID"),
            "The identifier of the client",
        ),
        argument_key(
            ("auth-method", "SIDEBEARER_AUTH_METHOD"),
            (&[Credential], "auth_method"),
            (Text, "METHOD"),
            "How the client authenticates; default: private_key_jwt with a private key, else client_secret_basic",
        ),
        argument_key(
            ("client-secret-file", "SIDEBEARER_CLIENT_SECRET_FILE"),
            (&[Credential], "client_secret"),
            (SecretFile, "PATH"),
            "The file with the secret of the client, which is read again when it changes",
        ),
        argument_key(
            ("client-secret", SECRET_VARIABLE),
            (&[Credential], "client_secret"),
            (SecretVariable, "SECRET"),
            "The secret of the client",
        ),
        argument_key(
            ("private-key-file", "SIDEBEARER_PRIVATE_KEY_FILE"),
            (&[Credential], "private_key"),
            (SecretFile, "PATH"),
            "The file with the private key of the client: PEM or JWK",
        ),
        argument_key(
            ("scopes", "SIDEBEARER_SCOPES"),
            (&[Credential], "scopes"),
            (Words, "\"SCOPE ...\""),
            "The scopes that are requested, with spaces between them",
        ),
        argument_key(
            ("audience", "SIDEBEARER_AUDIENCE"),
            (&[Credential], "audience"),
            (Text, "TEXT"),
            "The parameter audience of token requests",
        ),
        argument_key(
            ("ca-file", "SIDEBEARER_CA_FILE"),
            (&[UpstreamTls, CredentialTls], "ca_file"),
            (Path, "PATH"),
            "CA certificates in PEM, in place of those of the system, for the API and the authorization server",
        ),
        argument_key(
            ("admin", "SIDEBEARER_ADMIN"),
            (&[Admin], "address"),
            (Text, "ADDRESS"),
            "Where operators look; default: 127.0.0.1:7090",
        ),
    ]
};
