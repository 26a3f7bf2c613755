// The three ways on which pusher-js reaches the server, as it speaks on them: a
// WebSocket, HTTP streaming and HTTP polling. Only what a test of them needs.

/** Why a way does not work. code is the protocol's, an HTTP status or 0. */
export class WayError extends Error {
  constructor(message, code = 0) {
    super(message);
    this.code = code;
  }
}

/** In milliseconds. Whatever takes longer has failed. */
const patience = 10_000;

const random = (n) => Array.from(crypto.getRandomValues(new Uint8Array(n)), (b) => (b % 32).toString(32)).join('');

/** The parts of the query that tell the server who asks. */
const query = (version) => `protocol=7&client=belfry-console&version=${encodeURIComponent(version)}`;

/**
 * A connection. A subclass opens it with start(), calls receive(text) and fail(error), and
 * has send(text) and end().
 */
class Connection {
  #waiting = new Set();
  #error;
  #before = []; // what came and nobody waited for

  constructor(target) {
    this.target = target;
  }

  /** Resolves to the data of the first message that finds a value, which find(message) gives. */
  expect(what, find) {
    for (const message of this.#before) {
      const found = find(message);
      if (found) return Promise.resolve(found);
    }
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      const waiter = { find, resolve, reject };
      waiter.timer = setTimeout(() => this.fail(new WayError(`${what} did not come within ${patience / 1000} seconds.${this.silence ?? ''}`)), patience);
      this.#waiting.add(waiter);
    });
  }

  receive(text) {
    let message;
    try {
      message = JSON.parse(text);
      if (typeof message.data === 'string' && message.event.startsWith('pusher')) message.data = JSON.parse(message.data || '{}');
    } catch {
      this.fail(new WayError('What came is no message of the Pusher protocol: something else than Belfry answers.'));
      return;
    }
    if (message.event === 'pusher:error') {
      this.fail(new WayError(message.data?.message ?? 'no reason told', message.data?.code ?? 0));
      return;
    }
    if (this.#before.length < 100) this.#before.push(message);
    for (const waiter of this.#waiting) {
      const found = waiter.find(message);
      if (found) {
        this.#settle(waiter);
        waiter.resolve(found);
      }
    }
  }

  #settle(waiter) {
    clearTimeout(waiter.timer);
    this.#waiting.delete(waiter);
  }

  /** Ends it for good. Only the first reason counts. */
  fail(error) {
    if (this.#error) return;
    this.#error = error;
    for (const waiter of this.#waiting) {
      this.#settle(waiter);
      waiter.reject(error);
    }
    this.end();
  }

  say(event, data) {
    this.send(JSON.stringify({ event, data }));
  }
}

class Socket extends Connection {
  start() {
    const { base, key, version } = this.target;
    const path = `/app/${encodeURIComponent(key)}?${query(version)}`;
    this.socket = new WebSocket(base.replace(/^http/, 'ws') + path);
    this.socket.onopen = () => (this.opened = true);
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = async ({ code, reason }) => {
      if (this.opened) return this.fail(new WayError(reason || `The connection was closed (${code}).`, code));
      // The browser keeps the reason to itself. A plain request may tell it.
      const told = await fetch(base + path, { signal: AbortSignal.timeout(patience) }).then(
        ({ status }) => `a plain request to the same address is answered with status ${status}`,
        () => 'a plain request to the same address is not answered either',
      );
      this.fail(new WayError(`No WebSocket came about, and the browser does not say why; ${told}. Often a proxy does not pass on the headers Upgrade and Connection.`));
    };
  }

  send(text) {
    this.socket.send(text);
  }

  end() {
    this.socket.close();
  }
}

/** What streaming and polling share: the session, sending, and the lines. */
class Http extends Connection {
  #requests = 0;
  #over = new AbortController();

  constructor(target) {
    super(target);
    const { base, key } = target;
    const server = crypto.getRandomValues(new Uint16Array(1))[0] % 1000;
    this.session = `${base}/pusher/app/${encodeURIComponent(key)}/${server}/${random(8)}`;
  }

  post(transport, body, params = '') {
    return fetch(`${this.session}/${transport}?${params}t=${Date.now()}&n=${++this.#requests}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      credentials: 'omit',
      body,
      signal: this.#over.signal,
    });
  }

  /** The response of a request that receives. */
  async ask(transport) {
    const response = await this.post(transport, undefined, `${query(this.target.version)}&`);
    if (response.ok) return response;
    const text = await response.text();
    let told = text.slice(0, 200);
    try {
      told = JSON.parse(text).error ?? told;
    } catch {
      // It is not Belfry that answers.
    }
    throw new WayError(told || `The answer has status ${response.status}.`, response.status);
  }

  start() {
    this.follow().catch((error) => {
      this.fail(error instanceof WayError ? error : new WayError(`The request failed: ${error.message}`));
    });
  }

  line(line) {
    const [kind, rest] = [line[0], line.slice(1)];
    if (kind === 'a') JSON.parse(rest).forEach((text) => this.receive(text));
    else if (kind === 'm') this.receive(JSON.parse(rest));
    else if (kind === 'h') this.heartbeat();
    else if (kind === 'c') {
      const [code, reason] = JSON.parse(rest);
      this.fail(new WayError(reason || `The connection was closed (${code}).`, code));
    }
  }

  heartbeat() {}

  send(text) {
    this.post('xhr_send', JSON.stringify([text])).catch((error) => this.fail(new WayError(`A message could not be sent: ${error.message}`)));
  }

  end() {
    this.#over.abort();
  }
}

class Streaming extends Http {
  async follow() {
    this.silence = ' No answer has begun.';
    const response = await this.ask('xhr_streaming');
    this.silence = ' The answer has begun, but nothing comes: a proxy holds back what it should pass on at once.';
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new WayError('The stream has ended by itself: something between browser and server ends long answers.');
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        // What comes before o is to fill the buffers of proxies.
        if (line[0] === 'o') this.opened = true;
        else if (this.opened) this.line(line);
      }
    }
  }

  heartbeat() {
    this.post('xhr_send', '[]').catch(() => {});
  }
}

class Polling extends Http {
  async follow() {
    for (;;) {
      const response = await this.ask('xhr');
      for (const line of (await response.text()).split('\n')) this.line(line);
    }
  }
}

export const ways = {
  websocket: { title: 'WebSocket', Way: Socket },
  xhr_streaming: { title: 'HTTP streaming', Way: Streaming },
  xhr_polling: { title: 'HTTP polling', Way: Polling },
};

/**
 * Tests all ways at once until signal is aborted, which ends their connections. target is
 * {base, key, version}. report(way, {state, connect_ms, …}) is called with what is new of a
 * way. publish(channel, event), if given, is called once, when every way has subscribed or
 * failed. Resolves when all is known; then too, the connections have ended.
 */
export async function testWays({ target, publish, report, signal }) {
  const channel = `belfry-test-${random(10)}`;
  const event = 'belfry-test';
  const open = new Map();
  const end = () => open.forEach((connection) => connection.fail(new WayError('The test was ended.')));
  signal.addEventListener('abort', end);
  const failed = (way, error) => report(way, { state: 'failed', error });

  async function reach([way, { Way }]) {
    const began = performance.now();
    const since = (from = began) => performance.now() - from;
    try {
      const connection = new Way(target);
      open.set(way, connection);
      connection.start();
      await connection.expect('The connection', (m) => m.event === 'pusher:connection_established' && m.data);
      report(way, { connect_ms: since() });

      const asked = performance.now();
      connection.say('pusher:ping', {});
      await connection.expect('The answer to pusher:ping', (m) => m.event === 'pusher:pong');
      report(way, { ping_ms: since(asked) });

      connection.say('pusher:subscribe', { channel });
      const answer = await connection.expect('The answer to pusher:subscribe', (m) => m.channel === channel && m);
      if (answer.event !== 'pusher_internal:subscription_succeeded') throw new WayError(answer.data?.error ?? `The subscription was refused: ${answer.event}`, answer.data?.status ?? 0);
      report(way, { subscribed: true, state: publish ? undefined : 'ok' });
      return [way, connection];
    } catch (error) {
      failed(way, error);
    }
  }

  try {
    const reached = (await Promise.all(Object.entries(ways).map(reach))).filter(Boolean);
    if (!publish || reached.length === 0 || signal.aborted) return;
    const began = performance.now();
    const arrivals = reached.map(([way, connection]) =>
      connection.expect('The event', (m) => m.event === event && m.channel === channel).then(
        () => {
          const event_ms = performance.now() - began;
          return () => report(way, { state: 'ok', event_ms });
        },
        (error) => () => failed(way, error),
      ));
    try {
      await publish(channel, event);
    } catch (error) {
      // That is no fault of theirs.
      reached.forEach(([way]) => report(way, { state: 'ok' }));
      throw error;
    }
    await Promise.all(arrivals.map(async (arrival) => (await arrival)()));
  } finally {
    signal.removeEventListener('abort', end);
    end();
  }
}
