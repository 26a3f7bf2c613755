// Starts the backend of examples/chat on a free port.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { app } from './belfry.mjs';
import { start } from './process.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Resolves when the chat, publishing to belfry, listens: {url, output, stop}. */
export async function startChat(belfry) {
  const directory = await mkdtemp(path.join(tmpdir(), 'belfry-chat-'));
  const binary = path.join(directory, 'chat');
  try {
    await promisify(execFile)('go', ['build', '-o', binary, './examples/chat'], { cwd: root });
    const flags = {
      '--listen': '127.0.0.1:0',
      '--belfry': belfry.url,
      '--app-id': app.id,
      '--app-key': app.key,
      '--app-secret': app.secret,
      '--dist': path.join(root, 'examples', 'chat', 'dist'),
    };
    const chat = await start('chat', binary, Object.entries(flags).flat(), { ready: /chat: (http:\S+)/ });
    return {
      url: chat.match[1],
      output: chat.output,
      stop: async () => {
        await chat.stop();
        await rm(directory, { recursive: true });
      },
    };
  } catch (error) {
    await rm(directory, { recursive: true });
    throw error;
  }
}
