// Two APIs behind one name each, which take nothing but tokens of the authorization server, and a third server that nobody
// knows and that takes no token: a request that came through sidebearer, and not end to end, is refused there.
//
// "crm" and "pass" speak HTTP/2 and HTTP/1.1, "old" HTTP/1.1 alone. Each answers what it was sent, takes gRPC and WebSockets,
// and is a git server, an index of Python packages and a registry of npm packages.
//
// usage: node servers.mjs DIR ISSUER AUDIENCE
// DIR holds server.pem and server.key; DIR/NAME.port appears once a server listens. Run it with NODE_EXTRA_CA_CERTS
// naming the issuer's CA: the signing keys are fetched over https.
import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";
import { buffer } from "node:stream/consumers";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { WebSocketServer } from "ws";
import { git } from "./git.mjs";
import { npm, pip } from "./packages.mjs";

const LARGEST = 20 * 1024 * 1024; // bytes of a message

const [dir, issuer, audience] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const identity = { cert: readFileSync(`${dir}/server.pem`), key: readFileSync(`${dir}/server.key`) };
const webSockets = new WebSocketServer({ noServer: true, maxPayload: LARGEST });

// Whose token a request brought; null without one.
async function client({ headers, rawHeaders }) {
  const count = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === "authorization").length;
  if (count === 0) return null;
  const [scheme, token] = headers.authorization.split(" ");
  if (scheme !== "Bearer" || count !== 1) throw new Error("not one bearer token");
  // Not one second of grace: a token sent past its expiry must show.
  return (await jwtVerify(token, keys, { issuer, audience, clockTolerance: 0 })).payload.client_id;
}

// What is wrong with the way that a request came; null if nothing is.
async function fault(name, request) {
  const who = await client(request).catch((error) => error);
  if (who instanceof Error) return [401, `the token is not good: ${who.message}`];
  if (name === "pass") {
    if (who !== null) return [400, "a token came to a server that it is not for"];
    return request.headers.via === undefined ? null : [400, "it came through a proxy that read it"];
  }
  if (who !== "crm") return [401, "there is no token"];
  return request.headers.via === undefined ? [400, "it came past sidebearer"] : null;
}

const isGrpc = ({ headers }) => headers["content-type"]?.startsWith("application/grpc");

const seen = (server, request, body) =>
  JSON.stringify({
    server,
    method: request.method,
    url: request.url,
    version: request.httpVersion,
    headers: Object.keys(request.headers),
    sha256: createHash("sha256").update(body).digest("hex"),
  });

// One message, and one in return, with the status in trailers.
function grpc(name, request, response, body) {
  const message = Buffer.from(seen(name, request, body.subarray(5)));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  response.writeHead(200, { "content-type": "application/grpc" });
  response.addTrailers({ "grpc-status": "0" });
  response.end(Buffer.concat([head, message]));
}

async function answer(name, request, response) {
  // First of all: a token has to be good when its request begins.
  const wrong = await fault(name, request);
  const body = await buffer(request);
  if (wrong) {
    console.error(name, request.method, request.url, ...wrong);
    response.writeHead(wrong[0], { "content-type": "text/plain" }).end(wrong[1]);
  } else if (isGrpc(request)) grpc(name, request, response, body);
  else if (request.url.startsWith("/repo.git/")) git(dir, request, response, body);
  else if (request.url.startsWith("/simple/")) pip(dir, request, response);
  else if (request.url.startsWith("/npm/")) npm(dir, request, response, body);
  else response.writeHead(200, { "content-type": "application/json" }).end(seen(name, request, body));
}

async function upgrade(name, request, socket, head) {
  const wrong = await fault(name, request);
  if (wrong) {
    console.error(name, "upgrade", request.url, ...wrong);
    return socket.end(`HTTP/1.1 ${wrong[0]} ${wrong[1]}\r\nContent-Length: 0\r\n\r\n`);
  }
  webSockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSocket.on("message", (message) => webSocket.send(seen(name, request, message)));
  });
}

for (const name of ["crm", "old", "pass"]) {
  const server = name === "old" ? createServer(identity) : createSecureServer({ ...identity, allowHTTP1: true });
  server.on("request", (request, response) =>
    answer(name, request, response).catch((error) => {
      console.error(name, request.method, request.url, error);
      response.destroy();
    }),
  );
  server.on("upgrade", (request, socket, head) => upgrade(name, request, socket, head));
  server.listen(0, "127.0.0.1", () => {
    // Renamed into place, so that a reader of the file sees the whole port.
    writeFileSync(`${dir}/${name}.port.new`, `${server.address().port}\n`);
    renameSync(`${dir}/${name}.port.new`, `${dir}/${name}.port`);
  });
}
