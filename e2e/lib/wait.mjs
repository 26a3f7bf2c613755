// Waiting for something that has to happen: always bounded, and when the time
// is over the failure says what did not happen.

import { inspect } from 'node:util';

const patience = 20_000;

/** The promise's outcome, or a failure when that takes too long; what() says of what. */
export async function within(promise, what, timeout = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what()}: not within ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again until probe resolves to something true, which it returns. */
export async function eventually(what, probe, timeout = patience) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const answer = await probe();
    if (answer) {
      return answer;
    }
    if (Date.now() > deadline) {
      throw new Error(`${what}: not within ${timeout} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * What arrives, in order: add() it from a callback, take it with next() or
 * until(). One reader at a time.
 */
export class Inbox {
  #name;
  #all = [];
  #read = 0;
  #wake = () => {};

  constructor(name) {
    this.#name = name;
  }

  add(item) {
    this.#all.push(item);
    this.#wake();
  }

  /** The next item that was not taken yet. */
  async next(timeout = patience) {
    if (this.#read === this.#all.length) {
      const more = new Promise((resolve) => (this.#wake = resolve));
      const what = () => `${this.#name}: another after ${inspect(this.#all.slice(-20), { depth: 6 })}`;
      await within(more, what, timeout);
    }
    return this.#all[this.#read++];
  }

  /** The next items up to the first that matches, which is the last of them. */
  async until(matches, timeout = patience) {
    const items = [];
    do {
      items.push(await this.next(timeout));
    } while (!matches(items.at(-1)));
    return items;
  }

  /** The next n items. */
  async take(n) {
    const items = [];
    while (items.length < n) {
      items.push(await this.next());
    }
    return items;
  }

  /** What has arrived and was not taken yet; takes it. */
  drain() {
    const items = this.#all.slice(this.#read);
    this.#read = this.#all.length;
    return items;
  }
}
