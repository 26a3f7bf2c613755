// When the page of examples/chat connects again before pusher-js would.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Reconnect } from '../examples/chat/web/reconnect.js';

function newReconnect(t) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const calls = [];
  const clock = { now: 1_000_000 };
  const pusher = { disconnect: () => calls.push('disconnect'), connect: () => calls.push('connect') };
  return {
    reconnect: new Reconnect(pusher, () => clock.now),
    clock,
    /** How often it reconnected since last asked. */
    reconnects: () => {
      t.mock.timers.tick(0);
      const made = calls.splice(0);
      assert.deepEqual(made, Array(made.length / 2).fill(['disconnect', 'connect']).flat());
      return made.length / 2;
    },
  };
}

test('reconnects once when the server is back', (t) => {
  const { reconnect, reconnects } = newReconnect(t);
  reconnect.ready(); // it was never away: pusher-js is about to connect
  assert.equal(reconnects(), 0);
  reconnect.outage();
  reconnect.outage();
  assert.equal(reconnects(), 0);
  reconnect.ready();
  reconnect.ready();
  assert.equal(reconnects(), 1);
});

test('leaves pusher-js the time to try all transports', (t) => {
  const { reconnect, clock, reconnects } = newReconnect(t);
  reconnect.outage();
  reconnect.ready();
  assert.equal(reconnects(), 1);
  for (let second = 1; second < 12; second++) {
    clock.now += 1000;
    reconnect.outage(); // a server that comes and goes
    reconnect.ready();
    assert.equal(reconnects(), 0, `after ${second} s`);
  }
  clock.now += 1000;
  reconnect.ready();
  assert.equal(reconnects(), 1);
});

test('helps at once with the next outage', (t) => {
  const { reconnect, reconnects } = newReconnect(t);
  for (let i = 0; i < 3; i++) {
    reconnect.outage();
    reconnect.ready();
    assert.equal(reconnects(), 1);
    reconnect.subscribed(true);
    reconnect.ready();
    assert.equal(reconnects(), 0);
  }
});

test('goes back from HTTP to a WebSocket that was there before, in one try', (t) => {
  const { reconnect, reconnects } = newReconnect(t);
  reconnect.subscribed(false);
  assert.equal(reconnects(), 0, 'there was none before');
  reconnect.subscribed(true);
  reconnect.subscribed(true);
  assert.equal(reconnects(), 0);
  reconnect.subscribed(false);
  assert.equal(reconnects(), 1);
  reconnect.subscribed(false);
  assert.equal(reconnects(), 0, 'WebSockets are blocked now');
});
