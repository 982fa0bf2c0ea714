/** Compiles graphs in a page or worker: `compile.ts` for browser engines. */
import type { Graph } from '../graph/graph.ts';
import { encodeGraph } from './encoded-graph.ts';
import { type Program, SessionProgram } from './program.ts';
import { openWebSession, type WebEngineSettings } from './web-engine.ts';

/**
 * Compiles a graph's live part.
 * @throws LinnetError `GRAPH` if the graph cannot be lowered, `CONFIG` if a setting is invalid, `RUNTIME` if the engine
 *   cannot be loaded, the browser lacks the device, or the engine refuses the model
 * @example
 * ```ts
 * await using program = await compileForWeb(graph, { device: 'wasm' });
 * ```
 */
export async function compileForWeb(graph: Graph, settings: WebEngineSettings): Promise<Program> {
  const started = performance.now();
  const { stored, unused } = await encodeGraph(graph, settings.device);
  const { model, inputs, outputs, nodes, modelBytes } = stored;
  const session = await openWebSession(model, settings);
  const statistics = { nodes, modelBytes, creationMs: performance.now() - started };
  return new SessionProgram(session, { graph: model.name, live: inputs, unused }, outputs, statistics, undefined);
}
