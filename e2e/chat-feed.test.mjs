// When the page of examples/chat asks its backend for messages, in a time of its
// own.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Feed } from '../examples/chat/web/feed.js';

/** Lets everything run that waits for nothing but promises. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/**
 * A feed whose questions the test answers: questions holds those that are open,
 * as {resolve, reject}.
 */
function newFeed(t) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(Math, 'random', () => 0.5); // no jitter
  const page = Object.assign(new EventTarget(), { hidden: false });
  const network = Object.assign(new EventTarget(), { navigator: { onLine: true } });
  const questions = [];
  const polling = [];
  const problems = [];
  const feed = new Feed({
    ask: () => new Promise((resolve, reject) => questions.push({ resolve, reject })),
    onPolling: (is) => polling.push(is),
    onProblem: (error) => problems.push(error?.message ?? null),
    page,
    network,
  });
  return {
    feed,
    connect: (onLine) => {
      network.navigator.onLine = onLine;
      network.dispatchEvent(new Event(onLine ? 'online' : 'offline'));
    },
    page,
    questions,
    polling,
    problems,
    pass: (milliseconds) => t.mock.timers.tick(milliseconds),
    look: (hidden) => {
      page.hidden = hidden;
      page.dispatchEvent(new Event('visibilitychange'));
    },
    answer: async (news = false) => {
      questions.shift().resolve(news);
      await settle();
    },
    refuse: async () => {
      questions.shift().reject(new Error('no'));
      await settle();
    },
    /** The milliseconds until the next question, which becomes open. */
    wait: () => {
      assert.equal(questions.length, 0);
      let waited = 0;
      for (; questions.length === 0 && waited < 60_000; waited++) {
        t.mock.timers.tick(1);
      }
      return waited;
    },
  };
}

/** A feed that is subscribed, and knows everything. */
async function liveFeed(t) {
  const all = newFeed(t);
  all.feed.up();
  all.pass(0);
  await all.answer();
  return all;
}

test('asks once when the channel is subscribed, and no more', async (t) => {
  const { pass, questions, polling } = await liveFeed(t);
  pass(3_600_000);
  assert.equal(questions.length, 0);
  assert.deepEqual(polling, []);
});

test('does not ask while the connection may come back by itself', async (t) => {
  const { feed, pass, questions, polling } = await liveFeed(t);
  feed.down();
  pass(1000);
  feed.down(); // another state of the same loss
  pass(999);
  assert.equal(questions.length, 0);
  pass(1);
  assert.equal(questions.length, 1);
  assert.deepEqual(polling, [true]);
});

test('asks again soon after news, later after none, and never twice at once', async (t) => {
  const { feed, pass, questions, answer, wait } = await liveFeed(t);
  feed.down();
  pass(2000);
  const waits = [];
  for (const news of [true, false, false, false, false, false, true, false]) {
    pass(60_000); // without an answer
    assert.equal(questions.length, 1);
    await answer(news);
    waits.push(wait());
  }
  assert.deepEqual(waits, [1000, 1500, 2250, 3375, 5000, 5000, 1000, 1500]);
});

test('backs off from a backend that does not answer, and tells', async (t) => {
  const { feed, pass, refuse, answer, wait, problems } = await liveFeed(t);
  feed.down();
  pass(2000);
  const waits = [];
  for (let i = 0; i < 10; i++) {
    await refuse();
    waits.push(wait());
  }
  assert.deepEqual(waits.slice(0, 2), [1500, 2250]);
  assert.deepEqual(waits.slice(-2), [30_000, 30_000]);
  assert.deepEqual(new Set(problems), new Set(['no']));
  await answer();
  assert.equal(problems.at(-1), null);
  assert.equal(wait(), 5000);
});

test('stops after one question that was asked when subscribed', async (t) => {
  const { feed, pass, questions, answer, polling } = await liveFeed(t);
  feed.down();
  pass(2000);
  feed.up();
  await answer(); // to a question from before
  assert.deepEqual(polling, [true]);
  pass(0);
  assert.equal(questions.length, 1);
  await answer();
  assert.deepEqual(polling, [true, false]);
  pass(3_600_000);
  assert.equal(questions.length, 0);
});

test('does not stop before that question is answered', async (t) => {
  const { feed, pass, questions, answer, refuse, wait, polling, problems } = await liveFeed(t);
  feed.down();
  pass(2000);
  await answer();
  feed.up();
  pass(0);
  await refuse();
  assert.deepEqual(problems, ['no']);
  assert.equal(wait(), 1500);
  await answer();
  assert.deepEqual([problems, polling], [['no', null], [true, false]]);
  pass(3_600_000);
  assert.equal(questions.length, 0);
});

test('goes on when the channel is lost during that question', async (t) => {
  const { feed, pass, questions, answer, wait } = await liveFeed(t);
  feed.down();
  pass(2000);
  feed.up();
  feed.down();
  await answer();
  pass(0);
  assert.equal(questions.length, 1);
  await answer();
  assert.equal(wait(), 1500);
});

test('catches up at once, whatever it waits for', async (t) => {
  const { feed, pass, questions, answer, refuse, polling } = await liveFeed(t);
  feed.catchUp();
  pass(0);
  assert.equal(questions.length, 1);
  feed.catchUp();
  feed.catchUp();
  pass(0);
  assert.equal(questions.length, 1);
  await refuse();
  pass(0);
  assert.equal(questions.length, 1); // once for both
  await answer();
  pass(3_600_000);
  assert.equal(questions.length, 0);
  assert.deepEqual(polling, []);
});

test('asks nothing while nobody looks, and at once when somebody does', async (t) => {
  const { feed, pass, look, questions, answer, wait } = await liveFeed(t);
  look(true);
  feed.down();
  pass(3_600_000);
  assert.equal(questions.length, 0);
  look(false);
  pass(0);
  assert.equal(questions.length, 1);
  await answer();
  assert.equal(wait(), 1500);
  look(true);
  await answer();
  pass(3_600_000);
  assert.equal(questions.length, 0);
  feed.up(); // a channel takes no notice of that
  pass(0);
  assert.equal(questions.length, 1);
  await answer();
  look(false);
  pass(3_600_000);
  assert.equal(questions.length, 0);
});

test('does not ask for what Belfry has recovered, but for what it has missed', async (t) => {
  const { feed, pass, questions, answer, polling } = await liveFeed(t);
  feed.down();
  pass(1000);
  feed.up(true);
  pass(60_000);
  assert.equal(questions.length, 0);
  assert.deepEqual(polling, []);
  feed.down();
  pass(2000);
  await answer(true);
  feed.up(true); // between two questions
  pass(60_000);
  assert.equal(questions.length, 0);
  assert.deepEqual(polling, [true, false]);
  feed.down();
  pass(2000);
  feed.up(true); // during one
  await answer();
  pass(60_000);
  assert.equal(questions.length, 0);
  feed.up(true);
  feed.catchUp();
  pass(0);
  assert.equal(questions.length, 1);
});

test('leaves it to the connection while there is no network, and right after', async (t) => {
  const { feed, pass, questions, connect } = await liveFeed(t);
  feed.down();
  connect(false);
  pass(60_000);
  assert.equal(questions.length, 0);
  connect(true);
  pass(1999);
  assert.equal(questions.length, 0);
  pass(1);
  assert.equal(questions.length, 1);
});
