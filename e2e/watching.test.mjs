// What deploy/ has for Grafana and Prometheus, against a Prometheus that scrapes a Belfry
// at work: every query of the dashboard and every metric of an alert has data.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { before, test } from 'node:test';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, errorsOf, newBackend, newClient, subscribe } from './lib/clients.mjs';
import { examples } from './lib/docs.mjs';
import { run } from './lib/process.mjs';
import { startPrometheus } from './lib/prometheus.mjs';
import { eventually } from './lib/wait.mjs';

const deploy = (name) => fileURLToPath(new URL(`../deploy/${name}`, import.meta.url));

let dashboard;
before(async () => {
  dashboard = JSON.parse(await readFile(deploy('grafana/belfry.json'), 'utf8'));
});

/** An endpoint of webhooks that takes those to / and refuses those to /refuse, and knows no app. */
async function startEndpoint() {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://endpoint');
    response.writeHead({ '/refuse': 400, '/apps': 404 }[pathname] ?? 200).end();
    request.resume();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref(); // it must outlive Belfry, which tells it that clients leave
  return `http://127.0.0.1:${server.address().port}`;
}

/** Belfry with subscribers, on which every panel that is empty by day has something to show. */
async function startWorking(t) {
  const endpoint = await startEndpoint();
  const settings = `client_event_rate: 1
    history: [{channels: "kept-*"}]
    webhooks: [{url: "${endpoint}/"}, {url: "${endpoint}/refuse"}]`;
  const from = `apps_from: {url: "${endpoint}/apps", negative_ttl: 0s}`;
  const belfry = await startBelfry({ config: configuration({ settings }) + from });
  t.after(() => belfry.stop());
  const backend = newBackend(belfry);
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend) });
  errorsOf(client); // that it sends too much; nobody is surprised
  await subscribe(client, 'kept-news');
  const { channel } = await subscribe(client, 'private-room');
  /** Publishes, comes and goes, is refused, and meets a limit. */
  async function work() {
    const guest = await connect(t, belfry);
    guest.disconnect();
    channel.trigger('client-wave', {});
    await backend.trigger('kept-news', 'posted', {});
    await fetch(`${belfry.url}/apps/${app.id}/channels`); // without a signature: 401
    const stranger = newClient(t, belfry, { key: 'unknown' });
    await errorsOf(stranger).next();
    stranger.disconnect();
  }
  return { belfry, work };
}

test('every query of the dashboard has data', async (t) => {
  const { belfry, work } = await startWorking(t);
  const { get, query } = await startPrometheus(t, [`${belfry.host}:${belfry.port}`]);

  // The variables, as Grafana asks for them.
  const values = {};
  for (const { name, type, query: of } of dashboard.templating.list.filter(({ name }) => name !== 'datasource')) {
    assert.equal(type, 'query', name);
    const [, selector, label] = of.query.match(/^label_values\((.*), (\w+)\)$/);
    values[name] = await eventually(`values of ${name}`, async () => {
      const found = await get(`label/${label}/values`, { 'match[]': fill(selector, values) });
      return found.length > 0 && found;
    });
  }
  assert.deepEqual(values, { instance: [`${belfry.host}:${belfry.port}`], app: [app.id] });

  const targets = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
  const annotations = dashboard.annotations.list.map(({ name, expr }) => ({ title: name, expr: expr.replace(/ > 0$/, '') }));
  for (const { title, expr } of [...targets, ...annotations]) {
    await eventually(`${title}: ${expr}`, async () => {
      await work();
      const samples = await query(fill(expr, { ...values, app: ['.*'] }));
      return samples.length > 0 && samples.every(({ value: [, value] }) => Number.isFinite(Number(value)));
    });
  }

  await t.test('and so has every metric of an alert', async () => {
    const text = await readFile(deploy('prometheus/alerts.yaml'), 'utf8');
    for (const metric of [...new Set(text.match(/\b(belfry|process)_\w+/g)), 'up{job="belfry"} == 1']) {
      await eventually(metric, async () => (await query(metric)).length > 0);
    }
  });
});

test('a Prometheus that wants native histograms gets them', async (t) => {
  const { belfry, work } = await startWorking(t);
  const native = '--enable-feature=native-histograms';
  const { query } = await startPrometheus(t, [`${belfry.host}:${belfry.port}`], native);
  const [expr] = (await examples('monitoring.md', 'promql')).map((text) => text.trim());
  const [{ value }] = await eventually(expr, async () => {
    await work();
    const samples = await query(expr);
    return samples.length > 0 && Number.isFinite(Number(samples[0].value[1])) && samples;
  });
  assert.ok(Number(value[1]) > 0);
  const metrics = ['belfry_delivery_delay_seconds', 'belfry_api_request_duration_seconds', 'belfry_webhooks_request_duration_seconds'];
  for (const metric of metrics) {
    await eventually(metric, async () => (await query(`histogram_count(${metric}) > 0`)).length > 0);
  }
});

/** A query with its variables: a list of values stands for any of them. */
function fill(text, values) {
  const all = { ...values, __rate_interval: ['1m'] };
  return text.replace(/\$(\w+)/g, (_, name) => (all[name].length === 1 ? all[name][0] : `(${all[name].join('|')})`));
}

test('the dashboard is sound', () => {
  const ids = dashboard.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, 'an id twice');
  const taken = new Map();
  for (const { title, description, type, datasource, gridPos: { x, y, w, h } } of dashboard.panels) {
    if (type !== 'row') {
      assert.ok(description, `${title} has no description`);
      assert.equal(datasource.uid, '${datasource}', title);
    }
    assert.ok(x + w <= 24, `${title} is too wide`);
    for (let cell = 0; cell < w * h; cell++) {
      const at = `${x + (cell % w)} ${y + Math.floor(cell / w)}`;
      assert.ok(!taken.has(at), `${title} lies on ${taken.get(at)}`);
      taken.set(at, title);
    }
  }
});

test('the alerts fire when they should, and only then', async () => {
  const { code, stdout, stderr } = await run('promtool', ['test', 'rules', deploy('prometheus/alerts_test.yaml')]);
  assert.equal(code, 0, stdout + stderr);
});

test('docs/monitoring.md names every alert', async () => {
  const names = (text, pattern) => [...text.matchAll(pattern)].map(([, name]) => name).sort();
  const alerts = await readFile(deploy('prometheus/alerts.yaml'), 'utf8');
  const docs = await readFile(deploy('../docs/monitoring.md'), 'utf8');
  assert.deepEqual(names(docs, /`(Belfry\w+)`/g), names(alerts, /alert: (\w+)/g));
});
