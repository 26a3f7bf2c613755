// Coming back after an outage of the realtime server faster than pusher-js does.

// Milliseconds between two reconnects, if the first did not succeed. pusher-js
// needs up to 9 s until it has tried all transports, and begins from the start.
const pause = 12_000;

/**
 * Reconnects a pusher-js client in the two cases where it would be slow by
 * itself. After an attempt that was refused, it waits 15, 30, then 60 s. And as
 * it goes from one transport to the next, a server that comes back while it is
 * at HTTP keeps it there, where a WebSocket would get through again.
 */
export class Reconnect {
  #pusher;
  #now;
  #outage = false;
  #reconnected = -Infinity;
  #hadWebSocket = false;

  /** now() is a clock in milliseconds. */
  constructor(pusher, now = () => performance.now()) {
    this.#pusher = pusher;
    this.#now = now;
  }

  /** The server was found out of reach. */
  outage() {
    this.#outage = true;
  }

  /** The server was found in reach, and there is no subscription. */
  ready() {
    if (this.#outage && this.#now() - this.#reconnected >= pause) {
      this.#reconnected = this.#now();
      this.#reconnect();
    }
  }

  /** The channel is subscribed, over a WebSocket or over something else. */
  subscribed(overWebSocket) {
    this.#outage = false;
    this.#reconnected = -Infinity;
    if (this.#hadWebSocket && !overWebSocket) {
      setTimeout(() => this.#reconnect()); // not while pusher-js handles a message
    }
    this.#hadWebSocket = overWebSocket; // so it is tried once
  }

  #reconnect() {
    this.#outage = false;
    this.#pusher.disconnect();
    this.#pusher.connect();
  }
}
