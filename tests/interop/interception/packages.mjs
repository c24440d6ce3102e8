// An index for pip and a registry for npm, with one package in each: DIR/hello-1.0-py3-none-any.whl and DIR/hello-1.0.0.tgz.
// npm may also publish, and is told if its package did not arrive whole.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const integrity = (bytes) => `sha512-${createHash("sha512").update(bytes).digest("base64")}`;

// What pip asks for: a page of links (PEP 503), and what they lead to.
export function pip(dir, { url }, response) {
  const wheel = "hello-1.0-py3-none-any.whl";
  if (url === "/simple/hello/") {
    response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><a href="/simple/${wheel}">${wheel}</a>`);
  } else if (url === `/simple/${wheel}`) {
    response.writeHead(200, { "content-type": "application/zip" }).end(readFileSync(`${dir}/${wheel}`));
  } else response.writeHead(404).end();
}

export function npm(dir, { method, url, headers }, response, body) {
  const archive = readFileSync(`${dir}/hello-1.0.0.tgz`);
  const json = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  if (url === "/npm/hello-1.0.0.tgz") response.writeHead(200, { "content-type": "application/octet-stream" }).end(archive);
  else if (method === "GET" && url.startsWith("/npm/hello")) {
    // Below the name that the registry was asked by, which is its own, whatever name the client used.
    const dist = { tarball: `https://${headers[":authority"] ?? headers.host}/npm/hello-1.0.0.tgz`, integrity: integrity(archive) };
    json(200, { name: "hello", "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": { name: "hello", version: "1.0.0", dist } } });
  } else if (method === "PUT") {
    const { _attachments: files, versions } = JSON.parse(body);
    const [{ data }] = Object.values(files);
    const [{ dist }] = Object.values(versions);
    const whole = integrity(Buffer.from(data, "base64")) === dist.integrity;
    json(whole ? 201 : 400, { ok: whole });
  } else json(404, { error: "not found" });
}
