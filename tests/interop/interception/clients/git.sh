# Clones over HTTP, and with $BODY_FILE pushes it too.
for url; do
  rm -rf clone trace
  GIT_TRACE_CURL=$PWD/trace GIT_TRACE_CURL_NO_DATA=1 git clone -q "${url%/*}/repo.git" clone
  grep -q 'It is served' clone/readme
  if [ -n "$BODY_FILE" ]; then
    cp "$BODY_FILE" clone/body
    git -C clone add body
    git -C clone -c user.name=interop -c user.email=interop@example.com commit -q -m "Add the body"
    git -C clone push -q origin HEAD:refs/heads/pushed
  fi
  printf '{"tool":"git"}\t200\t%s\n' "$(grep -o 'HTTP/[0-9.]* 200' trace | tail -n 1 | cut -d ' ' -f 1)"
done
