/** What the engine refuses: a damaged file or archive, or an argument that does not fit. */
export class Refused extends Error {}

/** Whether this page's engine has relaxed SIMD, and computes as it should. */
export function hasRelaxed(): boolean;

export interface LoadOptions {
  /** Called while the model comes; `total` where the server says it. */
  onProgress?: (state: { loaded: number; total?: number }) => void;
  /** Another module of the engine; by default cpu1-relaxed.wasm or cpu1.wasm next to index.js. */
  wasm?: string | URL;
  signal?: AbortSignal;
}

export interface WriteOptions {
  /** Bytes to write at most; 256 by default. */
  maxBytes?: number;
  /** The text ends before the first of these. */
  stop?: string | string[];
  /** 0: always the likeliest byte; 0.8 by default. */
  temperature?: number;
  /** 0: all bytes. */
  topK?: number;
  topP?: number;
  minP?: number;
  /** Equal seeds give equal texts. */
  seed?: number;
  /** Whether the model learns from the prompt. */
  learn?: boolean;
  signal?: AbortSignal;
}

export interface Scores {
  bytes: Uint8Array;
  /** What each byte costs, in bits: -log2 of its probability given all bytes before it. */
  bits: Float64Array;
}

/** Loads a packed model of bytes: an address, or what is in the file. */
export function load(source: string | URL | Uint8Array, options?: LoadOptions): Promise<Model>;

export class Model {
  private constructor();
  /** What the model's file says of itself. */
  readonly about: Record<string, unknown>;
  /** Whether the module with relaxed SIMD is at work. Results are the same to the bit. */
  readonly relaxed: boolean;
  stream(prompt?: string | Uint8Array, options?: WriteOptions): AsyncGenerator<string, void, undefined>;
  generate(prompt?: string | Uint8Array, options?: WriteOptions): Promise<string>;
  score(text: string | Uint8Array, options?: { learn?: boolean }): Promise<Scores>;
  /** The probabilities of the 256 bytes that may come next. */
  nextBytes(text?: string | Uint8Array): Promise<Float64Array>;
  compress(text: string | Uint8Array, options?: { learn?: boolean }): Promise<Uint8Array>;
  decompress(archive: Uint8Array): Promise<Uint8Array>;
  /** Ends the worker and frees its memory. */
  close(): void;
}
