// The lines to paste, and whether they would work from here.

import { duration, show } from '../lib/format.js';
import { Badge, Definitions, Empty, ErrorNote, Field, Snippet, Text } from '../lib/ui.js';
import { testWays, ways } from '../lib/ways.js';
import { html, useEffect, useRef, useState } from '../vendor/preact.js';

/** Where clients find the server from where this page is, as http(s)://host:port/prefix. */
function baseOf({ same, up, port, secure, path }) {
  if (same) return new URL(up, document.baseURI).href.replace(/\/$/, '');
  return `${secure ? 'https' : 'http'}://${location.hostname}:${port}${path}`;
}

/** A string of JavaScript and of JSON. */
const js = (text) => JSON.stringify(text).replaceAll("'", '\\u0027').replace(/^"|"$/g, "'").replaceAll('\\"', '"');
/** A word for a shell. */
const sh = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
/** A value for .env. */
const dotenv = (text) => (/^[\w@%+:,./[\]-]*$/.test(text) ? text : `"${text.replace(/["\\$]/g, '\\$&')}"`);

/** What to paste, for an app and the address at which its clients connect. */
function snippets({ id, key, scheme, host, port, path, fallback, config }) {
  const tls = scheme === 'https';
  const url = new URL(`${scheme}://${host}:${port}${path}`).href.replace(/\/$/, '');
  const secret = `<secret of app ${id}, ${config ? `in ${show(config)}` : 'with which the server was started'}>`;
  const env = `BROADCAST_CONNECTION=pusher
PUSHER_APP_ID=${dotenv(id)}
PUSHER_APP_KEY=${dotenv(key)}
PUSHER_APP_SECRET=${dotenv(secret)}
PUSHER_HOST=${dotenv(host)}
PUSHER_PORT=${port}
PUSHER_SCHEME=${scheme}
PUSHER_APP_CLUSTER=mt1

VITE_PUSHER_APP_KEY="\${PUSHER_APP_KEY}"
VITE_PUSHER_HOST="\${PUSHER_HOST}"
VITE_PUSHER_PORT="\${PUSHER_PORT}"
VITE_PUSHER_SCHEME="\${PUSHER_SCHEME}"
VITE_PUSHER_APP_CLUSTER="\${PUSHER_APP_CLUSTER}"
`;
  const lines = (indent, list) => list.filter(Boolean).map((line) => `${indent}${line},\n`).join('');
  const transports = fallback ? `enabledTransports: ['ws', 'wss', 'xhr_streaming', 'xhr_polling']` : `enabledTransports: ['ws', 'wss']`;
  const echo = `import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

window.Pusher = Pusher;

window.Echo = new Echo({
${lines('    ', [
  `broadcaster: 'pusher'`,
  'key: import.meta.env.VITE_PUSHER_APP_KEY',
  'cluster: import.meta.env.VITE_PUSHER_APP_CLUSTER',
  'wsHost: import.meta.env.VITE_PUSHER_HOST',
  'wsPort: import.meta.env.VITE_PUSHER_PORT ?? 80',
  'wssPort: import.meta.env.VITE_PUSHER_PORT ?? 443',
  path && `wsPath: ${js(path)}`,
  fallback && 'httpHost: import.meta.env.VITE_PUSHER_HOST',
  fallback && 'httpPort: import.meta.env.VITE_PUSHER_PORT ?? 80',
  fallback && 'httpsPort: import.meta.env.VITE_PUSHER_PORT ?? 443',
  fallback && path && `httpPath: ${js(`${path}/pusher`)}`,
  `forceTLS: (import.meta.env.VITE_PUSHER_SCHEME ?? 'https') === 'https'`,
  transports,
])}});
`;
  const pusher = `import Pusher from 'pusher-js';

const pusher = new Pusher(${js(key)}, {
${lines('    ', [
  `cluster: 'mt1'`,
  `wsHost: ${js(host)}`,
  `${tls ? 'wssPort' : 'wsPort'}: ${port}`,
  path && `wsPath: ${js(path)}`,
  fallback && `httpHost: ${js(host)}`,
  fallback && `${tls ? 'httpsPort' : 'httpPort'}: ${port}`,
  fallback && path && `httpPath: ${js(`${path}/pusher`)}`,
  `forceTLS: ${tls}`,
  transports,
])}});

pusher.subscribe('news').bind('posted', (data) => console.log('posted', data));
`;
  const listen = `belfry listen --url ${sh(url)} --key ${sh(key)} news
`;
  const trigger = `export BELFRY_APP_ID=${sh(id)} BELFRY_APP_KEY=${sh(key)}
export BELFRY_APP_SECRET=${sh(secret)}

belfry trigger --url ${sh(url)} news posted '{"id": 1}'
`;
  const curl = `secret=${sh(secret)}

body='{"name":"posted","channels":["news"],"data":"{\\"id\\":1}"}'
md5=$(printf %s "$body" | openssl dgst -md5 | sed 's/.* //')
query="auth_key=${encodeURIComponent(key)}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$md5"
signature=$(printf 'POST\\n/apps/${encodeURIComponent(id)}/events\\n%s' "$query" |
  openssl dgst -sha256 -hmac "$secret" | sed 's/.* //')
curl -sS -H 'Content-Type: application/json' -d "$body" \\
  "${url}/apps/${encodeURIComponent(id)}/events?$query&auth_signature=$signature"
`;
  return { env, echo, pusher, listen, trigger, curl };
}

/** A host: a name, an IPv4 address, or an IPv6 address in brackets. */
const hostFits = (host) => /^([\p{L}\p{N}]([\p{L}\p{N}._-]*[\p{L}\p{N}])?\.?|\[[0-9a-fA-F:.]+\])$/u.test(host);
const portFits = (port) => /^\d{1,5}$/.test(port) && port >= 1 && port <= 65535;

/** What to change after an error of a way. */
function advice(code, { key, config }) {
  const file = show(config || 'the configuration');
  switch (code) {
    case 4001:
      return `Compare the key ${show(key)} with that of the apps in ${file}. After VITE_PUSHER_APP_KEY has changed, the front end has to be built again.`;
    case 4003:
      return `The app is switched off in ${file}.`;
    case 4004:
      return `The app has as many connections as max_connections allows. It is in ${file}.`;
    case 4006:
    case 4007:
    case 4008:
      return 'A proxy in between drops or changes the query string.';
    case 4009:
      return `This page has the origin ${location.origin}. Your application's pages have another, which may be allowed all the same; to test from here, add this host too.`;
    case 404:
      return 'Something else than Belfry answers there, or a proxy does not pass on the paths below /pusher/app/.';
    case 413:
    case 403:
    case 502:
    case 503:
    case 504:
      return 'This status may come from a proxy in between: see its log.';
  }
}

function Way({ title, result, context }) {
  const { state = 'running', error, connect_ms, ping_ms, event_ms, subscribed } = result;
  const label = { running: 'testing…', ok: 'works', failed: 'fails' }[state];
  const hint = error && advice(error.code, context);
  return html`<section class="way" aria-label=${title}>
    <header><h3>${title}</h3><${Badge} kind=${{ running: 'mute', ok: 'ok', failed: 'bad' }[state]}>${label}<//></header>
    <${Definitions} items=${[
      ['Connected after', connect_ms !== undefined && duration(connect_ms)],
      ['Ping and pong', ping_ms !== undefined && duration(ping_ms)],
      ['Public channel', subscribed && 'subscribed'],
      ['Event arrived after', event_ms !== undefined && duration(event_ms)],
    ].filter(([, value]) => value)} />
    ${error && html`<p class="note note-bad">${error.code ? html`<strong>${error.code}</strong> ` : ''}<${Text} value=${error.message} max=${400} /></p>`}
    ${hint && html`<p class="hint">${hint}</p>`}
  </section>`;
}

function TestBrowser({ api, app, apps, role, server, base, url, fields }) {
  const [results, setResults] = useState();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState();
  const [key, setKey] = useState();
  const running = useRef();
  useEffect(() => () => running.current?.abort(), []);
  // What was found is not about another app or key.
  useEffect(() => {
    running.current?.abort();
    setResults();
    setError();
    setBusy(false);
  }, [app, fields.key]);

  const owner = apps.find((each) => each.key === fields.key);
  const mayAct = role === 'act';
  const run = async () => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    setBusy(true);
    setError();
    setKey(fields.key);
    setResults({});
    try {
      await testWays({
        target: { base, key: fields.key, version: server.version },
        publish: mayAct && owner && ((channel, event) => api.post('events', { app: owner.id, channel, event, data: '{"from":"console"}', as: 'server' })),
        signal,
        report: (way, part) => {
          if (signal.aborted) return;
          const known = Object.entries(part).filter(([, value]) => value !== undefined);
          setResults((old) => ({ ...old, [way]: { ...old[way], ...Object.fromEntries(known) } }));
        },
      });
    } catch (failed) {
      if (!signal.aborted) setError(failed);
    }
    if (!signal.aborted) setBusy(false);
  };

  const all = Object.entries(ways);
  const working = results ? all.filter(([way]) => results[way]?.state === 'ok').length : 0;
  const summary = busy ? 'Testing…' : results ? `${working} of ${all.length} ways work.` : '';
  return html`<section class="card" aria-label="Test this browser">
    <h2>Test this browser</h2>
    <p>Connects from this browser to <code>${show(base)}</code> as pusher-js does, on each of the ways it has, with the key above.${' '}
      ${mayAct ? 'Then it publishes an event to a channel of its own and waits for it.' : 'It publishes no event, as you may only look.'}</p>
    ${url !== base && html`<p class="note note-info">This page may connect only to its own server. To test <code>${show(url)}</code>, run <code>belfry doctor --url ${show(sh(url))} --app-id ${show(sh(owner?.id ?? app))} --key ${show(sh(fields.key))}</code>.</p>`}
    <div class="bar middle"><button type="button" class="primary" disabled=${busy} onClick=${run}>Test this browser</button><span role="status" class="summary">${summary}</span></div>
    <${ErrorNote} error=${error && `The test event was not published: ${error.message}`} />
    ${results && html`<div class="ways">${all.map(([way, { title }]) => html`<${Way} key=${way} title=${title} result=${results[way] ?? {}} context=${{ key, config: server.config }} />`)}</div>`}
  </section>`;
}

export default function Start(props) {
  const { app, apps, server } = props;
  const base = baseOf(server.clients);
  const address = new URL(base);
  const defaults = {
    scheme: address.protocol.slice(0, -1),
    host: address.hostname,
    port: address.port || (address.protocol === 'https:' ? '443' : '80'),
    key: apps.find(({ id }) => id === app)?.key ?? '',
  };
  const [edited, setEdited] = useState({});
  const [fallback, setFallback] = useState(false);
  useEffect(() => setEdited((old) => ({ ...old, key: undefined })), [app]);
  if (!app) return html`<${Empty}>No app is configured. Add one below <code>apps</code> in ${show(server.config || 'the configuration')}.<//>`;

  const fields = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, edited[name] ?? value]));
  const wrong = {
    host: hostFits(fields.host) ? '' : 'A name or an address, without scheme and port.',
    port: portFits(fields.port) ? '' : '1 to 65535.',
    key: !fields.key ? 'The app has one.' : show(fields.key) === fields.key ? '' : `It has characters that cannot be seen: ${show(fields.key)}`,
  };
  // Nobody is to paste what does not fit.
  const good = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, wrong[name] ? defaults[name] : value]));
  const path = address.pathname.replace(/\/$/, '');
  const text = snippets({ ...good, id: app, path, fallback, config: server.config });
  const standard = { http: '80', https: '443' }[good.scheme];
  const url = `${good.scheme}://${good.host}${good.port === standard ? '' : `:${good.port}`}${path}`;
  const input = (name) => ({ value: fields[name], error: wrong[name], onInput: ({ target }) => setEdited({ ...edited, [name]: target.value.trim() }) });
  const changed = Object.values(edited).some((value) => value !== undefined);

  return html`
    <section class="card" aria-label="Address and key">
      <h2>Where clients connect</h2>
      <div class="address">
        <${Field} label="Scheme" as="select" value=${fields.scheme} onChange=${({ target }) => setEdited({ ...edited, scheme: target.value })}>
          <option value="http">http</option><option value="https">https</option>
        <//>
        <${Field} label="Host" ...${input('host')} />
        <${Field} label="Port" inputmode="numeric" ...${input('port')} />
        <${Field} label="Key" ...${input('key')} />
      </div>
      <div class="bar">
        <label class="check"><input type="checkbox" checked=${fallback} onChange=${() => setFallback(!fallback)} />HTTP fallback, for networks that break WebSockets</label>
        ${changed && html`<button type="button" onClick=${() => setEdited({})}>Reset</button>`}
      </div>
    </section>
    <${TestBrowser} ...${props} base=${base} url=${url} fields=${good} />
    <div class="cards">
      <section class="card" aria-label="Laravel">
        <h2>Laravel</h2>
        <${Snippet} title=".env" text=${text.env}><p>Before Laravel 11, the first variable is <code>BROADCAST_DRIVER</code>.${path && html` If PHP publishes through the same proxy, the connection's <code>options</code> in <code>config/broadcasting.php</code> need <code>'path' => ${`'${path}/'`}</code>.`}</p><//>
        <${Snippet} title="resources/js/echo.js" text=${text.echo} />
      </section>
      <section class="card" aria-label="Without Laravel">
        <h2>Without Laravel</h2>
        <${Snippet} title="pusher-js" text=${text.pusher} />
        <${Snippet} title="belfry listen" text=${text.listen} />
        <${Snippet} title="belfry trigger" text=${text.trigger} />
        <${Snippet} title="curl" text=${text.curl} />
      </section>
    </div>
  `;
}
