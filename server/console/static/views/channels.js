// The channels of an app that somebody is subscribed to.

import { count, href } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Kind, Loaded, offsetOf, perSecond, Search, useFocusKept, useWithin } from '../lib/parts.js';
import { Pager, Table, Text, Time } from '../lib/ui.js';
import { html } from '../vendor/preact.js';

const limit = 50;

export default function Channels(props) {
  return html`<${List} key=${props.app} ...${props} />`;
}

function List({ api, app, server, query, setQuery }) {
  const q = query.get('q') ?? '';
  const sort = query.get('sort') ?? 'subscriptions';
  const offset = offsetOf(query);
  const { data, error, reload } = usePoll(
    (signal) => api.get('channels', { app, q, sort, offset, limit }, { signal }),
    5000,
    [q, sort, offset],
  );
  useFocusKept();
  useWithin(data?.channels, { offset, limit, total: data?.total, setQuery });

  const columns = [
    { key: 'name', label: 'Channel', head: true, sort: 'name', render: (row) => html`<a href=${href('channel', { app, name: row.name })}><${Text} value=${row.name} max=${64} /></a>` },
    { key: 'kind', label: 'Kind', render: (row) => html`<${Kind} kind=${row.kind} />` },
    { key: 'subscriptions', label: 'Subscribers', num: true, sort: 'subscriptions', render: (row) => count(row.subscriptions) },
    { key: 'users', label: 'Members', num: true, sort: 'users', render: (row) => (row.kind.startsWith('presence') ? count(row.users) : html`<span class="none">–</span>`) },
    { key: 'rate', label: 'Events/s', num: true, sort: 'rate', render: (row) => (row.rate ? perSecond(row.rate) : html`<span class="none">0</span>`) },
    { key: 'last_event', label: 'Last event', render: (row) => html`<span class="cell"><${Text} value=${row.last_event} max=${60} none="none yet" /></span>` },
    { key: 'last', label: 'Came', num: true, sort: 'last', render: (row) => html`<${Time} at=${row.last_at} none="–" />` },
  ];

  return html`
    <div class="bar">
      <${Search} label="Search" filter class="grow" value=${q} onChange=${(next) => setQuery({ q: next, offset: undefined })} placeholder="part of a channel's name" />
    </div>
    ${server.clustered && html`<p class="hint">The numbers are those of this node. A channel's page has those of all nodes, too.</p>`}
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => html`
        <div class="dense"><${Table} caption="Channels" columns=${columns} rows=${data.channels} rowKey=${(row) => row.name}
          sort=${sort} descending=${sort !== 'name'} onSort=${(by) => setQuery({ sort: by, offset: undefined })}
          empty=${q
            ? html`No occupied channel of this app has <${Text} value=${q} /> in its name. <a href=${href('channel', { app, name: q })}>Open the channel of that name</a> all the same.`
            : html`Nobody is subscribed to a channel of this app. A channel appears here with its first subscriber and goes with its last.`} /></div>
        <${Pager} offset=${offset} limit=${limit} total=${data.total} what="channels" onChange=${(to) => setQuery({ offset: to || undefined }, { push: true })} />`}
    <//>`;
}
