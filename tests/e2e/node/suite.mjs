// What openai-node's own container tests call: the same operations with the same ids and values, each as a raw
// response, as an object and as both, and each at a path that no API has.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OpenAI, client, refusal } from './sdk.mjs';

const { containers } = client();
const { files } = containers;
const container_id = 'container_id';
const page = { after: 'after', limit: 0, order: 'asc' };
const everything = {
  name: 'name',
  expires_after: { anchor: 'last_active_at', minutes: 0 },
  file_ids: ['string'],
  memory_limit: '1g',
  network_policy: { type: 'disabled' },
  skills: [{ skill_id: 'x', type: 'skill_reference', version: 'version' }],
};

const calls = {
  'create a container with what it must have': (options) => containers.create({ name: 'name' }, options),
  'create a container with all there is': (options) => containers.create(everything, options),
  'retrieve a container': (options) => containers.retrieve(container_id, options),
  'list containers': (options) => containers.list({}, options),
  'list containers with all there is': (options) => containers.list({ ...page, name: 'name' }, options),
  'delete a container': (options) => containers.delete(container_id, options),
  'create a file of nothing': (options) => files.create(container_id, {}, options),
  'retrieve a file': (options) => files.retrieve('file_id', { container_id }, options),
  'list files': (options) => files.list(container_id, {}, options),
  'list files with all there is': (options) => files.list(container_id, page, options),
  'delete a file': (options) => files.delete('file_id', { container_id }, options),
};

for (const [what, call] of Object.entries(calls)) {
  test(what, async () => {
    const promise = call();
    const raw = await promise.asResponse();
    assert.ok(raw instanceof Response);
    assert.equal(raw.status, 200);
    const value = await promise;
    assert.ok(!(value instanceof Response));
    const both = await promise.withResponse();
    assert.equal(both.data, value);
    assert.equal(both.response, raw);
  });
}

test('retrieve the content of a file', async () => {
  const content = await files.content.retrieve('file_id', { container_id });
  assert.ok(content instanceof Response);
  assert.equal(await content.text(), 'name,berth\nEver Given,7\n');
});

calls['retrieve the content of a file'] = (options) => files.content.retrieve('file_id', { container_id }, options);

for (const [what, call] of Object.entries(calls)) {
  test(`${what}, where no API has it`, async () => {
    await refusal(call({ path: '/_stainless_unknown_path' }), OpenAI.NotFoundError);
  });
}
