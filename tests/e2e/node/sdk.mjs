// The SDK under test: which one, where the gateway is and what key it takes, all from the environment.
import assert from 'node:assert/strict';

const module = await import(process.env.OPENAI_PACKAGE);

export const { default: OpenAI, AzureOpenAI, toFile } = module;
export const BASE_URL = process.env.BASE_URL;
export const API_KEY = process.env.API_KEY;

/** A client of the gateway that never tries twice, so that what goes wrong is seen. */
export function client(options = {}) {
  return new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0, ...options });
}

/** The error that a promise ends in, which must be of this class and of exactly that. */
export async function refusal(promise, errorClass) {
  const error = await promise.then(() => undefined, (reason) => reason);
  assert.equal(error?.constructor?.name, errorClass.name, `${error}`);
  return error;
}

/** The nine operations in one spelling: version 4 had another for those that name a file, and for deletion. */
export function spelling({ containers }) {
  const { files } = containers;
  const common = {
    create: (body, options) => containers.create(body, options),
    list: (query, options) => containers.list(query, options),
    retrieve: (id, options) => containers.retrieve(id, options),
    upload: (id, body, options) => files.create(id, body, options),
    listFiles: (id, query, options) => files.list(id, query, options),
  };
  if (containers.del) {
    return {
      ...common,
      delete: (id, options) => containers.del(id, options),
      retrieveFile: (id, fileId, options) => files.retrieve(id, fileId, options),
      deleteFile: (id, fileId, options) => files.del(id, fileId, options),
      content: (id, fileId, options) => files.content.retrieve(id, fileId, options),
    };
  }
  return {
    ...common,
    delete: (id, options) => containers.delete(id, options),
    retrieveFile: (id, fileId, options) => files.retrieve(fileId, { container_id: id }, options),
    deleteFile: (id, fileId, options) => files.delete(fileId, { container_id: id }, options),
    content: (id, fileId, options) => files.content.retrieve(fileId, { container_id: id }, options),
  };
}
