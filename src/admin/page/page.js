// Follows /events and shows what it says. Whatever comes from outside becomes text, and never HTML.
const $ = (id) => document.getElementById(id);
const SVG = new Set(["svg", "rect", "path", "polyline"]);
const FEW = 25; // rows of a list at first

// An element. Children are elements or text.
function h(name, attributes, ...children) {
  const it = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) if (value !== undefined && value !== false) it.setAttribute(key, value);
  it.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== false));
  return it;
}
// An element that `update` keeps up with the time.
function ticking(name, attributes, update) {
  const it = h(name, { ...attributes, "data-tick": "" });
  it.tick = () => update(it);
  it.tick();
  return it;
}
const say = (it, text) => it.textContent !== text && (it.textContent = text);
const spoken = (update, attributes) => ticking("span", attributes, (it) => say(it, update()));
// Foreign text: its direction stays its own, and its length is bounded.
const foreign = (text, most = 200) => h("bdi", {}, text.length > most ? `${text.slice(0, most)}\u2026 (${count(text.length)} characters)` : text);

// --- Numbers and times.

const count = (number) => number.toLocaleString("en");
const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
const list = (map) => Object.entries(map ?? {});
const total = (map) => list(map).reduce((sum, [, number]) => sum + number, 0);
let ahead = 0; // of the process's clock against ours, in seconds
const now = () => Date.now() / 1000 + ahead;
function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 300) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return many(Math.floor(s / 86400), "day");
}
const ago = (at) => `${span(now() - at)} ago`;
const inside = (at) => (at > now() ? `in ${span(at - now())}` : "now");
const clock = (at) => new Date(at * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" });
// A time, as its distance from now; the time itself where one points.
const time = (at, update) => spoken(update, { title: clock(at) });
const latency = (s) => (s === undefined ? "\u2013" : s < 0.9995 ? `${s < 0.00995 ? (s * 1000).toFixed(1) : Math.round(s * 1000)} ms` : `${s.toFixed(s < 10 ? 1 : 0)} s`);
const rate = (n) => (n === 0 ? "0" : n < 10 ? n.toFixed(1) : count(Math.round(n)));

// --- What was counted lately: what is there now less what was there a minute ago.

let status;
const samples = [];
function sample() {
  const upstreams = new Map();
  for (const [name, it] of list(status.upstreams))
    upstreams.set(name, { all: total(it.responses), failed: it.responses["5xx"] ?? 0, ended: it.duration.count, buckets: it.duration.buckets });
  const callers = new Map(list(status.callers).filter(([, it]) => it.rate_limited).map(([name, it]) => [name, it.rate_limited]));
  const listeners = new Map(list(status.listeners).map(([name, it]) => [name, total(it.responses)]));
  samples.push({ at: now(), upstreams, callers, listeners });
  while (samples[0].at < now() - 61) samples.shift();
}
const newest = () => samples[samples.length - 1];
const seconds = () => Math.max(1, newest().at - samples[0].at);
// Two seconds are no rate yet.
const measured = () => samples.length > 2;
function lately(name) {
  const none = { all: 0, failed: 0, ended: 0, buckets: [] };
  const last = newest().upstreams.get(name) ?? none; // a reload may have brought it just now
  const first = samples.find((it) => it.upstreams.has(name))?.upstreams.get(name) ?? none;
  const [a, b] = measured() ? [first, last] : [none, none];
  const ended = b.ended - a.ended;
  const quantile = (share) => {
    let [from, below] = [0, 0];
    for (const [place, [bound, number]] of b.buckets.entries()) {
      const here = number - (a.buckets[place]?.[1] ?? 0);
      if (here >= share * ended) return from + ((bound - from) * (share * ended - below)) / (here - below || 1);
      [from, below] = [bound, here];
    }
    return from;
  };
  return { all: b.all - a.all, failed: b.failed - a.failed, half: ended ? quantile(0.5) : undefined, most: ended ? quantile(0.95) : undefined };
}
const rise = (kind, name) => (newest()[kind].get(name) ?? 0) - (samples[0][kind].get(name) ?? 0);

// --- What is wrong. Levels: 0 good, 1 worth a note, 2 a warning, 3 failing.

const WORDS = ["Good", "Note", "Warning", "Failing"];
const MARKS = ["\u2713", "\u2013", "!", "\u00d7"];
const mark = (level, word = WORDS[level]) => h("span", { class: `mark l${level}` }, h("b", { "aria-hidden": "true" }, MARKS[level]), word);

function judge(it) {
  const usable = it.state === "valid" || it.state === "refreshing";
  const failing = it.consecutive_failures > 0;
  if (!usable && (failing || it.state === "refused")) return [3, it.state === "refused" ? "Refused" : "No token"];
  if (usable && it.withheld_from.length > 0) return [2, "Not for all"];
  if (failing) return [2, "Renewal fails"];
  if (it.settings_pending) return [2, "New settings wait"];
  if (it.faults.length > 0) return [2, "File at fault"];
  return { valid: [0, "Valid"], refreshing: [0, "Renewing"], fetching: [1, "First token is fetched"], idle: [1, "Idle"] }[it.state] ?? [1, it.state];
}
const rejections = (it) => [[it.credential, it.fresh_tokens_rejected], ...list(it.credentials).map(([, its]) => [its.credential, its.fresh_tokens_rejected])].filter(([, found]) => found);
function judgeUpstream(name, it) {
  if (rejections(it).length > 0) return [3, "Rejects tokens"];
  const { all, failed } = lately(name);
  if (failed >= 5 && failed >= all / 2) return [3, "Failing"];
  if (failed >= 5 && failed >= all / 20) return [2, "Failures"];
  return all > 0 ? [0, "Good"] : [0, "Quiet"];
}
const DAY = 86400;
function judgeListener(it) {
  const ends = (it.tls?.certificates ?? []).map(({ expires }) => expires - now());
  if (ends.some((left) => left < 0)) return [3, "Certificate has ended"];
  if (it.tls?.crl_next_update < now()) return [2, "CRL is overdue"];
  if (ends.some((left) => left < 7 * DAY)) return [2, "Certificate ends soon"];
  return [0, "Open"];
}

// The next attempt of a credential, in words that tick.
const next = (it) => spoken(() => (it.next_attempt ? `Next attempt ${inside(it.next_attempt)}.` : it.state === "fetching" || it.state === "refreshing" ? "An attempt is under way." : "The next request asks again."));
const serves = (it) => spoken(() => (it.usable_until > now() ? `The token at hand serves for another ${span(it.usable_until - now())}.` : "Requests that need it are answered 503 token_unavailable."));

function problems() {
  const found = [];
  const add = (level, key, item, title, ...body) => found.push({ level, key, item, title, body, things: 1 });
  if (status.draining) add(2, "drain", true, ["The process is ending"], h("p", {}, "It takes no new connections soon, and finishes what is in flight."));
  const wrong = list(status.credentials).map(([name, it]) => [name, it, ...judge(it)]).filter(([, , level]) => level > 1);
  const shown = wrong.sort((a, b) => b[2] - a[2]).slice(0, wrong.length > 6 ? 3 : 6);
  for (const [name, it, level] of shown) {
    const what = { 3: "has no usable token", 2: it.consecutive_failures ? "gets no new token" : it.settings_pending ? "waits for a token by its new settings" : "names a file that cannot be used" }[level];
    add(level, `credential ${name}`, it, ["Credential ", foreign(name), ` ${what}`],
      it.last_error && (it.consecutive_failures > 0 || it.settings_pending) && h("p", {}, foreign(it.last_error.message, 600)),
      it.withheld_from.length > 0 && h("p", {}, "The token at hand is not sent to ", foreign(it.withheld_from.join(", "), 600), ", whose requests are answered 503 token_unavailable."),
      it.faults.map((fault) => h("p", {}, foreign(fault.file), ": ", foreign(fault.fault, 600))),
      h("p", { class: "soft" }, serves(it), " ", it.consecutive_failures > 0 && [`${many(it.consecutive_failures, "failure")} in a row. `, next(it)]));
  }
  const others = wrong.length - shown.length;
  if (others > 0) add(wrong[0][2], "credentials", wrong.length, [`${many(others, "other credential")} in trouble`], h("p", {}, "They come first in ", h("a", { href: "#credentials" }, "the list of credentials"), "."));
  if (others > 0) found[found.length - 1].things = others;
  for (const [name, it] of list(status.upstreams)) {
    const [level] = judgeUpstream(name, it);
    if (level < 2) continue;
    const rejected = rejections(it);
    if (rejected.length > 0) add(3, `rejects ${name}`, it, ["Upstream ", foreign(name), " rejects fresh tokens"],
      rejected.slice(0, 3).map(([credential, why]) => h("p", {}, "Of credential ", foreign(credential), why.error && [": ", foreign(why.error)], why.error_description && [", ", foreign(why.error_description, 600)], ". ", time(why.since, () => `Since ${ago(why.since)}.`))),
      h("p", { class: "soft" }, "Another token would not help: audience, scopes or the API itself. ", h("code", {}, "sidebearer token NAME"), " shows what the token says."));
    else add(level, `fails ${name}`, it, ["Upstream ", foreign(name), " fails"],
      h("p", {}, spoken(() => { const { all, failed } = lately(name); return `${count(failed)} of ${many(all, "request")} lately ended with a status of 500 and above.`; })), errors(it));
  }
  if (status.reload.outcome === "failure") add(2, "reload", status.reload, ["The configuration on disk is refused"],
    h("p", {}, time(status.reload.at, () => `Refused ${ago(status.reload.at)}; generation ${count(status.snapshot.generation)} serves on. A restart would fail.`)), verbatim(status.reload.last_refused.text, "What is wrong with it"));
  for (const [name, it] of list(status.listeners)) {
    const [level, word] = judgeListener(it);
    if (level > 1) add(level, `listener ${name}`, it, ["Listener ", foreign(name), `: ${word.toLowerCase()}`], ends(it.tls));
  }
  for (const it of status.interception?.certificates ?? []) if (it.expires < now() + 14 * DAY) add(it.expires < now() ? 3 : 2, `issuer ${it.file}`, it, ["The issuer of intercepted hosts ends"], h("p", {}, foreign(it.file), " ", time(it.expires, () => (it.expires < now() ? `ended ${ago(it.expires)}` : `ends ${inside(it.expires)}`)), "."));
  if (status.audit && !status.audit.writing) add(3, "audit", status.audit, ["Audit records cannot be written"], h("p", {}, foreign(status.audit.file), ": ", foreign(status.audit.last_error ?? "", 600)));
  for (const it of status.caller_tokens?.keys ?? []) if (it.failures > 0) add(it.keys ? 2 : 3, `keys ${it.issuer}`, it, ["Keys of ", foreign(it.issuer), " cannot be read"], h("p", {}, foreign(it.last_error?.message ?? "", 600)));
  const reviews = status.caller_tokens?.reviews;
  if (reviews?.failures > 0) add(2, "reviews", reviews, ["The API server of Kubernetes does not review tokens"], h("p", {}, foreign(reviews.last_error ?? "", 600)));
  const limited = list(status.callers).map(([name]) => [name, rise("callers", name)]).filter(([, refused]) => refused > 0).sort((a, b) => b[1] - a[1]);
  if (limited.length > 0) add(1, "limits", limited.length, [`${many(limited.length, "caller")} reached limits lately`], h("p", {}, limited.slice(0, 5).map(([name], at) => [at > 0 && ", ", foreign(name)]), limited.length > 5 && ` and ${count(limited.length - 5)} more`, "."));
  return found.sort((a, b) => b.level - a.level);
}
const verbatim = (text, label) => h("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
const ends = (tls) => (tls?.certificates ?? []).map((it) => h("p", { class: "soft" }, foreign(it.file), " ", time(it.expires, () => (it.expires < now() ? `ended ${ago(it.expires)}` : `ends ${inside(it.expires)}`))));
const errors = (it) => total(it.errors) > 0 && h("p", { class: "soft" }, "Errors since the start: ", list(it.errors).sort((a, b) => b[1] - a[1]).map(([code, number], at) => [at > 0 && ", ", h("code", {}, code), ` ${count(number)}`]));
const fact = (label, value, attributes) => h("div", attributes, h("dt", {}, label), h("dd", {}, value));
const title = (level, word, name, ...more) => h("div", { class: "title" }, h("h3", {}, foreign(name)), mark(level, word), more);

// --- The rows of each list.

// The life of a token: how much of it is over, from when it is renewed, and where it ends.
function life(it) {
  const [from, to] = [it.issued_at, it.expires_at];
  const share = (at) => Math.min(100, Math.max(0, ((at - from) / (to - from)) * 100));
  const renewal = share(it.refresh_at);
  const bar = ticking("svg", { class: "life", role: "img", width: "100%", height: "18" }, (svg) => {
    const over = now() >= it.usable_until;
    svg.setAttribute("class", `life l${over ? (it.state === "idle" ? 1 : 3) : now() > it.refresh_at + 5 && it.consecutive_failures > 0 ? 2 : 0}`);
    svg.setAttribute("aria-label", `Life of the token: ${Math.round(share(now()))} % is over. Issued ${clock(from)}, renewed from ${clock(it.refresh_at)}, ends ${clock(to)}.`);
    svg.children[1]?.setAttribute("width", `${share(now())}%`);
  });
  bar.append(h("rect", { class: "track", y: "6", width: "100%", height: "8", rx: "4" }), h("rect", { class: "done", y: "6", height: "8", rx: "4" }), h("rect", { class: "point", x: `${renewal}%`, y: "1", width: "2", height: "16", rx: "1" }));
  bar.tick();
  const renewed = () => (now() < it.refresh_at ? `renewal ${inside(it.refresh_at)}` : it.refresh === "lazy" ? "renewal with the next request" : `renewal due since ${span(now() - it.refresh_at)}`);
  const ending = () => (now() < it.usable_until ? `ends ${inside(to)}` : `${now() < to ? "no longer sent" : "ended"} since ${span(now() - Math.min(it.usable_until, now()))}`);
  return [bar, h("div", { class: "ends" }, time(from, () => `issued ${ago(from)}`), time(it.refresh_at, renewed), time(to, ending))];
}
const credentialRow = ([name, it]) => [
  title(...judge(it), name, !it.required && h("small", {}, "optional")),
  it.server && h("p", { class: "soft" }, foreign(it.server)),
  it.expires_at !== undefined && it.expires_at !== null && life(it),
  it.rotation && h("p", { class: "soft" }, "A new certificate stands by until a token is bound to it."),
  it.last_error && h("details", {}, h("summary", {}, time(it.last_error.at, () => `Last error ${ago(it.last_error.at)}`), ` (${it.last_error.kind})`), h("p", {}, foreign(it.last_error.message, 2000)), it.last_error.trace_id && h("p", { class: "soft" }, "Trace ", h("code", {}, it.last_error.trace_id)), it.consecutive_failures > 0 && h("p", { class: "soft" }, `${many(it.consecutive_failures, "failure")} in a row. `, next(it))),
];
function upstreamRow([name, it]) {
  const [level, word] = judgeUpstream(name, it);
  const line = ticking("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" }, (svg) => {
    const all = samples.map((one) => one.upstreams.get(name)?.all ?? 0);
    const steps = all.slice(1).map((number, at) => Math.max(0, number - all[at]));
    const top = Math.max(1, ...steps);
    svg.firstChild?.setAttribute("points", steps.map((step, at) => `${60 - steps.length + at + 1},${(19 - (step / top) * 18).toFixed(1)}`).join(" "));
  });
  line.append(h("polyline", {}));
  line.tick();
  const value = (show) => spoken(() => (measured() ? show(lately(name)) : "\u2013"));
  return [
    title(level, word, name, line),
    h("p", { class: "soft" }, foreign(it.url), it.credential ? [" with ", foreign(it.credential)] : it.credentials ? ` with ${many(list(it.credentials).length, "credential")}, by caller` : " without a credential"),
    h("dl", {}, fact("a second", value(({ all }) => rate(all / seconds()))), fact("failed", value(({ all, failed }) => (failed ? `${count(failed)} (${((failed / all) * 100).toFixed(failed * 20 < all ? 1 : 0)} %)` : "0"))), fact("median", value(({ half }) => latency(half))), fact("95 % within", value(({ most }) => latency(most))), fact("connections", `${count(it.connections.active)} busy, ${count(it.connections.idle)} idle`)),
    errors(it),
  ];
}
const listenerRow = ([name, it]) => [
  title(...judgeListener(it), name),
  h("p", { class: "soft" }, foreign(it.address), it.tls && (it.tls.verifies_clients ? ", TLS, clients show certificates" : ", TLS"), it.unmatched && `, forward (unmatched: ${it.unmatched})`),
  h("dl", {}, fact("a second", spoken(() => (measured() ? rate(rise("listeners", name) / seconds()) : "\u2013"))), fact("requests", count(total(it.responses)))),
  ends(it.tls),
  errors(it),
];
const limit = (it, key, used) => it.limits?.[key] !== undefined && fact(key, `${count(used)} of ${count(it.limits[key])}`, { class: used >= it.limits[key] ? "full" : undefined });
const callerLevel = ([name, it]) => (rise("callers", name) > 0 || (it.limits && ["requests", "tunnels"].some((key) => it.in_use[key] >= (it.limits[key === "requests" ? "concurrent" : key] ?? Infinity))) ? [1, "At its limit"] : [0, it.requests > 0 ? "Served" : "Quiet"]);
const callerRow = ([name, it]) => [
  title(...callerLevel([name, it]), name),
  h("dl", {}, fact("requests", count(it.requests)), it.rate_limited > 0 && fact("refused by limits", count(it.rate_limited)),
    limit(it, "concurrent", it.in_use?.requests), limit(it, "tunnels", it.in_use?.tunnels),
    it.limits?.requests_per_second && fact("at most", `${count(it.limits.requests_per_second)} a second${it.limits.burst ? `, bursts of ${count(it.limits.burst)}` : ""}`)),
];
function configuration() {
  const { reload, snapshot } = status;
  const egress = status.egress.rules.length;
  return [
    h("dl", {}, fact("generation", count(snapshot.generation)), fact("in place", time(snapshot.loaded_at, () => `since ${span(now() - snapshot.loaded_at)}`)), fact("routes", count(status.routes.length)), egress > 0 && fact("egress rules", count(egress)), status.audit && fact("audit", foreign(status.audit.file)), status.interception && fact("intercepts", count(status.interception.domains.length))),
    reload.warnings.length > 0 && h("details", {}, h("summary", {}, many(reload.warnings.reduce((sum, it) => sum + (it.count ?? 1), 0), "warning")), reload.warnings.map((it) => h("p", {}, foreign(it.file), it.line ? `:${it.line}: ` : ": ", foreign(it.message, 2000), h("span", { class: "soft" }, " ", foreign(it.help, 2000))))),
    reload.last_refused ? h("details", {}, h("summary", {}, "Last refused ", time(reload.last_refused.at, () => ago(reload.last_refused.at))), verbatim(reload.last_refused.text, "The last refused configuration")) : h("p", { class: "soft" }, "No configuration has been refused since the start."),
  ];
}

// --- Lists that change in place.

// Shows these items; rows whose item is the same stay untouched, and what is open stays open.
function fill(into, items) {
  const focused = document.activeElement;
  const old = new Map([...into.children].map((row) => [row.key, row]));
  items.forEach(({ key, item, level, make }, at) => {
    let row = old.get(key);
    if (!row || row.item !== item || row.level !== level) {
      const made = h("li", { class: `row l${level}` }, make());
      Object.assign(made, { key, item, level });
      if (row) {
        const before = [...row.querySelectorAll("details")];
        for (const [place, details] of [...made.querySelectorAll("details")].entries()) {
          details.open = before[place]?.open ?? false;
          if (before[place]?.firstChild === focused) made.focusing = details.firstChild;
        }
        row.replaceWith(made);
        made.focusing?.focus();
      }
      row = made;
    }
    if (into.children[at] !== row) into.insertBefore(row, into.children[at] ?? null);
  });
  while (into.children.length > items.length) into.lastChild.remove();
  if (document.activeElement !== focused && focused?.isConnected && into.contains(focused)) focused.focus();
}

// A part of the page with a list, a filter where it is long, and no more rows than asked for.
function section(id, name, note, of, build, level) {
  const words = h("h2", { id: `${id}-name` }, name);
  const input = h("input", { type: "search", "aria-label": `Filter ${name.toLowerCase()} by name`, placeholder: "Filter by name", autocomplete: "off", spellcheck: "false" });
  const shown = h("p", { class: "soft", role: "status" });
  const rows = h("ul", { class: "rows" });
  const more = h("button", { type: "button" });
  const it = h("section", { id, tabindex: "-1", "aria-labelledby": `${id}-name` }, h("div", { class: "head" }, words, input), note && spoken(note, { class: "soft note" }), shown, rows, more);
  let most = FEW;
  const draw = () => {
    const all = list(of());
    const wanted = input.value.trim().toLowerCase();
    const leveled = all.filter(([key]) => key.toLowerCase().includes(wanted)).map((entry) => ({ key: entry[0], item: entry[1], level: level(entry)[0] }));
    // A note is no reason to come first.
    leveled.sort((a, b) => Math.max(1, b.level) - Math.max(1, a.level) || (a.key < b.key ? -1 : 1));
    const some = leveled.slice(0, most);
    it.hidden = all.length === 0;
    input.hidden = all.length <= 8;
    say(shown, wanted || some.length < leveled.length ? `${count(some.length)} of ${many(all.length, "is", "are")} shown${wanted ? `, ${many(leveled.length, "matches", "match")}` : ""}.` : "");
    more.hidden = some.length === leveled.length;
    say(more, `Show ${count(Math.min(100, leveled.length - some.length))} more`);
    fill(rows, some.map((one) => ({ ...one, make: () => build([one.key, one.item]) })));
    return all.length;
  };
  input.addEventListener("input", () => ((most = FEW), draw()));
  more.addEventListener("click", () => ((most += 100), draw()));
  return { it, draw, id, name };
}

const lists = [
  section("credentials", "Credentials", undefined, () => status.credentials, credentialRow, ([, it]) => judge(it)),
  section("upstreams", "Upstreams", () => (measured() ? `Of the last ${span(seconds())}, while this page was open.` : "Measuring."), () => status.upstreams, upstreamRow, ([name, it]) => judgeUpstream(name, it)),
  section("listeners", "Listeners", undefined, () => status.listeners, listenerRow, ([, it]) => judgeListener(it)),
  section("callers", "Callers", undefined, () => status.callers, callerRow, callerLevel),
];
say($("where"), location.host);
const about = h("ul", { class: "rows" });
const settings = h("section", { id: "configuration", tabindex: "-1", "aria-labelledby": "configuration-name" }, h("h2", { id: "configuration-name" }, "Configuration"), about);
$("sections").append(...lists.map(({ it }) => it), settings);

function verdict(found) {
  const counted = found.filter(({ level }) => level > 1).reduce((sum, { things }) => sum + things, 0);
  const worst = found[0]?.level ?? 0;
  $("verdict").className = `l${worst > 1 ? worst : 0}`;
  say($("verdict"), status.draining ? "Ending" : counted === 0 ? "All is well" : `${many(counted, "thing needs", "things need")} attention`);
  const credentials = list(status.credentials);
  const of = (...states) => credentials.filter(([, it]) => states.includes(it.state)).length;
  const idle = of("idle");
  const requests = [...newest().upstreams.keys()].reduce((sum, name) => sum + lately(name).all, 0);
  say($("summary"), [
    status.ready ? "Ready for requests." : "Not ready for requests.",
    credentials.length > 0 && `${count(of("valid", "refreshing"))} of ${many(credentials.length, "credential")} with a usable token${idle ? `, ${count(idle)} idle` : ""}.`,
    `${many(status.connections, "client")} connected${measured() ? `, ${rate(requests / seconds())} requests a second` : ""}.`,
  ].filter(Boolean).join(" "));
  document.title = `${counted > 0 ? `(${counted}) ` : ""}sidebearer ${location.host}`;
}

function draw() {
  if (!status || document.hidden) return;
  const found = problems();
  verdict(found);
  $("problems").hidden = found.length === 0;
  fill($("problems").firstElementChild, found.map(({ key, item, level, title, body }) => ({ key, item, level, make: () => [h("div", { class: "title" }, h("h2", {}, title), mark(level)), body] })));
  const sizes = lists.map((one) => [one, one.draw()]).filter(([, size]) => size > 0);
  fill(about, [{ key: "all", item: JSON.stringify([status.reload, status.snapshot, status.routes.length, status.audit?.file]), level: 0, make: configuration }]);
  const links = [...sizes.map(([{ id, name }, size]) => [id, name, size]), ["configuration", "Configuration"]];
  if ($("nav").key !== String(links)) {
    $("nav").key = String(links);
    $("nav").replaceChildren(...links.map(([id, name, size]) => h("a", { href: `#${id}` }, name, size && h("small", {}, ` ${count(size)}`))));
  }
  for (const it of document.querySelectorAll("[data-tick]")) it.tick();
}

// --- The connection.

const merge = (target, patch) => {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  // A name such as __proto__ is a name here.
  const made = Object.assign(Object.create(null), typeof target === "object" ? target : {});
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete made[name];
    else made[name] = merge(made[name], value);
  }
  return made;
};
function take(event) {
  const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event) ?? [];
  if (!name) return;
  const told = JSON.parse(data);
  status = merge(name === "status" ? null : status, told);
  ahead = status.time - Date.now() / 1000;
  if (name === "status") samples.length = 0;
  if (samples.length === 0) sample();
  say($("about"), `sidebearer ${status.version}${status.commit ? ` (${status.commit})` : ""}, running since ${clock(status.started_at)}`);
  try {
    draw();
  } catch (error) {
    reportError(error); // a defect of the page is no loss of the connection
  }
}

let lost; // since when there is no connection
let again; // when it is tried next
let why;
let wake;
function connection() {
  document.body.classList.toggle("lost", lost !== undefined);
  say($("link"), lost === undefined ? (status ? "Live" : "Connecting") : status ? "Connection lost" : "No connection");
  say($("retry"), lost === undefined ? "" : `${status ? `This is how it was ${span((Date.now() - lost) / 1000)} ago. ` : ""}${why ? `${why}. ` : ""}${again ? `Next try in ${span((again - Date.now()) / 1000)}.` : "Trying."}`);
  $("now").hidden = !again;
  if (lost !== undefined) document.title = `(lost) sidebearer ${location.host}`;
}
async function follow(stalled) {
  let timer;
  const alive = () => (clearTimeout(timer), (timer = setTimeout(() => stalled.abort(), 30_000)));
  try {
    alive();
    const answer = await fetch("events", { cache: "no-store", signal: stalled.signal });
    if (!answer.ok) throw (await answer.json()).detail;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach(take);
      if (status) [lost, why] = [undefined, undefined];
      connection();
    }
  } finally {
    clearTimeout(timer);
  }
}
setInterval(() => {
  if (status && lost === undefined) (sample(), draw());
  connection();
}, 1000);
document.addEventListener("visibilitychange", draw);
$("now").addEventListener("click", () => wake?.());
addEventListener("online", () => wake?.());
connection();
for (let pause = 1; ; ) {
  try {
    await follow(new AbortController());
  } catch (error) {
    why = typeof error === "string" ? error : undefined;
  }
  pause = lost === undefined ? 1 : Math.min(30, pause * 2);
  lost ??= Date.now();
  again = Date.now() + pause * (750 + Math.random() * 500);
  connection();
  await new Promise((resolve) => ((wake = resolve), setTimeout(resolve, again - Date.now())));
  again = undefined;
  connection();
}
