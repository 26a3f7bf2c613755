// Bundles the libraries of the console's page, as they are installed here, for
// server/console/static/vendor. `npm run vendor` writes them there.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const require = createRequire(import.meta.url);

export const folder = fileURLToPath(new URL('../../server/console/static/vendor', import.meta.url));

const modules = {
  'preact.js': `
    import htm from 'htm';
    import { h } from 'preact';
    export { h, render, Fragment } from 'preact';
    export { useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback } from 'preact/hooks';
    export const html = htm.bind(h);`,
  'uplot.js': `export { default } from 'uplot';`,
};

/** The folder of an installed package. */
function home(name) {
  const entry = require.resolve(name);
  return entry.slice(0, entry.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length);
}

/** Resolves to the names of the files with their text. */
export async function vendor() {
  const files = {};
  const licences = [];
  for (const name of ['preact', 'htm', 'uplot']) {
    const { version } = JSON.parse(await readFile(path.join(home(name), 'package.json'), 'utf8'));
    const licence = await readFile(path.join(home(name), 'LICENSE'), 'utf8');
    licences.push(`${name} ${version}\n\n${licence.trim()}\n`);
  }
  files['LICENSES.txt'] = licences.join(`\n${'-'.repeat(80)}\n\n`);
  for (const [name, contents] of Object.entries(modules)) {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: import.meta.dirname },
      bundle: true,
      write: false,
      format: 'esm',
      minify: true,
      target: 'es2022',
      legalComments: 'inline',
      banner: { js: '/*! Licences: LICENSES.txt */' },
    });
    files[name] = outputFiles[0].text;
  }
  files['uplot.css'] = await readFile(path.join(home('uplot'), 'dist', 'uPlot.min.css'), 'utf8');
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(await vendor())) {
    await writeFile(path.join(folder, name), text);
  }
}
