# Debian's wget is built with GnuTLS, and reads no variable for what it trusts.
for url; do
  wget -nv -O answer --tries 1 --timeout 30 --ca-certificate "$SSL_CERT_FILE" ${BODY_FILE:+--post-file "$BODY_FILE"} "$url"
  printf '%s\t200\n' "$(cat answer)"
done
