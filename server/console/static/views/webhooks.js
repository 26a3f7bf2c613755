// The endpoints of an app that are told what happens, and how that goes.

import { count, duration, plural, relative, show } from '../lib/format.js';
import { useNow, usePoll } from '../lib/hooks.js';
import { Loaded, useFirst, useFocusKept } from '../lib/parts.js';
import { Badge, Definitions, Empty, ErrorNote, Field, Table, Text, Time } from '../lib/ui.js';
import { html, useState } from '../vendor/preact.js';

/** How long a test may take, in milliseconds: the server gives up before. */
const testing = 30_000;

/** What an endpoint may be told. */
const events = [
  'channel_occupied',
  'channel_vacated',
  'member_added',
  'member_removed',
  'client_event',
  'cache_miss',
  'subscription_count',
];

export default function View(props) {
  return html`<${Webhooks} key=${props.app} ...${props} />`;
}

function Webhooks({ api, app, role }) {
  const { data, error, reload } = usePoll((signal) => api.get('webhooks', { app }, { signal }), 3000, []);
  useFocusKept();
  return html`<${Loaded} data=${data} error=${error} reload=${reload}>
    ${() => data.endpoints.length
      ? data.endpoints.map((endpoint) => html`<${Endpoint} key=${`${endpoint.index} ${endpoint.url}`} endpoint=${endpoint} api=${api} app=${app} role=${role} onTested=${reload} />`)
      : html`<${Empty}>This app tells nobody what happens. Entries of <code>webhooks</code> in its configuration, each with a <code>url</code>, appear here.<//>`}
  <//>`;
}

/** One word for how an endpoint is. */
function State({ endpoint: { failing_since: failing, requests } }) {
  if (failing) return html`<${Badge} kind="bad">failing<//>`;
  return requests.length ? html`<${Badge} kind="ok">in order<//>` : html`<${Badge}>not asked yet<//>`;
}

function Endpoint({ endpoint, api, app, role, onTested }) {
  const { url, events: wanted, prefix, suffix, queued, failing_since: failing, next_try_at: next, requests } = endpoint;
  const [last, all] = useFirst(requests, 5, 'requests');
  const columns = [
    { key: 'at', label: 'When', head: true, render: (row) => html`<${Time} at=${row.at} />` },
    { key: 'answer', label: 'Answer', render: (row) => html`<${Answer} ...${row} />` },
    { key: 'events', label: 'Events', num: true, render: (row) => count(row.events) },
    { key: 'duration', label: 'Took', num: true, render: (row) => duration(row.duration_ms) },
  ];
  return html`<section class="card">
    <header class="head"><h2 class="url"><${Text} value=${url} max=${200} /></h2><${State} endpoint=${endpoint} /></header>
    <div class="halves even">
      <${Definitions} items=${[
        ['Is told', wanted?.length && wanted.length < events.length ? html`<span class="badges">${wanted.map((name) => html`<${Badge} key=${name}>${show(name)}<//> `)}</span>` : 'every kind of event'],
        ['Of channels', prefix || suffix ? html`${prefix && html`that begin with <code><${Text} value=${prefix} /></code>`}${prefix && suffix && ' and '}${suffix && html`that end with <code><${Text} value=${suffix} /></code>`}` : 'all'],
        ['Waiting', plural(queued, 'event')],
        ['Failing since', failing > 0 ? html`<${Time} at=${failing} />` : ''],
        ['Next try', next > 0 ? html`<${Until} at=${next} />` : ''],
      ]} />
      ${role === 'act' && html`<${Test} endpoint=${endpoint} api=${api} app=${app} onTested=${onTested} />`}
    </div>
    <h3>Last requests</h3>
    <${Table} caption=${`Last requests to ${show(url)}`} columns=${columns} rows=${last} rowKey=${(row, i) => `${row.at} ${requests.length - i}`}
      empty="No request was sent since the server started. The next event that this endpoint wants makes one." />
    ${all}
  </section>`;
}

/** What came of a request. */
function Answer({ status, failure }) {
  const good = status >= 200 && status < 300 && !failure;
  return html`<${Badge} kind=${good ? 'ok' : 'bad'}>${status || 'none'}<//> ${failure && html`<${Text} value=${failure} max=${160} />`}`;
}

function Until({ at }) {
  const now = useNow();
  return at > now ? relative(at, now) : 'now';
}

function Test({ endpoint, api, app, onTested }) {
  const wanted = endpoint.events?.length ? endpoint.events : events;
  const [event, setEvent] = useState(wanted[0]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState();
  const [answer, setAnswer] = useState();
  const send = async (submitted) => {
    submitted.preventDefault();
    setBusy(true);
    setError();
    setAnswer();
    try {
      setAnswer(await api.post('webhooks/test', { app, index: endpoint.index, url: endpoint.url, event }, { within: testing }));
      onTested();
    } catch (failed) {
      setError(failed);
    }
    setBusy(false);
  };
  return html`<form class="form test" onSubmit=${send}>
    <div class="bar">
      <${Field} label="Test event" as="select" value=${event} onChange=${({ target }) => setEvent(target.value)}>
        ${wanted.map((name) => html`<option key=${name} value=${name}>${show(name)}</option>`)}
      <//>
      <button type="submit" disabled=${busy}>${busy ? 'Sending …' : 'Send a test'}</button>
    </div>
    <div role="status">${answer && html`The test was answered: <${Answer} ...${answer} /> <span class="mute">after ${duration(answer.duration_ms)}</span>`}</div>
    <${ErrorNote} error=${error} />
  </form>`;
}
