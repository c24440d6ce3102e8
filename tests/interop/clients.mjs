// Clients for every way to authenticate with something else than a bare secret, with their keys.
//
// usage: node clients.mjs DIR
// Adds them to DIR/clients.json; writes the keys to DIR/NAME.key, and those of DIR/pair.pem and DIR/self.pem must be
// there already. DIR/foreign.key is a key that no client has.
import { X509Certificate, createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const [dir] = process.argv.slice(2);

const kinds = {
  rs256: ["rsa", { modulusLength: 2048 }, "pkcs8", "RS256"],
  ps256: ["rsa", { modulusLength: 2048 }, "pkcs1", "PS256"],
  es256: ["ec", { namedCurve: "P-256" }, "sec1", "ES256"],
  es384: ["ec", { namedCurve: "P-384" }, "pkcs8", "ES384"],
  eddsa: ["ed25519", {}, "pkcs8", "EdDSA"],
  // Their tokens are bound to a key; the second one's proofs need nonces, at both servers.
  dpop: ["ec", { namedCurve: "P-256" }, "pkcs8", "ES256", { dpop_bound_access_tokens: true }],
  nonce: ["ec", { namedCurve: "P-256" }, "pkcs8", "ES256", { dpop_bound_access_tokens: true }],
  foreign: ["ec", { namedCurve: "P-256" }, "pkcs8", "ES256"],
};

const clients = JSON.parse(readFileSync(`${dir}/clients.json`, "utf8"));
for (const [name, [type, options, form, alg, more]] of Object.entries(kinds)) {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  writeFileSync(`${dir}/${name}.key`, privateKey.export({ type: form, format: "pem" }));
  if (name === "foreign") continue;
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: name, alg, use: "sig" };
  clients.push({
    client_id: name,
    token_endpoint_auth_method: "private_key_jwt",
    token_endpoint_auth_signing_alg: alg,
    jwks: { keys: [jwk] },
    ...more,
  });
}

const secret = randomBytes(48).toString("base64url");
writeFileSync(`${dir}/hs384.secret`, `${secret}\n`);
clients.push({
  client_id: "hs384",
  client_secret: secret,
  token_endpoint_auth_method: "client_secret_jwt",
  token_endpoint_auth_signing_alg: "HS384",
});

clients.push({ client_id: "public", token_endpoint_auth_method: "none" });

const own = new X509Certificate(readFileSync(`${dir}/self.pem`));
clients.push(
  {
    client_id: "pair",
    token_endpoint_auth_method: "tls_client_auth",
    tls_client_auth_san_dns: "billing.interop",
    tls_client_certificate_bound_access_tokens: true,
  },
  {
    client_id: "self",
    token_endpoint_auth_method: "self_signed_tls_client_auth",
    jwks: { keys: [{ ...createPublicKey(own.publicKey.export({ type: "spki", format: "pem" })).export({ format: "jwk" }), x5c: [own.raw.toString("base64")] }] },
  },
);
writeFileSync(`${dir}/clients.json`, JSON.stringify(clients, null, 2));
