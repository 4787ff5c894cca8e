// What a program does with `@google/genai`: a command per line in, a line of what the SDK said or raised out.
// The operations are those of genai_calls.py.
import readline from "node:readline";
import { ApiError, GoogleGenAI } from "@google/genai";

const TIMEOUT = 10_000;

const plain = ({ sdkHttpResponse, automaticFunctionCallingHistory, ...rest }) => rest;
const result = ({ id, name, args }) => ({
  functionResponse: { ...(id && { id }), name, response: { result_of: name, ...args } },
});

async function answer(client, command, contents, said) {
  const asked = { model: command.model, contents, config: command.config };
  if (!command.stream) {
    const response = await client.models.generateContent(asked);
    said.push(plain(response));
    return response.candidates[0].content.parts;
  }
  const parts = [];
  for await (const response of await client.models.generateContentStream(asked)) {
    said.push(plain(response));
    parts.push(...(response.candidates?.[0].content?.parts ?? []));
  }
  return parts;
}

const operations = {
  async generate(client, { model, contents, config }, said) {
    said.push(plain(await client.models.generateContent({ model, contents, config })));
  },
  async stream(client, { model, contents, config }, said) {
    const asked = { model, contents, config };
    for await (const response of await client.models.generateContentStream(asked)) said.push(plain(response));
  },
  async tools(client, command, said) {
    const contents = [...command.contents];
    for (;;) {
      const parts = await answer(client, command, contents, said);
      let calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
      if (!calls.length) return;
      if (command.echo === "whole") contents.push({ role: "model", parts });
      else {
        calls = calls.map(({ name, args }) => ({ name, args }));
        contents.push({ role: "model", parts: calls.map((functionCall) => ({ functionCall })) });
      }
      contents.push({ role: "user", parts: calls.map(result) });
    }
  },
  async session(client, { model, config, texts, stream }, said) {
    const chat = client.chats.create({ model, config });
    for (const message of texts) {
      if (!stream) said.push(plain(await chat.sendMessage({ message })));
      else for await (const response of await chat.sendMessageStream({ message })) said.push(plain(response));
    }
  },
  async automatic(client, { model, contents }, said) {
    // A tool that can be called: the SDK calls it and keeps the history.
    const one = (name, parameter) => ({
      name,
      description: "Tells something.",
      parametersJsonSchema: {
        type: "object",
        properties: { [parameter]: { type: "string" } },
        required: [parameter],
      },
    });
    const tool = {
      tool: async () => ({ functionDeclarations: [one("get_weather", "location"), one("get_time", "timezone")] }),
      callTool: async (calls) => calls.map(result),
    };
    said.push(plain(await client.models.generateContent({ model, contents, config: { tools: [tool] } })));
  },
  async parse(client, { model, contents, schema }, said) {
    const asked = schema
      ? { responseJsonSchema: schema }
      : {
          responseSchema: {
            type: "OBJECT",
            properties: { name: { type: "STRING" }, country: { type: "STRING" } },
            required: ["name", "country"],
          },
        };
    const config = { responseMimeType: "application/json", ...asked };
    said.push(JSON.parse((await client.models.generateContent({ model, contents, config })).text));
  },
  async count(client, { model, contents }, said) {
    said.push(plain(await client.models.countTokens({ model, contents })));
  },
  async models(client, { model }, said) {
    for await (const one of await client.models.list()) said.push(one);
    said.push(await client.models.get({ model }));
  },
};

// The SDK hands over the body's text where Python's has it in fields; in a stream with words of its own before it.
function told(error) {
  const [body] = error.message.match(/\{.*\}/s) ?? ["{}"];
  const { error: details = { message: error.message } } = JSON.parse(body);
  return { class: error.constructor.name, code: error.status, message: details.message, status: details.status };
}

async function run(command) {
  const { base_url: baseUrl, api_key: apiKey, api_version: apiVersion, headers } = command.door;
  const httpOptions = { baseUrl, timeout: TIMEOUT, ...(headers && { headers }), ...(apiVersion && { apiVersion }) };
  const client = new GoogleGenAI({ apiKey, httpOptions });
  const said = [];
  try {
    await operations[command.do](client, command, said);
    return { said };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { said, raised: told(error) };
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await run(JSON.parse(line));
  } catch (error) {
    said = { broken: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
