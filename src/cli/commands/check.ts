/** `linnet check`: proves that a model does not read the future, and that it decodes as it was trained. */
import { type ModelWeights, openModelWeights, readParameters } from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { canDecode } from '../../attention/mixers.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { bitsByReading, comparedBytes, type SameBits } from '../../evaluation/check/same-bits.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { open } from '../../open/index.ts';
import { writerKinds } from '../../open/opened-model.ts';
import { isExport } from '../../open/folder-files.ts';
import { type CheckRow, checkMemory, checkModel } from '../../evaluation/check/check.ts';
import { storedParameters } from '../../quantization/sources.ts';
import { formatTokens } from '../../report/quantities.ts';
import type { Column } from '../../report/table.ts';
import { memoryLimit } from '../../training/plans/options.ts';
import { defineCommand, engineOptions, withDefault } from '../framework/command.ts';
import { formOptions } from '../options/memory-option.ts';
import { folderOf } from '../options/model-options.ts';
import { type LayeredMemory, requireOpeningMemory } from '../options/opening-memory.ts';
import { reportForms } from '../output/training-report.ts';
import { integer, seed32 } from '../framework/option-values.ts';

const columns: readonly Column<CheckRow>[] = [
  { header: 'subject', value: 'subject' },
  { header: 'test', value: 'test' },
  { header: 'tokens', value: ({ length }) => (length === 0 ? null : length), format: formatTokens },
  { header: 'error', value: 'error', format: formatError },
  { header: 'limit', value: 'limit', format: formatError },
  { header: 'ok', value: 'ok' },
  { header: 'note', value: ({ note }) => note ?? '' },
];

/** Errors and limits span many powers of ten: all in one form, so that they compare at a glance. */
function formatError(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}

export const check = defineCommand({
  description:
    'Checks a model. Leak: changing later tokens must not change earlier outputs, in every layer and at group edges. Parity: the formula in float64, ' +
    'the parallel form for training and the step form for decoding must agree, token trees included. Encoders read both sides: padding must change ' +
    'nothing, and the formula in float64 must agree with the form that runs. Bits: a token must be the same to the last bit alone, in a chain, in a ' +
    'tree, in a batch and in prompts of any chunk size, if the engine promises so; exported folders and T5 get only this check. Exit code 1 if any ' +
    'check fails. The text is random; no data is needed.',
  examples: [
    'linnet check runs/augmented',
    'linnet check runs/augmented --json',
    'linnet check runs/augmented-int4',
    'linnet check runs/wide --max-length 4096',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    maxLength: withDefault(
      integer(8, 65536, 'tokens'),
      1024,
      'longest sequence; group edges beyond it are not checked',
    ),
    seed: withDefault(seed32, 1, 'seed of the random tokens and parameters'),
    ...formOptions,
    ...engineOptions,
  },
  async run(context, { model: folder, maxLength, seed, memory, plan: onlyPlan, device, threads }) {
    const plan = await requireOpeningMemory(
      folder,
      { memory, decodes: true, results: comparedBytes },
      layersMemory(maxLength),
    );
    if (onlyPlan) return reportForms(context, [{ name: 'check', ...plan }], memory);
    const running = { device, threads };
    await using weights = (await isExport(folder)) ? undefined : await openModelWeights(folder);
    if (weights === undefined || weights.model.kind === 'encoder-decoder') {
      await using opened = await open(folder, { ...running, kind: writerKinds });
      const bits = await checkedBits(await opened.engine(), seed);
      context.print(describeBits(bits));
      if (weights) context.print('Encoder-decoders: only the bits are checked.');
      return { json: { ok: bits.ok, sameBits: bits.sameBits, ...plan }, negative: !bits.ok };
    }
    const { model } = weights;
    const isWhole = plan.form === 'whole';
    await using engine =
      isWhole && model.kind === 'causal' && model.mixers.every(canDecode)
        ? await DecodingEngine.compile(model, (graph) => storedParameters('f32', graph, weights), running)
        : undefined;
    // Whole-model graphs are faster than per-layer graphs, but hold the weights a second time if an engine has them.
    const memoryBytes = plan.memoryBytes + (engine === undefined ? 0 : 4 * parameterCount(model.parameters));
    const inMemory = isWhole && memoryBytes <= (memory ?? memoryLimit(undefined));
    const parameters = inMemory ? await readParameters(weights) : weights.parameters;
    let done = 0;
    const report = await context.withProgress('check', 'comparisons', ({ signal, onProgress }) =>
      checkModel(model, parameters, {
        seed,
        maximumLength: maxLength,
        compile: running,
        engine: isWhole ? engine : 'none',
        signal,
        onRow: ({ subject, test }) => onProgress(++done, 0, `${subject}: ${test}`),
      }),
    );
    const bits = engine && (await checkedBits(engine, seed));
    context.table(report.rows, columns);
    const failed = report.rows.filter(({ ok }) => !ok).length;
    const unread = { causal: 'the future', encoder: 'padding' }[model.kind];
    const reason = report.leak ? ` The model reads ${unread}.` : ' The forms of the model disagree.';
    context.print(
      report.ok
        ? `\nAll ${report.rows.length} comparisons passed: no leak, largest error ${formatError(report.maxError)}.`
        : `\n${failed} of ${report.rows.length} comparisons failed.${reason}`,
    );
    if (bits) context.print(describeBits(bits));
    if (report.unchecked.length > 0) {
      const tests = [...report.unchecked, 'the same bits in every way of reading'].join(', ');
      context.print(
        `Not checked, since the model's engine does not fit in memory: ${tests}. An export in fewer bits may fit.`,
      );
    }
    return {
      json: { ...report, ...plan, ...(inMemory && { memoryBytes }), sameBits: bits?.sameBits },
      negative: !report.ok || bits?.ok === false,
    };
  },
});

const layersMemory =
  (maximumLength: number) =>
  ({ model, parameters }: ModelWeights): LayeredMemory =>
    model.kind === 'encoder-decoder'
      ? {}
      : {
          layers: checkMemory(model, segmentWeights(parameters), { maximumLength }),
          remedies: ['a smaller `maxLength`'],
        };

interface CheckedBits {
  readonly sameBits: SameBits;
  /** Whether the engine says that bits are the same. */
  readonly claimed: boolean;
  /** False if the engine promises equal bits and they differ. */
  readonly ok: boolean;
}

async function checkedBits(engine: StepEngine, seed: number): Promise<CheckedBits> {
  const sameBits = await bitsByReading(engine, { seed });
  const claimed = await engine.sameBits();
  return { sameBits, claimed, ok: !claimed || Object.values(sameBits).every(Boolean) };
}

function describeBits({ sameBits, claimed }: CheckedBits): string {
  const ways = Object.entries(sameBits);
  const names = (same: boolean): string => ways.flatMap(([way, is]) => (is === same ? [way] : [])).join(', ');
  const [equal, other] = [names(true), names(false)];
  if (other === '') return `A token has the same bits however it is read: ${equal}.`;
  const promise = claimed ? 'although the engine promises the same' : 'equal up to rounding, as the engine promises';
  return `A token's bits differ from those it has alone: ${other} (${promise}).${equal === '' ? '' : ` The same: ${equal}.`}`;
}
