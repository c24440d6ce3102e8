// Git's own server, `git http-backend`, which is a CGI program (RFC 3875).
import { spawn } from "node:child_process";
import { buffer } from "node:stream/consumers";

export async function git(dir, request, response, body) {
  const { pathname, search } = new URL(request.url, "https://localhost");
  const program = spawn("git", ["http-backend"], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: dir,
      GIT_HTTP_EXPORT_ALL: "1",
      REQUEST_METHOD: request.method,
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      CONTENT_LENGTH: String(body.length),
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      GIT_PROTOCOL: request.headers["git-protocol"] ?? "",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  program.stdin.on("error", () => {}); // it does not read what it does not need
  program.stdin.end(body);
  const output = await buffer(program.stdout);
  const end = output.indexOf("\r\n\r\n");
  let status = 200;
  for (const line of output.subarray(0, end).toString().split("\r\n")) {
    const [name, value] = line.split(": ");
    if (name === "Status") status = Number.parseInt(value);
    else response.setHeader(name, value);
  }
  response.writeHead(status).end(output.subarray(end + 4));
}
