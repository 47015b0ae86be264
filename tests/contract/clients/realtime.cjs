// A conversation by voice with the official client for Node, unmodified, over TLS (it knows no other
// address). test_voice.py starts it; prints the events one JSON line each, sound by its length:
//
//   NODE_PATH=… NODE_EXTRA_CA_CERTS=… node realtime.cjs https://HOST:PORT/v1 KEY MODEL < talk.json
"use strict";

const OpenAI = require("openai");
const { OpenAIRealtimeWS } = require("openai/realtime/ws");

const [baseURL, apiKey, model] = process.argv.slice(2);
const talk = JSON.parse(require("fs").readFileSync(0, "utf8")); // {session, turns: [sound in base64]}
const realtime = new OpenAIRealtimeWS({ model }, new OpenAI({ baseURL, apiKey }));
const turns = [...talk.turns];

function say(line) {
  console.log(JSON.stringify(line));
}

function next() {
  const audio = turns.shift();
  if (audio === undefined) realtime.close();
  else realtime.send({ type: "input_audio_buffer.append", audio });
}

realtime.on("event", (event) => {
  const heard = event.type.endsWith("audio.delta") ? Buffer.from(event.delta, "base64").length : 0;
  say({ type: event.type, heard, transcript: event.transcript, status: event.response?.status });
});
realtime.on("error", (error) => {
  say({ type: "raised", name: error.name, code: error.error?.code ?? null, message: error.message });
  if (talk.until === "error") realtime.close();
});
realtime.on("session.created", () => realtime.send({ type: "session.update", session: talk.session }));
realtime.on("session.updated", next);
if (talk.until !== "error") realtime.on("response.done", next); // its error comes after it
realtime.socket.on("unexpected-response", (_, response) => {
  say({ type: "refused", status: response.statusCode });
  process.exit(0);
});
realtime.socket.on("close", (code) => say({ type: "closed", code }));
