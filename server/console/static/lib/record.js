// One record of the live stream, as a row of a list.

import { html, useState } from '../vendor/preact.js';
import { bytes, clip, clock, duration, href, plural, pretty, show } from './format.js';
import { Library } from './parts.js';
import { Badge, Text } from './ui.js';

/** Every kind of record, with what it is called. */
export const kinds = {
  publish: 'publish',
  delivery: 'delivery',
  client_event: 'client event',
  subscribe: 'subscribe',
  unsubscribe: 'unsubscribe',
  connect: 'connect',
  disconnect: 'disconnect',
  signin: 'sign-in',
  refusal: 'refusal',
  webhook: 'webhook',
  slow_consumer: 'slow consumer',
};

const Channel = ({ app, name }) => html`<a href=${href('channel', { app, name })}><${Text} value=${name} max=${1000} /></a>`;
const Socket = ({ app, id }) => html`<a class="mono" href=${href('connection', { app, id })}>${show(id)}</a>`;

function User({ app, id }) {
  const [part, cut] = clip(id, 60);
  return html`user <a href=${href('connections', { app, q: id })}>${show(part)}${cut && '…'}</a>`;
}

/** What a record is about. */
function subject(r) {
  if (r.kind === 'refusal') return html`<${Text} value=${r.what} /> ${r.code ? html`<strong>${r.code}</strong>` : ''}${r.channel && html` <${Channel} app=${r.app} name=${r.channel} />`}`;
  if (r.kind === 'webhook') return html`<${Text} value=${r.endpoint} max=${120} />`;
  if (r.channel) return html`<${Channel} app=${r.app} name=${r.channel} />`;
  if (r.user_id && r.kind === 'signin') return html`<${User} app=${r.app} id=${r.user_id} />`;
  if (r.socket_id) return html`<${Socket} app=${r.app} id=${r.socket_id} />`;
  return null;
}

/** What happened to it. */
function news(r) {
  if (r.event) return html`<${Text} value=${r.event} max=${120} />`;
  if (r.kind === 'webhook') {
    const ok = r.status >= 200 && r.status < 300;
    return html`<${Badge} kind=${ok ? 'ok' : 'bad'}>${r.status || 'failed'}<//>${r.reason && html` <${Text} value=${r.reason} max=${120} />`}`;
  }
  if (r.reason) return html`<${Text} value=${r.reason} max=${100} />${r.code && r.kind !== 'refusal' ? ` (${r.code})` : ''}`;
  if (r.transport) return html`<${Text} value=${r.transport} />`;
  return null;
}

/** Everything else, in short. */
function facts(r) {
  const list = [];
  const add = (given, vnode) => given && list.push(html`<span>${vnode}</span>`);
  add(r.recipients !== undefined, `→ ${plural(r.recipients, 'recipient')}`);
  add(r.events, plural(r.events, 'event'));
  add(r.delay_ms !== undefined, duration(r.delay_ms));
  add(r.user_id && r.kind !== 'signin', html`<${User} app=${r.app} id=${r.user_id ?? ''} />`);
  add(r.socket_id && (r.channel || r.kind === 'signin' || r.kind === 'refusal'), html`<${Socket} app=${r.app} id=${r.socket_id} />`);
  add(r.except, html`except <${Socket} app=${r.app} id=${r.except} />`);
  add(r.reason && r.event, html`<${Text} value=${r.reason} max=${100} />`);
  add(r.client, html`<${Library} ...${r} />`);
  add(r.origin, html`<${Text} value=${r.origin} max=${60} />`);
  add(r.remote, html`<${Text} value=${r.remote} max=${60} />`);
  add(r.kind === 'refusal', html`<a href=${href('refused', { app: r.app })}>why</a>`);
  return list;
}

/** The payload of an event, only once somebody asks for it. */
function Payload({ record: { data, data_bytes } }) {
  const whole = new TextEncoder().encode(data).length;
  const size = data_bytes ?? whole;
  return html`<div class="payload">
    <p class="mute">${bytes(size)}${whole === size ? '' : ', of which this is the beginning'}</p>
    <pre class="wrap" tabindex="0" role="group" aria-label="Payload"><code>${data === '' ? 'It is empty.' : show(pretty(data), { lines: true })}</code></pre>
  </div>`;
}

/** A row of a ul with class feed. withApp says of which app the record is. */
export function Record({ record: r, withApp }) {
  const [open, setOpen] = useState(false);
  const has = typeof r.data === 'string';
  return html`<li data-kind=${r.kind}>
    <time datetime=${new Date(r.at).toISOString()}>${clock(r.at)}</time>
    <span><${Badge} kind=${r.kind}>${kinds[r.kind] ?? show(r.kind)}<//></span>
    ${withApp && html`<span class="line app mute"><${Text} value=${r.app} max=${40} /></span>`}
    <span class="line">${subject(r)}</span>
    <span class="line">${news(r)}</span>
    <span class="line facts">${facts(r)}</span>
    ${has
      ? html`<button type="button" class="open" aria-expanded=${open} onClick=${() => setOpen(!open)}><span class="sr">Payload, </span>${bytes(r.data_bytes ?? r.data.length)}</button>`
      : html`<span class="no-payload"></span>`}
    ${open && html`<${Payload} record=${r} />`}
  </li>`;
}
