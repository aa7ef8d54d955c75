// One instance of the WebAssembly engine with one model in it. Every call waits until it is done: index.js runs it in a
// worker. Bytes are Uint8Arrays.

/** What the engine refuses: a damaged file or archive, or an argument that does not fit. */
export class Refused extends Error {
  name = "Refused";
}

const decoder = new TextDecoder();

/** The little that the engine's C library asks of a system: a clock, and nowhere to write. */
const SYSTEM = (instance) => ({
  fd_close: () => 0,
  fd_seek: () => 70, // ESPIPE
  fd_write: () => 8, // EBADF
  environ_get: () => 0,
  environ_sizes_get: (count, size) => {
    const view = new DataView(instance().exports.memory.buffer);
    view.setUint32(count, 0, true);
    view.setUint32(size, 0, true);
    return 0;
  },
  clock_time_get: (_clock, _precision, to) => {
    const nanoseconds = BigInt(Math.round(performance.now() * 1e6));
    new DataView(instance().exports.memory.buffer).setBigUint64(to, nanoseconds, true);
    return 0;
  },
  proc_exit: (status) => {
    throw new Refused(`the engine ended with status ${status}`);
  },
});

export class Engine {
  #module;
  #file;
  #wasm; // exports of the instance; null once it has refused something
  #generation = 0; // of instances: texts of earlier ones are gone

  /** `module`: a compiled WebAssembly.Module; `file`: the bytes of a packed model. Refused if it is none. */
  constructor(module, file) {
    this.#module = module;
    this.#file = file;
    this.#start();
    if (!this.#wasm.is_bytes()) throw new Refused("a model of tokens; only models of bytes run here");
  }

  /** What the model's file says of itself. */
  get about() {
    return JSON.parse(this.#text(this.#call("about")));
  }

  /** What archives are made with: "plain". */
  get arithmetic() {
    return this.#text(this.#call("arithmetic"));
  }

  /** A new text; `learn`: whether the model learns from it. To be given to `end`. */
  begin(learn = false, seed = 0) {
    const handle = this.#call("begin", learn ? 1 : 0);
    this.#call("seed", handle, seed);
    return { handle, generation: this.#generation };
  }

  end(text) {
    if (this.#wasm && text.generation === this.#generation) this.#call("end", text.handle);
  }

  read(text, bytes) {
    this.#with(bytes, (at) => this.#call("read", this.#handle(text), at, bytes.length));
  }

  /** Reads bytes as well; the bits that each of them cost. */
  score(text, bytes) {
    return this.#with(bytes, (at) =>
      this.#room(8 * bytes.length, (to) => {
        this.#call("score", this.#handle(text), at, bytes.length, to);
        return this.#copy(Float64Array, to, bytes.length).map((nats) => nats / Math.LN2);
      }),
    );
  }

  /** The probabilities of the 256 bytes that may come next. They sum to 1 less that of the text's end. */
  next(text) {
    const count = this.#call("symbols");
    return this.#room(4 * count, (to) => {
      this.#call("logits", this.#handle(text), to);
      const logits = Float64Array.from(this.#copy(Float32Array, to, count));
      const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
      const weights = logits.map((x) => Math.exp(x - most));
      const total = weights.reduce((a, b) => a + b, 0);
      return weights.map((x) => x / total).slice(0, 256);
    });
  }

  /** Writes at most `count` bytes, fewer where the text ends. */
  generate(text, count, { temperature = 0.8, topK = 0, topP = 1, minP = 0 } = {}) {
    return this.#room(count, (to) => {
      const made = this.#call("generate", this.#handle(text), temperature, topK, topP, minP, count, to);
      return this.#copy(Uint8Array, to, made);
    });
  }

  /** The archive of a text, as `cpu1 compress` writes it. */
  compress(bytes, learn = true) {
    return this.#with(bytes, (at) => this.#made("compress", at, bytes.length, learn ? 1 : 0));
  }

  /** The text of an archive. Refused if it is damaged, or of another model or arithmetic. */
  decompress(archive) {
    return this.#with(archive, (at) => this.#made("decompress", at, archive.length));
  }

  #start() {
    const page = {
      refused: (words) => {
        throw new Refused(this.#text(words));
      },
    };
    let instance;
    const imports = { page, wasi_snapshot_preview1: SYSTEM(() => instance) };
    instance = new WebAssembly.Instance(this.#module, imports);
    this.#wasm = instance.exports;
    this.#generation += 1;
    this.#wasm._initialize();
    const at = this.#allocate(this.#file); // stays: the engine uses the weights where they are
    this.#call("open", at, this.#file.length);
  }

  /** Calls the engine. A refusal ends the instance, and the next call has a new one. */
  #call(name, ...words) {
    if (!this.#wasm) this.#start();
    try {
      return this.#wasm[name](...words);
    } catch (error) {
      this.#wasm = null;
      if (error instanceof Refused) throw error;
      throw new Refused(`the engine failed: ${error.message}`, { cause: error });
    }
  }

  #handle(text) {
    if (!this.#wasm || text.generation !== this.#generation) throw new Refused("this text ended when the engine refused something");
    return text.handle;
  }

  #allocate(bytes) {
    const at = this.#call("allocate", bytes.length);
    if (!at) throw new Refused(`no memory for ${bytes.length.toLocaleString("en")} bytes`);
    new Uint8Array(this.#wasm.memory.buffer, at, bytes.length).set(bytes);
    return at;
  }

  /** Calls `body` with the place of a copy of bytes. */
  #with(bytes, body) {
    if (!(bytes instanceof Uint8Array)) throw new TypeError("bytes must be a Uint8Array");
    const at = this.#allocate(bytes);
    try {
      return body(at);
    } finally {
      if (this.#wasm) this.#call("release", at);
    }
  }

  #room(size, body) {
    return this.#with(new Uint8Array(size), body);
  }

  #copy(kind, at, count) {
    return new kind(this.#wasm.memory.buffer, at, count).slice();
  }

  /** What a function made that gives its place and returns its size. */
  #made(name, ...words) {
    return this.#room(4, (place) => {
      const size = this.#call(name, ...words, place);
      const [at] = this.#copy(Uint32Array, place, 1);
      const bytes = this.#copy(Uint8Array, at, size);
      this.#call("release", at);
      return bytes;
    });
  }

  #text(at) {
    const memory = new Uint8Array(this.#wasm.memory.buffer);
    return decoder.decode(memory.subarray(at, memory.indexOf(0, at)));
  }
}
