// What sidebearer talks to here, on one port: an authorization server whose tokens live 24 s, an issuer of callers' tokens,
// what a Kubernetes API server says of its own, and an API that answers everything else.
//
// usage: node fakes.mjs DIR
// DIR/fakes.port appears once it listens. POST /outage/begin ends every request to /token without an answer until
// POST /outage/end; those to /other/token are answered.
import { generateKeyPairSync } from "node:crypto";
import { renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const TOKEN_LIFETIME = 24; // seconds

const [dir] = process.argv.slice(2);
const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const keys = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "1", alg: "ES256", use: "sig" }] };
let outage = false;

const server = createServer((request, response) => {
  const json = (body) => response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  request.resume().on("end", () => {
    const here = `http://${request.headers.host}`;
    switch (request.url) {
      case "/outage/begin":
      case "/outage/end":
        outage = request.url.endsWith("begin");
        return json({ outage });
      case "/token":
        if (outage) return request.socket.destroy();
      // falls through
      case "/other/token":
        return json({ access_token: `token-${Date.now()}`, token_type: "Bearer", expires_in: TOKEN_LIFETIME });
      case "/issuer/.well-known/openid-configuration":
        return json({ issuer: `${here}/issuer`, jwks_uri: `${here}/jwks` });
      case "/.well-known/openid-configuration":
        return json({ issuer: here, jwks_uri: `${here}/openid/v1/jwks` });
      case "/jwks":
      case "/openid/v1/jwks":
        return json(keys);
      default:
        return json({ path: request.url });
    }
  });
});

server.listen(0, "127.0.0.1", () => {
  writeFileSync(`${dir}/fakes.port.new`, `${server.address().port}\n`);
  renameSync(`${dir}/fakes.port.new`, `${dir}/fakes.port`);
});
