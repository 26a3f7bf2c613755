// What was refused, why, and what to change.

import { count, dateTime, href, plural, show } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Loaded, Search } from '../lib/parts.js';
import { Badge, Definitions, Empty, Field, Status, Text, Time } from '../lib/ui.js';
import { html, useMemo, useState } from '../vendor/preact.js';

/** What a code means, and what the client does about it. */
const meanings = {
  4001: 'The client came with a key that no app of this server has. It does not try again by itself.',
  4003: 'The app is switched off. The client does not try again by itself.',
  4004: 'The app has as many connections as it may. The client does not try again by itself.',
  4005: 'The path of the request leads to no app. Clients connect to /app/KEY.',
  4006: 'The version of the protocol in the query string is no number.',
  4007: 'The client speaks a version of the protocol that the server does not.',
  4008: 'The query string has no version of the protocol. Often a proxy drops the query string.',
  4009: 'The client may not do this: its page, its signature or its user is not allowed. If its connection was closed, it does not try again by itself.',
  4100: 'There is no room, now: the client tries again after a second.',
  4200: 'The client is to connect again, at once.',
  4201: 'The client gave no sign of life. It connects again at once.',
  4202: 'A message was begun and not finished. The client connects again at once.',
  4301: 'A client event was refused. The connection stays.',
  4302: 'The watchlist is too long. The connection stays.',
  400: 'The request is malformed, or asks for something that is not possible.',
  401: 'The request is not signed as it should be. Mostly the secret differs, a proxy changes the path or the query, or a clock is wrong.',
  403: 'The request is signed, but not allowed.',
  404: 'There is no such app or path.',
  405: 'The path exists, but not for this method.',
  413: 'The request is larger than allowed.',
  429: 'Too many requests came.',
  503: 'Not possible now: the server is full, stopping, or not connected to its cluster.',
};

/** Refusals that differ only in who was refused, newest first. */
function group(refusals) {
  const groups = new Map();
  for (const refusal of refusals) {
    const key = JSON.stringify([refusal.app, refusal.what, refusal.code, refusal.reason]);
    const known = groups.get(key);
    if (known) known.all.push(refusal);
    else groups.set(key, { key, all: [refusal], ...refusal });
  }
  return [...groups.values()];
}

/** Everything in which a refusal is searched. */
const textOf = ({ what, app, code, reason, attributes }) => [what, app, code, reason, ...Object.values(attributes ?? {})].join('\n').toLowerCase();

export default function Refused({ api, app, query, setQuery }) {
  const [paused, setPaused] = useState(false);
  const { data, error, reload } = usePoll(
    (signal) => api.get('refusals', app ? { app } : {}, { signal }), paused ? 0 : 5000, [app], { keep: false });
  const q = query.get('q') ?? '';
  const code = query.get('code') ?? '';
  const all = data?.refusals ?? [];
  const codes = useMemo(() => [...new Set(all.map((refusal) => String(refusal.code)))].sort(), [data]);
  const found = useMemo(() => {
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((refusal) => (!code || String(refusal.code) === code) && words.every((word) => textOf(refusal).includes(word)));
  }, [data, q, code]);
  const groups = useMemo(() => group(found), [found]);

  return html`
    <section class="card" aria-label="Filters">
      <div class="bar">
        <${Search} label="Search" filter value=${q} onChange=${(next) => setQuery({ q: next })} placeholder="origin, address, reason" />
        <${Field} label="Code" as="select" value=${code} onChange=${({ target }) => setQuery({ code: target.value })}>
          <option value="">All codes</option>
          ${[...new Set([...codes, ...(code ? [code] : [])])].map((each) => html`<option key=${each} value=${each}>${each === '0' ? 'none' : each}</option>`)}
        <//>
        <button type="button" class=${paused ? 'on' : undefined} onClick=${() => setPaused(!paused)}>${paused ? 'Resume' : 'Pause'}</button>
        <button type="button" onClick=${reload}>Refresh</button>
      </div>
    </section>
    <div class="feed-state">
      <${Status} class="mute" text=${data ? `${plural(found.length, 'refusal')}${found.length < all.length ? ` of ${count(all.length)}` : ''} in ${plural(groups.length, 'group')}` : ''} />
      ${data && html`<span class="mute">The last ${count(data.kept)} of each app are kept${app ? '' : ', and as many of no known app'}.</span>`}
      ${app && html`<a href=${href('refused', { app: '' })}>Those of all apps, and of none</a>`}
    </div>
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => groups.length
        ? html`<div class="refusals">${groups.map((each) => html`<${Group} key=${each.key} group=${each} />`)}</div>`
        : html`<${Empty}>${all.length > 0 ? 'Nothing that was refused fits the filters.' : 'Nothing was refused since the server started.'}<//>`}
    <//>
  `;
}

function Group({ group: { all, what, app, code, reason, settings } }) {
  const [open, setOpen] = useState(false);
  const last = all[0];
  return html`<article class="refusal">
    <header>
      <${Badge} kind="bad">${code || 'refused'}<//>
      <h2><${Text} value=${what} max=${120} /></h2>
      <span class="mute">${app ? html`app <${Text} value=${app} max=${40} />` : 'no known app'}</span>
      <span class="spring"></span>
      ${all.length > 1 && html`<strong>${count(all.length)} times</strong>`}
      <span class="mute"><${Time} at=${last.at} /></span>
    </header>
    <p class="why"><${Text} value=${reason} max=${600} none="no reason told" /></p>
    ${meanings[code] && html`<p class="hint">${meanings[code]}</p>`}
    ${settings?.length > 0 && html`<div class="settings"><span class="mute">To change:</span>${settings.map(({ key, where }) => html`<span key=${key}><code>${key}</code> <span class="mute">${where ? html`in <code>${show(where)}</code>` : 'has its default'}</span></span>`)}</div>`}
    <div class="bar">
      <button type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>${all.length > 1 ? `Details of all ${count(all.length)}` : 'Details'}</button>
      <a class="button" href=${href('live', { app, kind: 'refusal' })}>Follow in Live</a>
    </div>
    ${open && html`<ol class="each">${all.map((refusal, i) => html`<li key=${`${refusal.at}-${i}`}><${Definitions} items=${[['time', html`${dateTime(refusal.at)} (<${Time} at=${refusal.at} />)`], ...attributes(refusal)]} /></li>`)}</ol>`}
  </article>`;
}

const names = { remote: 'address', socket_id: 'socket id' };
/** What is asked for first. Others follow. */
const order = ['origin', 'remote', 'client', 'version', 'socket_id', 'channel', 'key'];

/** What is known of who was refused, with links to it. */
function attributes({ app, attributes: given = {} }) {
  const place = ([name]) => (order.includes(name) ? order.indexOf(name) : order.length);
  const sorted = Object.entries(given).sort((a, b) => place(a) - place(b));
  return sorted.map(([name, value]) => {
    const text = html`<${Text} value=${value} max=${160} />`;
    const to =
      !app ? undefined
      : name === 'channel' ? href('channel', { app, name: value })
      : name === 'socket_id' ? href('connection', { app, id: value })
      : undefined;
    return [names[name] ?? name, to && value.length <= 160 ? html`<a href=${to}>${text}</a>` : text];
  });
}
