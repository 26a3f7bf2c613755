// Keeps the messages complete. While the channel is subscribed they come by
// themselves, and Belfry sends what came while the connection was broken; while it is not
// subscribed, the feed asks the backend for them again and again.

// In milliseconds.
const patience = 2000; // without the channel before it asks: a connection that is just slow needs none
const quick = 1000; // between two questions, after an answer with messages
const slow = 5000; // at most, while there are no messages
const slower = 30_000; // at most, while the backend does not answer

const slowdown = 1.5; // each further one comes that much later

/** Many pages lose their server at once; they should not ask at once. */
const jitter = () => 0.75 + Math.random() / 2;

export class Feed {
  #ask;
  #onPolling;
  #onProblem;
  #page;
  #network;
  #live = false; // the channel is subscribed
  #polling = false; // it was not for so long that the feed asks
  #calls = 0; // of catchUp
  #answered = 0; // of those calls
  #wait = quick;
  #timer; // of the next question
  #asking = false; // one is under way, and there is no timer
  #paused = false; // nobody looks or there is no network, and there is no timer either
  #failed = false;

  /**
   * ask() gets what is missing and resolves to whether that was anything.
   * onPolling is told when asking takes the place of the channel and when that is
   * over, onProblem the error of a question, and null when one went well again.
   */
  constructor({ ask, onPolling, onProblem, page = document, network = window }) {
    this.#ask = ask;
    this.#onPolling = onPolling;
    this.#onProblem = onProblem;
    this.#page = page;
    this.#network = network;
    network.addEventListener('online', () => {
      if (this.#paused) {
        this.#wait = quick;
        this.#askIn(patience); // pusher-js connects at once
      }
    });
    page.addEventListener('visibilitychange', () => {
      if (this.#paused && !page.hidden) {
        this.#wait = quick;
        this.#askIn(0);
      }
    });
    this.#askIn(patience);
  }

  /** Whether the messages come by themselves. */
  get live() {
    return this.#live;
  }

  /** The channel is not subscribed, or not any more. */
  down() {
    if (this.#live) {
      this.#live = false;
      this.#wait = quick;
      this.#askIn(patience);
    }
  }

  /**
   * The channel is subscribed: what comes from now on needs no question, nor does what came
   * before if Belfry has recovered it.
   */
  up(recovered = false) {
    this.#live = true;
    if (recovered) {
      this.#answered = this.#calls;
      clearTimeout(this.#timer);
      this.#reportPolling(false);
    } else {
      this.catchUp();
    }
  }

  /** Asks at least once from now on, and again if that fails. */
  catchUp() {
    this.#calls++;
    this.#wait = quick;
    this.#askIn(0);
  }

  #askIn(milliseconds) {
    clearTimeout(this.#timer);
    if (!this.#asking) {
      this.#timer = setTimeout(() => this.#poll(), milliseconds);
    }
  }

  async #poll() {
    this.#paused = !this.#live && (this.#page.hidden || !this.#network.navigator.onLine);
    if (this.#paused) {
      return;
    }
    if (!this.#live) {
      this.#reportPolling(true);
    }
    const { calls, news } = await this.#answer();
    if (calls < this.#calls && this.#answered < this.#calls) {
      this.#askIn(0); // this answer may be older than the last call
    } else if (this.#live && this.#answered === this.#calls) {
      this.#reportPolling(false);
    } else {
      const most = this.#failed ? slower : slow;
      this.#wait = news ? quick : Math.min(this.#wait * slowdown, most);
      this.#askIn(this.#wait * jitter());
    }
  }

  async #answer() {
    const calls = this.#calls;
    this.#asking = true;
    try {
      const news = await this.#ask();
      this.#answered = Math.max(this.#answered, calls);
      if (this.#failed) {
        this.#failed = false;
        this.#onProblem(null);
      }
      return { calls, news };
    } catch (error) {
      this.#failed = true;
      this.#onProblem(error);
      return { calls, news: false };
    } finally {
      this.#asking = false;
    }
  }

  #reportPolling(polling) {
    if (this.#polling !== polling) {
      this.#polling = polling;
      this.#onPolling(polling);
    }
  }
}
