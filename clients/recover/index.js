// Has Belfry send a client what it missed while its connection was broken. See README.md.

const answerTimeout = 10_000; // ms that the server may take to answer when a subscription overtakes the question
const limits = { sockets: 16, channels: 500 }; // the server takes no more
const messageSize = 4000; // about as many characters: a server may be configured to take little

const recovering = new WeakSet(); // pusher-js clients that are taken care of

/** Recovers what a pusher-js client misses. A second call with the same client does nothing. */
export function recover(pusher) {
  if (recovering.has(pusher)) {
    return;
  }
  recovering.add(pusher);
  const { connection } = pusher;
  const socketIds = []; // socket ids of this page, the oldest first

  // What is known of a channel, by the Channel object: when the page unsubscribes and
  // subscribes anew, there is a new one, and nothing is known of it.
  // serial: what the page has handled last; '' if it may lack something before; undefined if
  //   the channel has no history
  // waiting: the server has yet to say whether the page gets all that it missed
  // asked: it was asked that on this connection
  // timer: it has confirmed the subscription, but not said that
  const positions = new WeakMap();

  // The message that the page has handled last. pusher-js leaves out its serial, which only
  // the text has; but a text may also come on a connection that pusher-js has given up.
  let handled;
  connection.bind('message', (message) => (handled = message));

  connection.bind('state_change', ({ previous, current }) => {
    if (current === 'connected') {
      connected();
    } else if (previous === 'connected') {
      broken();
    }
  });
  if (connection.state === 'connected') {
    connected();
  }

  /** Gives up what is not certain of the channels that were subscribed. */
  function broken() {
    for (const channel of pusher.allChannels().filter(({ subscribed }) => subscribed)) {
      const position = positions.get(channel);
      if (!position || position.waiting) {
        clearTimeout(position?.timer);
        positions.set(channel, { serial: '' });
      }
    }
  }

  /** Asks, ahead of pusher-js, which subscribes to all channels next. */
  function connected() {
    const channels = pusher.allChannels().filter((channel) => positions.get(channel)?.serial !== undefined);
    for (const [i, channel] of channels.entries()) {
      Object.assign(positions.get(channel), { waiting: true, asked: i < limits.channels });
    }
    let some = {};
    let size = 0;
    const ask = () => {
      if (size > 0) {
        connection.send_event('pusher:recover', { channels: some, socket_ids: socketIds });
      }
      [some, size] = [{}, 0];
    };
    for (const channel of channels.slice(0, limits.channels)) {
      const { name } = channel;
      const { serial } = positions.get(channel);
      const length = name.length + serial.length + 6; // with quotes, colon and comma
      if (size + length > messageSize) {
        ask();
      }
      some[name] = serial;
      size += length;
    }
    ask();
    socketIds.push(connection.socket_id);
    socketIds.splice(0, socketIds.length - limits.sockets);
    connection.connection?.transport?.bind('message', received);
  }

  /** Comes behind the handlers of the page, and not at all if one of them has thrown. */
  function received({ data: text }) {
    const message = handled;
    handled = undefined;
    const channel = message?.channel && pusher.channel(message.channel);
    if (!channel) {
      return;
    }
    const serial = text.includes('"serial"') ? JSON.parse(text).serial : undefined;
    if (message.event === 'pusher_internal:subscription_succeeded') {
      subscribed(channel, serial, message.data?.recovered);
    } else if (serial !== undefined) {
      event(channel, serial);
    }
  }

  function subscribed(channel, serial, recovered) {
    const position = positions.get(channel) ?? {};
    positions.set(channel, position);
    if (position.waiting && position.asked && recovered === undefined && serial !== undefined) {
      // The subscription has overtaken the question, as it may over HTTP: the answer follows.
      position.serial = serial;
      position.timer ??= setTimeout(() => missed(channel, position), answerTimeout);
      position.timer.unref?.(); // Node need not wait for it
      return;
    }
    if (serial !== undefined || (position.waiting && !position.timer)) {
      position.serial = serial; // all that is later follows
    }
    if (recovered === false || (position.waiting && !recovered)) {
      missed(channel, position);
    } else {
      answered(position);
    }
  }

  function event(channel, serial) {
    const position = positions.get(channel);
    if (position?.waiting && !position.timer) {
      // A handler of the page has thrown at the server's answer, which was not seen here.
      position.serial = serial;
      missed(channel, position);
    } else if (position) {
      position.serial = later(position.serial, serial);
    } else if (channel.subscribed) {
      positions.set(channel, { serial });
    } // else the page has subscribed anew, and this is of the subscription before
  }

  function answered(position) {
    clearTimeout(position.timer);
    Object.assign(position, { waiting: false, timer: undefined });
  }

  function missed(channel, position) {
    answered(position);
    if (pusher.channel(channel.name) === channel) {
      channel.emit('belfry:missed', {});
    }
  }
}

/** The later of two serials, EPOCH-NUMBER. Over HTTP, missed events may come behind newer ones. */
function later(a, b) {
  const [epoch, number] = split(a);
  const [otherEpoch, otherNumber] = split(b);
  return epoch === otherEpoch && number > otherNumber ? a : b;
}

function split(serial = '') {
  const at = serial.lastIndexOf('-');
  return [serial.slice(0, at), Number(serial.slice(at + 1))];
}

globalThis.belfryRecover = recover; // for scripts that are not modules
