// What of a Kubernetes API server concerns the tokens of service accounts: the issuer and its keys, and TokenReview
// (authentication.k8s.io/v1), over https, for who shows the token of a pod. The real one is no package that could be
// installed here; this speaks by its published API, and signs with a library of its own (jose).
//
// usage: node api_server.mjs DIR
// DIR holds server.pem, server.key and pod.token, which is read for each request. DIR/api_server.port appears once it
// listens. Without a token of a pod, for the script alone: /mint/NAMESPACE/NAME makes a token, /revoke/NAMESPACE/NAME
// deletes the account, /count says how often it was asked.
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { SignJWT, exportJWK, jwtVerify } from "jose";

const ISSUER = "https://kubernetes.default.svc.cluster.local";
const [dir] = process.argv.slice(2);
// Kept where it is started again.
const stored = `${dir}/cluster.key`;
if (!existsSync(stored)) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(stored, privateKey.export({ type: "pkcs8", format: "pem" }));
}
const privateKey = createPrivateKey(readFileSync(stored));
const publicKey = createPublicKey(privateKey);
const jwk = { ...(await exportJWK(publicKey)), kid: "cluster", use: "sig", alg: "RS256" };
const revoked = new Set();
const count = { keys: 0, reviews: 0, refused: 0 };

const server = createServer({ cert: readFileSync(`${dir}/server.pem`), key: readFileSync(`${dir}/server.key`) });

function mint(namespace, name) {
  const about = {
    namespace,
    pod: { name: `${name}-1`, uid: randomUUID() },
    serviceaccount: { name, uid: randomUUID() },
  };
  return new SignJWT({ "kubernetes.io": about })
    .setProtectedHeader({ alg: "RS256", kid: "cluster" })
    .setIssuer(ISSUER)
    .setSubject(`system:serviceaccount:${namespace}:${name}`)
    .setAudience("sidebearer")
    .setJti(randomUUID())
    .setIssuedAt()
    .setNotBefore("0s")
    .setExpirationTime("1h")
    .sign(privateKey);
}

async function review({ token, audiences }) {
  try {
    const { payload } = await jwtVerify(token, publicKey, { issuer: ISSUER, audience: audiences });
    if (revoked.has(payload.sub)) throw new Error("the account is deleted");
    const user = { username: payload.sub, uid: payload["kubernetes.io"].serviceaccount.uid, groups: ["system:authenticated"] };
    return { authenticated: true, user, audiences: audiences.filter((audience) => [payload.aud].flat().includes(audience)) };
  } catch (error) {
    return { user: {}, error: error.message };
  }
}

async function answer(request, body) {
  const [, action, namespace, name] = request.url.split("/");
  if (action === "mint") return [200, await mint(namespace, name)];
  if (action === "revoke") return [200, revoked.add(`system:serviceaccount:${namespace}:${name}`) && "deleted"];
  if (action === "count") return [200, JSON.stringify(count)];
  if (request.headers.authorization !== `Bearer ${readFileSync(`${dir}/pod.token`, "utf8").trim()}`) {
    count.refused += 1;
    return [401, JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code: 401 })];
  }
  switch (`${request.method} ${request.url}`) {
    case "GET /.well-known/openid-configuration":
      // As in a real cluster, the keys it names may be out of reach.
      return [200, JSON.stringify({ issuer: ISSUER, jwks_uri: "https://10.255.255.1:6443/openid/v1/jwks" })];
    case "GET /openid/v1/jwks":
      count.keys += 1;
      return [200, JSON.stringify({ keys: [jwk] })];
    case "POST /apis/authentication.k8s.io/v1/tokenreviews": {
      count.reviews += 1;
      const { apiVersion, kind, spec } = JSON.parse(body);
      return [201, JSON.stringify({ apiVersion, kind, metadata: {}, spec, status: await review(spec) })];
    }
    default:
      return [404, JSON.stringify({ kind: "Status", code: 404 })];
  }
}

server.on("request", async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const [status, body] = await answer(request, Buffer.concat(chunks).toString());
  response.writeHead(status, { "content-type": "application/json" }).end(body);
});

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  writeFileSync(`${dir}/api_server.port.new`, `${server.address().port}\n`);
  renameSync(`${dir}/api_server.port.new`, `${dir}/api_server.port`);
});
