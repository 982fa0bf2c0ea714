/** Graphs made to run in the tab: built and encoded here, run by ONNX Runtime as WebAssembly. */
import type { Graph } from '../../src/graph/graph.ts';
import { lowerGraph } from '../../src/graph/onnx/lowering.ts';
import { encodeModel, loadDeferred, separateParts } from '../../src/graph/onnx/writer.ts';
import { type Program, programOf } from '../../src/runtime/program.ts';
import { openWebSession } from '../../src/runtime/web-engine.ts';

/** What `compile` of `linnet/graph` is in Node. @throws LinnetError `GRAPH` or `RUNTIME` */
export async function compileInTab(graph: Graph): Promise<Program> {
  const started = performance.now();
  const lowered = await loadDeferred(lowerGraph(graph, 'wasm'));
  const { bytes, external } = encodeModel(lowered, { placement: separateParts });
  const session = await openWebSession({ name: graph.name, bytes, external }, { device: 'wasm' });
  const modelBytes = external.reduce((sum, { data }) => sum + data.byteLength, bytes.byteLength);
  return programOf(graph.name, session, {
    nodes: lowered.nodes.length,
    modelBytes,
    creationMs: performance.now() - started,
  });
}
