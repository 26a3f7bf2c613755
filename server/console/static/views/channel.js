// One channel: what it is now, what happens on it, and a test event to it.

import { bytes, clock, count, duration, href, plural, show } from '../lib/format.js';
import { serverNow, usePoll } from '../lib/hooks.js';
import { Kind, Loaded, offsetOf, Payload, perSecond, useFirst, useFocusKept, useWithin, whileHidden } from '../lib/parts.js';
import { Record } from '../lib/record.js';
import { Copy, Empty, ErrorNote, Field, Pager, Status, Table, Text, Time } from '../lib/ui.js';
import { html, useEffect, useRef, useState } from '../vendor/preact.js';

const limit = 20; // subscribers on a page
const kept = 100; // events that are shown

export default function View(props) {
  const name = props.query.get('name') ?? '';
  if (!name) {
    return html`<h1>Channel</h1><${Empty}>No channel is named. Choose one of the <a href=${href('channels', { app: props.app })}>channels</a>.<//>`;
  }
  return html`<${Channel} key=${`${props.app} ${name}`} name=${name} ...${props} />`;
}

function Channel({ api, app, role, server, name, query, setQuery }) {
  const offset = offsetOf(query);
  const { data, error, reload } = usePoll(
    (signal) => api.get('channel', { app, name, offset, limit }, { signal }),
    3000,
    [offset],
  );
  useFocusKept();
  useWithin(data?.subscribers, { offset, limit, total: data?.subscribers_total, setQuery });

  return html`
    <p class="back"><a href=${href('channels', { app })}>Channels</a></p>
    <h1>Channel <${Text} value=${name} max=${200} /> ${data && html`<${Kind} kind=${data.kind} />`} <${Copy} text=${name} what="name of the channel" /></h1>
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => html`<${Numbers} data=${data} clustered=${server.clustered} />`}
    <//>
    <div class=${role === 'act' ? 'halves' : undefined}>
      <${Followed} api=${api} app=${app} name=${name} />
      ${role === 'act' && data && html`<${Test} api=${api} app=${app} name=${name} kind=${data.kind} onSent=${reload} />`}
    </div>
    ${data && html`
      ${data.error && html`<p class="note note-warn" role="status">What only the cluster knows of this channel is missing: <${Text} value=${data.error} max=${300} /></p>`}
      <${Subscribers} data=${data} app=${app} offset=${offset} setQuery=${setQuery} clustered=${server.clustered} />
      <${Cached} data=${data} />
      ${!data.error && html`<${History} data=${data} />`}`}`;
}

/** The numbers of the channel, those of all nodes beside them. */
function Numbers({ data, clustered }) {
  const presence = data.kind.startsWith('presence');
  const all = (here, total) => clustered && html`<span class="hint">of this node; ${count(total)} of all</span>`;
  const items = [
    ['Subscribers', count(data.subscriptions), all(data.subscriptions, data.total_subscriptions)],
    presence && ['Members', count(data.users), all(data.users, data.total_users)],
    ['Events a second', perSecond(data.rate), null],
    ['Last event', html`<${Text} value=${data.last_event} max=${40} none="none yet" />`, data.last_at > 0 && html`<span class="hint"><${Time} at=${data.last_at} /></span>`],
  ].filter(Boolean);
  return html`<dl class="numbers">
    ${items.map(([label, value, more]) => html`<div key=${label}><dt>${label}</dt><dd><span class="number">${value}</span>${more}</dd></div>`)}
  </dl>`;
}

/** What happens on the channel, the newest first. */
function Followed({ api, app, name }) {
  const [state, setState] = useState({ records: [], skipped: 0 });
  const [{ open, error, missed }, setStream] = useState({});
  const [paused, setPaused] = useState(false);
  const held = useRef({ records: [], skipped: 0 });
  const holding = useRef(false);
  holding.current = paused;
  useEffect(() => api.live(
    { app, channel: name, exact: 1 },
    (records, skipped) => {
      // Each row need not say which channel this is.
      const news = records.map(({ channel, ...rest }) => rest).reverse();
      const before = held.current;
      held.current = { records: [...news, ...before.records].slice(0, kept), skipped: before.skipped + skipped };
      if (!holding.current) setState(held.current);
    },
    (changes) => setStream((old) => ({ ...old, ...changes })),
  ), [app, name]);
  const toggle = () => {
    if (paused) setState(held.current);
    setPaused(!paused);
  };
  const { records, skipped } = state;
  const status = [
    open === false ? 'The stream is interrupted; it is opened again.' : open === undefined ? 'opening …' : paused ? 'paused' : `following, ${plural(records.length, 'record')}`,
    missed && whileHidden,
  ].filter(Boolean).join(', ');
  return html`<section class="card" aria-labelledby="followed">
    <header class="head">
      <h2 id="followed">Live</h2>
      <${Status} class="mute" text=${status} />
      <span class="spring"></span>
      <button type="button" aria-pressed=${paused} onClick=${toggle}>${paused ? 'Resume' : 'Pause'}</button>
      <a class="button" href=${href('live', { app, channel: name })}>Open in Live</a>
    </header>
    <${ErrorNote} error=${error} />
    ${skipped > 0 && html`<p class="note note-warn">${plural(skipped, 'record')} came too fast, and ${skipped === 1 ? 'was' : 'were'} skipped.</p>`}
    ${records.length
      ? html`<div class="followed" tabindex="0" role="group" aria-label="What happened on this channel">
          <ul class="feed" aria-label="Records, newest first">${records.map((record) => html`<${Record} key=${record.id} record=${record} />`)}</ul>
        </div>`
      : html`<${Empty}>Nothing has happened since this page was opened. Events, subscriptions and refusals appear here as they come.<//>`}
  </section>`;
}

/** What is wrong with a text as JSON, or nothing. */
function fault(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    return error.message.replace(/^JSON\.parse: /, '');
  }
}

/** Whether clients may send events on a channel of a kind, by the rule of the protocol. */
const allowsClientEvents = (kind) => ['private', 'private-cache', 'presence', 'presence-cache'].includes(kind);

function Test({ api, app, name, kind, onSent }) {
  const [as, setAs] = useState('server');
  const [event, setEvent] = useState('test');
  const [data, setData] = useState('{"hello":"world"}');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState();
  const [sent, setSent] = useState();
  const encrypted = kind.includes('encrypted');
  const client = allowsClientEvents(kind);
  const wrong = fault(data);
  const unnamed = as === 'client' && !event.startsWith('client-') && 'The name of a client event begins with client-.';
  const choose = (next) => {
    setAs(next);
    setEvent(next === 'client' ? `client-${event.replace(/^client-/, '')}` : event.replace(/^client-/, ''));
  };
  const send = async (submitted) => {
    submitted.preventDefault();
    setBusy(true);
    setError();
    try {
      const { recipients } = await api.post('events', { app, channel: name, event, data, as });
      setSent({ event, recipients, at: serverNow() });
      onSent();
    } catch (failed) {
      setSent();
      setError(failed);
    }
    setBusy(false);
  };
  const option = (value, label, hint, off) => html`<label class="choice">
    <input type="radio" name="as" value=${value} checked=${as === value} disabled=${off} onChange=${() => choose(value)} />
    <span><strong>${label}</strong><span class="hint">${hint}</span></span>
  </label>`;
  return html`<section class="card" aria-labelledby="test">
    <h2 id="test">Send a test event</h2>
    ${encrypted
      ? html`<p class="note note-info">This channel is encrypted end to end. The server has no key, so its clients could not read what it sent: publish by your application instead.</p>`
      : html`<form class="form" onSubmit=${send}>
        <fieldset class="choices">
          <legend>As</legend>
          ${option('server', 'server', 'as an application publishes it')}
          ${option('client', 'client', client ? 'as a client of the channel sends it' : 'only on private and presence channels', !client)}
        </fieldset>
        <${Field} label="Event" value=${event} required error=${unnamed} onInput=${({ target }) => setEvent(target.value)} />
        <${Field} label="Data" as="textarea" rows="4" value=${data} onInput=${({ target }) => setData(target.value)}
          hint=${wrong ? `Not JSON: ${wrong}. It is sent as text.` : `JSON, ${bytes(new TextEncoder().encode(data).length)}`} />
        <${ErrorNote} error=${error} />
        <p class="actions">
          <span role="status" class="told">${sent && html`${clock(sent.at)}: ${show(sent.event)} went to ${plural(sent.recipients, 'subscriber')}.`}</span>
          <button type="submit" class="primary" disabled=${busy || Boolean(unnamed) || !event}>Send</button>
        </p>
      </form>`}
  </section>`;
}

function Subscribers({ data, app, offset, setQuery, clustered }) {
  const columns = [
    { key: 'socket_id', label: 'Socket', head: true, render: (row) => html`<a class="id" href=${href('connection', { app, id: row.socket_id })}>${show(row.socket_id)}</a>` },
    { key: 'user_id', label: 'User', render: (row) => html`<${Text} value=${row.user_id} max=${80} none="not signed in" />` },
  ];
  const presence = data.kind.startsWith('presence');
  return html`<section class="part">
    <h2>${presence ? 'Members' : 'Subscribers'}${clustered ? ' of this node' : ''}</h2>
    <${Table} caption=${presence ? 'Members' : 'Subscribers'} columns=${columns} rows=${data.subscribers} rowKey=${(row) => row.socket_id}
      empty="Nobody is subscribed. Whoever subscribes appears here." />
    <${Pager} offset=${offset} limit=${limit} total=${data.subscribers_total} what="subscribers" onChange=${(to) => setQuery({ offset: to || undefined })} />
  </section>`;
}

function Cached({ data: { kind, cached } }) {
  if (!kind.includes('cache') && !cached) return null;
  return html`<section class="part">
    <h2>Cached event</h2>
    ${cached
      ? html`<p><${Payload} data=${cached.data} size=${cached.data_bytes} what="cached data" />
          ${cached.ttl_ms > 0 && html` <span class="mute">forgotten in ${duration(cached.ttl_ms)}</span>`}</p>`
      : html`<${Empty}>Nothing is cached. The next event of this channel is kept for new subscribers.<//>`}
  </section>`;
}

function History({ data: { history } }) {
  const [events, all] = useFirst(history ? [...history.events].reverse() : [], 10, 'events');
  if (!history) {
    return html`<section class="part">
      <h2>History</h2>
      <${Empty}>This channel keeps no history. An entry of <code>history</code> in the app's configuration that matches its name changes that.<//>
    </section>`;
  }
  const columns = [
    { key: 'serial', label: 'Serial', num: true, render: (row) => html`<span class="mono">${show(row.serial)}</span>` },
    { key: 'name', label: 'Event', head: true, render: (row) => html`<${Text} value=${row.name} max=${120} />` },
    { key: 'time', label: 'Came', num: true, render: (row) => html`<${Time} at=${row.time_ms} />` },
    { key: 'data', label: 'Data', render: (row) => html`<${Payload} data=${row.data} size=${row.data_bytes} what=${`data of ${show(row.name)}`} />` },
  ];
  return html`<section class="part">
    <h2>History</h2>
    ${!history.complete && history.events.length > 0 && html`<p class="hint">Older events are not kept any more, or not shown.</p>`}
    <${Table} caption="Last events, the newest first" columns=${columns} rows=${events} rowKey=${(row) => row.serial}
      empty="No event is kept yet. The next one appears here." />
    ${all}
  </section>`;
}
