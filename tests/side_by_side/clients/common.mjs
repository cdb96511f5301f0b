// What the Node clients share: the calls to make are read from standard input, the outcomes are written as JSON.

import { text } from 'node:stream/consumers';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'te', 'upgrade']);

/** Header fields without those of one connection. */
export function fields(headers) {
  return [...headers].filter(([name]) => !HOP_BY_HOP.has(name)).sort();
}

/** The kind of an error: its class, and the code of what caused it. */
export function kind(error) {
  let cause = error;
  while (cause.cause) cause = cause.cause;
  return [error.constructor.name, cause.code ?? cause.constructor.name];
}

/** Status, reason, fields and body of an answer; what came before an error is kept. */
export async function read(asked) {
  const outcome = {};
  try {
    const answer = await asked;
    Object.assign(outcome, { status: answer.status, reason: answer.statusText, fields: fields(answer.headers) });
    outcome.body = '';
    for await (const piece of answer.body ?? []) outcome.body += Buffer.from(piece).toString('latin1');
  } catch (error) {
    outcome.error = kind(error);
  }
  return outcome;
}

/** Makes each call with `call(url)`, which gives the outcome. */
export async function run(call) {
  const outcomes = {};
  for (const [name, url] of JSON.parse(await text(process.stdin))) outcomes[name] = await call(url);
  process.stdout.write(JSON.stringify(outcomes));
}
