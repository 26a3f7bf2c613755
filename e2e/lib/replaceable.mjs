// A Belfry that `belfry upgrade` replaces by a new process.

import assert from 'node:assert/strict';
import { chmod, copyFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { binary, configuration, directory, serve } from './belfry.mjs';
import { environment, run } from './process.mjs';

/** A server whose executable and configuration the test may replace. */
export async function replaceable(t, config = configuration()) {
  const cwd = await directory(t, { 'config.yaml': config });
  const program = path.join(cwd, 'belfry');
  await copyFile(binary, program);
  await chmod(program, 0o755);
  const belfry = await serve(['--config', 'config.yaml'], { cwd, env: environment() }, program);
  let { pid } = belfry;
  t.after(async () => {
    process.kill(pid, 'SIGTERM'); // whichever has the clients
    assert.equal(await belfry.exited, 0);
    assert.ok(!/panic/.test(belfry.output()), belfry.output());
  });
  return {
    ...belfry,
    /** Puts other text in the place of a file, as an installation does. */
    replace: async (name, text, mode) => {
      await writeFile(path.join(cwd, `${name}.new`), text, { mode });
      await rename(path.join(cwd, `${name}.new`), path.join(cwd, name));
    },
    restore: async () => {
      await copyFile(binary, `${program}.new`);
      await chmod(`${program}.new`, 0o755);
      await rename(`${program}.new`, program);
    },
    upgrade: async () => {
      const { code, stdout, stderr } = await run(binary, ['upgrade', '--pid', String(pid)]);
      if (code === 0) {
        pid = Number(stdout.match(/^process (\d+) has taken over/)[1]);
      }
      return { code, text: stdout + stderr };
    },
  };
}
