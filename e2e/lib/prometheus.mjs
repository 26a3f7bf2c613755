// A Prometheus of the test's own that scrapes a Belfry.

import path from 'node:path';

import { directory } from './belfry.mjs';
import { start } from './process.mjs';

/**
 * Resolves when a Prometheus listens that scrapes these targets ("host:port") as the job
 * belfry: {get, query, stop}. get(path, parameters) is the data of an answer of its API,
 * query(expression) the samples of an instant query. More arguments of Prometheus may follow.
 */
export async function startPrometheus(t, targets, ...more) {
  const cwd = await directory(t, {
    'prometheus.yml': JSON.stringify({
      global: { scrape_interval: '500ms', scrape_timeout: '500ms' },
      scrape_configs: [{ job_name: 'belfry', static_configs: [{ targets }] }],
    }),
  });
  const files = ['--config.file', path.join(cwd, 'prometheus.yml'), '--storage.tsdb.path', path.join(cwd, 'data')];
  const prometheus = await start('prometheus', 'prometheus', [...files, '--web.listen-address', '127.0.0.1:0', ...more], {
    ready: /msg="Listening on" address=(\S+)/,
  });
  t.after(() => prometheus.stop());
  async function get(path, parameters) {
    const answer = await fetch(`http://${prometheus.match[1]}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = await answer.json();
    if (status !== 'success') {
      throw new Error(`${path} ${JSON.stringify(parameters)}: ${error}`);
    }
    return data;
  }
  return { get, query: async (query) => (await get('query', { query })).result };
}
