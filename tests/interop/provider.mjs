// An authorization server: oidc-provider over https, which signs JWT access tokens that live 3 s.
//
// usage: node provider.mjs DIR AUDIENCE
// DIR holds ca.pem, server.pem, server.key and clients.json; DIR/provider.port appears once it listens.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { Provider, errors } from "oidc-provider";

const TOKEN_LIFETIME = 3; // seconds

const [dir, audience] = process.argv.slice(2);
const clients = JSON.parse(readFileSync(`${dir}/clients.json`, "utf8"));
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

// What the token endpoint did, by client, for the script to read at /count.
const count = { granted: {}, refused: 0, nonces: 0, discoveries: 0 };

const server = createServer({
  cert: readFileSync(`${dir}/server.pem`),
  key: readFileSync(`${dir}/server.key`),
  // Certificates of clients are asked for; whether one is good is for the method to say.
  ca: readFileSync(`${dir}/ca.pem`),
  requestCert: true,
  rejectUnauthorized: false,
});

const certificate = (ctx) => ctx.req.socket.getPeerX509Certificate();

// The issuer names the port, so the port comes first.
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`https://localhost:${port}`, {
    clients: clients.map(({ name: _name, ...client }) => ({
      ...client,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    jwks: { keys: [{ ...key, kid: "interop", alg: "RS256", use: "sig" }] },
    clientAuthMethods: [
      "client_secret_basic",
      "client_secret_post",
      "client_secret_jwt",
      "private_key_jwt",
      "tls_client_auth",
      "self_signed_tls_client_auth",
      "none",
    ],
    enabledJWA: { clientAuthSigningAlgValues: ["HS384", "RS256", "PS256", "ES256", "ES384", "EdDSA"] },
    features: {
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        certificateBoundAccessTokens: true,
        getCertificate: (ctx) => certificate(ctx)?.toString(),
        certificateAuthorized: (ctx) => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === "tls_client_auth_san_dns" && certificate(ctx).subjectAltName === `DNS:${expected}`,
      },
      dPoP: {
        enabled: true,
        nonceSecret: randomBytes(32),
        requireNonce: (ctx) => ctx.oidc.client.clientId === "nonce",
      },
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => {
          if (resource !== audience) throw new errors.InvalidTarget();
          return {
            scope: "read",
            audience,
            accessTokenTTL: TOKEN_LIFETIME,
            accessTokenFormat: "jwt",
            jwt: { sign: { alg: "RS256" } },
          };
        },
      },
    },
  });
  provider.on("grant.success", (ctx) => {
    const { clientId } = ctx.oidc.client;
    count.granted[clientId] = (count.granted[clientId] ?? 0) + 1;
  });
  provider.on("grant.error", (_ctx, error) => {
    if (error.error === "use_dpop_nonce") {
      count.nonces += 1;
      return;
    }
    count.refused += 1;
    console.error(error);
  });
  provider.on("server_error", (_ctx, error) => console.error(error));

  const answer = provider.callback();
  server.on("request", (request, response) => {
    if (request.url === "/count") {
      response.setHeader("content-type", "application/json").end(JSON.stringify(count));
      return;
    }
    if (request.url.includes("/.well-known/")) count.discoveries += 1;
    answer(request, response);
  });
  announce(port);
});

// Renamed into place, so that a reader of the file sees the whole port.
function announce(port) {
  writeFileSync(`${dir}/provider.port.new`, `${port}\n`);
  renameSync(`${dir}/provider.port.new`, `${dir}/provider.port`);
}
