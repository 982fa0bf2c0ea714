/** Compiles a graph: lowers it, encodes it, and opens an engine session here or in a worker. */
import { LinnetError } from '../errors.ts';
import { requireCount } from '../files/arguments.ts';
import type { Graph } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import { encodeGraph, type StoredGraph } from './encoded-graph.ts';
import { isDevice, openSession } from './engine.ts';
import { type Program, type ProfileSource, SessionProgram } from './program.ts';
import { ScratchWeights } from './scratch-weights.ts';
import type { EngineModel, EngineSession, EngineSettings } from './session-types.ts';

export type { Device } from '../graph/onnx/model.ts';
export type { Program, ProgramStatistics } from './program.ts';
export type { NamedTensors } from './session-types.ts';

/** Where a graph runs, and with how many threads. */
export interface CompileOptions {
  /** Default: `cpu`. With `cuda` and `webgpu`, unsupported ops run on the CPU. `wasm` is for browsers. */
  readonly device?: Device;
  /** Threads per op. Default: one per physical core. */
  readonly threads?: number;
  /**
   * Runs in a separate thread, so that long runs do not block the event loop; copies feeds. Default: false, runs block the
   * calling thread.
   */
  readonly worker?: boolean;
  /**
   * Keeps threads awake between a run's ops: for graphs with many short ops, on idle cores. Default: false. `open` turns it
   * on for models that write texts, except small checkpoints.
   */
  readonly spin?: boolean;
  /**
   * Returns every result's memory to the system after its last read, instead of keeping it for the next run: for graphs
   * with results of many megabytes, whose runs would otherwise take about twice the memory. Default: false.
   */
  readonly lean?: boolean;
  /**
   * Makes computed weights (quantized matrices' codes) in a file in the system's temporary folder until the graph is open,
   * if the disk has room: saves about twice their size in memory. Default: false, makes them in memory.
   */
  readonly scratch?: boolean;
  /** Records every op's time for `Program.profile`; slows runs down a little. Default: false. */
  readonly profile?: boolean;
}

/**
 * Compiles a graph's live part.
 *
 * @throws LinnetError `GRAPH` if the graph cannot be lowered, `CONFIG` if an option is invalid, `RUNTIME` if the engine
 *   cannot be loaded, has no such device, or refuses the model.
 * @example
 * ```ts
 * await using program = await compile(graph);
 * const { y } = await program.run({ x: float32([2], [1, 2]) }, ['y']);
 * ```
 */
export async function compile(graph: Graph, options: CompileOptions = {}): Promise<Program> {
  const { device = 'cpu', scratch = false } = checkOptions(options);
  const started = performance.now();
  await using folder = scratch ? new ScratchWeights() : undefined;
  const { stored, unused } = await encodeGraph(graph, device, folder && ((lowered) => folder.store(lowered)));
  return await openProgram(stored, options, { started, unused });
}

/**
 * Opens an encoded graph, from memory or from a file.
 *
 * @param options.device the device the graph was lowered for, or another known to run its ops
 * @throws LinnetError like `compile`
 */
export async function openProgram(
  stored: StoredGraph,
  options: CompileOptions = {},
  {
    started = performance.now(),
    unused = new Set<string>(),
  }: { readonly started?: number; readonly unused?: ReadonlySet<string> } = {},
): Promise<Program> {
  const {
    device = 'cpu',
    threads,
    worker = false,
    spin = false,
    lean = false,
    profile = false,
  } = checkOptions(options);
  const recording = profile ? await startProfile(device) : undefined;
  const { model, inputs, outputs, nodes, modelBytes, weightBytes } = stored;
  let session: EngineSession;
  try {
    session = await openAnySession(model, { device, threads, spin, lean, profilePrefix: recording?.prefix }, worker);
  } catch (error) {
    await recording?.source.dispose();
    throw error;
  }
  const statistics = { nodes, modelBytes, weightBytes, creationMs: performance.now() - started };
  return new SessionProgram(
    session,
    { graph: model.name, live: inputs, unused },
    outputs,
    statistics,
    recording?.source,
  );
}

function checkOptions(options: CompileOptions): CompileOptions {
  const { device, threads } = options;
  if (device !== undefined && !isDevice(device)) {
    throw new LinnetError('CONFIG', `unknown device "${String(device)}"; known are cpu, cuda, webgpu and wasm`);
  }
  if (threads !== undefined) requireCount(threads, 'threads', 1, 'CONFIG');
  return options;
}

/** Worker threads and profile files are for Node; browsers never load these modules. */
async function openAnySession(model: EngineModel, settings: EngineSettings, worker: boolean): Promise<EngineSession> {
  if (!worker) return openSession(model, settings);
  const { openWorkerSession } = await import('./worker.ts');
  return openWorkerSession(model, settings);
}

async function startProfile(device: Device): Promise<{ prefix: string; source: ProfileSource }> {
  if (device === 'wasm') throw new LinnetError('CONFIG', 'device "wasm" cannot profile; use cpu or webgpu');
  const { createProfileFolder } = await import('./profile.ts');
  return createProfileFolder();
}
