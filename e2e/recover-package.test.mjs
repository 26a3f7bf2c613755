// clients/recover by itself: pusher-js on a WebSocket that the test answers, with a clock
// that the test moves.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Pusher8 from 'pusher-js';
import Pusher7 from 'pusher-js-7';
import Pusher80 from 'pusher-js-8.0';

import { recover } from '../clients/recover/index.js';

/** A WebSocket to nowhere: the test says what comes, and sees what was sent. */
class Socket {
  static all = [];
  sent = [];

  constructor() {
    Socket.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {} // the answer of a server that is out of reach
}

const succeeded = 'pusher_internal:subscription_succeeded';

/** A page with a client that is connected, and what the tests do with it. */
function open(t, Pusher, channels = {}, { late = false } = {}) {
  const authorize = (_, callback) =>
    page.refuse ? callback(new Error('refused')) : callback(null, { auth: 'app-key:signature' });
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  Pusher.Runtime.getWebSocketAPI = () => Socket;
  const pusher = new Pusher('app-key', {
    cluster: '',
    wsHost: '127.0.0.1',
    wsPort: 1,
    forceTLS: false,
    enabledTransports: ['ws'],
    channelAuthorization: { customHandler: authorize },
  });
  t.after(() => pusher.disconnect());
  const told = [];
  const page = {
    pusher,
    told,
    /** Subscribes, and notes in told what the page is told on the channel. */
    subscribe(name) {
      const channel = pusher.subscribe(name);
      channel.bind_global((event, data) => told.push(data?.n === undefined ? `${name} ${event}` : `${name} ${data.n}`));
      t.mock.timers.tick(0);
      return channel;
    },
    /** The server accepts a connection, and tells what the client has sent first. */
    connect(id) {
      page.socket = Socket.all.at(-1);
      page.socket.onopen();
      page.receive({ event: 'pusher:connection_established', data: { socket_id: id, activity_timeout: 120 } });
      t.mock.timers.tick(0);
      return page.sent();
    },
    /** What the client has sent since it was asked last. */
    sent: () => page.socket.sent.splice(0),
    /** The connection breaks, and the client is about to come back. */
    cut() {
      page.socket.onclose({ code: 1006 });
      t.mock.timers.tick(1000);
    },
    reconnect(id) {
      page.cut();
      return page.connect(id);
    },
    receive: (message) => page.socket.onmessage({ data: JSON.stringify(message) }),
    /** The server's answer to a subscription. */
    confirm(channel, serial, recovered) {
      const presence = channel.startsWith('presence-') ? { count: 0, ids: [], hash: {} } : undefined;
      page.receive({ event: succeeded, channel, data: JSON.stringify({ presence, recovered }), serial });
    },
    publish: (channel, n, serial) => page.receive({ event: 'posted', channel, data: JSON.stringify({ n }), serial }),
  };
  if (!late) {
    recover(pusher);
  }
  for (const name of Object.keys(channels)) {
    page.subscribe(name);
  }
  page.connect('1.1');
  for (const [name, serial] of Object.entries(channels)) {
    page.confirm(name, serial);
  }
  told.length = 0;
  return page;
}

const asked = (channels, ids) => ({ event: 'pusher:recover', data: { channels, socket_ids: ids } });
const subscription = { event: 'pusher:subscribe', data: { auth: '', channel: 'news' } };

/** The serial that the client asks with for a channel, when the connection breaks now. */
const place = (page, channel = 'news') => page.reconnect('9.9')[0].data.channels?.[channel];

for (const [version, Pusher] of Object.entries({ '8.6': Pusher8, '8.0': Pusher80, 7: Pusher7 })) {
  test(`pusher-js ${version}: asks ahead of subscribing`, (t) => {
    const page = open(t, Pusher);
    page.subscribe('news');
    assert.deepEqual(page.sent(), [subscription]);
    page.confirm('news', 'e-41');
    assert.deepEqual(page.reconnect('1.2'), [asked({ news: 'e-41' }, ['1.1']), subscription]);
    page.confirm('news', 'e-41', true);
    page.publish('news', 1, 'e-42');
    page.publish('news', 2, 'e-44');
    assert.deepEqual(page.reconnect('1.3'), [asked({ news: 'e-44' }, ['1.1', '1.2']), subscription]);
    assert.deepEqual(page.told, [
      'news pusher:subscription_succeeded',
      'news pusher:subscription_succeeded',
      'news 1',
      'news 2',
    ]);
  });

  test(`pusher-js ${version}: asks after disconnect() and connect()`, (t) => {
    const page = open(t, Pusher, { 'private-a': 'e-1', 'presence-b': 'f-2' });
    page.pusher.disconnect();
    page.pusher.connect();
    t.mock.timers.tick(0);
    assert.deepEqual(page.connect('1.2')[0], asked({ 'private-a': 'e-1', 'presence-b': 'f-2' }, ['1.1']));
  });

  test(`pusher-js ${version}: what a connection that is given up still says does not count`, (t) => {
    const page = open(t, Pusher, { news: 'e-41' });
    const old = page.socket;
    page.pusher.disconnect();
    old.onmessage({ data: JSON.stringify({ event: 'posted', channel: 'news', data: '{"n":1}', serial: 'e-42' }) });
    assert.deepEqual(page.told, []);
    page.pusher.connect();
    t.mock.timers.tick(0);
    assert.deepEqual(page.connect('1.2')[0], asked({ news: 'e-41' }, ['1.1']));
  });

  test(`pusher-js ${version}: what was handled counts, though the handler disconnects`, (t) => {
    const page = open(t, Pusher, { news: 'e-41' });
    page.pusher.channel('news').bind('posted', () => page.pusher.disconnect());
    page.publish('news', 1, 'e-42');
    page.pusher.connect();
    t.mock.timers.tick(0);
    assert.deepEqual(page.connect('1.2')[0], asked({ news: 'e-42' }, ['1.1']));
  });

  test(`pusher-js ${version}: what a handler throws at does not count`, (t) => {
    const page = open(t, Pusher, { news: 'e-41' });
    page.pusher.channel('news').bind('posted', ({ n }) => {
      if (n === 2) {
        throw new Error('two');
      }
    });
    page.publish('news', 1, 'e-42');
    assert.throws(() => page.publish('news', 2, 'e-43'), /two/);
    assert.equal(place(page), 'e-42');
    page.confirm('news', 'e-43', true);
    assert.throws(() => page.publish('news', 2, 'e-43'), /two/);
    page.publish('news', 3, 'e-44');
    assert.equal(place(page), 'e-44');
  });
}

const Pusher = Pusher8;
const missed = 'news belfry:missed';
const confirmed = 'news pusher:subscription_succeeded';

test('says behind the subscription that something was missed', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  page.confirm('news', 'f-7', false);
  assert.deepEqual(page.told.splice(0), [confirmed, missed]);
  page.publish('news', 1, 'f-8');
  assert.equal(place(page), 'f-8');
  assert.deepEqual(page.told, ['news 1']);
});

test('says nothing when nothing was missed', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  page.confirm('news', 'e-41', true);
  t.mock.timers.tick(60_000);
  assert.deepEqual(page.told, [confirmed]);
});

test('goes on at the last event that was handled when an answer is cut short', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  page.confirm('news', 'e-41', true);
  assert.equal(place(page), 'e-41');
  page.confirm('news', 'e-44', true); // it is excepted from those before
  assert.equal(place(page), 'e-44');
  page.confirm('news', 'e-44', true);
  page.publish('news', 1, 'e-45');
  page.publish('news', 2, 'e-46');
  assert.equal(place(page), 'e-46');
});

test('asks again with the same serial when the connection breaks ahead of the answer', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  assert.deepEqual(page.reconnect('1.3')[0], asked({ news: 'e-41' }, ['1.1', '1.2']));
});

test('says in the middle of a subscription that something was missed', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.publish('news', 1, 'e-42');
  page.confirm('news', 'f-0', false);
  page.publish('news', 2, 'f-1');
  assert.deepEqual(page.told, ['news 1', confirmed, missed, 'news 2']);
  assert.equal(place(page), 'f-1');
});

test('leaves channels without a history alone', (t) => {
  const page = open(t, Pusher, { news: undefined, other: 'e-1' });
  page.publish('news', 1);
  const [message, ...others] = page.reconnect('1.2');
  assert.deepEqual(message, asked({ other: 'e-1' }, ['1.1']));
  assert.equal(others.length, 2);
  page.confirm('news');
  assert.deepEqual(page.told, ['news 1', confirmed]);
});

test('takes up a channel that gets a history', (t) => {
  const page = open(t, Pusher, { news: undefined });
  page.publish('news', 1, 'e-1');
  assert.equal(place(page), 'e-1');
});

for (const recovered of [undefined, false]) {
  test(`a history that was taken away is missed, with recovered ${recovered}`, (t) => {
    const page = open(t, Pusher, { news: 'e-41' });
    page.reconnect('1.2');
    page.confirm('news', undefined, recovered);
    assert.deepEqual(page.told, [confirmed, missed]);
    assert.deepEqual(page.reconnect('1.3'), [subscription]);
  });
}

/** A page whose subscription has overtaken the question; there was an event since. */
function overtaken(t) {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  page.confirm('news', 'e-50');
  page.publish('news', 51, 'e-51');
  assert.deepEqual(page.told.splice(0), [confirmed, 'news 51']);
  return page;
}

test('an answer that was overtaken does not set the place back', (t) => {
  const page = overtaken(t);
  page.publish('news', 42, 'e-42');
  page.publish('news', 50, 'e-50');
  page.confirm('news', undefined, true);
  assert.deepEqual(page.told, ['news 42', 'news 50', confirmed]);
  assert.equal(place(page), 'e-51');
  t.mock.timers.tick(60_000);
  assert.ok(!page.told.includes(missed));
});

test('an answer that was overtaken may be that something was missed', (t) => {
  const page = overtaken(t);
  page.confirm('news', undefined, false);
  assert.deepEqual(page.told, [confirmed, missed]);
  assert.equal(place(page), 'e-51');
  t.mock.timers.tick(60_000);
  assert.deepEqual(page.told, [confirmed, missed]);
});

test('a subscription that has overtaken the question has the place, though nothing comes', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  page.confirm('news', 'f-7');
  page.confirm('news', undefined, false);
  assert.equal(place(page), 'f-7');
});

test('the server may say that something was missed ahead of an answer that was overtaken', (t) => {
  const page = overtaken(t);
  page.confirm('news', 'f-9', false);
  assert.deepEqual(page.told.splice(0), [confirmed, missed]);
  page.confirm('news', undefined, true);
  t.mock.timers.tick(60_000);
  assert.deepEqual(page.told, [confirmed]);
  assert.equal(place(page), 'f-9');
});

test('that an answer was overtaken means nothing for the next connection', (t) => {
  const page = overtaken(t);
  page.confirm('news', undefined, true);
  assert.equal(place(page), 'e-51');
  page.confirm('news', undefined, false); // the channel has no history any more
  assert.deepEqual(page.reconnect('1.4'), [subscription]);
});

test('an answer that does not come for 10 seconds is that something was missed', (t) => {
  const page = overtaken(t);
  t.mock.timers.tick(8_999); // and it has taken a second to come back
  page.publish('news', 52, 'e-52');
  assert.deepEqual(page.told, ['news 52']);
  t.mock.timers.tick(1_001);
  assert.deepEqual(page.told, ['news 52', missed]);
  page.confirm('news', undefined, true); // it comes after all
  assert.deepEqual(page.told, ['news 52', missed, confirmed]);
  assert.equal(place(page), 'e-52');
});

test('is not certain of anything when the connection breaks ahead of an answer that was overtaken', (t) => {
  const page = overtaken(t);
  page.publish('news', 42, 'e-42');
  assert.equal(place(page), '');
  assert.equal(place(page), ''); // and again, until there is an answer
  page.confirm('news', 'e-51', false);
  assert.deepEqual(page.told, ['news 42', confirmed, missed]);
  t.mock.timers.tick(60_000);
  assert.equal(page.told.length, 3);
  page.publish('news', 52, 'e-52');
  assert.equal(place(page), 'e-52');
});

test('an answer for a channel that was left and joined anew does not take its place away', (t) => {
  const page = overtaken(t);
  page.pusher.unsubscribe('news');
  page.subscribe('news');
  page.confirm('news', 'e-51');
  page.confirm('news', undefined, true);
  assert.equal(place(page), 'e-51');
});

test('says nothing on a channel that was left while the answer was due', (t) => {
  const page = overtaken(t);
  page.pusher.unsubscribe('news');
  page.subscribe('news');
  page.confirm('news', 'e-51');
  t.mock.timers.tick(60_000);
  assert.deepEqual(page.told, [confirmed]);
});

test('does not keep Node alive', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.reconnect('1.2');
  t.mock.timers.reset();
  const set = t.mock.method(globalThis, 'setTimeout');
  page.confirm('news', 'e-50');
  const cleared = t.mock.method(globalThis, 'clearTimeout');
  const [timer] = set.mock.calls.filter(({ arguments: [, delay] }) => delay === 10_000).map(({ result }) => result);
  assert.equal(timer.hasRef(), false);
  page.confirm('news', undefined, true);
  assert.ok(cleared.mock.calls.some(({ arguments: [each] }) => each === timer));
});

test('asks in messages of a few thousand characters, and for 500 channels at most', (t) => {
  const names = Array.from({ length: 502 }, (_, i) => `news-${'x'.repeat(i % 7 === 0 ? 150 : 0)}${i}`);
  const page = open(t, Pusher, Object.fromEntries(names.map((name, i) => [name, `e-${i}`])));
  const sent = page.reconnect('1.2');
  const questions = sent.filter(({ event }) => event === 'pusher:recover');
  assert.deepEqual(sent.slice(0, questions.length), questions);
  assert.deepEqual(questions.flatMap(({ data }) => Object.keys(data.channels)), names.slice(0, 500));
  const sizes = questions.map((question) => JSON.stringify(question).length);
  assert.ok(sizes.every((size) => size < 5000) && sizes.slice(0, -1).every((size) => size > 3500), `${sizes}`);
  assert.ok(questions.every(({ data }) => data.socket_ids[0] === '1.1'));
  page.confirm(names[499], 'e-600', true);
  page.confirm(names[500], 'e-600');
  assert.deepEqual(page.told.splice(0), [
    `${names[499]} pusher:subscription_succeeded`,
    `${names[500]} pusher:subscription_succeeded`,
    `${names[500]} belfry:missed`,
  ]);
  // What has to be said on a channel that is not confirmed is not forgotten.
  page.reconnect('1.3');
  page.confirm(names[501], 'e-600');
  assert.deepEqual(page.told, [`${names[501]} pusher:subscription_succeeded`, `${names[501]} belfry:missed`]);
});

test('tells the last 16 socket ids, the oldest first', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  for (let n = 2; n <= 20; n++) {
    page.reconnect(`1.${n}`);
  }
  const [{ data }] = page.reconnect('1.21');
  assert.deepEqual(data.socket_ids, Array.from({ length: 16 }, (_, i) => `1.${i + 5}`));
});

test('a channel that the page has left and comes back to starts afresh', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.pusher.unsubscribe('news');
  assert.deepEqual(page.reconnect('1.2'), []);
  page.subscribe('news');
  page.publish('news', 1, 'e-42'); // of the subscription that the page has left
  assert.deepEqual(page.reconnect('1.3'), [subscription]);
  page.confirm('news', 'e-43');
  assert.deepEqual(page.told, ['news 1', confirmed]);
  assert.equal(place(page), 'e-43');
});

test('a channel that could not be subscribed, and is another one afterwards, starts afresh', (t) => {
  const page = open(t, Pusher, { 'private-news': 'e-41' });
  page.refuse = true;
  page.reconnect('1.2');
  page.refuse = false;
  page.pusher.unsubscribe('private-news');
  page.subscribe('private-news');
  page.confirm('private-news', 'e-41', true); // the server still has the question
  page.publish('private-news', 1, 'e-42');
  assert.equal(place(page, 'private-news'), 'e-42');
});

test('the later serial is that of the later epoch', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.publish('news', 1, 'f-1');
  assert.equal(place(page), 'f-1');
});

test('a second call does nothing', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  recover(page.pusher);
  assert.deepEqual(page.reconnect('1.2'), [asked({ news: 'e-41' }, ['1.1']), subscription]);
});

test('a late call is certain of what comes afterwards only', (t) => {
  const page = open(t, Pusher, { news: 'e-41', other: 'f-1' }, { late: true });
  recover(page.pusher);
  page.publish('news', 1, 'e-42');
  page.subscribe('third');
  page.confirm('third', 'g-1');
  const [message] = page.reconnect('1.2');
  assert.deepEqual(message, asked({ news: 'e-42', other: '', third: 'g-1' }, ['1.1']));
  page.confirm('other', 'f-2', false);
  assert.equal(page.told.at(-1), 'other belfry:missed');
});

test('a call while the connection is broken is a late one', (t) => {
  const page = open(t, Pusher, { news: 'e-41' }, { late: true });
  page.socket.onclose({ code: 1006 });
  recover(page.pusher);
  t.mock.timers.tick(1000);
  assert.deepEqual(page.connect('1.2')[0], asked({ news: '' }, ['1.1']));
});

test('an answer that a handler throws at is not lost', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  const channel = page.pusher.channel('news');
  const fail = () => {
    throw new Error('no');
  };
  channel.bind('pusher:subscription_succeeded', fail);
  page.reconnect('1.2');
  assert.throws(() => page.confirm('news', 'f-1', false), /no/);
  page.publish('news', 2, 'f-2');
  assert.deepEqual(page.told.splice(0), [confirmed, 'news 2', missed]);
  page.reconnect('1.3');
  assert.throws(() => page.confirm('news', 'g-1', false), /no/);
  channel.unbind('pusher:subscription_succeeded', fail);
  assert.equal(place(page), '');
});

test('an answer that a handler throws at is not lost after one that was overtaken', (t) => {
  const page = overtaken(t);
  page.confirm('news', undefined, true);
  page.reconnect('1.3');
  page.pusher.channel('news').bind('pusher:subscription_succeeded', () => {
    throw new Error('no');
  });
  assert.throws(() => page.confirm('news', 'f-1', false), /no/);
  page.publish('news', 2, 'f-2');
  assert.equal(page.told.at(-1), missed);
});

test('a handler of belfry:missed that throws does no harm', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.pusher.channel('news').bind('belfry:missed', () => {
    throw new Error('no');
  });
  page.reconnect('1.2');
  assert.throws(() => page.confirm('news', 'f-1', false), /no/);
  assert.equal(place(page), 'f-1');
});

test('goes along with switchCluster', (t) => {
  const page = open(t, Pusher, { news: 'e-41' });
  page.pusher.switchCluster({ appKey: 'other-key', cluster: 'other' });
  t.mock.timers.tick(0);
  assert.deepEqual(page.connect('1.2')[0], asked({ news: 'e-41' }, ['1.1']));
});

test('data that looks like a serial is none', (t) => {
  const page = open(t, Pusher, { news: 'e-41', other: undefined });
  page.receive({ event: 'posted', channel: 'news', data: { serial: 'e-99' } });
  page.receive({ event: 'posted', channel: 'other', data: { serial: 'e-99' } });
  assert.deepEqual(page.reconnect('1.2')[0], asked({ news: 'e-41' }, ['1.1']));
});

test('is there for scripts that are not modules', () => {
  assert.equal(globalThis.belfryRecover, recover);
});
