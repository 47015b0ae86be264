// Walks routes of a worker or a gateway with the official client for Node, unmodified, and prints
// one JSON line a step: {"step": NAME, ...facts}. tests/support/workers_node.py starts it:
//
//   NODE_PATH=.parts/node/node_modules node openai_walk.cjs BASE_URL KEY MODEL STEP...
"use strict";

const OpenAI = require("openai");

const [baseURL, key, model, ...steps] = process.argv.slice(2);
const messages = [{ role: "user", content: "Which node runs the model?" }];
const parameters = {
  type: "object",
  properties: { unit: { type: "string", enum: ["kelvin"] } },
  required: ["unit"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "pick_unit", strict: true, parameters } };
const forced = { type: "function", function: { name: "pick_unit" } };
const client = make(key);

function make(apiKey) {
  return new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
}

async function all(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

function chat(more) {
  return client.chat.completions.create({ model, messages, max_tokens: 200, ...more });
}

// A second of silence: WAV, 16 kHz, 16 bit, one channel.
function sound() {
  const wav = Buffer.alloc(44 + 32_000);
  wav.write("RIFF", 0), wav.writeUInt32LE(36 + 32_000, 4), wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16), wav.writeUInt16LE(1, 20), wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(16_000, 24), wav.writeUInt32LE(32_000, 28), wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34), wav.write("data", 36), wav.writeUInt32LE(32_000, 40);
  return wav;
}

const STEPS = {
  async models() {
    return { ids: (await all(client.models.list())).map((one) => one.id) };
  },
  async chat() {
    const answer = await chat();
    const [choice] = answer.choices;
    return {
      text: choice.message.content,
      finish: choice.finish_reason,
      tokens: answer.usage.completion_tokens,
      request_id: answer._request_id ?? null,
    };
  },
  async chat_stream() {
    const chunks = await all(chat({ stream: true, stream_options: { include_usage: true } }));
    const choices = chunks.flatMap((chunk) => chunk.choices);
    return {
      role: choices[0].delta.role,
      text: choices.map((choice) => choice.delta.content ?? "").join(""),
      finish: choices.map((choice) => choice.finish_reason).filter(Boolean),
      tokens: chunks.at(-1).usage.completion_tokens,
    };
  },
  async chat_tool() {
    const answer = await chat({ tools: [tool], tool_choice: forced });
    const [call] = answer.choices[0].message.tool_calls;
    return { name: call.function.name, arguments: JSON.parse(call.function.arguments) };
  },
  async chat_tool_stream() {
    const chunks = await all(chat({ tools: [tool], tool_choice: forced, stream: true }));
    const calls = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    const text = calls.map((call) => call.function.arguments ?? "").join("");
    const names = calls.map((call) => call.function.name).filter(Boolean);
    return { name: names.join(), arguments: JSON.parse(text) };
  },
  // The client's own helper: it puts a stream together and fails on a malformed one.
  async chat_helper() {
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 200 });
    return { text: await stream.finalContent() };
  },
  async chat_left() {
    const stream = await chat({ stream: true, max_tokens: 2000, ignore_eos: true });
    for await (const _ of stream) break; // leaving the loop closes the connection
    return { left: stream.controller.signal.aborted };
  },
  async completion() {
    const answer = await client.completions.create({ model, prompt: "The brain", max_tokens: 9 });
    return { text: answer.choices[0].text, tokens: answer.usage.completion_tokens };
  },
  async completion_stream() {
    const asked = { model, prompt: "The brain", max_tokens: 9, stream: true };
    const chunks = await all(client.completions.create(asked));
    return { text: chunks.map((chunk) => chunk.choices[0]?.text ?? "").join("") };
  },
  async embeddings() {
    const asked = { model, input: ["A node", "offers its GPUs"] };
    const packed = await client.embeddings.create(asked); // the client asks for base64
    const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
    const [one, other] = [packed.data[0].embedding, floats.data[0].embedding];
    const apart = Math.max(...one.map((value, at) => Math.abs(value - other[at])));
    return { rows: packed.data.length, length: one.length, same: apart < 1e-5 };
  },
  async responses() {
    const answer = await client.responses.create({ model, input: "Which node?" });
    return { text: answer.output_text, status: answer.status, tokens: answer.usage.output_tokens };
  },
  async responses_stream() {
    const events = await all(client.responses.create({ model, input: "Which node?", stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    return {
      first: events[0].type,
      last: events.at(-1).type,
      numbers: events.every((event, at) => event.sequence_number === at),
      text: deltas.map((event) => event.delta).join(""),
    };
  },
  async transcription() {
    const file = await OpenAI.toFile(sound(), "second.wav");
    const answer = await client.audio.transcriptions.create({ model, file });
    return { text: answer.text };
  },
  // The form's parts come in the order of these members.
  async transcription_file_first() {
    const content = Buffer.concat([sound(), Buffer.alloc(20 << 20)]);
    const file = await OpenAI.toFile(content, "long.wav");
    const answer = await client.audio.transcriptions.create({ file, model });
    return { text: answer.text };
  },
  async speech() {
    const asked = { model, voice: "alloy", input: "Say it now.", response_format: "wav" };
    const answer = await client.audio.speech.create(asked);
    const content = Buffer.from(await answer.arrayBuffer());
    return { begin: content.subarray(0, 4).toString(), bytes: content.length };
  },
  async image() {
    const asked = { model, prompt: "A lattice", size: "64x64", response_format: "b64_json" };
    const answer = await client.images.generate(asked);
    const content = Buffer.from(answer.data[0].b64_json, "base64");
    return { begin: content.subarray(1, 4).toString() };
  },
  async wrong_key() {
    await make("gk_wrong").chat.completions.create({ model, messages });
    return { answered: true };
  },
  unknown_model: () => client.chat.completions.create({ model: "nothing", messages }),
  bad_value: () => chat({ max_tokens: 1_000_000 }),
  bad_stream: () => chat({ max_tokens: 1_000_000, stream: true }),
  no_route: () => client.get("/nowhere"),
};

async function walk(step) {
  try {
    return await STEPS[step]();
  } catch (error) {
    return {
      error: error.constructor.name,
      is_api_error: error instanceof OpenAI.APIError,
      status: error.status ?? null,
      code: error.code ?? null,
      type: error.type ?? null,
      param: error.param ?? null,
      request_id: error.requestID ?? null,
      message: String(error.message).slice(0, 300),
    };
  }
}

(async () => {
  for (const step of steps.length ? steps : Object.keys(STEPS)) {
    console.log(JSON.stringify({ step, ...(await walk(step)) }));
  }
})();
