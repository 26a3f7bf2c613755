// docs/openapi.yaml against the server: each operation and each of its answers.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv/dist/2020.js';
import { parse } from 'yaml';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';

const disabled = { id: 'disabled-id', key: 'disabled-key', secret: 'disabled-secret' };
const limited = { id: 'limited-id', key: 'limited-key', secret: 'limited-secret' };
const config = `${configuration({
  server: 'max_request_bytes: 20000',
  settings: 'history: [{channels: "kept-*"}]',
})}
  - {id: ${disabled.id}, key: ${disabled.key}, secret: ${disabled.secret}, enabled: false}
  - {id: ${limited.id}, key: ${limited.key}, secret: ${limited.secret}, api_request_rate: 1}
`;

const document = parse(await readFile(new URL('../docs/openapi.yaml', import.meta.url), 'utf8'));
const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema({ $id: 'openapi', ...document });

let belfry;

before(async () => {
  belfry = await startBelfry({ config });
});

after(() => belfry.stop());

/** What the document has at a pointer, which may lead through references: [value, pointer]. */
function find(...path) {
  let [value, pointer] = [document, '#'];
  for (const name of path) {
    value = value?.[name];
    pointer += `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (typeof value?.$ref === 'string') {
      [value, pointer] = find(...value.$ref.slice(2).split('/'));
    }
  }
  return [value, pointer];
}

/** Fails if value is not what the document says at these steps. */
function fits(what, value, ...path) {
  const [schema, pointer] = find(...path);
  assert.ok(schema !== undefined, `${what}: the document has no ${path.join(' ')}`);
  const validate = ajv.compile({ $ref: `openapi${encodeURI(pointer)}` });
  assert.ok(validate(value), `${what}: ${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`);
}

const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  ['get', 'post'].filter((method) => item[method]).map((method) => [path, method, item[method]]),
);

/** What has been answered, as "operation status". */
const seen = new Set();

/**
 * Sends the operation's request and holds the answer to the document, and the request, too, if
 * it was accepted. Resolves to the status.
 */
async function ask(id, { as = app, name = {}, query = {}, headers = {}, body, signed = true } = {}) {
  const [template, method, operation] = operations.find(([, , { operationId }]) => operationId === id);
  const names = { app_id: as.id, ...name };
  const path = template.replaceAll(/{(\w+)}/g, (_, parameter) => encodeURIComponent(names[parameter]));
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const search = new URLSearchParams(query);
  if (signed && path !== template) {
    const backend = newBackend(belfry, as);
    const options = { method: method.toUpperCase(), path, params: query, body: text };
    for (const [key, value] of new URLSearchParams(backend.createSignedQueryString(options))) {
      search.set(key, value);
    }
  }
  const response = await fetch(`${belfry.url}${path}?${search}`, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    body: text,
  });
  const { status } = response;
  const what = `${id} is answered with ${status}`;
  seen.add(`${id} ${status}`);

  const described = ['paths', template, method, 'responses', String(status)];
  fits(what, await response.json(), ...described, 'content', 'application/json', 'schema');
  assert.equal(response.headers.get('content-type'), 'application/json', what);
  for (const [header, { required, schema }] of Object.entries(find(...described)[0].headers ?? {})) {
    const value = response.headers.get(header);
    assert.ok(value !== null || !required, `${what} without ${header}`);
    fits(`${what}, ${header}`, convert(value, schema), ...described, 'headers', header, 'schema');
  }
  if (status !== 200) {
    return status;
  }

  if (text !== undefined) {
    const described = ['paths', template, method, 'requestBody', 'content', 'application/json', 'schema'];
    fits(`body of ${id}`, JSON.parse(text), ...described);
  }
  const parameters = new Set();
  for (const [where, list] of [
    [['paths', template, 'parameters'], document.paths[template].parameters ?? []],
    [['paths', template, method, 'parameters'], operation.parameters ?? []],
  ]) {
    list.forEach((_, i) => {
      const [parameter] = find(...where, i);
      const given = { path: names[parameter.name], query: search.get(parameter.name), header: headers[parameter.name] };
      const value = given[parameter.in] ?? undefined;
      parameters.add(parameter.name);
      assert.ok(value !== undefined || !parameter.required, `${id} without ${parameter.name}`);
      if (value !== undefined) {
        fits(`${parameter.name} of ${id}`, convert(value, parameter.schema), ...where, i, 'schema');
      }
    });
  }
  for (const parameter of search.keys()) {
    assert.ok(parameters.has(parameter), `${id}: the document has no parameter ${parameter}`);
  }
  return status;
}

/** A parameter's text as its schema has it. */
const convert = (text, { type }) => (type === 'integer' ? Number(text) : text);

/** A request to each operation below /apps/ that is accepted. */
const usual = {
  events: { body: { name: 'posted', channels: ['a', 'b'], data: '{}' } },
  batch_events: { body: { batch: [{ name: 'posted', channel: 'a', data: '{}' }] } },
  channels: {},
  channel: { name: { channel_name: 'a' } },
  users: { name: { channel_name: 'presence-a' } },
  history: { name: { channel_name: 'kept-a' } },
  terminate_connections: { name: { user_id: '7' }, body: {} },
  connections: {},
};

test('the document is valid', async () => {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(document));
  assert.ok(result.valid, JSON.stringify(result.errors, null, 2));
  assert.equal(validator.version, '3.1');
  assert.deepEqual(
    operations.map(([, , { operationId }]) => operationId).sort(),
    [...Object.keys(usual), 'up', 'ready'].sort(),
  );
});

test('docs/apps-from.openapi.yaml is valid OpenAPI 3.1, and its example fits its schema', async () => {
  const text = await readFile(new URL('../docs/apps-from.openapi.yaml', import.meta.url), 'utf8');
  const validator = new Validator();
  const result = await validator.validate(parse(text));
  assert.ok(result.valid, JSON.stringify(result.errors, null, 2));
  assert.equal(validator.version, '3.1');
  const { paths, components } = parse(text);
  const { schema, example } = paths['/api/belfry/app'].get.responses[200].content['application/json'];
  const app = new Ajv({ strict: false, validateFormats: false });
  assert.equal(schema.$ref, '#/components/schemas/App');
  assert.ok(app.validate(components.schemas.App, example), app.errorsText());
});

test('what is accepted, and its answers', async (t) => {
  const backend = newBackend(belfry);
  const member = await connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: '7' }) });
  await subscribe(member, 'presence-room');
  await subscribe(member, 'cache-price');
  const accepted = async (id, request) => assert.equal(await ask(id, request), 200, id);
  for (const [id, request] of Object.entries({ ...usual, up: {}, ready: {} })) {
    await accepted(id, request);
  }
  const info = 'user_count,subscription_count';
  const event = { name: 'posted', data: { any: ['thing'] } };
  const socket_id = member.connection.socket_id;
  const channels = ['presence-room', 'a'];
  await accepted('events', { body: { ...event, channels, info, socket_id, idempotency_key: 'one' } });
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const headers = { 'X-Idempotency-Key': 'two', traceparent };
  await accepted('events', { body: { ...event, channel: '#server-to-user-7' }, headers });
  await accepted('events', { body: { ...event, channel: 'cache-price' } });
  await accepted('events', { body: { ...event, channel: 'kept-a' } });
  const batch = [
    { ...event, channel: 'presence-room', info },
    { ...event, channel: 'b', socket_id },
  ];
  await accepted('batch_events', { body: { batch, idempotency_key: 'three' } });
  await accepted('channels', { query: { filter_by_prefix: 'presence-', info } });
  await accepted('channel', { name: { channel_name: 'presence-room' }, query: { info } });
  await accepted('channel', { name: { channel_name: 'cache-price' }, query: { info: 'cache' } });
  await accepted('channel', { name: { channel_name: 'cache-nothing' }, query: { info: 'cache' } });
  await accepted('users', { name: { channel_name: 'presence-room' } });
  await accepted('history', { name: { channel_name: 'kept-a' }, query: { limit: '10', since: 'e-1' } });
  await accepted('terminate_connections', { name: { user_id: 'a b/ü' } });
});

test('what is refused, and how', async () => {
  const refused = async (status, id, request) => assert.equal(await ask(id, request), status, id);
  const large = 'x'.repeat(11_000);
  await refused(400, 'events', { body: { name: 'posted', data: '{}' } });
  await refused(413, 'events', { body: { name: 'posted', channel: 'a', data: large } });
  await refused(400, 'batch_events', { body: {} });
  await refused(413, 'batch_events', { body: { batch: [], more: large.repeat(2) } });
  await refused(413, 'terminate_connections', { ...usual.terminate_connections, body: { more: large.repeat(2) } });
  await refused(400, 'channels', { query: { info: 'user_count' } });
  await refused(400, 'channel', { name: { channel_name: 'no spaces' } });
  await refused(400, 'users', { name: { channel_name: 'a' } });
  await refused(400, 'history', { ...usual.history, query: { limit: '0' } });
  await refused(404, 'history', { name: { channel_name: 'a' } });
  for (const [id, request] of Object.entries(usual)) {
    await refused(401, id, { ...request, signed: false });
    await refused(403, id, { ...request, as: disabled });
    await refused(404, id, { ...request, as: { ...app, id: 'nobody' } });
    const statuses = await Promise.all(Array.from({ length: 10 }, () => ask(id, { ...request, as: limited })));
    assert.ok(statuses.includes(429), `${id}: ${statuses}`);
  }
});

test('another method, and another path', async () => {
  const [error] = find('components', 'schemas', 'Error');
  for (const [method, path, status, allow] of [
    ['PUT', `/apps/${app.id}/events`, 405, 'POST'],
    ['POST', `/apps/${app.id}/channels`, 405, 'GET'],
    ['GET', `/apps/${app.id}/nothing`, 404, null],
  ]) {
    const response = await fetch(belfry.url + path, { method });
    assert.equal(response.status, status);
    assert.equal(response.headers.get('allow'), allow);
    assert.ok(ajv.validate(error, await response.json()));
  }
});

// Those of a bug, and of a cluster that is away, are tests' of their own.
test('every answer that the document has was seen', () => {
  const all = operations.flatMap(([, , { operationId, responses }]) =>
    Object.keys(responses).map((status) => `${operationId} ${status}`),
  );
  const left = all.filter((answer) => !seen.has(answer) && !/ (500|503)$/.test(answer));
  assert.deepEqual(left, []);
});
