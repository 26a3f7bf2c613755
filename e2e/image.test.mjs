// The image: built, started as its own user with nothing but variables or a file, and one
// event through it.

import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { app, directory } from './lib/belfry.mjs';
import { buildImage, runImage } from './lib/image.mjs';
import { run } from './lib/process.mjs';
import { eventually } from './lib/wait.mjs';

test('the image', { skip: process.getuid() !== 0 && 'containers need root here' }, async (t) => {
  const image = await buildImage(t);

  await t.test('is the binary and the certificates, and says how it runs', async () => {
    const { stdout } = await run('find', [image.rootfs, '-type', 'f', '-printf', '%P\n']);
    assert.deepEqual(stdout.trim().split('\n').sort(), ['belfry', 'etc/ssl/certs/ca-certificates.crt']);
    assert.equal(image.config.User, '65532:65532');
    assert.deepEqual(Object.keys(image.config.ExposedPorts), ['8080/tcp']);
  });

  const health = async (container) => {
    const [kind, ...command] = image.config.Healthcheck.Test;
    assert.equal(kind, 'CMD');
    return container.exec(command);
  };

  await t.test('runs with variables alone', async (t) => {
    const env = { BELFRY_APP_ID: app.id, BELFRY_APP_KEY: app.key, BELFRY_APP_SECRET: app.secret };
    const container = await runImage(t, image, { env });
    assert.match(container.output(), /msg=listening address=\[::\]:8080/);
    assert.match(await container.status(), /^Uid:(\t65532){4}\nGid:(\t65532){4}$/m);
    assert.deepEqual(await health(container), { code: 0, stdout: 'ready\n', stderr: '' });

    const listening = container.exec(['/belfry', 'listen', '--count', '1', '--json', 'news']);
    await eventually('there is a subscriber', async () => {
      const { stdout } = await container.exec(['/belfry', 'channels', '--json']);
      return stdout.includes('news');
    });
    assert.equal((await container.exec(['/belfry', 'trigger', 'news', 'posted', '{"n":1}'])).code, 0);
    const { code, stdout } = await listening;
    assert.equal(code, 0);
    assert.match(stdout, /"event":"posted"/);

    assert.equal(await container.stop(), 0, container.output());
  });

  await t.test('runs with a file, which its health check reads, too', async (t) => {
    const config = `server: {listen: ":9000", path: /ws}\napps: [{id: "${app.id}", key: ${app.key}, secret: "\${SECRET}"}]\n`;
    const made = await directory(t, { 'config.yaml': config });
    await chmod(made, 0o755);
    const container = await runImage(t, image, {
      env: { BELFRY_CONFIG: '/etc/belfry/config.yaml', SECRET: app.secret },
      files: { '/etc/belfry/config.yaml': path.join(made, 'config.yaml') },
    });
    assert.match(container.output(), /msg=listening address=\[::\]:9000/);
    assert.equal((await health(container)).code, 0);
    assert.equal((await container.exec(['/belfry', 'trigger', 'news', 'posted', '1'])).code, 0);
    assert.equal(await container.stop(), 0, container.output());
  });
});
