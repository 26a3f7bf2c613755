// The libraries of the console's page are those that e2e/package-lock.json names.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { folder, vendor } from './lib/vendor.mjs';

test('npm run vendor gives the files that are committed', async () => {
  const built = await vendor();
  assert.deepEqual((await readdir(folder)).sort(), Object.keys(built).sort());
  for (const [name, text] of Object.entries(built)) {
    assert.ok(text === (await readFile(path.join(folder, name), 'utf8')), `${name} differs: npm run vendor`);
  }
});

test('the page with all it loads is small', async () => {
  const whole = path.join(folder, '..');
  let bytes = 0;
  for (const entry of await readdir(whole, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      bytes += (await readFile(path.join(entry.parentPath, entry.name))).length;
    }
  }
  assert.ok(bytes < 250_000, `${bytes} bytes`);
});
