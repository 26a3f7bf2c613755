// The examples in docs/, so that tests can run just what users read.

import { readFile } from 'node:fs/promises';

/** The text of every code block of a language in a page of docs/; one in a list loses its indentation. */
export async function examples(page, language) {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const blocks = text.matchAll(/^( *)```(\S+)\n(.*?)^\1```$/gms);
  return [...blocks]
    .filter(([, , found]) => found === language)
    .map(([, indent, , code]) => code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}

/** The one example that contains a text. */
export function example(blocks, containing) {
  const found = blocks.filter((block) => block.includes(containing));
  if (found.length !== 1) {
    throw new Error(`${found.length} examples contain ${containing}`);
  }
  return found[0];
}

/** The tables of a page of docs/: the rows of each, by the headings of their columns. */
export async function tables(page) {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const cells = (line) => line.slice(1, -1).split('|').map((cell) => cell.trim());
  return [...text.matchAll(/(?:^\|.*\|\n)+/gm)].map(([table]) => {
    const [head, , ...rows] = table.trim().split('\n').map(cells);
    return rows.map((row) => Object.fromEntries(row.map((cell, i) => [head[i], cell])));
  });
}
