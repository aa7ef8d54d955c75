// Models of CPU-1 in a web page or in Node.js. The work is done in a worker, so that the page goes on.
//
//     const model = await load("default.cpu1");
//     for await (const text of model.stream("Once upon a time")) output.append(text);

import { Refused } from "./engine.js";

export { Refused };

// A module of one function that multiplies by the instruction of relaxed SIMD that cpu1-relaxed.wasm is built on.
// It has to give -24: some engines know the instruction, and compute something else at first.
const RELAXED = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7f, 0x03, 0x02, 0x01, 0x00,
  0x07, 0x07, 0x01, 0x03, 0x64, 0x6f, 0x74, 0x00, 0x00, 0x0a, 0x40, 0x01, 0x3e, 0x00,
  0xfd, 0x0c, ...Array(16).fill(0xfe), 0xfd, 0x0c, ...Array(16).fill(0x03), 0xfd, 0x0c, ...Array(16).fill(0x00),
  0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b,
]);

/** Whether this page's engine has relaxed SIMD, and computes as it should. */
export function hasRelaxed() {
  if (!WebAssembly.validate(RELAXED)) return false;
  return new WebAssembly.Instance(new WebAssembly.Module(RELAXED)).exports.dot() === -24;
}

const encoder = new TextEncoder();
const bytesOf = (text) => {
  if (text instanceof Uint8Array) return text;
  if (typeof text !== "string") throw new TypeError(`a text is a string or a Uint8Array, not ${typeof text}`);
  return encoder.encode(text);
};
// Options of `stream` that are numbers: the least, the most, and whether they are whole.
const NUMBERS = {
  maxBytes: [0, 2 ** 31 - 1, true],
  temperature: [0, 1000, false],
  topK: [0, 2 ** 31 - 1, true],
  topP: [0, 1, false],
  minP: [0, 1, false],
  seed: [0, 2 ** 32 - 1, true],
};
function checkOptions(options) {
  for (const [name, value] of Object.entries(options)) {
    if (name === "learn") continue;
    if (!Object.hasOwn(NUMBERS, name)) throw new TypeError(`there is no option ${name}`);
    const [least, most, whole] = NUMBERS[name];
    const fits = typeof value === "number" && value >= least && value <= most && (!whole || Number.isInteger(value));
    if (!fits) throw new TypeError(`${name} is ${value}; it must be ${whole ? "a whole number " : ""}from ${least} to ${most}`);
  }
}
const isNode = typeof process !== "undefined" && !!process.versions?.node;

/**
 * Loads a packed model: an address, or its bytes.
 * `onProgress({loaded, total})` is called while it comes; `wasm` is the address of another module of the engine.
 */
export async function load(source, { onProgress, wasm, signal } = {}) {
  const code = wasm ?? new URL(hasRelaxed() ? "cpu1-relaxed.wasm" : "cpu1.wasm", import.meta.url);
  const [module, file] = await Promise.all([
    fetchBytes(code, { signal }).then((bytes) => WebAssembly.compile(bytes)),
    source instanceof Uint8Array ? source.slice() : fetchBytes(source, { onProgress, signal }),
  ]);
  const worker = await startWorker();
  const model = new Model(worker);
  try {
    await model._open(module, file);
  } catch (error) {
    model.close();
    throw error;
  }
  return model;
}

async function fetchBytes(address, { onProgress, signal } = {}) {
  if (isNode && !/^https?:/.test(String(address))) {
    const { readFile } = await import("node:fs/promises");
    return new Uint8Array(await readFile(address));
  }
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  const total = Number(answer.headers.get("content-length")) || undefined;
  const parts = [];
  let loaded = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    onProgress?.({ loaded, total });
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A worker with the same three methods in a page and in Node.js. */
async function startWorker() {
  if (typeof Worker !== "undefined") {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    return {
      post: (message, moved) => worker.postMessage(message, moved ?? []),
      listen: (hear, fail) => {
        worker.onmessage = (event) => hear(event.data);
        worker.onerror = (event) => fail(new Error(event.message || "the worker did not start"));
      },
      end: () => worker.terminate(),
    };
  }
  const { Worker: NodeWorker } = await import("node:worker_threads");
  const worker = new NodeWorker(new URL("./worker.js", import.meta.url));
  worker.unref();
  return {
    post: (message, moved) => worker.postMessage(message, moved),
    listen: (hear, fail) => worker.on("message", hear).on("error", fail),
    end: () => void worker.terminate(),
    hold: () => worker.ref(),
    rest: () => worker.unref(),
  };
}

/** A model in its worker. Calls wait for each other in turn; several streams take turns piece by piece. */
export class Model {
  #worker;
  #calls = new Map(); // by number: what hears of it
  #last = 0;
  #failed = null;

  /** What the model's file says of itself. */
  about = null;
  /** Whether the module with relaxed SIMD is at work. Results are the same to the bit. */
  relaxed = hasRelaxed();

  constructor(worker) {
    this.#worker = worker;
    worker.listen(
      (message) => this.#calls.get(message.call)?.(message),
      (error) => this.#fail(error),
    );
  }

  async _open(module, file) {
    this.about = await this.#ask("open", { module, file }, [file.buffer]);
  }

  /** Writes on after a prompt: a promise of the whole text. Options as of `stream`. */
  async generate(prompt = "", options = {}) {
    let text = "";
    for await (const piece of this.stream(prompt, options)) text += piece;
    return text;
  }

  /**
   * Writes on after a prompt, in whole characters. A loop that is left ends the work.
   * Options: maxBytes (256), stop (strings), temperature (0.8), topK, topP, minP, seed (0), learn (false), signal.
   */
  async *stream(prompt = "", { signal, stop = [], ...options } = {}) {
    checkOptions(options);
    const pieces = [];
    let wake = () => {};
    const call = this.#begin("stream", { prompt: bytesOf(prompt), stop: [stop].flat(), options }, (message) => {
      pieces.push(message);
      wake();
    });
    const leave = () => this.#worker.post({ call, cancel: true });
    const abort = () => {
      leave();
      pieces.push({ error: signal.reason });
      wake();
    };
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    let done = false;
    try {
      for (;;) {
        while (!pieces.length) await new Promise((resolve) => (wake = resolve));
        const { piece, error } = pieces.shift();
        if (error) throw failure(error);
        if (piece === undefined) {
          done = true;
          return;
        }
        yield piece;
      }
    } finally {
      if (!done) leave();
      signal?.removeEventListener("abort", abort);
      this.#end(call);
    }
  }

  /** The bits that each byte of a text costs, given the bytes before it: {bytes, bits}. */
  async score(text, { learn = false } = {}) {
    return this.#ask("score", { bytes: bytesOf(text), learn });
  }

  /** The probabilities of the 256 bytes that may come after a text. */
  async nextBytes(text = "") {
    return this.#ask("next", { bytes: bytesOf(text) });
  }

  /** The archive of a text, as `cpu1 compress` writes it with the portable kernels. */
  async compress(text, { learn = true } = {}) {
    return this.#ask("compress", { bytes: bytesOf(text), learn });
  }

  /** The bytes of an archive. Refused if it is damaged, or of another model or arithmetic. */
  async decompress(archive) {
    return this.#ask("decompress", { bytes: archive });
  }

  /** Ends the worker and frees its memory. */
  close() {
    this.#worker.end();
    this.#fail(new Refused("the model is closed"));
  }

  #ask(what, words, moved) {
    return new Promise((resolve, reject) => {
      const call = this.#begin(
        what,
        words,
        ({ result, error }) => {
          this.#end(call);
          error ? reject(failure(error)) : resolve(result);
        },
        moved,
      );
    });
  }

  #begin(what, words, hear, moved) {
    const call = ++this.#last;
    if (this.#failed) {
      queueMicrotask(() => hear({ error: this.#failed }));
      return call;
    }
    this.#calls.set(call, hear);
    this.#worker.hold?.();
    this.#worker.post({ call, what, ...words }, moved);
    return call;
  }

  #end(call) {
    this.#calls.delete(call);
    if (!this.#calls.size) this.#worker.rest?.();
  }

  #fail(error) {
    this.#failed ??= error;
    for (const hear of [...this.#calls.values()]) hear({ error: this.#failed });
  }
}

/** An error that came from the worker, as an object that may be thrown. */
function failure(error) {
  if (error instanceof Error || !error?.words) return error;
  return error.refused ? new Refused(error.words) : new TypeError(error.words);
}
