// A protected API: express over https behind express-oauth2-jwt-bearer, which answers 401 with a challenge unless the
// token's signature, type, issuer, audience and expiry hold, and the proof that a bound token needs. Below /nonce proofs
// need a nonce, which changes every second.
//
// It takes WebSockets by the same rule, each of whose messages it answers. Without ISSUER and AUDIENCE it asks for no token.
//
// usage: node api.mjs DIR NAME [ISSUER AUDIENCE]
// DIR holds ca.pem, server.pem and server.key; DIR/NAME.port appears once it listens. Run it with
// NODE_EXTRA_CA_CERTS naming the issuer's CA: the signing keys are fetched over https.
import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { ServerResponse } from "node:http";
import { createServer } from "node:https";
import express from "express";
import { auth } from "express-oauth2-jwt-bearer";
import { WebSocketServer } from "ws";

const LARGEST = 20 * 1024 * 1024; // bytes of a body
const LARGEST_SHOWN = 100 * 1024; // bytes of one that is sent back

const [dir, name, issuer, audience] = process.argv.slice(2);

const nonce = () => `n-${Math.floor(Date.now() / 1000)}`;
const proved = (proof) => JSON.parse(Buffer.from(proof.split(".")[1], "base64url")).nonce;

const webSockets = new WebSocketServer({ noServer: true, maxPayload: LARGEST });
const app = express();
app.use("/nonce", (request, response, next) => {
  response.setHeader("dpop-nonce", nonce());
  if ([nonce(), `n-${Math.floor(Date.now() / 1000) - 1}`].includes(proved(request.headers.dpop))) return next();
  response.status(401).setHeader("www-authenticate", 'DPoP error="use_dpop_nonce", algs="ES256"').end();
});
const authorized = issuer
  ? auth({
      issuer,
      audience,
      jwksUri: `${issuer}/jwks`,
      tokenSigningAlg: "RS256",
      strict: true,
      getCertificate: (request) => request.socket.getPeerX509Certificate()?.raw,
      // Not one second of grace: a token sent past its expiry must show.
      clockTolerance: 0,
    })
  : (_request, _response, next) => next();

// What arrived, and whose token brought it; never the token itself.
function seen(request, body) {
  const { authorization, dpop: _dpop, ...headers } = request.headers;
  const { client_id, jti, cnf } = request.auth?.payload ?? {};
  return {
    method: request.method,
    url: request.url,
    headers,
    scheme: authorization?.split(" ")[0],
    proof: request.headers.dpop && JSON.parse(Buffer.from(request.headers.dpop.split(".")[1], "base64url")),
    cnf,
    authorizations: request.rawHeaders.filter((name) => name.toLowerCase() === "authorization").length,
    body: body.length <= LARGEST_SHOWN ? body.toString() : "",
    sha256: createHash("sha256").update(body).digest("hex"),
    client_id,
    jti,
  };
}

app.use(authorized);
app.use((request, response, next) => {
  if (!request.upgradeHead) return next();
  response.detachSocket(request.socket);
  webSockets.handleUpgrade(request, request.socket, request.upgradeHead, (webSocket) => {
    webSocket.on("message", (message) => webSocket.send(JSON.stringify(seen(request, message))));
  });
});
app.use(express.raw({ type: () => true, limit: LARGEST }));
app.use((request, response) => response.json(seen(request, request.body ?? Buffer.alloc(0))));

const server = createServer(
  {
    cert: readFileSync(`${dir}/server.pem`),
    key: readFileSync(`${dir}/server.key`),
    ca: readFileSync(`${dir}/ca.pem`),
    requestCert: true,
    rejectUnauthorized: false,
  },
  app,
);

// What an upgrade needs goes through the app like any request, so that the same token is asked for.
server.on("upgrade", (request, socket, head) => {
  const response = new ServerResponse(request);
  response.assignSocket(socket);
  app(Object.assign(request, { upgradeHead: head }), response);
});

server.listen(0, "127.0.0.1", () => {
  writeFileSync(`${dir}/${name}.port.new`, `${server.address().port}\n`);
  renameSync(`${dir}/${name}.port.new`, `${dir}/${name}.port`);
});
