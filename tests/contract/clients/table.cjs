// The official client for Node, unmodified, takes each step of a plan (its JSON comes by stdin) and
// prints one JSON line a step. test_table.py starts it:
//
//   NODE_PATH=.parts/node/node_modules node table.cjs < plan.json
"use strict";

const OpenAI = require("openai");

const plan = JSON.parse(require("fs").readFileSync(0, "utf8"));
const sound = Buffer.from(plan.sound, "base64");

async function count(stream) {
  let items = 0;
  for await (const _ of await stream) items += 1;
  return items;
}

async function form(step) {
  const content = Buffer.concat([sound, Buffer.alloc(step.pad)]);
  return { ...step.body, file: await OpenAI.toFile(content, "a.wav") };
}

// Each route by the method that the client's documents show; those that are not OpenAI's by `post`.
const ROUTES = {
  chat: async (client, body) => (await client.chat.completions.create(body)).choices[0].message.content,
  completions: async (client, body) => (await client.completions.create(body)).choices[0].text,
  embeddings: async (client, body) => (await client.embeddings.create(body)).data,
  responses: async (client, body) => (await client.responses.create(body)).output_text,
  images: async (client, body) => (await client.images.generate(body)).data,
  speech: async (client, body) => {
    const answer = await client.audio.speech.create(body);
    return Buffer.from(await answer.arrayBuffer());
  },
  transcriptions: async (client, _, step) =>
    (await client.audio.transcriptions.create(await form(step))).text,
  translations: async (client, _, step) =>
    (await client.audio.translations.create(await form(step))).text,
  rerank: async (client, body) => (await client.post("/rerank", { body })).results,
  rerank_2: async (client, body) =>
    (await client.post(client.baseURL.replace(/\/v1$/, "/v2/rerank"), { body })).results,
  score: async (client, body) => (await client.post("/score", { body })).data,
  models: async (client, body) =>
    body.model ? (await client.models.retrieve(body.model)).id : (await client.models.list()).data,
};
const STREAMS = {
  chat: (client, body) => client.chat.completions.create(body),
  completions: (client, body) => client.completions.create(body),
  responses: (client, body) => client.responses.create(body),
  transcriptions: async (client, _, step) =>
    client.audio.transcriptions.create({ ...(await form(step)), stream: true }),
};

function classes(error) {
  const found = [];
  for (let kind = error.constructor; kind.name; kind = Object.getPrototypeOf(kind)) {
    found.push(kind.name);
  }
  return found;
}

async function take(step) {
  const headers = step.idempotency_key ? { "Idempotency-Key": step.idempotency_key } : {};
  const client = new OpenAI({
    baseURL: `${step.impatient ? plan.impatient_url : plan.url}/v1`,
    apiKey: plan.keys[step.key],
    defaultHeaders: headers,
    maxRetries: 0,
    timeout: 60_000,
  });
  try {
    if (step.stream) {
      return { raised: [], said: await count(STREAMS[step.route](client, { ...step.body, stream: true }, step)) };
    }
    return { raised: [], said: (await ROUTES[step.route](client, step.body, step)).length };
  } catch (error) {
    return {
      raised: classes(error),
      status: error.status ?? null,
      code: error.code ?? null,
      request_id: error.requestID ?? null,
      message: String(error.message).slice(0, 300),
    };
  }
}

(async () => {
  for (const step of plan.steps) {
    console.log(JSON.stringify({ route: step.route, case: step.case, ...(await take(step)) }));
  }
})();
