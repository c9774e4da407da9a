// A worker thread that runs a function of a user's file. Messages: {id, name, list} with the arguments of calls, one
// reply each: {id, value} or {id, error, index?, stack}. `split` tells how to ask for one entry of a batch alone, so
// that an error can be laid at the door of one sample.
import { parentPort, workerData } from 'node:worker_threads';
import { createJiti } from 'jiti';

const { file, names } = workerData;

async function load() {
  const module = await createJiti(import.meta.url, { fsCache: false }).import(file);
  const found = {};
  for (const name of names) {
    const fn =
      module[name] ?? module.default?.[name] ?? (names.length === 1 ? module.default : undefined);
    if (typeof fn !== 'function')
      throw new TypeError(
        `it exports no function '${name}'${names.length === 1 ? ' and no default' : ''}`,
      );
    found[name] = fn;
  }
  return found;
}

const loading = load();
// The first call tells what was wrong.
loading.catch(() => undefined);

const pick = (batch, i) =>
  Object.fromEntries(Object.entries(batch).map(([key, list]) => [key, [list[i]]]));

async function call(fn, { argument, batched }) {
  try {
    return { value: await fn(argument) };
  } catch (error) {
    const said = describe(error);
    if (!batched) return said;
    // Once more, one by one: which entry is it?
    for (let i = 0; i < argument.ids.length; i++) {
      try {
        await fn(pick(argument, i));
      } catch (one) {
        return { ...describe(one), index: i };
      }
    }
    return said;
  }
}

const describe = (error) => ({
  error: error instanceof Error ? error.message : String(error),
  stack: error instanceof Error ? error.stack : undefined,
});

parentPort.on('message', async ({ id, name, argument, batched }) => {
  let reply;
  try {
    const functions = await loading;
    reply = await call(functions[name], { argument, batched });
  } catch (error) {
    reply = { ...describe(error), loading: true };
  }
  try {
    parentPort.postMessage({ id, ...reply });
  } catch (error) {
    parentPort.postMessage({ id, error: `its result can't be passed on: ${error.message}` });
  }
});
