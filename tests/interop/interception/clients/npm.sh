# Installs a package; with $BODY_FILE publishes one that has it inside.
for url; do
  rm -rf package
  mkdir package
  cd package
  registry=${url%/*}/npm/
  printf '%s\n' "registry=$registry" fetch-retries=0 audit=false fund=false update-notifier=false loglevel=error >.npmrc
  if [ -n "$BODY_FILE" ]; then
    # It publishes only with a token of its own.
    echo "${registry#https:}:_authToken=its-own" >>.npmrc
    printf '{"name":"hello","version":"1.0.1"}' >package.json
    cp "$BODY_FILE" .
    npm publish --cache ../cache >../log
  else
    printf '{"name":"user","version":"1.0.0"}' >package.json
    npm install --cache ../cache --prefer-online hello >../log
    grep -q 'It is served' node_modules/hello/index.js
  fi
  cd ..
  printf '{"tool":"npm"}\t200\n'
done
