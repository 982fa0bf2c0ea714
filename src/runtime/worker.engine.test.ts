import { describe, expect, it } from 'vitest';
import { onnxOp, product } from '../../test/graph/onnx-op.ts';
import { Graph } from '../graph/graph.ts';
import { float32, int32, tensor } from '../graph/tensor.ts';
import { compile } from './compile.ts';
import { openWorkerSession } from './worker.ts';

/** x[T,size] times a matrix whose entries are 1/size, several times: rows of ones stay rows of ones. */
function averages(times: number, size: number): Graph {
  const graph = new Graph('averages');
  let value = graph.input('x', 'float32', ['T', size]);
  const w = graph.weight('w', float32([size, size], new Array(size * size).fill(1 / size)));
  for (let time = 0; time < times; time++) value = product(value, w);
  graph.output('y', value);
  return graph;
}

describe('a program in a worker', () => {
  it('computes what it computes in this thread', async () => {
    const graph = averages(2, 64);
    const x = float32(
      [3, 64],
      Array.from({ length: 192 }, (_, index) => Math.sin(index)),
    );
    await using here = await compile(graph);
    await using there = await compile(graph, { worker: true });
    const expected = await here.run({ x }, ['y']);
    const [first, second] = await Promise.all([there.run({ x }, ['y']), there.run({ x }, ['y'])]);
    expect(first).toEqual(expected);
    expect(second).toEqual(expected);
  });

  it('leaves feeds and weights with the caller', async () => {
    const w = float32([256, 2], new Array(512).fill(1));
    const graph = new Graph('kept');
    graph.output('y', product(graph.input('x', 'float32', [1, 256]), graph.weight('w', w)));
    await using program = await compile(graph, { worker: true });
    const whole = new Float32Array(1000).fill(2);
    const x = tensor('float32', [1, 256], whole.subarray(100, 356));
    const { y } = await program.run({ x }, ['y']);
    expect(y).toEqual(float32([1, 2], [512, 512]));
    expect([x.data.length, whole.length, w.data.length]).toEqual([256, 1000, 512]);
  });

  it('leaves the event loop free', async () => {
    await using program = await compile(averages(16, 512), { worker: true });
    const x = float32([2048, 512], new Array(2048 * 512).fill(1));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const started = performance.now();
    const { y } = await program.run({ x }, ['y']);
    const elapsed = performance.now() - started;
    clearInterval(timer);
    expect(y.data[0]).toBeCloseTo(1, 4);
    // A run that blocked this thread would leave no ticks; a loaded machine may take a few.
    expect(ticks).toBeGreaterThan(elapsed / 5 / 10);
  });

  it('passes errors on with their code, and goes on', async () => {
    const graph = new Graph('lookup');
    const table = graph.input('table', 'float32', [4]);
    const ids = graph.input('ids', 'int32', ['T']);
    graph.output('y', onnxOp('Gather', [table, ids], [{ dtype: 'float32', shape: ['T'] }])[0]);
    await using program = await compile(graph, { worker: true });
    const feeds = { table: float32([4], [1, 2, 3, 4]), ids: int32([1], [9]) };
    const failure = program.run(feeds, ['y']);
    await expect(failure).rejects.toMatchObject({ name: 'LinnetError', code: 'RUNTIME' });
    await expect(failure).rejects.toThrow(/^graph "lookup" failed to run: /);
    expect((await program.run({ ...feeds, ids: int32([1], [2]) }, ['y'])).y.data[0]).toBe(3);
  });

  it('refuses a model that the engine refuses', async () => {
    const graph = new Graph('nonsense');
    graph.output('y', onnxOp('NoSuchOp', [graph.input('x', 'float32', [1])], [{ dtype: 'float32', shape: [1] }])[0]);
    await expect(compile(graph, { worker: true })).rejects.toMatchObject({ code: 'RUNTIME' });
  });

  it('ends its thread on dispose, after pending runs', async () => {
    const program = await compile(averages(1, 64), { worker: true });
    const x = float32([1, 64], new Array(64).fill(1));
    const pending = program.run({ x }, ['y']);
    await program.dispose();
    expect((await pending).y.data[0]).toBeCloseTo(1, 5);
    await expect(program.run({ x }, ['y'])).rejects.toThrow('has been disposed');
  });
});

describe('a worker that dies', () => {
  /** A host that opens, then does something else than run. */
  const host = (onRun: string): URL =>
    new URL(
      `data:text/javascript,${encodeURIComponent(`
        import { parentPort } from 'node:worker_threads';
        parentPort.on('message', ({ id, task }) => {
          if (task.kind === 'run') { ${onRun} } else parentPort.postMessage({ id });
        });`)}`,
    );
  const model = { name: 'doomed', bytes: new Uint8Array(), external: [] };

  it.each([
    ['process.exit(3)', 'the worker of graph "doomed" ended with exit code 3'],
    ['throw new Error("out of luck")', 'the worker of graph "doomed" failed: out of luck'],
    ['throw "no error, a text"', 'the worker of graph "doomed" failed: no error, a text'],
  ])('by %s rejects all pending and later runs', async (onRun, message) => {
    const session = await openWorkerSession(model, { device: 'cpu' }, host(onRun));
    const runs = await Promise.allSettled([session.run({}, ['y']), session.run({}, ['y'])]);
    for (const run of runs) expect(run).toMatchObject({ status: 'rejected', reason: { code: 'RUNTIME', message } });
    await expect(session.run({}, ['y'])).rejects.toThrow(message);
    await session.dispose();
  });

  it('before it opens rejects the opening', async () => {
    const missing = new URL('data:text/javascript,throw new Error("no start")');
    await expect(openWorkerSession(model, { device: 'cpu' }, missing)).rejects.toMatchObject({
      code: 'RUNTIME',
      message: 'the worker of graph "doomed" failed: no start',
    });
  });
});
