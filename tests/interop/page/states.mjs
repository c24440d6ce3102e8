// States of a process as its status page may have to show them, with the names and times of a story. Times are seconds
// before and after `at`.

const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

function credential(at, age, life, more) {
  const issued = at - age;
  return {
    state: "valid", required: true, refresh: "eager", server: "https://login.example.com/oauth/token",
    issued_at: issued, refresh_at: issued + Math.round(life * 0.78), usable_until: issued + life - 30, expires_at: issued + life,
    next_attempt: issued + Math.round(life * 0.78), last_success: issued, last_error: null, fetches: 41, consecutive_failures: 0,
    settings_pending: false, withheld_from: [], faults: [], ...more,
  };
}

// An upstream that has answered this many requests, most of them within so many seconds.
function upstream(url, credential, answered, usual, failed = 0, more = {}) {
  const within = (bound) => Math.round(answered / (1 + (usual / bound) ** 3));
  return {
    url, credential, fresh_tokens_rejected: null, connections: { active: 2, idle: 6 }, errors: {},
    responses: { "2xx": answered - failed, ...(failed ? { "5xx": failed } : {}) },
    duration: { count: answered, sum: answered * usual, buckets: BOUNDS.map((bound) => [bound, within(bound)]) },
    ...more,
  };
}

// All is well; `second` counts since the page was opened, and the process serves on meanwhile.
export function well(at, second) {
  const served = (rate) => 90_000 + Math.round(rate * second * (1 + Math.sin(second / 7) / 6));
  return {
    version: "0.1.0", commit: "6d0c4b1f93a2", time: at + second, started_at: at - 412_000, ready: true, draining: false, connections: 14, tunnels: {},
    snapshot: { generation: 7, loaded_at: at - 9000 },
    reload: { at: at - 9000, outcome: "success", diagnostics: [], warnings: [], last_refused: null },
    routes: [{}, {}, {}], egress: { addresses: "public", allow: [], deny: [], ports: [80, 443], rules: [] }, caller_tokens: null,
    listeners: {
      app: { address: "127.0.0.1:7080", responses: { "2xx": served(20) }, errors: {} },
      gateway: {
        address: "0.0.0.0:7443", responses: { "2xx": served(40), "4xx": 31 }, errors: { caller_unknown: 31 },
        tls: { certificates: [{ file: "/run/tls/gateway.pem", expires: at + 41 * 86_400 }], verifies_clients: true, crl_next_update: null },
      },
    },
    callers: {
      billing: { requests: served(30), rate_limited: 0, limits: { concurrent: 20, requests_per_second: 50 }, in_use: { requests: 3, tunnels: 0 } },
      reports: { requests: 911, rate_limited: 0 },
    },
    upstreams: {
      crm: upstream("https://crm.example.com/", "crm", served(12), 0.04),
      invoices: upstream("https://invoices.example.com/v2", "invoices", served(27), 0.011),
      ledger: upstream("https://ledger.example.com/", "ledger", served(4), 0.16),
    },
    credentials: {
      crm: credential(at, 1320, 3600),
      invoices: credential(at, 4400, 7200, { server: "https://id.example.net/realms/finance" }),
      ledger: credential(at, 310, 900),
    },
  };
}

// The token endpoint of one credential fails, and somebody has edited the configuration.
export function night(at, second) {
  const state = well(at, second);
  const message = "https://id.example.net/realms/finance/token answered 503 temporarily_unavailable (down for maintenance until four)";
  Object.assign(state.credentials.invoices, { issued_at: at - 6560, refresh_at: at - 900, usable_until: at + 610, expires_at: at + 640, next_attempt: at + second + 21, consecutive_failures: 9, last_error: { kind: "server_error", at: at - 9, message, trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" } });
  state.reload = { ...state.reload, at: at - 760, outcome: "failure", last_refused: { at: at - 760, text: REFUSED } };
  return state;
}

const REFUSED = [
  "error: unknown key `upstreem` in the file",
  "   --> /etc/sidebearer/sidebearer.toml:14:2",
  "    |",
  " 14 | [upstreem.ledger]",
  "    |  ^^^^^^^^ did you mean `upstreams`?",
  "",
].join("\n");

const HOSTILE = `<script>document.title = "taken"</script><img src=x onerror="document.title='taken'">'"&lt; \u202eright to left\u202c \u05d0\u05d1 ${"long".repeat(300)}`;

// Everything that can be wrong, in words that nobody chose well.
export function troubled(at, second) {
  const state = night(at, second);
  state.ready = false;
  state.draining = true;
  const failed = { kind: "refused", at: at - 20, message: HOSTILE };
  Object.assign(state.credentials.ledger, { state: "refused", issued_at: at - 900, refresh_at: at - 200, usable_until: at - 30, expires_at: at, consecutive_failures: 3, last_error: failed, faults: [{ file: "/run/secrets/ledger", fault: "it is empty" }] });
  state.credentials.archive = credential(at, 10, 60, { state: "idle", issued_at: null, refresh_at: null, usable_until: null, expires_at: null, next_attempt: null, required: false, refresh: "lazy" });
  state.credentials.moved = credential(at, 10, 60, { settings_pending: true, last_error: failed, rotation: { state: "fetching" } });
  state.credentials.first = credential(at, 10, 60, { state: "fetching", issued_at: null, refresh_at: null, usable_until: null, expires_at: null, next_attempt: null });
  const rejected = { tokens: 4, since: at - 300, last: at - 2, error: "invalid_token", error_description: HOSTILE };
  state.upstreams.crm.fresh_tokens_rejected = rejected;
  state.upstreams[HOSTILE] = upstream("https://x.example.com/", null, 400 + second * 20, 1.5, 200 + second * 15, { errors: { upstream_timeout: 150 + second * 10, upstream_connect: 50 } });
  state.upstreams.shared = { ...upstream("https://y.example.com/", null, 0, 1), credential: null, credentials: { billing: { credential: "crm", fresh_tokens_rejected: rejected } } };
  state.listeners.gateway.tls.certificates.push({ file: "/run/tls/old.pem", expires: at - 60 }, { file: "/run/tls/soon.pem", expires: at + 86_400 });
  state.listeners.gateway.tls.crl_next_update = at - 10;
  state.listeners.proxy = { address: "127.0.0.1:3128", unmatched: "pass", responses: {}, errors: { destination_denied: 4 } };
  state.callers.nightly = { requests: 12_044, rate_limited: 210 + second, limits: { concurrent: 4, requests_per_second: 5, burst: 10, tunnels: 2 }, in_use: { requests: 4, tunnels: 2 } };
  state.callers[HOSTILE] = { requests: 0, rate_limited: 0 };
  state.interception = { domains: ["example.com"], trust_directory: "/run/trust", roots_sha256: [], certificates: [{ file: "/run/ca/issuer.pem", expires: at + 3 * 86_400 }] };
  state.audit = { file: "/var/log/sidebearer/audit.jsonl", writing: false, last_error: "no space is left on the device", waiting_bytes: 1024 };
  state.caller_tokens = { keys: [{ issuer: "https://id.example.net", keys: 0, failures: 4, last_error: { at: at - 5, message: HOSTILE } }], reviews: { failures: 2, last_error: "timeout", answered_at: at - 60 } };
  state.reload.warnings = [{ severity: "warning", file: "sidebearer.toml", line: 3, column: 1, message: "every user of the machine can read it", help: "take the right from others" }, { severity: "warning", file: "sidebearer.toml", line: 4, column: 1, message: "1200 more have the same advice, from here to sidebearer.toml:1204:1", help: "take the right from others", count: 1200 }];
  return state;
}

// Nobody has configured much yet.
export const empty = (at, second) => ({ ...well(at, second), credentials: {}, upstreams: {}, listeners: {}, callers: {} });

// A gateway for a whole company.
export function many(at, second) {
  const state = well(at, second);
  const failed = { kind: "timeout", at: at - 3, message: "no answer within 10s" };
  for (let number = 0; number < 1000; number += 1) {
    const wrong = number % 100 === 99 ? { state: "backing_off", usable_until: at - 5, expires_at: at, consecutive_failures: 2, last_error: failed } : {};
    state.credentials[`team-${number}`] = credential(at, number, 3600, wrong);
    state.upstreams[`service-${number}`] = upstream(`https://service-${number}.example.com/`, `team-${number}`, 1000 + second, 0.02);
  }
  for (let number = 0; number < 10_000; number += 1) state.callers[`caller-${number}`] = { requests: number + second, rate_limited: 0 };
  return state;
}
