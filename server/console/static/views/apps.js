// What each app uses of what it may.

import { bytes, count, duration, href, plural, show } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Loaded, offsetOf, Search, useFocusKept, useWithin } from '../lib/parts.js';
import { Badge, Empty, Meter, Pager, Text, useId } from '../lib/ui.js';
import { html } from '../vendor/preact.js';

const titles = {
  connections: 'Connections',
  subscriptions: 'Subscriptions',
  channels: 'Channels',
  events: 'Events a second',
  messages: 'Messages from clients a second',
  requests: 'API requests a second',
};

const title = (name) => titles[name] ?? show(name).replaceAll('_', ' ').replace(/^./, (c) => c.toUpperCase());

/** A number of what a key of the configuration limits; times are in seconds. */
function amount(key, n) {
  if (key.includes('bytes')) return bytes(n);
  return /timeout|require_signin/.test(key) ? duration(n * 1000) : count(n);
}

const limit = 24;

export default function Apps({ api, query, setQuery }) {
  const q = query.get('q') ?? '';
  const sort = query.get('sort') ?? 'id';
  const offset = offsetOf(query);
  const { data, error, reload } = usePoll((signal) => api.get('apps', { q, sort, offset, limit }, { signal }), 3000, [q, sort, offset]);
  useFocusKept();
  useWithin(data?.apps, { offset, limit, total: data?.total, setQuery });
  return html`
    <div class="bar">
      <${Search} label="Search" filter class="grow" value=${q} onChange=${(next) => setQuery({ q: next, offset: undefined })} placeholder="part of an app's id or key" />
      <label class="chooser"><span>Sort</span>
        <select value=${sort} onChange=${({ target }) => setQuery({ sort: target.value, offset: undefined })}>
          <option value="id">by id</option>
          <option value="connections">by connections</option>
        </select></label>
    </div>
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => html`
        ${data.apps.length
          ? html`<div class="cards ragged">${data.apps.map((app) => html`<${App} key=${app.id} app=${app} />`)}</div>`
          : html`<${Empty}>${q
              ? html`No app has <${Text} value=${q} /> in its id or its key.`
              : html`There is no app. Those of <code>apps</code> in the configuration appear here.`}<//>`}
        <${Pager} offset=${offset} limit=${limit} total=${data.total} what="apps" onChange=${(to) => setQuery({ offset: to || undefined }, { push: true })} />`}
    <//>`;
}

/** What is not known of an app that shares its metrics with others. */
const counted = ['events', 'messages', 'requests'];

function App({ app: { id, key, enabled, use, met, shared } }) {
  return html`<section class="card">
    <header class="head">
      <h2><${Text} value=${id} max=${60} /></h2>
      <${Badge} kind=${enabled ? 'ok' : 'warn'}>${enabled ? 'enabled' : 'not enabled'}<//>
      <span class="spring"></span>
      <span class="links">
        <a href=${href('connections', { app: id })}>Connections<span class="sr"> of ${show(id)}</span></a>
        <a href=${href('channels', { app: id })}>Channels<span class="sr"> of ${show(id)}</span></a>
      </span>
    </header>
    <p class="mute">Key <span class="mono"><${Text} value=${key} max=${60} /></span></p>
    <ul class="uses">${use.filter(({ name }) => !shared || !counted.includes(name)).map((each) => html`<${Use} key=${each.name} use=${each} shared=${shared} />`)}</ul>
    <h3>Limits that were met</h3>
    ${shared
      ? html`<p class="mute">Not known, nor what is sent and received: the app is not among the busiest, and counted with others. See <code>metrics.per_app</code>.</p>`
      : met.length
      ? html`<ul class="met">${met.map((each) => html`<${Met} key=${each.key} met=${each} />`)}</ul>`
      : html`<p class="mute">None lately. A limit that refuses something appears here.</p>`}
  </section>`;
}

/** What there is of something: now, at most so far, and what is allowed. */
function Use({ use: { name, now, peak, limit, key: setting }, shared }) {
  const id = useId('use');
  const value = (n) => amount(name, n);
  return html`<li class="use">
    <span class="use-name" id=${id}>${title(name)}</span>
    <span class="use-now"><b>${value(now)}</b>${limit > 0 && html` <span class="mute">of ${value(limit)}</span>`}</span>
    ${limit > 0 && html`<${Meter} now=${now} limit=${limit} labelledby=${id} />`}
    <span class="hint use-more">${(!shared || name === 'connections') && `peak ${value(peak)} · `}${limit > 0 ? '' : 'no limit'}${setting && html`${limit > 0 ? '' : ' · '}<code>${show(setting)}</code>`}</span>
  </li>`;
}

/** A limit that has refused something. */
const Met = ({ met: { key: setting, limit, times } }) => html`<li>
  <${Badge} kind="warn">${plural(times, 'time')}<//> <code>${show(setting)}</code>${limit > 0 && html` <span class="mute">${amount(setting, limit)}</span>`}
</li>`;
