// Makes a PNG of many colours, as Chromium makes them, one with a palette of 256: a
// screenshot has hardly more, and the file becomes a third.

import { crc32, deflateSync, inflateSync } from 'node:zlib';

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The chunks of a PNG (RFC 2083, section 3.2). */
function* chunks(png) {
  for (let at = signature.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    yield [png.toString('latin1', at + 4, at + 8), png.subarray(at + 8, at + 8 + length)];
    at += length + 12;
  }
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** The predictor of section 6.6. */
function paeth(left, above, corner) {
  const estimate = left + above - corner;
  const [a, b, c] = [left, above, corner].map((value) => Math.abs(estimate - value));
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

/** The pixels of an 8-bit RGB or RGBA image, without its filters. */
function decode(png) {
  const parts = [...chunks(png)];
  const header = parts.find(([type]) => type === 'IHDR')[1];
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const size = { 2: 3, 6: 4 }[header[9]];
  if (header[8] !== 8 || !size || header[12] !== 0) {
    throw new Error('not a PNG of 8-bit colours without interlacing');
  }
  const raw = inflateSync(Buffer.concat(parts.filter(([type]) => type === 'IDAT').map(([, data]) => data)));
  const line = width * size;
  const out = Buffer.alloc(line * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (line + 1)];
    for (let x = 0; x < line; x++) {
      const at = y * line + x;
      const left = x >= size ? out[at - size] : 0;
      const above = y > 0 ? out[at - line] : 0;
      const corner = x >= size && y > 0 ? out[at - line - size] : 0;
      const predicted = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      out[at] = raw[y * (line + 1) + 1 + x] + predicted;
    }
  }
  return { width, height, size, out };
}

const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);

/**
 * At most 256 of the counted colours, and for each colour the nearest of them: first the
 * most frequent, then again and again the one that is farthest from all, such as that of
 * a small dot.
 */
function choose(counts) {
  const colours = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const palette = [];
  const nearest = new Map(colours.map((colour) => [colour, { index: 0, far: Infinity }]));
  while (palette.length < Math.min(256, colours.length)) {
    const next =
      palette.length < 96
        ? colours[palette.length]
        : colours.reduce((best, each) => (nearest.get(each).far > nearest.get(best).far ? each : best));
    for (const [colour, to] of nearest) {
      const far = distance(colour, next);
      if (far < to.far) {
        Object.assign(to, { index: palette.length, far });
      }
    }
    palette.push(next);
  }
  return { palette, indexOf: (colour) => nearest.get(colour).index };
}

/** The PNG with a palette of 256 of its colours; each other becomes the nearest of them. */
export function withPalette(png) {
  const { width, height, size, out } = decode(png);
  const counts = new Map();
  const colours = new Uint32Array(width * height);
  for (let i = 0; i < colours.length; i++) {
    const colour = (out[i * size] << 16) | (out[i * size + 1] << 8) | out[i * size + 2];
    colours[i] = colour;
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const { palette, indexOf } = choose(counts);
  const lines = Buffer.alloc((width + 1) * height); // each begins with 0: no filter
  for (let i = 0; i < colours.length; i++) {
    lines[Math.floor(i / width) * (width + 1) + 1 + (i % width)] = indexOf(colours[i]);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const table = Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('PLTE', table),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
