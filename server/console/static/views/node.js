// What the node does: the process, what it uses, the cluster, and the last hour.

import { bytes, count, dateTime, duration, show } from '../lib/format.js';
import { usePoll } from '../lib/hooks.js';
import { Loaded } from '../lib/parts.js';
import { Plot, timeOfDay } from '../lib/plot.js';
import { Badge, Definitions, Empty, Meter, Table, Text, Time } from '../lib/ui.js';
import { html, useState } from '../vendor/preact.js';

const every = 10_000;

/** Per second, with a digit where there are few. */
const rate = (n) => `${n < 10 ? Number(n.toFixed(1)) : count(Math.round(n))}`;
const percent = (n) => `${n < 10 ? Number(n.toFixed(1)) : Math.round(n)} %`;

// The grid of bytes: powers of two.
const binary = Array.from({ length: 42 }, (_, i) => 2 ** i);

/** What is plotted: a title, how values are written, and the series with their names. */
const plots = [
  { title: 'CPU', format: percent, of: { cpu_percent: 'CPU' } },
  { title: 'Memory', format: bytes, steps: binary, of: { memory_bytes: 'resident', heap_bytes: 'heap' } },
  { title: 'Connections', format: (n) => count(Math.round(n)), of: { connections: 'open' } },
  { title: 'Messages a second', format: rate, of: { sent: 'sent', received: 'received' } },
  { title: 'Published events a second', format: rate, of: { published: 'published' } },
  { title: 'Delay of an event', format: duration, of: { delay_p99_ms: 'p99', delay_p50_ms: 'p50' } },
];

export default function Node({ api, server }) {
  const { data, error, reload } = usePoll((signal) => api.get('node', {}, { signal }), every, []);
  const node = { ...server, ...data };
  return html`
    <div class="cards three">
      <${Process} node=${node} />
      ${data && html`<${Use} node=${node} />`}
      <${Cluster} node=${node} />
    </div>
    <${Loaded} data=${data} error=${error} reload=${reload}>
      ${() => html`<${Plots} series=${node.series} /><${Nodes} node=${node} />`}
    <//>`;
}

function Process({ node }) {
  return html`<section class="card" aria-labelledby="process">
    <h2 id="process">What runs</h2>
    <${Definitions} items=${[
      ['Version', html`<${Text} value=${node.version} />${node.revision && html` <span class="mono mute">${show(node.revision.slice(0, 12))}</span>`}`],
      ['Up for', html`<span title=${`since ${dateTime(node.started_at)}`}>${duration(node.now_at - node.started_at)}</span>`],
      ['Host', html`<${Text} value=${node.host} max=${60} />`],
      ['Process', html`<span class="mono">${node.pid}</span>`],
      ['Built with', show(node.go)],
      ['Configuration', node.config ? html`<span class="mono"><${Text} value=${node.config} max=${80} /></span>` : 'none: the defaults and the environment'],
    ]} />
  </section>`;
}

/** What the process uses of its machine. */
function Use({ node: { cpu_percent: cpu, memory_bytes: memory, descriptors } }) {
  return html`<section class="card" aria-labelledby="use">
    <h2 id="use">What it uses</h2>
    <${Definitions} items=${[
      ['CPU', html`${percent(cpu)} <span class="mute">of one core</span>`],
      ['Memory', bytes(memory)],
      ['Descriptors', html`<span id="descriptors">${count(descriptors.now)}${descriptors.limit > 0 && html` <span class="mute">of ${count(descriptors.limit)}</span>`}</span>
        ${descriptors.limit > 0 && html`<${Meter} ...${descriptors} labelledby="descriptors" />`}`],
    ]} />
  </section>`;
}

const drivers = { local: 'none: this node is alone', redis: 'Redis' };

function Cluster({ node: { cluster, clustered } }) {
  return html`<section class="card" aria-labelledby="cluster">
    <h2 id="cluster">Cluster</h2>
    <${Definitions} items=${[
      ['Driver', drivers[cluster.driver] ?? show(cluster.driver)],
      ['State', clustered ? html`<${Badge} kind=${cluster.ready ? 'ok' : 'bad'}>${cluster.ready ? 'connected' : 'not connected'}<//>` : ''],
      ['Error', cluster.error && html`<${Text} value=${cluster.error} max=${300} />`],
    ]} />
    ${clustered && !cluster.ready && html`<p class="hint">What clients of this node do reaches the other nodes once it is connected again. Its own clients stay connected.</p>`}
  </section>`;
}

function Nodes({ node: { nodes, clustered } }) {
  if (!clustered) return null;
  const columns = [
    { key: 'id', label: 'Node', head: true, render: (row) => html`<span class="mono"><${Text} value=${row.id} max=${40} /></span>${row.self && html` <${Badge} kind="info">this one<//>`}` },
    { key: 'host', label: 'Host', render: (row) => html`<${Text} value=${row.host} max=${60} />` },
    { key: 'version', label: 'Version', render: (row) => html`<${Text} value=${row.version} max=${40} />` },
    { key: 'connections', label: 'Connections', num: true, render: (row) => count(row.connections) },
    { key: 'seen', label: 'Heard of', num: true, render: (row) => html`<${Time} at=${row.seen_at} />` },
  ];
  return html`<section class="part">
    <h2>Nodes</h2>
    <${Table} caption="Nodes of the cluster" columns=${columns} rows=${nodes ?? []} rowKey=${(row) => row.id}
      empty="No node is known. Each node that is connected to the same Redis appears here." />
  </section>`;
}

function Plots({ series }) {
  if (!series?.at?.length) {
    return html`<section class="part"><h2>The last hour</h2><${Empty}>Nothing has been measured yet. The first point appears ${series?.every_s ?? 10} seconds after the start.<//></section>`;
  }
  return html`<section class="part">
    <h2>The last hour</h2>
    <div class="plots">
      ${plots.map(({ title, format, steps, of }) => html`<${Plot} key=${title} title=${title} format=${format} steps=${steps} at=${series.at}
        lines=${Object.entries(of).map(([name, label]) => ({ name: label, values: series[name] ?? [] }))} />`)}
    </div>
    <${Numbers} series=${series} />
  </section>`;
}

/** The plots as a table, a row a minute. */
function Numbers({ series }) {
  const [open, setOpen] = useState(false);
  const step = Math.max(1, Math.round(60 / series.every_s));
  const rows = [];
  for (let i = series.at.length - 1; i >= 0; i -= step) rows.push(i);
  const columns = [
    { key: 'at', label: 'Time', head: true, render: (i) => timeOfDay(series.at[i]) },
    ...plots.flatMap(({ title, format, of }) => Object.entries(of).map(([name, label]) => ({
      key: name,
      label: Object.keys(of).length > 1 ? `${title}: ${label}` : title,
      num: true,
      render: (i) => (series[name]?.[i] == null ? html`<span class="none">–</span>` : format(series[name][i])),
    }))),
  ];
  return html`<details open=${open} onToggle=${({ target }) => setOpen(target.open)}>
    <summary>The same as a table</summary>
    ${open && html`<${Table} caption="The last hour, the newest first" columns=${columns} rows=${rows} rowKey=${(i) => series.at[i]} />`}
  </details>`;
}
