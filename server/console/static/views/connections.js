// The connections of an app, found by whatever is known of one.

import { count, href, show } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Disconnect, Library, Loaded, offsetOf, Search, Transport, useFocusKept, useWithin } from '../lib/parts.js';
import { Bytes, Pager, Table, Text, Time } from '../lib/ui.js';
import { html, useState } from '../vendor/preact.js';

const limit = 50;

export default function Connections(props) {
  return html`<${List} key=${props.app} ...${props} />`;
}

function List({ api, app, role, query, setQuery }) {
  const q = query.get('q') ?? '';
  const sort = query.get('sort') ?? 'opened';
  const offset = offsetOf(query);
  const { data, error, reload } = usePoll(
    (signal) => api.get('connections', { app, q, sort, offset, limit }, { signal }),
    5000,
    [q, sort, offset],
  );
  const [leaving, setLeaving] = useState();
  useFocusKept();
  useWithin(data?.connections, { offset, limit, total: data?.total, setQuery });

  const columns = [
    { key: 'socket_id', label: 'Socket', head: true, render: (row) => html`<a class="id" href=${href('connection', { app, id: row.socket_id })}>${show(row.socket_id)}</a>` },
    { key: 'user_id', label: 'User', render: (row) => html`<span class="cell"><${Text} value=${row.user_id} max=${48} /></span>` },
    { key: 'remote', label: 'Address', render: (row) => html`<span class="id cell"><${Text} value=${row.remote} max=${48} /></span>` },
    { key: 'transport', label: 'Transport', render: (row) => html`<${Transport} name=${row.transport} />` },
    { key: 'client', label: 'Client', render: (row) => html`<span class="cell short"><${Library} client=${row.client} version=${row.version} /></span>` },
    { key: 'channels', label: 'Channels', num: true, sort: 'channels', render: (row) => count(row.channels) },
    { key: 'waiting', label: 'Waiting', num: true, sort: 'waiting', render: (row) => (row.waiting_bytes ? html`<strong><${Bytes} n=${row.waiting_bytes} /></strong>` : html`<span class="none">0</span>`) },
    { key: 'opened', label: 'Opened', num: true, sort: 'opened', render: (row) => html`<${Time} at=${row.opened_at} />` },
    { key: 'seen', label: 'Last sign', num: true, sort: 'seen', render: (row) => html`<${Time} at=${row.seen_at} />` },
    role === 'act' && {
      key: 'act',
      label: '',
      render: (row) => html`<button type="button" class="small" title="Disconnect" aria-label=${`Disconnect ${show(row.socket_id)}`} onClick=${() => setLeaving(row.socket_id)}>✕</button>`,
    },
  ].filter(Boolean);

  return html`
    <div class="bar">
      <${Search} label="Search" filter class="grow" value=${q} onChange=${(next) => setQuery({ q: next, offset: undefined })}
        placeholder="socket id, user, address or channel" />
    </div>
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => html`
        <div class="dense"><${Table} caption="Connections" columns=${columns} rows=${data.connections} rowKey=${(row) => row.socket_id}
          sort=${sort} descending onSort=${(by) => setQuery({ sort: by, offset: undefined })}
          empty=${q
            ? html`No connection of this app has <${Text} value=${q} /> in its socket id, user id, address or channels.`
            : html`Nobody is connected to this app. A connection appears here as soon as a client opens one: <a href=${href('start', { app })}>Start</a> has the lines for yours.`} /></div>
        <${Pager} offset=${offset} limit=${limit} total=${data.total} what="connections" onChange=${(to) => setQuery({ offset: to || undefined }, { push: true })} />`}
    <//>
    ${leaving && html`<${Disconnect} api=${api} app=${app} id=${leaving} onDone=${reload} onClose=${() => setLeaving()} />`}`;
}
