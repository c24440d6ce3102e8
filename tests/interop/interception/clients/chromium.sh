# Chromium trusts what the NSS database of its user does, and reads no variable for that. The second argument is the CA of
# servers that are not intercepted; ours lies beside the bundle.
program=$1 outside=$2
shift 2
rm -rf "$HOME/.pki" profile
mkdir -p "$HOME/.pki/nssdb"
certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
certutil -d "sql:$HOME/.pki/nssdb" -A -n outside -t C,, -i "$outside"
certutil -d "sql:$HOME/.pki/nssdb" -A -n sidebearer -t C,, -i "$(dirname "$SSL_CERT_FILE")/ca.pem"
node "$program" profile "$@"
