// Asks for each URL by one of Node's ways: https, http2 (all at once, in one session), fetch, or undici through PROXY.
//
// usage: node caller.mjs WAY URL...
// CERTIFICATE names a .pem and a .key without their ends; AUTHORIZATION is that header; PROXY_TOKEN is for the proxy.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { Agent, request as requestTls } from "node:https";
import { text } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { ProxyAgent, request as requestByUndici } from "undici";

const [way, ...urls] = process.argv.slice(2);
const { CERTIFICATE, AUTHORIZATION, PROXY, PROXY_TOKEN } = process.env;
const certificate = CERTIFICATE ? { cert: readFileSync(`${CERTIFICATE}.pem`), key: readFileSync(`${CERTIFICATE}.key`) } : {};
const headers = AUTHORIZATION ? { authorization: AUTHORIZATION } : {};

async function oneAfterAnother(ask) {
  const answers = [];
  for (const url of urls) {
    answers.push(await ask(url));
    // Before that, undici does not know that the connection is free, and opens another.
    await setImmediate();
  }
  return answers;
}

const ways = {
  async https() {
    const agent = new Agent({ keepAlive: true, ...certificate });
    const answers = await oneAfterAnother(async (url) => {
      const [response] = await once(requestTls(url, { agent, headers }).end(), "response");
      return [await text(response), response.statusCode];
    });
    agent.destroy();
    return answers;
  },
  async http2() {
    const session = connect(new URL(urls[0]).origin, certificate);
    const ask = async (url) => {
      const { pathname, search } = new URL(url);
      const stream = session.request({ ":path": pathname + search, ...headers });
      const [head] = await once(stream, "response");
      return [await text(stream), head[":status"]];
    };
    const answers = await Promise.all(urls.map(ask));
    session.close();
    return answers;
  },
  fetch: () =>
    oneAfterAnother(async (url) => {
      const response = await fetch(url, { headers });
      return [await response.text(), response.status];
    }),
  async undici() {
    const dispatcher = new ProxyAgent({ uri: PROXY, token: PROXY_TOKEN });
    const answers = await oneAfterAnother(async (url) => {
      const { statusCode, body } = await requestByUndici(url, { dispatcher, headers });
      return [await body.text(), statusCode];
    });
    await dispatcher.close();
    return answers;
  },
};

for (const answer of await ways[way]()) console.log(answer.join("\t"));
