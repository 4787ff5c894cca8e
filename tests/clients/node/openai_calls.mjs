// What a program does with JavaScript's `openai`: a command per line in, a line of what the SDK said or raised out.
// The operations are those of openai_calls.py.
import readline from "node:readline";
import OpenAI from "openai";

const TIMEOUT = 10_000;

const known = (message) => ({
  role: "assistant",
  content: message.content ?? null,
  tool_calls: message.tool_calls.map(({ id, function: { name, arguments: text } }) => ({
    id,
    type: "function",
    function: { name, arguments: text },
  })),
});

const result = (call) => ({
  role: "tool",
  tool_call_id: call.id,
  content: JSON.stringify({ result_of: call.function.name, ...JSON.parse(call.function.arguments) }),
});

const operations = {
  async chat(client, { request }, said) {
    said.push(await client.chat.completions.create(request));
  },
  async stream(client, { request }, said) {
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) said.push(chunk);
  },
  async gather(client, { request }, said) {
    said.push(await client.chat.completions.stream(request).finalChatCompletion());
  },
  async tools(client, { request, stream, echo }, said) {
    const messages = [...request.messages];
    for (;;) {
      const asked = { ...request, messages };
      const completion = stream
        ? await client.chat.completions.stream(asked).finalChatCompletion()
        : await client.chat.completions.create(asked);
      said.push(completion);
      const { message } = completion.choices[0];
      if (!message.tool_calls?.length) return;
      messages.push(echo === "whole" ? message : known(message), ...message.tool_calls.map(result));
    }
  },
  async runTools(client, { request }, said) {
    // The SDK's own loop: it calls the functions and keeps the history.
    const tools = request.tools.map((tool) => ({
      type: "function",
      function: {
        ...tool.function,
        parse: JSON.parse,
        function: (given) => ({ result_of: tool.function.name, ...given }),
      },
    }));
    const runner = client.chat.completions.runTools({ ...request, tools });
    runner.on("chatCompletion", (completion) => said.push(structuredClone(completion)));
    await runner.done();
  },
  async parse(client, { request, schema }, said) {
    const response_format = { type: "json_schema", json_schema: { name: "City", strict: true, schema } };
    const completion = await client.chat.completions.parse({ ...request, response_format });
    said.push(JSON.parse(completion.choices[0].message.content));
  },
  async models(client, { model }, said) {
    for await (const one of client.models.list()) said.push(one);
    said.push(await client.models.retrieve(model));
  },
};

const told = (error) => ({
  class: error.constructor.name,
  message: error.message,
  code: error.code ?? null,
  type: error.type ?? null,
  status: error.status,
  headers: Object.fromEntries(error.headers ?? []),
});

async function run(command) {
  const { base_url: baseURL, api_key: apiKey, headers: defaultHeaders } = command.door;
  const client = new OpenAI({ baseURL, apiKey, defaultHeaders, maxRetries: 0, timeout: TIMEOUT });
  const said = [];
  try {
    await operations[command.do](client, command, said);
    return { said };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return { said, raised: told(error) };
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = { broken: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
