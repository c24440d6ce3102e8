//! What the files are called that clients are given, so that they trust a CA.

/// The roots of ours alone.
pub const CA_FILE: &str = "ca.pem";
/// Ours and all others.
pub const BUNDLE_FILE: &str = "bundle.pem";
/// The same for Java (PKCS#12).
pub const TRUSTSTORE_FILE: &str = "truststore.p12";
/// Sets the variables, for a shell.
pub const SHELL_FILE: &str = "env.sh";

/// All of them.
pub const TRUST_FILES: [&str; 4] = [CA_FILE, BUNDLE_FILE, TRUSTSTORE_FILE, SHELL_FILE];
