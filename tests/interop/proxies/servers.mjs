// What stands behind the proxies: an API over https (HTTP/1.1 and HTTP/2), over http and over HTTP/2 without TLS, each
// of which also issues tokens at /token; and a proxy that leads nowhere and says PROXY. Prints their ports.
//
// usage: node servers.mjs CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createSecureServer, createServer as createHttp2Server } from "node:http2";

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));

function answer(request, response) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const token = { access_token: "token-of-the-test", token_type: "Bearer", expires_in: 3600 };
    const seen = {
      version: request.httpVersion,
      authorization: request.headers.authorization ?? "",
      proxy_authorization: request.headers["proxy-authorization"] ?? "",
      length: Buffer.concat(chunks).length,
    };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(request.url === "/token" ? token : seen));
  });
}

const servers = [
  createSecureServer({ cert, key, allowHTTP1: true }, answer),
  createServer(answer),
  createHttp2Server(answer),
  createServer((_, response) => response.end("PROXY")),
];
await Promise.all(servers.map((server) => new Promise((done) => server.listen(0, "127.0.0.1", done))));
console.log(servers.map((server) => server.address().port).join(" "));
