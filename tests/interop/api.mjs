// A protected API: express over https behind express-oauth2-jwt-bearer, which answers 401 with a challenge unless the
// token's signature, type, issuer, audience and expiry hold, and the proof that a bound token needs. Below /nonce proofs
// need a nonce, which changes every second.
//
// usage: node api.mjs DIR ISSUER AUDIENCE
// DIR holds ca.pem, server.pem and server.key; DIR/api.port appears once it listens. Run it with
// NODE_EXTRA_CA_CERTS naming the issuer's CA: the signing keys are fetched over https.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import express from "express";
import { auth } from "express-oauth2-jwt-bearer";

const [dir, issuer, audience] = process.argv.slice(2);

const nonce = () => `n-${Math.floor(Date.now() / 1000)}`;
const proved = (proof) => JSON.parse(Buffer.from(proof.split(".")[1], "base64url")).nonce;

const app = express();
app.use("/nonce", (request, response, next) => {
  response.setHeader("dpop-nonce", nonce());
  if ([nonce(), `n-${Math.floor(Date.now() / 1000) - 1}`].includes(proved(request.headers.dpop))) return next();
  response.status(401).setHeader("www-authenticate", 'DPoP error="use_dpop_nonce", algs="ES256"').end();
});
app.use(
  auth({
    issuer,
    audience,
    jwksUri: `${issuer}/jwks`,
    tokenSigningAlg: "RS256",
    strict: true,
    getCertificate: (request) => request.socket.getPeerX509Certificate()?.raw,
    // Not one second of grace: a token sent past its expiry must show.
    clockTolerance: 0,
  }),
);
app.use(express.text({ type: () => true }));

// What arrived, and whose token brought it; never the token itself.
app.use((request, response) => {
  const { authorization, dpop: _dpop, ...headers } = request.headers;
  const { client_id, jti } = request.auth.payload;
  response.json({
    method: request.method,
    url: request.url,
    headers,
    scheme: authorization.split(" ")[0],
    proof: request.headers.dpop && JSON.parse(Buffer.from(request.headers.dpop.split(".")[1], "base64url")),
    cnf: request.auth.payload.cnf,
    authorizations: request.rawHeaders.filter((name) => name.toLowerCase() === "authorization").length,
    body: typeof request.body === "string" ? request.body : "",
    client_id,
    jti,
  });
});

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
server.listen(0, "127.0.0.1", () => {
  writeFileSync(`${dir}/api.port.new`, `${server.address().port}\n`);
  renameSync(`${dir}/api.port.new`, `${dir}/api.port`);
});
