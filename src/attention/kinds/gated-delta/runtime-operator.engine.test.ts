/** The gated kinds against ONNX Runtime's own operator for such recurrences, which reads position by position. */
import { describe, expect, it } from 'vitest';
import { onnxOp } from '../../../../test/graph/onnx-op.ts';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { Graph, type Value } from '../../../graph/graph.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { dataOf, float32, type Tensor, zeros } from '../../../graph/tensor.ts';
import { Random } from '../../../random.ts';
import { compile } from '../../../runtime/compile.ts';
import { mixerParameters, mixParallel, parseMixer } from '../../mixers.ts';
import { type Decay, logDecays } from '../gated/decay.ts';
import { gainName } from '../gated/config.ts';
import { writeGates } from './config.ts';

const [B, H, M, D, E] = [2, 4, 2, 16, 8];
const decays: readonly Decay[] = ['fixed', 'learned', 'data'];

interface Rule {
  /** The kind as its own graph computes it. */
  readonly mixer: object;
  readonly decay: Decay;
  readonly rule: 'linear' | 'gated' | 'delta' | 'gated_delta';
}

const rules: readonly Rule[] = [
  ...decays.flatMap((decay): Rule[] => [
    { mixer: { kind: 'gated', map: { name: 'none' }, decay, output: 'none' }, decay, rule: 'gated' },
    { mixer: { kind: 'gated-delta', decay }, decay, rule: 'gated_delta' },
  ]),
  { mixer: { kind: 'gated-delta', decay: 'none' }, decay: 'none', rule: 'delta' },
];

describe.each([1, 64, 200])('LinearAttention of %i positions', (n) => {
  it.each(rules)('$rule with decay $decay', async ({ mixer, decay, rule }) => {
    const config = parseMixer(mixer);
    const isDelta = rule.endsWith('delta');
    const random = new Random(n);
    const graph = new Graph('oracle');
    const feeds: Record<string, Tensor> = {};
    const input = (name: string, shape: readonly number[], size = 1): Value => {
      const count = shape.reduce((a, b) => a * b, 1);
      feeds[name] = float32(
        shape,
        Float32Array.from({ length: count }, () => size * random.normal()),
      );
      return graph.input(name, 'float32', shape);
    };
    const [q, k, v] = [input('q', [B, n, H, D]), input('k', [B, n, M, D]), input('v', [B, n, M, E])];
    const dims = { heads: H, keyValueHeads: M, headWidth: D, valueWidth: E };
    const parameters = Object.fromEntries(
      mixerParameters(config, dims).map(({ name, shape }) => [name, input(name, shape, 0.5)]),
    );
    const gain = graph.constant(float32([H], Float32Array.of(1, 1, 1, 1)));
    graph.output('own', mixParallel(config, { q, k, v }, { ...parameters, [gainName]: gain }));

    const rows = (value: Value): Value => {
      const [, , heads, width] = value.shape.map(Number);
      return reshape(value, [B, n, heads * width]);
    };
    const [queries, keys] = isDelta ? [unitLength(q), unitLength(k)] : [q, k];
    const inputs = [queries, keys, v].map(rows);
    const gates = [
      graph.constant(zeros('float32', [B, M, D, E])),
      rows(logDecays(decay, v, parameters)),
      ...(isDelta ? [rows(writeGates(v, parameters))] : []),
    ];
    const [output] = onnxOp(
      'LinearAttention',
      [...inputs, ...gates],
      [
        { dtype: 'float32', shape: [B, n, H * E] },
        { dtype: 'float32', shape: [B, M, D, E] },
      ],
      {
        domain: 'com.microsoft',
        attributes: {
          q_num_heads: { int: H },
          kv_num_heads: { int: M },
          update_rule: { string: rule === 'delta' ? 'gated_delta' : rule },
          scale: { float: isDelta ? 1 : 1 / Math.sqrt(D) },
        },
      },
    );
    graph.output('runtime', output);
    await using program = await compile(graph);
    const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
    const { own, runtime } = await program.run(given, ['own', 'runtime']);
    expect(relativeToPeak(dataOf(own, 'float32'), dataOf(runtime, 'float32'))).toBeLessThan(5e-6);
  });
});
