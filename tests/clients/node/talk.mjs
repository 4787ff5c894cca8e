// What programs do with the JavaScript SDKs of vendors and with the AI SDK: one question, and the tools that it takes.
// A command per line in, an answer per line out, as tests/clients/talkers tells.
import readline from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ApiError, GoogleGenAI } from "@google/genai";
import { APICallError, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const TIMEOUT = 10_000;
const MOST_STEPS = 6;
const LIMIT = 4000;
const QUESTION = "Should I take an umbrella?";
const object = (properties) => ({
  type: "object",
  properties: Object.fromEntries(Object.entries(properties).map(([name, type]) => [name, { type }])),
  required: Object.keys(properties),
  additionalProperties: false,
});
const TOOLS = {
  get_weather: ["The weather of a city.", object({ city: "string" })],
  get_time: ["The time of a zone.", object({ zone: "string" })],
  count_stock: ["How many of an item are there, if at least so many.", object({ item: "string", least: "integer" })],
};
const CITY = object({ name: "string", country: "string" });
const tools = (make) => Object.entries(TOOLS).map(([name, [description, schema]]) => make(name, description, schema));

class Heard {
  said = "";
  pieces = 0;
  calls = [];

  called(name, given) {
    this.calls.push([name, given]);
    return `${name} says: "2 × ☔"\nThat is all.`;
  }
}

// ── openai ───────────────────────────────────────────────────────────────────────────────────

const openai = ({ url, key }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: TIMEOUT });

async function chat({ door, model, stream, tools: wanted, schema }, heard) {
  const messages = [{ role: "user", content: QUESTION }];
  const asked = { model, messages, reasoning_effort: "low" };
  if (wanted) asked.tools = tools((name, description, parameters) => ({ type: "function", function: { name, description, parameters } }));
  if (schema) asked.response_format = { type: "json_schema", json_schema: { name: "City", strict: true, schema: CITY } };
  for (let step = 0; step < MOST_STEPS; step++) {
    let completion;
    if (stream) {
      const running = openai(door).chat.completions.stream(asked);
      running.on("content", () => heard.pieces++);
      completion = await running.finalChatCompletion();
    } else completion = await openai(door).chat.completions.create(asked);
    const { message } = completion.choices[0];
    heard.said = message.content;
    if (!message.tool_calls?.length) return;
    messages.push(message);
    for (const { id, function: made } of message.tool_calls)
      messages.push({ role: "tool", tool_call_id: id, content: heard.called(made.name, JSON.parse(made.arguments)) });
  }
}

async function responses({ door, model, stream, tools: wanted, schema }, heard) {
  const input = [{ role: "user", content: QUESTION }];
  const asked = { model, input, store: false, include: ["reasoning.encrypted_content"], reasoning: { effort: "low", summary: "auto" } };
  if (wanted) asked.tools = tools((name, description, parameters) => ({ type: "function", name, description, parameters, strict: true }));
  if (schema) asked.text = { format: { type: "json_schema", name: "City", strict: true, schema: CITY } };
  for (let step = 0; step < MOST_STEPS; step++) {
    let response;
    if (stream) {
      const running = openai(door).responses.stream(asked);
      running.on("response.output_text.delta", () => heard.pieces++);
      response = await running.finalResponse();
    } else response = await openai(door).responses.create(asked);
    heard.said = response.output_text;
    const calls = response.output.filter(({ type }) => type === "function_call");
    if (!calls.length) return;
    input.push(...response.output.map(({ parsed_arguments, ...item }) => item));
    for (const { call_id, name, arguments: text } of calls)
      input.push({ type: "function_call_output", call_id, output: heard.called(name, JSON.parse(text)) });
  }
}

// ── @anthropic-ai/sdk ────────────────────────────────────────────────────────────────────────

async function anthropic({ door: { url, key }, model, stream, tools: wanted, schema }, heard) {
  const sdk = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0, timeout: TIMEOUT });
  const messages = [{ role: "user", content: QUESTION }];
  const asked = { model, messages, max_tokens: LIMIT, thinking: { type: "adaptive" } };
  if (wanted) asked.tools = tools((name, description, input_schema) => ({ name, description, input_schema }));
  if (schema) asked.output_config = { format: { type: "json_schema", schema: CITY } };
  for (let step = 0; step < MOST_STEPS; step++) {
    let message;
    if (stream) {
      const running = sdk.messages.stream(asked);
      running.on("text", () => heard.pieces++);
      message = await running.finalMessage();
    } else message = await sdk.messages.create(asked);
    heard.said = message.content.map(({ text }) => text ?? "").join("");
    const calls = message.content.filter(({ type }) => type === "tool_use");
    if (!calls.length) return;
    const results = calls.map(({ id, name, input }) => ({ type: "tool_result", tool_use_id: id, content: heard.called(name, input) }));
    messages.push({ role: "assistant", content: message.content }, { role: "user", content: results });
  }
}

// ── @google/genai ────────────────────────────────────────────────────────────────────────────

async function google({ door: { url, key }, model, stream, tools: wanted, schema }, heard) {
  const sdk = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url, timeout: TIMEOUT } });
  const contents = [{ role: "user", parts: [{ text: QUESTION }] }];
  const config = { thinkingConfig: { includeThoughts: true } };
  if (wanted)
    config.tools = [{ functionDeclarations: tools((name, description, parametersJsonSchema) => ({ name, description, parametersJsonSchema })) }];
  if (schema) Object.assign(config, { responseMimeType: "application/json", responseJsonSchema: CITY });
  for (let step = 0; step < MOST_STEPS; step++) {
    const told = [];
    if (stream)
      for await (const { candidates } of await sdk.models.generateContentStream({ model, contents, config })) {
        const content = candidates?.[0].content;
        if (content?.parts?.some(({ text, thought }) => text && !thought)) heard.pieces++;
        if (content?.parts) told.push(content);
      }
    else told.push((await sdk.models.generateContent({ model, contents, config })).candidates[0].content);
    const parts = told.flatMap((content) => content.parts);
    heard.said = parts.map(({ text, thought }) => (text && !thought ? text : "")).join("");
    const calls = parts.filter(({ functionCall }) => functionCall).map(({ functionCall }) => functionCall);
    if (!calls.length) return;
    const results = calls.map(({ id, name, args }) => ({ functionResponse: { id, name, response: { result: heard.called(name, args) } } }));
    contents.push(...told, { role: "user", parts: results });
  }
}

// ── ai ───────────────────────────────────────────────────────────────────────────────────────

const MODELS = {
  "ai-chat": ({ url, key }, model) => [createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(model), {}],
  "ai-responses": ({ url, key }, model) => [
    createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).responses(model),
    { openai: { store: false, include: ["reasoning.encrypted_content"], reasoningSummary: "auto", forceReasoning: true } },
  ],
  "ai-compatible": ({ url, key }, model) => [
    createOpenAICompatible({ name: "isthmus", baseURL: `${url}/v1`, apiKey: key, supportsStructuredOutputs: true })(model),
    {},
  ],
  "ai-anthropic": ({ url, key }, model) => [
    createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(model),
    { anthropic: { thinking: { type: "adaptive" }, structuredOutputMode: "outputFormat" } },
  ],
  "ai-google": ({ url, key }, model) => [
    createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(model),
    { google: { thinkingConfig: { includeThoughts: true } } },
  ],
};

async function ai({ door, kind, model: name, stream, tools: wanted, schema }, heard) {
  const [model, providerOptions] = MODELS[kind](door, name);
  const asked = { model, providerOptions, prompt: QUESTION, maxOutputTokens: LIMIT, maxRetries: 0 };
  if (schema) {
    heard.said = JSON.stringify((await generateObject({ ...asked, schema: jsonSchema(CITY) })).object);
    return;
  }
  if (wanted) {
    asked.stopWhen = stepCountIs(MOST_STEPS);
    asked.tools = Object.fromEntries(
      tools((name, description, parameters) => [
        name,
        tool({ description, inputSchema: jsonSchema(parameters), execute: (given) => heard.called(name, given) }),
      ]),
    );
  }
  if (!stream) {
    heard.said = (await generateText(asked)).text;
    return;
  }
  let failed;
  const running = streamText({ ...asked, onError: ({ error }) => (failed = error) });
  for await (const piece of running.fullStream) if (piece.type === "text-delta" && piece.text) heard.pieces++;
  if (failed) throw failed;
  heard.said = await running.text;
}

// ── the program ──────────────────────────────────────────────────────────────────────────────

const KINDS = { chat, responses, anthropic, google };

function raised(error) {
  const known = [OpenAI.APIError, Anthropic.APIError, ApiError].some((kind) => error instanceof kind);
  const status = known ? error.status : APICallError.isInstance(error) ? error.statusCode : undefined;
  if (status === undefined) throw error;
  return { raised: { class: error.constructor.name, status, message: error.message } };
}

async function run(command) {
  const heard = new Heard();
  try {
    await (KINDS[command.kind] ?? ai)(command, heard);
    return { said: heard.said, pieces: heard.pieces, calls: heard.calls };
  } catch (error) {
    return raised(error);
  }
}

globalThis.AI_SDK_LOG_WARNINGS = false;
for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = { broken: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
