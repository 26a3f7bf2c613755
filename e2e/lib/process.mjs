// Programs that a test starts, waits for and stops.

import { spawn } from 'node:child_process';

/**
 * Starts a program and waits until its output matches ready. Resolves to
 * {match, output, stop}; rejects, with what it printed, when the program ends
 * or the time is over first.
 */
export function start(name, command, args, { ready, timeout = 20_000, ...options }) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const exited = new Promise((resolve) => child.once('close', resolve));
  let printed = '';
  const output = () => printed;

  async function stop() {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const lastResort = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await exited;
      clearTimeout(lastResort);
    }
  }

  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(`not ready after ${timeout} ms`), timeout);
    const fail = (reason) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`${name}: ${reason}\n${printed}`));
    };
    const read = (chunk) => {
      // A program that logs for hours must not fill the memory.
      printed = (printed + chunk).slice(-100_000);
      const match = printed.match(ready);
      if (match) {
        clearTimeout(timer);
        resolve({ match, output, stop });
      }
    };
    child.once('error', (error) => fail(error.message));
    child.once('close', (code, signal) => fail(`ended with ${signal ?? code}`));
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
  });
}
