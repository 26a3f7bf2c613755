// The console's page: the sign-in, the frame around the views, and the router.
//
// A view is a module of views/ with a component as default export. Its properties:
//
//   api       what the server is asked by, see lib/api.js
//   app       id of the chosen app, which exists; '' for all, which only a view with
//             all: true gets, or when there is no app
//   apps      [{id, key, enabled}]: the first of many, app among them
//   role      'look' or 'act'
//   server    the answer of api/server, renewed every few seconds
//   query     URLSearchParams of the address
//   setQuery  setQuery({name: value | [values] | undefined}, {push}) changes those in the
//             address; with push, Back returns to what was before

import { api, onAnswer } from './lib/api.js';
import { count, href, show } from './lib/format.js';
import { keepServerTime } from './lib/hooks.js';
import { Dialog, ErrorNote, Field, Text } from './lib/ui.js';
import { html, render, useCallback, useEffect, useMemo, useRef, useState } from './vendor/preact.js';

/**
 * all: the view can show all apps at once. any: it is not about an app. within: the view
 * that the navigation shows in its place; it has an h1 of its own. key: what goes there, after g.
 */
const views = {
  start: { title: 'Start', key: 's', load: () => import('./views/start.js') },
  live: { title: 'Live', key: 'l', all: true, load: () => import('./views/live.js') },
  refused: { title: 'Refused', key: 'r', all: true, load: () => import('./views/refused.js') },
  connections: { title: 'Connections', key: 'c', load: () => import('./views/connections.js') },
  connection: { title: 'Connection', within: 'connections', load: () => import('./views/connection.js') },
  channels: { title: 'Channels', key: 'h', load: () => import('./views/channels.js') },
  channel: { title: 'Channel', within: 'channels', load: () => import('./views/channel.js') },
  webhooks: { title: 'Webhooks', key: 'w', load: () => import('./views/webhooks.js') },
  apps: { title: 'Apps', key: 'a', any: true, load: () => import('./views/apps.js') },
  node: { title: 'Node', key: 'n', any: true, load: () => import('./views/node.js') },
};

const inNavigation = Object.entries(views).filter(([, view]) => !view.within);

/** The view's name and the query that the address names. */
function parseAddress() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  return { name: Object.hasOwn(views, path) ? path : 'start', query: new URLSearchParams(query) };
}

/** What was chosen before, if the browser keeps it. */
const memory = {
  get: (name) => {
    try {
      return localStorage.getItem(`belfry.${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(`belfry.${name}`, value);
    } catch {
      // Then it is forgotten.
    }
  },
};

/** The address as state. What does not begin with #/ is no address of a view. */
function useAddress() {
  const [address, setAddress] = useState(parseAddress);
  useEffect(() => {
    const changed = () => setAddress(parseAddress());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  const setQuery = useCallback((changes, { push = false } = {}) => {
    const { name, query } = parseAddress();
    const rest = Object.fromEntries([...query.keys()].map((key) => [key, query.getAll(key)]));
    const next = href(name, { ...rest, ...changes });
    if (next === location.hash) return;
    history[push ? 'pushState' : 'replaceState'](null, '', next);
    setAddress(parseAddress());
  }, []);
  return [address, setQuery];
}

/** Tells the other tabs, which share the session, that one has begun. */
const signedIn = new BroadcastChannel('belfry');

/**
 * The session: undefined while it is asked for, {role, user} when there is one, else
 * {token} that says how to sign in.
 */
function useSession() {
  const [session, setSession] = useState();
  const [error, setError] = useState();
  useEffect(() => {
    let timer;
    const start = async () => {
      clearTimeout(timer);
      const given = location.hash.match(/^#token=(.+)/)?.[1];
      try {
        setSession(given ? await api.post('session', { token: given }) : await api.get('session'));
        if (given) signedIn.postMessage('');
        setError();
      } catch (failed) {
        setError(failed.status === 0 || given ? failed : undefined);
        if (failed.status === 0) timer = setTimeout(start, 2000);
        else setSession({ token: failed.token ?? false });
        if (failed.status === 0) return;
      }
      // Neither the history nor a bookmark is to have it.
      if (given) history.replaceState(null, '', location.pathname + location.search);
    };
    start();
    // The address that the server prints may be opened where the page is already.
    const changed = () => location.hash.startsWith('#token=') && start();
    addEventListener('hashchange', changed);
    signedIn.onmessage = () => api.get('session').then(setSession, () => {});
    const stop = onAnswer((status) => {
      // It has ended meanwhile. How to sign in, the answer to api/session says.
      if (status === 401) setSession((old) => (old?.role ? { expired: true } : old));
    });
    return () => {
      clearTimeout(timer);
      removeEventListener('hashchange', changed);
      signedIn.onmessage = null;
      stop();
    };
  }, []);
  useEffect(() => {
    if (!session?.expired) return;
    api.get('session').then(setSession, ({ token = false }) => setSession({ token, ended: true }));
  }, [session]);
  return { session, setSession, error };
}

function SignIn({ session, error: first, onSession }) {
  const [values, setValues] = useState({ user: '', password: '', token: '' });
  const [error, setError] = useState(first);
  const [busy, setBusy] = useState(false);
  const form = useRef();
  useEffect(() => setError(first), [first]);
  useEffect(() => form.current.querySelector('input').focus(), [session.token]);
  const input = (name) => ({ value: values[name], onInput: ({ target }) => setValues({ ...values, [name]: target.value }), name, required: true });
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError();
    try {
      onSession(await api.post('session', session.token ? { token: values.token.trim() } : { user: values.user, password: values.password }));
      signedIn.postMessage('');
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return html`<main id="main" class="signin" tabindex="-1">
    <form ref=${form} onSubmit=${submit}>
      <h1><${Brand} /> Belfry</h1>
      ${session.ended && !error && html`<p role="status">The session is over. Sign in again.</p>`}
      ${session.token
        ? html`<${Field} label="Token" type="password" ...${input('token')} hint="The server has printed it, with the address of this page, when it started." />`
        : html`<${Field} label="User" ...${input('user')} autocomplete="username" />
            <${Field} label="Password" type="password" ...${input('password')} autocomplete="current-password" />`}
      <${ErrorNote} error=${error} />
      <button type="submit" class="primary" disabled=${busy}>Sign in</button>
    </form>
  </main>`;
}

const Brand = () => html`<img src="static/icon.svg" width="24" height="24" alt="" />`;

/**
 * The answer of api/server, and whether the server answers at all. The app that is named is
 * in that answer if there is one of that id; asked says which one was named.
 */
function useServer(named) {
  const [server, setServer] = useState();
  const [reachable, setReachable] = useState(true);
  const [error, setError] = useState();
  useEffect(() => {
    let timer, ended;
    const load = async () => {
      clearTimeout(timer);
      let failed = false;
      const asked = Date.now();
      try {
        const answer = await api.get('server', { app: named });
        if (ended) return;
        keepServerTime(answer.now_at, asked);
        setServer({ ...answer, asked: named });
        setError();
      } catch (caught) {
        failed = true;
        if (!ended) setError(caught);
      }
      if (!ended) timer = setTimeout(tick, failed ? 2000 : 10_000);
    };
    const tick = () => (document.hidden ? (timer = setTimeout(tick, 2000)) : load());
    // A request of a view may be the first to notice.
    const stop = onAnswer((status) => {
      setReachable((was) => {
        if (was && status === 0) timer = (clearTimeout(timer), setTimeout(tick, 2000));
        return status !== 0;
      });
    });
    load();
    return () => {
      ended = true;
      clearTimeout(timer);
      stop();
    };
  }, [named]);
  return { server, reachable, error };
}

/** The module of a view: {Component} or {error}. */
function useView(name) {
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    let ended;
    views[name].load().then(
      (module) => ended || setLoaded({ name, Component: module.default }),
      (error) => ended || setLoaded({ name, error }),
    );
    return () => {
      ended = true;
    };
  }, [name]);
  return loaded.name === name ? loaded : {};
}

/** Whether a key is typed into something. */
const typing = ({ target }) => target.closest?.('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]');

function useKeys(onHelp) {
  useEffect(() => {
    let going = 0;
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || document.querySelector('dialog[open]')) return;
      const after = Date.now() - going < 2000;
      going = 0;
      if (after) {
        const link = [...document.querySelectorAll('.views a')].find(({ dataset }) => dataset.key === event.key);
        if (link) {
          link.click();
          event.preventDefault();
        }
      } else if (event.key === 'g') {
        going = Date.now();
      } else if (event.key === '/') {
        const filter = document.querySelector('[data-filter]');
        if (filter) {
          filter.focus();
          filter.select?.();
          event.preventDefault();
        }
      } else if (event.key === '?') {
        onHelp();
        event.preventDefault();
      }
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, []);
}

const Keys = ({ onClose }) => html`<${Dialog} title="Keys" onClose=${onClose}>
  <dl class="keys">
    <div><dt><kbd>/</kbd></dt><dd>to the filter</dd></div>
    ${inNavigation.map(([name, { title, key }]) => html`<div key=${name}><dt><kbd>g</kbd> <kbd>${key}</kbd></dt><dd>to ${title}</dd></div>`)}
    <div><dt><kbd>?</kbd></dt><dd>these keys</dd></div>
  </dl>
  <p class="actions"><button type="button" onClick=${onClose}>Close</button></p>
<//>`;

/**
 * Which app a view is about: that of the address, which may not exist; if it names none,
 * that which was chosen before, or the first.
 */
function chooseApp(view, query, apps) {
  const named = view.any ? null : query.get('app');
  if (named || (named === '' && view.all)) return named;
  const chosen = memory.get('app');
  if (apps.some(({ id }) => id === chosen) || (chosen === '' && view.all)) return chosen;
  return view.all ? '' : (apps[0]?.id ?? '');
}

function Frame({ session, onSignOut }) {
  const [{ name, query }, setQuery] = useAddress();
  const named = query.get('app') || memory.get('app') || '';
  const { server, reachable, error } = useServer(named);
  const [help, setHelp] = useState(false);
  useKeys(() => setHelp(true));
  const view = views[name];
  const { Component, error: broken } = useView(name);
  const apps = server?.apps ?? [];
  const app = chooseApp(view, query, apps);
  const more = server?.apps_total > apps.length;
  const unknown = app !== '' && !apps.some(({ id }) => id === app);
  const missing = unknown && !(more && server.asked !== named);
  const main = useRef();
  const shown = useRef();
  useEffect(() => {
    document.title = `${view.title} · Belfry`;
    document.querySelector('.views [aria-current]').scrollIntoView({ block: 'nearest', inline: 'nearest' });
    // Whoever moves by keyboard goes on in the new view.
    if (shown.current && shown.current !== name) {
      main.current.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    shown.current = name;
  }, [name]);
  useEffect(() => {
    // From here on it is about this app, whatever is chosen elsewhere and whether it stays.
    const address = parseAddress();
    if (server && !view.any && (app || view.all) && address.name === name && !address.query.get('app')) setQuery({ app });
  });
  const choose = ({ target }) => {
    memory.set('app', target.value);
    setQuery({ app: target.value, offset: undefined }, { push: true });
  };
  // The view must not see another query object each time the server was asked.
  const search = String(query);
  const stable = useMemo(() => new URLSearchParams(search), [search]);
  const current = view.within ?? name;
  return html`
    <header class="top">
      <a class="brand" href="#/start"><${Brand} /><span>Belfry</span></a>
      ${server && html`<span class="where"><${Text} value=${server.host} max=${40} /> <span class="mute">${show(server.version)}</span></span>`}
      <span class="spring"></span>
      ${server && !view.any && html`<label class="chooser"><span>App</span>
        <select value=${app} onChange=${choose}>
          ${missing && html`<option value=${app} disabled>${show(app)} (unknown)</option>`}
          ${view.all && html`<option value="">All apps</option>`}
          ${apps.map(({ id, enabled }) => html`<option key=${id} value=${id}>${show(id)}${enabled ? '' : ' (off)'}</option>`)}
          ${more && html`<option disabled>${count(server.apps_total - apps.length)} more: see Apps</option>`}
        </select></label>`}
      <span class="who">${session.user && html`<${Text} value=${session.user} max=${24} /> `}<span class="mute">${session.role === 'act' ? 'may act' : 'may only look'}</span></span>
      <button type="button" class="quiet keys-button" aria-label="Keys" title="Keys" onClick=${() => setHelp(true)}>?</button>
      <button type="button" class="quiet" onClick=${onSignOut}>Sign out</button>
    </header>
    <nav class="views" aria-label="Views">
      <ul>${inNavigation.map(([each, { title, key, all, any }]) => html`<li key=${each}><a href=${href(each, { app: all || any || missing || !app ? undefined : app })} data-key=${key} aria-current=${each === current ? 'page' : undefined}>${title}</a></li>`)}</ul>
    </nav>
    <main id="main" ref=${main} tabindex="-1">
      <div role="status" class="banners">
        ${!reachable && html`<p class="note note-bad">The server does not answer. The page tries again by itself.</p>`}
        ${reachable && server?.clustered && !server.cluster.ready && html`<p class="note note-warn">This node is not connected to its cluster: <${Text} value=${server.cluster.error} max=${300} none="no reason told" /></p>`}
      </div>
      ${(!view.within || missing) && html`<h1>${view.title}</h1>`}
      ${broken && html`<${ErrorNote} error=${`This part of the page could not be loaded: ${broken.message}`} retry=${() => location.reload()} />`}
      ${!server && error && error.status !== 0 && html`<${ErrorNote} error=${error} />`}
      ${server && missing
        ? html`<p class="note note-warn" role="status">There is no app <${Text} value=${app} max=${60} /> (any more): choose another one.</p>`
        : Component && server && !unknown
        ? html`<${Component} key=${name} api=${api} app=${app} apps=${apps} role=${session.role} server=${server} query=${stable} setQuery=${setQuery} />`
        : !broken && html`<p class="loading">Loading…</p>`}
    </main>
    ${help && html`<${Keys} onClose=${() => setHelp(false)} />`}`;
}

function Page() {
  const { session, setSession, error } = useSession();
  if (!session || session.expired) {
    return html`<main id="main" class="signin"><p class="loading" role="status">${error ? 'The server does not answer. The page tries again by itself.' : 'Loading…'}</p></main>`;
  }
  if (!session.role) return html`<${SignIn} session=${session} error=${error} onSession=${setSession} />`;
  const signOut = async () => {
    await api.del('session').catch(() => {});
    setSession({ expired: true });
  };
  return html`<${Frame} session=${session} onSignOut=${signOut} />`;
}

// The address of the link would take the view's place.
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById('main').focus();
});

const root = document.getElementById('app');
root.replaceChildren();
render(html`<${Page} />`, root);
