// The image of deploy/Dockerfile, built by buildah and run by runc, both as root and
// without a daemon. Nothing is pulled: the binary is made outside.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { directory } from './belfry.mjs';
import { run, start } from './process.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function must(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, { timeout: 60_000, ...options });
  if (code !== 0) {
    throw new Error(`${command} ${args.join(' ')}: ${code}\n${stdout}${stderr}`);
  }
  return stdout.trim();
}

/** Builds the image: its configuration, its files, and a directory for more. */
export async function buildImage(t) {
  const made = await directory(t);
  const context = path.join(made, 'context');
  await mkdir(context);
  await promisify(execFile)('go', ['build', '-trimpath', '-o', path.join(context, 'belfry'), './cmd/belfry'], {
    cwd: root,
    env: { ...process.env, CGO_ENABLED: '0' },
  });
  await copyFile('/etc/ssl/certs/ca-certificates.crt', path.join(context, 'ca-certificates.crt'));
  const storage = ['--root', path.join(made, 'storage'), '--runroot', path.join(made, 'run'), '--storage-driver', 'vfs'];
  const buildah = (...args) => must('buildah', [...storage, ...args]);
  const file = path.join(root, 'deploy', 'Dockerfile');
  // The format of OCI has no HEALTHCHECK.
  await buildah('bud', '--isolation', 'chroot', '--format', 'docker', '-f', file, '--build-arg', 'BINARY=prebuilt', '-t', 'belfry', context);
  const { Docker: image } = JSON.parse(await buildah('inspect', '--type', 'image', 'belfry'));
  // This storage has a directory for each container, and mounts nothing.
  const rootfs = await buildah('mount', await buildah('from', 'belfry'));
  return { config: image.config, rootfs, scratch: made };
}

/**
 * Starts a container: with a read-only root, no capabilities, and a network of its own in
 * which nobody else is. env is added to the image's environment, files (name: path on this
 * machine) are mounted. exec(args) runs a program in it: {code, stdout, stderr}; stop()
 * sends SIGTERM and resolves to the exit code.
 */
export async function runImage(t, { config, rootfs, scratch }, { env = {}, files = {} } = {}) {
  const [uid, gid] = config.User.split(':').map(Number);
  const bind = ([destination, source]) => ({ destination, source, type: 'bind', options: ['bind', 'ro'] });
  const spec = {
    ociVersion: '1.0.2',
    process: {
      user: { uid, gid },
      args: [...config.Entrypoint, ...config.Cmd],
      env: [...config.Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
      cwd: config.WorkingDir || '/',
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: true },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }, ...Object.entries(files).map(bind)],
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })) },
  };
  const bundle = await mkdtemp(path.join(scratch, 'bundle-'));
  await writeFile(path.join(bundle, 'config.json'), JSON.stringify(spec));
  const name = path.basename(bundle);
  const runc = ['--root', path.join(bundle, 'state')];
  t.after(() => run('runc', [...runc, 'delete', '--force', name]));
  const container = await start('runc', 'runc', [...runc, 'run', '--bundle', bundle, name], { ready: /msg=listening/ });
  const { pid } = JSON.parse(await must('runc', [...runc, 'state', name]));
  return {
    output: container.output,
    status: () => readFile(`/proc/${pid}/status`, 'utf8'),
    exec: (args) => run('runc', [...runc, 'exec', name, ...args]),
    stop: async () => {
      await must('runc', [...runc, 'kill', name, 'TERM']);
      return container.exited;
    },
  };
}
