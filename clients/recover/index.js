// Has Belfry send a client what it missed while its connection was broken. See README.md.

const patience = 10_000; // ms that the server may take to answer when a subscription overtakes the question
const most = { ids: 16, channels: 500, channelsOfMessage: 100 }; // the server takes no more

const known = new WeakSet(); // pusher-js clients that are taken care of

/** Recovers what a pusher-js client misses. A second call with the same client does nothing. */
export function recover(pusher) {
  if (known.has(pusher)) {
    return;
  }
  known.add(pusher);
  const { connection } = pusher;
  const ids = []; // socket ids of this page, the oldest first

  // What is known of a channel, by the Channel object: when the page unsubscribes and
  // subscribes anew, there is a new one, and nothing is known of it.
  // serial: what the page has handled last; '' if it may lack something before; undefined if
  //   the channel has no history
  // waiting: the server has yet to say whether the page gets all that it missed
  // asked: it was asked that on this connection
  // timer: it has confirmed the subscription, but not said that
  const places = new WeakMap();

  // The message that the page has handled last. pusher-js leaves out its serial, which only
  // the text has; but a text may also come on a connection that pusher-js has given up.
  let handled;
  connection.bind('message', (message) => (handled = message));

  let interrupted = []; // the channels that were subscribed when the connection broke
  connection.bind('state_change', ({ previous, current }) => {
    if (current === 'connected') {
      connected();
    } else if (previous === 'connected') {
      interrupted = pusher.allChannels().filter((channel) => channel.subscribed);
    }
  });
  if (connection.state === 'connected') {
    connected();
  }

  /** Asks, ahead of pusher-js, which subscribes to all channels next. */
  function connected() {
    for (const channel of interrupted) {
      const place = places.get(channel);
      if (!place || place.waiting) {
        clearTimeout(place?.timer);
        places.set(channel, { serial: '' });
      }
    }
    const channels = pusher.allChannels().filter((channel) => places.get(channel)?.serial !== undefined);
    for (const [i, channel] of channels.entries()) {
      Object.assign(places.get(channel), { waiting: true, asked: i < most.channels });
    }
    const asked = channels.slice(0, most.channels).map((channel) => [channel.name, places.get(channel).serial]);
    for (let i = 0; i < asked.length; i += most.channelsOfMessage) {
      const some = Object.fromEntries(asked.slice(i, i + most.channelsOfMessage));
      connection.send_event('pusher:recover', { channels: some, socket_ids: ids });
    }
    ids.push(connection.socket_id);
    ids.splice(0, ids.length - most.ids);
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
    const place = places.get(channel) ?? {};
    places.set(channel, place);
    if (place.waiting && place.asked && recovered === undefined && serial !== undefined) {
      // The subscription has overtaken the question, as it may over HTTP: the answer follows.
      place.serial = serial;
      place.timer ??= setTimeout(() => missed(channel, place), patience);
      place.timer.unref?.(); // Node need not wait for it
      return;
    }
    if (serial !== undefined || (place.waiting && !place.timer)) {
      place.serial = serial; // all that is later follows
    }
    if (recovered === false || (place.waiting && !recovered)) {
      missed(channel, place);
    } else {
      settled(place);
    }
  }

  function event(channel, serial) {
    const place = places.get(channel);
    if (place?.waiting && !place.timer) {
      // A handler of the page has thrown at the server's answer, which was not seen here.
      place.serial = serial;
      missed(channel, place);
    } else if (place) {
      place.serial = later(place.serial, serial);
    } else if (channel.subscribed) {
      places.set(channel, { serial });
    } // else the page has subscribed anew, and this is of the subscription before
  }

  function settled(place) {
    clearTimeout(place.timer);
    Object.assign(place, { waiting: false, timer: undefined });
  }

  function missed(channel, place) {
    settled(place);
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
