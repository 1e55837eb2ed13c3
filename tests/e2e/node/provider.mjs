// Every call twice, without and then with a provider named in each of the places where it can be named. What the two
// upstreams received is compared by the test that runs this.
import { test } from 'node:test';

import { client, spelling, toFile } from './sdk.mjs';

const containers = spelling(client());
const NAMED = { custom_llm_provider: 'azure' };
const SIZES = [30, 70_000, 3_000_000];

const file = (size) => toFile(Buffer.alloc(size, 'quay\r\n--'), 'přístav.bin');

const calls = {
  create: (options) => containers.create({ name: 'x', file_ids: ['file-1'] }, options),
  delete: (options) => containers.delete('cntr_9', options),
  'delete a file': (options) => containers.deleteFile('cntr_9', 'cfile_9', options),
  list: ({ query, ...options } = {}) => containers.list({ limit: 3, order: 'asc', ...query }, options),
  retrieve: (options) => containers.retrieve('cntr_9', options),
  'list files': ({ query, ...options } = {}) => containers.listFiles('cntr_9', { after: 'cfile_1', ...query }, options),
  'retrieve a file': (options) => containers.retrieveFile('cntr_9', 'cfile_9', options),
  content: (options) => containers.content('cntr_9', 'cfile_9', options),
  'upload of a file': async (options) => containers.upload('cntr_9', { file: await file(30) }, options),
};

for (const [what, call] of Object.entries(calls)) {
  test(`${what}, by header`, async () => {
    await call();
    await call({ headers: { 'custom-llm-provider': 'azure' } });
  });
}

for (const [what, call] of Object.entries(calls)) {
  test(`${what}, by query`, async () => {
    await call();
    await call({ query: NAMED });
  });
}

test('create, by body', async () => {
  await containers.create({ name: 'x', expires_after: { anchor: 'last_active_at', minutes: 20 } });
  await containers.create({ name: 'x', ...NAMED, expires_after: { anchor: 'last_active_at', minutes: 20 } });
});

test('a file by its id, by body', async () => {
  await containers.upload('cntr_9', { file_id: 'file-1' });
  await containers.upload('cntr_9', { file_id: 'file-1', ...NAMED });
});

test('delete, by body', async () => {
  await containers.delete('cntr_9');
  await containers.delete('cntr_9', { body: NAMED });
});

test('delete a file, by body', async () => {
  await containers.deleteFile('cntr_9', 'cfile_9');
  await containers.deleteFile('cntr_9', 'cfile_9', { body: NAMED });
});

for (const size of SIZES) {
  test(`a file of ${size} bytes, by a field before it`, async () => {
    await containers.upload('cntr_9', { file: await file(size) });
    await containers.upload('cntr_9', { ...NAMED, file: await file(size) });
  });

  test(`a file of ${size} bytes, by a field after it`, async () => {
    await containers.upload('cntr_9', { file: await file(size) });
    await containers.upload('cntr_9', { file: await file(size), ...NAMED });
  });
}
