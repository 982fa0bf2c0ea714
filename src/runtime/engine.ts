/**
 * Node's engines: the native one, and the WebAssembly one for `wasm`. Each loads when its first session opens. Browsers use
 * `web-engine.ts` instead.
 */
import { readFile } from 'node:fs/promises';
import type { Graph } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import { LinnetError } from '../errors.ts';
import { loadOptional } from '../files/optional-package.ts';
import { encodeGraph } from './encoded-graph.ts';
import { askedOnce, pairsSaturate } from './kernel-probes.ts';
import { type Program, programOf } from './program.ts';
import { type EngineApi, type EngineBuild, openSessionOf } from './session.ts';
import type { DescribedSession, EngineModel, EngineSettings } from './session-types.ts';
import { explainCuda, requireCudaLibraries } from './cuda.ts';
import { disableTelemetry } from './telemetry.ts';

const loadNative = (): Promise<EngineApi> => {
  disableTelemetry();
  return import('onnxruntime-node');
};

/** Compiles without making 8-bit weights unsigned. */
async function compileSigned(graph: Graph): Promise<Program> {
  const { model, nodes, modelBytes } = (await encodeGraph(graph, 'cpu')).stored;
  const session = await openSessionOf({ provider: 'cpu', load: loadNative }, model, { device: 'cpu', threads: 1 });
  return programOf(model.name, session, { nodes, modelBytes, creationMs: 0 });
}

const saturates = askedOnce(pairsSaturate);

/** Whether a model needs unsigned weights: it has 8-bit products and the processor saturates. @param probe tests the processor */
export async function needsUnsignedWeights(
  model: EngineModel,
  probe = () => saturates('cpu', compileSigned),
): Promise<boolean> {
  const bytes =
    'file' in model
      ? await readFile(model.file)
      : Buffer.from(model.bytes.buffer, model.bytes.byteOffset, model.bytes.byteLength);
  // A model's bytes contain its op names as text: MatMulInteger, MatMulIntegerToFloat.
  return bytes.includes('MatMulInteger') && probe();
}

function native(provider: string, load = loadNative): EngineBuild {
  return { provider, load, needsUnsignedWeights };
}

const engines: Readonly<Record<Device, EngineBuild>> = {
  cpu: native('cpu'),
  cuda: native('cuda', async () => {
    await requireCudaLibraries();
    return loadNative();
  }),
  webgpu: native('webgpu'),
  wasm: {
    provider: 'wasm',
    async load({ threads }) {
      const api = await loadOptional(() => import('onnxruntime-web'), 'onnxruntime-web', 'the device wasm');
      // One pool serves all sessions: the engine reads this once, when the first one opens.
      if (threads !== undefined) api.env.wasm.numThreads = threads;
      return api;
    },
  },
};

/** Whether a name is a device that graphs compile for. */
export function isDevice(name: string): name is Device {
  return Object.hasOwn(engines, name);
}

/** More threads than this are a mistake: the engine fails on them silently. */
const mostThreads = 1024;

/**
 * Threads per op in native sessions that set no number: `LINNET_THREADS`, for processes that share cores.
 * @throws LinnetError `CONFIG` for anything but a whole number from 1 to 1024
 */
function threadsOfEnvironment(): number | undefined {
  const given = process.env.LINNET_THREADS;
  if (given === undefined || given === '') return undefined;
  const threads = Number(given);
  if (Number.isInteger(threads) && threads >= 1 && threads <= mostThreads) return threads;
  const shown = given.slice(0, 40);
  throw new LinnetError('CONFIG', `LINNET_THREADS is "${shown}", expected a whole number from 1 to ${mostThreads}`);
}

/**
 * Opens a session in this thread.
 *
 * @throws LinnetError `RUNTIME` if the engine cannot be loaded or refuses the model, `CONFIG` for a bad `LINNET_THREADS`
 */
export async function openSession(model: EngineModel, settings: EngineSettings): Promise<DescribedSession> {
  const threads = settings.threads ?? (settings.device === 'wasm' ? undefined : threadsOfEnvironment());
  const session = openSessionOf(engines[settings.device], model, { ...settings, threads });
  return settings.device === 'cuda' ? session.catch(explainCuda) : session;
}
