// The console of a Belfry, in a browser.

import assert from 'node:assert/strict';

import { configuration } from './belfry.mjs';

/** Who may act and who may only look, of consoleConfiguration. */
export const actor = { user: 'admin', password: 'a password to act' };
export const viewer = { user: 'viewer', password: 'a password to look' };

/** A configuration with a console; what it takes is that of configuration. */
export const consoleConfiguration = (options) => `${configuration(options)}
console:
  enabled: true
  password: ${actor.password}
  viewer_user: ${viewer.user}
  viewer_password: ${viewer.password}
`;

/** Opens the console in a page, and signs in. */
export async function signIn(page, belfry, as = actor) {
  await page.goto(`${belfry.url}/console/`);
  await page.getByLabel('User').fill(as.user);
  await page.getByLabel('Password').fill(as.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Views' }).waitFor();
}

/**
 * A page of the console, signed in, in a context of its own. It is closed when the test
 * ends, which fails if the page has thrown, logged an error (such as one of the content
 * security policy) that tolerate does not match, or opened a dialog of the browser.
 * go(view, query) shows a view.
 */
export async function openConsole(t, browser, belfry, { as = actor, tolerate = /^Failed to load resource/, ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('dialog', (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('console', (message) => {
    // What is not answered with 200, such as the question for a session before there is
    // one, or not at all, as by a server that a test has stopped, Chromium logs by itself.
    if (message.type() === 'error' && !tolerate.test(message.text())) {
      faults.push(message.text());
    }
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  await signIn(page, belfry, as);

  async function go(view, query = {}) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, `#/${view}?${new URLSearchParams(query)}`);
    await page.waitForFunction((title) => document.title.startsWith(title), view.replace(/^./, (c) => c.toUpperCase()));
  }
  return { page, go };
}
