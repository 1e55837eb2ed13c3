// The whole life of a container, and the errors on the way, as users of openai-node live it.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';

import { API_KEY, AzureOpenAI, BASE_URL, OpenAI, client, refusal, spelling, toFile } from './sdk.mjs';

const containers = spelling(client());
const CONTENT = Buffer.from(Array.from({ length: 256 * 3000 }, (_, index) => index % 256));
const MANY = 45;

async function all(pages) {
  const ids = [];
  for await (const item of pages) ids.push(item.id);
  return ids;
}

async function contentOf(containerId, file) {
  const response = await containers.content(containerId, file.id);
  return Buffer.from(await response.arrayBuffer());
}

test('create, retrieve, delete', async () => {
  const created = await containers.create({
    name: 'My Container',
    expires_after: { anchor: 'last_active_at', minutes: 5 },
    memory_limit: '4g',
  });
  assert.match(created.id, /^cntr_[0-9a-f]{48}$/);
  const retrieved = await containers.retrieve(created.id);
  assert.equal(retrieved.name, 'My Container');
  assert.equal(retrieved.status, 'running');
  assert.equal(retrieved.memory_limit, '4g');
  assert.deepEqual(retrieved.expires_after, { anchor: 'last_active_at', minutes: 5 });
  assert.equal(retrieved.expires_at, retrieved.last_active_at + 300);
  await containers.delete(created.id);
  await refusal(containers.retrieve(created.id), OpenAI.NotFoundError);
});

test('lists of many containers and of many files page themselves', async () => {
  const made = [];
  for (let number = 0; number < MANY; number++) made.push((await containers.create({ name: `${number}` })).id);
  assert.deepEqual(await all(containers.list({ limit: 20 })), [...made].reverse());
  assert.deepEqual(await all(containers.list({ limit: 20, order: 'asc' })), made);

  const files = [];
  for (let number = 0; number < MANY; number++) {
    const file = await toFile(Buffer.from('x'), `${number}.txt`);
    files.push((await containers.upload(made[0], { file })).id);
  }
  assert.deepEqual(await all(containers.listFiles(made[0], { limit: 20, order: 'asc' })), files);
  for (const id of made) await containers.delete(id);
});

test('files from bytes and from disk, with a name in any script, come back whole', async () => {
  const { id } = await containers.create({ name: 'files' });
  const name = 'čísla přístavů 港.csv';
  await writeFile(name, CONTENT);
  for (const file of [await toFile(CONTENT, name), createReadStream(name)]) {
    const uploaded = await containers.upload(id, { file });
    assert.equal(uploaded.bytes, CONTENT.length);
    assert.ok(uploaded.path.endsWith(`-${name}`), uploaded.path);
    assert.equal(uploaded.filename, uploaded.path.split('/').at(-1));
    assert.deepEqual(await containers.retrieveFile(id, uploaded.id), uploaded);
    assert.deepEqual(await contentOf(id, uploaded), CONTENT);

    const pieces = [];
    for await (const piece of (await containers.content(id, uploaded.id)).body) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.deepEqual(Buffer.concat(pieces), CONTENT);

    await containers.deleteFile(id, uploaded.id);
    await refusal(containers.retrieveFile(id, uploaded.id), OpenAI.NotFoundError);
  }
});

test('deletion says what was deleted', async () => {
  const { id } = await containers.create({ name: 'short-lived' });
  const response = await containers.delete(id).asResponse();
  assert.deepEqual(await response.json(), { id, object: 'container.deleted', deleted: true });
});

test('errors have their class and their message', async () => {
  const nobody = `cntr_${'0'.repeat(48)}`;
  const notFound = await refusal(containers.retrieve(nobody), OpenAI.NotFoundError);
  assert.equal(notFound.message, `404 Container with id '${nobody}' not found.`);
  assert.equal(notFound.code, null);

  const provider = await refusal(
    containers.create({ name: 'x', custom_llm_provider: 'bedrock' }),
    OpenAI.BadRequestError,
  );
  assert.equal(provider.message, "400 Unknown provider 'bedrock'. Configured here: local, openai.");
  assert.equal(provider.param, 'custom_llm_provider');

  const stranger = spelling(client({ apiKey: 'sk-nobody' }));
  const unknown = await refusal(stranger.list(), OpenAI.AuthenticationError);
  assert.equal(unknown.message, '401 This API key is not known here.');
  assert.equal(unknown.code, 'invalid_api_key');

  const reader = spelling(client({ apiKey: process.env.READERS_KEY }));
  await all(reader.list());
  const forbidden = await refusal(reader.create({ name: 'x' }), OpenAI.PermissionDeniedError);
  assert.match(forbidden.message, /^403 This key may not do containers\.create/);
});

test('the Azure client sends its key in another header', async () => {
  const azure = new AzureOpenAI({
    baseURL: BASE_URL.endsWith('/v1') ? BASE_URL : `${BASE_URL}/v1`,
    apiKey: API_KEY,
    apiVersion: 'preview',
    maxRetries: 0,
  });
  const { id } = await spelling(azure).create({ name: 'azure' });
  assert.equal((await containers.retrieve(id)).name, 'azure');
  await spelling(azure).delete(id);
});
