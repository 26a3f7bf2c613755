// One connection, and where it is subscribed.

import { bytes, count, href, plural, show } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Disconnect, Library, Loaded, Transport, useFocusKept } from '../lib/parts.js';
import { Copy, Definitions, Empty, Table, Text, Time } from '../lib/ui.js';
import { html, useState } from '../vendor/preact.js';

const shown = 1000; // subscriptions that the server names at most

export default function View(props) {
  const id = props.query.get('id') ?? '';
  return html`<${Connection} key=${`${props.app} ${id}`} id=${id} ...${props} />`;
}

function Connection({ api, app, role, id }) {
  // What it was is still of interest when it has gone.
  const [gone, setGone] = useState(false);
  const { data, error, reload } = usePoll(
    async (signal) => {
      const answer = await api.get(`connections/${encodeURIComponent(id)}`, { app }, { signal }).catch((failed) => {
        if (failed.status === 404) setGone(true);
        throw failed;
      });
      setGone(false);
      return answer;
    },
    3000,
    [],
  );
  const [leaving, setLeaving] = useState(false);
  const [left, setLeft] = useState();
  useFocusKept();

  const actions = html`<p class="actions start">
    <a class="button" href=${href('live', { app, socket: id })}>Follow it in Live</a>
    ${role === 'act' && !gone && data && html`<button type="button" class="danger" onClick=${() => setLeaving(true)}>Disconnect</button>`}
  </p>`;

  return html`
    <p class="back"><a href=${href('connections', { app })}>Connections</a></p>
    <h1>Connection <span class="id">${show(id)}</span> <${Copy} text=${id} what="socket id" /></h1>
    ${gone &&
    html`<div class="note note-warn" role="status">
      ${data
        ? html`This connection is gone${left ? `: it was closed with ${left}` : ''}. Below is what it was.`
        : html`This app has no connection with the socket id <${Text} value=${id} none="(none)" /> on this node. It is gone, or never was here.`}
      ${' '}A client that connects again has another socket id: look for its user or address in <a href=${href('connections', { app, q: data?.user_id || data?.remote })}>Connections</a>.
    </div>`}
    ${actions}
    <${Loaded} data=${data ?? (gone || undefined)} error=${gone ? undefined : error} reload=${reload}>
      ${() => data && html`
        <${Definitions} items=${[
          ['User', html`<${Text} value=${data.user_id} none="not signed in" max=${200} />`],
          ['Address', html`<span class="id"><${Text} value=${data.remote} /></span>`],
          ['Transport', html`<${Transport} name=${data.transport} />`],
          ['Client', html`<${Library} client=${data.client} version=${data.version} />`],
          ['Origin', html`<${Text} value=${data.origin} none="none told" max=${200} />`],
          ['Opened', html`<${Time} at=${data.opened_at} />`],
          ['Last sign of life', html`<${Time} at=${data.seen_at} />`],
          ['Waiting to be sent', data.waiting_bytes ? html`<strong>${bytes(data.waiting_bytes)}</strong>` : 'nothing'],
        ]} />
        <h2>${plural(data.channels, 'channel')}</h2>
        ${data.channels > data.subscriptions.length && html`<p class="hint">The first ${count(data.subscriptions.length || shown)} are shown.</p>`}
        ${data.subscriptions.length
          ? html`<${Table} caption="Subscriptions" rowKey=${(row) => row.channel} rows=${data.subscriptions} columns=${[
              { key: 'channel', label: 'Channel', head: true, render: (row) => html`<a href=${href('channel', { app, name: row.channel })}><${Text} value=${row.channel} max=${200} /></a>` },
              { key: 'user_id', label: 'As', render: (row) => html`<${Text} value=${row.user_id} none="no user" max=${64} />` },
            ]} />`
          : html`<${Empty}>It is subscribed to no channel. What it subscribes to appears here.<//>`}`}
    <//>
    ${leaving && html`<${Disconnect} api=${api} app=${app} id=${id} onDone=${(code) => { setLeft(code); reload(); }} onClose=${() => setLeaving(false)} />`}`;
}
