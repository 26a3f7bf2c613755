// Programs that a test starts, waits for and stops.

import { spawn } from 'node:child_process';

/**
 * The environment without what configures Belfry, so that a test does not
 * depend on who runs it, and with what it sets itself.
 */
export function environment(set = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(BELFRY|REVERB|PUSHER)_/.test(name));
  return { ...Object.fromEntries(inherited), ...set };
}

/**
 * Starts a program and waits until its output matches ready. Resolves to
 * {match, output, exited, stop, signal, pid}; rejects, with what it printed, when the
 * program ends or the time is over first. exited and stop() resolve to the exit
 * code, or to the name of the signal that ended it. signal(name) sends one.
 */
export function start(name, command, args, { ready, timeout = 20_000, ...options }) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const exited = new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)));
  let printed = '';
  const output = () => printed;

  async function stop() {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const lastResort = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await exited;
      clearTimeout(lastResort);
    }
    return exited;
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
        resolve({ match, output, exited, stop, signal: (name) => child.kill(name), pid: child.pid });
      }
    };
    child.once('error', (error) => fail(error.message));
    child.once('close', (code, signal) => fail(`ended with ${signal ?? code}`));
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
  });
}

/** Runs a program to its end: {code, stdout, stderr}. */
export function run(command, args, { timeout = 20_000, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => (stdout += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk) => (stderr += chunk));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command} ${args.join(' ')}: still running after ${timeout} ms\n${stdout}${stderr}`));
    }, timeout);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}
