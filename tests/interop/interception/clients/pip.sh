# Installs a package, which is all that pip asks an index for.
for url; do
  rm -rf site
  "$PIP" install --disable-pip-version-check --no-cache-dir --retries 0 --index-url "${url%/*}/simple/" --target site hello >&2
  grep -q 'It is served' site/hello.py
  printf '{"tool":"pip"}\t200\n'
done
