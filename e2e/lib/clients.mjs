// The official libraries, pointed at a Belfry: pusher-js for the client, pusher
// for the application's backend.

import http from 'node:http';

import Backend from 'pusher';
import Pusher from 'pusher-js';

import { app as defaultApp } from './belfry.mjs';
import { Inbox, within } from './wait.mjs';

// When a server has closed its connection for good, pusher-js closes it once
// more, and its WebSocket library then waits 30 s for an answer that has come
// already. That must not keep a finished test alive.
const { setTimeout: start } = globalThis;
globalThis.setTimeout = (callback, delay, ...args) => {
  const timer = start(callback, delay, ...args);
  return delay === 30_000 ? timer.unref() : timer;
};

/** 32 bytes, as encrypted channels need. */
export const masterKey = Buffer.from('0123456789abcdef0123456789abcdef').toString('base64');

/** The backend's library. */
export const newBackend = (belfry, app = defaultApp, options = {}) =>
  new Backend({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    host: belfry.host,
    port: belfry.port,
    useTLS: false,
    encryptionMasterKeyBase64: masterKey,
    // One connection, on which requests keep their order.
    agent: new http.Agent({ keepAlive: true, maxSockets: 1 }),
    timeout: 20_000,
    ...options,
  });

/** Authorises every channel; member is the presence member this client is. */
export const authorizer = (backend, member) => ({
  customHandler: ({ socketId, channelName }, callback) =>
    callback(
      null,
      backend.authorizeChannel(socketId, channelName, channelName.startsWith('presence-') ? member : undefined),
    ),
});

/** A client that disconnects when the test ends; it may not be connected yet. */
export function newClient(t, belfry, { key = defaultApp.key, ...options } = {}) {
  const client = new Pusher(key, {
    cluster: '',
    wsHost: belfry.host,
    wsPort: belfry.port,
    forceTLS: false,
    enabledTransports: ['ws'],
    ...options,
  });
  t.after(() => client.disconnect());
  return client;
}

/** A connected client. */
export async function connect(t, belfry, options) {
  const client = newClient(t, belfry, options);
  await state(client, 'connected');
  return client;
}

/** Resolves when the client is in that state. */
export async function state(client, wanted, timeout) {
  const { connection } = client;
  if (connection.state !== wanted) {
    const reached = new Promise((resolve) => connection.bind(wanted, resolve));
    await within(reached, () => `client ${wanted}, which is ${connection.state}`, timeout);
  }
}

/** Everything that is emitted on a channel from now on, as [event, data]. */
export function eventsOf(channel) {
  const events = new Inbox(`events of ${channel.name}`);
  channel.bind_global((event, data) => events.add([event, data]));
  return events;
}

/** The errors of a connection from now on. */
export function errorsOf(client) {
  const errors = new Inbox('errors of the connection');
  client.connection.bind('error', (error) => errors.add(error));
  return errors;
}

/** Everything that the server sends to a client from now on, decoded. */
export function messagesOf(client) {
  const messages = new Inbox('messages of the connection');
  client.connection.bind('message', (message) => messages.add(message));
  return messages;
}

/** A subscribed channel, with its events after that: {channel, events}. */
export async function subscribe(client, name) {
  const channel = client.subscribe(name);
  const events = eventsOf(channel);
  const [event, data] = await events.next();
  if (event !== 'pusher:subscription_succeeded') {
    throw new Error(`subscription of ${name}: ${event} ${JSON.stringify(data)}`);
  }
  return { channel, events };
}

let markers = 0;

/**
 * Resolves when the server has handled everything that the client sent before:
 * it answers one message after the other.
 */
export async function settled(client) {
  const name = `settled-${++markers}`;
  await subscribe(client, name);
  client.unsubscribe(name);
}
