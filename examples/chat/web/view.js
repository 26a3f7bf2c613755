// The page: everything that touches the DOM.

const element = (id) => document.getElementById(id);

const titles = {
  visitor: { title: 'Support', subtitle: 'We are online', avatar: 'S', other: 'Support' },
  support: { title: 'Visitor', subtitle: 'Conversation 1', avatar: 'V', other: 'The visitor' },
};

export class View {
  #role;
  #shown = new Map(); // message id -> its <li>
  #sending = new Map(); // sent_at -> the <li> of a message without an id yet
  #complete = 0; // every message up to this id is shown
  #typingTimer;

  constructor(role) {
    this.#role = role;
    document.documentElement.dataset.role = role;
    const { title, subtitle, avatar } = titles[role];
    document.title = role === 'support' ? 'Support desk' : 'Support chat';
    element('title').textContent = title;
    element('subtitle').textContent = subtitle;
    element('avatar').textContent = avatar;
  }

  /** onSend gets the text of a message; onTyping is called at every input. */
  onInput({ onSend, onTyping }) {
    const form = element('compose');
    const text = element('text');
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const value = text.value.trim();
      text.value = '';
      text.focus();
      if (value) {
        onSend(value);
      }
    });
    text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    text.addEventListener('input', onTyping);
  }

  connection(state) {
    element('state').textContent = state;
    element('state').dataset.state = state;
  }

  /** Shows what carries messages, and its title to those who point at it. */
  provider({ name, title }) {
    const badge = element('provider');
    badge.title = title;
    // Screen readers may tell a change to the same text once more.
    if (badge.textContent !== name) {
      badge.textContent = name;
    }
  }

  problem(text) {
    element('problem').textContent = text ?? '';
    element('problem').hidden = !text;
  }

  /** Shows the messages that there are after the id `complete`. */
  list(messages) {
    for (const message of messages) {
      if (!this.#shown.has(message.id)) {
        this.#place(this.#itemOf(message), message.id);
      }
      this.#complete = Math.max(this.#complete, message.id);
    }
  }

  /** The id up to which every message is shown, 0 for none. */
  get complete() {
    return this.#complete;
  }

  /** Shows a message that came live and is displayed now. */
  message(message, now) {
    if (this.#shown.has(message.id)) {
      return;
    }
    const item = this.#itemOf(message);
    this.#place(item, message.id);
    this.#took(item, 'shown', now - message.sent_at);
    this.typing(false);
  }

  /**
   * Shows a message that is being sent. The result has one method for each way
   * that can end. The message may also be listed before, or after a failure: then
   * it was stored, and only the answer is missing.
   */
  sending(message) {
    const item = this.#item(message);
    item.dataset.status = 'sending';
    item.querySelector('.took').textContent = 'sending…';
    this.#sending.set(message.sent_at, item);
    this.#append(item);
    return {
      sent: (stored, delivered, now) => {
        this.#sending.delete(message.sent_at);
        this.#place(item, stored.id);
        if (delivered) {
          this.#took(item, 'sent', now - message.sent_at);
        } else {
          item.dataset.status = 'stored';
          item.querySelector('.took').textContent = 'sent without the realtime server';
        }
      },
      failed: (reason) => {
        if (this.#sending.has(message.sent_at)) {
          item.dataset.status = 'failed';
          item.querySelector('.took').textContent = `not sent: ${reason}`;
        }
      },
    };
  }

  /** Says that the other side is typing, for a few seconds. */
  typing(is) {
    clearTimeout(this.#typingTimer);
    element('typing').textContent = is ? `${titles[this.#role].other} is typing…` : '';
    if (is) {
      this.#typingTimer = setTimeout(() => this.typing(false), 3000);
    }
  }

  #item(message) {
    const item = element('message').content.firstElementChild.cloneNode(true);
    item.classList.toggle('mine', message.role === this.#role);
    item.dataset.from = message.role;
    item.querySelector('.text').textContent = message.text;
    const at = new Date(message.created_at ?? message.sent_at);
    const time = item.querySelector('time');
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    return item;
  }

  /** The item for a message with an id: the one from when it was sent, if from here. */
  #itemOf(message) {
    const item = this.#sending.get(message.sent_at);
    if (!item) {
      return this.#item(message);
    }
    this.#sending.delete(message.sent_at);
    delete item.dataset.status;
    item.querySelector('.took').textContent = '';
    return item;
  }

  /** Puts an item where its id belongs: events may overtake each other. */
  #place(item, id) {
    this.#shown.set(id, item);
    if (id === this.#complete + 1) {
      this.#complete = id;
    }
    item.dataset.id = id;
    const next = [...element('messages').children].find((other) => Number(other.dataset.id) > id);
    this.#append(item, next);
  }

  #append(item, before = null) {
    const list = element('messages');
    // Moving an item that is in place already would animate it again.
    if (item.parentNode !== list || item.nextElementSibling !== before) {
      list.insertBefore(item, before);
    }
    list.scrollTop = list.scrollHeight;
  }

  #took(item, status, milliseconds) {
    // Two machines' clocks differ: less than nothing is nothing.
    const took = Math.max(0, milliseconds);
    item.dataset.status = status;
    item.dataset.ms = took;
    item.querySelector('.took').textContent = `${status} in ${took < 10 ? took.toFixed(1) : Math.round(took)} ms`;
  }
}
