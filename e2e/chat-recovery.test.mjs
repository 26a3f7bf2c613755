// When the page of examples/chat connects again before pusher-js would.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Recovery } from '../examples/chat/web/recovery.js';

function newRecovery(t) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const calls = [];
  const clock = { now: 1_000_000 };
  const pusher = { disconnect: () => calls.push('disconnect'), connect: () => calls.push('connect') };
  return {
    recovery: new Recovery(pusher, () => clock.now),
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
  const { recovery, reconnects } = newRecovery(t);
  recovery.ready(); // it was never away: pusher-js is about to connect
  assert.equal(reconnects(), 0);
  recovery.outage();
  recovery.outage();
  assert.equal(reconnects(), 0);
  recovery.ready();
  recovery.ready();
  assert.equal(reconnects(), 1);
});

test('leaves pusher-js the time to try all transports', (t) => {
  const { recovery, clock, reconnects } = newRecovery(t);
  recovery.outage();
  recovery.ready();
  assert.equal(reconnects(), 1);
  for (let second = 1; second < 12; second++) {
    clock.now += 1000;
    recovery.outage(); // a server that comes and goes
    recovery.ready();
    assert.equal(reconnects(), 0, `after ${second} s`);
  }
  clock.now += 1000;
  recovery.ready();
  assert.equal(reconnects(), 1);
});

test('helps at once with the next outage', (t) => {
  const { recovery, reconnects } = newRecovery(t);
  for (let i = 0; i < 3; i++) {
    recovery.outage();
    recovery.ready();
    assert.equal(reconnects(), 1);
    recovery.subscribed(true);
    recovery.ready();
    assert.equal(reconnects(), 0);
  }
});

test('goes back from HTTP to a WebSocket that was there before, in one try', (t) => {
  const { recovery, reconnects } = newRecovery(t);
  recovery.subscribed(false);
  assert.equal(reconnects(), 0, 'there was none before');
  recovery.subscribed(true);
  recovery.subscribed(true);
  assert.equal(reconnects(), 0);
  recovery.subscribed(false);
  assert.equal(reconnects(), 1);
  recovery.subscribed(false);
  assert.equal(reconnects(), 0, 'WebSockets are blocked now');
});
